//! What every handle of a lock or a signal is made of: a hold on the object, its words, and what it knows of waiting.
//!
//! - I1 an [`ObjectRef`] keeps its object LIVE, its pages mapped and its own (`arena`, I2), also in the child of a
//!   fork; so what is borrowed from a handle lives as long as the handle.
//! - I2 an object's first page is aligned to a page; `open` has checked that `W` fits the object's pages and that the
//!   arena has them all; what lies behind is checked against their number.
//! - I3 a type that is [`Shared`] is atomics and nothing else, so any bytes are a value and any process may have it.
//! - I4 `W` is never owned by a handle: dropping or moving one touches no word.
#![allow(unsafe_code, reason = "borrows the words of an object for its handle")]

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex as Private};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::line::PAGE;
use ginnel_layout::lock::{CondvarWords, LockWords, OnceWords, ReaderCell, RwLockWords};
use ginnel_layout::pool::{CrewFront, SeatWords, SlotWords};
use ginnel_layout::process::ProcessWords;
use ginnel_layout::signal::{BarrierWords, EventWords, PermitWords, SemaphoreWords};
use ginnel_layout::store::{Shard, StoreFront};
use ginnel_layout::value::ValueWords;
use ginnel_segment::Segment;
use ginnel_sync::{Deadline, Holder, LockError, Mode, Stop, Waiter};

use crate::arena::{Arena, ObjectRef};
use crate::error::{Error, ErrorKind, Owner, Result};
use crate::message::Plain;
use crate::words::has_room;

/// Words that may be borrowed out of an object's pages.
///
/// # Safety
/// The type is `repr(C)` or transparent, made of the atomics of `layout` and nothing else, and valid whatever its
/// bytes are.
pub(crate) unsafe trait Shared: Sync + 'static {}

// SAFETY: I3: one atomic.
unsafe impl Shared for AtomicU32 {}
// SAFETY: I3: one atomic.
unsafe impl Shared for AtomicU64 {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for LockWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for ReaderCell {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for RwLockWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for CondvarWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for OnceWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for SemaphoreWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for PermitWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for EventWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for BarrierWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for ProcessWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for CrewFront {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for SeatWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for SlotWords {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for ValueWords {}

// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for StoreFront {}
// SAFETY: I3: repr(C), atomics only.
unsafe impl Shared for Shard {}

/// Why a wait ended, if it may have been a signal.
pub(crate) trait MayBeInterrupted {
    /// Did a signal handler run, and nothing else?
    fn is_interrupted(&self) -> bool;
}

impl MayBeInterrupted for Stop {
    fn is_interrupted(&self) -> bool {
        *self == Self::Interrupted
    }
}

impl MayBeInterrupted for LockError {
    fn is_interrupted(&self) -> bool {
        *self == Self::Interrupted
    }
}

/// A handle of an object that begins with `W`.
pub(crate) struct Handle<W> {
    object: ObjectRef,
    me: ParticipantId,
    words: NonNull<W>,
    /// What this handle has learned about waiting. Only a hint: a thread that finds it in use starts afresh.
    waiter: Private<Waiter>,
}

// SAFETY: I1, I3, I4: nothing of it belongs to a thread.
unsafe impl<W: Shared> Send for Handle<W> {}
// SAFETY: I1, I3: all that is lent is atomics.
unsafe impl<W: Shared> Sync for Handle<W> {}

impl<W> fmt::Debug for Handle<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}

impl<W> Clone for Handle<W> {
    fn clone(&self) -> Self {
        Self { object: self.object.clone(), me: self.me, words: self.words, waiter: fresh_waiter() }
    }
}

fn fresh_waiter() -> Private<Waiter> {
    Private::new(Waiter::new(Mode::Adaptive))
}

impl<W: Shared> Handle<W> {
    /// A handle of what was made or found.
    ///
    /// # Errors
    /// `Corrupted` when the object is too small for its kind.
    pub(crate) fn open(object: ObjectRef) -> Result<Self> {
        const { assert!(align_of::<W>() <= PAGE) };
        let words = object.base(size_of::<W>())?.cast();
        let me = object.arena().segment().me();
        Ok(Self { object, me, words, waiter: fresh_waiter() })
    }

    /// The words at the beginning of the object.
    #[inline(always)]
    pub(crate) fn words(&self) -> &W {
        // SAFETY: I1, I2, I3.
        unsafe { self.words.as_ref() }
    }

