//! The ring: a queue of fixed slots for many producers and many consumers, and its cells, the leases in progress.
//!
//! ```text
//! byte 0      Geometry   what was agreed when it was made, and the gate
//! byte 128    tail       where producers begin to look
//! byte 256    head       where consumers begin to look, and whether something was put back
//! byte 384    not_empty  the line consumers sleep on
//! byte 512    not_full   the line producers sleep on
//! byte 640    a_cell     the line those sleep on who want to lease and found every cell taken
//! byte 768    done       the line those sleep on who wait for the last acknowledgement
//! byte 896    counters   for people
//! byte 1024   sleepers   who sleeps, by participant, for people
//! byte 1152   slots      `capacity` times `slot_size`
//! after them  cells      `cells` times `slot_size + 64`
//!
//! or, where the memory of the slots comes and goes in chunks:
//! byte 1152   presence   a word for each chunk
//! after them  cells
//! next page   slots
//!
//! slot        word 8 | len 4 | kind 4 | payload (slot_size - 16)
//! cell        word 8 | position 8 | deliveries 4 | len 4 | kind 4 | zero 4 | payload as in a slot | unused
//!
//! slot word   bit 63..16  15..3   2  1..0        cell word   bit 63..17      16..4   3     2..0
//!                 position owner  W  state                       generation  owner   spare state
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | capacity, slot_size, cells, policy, wait | the creator, before LIVE | everybody, once at attach | as they are |
//! | gate | closers (two bits, for ever), waiters for a cell or for the end of all work (two bits), who wakes them | producers after each claim, consumers after each acknowledgement | a bit of a waiter for nobody: one futile wake |
//! | tail | producers, after a claim | producers | behind the truth |
//! | head | consumers, after a claim | consumers | behind the truth |
//! | redeliver `{version:63 \| bit}` | whoever puts a message back, recovery; a consumer that found nothing clears the bit | consumers, at each look | raised by recovery in any case |
//! | slot word | its owner; sleepers set W; recovery of its owner | everybody | names the dead until recovery |
//! | cell word | its owner; recovery of its owner | those who lease, ask or recover | names the dead until recovery |
//! | len, kind, payload, position, deliveries | the owner of the slot or cell | its next owner | belong to the state of the word |
//! | grow | who opens or punches a chunk; recovery of its holder | the same | free, with a mark that nobody reads |
//! | presence | the holder of grow | everybody, before the words of the chunk | [`PresenceWord`] |
//! | counters, sleepers | whoever did it | tools | may miss what the dead did last |
//!
//! The protocol, its edges and its crash table stand in the crate `queue`, file `ring.rs`.

use crate::atomic::{AtomicU32, AtomicU64};
use crate::line::Line;
#[cfg(not(loom))]
use crate::line::{LINE, PAGE};
use crate::participant::{OWNER_BITS, PARTICIPANTS_MAX, ParticipantId};
use crate::wait::WaitLine;

mod presence;
#[cfg(all(test, not(loom)))]
mod tests;

pub use presence::PresenceWord;

/// What happens to the messages that a dead consumer had not acknowledged.
pub mod policy {
    /// They are delivered once more.
    pub const REDELIVER: u32 = 0;
    /// They are dropped and counted.
    pub const DROP: u32 = 1;
}

/// Bits of the gate.
pub mod gate {
    /// No producer sends any more. Stays.
    pub const NO_INPUT: u32 = 1;
    /// No consumer receives any more. Stays.
    pub const NO_RECEIVER: u32 = 2;
    /// Somebody sleeps until a cell can be had.
    pub const CELL_WANTED: u32 = 4;
    /// Somebody sleeps until everything is acknowledged.
    pub const DONE_WANTED: u32 = 8;
}

/// Words of a bitmap with a bit for each participant.
pub const BITMAP_WORDS: usize = PARTICIPANTS_MAX as usize / 64;

