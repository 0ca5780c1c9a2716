//! A sending end, typed.
//!
//! - I1 the end is dropped once, by `Drop` of its seat.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use ginnel_queue::lane::{LaneError, Producer};
use ginnel_segment::Mirror;
use ginnel_sync::Deadline;

use super::{Channel, Stopped};
use crate::arena::ObjectRef;
use crate::error::{Result, SendError, SendTimeoutError, TrySendError};
use crate::message::Message;
use crate::seat::{Post, Tenure};

/// A sending end of a channel: one of several, each with a lane of its own. `Clone` and `Send`.
///
/// Dropping it gives the lane up; what was sent arrives all the same. If its process is killed, everything it
/// committed arrives. A clone takes another lane. Where none is free it cannot say so: it tries again when it is used,
/// and then answers `Full` (see [`Sender::try_clone`]); until it has a lane, the receiver does not know of it. An end
/// inherited through a bare `fork` answers `Forked` and leaves the parent's end alone.
pub struct Sender<T> {
    seat: Option<Seat>,
    channel: Channel,
    payload: PhantomData<fn(T) -> T>,
}

/// A lane that is held.
struct Seat {
    /// Dropped by hand: before the mapping it works on, and in a forked child not at all.
    end: ManuallyDrop<Producer>,
    tenure: Tenure,
    /// Keeps the ring mapped.
    _mirror: Mirror,
    /// Keeps the channel.
    _object: ObjectRef,
}

impl Drop for Seat {
    #[allow(unsafe_code, reason = "ManuallyDrop::drop, once, here")]
    fn drop(&mut self) {
        if self.tenure.leave() {
            // SAFETY: I1: called once, as the value goes away; nobody touches the end again.
            unsafe { ManuallyDrop::drop(&mut self.end) }
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("object", &self.channel.object).finish_non_exhaustive()
    }
}

impl<T> Clone for Sender<T> {
    /// Takes another lane, or tries again at the first use; see [`Sender::try_clone`].
    fn clone(&self) -> Self {
        Self { seat: take_seat(&self.channel).ok(), channel: self.channel.clone(), payload: PhantomData }
    }
}

fn take_seat(channel: &Channel) -> Result<Seat> {
    Ok(seat_over(channel, channel.take_lane()?))
}

fn seat_over(channel: &Channel, (lane, producer, mirror): (u32, Producer, Mirror)) -> Seat {
    let tenure = Tenure::of(&channel.object, Post::Lane(lane));
    Seat { end: ManuallyDrop::new(producer), tenure, _mirror: mirror, _object: channel.object.clone() }
}

impl<T> Sender<T> {
    pub(super) fn new(channel: Channel) -> Result<Self> {
        Ok(Self { seat: Some(take_seat(&channel)?), channel, payload: PhantomData })
    }

    /// The sender that came with a ticket of ours.
    pub(super) fn arrive(channel: Channel, ticket: u32) -> Result<Self> {
        let seat = seat_over(&channel, channel.arrive_lane(ticket)?);
        Ok(Self { seat: Some(seat), channel, payload: PhantomData })
    }

    pub(super) fn object_ref(&self) -> &ObjectRef {
        &self.channel.object
    }

    pub(super) fn tenure_of(&self) -> Option<&Tenure> {
        self.seat.as_ref().map(|seat| &seat.tenure)
    }

    /// Another sender, with a lane of its own.
    ///
    /// # Errors
    /// `Full` when living senders hold all lanes; `Forked`; `Os` when the lane cannot be mapped.
    pub fn try_clone(&self) -> Result<Self> {
        Self::new(self.channel.clone())
    }

    /// Is the receiver gone: closed, or dead? `false` also before there was one.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.end.peer_is_gone())
    }

