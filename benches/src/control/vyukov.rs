//! `vyukov`: the bare queue of slots for many producers and many consumers, as Dmitry Vyukov described it. Each slot
//! has a turn; a producer takes a position by moving the tail, a consumer by moving the head, and nobody writes down
//! who did. Whoever finds it full or empty spins, with PAUSE. A process that dies between taking a position and
//! finishing it stops everybody for ever: that is what our rings pay not to have.
//!
//! ```text
//! 0     tail   u64   the next position to be written
//! 128   head   u64   the next position to be read
//! 4096  slots        a power of two; each a multiple of 64 bytes, as those of `ring`:
//!         0   turn  u64   p: free for position p; p + 1: holds its message; p + capacity: free again
//!         16  payload
//! ```
//! Messages are written in a private buffer and copied in, copied out into one and checked there, as `ring` does.
//!
//! Invariants:
//! - I1: a slot whose turn is `p` belongs to the producer that moved the tail from `p`, one whose turn is `p + 1` to
//!   the consumer that moved the head from `p`; nobody else touches its payload.
//! - I2: a slot changes hands by a release store of its turn and an acquire load of it.
//! - I3: the region outlives all ends, which borrow it; `mask + 1` slots of `slot_words` words begin at its page 1.
#![allow(unsafe_code, reason = "slots are memory that belongs to one end at a time")]

use std::ptr::NonNull;

use ginnel_layout::atomic::{AtomicU64, Ordering, spin_loop};
use ginnel_layout::line::{LINE, PAGE};

use crate::fault::Fault;
use crate::memory::Region;
use crate::payload::{Accept, Size, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// Words in front of the payload: the turn, and as much again, to be as large as a slot of `ring`.
const HEADER_WORDS: usize = 2;
/// A slot is a multiple of this.
const SLOT_ALIGN: usize = 64;

/// A queue of `capacity` messages.
#[derive(Debug)]
pub struct Vyukov<S> {
    region: Region,
    capacity: usize,
    slot_words: usize,
    size: S,
}

impl<S: Size> Vyukov<S> {
    /// An empty queue for `capacity` messages, rounded up to a power of two.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn new(size: S, capacity: usize) -> Result<Self, Fault> {
        let capacity = capacity.next_power_of_two();
        let slot_size = (HEADER_WORDS * 8 + size.bytes()).next_multiple_of(SLOT_ALIGN);
        let region = Region::new(PAGE + capacity * slot_size)?;
        for index in 0..capacity {
            region.word64(PAGE + index * slot_size).store(index as u64, Ordering::Relaxed);
        }
        Ok(Self { region, capacity, slot_words: slot_size / 8, size })
    }

    /// The queue, as each of its ends sees it.
    pub fn queue(&self) -> Queue<'_, S> {
        Queue {
            tail: self.region.word64(0),
            head: self.region.word64(LINE),
            slots: self.region.words(PAGE, self.capacity * self.slot_words),
            mask: self.capacity as u64 - 1,
            slot_words: self.slot_words,
            size: self.size,
        }
    }

    fn end(&self) -> End<'_, S> {
        End { queue: self.queue(), private: vec![0; self.size.words()] }
    }
}

impl<S: Size> Transport for Vyukov<S> {
    type Size = S;
    type Producer<'a> = End<'a, S>;
    type Consumer<'a> = End<'a, S>;

    fn size(&self) -> S {
        self.size
    }

    fn producer(&self) -> Result<End<'_, S>, Fault> {
        Ok(self.end())
    }

    fn consumer(&self) -> Result<End<'_, S>, Fault> {
        Ok(self.end())
    }
}

/// The queue in one process.
#[derive(Debug)]
pub struct Queue<'a, S> {
    tail: &'a AtomicU64,
    head: &'a AtomicU64,
    slots: NonNull<u64>,
    mask: u64,
    slot_words: usize,
    size: S,
}

impl<S: Size> Queue<'_, S> {
    #[inline(always)]
    fn slot(&self, position: u64) -> NonNull<u64> {
        let index = (position & self.mask) as usize;
        // SAFETY: I3, the masked index is below the number of slots.
        unsafe { self.slots.add(index * self.slot_words) }
    }

    #[inline(always)]
    fn turn(&self, position: u64) -> &AtomicU64 {
        // SAFETY: I3, a slot begins with its turn, which nobody ever writes but as an atomic word.
        unsafe { self.slot(position).cast::<AtomicU64>().as_ref() }
    }

    #[inline(always)]
    fn payload(&self, position: u64) -> NonNull<u64> {
        // SAFETY: I3, a slot is longer than its header.
        unsafe { self.slot(position).add(HEADER_WORDS) }
    }

    /// Takes the next position of `end` whose slot has the turn that is `ahead` of it.
    #[inline(always)]
    fn take(&self, end: &AtomicU64, ahead: u64) -> u64 {
        let mut position = end.load(Ordering::Relaxed);
        loop {
            let turn = self.turn(position).load(Ordering::Acquire);
            if turn == position + ahead {
                match end.compare_exchange(position, position + 1, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return position,
                    Err(moved) => position = moved,
                }
            } else {
                if turn < position + ahead {
                    // Full, or empty; or somebody has taken the position and not finished.
                    spin_loop();
                }
                position = end.load(Ordering::Relaxed);
            }
        }
    }

    /// Sends the message at the beginning of `words`; spins while the queue is full.
    ///
    /// # Panics
    /// Where `words` is shorter than a message.
    #[inline(always)]
    pub fn push(&self, words: &[u64]) {
        let message = &words[..self.size.words()];
        let position = self.take(self.tail, 0);
        // SAFETY: I1, the slot is ours until its turn changes; it has room for a message (I3).
        unsafe {
            self.payload(position).copy_from_nonoverlapping(NonNull::from(message).cast(), message.len())
        };
        self.turn(position).store(position + 1, Ordering::Release);
    }

    /// Receives a message to the beginning of `words`; spins while the queue is empty.
    ///
    /// # Panics
    /// Where `words` is shorter than a message.
    #[inline(always)]
    pub fn pop(&self, words: &mut [u64]) {
        let message = &mut words[..self.size.words()];
        let position = self.take(self.head, 1);
        let into = NonNull::from(&mut *message).cast();
        // SAFETY: I1, the slot is ours until its turn changes; it holds a message (I3).
        unsafe { self.payload(position).copy_to_nonoverlapping(into, message.len()) };
        self.turn(position).store(position + self.mask + 1, Ordering::Release);
    }
}

/// Either end; there may be many of each.
#[derive(Debug)]
pub struct End<'a, S> {
    queue: Queue<'a, S>,
    private: Vec<u64>,
}

impl<S: Size> Producer<S> for End<'_, S> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<S>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            writer.fill(&mut self.private);
            self.queue.push(&self.private);
        }
        Ok(())
    }
}

impl<S: Size> Consumer<S> for End<'_, S> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<S>, _limit: usize) -> Result<(), Stop> {
        self.queue.pop(&mut self.private);
        checker.accept(self.private.len() * 8, &self.private)
    }
}