/// What was agreed when the ring was made, and the gate: a line that is read by all and hardly ever written.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct RingGeometry {
    /// Slots, a power of two.
    pub capacity: AtomicU64,
    /// Bytes of a slot, a multiple of [`SLOT_UNIT`].
    pub slot_size: AtomicU64,
    /// Messages that can be leased at a time.
    pub cells: AtomicU64,
    /// One of [`policy`].
    pub policy: AtomicU32,
    /// One of [`crate::lane::wait_mode`].
    pub wait: AtomicU32,
    /// Bits of [`mod@gate`].
    pub gate: AtomicU32,
    spare: AtomicU32,
    /// Slots of a chunk, a power of two; 0: all slots have memory from the beginning.
    pub chunk: AtomicU64,
    /// Messages that may lie in slots at a time; 0: as many as there are slots.
    pub limit: AtomicU64,
    reserved: [AtomicU64; 9],
}

/// The consumers' line.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Head {
    /// Where consumers begin to look.
    pub hint: AtomicU64,
    /// `{version:63 | bit}`; bit 1: something may have been put back.
    pub redeliver: AtomicU64,
}

/// What happened, for people; and the lock of the chunks, which is taken as seldom.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Counters {
    /// Slots given up by a producer that did not send, or that died.
    pub aborted: AtomicU64,
    /// Messages put back: by their consumer, or after its death.
    pub redelivered: AtomicU64,
    /// Messages lost: by [`policy::DROP`], or because their length was impossible.
    pub dropped: AtomicU64,
    /// Recoveries of a dead participant.
    pub recoveries: AtomicU64,
    /// Who opens or punches a chunk. A word of `sync::mutex`.
    pub grow: AtomicU32,
    spare: AtomicU32,
}

/// Who sleeps, a bit for each participant.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Sleepers {
    /// Waiting for a message.
    pub consumers: [AtomicU64; BITMAP_WORDS],
    /// Waiting for room.
    pub producers: [AtomicU64; BITMAP_WORDS],
}

/// Everything before the slots.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct RingControl {
    /// What was agreed, and the gate.
    pub geometry: RingGeometry,
    /// Where producers begin to look.
    pub tail: Line<AtomicU64>,
    /// Where consumers begin to look.
    pub head: Line<Head>,
    /// Consumers sleep here.
    pub not_empty: WaitLine,
    /// Producers sleep here.
    pub not_full: WaitLine,
    /// Those who lease sleep here when every cell is taken.
    pub a_cell: WaitLine,
    /// Those who wait for the last acknowledgement sleep here.
    pub done: WaitLine,
    /// For people.
    pub counters: Line<Counters>,
    /// For people.
    pub sleepers: Line<Sleepers>,
}

/// The head of a slot; the payload follows.
#[repr(C)]
#[derive(Debug, Default)]
pub struct SlotHead {
    /// A [`SlotWord`].
    pub word: AtomicU64,
    /// Bytes of payload.
    pub len: AtomicU32,
    /// The sender's, for the receiver.
    pub kind: AtomicU32,
}

/// The head of a cell; the payload follows.
#[repr(C)]
#[derive(Debug, Default)]
pub struct CellHead {
    /// A [`CellWord`].
    pub word: AtomicU64,
    /// The position the message had in the ring.
    pub position: AtomicU64,
    /// How often it was delivered.
    pub deliveries: AtomicU32,
    /// As in the slot.
    pub len: AtomicU32,
    /// As in the slot.
    pub kind: AtomicU32,
    reserved: AtomicU32,
}

/// Bytes before the slots, or before the presence words.
pub const SLOTS_AT: u64 = 1152;
/// What the size of a slot is a multiple of.
pub const SLOT_UNIT: u64 = 64;
/// Where the payload of a slot begins.
pub const SLOT_PAYLOAD_AT: u64 = 16;
/// Where the payload of a cell begins.
pub const CELL_PAYLOAD_AT: u64 = 32;
/// What a cell is larger than a slot.
pub const CELL_EXTRA: u64 = 64;

/// Positions count up to here, then from 0 again. At 10^9 messages a second that takes three days, and only a
/// process that stood still for all of them would mistake one position for another.
pub const POSITION_MAX: u64 = (1 << POSITION_BITS) - 1;
/// More slots than this are no ring.
pub const CAPACITY_MAX: u64 = 1 << 32;

const POSITION_BITS: u32 = 48;
const POSITION_SHIFT: u32 = 16;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;

/// The position `count` behind `position`.
#[must_use]
#[inline(always)]
pub const fn after(position: u64, count: u64) -> u64 {
    position.wrapping_add(count) & POSITION_MAX
}

