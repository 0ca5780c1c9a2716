//! The sending end, typed.
//!
//! - I1 the end is dropped once, by `Drop`.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use ginnel_queue::lane::{self, LaneError};
use ginnel_sync::Deadline;
use zerocopy::IntoBytes as _;

use super::Attached;
use crate::arena::ObjectRef;
use crate::error::{SendError, SendTimeoutError, TrySendError};
use crate::message::Plain;
use crate::seat::Tenure;

/// The sending end of a lane of `T`, or of byte messages (`Producer<[u8]>`).
///
/// Exclusive: one process holds it at a time. Dropping it closes the lane for the consumer, after what was
/// sent. If its process is killed, the consumer is told `PeerDied` after what was committed. An end inherited
/// through a bare `fork` answers `Forked` and leaves the parent's end alone.
pub struct Producer<T: ?Sized> {
    /// Dropped by hand: before the mapping it works on, and in a forked child not at all.
    pub(super) end: ManuallyDrop<lane::Producer>,
    pub(super) attached: Attached,
    payload: PhantomData<fn(&T)>,
}

impl<T: ?Sized> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("object", &self.attached.object).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Drop for Producer<T> {
    #[allow(unsafe_code, reason = "ManuallyDrop::drop, once, here")]
    fn drop(&mut self) {
        if self.attached.leave() {
            // SAFETY: I1: called once, as the value goes away; nobody touches the end again.
            unsafe { ManuallyDrop::drop(&mut self.end) }
        }
    }
}

impl<T: ?Sized> Producer<T> {
    pub(super) fn new(end: lane::Producer, attached: Attached) -> Self {
        Self { end: ManuallyDrop::new(end), attached, payload: PhantomData }
    }

    pub(super) fn tenure_of(&self) -> &Tenure {
        self.attached.tenure()
    }

    pub(super) fn object_ref(&self) -> &ObjectRef {
        &self.attached.object
    }

    /// Makes sure that a message of `len` bytes fits; waits until `deadline` for it.
    #[inline(always)]
    fn room_for(&mut self, len: usize, deadline: Deadline) -> Result<(), LaneError> {
        self.check()?;
        match self.end.has_room(len as u64) {
            Err(LaneError::WouldBlock) => self.wait_for_room(len, deadline),
            result => result,
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_room(&mut self, len: usize, deadline: Deadline) -> Result<(), LaneError> {
        let segment = self.attached.object.arena().segment();
        loop {
            match self.end.wait_for_room(len as u64, deadline, segment) {
                Err(LaneError::Interrupted) => {}
                result => return result,
            }
        }
    }

    /// Room now, or `WouldBlock`.
    #[inline(always)]
    fn room_now(&mut self, len: usize) -> Result<(), LaneError> {
        self.check()?;
        self.end.has_room(len as u64)
    }

    /// In a forked child and after it was sent every operation fails; `explain` says so, whatever error is given here.
    #[inline(always)]
    fn check(&self) -> Result<(), LaneError> {
        if self.attached.check() { Ok(()) } else { Err(LaneError::Corrupted) }
    }

    #[cold]
    fn send_error<V>(&self, error: LaneError, value: V) -> SendError<V> {
        match error {
            LaneError::Closed => SendError::Closed(value),
            other => SendError::Failed(value, self.attached.explain(other)),
        }
    }

    #[cold]
    fn try_send_error<V>(&self, error: LaneError, value: V) -> TrySendError<V> {
        match error {
            LaneError::WouldBlock => TrySendError::Full(value),
            LaneError::Closed => TrySendError::Closed(value),
            other => TrySendError::Failed(value, self.attached.explain(other)),
        }
    }

    #[cold]
    fn send_timeout_error<V>(&self, error: LaneError, value: V) -> SendTimeoutError<V> {
        match error {
            LaneError::TimedOut => SendTimeoutError::Timeout(value),
            LaneError::Closed => SendTimeoutError::Closed(value),
            other => SendTimeoutError::Failed(value, self.attached.explain(other)),
        }
    }

    #[inline(always)]
    fn claimed(&mut self, len: usize) -> Claim<'_, T> {
        Claim { claim: self.end.claim(len as u64), payload: PhantomData }
    }

    /// Messages sent and not yet acknowledged. Walks the ring: for people, not for loops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.len() as usize
    }

    /// Is everything acknowledged?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is the consumer gone: closed, or dead? `false` also before there was one.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.end.peer_is_gone()
    }

    /// Closes the lane: the consumer gets what was sent, then `Closed`. The same as dropping it.
    pub fn close(self) {}
}

