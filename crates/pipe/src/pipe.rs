//! A pipe: one simplex in each direction, held together.

use std::time::{Duration, Instant};

use ginnel_object::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use ginnel_object::ready::{Source, sealed};
use ginnel_object::simplex::{self, Options};
use ginnel_object::{Message, Result};
use serde::{Deserialize, Serialize};

pub use ginnel_object::simplex::{Receiver, Sender};

/// One end of a pipe between two processes: sends `S`, receives `R`.
///
/// Exclusive: one process holds it at a time, `&mut self`, `Send` but not `Sync`; for two threads, [`split`](Pipe::split)
/// it. An end that is serialized in a message, or given to a process, moves there. Messages of any length up to
/// [`Options::max_message`], with handles in them if need be, arrive in the order in which they were sent.
///
/// Dropping an end closes it: the peer receives what was sent, then `Closed`. If its process is killed, the peer receives
/// what was committed, then `PeerDied`; a message that was half sent never arrives. An end inherited through a bare `fork`
/// answers `Forked` and leaves the parent's end alone.
///
/// Each direction waits for room when its ring is full. Two ends that both send more than that before either receives
/// wait for each other for ever, as with any pipe.
///
/// ```
/// use ginnel_pipe::pipe;
///
/// let (mut ours, mut theirs) = pipe::<String>()?;
/// ours.send("question".to_owned())?;
/// assert_eq!(theirs.recv()?, "question");
/// theirs.send("answer".to_owned())?;
/// assert_eq!(ours.recv()?, "answer");
/// drop(theirs);
/// assert_eq!(ours.next()?, None);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "S: Message, R: Message")]
pub struct Pipe<S, R = S> {
    pub(crate) tx: Sender<S>,
    pub(crate) rx: Receiver<R>,
}

/// A pipe whose ends send and receive the same type, both in this process; give one away.
///
/// # Errors
/// `Full` when the manager has no room; `Os`.
pub fn pipe<T: Message>() -> Result<(Pipe<T>, Pipe<T>)> {
    Pipe::pair()
}

/// A pipe of one direction.
///
/// ```
/// let (mut tx, mut rx) = ginnel_pipe::simplex::<u32>()?;
/// tx.send(7)?;
/// assert_eq!(rx.recv()?, 7);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
///
/// # Errors
/// As [`pipe`].
pub fn simplex<T: Message>() -> Result<(Sender<T>, Receiver<T>)> {
    simplex::channel()
}

impl<S: Message, R: Message> Pipe<S, R> {
    /// Both ends of a pipe that carries `S` one way and `R` the other.
    ///
    /// # Errors
    /// As [`pipe`].
    pub fn pair() -> Result<(Self, Pipe<R, S>)> {
        Self::pair_with(&Options::new())
    }

    /// The same; `options` are those of each direction.
    ///
    /// # Errors
    /// As [`Options::channel`].
    pub fn pair_with(options: &Options) -> Result<(Self, Pipe<R, S>)> {
        let (there, from_here) = options.channel()?;
        let (back, from_there) = options.channel()?;
        Ok((Self::join(there, from_there), Pipe::join(back, from_here)))
    }

    /// Sends `value`; waits while the ring is full.
    ///
    /// # Errors
    /// `Closed` when the peer closed its end. `Failed` when it died (`PeerDied`); with `TooLarge` for a message above the
    /// longest; with `Encode` when it cannot be encoded; with `Invalid` when this end was sent away; `Forked`. Then
    /// nothing was sent.
    #[inline]
    pub fn send(&mut self, value: S) -> Result<(), SendError<S>> {
        self.tx.send(value)
    }

    /// Sends `value` if there is room now. Never waits.
    ///
    /// # Errors
    /// `Full`; `Failed` with `TooLarge` also for a message longer than half the ring, which needs [`Pipe::send`]; else as
    /// there.
    #[inline]
    pub fn try_send(&mut self, value: S) -> Result<(), TrySendError<S>> {
        self.tx.try_send(value)
    }

