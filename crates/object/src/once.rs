//! Something that is done once, by whichever process comes first: `Once`, and `OnceValue`, which keeps what came of it.
//!
//! ```text
//! byte 0     OnceWords   sync::once: who runs it, whether it is done, who waits
//! byte 384   data        T, in the bytes that it has (OnceValue)
//! ```
//! Invariants
//! - I1 the data are written by the holder of the lock only, and only before the state is DONE; after that nobody writes
//!   them, and nobody reads them before.
//! - I2 `T` is [`Plain`], so whatever bytes there are, are a value.
//! - I3 the object's pages stay mapped as long as the handle lives (`arena`, I2); its first page is aligned to a page,
//!   so data at byte 384 are aligned to anything a type up to 128 may ask; `open` has checked that they fit.
//!
//! | killed | what is left | the next call |
//! |---|---|---|
//! | before it runs | nothing | runs it |
//! | while it runs, the data perhaps half written | the lock names it | after recovery it runs it, and is told |
//! | after it is done, before it gave the lock back | done | returns at once |
//! | before the wake | done, sleepers | recovery wakes all; else a slice of at most 50 ms |
#![allow(unsafe_code, reason = "lends a value that is written once")]

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::entry::Entry;
use ginnel_layout::line::{LINE, PAGE};
use ginnel_layout::lock::OnceWords;
use ginnel_layout::wait::WaitLine;
use ginnel_segment::Segment;
use ginnel_sync::once::{self, Run};
use ginnel_sync::{Deadline, mutex};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef, format_of};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::lock;
use crate::manager::{Manager, sealed};
use crate::message::Plain;
use crate::sweep::tag;
use crate::words;

/// Where the data begin.
const DATA_AT: usize = size_of::<OnceWords>();

/// What the death of `dead` means for it.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    if let Some(words) = words::front_of::<OnceWords>(segment, entry) {
        lock::bury(segment, &words.lock, dead);
        once::recover(words, dead);
    }
}

/// What is common to both.
type Core = Handle<OnceWords>;

impl Core {
    fn is_done(&self) -> bool {
        once::is_done(self.words())
    }

    /// Comes first, or waits for who did. None: it is done.
    #[cold]
    #[inline(never)]
    fn begin(&self) -> Result<Option<Running<'_>>> {
        self.check_fork()?;
        let (words, me) = (self.words(), self.holder());
        let free = mutex::try_lock_in(&words.lock, me).map_err(|why| lock::explain(self, why, WHAT))?;
        let locked = match free {
            Some(locked) => locked,
            None => lock::wait_for(self, &words.lock, me, Deadline::NEVER, WHAT)?,
        };
        Ok(once::enter(words, locked).map(|run| Running { core: self, run: Some(run) }))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        self.check_fork()?;
        let (words, me, segment) = (self.words(), self.me(), self.segment());
        let outcome =
            self.until(deadline, |waiter, deadline| once::wait(words, me, waiter, deadline, segment));
        outcome.map_err(|_| {
            let runner =
                mutex::owner(&words.lock.word).and_then(|holder| self.describe(holder.participant()));
            self.error(ErrorKind::Timeout, "it was not done before the deadline").with_owner(runner)
        })
    }
}

/// The lock, for messages.
const WHAT: &str = "right to run what is run once";

/// The right to run it. Dropped before the end (a panic): the next one may run it.
struct Running<'a> {
    core: &'a Core,
    /// `None` only after the end.
    run: Option<Run>,
}

impl Running<'_> {
    fn previous_died(&self) -> bool {
        self.run.as_ref().is_some_and(Run::previous_died)
    }

    /// Not in the child of a bare fork that was made inside: there it is the parent's to finish.
    fn finish(mut self) -> Result<()> {
        self.core.check_fork()?;
        if let Some(run) = self.run.take() {
            once::finish(self.core.words(), run);
        }
        Ok(())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // The child of a bare fork that was made inside has nothing to give back.
        if let (Some(run), false) = (self.run.take(), self.core.is_forked()) {
            once::give_up(self.core.words(), run);
        }
    }
}

/// What the one that runs it should know.
#[derive(Debug)]
pub struct OnceState {
    previous_died: bool,
}

impl OnceState {
    /// Did a process die while it ran it? Then part of it may have been done already.
    #[must_use]
    pub fn previous_died(&self) -> bool {
        self.previous_died
    }
}

