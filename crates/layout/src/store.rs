//! A store: what a dict, a namespace or a list is made of. Its front, its shards, and the words in its pages.
//!
//! ```text
//! page 0  byte 0    shards u32 | flags u32 | seed u64 | limit u64 | 0 u64 | ttl_ns u64 | ticks u64
//!         128       changes WaitLine        whoever waits for a change
//!         256       redo_lock u32           a transaction that commits; taken before any lock of a shard
//!         384       redo u64                {0:35 | owner:13 | count:16}, 0: none. The commit word of a transaction
//!         512       entries [{place u64, word u64}; 224]
//! page 1  names [{len u64, 2040 bytes}; 2]
//! page 2  shards [Shard; shards], 768 bytes each, a power of two of them
//!
//! shard   0    moves u64 | root u64 | repairs u64                          readers
//!         128  lock u32 | 0 u32 | serial | len | used | hand | carrying | pages | freed | spans, u64 each
//!         256  free[32] u64     512  fresh[32] u64
//!
//! root    dict {bits:8 | 0:8 | offset:48}   list {0:16 | offset:48}        0: nothing yet
//! slot    {tag:16 | offset:48}              0: EMPTY, 1: TOMB
//! span    0 {pages:32 | check:16 | kind:8 | class:8}   8 SLAB: blocks carved, FREE: next, RUN: 0   64 (128) blocks
//! node    0 serial   8 {hash:32 | klen:16 | flags:8 | parcels:8}   16 {vlen:32 | seen:32}   [24 deadline]
//!         key, padded to 8   value, padded to 8   parcels of 16 bytes
//! ```
//! Offsets are bytes from the first data page of the segment, multiples of 16, and never 0. The left field of a word
//! is the upper one.
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | shards, flags, seed, limit, ttl_ns | the maker, before LIVE | everybody | as they are |
//! | ticks | whoever counts with it | the same | as it is |
//! | changes | see [`crate::wait`] | | recovery wakes all |
//! | redo_lock, lock | see `sync::mutex` | writers | name the dead until recovery |
//! | redo, entries | the holder of `redo_lock`; recovery | recovery | applied again, then 0 |
//! | names | the maker, before LIVE | whoever opens by name | as they are |
//! | moves | the holder of `lock`, +1 before each change of `root` and before a span changes its purpose | readers | one more by recovery |
//! | root | the holder of `lock` | everybody | in force |
//! | repairs | recovery, +1 after a rebuild | readers, as a part of versions | as it is |
//! | serial | the holder of `lock`, before a node gets it | the same | never goes back |
//! | len, used, carrying, pages, free, fresh, spans | the holder of `lock` | the same; `len`, `pages` by tools | counted anew by the rebuild |
//! | freed, hand | the holder of `lock` | the same | 0; as it is |
//! | first word of a span | the holder of `lock` | the same, tools | every prefix of a change is a tiling of the pages |
//!
//! The algorithms, their invariants, edges and crash tables stand in the crate `store`.

mod classes;
mod words;

use crate::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
use crate::line::LINE;
use crate::line::Line;
use crate::wait::WaitLine;

pub use classes::{BIG, BIG_STEP, CLASS_MAX, CLASSES, class_of, class_size};
pub use words::{GRAIN, NodeHead, OFFSET_MASK, RedoWord, Root, Slot, Span, kind, node};

/// Most shards of a store; their number is a power of two.
pub const SHARDS_MAX: u32 = 64;

/// Most words that one transaction changes.
#[cfg(not(loom))]
pub const REDO_MAX: usize = 224;

/// Most words that one transaction changes; few, because a model checker looks at each of them.
#[cfg(loom)]
pub const REDO_MAX: usize = 4;

/// Most bytes of a key.
pub const KEY_MAX: usize = u16::MAX as usize;

/// Most bytes of a name of a type.
pub const NAME_MAX: usize = 2040;

/// Where the names begin.
pub const NAMES_AT: u64 = 4096;

/// Where the shards begin.
pub const SHARDS_AT: u64 = 8192;

/// Flags of a store.
pub mod flag {
    /// Entries are dropped where memory is short.
    pub const EVICT: u32 = 1;
    /// A list of values of at most 8 bytes, which lie in the words of its leaves.
    pub const PLAIN8: u32 = 2;
    /// The root is a list's.
    pub const LIST: u32 = 4;
    /// All of them.
    pub const ALL: u32 = EVICT | PLAIN8 | LIST;
}

