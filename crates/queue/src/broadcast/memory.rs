//! The words of a broadcast channel in memory: the one file of it that turns positions into addresses.
//!
//! Readers copy a slot while a writer may overwrite it, so every byte of a slot is accessed as part of an atomic
//! word, relaxed; the fences that make sense of it stand in the callers (edges E1, E2 of `broadcast`).
//!
//! Invariants
//! - I1 `base` is aligned to 128 bytes and points to [`SLOTS_AT`]` + slots * slot_size` mapped bytes that stay
//!   mapped as long as any copy of the [`Memory`] is used (promised by the caller of [`Memory::from_raw`]).
//!   They are readable; they are writable where the methods that store are called.
//! - I2 `slots` is a power of two, and `slot_size` a multiple of [`SLOT_UNIT`](ginnel_layout::ring), both
//!   checked by `Shape`. So `position & (slots - 1)` is a slot, whatever the position, and lengths are clipped to
//!   the payload of one slot.
//! - I3 the memory is accessed as atomics and in no other way, by this process and by others.
#![allow(unsafe_code, reason = "turns positions into slots, in this file only")]

use core::fmt;
#[cfg(not(loom))]
use core::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::broadcast::BroadcastControl;
#[cfg(not(loom))]
use ginnel_layout::broadcast::SLOTS_AT;
use ginnel_layout::ring::SLOT_PAYLOAD_AT;

const WORD: u64 = 8;

/// Borrowed memory of a channel, with the geometry that was checked.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    #[cfg(not(loom))]
    base: NonNull<u8>,
    #[cfg(loom)]
    control: &'static BroadcastControl,
    #[cfg(loom)]
    words: &'static [AtomicU64],
    mask: u64,
    slot_size: u64,
}

// SAFETY: I1 makes the memory valid from every thread, and by I3 all of it is atomics.
unsafe impl Send for Memory {}
// SAFETY: I1, I3.
unsafe impl Sync for Memory {}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("mask", &self.mask).field("slot_size", &self.slot_size).finish()
    }
}

#[cfg(not(loom))]
impl Memory {
    /// The memory at `base`.
    ///
    /// # Safety
    /// I1, and I2 of `slots` and `slot_size`.
    pub(super) const unsafe fn from_raw(base: NonNull<u8>, slots: u64, slot_size: u64) -> Self {
        Self { base, mask: slots - 1, slot_size }
    }

    /// Everything before the slots.
    #[inline(always)]
    pub(super) fn control(&self) -> &BroadcastControl {
        // SAFETY: I1, I3.
        unsafe { self.base.cast::<BroadcastControl>().as_ref() }
    }

    /// The words of the slot of `position`.
    #[inline(always)]
    fn slot(&self, position: u64) -> &[AtomicU64] {
        let offset = SLOTS_AT + (position & self.mask) * self.slot_size;
        // SAFETY: I1, I2: inside the mapping.
        let slot = unsafe { self.base.as_ptr().add(offset as usize) };
        // SAFETY: I1, I2, I3; slots are aligned to 64 bytes.
        unsafe { core::slice::from_raw_parts(slot.cast::<AtomicU64>(), (self.slot_size / WORD) as usize) }
    }
}

#[cfg(loom)]
impl Memory {
    /// A channel on the heap, for models.
    pub(super) fn from_words(
        control: &'static BroadcastControl,
        words: &'static [AtomicU64],
        slots: u64,
        slot_size: u64,
    ) -> Self {
        assert_eq!(words.len() as u64 * WORD, slots * slot_size);
        Self { control, words, mask: slots - 1, slot_size }
    }

    pub(super) fn control(&self) -> &BroadcastControl {
        self.control
    }

    fn slot(&self, position: u64) -> &[AtomicU64] {
        let words = (self.slot_size / WORD) as usize;
        let first = (position & self.mask) as usize * words;
        &self.words[first..first + words]
    }
}

impl Memory {
    /// The word of the slot of `position`.
    #[inline(always)]
    pub(super) fn word(&self, position: u64) -> &AtomicU64 {
        &self.slot(position)[0]
    }

    /// Writes length, kind and payload of the slot of `position`. What does not fit is left out.
    #[inline(always)]
    pub(super) fn write(&self, position: u64, kind: u32, bytes: &[u8]) {
        let slot = self.slot(position);
        slot[1].store(bytes.len() as u64 & 0xffff_ffff | u64::from(kind) << 32, Relaxed);
        let payload = &slot[(SLOT_PAYLOAD_AT / WORD) as usize..];
        let (whole, rest) = bytes.as_chunks::<{ WORD as usize }>();
        for (word, chunk) in payload.iter().zip(whole) {
            word.store(u64::from_ne_bytes(*chunk), Relaxed);
        }
        if let Some(word) = payload.get(whole.len()).filter(|_| !rest.is_empty()) {
            let mut last = [0; WORD as usize];
            last[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_ne_bytes(last), Relaxed);
        }
    }

    /// Length and kind of the slot of `position`, as they are: perhaps of another message, perhaps nonsense.
    #[inline(always)]
    pub(super) fn head(&self, position: u64) -> (u32, u32) {
        let head = self.slot(position)[1].load(Relaxed);
        (head as u32, (head >> 32) as u32)
    }

    /// Copies the payload of the slot of `position` out: `into` whole words, or as many as there are. The bytes
    /// may change meanwhile; the caller finds out.
    #[inline(always)]
    pub(super) fn read(&self, position: u64, into: &mut [[u8; WORD as usize]]) {
        let payload = &self.slot(position)[(SLOT_PAYLOAD_AT / WORD) as usize..];
        for (chunk, word) in into.iter_mut().zip(payload) {
            *chunk = word.load(Relaxed).to_ne_bytes();
        }
    }
}
