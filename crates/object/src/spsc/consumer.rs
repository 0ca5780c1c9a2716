//! The receiving end, typed.
//!
//! - I1 the end is dropped once, by `Drop`.
//! - I2 any bytes are a value of a [`Plain`] type, so copying bytes into reserved room initialises it.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::time::{Duration, Instant};

use ginnel_queue::lane::{self, LaneError};
use ginnel_sync::Deadline;

use super::Attached;
use crate::arena::ObjectRef;
use crate::error::{RecvError, RecvTimeoutError, Result, TryRecvError};
use crate::message::Plain;
use crate::seat::Tenure;

/// The receiving end of a lane of `T`, or of byte messages (`Consumer<[u8]>`).
///
/// Exclusive: one process holds it at a time. A message is acknowledged when `recv` has copied it, or when its
/// [`Loan`] is dropped; if the process is killed before that, its successor gets the message again, flagged.
/// Dropping the end closes it: sending fails from then on, and what was not received stays for a successor.
/// An end inherited through a bare `fork` answers `Forked` and leaves the parent's end alone.
pub struct Consumer<T: ?Sized> {
    /// Dropped by hand: before the mapping it works on, and in a forked child not at all.
    pub(super) end: ManuallyDrop<lane::Consumer>,
    pub(super) attached: Attached,
    redelivered: bool,
    payload: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("object", &self.attached.object).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Drop for Consumer<T> {
    #[allow(unsafe_code, reason = "ManuallyDrop::drop, once, here")]
    fn drop(&mut self) {
        if self.attached.leave() {
            // SAFETY: I1: called once, as the value goes away; nobody touches the end again.
            unsafe { ManuallyDrop::drop(&mut self.end) }
        }
    }
}

impl<T: ?Sized> Consumer<T> {
    pub(super) fn new(end: lane::Consumer, attached: Attached) -> Self {
        Self { end: ManuallyDrop::new(end), attached, redelivered: false, payload: PhantomData }
    }

    pub(super) fn tenure_of(&self) -> &Tenure {
        self.attached.tenure()
    }

    pub(super) fn object_ref(&self) -> &ObjectRef {
        &self.attached.object
    }

    /// Makes sure that a message is there; waits until `deadline` for it.
    #[inline(always)]
    fn message_until(&mut self, deadline: Deadline) -> Result<(), LaneError> {
        match self.message_now() {
            Err(LaneError::WouldBlock) => self.wait_for_message(deadline),
            result => result,
        }
    }

    #[inline(never)]
    fn wait_for_message(&mut self, deadline: Deadline) -> Result<(), LaneError> {
        let segment = self.attached.object.arena().segment();
        loop {
            match self.end.wait_for_message(deadline, segment) {
                Err(LaneError::Interrupted) => {}
                result => return result,
            }
        }
    }

    /// A message now, or `WouldBlock`.
    #[inline(always)]
    fn message_now(&mut self) -> Result<(), LaneError> {
        // In a forked child and after it was sent every operation fails; `explain` says so, whatever error is given here.
        if !self.attached.check() {
            return Err(LaneError::Corrupted);
        }
        self.end.peek().map(|_| ())
    }

    #[inline(always)]
    fn lent(&mut self, limit: usize) -> Loan<'_, T> {
        let loan = self.end.loan(limit);
        self.redelivered = loan.redelivered();
        Loan { loan, payload: PhantomData }
    }

    /// Messages that could be received now. Walks the ring: for people, not for loops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.len() as usize
    }

    /// Is there nothing to receive now?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is the producer gone: closed, or dead? `false` also before there was one. Messages may still be there.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.end.peer_is_gone()
    }

    /// May the message received last have been delivered before, to a consumer that died?
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Closes the end: sending fails from now on. The same as dropping it.
    pub fn close(self) {}
}

impl<T: Plain + ?Sized> Consumer<T> {
    /// The next message where it lies; waits for it. Dropping the loan acknowledges it.
    ///
    /// # Errors
    /// `Closed` when the producer closed its end and everything was received; `Failed` when it died
    /// (`PeerDied`, after everything committed), or after a bare fork.
    #[inline]
    pub fn loan(&mut self) -> Result<Loan<'_, T>, RecvError> {
        self.message_until(Deadline::NEVER).map_err(|why| self.attached.recv_error(why))?;
        Ok(self.lent(1))
    }

    /// The next message where it lies, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`Consumer::loan`].
    #[inline]
    pub fn try_loan(&mut self) -> Result<Loan<'_, T>, TryRecvError> {
        self.message_now().map_err(|why| self.attached.try_recv_error(why))?;
        Ok(self.lent(1))
    }

    /// The next message where it lies; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Consumer::loan`].
    #[inline]
    pub fn loan_timeout(&mut self, timeout: Duration) -> Result<Loan<'_, T>, RecvTimeoutError> {
        self.loan_until(Deadline::after(timeout))
    }

    /// The next message where it lies; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Consumer::loan`].
    #[inline]
    pub fn loan_deadline(&mut self, deadline: Instant) -> Result<Loan<'_, T>, RecvTimeoutError> {
        self.loan_until(Deadline::at(deadline))
    }

    fn loan_until(&mut self, deadline: Deadline) -> Result<Loan<'_, T>, RecvTimeoutError> {
        self.message_until(deadline).map_err(|why| self.attached.recv_timeout_error(why))?;
        Ok(self.lent(1))
    }

    /// [`Consumer::loan`] for a loop: `while let Some(order) = orders.next()? { .. }`. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Consumer::loan`], but for `Closed`.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "an Iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Option<Loan<'_, T>>> {
        match self.message_until(Deadline::NEVER) {
            Ok(()) => Ok(Some(self.lent(1))),
            Err(LaneError::Closed) => Ok(None),
            Err(why) => Err(self.attached.explain(why)),
        }
    }
}

