//! The ring: a queue of fixed slots from many producers to many consumers, with the owner in each slot.
//!
//! ```text
//!            claim                  commit                claim                   acknowledgement
//!   FREE(p) -------> WRITING(p,me) --------> FULL(p) -------------> READING(p,me) ----------------> FREE(p + capacity)
//!                       |                     ^  ^  put back, or death   |  |
//!                       | abort, or death     |  +-----------------------+  | transfer to a cell
//!                       +-> FULL(p, ABORT)    |                             v
//!                           skipped           +--- delivered once more --- HELD(me) -> acknowledged, or ORPHAN
//! ```
//! A ring may be full with fewer messages than it has slots (`Shape::limited`): position p is then free only when p - limit
//! is out of its slot, and it is that word which producers mark and wait for (`walk`, `guard`).
//!
//! The words, their bits and their lines stand in `ginnel_layout::ring`. Slot i begins as FREE(i). There is no
//! shared counter: the one word of a slot says for which message it is and whose it is, so whatever a dead
//! participant leaves carries its name. `tail` and `head` are hints (`walk`). The files: `walk` (where the next slot
//! is), `claim` (producers), `take` (consumers), `lease` (cells), `waiting`, `recover`, `grow` (memory that comes and goes).
//!
//! Send: 1 CAS FREE(t) -> WRITING(t,me) · 2 tail hint · 3 gate · 4 payload, len, kind · 5 word := FULL(t), Release: the
//! COMMIT · 6 a wake, if the word of 1 carried W. Receive: 1 CAS FULL(h) -> READING(h,me) · 2 head hint · 3 len, checked,
//! payload · 4 word := FREE(h + capacity), Release: the ACKNOWLEDGEMENT · 5 a wake, if W. A lease does between 3 and 4:
//! payload into a cell that was claimed before, cell := HELD(me), Release: the TRANSFER.
//!
//! Invariants
//! - I1 positions are claimed in order, by each side: a claim of p is made by one who saw the claim of p - 1 (E5). So
//!   a hint never lies ahead of the truth, and a word more than a lap behind is none of ours.
//! - I2 a word that names a participant is changed by that participant only, or by the recoverer of its proven death.
//! - I3 a message that was committed and not acknowledged is in a slot FULL (not ABORT) or READING, or in a cell HELD
//!   or ORPHAN. It is in both for a moment during the transfer only: READING(p,d) with HELD(d) of the same p.
//! - I4 if somebody sleeps on a side, then the next word to be claimed by that side's opposite carries W, or somebody
//!   living claimed such a word and has not paid its wake, or somebody living that slept has not passed its wake on.
//!   W is set by CAS in FREE (by consumers) and FULL (by producers) only; who finds somebody in the middle naps.
//! - I5 where something is put back, `redeliver` has its bit set and a version that no earlier scan has seen, or
//!   somebody is about to do that who, if it dies, is recovered, which does it.
//! - I6 foreign words are read once, checked, used. Compared are positions of 48 bits, masked; a loop over words has a
//!   budget. A ring that is scribbled on gives wrong messages, `WouldBlock`, `Busy` or `Corrupted`, within bounds.
//! - I7 in a ring with chunks a word is 0 only where its presence word names the lap of its FREE, and it becomes 0
//!   and anything else but 0 again only under the grow lock; a chunk without memory has words 0 only (`grow`).
//!
//! Edges
//! - E1 commit, abort, put back (Release) -> look at the word (Acquire): payload, len, kind.
//! - E2 acknowledgement (Release) -> look at the word, claim: the consumer is done with the bytes.
//! - E3 any change of a cell's word (Release) -> look at it (Acquire): what the cell holds, and that the slot is free.
//! - E4 redeliver raised (Release) -> redeliver read (Acquire): what was put back before.
//! - E5 claim, hint moved (Release) -> hint read, look at the word (Acquire): all claims of lower positions (I1).
//! - E6 claim, then gate (SeqCst) <-> gate closed, then all words (SeqCst): the producer sees the gate closed and
//!   aborts, or the consumer sees its claim and waits for it. Nothing that was sent is behind a `Closed`.
//! - E7 cell's word, then gate (SeqCst) <-> bit set in the gate, then all words (SeqCst): who acknowledges sees that
//!   somebody waits, or that one sees the acknowledgement. An acknowledgement of a slot has no fence; there the
//!   end of a slice stands in.
//! - E8 seq read before a word is marked; pairs with crates/sync/src/park.rs E2.
//! - E9 presence := PRESENT(lap) (SeqCst), then a word := 0 or FREE -> look at the word, then at presence (Acquire):
//!   who sees the 0 sees its lap, or a later one in which the word was FREE meanwhile. SeqCst because of E6: who finds
//!   the gate closed sees the chunk of every claim before it.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | producer before 1, after 6 | nothing | nobody |
//! | producer between 1 and 5 | WRITING(t,d) | `recover`: FULL(t, ABORT), skipped; the message was never sent |
//! | producer after 5, before its wake | a consumer may sleep | `recover` wakes all; else the slice |
//! | consumer between 1 and 4 | READING(h,d) | `recover`: FULL(h, REDELIVER), or FREE and counted, by policy |
//! | lease, cell claimed | LOAN(d) | `recover`: FREE; the slot as above |
//! | lease after the transfer, before 4 | READING(h,d) and HELD(d) | `recover`: slot FREE, then the cell as below |
//! | holder of a lease | HELD(d) | `recover`: ORPHAN, delivered once more; or FREE and counted, by policy |
//! | consumer after 4, before its wake | a producer may sleep | `recover` wakes all; else the slice |
//! | who puts back, before redeliver | FULL(h, REDELIVER) or ORPHAN, unannounced | `recover`, always |
//! | closer after the gate | sleepers who do not know | `recover` wakes all; else the slice |
//! | sleeper, any time | W for nobody, a bit in the bitmap, a wake used up | one futile wake; `recover` wakes all |
//! | who opens a chunk, before PRESENT | memory that counts for none; the grow lock | `recover`: the lock; the next to open it |
//! | who opens, afterwards; who punches, before ABSENT | PRESENT, words that are 0; the lock | `recover`: the lock; the next to open it fills them |
//! | who punches, afterwards | memory that counts for none; the lock | `recover`: the lock; the memory goes a lap later |
//! | recoverer | any prefix | the next recoverer repeats all of it |
//!
//! Progress: `try_*` is lock-free and bounded by two rounds of the ring. A living participant that stops between its
//! claim and its commit holds up those behind it, and is named (`Busy`). Source: slots with sequence numbers as in
//! Vyukov's bounded queue, the claim moved into the slot's word; recovery and waiting are our own, modelled in testkit.

