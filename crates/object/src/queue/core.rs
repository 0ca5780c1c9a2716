//! A queue without its type: bytes in, bytes out, and what they carry.
//!
//! A message lies in a slot of the ring (or, leased, in a cell) as `body | table of parcels`; the slot's `kind` word is
//! the number of parcels. A message that is too long for a slot lies in a buffer of the queue instead, and the slot
//! names it (`spill`).

use std::fmt;
use std::sync::{Arc, Mutex as Private, TryLockError};
use std::time::Duration;

use ginnel_layout::ParticipantId;
use ginnel_layout::entry::{Carrier, Side};
use ginnel_queue::ring::{Claim, Held, Ring, RingError, Taken};
use ginnel_sync::{Deadline, Waiter};

use super::stats::Stats;
use crate::arena::{Arena, ObjectRef};
use crate::carry::{self, Incoming, Outgoing, PARCEL};
use crate::envelope::{self, Unpacked, table_of};
use crate::error::{Error, ErrorKind, Result};
use crate::message;
use crate::sides;

/// How often one who waits on a channel asks whether the other side lives.
const SIDE_PROBE: Duration = Duration::from_millis(20);

/// How long an operation may wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Deadline),
}

/// The outcome of claiming a slot.
pub(super) type Claimed<'a> = Result<Claim<'a>, RingError>;

/// Why an operation on a queue did not happen.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The ring says so.
    Ring(RingError),
    /// Everything else.
    Failed(Error),
}

impl From<RingError> for Stopped {
    #[inline(always)]
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What every handle of a queue has.
pub(super) struct Core {
    object: ObjectRef,
    ring: Ring,
    pub(super) me: ParticipantId,
    /// Is it a channel?
    pub(super) has_sides: bool,
    /// What this handle has learned about waiting, for room and for messages. Only hints: a thread that finds one in
    /// use starts afresh.
    to_send: Private<Waiter>,
    to_receive: Private<Waiter>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}

impl Clone for Core {
    fn clone(&self) -> Self {
        self.over(self.object.clone())
    }
}

impl Core {
    /// The queue in `object`, its geometry checked.
    pub(super) fn new(object: ObjectRef) -> Result<Self> {
        let ring = object.ring()?;
        let me = object.arena().segment().me();
        let has_sides = sides::has_sides(&object);
        let waiter = || Private::new(Waiter::new(ring.shape().mode));
        Ok(Self { to_send: waiter(), to_receive: waiter(), object, ring, me, has_sides })
    }

    /// The same queue through another handle of it.
    pub(super) fn over(&self, object: ObjectRef) -> Self {
        let waiter = || Private::new(Waiter::new(self.ring.shape().mode));
        let Self { ring, me, has_sides, .. } = *self;
        Self { object, ring, me, has_sides, to_send: waiter(), to_receive: waiter() }
    }

    pub(super) fn object(&self) -> &ObjectRef {
        &self.object
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) fn arena(&self) -> &Arc<Arena> {
        self.object.arena()
    }

    /// Sends one value.
    #[inline]
    pub(super) fn send<T: message::Message>(&self, value: &T, patience: Patience) -> Result<(), Stopped> {
        self.send_in(value, || self.claim(patience))
    }

    /// Sends one value in the slot that `claim` gives, which is asked for it late.
    #[inline(always)]
    pub(super) fn send_in<'a, T: message::Message>(
        &'a self,
        value: &T,
        claim: impl FnOnce() -> Claimed<'a>,
    ) -> Result<(), Stopped> {
        self.object.check_fork_fast()?;
        if T::FIXED.is_some() {
            return value.with_bytes(|bytes| self.send_plain(bytes, claim))?;
        }
        carry::collecting(self.arena(), || {
            value.with_bytes(|bytes| match carry::collected() {
                None => self.send_plain(bytes, claim),
                Some(parcels) => self.send_parcels(bytes, parcels, claim),
            })
        })?
    }

