//! The consumer's end of a lane: look, copy or loan, release.
//!
//! The head in memory moves only when a message is released, so whoever comes after a dead consumer stands
//! exactly where that one stood. Invariants I1-I4 and edges E1-E4 are those of [`super`].

pub(crate) mod ready;

use core::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::spin_loop;
use ginnel_layout::lane::{Cursor, Role};
use ginnel_layout::record::{GRANULE, RecordHeader, kind};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::Deadline;
use ginnel_sync::park::{self, Mode, Stop, Waiter};

use super::{Lane, LaneError, Place, Shape};

/// The receiving end. One at a time; `Send`, not `Sync`.
pub struct Consumer {
    end: End,
    waiter: Waiter,
    slip: Slip,
    me: ParticipantId,
}

/// What the hot path touches: a lane as it is read, without the role and the wait.
pub(crate) struct End {
    lane: Lane,
    /// The record at the head; the index in its word counts values that were taken.
    head: Place,
    /// Values of that record that are left; 0 = not looked at yet.
    pub(crate) left: u16,
    /// Bytes of that record.
    record: u64,
    /// Where in the ring the next message begins, and its length in bytes.
    message: u64,
    pub(crate) len: u64,
    /// The header word of a record of one value, which needs no more than a comparison. 0 for bytes.
    value_header: u64,
    /// Bytes of such a record.
    value_record: u64,
    /// What the record at the head is of its message: one of `layout::record::kind`.
    kind: u8,
    /// Are records looked at that are not whole messages?
    takes_parts: bool,
    /// The record at the head may have been seen by a consumer that died.
    pub(crate) seen_before: bool,
    pub(crate) poisoned: bool,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("lane", &self.end.lane)
            .field("head", &self.end.head.cursor())
            .finish_non_exhaustive()
    }
}

impl Consumer {
    pub(super) fn new(lane: Lane, me: ParticipantId, head: Cursor, seen_before: bool) -> Self {
        let waiter = Waiter::new(lane.shape.mode);
        let end = End::new(lane, head, seen_before);
        Self { end, waiter, slip: Slip::default(), me }
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
        Ok(self.end.take(into))
    }

    /// From now on records of every kind are given, parts of long messages among them. Before the first look; without
    /// it they are `Corrupted`.
    pub fn take_parts(&mut self) {
        self.end.takes_parts = true;
    }

    /// Length and kind (one of `layout::record::kind`) of the next record, if one is there. It stays where it is.
    ///
    /// # Errors
    /// As [`Consumer::peek`].
    #[inline]
    pub fn peek_kind(&mut self) -> Result<(u64, u8), LaneError> {
        self.peek().map(|len| (len, self.end.kind))
    }

    /// Copies bytes of the message that [`Consumer::peek`] found, `offset` bytes behind its beginning. It is not
    /// acknowledged.
    ///
    /// # Panics
    /// Unless a message was found and has so many bytes there.
    #[inline]
    pub fn read_at(&self, offset: u64, into: &mut [u8]) {
        let end = &self.end;
        let fits = offset.checked_add(into.len() as u64).is_some_and(|last| last <= end.len);
        assert!(end.left > 0 && fits, "read beyond the message");
        end.lane.ring.read(end.message + offset, into);
    }

    /// May the message that [`Consumer::peek`] found have been delivered before, to a consumer that died?
    #[must_use]
    #[inline]
    pub fn seen_before(&self) -> bool {
        self.end.seen_before
    }

    /// Acknowledges the message that [`Consumer::peek`] found.
    ///
    /// # Panics
    /// Unless one was found.
    #[inline]
    pub fn release_one(&mut self) {
        assert!(self.end.left > 0, "released without a message");
        self.end.release(1);
    }

