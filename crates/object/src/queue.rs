//! A queue between any number of processes: both ways, and its two sides.
//!
//! [`Queue`] sends and receives; [`channel`] gives the two sides apart, which notice when the other one is empty. What
//! they share is `core`; how it is made, `options`; a message that may come back, `lease`.

mod answers;
mod contents;
mod core;
mod growth;
mod lease;
mod options;
mod packed;
mod ready;
mod receiver;
mod sender;
mod slot;
mod stats;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::entry::Side;
use ginnel_layout::ring::gate;
use ginnel_queue::ring::RingError;
use ginnel_sync::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{
    RecvError, RecvTimeoutError, Result, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use crate::manager::sealed;
use crate::message::Message;
use crate::sweep::tag;

use self::core::{Core, Patience, Stopped};

pub(crate) use contents::{discard_all, lose};
pub use lease::Lease;
pub use options::{OnConsumerDeath, Options};
#[doc(hidden)]
pub use packed::{Freight, Halt, attach_block, parcel_block};
pub use receiver::Receiver;
pub use sender::Sender;
pub use slot::Slot;
pub use stats::Stats;

/// A queue for at least `capacity` messages, as its two sides.
///
/// When the last [`Sender`] is gone (dropped, or its process dead) the receivers get what was sent, then `Closed`; when
/// the last [`Receiver`] is gone, sending fails.
///
/// ```
/// use ginnel_object::queue;
///
/// let (sender, receiver) = queue::channel::<u32>(8)?;
/// sender.send(1)?;
/// drop(sender);
/// assert_eq!(receiver.next()?, Some(1));
/// assert_eq!(receiver.next()?, None);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
///
/// # Errors
/// As [`Options::create`].
pub fn channel<T: Message>(capacity: usize) -> Result<(Sender<T>, Receiver<T>)> {
    Options::bounded(capacity).channel()
}

fn sides_of<T: Message>(object: ObjectRef) -> Result<(Sender<T>, Receiver<T>)> {
    let core = Core::new(object)?;
    let side = |side| core.over(core.object().with_side(side));
    Ok((Sender::new(side(Side::Sender)), Receiver::new(side(Side::Receiver))))
}

/// A queue of messages between any number of processes and threads; each message goes to one receiver.
///
/// Sending waits while it is full, and fails (`Full`) where an [unbounded](Options::unbounded) one finds no memory. Messages of one sender arrive in its order; one that comes back after a
/// consumer's death may be overtaken. Handles are `Clone + Send + Sync`, and may be sent inside messages. A sender that
/// is killed in the middle of a send has not sent; what was sent before stays. A stopped process costs the others at
/// most the one place it is in the middle of: they get a `Timeout` that names it. After a bare `fork` the child's
/// handles answer `Forked`.
///
/// Progress: `try_*` is lock-free and takes bounded time; the others wait. Source: a ring of slots, each with its own
/// state, as in Vyukov's bounded queue, with the owner of each claim in the claiming word (crate `queue`, `ring.rs`).
///
/// ```
/// use ginnel_object::Queue;
///
/// let words = Queue::<(u32, String)>::bounded(16)?;
/// words.send((1, "passage".into()))?;
/// assert_eq!(words.recv()?, (1, "passage".into()));
/// # Ok::<(), ginnel_object::Error>(())
/// ```
pub struct Queue<T> {
    core: Core,
    payload: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("object", self.core.object()).finish_non_exhaustive()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), payload: PhantomData }
    }
}

impl<T: Message> Queue<T> {
    fn new(core: Core) -> Self {
        Self { core, payload: PhantomData }
    }
}

impl<T: Message> Queue<T> {
    /// A queue for at least `capacity` messages, in the manager of this process.
    ///
    /// # Errors
    /// As [`Options::create`].
    pub fn bounded(capacity: usize) -> Result<Self> {
        Options::bounded(capacity).create()
    }

    /// A queue whose memory comes and goes with its messages, in the manager of this process: see
    /// [`Options::unbounded`].
    ///
    /// # Errors
    /// As [`Options::create`].
    pub fn unbounded() -> Result<Self> {
        Options::unbounded().create()
    }

    /// Another handle, which only sends.
    #[must_use]
    pub fn sender(&self) -> Sender<T> {
        Sender::new(self.core.over(self.core.object().with_side(Side::Sender)))
    }

    /// Another handle, which only receives.
    #[must_use]
    pub fn receiver(&self) -> Receiver<T> {
        Receiver::new(self.core.over(self.core.object().with_side(Side::Receiver)))
    }

    /// Ends the input: sending fails from now on, and receivers get what is there, then `Closed`. For all processes.
    pub fn close(&self) {
        if !self.core.object().is_forked() {
            self.core.ring().close(gate::NO_INPUT);
        }
    }

