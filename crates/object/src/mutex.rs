//! Data that only one may touch; a holder's death is reported, never a hang.
//!
//! ```text
//! byte 0     LockWords sync::mutex: who holds it, who waits, who died with it, whether the data need repair
//! byte 128   data      T, in the bytes that it has
//! ```
//! Invariants
//! - I1 the data are touched only by the holder of the word, and by the maker before the object is LIVE.
//! - I2 `T` is [`Plain`]: whatever bytes a dead holder left are a value, perhaps a wrong one; `lock` says so
//!   until somebody has repaired them.
//! - I3 the object's pages stay mapped as long as the handle lives (`arena`, I2); its first page is aligned to a
//!   page, so data at byte 128 are aligned to anything a [`Plain`] type up to that may ask.
//!
//! | killed | what is left | the next `lock` |
//! |---|---|---|
//! | before it holds | nothing, or one spare wake | gets it |
//! | while it holds | the word names it | after recovery: `OwnerDied`, until `lock_or_repair` |
//! | in `lock_or_repair`, before the closure is done | the same | the same |
//! | after the release, before its wake | free, sleepers asleep | recovery wakes one and rings all, else a slice |
#![allow(unsafe_code, reason = "guards lend the data they protect")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::entry::Entry;
use ginnel_layout::line::PAGE;
use ginnel_layout::lock::LockWords;
use ginnel_segment::Segment;
use ginnel_sync::Deadline;
use ginnel_sync::mutex::{self, Holder, LockError, Locked};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef, format_of};
use crate::carry;
use crate::error::{Error, ErrorKind, Owner, Result};
use crate::handle::Handle;
use crate::info::{self, SyncInfo};
use crate::lock;
use crate::manager::{Manager, sealed};
use crate::message::Plain;
use crate::sweep::tag;
use crate::words::{self, MUTEX_DATA_AT};

/// What the death of `dead` means for a mutex.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    lock::recover(segment, entry, dead);
}

/// Data of type `T` in shared memory, which one thread of one process may touch at a time.
///
/// If a holder dies, `lock` fails with `OwnerDied` until somebody calls [`Mutex::lock_or_repair`]: half-written
/// data are never handed out as if they were whole. Handles are `Clone + Send + Sync`. Locking it again in the
/// thread that holds it is the error `Deadlock`, not a hang. After a bare `fork` the child's handles answer
/// `Forked`.
///
/// ```
/// use ginnel_object::Mutex;
///
/// let total = Mutex::new(40_u64)?;
/// *total.lock()? += 2;
/// assert_eq!(*total.lock()?, 42);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
pub struct Mutex<T> {
    handle: Handle<LockWords>,
    data: NonNull<T>,
}

// SAFETY: I1: the word admits one thread at a time, whoever's handle it uses.
unsafe impl<T: Plain> Send for Mutex<T> {}
// SAFETY: I1.
unsafe impl<T: Plain> Sync for Mutex<T> {}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("object", &self.handle).finish_non_exhaustive()
    }
}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), data: self.data }
    }
}

/// The first value of something that is made. Default: all bytes zero.
#[derive(Debug, Clone, Copy)]
pub struct Init<T>(pub Option<T>);

impl<T> Default for Init<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Plain> Mutex<T> {
    /// A mutex over `value`, in the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new(value: T) -> Result<Self> {
        Manager::current()?.create_with(Init(Some(value)))
    }

    /// Locks it; waits while another holds it.
    ///
    /// # Errors
    /// `OwnerDied` when a holder died and nobody has repaired the data; `Deadlock` when this thread holds it;
    /// `Forked`; `Corrupted`.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.lock_with(Deadline::NEVER, Self::lock_whole)
    }

    /// Locks it if nobody holds it. Never waits.
    ///
    /// # Errors
    /// As [`Mutex::lock`], but for `Deadlock`: to a thread that holds it, it is taken.
    #[inline]
    pub fn try_lock(&self) -> Result<Option<MutexGuard<'_, T>>> {
        self.try_with(mutex::try_lock_in)
    }

    /// Locks it; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with the owner; else as [`Mutex::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.lock_with(Deadline::after(timeout), Self::lock_whole)
    }

    /// Locks it; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`, with the owner; else as [`Mutex::lock`].
    pub fn lock_deadline(&self, deadline: Instant) -> Result<MutexGuard<'_, T>> {
        self.lock_with(Deadline::at(deadline), Self::lock_whole)
    }

    /// Locks it; if a holder died with it, `repair` runs first, under the lock, and makes the data whole again.
    /// A panic in `repair`, or a death, leaves it as it was: the next one is told.
    ///
    /// # Errors
    /// As [`Mutex::lock`], but for `OwnerDied`.
    pub fn lock_or_repair(&self, repair: impl FnOnce(&mut T)) -> Result<MutexGuard<'_, T>> {
        let mut guard = self.lock_with(Deadline::NEVER, Self::lock_anyway)?;
        if guard.is_told() {
            repair(&mut guard);
            guard.consistent = true;
        }
        Ok(guard)
    }

    /// Who holds it now.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        lock::owner(&self.handle, self.handle.words())
    }

    /// Who holds it and who waits, at about this moment. For people and tools.
    #[must_use]
    pub fn info(&self) -> SyncInfo {
        info::of_lock(self.handle.words(), self.handle.arena())
    }

    /// A lock that is free has data that need no repair, so only the slow way asks about that.
    #[inline(always)]
    fn lock_with(
        &self,
        deadline: Deadline,
        slowly: impl FnOnce(&Self, Deadline, Holder) -> Result<MutexGuard<'_, T>>,
    ) -> Result<MutexGuard<'_, T>> {
        self.handle.check_fork()?;
        let (words, me) = (self.handle.words(), self.handle.holder());
        match mutex::take_free(words, me) {
            Some(locked) => Ok(MutexGuard::new(self, words, locked)),
            None => slowly(self, deadline, me),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_whole(&self, deadline: Deadline, me: Holder) -> Result<MutexGuard<'_, T>> {
        self.lock_anyway(deadline, me)?.whole()
    }

    /// The lock, with data that may need repair.
    #[cold]
    #[inline(never)]
    fn lock_anyway(&self, deadline: Deadline, me: Holder) -> Result<MutexGuard<'_, T>> {
        let locked = lock::wait_for(&self.handle, self.handle.words(), me, deadline, "mutex")?;
        Ok(self.guard(locked))
    }

    #[inline(always)]
    fn try_with(
        &self,
        take: impl FnOnce(&LockWords, Holder) -> Result<Option<Locked>, LockError>,
    ) -> Result<Option<MutexGuard<'_, T>>> {
        self.handle.check_fork()?;
        match take(self.handle.words(), self.handle.holder()) {
            Ok(Some(locked)) => self.guard(locked).whole().map(Some),
            Ok(None) => Ok(None),
            Err(why) => Err(lock::explain(&self.handle, why, "mutex")),
        }
    }

    // Not of the guard: a reference to it would keep it in memory on the way without contention.
    #[cold]
    fn owner_died(&self) -> Error {
        self.handle
            .error(ErrorKind::OwnerDied, "a process died while it held the mutex")
            .with_owner(Some(lock::last_dead(self.handle.words())))
            .with_advice("repair the data with lock_or_repair")
    }

    #[inline(always)]
    fn guard(&self, locked: Locked) -> MutexGuard<'_, T> {
        MutexGuard::new(self, self.handle.words(), locked)
    }
}

