//! Waiting for a change of what a lock protects.
//!
//! ```text
//! byte 0     CondvarWords   sync::condvar: counters, and the line on which its waiters sleep
//! ```
//! It has no lock of its own and keeps nothing of a waiter. A wait gives the guard's lock back and takes it again; the
//! beginning of the wait is read under the lock, so no notification after it is missed.
//!
//! | killed | what is left | the others |
//! |---|---|---|
//! | waiting | nothing but a bit for people; its lock is the lock's matter | a wake that it took with it costs them a slice |
//! | notifying | perhaps sleepers not woken | recovery wakes all, else a slice |
//! | taking the lock again | what the lock's own table says | the same |

mod row;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::lock::CondvarWords;
use ginnel_segment::Segment;
use ginnel_sync::{Deadline, condvar};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::Result;
use crate::handle::Handle;
use crate::info::{self, SyncInfo};
use crate::lock::{Lock, LockGuard, RLock, RLockGuard};
use crate::manager::{Manager, sealed};
use crate::message::Plain;
use crate::mutex::{Mutex, MutexGuard};
use crate::sweep::tag;
use crate::words;

pub use row::{Place, Waiters};

/// What the death of `dead` means for it.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    if entry.format.load(Relaxed) == row::FORMAT {
        row::recover(segment, entry, dead);
    } else if let Some(words) = words::front_of::<CondvarWords>(segment, entry) {
        condvar::recover(words, dead);
    }
}

/// A guard that a [`Condvar`] can wait with: that of a [`Mutex`], a [`Lock`] or an [`RLock`]. Sealed.
pub trait Guard: release::Release {}

impl<G: release::Release> Guard for G {}

/// How a guard's lock is given back and taken again, out of sight of users.
mod release {
    use super::Result;

    pub trait Release: Sized {
        /// What is kept meanwhile.
        type Lock;

        fn release(self) -> Self::Lock;
        fn take_again(lock: Self::Lock) -> Result<Self>;
    }
}

impl<'a, T: Plain> release::Release for MutexGuard<'a, T> {
    type Lock = &'a Mutex<T>;

    fn release(self) -> Self::Lock {
        self.mutex()
    }

    fn take_again(lock: Self::Lock) -> Result<Self> {
        lock.lock()
    }
}

impl<'a> release::Release for LockGuard<'a> {
    type Lock = &'a Lock;

    fn release(self) -> Self::Lock {
        self.lock()
    }

    fn take_again(lock: Self::Lock) -> Result<Self> {
        lock.lock()
    }
}

impl<'a> release::Release for RLockGuard<'a> {
    type Lock = (&'a RLock, u32);

    fn release(self) -> Self::Lock {
        let lock = self.into_lock();
        (lock, lock.release_all())
    }

    fn take_again((lock, depth): Self::Lock) -> Result<Self> {
        lock.take_all(depth)
    }
}

/// Whether a wait ended because its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Did the time come before a notification?
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.0
    }
}

/// A place to wait until another thread, of any process, says that something has changed.
///
/// A wait may return without a notification, so look again under the lock; the forms with `while` do. Notifying never
/// waits, for nobody: a waiter that was killed or stopped is of no account. If the waiter that a
/// [`Condvar::notify_one`] woke dies at once, the others return within 50 ms, and look. Handles are
/// `Clone + Send + Sync`, and may be sent inside messages.
///
/// ```
/// use ginnel_object::Mutex;
/// use ginnel_object::condvar::Condvar;
///
/// let (jobs, more) = (Mutex::new(0_u64)?, Condvar::new()?);
/// let (theirs, news) = (jobs.clone(), more.clone());
/// let worker = std::thread::spawn(move || -> ginnel_object::Result<u64> {
///     let jobs = news.wait_while(theirs.lock()?, |jobs| *jobs == 0)?;
///     Ok(*jobs)
/// });
/// *jobs.lock()? = 3;
/// more.notify_one();
/// assert_eq!(worker.join().unwrap()?, 3);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Clone)]
pub struct Condvar {
    handle: Handle<CondvarWords>,
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("object", &self.handle).finish_non_exhaustive()
    }
}

impl Condvar {
    /// A condition variable in the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Manager::current()?.create()
    }

    /// Gives the guard's lock back, waits for a notification, and takes the lock again. A recursive lock is given back
    /// whole, however deep, and taken again as deep.
    ///
    /// # Errors
    /// What taking the lock again gives: `OwnerDied` of a mutex, `Deadlock` by the detector, `Corrupted`. `Forked`. The
    /// lock is not held then.
    pub fn wait<G: Guard>(&self, guard: G) -> Result<G> {
        self.wait_until(guard, Deadline::NEVER).map(|(guard, _)| guard)
    }

    /// Waits as long as `condition` holds; looks at it under the lock, before the first wait too.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_while<'a, T: Plain>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T>> {
        self.wait_while_until(guard, Deadline::NEVER, condition).map(|(guard, _)| guard)
    }

    /// [`Condvar::wait`], up to `timeout`. Taking the lock again is not limited by it.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_timeout<G: Guard>(&self, guard: G, timeout: Duration) -> Result<(G, WaitTimeoutResult)> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// [`Condvar::wait_while`], up to `timeout`. If the time was over, `condition` held.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_timeout_while<'a, T: Plain>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_while_until(guard, Deadline::after(timeout), condition)
    }

    /// [`Condvar::wait`], until `deadline`. Taking the lock again is not limited by it.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_deadline<G: Guard>(&self, guard: G, deadline: Instant) -> Result<(G, WaitTimeoutResult)> {
        self.wait_until(guard, Deadline::at(deadline))
    }

    /// Wakes one of those who wait. Does nothing in the child of a bare fork.
    pub fn notify_one(&self) {
        self.notify_many(1);
    }

    /// Wakes up to `most` of those who wait. Does nothing in the child of a bare fork.
    pub fn notify_many(&self, most: u32) {
        if !self.handle.is_forked() && most > 0 {
            condvar::notify(self.handle.words(), most);
        }
    }

    /// Wakes all who wait. Does nothing in the child of a bare fork.
    pub fn notify_all(&self) {
        self.notify_many(u32::MAX);
    }

    /// Who waits, at about this moment. For people and tools.
    #[must_use]
    pub fn info(&self) -> SyncInfo {
        info::of_sleepers(&self.handle.words().control.sleepers, self.handle.arena())
    }

    fn wait_until<G: Guard>(&self, guard: G, deadline: Deadline) -> Result<(G, WaitTimeoutResult)> {
        self.handle.check_fork()?;
        let words = self.handle.words();
        let begun = condvar::begin(words);
        let lock = guard.release();
        let outcome = self.handle.until(deadline, |waiter, deadline| {
            condvar::wait(words, self.handle.me(), begun, waiter, deadline)
        });
        Ok((G::take_again(lock)?, WaitTimeoutResult(outcome.is_err())))
    }

    fn wait_while_until<'a, T: Plain>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Deadline,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let mut over = false;
        loop {
            if !condition(&mut guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if over {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let (again, outcome) = self.wait_until(guard, deadline)?;
            guard = again;
            over = outcome.timed_out();
        }
    }
}

impl sealed::Sealed for Condvar {
    type Options = ();

    fn kind() -> Kind {
        Kind { tag: tag::CONDVAR, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, (): ()) -> Result<ObjectRef> {
        // All zero: nobody waits.
        arena.make(Self::kind(), 1, name, |_| ())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        Ok(Self { handle: Handle::open(object)? })
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl Serialize for Condvar {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for Condvar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
