//! A count that any number of processes raise and lower.
//!
//! ```text
//! byte 0   SemaphoreWords   sync::semaphore: the count, its bound, who sleeps
//! ```
//! It signals: nobody owns a count, so a death gives nothing back. For that there is [`crate::permits`].
//!
//! | killed | what is left | the others |
//! |---|---|---|
//! | between acquire and release | one less | it is gone, as if it were still in use |
//! | in `release`, after the count, before the wake | the count, sleepers | recovery wakes all; else a slice of at most 50 ms |
//! | in `acquire`, asleep | a wake that it may have taken | the same |

use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::signal::{SemaphoreControl, SemaphoreWords};
use ginnel_layout::wait::WaitLine;
use ginnel_segment::Segment;
use ginnel_sync::{Deadline, Stop, semaphore};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::manager::{Manager, sealed};
use crate::sweep::tag;
use crate::words;

/// What the death of `dead` means for it.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    if let Some(words) = words::front_of::<SemaphoreWords>(segment, entry) {
        semaphore::recover(words, dead);
    }
}

/// What a semaphore begins with, for those that are made by name. Default: 0, and no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    value: u32,
    max: u32,
}

impl Count {
    /// `value`, and no bound but 2^31 - 1.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self { value, max: SemaphoreControl::UNBOUNDED }
    }

    /// `value`, which it never exceeds: a release too many is an error.
    #[must_use]
    pub const fn bounded(value: u32) -> Self {
        Self { value, max: value }
    }

    fn check(self) -> Result<()> {
        if self.max == 0 || self.value > self.max || self.max > SemaphoreControl::UNBOUNDED {
            let most = SemaphoreControl::UNBOUNDED;
            let value = self.value;
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a semaphore counts up to {most}, and a bounded one from 1; this is {value}"),
            ));
        }
        Ok(())
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::new(0)
    }
}

/// A count of how many may pass. Whoever passes lowers it; anybody raises it, also one that never passed.
///
/// It signals, and belongs to nobody: a process that dies between `acquire` and `release` takes its count with it. Use
/// [`PermitPool`](crate::permits::PermitPool) for what must come back. Handles are `Clone + Send + Sync`, and may be
/// sent inside messages. After a bare `fork` the child may go on using it.
///
/// ```
/// use ginnel_object::semaphore::Semaphore;
///
/// let jobs = Semaphore::new(0)?;
/// let worker = { let jobs = jobs.clone(); std::thread::spawn(move || jobs.acquire()) };
/// jobs.release(1)?;
/// worker.join().expect("no panic");
/// assert_eq!(jobs.value(), 0);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Semaphore {
    handle: Handle<SemaphoreWords>,
}

impl Semaphore {
    /// A semaphore that lets `value` by at first, in the manager of this process.
    ///
    /// # Errors
    /// `Invalid` above 2^31 - 1; `Full`, `Forked`, `Os`.
    pub fn new(value: u32) -> Result<Self> {
        Manager::current()?.create_with(Count::new(value))
    }

    /// A semaphore that starts at `value` and never exceeds it: to release more often than one acquired is an error.
    ///
    /// # Errors
    /// `Invalid` for 0 and above 2^31 - 1; `Full`, `Forked`, `Os`.
    pub fn bounded(value: u32) -> Result<Self> {
        Manager::current()?.create_with(Count::bounded(value))
    }

    /// Lowers the count by one; waits while it is 0.
    #[inline]
    pub fn acquire(&self) {
        self.acquire_until(Deadline::NEVER);
    }

    /// Lowers the count by one, unless it is 0: false. Never waits.
    #[must_use = "it may not have been acquired"]
    #[inline]
    pub fn try_acquire(&self) -> bool {
        semaphore::try_acquire(&self.handle.words().control)
    }

    /// Lowers the count by one; waits up to `timeout`. False: it was 0 until then.
    #[must_use = "it may not have been acquired"]
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.acquire_until(Deadline::after(timeout))
    }

    /// Lowers the count by one; waits until `deadline`. False: it was 0 until then.
    #[must_use = "it may not have been acquired"]
    pub fn acquire_deadline(&self, deadline: Instant) -> bool {
        self.acquire_until(Deadline::at(deadline))
    }

    /// Raises the count by `n`, and wakes whoever waits for it. Never waits.
    ///
    /// # Errors
    /// `Invalid` when it would exceed its bound; nothing was released then.
    #[inline]
    pub fn release(&self, n: u32) -> Result<()> {
        let words = self.handle.words();
        semaphore::release(words, n).map_err(|why| self.handle.error(ErrorKind::Invalid, why.to_string()))
    }

    /// The count. It may be old at once.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u32 {
        semaphore::value(&self.handle.words().control)
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> bool {
        self.try_acquire() || self.acquire_slowly(deadline)
    }

    #[cold]
    #[inline(never)]
    fn acquire_slowly(&self, deadline: Deadline) -> bool {
        let (words, me) = (self.handle.words(), self.handle.me());
        let outcome: Result<(), Stop> =
            self.handle.until(deadline, |waiter, deadline| semaphore::acquire(words, me, waiter, deadline));
        outcome.is_ok()
    }
}

/// For waits for several objects.
impl Semaphore {
    pub(crate) fn line(&self) -> &WaitLine {
        &self.handle.words().line
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.value() > 0
    }

    /// Nobody owns it, so there is nobody to ask for.
    pub(crate) fn probe(&self) {}
}

impl sealed::Sealed for Semaphore {
    type Options = Count;

    fn kind() -> Kind {
        Kind { tag: tag::SEMAPHORE, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        options.check()?;
        arena.make(Self::kind(), 1, name, |base| {
            let control = &words::new_front::<SemaphoreWords>(base).control;
            control.value.store(options.value, Relaxed);
            control.max.store(options.max, Relaxed);
        })
    }

    fn open(object: ObjectRef) -> Result<Self> {
        Ok(Self { handle: Handle::open(object)? })
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl Serialize for Semaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for Semaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