impl<T: Plain> Consumer<T> {
    /// Values that fit when sent one by one.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.shape().capacity() as usize
    }

    /// The next value; waits for it.
    ///
    /// # Errors
    /// As [`Consumer::loan`].
    #[inline]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.message_until(Deadline::NEVER).map_err(|why| self.attached.recv_error(why))?;
        Ok(self.take())
    }

    /// The next value, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`Consumer::loan`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.message_now().map_err(|why| self.attached.try_recv_error(why))?;
        Ok(self.take())
    }

    /// The next value; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Consumer::loan`].
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Deadline::after(timeout))
    }

    /// The next value; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Consumer::loan`].
    #[inline]
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Deadline::at(deadline))
    }

    fn recv_until(&mut self, deadline: Deadline) -> Result<T, RecvTimeoutError> {
        self.message_until(deadline).map_err(|why| self.attached.recv_timeout_error(why))?;
        Ok(self.take())
    }

    /// Appends up to `limit` values to `into` and gives how many: at least one, waiting for the first, then
    /// whatever is there. Values that were sent together are acknowledged together.
    ///
    /// # Errors
    /// As [`Consumer::loan`].
    #[inline]
    pub fn recv_many(&mut self, into: &mut Vec<T>, limit: usize) -> Result<usize, RecvError> {
        if limit == 0 {
            return Ok(0);
        }
        self.message_until(Deadline::NEVER).map_err(|why| self.attached.recv_error(why))?;
        let mut taken = 0;
        let mut redelivered = false;
        while taken < limit && self.end.peek().is_ok() {
            let loan = self.end.loan(limit - taken);
            taken += append(into, loan.bytes());
            redelivered |= loan.redelivered();
        }
        self.redelivered = redelivered;
        Ok(taken)
    }

    /// Copies the message at the head and acknowledges it.
    #[inline(always)]
    fn take(&mut self) -> T {
        let loan = self.end.loan(1);
        let value = value_of(loan.bytes());
        self.redelivered = loan.redelivered();
        value
    }
}

/// The value in the bytes of one message.
#[inline(always)]
fn value_of<T: Plain>(bytes: &[u8]) -> T {
    // The lane was made for values of this size, so this cannot fail.
    T::read_from_bytes(bytes).unwrap_or_else(|_| unreachable!("a message has the size of its type"))
}

/// Appends the values in `bytes` and gives how many there were. One copy, whatever their size.
#[inline(always)]
#[allow(unsafe_code, reason = "copies straight into the room of the vector")]
fn append<T: Plain>(into: &mut Vec<T>, bytes: &[u8]) -> usize {
    let (count, len) = (bytes.len() / size_of::<T>(), into.len());
    into.reserve(count);
    let room = into.spare_capacity_mut().as_mut_ptr().cast::<u8>();
    // SAFETY: I2: `reserve` made room for `count` values, which are at most `bytes.len()` bytes.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), room, count * size_of::<T>()) }
    // SAFETY: I2: they are initialised now, and any bytes are a value of a `Plain` type.
    unsafe { into.set_len(len + count) }
    count
}

impl Consumer<[u8]> {
    /// The next message; waits for it. [`Consumer::loan`] gives it without a copy.
    ///
    /// # Errors
    /// As [`Consumer::loan`].
    #[inline]
    pub fn recv(&mut self) -> Result<Vec<u8>, RecvError> {
        self.loan().map(|loan| loan.to_vec())
    }

    /// The next message, if there is one now. Never waits.
    ///
    /// # Errors
    /// `Empty`; else as [`Consumer::loan`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.try_loan().map(|loan| loan.to_vec())
    }

    /// The next message; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Consumer::loan`].
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>, RecvTimeoutError> {
        self.loan_timeout(timeout).map(|loan| loan.to_vec())
    }

    /// The next message; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Consumer::loan`].
    #[inline]
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        self.loan_deadline(deadline).map(|loan| loan.to_vec())
    }

    /// Appends up to `limit` messages to `into` and gives how many: at least one, waiting for the first, then
    /// whatever is there.
    ///
    /// # Errors
    /// As [`Consumer::loan`].
    pub fn recv_many(&mut self, into: &mut Vec<Vec<u8>>, limit: usize) -> Result<usize, RecvError> {
        if limit == 0 {
            return Ok(0);
        }
        into.push(self.recv()?);
        let first_redelivered = self.redelivered;
        let mut taken = 1;
        while taken < limit && self.message_now().is_ok() {
            into.push(self.lent(1).to_vec());
            taken += 1;
        }
        self.redelivered = first_redelivered;
        Ok(taken)
    }
}

/// A message where it lies. Dropping it acknowledges it.
///
/// A loan that is leaked is not acknowledged: the same message is given again.
pub struct Loan<'a, T: ?Sized> {
    loan: lane::Loan<'a>,
    payload: PhantomData<&'a T>,
}

impl<T: ?Sized> fmt::Debug for Loan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loan.fmt(f)
    }
}

impl<T: ?Sized> Loan<'_, T> {
    /// May the message have been delivered before, to a consumer that died?
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.loan.redelivered()
    }
}

impl<T: Plain + ?Sized> Deref for Loan<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // The lane was made for values of this size and alignment, so this cannot fail.
        T::ref_from_bytes(self.loan.bytes())
            .unwrap_or_else(|_| unreachable!("a loan has the size of its type"))
    }
}
