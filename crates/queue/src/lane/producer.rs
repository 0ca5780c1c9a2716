//! The producer's end of a lane: claim, write, commit.
//!
//! Its private copy of the place is exact; its count of free bytes is what it knew at the last look at the
//! consumer's head, and can only be too small. Invariants I1-I4 and edges E1-E4 are those of [`super`].

mod ready;

use core::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::spin_loop;
use ginnel_layout::lane::{Cursor, Role};
use ginnel_layout::record::{COUNT_MAX, GRANULE, RecordHeader};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::Deadline;
use ginnel_sync::park::{self, Mode, Stop, Waiter};

use super::{Lane, LaneError, PLACE_SHIFT, Place, Shape};

pub use ready::ProducerPort;

/// Looks of a producer that has found the lane full and waits a moment for an eighth of the ring instead of for one
/// message's room: while the consumer works it off, both stay out of each other's lines. Bounded, about a
/// microsecond, so that a reply which waits for this very message is only delayed by them.
const PATIENT_LOOKS: u32 = if cfg!(loom) { 1 } else { 8 };

/// Turns of the spin loop between two of these looks.
const TURNS_A_LOOK: u32 = if cfg!(loom) { 1 } else { 8 };

/// The sending end. One at a time; `Send`, not `Sync`.
pub struct Producer {
    end: End,
    waiter: Waiter,
    me: ParticipantId,
}

/// What the hot path touches.
struct End {
    lane: Lane,
    tail: Place,
    free: u64,
    /// Bytes of the record of one value, and its header word: what every single message of a lane of values
    /// takes.
    value_record: u64,
    value_header: u64,
    poisoned: bool,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("lane", &self.end.lane)
            .field("tail", &self.end.tail.cursor())
            .field("free", &self.end.free)
            .finish_non_exhaustive()
    }
}

impl Producer {
    pub(super) fn new(lane: Lane, me: ParticipantId, tail: Cursor) -> Self {
        let waiter = Waiter::new(lane.shape.mode);
        let value_record = lane.record_size(lane.shape.value_size);
        let value_header = RecordHeader::many(lane.shape.value_size as u32, 1).bits();
        let end = End { lane, tail: Place::new(tail), free: 0, value_record, value_header, poisoned: false };
        Self { end, waiter, me }
    }

