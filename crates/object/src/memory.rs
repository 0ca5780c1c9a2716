//! Bytes with a name, and nothing else: what a program puts there is its own business.
//!
//! ```text
//! byte 0     size   bytes; never changes
//! byte 128   data   the bytes, as words of 8; those behind the last one up to a whole word belong to nobody
//! ```
//! Invariants
//! - I1 the size is written by the maker, before the object is LIVE, and checked against the object's pages when a handle
//!   is opened, which keeps its own copy.
//! - I2 the object's pages stay mapped as long as the handle lives (`arena`, I2), and `Handle` has checked that the data
//!   lie in them.
//!
//! Edges
//! - E1 `write_at`, a fence, its words -> a `read_at` that saw one of them, its fence: what the writer did before.
//!
//! | killed | what is left |
//! |---|---|
//! | in `write_at` | some of its words written, each whole, and the others as they were |
#![allow(unsafe_code, reason = "lends the bytes to those who vouch for them")]

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::line::{LINE, PAGE};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::manager::{Manager, sealed};
use crate::sweep::tag;
use crate::words;

/// Where the bytes begin.
const DATA_AT: usize = LINE;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// How many bytes a [`SharedMemory`] has that is made by name. Default: 0, which is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size(pub usize);

/// A number of bytes in shared memory, which all that have a handle read and write as they like.
///
/// Nothing keeps them from doing so at the same time: a reader may see part of a write. Each aligned word of 8 bytes
/// is written at once, so a number of 8 bytes at a multiple of 8 is never torn; for more, put a
/// [`Lock`](crate::lock::Lock) beside it, or use [`Array`](crate::array::Array) or [`Value`](crate::value::Value).
/// Handles are `Clone + Send + Sync`, and may be sent inside messages; it is found by name through
/// [`Manager::get_or_create_with`]. In the child of a bare `fork` it works as long as the parent has it.
///
/// ```
/// use ginnel_object::memory::SharedMemory;
///
/// let memory = SharedMemory::create(1000)?;
/// memory.write_at(990, b"the end")?;
/// let mut out = [0; 7];
/// memory.read_at(990, &mut out)?;
/// assert_eq!(&out, b"the end");
/// assert!(memory.write_at(995, b"the end").is_err()); // nothing of it was written
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedMemory {
    handle: Handle<AtomicU64>,
    data: NonNull<[u8]>,
}

// SAFETY: I2: the bytes belong to no thread; all safe access is through atomics.
unsafe impl Send for SharedMemory {}
// SAFETY: I2, as above.
unsafe impl Sync for SharedMemory {}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("object", &self.handle).field("size", &self.size()).finish()
    }
}

impl SharedMemory {
    /// `size` bytes, all zero, in the manager of this process.
    ///
    /// # Errors
    /// `Invalid` for none, `TooLarge`, `Full`, `Forked`, `Os`.
    pub fn create(size: usize) -> Result<Self> {
        Manager::current()?.create_with(Size(size))
    }

    /// How many bytes. It never changes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len()
    }

    /// Copies the bytes at `offset` out. Never waits.
    ///
    /// # Errors
    /// `Invalid` when there are not so many bytes; nothing was copied then.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) -> Result<()> {
        let (words, skip) = self.words_at(offset, out.len())?;
        let (first, rest) = out.split_at_mut(first_part(skip, out.len()));
        let chunks = [(skip, first)].into_iter().chain(rest.chunks_mut(WORD).map(|chunk| (0, chunk)));
        for (word, (skip, chunk)) in words.iter().zip(chunks) {
            let bytes = word.load(Relaxed).to_ne_bytes();
            chunk.copy_from_slice(&bytes[skip..skip + chunk.len()]);
        }
        fence(Acquire); // E1
        Ok(())
    }

    /// Copies these bytes to `offset`. Never waits. Bytes beside them stay as they are, also those that others write at
    /// the same time.
    ///
    /// # Errors
    /// `Invalid` when there are not so many bytes; nothing was written then.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let (words, skip) = self.words_at(offset, bytes.len())?;
        fence(Release); // E1
        let (first, rest) = bytes.split_at(first_part(skip, bytes.len()));
        let chunks = [(skip, first)].into_iter().chain(rest.chunks(WORD).map(|chunk| (0, chunk)));
        for (word, (skip, chunk)) in words.iter().zip(chunks) {
            match <[u8; WORD]>::try_from(chunk) {
                Ok(whole) => word.store(u64::from_ne_bytes(whole), Relaxed),
                Err(_) => write_part(word, skip, chunk),
            }
        }
        Ok(())
    }

    /// A copy of all bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = vec![0; self.size()];
        // All of it is there.
        let _ = self.read_at(0, &mut all);
        all
    }

    /// Where the bytes lie in this process: aligned to 128, valid as long as a handle lives. Other processes have them
    /// elsewhere. Whoever reads or writes through it keeps Rust's rules about data races by himself.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.data.as_ptr().cast()
    }

    /// The bytes, where they lie.
    ///
    /// # Safety
    /// No thread of any process writes them as long as the slice is used.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: I2; that nobody writes them, the caller has promised.
        unsafe { self.data.as_ref() }
    }

    /// The words in which that many bytes at `offset` lie, and where in the first of them they begin.
    fn words_at(&self, offset: usize, len: usize) -> Result<(&[AtomicU64], usize)> {
        let end = offset.checked_add(len).filter(|end| *end <= self.size());
        let Some(end) = end else { return Err(self.outside(offset, len)) };
        let first = offset / WORD;
        let words = self.handle.tail(DATA_AT + first * WORD, end.div_ceil(WORD) - first)?;
        Ok((words, offset % WORD))
    }

    #[cold]
    fn outside(&self, offset: usize, len: usize) -> Error {
        let size = self.size();
        self.handle.error(
            ErrorKind::Invalid,
            format!("shared memory of {size} bytes has no {len} bytes at {offset}"),
        )
    }
}

/// How many of `len` bytes lie in the word that they begin in, behind `skip` others.
const fn first_part(skip: usize, len: usize) -> usize {
    let room = WORD - skip;
    if len < room { len } else { room }
}

/// Writes some bytes of a word, and leaves the others to whoever writes them.
fn write_part(word: &AtomicU64, skip: usize, part: &[u8]) {
    let mut seen = word.load(Relaxed);
    loop {
        let mut bytes = seen.to_ne_bytes();
        bytes[skip..skip + part.len()].copy_from_slice(part);
        match word.compare_exchange(seen, u64::from_ne_bytes(bytes), Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

impl sealed::Sealed for SharedMemory {
    type Options = Size;

    fn kind() -> Kind {
        Kind { tag: tag::MEMORY, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, Size(size): Size) -> Result<ObjectRef> {
        if size == 0 {
            return Err(Error::new(ErrorKind::Invalid, "shared memory of no bytes")
                .with_advice("say how many it is to have"));
        }
        let pages =
            size.checked_add(DATA_AT).and_then(|bytes| u32::try_from(bytes.div_ceil(PAGE)).ok()).ok_or_else(
                || Error::new(ErrorKind::TooLarge, format!("no manager has room for {size} bytes")),
            )?;
        arena.make(Self::kind(), pages, name, |base| {
            words::new_front::<AtomicU64>(base).store(size as u64, Relaxed);
        })
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let handle = Handle::<AtomicU64>::open(object)?;
        let size = handle.words().load(Relaxed);
        let size = usize::try_from(size).map_err(|_| handle.corrupted("the size of shared memory"))?;
        let data = handle.data_slice(DATA_AT, size)?;
        Ok(Self { handle, data })
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
