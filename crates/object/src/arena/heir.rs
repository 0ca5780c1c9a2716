//! What the child of a fork gets of the holds of its parent: all of them, from before the fork on.
//!
//! [`Will::prepare`] takes a row of the table of participants for the child (`ginnel_segment::Heir`). In the `fork` itself
//! the table of holds stands still, and the child gets the bit of everything in it, under the parent's bits; the copy of the
//! counts that goes along is what it gives back from. So at every instant each object that the child has a handle of is
//! held in its name, and a side of a channel is left when the last of parent and child has left it.
//!
//! | dies | left | who repairs |
//! |---|---|---|
//! | parent: before the fork, any prefix of the bits | a dead participant with some bits | recovery, as for any dead |
//! | the fork fails | the same | `leave`, or whoever looks |
//! | parent: after the fork | the child's bits, and its lock | nobody needs to |
//! | child: before it enters | its bits | recovery |
//! | child: entering, and later | its bits; those of what it made | recovery |
//!
//! A hold that a thread of the parent had in the middle of a call, and that is no handle, stays with the child until it
//! ends: there is nobody there to give it back. The bits of a hold that is kept for a lock (`kept`) are not inherited.
//!
//! Invariants
//! - I1 a will is written by the thread that forks, before it does and while the table stands still; what the child of
//!   another thread finds in its memory is no will of its own.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ginnel_layout::Liveness;
use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Side;
use ginnel_segment::{Heir, around_forks};

use super::table::{Counts, Table};
use super::{Arena, Kind, ObjectRef};
use crate::error::{Error, ErrorKind, Result};
use crate::life;
use crate::ready::Ears;
use crate::sweep::Objects;

thread_local! {
    /// The wills for the next child that this thread forks.
    static PENDING: RefCell<Vec<Arc<Page>>> = const { RefCell::new(Vec::new()) };
}

/// A participant for the next child that this thread forks, with what it is to hold.
#[derive(Debug)]
pub(crate) struct Will {
    /// There until it enters.
    heir: Option<Heir>,
    page: Arc<Page>,
}

/// What the handlers of the fork write.
#[derive(Debug)]
struct Page {
    arena: Arc<Arena>,
    id: ParticipantId,
    written: Mutex<Written>,
}

#[derive(Debug)]
enum Written {
    /// No fork yet.
    Nothing,
    /// What the child has; and the table of the detector, if it is in there.
    Counts(Counts, Option<u32>),
    /// More than one fork: nobody knows which of them it is meant for.
    Twice,
}

impl Page {
    fn written(&self) -> MutexGuard<'_, Written> {
        // Only one thread ever has it, in the parent and in the child.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `f` with each page of this thread. One that ends and has no locals any more has none.
fn with_pending(f: impl Fn(&Page)) {
    let _ = PENDING.try_with(|pending| pending.borrow().iter().for_each(|page| f(page)));
}

/// Before a fork, in the thread that forks (I1).
fn before_fork() {
    with_pending(|page| page.arena.bequeath(page));
}

/// After it, in the parent.
fn after_fork() {
    with_pending(|page| page.arena.handles.thaw());
}

impl Will {
    /// For the next child that this thread forks.
    pub(crate) fn prepare(arena: &Arc<Arena>) -> Result<Self> {
        static HANDLED: OnceLock<bool> = OnceLock::new();
        if !*HANDLED.get_or_init(|| around_forks(before_fork, after_fork)) {
            return Err(Error::new(ErrorKind::Os, "the system takes no more handlers for forks"));
        }
        let heir = arena.segment.heir()?;
        let written = Mutex::new(Written::Nothing);
        let page = Arc::new(Page { arena: Arc::clone(arena), id: heir.id(), written });
        PENDING.with_borrow_mut(|pending| pending.push(Arc::clone(&page)));
        Ok(Self { heir: Some(heir), page })
    }

