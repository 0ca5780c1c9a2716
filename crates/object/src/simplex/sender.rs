//! The sending end, typed.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use ginnel_sync::Deadline;

use super::Stopped;
use super::out::{Out, Progress};
use crate::carry::Outgoing;
use crate::envelope;
use crate::error::{Result, SendError, SendTimeoutError, TrySendError};
use crate::message::Message;

/// Short messages that are encoded one behind the other and sent with one commit.
const BATCH: usize = 64;

/// The sending end of a simplex, or of one direction of a pipe.
///
/// Exclusive: one process holds it at a time, `Send` but not `Sync`. Dropping it closes it: the receiver gets what was
/// sent, then `Closed`. If its process is killed, what was committed arrives, then `PeerDied`; a message that was under
/// way in parts was not sent. Serialized in a message, or given to a process, it moves there. An end inherited through a
/// bare `fork` answers `Forked` and leaves the parent's end alone.
pub struct Sender<T> {
    pub(super) out: Out,
    payload: PhantomData<fn(T) -> T>,
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("object", &self.out.attached().object).finish_non_exhaustive()
    }
}

impl<T> Sender<T> {
    pub(super) fn new(out: Out) -> Self {
        Self { out, payload: PhantomData }
    }

    /// Is the receiver gone: closed, or dead? `false` also while it is on its way to another process.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.out.producer().peer_is_gone()
    }

    /// Messages sent and not yet received; each part of a long one counts. Walks the ring: for people, not for loops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.producer().len() as usize
    }

    /// Is everything received?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Longest message that is sent, encoded, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.out.max() as usize
    }

    /// Closes the end: the receiver gets what was sent, then `Closed`. The same as dropping it.
    pub fn close(self) {}
}

impl<T: Message> Sender<T> {
    /// Sends `value`; waits while the ring is full.
    ///
    /// # Errors
    /// `Closed` when the receiver closed its end. `Failed` when it died (`PeerDied`); with `TooLarge` for a message above
    /// [`Sender::max_message`]; with `Encode` when it cannot be encoded; with `Invalid` when this end was sent away; after
    /// a bare fork with `Forked`. Then nothing was sent.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), SendError<T>> {
        match self.out.send(&value, Some(Deadline::NEVER)) {
            Ok(()) => Ok(()),
            Err(why) => Err(why.send_error(value, self.out.attached())),
        }
    }

    /// Sends `value` if there is room now. Never waits.
    ///
    /// # Errors
    /// `Full`; `Failed` with `TooLarge` also for a message longer than half the ring, which needs [`Sender::send`]; else
    /// as there.
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<(), TrySendError<T>> {
        match self.out.send(&value, None) {
            Ok(()) => Ok(()),
            Err(why) => Err(why.try_send_error(value, self.out.attached())),
        }
    }

    /// Sends `value`; waits up to `timeout`. A long message whose end was not sent by then was not sent.
    ///
    /// # Errors
    /// `Timeout`; else as [`Sender::send`].
    pub fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Deadline::after(timeout))
    }

    /// Sends `value`; waits until `deadline`. A long message whose end was not sent by then was not sent.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    pub fn send_deadline(&mut self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Deadline::at(deadline))
    }

    fn send_until(&mut self, value: T, deadline: Deadline) -> Result<(), SendTimeoutError<T>> {
        match self.out.send(&value, Some(deadline)) {
            Ok(()) => Ok(()),
            Err(why) => Err(why.send_timeout_error(value, self.out.attached())),
        }
    }

    /// Sends the values of `values`, from the front, and takes them out; waits while the ring is full. Short ones without
    /// handles share a commit.
    ///
    /// # Errors
    /// As [`Sender::send`]; what was not sent is still in `values`.
    pub fn send_many(&mut self, values: &mut Vec<T>) -> Result<()> {
        let mut sent = 0;
        let mut stopped = Ok(());
        while sent < values.len() && stopped.is_ok() {
            let batch = self.send_batch(&values[sent..]);
            sent += batch.as_ref().map_or(0, |count| *count);
            stopped = batch.map(drop);
        }
        values.drain(..sent);
        stopped.map_err(|why| why.error(self.out.attached()))
    }

    /// Sends at least one of `values`.
    fn send_batch(&mut self, values: &[T]) -> Result<usize, Stopped> {
        let Self { out, .. } = self;
        let mut bodies = Vec::new();
        let mut ends = Vec::with_capacity(BATCH);
        for value in values.iter().take(BATCH) {
            // What carries goes alone.
            let short = out.encode(value, |out, body, parcels| {
                let short = parcels.is_none() && !out.is_long(bodies.len() + body.len());
                if short {
                    bodies.extend_from_slice(body);
                    ends.push(bodies.len());
                }
                short
            });
            // What cannot be encoded stops the batch before it, and is told of when its turn comes.
            if !short.unwrap_or(false) {
                break;
            }
        }
        if ends.len() < 2 {
            return out.send(&values[0], Some(Deadline::NEVER)).map(|()| 1);
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let slices: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &bodies[start..*end]).collect();
        out.send_batch(&slices, Deadline::NEVER)
    }

    /// Goes on with sending what `value` holds; for those who wait in between by other means. `None`: not yet. A message
    /// that goes in parts is kept in `letter` meanwhile.
    #[doc(hidden)]
    pub fn advance(
        &mut self,
        value: &mut Option<T>,
        letter: &mut Letter,
    ) -> Option<Result<(), SendError<T>>> {
        let stopped = match self.advanced(value.as_ref()?, letter) {
            Ok(true) => {
                *value = None;
                return Some(Ok(()));
            }
            Ok(false) => return None,
            Err(why) => why,
        };
        *letter = Letter::default();
        value.take().map(|value| Err(stopped.send_error(value, self.out.attached())))
    }

    fn advanced(&mut self, value: &T, letter: &mut Letter) -> Result<bool, Stopped> {
        use ginnel_queue::lane::LaneError::WouldBlock;
        if letter.0.is_none() {
            letter.0 = self.out.encode(value, |out, body, parcels| {
                let table = parcels.as_ref().map_or(Vec::new(), envelope::tail_of);
                if !out.is_long(body.len() + table.len()) {
                    return Ok(None);
                }
                out.check_long(body.len(), table.len())?;
                let rest = Rest { body: body.to_vec(), table, parcels, progress: Progress::default() };
                Ok::<_, Stopped>(Some(Box::new(rest)))
            })??;
        }
        let Some(rest) = &mut letter.0 else {
            return match self.out.send(value, None) {
                Err(Stopped::Lane(WouldBlock)) => Ok(false),
                sent => sent.map(|()| true),
            };
        };
        let all = self.out.send_parts(&rest.body, &rest.table, &mut rest.parcels, &mut rest.progress)?;
        if all {
            *letter = Letter::default();
        }
        Ok(all)
    }
}

/// A long message between two attempts to send what is left of it. Dropped before its end, it was not sent.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Letter(Option<Box<Rest>>);

impl Letter {
    /// Sends what is left of `message`, which is long, and lies with whoever calls. True: that was all.
    pub(super) fn go_on_with(&mut self, out: &mut Out, message: &[u8]) -> Result<bool, Stopped> {
        if self.0.is_none() {
            out.check_long(message.len(), 0)?;
        }
        let rest = self.0.get_or_insert_default();
        out.send_parts(message, &[], &mut None, &mut rest.progress)
    }
}

#[derive(Debug, Default)]
struct Rest {
    body: Vec<u8>,
    table: Vec<u8>,
    parcels: Option<Outgoing>,
    progress: Progress,
}
