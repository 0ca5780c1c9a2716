//! The bytes of a ring: the one file of this crate that touches payload memory.
//!
//! A ring is `size` bytes mapped twice, back to back, so that any run of up to `size` bytes that starts
//! inside it is contiguous: no record is ever split, and the bounds proof is one line.
//!
//! Invariants
//! - I1 `base` points to `2 * size` mapped, writable bytes that stay mapped as long as any copy of the
//!   [`Mirrored`] is used; byte `i` and byte `i + size` are the same memory. (Promised by the caller of
//!   [`Mirrored::from_raw`].)
//! - I2 every access is at `offset < 2 * size` with `offset + len <= 2 * size`; each function here asserts it
//!   in debug builds, and the callers in `lane` keep `offset < size` and `len <= size`.
//! - I3 header words lie at multiples of eight and are accessed as atomics only while they may be contended;
//!   payload bytes of a record are written by the one producer before its commit and read by the one
//!   consumer after it (edge E1 of `lane`), so plain copies do not race. A peer that breaks the protocol can
//!   change the bytes, never the bounds.
//!
//! Under loom the ring is a heap slice of atomic words, one a granule, and copies go word by word, relaxed:
//! if an ordering is missing, the model sees stale payload.
#![allow(unsafe_code, reason = "turns offsets into payload memory, in this file only")]

use core::fmt;
#[cfg(not(loom))]
use core::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
#[cfg(loom)]
use ginnel_layout::atomic::Ordering::Relaxed;

/// Borrowed ring memory.
#[derive(Clone, Copy)]
pub struct Mirrored {
    #[cfg(not(loom))]
    base: NonNull<u8>,
    #[cfg(loom)]
    words: &'static [AtomicU64],
    size: u64,
}

// SAFETY: I1 makes the memory valid from every thread, I3 says how it is shared.
unsafe impl Send for Mirrored {}

impl fmt::Debug for Mirrored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirrored").field("size", &self.size).finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
impl Mirrored {
    /// A ring of `size` bytes at `base`.
    ///
    /// # Safety
    /// I1: `2 * size` bytes from `base` are a mirrored, writable mapping of the same `size` bytes, which
    /// outlives every use of the value and its copies. `base` is aligned to a page.
    #[must_use]
    pub const unsafe fn from_raw(base: NonNull<u8>, size: u64) -> Self {
        Self { base, size }
    }

    #[inline(always)]
    fn at(&self, offset: u64, len: u64) -> *mut u8 {
        debug_assert!(offset + len <= 2 * self.size, "{offset} + {len} leaves a ring of {} bytes", self.size);
        // SAFETY: I2, and I1 makes all of it one allocation.
        unsafe { self.base.as_ptr().add(offset as usize) }
    }

    /// The header word at `offset`.
    #[inline(always)]
    pub(crate) fn header(&self, offset: u64) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8));
        // SAFETY: I1, I2, I3: mapped, aligned to eight, and only ever an atomic word while shared.
        unsafe { &*self.at(offset, 8).cast::<AtomicU64>() }
    }

    /// Copies `bytes` in at `offset`.
    #[inline(always)]
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let to = self.at(offset, bytes.len() as u64);
        // SAFETY: I2 for the bounds, I3: the record is claimed and not committed, so it is the caller's alone.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Copies bytes out from `offset`.
    #[inline(always)]
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        let from = self.at(offset, into.len() as u64);
        // SAFETY: I2 for the bounds, I3: the record is committed and not released.
        unsafe { core::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }

    /// The payload where it lies, for a loan.
    #[inline(always)]
    pub(crate) fn slice(&self, offset: u64, len: u64) -> &[u8] {
        // SAFETY: I2, I3: committed and not released while the borrow of the end lasts.
        unsafe { core::slice::from_raw_parts(self.at(offset, len), len as usize) }
    }

    /// The payload to be, for a claim. The unique borrow of the producer is what makes this unique.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "Mirrored is Copy; uniqueness comes from the &mut Producer above")]
    pub(crate) fn slice_mut(&self, offset: u64, len: u64) -> &mut [u8] {
        // SAFETY: I2, I3: claimed and not committed, and the caller holds the only producer.
        unsafe { core::slice::from_raw_parts_mut(self.at(offset, len), len as usize) }
    }
}

#[cfg(loom)]
impl Mirrored {
    /// A ring on the heap, for models.
    pub fn from_words(words: &'static [AtomicU64]) -> Self {
        Self { words, size: words.len() as u64 * 8 }
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        &self.words[(offset % self.size / 8) as usize]
    }

    pub(crate) fn header(&self, offset: u64) -> &AtomicU64 {
        self.word(offset)
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(offset + 8 * i as u64).store(u64::from_le_bytes(word), Relaxed);
        }
    }

    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        for (i, chunk) in into.chunks_mut(8).enumerate() {
            let word = self.word(offset + 8 * i as u64).load(Relaxed).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

impl Mirrored {
    /// Bytes of the ring.
    #[must_use]
    #[inline(always)]
    pub const fn size(&self) -> u64 {
        self.size
    }
}