/// Something that is done once, by whichever thread of whichever process comes first.
///
/// If that one dies on the way, the next one does it, and is told. If it panics, the next one does it. Handles are
/// `Clone + Send + Sync`, and may be sent inside messages. After a bare `fork` the child's handles answer `Forked` to
/// whatever is not done yet.
///
/// ```
/// use ginnel_object::once::Once;
///
/// let setup = Once::new()?;
/// let mut times = 0;
/// setup.call_once(|_| times += 1)?;
/// setup.call_once(|_| times += 1)?;
/// assert!(setup.is_completed() && times == 1);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Once {
    core: Core,
}

impl Once {
    /// In the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Manager::current()?.create()
    }

    /// Runs `f`, unless it was run; waits while another runs it. It was run to its end when this returns.
    ///
    /// # Errors
    /// `Deadlock` when called from inside of `f`; `Forked`; `Corrupted`.
    #[inline]
    pub fn call_once(&self, f: impl FnOnce(&OnceState)) -> Result<()> {
        if self.core.is_done() {
            return Ok(());
        }
        if let Some(running) = self.core.begin()? {
            f(&OnceState { previous_died: running.previous_died() });
            running.finish()?;
        }
        Ok(())
    }

    /// Was it run to its end? What it did is seen then.
    #[must_use]
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.core.is_done()
    }

    /// Waits until somebody has run it.
    ///
    /// # Errors
    /// `Forked`.
    pub fn wait(&self) -> Result<()> {
        self.core.wait_until(Deadline::NEVER)
    }

    /// Waits up to `timeout` until somebody has run it.
    ///
    /// # Errors
    /// `Timeout`, with who is running it; `Forked`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.core.wait_until(Deadline::after(timeout))
    }

    /// Waits until `deadline` until somebody has run it.
    ///
    /// # Errors
    /// `Timeout`, with who is running it; `Forked`.
    pub fn wait_deadline(&self, deadline: Instant) -> Result<()> {
        self.core.wait_until(Deadline::at(deadline))
    }
}

/// A value that was not set, and why.
pub enum SetError<T> {
    /// There is one already.
    Done(T),
    /// Something else went wrong.
    Failed(T, Error),
}

impl<T> SetError<T> {
    /// The value that was not set.
    #[must_use]
    pub fn into_inner(self) -> T {
        match self {
            Self::Done(value) | Self::Failed(value, _) => value,
        }
    }

    /// Is there one already?
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl<T> fmt::Debug for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(_) => f.write_str("Done(..)"),
            Self::Failed(_, error) => write!(f, "Failed(.., {error:?})"),
        }
    }
}

impl<T> fmt::Display for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(_) => f.write_str(ALREADY),
            Self::Failed(_, error) => error.fmt(f),
        }
    }
}

impl<T> std::error::Error for SetError<T> {}

impl<T> From<SetError<T>> for Error {
    fn from(error: SetError<T>) -> Self {
        match error {
            SetError::Done(_) => Self::new(ErrorKind::Taken, ALREADY),
            SetError::Failed(_, error) => error,
        }
    }
}

const ALREADY: &str = "the value was set already";

/// A value that is made once, by whichever thread of whichever process comes first, and read by all.
///
/// Reading it is one load. If the one that makes it dies, the next one makes it. Handles are `Clone + Send + Sync`, and
/// may be sent inside messages. After a bare `fork` the child may read a value that is there.
///
/// ```
/// use ginnel_object::once::OnceValue;
///
/// let limit = OnceValue::<u64>::new()?;
/// assert_eq!(limit.get(), None);
/// assert_eq!(*limit.get_or_init(|| 42)?, 42);
/// assert!(limit.set(7).expect_err("there is one").is_done());
/// # Ok::<(), ginnel_object::Error>(())
/// ```
pub struct OnceValue<T> {
    core: Core,
    data: NonNull<T>,
}

// SAFETY: I1: one thread writes, before all others read.
unsafe impl<T: Plain> Send for OnceValue<T> {}
// SAFETY: I1.
unsafe impl<T: Plain> Sync for OnceValue<T> {}

impl<T> Clone for OnceValue<T> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), data: self.data }
    }
}

