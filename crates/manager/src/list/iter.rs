//! Walking a list: some elements at a time.

use std::fmt;
use std::vec;

use ginnel_object::{Message, Result};

use super::List;

/// Elements that are copied at one moment.
const STRIDE: usize = 256;

impl<T: Message> List<T> {
    /// The elements, in order, with no lock between two of them: the loop may use the list. Each 256 are seen as they were
    /// at one moment; if others insert or remove meanwhile, an element may come twice or not at all. [`List::to_vec`] is all
    /// of it at one moment.
    ///
    /// ```
    /// use ginnel_manager::List;
    ///
    /// let numbers = List::from_iter(0..1000_u32)?;
    /// let mut sum = 0;
    /// for number in &numbers {
    ///     sum += number?;
    /// }
    /// assert_eq!(sum, 499_500);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// An error (`Decode`, `Timeout`, `Deadlock`, `Forked`, `Corrupted`) is the last item.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { list: self, next: 0, ready: Vec::new().into_iter() }
    }
}

impl<'a, T: Message> IntoIterator for &'a List<T> {
    type Item = Result<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The elements of a list; see [`List::iter`].
#[must_use = "an iterator does nothing before it is asked"]
pub struct Iter<'a, T> {
    list: &'a List<T>,
    /// Where to go on; `usize::MAX`: nowhere.
    next: usize,
    ready: vec::IntoIter<T>,
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("list", self.list).field("next", &self.next).finish_non_exhaustive()
    }
}

impl<T: Message> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if let Some(value) = self.ready.next() {
            return Some(Ok(value));
        }
        if self.next == usize::MAX {
            return None;
        }
        let range = self.next..self.next.saturating_add(STRIDE);
        match self.list.slice(range.clone()) {
            Ok(values) => {
                // A stride that is not full was the last one.
                self.next = if values.len() < STRIDE { usize::MAX } else { range.end };
                self.ready = values.into_iter();
                self.ready.next().map(Ok)
            }
            Err(why) => {
                self.next = usize::MAX;
                Some(Err(why))
            }
        }
    }
}
