//! The receiving end: look, check, copy out, release. It reads the other's half, and writes into its own.
//!
//! Invariants I1-I5 and edges E1-E5 are those of [`super`].

use core::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_layout::atomic::fence;
use ginnel_layout::peer::closed;
use ginnel_layout::record::{GRANULE, RecordHeader};
use ginnel_sync::Deadline;
use ginnel_sync::park::{Mode, Waiter};

use super::{Fate, OtherHalf, OwnHalf, Requests, Served, What, is_ring_size, record_size};
use crate::lane::LaneError;

/// The receiving end of one side. One at a time; `Send`, not `Sync`.
pub struct Receiver {
    end: End,
    waiter: Waiter,
}

/// What the hot path touches.
struct End {
    own: OwnHalf,
    other: OtherHalf,
    size: u64,
    /// Bytes taken since the beginning.
    head: u64,
    /// The same as a place in the ring.
    offset: u64,
    /// The record that was found there; its bytes are 0 while none was.
    found: Found,
    served: Served,
    fate: Fate,
    /// This end was given up.
    closed: bool,
}

/// A record whose header was looked at and found possible. It is never looked at again.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    /// Bytes of the record.
    record: u64,
    /// Bytes of its payload.
    len: u64,
    kind: u8,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("other", &self.end.other)
            .field("head", &self.end.head)
            .field("found", &self.end.found)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    pub(super) fn new(own: OwnHalf, other: OtherHalf, mode: Mode, fate: Fate) -> Self {
        let size = other.size();
        assert!(is_ring_size(size), "a ring of {size} bytes is none");
        let end = End {
            own,
            other,
            size,
            head: 0,
            offset: 0,
            found: Found::default(),
            served: Served::default(),
            fate,
            closed: false,
        };
        Self { end, waiter: Waiter::new(mode) }
    }

    /// Length in bytes and kind of the next record, if one is there. It stays where it is.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; `Closed` when nothing is there and nothing will come, or this end was given up;
    /// `Corrupted`.
    #[inline]
    pub fn peek(&mut self) -> Result<(u64, u8), LaneError> {
        self.end.look()?;
        Ok((self.end.found.len, self.end.found.kind))
    }

    /// Copies bytes of the record that [`Receiver::peek`] found, from `at` bytes behind its beginning, until it ends or
    /// `into` is full; how many that were. The record stays.
    ///
    /// The other side may change its memory at any time, so what was read twice may differ: read each byte once, then look
    /// at the copy.
    #[inline]
    pub fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let count = self.end.rest(at).min(into.len() as u64) as usize;
        self.end.other.read(self.end.place(at), &mut into[..count]);
        count
    }

    /// Copies the record that [`Receiver::peek`] found, from `at` bytes behind its beginning to its end, to the end of
    /// `into`, which grows by no more than that. The record stays. As for [`Receiver::read`], read each byte once.
    pub fn append(&self, at: u64, into: &mut Vec<u8>) {
        self.end.other.append(self.end.place(at), self.end.rest(at) as usize, into);
    }

    /// Acknowledges the record that [`Receiver::peek`] found; nothing happens if none was. True: the other side polls for
    /// room, and the caller owes it a byte over the socket.
    #[inline]
    pub fn release(&mut self) -> bool {
        self.end.release()
    }

    /// Waits until a record is there.
    ///
    /// `alive` is asked at the end of each slice (20 to 50 ms): false means that the other side is gone for good. What it had
    /// committed is given before that is told.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`, `Closed`, `PeerDied(None)` as `alive` said, `Corrupted`.
    pub fn wait(&mut self, deadline: Deadline, alive: impl FnMut() -> bool) -> Result<(), LaneError> {
        let Self { end, waiter } = self;
        let (other, requests) = (end.other, end.requests());
        requests.wait(other, waiter, deadline, || end.look(), alive)
    }

    /// Asks for a byte over the socket as soon as a record is there, for one that is about to poll. True: it is asked for,
    /// and one byte will come. False: look now; there is a record, or the end.
    ///
    /// Drain the socket before, not after.
    #[must_use]
    pub fn arm(&self) -> bool {
        self.end.requests().poll(|| self.end.is_ready())
    }

    /// No byte is needed any more. One may be on its way.
    pub fn disarm(&self) {
        self.end.requests().turn_away();
    }

    /// Is there a record to look at, or the end?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.end.is_ready()
    }

    /// For one who found that what the records say cannot come from a correct side: from now on both ends of this side are
    /// done with it, as if this file had found it.
    pub fn condemn(&self) {
        self.end.fate.seal();
    }

    /// Gives the end up: the other side's sends fail with `Closed` from now on. True: a byte is owed. Dropping the end does
    /// the same, without the byte.
    pub fn close(&mut self) -> bool {
        self.end.close()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.end.close();
    }
}

