//! The sending end: gather, commit, tell. It writes into its own half only.
//!
//! Its private count of free bytes is what it knew at the last look at the other's head, and can only be too small.
//! Invariants I1-I5 and edges E1-E5 are those of [`super`].

use core::fmt;

use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::atomic::spin_loop;
use ginnel_layout::peer::closed;
use ginnel_layout::record::{GRANULE, RecordHeader};
use ginnel_sync::Deadline;
use ginnel_sync::park::{Mode, Waiter};

use super::{Fate, OtherHalf, OwnHalf, Requests, Served, What, is_ring_size, record_size};
use crate::lane::LaneError;

/// Looks of a sender that has found its ring full and waits a moment for an eighth of it instead of for one record's room:
/// while the other works it off, both stay out of each other's lines. Bounded, about a microsecond.
const PATIENT_LOOKS: u32 = if cfg!(loom) { 1 } else { 8 };

/// Turns of the spin loop between two of these looks.
const TURNS_A_LOOK: u32 = if cfg!(loom) { 1 } else { 8 };

/// The sending end of one side. One at a time; `Send`, not `Sync`.
pub struct Sender {
    end: End,
    mode: Mode,
    waiter: Waiter,
}

/// What the hot path touches.
struct End {
    own: OwnHalf,
    other: OtherHalf,
    size: u64,
    /// Bytes sent since the beginning: where the next record begins.
    tail: u64,
    /// The same as a place in the ring.
    offset: u64,
    /// Bytes known to be free behind it.
    free: u64,
    served: Served,
    fate: Fate,
    /// This end was given up.
    closed: bool,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("own", &self.end.own)
            .field("tail", &self.end.tail)
            .field("free", &self.end.free)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub(super) fn new(own: OwnHalf, other: OtherHalf, mode: Mode, fate: Fate) -> Self {
        let size = own.ring().size();
        assert!(is_ring_size(size), "a ring of {size} bytes is none");
        let served = Served::default();
        let end = End { own, other, size, tail: 0, offset: 0, free: size, served, fate, closed: false };
        Self { end, mode, waiter: Waiter::new(mode) }
    }

    /// The longest payload of a record, in bytes.
    #[must_use]
    pub fn len_max(&self) -> u64 {
        self.end.len_max()
    }

    /// Sends one record: `parts`, one after the other, under `kind` (one of `layout::record::kind`). Never waits. True: the
    /// other side polls, and the caller owes it a byte over the socket.
    ///
    /// # Errors
    /// `WouldBlock` when full; `Closed` when the other side receives no more, or this end was given up; `TooLarge`;
    /// `Corrupted`. Then nothing was sent.
    #[inline]
    pub fn try_send(&mut self, kind: u8, parts: &[&[u8]]) -> Result<bool, LaneError> {
        let len = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.len() as u64));
        self.end.make_room(len)?;
        let mut at = self.end.offset + GRANULE;
        for part in parts {
            self.end.own.ring().write(at, part);
            at += part.len() as u64;
        }
        Ok(self.end.publish(RecordHeader::of_kind(len as u32, kind).bits(), record_size(len)))
    }

    /// Is there room for a record of `len` bytes? Never waits. After `Ok` there is, until something is sent.
    ///
    /// # Errors
    /// As [`Sender::try_send`].
    #[inline]
    pub fn has_room(&mut self, len: u64) -> Result<(), LaneError> {
        self.end.make_room(len)
    }

    /// Waits until a record of `len` bytes would fit.
    ///
    /// `alive` is asked at the end of each slice (20 to 50 ms): false means that the other side is gone for good.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`, `Closed`, `PeerDied(None)` as `alive` said, `TooLarge`, `Corrupted`.
    pub fn wait_for_room(
        &mut self,
        len: u64,
        deadline: Deadline,
        alive: impl FnMut() -> bool,
    ) -> Result<(), LaneError> {
        let Self { end, mode, waiter } = self;
        if *mode != Mode::Sleep && end.make_much_room(len)? {
            return Ok(());
        }
        let (other, requests) = (end.other, end.requests());
        end.own.control().wants.mark.store(end.mark_for(len, end.size / 2), Relaxed);
        requests.wait(other, waiter, deadline, || end.make_room(len), alive)
    }

    /// Asks for a byte over the socket as soon as a record of `len` bytes fits, for one that is about to poll. True: it is
    /// asked for, and one byte will come. False: look now; there is room, or there will never be any.
    ///
    /// Drain the socket before, not after.
    #[must_use]
    pub fn arm(&self, len: u64) -> bool {
        let end = &self.end;
        end.own.control().wants.mark.store(end.mark_for(len, 0), Relaxed);
        end.requests().poll(|| end.is_ready(len))
    }

    /// No byte is needed any more. One may be on its way.
    pub fn disarm(&self) {
        self.end.requests().turn_away();
    }

    /// Would a send of `len` bytes be told something else than `WouldBlock`: is there room, or the end of it?
    #[must_use]
    pub fn is_ready(&self, len: u64) -> bool {
        self.end.is_ready(len)
    }

    /// Was the other side found to have written what no correct one does, by this end or by the other one of this side?
    #[must_use]
    pub fn is_corrupted(&self) -> bool {
        self.end.fate.is_sealed()
    }

    /// Is this end of no use any more: given up, refused by the other side, or at odds with it?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.end.is_over()
    }

    /// Gives the end up: the other side gets what was sent, then `Closed`. True: a byte is owed. Dropping the end does the
    /// same, without the byte.
    pub fn close(&mut self) -> bool {
        self.end.close()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.end.close();
    }
}

