//! A list in shared memory: what one process appends, every other finds, in one order for all.
//!
//! This file is the handle and what touches one place of it; `range` is what touches several, `order` what moves or drops
//! elements under the lock, `iter` walks, `watch` waits. The memory, the lock and what a death leaves are the crate
//! `store`'s and, bound to an arena, the crate of objects'.

mod iter;
mod options;
mod order;
mod range;
mod watch;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use ginnel_object::bridge::store::{Change, RawList, Ttl, Usage};
use ginnel_object::message::out::Out;
use ginnel_object::{Error, ErrorKind, Manager, Message, Result};

use crate::value;

pub use iter::Iter;
pub use options::Options;

/// A list in shared memory, for any number of processes and threads.
///
/// ```
/// use ginnel_manager::List;
///
/// let words = List::from_iter(["to", "be"].map(String::from))?;
/// words.push("or".into())?;
/// words.extend(["not", "to", "be"].map(String::from))?; // all of them at one moment
/// assert_eq!(words.get(3)?.as_deref(), Some("not"));
/// words.sort()?;
/// assert_eq!(words.to_vec()?, ["be", "be", "not", "or", "to", "to"]);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
///
/// # Elements
/// An element is any [`Message`]. Values of up to 7 encoded bytes, and [`Raw`](ginnel_object::Raw) ones of up to 8, lie in
/// the list itself; larger ones in a block of memory each. Handles may be elements or parts of them, and stay alive as long
/// as those; [`Block`](ginnel_object::Block)s and exclusive ends may not (`Encode`).
///
/// # Who waits for whom
/// Reading an element takes no lock and waits for nobody, also not for a writer that is stopped or dead; only one with a
/// handle in it is read under the lock. Everything else takes the list's one lock. Appending and taking from the end, and
/// replacing an element, take the same time however long the list is; inserting and removing elsewhere moves up to 256
/// neighbours and copies a word for each 256 elements; what reorders takes time for each element. Closures run under the
/// lock, once; inside them every operation that would lock any dict or list is the error `Deadlock`.
///
/// # What a crash leaves
/// A writer that is killed has either done its operation, all of it, or not begun it: one store of 8 bytes decides. Whoever
/// comes next finds the lock free. After a bare `fork` the child's handles answer `Forked`.
///
/// # Memory
/// As a [`Dict`](crate::Dict)'s: from the manager, up to its limit and the list's own (`Full`), used again after removals,
/// given back when the list is freed.
///
/// The handle is `Clone + Send + Sync` and may be sent in messages and given to processes. Positions count from 0; there
/// are no negative ones: `list.get(list.len() - 1)` is a race, [`List::last`] is not.
pub struct List<T> {
    raw: RawList,
    elements: PhantomData<fn() -> T>,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self::of(self.raw.clone())
    }
}

/// Its object and how long it is, not its elements.
impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("object", &self.raw)
            .field("len", &self.raw.len())
            .finish_non_exhaustive()
    }
}

impl<T> List<T> {
    pub(crate) fn of(raw: RawList) -> Self {
        Self { raw, elements: PhantomData }
    }

    pub(crate) fn as_raw(&self) -> &RawList {
        &self.raw
    }
}

/// What errors call it.
const PLACE: &str = "list";

/// Do elements of this type lie in the words of the list themselves?
pub(crate) const fn is_plain<T: Message>() -> bool {
    matches!(T::FIXED, Some(0..=8))
}

/// The bytes of an element, without those that a word has more of.
#[inline]
fn cut<T: Message>(bytes: &[u8]) -> &[u8] {
    match T::FIXED {
        Some(size) if is_plain::<T>() && bytes.len() == size_of::<u64>() => &bytes[..size],
        _ => bytes,
    }
}

/// Decodes an element.
#[inline]
fn decode<T: Message>(bytes: &[u8]) -> Result<T> {
    value::read(cut::<T>(bytes), PLACE)
}

/// Decodes an element, if there was one.
#[inline]
fn read<T: Message>(bytes: Option<&[u8]>) -> Result<Option<T>> {
    bytes.map(decode).transpose()
}

/// Encodes an element where the store wants it.
#[inline]
fn write<T: Message>(value: &T) -> impl FnOnce(&mut Out<'_>) -> Result<()> {
    move |out| value.put(out)
}