mod claim;
#[cfg(not(loom))]
mod grow;
mod lease;
mod recover;
mod take;
mod waiting;
mod walk;

use core::fmt;
#[cfg(not(loom))]
use core::ptr::NonNull;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{AcqRel, Relaxed, SeqCst};
use ginnel_layout::lane::wait_mode;
use ginnel_layout::line::{LINE, PAGE};
use ginnel_layout::ring::{
    CAPACITY_MAX, CELL_EXTRA, CellWord, SLOT_PAYLOAD_AT, SLOT_UNIT, SLOTS_AT, SlotWord, gate, policy,
};
use ginnel_sync::park::{self, Mode};

pub use claim::Claim;
pub use ginnel_layout::ring::gate::{NO_INPUT, NO_RECEIVER};
#[cfg(not(loom))]
pub use grow::Memory;
pub use lease::Held;
pub use recover::{Lost, Stats};
pub use take::Taken;
pub use waiting::{RingPort, Side};

use crate::slots::Slots;

/// Why an operation on a ring did not happen. Small and `Copy`: the crates above say it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// Full, or empty. Only from `try_*`.
    WouldBlock,
    /// Full, or empty, and the slot for this position has no memory: open it and try again. Only of rings with chunks.
    Hole(u64),
    /// There is no memory for a chunk. Only from [`Ring::open`].
    NoMemory,
    /// Full or empty only because this living participant is in the middle of something. Only from `try_*`.
    Busy(ParticipantId),
    /// The deadline passed.
    TimedOut {
        /// Who was in the way in that moment, alive as far as anybody knows.
        owner: Option<ParticipantId>,
    },
    /// A signal arrived while asleep; nothing happened, call again.
    Interrupted,
    /// For a producer: nobody may send, or nobody receives. For a consumer: nobody sends any more, and nothing that
    /// was sent can still come to it.
    Closed,
    /// The message can never fit: its length and the most that fits, in bytes. For the crates above; nothing here
    /// says it.
    TooLarge {
        /// Bytes asked for.
        len: u64,
        /// Bytes possible.
        max: u64,
    },
    /// There is a message, and as many are leased as there are cells.
    NoCell,
    /// A word held what no correct peer writes.
    Corrupted,
}

/// What becomes of messages that a consumer had not acknowledged when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDeath {
    /// They are delivered once more: at least once.
    #[default]
    Redeliver,
    /// They are dropped and counted: at most once.
    Drop,
}

/// What is to be agreed when a ring is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Slots, a power of two.
    pub capacity: u64,
    /// Bytes of a slot, a multiple of 64.
    pub slot_size: u64,
    /// Messages that can be leased at a time.
    pub cells: u64,
    /// What becomes of unacknowledged messages of the dead.
    pub policy: OnDeath,
    /// How both sides wait.
    pub mode: Mode,
    /// Slots of a chunk, whose memory comes and goes with the messages; a power of two. 0: all have memory.
    pub chunk: u64,
    /// Messages that may lie in slots at a time; at most [`Shape::capacity`].
    pub limit: u64,
}

