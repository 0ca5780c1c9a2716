//! Locks that protect no data of their own: `Lock`, and `RLock`, which its holder may take again.
//!
//! ```text
//! byte 0     LockWords   sync::mutex: who holds it, who waits, who died with it
//! ```
//! What such a lock protects is the program's business, so a death in it is told to the next holder, once, and the
//! lock works on. A [`Mutex`](crate::Mutex) has its data with it, and fails until they are repaired.
//!
//! | killed | what is left | the next `lock` |
//! |---|---|---|
//! | before it holds | nothing, or a spare wake and a bit among the sleepers | gets it |
//! | while it holds | the word names it | after recovery, with `previous_owner_died` |
//! | after it forgot its guard, with or without its handle | the word names it | the same |
//! | in the middle of a release | free, sleepers asleep | recovery wakes one and rings all, else a slice |
//! | recovery, half-way | who died, and the word still names it | the next recovery writes the same |
//!
//! Lock order, times and cycles are not the lock's matter: see [`detect`](crate::Manager::detect_deadlocks).

mod held;
mod recursive;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::entry::Entry;
use ginnel_layout::lock::LockWords;
use ginnel_segment::Segment;
use ginnel_sync::Deadline;
use ginnel_sync::mutex::{self, Holder, Locked};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{ErrorKind, Owner, Result};
use crate::handle::Handle;
use crate::info::{self, SyncInfo};
use crate::manager::{Manager, sealed};
use crate::sweep::tag;
use crate::words;

pub(crate) use held::{bury, explain, is_owner, last_dead, owner, probe, wait_for};
pub use recursive::{RLock, RLockGuard};

/// What the death of `dead` means for a lock, and for all that are nothing but [`LockWords`].
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    if let Some(words) = words::front_of::<LockWords>(segment, entry) {
        bury(segment, words, dead);
        mutex::recover_in(words, dead, true);
    }
}

/// Does the lock at the beginning of an object name `id`?
pub(crate) fn names(segment: &Segment, entry: &Entry, id: ParticipantId) -> bool {
    let words = words::front_of::<LockWords>(segment, entry);
    words.is_some_and(|words| is_owner(words, id))
}

/// A lock without data, which one thread of one process holds at a time.
///
/// If a holder dies, the next one gets the lock and is told, by [`LockGuard::previous_owner_died`]. Handles are
/// `Clone + Send + Sync`, and may be sent inside messages. Locking it again in the thread that holds it is the error
/// `Deadlock`, not a hang; [`RLock`] allows it. After a bare `fork` the child's handles answer `Forked`, and guards of
/// the parent release nothing there.
///
/// Progress: uncontended, one CAS and one swap on one cache line. No fairness: a running thread may overtake one that
/// was woken.
///
/// ```
/// use ginnel_object::lock::Lock;
///
/// let door = Lock::new()?;
/// let guard = door.lock()?;
/// assert!(door.is_locked() && door.try_lock()?.is_none());
/// drop(guard);
/// assert!(!door.is_locked());
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Clone)]
pub struct Lock {
    handle: Handle<LockWords>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("object", &self.handle).finish_non_exhaustive()
    }
}