impl<T: Message> List<T> {
    /// An empty list in the manager of this process.
    ///
    /// # Errors
    /// `Full` when the manager has no room for it; `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Self::with(Options::new())
    }

    /// An empty list in the manager of this process.
    ///
    /// # Errors
    /// As [`List::new`]; `Invalid` for impossible options.
    pub fn with(options: Options) -> Result<Self> {
        Manager::current()?.create_with(options)
    }

    /// A list of these elements, in the manager of this process.
    ///
    /// # Errors
    /// As [`List::new`] and [`List::extend`].
    #[allow(clippy::should_implement_trait, reason = "the trait cannot fail")]
    pub fn from_iter(values: impl IntoIterator<Item = T>) -> Result<Self> {
        let list = Self::new()?;
        list.extend(values)?;
        Ok(list)
    }

    /// Another handle, whose operations wait at most this long for the lock, then fail with `Timeout` and the holder's name.
    /// Without it they wait for ever for a holder that lives.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self::of(self.raw.clone().with_patience(patience))
    }

    /// Appends an element.
    ///
    /// # Errors
    /// `Full` when there is no room; `Encode`; `Timeout`, `Deadlock` inside a closure under a lock, `Forked`, `Corrupted`.
    #[inline]
    pub fn push(&self, value: T) -> Result<()> {
        self.raw.push(write(&value))
    }

    /// Appends all of them at one moment: nobody sees some of them, and they stand one behind the other.
    ///
    /// # Errors
    /// As [`List::push`]; then none of them is in.
    pub fn extend(&self, values: impl IntoIterator<Item = T>) -> Result<()> {
        let values: Vec<T> = values.into_iter().collect();
        self.raw.extend(values.iter().map(write))
    }

    /// Takes the last element off. `None`: it is empty. Of several who try, each gets another one.
    ///
    /// # Errors
    /// `Decode` when it was no `T`: it is gone all the same; else as [`List::push`], but for `Full`.
    #[inline]
    pub fn pop(&self) -> Result<Option<T>> {
        self.raw.pop(read)
    }

    /// The element at a place. `None`: the list is not that long. Takes no lock and waits for nobody, unless the element has
    /// a handle in it.
    ///
    /// # Errors
    /// `Decode` when it is no `T`; `Forked`, `Corrupted`; with handles in it also `Timeout` and `Deadlock`.
    #[inline]
    pub fn get(&self, index: usize) -> Result<Option<T>> {
        self.raw.get(index, read)
    }

    /// Gives the encoded element to `f`, without decoding it. `None`: the list is not that long. The bytes are a private copy.
    ///
    /// # Errors
    /// As [`List::get`], but for `Decode`.
    pub fn get_with<R>(&self, index: usize, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.raw.get(index, |bytes| Ok(bytes.map(|bytes| f(cut::<T>(bytes)))))
    }

    /// The first element.
    ///
    /// # Errors
    /// As [`List::get`].
    pub fn first(&self) -> Result<Option<T>> {
        self.get(0)
    }

    /// The last element.
    ///
    /// # Errors
    /// As [`List::get`].
    pub fn last(&self) -> Result<Option<T>> {
        loop {
            let len = self.len();
            let Some(last) = len.checked_sub(1) else { return Ok(None) };
            // If it has grown since, there was a moment between the two looks at which this one was the last.
            if let Some(value) = self.get(last)? {
                return Ok(Some(value));
            }
        }
    }

    /// Replaces the element at a place.
    ///
    /// # Errors
    /// `Invalid` when the list is not that long; else as [`List::push`].
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        if self.raw.set(index, write(&value))? { Ok(()) } else { Err(self.too_short(index)) }
    }

    /// Replaces the element at a place, and gives the one that was there. `None`: the list is not that long, and `value` is
    /// not in it.
    ///
    /// # Errors
    /// As [`List::update`].
    pub fn replace(&self, index: usize, value: T) -> Result<Option<T>> {
        self.raw.alter(index, |old, out| {
            let Some(old) = read(old)? else { return Ok((Change::Keep, None)) };
            value.put(out)?;
            Ok((PUT, Some(old)))
        })
    }

    /// Replaces the element at a place by what `f` makes of it, atomically, and gives what `f` made. `None`: the list is not
    /// that long, and `f` was not called.
    ///
    /// ```
    /// use ginnel_manager::List;
    ///
    /// let scores = List::from_iter([1_u32, 2, 3])?;
    /// assert_eq!(scores.update(1, |score| score * 10)?, Some(20));
    /// assert_eq!(scores.update(9, |score| score * 10)?, None);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` when what is there is no `T`; else as [`List::push`]. In all cases nothing has changed.
    pub fn update(&self, index: usize, f: impl FnOnce(T) -> T) -> Result<Option<T>> {
        self.raw.alter(index, |old, out| {
            let Some(old) = read(old)? else { return Ok((Change::Keep, None)) };
            let new = f(old);
            new.put(out)?;
            Ok((PUT, Some(new)))
        })
    }

    /// Changes the element at a place where it is. False: the list is not that long, and `f` was not called.
    ///
    /// ```
    /// use ginnel_manager::List;
    ///
    /// let rows = List::from_iter([vec![1], vec![2]])?;
    /// assert!(rows.modify(0, |row| row.push(7))?); // a change inside an element really arrives
    /// assert_eq!(rows.get(0)?, Some(vec![1, 7]));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`List::update`].
    pub fn modify(&self, index: usize, f: impl FnOnce(&mut T)) -> Result<bool> {
        let changed = self.update(index, |mut value| {
            f(&mut value);
            value
        })?;
        Ok(changed.is_some())
    }

    /// Puts an element in before the one at `index`, or at the end.
    ///
    /// # Errors
    /// `Invalid` when the list is not that long; else as [`List::push`].
    pub fn insert(&self, index: usize, value: T) -> Result<()> {
        if self.raw.insert(index, write(&value))? { Ok(()) } else { Err(self.too_short(index)) }
    }

    /// Takes the element at a place out; those behind it move up. `None`: the list is not that long.
    ///
    /// # Errors
    /// As [`List::pop`].
    pub fn remove(&self, index: usize) -> Result<Option<T>> {
        self.raw.remove(index, read)
    }

    /// Elements, at about this moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Is it empty, at about this moment?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all elements, at one moment.
    ///
    /// # Errors
    /// `Timeout`, `Deadlock`, `Forked`, `Corrupted`.
    pub fn clear(&self) -> Result<()> {
        self.raw.clear()
    }

    /// Memory that it takes, and how much of that is free for new elements. For people and tools.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn usage(&self) -> Result<Usage> {
        self.raw.usage()
    }

    #[cold]
    fn too_short(&self, index: usize) -> Error {
        let happened = format!("there is no place {index} in a list of {} elements", self.len());
        Error::new(ErrorKind::Invalid, happened)
    }
}

/// The new element is in the `Out`.
const PUT: Change = Change::Put(Ttl::Keep);
