//! The receiving end, typed.
//!
//! - I1 the end is dropped once, by `Drop`.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use ginnel_queue::lane::LaneError;
use ginnel_queue::mpsc as queue;
use ginnel_segment::Mirror;
use ginnel_sync::Deadline;

use super::{Channel, Stopped};
use crate::arena::ObjectRef;
use crate::error::{RecvError, RecvTimeoutError, Result, TryRecvError};
use crate::message::Message;
use crate::seat::{Post, Tenure};

/// The receiving end of a channel.
///
/// Exclusive: one process holds it at a time. A message is acknowledged when it has been copied out, before it is
/// decoded; if the process is killed before that, its successor gets the message again, flagged. Dropping the end
/// closes it: sending fails from then on, and what was not received stays for a successor. An end inherited through a
/// bare `fork` answers `Forked` and leaves the parent's end alone.
pub struct Receiver<T> {
    /// Dropped by hand: before the mappings it works on, and in a forked child not at all.
    pub(super) end: ManuallyDrop<queue::Receiver>,
    /// Keep the rings mapped.
    _mirrors: Vec<Mirror>,
    pub(super) channel: Channel,
    pub(super) tenure: Tenure,
    redelivered: bool,
    payload: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("object", &self.channel.object).finish_non_exhaustive()
    }
}

impl<T> Drop for Receiver<T> {
    #[allow(unsafe_code, reason = "ManuallyDrop::drop, once, here")]
    fn drop(&mut self) {
        if self.tenure.leave() {
            // SAFETY: I1: called once, as the value goes away; nobody touches the end again.
            unsafe { ManuallyDrop::drop(&mut self.end) }
        }
    }
}

impl<T> Receiver<T> {
    pub(super) fn new(channel: Channel, ticket: Option<u32>) -> Result<Self> {
        let (end, mirrors) = channel.take_receiver(ticket)?;
        let (end, tenure) = (ManuallyDrop::new(end), Tenure::of(&channel.object, Post::Receiver));
        Ok(Self { end, _mirrors: mirrors, channel, tenure, redelivered: false, payload: PhantomData })
    }

    pub(super) fn object_ref(&self) -> &ObjectRef {
        &self.channel.object
    }

    /// Messages that could be received now. Walks the lanes: for people, not for loops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.len() as usize
    }

    /// Is there nothing to receive now?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many senders there are, the dead that nobody noticed yet among them.
    #[must_use]
    pub fn senders(&self) -> usize {
        self.end.producers() as usize
    }

    /// The lane of the message received last. Messages of one lane come in the order in which they were sent. While
    /// a sender lives nobody else sends in its lane; when it is gone another one may get it.
    #[must_use]
    pub fn lane(&self) -> usize {
        self.end.lane() as usize
    }

    /// May the message received last have been delivered before, to a receiver that died?
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Closes the end: sending fails from now on. The same as dropping it.
    pub fn close(self) {}

    /// Length of the next message; waits until `deadline` for it, if there is one.
    #[inline(always)]
    fn message(&mut self, deadline: Option<Deadline>) -> Result<usize, Stopped> {
        self.tenure.usable()?;
        match (self.end.peek(), deadline) {
            (Err(LaneError::WouldBlock), Some(deadline)) => self.wait_for_message(deadline),
            (result, _) => Ok(result? as usize),
        }
    }

    #[inline(never)]
    fn wait_for_message(&mut self, deadline: Deadline) -> Result<usize, Stopped> {
        let segment = self.channel.object.arena().segment();
        loop {
            match self.end.wait_for_message(deadline, segment) {
                Err(LaneError::Interrupted) => {}
                result => return Ok(result.and_then(|()| self.end.peek())? as usize),
            }
        }
    }
}

impl<T: Message> Receiver<T> {
    /// The next message; waits for it.
    ///
    /// # Errors
    /// `Closed` when all senders are gone, dead ones included, and everything they committed was received. `Failed`
    /// with `Decode` for a message of another type (it is used up), `Corrupted`, `Forked`.
    #[inline]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.decoded(Some(Deadline::NEVER)).map_err(|why| match why {
            Stopped::Lane(LaneError::Closed) => RecvError::Closed,
            other => RecvError::Failed(self.channel.error(other)),
        })
    }

    /// The next message, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`Receiver::recv`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.decoded(None).map_err(|why| match why {
            Stopped::Lane(LaneError::WouldBlock) => TryRecvError::Empty,
            Stopped::Lane(LaneError::Closed) => TryRecvError::Closed,
            other => TryRecvError::Failed(self.channel.error(other)),
        })
    }

    /// The next message; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Receiver::recv`].
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
            Stopped::Lane(LaneError::TimedOut) => RecvTimeoutError::Timeout,
            Stopped::Lane(LaneError::Closed) => RecvTimeoutError::Closed,
            other => RecvTimeoutError::Failed(self.channel.error(other)),
        })
    }

    /// [`Receiver::recv`] for a loop: `while let Some(job) = jobs.next()? { .. }`. `None`: closed and empty.
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
            Err(Stopped::Lane(LaneError::Closed)) => Ok(None),
            Err(why) => Err(self.channel.error(why)),
        }
    }

    /// Messages until the channel is closed and empty. Waits for each.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<T>> + '_ {
        std::iter::from_fn(|| self.next().transpose())
    }

    /// Copies the next message out, acknowledges it, and decodes the copy.
    #[inline(always)]
    fn decoded(&mut self, deadline: Option<Deadline>) -> Result<T, Stopped> {
        let len = self.message(deadline)?;
        let Self { end, redelivered, .. } = self;
        Ok(T::received(len, |into| {
            let loan = end.loan();
            into.copy_from_slice(loan.bytes());
            *redelivered = loan.redelivered();
            Ok(())
        })?)
    }
}