impl Shape {
    /// The shape of a ring for at least `capacity` messages of up to `payload` bytes, of which `cells` can be leased
    /// at a time. The capacity is rounded up to a power of two. `None`: no ring is that large, or of nothing.
    #[must_use]
    pub fn new(capacity: u64, payload: u64, cells: u64, policy: OnDeath, mode: Mode) -> Option<Self> {
        let capacity = if capacity == 0 { None } else { capacity.checked_next_power_of_two() }?;
        let slot_size = payload.checked_add(SLOT_PAYLOAD_AT)?.checked_next_multiple_of(SLOT_UNIT)?;
        let shape = Self { capacity, slot_size, cells, policy, mode, chunk: 0, limit: capacity };
        shape.is_valid().then_some(shape)
    }

    /// The same, with slots that have memory in chunks of `slots`, as they are needed. `None`: not a power of two, more
    /// than there are, or a chunk is no multiple of a page.
    #[must_use]
    pub fn chunked(self, slots: u64) -> Option<Self> {
        let shape = Self { chunk: slots, ..self };
        (slots != 0 && shape.is_valid()).then_some(shape)
    }

    /// The same, full with `messages`. `None`: none, or more than there are slots for.
    #[must_use]
    pub fn limited(self, messages: u64) -> Option<Self> {
        let shape = Self { limit: messages, ..self };
        shape.is_valid().then_some(shape)
    }

    /// Bytes of the longest payload.
    #[must_use]
    #[inline(always)]
    pub const fn payload_max(&self) -> u64 {
        self.slot_size - SLOT_PAYLOAD_AT
    }

    /// Bytes of the whole ring: control part, slots and cells.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.fixed_size() + if self.chunk == 0 { 0 } else { self.capacity * self.slot_size }
    }

    /// Bytes that need memory from the beginning, in front of those that come and go.
    #[must_use]
    pub const fn fixed_size(&self) -> u64 {
        let cells = self.cells * self.cell_size();
        if self.chunk == 0 { self.cells_at() + cells } else { self.slots_at() }
    }

    pub(crate) const fn slots_at(&self) -> u64 {
        if self.chunk == 0 {
            return SLOTS_AT;
        }
        (self.cells_at() + self.cells * self.cell_size()).next_multiple_of(PAGE as u64)
    }

    pub(crate) const fn cells_at(&self) -> u64 {
        let before = match self.capacity.checked_div(self.chunk) {
            None => self.capacity * self.slot_size,
            Some(chunks) => (8 * chunks).next_multiple_of(LINE as u64),
        };
        SLOTS_AT + before
    }

    pub(crate) const fn cell_size(&self) -> u64 {
        self.slot_size + CELL_EXTRA
    }

    /// With this, no product or sum of its numbers overflows.
    fn is_valid(&self) -> bool {
        const SIZE_MAX: u64 = 1 << 46;
        self.capacity.is_power_of_two()
            && self.capacity <= CAPACITY_MAX
            && (1..=self.capacity).contains(&self.limit)
            && self.cells < CAPACITY_MAX - 1
            && self.slot_size.is_multiple_of(SLOT_UNIT)
            && (SLOT_UNIT..CAPACITY_MAX).contains(&self.slot_size)
            && self.slot_size <= SIZE_MAX / self.capacity
            && self.cell_size() <= SIZE_MAX / self.cells.max(1)
            && (self.chunk == 0 || self.has_valid_chunks())
    }

    fn has_valid_chunks(&self) -> bool {
        self.chunk.is_power_of_two()
            && self.chunk <= self.capacity
            && (self.chunk * self.slot_size).is_multiple_of(PAGE as u64)
    }
}

/// A ring in borrowed memory, its geometry checked and copied. Copies are handles to the same ring; any thread may
/// use any of them.
#[derive(Clone, Copy)]
pub struct Ring {
    slots: Slots,
    shape: Shape,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("shape", &self.shape).finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
#[allow(unsafe_code, reason = "the promises about the memory are the caller's")]
impl Ring {
    /// Makes a ring of `shape` in memory that is zero.
    ///
    /// # Safety
    /// `base` is aligned to 128 and begins `shape.size()` mapped, writable bytes that nobody else uses meanwhile.
    pub unsafe fn init(base: NonNull<u8>, shape: &Shape) {
        assert!(shape.is_valid(), "a shape that `Shape::new` does not give");
        // SAFETY: the contract of this function.
        let slots = unsafe { Slots::from_raw(base, shape) };
        Self { slots, shape: *shape }.write();
    }