    fn forget(&self) {
        let keep = |page: &Arc<Page>| !Arc::ptr_eq(page, &self.page);
        let _ = PENDING.try_with(|pending| pending.borrow_mut().retain(keep));
    }

    /// In the child: its arena.
    pub(crate) fn enter(mut self) -> Result<Arc<Arena>> {
        self.forget();
        let written = std::mem::replace(&mut *self.page.written(), Written::Nothing);
        let Written::Counts(counts, waits) = written else {
            let why = "this process is not the child that was prepared for";
            return Err(Error::new(ErrorKind::Invalid, why));
        };
        let Some(heir) = self.heir.take() else { unreachable!("a will is entered once") };
        let segment = heir.enter(Box::new(Objects))?;
        let arena = Arena {
            ears: Ears::of(&segment),
            segment,
            handles: Table::inherited(counts),
            waits: waits.map_or_else(OnceLock::new, OnceLock::from),
        };
        if let Some(table) = waits {
            // Its count goes with the arena, not with a handle.
            arena.handles().claim(table, Side::Neither);
        }
        Ok(Arc::new(arena))
    }
}

impl Drop for Will {
    fn drop(&mut self) {
        self.forget();
        let Some(heir) = self.heir.take() else { return };
        // Our copy of its lock. If there is no child that has another one, it is dead, and all that was counted for it is
        // given back here.
        drop(heir);
        let _ = self.page.arena.segment.is_dead(self.page.id);
    }
}

impl Arena {
    /// Gives the child of that page all that this process holds. The table stands still from here on.
    fn bequeath(&self, page: &Page) {
        let mut written = page.written();
        let fresh = matches!(*written, Written::Nothing);
        *written = self.handles.freeze(|counts| {
            if !fresh {
                return Written::Twice;
            }
            let counts: Counts =
                counts.iter().filter(|(_, holds)| holds.all > 0).map(|(at, holds)| (*at, *holds)).collect();
            for (index, holds) in &counts {
                let Some(entry) = self.segment.entry(*index) else { continue };
                life::gain(entry, page.id);
                if holds.senders > 0 {
                    life::join_side(entry, Side::Sender, page.id);
                }
                if holds.receivers > 0 {
                    life::join_side(entry, Side::Receiver, page.id);
                }
            }
            Written::Counts(counts, self.waits())
        });
    }

    /// A handle that the parent had, in the child: it takes over the count of the old one. Of one that was made again
    /// before, and where there is no will: as [`Arena::upgrade`].
    ///
    /// # Errors
    /// As [`Arena::upgrade`]; `Mismatch` for an object of another arena.
    pub(crate) fn inherit(self: &Arc<Self>, old: &ObjectRef) -> Result<(ObjectRef, Kind)> {
        self.segment.check_fork()?;
        if old.arena.segment.uuid() != self.segment.uuid() {
            return Err(Error::new(ErrorKind::Mismatch, "this handle is one of another arena"));
        }
        let gone = || Error::new(ErrorKind::NotFound, "this object is gone");
        let entry = self.segment.entry(old.index).ok_or_else(gone)?;
        let is_first = old.is_forked() && old.inherited.swap(1, Relaxed) == 0;
        if is_first && self.handles().claim(old.index, old.side) {
            return Ok(self.held(old.index, entry, old.generation, old.name(), old.side));
        }
        self.upgrade(old.index, old.generation)
    }

    /// At the end of the attachment: gives back what the parent had and nobody here has made again.
    pub(super) fn give_up_unclaimed(&self) {
        let unclaimed = self.handles().unclaimed();
        for (index, holds) in unclaimed {
            for _ in 0..holds.senders {
                self.count_out(index, Side::Sender);
            }
            for _ in 0..holds.receivers {
                self.count_out(index, Side::Receiver);
            }
            for _ in holds.senders + holds.receivers..holds.all {
                self.count_out(index, Side::Neither);
            }
        }
    }
}
