//! A pool of blocks: large buffers of one size that change hands without being copied.
//!
//! ```text
//! control | records, one line a block: {word, carrier, len} | the bytes, each block on pages of its own
//! word    {gen:47 | owner:13 | spare:1 | state:3}    FREE(g)  OWNED(o, g)
//! carrier none, or {entry of a queue, position}: the message that carries the block
//! ```
//! Claim: CAS FREE(g) -> OWNED(me, g). Send: the carrier, then the commit of the message in its queue; from there
//! on the sender never touches the block. RECEIVE: CAS OWNED(any, g) -> OWNED(me, g), before the message is
//! acknowledged; after that the carrier is cleared. Release: FREE(g + 1). The queue is somebody else's: any number
//! of them may carry the blocks of one pool. None of this depends on the size of a block.
//!
//! Who may touch the bytes follows from owner and carrier: the owner writes them until he commits the message that
//! carries the block, and whoever received it reads them until he releases it, sends it on, or gives the message back.
//!
//! Invariants
//! - I1 the memory handed to [`Pool::from_raw`] outlives the pool, is mapped whole, and everything before the bytes
//!   is atomics (promised by its caller); the geometry was checked against its length.
//! - I2 the bytes of a block are written only by its owner before the commit, and read only by its owner.
//! - I3 a block that a message in flight carries is OWNED by somebody, and its carrier names that message.
//! - I4 a free block has no carrier: else its next owner would inherit one.
//! - I5 a word of a dead participant is changed by the holder of its lock, or by whoever receives the block from it.
//!
//! Edges
//! - E1 release (Release) -> claim (Acquire): the last reader is done before the next owner writes.
//! - E2 RECEIVE (AcqRel) -> RECEIVE, release or recovery (Acquire): a chain from owner to owner. The bytes themselves
//!   are published by the queue's commit.
//! - E3 carrier (Release) -> recovery (Acquire): with the word of the same owner before it.
//! - Sleeping is the handshake of `sync::shared_wait`; a release posts with the fence.
//!
//! | killed | what is left | repaired to |
//! |---|---|---|
//! | filling, or looking at it | OWNED(d), no carrier | FREE(g + 1) |
//! | with a place in the queue, before the commit | OWNED(d), a carrier not in flight | FREE(g + 1) |
//! | after the commit, at any time | OWNED(d), carrier in flight | left alone, delivered |
//! | receiver before the acknowledgement | OWNED(sender or d), in flight | left alone, delivered again |
//! | receiver after it | OWNED(d), carrier not in flight | FREE(g + 1) |
//! | releaser before its wake | FREE, sleepers | recovery wakes all, else the slice |
//! | recoverer | any prefix | the next one repeats |
//!
//! Progress: a claim looks at each block at most once; receive and release are wait-free. Source: our own; the models
//! `blocks` and `blockwait` of testkit verify it, together with the mistakes that they must refuse.

use core::ptr::NonNull;

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use ginnel_layout::blocks::{
    BLOCK_SIZE_MAX, BLOCKS_MAX, BlockRecord, BlockWord, BlocksControl, GENERATION_MAX, RECORD_SIZE,
    RECORDS_AT,
};
use ginnel_layout::entry::Carrier;
use ginnel_layout::line::PAGE;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::shared_wait::wait_shared;
use ginnel_sync::{Deadline, Stop, Waiter, park};

/// Why an operation on a pool did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlocksError {
    /// No block is free. Only from `try_claim`.
    WouldBlock,
    /// None became free until the deadline.
    TimedOut,
    /// A signal arrived while asleep; nothing happened, call again.
    Interrupted,
    /// A word held what no correct peer writes, or a message names a block that is not there.
    Corrupted,
}

/// What is to be agreed when a pool is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    count: u64,
    size: u64,
}

impl Shape {
    /// A pool of `count` blocks of `size` bytes each. `None`: zero, or above what a pool can have.
    #[must_use]
    pub fn new(count: u64, size: u64) -> Option<Self> {
        let possible = (1..=BLOCKS_MAX).contains(&count) && (1..=BLOCK_SIZE_MAX).contains(&size);
        possible.then_some(Self { count, size })
    }

    /// How many blocks.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of each.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes from one block to the next: whole pages.
    fn stride(&self) -> u64 {
        self.size.next_multiple_of(PAGE as u64)
    }

    /// Where the bytes begin.
    fn bytes_at(&self) -> u64 {
        (RECORDS_AT + self.count * RECORD_SIZE).next_multiple_of(PAGE as u64)
    }

