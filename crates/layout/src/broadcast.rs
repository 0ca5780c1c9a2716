//! A broadcast channel: slots that writers overwrite, and readers that leave nothing behind.
//!
//! ```text
//! byte 0       8          16    20      24 .. 128
//!      slots   slot_size  wait  closed  reserved, zero
//! byte 128  tail       where the writers are: a hint
//! byte 256  news       the line everybody sleeps on who waits for a commit
//! byte 384  aborted | refused | recoveries, then reserved
//! byte 512  sleepers   a bit for each participant that sleeps
//! byte 640  the slots, `slots * slot_size` bytes
//!
//! slot      word u64 | len u32 | kind u32 | payload, up to slot_size - 16 bytes
//! word      {pos:48 | owner:13 | W:1 | state:2}    FREE(i)  WRITING(t,o)  FULL(t,flag)
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | slots, slot_size, wait | the creator, before LIVE | everybody, once at attach | as they are |
//! | closed | whoever closes | writers after each claim; readers that find nothing | as it is |
//! | tail | writers, after each claim | writers, new readers | at most a ring behind the truth |
//! | news | sleepers (flag), writers, recovery | writers after each commit; sleepers | see [`crate::wait`] |
//! | aborted, refused, recoveries | recovery, writers that find it closed | people | may miss what a killed one was about to add |
//! | sleepers | each participant its own bit; recovery the dead one's | people | the bit of d is cleared |
//! | slot word | the writer that claims and commits it; recovery | everybody | WRITING(t,d) becomes FULL(t,ABORT) |
//! | len, kind, payload | the writer in WRITING | readers, who then look whether the word is still the same | whatever they were |
//!
//! A position is 48 bits and wraps; the slot of position `t` is `t mod slots`. The protocol, its edges and its
//! crash table stand in the crate `queue`, file `broadcast.rs`.

use crate::atomic::{AtomicU32, AtomicU64};
use crate::line::Line;
use crate::participant::{OWNER_BITS, ParticipantId};
use crate::wait::WaitLine;

/// Bytes of a slot before its payload.
pub const SLOT_HEAD: u64 = 16;

/// A slot's size is a multiple of this.
pub const SLOT_UNIT: u64 = 64;

/// Bytes before the slots.
pub const SLOTS_AT: u64 = 640;

/// Largest channel in bytes.
pub const SIZE_MAX: u64 = 1 << 40;

/// What was agreed when the channel was made, and whether it is closed.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BroadcastGeometry {
    /// How many slots; a power of two.
    pub slots: AtomicU64,
    /// Bytes of a slot; a multiple of [`SLOT_UNIT`].
    pub slot_size: AtomicU64,
    /// One of [`crate::lane::wait_mode`].
    pub wait: AtomicU32,
    /// 1: nothing will be sent any more.
    pub closed: AtomicU32,
    reserved: [AtomicU64; 13],
}

/// What happened to the channel; for people.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BroadcastCounters {
    /// Claims of writers that died, made ABORT by recovery.
    pub aborted: AtomicU64,
    /// Claims that found the channel closed and were made ABORT by their own writer.
    pub refused: AtomicU64,
    /// How often it was recovered.
    pub recoveries: AtomicU64,
    reserved: [AtomicU64; 13],
}

/// Everything before the slots.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BroadcastControl {
    /// Immutable, but for `closed`.
    pub geometry: BroadcastGeometry,
    /// A position; the next one to claim is this one or a later one, less than a ring further.
    pub tail: Line<AtomicU64>,
    /// Whoever waits for a commit sleeps here: readers, and writers whose slot another one is filling.
    pub news: WaitLine,
    /// For people.
    pub counters: BroadcastCounters,
    /// Bit i: participant of row i sleeps on `news`. For people.
    pub sleepers: Line<[AtomicU64; 4]>,
}

/// States of a slot.
pub mod state {
    /// Never written.
    pub const FREE: u64 = 0;
    /// The owner fills it.
    pub const WRITING: u64 = 1;
    /// Whole; the owner field is a flag.
    pub const FULL: u64 = 2;
}

