//! Data that many may read, or one may change.
//!
//! ```text
//! byte 0     RwLockWords   sync::rwlock: the writer, who is inside, where each side waits
//! byte 512   ReaderCell    one for each participant of the segment: how many of its threads read
//! then       data          T, aligned to a line
//! ```
//! - I1 the data are touched by the writer that is inside, by readers that were granted (`sync::rwlock`, I1), and by
//!   the maker before the object is LIVE.
//! - I2 `T` is [`Plain`]: whatever bytes a dead writer left are a value, perhaps a wrong one; nobody gets it before
//!   somebody has repaired it.
//! - I3 the object's pages stay mapped as long as the handle lives (`arena`, I2), and `Handle::data` has checked that
//!   the data lie in them, aligned.
//! - I4 what a thread reads stands in a list of its own, so a thread that reads may read again while a writer waits,
//!   and is told instead of waiting for itself when it wants to write.
//!
//! | killed | what is left | the next |
//! |---|---|---|
//! | reading | its cell above zero | after recovery, writers come in; the data are whole |
//! | writing | the word names it, `inside` is 1 | `OwnerDied` for readers and writers, until `write_or_repair` |
//! | waiting to write | the word may name it, `inside` is 0 | after recovery, as if it had never come |
//! | in `write_or_repair`, before the closure is done | as while writing | the same |
#![allow(unsafe_code, reason = "guards lend the data they protect")]

mod guards;
mod reads;
mod ready;

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::line::{LINE, PAGE};
use ginnel_layout::lock::{ReaderCell, RwLockWords};
use ginnel_layout::participant::PARTICIPANTS_MAX;
use ginnel_segment::Segment;
use ginnel_sync::Deadline;
use ginnel_sync::mutex::{self, Holder, LockError, Locked};
use ginnel_sync::rwlock::{self, Read};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef, format_of};
use crate::carry;
use crate::detect;
use crate::error::{Error, ErrorKind, Owner, Result};
use crate::handle::Handle;
use crate::info::{self, SyncInfo};
use crate::lock;
use crate::manager::{Manager, sealed};
use crate::message::Plain;
use crate::mutex::Init;
use crate::sweep::tag;
use crate::words;

pub use guards::{ReadGuard, WriteGuard};
pub use ready::ReadSide;

/// Bytes from the beginning to the first cell.
const CELLS_AT: usize = size_of::<RwLockWords>();

/// What it is called in errors.
const WHAT: &str = "read-write lock";

/// Where the data begin.
pub(crate) const fn data_at(cells: usize) -> usize {
    CELLS_AT + cells * LINE
}

/// What the death of `dead` means for it.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    let Some(words) = words_in(segment, entry) else { return };
    lock::bury(segment, &words.words.lock, dead);
    words.recover(dead);
}

/// Does `id` write, or read?
pub(crate) fn names(segment: &Segment, entry: &Entry, id: ParticipantId) -> bool {
    let Some(words) = words_in(segment, entry) else { return false };
    lock::is_owner(&words.words.lock, id) || words.readers().any(|reader| reader == id)
}

fn words_in<'a>(segment: &'a Segment, entry: &Entry) -> Option<rwlock::RwLock<'a>> {
    let words = words::front_of::<RwLockWords>(segment, entry)?;
    let cells = words.control.cells.load(Relaxed) as usize;
    let cells = words::tail_of::<ReaderCell>(segment, entry, CELLS_AT, cells).unwrap_or(&[]);
    Some(rwlock::RwLock { words, cells })
}

/// How many cells there are, checked.
///
/// # Errors
/// `Corrupted` when there cannot be so many, or none for this participant.
pub(crate) fn cells_of(handle: &Handle<RwLockWords>) -> Result<usize> {
    let cells = handle.words().control.cells.load(Relaxed) as usize;
    if cells > usize::from(PARTICIPANTS_MAX) || cells <= usize::from(handle.me().index()) {
        return Err(handle.corrupted("how many may read"));
    }
    Ok(cells)
}