    /// Bytes of the whole pool.
    #[must_use]
    pub fn total(&self) -> u64 {
        // At most 2^56 and a little.
        self.bytes_at() + self.count * self.stride()
    }
}

/// A block as messages name it: which, and the how-manieth use of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockId {
    /// Its number in the pool.
    pub index: u32,
    /// Its generation, 47 bits.
    pub generation: u64,
}

/// What a pool looks like at one moment. For people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Blocks that nobody owns.
    pub free: u64,
    /// Who owns how many of the others, in the order of their ids. A block in flight counts for its sender.
    pub owners: Vec<(ParticipantId, u64)>,
    /// Blocks given back since the pool was made, modulo 2^47.
    pub released: u64,
    /// Those of them that recovery took from dead owners.
    pub recovered: u64,
}

/// A pool in borrowed memory, its geometry checked and copied. All methods may be called by any thread.
#[derive(Clone, Copy)]
pub struct Pool {
    control: NonNull<BlocksControl>,
    records: NonNull<BlockRecord>,
    /// Where the bytes of block 0 begin.
    #[cfg(not(loom))]
    bytes: NonNull<u8>,
    shape: Shape,
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pool").field("shape", &self.shape).finish_non_exhaustive()
    }
}

#[allow(unsafe_code, reason = "turns the memory of a pool into its words, by the contract of from_raw")]
mod borrowed {
    //! The unsafe steps of a pool: borrowing its words, and finding the bytes of a block.
    use super::*;

    // SAFETY: I1, I2; all shared words are atomics.
    unsafe impl Send for Pool {}
    // SAFETY: I1, I2; all shared words are atomics, and a pool lends no bytes, only where they are.
    unsafe impl Sync for Pool {}

    impl Pool {
        /// Writes the geometry of a new pool. Everything else is zero already: all blocks are free.
        ///
        /// # Safety
        /// `base` is aligned to a page and points to `shape.total()` bytes of zeroes, which nobody else uses yet.
        #[cfg(not(loom))]
        pub unsafe fn init(base: NonNull<u8>, shape: &Shape) {
            // SAFETY: the contract of this function.
            let control = unsafe { base.cast::<BlocksControl>().as_ref() };
            control.geometry.count.store(shape.count, Relaxed);
            control.geometry.size.store(shape.size, Relaxed);
        }

        /// A pool over `len` bytes at `base`. Reads its geometry once, and checks it.
        ///
        /// # Errors
        /// `Corrupted` when no creator writes such a geometry, or when it does not fit into `len` bytes.
        ///
        /// # Safety
        /// `base` is aligned to a page and points to `len` bytes that stay mapped as long as the pool or a copy of it
        /// is used, at least a page, made by [`Pool::init`]. Bytes of blocks are touched only as I2 says.
        #[cfg(not(loom))]
        pub unsafe fn from_raw(base: NonNull<u8>, len: u64) -> Result<Self, BlocksError> {
            if len < PAGE as u64 {
                return Err(BlocksError::Corrupted);
            }
            let control = base.cast::<BlocksControl>();
            // SAFETY: the contract of this function.
            let geometry = unsafe { &control.as_ref().geometry };
            let shape = Shape::new(geometry.count.load(Relaxed), geometry.size.load(Relaxed));
            let shape = shape.filter(|shape| shape.total() <= len).ok_or(BlocksError::Corrupted)?;
            // SAFETY: I1: inside `len`.
            let records = unsafe { base.add(RECORDS_AT as usize) }.cast();
            // SAFETY: I1: inside `len`.
            let bytes = unsafe { base.add(shape.bytes_at() as usize) };
            Ok(Self { control, records, bytes, shape })
        }

        /// A pool of words on the heap, for models. Its blocks have no bytes.
        #[cfg(loom)]
        #[must_use]
        pub fn from_words(control: &'static BlocksControl, records: &'static [BlockRecord]) -> Self {
            let shape = Shape { count: records.len() as u64, size: 1 };
            let first = NonNull::from(records).cast();
            Self { control: NonNull::from(control), records: first, shape }
        }

        pub(super) fn control(&self) -> &BlocksControl {
            // SAFETY: I1.
            unsafe { self.control.as_ref() }
        }

        pub(super) fn records(&self) -> &[BlockRecord] {
            // SAFETY: I1.
            unsafe { core::slice::from_raw_parts(self.records.as_ptr(), self.shape.count as usize) }
        }

