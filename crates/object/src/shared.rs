//! A value that any number of processes read, and nobody writes.
//!
//! ```text
//! byte 0     len    how many elements, if it is a slice
//! byte 128   data   T, in the bytes that it has
//! ```
//! Invariants
//! - I1 the data are written by the maker only: before the object is LIVE, or (`build`) while it has no name and this
//!   process has told nobody of it. After that nobody writes them.
//! - I2 `T` is [`Plain`], so whatever bytes there are, are a value.
//! - I3 the object's pages stay mapped as long as the handle lives (`arena`, I2); its first page is aligned to a page,
//!   so data at byte 128 are aligned to anything a type up to that may ask; `open` has checked that they fit.
//!
//! A maker that dies before the object is LIVE leaves nothing; after that it is a holder like any other.
#![allow(unsafe_code, reason = "lends data that nobody writes any more")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use ginnel_layout::entry::Entry;
use ginnel_layout::line::{LINE, PAGE};
use ginnel_segment::Segment;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::IntoBytes;

use crate::arena::{Arena, Kind, ObjectRef, format_of};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::{Manager, sealed};
use crate::message::Plain;
use crate::sweep::tag;
use crate::words;

/// Where the data begin.
const DATA_AT: usize = LINE;

/// What a [`Shared`] can hold: a [`Plain`] value, or a slice of them. Sealed.
pub trait Content: content::Sealed {}

impl<T: content::Sealed + ?Sized> Content for T {}

mod content {
    use super::{NonNull, Plain, format_of};

    pub trait Sealed: Send + Sync + 'static {
        /// What two programs must agree on.
        const FORMAT: u64;
        /// Alignment of the data.
        const ALIGN: usize;
        /// What a slice of no elements, or a value of zeroes, has for a length.
        const LEAST: usize;

        /// Bytes of that many elements. `None`: more than there can be.
        fn bytes(len: usize) -> Option<usize>;

        /// The data at that place.
        fn at(place: NonNull<u8>, len: usize) -> NonNull<Self>;
    }

    impl<T: Plain> Sealed for T {
        const FORMAT: u64 = format_of(size_of::<T>(), align_of::<T>());
        const ALIGN: usize = align_of::<T>();
        const LEAST: usize = 1;

        fn bytes(len: usize) -> Option<usize> {
            (len == 1).then_some(size_of::<T>())
        }

        fn at(place: NonNull<u8>, _: usize) -> NonNull<Self> {
            place.cast()
        }
    }

    impl<T: Plain> Sealed for [T] {
        // The topmost bit says that it is a slice: no alignment has it.
        const FORMAT: u64 = format_of(size_of::<T>(), align_of::<T>()) | 1 << 63;
        const ALIGN: usize = align_of::<T>();
        const LEAST: usize = 0;

        fn bytes(len: usize) -> Option<usize> {
            size_of::<T>().checked_mul(len)
        }

        fn at(place: NonNull<u8>, len: usize) -> NonNull<Self> {
            NonNull::slice_from_raw_parts(place.cast(), len)
        }
    }
}

/// A value in shared memory that is read by any number of processes, where it lies, and written by nobody.
///
/// Handles are `Clone + Send + Sync`, and may be sent inside messages: what crosses is a number. The memory is given
/// back when the last handle and the name are gone. In the child of a bare `fork` it can be read as long as the parent
/// has it.
///
/// ```
/// use ginnel_object::Shared;
///
/// let primes = Shared::from_slice(&[2_u32, 3, 5, 7])?;
/// let squares = Shared::<[u64]>::build(100, |all| {
///     for (n, square) in all.iter_mut().enumerate() {
///         *square = (n * n) as u64;
///     }
/// })?;
/// assert_eq!((primes[3], squares[9]), (7, 81));
/// # Ok::<(), ginnel_object::Error>(())
/// ```
pub struct Shared<T: ?Sized> {
    object: ObjectRef,
    data: NonNull<T>,
}

// SAFETY: I1: nobody writes it any more, so it may be read by any thread.
unsafe impl<T: Content + ?Sized> Send for Shared<T> {}
// SAFETY: I1.
unsafe impl<T: Content + ?Sized> Sync for Shared<T> {}

impl<T: ?Sized> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("object", &self.object).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { object: self.object.clone(), data: self.data }
    }
}

/// What a [`Shared`] is made with, where it is to have a name. Default: a value of zeroes, or a slice of nothing.
pub struct Init<T: ?Sized> {
    len: usize,
    bytes: Box<[u8]>,
    of: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> fmt::Debug for Init<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Init").field("len", &self.len).field("bytes", &self.bytes.len()).finish()
    }
}

