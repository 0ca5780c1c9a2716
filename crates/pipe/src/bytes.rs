//! A pipe of bytes as they are: nothing is encoded, and nothing is copied but from the sender's memory into the ring and
//! from there into the receiver's.

use std::io;
use std::time::{Duration, Instant};

use ginnel_object::Result;
use ginnel_object::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use ginnel_object::ready::{Source, sealed};
use ginnel_object::simplex::Options;
use serde::{Deserialize, Serialize};

pub use ginnel_object::simplex::bytes::{ByteReceiver, ByteSender, RecvIntoError};

/// One end of a pipe of bytes. Messages keep their bounds; read and written as a stream, they lose them.
///
/// What [`Pipe`](crate::Pipe) says of ends, closing and deaths holds here.
///
/// ```
/// use std::io::{Read, Write};
///
/// use ginnel_pipe::{RecvIntoError, bytes};
///
/// let (mut ours, mut theirs) = bytes()?;
/// ours.send(b"a message")?;
/// let mut short = [0; 4];
/// let refused = theirs.recv_into(&mut short);
/// assert!(matches!(refused, Err(RecvIntoError::BufferTooShort { needed: 9 })));
/// assert_eq!(theirs.recv()?, b"a message"); // it had stayed
///
/// ours.write_all(b"a stream").expect("the peer is there");
/// ours.close();
/// let mut text = String::new();
/// theirs.read_to_string(&mut text).expect("it is text");
/// assert_eq!(text, "a stream");
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct BytePipe {
    pub(crate) tx: ByteSender,
    pub(crate) rx: ByteReceiver,
}

/// A pipe of bytes, both ends in this process; give one away.
///
/// # Errors
/// `Full` when the manager has no room; `Os`.
pub fn bytes() -> Result<(BytePipe, BytePipe)> {
    BytePipe::pair()
}

impl BytePipe {
    /// Both ends of a pipe of bytes.
    ///
    /// # Errors
    /// As [`bytes`].
    pub fn pair() -> Result<(Self, Self)> {
        Self::pair_with(&Options::new())
    }

    /// The same; `options` are those of each direction.
    ///
    /// # Errors
    /// As [`Options::channel`].
    pub fn pair_with(options: &Options) -> Result<(Self, Self)> {
        let (there, from_here) = options.bytes()?;
        let (back, from_there) = options.bytes()?;
        Ok((Self::join(there, from_there), Self::join(back, from_here)))
    }

    /// One end of two directions.
    #[must_use]
    pub fn join(tx: ByteSender, rx: ByteReceiver) -> Self {
        Self { tx, rx }
    }

    /// The two directions, each an end of its own: for two threads, or two processes.
    #[must_use]
    pub fn split(self) -> (ByteSender, ByteReceiver) {
        (self.tx, self.rx)
    }

