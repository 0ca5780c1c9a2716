//! The ends of a simplex of bytes as they are, for the crate of pipes, which names and documents them.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use ginnel_queue::lane::LaneError;
use ginnel_sync::Deadline;

use super::intake::{In, Placed};
use super::out::Out;
use super::{Letter, Stopped};
use crate::error::{
    Error, ErrorKind, RecvError, RecvTimeoutError, Result, SendError, SendTimeoutError, TryRecvError,
    TrySendError,
};

/// Why [`ByteReceiver::recv_into`] and its forms received nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvIntoError {
    /// Nothing is there now. Only from `try_recv_into`.
    Empty,
    /// Nothing came until the deadline. Only from the forms with one.
    Timeout,
    /// The sending end was given up, and everything sent has been received.
    Closed,
    /// The message is longer than the room for it. It stays.
    BufferTooShort {
        /// Bytes it needs.
        needed: usize,
    },
    /// Something else went wrong.
    Failed(Error),
}

impl fmt::Display for RecvIntoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the pipe is empty"),
            Self::Timeout => f.write_str("nothing came until the deadline"),
            Self::Closed => f.write_str("the sending end was closed and the pipe is empty"),
            Self::BufferTooShort { needed } => {
                write!(f, "the message has {needed} bytes, more than the room for it")
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RecvIntoError {}

impl From<RecvIntoError> for Error {
    fn from(why: RecvIntoError) -> Self {
        let kind = match why {
            RecvIntoError::Failed(error) => return error,
            RecvIntoError::Empty | RecvIntoError::Timeout => ErrorKind::Timeout,
            RecvIntoError::Closed => ErrorKind::Closed,
            RecvIntoError::BufferTooShort { .. } => ErrorKind::TooLarge,
        };
        Self::new(kind, why.to_string())
    }
}

/// The sending end of a pipe of bytes. What holds for [`Sender`](super::Sender) holds for it.
pub struct ByteSender {
    pub(super) out: Out,
}

impl fmt::Debug for ByteSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteSender").field("object", &self.out.attached().object).finish_non_exhaustive()
    }
}

impl ByteSender {
    pub(super) fn new(out: Out) -> Self {
        Self { out }
    }

    /// Sends `message`, straight from where it is; waits while the ring is full.
    ///
    /// # Errors
    /// `Closed` when the receiver closed its end. `Failed` when it died (`PeerDied`); with `TooLarge` for a message above
    /// [`ByteSender::max_message`]; with `Invalid` when this end was sent away; `Forked`. Then nothing was sent.
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        let sent = self.out.send_bytes(message, Some(Deadline::NEVER));
        sent.map_err(|why| why.send_error((), self.out.attached()))
    }

    /// Sends `message` if there is room now. Never waits.
    ///
    /// # Errors
    /// `Full`; `Failed` with `TooLarge` also for a message longer than half the ring, which needs [`ByteSender::send`];
    /// else as there.
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), TrySendError<()>> {
        let sent = self.out.send_bytes(message, None);
        sent.map_err(|why| why.try_send_error((), self.out.attached()))
    }

    /// Sends `message`; waits up to `timeout`. A long one whose end was not sent by then was not sent.
    ///
    /// # Errors
    /// `Timeout`; else as [`ByteSender::send`].
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<(), SendTimeoutError<()>> {
        self.send_until(message, Deadline::after(timeout))
    }

    /// Sends `message`; waits until `deadline`. A long one whose end was not sent by then was not sent.
    ///
    /// # Errors
    /// As [`ByteSender::send_timeout`].
    pub fn send_deadline(&mut self, message: &[u8], deadline: Instant) -> Result<(), SendTimeoutError<()>> {
        self.send_until(message, Deadline::at(deadline))
    }

    fn send_until(&mut self, message: &[u8], deadline: Deadline) -> Result<(), SendTimeoutError<()>> {
        let sent = self.out.send_bytes(message, Some(deadline));
        sent.map_err(|why| why.send_timeout_error((), self.out.attached()))
    }

    /// Sends all of `messages`, with one commit for as many short ones as fit at a time; waits while the ring is full.
    ///
    /// # Errors
    /// As [`ByteSender::send`]; the number inside says how many were sent before.
    pub fn send_many(&mut self, messages: &[&[u8]]) -> Result<(), SendError<usize>> {
        let mut sent = 0;
        while sent < messages.len() {
            let rest = &messages[sent..];
            let short = rest.iter().take_while(|message| !self.out.is_long(message.len())).count();
            let some = if short > 1 {
                self.out.send_batch(&rest[..short], Deadline::NEVER)
            } else {
                self.out.send_bytes(rest[0], Some(Deadline::NEVER)).map(|()| 1)
            };
            match some {
                Ok(more) => sent += more,
                Err(why) => return Err(why.send_error(sent, self.out.attached())),
            }
        }
        Ok(())
    }

    /// Goes on with sending what `message` holds; for those who wait in between by other means. `None`: not yet.
    #[doc(hidden)]
    pub fn advance(
        &mut self,
        message: &mut Option<Vec<u8>>,
        letter: &mut Letter,
    ) -> Option<Result<(), SendError<Vec<u8>>>> {
        let bytes = message.as_ref()?;
        let sent = if self.out.is_long(bytes.len()) {
            letter.go_on_with(&mut self.out, bytes)
        } else {
            self.out.send_bytes(bytes, None).map(|()| true)
        };
        match sent {
            Ok(false) | Err(Stopped::Lane(LaneError::WouldBlock)) => return None,
            _ => *letter = Letter::default(),
        }
        let bytes = message.take()?;
        Some(sent.map(drop).map_err(|why| why.send_error(bytes, self.out.attached())))
    }

    /// Is the receiver gone: closed, or dead? `false` also while it is on its way to another process.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.out.producer().peer_is_gone()
    }

    /// Longest message that is sent, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.out.max() as usize
    }

    /// Closes the end: the receiver gets what was sent, then `Closed`. The same as dropping it.
    pub fn close(self) {}

    /// Sends the beginning of a stream of bytes, as much as is one record; waits if it may.
    pub(crate) fn write_until(
        &mut self,
        bytes: &[u8],
        deadline: Option<Deadline>,
    ) -> Option<io::Result<usize>> {
        let count = bytes.len().min(self.out.whole()).min(self.max_message());
        if count == 0 {
            return Some(Ok(0));
        }
        match self.out.send_bytes(&bytes[..count], deadline) {
            Ok(()) => Some(Ok(count)),
            Err(Stopped::Lane(LaneError::WouldBlock)) => None,
            Err(why) => Some(Err(io_error(why.error(self.out.attached())))),
        }
    }
}