    /// A ring over memory in which one was made. Reads its geometry, once, and checks it.
    ///
    /// # Errors
    /// `Corrupted` when no creator writes such a geometry, or `bytes` are too few for it.
    ///
    /// # Safety
    /// `base` is aligned to 128 and begins `bytes` mapped, writable bytes that stay mapped as long as the ring or a
    /// copy of it is used, and that nobody in this process accesses but through rings.
    pub unsafe fn from_raw(base: NonNull<u8>, bytes: u64) -> Result<Self, RingError> {
        if bytes < SLOTS_AT {
            return Err(RingError::Corrupted);
        }
        // SAFETY: the contract of this function, and there are bytes enough for the control part.
        let g = unsafe { &Slots::control_of(base).geometry };
        let policy = match g.policy.load(Relaxed) {
            policy::REDELIVER => OnDeath::Redeliver,
            policy::DROP => OnDeath::Drop,
            _ => return Err(RingError::Corrupted),
        };
        let mode = match g.wait.load(Relaxed) {
            wait_mode::ADAPTIVE => Mode::Adaptive,
            wait_mode::SPIN => Mode::Spin,
            wait_mode::SLEEP => Mode::Sleep,
            _ => return Err(RingError::Corrupted),
        };
        let capacity = g.capacity.load(Relaxed);
        let limit = match g.limit.load(Relaxed) {
            0 => capacity,
            limit => limit,
        };
        let shape = Shape {
            capacity,
            slot_size: g.slot_size.load(Relaxed),
            cells: g.cells.load(Relaxed),
            policy,
            mode,
            chunk: g.chunk.load(Relaxed),
            limit,
        };
        if !shape.is_valid() || shape.size() > bytes {
            return Err(RingError::Corrupted);
        }
        // SAFETY: the contract of this function, and there are bytes enough for the shape.
        let slots = unsafe { Slots::from_raw(base, &shape) };
        Ok(Self { slots, shape })
    }
}

#[cfg(loom)]
impl Ring {
    /// A ring on the heap, leaked, for models.
    pub fn on_heap(shape: &Shape) -> Self {
        let ring = Self { slots: Slots::on_heap(shape), shape: *shape };
        ring.write();
        ring
    }
}

impl Ring {
    /// Writes the geometry and the first word of each slot, or of each chunk. Everything else begins as zero.
    fn write(&self) {
        let g = &self.slots.control().geometry;
        g.capacity.store(self.shape.capacity, Relaxed);
        g.slot_size.store(self.shape.slot_size, Relaxed);
        g.cells.store(self.shape.cells, Relaxed);
        let policy = match self.shape.policy {
            OnDeath::Redeliver => policy::REDELIVER,
            OnDeath::Drop => policy::DROP,
        };
        g.policy.store(policy, Relaxed);
        let wait = match self.shape.mode {
            Mode::Adaptive => wait_mode::ADAPTIVE,
            Mode::Spin => wait_mode::SPIN,
            Mode::Sleep => wait_mode::SLEEP,
        };
        g.wait.store(wait, Relaxed);
        g.chunk.store(self.shape.chunk, Relaxed);
        g.limit.store(self.shape.limit, Relaxed);
        #[cfg(not(loom))]
        if self.slots.is_chunked() {
            return self.write_holes();
        }
        for index in 0..self.shape.capacity {
            self.slots.slot(index).word.store(SlotWord::free(index).0, Relaxed);
        }
    }

    /// What was agreed.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Says that one side is gone for good, or both: [`NO_INPUT`], [`NO_RECEIVER`]. Wakes everybody; may be repeated.
    pub fn close(&self, bits: u32) {
        let control = self.slots.control();
        control.geometry.gate.fetch_or(bits & (gate::NO_INPUT | gate::NO_RECEIVER), SeqCst); // E6
        for line in [&control.not_empty, &control.not_full, &control.a_cell] {
            park::wake_all(line);
        }
    }

    /// What [`Ring::close`] was told.
    #[must_use]
    pub fn closed(&self) -> u32 {
        self.gate() & (gate::NO_INPUT | gate::NO_RECEIVER)
    }

    #[inline]
    fn gate(&self) -> u32 {
        self.slots.control().geometry.gate.load(SeqCst) // E6, E7
    }

    #[inline(always)]
    fn swap(&self, word: &AtomicU64, seen: SlotWord, next: SlotWord) -> bool {
        word.compare_exchange(seen.0, next.0, AcqRel, Relaxed).is_ok() // E1, E2, E5
    }

    #[inline]
    fn swap_cell(&self, index: u64, seen: CellWord, next: CellWord) -> bool {
        self.slots.cell(index).word.compare_exchange(seen.0, next.0, AcqRel, Relaxed).is_ok() // E3
    }
}
