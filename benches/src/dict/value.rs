//! The values of the rows, and the forms in which users may have them.

use std::fmt;

use ginnel::{Message, Raw};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};
use zerocopy::IntoBytes;

use crate::fault::Fault;

/// Words of a value.
const WORDS: usize = 8;
/// Bytes of a value.
pub(super) const BYTES: usize = WORDS * size_of::<u64>();

/// 64 bytes: the key, how often it was changed, and words that follow from these two. Copied by whoever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value([u64; WORDS]);

impl Value {
    /// The value of a key that was changed so often. Its later words have seven bytes, so that numbers of variable length
    /// take eight for each.
    #[inline(always)]
    pub(super) fn of(key: u64, round: u64) -> Self {
        let mixed = ((key << 32) ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8 | 1 << 55;
        let [a, b, c, d, e, f] = [1, 2, 3, 4, 5, 6].map(|place| mixed ^ place);
        Self([key, round, a, b, c, d, e, f])
    }

    /// How often the key was changed.
    #[inline(always)]
    pub(super) fn round(self) -> u64 {
        self.0[1]
    }

    /// The value after one more change.
    #[inline(always)]
    pub(super) fn successor(self) -> Self {
        Self::of(self.0[0], self.0[1] + 1)
    }

    /// Whether this is the value of the key, as it once was.
    #[inline(always)]
    pub(super) fn check(self, key: u64) -> Result<(), Fault> {
        if self == Self::of(key, self.round()) { Ok(()) } else { Err(self.wrong(key)) }
    }

    #[cold]
    fn wrong(self, key: u64) -> Fault {
        Fault::failed("a map", format!("{:x?} lies under {key}: torn, or of another key", self.0))
    }
}

/// A value as users have it in a dict or a list.
pub(super) trait Form: Message + From<Value> + Into<Value> {}

/// An array of bytes, encoded as one.
#[derive(Clone, Copy)]
pub(super) struct Bytes(Value);

/// Eight numbers, encoded one by one.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(super) struct Record([u64; WORDS]);

/// Bytes that lie in shared memory as they are.
pub(super) type Plain = Raw<[u64; WORDS]>;

impl Form for Bytes {}
impl Form for Record {}
impl Form for Plain {}

impl From<Value> for Bytes {
    #[inline(always)]
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl From<Bytes> for Value {
    #[inline(always)]
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl From<Value> for Record {
    #[inline(always)]
    fn from(value: Value) -> Self {
        Self(value.0)
    }
}

impl From<Record> for Value {
    #[inline(always)]
    fn from(record: Record) -> Self {
        Self(record.0)
    }
}

impl From<Value> for Plain {
    #[inline(always)]
    fn from(value: Value) -> Self {
        Self(value.0)
    }
}

impl From<Plain> for Value {
    #[inline(always)]
    fn from(plain: Plain) -> Self {
        Self(plain.0)
    }
}

impl Serialize for Bytes {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.0.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Exactly;
        impl Visitor<'_> for Exactly {
            type Value = Bytes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{BYTES} bytes")
            }

            #[inline]
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                let mut words = [0; WORDS];
                if bytes.len() != BYTES {
                    return Err(E::invalid_length(bytes.len(), &self));
                }
                words.as_mut_bytes().copy_from_slice(bytes);
                Ok(Bytes(Value(words)))
            }
        }
        deserializer.deserialize_bytes(Exactly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_its_key_and_its_age() {
        let value = Value::of(7, 3);
        assert_eq!((value.check(7), value.round(), value.successor()), (Ok(()), 3, Value::of(7, 4)));
        let fault = value.check(8).expect_err("another key");
        assert!(fault.to_string().contains("lies under 8"), "{fault}");
        for place in 0..WORDS {
            let mut torn = value;
            torn.0[place] ^= 1;
            assert!(torn.check(7).is_err(), "word {place}");
        }
    }

    #[test]
    fn every_form_gives_the_value_back() {
        let value = Value::of(1 << 20, 5);
        assert_eq!(Value::from(Bytes::from(value)), value);
        assert_eq!(Value::from(Record::from(value)), value);
        assert_eq!(Value::from(Plain::from(value)), value);
        let text = serde_json::to_string(&Bytes(value)).expect("an array of numbers");
        assert_eq!(text.matches(',').count(), BYTES - 1);
    }
}
