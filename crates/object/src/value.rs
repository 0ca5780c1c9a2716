//! One value that any number of processes read and replace, always whole.
//!
//! ```text
//! byte 0     LockWords      sync::mutex: who writes it; unused up to 8 bytes
//! byte 128   word           up to 8 bytes: the value itself, in its first bytes; else the number of the newest copy
//! byte 256   copy 0, copy 1 above 8 bytes: sync::twin, each on lines of its own
//! ```
//! A value of up to 8 bytes is one atomic word: whoever changes it does so with one instruction, or with a
//! compare-and-exchange that is tried until it succeeds. Above that there are two copies: a writer fills the one that
//! nobody is told to read, and then tells; so readers take no lock, and a writer's death is not seen.
//!
//! Invariants
//! - I1 up to 8 bytes, the bytes of the word behind those of the value are zero, so equal values are equal words.
//! - I2 above 8 bytes, only the holder of the lock writes copies and number (`sync::twin`, I1), and a process that came
//!   into being by a bare fork while its parent held the lock does not.
//! - I3 `T` is [`Plain`]: whatever bytes there are, are a value.
//!
//! Edges
//! - E1 a change of the word, up to 8 bytes (Release) -> a look at it, or the next change (Acquire): what its writer did
//!   before.
//!
//! | killed | what is left | the others |
//! |---|---|---|
//! | changing up to 8 bytes | the old value or the new one | notice nothing |
//! | above, with the lock, before the number | the old value, half a new one aside, the word names it | read on; the next writer goes on after recovery |
//! | after the number, before the unlock | the new value, the word names it | the same |
//! | in the closure of `update` | the same as before it | the same |
//!
//! Progress: `get` is wait-free up to 8 bytes, else lock-free (`sync::twin`). Writers: lock-free up to 8 bytes, else they
//! wait for one another.

mod integer;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use ginnel_layout::entry::Entry;
use ginnel_layout::line::PAGE;
use ginnel_layout::value::{COPIES_AT, ValueWords, copy_stride};
use ginnel_segment::Segment;
use ginnel_sync::twin::Twin;
use ginnel_sync::{Deadline, mutex};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef, format_of};
use crate::carry;
use crate::error::Result;
use crate::handle::Handle;
use crate::lock;
use crate::manager::{Manager, sealed};
use crate::message::Plain;
use crate::mutex::Init;
use crate::sweep::tag;
use crate::words;

pub use integer::Integer;

/// Bytes of a word, and of a value that is one.
const WORD: usize = size_of::<u64>();

/// What it is called in errors.
const WHAT: &str = "right to write the value";

/// What the death of `dead` means for it.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    let size = entry.format.load(Relaxed) & ((1 << 48) - 1);
    if size <= WORD as u64 {
        return;
    }
    if let Some(words) = words::front_of::<ValueWords>(segment, entry) {
        // Nothing that it protects is ever half done.
        mutex::recover_in(&words.lock, dead, false);
    }
}

/// A value of type `T` in shared memory, which is read and replaced as a whole by any number of processes.
///
/// Up to 8 bytes it is one atomic word; above that there are two copies, so that readers take no lock and a writer that is
/// killed in the middle leaves the old value. [`Value::get`] never waits and never fails. Handles are
/// `Clone + Send + Sync`, and may be sent inside messages. After a bare `fork` the child may read, and write up to 8
/// bytes; writing more answers `Forked`.
///
/// What a process wrote before it set a value is seen by whoever read that value.
///
/// ```
/// use ginnel_object::value::Value;
///
/// let hits = Value::new(0_u64)?;
/// hits.fetch_add(2)?;
/// hits.update(|n| n * 21)?;
/// assert_eq!(hits.get(), 42);
///
/// let place = Value::new([0.0_f64; 3])?; // 24 bytes, never half of one and half of another
/// place.set([1.0, 2.0, 3.0])?;
/// assert_eq!(place.get(), [1.0, 2.0, 3.0]);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
pub struct Value<T> {
    handle: Handle<ValueWords>,
    of: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("object", &self.handle).finish_non_exhaustive()
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), of: PhantomData }
    }
}

impl<T: Plain + Copy> Value<T> {
    /// Is it one word?
    const SMALL: bool = size_of::<T>() <= WORD;

