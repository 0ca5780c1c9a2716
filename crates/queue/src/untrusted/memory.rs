//! The memory of an untrusted lane: the one file that reaches into either half.
//!
//! Invariants (those of the file above hold, too)
//! - I1 our control page and ring are mapped, writable and written by this process alone, as long as any copy of an
//!   [`OwnHalf`] is used. (Promised by the caller of [`OwnHalf::from_raw`].)
//! - I2 the other's control page and ring are mapped, perhaps for reading only, as long as any copy of an [`OtherHalf`] is
//!   used; the file behind them cannot shrink. Another process writes there at any time. (Promised by the caller of
//!   [`OtherHalf::from_raw`].)
//! - I3 control pages consist of atomics and are valid for all values of their bytes, so a shared reference to one is sound
//!   whatever the other side does. On foreign ones nothing happens but relaxed loads and the futex's, also in `sync`, which
//!   writes to a line only where it wakes or raises its flag, and that is never done to a foreign one.
//! - I4 a place in a ring and the bytes asked for from it on lie within the `2 * size` bytes that are mapped: a record begins
//!   below `size` and has less than `size` bytes. Whoever asks has computed the place from private numbers.
//! - I5 foreign payload is copied by relaxed atomic loads of whole words, or by an instruction that the compiler knows
//!   nothing of but that it reads memory. Both are defined while another process writes: each byte that arrives is one that
//!   was there at some moment. A plain copy would not do. The compiler may assume that nobody writes to its source, and so
//!   read the source again where it ought to look at the copy: what was checked would not be what is used.
//!
//! Payload of our own is written by the plain copy of [`Mirrored`]: nobody writes there but us, and who reads there does so
//! from another process, or by the loads of I5.
#![allow(unsafe_code, reason = "turns offsets into the memory of either half, in this file only")]

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::peer::PeerControl;
use ginnel_layout::wait::WaitLine;

use super::What;
use crate::Mirrored;

/// From how many bytes on a copy is left to one instruction, which then beats a loop over words.
#[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
const LONG: usize = 1024;

/// The memory that this side writes.
#[derive(Clone, Copy)]
pub struct OwnHalf {
    control: NonNull<PeerControl>,
    ring: Mirrored,
}

// SAFETY: I1 and I3; all shared words are atomics, and payload is written by the one sender.
unsafe impl Send for OwnHalf {}

impl OwnHalf {
    /// Our half: a control page of zeros but for its front, and a ring of `size` bytes of zeros.
    ///
    /// # Safety
    /// I1, for the page and for `2 * size` bytes from `ring` on, which map the same `size` bytes twice; `ring` is aligned to
    /// a page. Nothing but the ends made of this value writes there.
    #[cfg(not(loom))]
    #[must_use]
    pub const unsafe fn from_raw(control: NonNull<PeerControl>, ring: NonNull<u8>, size: u64) -> Self {
        // SAFETY: the contract of this function says the same.
        let ring = unsafe { Mirrored::from_raw(ring, size) };
        Self { control, ring }
    }

    /// A half on the heap, for models.
    #[cfg(loom)]
    pub fn from_words(control: &'static PeerControl, words: &'static [AtomicU64]) -> Self {
        Self { control: NonNull::from(control), ring: Mirrored::from_words(words) }
    }

    #[inline(always)]
    pub(super) fn control(&self) -> &PeerControl {
        // SAFETY: I1, I3.
        unsafe { self.control.as_ref() }
    }

    #[inline(always)]
    pub(super) fn ring(&self) -> &Mirrored {
        &self.ring
    }
}

impl fmt::Debug for OwnHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnHalf").field("size", &self.ring.size()).finish_non_exhaustive()
    }
}

/// The memory that the other side writes.
#[derive(Clone, Copy)]
pub struct OtherHalf {
    control: NonNull<PeerControl>,
    #[cfg(not(loom))]
    ring: NonNull<u8>,
    #[cfg(loom)]
    ring: &'static [AtomicU64],
    size: u64,
}

// SAFETY: I2 and I3: it is only read, by atomic loads and the copy of I5.
unsafe impl Send for OtherHalf {}

impl OtherHalf {
    /// The other's half, whose ring was agreed to have `size` bytes. What stands in it is not believed.
    ///
    /// # Safety
    /// I2, for the page and for `2 * size` bytes from `ring` on, which map the same `size` bytes twice; `ring` is aligned to
    /// a page.
    #[cfg(not(loom))]
    #[must_use]
    pub const unsafe fn from_raw(control: NonNull<PeerControl>, ring: NonNull<u8>, size: u64) -> Self {
        Self { control, ring, size }
    }

    /// A half on the heap, for models.
    #[cfg(loom)]
    pub fn from_words(control: &'static PeerControl, words: &'static [AtomicU64]) -> Self {
        Self { control: NonNull::from(control), ring: words, size: words.len() as u64 * 8 }
    }