impl<T: Plain> Producer<T> {
    /// Values that fit when sent one by one.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.shape().capacity() as usize
    }

    /// Sends `value`; waits while the lane is full.
    ///
    /// # Errors
    /// `Closed` when the consumer closed its end; `Failed` when it died (`PeerDied`), or after a bare fork.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), SendError<T>> {
        match self.send_until(&value, Deadline::NEVER) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.send_error(why, value)),
        }
    }

    /// Sends `value` if there is room now. Never waits.
    ///
    /// # Errors
    /// `Full`; else as [`Producer::send`].
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<(), TrySendError<T>> {
        let sent = self.check().and_then(|()| self.end.try_send(value.as_bytes()));
        match sent {
            Ok(()) => Ok(()),
            Err(why) => Err(self.try_send_error(why, value)),
        }
    }

    /// Sends `value`; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Producer::send`].
    pub fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        match self.send_until(&value, Deadline::after(timeout)) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.send_timeout_error(why, value)),
        }
    }

    /// Sends `value`; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Producer::send`].
    pub fn send_deadline(&mut self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        match self.send_until(&value, Deadline::at(deadline)) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.send_timeout_error(why, value)),
        }
    }

    #[inline(always)]
    fn send_until(&mut self, value: &T, deadline: Deadline) -> Result<(), LaneError> {
        self.check()?;
        match self.end.try_send(value.as_bytes()) {
            Err(LaneError::WouldBlock) => {
                self.wait_for_room(size_of::<T>(), deadline)?;
                self.end.try_send(value.as_bytes())
            }
            result => result,
        }
    }

    /// Sends all of `values`, with one commit for as many as fit at a time; waits while the lane is full.
    ///
    /// # Errors
    /// As [`Producer::send`]; the number inside says how many were sent before.
    #[inline]
    pub fn send_many(&mut self, values: &[T]) -> Result<(), SendError<usize>> {
        let mut sent = 0;
        while sent < values.len() {
            match self.send_some(&values[sent..], Deadline::NEVER) {
                Ok(more) => sent += more,
                Err(why) => return Err(self.send_error(why, sent)),
            }
        }
        Ok(())
    }

    /// Sends as many of `values` as fit now, with one commit, and gives how many. Never waits.
    ///
    /// # Errors
    /// `Full` when not even one fits; else as [`Producer::send`].
    #[inline]
    pub fn try_send_many(&mut self, values: &[T]) -> Result<usize, TrySendError<()>> {
        if values.is_empty() {
            return Ok(0);
        }
        let sent = self.check().and_then(|()| self.end.try_send_values(values.as_bytes()));
        sent.map_err(|why| self.try_send_error(why, ()))
    }

    #[inline(always)]
    fn send_some(&mut self, values: &[T], deadline: Deadline) -> Result<usize, LaneError> {
        self.check()?;
        match self.end.try_send_values(values.as_bytes()) {
            Err(LaneError::WouldBlock) => {
                self.wait_for_room(size_of::<T>(), deadline)?;
                self.end.try_send_values(values.as_bytes())
            }
            result => result,
        }
    }

    /// Room for one value, to be written in place; waits while the lane is full.
    ///
    /// # Errors
    /// As [`Producer::send`].
    #[inline]
    pub fn claim(&mut self) -> Result<Claim<'_, T>, SendError<()>> {
        self.room_for(size_of::<T>(), Deadline::NEVER).map_err(|why| self.send_error(why, ()))?;
        Ok(self.claimed(size_of::<T>()))
    }

    /// Room for one value if there is some now. Never waits.
    ///
    /// # Errors
    /// `Full`; else as [`Producer::send`].
    #[inline]
    pub fn try_claim(&mut self) -> Result<Claim<'_, T>, TrySendError<()>> {
        self.room_now(size_of::<T>()).map_err(|why| self.try_send_error(why, ()))?;
        Ok(self.claimed(size_of::<T>()))
    }

    /// Room for one value; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Producer::send`].
    pub fn claim_timeout(&mut self, timeout: Duration) -> Result<Claim<'_, T>, SendTimeoutError<()>> {
        self.claim_until(Deadline::after(timeout))
    }

    /// Room for one value; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Producer::send`].
    pub fn claim_deadline(&mut self, deadline: Instant) -> Result<Claim<'_, T>, SendTimeoutError<()>> {
        self.claim_until(Deadline::at(deadline))
    }

    fn claim_until(&mut self, deadline: Deadline) -> Result<Claim<'_, T>, SendTimeoutError<()>> {
        self.room_for(size_of::<T>(), deadline).map_err(|why| self.send_timeout_error(why, ()))?;
        Ok(self.claimed(size_of::<T>()))
    }
}

