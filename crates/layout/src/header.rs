//! The front of a segment: what is where, written once, before anybody else can see it.
//!
//! ```text
//! offset            what                                      size
//! 0                 Header (immutable after publication)      128
//! 128               Control (the mutable words)               128
//! 4096              participant table                         participants x 128
//! directory_at      object directory                          objects x 256
//! tickets_at        tickets of handles in transit, carriers   tickets x 16
//! page_words_at     one u32 a page of data: {part:16 | entry+1:16}  pages x 4
//! data_at           the pages                                 pages x 4096
//! total_len         end of file
//! ```
//! Each part starts on a page. [`Geometry`] computes the offsets from the four counts alone, so an attacher
//! checks a header by recomputing it; nothing geometric is read from shared memory after attach.
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | Header.* | the creator before publication | attachers, once | a creator that dies leaves nothing visible |
//! | state | the collector under the gate | openers under the gate | READY: as before; DEAD: openers create anew |
//! | grown | any creator of objects, by CAS upward | sweeps, claims | backing memory below it is allocated |
//! | names_lock | the mutex protocol | the same | recovered by owner like any mutex |
//! | counters | anybody, relaxed | tools | as they are |

use crate::atomic::{AtomicU32, AtomicU64};
use crate::entry::{Entry, TICKETS};
use crate::line::{LINE, PAGE};
use crate::participant::{PARTICIPANTS_MAX, ParticipantRecord};

/// First eight bytes of every segment: `ginnel` and the byte order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ginnel\x01\xee");

/// Bits of [`Header::flags`].
pub mod segment_flag {
    /// The name stays when the last participant leaves.
    pub const PERSISTENT: u32 = 1;
    /// All of them.
    pub const ALL: u32 = PERSISTENT;
}

/// Values of [`Control::state`].
pub mod segment_state {
    /// In use, or free to be used.
    pub const READY: u32 = 1;
    /// Removed under the gate; whoever finds it must look the name up again.
    pub const DEAD: u32 = 2;
}

/// The immutable first line.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`crate::LAYOUT_VERSION`].
    pub version: AtomicU32,
    /// [`segment_flag`].
    pub flags: AtomicU32,
    /// [`layout_hash`] of the build that created it.
    pub layout_hash: AtomicU64,
    /// Size of the file in bytes.
    pub total_len: AtomicU64,
    /// Random, so that two segments of one name are told apart.
    pub uuid: [AtomicU64; 2],
    /// Rows of the participant table.
    pub participants: AtomicU32,
    /// Entries of the directory.
    pub objects: AtomicU32,
    /// Pages of data.
    pub pages: AtomicU64,
    reserved: [AtomicU64; 8],
}

/// The mutable second line.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Control {
    /// See [`segment_state`].
    pub state: AtomicU32,
    /// The mutex (as in `sync::mutex`) that serialises the making and finding of names.
    pub names_lock: AtomicU32,
    /// Pages of data whose page words are backed by memory; a multiple of [`PAGES_A_STEP`].
    pub grown: AtomicU64,
    /// Participants that died and were recovered, ever.
    pub recoveries: AtomicU64,
    reserved: [AtomicU64; 13],
}

/// Page words are backed by memory one page at a time: this many pages of data become claimable a step.
pub const PAGES_A_STEP: u64 = (PAGE / 4) as u64;

/// Most pages a segment can have: 16 TiB.
pub const PAGES_MAX: u64 = 1 << 32;

/// Most objects a segment can have. An index fits a ticket's field of 16 bits.
pub const OBJECTS_MAX: u32 = 1 << 15;

/// Where the parts of a segment are. Private memory, checked once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Rows of the participant table, 1 to 256.
    pub participants: u16,
    /// Entries of the directory, 1 to [`OBJECTS_MAX`].
    pub objects: u32,
    /// Pages of data, 1 to [`PAGES_MAX`].
    pub pages: u64,
}