/// Flags of a FULL slot, where other states have their owner.
pub mod flag {
    /// It holds a message.
    pub const NORMAL: u64 = 0;
    /// It holds none: its writer died, or found the channel closed.
    pub const ABORT: u64 = 1;
}

const STATE_BITS: u32 = 2;
const W: u64 = 1 << STATE_BITS;
const OWNER_SHIFT: u32 = STATE_BITS + 1;
const POSITION_SHIFT: u32 = OWNER_SHIFT + OWNER_BITS;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;

/// Bits of a position.
pub const POSITION_MASK: u64 = u64::MAX >> POSITION_SHIFT;

/// A slot's word, taken apart. W is not part of it: who compares words compares these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotWord {
    /// Which message; see [`POSITION_MASK`].
    pub position: u64,
    /// The owner's bits, or one of [`flag`] in FULL.
    pub owner: u64,
    /// One of [`state`].
    pub state: u64,
}

impl SlotWord {
    /// Takes a word apart, without W.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(word: u64) -> Self {
        Self {
            position: word >> POSITION_SHIFT,
            owner: (word >> OWNER_SHIFT) & OWNER_MASK,
            state: word & (W - 1),
        }
    }

    /// The word, without W.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        (self.position << POSITION_SHIFT) | (self.owner << OWNER_SHIFT) | self.state
    }

    /// A slot that was never written.
    #[must_use]
    pub const fn free(index: u64) -> Self {
        Self { position: index, owner: 0, state: state::FREE }
    }

    /// `me` fills the slot.
    #[must_use]
    #[inline(always)]
    pub const fn writing(position: u64, me: ParticipantId) -> Self {
        Self { position, owner: me.bits(), state: state::WRITING }
    }

    /// The slot is whole.
    #[must_use]
    #[inline(always)]
    pub const fn full(position: u64, flag: u64) -> Self {
        Self { position, owner: flag, state: state::FULL }
    }

    /// Who fills it. `None` in other states, and for a word that nobody of ours wrote.
    #[must_use]
    pub const fn writer(self) -> Option<ParticipantId> {
        if self.state == state::WRITING { ParticipantId::from_bits(self.owner) } else { None }
    }
}

/// How far `to` lies ahead of `from`; negative: behind. Positions wrap, so this is right up to 2^47.
#[must_use]
#[inline(always)]
pub const fn ahead(from: u64, to: u64) -> i64 {
    (to.wrapping_sub(from) << POSITION_SHIFT) as i64 >> POSITION_SHIFT
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<BroadcastGeometry>() == 128);
    assert!(size_of::<BroadcastCounters>() == 128);
    assert!(offset_of!(BroadcastGeometry, wait) == 16);
    assert!(offset_of!(BroadcastGeometry, closed) == 20);
    assert!(offset_of!(BroadcastControl, tail) == 128);
    assert!(offset_of!(BroadcastControl, news) == 256);
    assert!(offset_of!(BroadcastControl, counters) == 384);
    assert!(offset_of!(BroadcastControl, sleepers) == 512);
    assert!(size_of::<BroadcastControl>() as u64 == SLOTS_AT);
    assert!(POSITION_SHIFT == 16);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_round_trip() {
        let writer = ParticipantId::from_bits(8191).expect("the last id");
        let word = SlotWord::writing(POSITION_MASK, writer);
        assert_eq!(SlotWord::from_bits(word.bits()), word);
        assert_eq!(word.writer(), Some(writer));
        let full = SlotWord::full(7, flag::ABORT);
        assert_eq!(SlotWord::from_bits(full.bits() | W), full, "W is no part of it");
        assert_eq!(full.writer(), None);
        assert_eq!(SlotWord::free(0).bits(), 0, "zeroed memory is a free first slot");
    }

    #[test]
    fn positions_wrap() {
        assert_eq!(ahead(POSITION_MASK, 2), 3);
        assert_eq!(ahead(2, POSITION_MASK), -3);
        assert_eq!(ahead(5, 5), 0);
        assert_eq!(ahead(0, 1 << 46), 1 << 46);
    }
}