impl Lock {
    /// A lock in the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Manager::current()?.create()
    }

    /// Takes it; waits while another holds it.
    ///
    /// # Errors
    /// `Deadlock` when this thread holds it, or when the detector found a cycle; `Forked`; `Corrupted`.
    #[inline]
    pub fn lock(&self) -> Result<LockGuard<'_>> {
        self.lock_until(Deadline::NEVER)
    }

    /// Takes it if nobody holds it. Never waits.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`. To a thread that holds it, it is taken.
    #[inline]
    pub fn try_lock(&self) -> Result<Option<LockGuard<'_>>> {
        self.try_with(mutex::try_lock_in)
    }

    /// Takes it; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with the owner; else as [`Lock::lock`].
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<LockGuard<'_>> {
        self.lock_until(Deadline::after(timeout))
    }

    /// Takes it; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`, with the owner; else as [`Lock::lock`].
    #[inline]
    pub fn lock_deadline(&self, deadline: Instant) -> Result<LockGuard<'_>> {
        self.lock_until(Deadline::at(deadline))
    }

    /// Who holds it now.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        owner(&self.handle, self.handle.words())
    }

    /// Does anybody hold it, at about this moment?
    #[must_use]
    pub fn is_locked(&self) -> bool {
        !self.is_ready()
    }

    /// Who holds it and who waits, at about this moment. For people and tools.
    #[must_use]
    pub fn info(&self) -> SyncInfo {
        info::of_lock(self.handle.words(), self.handle.arena())
    }

    /// Releases it for whoever holds it, as some languages allow. For bindings: the holder's guard must have been
    /// forgotten (`std::mem::forget`), because when it is dropped it would release the lock of the next holder.
    ///
    /// # Errors
    /// `Invalid` when nobody holds it; `Forked`.
    pub fn release_unowned(&self) -> Result<()> {
        release_unowned(&self.handle)
    }

    /// Takes it, waits up to `timeout`, also while this thread holds it: as in languages whose locks have no owner,
    /// another may release it. The detector does not see the wait. For bindings, which forget the guard.
    ///
    /// # Errors
    /// `Timeout`, with the owner; `Forked`; `Corrupted`.
    pub fn lock_unowned(&self, timeout: Duration) -> Result<LockGuard<'_>> {
        self.handle.check_fork()?;
        let (words, me, segment) = (self.handle.words(), self.handle.holder(), self.handle.segment());
        let outcome = self.handle.until(Deadline::after(timeout), |waiter, deadline| {
            mutex::wait_even_for_me_in(words, me, waiter, deadline, segment)
        });
        match outcome {
            Ok(locked) => Ok(self.guard(&locked)),
            Err(why) => Err(explain(&self.handle, why, "lock")),
        }
    }

    /// Does the calling thread hold it?
    #[must_use]
    #[inline]
    pub fn is_mine(&self) -> bool {
        mutex::is_held_by(self.handle.words(), self.handle.holder())
    }

    /// Does a thread of this process hold it, at about this moment?
    #[must_use]
    pub fn is_ours(&self) -> bool {
        is_owner(self.handle.words(), self.handle.me())
    }

    #[inline(always)]
    fn lock_until(&self, deadline: Deadline) -> Result<LockGuard<'_>> {
        self.handle.check_fork()?;
        let (words, me) = (self.handle.words(), self.handle.holder());
        match mutex::take_free(words, me) {
            Some(_) => Ok(LockGuard::new(self, words, None)),
            None => self.lock_slowly(deadline, me),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_slowly(&self, deadline: Deadline, me: Holder) -> Result<LockGuard<'_>> {
        let locked = wait_for(&self.handle, self.handle.words(), me, deadline, "lock")?;
        Ok(self.guard(&locked))
    }

    #[inline(always)]
    fn try_with(&self, take: impl FnOnce(&LockWords, Holder) -> Taken) -> Result<Option<LockGuard<'_>>> {
        self.handle.check_fork()?;
        match take(self.handle.words(), self.handle.holder()) {
            Ok(locked) => Ok(locked.map(|locked| self.guard(&locked))),
            Err(why) => Err(explain(&self.handle, why, "lock")),
        }
    }

    #[inline]
    fn guard(&self, locked: &Locked) -> LockGuard<'_> {
        let words = self.handle.words();
        LockGuard::new(self, words, if locked.told() { Some(Box::new(last_dead(words))) } else { None })
    }
}

/// The outcome of a try at the word.
type Taken = std::result::Result<Option<Locked>, mutex::LockError>;

/// For those who wait for several things, and for pollers.
impl Lock {
    pub(crate) fn lock_words(&self) -> &LockWords {
        self.handle.words()
    }

    /// Could it be taken, at about this moment?
    pub(crate) fn is_ready(&self) -> bool {
        mutex::owner(&self.handle.words().word).is_none()
    }

    /// At the end of a slice: asks whether the holder lives, and has it recovered if not.
    pub(crate) fn probe(&self) {
        probe(&self.handle, self.handle.words());
    }

    /// [`Lock::try_lock`] for one that has armed.
    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn try_lock_armed(&self) -> Result<Option<LockGuard<'_>>> {
        self.try_with(mutex::try_lock_armed)
    }
}

/// Gives back a lock that protects nothing, for whoever holds it.
fn release_unowned(handle: &Handle<LockWords>) -> Result<()> {
    handle.check_fork()?;
    if mutex::release_unowned(handle.words()) {
        return Ok(());
    }
    Err(handle.error(ErrorKind::Invalid, "nobody holds the lock, so it cannot be released"))
}

/// The lock, held. Dropping it releases the lock. Not `Send`: the thread that locks is the one that unlocks.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    /// The words of `lock`: looking for them there again would stand in the way of the release.
    words: &'a LockWords,
    died: Option<Box<Owner>>,
    not_send: PhantomData<*const ()>,
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("died", &self.died).finish_non_exhaustive()
    }
}

impl<'a> LockGuard<'a> {
    #[inline(always)]
    fn new(lock: &'a Lock, words: &'a LockWords, died: Option<Box<Owner>>) -> Self {
        Self { lock, words, died, not_send: PhantomData }
    }

    /// The process that died while it held the lock, if nobody has held it since: what the lock protects may be half
    /// done. Told once; whoever holds the lock next is not told again.
    #[must_use]
    pub fn previous_owner_died(&self) -> Option<&Owner> {
        self.died.as_deref()
    }

    /// The lock it holds.
    pub(crate) fn lock(&self) -> &'a Lock {
        self.lock
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A guard inherited through a bare fork is the parent's to release.
        if !self.lock.handle.is_forked() {
            mutex::unlock_whole(self.words);
        }
    }
}

impl sealed::Sealed for Lock {
    type Options = ();

    fn kind() -> Kind {
        Kind { tag: tag::LOCK, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, (): ()) -> Result<ObjectRef> {
        // All zero is a free lock.
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
impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for Lock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
