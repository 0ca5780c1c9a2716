//! Numbers that change where they lie: dicts of `Raw` integers.
//!
//! A value of 8 bytes is one word of its node, and a new number is one store into it: no new node, nothing to free.
//! Shorter ones take the general way, with the same meaning.

use std::borrow::Borrow;

use ginnel_object::value::Integer;
use ginnel_object::{Message, Raw, Result};

use super::Dict;
use super::change::PUT;
use crate::key::{self, Key, Lookup};

/// Does the number fill a word of the store?
const fn is_word<N>() -> bool {
    size_of::<N>() == size_of::<u64>()
}

/// The number in the first bytes of a word.
#[inline]
fn of_word<N: Integer>(word: u64) -> Option<N> {
    Raw::from_bytes(&word.to_ne_bytes()[..size_of::<N>()]).ok().map(|Raw(n)| n)
}

/// Zero, as whose bytes are.
#[inline]
fn zero<N: Integer>() -> Result<N> {
    Raw::from_bytes(&[0; size_of::<u64>()][..size_of::<N>()]).map(|Raw(n)| n)
}

/// The number as a word, if it fills one.
#[inline]
fn to_word<N: Integer>(n: N) -> Option<u64> {
    Raw(n).with_bytes(|bytes| bytes.try_into().ok().map(u64::from_ne_bytes)).ok().flatten()
}

/// Atomic arithmetic on one entry. An absent key counts as zero, and is put in. Numbers wrap around at their ends, as
/// those of std's atomics do; what is given is the number before.
impl<K: Key, N: Integer> Dict<K, Raw<N>> {
    /// Adds.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    /// use ginnel_object::Raw;
    ///
    /// let hits = Dict::<String, Raw<u64>>::new()?;
    /// assert_eq!(hits.fetch_add("/index", 1)?, 0);
    /// assert_eq!(hits.fetch_add("/index", 1)?, 1);
    /// assert_eq!(hits.get("/index")?, Some(Raw(2)));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::update`].
    #[inline]
    pub fn fetch_add<Q>(&self, key: &Q, n: N) -> Result<N>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        self.fetch(key, |old| old.plus(n))
    }

    /// Subtracts.
    ///
    /// # Errors
    /// As [`Dict::update`].
    #[inline]
    pub fn fetch_sub<Q>(&self, key: &Q, n: N) -> Result<N>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        self.fetch(key, |old| old.minus(n))
    }

    /// Keeps the greater one of what is there and `n`.
    ///
    /// # Errors
    /// As [`Dict::update`].
    #[inline]
    pub fn fetch_max<Q>(&self, key: &Q, n: N) -> Result<N>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        self.fetch(key, |old| old.max(n))
    }

    /// Keeps the lesser one of what is there and `n`.
    ///
    /// # Errors
    /// As [`Dict::update`].
    #[inline]
    pub fn fetch_min<Q>(&self, key: &Q, n: N) -> Result<N>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        self.fetch(key, |old| old.min(n))
    }

    #[inline]
    fn fetch<Q>(&self, key: &Q, f: impl Fn(N) -> N) -> Result<N>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        if is_word::<N>() {
            let step = |word| of_word(word).and_then(|old| to_word(f(old))).unwrap_or(word);
            let found = key::with_bytes(key, |key| self.raw.word(key, step))?;
            if let Some(old) = found.and_then(|(old, _)| of_word(old)) {
                return Ok(old);
            }
        }
        self.decide(key, |old, out| {
            let old = match old {
                Some(Raw(old)) => old,
                None => zero()?,
            };
            Raw(f(old)).put(out)?;
            Ok((PUT, old))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_number_and_back() {
        assert_eq!(to_word(-5_i64).and_then(of_word), Some(-5_i64));
        assert_eq!(to_word(u64::MAX), Some(u64::MAX));
        assert_eq!(of_word::<u16>(0), Some(0));
        assert_eq!((to_word(7_u32), is_word::<u32>(), is_word::<usize>()), (None, false, true));
    }
}