/// Data of type `T` in shared memory, which any number of threads may read, or one may change.
///
/// A reader writes to a cell of its own process only, so readers do not slow each other down. If a writer dies, reading
/// and writing fail with `OwnerDied` until somebody calls [`RwLock::write_or_repair`]; a reader that dies leaves
/// nothing. A thread that reads may read again, even while a writer waits; if it wants to write, or a writer wants
/// either, that is the error `Deadlock`, not a hang. Handles are `Clone + Send + Sync`, and may be sent inside messages.
/// After a bare `fork` the child's handles answer `Forked`.
///
/// No fairness is promised: a writer that waits keeps new readers out, and a stream of writers may keep readers out for
/// long. It takes a line of 128 bytes for each participant that the manager has room for.
///
/// ```
/// use ginnel_object::rwlock::RwLock;
///
/// let limits = RwLock::new([10_u64, 20])?;
/// limits.write()?[1] = 30;
/// let (one, two) = (limits.read()?, limits.read()?);
/// assert_eq!((one[0], two[1]), (10, 30));
/// # Ok::<(), ginnel_object::Error>(())
/// ```
pub struct RwLock<T: ?Sized> {
    handle: Handle<RwLockWords>,
    cells: usize,
    data: NonNull<T>,
}

// SAFETY: I1: the words decide who touches the data, whoever's handle it uses.
unsafe impl<T: Plain + ?Sized> Send for RwLock<T> {}
// SAFETY: I1; readers share a value without inner mutability (I2).
unsafe impl<T: Plain + ?Sized> Sync for RwLock<T> {}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("object", &self.handle).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), cells: self.cells, data: self.data }
    }
}

impl<T: Plain> RwLock<T> {
    /// A lock over `value`, in the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new(value: T) -> Result<Self> {
        Manager::current()?.create_with(Init(Some(value)))
    }
}

impl<T: Plain + ?Sized> RwLock<T> {
    /// A lock over data that lie behind its words; `data` came from this handle.
    ///
    /// # Errors
    /// `Corrupted` when the words lie.
    pub(crate) fn over(handle: Handle<RwLockWords>, data: NonNull<T>) -> Result<Self> {
        let lock = Self { cells: cells_of(&handle)?, handle, data };
        lock.words()?.enroll(lock.handle.me());
        Ok(lock)
    }

    /// The hold on the object.
    pub(crate) fn object_ref(&self) -> &ObjectRef {
        self.handle.object()
    }