/// For those who wait for several things, and for pollers.
impl<T: Plain> Mutex<T> {
    pub(crate) fn lock_words(&self) -> &LockWords {
        self.handle.words()
    }

    /// Could it be taken, at about this moment?
    pub(crate) fn is_ready(&self) -> bool {
        mutex::owner(&self.handle.words().word).is_none()
    }

    /// At the end of a slice: asks whether the holder lives, and has it recovered if not.
    pub(crate) fn probe(&self) {
        lock::probe(&self.handle, self.handle.words());
    }

    /// [`Mutex::try_lock`] for one that has armed.
    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn try_lock_armed(&self) -> Result<Option<MutexGuard<'_, T>>> {
        self.try_with(mutex::try_lock_armed)
    }
}

/// The lock, held. Dropping it releases the lock. Not `Send`: the thread that locks is the one that unlocks.
#[must_use = "the lock is released when the guard is dropped"]
pub struct MutexGuard<'a, T: Plain> {
    mutex: &'a Mutex<T>,
    /// The words of `mutex`: looking for them there again would stand in the way of the release.
    words: &'a LockWords,
    /// `None` only after the release in `drop`.
    locked: Option<Locked>,
    consistent: bool,
    not_send: PhantomData<*const ()>,
}

impl<T: Plain + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MutexGuard").field(&**self).finish()
    }
}

impl<'a, T: Plain> MutexGuard<'a, T> {
    #[inline(always)]
    fn new(mutex: &'a Mutex<T>, words: &'a LockWords, locked: Locked) -> Self {
        Self { mutex, words, locked: Some(locked), consistent: false, not_send: PhantomData }
    }

    /// The mutex it holds.
    pub(crate) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }

    #[inline(always)]
    fn is_told(&self) -> bool {
        self.locked.as_ref().is_some_and(Locked::told)
    }

    /// The guard, unless the data need repair: then the lock goes back, still marked.
    #[inline(always)]
    fn whole(self) -> Result<Self> {
        if self.is_told() { Err(self.mutex.owner_died()) } else { Ok(self) }
    }
}

impl<T: Plain> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // A guard inherited through a bare fork is the parent's to release.
        if self.mutex.handle.is_forked() {
            return;
        }
        if let Some(locked) = self.locked.take() {
            mutex::unlock_in(self.words, locked, self.consistent);
        }
    }
}

impl<T: Plain> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: I1, I2, I3.
        unsafe { self.mutex.data.as_ref() }
    }
}

impl<T: Plain> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        let mut data = self.mutex.data;
        // SAFETY: I1, I2, I3; the guard is borrowed uniquely.
        unsafe { data.as_mut() }
    }
}

impl<T: Plain> sealed::Sealed for Mutex<T> {
    type Options = Init<T>;

    fn kind() -> Kind {
        const { assert!(align_of::<T>() <= MUTEX_DATA_AT, "no data aligned to more than 128 bytes") };
        Kind { tag: tag::MUTEX, format: format_of(size_of::<T>(), align_of::<T>()) }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        let pages = (MUTEX_DATA_AT + size_of::<T>()).div_ceil(PAGE) as u32;
        arena.make(Self::kind(), pages, name, |base| {
            if let Some(value) = &options.0 {
                words::write_data(base, MUTEX_DATA_AT, value.as_bytes());
            }
        })
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let handle = Handle::open(object)?;
        let data = handle.data(MUTEX_DATA_AT)?;
        Ok(Self { handle, data })
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl<T: Plain> Serialize for Mutex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Mutex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