/// What was agreed when the store was made.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct StoreShape {
    /// How many shards, a power of two.
    pub shards: AtomicU32,
    /// [`mod@flag`].
    pub flags: AtomicU32,
    /// What the hash of a key begins with.
    pub seed: AtomicU64,
    /// Most pages of all shards together. 0: as many as the segment has.
    pub limit: AtomicU64,
    spare: AtomicU64,
    /// How long an entry lives by default, ns. 0: for ever.
    pub ttl_ns: AtomicU64,
    /// A counter for whoever needs one, as for the order of insertion.
    pub ticks: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 10],
}

/// A word that a transaction changes.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RedoEntry {
    /// Where: the index of the word, its offset divided by 8.
    pub place: AtomicU64,
    /// What it is to become.
    pub word: AtomicU64,
}

/// What a store begins with.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct StoreFront {
    /// Immutable, but for `ticks`.
    pub shape: StoreShape,
    /// Whoever waits for a change.
    pub changes: WaitLine,
    /// The word of `sync::mutex` of a transaction that commits.
    pub redo_lock: Line<AtomicU32>,
    /// [`RedoWord`].
    pub redo: Line<AtomicU64>,
    /// The words of the transaction.
    pub entries: [RedoEntry; REDO_MAX],
}

impl Default for StoreFront {
    fn default() -> Self {
        Self {
            shape: StoreShape::default(),
            changes: WaitLine::default(),
            redo_lock: Line::default(),
            redo: Line::default(),
            entries: core::array::from_fn(|_| RedoEntry::default()),
        }
    }
}

/// The name of a type, as text.
#[repr(C)]
#[derive(Debug)]
pub struct NameWords {
    /// Bytes of it.
    pub len: AtomicU64,
    /// The bytes.
    pub text: [AtomicU64; NAME_MAX / 8],
}

/// What the keys and the values of a named store are.
#[repr(C)]
#[derive(Debug)]
pub struct StoreNames {
    /// Keys.
    pub key: NameWords,
    /// Values.
    pub value: NameWords,
}

/// What readers of a shard need. They write nothing here.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct ShardRoot {
    /// Counts every change of `root`, and every new purpose of a span.
    pub moves: AtomicU64,
    /// [`Root`].
    pub root: AtomicU64,
    /// How often the shard was repaired after a death.
    pub repairs: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 13],
}

/// What the holder of a shard's lock keeps.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct ShardCounts {
    /// The word of `sync::mutex`.
    pub lock: AtomicU32,
    spare: AtomicU32,
    /// The last number that was given to a node.
    pub serial: AtomicU64,
    /// Entries.
    pub len: AtomicU64,
    /// Slots that are not EMPTY.
    pub used: AtomicU64,
    /// Where eviction goes on.
    pub hand: AtomicU64,
    /// Nodes with parcels.
    pub carrying: AtomicU64,
    /// Pages of this shard.
    pub pages: AtomicU64,
    /// Bytes given back since the last rebuild.
    pub freed: AtomicU64,
    /// The first FREE span.
    pub spans: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 7],
}

/// A lock, a root, and the memory under it.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Shard {
    /// For readers.
    pub top: ShardRoot,
    /// For the holder of the lock.
    pub counts: ShardCounts,
    /// The first free block of each class.
    pub free: [AtomicU64; 32],
    /// The slab of each class with blocks that were never used.
    pub fresh: [AtomicU64; 32],
}

/// Bytes of a shard.
pub const SHARD_SIZE: u64 = 768;

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<StoreShape>() == LINE);
    assert!(offset_of!(StoreShape, limit) == 16);
    assert!(offset_of!(StoreShape, ticks) == 40);
    assert!(size_of::<StoreFront>() as u64 == NAMES_AT);
    assert!(offset_of!(StoreFront, changes) == 128);
    assert!(offset_of!(StoreFront, redo_lock) == 256);
    assert!(offset_of!(StoreFront, redo) == 384);
    assert!(offset_of!(StoreFront, entries) == 512);
    assert!(size_of::<RedoEntry>() == 16);
    assert!(size_of::<NameWords>() == 2048);
    assert!(NAMES_AT + size_of::<StoreNames>() as u64 == SHARDS_AT);
    assert!(size_of::<ShardRoot>() == LINE);
    assert!(offset_of!(ShardRoot, repairs) == 16);
    assert!(size_of::<ShardCounts>() == LINE);
    assert!(offset_of!(ShardCounts, serial) == 8);
    assert!(offset_of!(ShardCounts, spans) == 64);
    assert!(size_of::<Shard>() as u64 == SHARD_SIZE);
    assert!(offset_of!(Shard, counts) == 128);
    assert!(offset_of!(Shard, free) == 256);
    assert!(offset_of!(Shard, fresh) == 512);
};
