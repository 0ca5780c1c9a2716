//! The memory of a ring: the one file of the ring that turns positions into words and touches payload.
//!
//! ```text
//! RingControl | slot 0 | slot 1 | .. | slot capacity-1 | cell 0 | cell 1 | ..      (ginnel_layout::ring)
//! RingControl | presence of chunk 0 | .. | cell 0 | .. | up to a page | slot 0 | ..  where memory comes and goes
//! ```
//!
//! Invariants
//! - I1 `base` is aligned to 128 and begins as many mapped, writable bytes as a ring of this shape takes; they
//!   stay mapped as long as any copy of the [`Slots`] is used, and their control part, heads of slots and heads
//!   of cells are only ever accessed as the atomics they are. (Promised by the caller of [`Slots::from_raw`].)
//! - I2 a slot's index is its position masked by a private copy of the capacity, a cell's is compared with a
//!   private copy of their number, and a run of payload with a private copy of the room; so nothing that a peer
//!   writes moves an access out of I1.
//! - I3 payload is written by the owner of its slot or cell only (WRITING, or LOAN), and read by an owner only
//!   (READING, or HELD); the words of their protocol order the two (edges E1 and E2 of `ring`), so plain copies
//!   do not race. A peer that breaks the protocol can change the bytes, never the bounds.
//!
//! Under loom the memory is on the heap, payload is atomic words, and copies go word by word, relaxed: if an
//! ordering is missing, the model sees stale payload.
#![allow(unsafe_code, reason = "turns positions into words and payload memory, in this file only")]

use core::fmt;
#[cfg(not(loom))]
use core::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
#[cfg(loom)]
use ginnel_layout::atomic::Ordering::Relaxed;
#[cfg(not(loom))]
use ginnel_layout::ring::{CELL_PAYLOAD_AT, SLOT_PAYLOAD_AT, SLOTS_AT};
use ginnel_layout::ring::{CellHead, RingControl, SlotHead};

use crate::ring::Shape;

/// Borrowed memory of a ring.
#[derive(Clone, Copy)]
pub(crate) struct Slots {
    #[cfg(not(loom))]
    base: NonNull<u8>,
    #[cfg(loom)]
    heap: &'static Heap,
    mask: u64,
    room: u64,
    #[cfg(not(loom))]
    slot_size: u64,
    #[cfg(not(loom))]
    slots_at: u64,
    #[cfg(not(loom))]
    chunk: u64,
    #[cfg(not(loom))]
    cells_at: u64,
    #[cfg(not(loom))]
    cell_size: u64,
    cells: u64,
}

/// Where a payload begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(u64);

// SAFETY: I1 makes the memory valid from every thread, I3 says how it is shared.
unsafe impl Send for Slots {}
// SAFETY: I1, I3; a reference allows nothing that a copy does not.
unsafe impl Sync for Slots {}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("capacity", &(self.mask + 1)).finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
impl Slots {
    /// The memory of a ring of `shape` at `base`.
    ///
    /// # Safety
    /// I1, for `shape.size()` bytes.
    pub(crate) const unsafe fn from_raw(base: NonNull<u8>, shape: &Shape) -> Self {
        Self {
            base,
            mask: shape.capacity - 1,
            room: shape.payload_max(),
            slot_size: shape.slot_size,
            slots_at: shape.slots_at(),
            chunk: shape.chunk,
            cells_at: shape.cells_at(),
            cell_size: shape.cell_size(),
            cells: shape.cells,
        }
    }

    /// The control part of a ring whose shape is not known yet.
    ///
    /// # Safety
    /// I1, for the control part.
    pub(crate) const unsafe fn control_of<'a>(base: NonNull<u8>) -> &'a RingControl {
        // SAFETY: the contract of this function.
        unsafe { base.cast::<RingControl>().as_ref() }
    }

    /// Everything before the slots.
    #[inline(always)]
    pub(crate) fn control(&self) -> &RingControl {
        // SAFETY: I1.
        unsafe { self.base.cast::<RingControl>().as_ref() }
    }

    #[inline(always)]
    fn at(&self, offset: u64) -> *mut u8 {
        // SAFETY: I1 makes all of it one allocation, and I2 keeps `offset` within it.
        unsafe { self.base.as_ptr().add(offset as usize) }
    }

    #[inline(always)]
    fn slot_at(&self, position: u64) -> u64 {
        self.slots_at + (position & self.mask) * self.slot_size
    }

    /// Does the memory of the slots come and go?
    #[inline(always)]
    pub(crate) const fn is_chunked(&self) -> bool {
        // One field that the place of a slot needs anyway.
        self.slots_at != SLOTS_AT
    }

    /// Slots of a chunk. 0: it has none.
    pub(crate) const fn chunk(&self) -> u64 {
        self.chunk
    }

    /// The presence word of the chunk of the slot for `position`. The ring has chunks.
    #[inline]
    pub(crate) fn presence(&self, position: u64) -> &AtomicU64 {
        let chunk = (position & self.mask) / self.chunk;
        // SAFETY: I1, I2: there is one for each chunk, behind the control part.
        unsafe { &*self.at(SLOTS_AT + chunk * 8).cast::<AtomicU64>() }
    }

    /// Where the chunk of the slot for `position` lies, and how long it is, in bytes.
    pub(crate) const fn chunk_range(&self, position: u64) -> (u64, u64) {
        let first = position & self.mask & !(self.chunk - 1);
        (self.slots_at + first * self.slot_size, self.chunk * self.slot_size)
    }

