//! `limit-index`: the bare ring. Two positions on lines of their own, each end keeps a copy of the other's
//! position and looks again only when the copy says full or empty. It neither waits (it spins, with PAUSE)
//! nor survives anything. A single message is written in place and read in place. A batch is published with one
//! store and given back with one; it is handed over as an array, as by every interface that knows batches: the
//! producer writes a private array and copies it in, the consumer copies it out and checks the copy.
//!
//! ```text
//! 0     tail   u64   written by the producer: messages ever sent
//! 128   head   u64   written by the consumer: messages ever taken
//! 4096  slots        a power of two, each as large as a message
//! ```
//! Invariants:
//! - I1: `head <= tail <= head + slots`; slot `p % slots` belongs to the consumer for `head <= p < tail`, to the
//!   producer otherwise. Each end touches only slots that are its own.
//! - I2: a slot changes hands by a release store of a position and an acquire load of it by the other end.
//! - I3: the region outlives both ends, which borrow it; `slots` places of `words` words begin at its page 1.
#![allow(unsafe_code, reason = "slots are memory that belongs to one end at a time")]

use std::ptr::NonNull;

use ginnel_layout::atomic::{AtomicU64, Ordering, spin_loop};
use ginnel_layout::line::{LINE, PAGE};

use crate::fault::Fault;
use crate::memory::Region;
use crate::payload::{Accept, Size, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// A ring of `slots` messages.
#[derive(Debug)]
pub struct Index<S> {
    region: Region,
    slots: usize,
    size: S,
    batch: usize,
}

impl<S: Size> Index<S> {
    /// An empty ring for `slots` messages, rounded up to a power of two.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn new(size: S, slots: usize, batch: usize) -> Result<Self, Fault> {
        let slots = slots.next_power_of_two();
        Ok(Self { region: Region::new(PAGE + slots * size.bytes())?, slots, size, batch })
    }

    fn end(&self) -> End<'_, S> {
        let words = if self.batch > 1 { self.batch * self.size.words() } else { 0 };
        End {
            tail: self.region.word64(0),
            head: self.region.word64(LINE),
            slots: self.region.words(PAGE, self.slots * self.size.words()),
            mask: self.slots as u64 - 1,
            size: self.size,
            own: 0,
            other: 0,
            private: vec![0; words],
        }
    }
}

impl<S: Size> Transport for Index<S> {
    type Size = S;
    type Producer<'a> = IndexProducer<'a, S>;
    type Consumer<'a> = IndexConsumer<'a, S>;

    fn size(&self) -> S {
        self.size
    }

    fn producer(&self) -> Result<IndexProducer<'_, S>, Fault> {
        Ok(IndexProducer(self.end()))
    }

    fn consumer(&self) -> Result<IndexConsumer<'_, S>, Fault> {
        Ok(IndexConsumer(self.end()))
    }
}

/// What both ends hold. `own` is exact, `other` may lag behind the other end's position. `private` is the array
/// of a batch.
#[derive(Debug)]
struct End<'a, S> {
    tail: &'a AtomicU64,
    head: &'a AtomicU64,
    slots: NonNull<u64>,
    mask: u64,
    size: S,
    own: u64,
    other: u64,
    private: Vec<u64>,
}

impl<S: Size> End<'_, S> {
    #[inline(always)]
    fn slot(&self, position: u64) -> NonNull<u64> {
        let index = (position & self.mask) as usize;
        // SAFETY: I3, the masked index is below the number of slots.
        unsafe { self.slots.add(index * self.size.words()) }
    }

    /// Messages from `own` on that lie in one piece, at most `count`.
    #[inline(always)]
    fn in_one_piece(&self, count: usize) -> usize {
        count.min((self.mask + 1 - (self.own & self.mask)) as usize)
    }
}

/// The sending end.
#[derive(Debug)]
pub struct IndexProducer<'a, S>(End<'a, S>);