    /// The next values, at most `limit` (at least one), that lie one after the other under one header, where
    /// they lie. Dropping the loan acknowledges them together.
    ///
    /// # Panics
    /// Unless [`Consumer::peek`] or [`Consumer::wait_for_message`] found a message before.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn loan(&mut self, limit: usize) -> Loan<'_> {
        self.end.lend(limit)
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
        let Self { end, waiter, slip, .. } = self;
        let lane = end.lane;
        if lane.shape.mode != Mode::Spin {
            // The releases before were posted without a fence; before a wait for the producer it must be woken.
            park::post_when(&lane.control().not_full, || end.has_passed_the_mark());
        }
        if lane.shape.mode != Mode::Sleep {
            slip.keep_away(end.head.offset());
        }
        let mut polls = 0_u32;
        let ready = || {
            polls = polls.saturating_add(1);
            if end.front() {
                slip.found(end.end_of_record(), polls);
                return Some(Ok(()));
            }
            match end.why_nothing() {
                Err(LaneError::WouldBlock) => None,
                other => Some(other.map(|_| ())),
            }
        };
        let at_slice_end = || ready::probe(&lane.control().not_full, liveness);
        match waiter.wait(lane.not_empty(), deadline, ready, at_slice_end) {
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
        self.end.count()
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
        Lane::give_up(&self.end.lane.not_empty().role, self.me, st, &control.not_full);
    }
}

/// How far a consumer that has caught up stays behind its producer, in turns of the spin loop.
///
/// A consumer that polls the header which the producer is about to write takes the line away from it, twice a
/// message. While messages stream, it is faster to let some of them gather first. Whether they stream shows in
/// what was found: more than one record since the last wait, or a record at the first look. An exchange of
/// single messages finds one after many looks, and is never held up.
#[derive(Debug, Default)]
struct Slip {
    /// Turns before the first look.
    turns: u32,
    /// Waits until a single message that came at once is taken for a stream again.
    rest: u32,
    /// Where the record found by the last wait ends.
    first_end: u64,
    /// That record was there at the first looks.
    at_once: bool,
}

impl Slip {
    /// The first distance tried.
    const FIRST: u32 = 4;
    /// The longest: under a microsecond, where a turn is a dozen nanoseconds.
    const LONGEST: u32 = 64;
    /// Looks within which a record came "at once". The answer to a message takes more.
    const AT_ONCE: u32 = 4;
    /// Waits between two tries that found no stream.
    const REST: u32 = 64;

    /// Before a wait: `head` is where the consumer stands.
    #[inline]
    fn keep_away(&mut self, head: u64) {
        if head != self.first_end {
            self.turns = (2 * self.turns).clamp(Self::FIRST, Self::LONGEST);
        } else if self.turns == 0 && self.at_once && self.rest == 0 {
            (self.turns, self.rest) = (Self::FIRST, Self::REST);
        } else {
            (self.turns, self.rest) = (0, self.rest.saturating_sub(1));
        }
        for _ in 0..self.turns {
            spin_loop();
        }
    }

    #[inline]
    fn found(&mut self, first_end: u64, polls: u32) {
        (self.first_end, self.at_once) = (first_end, polls <= Self::AT_ONCE);
    }
}

impl End {
    pub(crate) fn new(lane: Lane, head: Cursor, seen_before: bool) -> Self {
        let value_size = lane.shape.value_size;
        let value_header = if value_size == 0 { 0 } else { RecordHeader::many(value_size as u32, 1).bits() };
        Self {
            lane,
            head: Place::new(head),
            left: 0,
            record: 0,
            message: 0,
            len: value_size,
            value_header,
            value_record: lane.record_size(value_size),
            kind: kind::WHOLE,
            takes_parts: false,
            seen_before,
            poisoned: false,
        }
    }

    #[inline(always)]
    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Messages that can be received now. Walks the ring.
    pub(crate) fn count(&self) -> u64 {
        self.lane.count(self.head.cursor(), self.lane.shape.size)
    }