impl<T: Plain> Init<T> {
    /// This value.
    #[must_use]
    pub fn value(value: &T) -> Self {
        Self { len: 1, bytes: value.as_bytes().into(), of: PhantomData }
    }
}

impl<T: Plain> Init<[T]> {
    /// These elements.
    #[must_use]
    pub fn slice(elements: &[T]) -> Self {
        Self { len: elements.len(), bytes: elements.as_bytes().into(), of: PhantomData }
    }
}

impl<T: Content + ?Sized> Default for Init<T> {
    fn default() -> Self {
        Self { len: T::LEAST, bytes: Box::default(), of: PhantomData }
    }
}

impl<T: Plain> Shared<T> {
    /// Shares a value, in the manager of this process.
    ///
    /// # Errors
    /// `Full` when the manager has no room, `Forked`, `Os`.
    pub fn new(value: T) -> Result<Self> {
        let object = make_with::<T>(&Manager::current()?.arena, None, 1, value.as_bytes())?;
        sealed::Sealed::open(object)
    }
}

impl<T: Plain> Shared<[T]> {
    /// Shares a copy of a slice, in the manager of this process.
    ///
    /// # Errors
    /// As [`Shared::new`], and `TooLarge`.
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        let object = make_with::<[T]>(&Manager::current()?.arena, None, elements.len(), elements.as_bytes())?;
        sealed::Sealed::open(object)
    }

    /// Shares a slice of `len` elements that `fill` writes where they are to lie; they are zero before. If `fill`
    /// panics, there is nothing.
    ///
    /// # Errors
    /// As [`Shared::from_slice`].
    pub fn build(len: usize, fill: impl FnOnce(&mut [T])) -> Result<Self> {
        let object = make_with::<[T]>(&Manager::current()?.arena, None, len, &[])?;
        let shared: Self = sealed::Sealed::open(object)?;
        let mut data = shared.data;
        // SAFETY: I1, I2, I3: the object has no name, and nobody knows it yet.
        fill(unsafe { data.as_mut() });
        Ok(shared)
    }
}

/// Bytes of messages that are too long for a slot.
impl Shared<[u8]> {
    /// A copy of these bytes.
    pub(crate) fn of_bytes(arena: &Arc<Arena>, bytes: &[u8]) -> Result<Self> {
        sealed::Sealed::open(make_with::<[u8]>(arena, None, bytes.len(), bytes)?)
    }

    /// The object that holds them.
    pub(crate) fn letter(&self) -> &ObjectRef {
        &self.object
    }
}

/// The last `count` bytes of a shared slice of bytes, for who takes its message apart. `None`: the entry lies.
pub(crate) fn tail_of(segment: &Segment, entry: &Entry, count: usize) -> Option<Vec<u8>> {
    words::shared_tail(segment, entry, DATA_AT, count)
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: I1, I2, I3.
        unsafe { self.data.as_ref() }
    }
}

fn make_with<T: Content + ?Sized>(
    arena: &Arc<Arena>,
    name: Option<&str>,
    len: usize,
    bytes: &[u8],
) -> Result<ObjectRef> {
    const { assert!(T::ALIGN <= DATA_AT, "no data aligned to more than 128 bytes") };
    let total = T::bytes(len).and_then(|bytes| bytes.checked_add(DATA_AT));
    let pages = total.and_then(|total| u32::try_from(total.div_ceil(PAGE)).ok());
    let pages = pages.ok_or_else(|| {
        Error::new(ErrorKind::TooLarge, format!("no manager has room for {len} elements of that size"))
    })?;
    let kind = Kind { tag: tag::SHARED, format: T::FORMAT };
    arena.make(kind, pages, name, |base| words::init_shared(base, len, DATA_AT, bytes))
}

impl<T: Content + ?Sized> sealed::Sealed for Shared<T> {
    type Options = Init<T>;

    fn kind() -> Kind {
        Kind { tag: tag::SHARED, format: T::FORMAT }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Init<T>) -> Result<ObjectRef> {
        make_with::<T>(arena, name, options.len, &options.bytes)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let len = object.shared_len()?;
        let bytes = T::bytes(len).and_then(|bytes| bytes.checked_add(DATA_AT));
        let base = object.base(bytes.ok_or_else(|| object.corrupted("its length"))?)?;
        // SAFETY: I3: inside the object, as `base` has checked.
        let data = T::at(unsafe { base.add(DATA_AT) }, len);
        Ok(Self { object, data })
    }

    fn object(&self) -> &ObjectRef {
        &self.object
    }
}

impl<T: Content + ?Sized> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(&self.object, serializer)
    }
}

impl<'de, T: Content + ?Sized> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