    /// `count` words `at` bytes behind the beginning of the object.
    ///
    /// # Errors
    /// `Corrupted` when the object has not so many; for counts that are read from shared memory.
    #[inline]
    pub(crate) fn tail<T: Shared>(&self, at: usize, count: usize) -> Result<&[T]> {
        let first = self.place::<T>(at, count)?;
        // SAFETY: I1, I2 (as was just checked), I3.
        Ok(unsafe { NonNull::slice_from_raw_parts(first, count).as_ref() })
    }

    /// Where a value of the user's begins, `at` bytes behind the beginning of the object. It may be touched as long
    /// as the handle lives, by whoever the words say.
    ///
    /// # Errors
    /// `Corrupted` when it does not lie in the object.
    #[inline]
    pub(crate) fn data<T: Plain>(&self, at: usize) -> Result<NonNull<T>> {
        self.place(at, 1)
    }

    /// Where `count` values of the user's begin, as [`Handle::data`].
    ///
    /// # Errors
    /// `Corrupted` when they do not lie in the object.
    pub(crate) fn data_slice<T: Plain>(&self, at: usize, count: usize) -> Result<NonNull<[T]>> {
        Ok(NonNull::slice_from_raw_parts(self.place(at, count)?, count))
    }

    #[inline]
    fn place<T>(&self, at: usize, count: usize) -> Result<NonNull<T>> {
        if !has_room::<T>(self.object.pages() as usize * PAGE, at, count) {
            return Err(self.object.corrupted("its size"));
        }
        // SAFETY: I1, I2: inside the object's pages, as was just checked.
        let place = unsafe { self.words.cast::<u8>().add(at) };
        Ok(place.cast())
    }
}

impl<W> Handle<W> {
    /// The hold on the object: for messages, names and errors.
    pub(crate) fn object(&self) -> &ObjectRef {
        &self.object
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        self.object.arena()
    }

    /// The segment, which is also who knows the dead ([`Liveness`](ginnel_layout::Liveness)).
    pub(crate) fn segment(&self) -> &Segment {
        self.object.arena().segment()
    }

    /// This participant.
    pub(crate) fn me(&self) -> ParticipantId {
        self.me
    }

    /// The calling thread, as words name it.
    #[inline(always)]
    pub(crate) fn holder(&self) -> Holder {
        Holder::current(self.me)
    }

    /// # Errors
    /// `Forked` in the child of a bare fork. One load where all is well.
    #[inline(always)]
    pub(crate) fn check_fork(&self) -> Result<()> {
        self.object.check_fork_fast()
    }

    /// Is this the child of a bare fork? One load. Guards ask before they give anything back.
    #[inline(always)]
    pub(crate) fn is_forked(&self) -> bool {
        self.object.is_forked()
    }

