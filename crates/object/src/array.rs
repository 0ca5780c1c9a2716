//! Elements that many may read, or one may change: a read-write lock over a slice.
//!
//! ```text
//! byte 0     RwLockWords   sync::rwlock: the writer, who is inside, where each side waits
//! byte 512   ReaderCell    one for each participant of the segment
//! then       len           how many elements, on a line of its own; never changes
//! then       elements      T, aligned to a line
//! ```
//! The invariants are those of [`crate::rwlock`], for all elements together; and
//! - I1 the length is written by the maker, before the object is LIVE, and checked against the object's pages when a
//!   handle is opened, which keeps its own copy.
//!
//! | killed | what is left | the next |
//! |---|---|---|
//! | reading, `get` | its cell above zero | after recovery, writers come in; the elements are whole |
//! | writing, `set` | some elements written, `inside` is 1 | `OwnerDied`, until `write_or_repair` |

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::line::{LINE, PAGE};
use ginnel_layout::lock::RwLockWords;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::IntoBytes;

use crate::arena::{Arena, Kind, ObjectRef, format_of};
use crate::carry;
use crate::error::{Error, ErrorKind, Owner, Result};
use crate::handle::Handle;
use crate::manager::{Manager, sealed};
use crate::message::Plain;
use crate::rwlock::{self, ReadGuard, RwLock, WriteGuard};
use crate::sweep::tag;
use crate::words;

/// What an [`Array`] is made of. Default: no elements.
pub struct Elements<T> {
    len: usize,
    /// Empty: all bytes zero.
    first: Box<[T]>,
}

impl<T> fmt::Debug for Elements<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elements").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T> Default for Elements<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T> Elements<T> {
    /// That many, all bytes zero.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self { len, first: Box::default() }
    }

    /// These.
    #[must_use]
    pub fn of(elements: impl Into<Box<[T]>>) -> Self {
        let first = elements.into();
        Self { len: first.len(), first }
    }
}

/// A fixed number of elements in shared memory, under a lock that many share to read, or one has to write.
///
/// Guards lend the elements where they lie, as a slice: nothing is copied. If a process dies while it writes, reading and
/// writing fail with `OwnerDied` until somebody calls [`Array::write_or_repair`]. A thread that reads may read again; one
/// that has a guard and wants to write gets `Deadlock`, not a hang. Handles are `Clone + Send + Sync`, and may be sent
/// inside messages. After a bare `fork` the child's handles answer `Forked`.
///
/// ```
/// use ginnel_object::array::Array;
///
/// let samples = Array::<f64>::zeroed(1000)?;
/// samples.set(7, 0.5)?;
/// for sample in samples.write()?.iter_mut() {
///     *sample += 1.0; // one lock for all of it
/// }
/// assert_eq!((samples.get(7)?, samples.get(1000)?), (Some(1.5), None));
/// assert_eq!(samples.read()?.iter().sum::<f64>(), 1000.5);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
pub struct Array<T> {
    lock: RwLock<[T]>,
}

impl<T> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("lock", &self.lock).field("len", &self.lock.count()).finish()
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { lock: self.lock.clone() }
    }
}

impl<T: Plain> Array<T> {
    /// `len` elements, all bytes zero, in the manager of this process.
    ///
    /// # Errors
    /// `TooLarge`, `Full`, `Forked`, `Os`.
    pub fn zeroed(len: usize) -> Result<Self> {
        Manager::current()?.create_with(Elements::zeroed(len))
    }

