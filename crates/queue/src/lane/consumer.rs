//! The consumer's end of a lane: look, copy or loan, release.
//!
//! The head in memory moves only when a message is released, so whoever comes after a dead consumer stands
//! exactly where that one stood. Invariants I1-I4 and edges E1-E4 are those of [`super`].

use core::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::lane::{Cursor, Role};
use ginnel_layout::record::{GRANULE, RecordHeader};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::Deadline;
use ginnel_sync::park::{self, Mode, Stop, Waiter};

use super::{Lane, LaneError, Shape};

/// The receiving end. One at a time; `Send`, not `Sync`.
pub struct Consumer {
    end: End,
    waiter: Waiter,
    me: ParticipantId,
}

/// What the hot path touches.
struct End {
    lane: Lane,
    /// The record at the head, and how many of its values were taken.
    head: Cursor,
    /// Values of the record at the head; 0 = not looked at yet.
    count: u16,
    /// Bytes of the record at the head.
    record: u64,
    /// Bytes of the message at the head.
    len: u64,
    /// The record at the head may have been seen by a consumer that died.
    seen_before: bool,
    poisoned: bool,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("lane", &self.end.lane)
            .field("head", &self.end.head)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    pub(super) fn new(lane: Lane, me: ParticipantId, head: Cursor, seen_before: bool) -> Self {
        let waiter = Waiter::new(lane.shape.mode);
        let end = End { lane, head, count: 0, record: 0, len: 0, seen_before, poisoned: false };
        Self { end, waiter, me }
    }

    /// What was agreed when the lane was made.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.end.lane.shape
    }

    /// Length of the next message, if one is there. It stays where it is.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there and the producer may still send; `Closed`, `PeerDied` when nothing
    /// is there and it cannot; `Corrupted`.
    #[inline(always)]
    pub fn peek(&mut self) -> Result<u64, LaneError> {
        if self.end.front() { Ok(self.end.len) } else { self.end.why_nothing() }
    }

    /// Copies the next message into `into`, which has exactly its length, and acknowledges it. True: it may
    /// have been delivered before, to a consumer that died.
    ///
    /// # Errors
    /// As [`Consumer::peek`]; `TooLarge` when the message has another length: it stays.
    #[inline(always)]
    pub fn try_recv(&mut self, into: &mut [u8]) -> Result<bool, LaneError> {
        let len = self.peek()?;
        if len != into.len() as u64 {
            return Err(LaneError::TooLarge { len, max: into.len() as u64 });
        }
        self.end.lane.ring.read(self.end.payload_at(), into);
        let seen_before = self.end.seen_before;
        self.end.release(1);
        Ok(seen_before)
    }

    /// The next values, at most `limit` (at least one), that lie one after the other under one header, where
    /// they lie. Dropping the loan acknowledges them together.
    ///
    /// # Panics
    /// Unless [`Consumer::peek`] or [`Consumer::wait_for_message`] found a message before.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn loan(&mut self, limit: usize) -> Loan<'_> {
        assert!(self.end.head.index < self.end.count, "lent without a message");
        let there = self.end.count - self.end.head.index;
        let count = u16::try_from(limit.max(1)).unwrap_or(u16::MAX).min(there);
        Loan { end: &mut self.end, count }
    }

    /// Waits until a message is there.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`, `Closed`, `PeerDied`, `Corrupted`.
    pub fn wait_for_message(
        &mut self,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<(), LaneError> {
        let Self { end, waiter, .. } = self;
        let lane = end.lane;
        let ready = || {
            if end.front() {
                return Some(Ok(()));
            }
            match end.why_nothing() {
                Err(LaneError::WouldBlock) => None,
                other => Some(other.map(|_| ())),
            }
        };
        let at_slice_end = || {
            let role = Role::from_bits(lane.control().not_full.role.load(Acquire)); // E3
            if let (Role::HELD | Role::MOVING, Some(owner)) = (role.st, role.owner) {
                // True or false, the next look at the words tells what came of it.
                let _ = liveness.is_dead(owner);
            }
        };
        match waiter.wait(&lane.control().not_empty, deadline, ready, at_slice_end) {
            Ok(result) => result,
            Err(Stop::TimedOut) => Err(LaneError::TimedOut),
            Err(Stop::Interrupted) => Err(LaneError::Interrupted),
        }
    }

    /// Is the producer gone for good, as far as this end knows? Messages may still be there.
    #[must_use]
    pub fn peer_is_gone(&self) -> bool {
        self.end.lane.producer_is_gone()
    }

    /// Messages that can be received now. Walks the ring; meant for people.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end.lane.count(self.end.head, self.end.lane.shape.size)
    }

    /// Is there nothing to receive now?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives the end up: sending fails with `Closed` from now on. What was not received stays for a successor.
    pub fn close(self) {
        // Drop does it.
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let control = self.end.lane.control();
        // The next consumer must flag the message as well, if the dead one's is still unacknowledged.
        let st = if self.end.seen_before { Role::DEAD } else { Role::CLOSED };
        Lane::give_up(&control.not_empty.role, self.me, st, &control.not_full);
    }
}

