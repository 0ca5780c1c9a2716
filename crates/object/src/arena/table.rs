//! Which objects this process holds, and by how many handles: one table an attachment, in private memory.
//!
//! It stands still while a thread forks ([`Table::freeze`]), so that what is counted for the child is what the child has:
//! not one handle more, which nobody there could ever give back, and not one less.
//!
//! A child begins with the counts of its parent, all of them [unclaimed](Table::claim). Each handle of the parent's that is
//! made again in the child claims one; until then it is held as if the old handle, which can do nothing there, held it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ginnel_layout::entry::Side;
use ginnel_segment::Segment;

/// How many handles of one object there are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holds {
    pub(crate) all: usize,
    pub(crate) senders: usize,
    pub(crate) receivers: usize,
}

impl Holds {
    fn of(&mut self, side: Side) -> Option<&mut usize> {
        match side {
            Side::Neither => None,
            Side::Sender => Some(&mut self.senders),
            Side::Receiver => Some(&mut self.receivers),
        }
    }

    /// Counts one more. Which bits are to be set: of the holders, of the side?
    pub(super) fn add(&mut self, side: Side) -> (bool, bool) {
        self.all += 1;
        let first_of_side = self.of(side).is_some_and(|count| {
            *count += 1;
            *count == 1
        });
        (self.all == 1, first_of_side)
    }

    /// Counts one less. Which bits are to be cleared?
    pub(super) fn take(&mut self, side: Side) -> (bool, bool) {
        self.all = self.all.saturating_sub(1);
        let last_of_side = self.of(side).is_some_and(|count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
        (self.all == 0, last_of_side)
    }

    /// Has it one on that side?
    fn has(&mut self, side: Side) -> bool {
        self.all > 0 && self.of(side).is_none_or(|count| *count > 0)
    }
}

/// By entry.
pub(crate) type Counts = HashMap<u32, Holds>;

/// What is behind the lock.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) counts: Counts,
    /// Of the counts, those of the parent's handles that have not been made again here.
    unclaimed: Counts,
    /// Threads that are forking right now.
    forking: u32,
}

/// The counts, under a lock.
#[derive(Debug, Default)]
pub(super) struct Table {
    held: Mutex<Held>,
    forked: Condvar,
}

impl Table {
    /// The table of a child that is to have these.
    pub(super) fn inherited(counts: Counts) -> Self {
        let unclaimed = counts.clone();
        Self { held: Mutex::new(Held { counts, unclaimed, forking: 0 }), forked: Condvar::new() }
    }

    /// Locks it. Waits while a thread forks: microseconds. Not for a child, where nobody would ever end that.
    pub(super) fn lock(&self, segment: &Segment) -> MutexGuard<'_, Held> {
        let mut held = self.lock_frozen();
        while held.forking > 0 && segment.check_fork().is_ok() {
            held = self.forked.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held
    }

    fn lock_frozen(&self) -> MutexGuard<'_, Held> {
        // A panic while it is locked cannot leave it half changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody change it until [`Table::thaw`], which the same thread calls. Gives the counts to `look`.
    pub(super) fn freeze<R>(&self, look: impl FnOnce(&Counts) -> R) -> R {
        let mut held = self.lock_frozen();
        held.forking += 1;
        look(&held.counts)
    }

    pub(super) fn thaw(&self) {
        self.lock_frozen().forking -= 1;
        self.forked.notify_all();
    }

    /// The end of the attachment: what is held still.
    pub(super) fn drain(&mut self) -> Held {
        std::mem::take(self.held.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    /// Takes over the count of a handle that the parent had. False: there is none.
    pub(super) fn claim(&mut self, index: u32, side: Side) -> bool {
        let Slot::Occupied(mut slot) = self.unclaimed.entry(index) else { return false };
        if !slot.get_mut().has(side) {
            return false;
        }
        if slot.get_mut().take(side).0 {
            slot.remove();
        }
        true
    }

    /// Counts nobody on any side any more. Which sides there were.
    pub(super) fn leave_sides(&mut self) -> Vec<(u32, Side)> {
        let mut left = Vec::new();
        for (index, holds) in &mut self.counts {
            for side in [Side::Sender, Side::Receiver] {
                if holds.of(side).is_some_and(|count| std::mem::take(count) > 0) {
                    left.push((*index, side));
                }
            }
        }
        left
    }

    /// What nobody has claimed.
    pub(super) fn unclaimed(&mut self) -> Counts {
        std::mem::take(&mut self.unclaimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_claimed_once_and_only_on_its_side() {
        let mut counts = Counts::new();
        for side in [Side::Neither, Side::Sender, Side::Sender] {
            counts.entry(7).or_default().add(side);
        }
        let table = Table::inherited(counts);
        let mut held = table.lock_frozen();
        assert!(!held.claim(6, Side::Neither) && !held.claim(7, Side::Receiver));
        assert!(held.claim(7, Side::Sender) && held.claim(7, Side::Sender) && !held.claim(7, Side::Sender));
        let left = held.unclaimed.get(&7).map(|holds| (holds.all, holds.senders));
        assert_eq!(left, Some((1, 0)));
        assert!(held.claim(7, Side::Neither) && !held.claim(7, Side::Neither));
        assert!(held.unclaimed().is_empty());
        assert_eq!(held.counts[&7].all, 3, "it is held by whoever claimed it");
    }

    #[test]
    fn several_threads_may_fork_at_once() {
        let table = Table::default();
        table.lock_frozen().counts.entry(1).or_default().add(Side::Neither);
        assert_eq!(table.freeze(|counts| counts.len()), 1);
        assert_eq!(table.freeze(|counts| counts.len()), 1);
        table.thaw();
        assert_eq!(table.lock_frozen().forking, 1);
        table.thaw();
        assert_eq!(table.lock_frozen().forking, 0);
    }
}
