//! A condition whose notifications reach exactly as many as they say, in the order in which they came.
//!
//! ```text
//! byte 0     CondvarWords   sleepers; of the line: seq: the next number, flag: one more than the highest slot in use
//! byte 256   u32[2 * 992]   sync::waiters: a slot for each waiter
//! ```
//! A [`Condvar`](super::Condvar) may let a waiter return for nothing, which keeps it small and its notifier fast. Some
//! languages promise more, and their bindings build on this.
//!
//! | killed | what is left | the others |
//! |---|---|---|
//! | waiting | its slot | a call to it is passed on by recovery |
//! | notifying | perhaps a sleeper that was called | it looks at the end of its slice |

use std::sync::Arc;
use std::time::Duration;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::entry::Entry;
use ginnel_layout::line::PAGE;
use ginnel_layout::lock::CondvarWords;
use ginnel_layout::signal::EACH_AT;
use ginnel_segment::Segment;
use ginnel_sync::waiters::{Heads, Row, SLOT_WORDS};
use ginnel_sync::{Deadline, Waiter};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::error::{ErrorKind, Result};
use crate::handle::Handle;
use crate::manager::sealed;
use crate::sweep::tag;
use crate::words;

pub use ginnel_sync::waiters::Place;

/// What tells it from a condition variable, whose tag it has.
pub(super) const FORMAT: u64 = 1;

const PAGES: u32 = 2;

/// Words of all slots.
const WORDS: usize = (PAGES as usize * PAGE - EACH_AT) / size_of::<AtomicU32>();

/// What the death of `dead` means for it.
pub(super) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    let words = words::front_of::<CondvarWords>(segment, entry);
    let slots = words::tail_of::<AtomicU32>(segment, entry, EACH_AT, WORDS);
    if let (Some(words), Some(slots)) = (words, slots) {
        row_of(words, slots).recover(dead);
    }
}

fn row_of<'a>(words: &'a CondvarWords, slots: &'a [AtomicU32]) -> Row<'a> {
    Row::new(Heads { next: &words.line.seq, high: &words.line.flag }, slots)
}

/// Up to 992 threads of any processes that wait to be called. The lock that belongs to it is the caller's: it is held
/// in [`Waiters::come`] and [`Waiters::notify`], and not in [`Waiters::wait`].
///
/// No call is lost: one to a waiter that dies before it has gone is passed on to another. A notifier waits for nobody.
/// Handles are `Clone + Send + Sync`. After a bare `fork` the child's handles answer `Forked`.
#[derive(Debug, Clone)]
pub struct Waiters {
    handle: Handle<CondvarWords>,
}

impl Waiters {
    /// Comes: from now on, calls reach this thread. It has to [go](Waiters::go).
    ///
    /// # Errors
    /// `Full` when so many wait already; `Forked`; `Corrupted`.
    pub fn come(&self) -> Result<Place> {
        self.handle.check_fork()?;
        let place = self.row()?.come(self.handle.holder());
        place.ok_or_else(|| {
            let happened = format!("{} threads wait there already", WORDS / SLOT_WORDS);
            self.handle.error(ErrorKind::Full, happened)
        })
    }

    /// Waits up to `slice` for a call. False: none came yet.
    #[must_use = "it may not have been called"]
    pub fn wait(&self, place: Place, slice: Duration) -> bool {
        let Ok(row) = self.row() else { return false };
        let (me, segment) = (self.handle.holder(), self.handle.segment());
        let wait = |waiter: &mut Waiter, deadline| row.wait(place, me, waiter, deadline, segment);
        self.handle.until(Deadline::after(slice), wait).is_ok()
    }

    /// Goes. True: it was called, which is told once.
    #[must_use = "a call that is not answered is lost"]
    pub fn go(&self, place: Place) -> bool {
        !self.handle.is_forked() && self.row().is_ok_and(|row| row.go(place))
    }

    /// Calls up to `most` of those who wait, those first who came first; `u32::MAX` calls all. Gives how many.
    ///
    /// # Errors
    /// `Forked`; `Corrupted`.
    pub fn notify(&self, most: u32) -> Result<u32> {
        self.handle.check_fork()?;
        Ok(self.row()?.notify(most))
    }

    /// How many wait and were not called. It may be old at once.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.row().map_or(0, |row| row.waiting_now())
    }

    fn row(&self) -> Result<Row<'_>> {
        Ok(row_of(self.handle.words(), self.handle.tail(EACH_AT, WORDS)?))
    }
}

impl sealed::Sealed for Waiters {
    type Options = ();

    fn kind() -> Kind {
        Kind { tag: tag::CONDVAR, format: FORMAT }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, (): ()) -> Result<ObjectRef> {
        // All zero: nobody waits.
        arena.make(Self::kind(), PAGES, name, |_| ())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let handle = Handle::<CondvarWords>::open(object)?;
        handle.tail::<AtomicU32>(EACH_AT, WORDS)?;
        Ok(Self { handle })
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::manager::Manager;

    #[test]
    fn a_call_to_the_dead_reaches_another() {
        let one = Manager::new(1 << 20).unwrap();
        let two = Manager::from_fd(one.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let row: Waiters = one.get_or_create("row").unwrap();
        let theirs: Waiters = two.get("row").unwrap().unwrap();
        let _lost = theirs.come().unwrap();
        let mine = row.come().unwrap();
        assert_eq!((row.waiting(), row.notify(1).unwrap()), (2, 1));
        assert!(!row.wait(mine, Duration::ZERO));
        // It lives, but nobody looks at it any more.
        let entry = one.arena.segment().entry(row.handle.object().index()).unwrap();
        crate::condvar::recover(one.arena.segment(), entry, theirs.handle.me());
        assert!(row.wait(mine, Duration::ZERO) && row.go(mine) && !row.go(mine));
        assert_eq!((row.waiting(), row.notify(u32::MAX).unwrap()), (0, 0));
    }

    #[test]
    fn so_many_find_a_place_and_the_next_is_told() {
        let manager = Manager::new(1 << 20).unwrap();
        let row: Waiters = manager.create().unwrap();
        let places: Vec<_> = (0..WORDS / SLOT_WORDS).map(|_| row.come().unwrap()).collect();
        assert_eq!((places.len(), row.waiting()), (992, 992));
        assert_eq!(row.come().unwrap_err().kind(), ErrorKind::Full);
        assert_eq!(row.notify(3).unwrap(), 3);
        assert_eq!(places.into_iter().filter(|place| row.go(*place)).count(), 3);
        assert_eq!(row.waiting(), 0);
    }

    #[test]
    fn it_is_no_condition_variable_though_the_tag_is_the_same() {
        let manager = Manager::new(1 << 20).unwrap();
        let _row: Waiters = manager.get_or_create("row").unwrap();
        assert!(manager.get::<crate::condvar::Condvar>("row").is_err());
    }
}