    fn cell_at(&self, index: u64) -> u64 {
        assert!(index < self.cells, "a cell of another ring");
        self.cells_at + index * self.cell_size
    }

    /// The head of the slot for `position`.
    #[inline(always)]
    pub(crate) fn slot(&self, position: u64) -> &SlotHead {
        // SAFETY: I1, I2; slots are aligned to 64.
        unsafe { &*self.at(self.slot_at(position)).cast::<SlotHead>() }
    }

    /// Where the payload of that slot begins.
    #[inline(always)]
    pub(crate) fn slot_payload(&self, position: u64) -> Place {
        Place(self.slot_at(position) + SLOT_PAYLOAD_AT)
    }

    /// The head of cell `index`.
    pub(crate) fn cell(&self, index: u64) -> &CellHead {
        // SAFETY: I1, I2; cells are aligned to 64.
        unsafe { &*self.at(self.cell_at(index)).cast::<CellHead>() }
    }

    /// Where the payload of that cell begins.
    pub(crate) fn cell_payload(&self, index: u64) -> Place {
        Place(self.cell_at(index) + CELL_PAYLOAD_AT)
    }

    /// Copies `bytes` in, `at` bytes behind the beginning.
    #[inline(always)]
    pub(crate) fn write(&self, to: Place, at: u64, bytes: &[u8]) {
        self.check_run(at, bytes.len() as u64);
        let to = self.at(to.0 + at);
        // SAFETY: I2 for the bounds, I3: the payload is the caller's alone.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Copies bytes out, from `at` bytes behind the beginning.
    #[inline(always)]
    pub(crate) fn read(&self, from: Place, at: u64, into: &mut [u8]) {
        self.check_run(at, into.len() as u64);
        let from = self.at(from.0 + at);
        // SAFETY: I2 for the bounds, I3: the payload is the caller's alone.
        unsafe { core::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }

    /// Copies the first `len` bytes of a payload to the place of another one.
    pub(crate) fn copy(&self, from: Place, to: Place, len: u64) {
        self.check_run(0, len);
        let (from, to) = (self.at(from.0), self.at(to.0));
        // SAFETY: I2 for the bounds; two places are different slots or cells, so they do not overlap. I3.
        unsafe { core::ptr::copy_nonoverlapping(from, to, len as usize) }
    }
}

#[cfg(loom)]
impl Slots {
    /// The memory of a ring of `shape` on the heap, leaked: a model runs in a process of its own.
    pub(crate) fn on_heap(shape: &Shape) -> Self {
        let payload = || (0..shape.payload_max().div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        let heap = Heap {
            control: RingControl::default(),
            slots: (0..shape.capacity).map(|_| SlotHead::default()).collect(),
            cells: (0..shape.cells).map(|_| CellHead::default()).collect(),
            payloads: (0..shape.capacity + shape.cells).map(|_| payload()).collect(),
        };
        let (mask, room) = (shape.capacity - 1, shape.payload_max());
        Self { heap: Box::leak(Box::new(heap)), mask, room, cells: shape.cells }
    }

    /// Chunks come from the kernel, which is no part of the models.
    pub(crate) fn is_chunked(&self) -> bool {
        false
    }

    pub(crate) fn control(&self) -> &RingControl {
        &self.heap.control
    }

    pub(crate) fn slot(&self, position: u64) -> &SlotHead {
        &self.heap.slots[(position & self.mask) as usize]
    }

    pub(crate) fn slot_payload(&self, position: u64) -> Place {
        Place(position & self.mask)
    }

    pub(crate) fn cell(&self, index: u64) -> &CellHead {
        &self.heap.cells[index as usize]
    }

    pub(crate) fn cell_payload(&self, index: u64) -> Place {
        Place(self.mask + 1 + index)
    }

    pub(crate) fn write(&self, to: Place, at: u64, bytes: &[u8]) {
        self.check_run(at, bytes.len() as u64);
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.heap.payloads[to.0 as usize][at as usize / 8 + i].store(u64::from_le_bytes(word), Relaxed);
        }
    }

    pub(crate) fn read(&self, from: Place, at: u64, into: &mut [u8]) {
        self.check_run(at, into.len() as u64);
        for (i, chunk) in into.chunks_mut(8).enumerate() {
            let word = self.heap.payloads[from.0 as usize][at as usize / 8 + i].load(Relaxed);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }

    pub(crate) fn copy(&self, from: Place, to: Place, len: u64) {
        self.check_run(0, len);
        for i in 0..len.div_ceil(8) as usize {
            let word = self.heap.payloads[from.0 as usize][i].load(Relaxed);
            self.heap.payloads[to.0 as usize][i].store(word, Relaxed);
        }
    }
}

impl Slots {
    /// I2.
    #[inline(always)]
    fn check_run(&self, at: u64, len: u64) {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.room);
        if !fits {
            leaves_payload(at, len);
        }
    }

    /// Slots.
    #[inline(always)]
    pub(crate) const fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Cells.
    #[inline(always)]
    pub(crate) const fn cells(&self) -> u64 {
        self.cells
    }

    /// Bytes of the longest payload.
    #[inline(always)]
    pub(crate) const fn room(&self) -> u64 {
        self.room
    }
}

#[cold]
#[inline(never)]
fn leaves_payload(at: u64, len: u64) -> ! {
    panic!("{len} bytes at {at} leave a payload");
}

/// What the memory is made of in a model.
#[cfg(loom)]
struct Heap {
    control: RingControl,
    slots: Vec<SlotHead>,
    cells: Vec<CellHead>,
    payloads: Vec<Vec<AtomicU64>>,
}
