//! Both sides of a read-write lock, as things to wait for among others.
//!
//! A writer is announced in the word of the lock, as at any lock; readers wait at a gate that each writer opens when it
//! goes. So a writer that only readers stand in the way of is woken by nobody and naps, and readers are all woken at once.

use std::fmt;

use ginnel_layout::Liveness;
use ginnel_layout::lock::LockWords;
use ginnel_layout::wait::WaitLine;
use ginnel_sync::Arm;
use ginnel_sync::mutex::{self, LockError};
use ginnel_sync::rwlock;

#[cfg(any(feature = "tokio", feature = "async-io"))]
use super::WriteGuard;
use super::{RwLock, reads};
use crate::error::Result;
use crate::lock;
use crate::message::Plain;

/// The side of the readers, as something to wait for: ready while no writer has the lock or waits for readers, and
/// also while `OwnerDied` is to be told. See [`RwLock::read_side`].
pub struct ReadSide<'a, T>(&'a RwLock<T>);

impl<T> Clone for ReadSide<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ReadSide<'_, T> {}

impl<T> fmt::Debug for ReadSide<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadSide").field(self.0).finish()
    }
}

impl<T: Plain> RwLock<T> {
    /// What a reader waits for, where the lock itself stands for what a writer waits for.
    ///
    /// ```
    /// use ginnel_object::rwlock::RwLock;
    /// use ginnel_object::select::Select;
    ///
    /// let limits = RwLock::new([10_u64, 20])?;
    /// let reading = limits.read()?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let side = limits.read_side();
    ///         let select = Select::new().on(&limits, "write").on(&side, "read");
    ///         assert_eq!(select.wait().expect("an answer"), "read");
    ///     });
    /// });
    /// drop(reading);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    #[must_use]
    pub fn read_side(&self) -> ReadSide<'_, T> {
        ReadSide(self)
    }

    pub(crate) fn lock_words(&self) -> &LockWords {
        &self.handle.words().lock
    }

    /// Could it be taken to write, at about this moment?
    pub(crate) fn is_ready(&self) -> bool {
        self.words().is_ok_and(rwlock::RwLock::is_free)
    }

    /// # Errors
    /// `Deadlock` where this thread reads: a writer would wait for it.
    pub(crate) fn check_not_reading(&self) -> Result<()> {
        if reads::has(self.key()) { Err(self.explain(LockError::Deadlock)) } else { Ok(()) }
    }

    /// Announces a writer, or naps where only readers are in the way.
    pub(crate) fn arm(&self) -> Arm {
        self.words().map_or(Arm::Again, rwlock::RwLock::arm_write)
    }

    /// At the end of a slice: asks whether those live who are in the way, and has the dead recovered.
    pub(crate) fn probe(&self) {
        lock::probe(&self.handle, self.lock_words());
        for id in self.words().into_iter().flat_map(rwlock::RwLock::readers) {
            if id != self.handle.me() {
                // The answer is in the words afterwards.
                let _ = self.handle.segment().is_dead(id);
            }
        }
    }

    /// [`RwLock::try_write`] for one that has armed.
    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn try_write_armed(&self) -> Result<Option<WriteGuard<'_, T>>> {
        self.try_write_with(mutex::try_lock_armed)
    }
}

impl<'a, T: Plain> ReadSide<'a, T> {
    pub(crate) fn lock(self) -> &'a RwLock<T> {
        self.0
    }

    /// Where readers wait for a writer to go.
    pub(crate) fn line(self) -> &'a WaitLine {
        &self.0.handle.words().opened
    }

    /// Could one read, or be told of a death, at about this moment?
    pub(crate) fn is_ready(self) -> bool {
        mutex::owner(&self.0.lock_words().word).is_none()
    }

    /// Asks whether the writer lives.
    pub(crate) fn probe(self) {
        lock::probe(&self.0.handle, self.0.lock_words());
    }
}
