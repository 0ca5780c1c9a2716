//! The lock that its holder may take again.
//!
//! ```text
//! byte 0     LockWords   word: who holds it | depth: how often
//! ```
//! `depth` is written by the holder only, so it needs no instruction that reads and writes at once. It lies in the
//! shared line, because two handles of one lock in one thread have to agree on it.
//!
//! - I1 while the word names a thread, `depth` is the number of its guards; nobody else reads or writes it.
//! - I2 `depth` is written anew at each taking of a free word, so what a dead holder left there is of no account.
//!
//! | killed | what is left | the next `lock` |
//! |---|---|---|
//! | between a change of `depth` and the release | the word names it, any depth | after recovery: depth 1, with `previous_owner_died` |
//! | anywhere else | as for [`Lock`](super::Lock) | the same |

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::lock::LockWords;
use ginnel_sync::Deadline;
use ginnel_sync::mutex::{self, Holder, Locked};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Taken, explain, is_owner, last_dead, owner, probe, release_unowned, wait_for};
use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{ErrorKind, Owner, Result};
use crate::handle::Handle;
use crate::info::{self, SyncInfo};
use crate::manager::{Manager, sealed};
use crate::sweep::tag;

/// The tag that threads share which came too late to get one of their own.
const SHARED_TAG: u16 = u16::MAX;

/// A lock without data, which the thread that holds it may take again.
///
/// It is free for others when as many guards were dropped as were taken. If a holder dies, however deep, the next one
/// gets the lock and is told, by [`RLockGuard::previous_owner_died`]. Handles are `Clone + Send + Sync`, and may be
/// sent inside messages. After a bare `fork` the child's handles answer `Forked`, and guards of the parent release
/// nothing there.
///
/// Progress: as [`Lock`](super::Lock); taking it again is a load and a store.
///
/// ```
/// use ginnel_object::lock::RLock;
///
/// let door = RLock::new()?;
/// let outer = door.lock()?;
/// drop(door.lock()?);
/// assert!(door.is_locked());
/// drop(outer);
/// assert!(!door.is_locked());
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Clone)]
pub struct RLock {
    handle: Handle<LockWords>,
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock").field("object", &self.handle).finish_non_exhaustive()
    }
}

impl RLock {
    /// A lock in the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Manager::current()?.create()
    }

    /// Takes it; waits while another thread holds it.
    ///
    /// # Errors
    /// `Invalid` when this thread has taken it 4294967295 times; `Unsupported` in a thread that came when 65534 others
    /// lived in this process, because it cannot be told apart; `Deadlock` when the detector found a cycle; `Forked`;
    /// `Corrupted`.
    #[inline]
    pub fn lock(&self) -> Result<RLockGuard<'_>> {
        self.lock_until(Deadline::NEVER)
    }

    /// Takes it if no other thread holds it. Never waits.
    ///
    /// # Errors
    /// As [`RLock::lock`].
    #[inline]
    pub fn try_lock(&self) -> Result<Option<RLockGuard<'_>>> {
        self.try_with(mutex::try_lock_in)
    }

    /// Takes it; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with the owner; else as [`RLock::lock`].
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<RLockGuard<'_>> {
        self.lock_until(Deadline::after(timeout))
    }

    /// Takes it; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`, with the owner; else as [`RLock::lock`].
    #[inline]
    pub fn lock_deadline(&self, deadline: Instant) -> Result<RLockGuard<'_>> {
        self.lock_until(Deadline::at(deadline))
    }

    /// Gives back one of the guards of the calling thread, which has forgotten it. False: this thread does not hold it.
    /// For bindings.
    ///
    /// # Errors
    /// `Forked`.
    #[inline]
    pub fn release_forgotten(&self) -> Result<bool> {
        self.handle.check_fork()?;
        let is_mine = self.is_mine();
        if is_mine {
            self.shallower();
        }
        Ok(is_mine)
    }

    /// Does the calling thread hold it?
    #[must_use]
    #[inline]
    pub fn is_mine(&self) -> bool {
        mutex::is_held_by(self.handle.words(), self.handle.holder())
    }

    /// How often a thread of this process has taken it, at about this moment. 0: none holds it.
    #[must_use]
    pub fn depth_of_ours(&self) -> u32 {
        let words = self.handle.words();
        if is_owner(words, self.handle.me()) { words.depth.load(Relaxed) } else { 0 }
    }

    /// Who holds it now.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        owner(&self.handle, self.handle.words())
    }

    /// Does anybody hold it, at about this moment?
    #[must_use]
    pub fn is_locked(&self) -> bool {
        mutex::owner(&self.handle.words().word).is_some()
    }

    /// Who holds it and who waits, at about this moment. For people and tools.
    #[must_use]
    pub fn info(&self) -> SyncInfo {
        info::of_lock(self.handle.words(), self.handle.arena())
    }

    /// Releases it for whoever holds it, however deep, as some languages allow. For bindings: the holder's guards must
    /// have been forgotten (`std::mem::forget`), because when they are dropped they would release the lock of the next
    /// holder.
    ///
    /// # Errors
    /// `Invalid` when nobody holds it; `Forked`.
    pub fn release_unowned(&self) -> Result<()> {
        release_unowned(&self.handle)
    }

    #[inline(always)]
    fn lock_until(&self, deadline: Deadline) -> Result<RLockGuard<'_>> {
        self.handle.check_fork()?;
        let words = self.handle.words();
        let me = self.holder()?;
        if mutex::take_free(words, me).is_some() {
            words.depth.store(1, Relaxed);
            return Ok(RLockGuard::new(self, None));
        }
        if mutex::is_held_by(words, me) {
            return self.deeper();
        }
        let locked = wait_for(&self.handle, words, me, deadline, "recursive lock")?;
        Ok(self.first_guard(&locked))
    }

    #[inline(always)]
    fn try_with(&self, take: impl FnOnce(&LockWords, Holder) -> Taken) -> Result<Option<RLockGuard<'_>>> {
        self.handle.check_fork()?;
        let words = self.handle.words();
        let me = self.holder()?;
        if mutex::is_held_by(words, me) {
            return self.deeper().map(Some);
        }
        match take(words, me) {
            Ok(locked) => Ok(locked.map(|locked| self.first_guard(&locked))),
            Err(why) => Err(explain(&self.handle, why, "recursive lock")),
        }
    }

    /// The calling thread, if it can be told from others.
    #[inline(always)]
    fn holder(&self) -> Result<Holder> {
        let me = self.handle.holder();
        if me.thread() == SHARED_TAG { Err(self.too_many_threads()) } else { Ok(me) }
    }

    #[cold]
    fn too_many_threads(&self) -> crate::error::Error {
        self.handle.error(
            ErrorKind::Unsupported,
            "this process has more than 65534 threads at work with locks, so its holder cannot be told apart",
        )
    }

    /// One more guard of this thread, which holds the lock (I1).
    fn deeper(&self) -> Result<RLockGuard<'_>> {
        let depth = &self.handle.words().depth;
        match depth.load(Relaxed).checked_add(1) {
            Some(deeper) => depth.store(deeper, Relaxed),
            None => return Err(self.handle.error(ErrorKind::Invalid, "the lock was taken too often")),
        }
        Ok(RLockGuard::new(self, None))
    }

    /// One guard less of this thread (I1).
    #[inline]
    fn shallower(&self) {
        let words = self.handle.words();
        let depth = words.depth.load(Relaxed);
        if depth > 1 {
            words.depth.store(depth - 1, Relaxed);
        } else {
            mutex::unlock_whole(words);
        }
    }

    #[inline]
    fn first_guard(&self, locked: &Locked) -> RLockGuard<'_> {
        let words = self.handle.words();
        words.depth.store(1, Relaxed);
        RLockGuard::new(self, if locked.told() { Some(Box::new(last_dead(words))) } else { None })
    }
}

