//! A flag that any number of processes wait for.
//!
//! ```text
//! byte 0   EventWords   sync::event: the flag, its generation, who sleeps
//! ```
//! Nobody owns an event, so a death takes nothing and leaves nothing.
//!
//! | killed | what is left | the others |
//! |---|---|---|
//! | in `set`, before the flag | nothing | wait on |
//! | in `set`, after the flag, before the wake | the flag, sleepers | recovery wakes all; else a slice of at most 50 ms |
//! | in `wait` of an auto-reset event, after it took the flag | the flag is gone | it was consumed |
//! | in `wait`, else | a wake that it may have taken | recovery wakes all; else a slice |

use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::signal::EventWords;
use ginnel_layout::wait::WaitLine;
use ginnel_segment::Segment;
use ginnel_sync::{Deadline, Stop, event};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::Result;
use crate::handle::Handle;
use crate::manager::{Manager, sealed};
use crate::sweep::tag;
use crate::words;

pub use ginnel_sync::event::Since;

/// What the death of `dead` means for it.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    if let Some(words) = words::front_of::<EventWords>(segment, entry) {
        event::recover(words, dead);
    }
}

/// What becomes of the flag when a waiter has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reset {
    /// It stays set, for all, until somebody clears it.
    #[default]
    Manual,
    /// The waiter takes it, and the next one waits for the next `set`.
    Auto,
}

/// A flag that any number of threads of any processes wait for.
///
/// All who wait when it is set go on, even if it is cleared at once. An [auto-reset](Event::auto_reset) event lets one
/// by instead, and is cleared by that. What was written before `set` is seen by whoever was let by.
///
/// Handles are `Clone + Send + Sync`, and may be sent inside messages. Nothing of it belongs to anybody, so no
/// operation fails, and a process that dies takes nothing with it but the flag of an auto-reset event that it had just
/// taken. After a bare `fork` the child may go on using it.
///
/// ```
/// use ginnel_object::event::Event;
///
/// let started = Event::new()?;
/// let worker = { let started = started.clone(); std::thread::spawn(move || started.wait()) };
/// started.set();
/// worker.join().expect("no panic");
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Event {
    handle: Handle<EventWords>,
}

impl Event {
    /// An event that is not set, in the manager of this process.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Manager::current()?.create()
    }

    /// An event that lets one waiter by for each `set`. Sets that nobody has taken yet are one.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Os`.
    pub fn auto_reset() -> Result<Self> {
        Manager::current()?.create_with(Reset::Auto)
    }

    /// Sets it, and wakes all who wait (of an auto-reset event: one). Never waits; a system call only if somebody
    /// sleeps.
    #[inline]
    pub fn set(&self) {
        event::set(self.handle.words());
    }

    /// Takes the flag back. Whoever waited when it was set goes on all the same.
    #[inline]
    pub fn clear(&self) {
        event::clear(self.handle.words());
    }

    /// Is it set? Takes nothing.
    #[must_use]
    #[inline]
    pub fn is_set(&self) -> bool {
        event::is_set(self.handle.words())
    }

    /// Is it an auto-reset event?
    #[must_use]
    pub fn is_auto_reset(&self) -> bool {
        event::is_auto(self.handle.words())
    }

    /// Waits until it is set.
    #[inline]
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// Is it set? Takes the flag, if it is an auto-reset event. Never waits.
    #[must_use = "an auto-reset event may have been taken"]
    #[inline]
    pub fn try_wait(&self) -> bool {
        let words = self.handle.words();
        event::try_wait(words, event::now(words))
    }

    /// Waits up to `timeout`. False: it was not set until then.
    #[must_use = "it may not have been set"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits until `deadline`. False: it was not set until then.
    #[must_use = "it may not have been set"]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Deadline::at(deadline))
    }

    /// The present moment, for a wait in slices that begins now.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Since {
        event::now(self.handle.words())
    }

    /// Waits up to `slice`; a `set` after `since` counts, even if it was cleared at once. For bindings, which look at
    /// other things between slices.
    #[must_use = "it may not have been set"]
    pub fn wait_since(&self, since: Since, slice: Duration) -> bool {
        event::try_wait(self.handle.words(), since) || self.wait_slowly(since, Deadline::after(slice))
    }

    #[inline]
    fn wait_until(&self, deadline: Deadline) -> bool {
        let words = self.handle.words();
        let since = event::now(words);
        event::try_wait(words, since) || self.wait_slowly(since, deadline)
    }

    #[cold]
    #[inline(never)]
    fn wait_slowly(&self, since: event::Since, deadline: Deadline) -> bool {
        let (words, me) = (self.handle.words(), self.handle.me());
        let outcome: Result<(), Stop> =
            self.handle.until(deadline, |waiter, deadline| event::wait(words, since, me, waiter, deadline));
        outcome.is_ok()
    }
}

/// For waits for several objects.
impl Event {
    pub(crate) fn line(&self) -> &WaitLine {
        &self.handle.words().line
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_set()
    }

    /// Nobody owns it, so there is nobody to ask for.
    pub(crate) fn probe(&self) {}
}

impl sealed::Sealed for Event {
    type Options = Reset;

    fn kind() -> Kind {
        Kind { tag: tag::EVENT, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        arena.make(Self::kind(), 1, name, |base| {
            let auto = u32::from(options == Reset::Auto);
            words::new_front::<EventWords>(base).control.auto.store(auto, Relaxed);
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
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
