//! A lane in its simplest form, correct or broken on purpose: what the harness is tried on.
//!
//! It lives on the words of a real lane (`ginnel_layout::lane`): the same control page, the same headers in the ring,
//! so the broken one can be put under a real consumer of values as well. It sends whole words, wakes nobody and takes no role.
//!
//! | order | steps of a send | killed in between |
//! |---|---|---|
//! | [`Order::PayloadFirst`] | payload, next header cleared, header | nothing was sent, or everything |
//! | [`Order::CommitFirst`] | next header cleared, header, payload | a consumer sees bytes that nobody sent |
//! | [`Order::NoClear`] | payload, header | a consumer takes old payload for a header, once round the ring |

pub mod vyukov;

use std::mem::offset_of;

use ginnel_layout::atomic::Ordering;
use ginnel_layout::lane::{Cursor, LaneControl, RING_AT};
use ginnel_layout::record::{GRANULE, RecordHeader, is_published};

use crate::scratch::View;

/// In which order a send does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The right one.
    PayloadFirst,
    /// Commits before it has written: must be caught.
    CommitFirst,
    /// Does not clear the header behind the message: must be caught.
    NoClear,
}

/// Both ends of a lane in a mapped file.
#[derive(Debug)]
pub struct ToyLane {
    view: View,
    at: usize,
    size: u64,
    order: Order,
}

const TAIL: usize = offset_of!(LaneControl, tail) / 8;
const HEAD: usize = offset_of!(LaneControl, head) / 8;
const RING: usize = RING_AT as usize / 8;

impl ToyLane {
    /// Words that a lane with a ring of `size` bytes takes.
    #[must_use]
    pub const fn words(size: u64) -> usize {
        RING + (size / 8) as usize
    }

    /// The lane whose control page begins at byte `offset` of `view`, with a ring of `size` bytes.
    ///
    /// # Panics
    /// When the view is too small.
    #[must_use]
    pub fn new(view: View, offset: u64, size: u64, order: Order) -> Self {
        let at = (offset / 8) as usize;
        assert!(at + Self::words(size) <= view.words(), "a ring of {size} bytes at {offset} does not fit");
        Self { view, at, size, order }
    }

    /// Sends one message; false: there is no room. A sender that takes over from a dead one walks over what that one
    /// had committed without noting it.
    #[must_use]
    pub fn send(&self, message: &[u64]) -> bool {
        let mut tail = self.cursor(TAIL);
        while let Some(header) =
            RecordHeader::from_bits(self.ring(tail, 0)).filter(|_| self.used(tail) < self.size)
        {
            tail = tail.advance(GRANULE + u64::from(header.len), self.size);
        }
        // Noted at once: if the consumer took the message first, the old tail would lie behind the head.
        self.set_cursor(TAIL, tail);
        let need = GRANULE * (1 + message.len() as u64);
        if self.used(tail) + need + GRANULE > self.size {
            return false;
        }
        let header = RecordHeader::many(8 * message.len() as u32, 1).bits();
        if self.order == Order::CommitFirst {
            self.set_ring(tail, need / GRANULE, 0);
            self.set_ring(tail, 0, header);
        }
        for (index, word) in message.iter().enumerate() {
            self.set_ring(tail, 1 + index as u64, *word);
        }
        if self.order == Order::PayloadFirst {
            self.set_ring(tail, need / GRANULE, 0);
        }
        if self.order != Order::CommitFirst {
            self.set_ring(tail, 0, header);
        }
        self.set_cursor(TAIL, tail.advance(need, self.size));
        true
    }

    /// Takes one message. `Err`: the header is none that a sender writes.
    ///
    /// # Errors
    /// The word that stands where a header should.
    pub fn recv(&self) -> Result<Option<Vec<u64>>, u64> {
        let head = self.cursor(HEAD);
        let word = self.ring(head, 0);
        if !is_published(word) {
            return Ok(None);
        }
        let header = RecordHeader::from_bits(word).ok_or(word)?;
        let length = u64::from(header.len) / GRANULE;
        if GRANULE * (length + 2) > self.size {
            return Err(word);
        }
        let message = (0..length).map(|index| self.ring(head, 1 + index)).collect();
        self.set_cursor(HEAD, head.advance(GRANULE * (1 + length), self.size));
        Ok(Some(message))
    }

    fn used(&self, tail: Cursor) -> u64 {
        self.cursor(HEAD).distance(tail, self.size).unwrap_or(self.size)
    }

    fn cursor(&self, word: usize) -> Cursor {
        Cursor::from_bits(self.view.word(self.at + word).load(Ordering::Acquire))
    }

    fn set_cursor(&self, word: usize, place: Cursor) {
        self.view.word(self.at + word).store(place.bits(), Ordering::Release);
    }

    fn ring(&self, place: Cursor, word: u64) -> u64 {
        self.view.word(self.index(place, word)).load(Ordering::Acquire)
    }

    fn set_ring(&self, place: Cursor, word: u64, value: u64) {
        self.view.word(self.index(place, word)).store(value, Ordering::Release);
    }

    fn index(&self, place: Cursor, word: u64) -> usize {
        self.at + RING + (((place.offset + GRANULE * word) % self.size) / GRANULE) as usize
    }
}