    /// Takes it to read; waits while a writer has it.
    ///
    /// # Errors
    /// `OwnerDied` when a writer died and nobody has repaired the data; `Deadlock` when this thread writes; `Forked`;
    /// `Corrupted`.
    #[inline]
    pub fn read(&self) -> Result<ReadGuard<'_, T>> {
        self.read_until(Deadline::NEVER)
    }

    /// Takes it to read if no writer has it or waits for readers. Never waits.
    ///
    /// # Errors
    /// As [`RwLock::read`], but for `Deadlock`: to a thread that writes, it is taken.
    pub fn try_read(&self) -> Result<Option<ReadGuard<'_, T>>> {
        self.handle.check_fork()?;
        let me = self.handle.holder();
        match self.read_at_once(me)? {
            Some(read) => self.read_guard(read).map(Some),
            None => Ok(None),
        }
    }

    /// Takes it to read; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with the writer; else as [`RwLock::read`].
    pub fn read_timeout(&self, timeout: Duration) -> Result<ReadGuard<'_, T>> {
        self.read_until(Deadline::after(timeout))
    }

    /// Takes it to read; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`, with the writer; else as [`RwLock::read`].
    pub fn read_deadline(&self, deadline: Instant) -> Result<ReadGuard<'_, T>> {
        self.read_until(Deadline::at(deadline))
    }

    /// Takes it to write; waits while others have it.
    ///
    /// # Errors
    /// `OwnerDied` when a writer died and nobody has repaired the data; `Deadlock` when this thread reads or writes, or
    /// when the detector found a cycle; `Forked`; `Corrupted`.
    #[inline]
    pub fn write(&self) -> Result<WriteGuard<'_, T>> {
        self.write_until(Deadline::NEVER).and_then(WriteGuard::whole)
    }

    /// Takes it to write if nobody has it. Never waits.
    ///
    /// # Errors
    /// As [`RwLock::write`], but for `Deadlock`: to a thread that has it, it is taken.
    pub fn try_write(&self) -> Result<Option<WriteGuard<'_, T>>> {
        self.try_write_with(mutex::try_lock_in)
    }

    /// Takes it to write; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with the writer or a reader; else as [`RwLock::write`].
    pub fn write_timeout(&self, timeout: Duration) -> Result<WriteGuard<'_, T>> {
        self.write_until(Deadline::after(timeout)).and_then(WriteGuard::whole)
    }

    /// Takes it to write; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`, with the writer or a reader; else as [`RwLock::write`].
    pub fn write_deadline(&self, deadline: Instant) -> Result<WriteGuard<'_, T>> {
        self.write_until(Deadline::at(deadline)).and_then(WriteGuard::whole)
    }

    /// Takes it to write; if a writer died with it, `repair` runs first, and makes the data whole again. A panic in
    /// `repair`, or a death, leaves it as it was: the next one is told.
    ///
    /// # Errors
    /// As [`RwLock::write`], but for `OwnerDied`.
    pub fn write_or_repair(&self, repair: impl FnOnce(&mut T)) -> Result<WriteGuard<'_, T>> {
        Ok(self.write_until(Deadline::NEVER)?.repaired(repair))
    }

    /// Who writes, or waits for the last reader to write, now.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        lock::owner(&self.handle, &self.handle.words().lock)
    }

    /// Which processes read now. One that is about to find a writer may be among them.
    #[must_use]
    pub fn readers(&self) -> Vec<Owner> {
        let readers =
            self.words().map(|words| words.readers().filter_map(|id| self.handle.describe(id)).collect());
        readers.unwrap_or_default()
    }

    /// Who writes and who waits to write, at about this moment. For people and tools.
    #[must_use]
    pub fn info(&self) -> SyncInfo {
        info::of_lock(&self.handle.words().lock, self.handle.arena())
    }

    #[inline(always)]
    fn words(&self) -> Result<rwlock::RwLock<'_>> {
        let cells = self.handle.tail::<ReaderCell>(CELLS_AT, self.cells)?;
        Ok(rwlock::RwLock { words: self.handle.words(), cells })
    }

    /// What names this lock in the list of a thread (I4).
    #[inline(always)]
    fn key(&self) -> usize {
        std::ptr::from_ref(self.handle.words()).addr()
    }

    #[cold]
    fn explain(&self, why: LockError) -> Error {
        lock::explain(&self.handle, why, WHAT)
    }

    #[inline(always)]
    fn read_at_once(&self, me: Holder) -> Result<Option<Read>> {
        let words = self.words()?;
        let read = if reads::again(self.key()) {
            words.read_again(me.participant()).map(|()| Some(Read::Granted))
        } else {
            let read = words.try_read(me);
            if let Ok(Some(Read::Granted)) = read {
                reads::begin(self.key());
            }
            read
        };
        read.map_err(|why| self.explain(why))
    }

    #[inline]
    fn read_until(&self, deadline: Deadline) -> Result<ReadGuard<'_, T>> {
        self.handle.check_fork()?;
        let me = self.handle.holder();
        match self.read_at_once(me)? {
            Some(read) => self.read_guard(read),
            None => self.read_slowly(me, deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn read_slowly(&self, me: Holder, deadline: Deadline) -> Result<ReadGuard<'_, T>> {
        let words = self.words()?;
        let announced = detect::announce(self.handle.object(), &self.handle.words().lock, me)?;
        let outcome = self
            .handle
            .until(deadline, |waiter, deadline| words.wait_read(me, waiter, deadline, self.handle.segment()));
        drop(announced);
        let read = outcome.map_err(|why| self.explain(why))?;
        if read == Read::Granted {
            reads::begin(self.key());
        }
        self.read_guard(read)
    }

    /// The guard of a read that is granted and in the list.
    #[inline(always)]
    fn read_guard(&self, read: Read) -> Result<ReadGuard<'_, T>> {
        match read {
            Read::Granted => Ok(ReadGuard::new(self)),
            Read::NeedsRepair => Err(self.owner_died()),
        }
    }

    /// The end of a read.
    #[inline]
    fn end_read(&self) {
        reads::end(self.key());
        if let Ok(words) = self.words() {
            // There is a cell, or the read would not have been granted.
            let _ = words.leave(self.handle.me());
        }
    }

    #[inline]
    fn write_until(&self, deadline: Deadline) -> Result<WriteGuard<'_, T>> {
        self.handle.check_fork()?;
        let words = self.words()?;
        let me = self.handle.holder();
        if reads::has(self.key()) {
            return Err(self.explain(LockError::Deadlock));
        }
        loop {
            let word = &self.handle.words().lock;
            let locked = match mutex::take_free(word, me) {
                Some(locked) => locked,
                None => lock::wait_for(&self.handle, word, me, deadline, WHAT)?,
            };
            let locked = match words.enter(locked) {
                Ok(inside) => return Ok(WriteGuard::new(self, inside)),
                Err(locked) => locked,
            };
            // The word is given back at each signal, so this takes it anew.
            match self.drain(words, locked, me, deadline) {
                Ok(inside) => return Ok(WriteGuard::new(self, inside)),
                Err(LockError::Interrupted) => {}
                Err(why) => return Err(self.explain(why)),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn drain(
        &self,
        words: rwlock::RwLock<'_>,
        locked: Locked,
        me: Holder,
        deadline: Deadline,
    ) -> std::result::Result<Locked, LockError> {
        self.handle.with_waiter(|waiter| words.drain(locked, me, waiter, deadline, self.handle.segment()))
    }

    fn try_write_with(
        &self,
        take: impl FnOnce(
            &ginnel_layout::lock::LockWords,
            Holder,
        ) -> std::result::Result<Option<Locked>, LockError>,
    ) -> Result<Option<WriteGuard<'_, T>>> {
        self.handle.check_fork()?;
        let words = self.words()?;
        let Some(locked) =
            take(&self.handle.words().lock, self.handle.holder()).map_err(|why| self.explain(why))?
        else {
            return Ok(None);
        };
        match words.enter(locked) {
            Ok(inside) => WriteGuard::new(self, inside).whole().map(Some),
            Err(locked) => {
                words.give_up(locked);
                Ok(None)
            }
        }
    }

    #[cold]
    fn owner_died(&self) -> Error {
        self.handle
            .error(ErrorKind::OwnerDied, "a process died while it wrote under the read-write lock")
            .with_owner(Some(lock::last_dead(&self.handle.words().lock)))
            .with_advice("repair the data with write_or_repair")
    }
}

impl<T> RwLock<[T]> {
    /// How many elements the data have.
    pub(crate) fn count(&self) -> usize {
        self.data.len()
    }
}

impl<T: Plain> sealed::Sealed for RwLock<T> {
    type Options = Init<T>;

    fn kind() -> Kind {
        const { assert!(align_of::<T>() <= LINE, "no data aligned to more than 128 bytes") };
        Kind { tag: tag::RWLOCK, format: format_of(size_of::<T>(), align_of::<T>()) }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        let cells = arena.segment().geometry().participants;
        let at = data_at(usize::from(cells));
        let pages = (at + size_of::<T>()).div_ceil(PAGE) as u32;
        arena.make(Self::kind(), pages, name, |base| {
            words::new_front::<RwLockWords>(base).control.cells.store(u32::from(cells), Relaxed);
            if let Some(value) = &options.0 {
                words::write_data(base, at, value.as_bytes());
            }
        })
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let handle = Handle::<RwLockWords>::open(object)?;
        let data = handle.data(data_at(cells_of(&handle)?))?;
        Self::over(handle, data)
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl<T: Plain> Serialize for RwLock<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for RwLock<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
