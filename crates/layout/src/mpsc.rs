//! The control of an mpsc: a lane for each producer, one consumer that goes round.
//!
//! ```text
//! byte 0            Geometry   what was agreed: how many lanes, and what each is like
//! byte 256          census     which lanes were ever used, and how often one was taken
//! byte 384          not_empty  the line the consumer sleeps on, with the consumer's role; all producers post to it
//! byte 512          the control of lane 0, of lane 1, ..: 640 bytes each, see `lane`
//! a page boundary   the ring of lane 0, of lane 1, ..: each mapped twice back to back
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | lanes, lane | the creator, before LIVE | every end, once at attach | as they are |
//! | census | a producer, after it took its lane and before it sends | the consumer at each turn | one taking behind: a lane that never sent anything |
//! | not_empty.role | whoever takes or gives up the consumer's end; recovery | all producers | HELD(d) becomes DEAD |
//! | of each lane: tail, head, not_full | as in a lane | as in a lane | as in a lane |
//! | of each lane: geometry, not_empty | nobody | nobody | zero: the ones above stand for all lanes |
//!
//! The protocol, its edges and its crash table stand in the crate `queue`, file `mpsc.rs`.

use crate::atomic::{AtomicU32, AtomicU64};
use crate::lane::{LaneControl, LaneGeometry};
#[cfg(not(loom))]
use crate::line::LINE;
use crate::line::{Line, PAGE};
use crate::wait::WaitLine;

/// Most lanes of an mpsc.
pub const LANES_MAX: u32 = 1024;

/// What was agreed when the mpsc was made.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct MpscGeometry {
    /// What every lane is like.
    pub lane: LaneGeometry,
    /// How many lanes there are.
    pub lanes: AtomicU32,
    spare: AtomicU32,
    reserved: [AtomicU64; 15],
}

/// The control of an mpsc, before those of its lanes.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct MpscControl {
    /// Immutable.
    pub geometry: MpscGeometry,
    /// A [`Census`].
    pub census: Line<AtomicU64>,
    /// The consumer sleeps here; its role.
    pub not_empty: WaitLine,
}

/// Which lanes were ever used: `{takings:48 | used:16}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Times a producer took a lane. A reader that finds the same number twice knows that nobody came between.
    pub takings: u64,
    /// Lanes from this number on were never taken.
    pub used: u32,
}

impl Census {
    /// Takes a word apart.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(word: u64) -> Self {
        Self { takings: word >> 16, used: (word & 0xffff) as u32 }
    }

    /// Puts it together. Of `takings` the lowest 48 bits count.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.takings << 16) | (self.used as u64 & 0xffff)
    }

    /// The census after lane `index` was taken once more.
    #[must_use]
    pub const fn with(self, index: u32) -> Self {
        let used = if self.used > index { self.used } else { index + 1 };
        Self { takings: self.takings + 1, used }
    }
}

/// Bytes before the rings: the control, those of the lanes, and the rest of the last page.
#[must_use]
pub const fn rings_at(lanes: u32) -> u64 {
    let end = LANES_AT + lanes as u64 * size_of::<LaneControl>() as u64;
    end.next_multiple_of(PAGE as u64)
}

/// Bytes before the controls of the lanes.
pub const LANES_AT: u64 = size_of::<MpscControl>() as u64;

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<MpscControl>() == 4 * LINE);
    assert!(offset_of!(MpscGeometry, lanes) == 128);
    assert!(offset_of!(MpscControl, census) == 256);
    assert!(offset_of!(MpscControl, not_empty) == 384);
    assert!(LANES_AT == 512 && size_of::<LaneControl>() == 640);
    assert!((LANES_AT as usize).is_multiple_of(align_of::<LaneControl>()));
    assert!(LANES_MAX < 1 << 16);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_census_counts_takings_and_remembers_the_highest_lane() {
        let census = Census::default().with(2).with(0);
        assert_eq!(census, Census { takings: 2, used: 3 });
        assert_eq!(Census::from_bits(census.bits()), census);
        let last = Census { takings: (1 << 48) - 1, used: LANES_MAX };
        assert_eq!(Census::from_bits(last.with(0).bits()), Census { takings: 0, used: LANES_MAX });
    }

    #[test]
    fn the_rings_begin_on_a_page_behind_the_controls() {
        assert_eq!(rings_at(1), 4096);
        assert_eq!(rings_at(5), 4096);
        assert_eq!(rings_at(6), 8192);
        assert_eq!(rings_at(16), 3 * 4096);
    }
}
