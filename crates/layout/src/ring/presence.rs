//! Chunks of slots whose memory comes and goes, and the holes they leave.
//!
//! ```text
//! bit 63..16           15..1   0
//!     first position   zero    present
//! ```
//! Positions of such a ring begin with lap 1, so no word of a slot is ever 0, until positions have gone round once: a
//! word that is 0 is a hole. The presence word says for which lap. While a chunk is not present, all of it is a hole.

use super::{POSITION_MAX, POSITION_SHIFT, SlotWord, after};

/// The presence word of a chunk: does it have memory, and the position of its first slot in the lap for which its
/// holes are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceWord(pub u64);

impl PresenceWord {
    const PRESENT: u64 = 1;

    /// No memory.
    #[must_use]
    #[inline]
    pub const fn absent(first: u64) -> Self {
        Self((first & POSITION_MAX) << POSITION_SHIFT)
    }

    /// Memory, in which words may still be 0.
    #[must_use]
    #[inline]
    pub const fn present(first: u64) -> Self {
        Self(Self::absent(first).0 | Self::PRESENT)
    }

    /// Does it have memory?
    #[must_use]
    #[inline]
    pub const fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    /// The position of the first slot in the lap of the holes.
    #[must_use]
    #[inline]
    pub const fn first(self) -> u64 {
        self.0 >> POSITION_SHIFT
    }

    /// The hole that the `step`th slot of the chunk is.
    #[must_use]
    #[inline]
    pub const fn hole(self, step: u64) -> SlotWord {
        SlotWord::hole(after(self.first(), step))
    }
}

impl SlotWord {
    /// Mark of FREE: never in memory, it stands for a word that is 0, or has no memory.
    const HOLE: u64 = 1;

    /// FREE for `position`, if it were opened.
    #[must_use]
    #[inline]
    pub const fn hole(position: u64) -> Self {
        Self::new(position, Self::HOLE, Self::FREE)
    }

    /// Is a FREE word a hole?
    #[must_use]
    #[inline]
    pub const fn is_hole(self) -> bool {
        self.st() == Self::FREE && self.mark() == Self::HOLE
    }
}
