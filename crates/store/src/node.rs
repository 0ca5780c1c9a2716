//! A node: one value with its key, in one block, whose bytes nobody changes after the commit.
//!
//! ```text
//! byte 0       8                                        16              [24      ]  key, padded to 8 | value, padded to 8
//!      serial  {hash:32 | klen:16 | flags:8 | parcels:8} {vlen:32|seen:32} deadline  | parcels x 16 B
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | serial | the lock's holder: 0 before the first other word, the number last; an in-place store a new one | readers, before and after their copy | E2, E3 | 0 or a number that no slot commits: the block is free |
//! | hash, klen, .., vlen, deadline, key, value, parcels | the holder, between the two stores of `serial`; a value of eight bytes in place | readers, inside their bracket | E2, E3 | as written: reachable nodes are whole |
//! | seen | the holder, 0 and 1 | eviction, and readers as a hint | none | a node lives a turn longer, or shorter |
//!
//! Invariants
//! - I1 a serial other than 0 was taken from the shard's counter, which was raised before; so it names one incarnation
//!   of one block for ever, and one version of its value.
//! - I2 between `serial = 0` and `serial = v` the block is reached by no slot, and afterwards nobody writes to it but
//!   for `seen`, the in-place store (one word), and whoever frees it, which comes after the slot was changed.
//! - I3 a node's size follows from its own words; padding is zero, so keys are compared word by word.
//!
//! Edges (those of `read`). Words of bytes are in the order of memory, so the text is where it seems to be.
//! - E2 serial v (Release) -> the look at the serial (Acquire): the words of the node, and everything before them.
//! - E3 (pairs with read.rs E3) `serial = 0`, fence (Release), the first new word -> a reader's fence (Acquire).
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | before `serial = v`, or after it and before the commit | a block that no slot names | the rebuild: it is free |
//! | between the in-place word and its serial | the new value under the old serial | the rebuild: `repairs` is part of versions |
//!
//! Progress: everything here is a bounded number of steps. Source: our own; immutable nodes as in the log-free hash
//! tables for persistent memory.

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::store::{KEY_MAX, NodeHead, Slot, node};

use crate::{Copied, Error, Locked, Memory, Pages};

/// Words that every node begins with.
const FRONT: usize = node::FIXED as usize / 8;

/// A key, hashed: what every operation of a dict begins with.
#[derive(Debug, Clone, Copy)]
pub struct Key<'k> {
    pub(crate) bytes: &'k [u8],
    pub(crate) hash: u64,
    /// The bytes behind the last whole word, padded with zeros.
    last: u64,
}

impl<'k> Key<'k> {
    /// The key of these bytes in a store with this seed. Bytes are all that counts: two values that encode to the
    /// same bytes are the same key.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`KEY_MAX`] bytes.
    #[inline(always)]
    pub fn new(bytes: &'k [u8], seed: u64) -> Result<Self, Error> {
        if bytes.len() > KEY_MAX {
            return Err(Error::TooLarge);
        }
        Ok(Self { bytes, hash: hash_of(bytes, seed), last: padded(bytes.as_chunks::<8>().1) })
    }

    /// The shard of this key among so many, a power of two.
    #[must_use]
    #[inline(always)]
    pub const fn shard(&self, shards: usize) -> usize {
        self.hash as usize & (shards - 1)
    }

    /// What the node keeps of the hash, and the table begins its probe with.
    #[inline(always)]
    pub(crate) const fn hash32(&self) -> u32 {
        (self.hash >> 16) as u32
    }

    /// What the slot keeps of the hash.
    #[inline(always)]
    pub(crate) const fn tag(&self) -> u16 {
        (self.hash >> 48) as u16
    }

    /// Whether a node may be this key's: hash and length are.
    #[inline(always)]
    pub(crate) const fn may_be_of(&self, head: NodeHead) -> bool {
        head.hash == self.hash32() && head.klen as usize == self.bytes.len()
    }