impl<S: Size> IndexProducer<'_, S> {
    /// Spins until there is room for `count` messages.
    #[inline(always)]
    fn wait_for_room(&mut self, count: usize) {
        let end = &mut self.0;
        let next = end.own + count as u64;
        while next - end.other > end.mask + 1 {
            end.other = end.head.load(Ordering::Acquire);
            if next - end.other > end.mask + 1 {
                spin_loop();
            }
        }
    }

    /// Copies the first `count` messages of the private array into the ring.
    #[inline(always)]
    fn copy_in(&mut self, count: usize) {
        let end = &self.0;
        let words = end.size.words();
        let first = end.in_one_piece(count);
        let (left, right) = end.private[..count * words].split_at(first * words);
        // SAFETY: I1, these slots are behind the consumer's head, and they lie in one piece (I3).
        unsafe { end.slot(end.own).copy_from_nonoverlapping(NonNull::from(left).cast(), left.len()) };
        // SAFETY: I1, I3, as above, for those that begin at slot 0 again; there may be none.
        unsafe { end.slots.copy_from_nonoverlapping(NonNull::from(right).cast(), right.len()) };
    }
}

impl<S: Size> Producer<S> for IndexProducer<'_, S> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<S>, count: usize) -> Result<(), Fault> {
        let words = writer.size().words();
        if count == 1 {
            self.wait_for_room(1);
            // SAFETY: I1, the slot is behind the consumer's head, so nobody else touches it until we publish.
            let slot = unsafe { std::slice::from_raw_parts_mut(self.0.slot(self.0.own).as_ptr(), words) };
            writer.fill(slot);
        } else {
            for message in self.0.private[..count * words].chunks_exact_mut(words) {
                writer.fill(message);
            }
            self.wait_for_room(count);
            self.copy_in(count);
        }
        let end = &mut self.0;
        end.own += count as u64;
        end.tail.store(end.own, Ordering::Release);
        Ok(())
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct IndexConsumer<'a, S>(End<'a, S>);

impl<S: Size> IndexConsumer<'_, S> {
    /// Copies the next `count` messages into the private array.
    #[inline(always)]
    fn copy_out(&mut self, count: usize) {
        let words = self.0.size.words();
        let (first, start) = (self.0.in_one_piece(count), self.0.slot(self.0.own));
        let slots = self.0.slots;
        let (left, right) = self.0.private[..count * words].split_at_mut(first * words);
        // SAFETY: I1, these slots are before the producer's tail, and they lie in one piece (I3).
        unsafe { start.copy_to_nonoverlapping(NonNull::from(&mut *left).cast(), left.len()) };
        // SAFETY: I1, I3, as above, for those that begin at slot 0 again; there may be none.
        unsafe { slots.copy_to_nonoverlapping(NonNull::from(&mut *right).cast(), right.len()) };
    }
}

impl<S: Size> Consumer<S> for IndexConsumer<'_, S> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<S>, limit: usize) -> Result<(), Stop> {
        while self.0.other == self.0.own {
            self.0.other = self.0.tail.load(Ordering::Acquire);
            if self.0.other == self.0.own {
                spin_loop();
            }
        }
        let words = checker.size().words();
        if limit == 1 {
            let end = &mut self.0;
            // SAFETY: I1, the slot is before the producer's tail, so it is ours until we give it back.
            let slot = unsafe { std::slice::from_raw_parts(end.slot(end.own).as_ptr(), words) };
            checker.accept(words * 8, slot)?;
            end.own += 1;
            end.head.store(end.own, Ordering::Release);
            return Ok(());
        }
        let count = limit.min((self.0.other - self.0.own) as usize);
        self.copy_out(count);
        self.0.own += count as u64;
        self.0.head.store(self.0.own, Ordering::Release);
        let taken = &self.0.private[..count * words];
        taken.chunks_exact(words).try_for_each(|message| checker.accept(words * 8, message))
    }
}