    /// Runs `f` with what this handle knows of waiting, or with a fresh waiter where another thread waits with it.
    pub(crate) fn with_waiter<R>(&self, f: impl FnOnce(&mut Waiter) -> R) -> R {
        // A panic leaves a waiter that works as well as any.
        let mut own = match self.waiter.try_lock() {
            Ok(own) => Some(own),
            Err(std::sync::TryLockError::Poisoned(own)) => Some(own.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        match own.as_deref_mut() {
            Some(waiter) => f(waiter),
            None => f(&mut Waiter::new(Mode::Adaptive)),
        }
    }

    /// Waits with `f` until `deadline`, and goes on after each signal.
    ///
    /// # Errors
    /// Those of `f`, but for an interruption.
    pub(crate) fn until<T, E: MayBeInterrupted>(
        &self,
        deadline: Deadline,
        mut f: impl FnMut(&mut Waiter, Deadline) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with_waiter(|waiter| {
            loop {
                match f(waiter, deadline) {
                    Err(why) if why.is_interrupted() => {}
                    outcome => return outcome,
                }
            }
        })
    }

    /// Who that participant is, for messages.
    pub(crate) fn describe(&self, id: ParticipantId) -> Option<Owner> {
        self.object.arena().describe(id)
    }

    /// An error that names the object.
    #[cold]
    pub(crate) fn error(&self, kind: ErrorKind, happened: impl Into<String>) -> Error {
        self.object.name_error(Error::new(kind, happened))
    }

    /// The error of a word that no correct process writes.
    #[cold]
    pub(crate) fn corrupted(&self, what: &str) -> Error {
        self.object.corrupted(what)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
    use ginnel_layout::line::LINE;
    use ginnel_layout::signal::{EACH_AT, EventControl};
    use ginnel_sync::gate;

    use super::*;
    use crate::arena::Kind;
    use crate::manager::Manager;
    use crate::sweep::tag;
    use crate::words;

    fn event() -> (Manager, Handle<EventWords>) {
        let manager = Manager::new(1 << 20).unwrap();
        let init = |base| words::new_front::<EventWords>(base).control.auto.store(1, Relaxed);
        let kind = Kind { tag: tag::EVENT, format: 0 };
        let object = manager.arena.make(kind, 1, None, init).unwrap();
        let handle = Handle::open(object).unwrap();
        (manager, handle)
    }

    #[test]
    fn a_handle_lends_what_its_maker_wrote_and_recovery_sees_it_too() {
        let (_manager, handle) = event();
        let other = handle.clone();
        assert_eq!(other.words().control.auto.load(Relaxed), 1);
        handle.words().control.sets.store(7, Relaxed);
        let entry = handle.segment().entry(handle.object().index()).unwrap();
        let seen = words::front_of::<EventWords>(handle.segment(), entry).unwrap();
        assert_eq!(seen.control.sets.load(Relaxed), 7);
    }

    #[test]
    fn what_lies_behind_is_checked_against_the_pages() {
        let (_manager, handle) = event();
        let entry = handle.segment().entry(handle.object().index()).unwrap();
        let tail_of = |at, count| words::tail_of::<AtomicU64>(handle.segment(), entry, at, count);
        let room = (PAGE - EACH_AT) / 8;
        handle.tail::<AtomicU64>(EACH_AT, room).unwrap()[room - 1].store(5, Relaxed);
        assert_eq!(tail_of(EACH_AT, room).unwrap()[room - 1].load(Relaxed), 5);
        for (at, count) in [(EACH_AT, room + 1), (PAGE + 8, 0), (4, 1), (0, usize::MAX), (usize::MAX - 7, 1)]
        {
            assert!(handle.tail::<AtomicU64>(at, count).unwrap_err().is_corrupted(), "{at} {count}");
            assert!(tail_of(at, count).is_none(), "{at} {count}");
        }
        assert!(handle.tail::<ReaderCell>(LINE, PAGE / LINE - 1).is_ok());
        assert!(handle.tail::<ReaderCell>(8, 1).is_err());
        assert!(handle.data::<[u64; 4]>(PAGE - 32).is_ok());
        assert!(handle.data::<[u64; 4]>(PAGE - 24).is_err());
    }

    #[test]
    fn an_object_too_small_for_its_kind_is_refused() {
        let (_manager, handle) = event();
        struct Large(#[expect(dead_code, reason = "its size is what counts")] [AtomicU64; 513]);
        // SAFETY: I3: atomics only.
        unsafe impl Shared for Large {}
        assert!(Handle::<Large>::open(handle.object().clone()).unwrap_err().is_corrupted());
    }

    #[test]
    fn signals_do_not_end_a_wait_and_the_waiter_may_be_in_use() {
        let (_manager, handle) = event();
        let mut turns = 0;
        let outcome = handle.until(Deadline::NEVER, |_, deadline| {
            assert_eq!(deadline, Deadline::NEVER);
            turns += 1;
            if turns < 3 { Err(Stop::Interrupted) } else { Err::<(), _>(Stop::TimedOut) }
        });
        assert_eq!((outcome, turns), (Err(Stop::TimedOut), 3));
        let outer = |_: &mut Waiter| handle.with_waiter(|_| 42);
        assert_eq!(handle.with_waiter(outer), 42);
        let locked = handle.until(Deadline::NEVER, |_, _| Err::<(), _>(LockError::Deadlock));
        assert_eq!(locked, Err(LockError::Deadlock));
    }

    #[test]
    fn threads_with_handles_of_their_own_meet_at_a_gate() {
        let (_manager, handle) = event();
        let other = handle.clone();
        let waiting = thread::spawn(move || {
            let EventWords { control, line } = other.words();
            let ready = || (control.state.load(Acquire) & EventControl::SET != 0).then_some(());
            other.until(Deadline::after(Duration::from_secs(60)), |waiter, deadline| {
                gate::wait(waiter, line, deadline, ready, || ())
            })
        });
        handle.words().control.state.store(EventControl::SET, Release);
        gate::post_all(&handle.words().line);
        assert_eq!(waiting.join().unwrap(), Ok(()));
    }
}
