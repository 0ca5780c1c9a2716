//! The sending side alone.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::entry::Side;
use ginnel_sync::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::core::Core;
use super::{Options, Stats};
use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{Result, SendError, SendTimeoutError, TrySendError};
use crate::manager::sealed;
use crate::message::Message;
use crate::sweep::tag;

/// The sending side of a [`channel`](super::channel) or a [`Queue`](super::Queue). `Clone + Send + Sync`.
///
/// A channel is closed for its receivers when its last sender is gone, those of killed processes included. After a
/// bare `fork` the child's handles answer `Forked`.
pub struct Sender<T> {
    pub(super) core: Core,
    payload: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("object", self.core.object()).finish_non_exhaustive()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), payload: PhantomData }
    }
}

impl<T: Message> Sender<T> {
    pub(super) fn new(core: Core) -> Self {
        Self { core, payload: PhantomData }
    }
}

impl<T: Message> Sender<T> {
    /// Sends `value`; waits while the queue is full.
    ///
    /// # Errors
    /// `Closed` when the last receiver is gone, or the queue was closed; `Failed` with `TooLarge`, `Encode`, `Forked`, `Corrupted`.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.core.send_waiting(value)
    }

    /// Sends `value` if there is room now. Never waits.
    ///
    /// # Errors
    /// `Full`, also while a living process is in the middle of the only place left; else as [`Sender::send`].
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.core.send_now(value)
    }

    /// Sends `value`; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; `Failed` with kind `Timeout` and the owner, where one living process was in the way; else as
    /// [`Sender::send`].
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.core.send_until(value, Deadline::after(timeout))
    }

    /// Sends `value`; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.core.send_until(value, Deadline::at(deadline))
    }

    /// Sends the values of `values`, from the front, and takes them out; waits while the queue is full.
    ///
    /// # Errors
    /// As [`Sender::send`]; what was not sent is still in `values`.
    pub fn send_many(&self, values: &mut Vec<T>) -> Result<()> {
        self.core.send_many(values)
    }

    /// Messages that it holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.core.ring().shape().limit as usize
    }

    /// Messages sent and not yet received, at about this moment. Leased ones are not among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.ring().depth() as usize
    }

    /// Is there nothing to receive, at about this moment?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is there no room, at about this moment?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// Is it closed towards this handle: sending fails, or nothing more will come than what is there?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.ring().closed() != 0
    }

    /// Waits until everything sent so far is acknowledged: received, or its lease ended with `ack`.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn wait_done(&self) -> Result<()> {
        self.core.wait_done(Deadline::NEVER).map(drop)
    }

    /// [`Sender::wait_done`], up to `timeout`. False: it was not done by then.
    ///
    /// # Errors
    /// As [`Sender::wait_done`].
    pub fn wait_done_timeout(&self, timeout: Duration) -> Result<bool> {
        self.core.wait_done(Deadline::after(timeout))
    }

    /// Its counters, at about this moment. For people and tools.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

/// As an object it is an end of a queue or of a channel; what is made anew is a channel.
impl<T: Message> sealed::Sealed for Sender<T> {
    type Options = Options;

    fn kind() -> Kind {
        Kind::of_messages::<T>(tag::CHANNEL)
    }

    fn accepts(found: Kind) -> bool {
        found == Self::kind() || found == Kind::of_messages::<T>(tag::QUEUE)
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make::<T>(arena, name, tag::CHANNEL)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let core = Core::new(object)?;
        let end = core.object().with_side(Side::Sender);
        Ok(Self::new(core.over(end)))
    }

    fn object(&self) -> &ObjectRef {
        self.core.object()
    }
}

impl<T: Message> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.core.object(), serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