    /// These elements, in the manager of this process.
    ///
    /// # Errors
    /// As [`Array::zeroed`].
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        let arena = &Manager::current()?.arena;
        let object = Self::make_from(arena, None, elements.len(), elements.as_bytes())?;
        sealed::Sealed::open(object)
    }

    /// How many elements. It never changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock.count()
    }

    /// Has it no elements?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, to read; waits while another writes.
    ///
    /// # Errors
    /// `OwnerDied` when a writer died and nobody has repaired the elements; `Deadlock` when this thread writes;
    /// `Forked`; `Corrupted`.
    #[inline]
    pub fn read(&self) -> Result<ReadGuard<'_, [T]>> {
        self.lock.read()
    }

    /// The elements, to read, if no writer has them or waits for readers. Never waits.
    ///
    /// # Errors
    /// As [`Array::read`], but for `Deadlock`.
    pub fn try_read(&self) -> Result<Option<ReadGuard<'_, [T]>>> {
        self.lock.try_read()
    }

    /// The elements, to read; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with the writer; else as [`Array::read`].
    pub fn read_timeout(&self, timeout: Duration) -> Result<ReadGuard<'_, [T]>> {
        self.lock.read_timeout(timeout)
    }

    /// The elements, to read; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`, with the writer; else as [`Array::read`].
    pub fn read_deadline(&self, deadline: Instant) -> Result<ReadGuard<'_, [T]>> {
        self.lock.read_deadline(deadline)
    }

    /// The elements, to change; waits while others have them.
    ///
    /// # Errors
    /// `OwnerDied` when a writer died and nobody has repaired the elements; `Deadlock` when this thread has a guard;
    /// `Forked`; `Corrupted`.
    #[inline]
    pub fn write(&self) -> Result<WriteGuard<'_, [T]>> {
        self.lock.write()
    }

    /// The elements, to change, if nobody has them. Never waits.
    ///
    /// # Errors
    /// As [`Array::write`], but for `Deadlock`.
    pub fn try_write(&self) -> Result<Option<WriteGuard<'_, [T]>>> {
        self.lock.try_write()
    }

    /// The elements, to change; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with the writer or a reader; else as [`Array::write`].
    pub fn write_timeout(&self, timeout: Duration) -> Result<WriteGuard<'_, [T]>> {
        self.lock.write_timeout(timeout)
    }

    /// The elements, to change; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`, with the writer or a reader; else as [`Array::write`].
    pub fn write_deadline(&self, deadline: Instant) -> Result<WriteGuard<'_, [T]>> {
        self.lock.write_deadline(deadline)
    }

    /// The elements, to change; if a writer died with them, `repair` runs first, and makes them whole again. A panic in
    /// `repair`, or a death, leaves them as they were: the next one is told.
    ///
    /// # Errors
    /// As [`Array::write`], but for `OwnerDied`.
    pub fn write_or_repair(&self, repair: impl FnOnce(&mut [T])) -> Result<WriteGuard<'_, [T]>> {
        self.lock.write_or_repair(repair)
    }

    /// Replaces one element.
    ///
    /// # Errors
    /// `Invalid` when there is no element `index`; else as [`Array::write`].
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        match self.write()?.get_mut(index) {
            Some(element) => {
                *element = value;
                Ok(())
            }
            None => {
                let len = self.len();
                Err(self.invalid(format!("an array of {len} elements has no element {index}")))
            }
        }
    }

    /// Who writes, or waits for the last reader to write, now.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.lock.owner()
    }

    #[cold]
    fn invalid(&self, what: String) -> Error {
        sealed::Sealed::object(self).name_error(Error::new(ErrorKind::Invalid, what))
    }

    fn make_from(arena: &Arc<Arena>, name: Option<&str>, len: usize, first: &[u8]) -> Result<ObjectRef> {
        let cells = arena.segment().geometry().participants;
        let len_at = rwlock::data_at(usize::from(cells));
        let bytes = len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(len_at + LINE));
        let pages = bytes.and_then(|bytes| u32::try_from(bytes.div_ceil(PAGE)).ok()).ok_or_else(|| {
            Error::new(ErrorKind::TooLarge, format!("no manager has room for {len} elements of that size"))
        })?;
        arena.make(<Self as sealed::Sealed>::kind(), pages, name, |base| {
            words::new_front::<RwLockWords>(base).control.cells.store(u32::from(cells), Relaxed);
            words::write_data(base, len_at, &(len as u64).to_ne_bytes());
            words::write_data(base, len_at + LINE, first);
        })
    }
}

impl<T: Plain + Copy> Array<T> {
    /// A copy of one element. `None`: there is none at `index`.
    ///
    /// # Errors
    /// As [`Array::read`].
    pub fn get(&self, index: usize) -> Result<Option<T>> {
        Ok(self.read()?.get(index).copied())
    }

    /// A copy of all elements.
    ///
    /// # Errors
    /// As [`Array::read`].
    pub fn to_vec(&self) -> Result<Vec<T>> {
        Ok(self.read()?.to_vec())
    }

    /// Makes all elements `value`.
    ///
    /// # Errors
    /// As [`Array::write`].
    pub fn fill(&self, value: T) -> Result<()> {
        self.write()?.fill(value);
        Ok(())
    }

    /// Makes the elements these.
    ///
    /// # Errors
    /// `Invalid` when they are not as many; else as [`Array::write`].
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<()> {
        if elements.len() != self.len() {
            let (len, given) = (self.len(), elements.len());
            return Err(self.invalid(format!("an array of {len} elements was given {given}")));
        }
        self.write()?.copy_from_slice(elements);
        Ok(())
    }
}

impl<T: Plain> sealed::Sealed for Array<T> {
    type Options = Elements<T>;

    fn kind() -> Kind {
        const { assert!(align_of::<T>() <= LINE, "no data aligned to more than 128 bytes") };
        Kind { tag: tag::ARRAY, format: format_of(size_of::<T>(), align_of::<T>()) }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        Self::make_from(arena, name, options.len, options.first.as_bytes())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let handle = Handle::<RwLockWords>::open(object)?;
        let len_at = rwlock::data_at(rwlock::cells_of(&handle)?);
        let len = handle.tail::<AtomicU64>(len_at, 1)?[0].load(Relaxed);
        let len = usize::try_from(len).map_err(|_| handle.corrupted("the length of the array"))?;
        let elements = handle.data_slice(len_at + LINE, len)?;
        Ok(Self { lock: RwLock::over(handle, elements)? })
    }

    fn object(&self) -> &ObjectRef {
        self.lock.object_ref()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl<T: Plain> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.lock.object_ref(), serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