/// How far `to` lies behind `from`; negative if before it.
#[must_use]
#[inline(always)]
pub const fn distance(from: u64, to: u64) -> i64 {
    (to.wrapping_sub(from) << (64 - POSITION_BITS)) as i64 >> (64 - POSITION_BITS)
}

/// `position:48 | owner:13 | W:1 | state:2`. In FULL the owner field is a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotWord(pub u64);

impl SlotWord {
    /// May be claimed for the message at its position.
    pub const FREE: u64 = 0;
    /// A producer writes.
    pub const WRITING: u64 = 1;
    /// A message.
    pub const FULL: u64 = 2;
    /// A consumer reads.
    pub const READING: u64 = 3;

    /// Mark of FULL: a message.
    pub const NORMAL: u64 = 0;
    /// Mark of FULL: no message after all. Consumers skip it.
    pub const ABORT: u64 = 1;
    /// Mark of FULL: was delivered before.
    pub const REDELIVER: u64 = 2;

    const W: u64 = 4;

    #[inline(always)]
    const fn new(position: u64, owner: u64, st: u64) -> Self {
        Self((position << POSITION_SHIFT) | (owner << 3) | st)
    }

    /// FREE for the message at `position`.
    #[must_use]
    #[inline(always)]
    pub const fn free(position: u64) -> Self {
        Self::new(position, 0, Self::FREE)
    }

    /// WRITING by `owner`.
    #[must_use]
    #[inline(always)]
    pub const fn writing(position: u64, owner: ParticipantId) -> Self {
        Self::new(position, owner.bits(), Self::WRITING)
    }

    /// FULL with a mark.
    #[must_use]
    #[inline(always)]
    pub const fn full(position: u64, mark: u64) -> Self {
        Self::new(position, mark, Self::FULL)
    }

    /// READING by `owner`.
    #[must_use]
    #[inline(always)]
    pub const fn reading(position: u64, owner: ParticipantId) -> Self {
        Self::new(position, owner.bits(), Self::READING)
    }

    /// One of the four states.
    #[must_use]
    #[inline(always)]
    pub const fn st(self) -> u64 {
        self.0 & 3
    }

    /// The position of the message.
    #[must_use]
    #[inline(always)]
    pub const fn position(self) -> u64 {
        self.0 >> POSITION_SHIFT
    }

    /// Is this FREE for `position`, whoever sleeps?
    #[must_use]
    #[inline(always)]
    pub const fn is_free(self, position: u64) -> bool {
        self.0 & !Self::W == Self::free(position).0
    }

    /// Is this a message at `position` that was never delivered, whoever sleeps?
    #[must_use]
    #[inline(always)]
    pub const fn is_new(self, position: u64) -> bool {
        self.0 & !Self::W == Self::full(position, Self::NORMAL).0
    }

    /// The mark of a FULL word.
    #[must_use]
    #[inline(always)]
    pub const fn mark(self) -> u64 {
        (self.0 >> 3) & OWNER_MASK
    }

    /// Who writes or reads. None in the other states, and for an owner that no participant has.
    #[must_use]
    #[inline]
    pub const fn owner(self) -> Option<ParticipantId> {
        if matches!(self.st(), Self::WRITING | Self::READING) { owner_of(self.mark()) } else { None }
    }

    /// Does somebody sleep until this word changes?
    #[must_use]
    #[inline(always)]
    pub const fn is_waited_for(self) -> bool {
        self.0 & Self::W != 0
    }

    /// The same word, with the mark that somebody sleeps.
    #[must_use]
    #[inline(always)]
    pub const fn waited_for(self) -> Self {
        Self(self.0 | Self::W)
    }
}

/// `generation:47 | owner:13 | spare:1 | state:3`. Zero is FREE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellWord(pub u64);

impl CellWord {
    /// Nobody's.
    pub const FREE: u64 = 0;
    /// Taken by one who is about to move a message into it. Holds no message yet.
    pub const LOAN: u64 = 1;
    /// A message, leased by its owner.
    pub const HELD: u64 = 2;
    /// A message that was put back.
    pub const ORPHAN: u64 = 3;

    const OWNER_SHIFT: u32 = 4;
    const GENERATION_SHIFT: u32 = Self::OWNER_SHIFT + OWNER_BITS;

