//! The header word of a record in a lane: one word that says whether a record is there, and what it is.
//!
//! ```text
//! bit 63   62          52 .. 61    48 .. 51   32 .. 47   0 .. 31
//!     V    many        zero        kind       count      len (bytes of payload)
//! ```
//! `V` set is the commit: one release store makes the record, and in a batch all that follow it, visible.
//! A word of zero means that nothing was published here yet. `many` marks a record of `count` values of one
//! fixed size behind a single header, which is how a batch of small values costs no header each. `kind` (see [`kind`])
//! says what part of a message the record is; it is zero but in lanes of pipes.

/// Bytes of a header word, and the granule in which positions count.
pub const GRANULE: u64 = 8;

/// Longest payload: what fits 32 bits, less what rounding may add.
pub const PAYLOAD_MAX: u64 = (1 << 32) - 4096;

/// Most values in a record of many.
pub const COUNT_MAX: u16 = u16::MAX;

const VALID: u64 = 1 << 63;
const MANY: u64 = 1 << 62;
const COUNT_SHIFT: u32 = 32;
const KIND_SHIFT: u32 = 48;
const KIND_MASK: u64 = 0xf;
const UNUSED: u64 = 0x3ff << 52;

/// What a record of a lane of bytes is of its message.
pub mod kind {
    /// All of it.
    pub const WHOLE: u8 = 0;
    /// All of it; the payload ends in a table of what it carries and a `u32`, how many that are.
    pub const CARRIES: u8 = 1;
    /// The first part of a long one. The payload begins with a `u64`: the bytes of the whole body.
    pub const FIRST: u8 = 2;
    /// Neither the first part nor the last.
    pub const MORE: u8 = 3;
    /// The last part.
    pub const LAST: u8 = 4;
    /// The last part, with a table and its number at the end, as in [`CARRIES`].
    pub const LAST_CARRIES: u8 = 5;

    /// Does a record of this kind end in a table of what its message carries?
    #[must_use]
    #[inline(always)]
    pub const fn carries(kind: u8) -> bool {
        matches!(kind, CARRIES | LAST_CARRIES)
    }
}

/// A header that says that a record is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of payload, all values together.
    pub len: u32,
    /// Values in it: 1 for a message of its own, more or less only in a record of many.
    pub count: u16,
    /// One header for `count` values of the same size.
    pub many: bool,
    /// One of [`kind`]; zero in a record of many.
    pub kind: u8,
}

impl RecordHeader {
    /// A message of `len` bytes.
    #[must_use]
    #[inline(always)]
    pub const fn one(len: u32) -> Self {
        Self::of_kind(len, kind::WHOLE)
    }

    /// A message of `len` bytes, or a part of one.
    #[must_use]
    #[inline(always)]
    pub const fn of_kind(len: u32, kind: u8) -> Self {
        Self { len, count: 1, many: false, kind }
    }

    /// `count` values, `len` bytes together.
    #[must_use]
    #[inline(always)]
    pub const fn many(len: u32, count: u16) -> Self {
        Self { len, count, many: true, kind: kind::WHOLE }
    }

    /// The word to store.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        let many = if self.many { MANY } else { 0 };
        let kind = (self.kind as u64 & KIND_MASK) << KIND_SHIFT;
        VALID | many | kind | ((self.count as u64) << COUNT_SHIFT) | self.len as u64
    }

    /// What a word says. `None`: nothing published, or a word that no producer of ours stores.
    /// [`is_published`] tells the two apart.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(word: u64) -> Option<Self> {
        if word & VALID == 0 || word & UNUSED != 0 {
            return None;
        }
        let (many, kind) = (word & MANY != 0, (word >> KIND_SHIFT & KIND_MASK) as u8);
        if kind > kind::LAST_CARRIES || (many && kind != kind::WHOLE) {
            return None;
        }
        Some(Self { len: word as u32, count: (word >> COUNT_SHIFT) as u16, many, kind })
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
        let parts = [kind::CARRIES, kind::FIRST, kind::MORE, kind::LAST, kind::LAST_CARRIES]
            .map(|kind| RecordHeader::of_kind(u32::MAX, kind));
        let others = [RecordHeader::one(0), RecordHeader::one(u32::MAX), RecordHeader::many(24, 3)];
        for header in parts.into_iter().chain(others) {
            assert_eq!(RecordHeader::from_bits(header.bits()), Some(header));
            assert!(is_published(header.bits()));
        }
    }

    #[test]
    fn words_that_nobody_stores_are_refused() {
        assert_eq!(RecordHeader::from_bits(0), None);
        assert_eq!(RecordHeader::from_bits(VALID | (1 << 52)), None);
        assert_eq!(RecordHeader::from_bits(VALID | (6 << 48)), None);
        assert_eq!(RecordHeader::from_bits(RecordHeader::many(8, 1).bits() | (1 << 48)), None);
        assert_eq!(RecordHeader::from_bits(12), None);
    }
}