    /// A value, in the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new(value: T) -> Result<Self> {
        Manager::current()?.create_with(Init(Some(value)))
    }

    /// The value. Never waits for a writer.
    #[must_use]
    #[inline]
    pub fn get(&self) -> T {
        if Self::SMALL {
            return of_word(self.word().load(Acquire)); // E1
        }
        self.read_with(|twin, out| twin.read(out))
    }

    /// Replaces the value. Above 8 bytes it waits while another thread writes.
    ///
    /// # Errors
    /// Above 8 bytes: `Deadlock` inside of this value's `update`; `Forked`; `Corrupted`.
    #[inline]
    pub fn set(&self, value: T) -> Result<()> {
        if Self::SMALL {
            self.word().store(word_of(&value), Release); // E1
            return Ok(());
        }
        self.writing()?.write(&value)
    }

    /// Replaces the value, and gives the one before.
    ///
    /// # Errors
    /// As [`Value::set`].
    #[inline]
    pub fn replace(&self, value: T) -> Result<T> {
        if Self::SMALL {
            return Ok(of_word(self.word().swap(word_of(&value), AcqRel))); // E1
        }
        let writing = self.writing()?;
        let before = self.read_with(|twin, out| twin.current(out));
        writing.write(&value)?;
        Ok(before)
    }

    /// Replaces the value by what `f` makes of it, and gives the new one: no change by others is lost.
    ///
    /// Up to 8 bytes `f` runs again when another thread was faster. Above that it runs once, while all other writers
    /// wait; readers do not. If it panics or its process dies in it, the value stays as it was.
    ///
    /// # Errors
    /// As [`Value::set`].
    #[inline]
    pub fn update(&self, mut f: impl FnMut(T) -> T) -> Result<T> {
        if Self::SMALL {
            return Ok(self.update_word(|value| Some(f(value))).1);
        }
        let writing = self.writing()?;
        let value = f(self.read_with(|twin, out| twin.current(out)));
        writing.write(&value)?;
        Ok(value)
    }

    /// Replaces the value by `new` if its bytes are those of `current`. Gives the value before: `Ok` if it was replaced,
    /// else `Err`. Numbers of floating point are compared as bytes, too.
    ///
    /// # Errors
    /// As [`Value::set`], around the outcome.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<std::result::Result<T, T>> {
        if Self::SMALL {
            // E1
            let outcome = self.word().compare_exchange(word_of(&current), word_of(&new), AcqRel, Acquire);
            return Ok(outcome.map(of_word).map_err(of_word));
        }
        let writing = self.writing()?;
        let found: T = self.read_with(|twin, out| twin.current(out));
        if found.as_bytes() != current.as_bytes() {
            return Ok(Err(found));
        }
        writing.write(&new)?;
        Ok(Ok(found))
    }

    /// The word of a small value, or the number of the newest copy.
    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        &self.handle.words().control.word
    }

    /// Changes the word of a small value until nobody was faster, or `f` wants none. Gives the values before and after.
    #[inline]
    fn update_word(&self, mut f: impl FnMut(T) -> Option<T>) -> (T, T) {
        let mut seen = self.word().load(Acquire); // E1
        loop {
            let before = of_word(seen);
            let Some(after) = f(before) else { return (before, before) };
            // E1
            match self.word().compare_exchange(seen, word_of(&after), AcqRel, Acquire) {
                Ok(_) => return (before, after),
                Err(now) => seen = now,
            }
        }
    }

    #[inline(always)]
    fn read_with(&self, read: impl FnOnce(Twin<'_>, &mut [u8])) -> T {
        let mut value = T::new_zeroed();
        // `open` has checked that there is room.
        if let Ok(twin) = twin_of(&self.handle, size_of::<T>()) {
            read(twin, value.as_mut_bytes());
        }
        value
    }

    /// Comes in to write a large value.
    fn writing(&self) -> Result<Writing<'_>> {
        self.handle.check_fork()?;
        let (words, me) = (self.handle.words(), self.handle.holder());
        if mutex::take_free(&words.lock, me).is_none() {
            let _locked = lock::wait_for(&self.handle, &words.lock, me, Deadline::NEVER, WHAT)?;
        }
        Ok(Writing { handle: &self.handle })
    }
}

/// The copies of a value of `size` bytes.
#[inline(always)]
fn twin_of(handle: &Handle<ValueWords>, size: usize) -> Result<Twin<'_>> {
    let words = size.div_ceil(WORD);
    let copies = [
        handle.tail::<AtomicU64>(COPIES_AT, words)?,
        handle.tail::<AtomicU64>(COPIES_AT + copy_stride(size), words)?,
    ];
    Ok(Twin { number: &handle.words().control.word, copies })
}

/// The lock of a large value, held.
struct Writing<'a> {
    handle: &'a Handle<ValueWords>,
}

impl Writing<'_> {
    /// Not in the child of a bare fork that was made in the closure: there it is the parent's to write (I2).
    fn write<T: Plain>(&self, value: &T) -> Result<()> {
        self.handle.check_fork()?;
        twin_of(self.handle, size_of::<T>())?.write(value.as_bytes());
        Ok(())
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.handle.is_forked() {
            mutex::unlock_whole(&self.handle.words().lock);
        }
    }
}

/// A small value as a word (I1).
#[inline(always)]
fn word_of<T: Plain>(value: &T) -> u64 {
    let mut bytes = [0; WORD];
    bytes[..size_of::<T>()].copy_from_slice(value.as_bytes());
    u64::from_ne_bytes(bytes)
}

/// The small value in a word.
#[inline(always)]
fn of_word<T: Plain>(word: u64) -> T {
    let mut value = T::new_zeroed();
    value.as_mut_bytes().copy_from_slice(&word.to_ne_bytes()[..size_of::<T>()]);
    value
}

impl<T: Plain + Copy> sealed::Sealed for Value<T> {
    type Options = Init<T>;

    fn kind() -> Kind {
        Kind { tag: tag::VALUE, format: format_of(size_of::<T>(), align_of::<T>()) }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        let copies = if Self::SMALL { 0 } else { 2 * copy_stride(size_of::<T>()) };
        let pages = (COPIES_AT + copies).div_ceil(PAGE) as u32;
        arena.make(Self::kind(), pages, name, |base| {
            let Some(value) = &options.0 else { return };
            if Self::SMALL {
                words::new_front::<ValueWords>(base).control.word.store(word_of(value), Relaxed);
            } else {
                words::write_data(base, COPIES_AT, value.as_bytes());
            }
        })
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let handle = Handle::open(object)?;
        if !Self::SMALL {
            twin_of(&handle, size_of::<T>())?;
        }
        Ok(Self { handle, of: PhantomData })
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl<T: Plain + Copy> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de, T: Plain + Copy> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
