//! Where a channel comes from: made in fresh memory, or found in another's.
//!
//! - I5 `base` and the bytes behind it are as `Memory`'s I1 asks; each unsafe function here asks that of its caller.
#![allow(unsafe_code, reason = "the promises about the memory are the callers'")]

#[cfg(not(loom))]
use core::ptr::NonNull;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::broadcast::BroadcastControl;
#[cfg(not(loom))]
use ginnel_layout::broadcast::SLOTS_AT;
use ginnel_layout::lane::wait_mode;
use ginnel_layout::ring::SlotWord;
use ginnel_sync::Mode;

use super::memory::Memory;
use super::{Broadcast, BroadcastError, Reader, Shape};

/// A broadcast channel in memory that this process may only read.
#[derive(Debug, Clone, Copy)]
pub struct View(Broadcast);

#[cfg(not(loom))]
impl Broadcast {
    /// Writes a new channel at `base`; its bytes are zero before.
    ///
    /// # Safety
    /// `base` is aligned to 128 bytes, [`Shape::size`] bytes from it are mapped, writable and nobody else's yet.
    pub unsafe fn init(base: NonNull<u8>, shape: &Shape) {
        // SAFETY: I5, by the contract.
        let memory = unsafe { Memory::from_raw(base, shape.capacity, shape.slot_size) };
        Self { memory, shape: *shape }.write_new();
    }

    /// The channel at `base`, in an object of `bytes` bytes.
    ///
    /// # Errors
    /// `Corrupted` when no creator writes such a geometry, or when it does not fit the object.
    ///
    /// # Safety
    /// `base` is aligned to 128 bytes, `bytes` bytes from it are mapped and writable as long as the channel or
    /// a reader of it is used, and they are accessed as atomics only.
    pub unsafe fn from_raw(base: NonNull<u8>, bytes: u64) -> Result<Self, BroadcastError> {
        if bytes < SLOTS_AT {
            return Err(BroadcastError::Corrupted);
        }
        // SAFETY: I5, by the contract: the control is inside.
        let control = unsafe { base.cast::<BroadcastControl>().as_ref() };
        let shape = Shape::of(control).filter(|shape| shape.size() <= bytes);
        let shape = shape.ok_or(BroadcastError::Corrupted)?;
        // SAFETY: I5, by the contract: the slots are inside as well, which was just checked.
        let memory = unsafe { Memory::from_raw(base, shape.capacity, shape.slot_size) };
        Ok(Self { memory, shape })
    }
}

#[cfg(not(loom))]
impl View {
    /// The channel at `base`, in `bytes` bytes that may be mapped read-only.
    ///
    /// # Errors
    /// As [`Broadcast::from_raw`].
    ///
    /// # Safety
    /// As [`Broadcast::from_raw`], but that the memory need not be writable.
    pub unsafe fn from_raw(base: NonNull<u8>, bytes: u64) -> Result<Self, BroadcastError> {
        // SAFETY: the contract; nothing reachable through a view stores.
        unsafe { Broadcast::from_raw(base, bytes) }.map(Self)
    }
}

#[cfg(not(loom))]
impl Shape {
    /// Reads the geometry, once, and checks it.
    fn of(control: &BroadcastControl) -> Option<Self> {
        let g = &control.geometry;
        let mode = mode_of(g.wait.load(Relaxed))?;
        let shape = Self { capacity: g.slots.load(Relaxed), slot_size: g.slot_size.load(Relaxed), mode };
        shape.is_valid().then_some(shape)
    }
}

#[cfg(not(loom))]
fn mode_of(wait: u32) -> Option<Mode> {
    match wait {
        wait_mode::ADAPTIVE => Some(Mode::Adaptive),
        wait_mode::SPIN => Some(Mode::Spin),
        wait_mode::SLEEP => Some(Mode::Sleep),
        _ => None,
    }
}

#[cfg(loom)]
impl Broadcast {
    /// A new channel on the heap, for models.
    pub fn from_words(
        control: &'static BroadcastControl,
        words: &'static [ginnel_layout::atomic::AtomicU64],
        shape: Shape,
    ) -> Self {
        let memory = Memory::from_words(control, words, shape.capacity, shape.slot_size);
        let channel = Self { memory, shape };
        channel.write_new();
        channel
    }

    /// The same memory, to read only.
    pub fn view(self) -> View {
        View(self)
    }
}

impl View {
    /// What was agreed.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// A reader that gets what is sent from now on. It stores nothing, so nobody can see that it sleeps: unless
    /// somebody else does, it looks again after a millisecond, and after up to 50 when nothing came for long.
    ///
    /// # Errors
    /// `Corrupted`.
    pub fn reader(&self) -> Result<Reader, BroadcastError> {
        Ok(Reader::new(self.0, None, self.0.end()?))
    }
}

impl Broadcast {
    fn write_new(&self) {
        let g = &self.control().geometry;
        g.slots.store(self.shape.capacity, Relaxed);
        g.slot_size.store(self.shape.slot_size, Relaxed);
        let wait = match self.shape.mode {
            Mode::Adaptive => wait_mode::ADAPTIVE,
            Mode::Spin => wait_mode::SPIN,
            Mode::Sleep => wait_mode::SLEEP,
        };
        g.wait.store(wait, Relaxed);
        for index in 0..self.shape.capacity {
            self.memory.word(index).store(SlotWord::free(index).0, Relaxed);
        }
    }
}