impl Producer<[u8]> {
    /// Longest message that can ever be sent, in bytes.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.end.shape().len_max() as usize
    }

    /// Sends `message`; waits while the lane is full.
    ///
    /// # Errors
    /// `Closed` when the consumer closed its end; `Failed` when it died (`PeerDied`), when the message can
    /// never fit (`TooLarge`), or after a bare fork.
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        self.send_until(message, Deadline::NEVER).map_err(|why| self.send_error(why, ()))
    }

    /// Sends `message` if there is room now. Never waits.
    ///
    /// # Errors
    /// `Full`; else as [`Producer::send`].
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), TrySendError<()>> {
        let sent = self.check().and_then(|()| self.end.try_send(message));
        sent.map_err(|why| self.try_send_error(why, ()))
    }

    /// Sends `message`; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Producer::send`].
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<(), SendTimeoutError<()>> {
        self.send_until(message, Deadline::after(timeout)).map_err(|why| self.send_timeout_error(why, ()))
    }

    /// Sends `message`; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Producer::send`].
    pub fn send_deadline(&mut self, message: &[u8], deadline: Instant) -> Result<(), SendTimeoutError<()>> {
        self.send_until(message, Deadline::at(deadline)).map_err(|why| self.send_timeout_error(why, ()))
    }

    #[inline(always)]
    fn send_until(&mut self, message: &[u8], deadline: Deadline) -> Result<(), LaneError> {
        self.check()?;
        match self.end.try_send(message) {
            Err(LaneError::WouldBlock) => {
                self.wait_for_room(message.len(), deadline)?;
                self.end.try_send(message)
            }
            result => result,
        }
    }

    /// Sends all of `messages`, with one commit for as many as fit at a time; waits while the lane is full.
    ///
    /// # Errors
    /// As [`Producer::send`]; the number inside says how many were sent before.
    pub fn send_many(&mut self, messages: &[&[u8]]) -> Result<(), SendError<usize>> {
        let mut sent = 0;
        while sent < messages.len() {
            let some = self
                .room_for(messages[sent].len(), Deadline::NEVER)
                .and_then(|()| self.end.try_send_batch(&messages[sent..]));
            match some {
                Ok(more) => sent += more,
                Err(why) => return Err(self.send_error(why, sent)),
            }
        }
        Ok(())
    }

    /// Sends as many of `messages` as fit now, with one commit, and gives how many. Never waits.
    ///
    /// # Errors
    /// `Full` when not even the first fits; else as [`Producer::send`].
    pub fn try_send_many(&mut self, messages: &[&[u8]]) -> Result<usize, TrySendError<()>> {
        let sent = self.check().and_then(|()| self.end.try_send_batch(messages));
        sent.map_err(|why| self.try_send_error(why, ()))
    }

    /// Room for a message of `len` bytes, to be written in place; waits while the lane is full. The room
    /// holds old bytes.
    ///
    /// # Errors
    /// As [`Producer::send`].
    #[inline]
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_, [u8]>, SendError<()>> {
        self.room_for(len, Deadline::NEVER).map_err(|why| self.send_error(why, ()))?;
        Ok(self.claimed(len))
    }

    /// Room for a message of `len` bytes if there is some now. Never waits.
    ///
    /// # Errors
    /// `Full`; else as [`Producer::send`].
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Result<Claim<'_, [u8]>, TrySendError<()>> {
        self.room_now(len).map_err(|why| self.try_send_error(why, ()))?;
        Ok(self.claimed(len))
    }

    /// Room for a message of `len` bytes; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Producer::send`].
    pub fn claim_timeout(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<Claim<'_, [u8]>, SendTimeoutError<()>> {
        self.claim_until(len, Deadline::after(timeout))
    }

    /// Room for a message of `len` bytes; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Producer::send`].
    pub fn claim_deadline(
        &mut self,
        len: usize,
        deadline: Instant,
    ) -> Result<Claim<'_, [u8]>, SendTimeoutError<()>> {
        self.claim_until(len, Deadline::at(deadline))
    }

    fn claim_until(
        &mut self,
        len: usize,
        deadline: Deadline,
    ) -> Result<Claim<'_, [u8]>, SendTimeoutError<()>> {
        self.room_for(len, deadline).map_err(|why| self.send_timeout_error(why, ()))?;
        Ok(self.claimed(len))
    }
}

/// Room in the lane, to be written in place. [`Claim::commit`] sends it; dropping it sends nothing.
pub struct Claim<'a, T: ?Sized> {
    claim: lane::Claim<'a>,
    payload: PhantomData<&'a mut T>,
}

impl<T: ?Sized> fmt::Debug for Claim<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.claim.fmt(f)
    }
}

impl<T: Plain + ?Sized> Claim<'_, T> {
    /// Sends what was written. One release store: a kill before it sends nothing, after it everything.
    #[inline]
    pub fn commit(self) {
        let len = self.claim.bytes().len() as u64;
        self.claim.commit(len);
    }
}

impl Claim<'_, [u8]> {
    /// Sends the first `len` bytes only (all, where `len` is more than was claimed).
    #[inline]
    pub fn commit_len(self, len: usize) {
        self.claim.commit(len as u64);
    }
}

impl<T: Plain + ?Sized> Deref for Claim<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // The lane was made for values of this size and alignment, so this cannot fail.
        T::ref_from_bytes(self.claim.bytes())
            .unwrap_or_else(|_| unreachable!("a claim has the size of its type"))
    }
}

impl<T: Plain + ?Sized> DerefMut for Claim<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        T::mut_from_bytes(self.claim.bytes_mut())
            .unwrap_or_else(|_| unreachable!("a claim has the size of its type"))
    }
}