    /// The head of a node of this key that does not expire and carries nothing.
    #[inline(always)]
    const fn plain_head(&self) -> u64 {
        NodeHead { hash: self.hash32(), klen: self.bytes.len() as u16, flags: 0, parcels: 0, vlen: 0 }.head()
    }

    /// Whether these words are the key's, padding included.
    #[inline(always)]
    pub(crate) fn is_in(&self, words: &[AtomicU64]) -> bool {
        let (chunks, rest) = self.bytes.as_chunks::<8>();
        let mut words = words.iter();
        for chunk in chunks {
            match words.next() {
                Some(word) if word.load(Relaxed) == u64::from_le_bytes(*chunk) => (),
                _ => return false,
            }
        }
        rest.is_empty() || words.next().is_some_and(|word| word.load(Relaxed) == self.last)
    }
}

/// What a node has beside its key and value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'k> {
    /// When it is gone by itself, `CLOCK_MONOTONIC` in ns. None: never.
    pub deadline: Option<u64>,
    /// The tickets of the handles in its value, as parcels. At most 255.
    pub parcels: &'k [[u8; 16]],
}

/// Everything a node is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'k> {
    pub(crate) key: &'k [u8],
    pub(crate) hash: u32,
    pub(crate) value: &'k [u8],
    pub(crate) extra: Extra<'k>,
}

/// A node that nothing reaches yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) serial: u64,
}

/// The first words of a node, in the order in which a reader must load them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Front {
    serial: u64,
    first: u64,
    second: u64,
}

impl Front {
    /// None: no node can be there, or it is being written. A reader looks again; under the lock that is corruption.
    #[inline(always)]
    pub(crate) fn at(memory: Memory<'_>, offset: u64) -> Option<Self> {
        let [serial, first, second, ..] = memory.look(offset, node::FIXED)? else { return None };
        // E2: everything of this incarnation is seen by the loads below.
        let serial = serial.load(Acquire);
        if serial == 0 {
            return None;
        }
        Some(Self { serial, first: first.load(Relaxed), second: second.load(Relaxed) })
    }

    #[inline(always)]
    pub(crate) const fn head(self) -> NodeHead {
        NodeHead::from_bits(self.first, self.second)
    }

    /// The whole node, as far as its lengths can be true.
    #[inline(always)]
    pub(crate) fn open(self, memory: Memory<'_>, offset: u64) -> Option<Opened<'_>> {
        let words = memory.look(offset, self.head().size())?;
        Some(Opened { words, serial: self.serial, head: self.head() })
    }

    /// The whole node, if by its head it may be one of `key` that does not expire and carries nothing; with the words of
    /// its key and of its value.
    ///
    /// Where these are follows from the key alone, so a processor loads the value while the head is still on its way.
    #[inline(always)]
    pub(crate) fn open_plain<'a>(
        self,
        memory: Memory<'a>,
        offset: u64,
        key: &Key<'_>,
    ) -> Option<(Opened<'a>, &'a [AtomicU64], &'a [AtomicU64])> {
        if self.first != key.plain_head() {
            return None;
        }
        let key_words = key.bytes.len().div_ceil(8);
        let value_words = (self.second >> 32).div_ceil(8);
        let words = memory.look(offset, node::FIXED + 8 * (key_words as u64 + value_words))?;
        let (key_at, value) = words.split_at_checked(FRONT + key_words)?;
        Some((Opened { words, serial: self.serial, head: self.head() }, key_at.get(FRONT..)?, value))
    }
}

/// A node whose serial and lengths were read. What is read of it counts only if [`Self::is_still`] afterwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened<'a> {
    words: &'a [AtomicU64],
    serial: u64,
    head: NodeHead,
}

impl<'a> Opened<'a> {
    /// As [`Front::at`] and [`Front::open`].
    #[inline(always)]
    pub(crate) fn at(memory: Memory<'a>, offset: u64) -> Option<Self> {
        Front::at(memory, offset)?.open(memory, offset)
    }

    #[inline(always)]
    pub(crate) const fn serial(&self) -> u64 {
        self.serial
    }