    /// What was agreed when the lane was made.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.end.lane.shape
    }

    /// Sends `message`, or says why not. Never waits. For a lane of values its length is `value_size`.
    ///
    /// # Errors
    /// `WouldBlock` when full; `Closed` or `PeerDied`; `TooLarge`; `Corrupted`.
    #[inline(always)]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), LaneError> {
        let (header, record) = self.end.record_of(message.len() as u64);
        self.end.make_room_of(record, message.len() as u64)?;
        self.end.write(0, message);
        self.end.publish(header, record);
        Ok(())
    }

    /// Sends as many of `values` (each `value_size` bytes, one after the other) as fit into one record, with
    /// one commit. Gives how many values that were: at least one.
    ///
    /// # Errors
    /// As [`Producer::try_send`]; then nothing was sent.
    #[inline]
    pub fn try_send_values(&mut self, values: &[u8]) -> Result<usize, LaneError> {
        let size = self.end.lane.shape.value_size;
        debug_assert!(
            size > 0 && (values.len() as u64).is_multiple_of(size),
            "a lane of values is given values"
        );
        let fits = self.end.values_that_fit(values.len() as u64 / size)?;
        let len = fits * size;
        self.end.write(0, &values[..len as usize]);
        let header = RecordHeader::many(len as u32, fits as u16).bits();
        self.end.publish(header, self.end.lane.record_size(len));
        Ok(fits as usize)
    }

    /// Sends as many of the messages as fit with one commit: the first header is stored last. Gives how many.
    ///
    /// # Errors
    /// As [`Producer::try_send`] for the first message; then nothing was sent.
    pub fn try_send_batch(&mut self, messages: &[&[u8]]) -> Result<usize, LaneError> {
        let Some(first) = messages.first() else { return Ok(0) };
        self.end.make_room(first.len() as u64)?;
        self.end.write(0, first);
        let (mut at, mut sent) = (self.end.lane.record_size(first.len() as u64), 1);
        for message in &messages[1..] {
            let step = self.end.lane.record_size(message.len() as u64);
            if message.len() as u64 > self.end.lane.shape.len_max() || at + step + GRANULE > self.end.free {
                break;
            }
            self.end.write(at, message);
            let (header, _) = self.end.record_of(message.len() as u64);
            self.end.header_word(at).store(header, Relaxed);
            at += step;
            sent += 1;
        }
        let (header, _) = self.end.record_of(first.len() as u64);
        self.end.publish(header, at);
        Ok(sent)
    }

    /// Sends one record of this kind (one of `layout::record::kind`) whose payload is `parts`, one after the other.
    /// Never waits. For lanes of bytes only.
    ///
    /// # Errors
    /// As [`Producer::try_send`].
    #[inline]
    pub fn try_send_parts(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), LaneError> {
        debug_assert!(self.end.lane.shape.value_size == 0, "a lane of values has no parts");
        let len = parts.iter().map(|part| part.len() as u64).sum();
        let record = self.end.lane.record_size(len);
        self.end.make_room_of(record, len)?;
        let mut at = 0;
        for part in parts {
            self.end.write(at, part);
            at += part.len() as u64;
        }
        self.end.publish(RecordHeader::of_kind(len as u32, kind).bits(), record);
        Ok(())
    }

    /// Where the next record will begin: what a carrier says. It is the same until something is sent.
    #[must_use]
    #[inline]
    pub fn place(&self) -> u64 {
        self.end.tail.bits() >> PLACE_SHIFT
    }

    /// Is there room for a message of `len` bytes? Never waits. After `Ok` there is, until something is sent.
    ///
    /// # Errors
    /// As [`Producer::try_send`].
    #[inline(always)]
    pub fn has_room(&mut self, len: u64) -> Result<(), LaneError> {
        self.end.make_room(len)
    }

    /// A claim on room for a message of `len` bytes, to be written in place.
    ///
    /// # Panics
    /// Unless [`Producer::has_room`] or [`Producer::wait_for_room`] said so for this length before.
    #[inline(always)]
    pub fn claim(&mut self, len: u64) -> Claim<'_> {
        assert!(self.end.record_of(len).1 + GRANULE <= self.end.free, "claimed without room");
        Claim { end: &mut self.end, len }
    }

    /// Waits until a message of `len` bytes would fit; then `try_send` and `claim` find room, as nobody
    /// else sends.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`, `Closed`, `PeerDied`, `TooLarge`, `Corrupted`.
    pub fn wait_for_room(
        &mut self,
        len: u64,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<(), LaneError> {
        let Self { end, waiter, .. } = self;
        let lane = end.lane;
        let shape = lane.shape;
        lane.control().not_full.mark.store(end.mark_for(len).bits(), Relaxed);
        if shape.mode != Mode::Sleep && end.make_much_room(len)? {
            return Ok(());
        }
        // Honest at every look: what is armed for a wake must not be patient.
        let ready = || match end.make_room(len) {
            Err(LaneError::WouldBlock) => None,
            result => Some(result),
        };
        let at_slice_end = || super::probe(lane.not_empty(), liveness);
        match waiter.wait(&lane.control().not_full, deadline, ready, at_slice_end) {
            Ok(result) => result,
            Err(Stop::TimedOut) => Err(LaneError::TimedOut),
            Err(Stop::Interrupted) => Err(LaneError::Interrupted),
        }
    }

    /// Is the peer gone for good, as far as this end knows: closed, or dead and recovered?
    #[must_use]
    pub fn peer_is_gone(&self) -> bool {
        self.end.lane.consumer_is_gone()
    }

    /// Messages sent and not yet released by the consumer. Walks the ring; meant for people.
    #[must_use]
    pub fn len(&self) -> u64 {
        let head = Cursor::from_bits(self.end.lane.control().head.load(Acquire)); // E2
        let bytes = Cursor { index: 0, ..head }.distance(self.end.tail.cursor(), self.end.lane.shape.size);
        bytes.map_or(0, |bytes| self.end.lane.count(head, bytes))
    }

    /// Is nothing on its way?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives the end up: the consumer gets what was sent, then `Closed`.
    pub fn close(self) {
        // Drop does it.
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let control = self.end.lane.control();
        Lane::give_up(&control.not_full.role, self.me, Role::CLOSED, self.end.lane.not_empty());
    }
}

impl End {
    /// Makes sure that a record of `len` bytes fits behind the tail.
    #[inline(always)]
    fn make_room(&mut self, len: u64) -> Result<(), LaneError> {
        self.make_room_of(self.record_of(len).1, len)
    }

