//! The operations of locks and signals as futures.
//!
//! A guard that a future holds when it is dropped is released with it. Guards of locks are not `Send`, so futures that
//! give them belong to one thread: a current-thread runtime, or a `LocalSet`. A [`Permit`] is `Send`.

use super::core::{Async, Reactor};
use crate::error::Result;
use crate::event::Event;
use crate::lock::{Lock, LockGuard, RLock, RLockGuard};
use crate::message::Plain;
use crate::mutex::{Mutex, MutexGuard};
use crate::once::OnceValue;
use crate::permits::{Permit, PermitPool};
use crate::rwlock::{ReadGuard, RwLock, WriteGuard};
use crate::semaphore::Semaphore;

impl<R: Reactor> Async<Event, R> {
    /// Waits until it is set; of an auto-reset event, takes the flag.
    ///
    /// # Errors
    /// `Taken` or `Os` where no descriptor is to be had; `Forked`.
    pub async fn wait(&self) -> Result<()> {
        self.taking(|event, _| event.try_wait().then_some(())).await
    }
}

impl<R: Reactor> Async<Semaphore, R> {
    /// Takes one, when there is one. Cancelled, it has taken nothing.
    ///
    /// # Errors
    /// `Taken` or `Os` where no descriptor is to be had; `Forked`.
    pub async fn acquire(&self) -> Result<()> {
        self.taking(|semaphore, _| semaphore.try_acquire().then_some(())).await
    }
}

impl<R: Reactor> Async<PermitPool, R> {
    /// A permit, when there is one. Cancelled, it has taken none.
    ///
    /// # Errors
    /// As [`PermitPool::try_acquire`]; `Taken` or `Os` where no descriptor is to be had.
    pub async fn acquire(&self) -> Result<Permit<'_>> {
        let pool = self.get_ref();
        self.taking(|_, _| pool.try_acquire().transpose()).await?
    }
}

impl<R: Reactor> Async<Lock, R> {
    /// Takes the lock, when nobody holds it. Cancelled, it has not.
    ///
    /// # Errors
    /// As [`Lock::lock`]; `Taken` or `Os` where no descriptor is to be had.
    pub async fn lock(&self) -> Result<LockGuard<'_>> {
        let lock = self.get_ref();
        self.taking(|_, armed| tried(armed, || lock.try_lock(), || lock.try_lock_armed())).await?
    }
}

impl<R: Reactor> Async<RLock, R> {
    /// Takes the lock, when nobody else holds it. Cancelled, it has not.
    ///
    /// # Errors
    /// As [`RLock::lock`]; `Taken` or `Os` where no descriptor is to be had.
    pub async fn lock(&self) -> Result<RLockGuard<'_>> {
        let lock = self.get_ref();
        self.taking(|_, armed| tried(armed, || lock.try_lock(), || lock.try_lock_armed())).await?
    }
}

impl<T: Plain, R: Reactor> Async<Mutex<T>, R> {
    /// Takes the mutex, when nobody holds it. Cancelled, it has not.
    ///
    /// # Errors
    /// As [`Mutex::lock`]; `Taken` or `Os` where no descriptor is to be had.
    pub async fn lock(&self) -> Result<MutexGuard<'_, T>> {
        let mutex = self.get_ref();
        self.taking(|_, armed| tried(armed, || mutex.try_lock(), || mutex.try_lock_armed())).await?
    }
}

impl<T: Plain, R: Reactor> Async<RwLock<T>, R> {
    /// Takes it to read, when no writer has it or waits for readers. Cancelled, it has not.
    ///
    /// # Errors
    /// As [`RwLock::read`]; `Taken` or `Os` where no descriptor is to be had.
    pub async fn read(&self) -> Result<ReadGuard<'_, T>> {
        let lock = self.get_ref();
        self.beside(RwLock::read_side, |_, _| lock.try_read().transpose()).await?
    }

    /// Takes it to write, when nobody has it. Cancelled, it has not. Readers are looked at each millisecond.
    ///
    /// # Errors
    /// As [`RwLock::write`]; `Taken` or `Os` where no descriptor is to be had.
    pub async fn write(&self) -> Result<WriteGuard<'_, T>> {
        let lock = self.get_ref();
        self.taking(|_, armed| tried(armed, || lock.try_write(), || lock.try_write_armed())).await?
    }
}

impl<T: Plain, R: Reactor> Async<OnceValue<T>, R> {
    /// The value, once it is there.
    ///
    /// # Errors
    /// `Taken` or `Os` where no descriptor is to be had; `Forked`.
    pub async fn wait(&self) -> Result<&T> {
        let value = self.get_ref();
        self.taking(|_, _| value.get()).await
    }
}

/// Who has armed takes the lock as one who has slept, since others may stand behind it.
fn tried<G>(
    armed: bool,
    fresh: impl FnOnce() -> Result<Option<G>>,
    slept: impl FnOnce() -> Result<Option<G>>,
) -> Option<Result<G>> {
    if armed { slept().transpose() } else { fresh().transpose() }
}