    #[inline(always)]
    pub(crate) const fn head(&self) -> NodeHead {
        self.head
    }

    #[inline(always)]
    pub(crate) const fn parcel_count(&self) -> u8 {
        self.head.parcels
    }

    #[inline(always)]
    pub(crate) const fn value_len(&self) -> usize {
        self.head.vlen as usize
    }

    /// None: it never expires.
    #[inline(always)]
    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.head.flags & node::EXPIRES == 0 {
            return None;
        }
        self.words.get(FRONT).map(|word| word.load(Relaxed))
    }

    /// Whether its time has passed. The clock is asked only where there is a deadline.
    #[inline(always)]
    pub(crate) fn is_expired(&self, now: impl Fn() -> u64) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now())
    }

    /// The words from one byte of the node to another; its lengths put them in bounds.
    #[inline(always)]
    fn between(&self, from: u64, to: u64) -> &'a [AtomicU64] {
        self.words.get(from as usize / 8..to as usize / 8).unwrap_or_default()
    }

    #[inline(always)]
    pub(crate) fn key_words(&self) -> &'a [AtomicU64] {
        self.between(self.head.key_at(), self.head.value_at())
    }

    #[inline(always)]
    pub(crate) fn value_words(&self) -> &'a [AtomicU64] {
        self.between(self.head.value_at(), self.head.parcels_at())
    }

    #[inline(always)]
    pub(crate) fn copy_value(&self, out: &mut Copied) {
        out.fill(self.value_words(), self.value_len());
    }

    pub(crate) fn copy_key(&self, out: &mut Copied) {
        out.fill(self.key_words(), usize::from(self.head.klen));
    }

    /// The parcels, at most 255.
    pub(crate) fn parcels(&self) -> Vec<[u8; 16]> {
        let (pairs, _) = self.between(self.head.parcels_at(), self.head.size()).as_chunks::<2>();
        pairs.iter().map(|pair| parcel_of(pair.each_ref().map(|word| word.load(Relaxed)))).collect()
    }

    /// Whether the block held this incarnation all the time. To be asked after `fence(Acquire)` and after the word
    /// that led here was loaded again (Acquire), because only that load shows a commit of another incarnation.
    #[inline(always)]
    pub(crate) fn is_still(&self) -> bool {
        self.words.first().is_some_and(|word| word.load(Relaxed) == self.serial) // E3
    }

    /// The word of a value that has exactly eight bytes.
    #[inline(always)]
    pub(crate) fn only_word(&self) -> Option<&'a AtomicU64> {
        if self.value_len() == 8 { self.value_words().first() } else { None }
    }

    /// Puts another serial to the value; the holder of the lock only.
    #[inline(always)]
    pub(crate) fn set_serial(&self, serial: u64) {
        if let Some(word) = self.words.first() {
            word.store(serial, Release); // E2
        }
    }

    /// Whether it was read since eviction came by.
    pub(crate) fn is_seen(&self) -> bool {
        self.words.get(2).is_some_and(|word| word.load(Relaxed) as u32 != 0)
    }

    /// Marks it as read since eviction came by, or takes the mark away; the holder of the lock only, because for
    /// anybody else the block may be another's by now.
    pub(crate) fn set_seen(&self, seen: bool) {
        if let Some(word) = self.words.get(2) {
            word.store(self.head.length() | u64::from(seen), Relaxed);
        }
    }
}

/// Bytes of the node at `offset`, from its own words; for whoever holds the lock, or has it recovered.
///
/// # Errors
/// [`Error::Corrupted`] where no node can be.
pub(crate) fn bytes(memory: Memory<'_>, offset: u64) -> Result<u64, Error> {
    Ok(opened(memory, offset)?.head.size())
}

/// The parcels of the node at `offset`; for whoever holds the lock, or has it recovered.
///
/// # Errors
/// As [`bytes`].
pub(crate) fn parcels(memory: Memory<'_>, offset: u64) -> Result<Vec<[u8; 16]>, Error> {
    Ok(opened(memory, offset)?.parcels())
}

