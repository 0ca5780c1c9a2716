//! What a reader and a writer of a read-write lock have in their hands.
#![allow(unsafe_code, reason = "guards lend the data they protect")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use ginnel_sync::Locked;

use super::RwLock;
use crate::error::Result;
use crate::message::Plain;

/// The data, to read. Dropping it ends the read. Not `Send`: the thread that reads is the one that ends it.
#[must_use = "the read ends when the guard is dropped"]
pub struct ReadGuard<'a, T: Plain + ?Sized> {
    lock: &'a RwLock<T>,
    not_send: PhantomData<*const ()>,
}

impl<'a, T: Plain + ?Sized> ReadGuard<'a, T> {
    #[inline(always)]
    pub(super) fn new(lock: &'a RwLock<T>) -> Self {
        Self { lock, not_send: PhantomData }
    }
}

impl<T: Plain + ?Sized + fmt::Debug> fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadGuard").field(&&**self).finish()
    }
}

impl<T: Plain + ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: I1, I2, I3.
        unsafe { self.lock.data.as_ref() }
    }
}

impl<T: Plain + ?Sized> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // A guard inherited through a bare fork is the parent's to release.
        if !self.lock.handle.is_forked() {
            self.lock.end_read();
        }
    }
}

/// The data, to read and to change. Dropping it releases the lock. Not `Send`: the thread that locks is the one that
/// unlocks.
#[must_use = "the lock is released when the guard is dropped"]
pub struct WriteGuard<'a, T: Plain + ?Sized> {
    lock: &'a RwLock<T>,
    /// `None` only after the release in `drop`.
    locked: Option<Locked>,
    consistent: bool,
    not_send: PhantomData<*const ()>,
}

impl<'a, T: Plain + ?Sized> WriteGuard<'a, T> {
    #[inline(always)]
    pub(super) fn new(lock: &'a RwLock<T>, locked: Locked) -> Self {
        Self { lock, locked: Some(locked), consistent: false, not_send: PhantomData }
    }

    fn is_told(&self) -> bool {
        self.locked.as_ref().is_some_and(Locked::told)
    }

    /// The guard, unless the data need repair: then the lock goes back, still marked.
    #[inline(always)]
    pub(super) fn whole(self) -> Result<Self> {
        if self.is_told() { Err(self.lock.owner_died()) } else { Ok(self) }
    }

    /// The guard, after a repair where it was needed.
    pub(super) fn repaired(mut self, repair: impl FnOnce(&mut T)) -> Self {
        if self.is_told() {
            repair(&mut self);
            self.consistent = true;
        }
        self
    }
}

impl<T: Plain + ?Sized + fmt::Debug> fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteGuard").field(&&**self).finish()
    }
}

impl<T: Plain + ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: I1, I2, I3.
        unsafe { self.lock.data.as_ref() }
    }
}

impl<T: Plain + ?Sized> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        let mut data = self.lock.data;
        // SAFETY: I1, I2, I3; the guard is borrowed uniquely.
        unsafe { data.as_mut() }
    }
}

impl<T: Plain + ?Sized> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // A guard inherited through a bare fork is the parent's to release.
        if self.lock.handle.is_forked() {
            return;
        }
        if let (Some(locked), Ok(words)) = (self.locked.take(), self.lock.words()) {
            words.unlock(locked, self.consistent);
        }
    }
}