    #[inline]
    const fn new(generation: u64, owner: u64, st: u64) -> Self {
        Self((generation << Self::GENERATION_SHIFT) | (owner << Self::OWNER_SHIFT) | st)
    }

    /// FREE in a generation.
    #[must_use]
    #[inline]
    pub const fn free(generation: u64) -> Self {
        Self::new(generation, 0, Self::FREE)
    }

    /// LOAN.
    #[must_use]
    #[inline]
    pub const fn loan(generation: u64, owner: ParticipantId) -> Self {
        Self::new(generation, owner.bits(), Self::LOAN)
    }

    /// HELD.
    #[must_use]
    #[inline]
    pub const fn held(generation: u64, owner: ParticipantId) -> Self {
        Self::new(generation, owner.bits(), Self::HELD)
    }

    /// ORPHAN.
    #[must_use]
    #[inline]
    pub const fn orphan(generation: u64) -> Self {
        Self::new(generation, 0, Self::ORPHAN)
    }

    /// One of the four states, or none of ours.
    #[must_use]
    #[inline]
    pub const fn st(self) -> u64 {
        self.0 & 7
    }

    /// Rises with every message that the cell has held.
    #[must_use]
    #[inline]
    pub const fn generation(self) -> u64 {
        self.0 >> Self::GENERATION_SHIFT
    }

    /// Whose it is. None in FREE and ORPHAN, and for an owner that no participant has.
    #[must_use]
    #[inline]
    pub const fn owner(self) -> Option<ParticipantId> {
        match self.st() {
            Self::LOAN | Self::HELD => owner_of((self.0 >> Self::OWNER_SHIFT) & OWNER_MASK),
            _ => None,
        }
    }
}

const fn owner_of(bits: u64) -> Option<ParticipantId> {
    match ParticipantId::from_bits(bits) {
        Some(owner) if owner.index() < PARTICIPANTS_MAX => Some(owner),
        _ => None,
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RingGeometry>() == LINE);
    assert!(offset_of!(RingGeometry, slot_size) == 8);
    assert!(offset_of!(RingGeometry, cells) == 16);
    assert!(offset_of!(RingGeometry, policy) == 24);
    assert!(offset_of!(RingGeometry, wait) == 28);
    assert!(offset_of!(RingGeometry, gate) == 32);
    assert!(offset_of!(RingGeometry, chunk) == 40);
    assert!(offset_of!(RingGeometry, limit) == 48);
    assert!(offset_of!(Head, redeliver) == 8);
    assert!(offset_of!(Counters, grow) == 32);
    assert!(size_of::<Counters>() == 40);
    assert!(offset_of!(Sleepers, producers) == 32);
    assert!(offset_of!(RingControl, tail) == 128);
    assert!(offset_of!(RingControl, head) == 256);
    assert!(offset_of!(RingControl, not_empty) == 384);
    assert!(offset_of!(RingControl, not_full) == 512);
    assert!(offset_of!(RingControl, a_cell) == 640);
    assert!(offset_of!(RingControl, done) == 768);
    assert!(offset_of!(RingControl, counters) == 896);
    assert!(offset_of!(RingControl, sleepers) == 1024);
    assert!(size_of::<RingControl>() as u64 == SLOTS_AT);
    assert!(SLOTS_AT.is_multiple_of(LINE as u64) && SLOTS_AT <= PAGE as u64);
    assert!(size_of::<SlotHead>() as u64 == SLOT_PAYLOAD_AT);
    assert!(offset_of!(SlotHead, len) == 8);
    assert!(offset_of!(SlotHead, kind) == 12);
    assert!(size_of::<CellHead>() as u64 == CELL_PAYLOAD_AT);
    assert!(offset_of!(CellHead, position) == 8);
    assert!(offset_of!(CellHead, deliveries) == 16);
    assert!(offset_of!(CellHead, len) == 20);
    assert!(offset_of!(CellHead, kind) == 24);
    assert!(CELL_EXTRA >= CELL_PAYLOAD_AT - SLOT_PAYLOAD_AT && CELL_EXTRA.is_multiple_of(SLOT_UNIT));
    assert!(POSITION_SHIFT == 3 + OWNER_BITS && POSITION_SHIFT + POSITION_BITS == 64);
};