impl<T> fmt::Debug for OnceValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceValue").field("object", &self.core).finish_non_exhaustive()
    }
}

impl<T: Plain> OnceValue<T> {
    /// Without a value, in the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Manager::current()?.create()
    }

    /// The value, if there is one.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.core.is_done().then(|| self.value())
    }

    /// The value; made by `make` if there is none. Waits while another makes it.
    ///
    /// # Errors
    /// `Deadlock` when called from inside of `make`; `Forked`; `Corrupted`.
    #[inline]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> Result<&T> {
        if !self.core.is_done()
            && let Some(running) = self.core.begin()?
        {
            self.fill(running, &make())?;
        }
        Ok(self.value())
    }

    /// Sets the value, if there is none. Waits while another makes it.
    ///
    /// # Errors
    /// The value, back: there is one already; or `Deadlock`, `Forked`, `Corrupted`.
    pub fn set(&self, value: T) -> Result<(), SetError<T>> {
        if self.core.is_done() {
            return Err(SetError::Done(value));
        }
        match self.core.begin() {
            Ok(Some(running)) => self.fill(running, &value).map_err(|why| SetError::Failed(value, why)),
            Ok(None) => Err(SetError::Done(value)),
            Err(error) => Err(SetError::Failed(value, error)),
        }
    }

    /// The value; waits until somebody has made it.
    ///
    /// # Errors
    /// `Forked`.
    pub fn wait(&self) -> Result<&T> {
        self.core.wait_until(Deadline::NEVER).map(|()| self.value())
    }

    /// The value; waits up to `timeout` until somebody has made it.
    ///
    /// # Errors
    /// `Timeout`, with who is making it; `Forked`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<&T> {
        self.core.wait_until(Deadline::after(timeout)).map(|()| self.value())
    }

    /// The value; waits until `deadline` until somebody has made it.
    ///
    /// # Errors
    /// `Timeout`, with who is making it; `Forked`.
    pub fn wait_deadline(&self, deadline: Instant) -> Result<&T> {
        self.core.wait_until(Deadline::at(deadline)).map(|()| self.value())
    }

    /// Writes the value and says that it is there.
    fn fill(&self, running: Running<'_>, value: &T) -> Result<()> {
        self.core.check_fork()?;
        // SAFETY: I1: this is the holder, and the state is NEW; I2: bytes are all there is to a value; I3.
        unsafe { self.data.copy_from_nonoverlapping(NonNull::from(value), 1) }
        running.finish()
    }

    /// The value, once it is there.
    fn value(&self) -> &T {
        // SAFETY: I1, I2, I3: the callers have seen DONE, which comes after the write.
        unsafe { self.data.as_ref() }
    }
}

/// For waits for several objects.
impl<T> OnceValue<T> {
    pub(crate) fn line(&self) -> &WaitLine {
        &self.core.words().done
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.core.is_done()
    }

    /// Asks whether the one lives that makes it.
    pub(crate) fn probe(&self) {
        lock::probe(&self.core, &self.core.words().lock);
    }
}

impl sealed::Sealed for Once {
    type Options = ();

    fn kind() -> Kind {
        Kind { tag: tag::ONCE, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, (): ()) -> Result<ObjectRef> {
        arena.make(Self::kind(), 1, name, |_| ())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        Ok(Self { core: Handle::open(object)? })
    }

    fn object(&self) -> &ObjectRef {
        self.core.object()
    }
}

impl<T: Plain> sealed::Sealed for OnceValue<T> {
    type Options = ();

    fn kind() -> Kind {
        const { assert!(align_of::<T>() <= LINE, "no data aligned to more than 128 bytes") };
        // The topmost bit says that there is a value: no alignment has it.
        Kind { tag: tag::ONCE, format: format_of(size_of::<T>(), align_of::<T>()) | 1 << 63 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, (): ()) -> Result<ObjectRef> {
        let pages = (DATA_AT + size_of::<T>()).div_ceil(PAGE) as u32;
        arena.make(Self::kind(), pages, name, |_| ())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let core = Core::open(object)?;
        let data = core.data::<T>(DATA_AT)?;
        Ok(Self { core, data })
    }

    fn object(&self) -> &ObjectRef {
        self.core.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl Serialize for Once {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.core.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl<T: Plain> Serialize for OnceValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.core.object(), serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for OnceValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