impl Geometry {
    /// Offset of the participant table.
    pub const PARTICIPANTS_AT: u64 = PAGE as u64;

    /// A geometry, if every count is within its bounds.
    #[must_use]
    pub const fn new(participants: u16, objects: u32, pages: u64) -> Option<Self> {
        let fits = participants >= 1
            && participants <= PARTICIPANTS_MAX
            && objects >= 1
            && objects <= OBJECTS_MAX
            && pages >= 1
            && pages <= PAGES_MAX;
        if fits { Some(Self { participants, objects, pages }) } else { None }
    }

    /// Offset of the object directory.
    #[must_use]
    pub const fn directory_at(&self) -> u64 {
        Self::PARTICIPANTS_AT + round_up(self.participants as u64 * size_of::<ParticipantRecord>() as u64)
    }

    /// Offset of the tickets.
    #[must_use]
    pub const fn tickets_at(&self) -> u64 {
        self.directory_at() + round_up(self.objects as u64 * size_of::<Entry>() as u64)
    }

    /// Offset of the carriers of the tickets.
    #[must_use]
    pub const fn carriers_at(&self) -> u64 {
        self.tickets_at() + round_up(TICKETS as u64 * 8)
    }

    /// Offset of the page words.
    #[must_use]
    pub const fn page_words_at(&self) -> u64 {
        self.carriers_at() + round_up(TICKETS as u64 * 8)
    }

    /// Offset of the first page of data.
    #[must_use]
    pub const fn data_at(&self) -> u64 {
        self.page_words_at() + round_up(self.pages * 4)
    }

    /// Size of the file.
    #[must_use]
    pub const fn total_len(&self) -> u64 {
        self.data_at() + self.pages * PAGE as u64
    }
}

/// `bytes` rounded up to whole pages.
#[must_use]
pub const fn round_up(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE as u64) * PAGE as u64
}

/// A hash over every size and version that two processes must agree on.
///
/// Computed when this crate is compiled. A build with another layout gets another value and refuses to attach.
#[must_use]
pub const fn layout_hash() -> u64 {
    let facts = [
        crate::LAYOUT_VERSION as u64,
        LINE as u64,
        PAGE as u64,
        size_of::<Header>() as u64,
        size_of::<Control>() as u64,
        size_of::<ParticipantRecord>() as u64,
        size_of::<Entry>() as u64,
        size_of::<crate::lane::LaneControl>() as u64,
        size_of::<crate::wait::WaitLine>() as u64,
        size_of::<crate::process::ProcessWords>() as u64,
        size_of::<crate::store::Shard>() as u64,
        TICKETS as u64,
        u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]),
        u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    // FNV-1a over the facts: any change of one of them changes the result.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < facts.len() {
        hash = (hash ^ facts[i]).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
        i += 1;
    }
    hash
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Header>() == LINE);
    assert!(offset_of!(Header, total_len) == 24);
    assert!(offset_of!(Header, pages) == 56);
    assert!(size_of::<Control>() == LINE);
    assert!(offset_of!(Control, grown) == 8);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_on_page_borders() {
        let g = Geometry::new(256, 1024, 1 << 20).expect("within bounds");
        let parts =
            [Geometry::PARTICIPANTS_AT, g.directory_at(), g.tickets_at(), g.page_words_at(), g.data_at()];
        assert!(parts.is_sorted() && parts.iter().all(|at| at % PAGE as u64 == 0));
        assert_eq!(g.total_len(), g.data_at() + (1 << 32));
    }

    #[test]
    fn counts_out_of_bounds_are_refused() {
        for (participants, objects, pages) in
            [(0, 1, 1), (257, 1, 1), (1, 0, 1), (1, OBJECTS_MAX + 1, 1), (1, 1, 0), (1, 1, PAGES_MAX + 1)]
        {
            assert_eq!(Geometry::new(participants, objects, pages), None);
        }
    }
}