/// A stream: each `write` is a message of at most a quarter of the ring, so that it is there as soon as it was written.
///
/// `BrokenPipe` when the receiver closed its end, `ConnectionReset` when it died.
impl io::Write for ByteSender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // It waits, so it is never "not now".
        self.write_until(bytes, Some(Deadline::NEVER)).unwrap_or(Ok(0))
    }

    /// Nothing is ever kept back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The receiving end of a pipe of bytes. What holds for [`Receiver`](super::Receiver) holds for it.
///
/// After a [`read`](io::Read) that took a part of a message, the next one received is the rest of it.
pub struct ByteReceiver {
    pub(super) intake: In,
    /// Bytes of the next message that `read` has taken.
    taken: usize,
}

impl fmt::Debug for ByteReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteReceiver").field("object", &self.intake.attached().object).finish_non_exhaustive()
    }
}

impl ByteReceiver {
    pub(super) fn new(intake: In) -> Self {
        Self { intake, taken: 0 }
    }

    /// Before it is sent to another process: may the message at its head have been delivered before?
    ///
    /// # Errors
    /// `Invalid` in the middle of a message.
    pub(super) fn departing(&self) -> Result<bool> {
        if self.taken == 0 {
            return self.intake.departing();
        }
        Err(Error::new(ErrorKind::Invalid, "a part of the next message was read from this end already")
            .with_advice("receive the rest of it, then send the end"))
    }

    fn received(&mut self, deadline: Option<Deadline>) -> Result<Vec<u8>, Stopped> {
        let mut message = self.intake.recv_bytes(deadline)?;
        message.drain(..std::mem::take(&mut self.taken).min(message.len()));
        Ok(message)
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// `Closed` when the sender closed its end and everything was received. `Failed` when it died (`PeerDied`, after
    /// everything committed); with `Invalid` when this end was sent away; `Corrupted`, `Forked`.
    pub fn recv(&mut self) -> Result<Vec<u8>, RecvError> {
        self.received(Some(Deadline::NEVER)).map_err(|why| why.recv_error(self.intake.attached()))
    }

    /// The next message, if all of it is there now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`ByteReceiver::recv`].
    pub fn try_recv(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.received(None).map_err(|why| why.try_recv_error(self.intake.attached()))
    }

    /// The next message; waits up to `timeout`. What came of a long one by then is kept for the next call.
    ///
    /// # Errors
    /// `Timeout`; else as [`ByteReceiver::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>, RecvTimeoutError> {
        self.recv_until(Deadline::after(timeout))
    }