        /// Where the bytes of a block begin: a page of its own, [`Shape::size`] bytes of it. `None`: no such block.
        /// Who may touch them when, I2 says.
        #[cfg(not(loom))]
        #[must_use]
        #[inline]
        pub fn bytes_of(&self, index: u32) -> Option<NonNull<u8>> {
            if u64::from(index) >= self.shape.count {
                return None;
            }
            let offset = u64::from(index) * self.shape.stride();
            // SAFETY: I1: below `total`, which was checked against the mapping.
            Some(unsafe { self.bytes.add(offset as usize) })
        }
    }
}

impl Pool {
    /// What was agreed.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Claims a free block for `me`, looking from `hint` on, which then says where to look next. Bounded: looks at
    /// each block at most once.
    ///
    /// # Errors
    /// `WouldBlock` when none was free.
    pub fn try_claim(&self, me: ParticipantId, hint: &mut u32) -> Result<BlockId, BlocksError> {
        let records = self.records();
        let start = *hint as usize % records.len();
        let (before, behind) = records.split_at(start);
        for (at, record) in behind.iter().chain(before).enumerate() {
            let word = record.word.load(Relaxed);
            let Some(BlockWord { generation, owner: None }) = BlockWord::from_bits(word) else { continue };
            let mine = BlockWord::owned(me, generation);
            // E1
            if record.word.compare_exchange(word, mine, Acquire, Relaxed).is_ok() {
                let index = ((start + at) % records.len()) as u32;
                *hint = index + 1;
                return Ok(BlockId { index, generation });
            }
        }
        Err(BlocksError::WouldBlock)
    }

