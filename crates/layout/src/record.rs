//! The header word of a record in a lane: one word that says whether a record is there, and what it is.
//!
//! ```text
//! bit 63   62          48 .. 61    32 .. 47   0 .. 31
//!     V    many        zero        count      len (bytes of payload)
//! ```
//! `V` set is the commit: one release store makes the record, and in a batch all that follow it, visible.
//! A word of zero means that nothing was published here yet. `many` marks a record of `count` values of one
//! fixed size behind a single header, which is how a batch of small values costs no header each.

/// Bytes of a header word, and the granule in which positions count.
pub const GRANULE: u64 = 8;

/// Longest payload: what fits 32 bits, less what rounding may add.
pub const PAYLOAD_MAX: u64 = (1 << 32) - 4096;

/// Most values in a record of many.
pub const COUNT_MAX: u16 = u16::MAX;

const VALID: u64 = 1 << 63;
const MANY: u64 = 1 << 62;
const COUNT_SHIFT: u32 = 32;
const UNUSED: u64 = 0x3fff << 48;

/// A header that says that a record is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of payload, all values together.
    pub len: u32,
    /// Values in it: 1 for a message of its own, more or less only in a record of many.
    pub count: u16,
    /// One header for `count` values of the same size.
    pub many: bool,
}

impl RecordHeader {
    /// A message of `len` bytes.
    #[must_use]
    #[inline(always)]
    pub const fn one(len: u32) -> Self {
        Self { len, count: 1, many: false }
    }

    /// `count` values, `len` bytes together.
    #[must_use]
    #[inline(always)]
    pub const fn many(len: u32, count: u16) -> Self {
        Self { len, count, many: true }
    }

    /// The word to store.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        let many = if self.many { MANY } else { 0 };
        VALID | many | ((self.count as u64) << COUNT_SHIFT) | self.len as u64
    }

    /// What a word says. `None`: nothing published, or a word that no producer of ours stores.
    /// [`is_published`] tells the two apart.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(word: u64) -> Option<Self> {
        if word & VALID == 0 || word & UNUSED != 0 {
            return None;
        }
        Some(Self { len: word as u32, count: (word >> COUNT_SHIFT) as u16, many: word & MANY != 0 })
    }
}

/// Is anything published behind this word?
#[must_use]
#[inline(always)]
pub const fn is_published(word: u64) -> bool {
    word & VALID != 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_round_trip() {
        for header in [RecordHeader::one(0), RecordHeader::one(u32::MAX), RecordHeader::many(24, 3)] {
            assert_eq!(RecordHeader::from_bits(header.bits()), Some(header));
            assert!(is_published(header.bits()));
        }
    }

    #[test]
    fn words_that_nobody_stores_are_refused() {
        assert_eq!(RecordHeader::from_bits(0), None);
        assert_eq!(RecordHeader::from_bits(VALID | (1 << 50)), None);
        assert_eq!(RecordHeader::from_bits(12), None);
    }
}
