//! Values that count: what whole numbers can do in one step.
//!
//! Edges
//! - E1 (pairs with value.rs E1) an addition to a whole word (both ways) <-> the looks at it and its other changes there.

use ginnel_layout::atomic::Ordering::AcqRel;

use super::{Value, WORD, of_word, word_of};
use crate::error::Result;
use crate::message::Plain;

/// Whole numbers of up to 8 bytes. Sealed.
pub trait Integer: Plain + Copy + Ord + sealed::Sealed {}

mod sealed {
    pub trait Sealed: Sized {
        fn plus(self, other: Self) -> Self;
        fn minus(self, other: Self) -> Self;
        fn and(self, other: Self) -> Self;
        fn or(self, other: Self) -> Self;
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Integer for $integer {}

        impl sealed::Sealed for $integer {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }

            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

/// Counters. Each gives the number before, and wraps round at its end, as the atomics of std do.
impl<T: Integer> Value<T> {
    /// Adds `n`.
    ///
    /// # Errors
    /// None; all that write a value have the same shape.
    #[inline]
    pub fn fetch_add(&self, n: T) -> Result<T> {
        // All of the word: there is nothing that a carry could run into.
        if size_of::<T>() == WORD {
            return Ok(of_word(self.word().fetch_add(word_of(&n), AcqRel))); // E1
        }
        Ok(self.update_word(|now| Some(now.plus(n))).0)
    }

    /// Subtracts `n`.
    ///
    /// # Errors
    /// None.
    #[inline]
    pub fn fetch_sub(&self, n: T) -> Result<T> {
        if size_of::<T>() == WORD {
            return Ok(of_word(self.word().fetch_sub(word_of(&n), AcqRel))); // E1
        }
        Ok(self.update_word(|now| Some(now.minus(n))).0)
    }

    /// Makes it `n` if it is less. Writes nothing if it is not.
    ///
    /// # Errors
    /// None.
    #[inline]
    pub fn fetch_max(&self, n: T) -> Result<T> {
        Ok(self.update_word(|now| (now < n).then_some(n)).0)
    }

    /// Makes it `n` if it is more. Writes nothing if it is not.
    ///
    /// # Errors
    /// None.
    #[inline]
    pub fn fetch_min(&self, n: T) -> Result<T> {
        Ok(self.update_word(|now| (now > n).then_some(n)).0)
    }

    /// Keeps only the bits of `n`.
    ///
    /// # Errors
    /// None.
    #[inline]
    pub fn fetch_and(&self, n: T) -> Result<T> {
        Ok(self.update_word(|now| Some(now.and(n))).0)
    }

    /// Sets the bits of `n`.
    ///
    /// # Errors
    /// None.
    #[inline]
    pub fn fetch_or(&self, n: T) -> Result<T> {
        Ok(self.update_word(|now| Some(now.or(n))).0)
    }
}