    #[inline(always)]
    fn send_plain<'a>(&'a self, bytes: &[u8], claim: impl FnOnce() -> Claimed<'a>) -> Result<(), Stopped> {
        if !self.fits(bytes.len()) {
            return self.send_long(bytes, Outgoing::none(self.arena()), claim);
        }
        let mut claim = claim()?;
        claim.write(0, bytes);
        claim.commit(bytes.len() as u64, 0);
        Ok(())
    }

    #[cold]
    fn send_parcels<'a>(
        &'a self,
        bytes: &[u8],
        parcels: Outgoing,
        claim: impl FnOnce() -> Claimed<'a>,
    ) -> Result<(), Stopped> {
        let table = table_of(&parcels);
        if !self.fits(bytes.len() + table.len()) {
            return self.send_long(bytes, parcels, claim);
        }
        let mut claim = claim()?;
        parcels.set_carrier(self.carrier(claim.position()));
        claim.write(0, bytes);
        claim.write(bytes.len() as u64, &table);
        claim.commit((bytes.len() + table.len()) as u64, parcels.parcels().len() as u32);
        parcels.sent();
        Ok(())
    }

    /// Sends a message that does not fit into a slot: its bytes become an object of their own, which travels as a
    /// handle does.
    #[cold]
    fn send_long<'a>(
        &'a self,
        bytes: &[u8],
        mut parcels: Outgoing,
        claim: impl FnOnce() -> Claimed<'a>,
    ) -> Result<(), Stopped> {
        let (named, kind) = envelope::enclose(self.arena(), bytes, &mut parcels)
            .map_err(|error| self.object.name_error(error))?;
        let mut claim = claim()?;
        parcels.set_carrier(self.carrier(claim.position()));
        claim.write(0, &named);
        claim.commit(PARCEL as u64, kind);
        parcels.sent();
        Ok(())
    }

    pub(super) fn carrier(&self, position: u64) -> Carrier {
        Carrier { entry: self.object.index() as u16, position }
    }

    #[inline(always)]
    pub(super) fn fits(&self, len: usize) -> bool {
        len as u64 <= self.ring.shape().payload_max()
    }

    #[inline(always)]
    pub(super) fn claim(&self, patience: Patience) -> Claimed<'_> {
        match (self.ring.try_claim(self.me), patience) {
            (Err(RingError::WouldBlock | RingError::Busy(_)), Patience::Until(deadline)) => {
                self.wait_claim(deadline)
            }
            (Err(RingError::Hole(position)), _) => self.claim_hole(position, patience),
            (result, _) => result,
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_claim(&self, deadline: Deadline) -> Result<Claim<'_>, RingError> {
        match self.wait_claim_once(deadline) {
            Err(RingError::Hole(position)) => self.claim_hole(position, Patience::Until(deadline)),
            result => result,
        }
    }

    pub(super) fn wait_claim_once(&self, deadline: Deadline) -> Result<Claim<'_>, RingError> {
        with_waiter(&self.to_send, |waiter| {
            self.in_steps(Side::Receiver, deadline, |step| {
                self.ring.wait_claim(self.me, waiter, step, self.arena().segment())
            })
        })
    }

    /// Receives one value.
    #[inline]
    pub(super) fn recv<T: message::Message>(&self, patience: Patience) -> Result<T, Stopped> {
        self.object.check_fork_fast()?;
        let taken = self.take(patience)?;
        if taken.kind() == 0 {
            let len = taken.len() as usize;
            return Ok(T::received(len, |into| {
                taken.read(0, into);
                self.release(taken);
                Ok(())
            })?);
        }
        self.recv_parcels(taken)
    }

    #[cold]
    fn recv_parcels<T: message::Message>(&self, taken: Taken<'_>) -> Result<T, Stopped> {
        let mut bytes = vec![0; taken.len() as usize];
        taken.read(0, &mut bytes);
        let unpacked = Unpacked::receive(self.arena(), &bytes, taken.kind());
        // A message that names what does not exist is used up all the same: it would never get better.
        self.release(taken);
        let (value, incoming) = unpacked.map_err(|error| self.object.name_error(error))?.decode(value_of);
        drop(incoming);
        Ok(value?)
    }

    /// Acknowledges a message, and gives back the memory that it was the last in.
    #[inline(always)]
    fn release(&self, taken: Taken<'_>) {
        let position = taken.position();
        taken.release();
        if self.ring.ends_chunk(position) {
            self.punch(position);
        }
    }

    #[inline(always)]
    fn take(&self, patience: Patience) -> Result<Taken<'_>, RingError> {
        match (self.ring.try_take(self.me), patience) {
            (
                Err(RingError::WouldBlock | RingError::Busy(_) | RingError::Hole(_)),
                Patience::Until(deadline),
            ) => self.wait_take(deadline),
            (Err(RingError::Hole(_)), Patience::None) => Err(RingError::WouldBlock),
            (result, _) => result,
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_take(&self, deadline: Deadline) -> Result<Taken<'_>, RingError> {
        self.past_holes(deadline, || {
            with_waiter(&self.to_receive, |waiter| {
                self.in_steps(Side::Sender, deadline, |step| {
                    self.ring.wait_take(self.me, waiter, step, self.arena().segment())
                })
            })
        })
    }

    /// Leases one message: its value, and what to acknowledge.
    pub(super) fn lease<T: message::Message>(
        &self,
        patience: Patience,
    ) -> Result<(T, Held, Option<Incoming>), Stopped> {
        self.object.check_fork()?;
        let held = match (self.ring.try_lease(self.me), patience) {
            (
                Err(RingError::WouldBlock | RingError::Busy(_) | RingError::NoCell | RingError::Hole(_)),
                Patience::Until(deadline),
            ) => self.past_holes(deadline, || {
                with_waiter(&self.to_receive, |waiter| {
                    self.in_steps(Side::Sender, deadline, |step| {
                        self.ring.wait_lease(self.me, waiter, step, self.arena().segment())
                    })
                })
            }),
            (Err(RingError::Hole(_)), Patience::None) => Err(RingError::WouldBlock),
            (result, _) => result,
        }?;
        if self.ring.ends_chunk(held.position) {
            self.punch(held.position);
        }
        match self.open_lease(&held) {
            Ok((value, incoming)) => Ok((value, held, incoming)),
            Err(error) if error.kind() == ErrorKind::Invalid => {
                // Not for good: it can be received otherwise.
                self.ring.nack(&held);
                Err(self.object.name_error(error).into())
            }
            Err(error) => {
                // Nobody can decode it: it is used up, as with `recv`.
                self.ring.ack(&held);
                Err(self.object.name_error(error).into())
            }
        }
    }

    fn open_lease<T: message::Message>(&self, held: &Held) -> Result<(T, Option<Incoming>)> {
        let mut bytes = vec![0; held.len as usize];
        self.ring.read_cell(held, 0, &mut bytes);
        if held.kind == 0 {
            return Ok((T::from_bytes(&bytes)?, None));
        }
        let unpacked = Unpacked::receive(self.arena(), &bytes, held.kind)?.leased();
        let (value, incoming) = unpacked.decode(value_of);
        match incoming {
            Some(incoming) if incoming.is_refused() => {
                incoming.leave();
                Err(Error::new(ErrorKind::Invalid, "a message with an exclusive end in it cannot be leased")
                    .with_advice("receive it with recv"))
            }
            incoming => Ok((value?, incoming)),
        }
    }

    /// Sends from the front of `values` until it is empty.
    pub(super) fn send_many<T: message::Message>(&self, values: &mut Vec<T>) -> Result<()> {
        let mut sent = 0;
        let mut stopped = Ok(());
        while let Some(value) = values.get(sent) {
            stopped = self.send(value, Patience::Until(Deadline::NEVER));
            if stopped.is_err() {
                break;
            }
            sent += 1;
        }
        values.drain(..sent);
        stopped.map_err(|why| self.error(why))
    }

    /// Receives at least one value and at most `limit`.
    pub(super) fn recv_many<T: message::Message>(
        &self,
        into: &mut Vec<T>,
        limit: usize,
    ) -> Result<usize, Stopped> {
        let mut patience = Patience::Until(Deadline::NEVER);
        for received in 0..limit {
            match self.recv(patience) {
                Ok(value) => into.push(value),
                Err(Stopped::Ring(_)) if received > 0 => return Ok(received),
                Err(why) => return Err(why),
            }
            patience = Patience::None;
        }
        Ok(limit)
    }

    /// The counters, with the owners in words.
    pub(super) fn stats(&self) -> Stats {
        Stats::of(&self.ring, self.arena())
    }

    /// Waits until `deadline`, on through signals. On a channel it asks now and then for the other side: a process that
    /// died there left no word in the ring.
    fn in_steps<R>(
        &self,
        other: Side,
        deadline: Deadline,
        mut wait: impl FnMut(Deadline) -> Result<R, RingError>,
    ) -> Result<R, RingError> {
        loop {
            let step = if self.has_sides { deadline.min(Deadline::after(SIDE_PROBE)) } else { deadline };
            match wait(step) {
                Err(RingError::Interrupted) => {}
                Err(RingError::TimedOut { .. }) if !deadline.passed() => {
                    sides::probe(self.arena().segment(), self.object.index(), other);
                }
                result => return result,
            }
        }
    }

    /// Waits until everything sent so far is acknowledged. False: the deadline came first.
    pub(super) fn wait_done(&self, deadline: Deadline) -> Result<bool> {
        self.object.check_fork()?;
        let done = with_waiter(&Private::new(Waiter::new(self.ring.shape().mode)), |waiter| {
            again(|| self.ring.wait_done(waiter, deadline, self.arena().segment()))
        });
        match done {
            Ok(()) => Ok(true),
            Err(RingError::TimedOut { .. }) => Ok(false),
            Err(why) => Err(self.explain(why)),
        }
    }

    /// Says what an operation met.
    #[cold]
    pub(super) fn explain(&self, error: RingError) -> Error {
        let object = &self.object;
        if let Err(forked) = object.check_fork() {
            return forked;
        }
        let described = |kind, happened: &str| object.name_error(Error::new(kind, happened));
        match error {
            RingError::TooLarge { len, max } => {
                described(ErrorKind::TooLarge, &format!("a message of {len} bytes, where at most {max} fit"))
                    .with_advice("make the queue with a larger inline size, or send a Block")
            }
            RingError::NoCell => described(ErrorKind::Full, "as many leases are out as the queue can hold")
                .with_advice("acknowledge some of them first"),
            RingError::NoMemory => described(ErrorKind::Full, "there is no memory for more messages")
                .with_advice("receive some, or bound the queue"),
            RingError::Closed => described(ErrorKind::Closed, "the queue was closed"),
            RingError::TimedOut { owner } => described(ErrorKind::Timeout, "the deadline passed")
                .with_owner(owner.and_then(|id| object.arena().describe(id))),
            RingError::Busy(id) => {
                described(ErrorKind::Timeout, "another process is in the middle of the next place")
                    .with_owner(object.arena().describe(id))
            }
            RingError::WouldBlock | RingError::Interrupted => {
                described(ErrorKind::Timeout, "the deadline passed")
            }
            _ => object.corrupted("a word of the queue"),
        }
    }
}

/// The value in a body that was received.
fn value_of<T: message::Message>(body: Result<&[u8]>) -> Result<T> {
    T::from_bytes(body?)
}

/// Runs `f` with the handle's waiter, or with a fresh one if another thread waits with it.
fn with_waiter<R>(own: &Private<Waiter>, f: impl FnOnce(&mut Waiter) -> R) -> R {
    match own.try_lock() {
        Ok(mut waiter) => f(&mut waiter),
        Err(TryLockError::Poisoned(mut waiter)) => f(waiter.get_mut()),
        Err(TryLockError::WouldBlock) => f(&mut Waiter::default()),
    }
}

/// Goes on after signals.
fn again<R>(mut f: impl FnMut() -> Result<R, RingError>) -> Result<R, RingError> {
    loop {
        match f() {
            Err(RingError::Interrupted) => {}
            result => return result,
        }
    }
}