/// For those who wait for several things, and for pollers.
impl RLock {
    pub(crate) fn lock_words(&self) -> &LockWords {
        self.handle.words()
    }

    /// Could this thread take it, at about this moment?
    pub(crate) fn is_ready(&self) -> bool {
        let words = self.handle.words();
        mutex::owner(&words.word).is_none() || mutex::is_held_by(words, self.handle.holder())
    }

    /// At the end of a slice: asks whether the holder lives, and has it recovered if not.
    pub(crate) fn probe(&self) {
        probe(&self.handle, self.handle.words());
    }

    /// [`RLock::try_lock`] for one that has armed.
    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn try_lock_armed(&self) -> Result<Option<RLockGuard<'_>>> {
        self.try_with(mutex::try_lock_armed)
    }
}

/// For condition variables, which release the lock whole and take it again as deep as it was.
impl RLock {
    /// Releases it, and says how often it was taken. The calling thread holds it.
    pub(crate) fn release_all(&self) -> u32 {
        let words = self.handle.words();
        let depth = words.depth.load(Relaxed);
        mutex::unlock_whole(words);
        depth
    }

    /// Takes it again that often. The guard stands for one of them.
    ///
    /// # Errors
    /// As [`RLock::lock`].
    pub(crate) fn take_all(&self, depth: u32) -> Result<RLockGuard<'_>> {
        let guard = self.lock()?;
        self.handle.words().depth.store(depth, Relaxed);
        Ok(guard)
    }
}

/// The lock, held once. Dropping the last of a thread's guards releases the lock. Not `Send`: the thread that locks is
/// the one that unlocks.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    died: Option<Box<Owner>>,
    not_send: PhantomData<*const ()>,
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").field("died", &self.died).finish_non_exhaustive()
    }
}

impl<'a> RLockGuard<'a> {
    #[inline(always)]
    fn new(lock: &'a RLock, died: Option<Box<Owner>>) -> Self {
        Self { lock, died, not_send: PhantomData }
    }

    /// The process that died while it held the lock, if nobody has held it since: what the lock protects may be half
    /// done. Told once, to the first guard; guards taken inside it do not know.
    #[must_use]
    pub fn previous_owner_died(&self) -> Option<&Owner> {
        self.died.as_deref()
    }

    /// The lock, still held: its release would be one of several.
    pub(crate) fn into_lock(mut self) -> &'a RLock {
        self.died = None;
        let lock = self.lock;
        std::mem::forget(self);
        lock
    }
}

impl Drop for RLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A guard inherited through a bare fork is the parent's to release.
        if self.lock.handle.is_forked() {
            return;
        }
        self.lock.shallower();
    }
}

impl sealed::Sealed for RLock {
    type Options = ();

    fn kind() -> Kind {
        Kind { tag: tag::RLOCK, format: 0 }
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
impl Serialize for RLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for RLock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