impl End {
    fn len_max(&self) -> u64 {
        self.size - 2 * GRANULE
    }

    fn requests(&self) -> Requests {
        Requests { own: self.own, what: What::Room }
    }

    /// Makes sure that a record of `len` bytes fits behind the tail.
    #[inline(always)]
    fn make_room(&mut self, len: u64) -> Result<(), LaneError> {
        if self.is_over() || record_size(len) + GRANULE > self.free {
            return self.make_room_slowly(len);
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn make_room_slowly(&mut self, len: u64) -> Result<(), LaneError> {
        if self.fate.is_sealed() {
            return Err(LaneError::Corrupted);
        }
        if len > self.len_max() {
            return Err(LaneError::TooLarge { len, max: self.len_max() });
        }
        if self.is_over() {
            return Err(LaneError::Closed);
        }
        let Some(free) = self.free_at(self.other.head()) else {
            self.fate.seal();
            return Err(LaneError::Corrupted);
        };
        self.free = free;
        let fits = record_size(len) + GRANULE <= free;
        if fits { Ok(()) } else { Err(LaneError::WouldBlock) }
    }

    /// Bytes free if the other side has taken everything up to `head`. None: it cannot have (I3, I5). What was known to be
    /// free stays so, as a head only moves forward.
    fn free_at(&self, head: u64) -> Option<u64> {
        let used = self.tail.wrapping_sub(head);
        let possible = used <= self.size - self.free && head.is_multiple_of(GRANULE);
        possible.then(|| self.size - used)
    }

    /// Is there something to be told at once to one who wants to send `len` bytes?
    fn is_ready(&self, len: u64) -> bool {
        let fits = |free| record_size(len) + GRANULE <= free;
        self.is_over() || len > self.len_max() || self.free_at(self.other.head()).is_none_or(fits)
    }

    #[inline(always)]
    fn is_over(&self) -> bool {
        self.closed || self.fate.is_sealed() || self.other.closed() & closed::RECEIVER != 0
    }

    /// Where the other's head must be before it tells us: what the record needs, or `least` bytes free if that is more.
    fn mark_for(&self, len: u64, least: u64) -> u64 {
        let wanted = (record_size(len) + GRANULE).max(least).min(self.size);
        self.tail.wrapping_add(wanted).wrapping_sub(self.size)
    }

    /// Spins a moment for an eighth of the ring. False: there is less; perhaps enough for this record.
    fn make_much_room(&mut self, len: u64) -> Result<bool, LaneError> {
        for _ in 0..PATIENT_LOOKS {
            match self.make_room_slowly(len) {
                Ok(()) if self.free >= self.size / 8 => return Ok(true),
                Ok(()) | Err(LaneError::WouldBlock) => {}
                Err(why) => return Err(why),
            }
            for _ in 0..TURNS_A_LOOK {
                spin_loop();
            }
        }
        Ok(false)
    }

    /// Steps 2, 3, 4: the record of `bytes` that was written behind the tail becomes visible.
    #[inline(always)]
    fn publish(&mut self, header: u64, bytes: u64) -> bool {
        let ring = self.own.ring();
        ring.header(self.offset + bytes).store(0, Relaxed);
        ring.header(self.offset).store(header, Release); // E1: the COMMIT
        self.tail = self.tail.wrapping_add(bytes);
        self.free -= bytes;
        self.offset += bytes;
        if self.offset >= self.size {
            self.offset -= self.size;
        }
        self.served.look(self.own, self.other, What::Message, || true)
    }

    fn close(&mut self) -> bool {
        if self.closed {
            return false;
        }
        self.closed = true;
        self.own.control().wants.closed.fetch_or(closed::SENDER, Release); // E3
        self.served.look(self.own, self.other, What::Message, || true)
    }
}
