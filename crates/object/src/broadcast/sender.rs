//! The sending end.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Mutex as Private;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::entry::Side;
use ginnel_queue::broadcast::BroadcastError;
use ginnel_sync::{Deadline, Waiter};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Channel, Receiver, Stopped};
use crate::arena::ObjectRef;
use crate::carry;
use crate::error::{Result, SendError, SendTimeoutError, TrySendError};
use crate::message::Message;

/// A sending end of a broadcast channel. `Clone + Send + Sync`; may be sent inside messages of a queue.
///
/// When the last one is gone, receivers are told after everything that was sent. A sender killed in the middle of a
/// send has sent nothing, and holds nobody up for longer than it takes to notice. After a bare `fork` the child's
/// handles answer `Forked`.
pub struct Sender<T> {
    channel: Channel,
    me: ParticipantId,
    /// What this handle has learned about waiting. Only a hint: a thread that finds it in use starts afresh.
    waiter: Private<Waiter>,
    payload: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("object", &self.channel.object).finish_non_exhaustive()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self::new(self.channel.clone())
    }
}

impl<T> Sender<T> {
    pub(super) fn new(channel: Channel) -> Self {
        let me = channel.object.arena().segment().me();
        let waiter = Private::new(Waiter::new(channel.words.shape().mode));
        Self { channel, me, waiter, payload: PhantomData }
    }

    pub(super) fn object_ref(&self) -> &ObjectRef {
        &self.channel.object
    }

    /// Ends the channel for all senders: sending fails from now on, and receivers get what is there, then `Closed`.
    pub fn close(&self) {
        if !self.channel.object.is_forked() {
            self.channel.words.close();
        }
    }

    /// Was it closed?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.words.is_closed()
    }

    /// By how many messages a receiver may be behind.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.channel.words.shape().capacity as usize
    }

    /// Longest encoded message, in bytes.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.channel.words.shape().payload_max() as usize
    }

    /// Sends the bytes of a message; waits until `deadline`, if there is one.
    #[inline(always)]
    fn send_bytes(&self, bytes: &[u8], deadline: Option<Deadline>) -> Result<(), Stopped> {
        match (self.channel.words.try_send(self.me, 0, bytes), deadline) {
            (Err(BroadcastError::WouldBlock | BroadcastError::Busy(_)), Some(deadline)) => {
                Ok(self.wait_and_send(bytes, deadline)?)
            }
            (result, _) => Ok(result.map(drop)?),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_and_send(&self, bytes: &[u8], deadline: Deadline) -> Result<(), BroadcastError> {
        let words = &self.channel.words;
        let segment = self.channel.object.arena().segment();
        let mut own = self.waiter.try_lock();
        let mut fresh = Waiter::new(words.shape().mode);
        let waiter = own.as_deref_mut().unwrap_or(&mut fresh);
        loop {
            match words.send(self.me, 0, bytes, waiter, deadline, segment) {
                Err(BroadcastError::Interrupted) => {}
                result => return result.map(drop),
            }
        }
    }
}

impl<T: Message> Sender<T> {
    /// Another receiver, which gets what is sent from now on.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn subscribe(&self) -> Result<Receiver<T>> {
        let object = self.channel.object.with_side(Side::Neither);
        Receiver::new(Channel { words: self.channel.words, object })
    }

    /// Sends `value` to every receiver. Waits only while another sender is in the middle of the message that is the
    /// oldest now.
    ///
    /// # Errors
    /// `Closed` when the channel was closed. `Failed` with `TooLarge`, with `Encode` (a handle cannot travel in it),
    /// `Forked`, `Corrupted`.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.encoded(&value, Some(Deadline::NEVER)) {
            Ok(()) => Ok(()),
            Err(Stopped::Channel(BroadcastError::Closed)) => Err(SendError::Closed(value)),
            Err(why) => Err(SendError::Failed(value, self.channel.error(why))),
        }
    }

    /// Sends `value` if no other sender is in the way. Never waits.
    ///
    /// # Errors
    /// `Full` while another sender is in the middle of the message that is the oldest now; else as [`Sender::send`].
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.encoded(&value, None) {
            Ok(()) => Ok(()),
            Err(Stopped::Channel(BroadcastError::Closed)) => Err(TrySendError::Closed(value)),
            Err(Stopped::Channel(BroadcastError::WouldBlock | BroadcastError::Busy(_))) => {
                Err(TrySendError::Full(value))
            }
            Err(why) => Err(TrySendError::Failed(value, self.channel.error(why))),
        }
    }

    /// Sends `value`; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; `Failed` with kind `Timeout` and the owner, where one living process was in the way; else as
    /// [`Sender::send`].
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Deadline::after(timeout))
    }

    /// Sends `value`; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Deadline::at(deadline))
    }

    fn send_until(&self, value: T, deadline: Deadline) -> Result<(), SendTimeoutError<T>> {
        match self.encoded(&value, Some(deadline)) {
            Ok(()) => Ok(()),
            Err(Stopped::Channel(BroadcastError::Closed)) => Err(SendTimeoutError::Closed(value)),
            Err(Stopped::Channel(BroadcastError::TimedOut { owner: None })) => {
                Err(SendTimeoutError::Timeout(value))
            }
            Err(why) => Err(SendTimeoutError::Failed(value, self.channel.error(why))),
        }
    }

    #[inline(always)]
    fn encoded(&self, value: &T, deadline: Option<Deadline>) -> Result<(), Stopped> {
        self.channel.object.check_fork_fast()?;
        value.with_bytes(|bytes| self.send_bytes(bytes, deadline))?
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl<T: Message> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.object_ref(), serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