impl End {
    fn requests(&self) -> Requests {
        Requests { own: self.own, what: What::Message }
    }

    /// Finds the record at the head.
    #[inline(always)]
    fn look(&mut self) -> Result<(), LaneError> {
        if self.found.record > 0 {
            return Ok(());
        }
        let word = self.other.header(self.offset);
        if word == 0 || self.fate.is_sealed() || self.closed {
            return self.why_nothing();
        }
        fence(Acquire); // E1
        self.check(word)
    }

    /// I3: checks the header once, and keeps what it says.
    #[inline(always)]
    fn check(&mut self, word: u64) -> Result<(), LaneError> {
        if let Some(RecordHeader { len, count: 1, many: false, kind }) = RecordHeader::from_bits(word) {
            let (len, record) = (u64::from(len), record_size(u64::from(len)));
            // I5: room for the zero behind it. So the payload ends within the second image of the ring.
            if record + GRANULE <= self.size {
                self.found = Found { record, len, kind };
                return Ok(());
            }
        }
        self.fate.seal();
        Err(LaneError::Corrupted)
    }

    /// Nothing is at the head: is that all there will ever be?
    #[cold]
    #[inline(never)]
    fn why_nothing(&mut self) -> Result<(), LaneError> {
        if self.fate.is_sealed() {
            return Err(LaneError::Corrupted);
        }
        if self.closed {
            return Err(LaneError::Closed);
        }
        if self.other.closed() & closed::SENDER == 0 {
            return Err(LaneError::WouldBlock);
        }
        fence(Acquire); // E3
        match self.other.header(self.offset) {
            0 => Err(LaneError::Closed),
            word => {
                fence(Acquire); // E1
                self.check(word)
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.found.record > 0
            || self.closed
            || self.fate.is_sealed()
            || self.other.header(self.offset) != 0
            || self.other.closed() & closed::SENDER != 0
    }

    /// Bytes of the record from `at` on.
    fn rest(&self, at: u64) -> u64 {
        self.found.len.saturating_sub(at)
    }

    /// Where byte `at` of its payload lies, or where the payload ends if it has fewer.
    fn place(&self, at: u64) -> u64 {
        self.offset + GRANULE + at.min(self.found.len)
    }

    #[inline(always)]
    fn release(&mut self) -> bool {
        let record = self.found.record;
        if record == 0 {
            return false;
        }
        self.found = Found::default();
        self.head = self.head.wrapping_add(record);
        self.offset += record;
        if self.offset >= self.size {
            self.offset -= self.size;
        }
        self.own.control().head.store(self.head, Release); // E2: the ACKNOWLEDGEMENT
        let (head, other) = (self.head, self.other);
        let passed = || head.wrapping_sub(other.mark()) <= u64::MAX / 2;
        self.served.look(self.own, self.other, What::Room, passed)
    }

    fn close(&mut self) -> bool {
        if self.closed {
            return false;
        }
        self.closed = true;
        self.own.control().wants.closed.fetch_or(closed::RECEIVER, Release); // E3
        self.served.look(self.own, self.other, What::Room, || true)
    }
}
