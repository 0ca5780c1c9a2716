//! `ring`: the ring of slots by itself, in anonymous memory, without the objects around it: what its protocol costs,
//! beside `vyukov`, which has the same slots and no protocol. A message is written in a private buffer and copied
//! in, copied out into one and checked there, at both.
//!
//! Invariants:
//! - I1: the region begins with a page for the counter of participants; behind it lies a ring of `shape`, made before
//!   the first fork and touched by nothing but rings from then on.
//! - I2: the region outlives all ends, which borrow it.
//! - I3: the ring begins at page 1, and `bytes` bytes from there are the region's.
#![allow(unsafe_code, reason = "lends a mapping to the ring")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use ginnel_layout::atomic::Ordering;
use ginnel_layout::line::PAGE;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::ring::{Claim, OnDeath, Ring, RingError, Shape, Taken};
use ginnel_sync::{Deadline, Mode, Waiter};
use zerocopy::IntoBytes;

use crate::fault::Fault;
use crate::memory::Region;
use crate::payload::{Accept, Size, Stop, Writer};
use crate::plan::{Row, Wait};
use crate::transport::{Consumer, Producer, Transport};

/// As many leases as a queue has that says nothing of them.
const CELLS: u64 = 64;
/// The kind of all messages here.
const KIND: u32 = 0;

/// A ring in memory of its own.
#[derive(Debug)]
pub struct BareRing<S> {
    region: Region,
    bytes: usize,
    size: S,
}

impl<S: Size> BareRing<S> {
    /// An empty ring for the row's messages.
    ///
    /// # Errors
    /// Where there is no memory, or no ring of that shape.
    pub fn new(size: S, row: &Row) -> Result<Self, Fault> {
        let mode = match row.wait {
            Some(Wait::Spin) => Mode::Spin,
            Some(Wait::Sleep) => Mode::Sleep,
            Some(Wait::Default) | None => Mode::Adaptive,
        };
        let capacity = row.slots().next_power_of_two() as u64;
        let shape = Shape::new(capacity, size.bytes() as u64, CELLS, OnDeath::Redeliver, mode)
            .ok_or_else(|| Fault::Unsupported("no ring has such slots".into()))?;
        let bytes = shape.size() as usize;
        let made = Self { region: Region::new(PAGE + bytes.next_multiple_of(8))?, bytes, size };
        // SAFETY: I1, and I3: lines are aligned as pages are; nobody else knows the region yet.
        unsafe { Ring::init(made.base(), &shape) };
        Ok(made)
    }

    fn base(&self) -> NonNull<u8> {
        self.region.words(PAGE, self.bytes.div_ceil(8)).cast()
    }

    /// An end of a process of its own, as the next participant.
    fn end(&self) -> Result<End<'_>, Fault> {
        let next = self.region.word64(0).fetch_add(1, Ordering::Relaxed) + 1;
        let me = ParticipantId::from_bits(next)
            .ok_or_else(|| Fault::failed("counting participants", "too many"))?;
        // SAFETY: I1, I2, I3.
        let ring = unsafe { Ring::from_raw(self.base(), self.bytes as u64) };
        let ring = ring.map_err(|error| failed("attaching to the ring", error))?;
        let waiter = Waiter::new(ring.shape().mode);
        Ok(End { ring, me, waiter, private: vec![0; self.size.words()], region: PhantomData })
    }
}

impl<S: Size> Transport for BareRing<S> {
    type Size = S;
    type Producer<'a> = End<'a>;
    type Consumer<'a> = End<'a>;

    fn size(&self) -> S {
        self.size
    }

    fn producer(&self) -> Result<End<'_>, Fault> {
        self.end()
    }

    fn consumer(&self) -> Result<End<'_>, Fault> {
        self.end()
    }
}

/// Nobody dies in a run that is not refused.
#[derive(Debug)]
struct AllLive;

impl Liveness for AllLive {
    fn is_dead(&self, _id: ParticipantId) -> bool {
        false
    }
}

/// Either end; there may be many of each.
#[derive(Debug)]
pub struct End<'a> {
    ring: Ring,
    me: ParticipantId,
    waiter: Waiter,
    private: Vec<u64>,
    region: PhantomData<&'a Region>,
}

#[cold]
fn failed(what: &str, error: RingError) -> Fault {
    Fault::failed(what, format!("{error:?}"))
}

#[cold]
#[inline(never)]
fn wait_claim<'a>(ring: &'a Ring, me: ParticipantId, waiter: &mut Waiter) -> Result<Claim<'a>, RingError> {
    loop {
        match ring.wait_claim(me, waiter, Deadline::NEVER, &AllLive) {
            Err(RingError::Interrupted) => {}
            result => return result,
        }
    }
}

#[cold]
#[inline(never)]
fn wait_take<'a>(ring: &'a Ring, me: ParticipantId, waiter: &mut Waiter) -> Result<Taken<'a>, RingError> {
    loop {
        match ring.wait_take(me, waiter, Deadline::NEVER, &AllLive) {
            Err(RingError::Interrupted) => {}
            result => return result,
        }
    }
}

impl<S: Size> Producer<S> for End<'_> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<S>, count: usize) -> Result<(), Fault> {
        let bytes = writer.size().bytes();
        for _ in 0..count {
            writer.fill(&mut self.private);
            let claim = match self.ring.try_claim(self.me) {
                Err(RingError::WouldBlock | RingError::Busy(_)) => {
                    wait_claim(&self.ring, self.me, &mut self.waiter)
                }
                result => result,
            };
            let mut claim = claim.map_err(|error| failed("claim", error))?;
            claim.write(0, &self.private.as_bytes()[..bytes]);
            claim.commit(bytes as u64, KIND);
        }
        Ok(())
    }
}

impl<S: Size> Consumer<S> for End<'_> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<S>, _limit: usize) -> Result<(), Stop> {
        let taken = match self.ring.try_take(self.me) {
            Err(RingError::WouldBlock | RingError::Busy(_)) => {
                wait_take(&self.ring, self.me, &mut self.waiter)
            }
            result => result,
        };
        let taken = taken.map_err(|error| failed("take", error))?;
        let bytes = taken.len() as usize;
        // A wrong length is for the checker to refuse; until then only what both have is copied.
        let common = bytes.min(checker.size().bytes());
        taken.read(0, &mut self.private.as_mut_bytes()[..common]);
        taken.release();
        checker.accept(bytes, &self.private)
    }
}