impl End {
    /// Is a message at the head? Fills in what is known of it.
    #[inline(always)]
    fn front(&mut self) -> bool {
        if self.head.index < self.count {
            return true;
        }
        let word = self.lane.ring.header(self.head.offset).load(Acquire); // E1
        word != 0 && self.look_at(word)
    }

    /// I3: checks the header once, and keeps what it says.
    #[inline(always)]
    fn look_at(&mut self, word: u64) -> bool {
        let shape = self.lane.shape;
        let (len, fits) = match RecordHeader::from_bits(word) {
            Some(RecordHeader { len, many: false, .. }) if shape.value_size == 0 => (u64::from(len), true),
            Some(RecordHeader { len, count, many: true }) => {
                let all = u64::from(count) * shape.value_size;
                (shape.value_size, count > self.head.index && all == u64::from(len))
            }
            _ => (0, false),
        };
        let header = RecordHeader::from_bits(word);
        let record = self.lane.record_size(header.map_or(0, |header| u64::from(header.len)));
        if !fits || record + GRANULE > shape.size || self.poisoned {
            self.poisoned = true;
            return false;
        }
        self.count = header.map_or(0, |header| header.count);
        self.record = record;
        self.len = len;
        true
    }

    /// Nothing is at the head: is that all there will ever be?
    #[cold]
    fn why_nothing(&mut self) -> Result<u64, LaneError> {
        if self.poisoned {
            return Err(LaneError::Corrupted);
        }
        let role = Role::from_bits(self.lane.control().not_full.role.load(Acquire)); // E3
        if !Role::is_gone(role.bits()) {
            return Err(LaneError::WouldBlock);
        }
        // E3: all it ever committed is visible now, so this look is the last one needed.
        if self.front() {
            return Ok(self.len);
        }
        match role.st {
            _ if self.poisoned => Err(LaneError::Corrupted),
            Role::CLOSED => Err(LaneError::Closed),
            Role::DEAD => Err(LaneError::PeerDied(role.owner)),
            _ => Err(LaneError::Corrupted),
        }
    }

    #[inline(always)]
    fn payload_at(&self) -> u64 {
        self.head.offset + self.lane.unit + u64::from(self.head.index) * self.len
    }

    /// Is there as much room as the sleeping producer asked for?
    #[cold]
    fn has_passed_the_mark(&self) -> bool {
        let mark = Cursor::from_bits(self.lane.control().not_full.mark.load(Relaxed));
        // An impossible mark is a broken peer's; waking it is always allowed.
        mark.distance(self.head, self.lane.shape.size).is_some() || mark.offset >= self.lane.shape.size
    }

    /// Acknowledges the next `taken` messages of the record at the head.
    #[inline(always)]
    fn release(&mut self, taken: u16) {
        self.head.index += taken;
        if self.head.index >= self.count {
            self.head = self.head.advance(self.record, self.lane.shape.size);
            self.count = 0;
            // Not earlier: the dead one may have held a loan of every value of this record.
            self.seen_before = false;
        }
        let control = self.lane.control();
        control.head.store(self.head.bits(), Release); // E2: the ACKNOWLEDGEMENT
        if self.lane.shape.mode != Mode::Spin {
            park::post_when(&control.not_full, || self.has_passed_the_mark());
        }
    }
}

/// Messages at the head, where they lie. Dropping it acknowledges them and gives their room back.
///
/// A loan that is leaked instead of dropped is not acknowledged: the messages are given again.
#[cfg(not(loom))]
pub struct Loan<'a> {
    end: &'a mut End,
    count: u16,
}

#[cfg(not(loom))]
impl fmt::Debug for Loan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("len", &self.end.len).field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
impl Loan<'_> {
    /// The message, or the values one after the other.
    #[inline(always)]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.end.lane.ring.slice(self.end.payload_at(), self.end.len * u64::from(self.count))
    }

    /// May it have been delivered before, to a consumer that died?
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.end.seen_before
    }
}

#[cfg(not(loom))]
impl Drop for Loan<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.end.release(self.count);
    }
}