/// The node that this word of a slot names, for the holder of the lock: there it is whole, or the store is damaged.
///
/// # Errors
/// As [`bytes`].
#[inline(always)]
pub(crate) fn opened(memory: Memory<'_>, word: u64) -> Result<Opened<'_>, Error> {
    let node = Slot::from_bits(word).and_then(|slot| Opened::at(memory, slot.offset));
    node.ok_or(Error::Corrupted("a slot names what is no node"))
}

impl<P: Pages> Locked<'_, P> {
    /// Takes a block and writes a node into it, which nothing reaches yet. Killed anywhere in here: the block is free.
    ///
    /// # Errors
    /// Those of the allocation; [`Error::TooLarge`]. Nothing is taken then.
    #[inline(always)]
    pub(crate) fn make_node(&self, source: &Source<'_>) -> Result<Made, Error> {
        let head = head_of(source)?;
        let bytes = head.size();
        let offset = self.alloc(bytes)?;
        let block = self.memory().block(offset, bytes)?;
        write(block, head, source);
        let serial = self.next_serial();
        if let Some(word) = block.first() {
            word.store(serial, Release); // E2
        }
        Ok(Made { offset, bytes, serial })
    }
}

/// The head of a node made from this.
#[inline(always)]
fn head_of(source: &Source<'_>) -> Result<NodeHead, Error> {
    let (Ok(klen), Ok(parcels), Ok(vlen)) = (
        u16::try_from(source.key.len()),
        u8::try_from(source.extra.parcels.len()),
        u32::try_from(source.value.len()),
    ) else {
        return Err(Error::TooLarge);
    };
    let flags = if source.extra.deadline.is_some() { node::EXPIRES } else { 0 };
    Ok(NodeHead { hash: source.hash, klen, flags, parcels, vlen })
}

/// Writes everything but the serial, which is 0 meanwhile.
#[inline(always)]
fn write(block: &[AtomicU64], head: NodeHead, source: &Source<'_>) {
    let Some(([serial, first, second], rest)) = block.split_first_chunk::<FRONT>() else { return };
    serial.store(0, Relaxed);
    // E3: whoever sees one of the words below sees that the old serial is gone.
    fence(Release);
    first.store(head.head(), Relaxed);
    second.store(head.length(), Relaxed);
    let rest = match (source.extra.deadline, rest.split_first()) {
        (Some(deadline), Some((word, rest))) => {
            word.store(deadline, Relaxed);
            rest
        }
        _ => rest,
    };
    let rest = put(rest, source.key);
    let rest = put(rest, source.value);
    if !source.extra.parcels.is_empty() {
        put(rest, source.extra.parcels.as_flattened());
    }
}

/// Bytes into words, the last one padded with zeros; gives the words behind them.
#[inline(always)]
fn put<'w>(words: &'w [AtomicU64], bytes: &[u8]) -> &'w [AtomicU64] {
    let (chunks, last) = bytes.as_chunks::<8>();
    let Some((whole, rest)) = words.split_at_checked(chunks.len()) else { return &[] };
    for (word, chunk) in whole.iter().zip(chunks) {
        word.store(u64::from_le_bytes(*chunk), Relaxed);
    }
    match rest.split_first() {
        Some((word, rest)) if !last.is_empty() => {
            word.store(padded(last), Relaxed);
            rest
        }
        _ => rest,
    }
}

/// Fewer than eight bytes as a word, with zeros behind them. In a register: bytes that were just stored one by one cannot
/// be loaded as a word before all of them have left the processor.
#[inline(always)]
fn padded(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// In a function of its own, because it has one part for each range of lengths.
#[inline(never)]
fn hash_of(bytes: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
}

fn parcel_of(words: [u64; 2]) -> [u8; 16] {
    let mut parcel = [0; 16];
    let (halves, _) = parcel.as_chunks_mut::<8>();
    for (half, word) in halves.iter_mut().zip(words) {
        *half = word.to_le_bytes();
    }
    parcel
}
