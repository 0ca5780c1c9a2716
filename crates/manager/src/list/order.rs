//! Moving and dropping elements: sorting, reversing, keeping some.
//!
//! Elements themselves are not copied: their words go into new leaves, in the new order, and one store puts those in the
//! place of the old.

use std::cmp::Ordering;

use ginnel_object::bridge::store::Element;
use ginnel_object::{Message, Result};

use super::{List, decode};

/// These happen at one moment: who reads sees the list before or after. Closures run under the lock; if one panics, or its
/// process is killed, the list is as it was.
impl<T: Message> List<T> {
    /// Sorts it, smallest first; equal ones stay in their order.
    ///
    /// # Errors
    /// `Decode` when an element is no `T`; `Full`, as the new order needs room beside the old one; `Timeout`, `Deadlock`,
    /// `Forked`, `Corrupted`. In all cases it is as it was.
    pub fn sort(&self) -> Result<()>
    where
        T: Ord,
    {
        self.sort_by(T::cmp)
    }

    /// Sorts it by a comparison; equal ones stay in their order.
    ///
    /// ```
    /// use ginnel_manager::List;
    ///
    /// let scores = List::from_iter([0.5_f64, 2.5, 1.5])?;
    /// scores.sort_by(|a, b| b.total_cmp(a))?;
    /// assert_eq!(scores.to_vec()?, [2.5, 1.5, 0.5]);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`List::sort`].
    pub fn sort_by(&self, mut compare: impl FnMut(&T, &T) -> Ordering) -> Result<()> {
        self.rearrange(|pairs| pairs.sort_by(|(a, _), (b, _)| compare(a, b)))
    }

    /// Sorts it by a key, which is asked for once an element; equal ones stay in their order.
    ///
    /// # Errors
    /// As [`List::sort`].
    pub fn sort_by_key<O: Ord>(&self, mut key: impl FnMut(&T) -> O) -> Result<()> {
        self.rearrange(|pairs| pairs.sort_by_cached_key(|(value, _)| key(value)))
    }

    /// Turns its order round.
    ///
    /// # Errors
    /// As [`List::sort`], but for `Decode`.
    pub fn reverse(&self) -> Result<()> {
        self.raw.rearrange(|elements| {
            elements.reverse();
            Ok(())
        })
    }

    /// Exchanges the elements at two places. False: the list is not that long.
    ///
    /// # Errors
    /// As [`List::reverse`].
    pub fn swap(&self, a: usize, b: usize) -> Result<bool> {
        self.raw.rearrange(|elements| {
            let is_long_enough = a.max(b) < elements.len();
            if is_long_enough {
                elements.swap(a, b);
            }
            Ok(is_long_enough)
        })
    }

    /// Keeps the elements for which `keep` says so.
    ///
    /// ```
    /// use ginnel_manager::List;
    ///
    /// let list = List::from_iter(0..10)?;
    /// list.retain(|n| n % 3 == 0)?;
    /// assert_eq!(list.to_vec()?, [0, 3, 6, 9]);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`List::sort`].
    pub fn retain(&self, mut keep: impl FnMut(&T) -> bool) -> Result<()> {
        self.rearrange(|pairs| pairs.retain(|(value, _)| keep(value)))
    }

    /// Of equal elements in a row, keeps the first.
    ///
    /// # Errors
    /// As [`List::sort`].
    pub fn dedup(&self) -> Result<()>
    where
        T: PartialEq,
    {
        self.rearrange(|pairs| pairs.dedup_by(|(a, _), (b, _)| a == b))
    }

    /// Decodes all elements and gives them to `f`, each with the one that stands for it.
    fn rearrange(&self, f: impl FnOnce(&mut Vec<(T, Element<'_>)>)) -> Result<()> {
        self.raw.rearrange(|elements| {
            let mut pairs = Vec::with_capacity(elements.len());
            for element in elements.drain(..) {
                pairs.push((element.with(decode)?, element));
            }
            f(&mut pairs);
            elements.extend(pairs.into_iter().map(|(_, element)| element));
            Ok(())
        })
    }
}
