//! Anonymous shared memory for the controls, made by the coordinator and inherited by both processes.
//!
//! Invariants, which the unsafe blocks here and in `control` rest on:
//! - I1: a region is mapped from `new` until it is dropped; references into it borrow it.
//! - I2: every place is handed out after a check against the region's size and the type's alignment.
//! - I3: memory fresh from the kernel is zero, and zero is a valid value of every word used.
//! - I4: of what is handed out, only atomics can be touched without further unsafe code; a region itself never
//!   changes.
//!
//! The controls trust their peer: both processes are this program, forked a moment ago.
#![allow(unsafe_code, reason = "maps memory and turns checked places of it into references")]

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::fault::Fault;

/// A stretch of zeroed memory shared with the processes forked from here on.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: I4.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `size` bytes, all pages present.
    ///
    /// # Errors
    /// Where the kernel has no room.
    pub fn new(size: usize) -> Result<Self, Fault> {
        let length = NonZeroUsize::new(size).ok_or_else(|| Fault::Unsupported("empty region".into()))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new anonymous mapping at a place of the kernel's choice touches no memory of ours (I1).
        let base = unsafe { mmap_anonymous(None, length, access, flags) }
            .map_err(|error| Fault::failed(format!("mapping {size} bytes of shared memory"), error))?;
        Ok(Self { base: base.cast(), size })
    }

    /// The 64-bit word at `offset`.
    ///
    /// # Panics
    /// Where the word is not inside or not aligned.
    pub fn word64(&self, offset: usize) -> &AtomicU64 {
        let place = self.place(offset, size_of::<AtomicU64>());
        // SAFETY: I1, I2, I3.
        unsafe { place.cast::<AtomicU64>().as_ref() }
    }

    /// The 32-bit word at `offset`.
    ///
    /// # Panics
    /// Where the word is not inside or not aligned.
    pub fn word32(&self, offset: usize) -> &AtomicU32 {
        let place = self.place(offset, size_of::<AtomicU32>());
        // SAFETY: I1, I2, I3.
        unsafe { place.cast::<AtomicU32>().as_ref() }
    }

    /// Where `count` plain words begin. Who may touch them when is the business of the caller's protocol.
    ///
    /// # Panics
    /// Where they are not inside or not aligned.
    pub fn words(&self, offset: usize, count: usize) -> NonNull<u64> {
        self.place(offset, count * size_of::<u64>()).cast()
    }

    fn place(&self, offset: usize, size: usize) -> NonNull<u8> {
        let end = offset.checked_add(size).expect("a place inside a region");
        assert!(end <= self.size && offset.is_multiple_of(size_of::<u64>()), "a place inside a region");
        // SAFETY: I2, checked just now.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: I1, this ends it; no reference outlives the borrow it came from.
        let unmapped = unsafe { munmap(self.base.cast(), self.size) };
        debug_assert!(unmapped.is_ok());
    }
}