    /// Copies the next message, which was found before and has the length of `into`, and acknowledges it.
    #[inline(always)]
    pub(crate) fn take(&mut self, into: &mut [u8]) -> bool {
        self.lane.ring.read(self.message, into);
        let seen_before = self.seen_before;
        self.release(1);
        seen_before
    }

    /// The next values, at most `limit`, of the record that was found before.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn lend(&mut self, limit: usize) -> Loan<'_> {
        assert!(self.left > 0, "lent without a message");
        let count = limit.clamp(1, usize::from(self.left)) as u16;
        Loan { end: self, count }
    }

    /// Wakes the producer, if it sleeps and there is as much room as it asked for. After a fence.
    #[inline(always)]
    pub(crate) fn post_soon(&self) {
        park::post_soon(&self.lane.control().not_full, || self.has_passed_the_mark());
    }

    /// Is a message at the head? Fills in what is known of it.
    #[inline(always)]
    pub(crate) fn front(&mut self) -> bool {
        if self.left > 0 {
            return true;
        }
        let word = self.lane.ring.header(self.head.offset()).load(Acquire); // E1
        if word == 0 {
            return false;
        }
        if word == self.value_header && self.head.index() == 0 {
            (self.left, self.record) = (1, self.value_record);
            self.message = self.head.offset() + self.lane.unit;
            return true;
        }
        self.look_at(word)
    }

    /// I3: checks the header once, and keeps what it says.
    #[inline(never)]
    fn look_at(&mut self, word: u64) -> bool {
        let shape = self.lane.shape;
        let taken = self.head.index();
        let (header, len, fits) = match RecordHeader::from_bits(word) {
            Some(header @ RecordHeader { many: false, .. }) => {
                let known = header.kind == kind::WHOLE || self.takes_parts;
                let fits = shape.value_size == 0 && header.count == 1 && taken == 0 && known;
                (header, u64::from(header.len), fits)
            }
            Some(header @ RecordHeader { many: true, .. }) => {
                let all = u64::from(header.count) * shape.value_size;
                let fits = shape.value_size > 0 && header.count > taken && all == u64::from(header.len);
                (header, shape.value_size, fits)
            }
            None => (RecordHeader::one(0), 0, false),
        };
        let record = self.lane.record_size(u64::from(header.len));
        if !fits || record + GRANULE > shape.size || self.poisoned {
            self.poisoned = true;
            return false;
        }
        (self.left, self.record, self.len) = (header.count - taken, record, len);
        self.kind = header.kind;
        self.message = self.head.offset() + self.lane.unit + u64::from(taken) * len;
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

    /// Where in the ring the record at the head ends.
    fn end_of_record(&self) -> u64 {
        let mut place = self.head;
        place.advance(self.record, self.lane.shape.size);
        place.offset()
    }

    /// Is there as much room as the sleeping producer asked for?
    #[cold]
    fn has_passed_the_mark(&self) -> bool {
        let mark = Cursor::from_bits(self.lane.control().not_full.mark.load(Relaxed));
        // An impossible mark is a broken peer's; waking it is always allowed.
        mark.distance(self.head.cursor(), self.lane.shape.size).is_some()
            || mark.offset >= self.lane.shape.size
    }

    /// Acknowledges the next `taken` messages of the record at the head.
    #[inline(always)]
    fn release(&mut self, taken: u16) {
        self.left -= taken;
        if self.left > 0 {
            self.head.take(taken);
            self.message += u64::from(taken) * self.len;
        } else {
            self.head.next_record(self.record, self.lane.shape.size);
            // Not earlier: the dead one may have held a loan of every value of this record.
            self.seen_before = false;
        }
        let control = self.lane.control();
        control.head.store(self.head.bits(), Release); // E2: the ACKNOWLEDGEMENT
        if self.lane.shape.mode != Mode::Spin {
            self.post_soon();
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
        self.end.lane.ring.slice(self.end.message, self.end.len * u64::from(self.count))
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