    /// The next message; waits until `deadline`. What came of a long one by then is kept for the next call.
    ///
    /// # Errors
    /// As [`ByteReceiver::recv_timeout`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        self.recv_until(Deadline::at(deadline))
    }

    fn recv_until(&mut self, deadline: Deadline) -> Result<Vec<u8>, RecvTimeoutError> {
        self.received(Some(deadline)).map_err(|why| why.recv_timeout_error(self.intake.attached()))
    }

    /// [`ByteReceiver::recv`] for a loop. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`ByteReceiver::recv`], but for `Closed`.
    #[allow(
        clippy::should_implement_trait,
        reason = "its errors stand outside, for `?` in the head of a loop"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        match self.recv() {
            Ok(message) => Ok(Some(message)),
            Err(RecvError::Closed) => Ok(None),
            Err(RecvError::Failed(error)) => Err(error),
        }
    }

    /// Messages until the sender is gone and all are received. Waits for each.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<Vec<u8>>> + '_ {
        std::iter::from_fn(|| self.next().transpose())
    }

    /// Receives the next message into the front of `into`, straight from the ring, and gives its length; waits for it.
    /// Behind it, `into` may be overwritten as well.
    ///
    /// # Errors
    /// `BufferTooShort` with the length it needs: the message stays. Else as [`ByteReceiver::recv`].
    #[inline]
    pub fn recv_into(&mut self, into: &mut [u8]) -> Result<usize, RecvIntoError> {
        self.placed(into, Some(Deadline::NEVER))
    }

    /// [`ByteReceiver::recv_into`] if all of the message is there now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`ByteReceiver::recv_into`].
    #[inline]
    pub fn try_recv_into(&mut self, into: &mut [u8]) -> Result<usize, RecvIntoError> {
        self.placed(into, None)
    }

    /// [`ByteReceiver::recv_into`] that waits up to `timeout`. What came of a long message by then is kept.
    ///
    /// # Errors
    /// `Timeout`; else as [`ByteReceiver::recv_into`].
    pub fn recv_into_timeout(&mut self, into: &mut [u8], timeout: Duration) -> Result<usize, RecvIntoError> {
        self.placed(into, Some(Deadline::after(timeout)))
    }

    /// [`ByteReceiver::recv_into`] that waits until `deadline`. What came of a long message by then is kept.
    ///
    /// # Errors
    /// As [`ByteReceiver::recv_into_timeout`].
    pub fn recv_into_deadline(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, RecvIntoError> {
        self.placed(into, Some(Deadline::at(deadline)))
    }

    #[inline(always)]
    fn placed(&mut self, into: &mut [u8], deadline: Option<Deadline>) -> Result<usize, RecvIntoError> {
        let placed = if self.taken == 0 {
            self.intake.recv_into(into, deadline)
        } else {
            self.intake.recv_rest(into, &mut self.taken, deadline)
        };
        match placed {
            Ok(Placed::Received(count)) => Ok(count),
            Ok(Placed::TooShort(needed)) => Err(RecvIntoError::BufferTooShort { needed }),
            Err(why) => Err(self.recv_into_error(why)),
        }
    }

    #[cold]
    fn recv_into_error(&self, why: Stopped) -> RecvIntoError {
        match why {
            Stopped::Lane(LaneError::WouldBlock) => RecvIntoError::Empty,
            Stopped::Lane(LaneError::TimedOut) => RecvIntoError::Timeout,
            Stopped::Lane(LaneError::Closed) => RecvIntoError::Closed,
            other => RecvIntoError::Failed(other.error(self.intake.attached())),
        }
    }

    /// Waits until a whole message is here, or the end of them: then `recv` answers at once. False: neither by `timeout`;
    /// zero only looks. Of a long message it takes the parts in while it waits.
    ///
    /// # Errors
    /// `Corrupted`, `Forked`, `Invalid` when this end was sent away.
    pub fn poll(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = (!timeout.is_zero()).then(|| Deadline::after(timeout));
        self.intake.poll(deadline).map_err(|why| why.error(self.intake.attached()))
    }

    /// Is the sender gone: closed, or dead? Messages may still be there. `false` also while it is on its way to another
    /// process.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.intake.consumer().peer_is_gone()
    }

    /// Longest message that is received, in bytes.
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

    /// Reads from the messages as from one stream; waits if it may. `None`: nothing is there now.
    pub(crate) fn read_until(
        &mut self,
        into: &mut [u8],
        deadline: Option<Deadline>,
    ) -> Option<io::Result<usize>> {
        if into.is_empty() {
            return Some(Ok(0));
        }
        match self.intake.read(into, &mut self.taken, deadline) {
            Ok(count) => Some(Ok(count)),
            Err(Stopped::Lane(LaneError::WouldBlock)) => None,
            Err(Stopped::Lane(LaneError::Closed)) => Some(Ok(0)),
            Err(why) => Some(Err(io_error(why.error(self.intake.attached())))),
        }
    }
}

/// A stream: the bytes of the messages one after the other, without their bounds.
///
/// `Ok(0)` when the sender closed its end and all is read; `ConnectionReset` when it died, after everything it sent.
impl io::Read for ByteReceiver {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // It waits, so it is never "not now".
        self.read_until(into, Some(Deadline::NEVER)).unwrap_or(Ok(0))
    }
}

fn io_error(error: Error) -> io::Error {
    if error.is_peer_dead() {
        return io::Error::new(io::ErrorKind::ConnectionReset, error);
    }
    error.into()
}
