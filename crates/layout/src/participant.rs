//! Participants: who may own a word, and how the others learn that he is dead.
//!
//! A participant is one attachment of one process to one segment. Its id is what claims carry; its record in
//! the table says who it was. Only `state` matters for safety. Everything else is for people.
//!
//! ```text
//! byte  0        8     12    16          24          32          40 .. 72     72 .. 128
//!       state    pid   uid   pid_ns      start_time  attached_at name[32]     reserved, zero
//!       {gen:48|st:16}
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | state | the holder of this id's byte lock | everybody | LIVE or RECOVERING with a free byte = dead |
//! | pid .. name | the holder, before LIVE | tools, messages of errors | stale, harmless |

use crate::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
use crate::line::LINE;

/// Most participants a segment can have: the bits of a holder bitmap.
pub const PARTICIPANTS_MAX: u16 = 256;

/// Bits of an owner field in every word of the house.
pub const OWNER_BITS: u32 = 13;

/// A participant's number in its segment, 1 to 8191. Zero in a word means nobody.
///
/// An id is used again only after everything its last holder owned has been swept, so words need no
/// generation beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantId(u16);

impl ParticipantId {
    /// The id of table row `index`.
    ///
    /// # Panics
    /// When `index` does not fit; the table never has that many rows.
    #[must_use]
    pub const fn from_index(index: u16) -> Self {
        assert!(index < (1 << OWNER_BITS) - 1);
        Self(index + 1)
    }

    /// The id in an owner field. `None`: nobody, or a value no word of ours can hold.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits == 0 || bits >= 1 << OWNER_BITS { None } else { Some(Self(bits as u16)) }
    }

    /// The value for an owner field.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0 as u64
    }

    /// The row in the table.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0 - 1
    }
}

/// Answers the one question every waiter has about the one participant he waits for.
pub trait Liveness {
    /// True when `id` is proven dead *and* everything it owned in the segment has been recovered, so that
    /// the caller's next look at the words finds them changed. False: it lives (perhaps stopped), or another
    /// process recovers it right now.
    ///
    /// May take milliseconds (a system call, and a sweep if it died). Never called on a fast path.
    fn is_dead(&self, id: ParticipantId) -> bool;

    /// Asks about everybody, and recovers what the dead owned: for one who waits for somebody that no word names, as
    /// the receiver of an end which is still on its way.
    fn look_around(&self) {}
}

/// States of a participant.
pub mod state {
    /// Nobody; may be taken by whoever holds the byte lock.
    pub const FREE: u64 = 0;
    /// Attached. With a free byte lock: died.
    pub const LIVE: u64 = 1;
    /// A holder of the byte lock sweeps what the dead one left.
    pub const RECOVERING: u64 = 2;

    /// The word of generation `generation` in state `st`.
    #[must_use]
    pub const fn word(generation: u64, st: u64) -> u64 {
        (generation << 16) | st
    }

    /// The state in a word.
    #[must_use]
    pub const fn st(word: u64) -> u64 {
        word & 0xffff
    }

    /// The generation in a word.
    #[must_use]
    pub const fn generation(word: u64) -> u64 {
        word >> 16
    }
}

/// One row of the participant table.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct ParticipantRecord {
    /// `{gen:48 | st:16}`, see [`state`].
    pub state: AtomicU64,
    /// Process id in its own pid namespace. For people.
    pub pid: AtomicU32,
    /// Effective user id. For people.
    pub uid: AtomicU32,
    /// Inode of its pid namespace. For people.
    pub pid_ns: AtomicU64,
    /// Start time of the process in clock ticks, as in `/proc/PID/stat`. For people.
    pub start_time: AtomicU64,
    /// `CLOCK_MONOTONIC` at attach, ns. For people.
    pub attached_at: AtomicU64,
    /// Name of the process, UTF-8, zero-padded, eight bytes a word in memory order. For people.
    pub name: [AtomicU64; 4],
    reserved: [AtomicU64; 7],
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<ParticipantRecord>() == LINE);
    assert!(offset_of!(ParticipantRecord, pid) == 8);
    assert!(offset_of!(ParticipantRecord, attached_at) == 32);
    assert!(offset_of!(ParticipantRecord, name) == 40);
    assert!(offset_of!(ParticipantRecord, reserved) == 72);
};
