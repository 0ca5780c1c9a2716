//! The word of an element: nothing, a short value, or where its node is.
//!
//! ```text
//! bit   8 .. 63                       1 .. 7    0
//!       up to 7 bytes of the value    their     1      a short value
//!                                     number
//!       offset of a node, a multiple of 16, below 2^48  a value of its own block, or one with parcels
//!       0                                               no element: beyond `len`, or lost to damage
//! ```
//! A list whose values are all of at most 8 bytes (`PLAIN8`) keeps the value itself in the word, and none of this
//! applies to it: there 0 is a value like any other.

use crate::Error;

/// Bytes of the longest value that its word can hold, outside a list of plain words.
const SHORT_MAX: usize = 7;

/// The first bit that is no part of an offset.
const OFFSET_BITS: u32 = 48;

/// What the word of an element says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// No element.
    None,
    /// A value of `len` bytes.
    Short { bytes: [u8; SHORT_MAX], len: usize },
    /// The offset of the node that has the value.
    Node(u64),
}

/// What `word` says.
///
/// # Errors
/// [`Error::Corrupted`] for a word that no writer of ours stores.
#[inline]
pub(super) fn decode(word: u64) -> Result<Word, Error> {
    if word == 0 {
        return Ok(Word::None);
    }
    let bytes = word.to_le_bytes();
    if bytes[0] & 1 == 1 {
        let len = usize::from(bytes[0] >> 1);
        if len > SHORT_MAX {
            return Err(Error::Corrupted("the length of a short value in a list"));
        }
        let [_, bytes @ ..] = bytes;
        return Ok(Word::Short { bytes, len });
    }
    if word >> OFFSET_BITS != 0 || !word.is_multiple_of(16) {
        return Err(Error::Corrupted("the word of an element of a list"));
    }
    Ok(Word::Node(word))
}

/// The offset in `word`, if it names a node.
pub(super) fn node(word: u64) -> Option<u64> {
    match decode(word) {
        Ok(Word::Node(offset)) => Some(offset),
        _ => None,
    }
}

/// The word of `value`, if a word can hold it.
#[inline]
pub(super) fn short(value: &[u8]) -> Option<u64> {
    if value.len() > SHORT_MAX {
        return None;
    }
    let mut bytes = [0; 8];
    bytes[0] = ((value.len() as u8) << 1) | 1;
    bytes[1..=value.len()].copy_from_slice(value);
    Some(u64::from_le_bytes(bytes))
}

/// The word of a value of a list of plain words: its bytes, with zeros behind them.
///
/// # Errors
/// [`Error::TooLarge`] where it has more than 8.
#[inline]
pub(super) fn plain(value: &[u8]) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    bytes.get_mut(..value.len()).ok_or(Error::TooLarge)?.copy_from_slice(value);
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn short_values_come_back() {
        for len in 0..=SHORT_MAX {
            let value: Vec<u8> = (0..len as u8).map(|i| 0xf0 | i).collect();
            let word = short(&value).expect("it is short");
            let Ok(Word::Short { bytes, len: said }) = decode(word) else {
                panic!("{word:#x} is a short value")
            };
            assert_eq!(&bytes[..said], &value[..]);
            assert_eq!(node(word), None);
        }
        assert_eq!(short(&[0; 8]), None);
    }

    #[test]
    fn offsets_come_back() {
        for offset in [16, 4096, (1 << OFFSET_BITS) - 16] {
            assert_eq!(decode(offset), Ok(Word::Node(offset)));
        }
        assert_eq!(decode(0), Ok(Word::None));
    }

    #[test]
    fn what_no_writer_stores_is_refused() {
        for wild in [8, 24, 1 << OFFSET_BITS, (8 << 1) | 1, 0xff, u64::MAX] {
            assert!(matches!(decode(wild), Err(Error::Corrupted(_))), "{wild:#x}");
        }
    }

    #[test]
    fn plain_values_keep_their_bytes() {
        assert_eq!(plain(&7u64.to_le_bytes()), Ok(7));
        assert_eq!(plain(&[]), Ok(0));
        assert_eq!(plain(&[0; 9]), Err(Error::TooLarge));
    }
}