    /// Sends `value`; waits up to `timeout`. A long message whose end was not sent by then was not sent.
    ///
    /// # Errors
    /// `Timeout`; else as [`Pipe::send`].
    pub fn send_timeout(&mut self, value: S, timeout: Duration) -> Result<(), SendTimeoutError<S>> {
        self.tx.send_timeout(value, timeout)
    }

    /// Sends `value`; waits until `deadline`. A long message whose end was not sent by then was not sent.
    ///
    /// # Errors
    /// As [`Pipe::send_timeout`].
    pub fn send_deadline(&mut self, value: S, deadline: Instant) -> Result<(), SendTimeoutError<S>> {
        self.tx.send_deadline(value, deadline)
    }

    /// Sends the values of `values`, from the front, and takes them out; waits while the ring is full. Short ones without
    /// handles share a commit.
    ///
    /// # Errors
    /// As [`Pipe::send`]; what was not sent is still in `values`.
    pub fn send_many(&mut self, values: &mut Vec<S>) -> Result<()> {
        self.tx.send_many(values)
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// `Closed` when the peer closed its end and everything was received. `Failed` when it died (`PeerDied`, after
    /// everything committed); with `Decode` for a message of another type (it is used up); with `Invalid` when this end
    /// was sent away; `Corrupted`, `Forked`.
    #[inline]
    pub fn recv(&mut self) -> Result<R, RecvError> {
        self.rx.recv()
    }

    /// The next message, if all of it is there now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`Pipe::recv`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<R, TryRecvError> {
        self.rx.try_recv()
    }

    /// The next message; waits up to `timeout`. What came of a long one by then is kept for the next call.
    ///
    /// # Errors
    /// `Timeout`; else as [`Pipe::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<R, RecvTimeoutError> {
        self.rx.recv_timeout(timeout)
    }

    /// The next message; waits until `deadline`. What came of a long one by then is kept for the next call.
    ///
    /// # Errors
    /// As [`Pipe::recv_timeout`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<R, RecvTimeoutError> {
        self.rx.recv_deadline(deadline)
    }

    /// [`Pipe::recv`] for a loop: `while let Some(job) = pipe.next()? { .. }`. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Pipe::recv`], but for `Closed`.
    #[inline]
    #[allow(
        clippy::should_implement_trait,
        reason = "its errors stand outside, for `?` in the head of a loop"
    )]
    pub fn next(&mut self) -> Result<Option<R>> {
        self.rx.next()
    }

    /// Messages until the peer is gone and all are received. Waits for each.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<R>> + '_ {
        self.rx.iter()
    }

    /// Receives at least one message, for which it waits, and at most `limit` that are there. Gives how many; `0` only for
    /// a limit of 0.
    ///
    /// # Errors
    /// As [`Pipe::recv`]. An error behind a message is left for the next call, if it lasts.
    pub fn recv_many(&mut self, into: &mut Vec<R>, limit: usize) -> Result<usize> {
        self.rx.recv_many(into, limit)
    }
}

impl<S, R> Pipe<S, R> {
    /// One end of two directions. Of several pipes, one may so send through one and receive through another.
    #[must_use]
    pub fn join(tx: Sender<S>, rx: Receiver<R>) -> Self {
        Self { tx, rx }
    }

    /// The two directions, each an end of its own: for two threads, or two processes.
    #[must_use]
    pub fn split(self) -> (Sender<S>, Receiver<R>) {
        (self.tx, self.rx)
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

    /// Longest message that is sent, encoded, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.tx.max_message()
    }

    /// Closes both directions: the peer receives what was sent, then `Closed`. The same as dropping it.
    pub fn close(self) {}
}

/// Something to receive.
impl<S, R> sealed::Ready for Pipe<S, R> {
    fn source(&self) -> Result<Source<'_>> {
        self.rx.source()
    }
}

impl<S, R> sealed::Room for Pipe<S, R> {
    fn room(&self) -> Result<Source<'_>> {
        self.tx.room()
    }
}