    /// Sends `value`; waits while the queue is full.
    ///
    /// # Errors
    /// `Closed` when the queue was closed; `Failed` with `Full` when there is no memory, `TooLarge`, `Encode`, `Forked`,
    /// `Corrupted`.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.core.send_waiting(value)
    }

    /// Sends `value` if there is room now. Never waits.
    ///
    /// # Errors
    /// `Full`, also while a living process is in the middle of the only place left, or of getting memory for it; else as
    /// [`Queue::send`].
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.core.send_now(value)
    }

    /// Sends `value`; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; `Failed` with kind `Timeout` and the owner, where one living process was in the way; else as
    /// [`Queue::send`].
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.core.send_until(value, Deadline::after(timeout))
    }

    /// Sends `value`; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Queue::send_timeout`].
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.core.send_until(value, Deadline::at(deadline))
    }

    /// Sends the values of `values`, from the front, and takes them out; waits while the queue is full.
    ///
    /// # Errors
    /// As [`Queue::send`]; what was not sent is still in `values`.
    pub fn send_many(&self, values: &mut Vec<T>) -> Result<()> {
        self.core.send_many(values)
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// `Closed` when nothing can come any more: the queue was closed, and everything sent has been acknowledged. `Failed` with
    /// `Decode` for a message of another type (it is used up), `Forked`, `Corrupted`.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.core.recv(Patience::Until(Deadline::NEVER)).map_err(|why| self.core.recv_error(why))
    }

    /// The next message, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`, also while a living sender is in the middle of the next message; else as [`Queue::recv`].
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.core.recv(Patience::None).map_err(|why| self.core.try_recv_error(why))
    }

    /// The next message; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; `Failed` with kind `Timeout` and the owner, where one living process was in the way; else as
    /// [`Queue::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let patience = Patience::Until(Deadline::after(timeout));
        self.core.recv(patience).map_err(|why| self.core.recv_timeout_error(why))
    }

    /// The next message; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Queue::recv_timeout`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        let patience = Patience::Until(Deadline::at(deadline));
        self.core.recv(patience).map_err(|why| self.core.recv_timeout_error(why))
    }

    /// Appends up to `limit` messages to `into` and gives how many: at least one, waiting for the first, then
    /// whatever is there.
    ///
    /// # Errors
    /// As [`Queue::recv`]. What came before an error is in `into`, and the error comes at the next call.
    pub fn recv_many(&self, into: &mut Vec<T>, limit: usize) -> Result<usize, RecvError> {
        self.core.recv_many(into, limit).map_err(|why| self.core.recv_error(why))
    }

    /// [`Queue::recv`] for a loop: `while let Some(job) = jobs.next()? { .. }`. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Queue::recv`], but for `Closed`.
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
    /// As [`Queue::recv`]. While all leases are out it waits as well.
    pub fn lease(&self) -> Result<Lease<T>, RecvError> {
        self.lease_with(Patience::Until(Deadline::NEVER)).map_err(|why| self.core.recv_error(why))
    }

    /// The next message as a lease, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`; `Failed` with `Full` while all leases are out; else as [`Queue::recv`].
    pub fn try_lease(&self) -> Result<Lease<T>, TryRecvError> {
        self.lease_with(Patience::None).map_err(|why| self.core.try_recv_error(why))
    }

    /// The next message as a lease; waits up to `timeout`.
    ///
    /// # Errors
    /// As [`Queue::recv_timeout`].
    pub fn lease_timeout(&self, timeout: Duration) -> Result<Lease<T>, RecvTimeoutError> {
        let patience = Patience::Until(Deadline::after(timeout));
        self.lease_with(patience).map_err(|why| self.core.recv_timeout_error(why))
    }

    /// The next message as a lease; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Queue::recv_timeout`].
    pub fn lease_deadline(&self, deadline: Instant) -> Result<Lease<T>, RecvTimeoutError> {
        let patience = Patience::Until(Deadline::at(deadline));
        self.lease_with(patience).map_err(|why| self.core.recv_timeout_error(why))
    }

    /// [`Queue::lease`] for a loop. `None`: closed, and everything is acknowledged; a process that has leases itself does
    /// not wait for those of others.
    ///
    /// # Errors
    /// As [`Queue::recv`], but for `Closed`.
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

    /// [`Queue::wait_done`], up to `timeout`. False: it was not done by then.
    ///
    /// # Errors
    /// As [`Queue::wait_done`].
    pub fn wait_done_timeout(&self, timeout: Duration) -> Result<bool> {
        self.core.wait_done(Deadline::after(timeout))
    }

    /// Its counters, at about this moment. For people and tools.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl<T: Message> sealed::Sealed for Queue<T> {
    type Options = Options;

    fn kind() -> Kind {
        Kind::of_messages::<T>(tag::QUEUE)
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make::<T>(arena, name, tag::QUEUE)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        Ok(Self::new(Core::new(object)?))
    }

    fn object(&self) -> &ObjectRef {
        self.core.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl<T: Message> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.core.object(), serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