    /// Sends `message`, straight from where it is; waits while the ring is full.
    ///
    /// # Errors
    /// As [`ByteSender::send`].
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        self.tx.send(message)
    }

    /// Sends `message` if there is room now. Never waits.
    ///
    /// # Errors
    /// As [`ByteSender::try_send`].
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), TrySendError<()>> {
        self.tx.try_send(message)
    }

    /// Sends `message`; waits up to `timeout`. A long one whose end was not sent by then was not sent.
    ///
    /// # Errors
    /// As [`ByteSender::send_timeout`].
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<(), SendTimeoutError<()>> {
        self.tx.send_timeout(message, timeout)
    }

    /// Sends `message`; waits until `deadline`. A long one whose end was not sent by then was not sent.
    ///
    /// # Errors
    /// As [`ByteSender::send_timeout`].
    pub fn send_deadline(&mut self, message: &[u8], deadline: Instant) -> Result<(), SendTimeoutError<()>> {
        self.tx.send_deadline(message, deadline)
    }

    /// Sends all of `messages`, with one commit for as many short ones as fit at a time; waits while the ring is full.
    ///
    /// # Errors
    /// As [`ByteSender::send_many`].
    pub fn send_many(&mut self, messages: &[&[u8]]) -> Result<(), SendError<usize>> {
        self.tx.send_many(messages)
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// As [`ByteReceiver::recv`].
    pub fn recv(&mut self) -> Result<Vec<u8>, RecvError> {
        self.rx.recv()
    }

    /// The next message, if all of it is there now. Never waits.
    ///
    /// # Errors
    /// As [`ByteReceiver::try_recv`].
    pub fn try_recv(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.rx.try_recv()
    }

    /// The next message; waits up to `timeout`. What came of a long one by then is kept for the next call.
    ///
    /// # Errors
    /// As [`ByteReceiver::recv_timeout`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>, RecvTimeoutError> {
        self.rx.recv_timeout(timeout)
    }

    /// The next message; waits until `deadline`. What came of a long one by then is kept for the next call.
    ///
    /// # Errors
    /// As [`ByteReceiver::recv_timeout`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        self.rx.recv_deadline(deadline)
    }

    /// Receives the next message into the front of `into`, straight from the ring, and gives its length; waits for it.
    /// Behind it, `into` may be overwritten as well.
    ///
    /// # Errors
    /// `BufferTooShort` with the length it needs: the message stays. Else as [`BytePipe::recv`].
    #[inline]
    pub fn recv_into(&mut self, into: &mut [u8]) -> Result<usize, RecvIntoError> {
        self.rx.recv_into(into)
    }

    /// [`BytePipe::recv_into`] if all of the message is there now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`BytePipe::recv_into`].
    #[inline]
    pub fn try_recv_into(&mut self, into: &mut [u8]) -> Result<usize, RecvIntoError> {
        self.rx.try_recv_into(into)
    }

    /// [`BytePipe::recv_into`] that waits up to `timeout`. What came of a long message by then is kept.
    ///
    /// # Errors
    /// `Timeout`; else as [`BytePipe::recv_into`].
    pub fn recv_into_timeout(&mut self, into: &mut [u8], timeout: Duration) -> Result<usize, RecvIntoError> {
        self.rx.recv_into_timeout(into, timeout)
    }

    /// [`BytePipe::recv_into`] that waits until `deadline`. What came of a long message by then is kept.
    ///
    /// # Errors
    /// As [`BytePipe::recv_into_timeout`].
    pub fn recv_into_deadline(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, RecvIntoError> {
        self.rx.recv_into_deadline(into, deadline)
    }

    /// [`BytePipe::recv`] for a loop. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`BytePipe::recv`], but for `Closed`.
    #[allow(
        clippy::should_implement_trait,
        reason = "its errors stand outside, for `?` in the head of a loop"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        self.rx.next()
    }

    /// Messages until the peer is gone and all are received. Waits for each.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<Vec<u8>>> + '_ {
        self.rx.iter()
    }

    /// Waits until a whole message is here, or the end of them: then `recv` answers at once. False: neither by `timeout`;
    /// zero only looks. Of a long message it takes the parts in while it waits.
    ///
    /// # Errors
    /// `Corrupted`, `Forked`, `Invalid` when this end was sent away.
    pub fn poll(&mut self, timeout: Duration) -> Result<bool> {
        self.rx.poll(timeout)
    }

    /// Has the peer stopped to send: closed, or dead? Messages may still be there. `false` also while the other end is on
    /// its way to another process.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.rx.is_closed()
    }

    /// Longest message that is sent, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.tx.max_message()
    }

    /// Closes both directions: the peer receives what was sent, then `Closed`. The same as dropping it.
    pub fn close(self) {}
}

/// A stream; see [`ByteReceiver`].
impl io::Read for BytePipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.rx.read(into)
    }
}

/// A stream; see [`ByteSender`].
impl io::Write for BytePipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tx.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tx.flush()
    }
}

/// Something to receive.
impl sealed::Ready for BytePipe {
    fn source(&self) -> Result<Source<'_>> {
        self.rx.source()
    }
}

impl sealed::Room for BytePipe {
    fn room(&self) -> Result<Source<'_>> {
        self.tx.room()
    }
}