    /// Messages sent by this sender, or by those who had its lane before, and not yet received. Walks the lane: for
    /// people, not for loops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seat.as_ref().map_or(0, |seat| seat.end.len() as usize)
    }

    /// Is everything received?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Longest encoded message that can ever be sent, in bytes.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.channel.mpsc.shape().lane.len_max() as usize
    }

    /// Gives the lane up. The same as dropping the sender.
    pub fn close(self) {}

    #[inline(always)]
    fn end(&mut self) -> Result<&mut Producer> {
        match &mut self.seat {
            Some(seat) => {
                seat.tenure.usable()?;
                Ok(&mut seat.end)
            }
            none => Ok(&mut none.insert(take_seat(&self.channel)?).end),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_room(&mut self, len: usize, deadline: Deadline) -> Result<(), Stopped> {
        let Self { seat: Some(seat), channel, .. } = self else { return Err(LaneError::WouldBlock.into()) };
        loop {
            match seat.end.wait_for_room(len as u64, deadline, channel.object.arena().segment()) {
                Err(LaneError::Interrupted) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Sends the bytes of a message; waits until `deadline`, if there is one.
    #[inline(always)]
    fn send_bytes(&mut self, bytes: &[u8], deadline: Option<Deadline>) -> Result<(), Stopped> {
        match (self.end()?.try_send(bytes), deadline) {
            (Err(LaneError::WouldBlock), Some(deadline)) => {
                self.wait_for_room(bytes.len(), deadline)?;
                Ok(self.end()?.try_send(bytes)?)
            }
            (result, _) => Ok(result?),
        }
    }
}

impl<T: Message> Sender<T> {
    /// Sends `value`; waits while the lane is full.
    ///
    /// # Errors
    /// `Closed` when the receiver closed its end. `Failed` with `PeerDied` when it died, with `TooLarge` when the
    /// message can never fit, with `Encode` when it cannot be encoded (handles cannot travel in it), with `Full` when
    /// this clone has no lane; after a bare fork with `Forked`.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), SendError<T>> {
        match self.encoded(&value, Some(Deadline::NEVER)) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.send_error(why, value)),
        }
    }

    /// Sends `value` if there is room now. Never waits.
    ///
    /// # Errors
    /// `Full`; else as [`Sender::send`].
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<(), TrySendError<T>> {
        match self.encoded(&value, None) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.try_send_error(why, value)),
        }
    }

    /// Sends `value`; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Sender::send`].
    pub fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Deadline::after(timeout))
    }

    /// Sends `value`; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    pub fn send_deadline(&mut self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Deadline::at(deadline))
    }

    fn send_until(&mut self, value: T, deadline: Deadline) -> Result<(), SendTimeoutError<T>> {
        match self.encoded(&value, Some(deadline)) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.send_timeout_error(why, value)),
        }
    }

    #[inline(always)]
    fn encoded(&mut self, value: &T, deadline: Option<Deadline>) -> Result<(), Stopped> {
        value.with_bytes(|bytes| self.send_bytes(bytes, deadline))?
    }

    #[cold]
    fn send_error(&self, why: Stopped, value: T) -> SendError<T> {
        match why {
            Stopped::Lane(LaneError::Closed) => SendError::Closed(value),
            other => SendError::Failed(value, self.channel.error(other)),
        }
    }

    #[cold]
    fn try_send_error(&self, why: Stopped, value: T) -> TrySendError<T> {
        match why {
            Stopped::Lane(LaneError::WouldBlock) => TrySendError::Full(value),
            Stopped::Lane(LaneError::Closed) => TrySendError::Closed(value),
            other => TrySendError::Failed(value, self.channel.error(other)),
        }
    }

    #[cold]
    fn send_timeout_error(&self, why: Stopped, value: T) -> SendTimeoutError<T> {
        match why {
            Stopped::Lane(LaneError::TimedOut) => SendTimeoutError::Timeout(value),
            Stopped::Lane(LaneError::Closed) => SendTimeoutError::Closed(value),
            other => SendTimeoutError::Failed(value, self.channel.error(other)),
        }
    }
}
