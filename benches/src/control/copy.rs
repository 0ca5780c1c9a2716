//! `limit-copy`: how fast bytes go from one process to the other when one copies in while the other copies
//! out. A ring of chunks, two positions, nothing else. Both sides have a private buffer: the producer writes
//! its message there, the consumer checks it there.
//!
//! The ring of `limit-copy` fits the second-level cache. That is not the fastest ring on every machine: where
//! lines modified in a neighbour's cache come slower than lines from the shared third level, a ring too large
//! for the second level wins (three times, on a Zen 4 guest). `limit-copy-large` is that ring. The faster of
//! the two is the limit; a row that beats only the slower one has proved nothing.
//!
//! Invariants as in [`index`](super::index), with chunks in place of messages:
//! - I1: `head <= tail <= head + ring`; chunk `p % ring` is the consumer's for `head <= p < tail`, else the producer's.
//! - I2: a chunk changes hands by a release store of a position and an acquire load of it.
//! - I3: the region outlives both ends, which borrow it; `ring` chunks of `CHUNK_WORDS` words begin at its page 1.
#![allow(unsafe_code, reason = "chunks are memory that belongs to one end at a time")]

use std::ptr::NonNull;

use ginnel_layout::atomic::{AtomicU64, Ordering, spin_loop};
use ginnel_layout::line::{LINE, PAGE};

use crate::fault::Fault;
use crate::memory::Region;
use crate::payload::{Accept, Dynamic, Size, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// Words of a chunk: 64 KiB, large enough that the positions cost nothing.
const CHUNK_WORDS: usize = 8192;
/// Chunks of `limit-copy`: 512 KiB together, inside a second-level cache of a megabyte.
pub const SMALL_RING: usize = 8;
/// Chunks of `limit-copy-large`: 4 MiB together, outside any second-level cache of today.
pub const LARGE_RING: usize = 64;

/// The ring of chunks.
#[derive(Debug)]
pub struct Copy {
    region: Region,
    chunks: usize,
    size: Dynamic,
}

impl Copy {
    /// An empty ring of `chunks` chunks, for messages of `words` words.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn new(words: usize, chunks: usize) -> Result<Self, Fault> {
        Ok(Self { region: Region::new(PAGE + chunks * CHUNK_WORDS * 8)?, chunks, size: Dynamic(words) })
    }

    fn end(&self) -> CopyEnd<'_> {
        CopyEnd {
            tail: self.region.word64(0),
            head: self.region.word64(LINE),
            chunks: self.region.words(PAGE, self.chunks * CHUNK_WORDS),
            ring: self.chunks,
            own: 0,
            other: 0,
            private: vec![0; self.size.words()],
        }
    }
}

impl Transport for Copy {
    type Size = Dynamic;
    type Producer<'a> = CopyEnd<'a>;
    type Consumer<'a> = CopyEnd<'a>;

    fn size(&self) -> Dynamic {
        self.size
    }

    fn producer(&self) -> Result<CopyEnd<'_>, Fault> {
        Ok(self.end())
    }

    fn consumer(&self) -> Result<CopyEnd<'_>, Fault> {
        Ok(self.end())
    }
}

/// Either end. `own` is exact, `other` may lag behind the other end's position.
#[derive(Debug)]
pub struct CopyEnd<'a> {
    tail: &'a AtomicU64,
    head: &'a AtomicU64,
    chunks: NonNull<u64>,
    ring: usize,
    own: u64,
    other: u64,
    private: Vec<u64>,
}

impl CopyEnd<'_> {
    #[inline(always)]
    fn chunk(&self) -> NonNull<u64> {
        let index = self.own as usize % self.ring;
        // SAFETY: I3, the index is below the number of chunks.
        unsafe { self.chunks.add(index * CHUNK_WORDS) }
    }

    /// What is copied in next, or was copied out last.
    pub(crate) fn private(&mut self) -> &mut Vec<u64> {
        &mut self.private
    }

    /// Copies the private buffer into the ring, waiting for room.
    pub(crate) fn copy_in(&mut self) {
        for start in (0..self.private.len()).step_by(CHUNK_WORDS) {
            while self.own - self.other == self.ring as u64 {
                self.other = self.head.load(Ordering::Acquire);
                if self.own - self.other == self.ring as u64 {
                    spin_loop();
                }
            }
            let end = self.private.len().min(start + CHUNK_WORDS);
            let piece = &self.private[start..end];
            // SAFETY: I1, the chunk is ours until we publish; a piece is never longer than a chunk (I3).
            unsafe { self.chunk().copy_from_nonoverlapping(NonNull::from(piece).cast(), piece.len()) };
            self.own += 1;
            self.tail.store(self.own, Ordering::Release);
        }
    }

    /// Copies a message from the ring into the private buffer, waiting for it.
    pub(crate) fn copy_out(&mut self) {
        let words = self.private.len();
        for start in (0..words).step_by(CHUNK_WORDS) {
            while self.other == self.own {
                self.other = self.tail.load(Ordering::Acquire);
                if self.other == self.own {
                    spin_loop();
                }
            }
            let chunk = self.chunk();
            let piece = &mut self.private[start..words.min(start + CHUNK_WORDS)];
            // SAFETY: I1, the chunk is ours until we give it back; a piece is never longer than a chunk (I3).
            unsafe { chunk.copy_to_nonoverlapping(NonNull::from(&mut *piece).cast(), piece.len()) };
            self.own += 1;
            self.head.store(self.own, Ordering::Release);
        }
    }
}

impl Producer<Dynamic> for CopyEnd<'_> {
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            writer.fill(&mut self.private);
            self.copy_in();
        }
        Ok(())
    }
}

impl Consumer<Dynamic> for CopyEnd<'_> {
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        self.copy_out();
        checker.accept(self.private.len() * 8, &self.private)
    }
}
