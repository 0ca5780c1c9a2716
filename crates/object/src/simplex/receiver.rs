//! The receiving end, typed.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use ginnel_queue::lane::LaneError;
use ginnel_sync::Deadline;

use super::Stopped;
use super::intake::In;
use crate::error::{RecvError, RecvTimeoutError, Result, TryRecvError};
use crate::message::Message;

/// The receiving end of a simplex, or of one direction of a pipe.
///
/// Exclusive: one process holds it at a time, `Send` but not `Sync`. A message is acknowledged when it has been copied
/// out, before it is decoded; if the process is killed before that, a successor gets it again, flagged. Dropping the end
/// closes it: sending fails from then on. Serialized in a message, or given to a process, it moves there, but not in the
/// middle of a long message. An end inherited through a bare `fork` answers `Forked` and leaves the parent's end alone.
pub struct Receiver<T> {
    pub(super) intake: In,
    payload: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("object", &self.intake.attached().object).finish_non_exhaustive()
    }
}

impl<T> Receiver<T> {
    pub(super) fn new(intake: In) -> Self {
        Self { intake, payload: PhantomData }
    }

    /// Is the sender gone: closed, or dead? Messages may still be there. `false` also while it is on its way to another
    /// process.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.intake.consumer().peer_is_gone()
    }

    /// Messages that could be received now; each part of a long one counts. Walks the ring: for people, not for loops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.intake.consumer().len() as usize + usize::from(self.intake.has_gathered())
    }

    /// Is there nothing to receive now?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Longest message that is received, encoded, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.intake.max() as usize
    }

    /// May the message received last have been delivered before, to a receiver that died?
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.intake.redelivered()
    }

    /// Closes the end: sending fails from now on. The same as dropping it.
    pub fn close(self) {}

    /// Waits until a whole message is here, or the end of them: then `recv` answers at once. False: neither by `timeout`;
    /// zero only looks. Of a long message it takes the parts in while it waits.
    ///
    /// # Errors
    /// `Corrupted`, `Forked`, `Invalid` when this end was sent away.
    pub fn poll(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = (!timeout.is_zero()).then(|| Deadline::after(timeout));
        self.intake.poll(deadline).map_err(|why| why.error(self.intake.attached()))
    }
}

impl<T: Message> Receiver<T> {
    /// The next message; waits for it.
    ///
    /// # Errors
    /// `Closed` when the sender closed its end and everything was received. `Failed` when it died (`PeerDied`, after
    /// everything committed); with `Decode` for a message of another type (it is used up); with `Invalid` when this end
    /// was sent away; `Corrupted`, `Forked`.
    #[inline]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.intake.recv(Some(Deadline::NEVER)).map_err(|why| why.recv_error(self.intake.attached()))
    }

    /// The next message, if all of it is there now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`Receiver::recv`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.intake.recv(None).map_err(|why| why.try_recv_error(self.intake.attached()))
    }

    /// The next message; waits up to `timeout`. What came of a long one by then is kept for the next call.
    ///
    /// # Errors
    /// `Timeout`; else as [`Receiver::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Deadline::after(timeout))
    }

    /// The next message; waits until `deadline`. What came of a long one by then is kept for the next call.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Deadline::at(deadline))
    }

    fn recv_until(&mut self, deadline: Deadline) -> Result<T, RecvTimeoutError> {
        self.intake.recv(Some(deadline)).map_err(|why| why.recv_timeout_error(self.intake.attached()))
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
        match self.intake.recv(Some(Deadline::NEVER)) {
            Ok(value) => Ok(Some(value)),
            Err(Stopped::Lane(LaneError::Closed)) => Ok(None),
            Err(why) => Err(why.error(self.intake.attached())),
        }
    }

    /// Messages until the sender is gone and all are received. Waits for each.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<T>> + '_ {
        std::iter::from_fn(|| self.next().transpose())
    }

    /// Receives at least one message, for which it waits, and at most `limit` that are there. Gives how many; `0` only for
    /// a limit of 0.
    ///
    /// # Errors
    /// As [`Receiver::recv`]. An error behind a message is left for the next call, if it lasts.
    pub fn recv_many(&mut self, into: &mut Vec<T>, limit: usize) -> Result<usize> {
        let mut deadline = Some(Deadline::NEVER);
        for received in 0..limit {
            match self.intake.recv(deadline) {
                Ok(value) => into.push(value),
                Err(Stopped::Lane(_)) if received > 0 => return Ok(received),
                Err(why) => return Err(why.error(self.intake.attached())),
            }
            deadline = None;
        }
        Ok(limit)
    }
}
