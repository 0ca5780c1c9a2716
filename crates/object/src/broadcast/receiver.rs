//! The receiving end.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use ginnel_queue::broadcast::{BroadcastError, Reader};
use ginnel_sync::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Channel, Stopped};
use crate::arena::ObjectRef;
use crate::carry;
use crate::error::{RecvError, RecvTimeoutError, Result, TryRecvError};
use crate::message::Message;

/// A receiving end of a broadcast channel, with a position of its own. `Send`, and `&mut self` to receive.
///
/// Every position it passes is accounted for once: received, missed, aborted or skipped. Inside a message of a queue
/// it crosses with its position. Dropping it, or killing its process, concerns nobody else. After a bare `fork` the
/// child's answers `Forked`.
pub struct Receiver<T> {
    pub(super) reader: Reader,
    pub(super) channel: Channel,
    payload: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("object", &self.channel.object)
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

impl<T> Receiver<T> {
    pub(super) fn new(channel: Channel) -> Result<Self> {
        channel.object.check_fork()?;
        let me = channel.object.arena().segment().me();
        let reader = channel.words.reader(me).map_err(|why| channel.explain(why))?;
        Ok(Self { reader, channel, payload: PhantomData })
    }

    pub(super) fn object_ref(&self) -> &ObjectRef {
        &self.channel.object
    }

    /// Another receiver, which gets what is sent from now on.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn subscribe(&self) -> Result<Self> {
        Self::new(self.channel.clone())
    }

    /// How many messages were overwritten before this receiver came to them, since the last call.
    pub fn take_missed(&mut self) -> u64 {
        self.reader.take_missed()
    }

    /// How many sends came to nothing, because the sender died in the middle or the channel was closed meanwhile, at
    /// positions this receiver passed since the last call. Nothing was lost with them but the room.
    pub fn take_aborted(&mut self) -> u64 {
        self.reader.take_aborted()
    }

    /// Goes on with the newest message that is there, and gives how many that skips; they do not count as missed. Where
    /// there is nothing new, it skips nothing.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn skip_to_latest(&mut self) -> Result<u64> {
        self.channel.object.check_fork()?;
        self.reader.skip_to_latest().map_err(|why| self.channel.explain(why))
    }

    /// Messages sent and not yet received here. More than the capacity: some are missed already.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reader.behind() as usize
    }

    /// Is there nothing to receive now?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By how many messages it may be behind.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.reader.shape().capacity as usize
    }

    /// Was it closed, or is the last sender gone? Messages may still be there.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.words.is_closed()
    }
}

impl<T: Message> Receiver<T> {
    /// The next message; waits for it.
    ///
    /// # Errors
    /// `Closed` when the last sender is gone, or the channel was closed, and everything that was there was received.
    /// `Failed` with `Decode` for a message of another type (it is passed), `Forked`, `Corrupted`.
    #[inline]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.decoded(Some(Deadline::NEVER)).map_err(|why| match why {
            Stopped::Channel(BroadcastError::Closed) => RecvError::Closed,
            other => RecvError::Failed(self.channel.error(other)),
        })
    }

    /// The next message, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`, also while a living sender is in the middle of the next message; else as [`Receiver::recv`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.decoded(None).map_err(|why| match why {
            Stopped::Channel(BroadcastError::WouldBlock | BroadcastError::Busy(_)) => TryRecvError::Empty,
            Stopped::Channel(BroadcastError::Closed) => TryRecvError::Closed,
            other => TryRecvError::Failed(self.channel.error(other)),
        })
    }

    /// The next message; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; `Failed` with kind `Timeout` and the owner, where one living process was in the way; else as
    /// [`Receiver::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Deadline::after(timeout))
    }

    /// The next message; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Deadline::at(deadline))
    }

    fn recv_until(&mut self, deadline: Deadline) -> Result<T, RecvTimeoutError> {
        self.decoded(Some(deadline)).map_err(|why| match why {
            Stopped::Channel(BroadcastError::TimedOut { owner: None }) => RecvTimeoutError::Timeout,
            Stopped::Channel(BroadcastError::Closed) => RecvTimeoutError::Closed,
            other => RecvTimeoutError::Failed(self.channel.error(other)),
        })
    }

    /// [`Receiver::recv`] for a loop: `while let Some(price) = prices.next()? { .. }`. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Receiver::recv`], but for `Closed`.
    #[inline]
    #[allow(
        clippy::should_implement_trait,
        reason = "its errors stand outside, for `?` in the head of a loop"
    )]
    pub fn next(&mut self) -> Result<Option<T>> {
        match self.decoded(Some(Deadline::NEVER)) {
            Ok(value) => Ok(Some(value)),
            Err(Stopped::Channel(BroadcastError::Closed)) => Ok(None),
            Err(why) => Err(self.channel.error(why)),
        }
    }

    /// Messages until the channel is closed and empty. Waits for each.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<T>> + '_ {
        std::iter::from_fn(|| self.next().transpose())
    }

    /// Copies the next message out, makes sure that it is whole, and decodes the copy.
    #[inline(always)]
    fn decoded(&mut self, deadline: Option<Deadline>) -> Result<T, Stopped> {
        self.channel.object.check_fork_fast()?;
        let Self { reader, channel, .. } = self;
        loop {
            let received = match deadline {
                None => reader.try_recv(),
                Some(deadline) => reader.recv_with(deadline, |owner| channel.ask(owner)),
            };
            match received {
                Err(BroadcastError::Interrupted) => {}
                received => return Ok(T::from_bytes(received?.bytes)?),
            }
        }
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error. Its position goes with it.
impl<T: Message> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        struct Handle<'a>(&'a ObjectRef);

        impl Serialize for Handle<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                carry::serialize(self.0, serializer)
            }
        }

        (Handle(self.object_ref()), self.reader.position()).serialize(serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Opened<T>(Receiver<T>);

        impl<'de, T: Message> Deserialize<'de> for Opened<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                carry::deserialize(deserializer).map(Self)
            }
        }

        let (Opened(receiver), position) = <(Opened<T>, u64)>::deserialize(deserializer)?;
        Ok(Self { reader: receiver.reader.starting_at(position), ..receiver })
    }
}
