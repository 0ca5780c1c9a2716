//! A pool of blocks: large buffers of one size that are handed on by reference.
//!
//! ```text
//! byte 0      geometry   what was agreed when it was made
//! byte 128    free       the line on which those sleep who wait for a free block
//! byte 256    counters   for people
//! byte 384    reserved, zero
//! byte 512    one record of 128 bytes for each block
//! then, from the next page on: the bytes, each block on pages of its own
//!
//! record  byte 0   8        16   24 .. 128
//!              word carrier len  reserved, zero
//!
//! word    {gen:47 | owner:13 | spare:1 | state:3}    FREE(g)  OWNED(o, g)
//! carrier as in [`crate::entry`]: the message that carries the block
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | count, size | the creator, before LIVE | everybody, once | as they are |
//! | word | who claims, receives, releases; recovery | everybody | OWNED(d), not in flight: recovery frees it |
//! | carrier | the owner, before the commit of the message and after its acknowledgement | recovery | decides whether the block is in flight |
//! | len | the owner, before the commit | the receiver | of a dead owner: nobody reads it |
//! | free | see [`crate::wait`] | | recovery wakes all |
//! | recovered | recovery | tools | at most one too few |
//!
//! The protocol, its edges and its crash table stand in the crate `queue`, file `blocks.rs`.

use crate::atomic::AtomicU64;
#[cfg(not(loom))]
use crate::line::LINE;
use crate::participant::ParticipantId;
use crate::wait::WaitLine;

/// Most blocks of a pool. Whoever finds none free has looked at all of them.
pub const BLOCKS_MAX: u64 = 1 << 16;

/// Largest block in bytes.
pub const BLOCK_SIZE_MAX: u64 = 1 << 40;

/// States of a block.
pub mod st {
    /// Nobody's; `gen` counts how often it was given back.
    pub const FREE: u64 = 0;
    /// `owner` fills it, has sent it, or looks at it.
    pub const OWNED: u64 = 1;
}

const OWNER_SHIFT: u32 = 4;
const GENERATION_SHIFT: u32 = 17;

/// Largest generation; after it comes 0.
pub const GENERATION_MAX: u64 = (1 << 47) - 1;

/// The word of a block, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockWord {
    /// Rises whenever the block becomes free. 47 bits.
    pub generation: u64,
    /// Whose it is; `None` while it is free.
    pub owner: Option<ParticipantId>,
}

impl BlockWord {
    /// Takes a word apart. `None`: no correct peer writes such a word.
    #[must_use]
    #[inline]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let generation = word >> GENERATION_SHIFT;
        let owner_bits = (word >> OWNER_SHIFT) & 0x1fff;
        match (word & 0xf, ParticipantId::from_bits(owner_bits)) {
            (st::FREE, None) if owner_bits == 0 => Some(Self { generation, owner: None }),
            (st::OWNED, Some(owner)) => Some(Self { generation, owner: Some(owner) }),
            _ => None,
        }
    }

    /// Puts it together.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        let generation = (self.generation & GENERATION_MAX) << GENERATION_SHIFT;
        match self.owner {
            None => generation | st::FREE,
            Some(owner) => generation | (owner.bits() << OWNER_SHIFT) | st::OWNED,
        }
    }

    /// The word of a block of this generation that is `owner`'s.
    #[must_use]
    #[inline]
    pub const fn owned(owner: ParticipantId, generation: u64) -> u64 {
        Self { generation, owner: Some(owner) }.bits()
    }

    /// The word of the block once it is given back.
    #[must_use]
    #[inline]
    pub const fn freed(self) -> u64 {
        Self { generation: (self.generation + 1) & GENERATION_MAX, owner: None }.bits()
    }
}

/// What was agreed when the pool was made.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BlocksGeometry {
    /// How many blocks.
    pub count: AtomicU64,
    /// Bytes of each.
    pub size: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 14],
}

/// For people.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BlocksCounters {
    /// Blocks that recovery took from dead owners.
    pub recovered: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 15],
}

/// The beginning of a pool.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BlocksControl {
    /// Immutable.
    pub geometry: BlocksGeometry,
    /// Here sleeps who waits for a free block; any number of them.
    pub free: WaitLine,
    /// For people.
    pub counters: BlocksCounters,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 16],
}

/// What is known of one block.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BlockRecord {
    /// [`BlockWord`].
    pub word: AtomicU64,
    /// [`crate::entry::Carrier`].
    pub carrier: AtomicU64,
    /// Bytes that are filled.
    pub len: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 13],
}

/// Where the records begin.
pub const RECORDS_AT: u64 = 512;

/// Bytes of a record.
pub const RECORD_SIZE: u64 = 128;

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<BlocksControl>() == 4 * LINE);
    assert!(size_of::<BlocksControl>() as u64 == RECORDS_AT);
    assert!(offset_of!(BlocksGeometry, size) == 8);
    assert!(offset_of!(BlocksControl, free) == 128);
    assert!(offset_of!(BlocksControl, counters) == 256);
    assert!(size_of::<BlockRecord>() == LINE && LINE as u64 == RECORD_SIZE);
    assert!(offset_of!(BlockRecord, carrier) == 8);
    assert!(offset_of!(BlockRecord, len) == 16);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_round_trip() {
        let owner = ParticipantId::from_bits(8191);
        for word in [
            BlockWord { generation: 0, owner: None },
            BlockWord { generation: GENERATION_MAX, owner: None },
            BlockWord { generation: GENERATION_MAX - 1, owner },
        ] {
            assert_eq!(BlockWord::from_bits(word.bits()), Some(word));
        }
        assert_eq!(BlockWord { generation: 0, owner: None }.bits(), 0, "zeroed memory is free blocks");
    }

    #[test]
    fn a_block_given_back_is_free_and_of_the_next_generation() {
        let owner = ParticipantId::from_bits(1);
        let freed = |generation| BlockWord::from_bits(BlockWord { generation, owner }.freed());
        assert_eq!(freed(6), Some(BlockWord { generation: 7, owner: None }));
        assert_eq!(freed(GENERATION_MAX), Some(BlockWord { generation: 0, owner: None }));
    }

    #[test]
    fn impossible_words_are_refused() {
        for word in [st::OWNED, 1 << OWNER_SHIFT, 2, 8 | st::OWNED | (1 << OWNER_SHIFT), u64::MAX] {
            assert_eq!(BlockWord::from_bits(word), None, "{word:#x}");
        }
    }
}