    /// Claims a free block for `me`; waits while there is none. Any number may wait. At the end of each slice it asks
    /// whether the owners of the blocks live.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`.
    pub fn claim(
        &self,
        me: ParticipantId,
        hint: &mut u32,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<BlockId, BlocksError> {
        let line = &self.control().free;
        let take = || self.try_claim(me, hint).ok();
        let probe = || self.probe_owners(me, liveness);
        wait_shared(waiter, line, deadline, take, || self.is_any_free(), probe).map_err(|stop| match stop {
            Stop::TimedOut => BlocksError::TimedOut,
            Stop::Interrupted => BlocksError::Interrupted,
        })
    }

    fn is_any_free(&self) -> bool {
        self.owners().any(|owner| owner.is_none())
    }

    /// The owner of each block; a word that no correct peer writes is nobody's and not free either: it is left out.
    fn owners(&self) -> impl Iterator<Item = Option<ParticipantId>> {
        let words = self.records().iter().map(|record| BlockWord::from_bits(record.word.load(Relaxed)));
        words.flatten().map(|word| word.owner)
    }

    fn probe_owners(&self, me: ParticipantId, liveness: &impl Liveness) {
        let mut asked = Vec::new();
        for owner in self.owners().flatten().filter(|owner| *owner != me) {
            if !asked.contains(&owner) {
                asked.push(owner);
                liveness.is_dead(owner);
            }
        }
    }

    fn record(&self, id: BlockId) -> Option<&BlockRecord> {
        self.records().get(id.index as usize)
    }

    /// The record of a block of ours.
    fn mine(&self, me: ParticipantId, id: BlockId) -> Option<&BlockRecord> {
        let mine = BlockWord::owned(me, id.generation);
        self.record(id).filter(|record| record.word.load(Relaxed) == mine)
    }

    /// Says how many bytes of a block of ours are filled. Before the commit of the message that carries it.
    pub fn set_len(&self, id: BlockId, len: u64) {
        if let Some(record) = self.record(id) {
            record.len.store(len.min(self.shape.size), Relaxed);
        }
    }

    /// Says which message carries a block of ours. After the place in the queue is claimed, before the commit.
    pub fn set_carrier(&self, id: BlockId, carrier: Carrier) {
        if let Some(record) = self.record(id) {
            record.carrier.store(carrier.bits(), Release); // E3
        }
    }

    /// Says that no message carries a block of ours any more. After the message is acknowledged (or its place given
    /// up), and before the handle of its queue is: the next queue in the same entry counts from zero again.
    pub fn clear_carrier(&self, id: BlockId) {
        if let Some(record) = self.record(id) {
            record.carrier.store(Carrier::NONE, Release); // E3
        }
    }

    /// RECEIVE: makes a block that a message names ours, and says how many bytes of it are filled. The message may be
    /// acknowledged after this, not before.
    ///
    /// # Errors
    /// `Corrupted` when there is no such block: the message was not written by a correct peer.
    pub fn receive(&self, me: ParticipantId, id: BlockId) -> Result<u64, BlocksError> {
        let record = self.record(id).ok_or(BlocksError::Corrupted)?;
        let word = record.word.load(Acquire); // E2
        let there = BlockWord::from_bits(word).filter(|there| there.owner.is_some());
        let mine = BlockWord::owned(me, id.generation);
        let same = there.is_some_and(|there| there.generation == id.generation);
        // E2
        if !same || record.word.compare_exchange(word, mine, AcqRel, Relaxed).is_err() {
            return Err(BlocksError::Corrupted);
        }
        Ok(record.len.load(Relaxed).min(self.shape.size))
    }

    /// Gives a block of ours back, and wakes one who waits for it. False: it is not ours, and nothing happened.
    pub fn release(&self, me: ParticipantId, id: BlockId) -> bool {
        let Some(record) = self.mine(me, id) else { return false };
        record.carrier.store(Carrier::NONE, Relaxed); // I4; ordered by E1
        let freed = BlockWord { generation: id.generation, owner: Some(me) }.freed();
        record.word.store(freed, Release); // E1
        park::post(&self.control().free);
        true
    }

    /// Who owns a block now. `None`: nobody, or there is no such block.
    #[must_use]
    pub fn owner(&self, index: u32) -> Option<ParticipantId> {
        let word = self.records().get(index as usize)?.word.load(Acquire); // E2
        BlockWord::from_bits(word)?.owner
    }

    /// Takes back what the dead participant `dead` owned, but for blocks in messages that will be delivered.
    ///
    /// The caller holds the lock of `dead`, and has swept every queue before. `in_flight` says whether the message of
    /// a carrier is committed and not acknowledged, whoever is reading it. Idempotent.
    pub fn recover(&self, dead: ParticipantId, in_flight: impl Fn(Carrier) -> bool) {
        for record in self.records() {
            let word = record.word.load(Acquire); // E2
            let Some(there) = BlockWord::from_bits(word).filter(|there| there.owner == Some(dead)) else {
                continue;
            };
            let carrier = Carrier::from_bits(record.carrier.load(Acquire)); // E3
            if carrier.is_some_and(&in_flight) {
                continue;
            }
            // Who received it did so before its message ceased to be in flight. So if it is still the dead one's, it
            // stays so, and its carrier is ours to clear (I4, I5).
            let still = record.word.load(Acquire); // E2
            if still == word {
                record.carrier.store(Carrier::NONE, Relaxed); // ordered by E1
                // E1
                if record.word.compare_exchange(word, there.freed(), AcqRel, Relaxed).is_ok() {
                    self.control().counters.recovered.fetch_add(1, Relaxed);
                }
            }
        }
        // Always, and last: the dead one may have been killed between its release and its wake, or with a wake that
        // another sleeper needed.
        park::wake_all(&self.control().free);
    }

    /// What the pool looks like. For people: others claim and release meanwhile.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats =
            Stats { recovered: self.control().counters.recovered.load(Relaxed), ..Stats::default() };
        for record in self.records() {
            let Some(word) = BlockWord::from_bits(record.word.load(Relaxed)) else { continue };
            stats.released = (stats.released + word.generation) & GENERATION_MAX;
            match word.owner {
                None => stats.free += 1,
                Some(owner) => match stats.owners.iter_mut().find(|(known, _)| *known == owner) {
                    Some((_, count)) => *count += 1,
                    None => stats.owners.push((owner, 1)),
                },
            }
        }
        stats.owners.sort_unstable();
        stats
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn shapes_hold_what_they_promise() {
        assert_eq!(Shape::new(0, 1), None);
        assert_eq!(Shape::new(1, 0), None);
        assert_eq!(Shape::new(BLOCKS_MAX + 1, 1), None);
        assert_eq!(Shape::new(1, BLOCK_SIZE_MAX + 1), None);
        for (count, size) in [(1, 1), (3, 4096), (28, 4097), (29, 64), (BLOCKS_MAX, BLOCK_SIZE_MAX)] {
            let shape = Shape::new(count, size).expect("possible");
            let page = PAGE as u64;
            assert!(shape.bytes_at() >= RECORDS_AT + count * RECORD_SIZE, "{shape:?}");
            assert!(
                shape.bytes_at().is_multiple_of(page) && shape.stride().is_multiple_of(page),
                "{shape:?}"
            );
            assert!(shape.stride() >= size && shape.total() == shape.bytes_at() + count * shape.stride());
        }
    }
}