    /// Bytes of the ring, as agreed.
    #[inline(always)]
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What it says it has taken of our ring.
    #[inline(always)]
    pub(super) fn head(&self) -> u64 {
        let head = self.control().head.load(Relaxed);
        fence(Acquire); // E2
        head
    }

    /// Which of its ends it says are given up.
    #[inline(always)]
    pub(super) fn closed(&self) -> u32 {
        self.control().wants.closed.load(Relaxed)
    }

    /// How it asks to be told: asleep, armed.
    #[inline(always)]
    pub(super) fn wants(&self, what: What) -> (u64, u64) {
        let want = what.want(&self.control().wants);
        (want.asleep.load(Relaxed), want.armed.load(Relaxed))
    }

    /// From which head on its sender says that a wake pays.
    pub(super) fn mark(&self) -> u64 {
        self.control().wants.mark.load(Relaxed)
    }

    /// The line on which this side sleeps. To be loaded and slept on, never to be written.
    pub(super) fn line(&self, what: What) -> &WaitLine {
        what.line(self.control())
    }

    /// The header word at `offset`, a multiple of eight below the size of the ring. Orders nothing: see E1.
    #[inline(always)]
    pub(super) fn header(&self, offset: u64) -> u64 {
        self.word(offset).load(Relaxed)
    }

    /// Copies bytes out from `offset` on.
    #[inline]
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) {
        let (to, len) = (into.as_mut_ptr().cast::<MaybeUninit<u8>>(), into.len());
        // SAFETY: the same bytes under a type that may be uninitialised; `fill` puts only bytes in (I5).
        let into = unsafe { core::slice::from_raw_parts_mut(to, len) };
        self.fill(offset, into);
    }

    /// The same, to the end of a vector.
    pub(super) fn append(&self, offset: u64, len: usize, into: &mut Vec<u8>) {
        into.reserve(len);
        self.fill(offset, &mut into.spare_capacity_mut()[..len]);
        let full = into.len() + len;
        // SAFETY: `fill` has put bytes into all of it (I5), and the capacity was reserved.
        unsafe { into.set_len(full) };
    }

    /// Copies bytes out from `offset` on, until `into` is full.
    #[inline]
    fn fill(&self, offset: u64, into: &mut [MaybeUninit<u8>]) {
        debug_assert!(offset + into.len() as u64 <= 2 * self.size, "{offset}: outside the ring");
        let skew = (offset % 8) as usize;
        let lead = if skew == 0 { 0 } else { into.len().min(8 - skew) };
        let (first, rest) = into.split_at_mut(lead);
        if lead > 0 {
            put(first, &self.word(offset - skew as u64).load(Relaxed).to_ne_bytes()[skew..]);
        }
        let offset = offset + lead as u64;
        #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
        if rest.len() >= LONG {
            return self.fill_long(offset, rest);
        }
        let (words, last) = rest.as_chunks_mut::<8>();
        let end = offset + 8 * words.len() as u64;
        for (at, word) in (offset..).step_by(8).zip(words) {
            *word = self.word(at).load(Relaxed).to_ne_bytes().map(MaybeUninit::new);
        }
        if !last.is_empty() {
            put(last, &self.word(end).load(Relaxed).to_ne_bytes());
        }
    }

    /// The same in one instruction.
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    #[inline(never)]
    fn fill_long(&self, offset: u64, into: &mut [MaybeUninit<u8>]) {
        let from = self.ring.as_ptr().wrapping_add(offset as usize);
        // SAFETY: I4 for what is read, the borrow of `into` for what is written; I5 for a source that changes meanwhile.
        // The direction flag is clear at all times by the calling convention.
        unsafe {
            core::arch::asm!(
                "rep movsb",
                inout("rcx") into.len() => _,
                inout("rsi") from => _,
                inout("rdi") into.as_mut_ptr() => _,
                options(nostack, preserves_flags),
            );
        }
    }

    #[cfg(not(loom))]
    #[inline(always)]
    fn word(&self, offset: u64) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= 2 * self.size, "{offset}: no word");
        let at = self.ring.as_ptr().wrapping_add(offset as usize);
        // SAFETY: I2 and I4: mapped, aligned to eight, an atomic.
        unsafe { &*at.cast::<AtomicU64>() }
    }

    #[cfg(loom)]
    fn word(&self, offset: u64) -> &AtomicU64 {
        &self.ring[(offset % self.size / 8) as usize]
    }

    #[inline(always)]
    fn control(&self) -> &PeerControl {
        // SAFETY: I2, I3.
        unsafe { self.control.as_ref() }
    }
}

impl fmt::Debug for OtherHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherHalf").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Puts bytes into the whole of `into`.
#[inline(always)]
fn put(into: &mut [MaybeUninit<u8>], bytes: &[u8]) {
    for (to, byte) in into.iter_mut().zip(bytes) {
        *to = MaybeUninit::new(*byte);
    }
}
