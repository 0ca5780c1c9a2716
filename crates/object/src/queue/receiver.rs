//! The receiving side alone.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::entry::Side;
use ginnel_queue::ring::RingError;
use ginnel_sync::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::core::{Core, Patience, Stopped};
use super::{Lease, Options, Stats};
use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{RecvError, RecvTimeoutError, Result, TryRecvError};
use crate::manager::sealed;
use crate::message::Message;
use crate::sweep::tag;

/// The receiving side of a [`channel`](super::channel) or a [`Queue`](super::Queue). `Clone + Send + Sync`: each
/// message goes to one of the receivers.
///
/// A channel is closed for its senders when its last receiver is gone, those of killed processes included. After a
/// bare `fork` the child's handles answer `Forked`.
pub struct Receiver<T> {
    pub(super) core: Core,
    payload: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("object", self.core.object()).finish_non_exhaustive()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), payload: PhantomData }
    }
}

impl<T: Message> Receiver<T> {
    pub(super) fn new(core: Core) -> Self {
        Self { core, payload: PhantomData }
    }
}

impl<T: Message> Receiver<T> {
    /// The next message; waits for it.
    ///
    /// # Errors
    /// `Closed` when nothing can come any more: the last sender is gone, or the queue was closed, and everything sent has been acknowledged. `Failed` with
    /// `Decode` for a message of another type (it is used up), `Forked`, `Corrupted`.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.core.recv(Patience::Until(Deadline::NEVER)).map_err(|why| self.core.recv_error(why))
    }

    /// The next message, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`, also while a living sender is in the middle of the next message; else as [`Receiver::recv`].
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.core.recv(Patience::None).map_err(|why| self.core.try_recv_error(why))
    }

    /// The next message; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; `Failed` with kind `Timeout` and the owner, where one living process was in the way; else as
    /// [`Receiver::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let patience = Patience::Until(Deadline::after(timeout));
        self.core.recv(patience).map_err(|why| self.core.recv_timeout_error(why))
    }

    /// The next message; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        let patience = Patience::Until(Deadline::at(deadline));
        self.core.recv(patience).map_err(|why| self.core.recv_timeout_error(why))
    }

    /// Appends up to `limit` messages to `into` and gives how many: at least one, waiting for the first, then
    /// whatever is there.
    ///
    /// # Errors
    /// As [`Receiver::recv`]. What came before an error is in `into`, and the error comes at the next call.
    pub fn recv_many(&self, into: &mut Vec<T>, limit: usize) -> Result<usize, RecvError> {
        self.core.recv_many(into, limit).map_err(|why| self.core.recv_error(why))
    }

    /// [`Receiver::recv`] for a loop: `while let Some(job) = jobs.next()? { .. }`. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Receiver::recv`], but for `Closed`.
    pub fn next(&self) -> Result<Option<T>> {
        match self.core.recv(Patience::Until(Deadline::NEVER)) {
            Ok(value) => Ok(Some(value)),
            Err(Stopped::Ring(RingError::Closed)) => Ok(None),
            Err(why) => Err(self.core.error(why)),
        }
    }

    /// Messages until it is closed and empty. Waits for each.
    pub fn iter(&self) -> impl Iterator<Item = Result<T>> + '_ {
        std::iter::from_fn(|| self.next().transpose())
    }

    /// The messages that are there now. Never waits.
    pub fn drain(&self) -> impl Iterator<Item = Result<T>> + '_ {
        std::iter::from_fn(|| match self.try_recv() {
            Ok(value) => Some(Ok(value)),
            Err(TryRecvError::Failed(error)) => Some(Err(error)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        })
    }

    /// The next message as a lease, which comes back unless it is acknowledged; waits for it.
    ///
    /// # Errors
    /// As [`Receiver::recv`]. While all leases are out it waits as well.
    pub fn lease(&self) -> Result<Lease<T>, RecvError> {
        self.lease_with(Patience::Until(Deadline::NEVER)).map_err(|why| self.core.recv_error(why))
    }

    /// The next message as a lease, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`; `Failed` with `Full` while all leases are out; else as [`Receiver::recv`].
    pub fn try_lease(&self) -> Result<Lease<T>, TryRecvError> {
        self.lease_with(Patience::None).map_err(|why| self.core.try_recv_error(why))
    }

    /// The next message as a lease; waits up to `timeout`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn lease_timeout(&self, timeout: Duration) -> Result<Lease<T>, RecvTimeoutError> {
        let patience = Patience::Until(Deadline::after(timeout));
        self.lease_with(patience).map_err(|why| self.core.recv_timeout_error(why))
    }

    /// The next message as a lease; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn lease_deadline(&self, deadline: Instant) -> Result<Lease<T>, RecvTimeoutError> {
        let patience = Patience::Until(Deadline::at(deadline));
        self.lease_with(patience).map_err(|why| self.core.recv_timeout_error(why))
    }

    /// [`Receiver::lease`] for a loop. `None`: closed, and everything is acknowledged; a process that has leases itself does
    /// not wait for those of others.
    ///
    /// # Errors
    /// As [`Receiver::recv`], but for `Closed`.
    pub fn next_lease(&self) -> Result<Option<Lease<T>>> {
        match self.lease_with(Patience::Until(Deadline::NEVER)) {
            Ok(lease) => Ok(Some(lease)),
            Err(Stopped::Ring(RingError::Closed)) => Ok(None),
            Err(why) => Err(self.core.error(why)),
        }
    }

    fn lease_with(&self, patience: Patience) -> Result<Lease<T>, Stopped> {
        let (value, held, incoming) = self.core.lease(patience)?;
        Ok(Lease::new(self.core.clone(), held, incoming, value))
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

    /// [`Receiver::wait_done`], up to `timeout`. False: it was not done by then.
    ///
    /// # Errors
    /// As [`Receiver::wait_done`].
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
impl<T: Message> sealed::Sealed for Receiver<T> {
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
        let end = core.object().with_side(Side::Receiver);
        Ok(Self::new(core.over(end)))
    }

    fn object(&self) -> &ObjectRef {
        self.core.object()
    }
}

impl<T: Message> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.core.object(), serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
