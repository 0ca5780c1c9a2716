//! Several elements at a time: reading, replacing, and looking for one.

use std::ops::{Bound, Range, RangeBounds};

use ginnel_object::{Message, Result};

use super::{List, decode, write};

/// What these read, they read at one moment. A range that reaches beyond the end ends there, as Python's slices do; one
/// that ends before it begins is empty.
impl<T: Message> List<T> {
    /// The elements of a range.
    ///
    /// ```
    /// use ginnel_manager::List;
    ///
    /// let list = List::from_iter(['a', 'b', 'c', 'd'])?;
    /// assert_eq!(list.slice(1..3)?, ['b', 'c']);
    /// assert_eq!(list.slice(2..)?, ['c', 'd']);
    /// assert_eq!(list.slice(3..100)?, ['d']);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode`, `Timeout`, `Deadlock`, `Forked`, `Corrupted`.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>> {
        let mut values = Vec::new();
        self.raw.slice(ends(range), |bytes| {
            values.push(decode(bytes)?);
            Ok(())
        })?;
        Ok(values)
    }

    /// All elements.
    ///
    /// # Errors
    /// As [`List::slice`].
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.slice(..)
    }

    /// Puts `values` in the place of a range, at one moment, and gives what was there. There may be more or fewer of them:
    /// what is behind moves. Python writes it `l[1:3] = [..]`.
    ///
    /// ```
    /// use ginnel_manager::List;
    ///
    /// let list = List::from_iter([1, 2, 3, 4])?;
    /// assert_eq!(list.splice(1..3, [7, 8, 9])?, [2, 3]);
    /// assert_eq!(list.to_vec()?, [1, 7, 8, 9, 4]);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` when an element of the range is no `T`, which is replaced all the same; else as [`List::extend`].
    pub fn splice(
        &self,
        range: impl RangeBounds<usize>,
        values: impl IntoIterator<Item = T>,
    ) -> Result<Vec<T>> {
        let values: Vec<T> = values.into_iter().collect();
        let mut removed = Vec::new();
        self.raw.splice(ends(range), values.iter().map(write), |bytes| {
            removed.push(decode(bytes)?);
            Ok(())
        })?;
        Ok(removed)
    }

    /// Takes a range out, at one moment, and gives it.
    ///
    /// # Errors
    /// As [`List::splice`].
    pub fn drain(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>> {
        self.splice(range, [])
    }

    /// Appends the values if the list is empty, else nothing.
    pub(crate) fn fill(&self, values: impl IntoIterator<Item = T>) -> Result<()> {
        let values: Vec<T> = values.into_iter().collect();
        self.raw.splice_if(|len| len == 0, 0..0, values.iter().map(write), |_| Ok(()))
    }

    /// Removes what is behind the first `len` elements, at one moment.
    ///
    /// # Errors
    /// `Timeout`, `Deadlock`, `Forked`, `Corrupted`.
    pub fn truncate(&self, len: usize) -> Result<()> {
        self.raw.truncate(len)
    }

    /// Where the first element is that equals `value`. `None`: there is none.
    ///
    /// # Errors
    /// As [`List::slice`].
    pub fn index(&self, value: &T) -> Result<Option<usize>>
    where
        T: PartialEq,
    {
        let (mut place, mut found) = (0, None);
        self.raw.slice(0..usize::MAX, |bytes| {
            if found.is_none() && decode::<T>(bytes)? == *value {
                found = Some(place);
            }
            place += 1;
            Ok(())
        })?;
        Ok(found)
    }

    /// Is there an element that equals `value`?
    ///
    /// # Errors
    /// As [`List::slice`].
    pub fn contains(&self, value: &T) -> Result<bool>
    where
        T: PartialEq,
    {
        Ok(self.index(value)?.is_some())
    }

    /// How many elements equal `value`.
    ///
    /// # Errors
    /// As [`List::slice`].
    pub fn count(&self, value: &T) -> Result<usize>
    where
        T: PartialEq,
    {
        Ok(self.to_vec()?.iter().filter(|element| *element == value).count())
    }
}

/// Begin and end of a range; who reads it cuts it to the list.
fn ends(range: impl RangeBounds<usize>) -> Range<usize> {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => usize::MAX,
    };
    from..to.max(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_range_has_two_ends() {
        assert_eq!(ends(..), 0..usize::MAX);
        assert_eq!(ends(2..5), 2..5);
        assert_eq!(ends(2..=5), 2..6);
        assert_eq!(ends(..=usize::MAX), 0..usize::MAX);
        assert_eq!(ends((Bound::Excluded(1), Bound::Unbounded)), 2..usize::MAX);
        #[allow(clippy::reversed_empty_ranges, reason = "what a caller may give by mistake")]
        let reversed = ends(5..2);
        assert_eq!(reversed, 5..5);
    }
}