    /// The same, for a record of `record` bytes.
    #[inline(always)]
    fn make_room_of(&mut self, record: u64, len: u64) -> Result<(), LaneError> {
        let gone = Role::is_gone(self.lane.not_empty().role.load(Relaxed));
        // `free` is zero in a poisoned end, so one comparison guards both.
        if gone || record + GRANULE > self.free {
            return self.make_room_slowly(len);
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn make_room_slowly(&mut self, len: u64) -> Result<(), LaneError> {
        let lane = self.lane;
        if self.poisoned {
            return Err(LaneError::Corrupted);
        }
        if len > lane.shape.len_max() {
            return Err(LaneError::TooLarge { len, max: lane.shape.len_max() });
        }
        let role = Role::from_bits(lane.not_empty().role.load(Acquire)); // E3
        match role.st {
            Role::CLOSED => return Err(LaneError::Closed),
            Role::DEAD => return Err(LaneError::PeerDied(role.owner)),
            _ => {}
        }
        let head = Cursor::from_bits(lane.control().head.load(Acquire)); // E2
        let used = Cursor { index: 0, ..head }.distance(self.tail.cursor(), lane.shape.size);
        // I3: the head only moves forward, so free room never shrinks behind our back.
        let Some(free) = used.map(|used| lane.shape.size - used).filter(|free| *free >= self.free) else {
            self.poisoned = true;
            self.free = 0;
            return Err(LaneError::Corrupted);
        };
        self.free = free;
        let fits = lane.record_size(len) + GRANULE <= free;
        if fits { Ok(()) } else { Err(LaneError::WouldBlock) }
    }

    /// Where the consumer's head must be before a wake pays: half the ring free, or what the message needs.
    ///
    /// The consumer works the other half off while the wake is under way; were it woken at the first byte, each
    /// message would cost a wake. If the consumer stops before that, the producer sees the room at the end of its
    /// slice; if it drains the lane, it passes the mark.
    fn mark_for(&self, len: u64) -> Cursor {
        let size = self.lane.shape.size;
        let wanted = (self.lane.record_size(len) + GRANULE).max(size / 2).min(size);
        let mark = self.tail.cursor().advance(wanted, size);
        Cursor { lap: mark.lap.wrapping_sub(1), ..mark }
    }

    /// Spins a moment for an eighth of the ring. False: there is less; perhaps enough for this message.
    fn make_much_room(&mut self, len: u64) -> Result<bool, LaneError> {
        for _ in 0..PATIENT_LOOKS {
            match self.make_room(len) {
                Ok(()) if self.free >= self.lane.shape.size / 8 => return Ok(true),
                Ok(()) | Err(LaneError::WouldBlock) => {}
                Err(why) => return Err(why),
            }
            for _ in 0..TURNS_A_LOOK {
                spin_loop();
            }
            // What is known to be free would answer the next look without one.
            self.free = 0;
        }
        Ok(false)
    }

    /// How many of `count` values fit into one record now. At least one.
    #[inline]
    fn values_that_fit(&mut self, count: u64) -> Result<u64, LaneError> {
        let shape = self.lane.shape;
        let most = (shape.len_max() / shape.value_size).min(u64::from(COUNT_MAX));
        let wanted = count.min(most);
        match self.make_room(wanted * shape.value_size) {
            Ok(()) => Ok(wanted),
            Err(LaneError::WouldBlock) => {
                let room = self.free.saturating_sub(2 * shape.room() + GRANULE);
                let fits = (room / shape.value_size).min(wanted);
                if fits == 0 { self.make_room(shape.value_size).map(|()| 1) } else { Ok(fits) }
            }
            Err(why) => Err(why),
        }
    }

    /// The header word and the bytes of the record of one message of `len` bytes.
    #[inline(always)]
    fn record_of(&self, len: u64) -> (u64, u64) {
        if self.lane.shape.value_size == len && len > 0 {
            (self.value_header, self.value_record)
        } else {
            (RecordHeader::one(len as u32).bits(), self.lane.record_size(len))
        }
    }

    #[inline(always)]
    fn header_word(&self, at: u64) -> &ginnel_layout::atomic::AtomicU64 {
        self.lane.ring.header(self.tail.offset() + at)
    }

    /// Writes the payload of the record `at` bytes behind the tail.
    #[inline(always)]
    fn write(&self, at: u64, bytes: &[u8]) {
        self.lane.ring.write(self.tail.offset() + at + self.lane.unit, bytes);
    }

    /// Steps 2, 3, 4 and the wake: everything up to `bytes` behind the tail becomes visible at once.
    #[inline(always)]
    fn publish(&mut self, header: u64, bytes: u64) {
        self.header_word(bytes).store(0, Relaxed);
        self.header_word(0).store(header, Release); // E1: the COMMIT
        self.tail.advance(bytes, self.lane.shape.size);
        self.free -= bytes;
        let control = self.lane.control();
        control.tail.store(self.tail.bits(), Relaxed);
        if let Some(not_empty) = self.lane.posted() {
            park::post(not_empty);
        }
    }
}

/// Room for one message, to be written in place. `commit` sends it; dropping it sends nothing.
pub struct Claim<'a> {
    end: &'a mut End,
    len: u64,
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Claim<'_> {
    /// Where the message is to be written. Holds old bytes.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.end.lane.ring.slice(self.end.tail.offset() + self.end.lane.unit, self.len)
    }

    /// Where the message is to be written. Holds old bytes.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.end.lane.ring.slice_mut(self.end.tail.offset() + self.end.lane.unit, self.len)
    }

    /// Sends the first `len` bytes of it, at most what was claimed.
    #[inline(always)]
    pub fn commit(self, len: u64) {
        let len = len.min(self.len);
        let (header, record) = self.end.record_of(len);
        self.end.publish(header, record);
    }
}
