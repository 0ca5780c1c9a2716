//! Large buffers that change hands instead of being copied.
//!
//! A [`Blocks`] is a pool of them, made once. A process claims one ([`BlockMut`]), fills it, makes it read-only
//! ([`BlockMut::freeze`]), and sends the [`Block`] inside a message; what crosses is its number. Whoever received it
//! looks at the bytes where they are; dropping it gives it back. It costs the same whatever the size. A process that
//! dies gives back what it had, but for blocks in messages that will be delivered.
//!
//! Invariants
//! - I1 a `Hold` keeps its pool LIVE and mapped (it has the `ObjectRef`), and is the only one for its block: the word
//!   of the block says OWNED(me, g) while it is MINE, KEPT or TRAVELS.
//! - I2 the bytes of a block are written through its one `BlockMut`, before there is a `Block`; a `Block` only reads
//!   them, and nobody writes them while it is there: not before the block is released, which the drop of the last
//!   `Block` or the receiver of the message it was sent in does.
//! - I3 a block belongs to a message until that is acknowledged (KEPT): then only the message decides what becomes of it.
//!
//! The protocol and its crash table stand in the crate `queue`, file `blocks.rs`.
#![allow(unsafe_code, reason = "lends the bytes of a block to its one owner")]

mod hold;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex as Private};
use std::time::{Duration, Instant};

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::blocks::{BLOCK_SIZE_MAX, BLOCKS_MAX};
use ginnel_layout::line::PAGE;
use ginnel_queue::blocks::{BlockId, BlocksError, Shape};
use ginnel_sync::{Deadline, Mode, Waiter};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{Error, ErrorKind, Owner, Result};
use crate::manager::{Manager, sealed};
use crate::sweep::tag;
use crate::words;

pub(crate) use hold::{Hold, OpenPool};

/// A pool of blocks of one size, shared by any number of processes and queues.
///
/// Handles are `Clone + Send + Sync`, and may be sent inside messages. After a bare `fork` the child's handles answer
/// `Forked`, and it gives nothing back: what its parent had stays the parent's.
///
/// ```
/// use ginnel_object::Blocks;
///
/// let blocks = Blocks::new(8, 1 << 20)?;
/// let mut picture = blocks.claim()?;
/// picture[..5].copy_from_slice(b"pixel");
/// picture.truncate(5);
/// let picture = picture.freeze();
/// assert_eq!(&*picture, b"pixel");
/// assert_eq!(blocks.free(), 7);
/// drop(picture);
/// assert_eq!(blocks.free(), 8);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
pub struct Blocks {
    pool: Arc<OpenPool>,
    /// Where to look for a free block next. Only a hint.
    hint: AtomicU32,
    /// What this handle has learned about waiting. Only a hint: a thread that finds it in use starts afresh.
    waiter: Private<Waiter>,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks")
            .field("object", &self.pool.object)
            .field("count", &self.count())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

impl Clone for Blocks {
    fn clone(&self) -> Self {
        let waiter = Private::new(Waiter::new(Mode::Adaptive));
        Self { pool: Arc::clone(&self.pool), hint: AtomicU32::new(self.hint.load(Relaxed)), waiter }
    }
}

/// How a pool is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    count: usize,
    size: usize,
}

impl Options {
    /// `count` blocks of `size` bytes.
    #[must_use]
    pub fn new(count: usize, size: usize) -> Self {
        Self { count, size }
    }

    fn shape(self) -> Result<Shape> {
        let Self { count, size } = self;
        Shape::new(count as u64, size as u64).ok_or_else(|| {
            let happened = format!("no pool has {count} blocks of {size} bytes");
            let kind = if count == 0 || size == 0 { ErrorKind::Invalid } else { ErrorKind::TooLarge };
            Error::new(kind, happened)
                .with_advice(format!("ask for 1 to {BLOCKS_MAX} blocks of 1 to {BLOCK_SIZE_MAX} bytes"))
        })
    }
}

impl Default for Options {
    /// Sixteen blocks of 64 KiB.
    fn default() -> Self {
        Self::new(16, 64 << 10)
    }
}

/// What a pool looks like at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// Blocks that nobody has.
    pub free: usize,
    /// Which processes have how many of the others. A block that is under way counts for its sender.
    pub owners: Vec<(Owner, usize)>,
    /// Blocks given back since the pool was made.
    pub released: u64,
    /// Those of them that were taken from dead owners.
    pub recovered: u64,
}

impl Blocks {
    /// A pool of `count` blocks of `size` bytes, in the manager of this process. All of its memory is set aside now;
    /// each block takes whole pages.
    ///
    /// # Errors
    /// `Invalid` for zero, `TooLarge`, `Full` when the manager has no room, `Forked`, `Os`.
    pub fn new(count: usize, size: usize) -> Result<Self> {
        Manager::current()?.create_with(Options::new(count, size))
    }

    /// Claims a block, all of it; waits while none is free. What is in it was written by its last owner.
    ///
    /// # Errors
    /// `Forked`.
    pub fn claim(&self) -> Result<BlockMut> {
        self.claim_until(Deadline::NEVER)
    }

    /// Claims a block if one is free. Never waits; looks at each block at most once.
    ///
    /// # Errors
    /// `Forked`.
    pub fn try_claim(&self) -> Result<Option<BlockMut>> {
        self.pool.object.check_fork_fast()?;
        let mut hint = self.hint.load(Relaxed);
        let claimed = self.pool.pool.try_claim(self.pool.me, &mut hint);
        self.hint.store(hint, Relaxed);
        Ok(claimed.ok().map(|id| self.lend(id)))
    }

    /// Claims a block; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with the owner if one process has all blocks; `Forked`.
    pub fn claim_timeout(&self, timeout: Duration) -> Result<BlockMut> {
        self.claim_until(Deadline::after(timeout))
    }

    /// Claims a block; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Blocks::claim_timeout`].
    pub fn claim_deadline(&self, deadline: Instant) -> Result<BlockMut> {
        self.claim_until(Deadline::at(deadline))
    }

    /// How many blocks are free now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.pool.pool.stats().free as usize
    }

    /// How many blocks there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pool.pool.shape().count() as usize
    }

    /// Bytes of each.
    #[must_use]
    pub fn size(&self) -> usize {
        self.pool.pool.shape().size() as usize
    }

    /// Who has blocks, and what happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let stats = self.pool.pool.stats();
        let arena = self.pool.object.arena();
        let owners =
            stats.owners.iter().filter_map(|(id, count)| Some((arena.describe(*id)?, *count as usize)));
        Stats {
            free: stats.free as usize,
            owners: owners.collect(),
            released: stats.released,
            recovered: stats.recovered,
        }
    }

    fn claim_until(&self, deadline: Deadline) -> Result<BlockMut> {
        match self.try_claim()? {
            Some(block) => Ok(block),
            None => self.claim_slowly(deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn claim_slowly(&self, deadline: Deadline) -> Result<BlockMut> {
        let OpenPool { object, me, pool } = &*self.pool;
        let mut own = self.waiter.try_lock();
        let mut fresh = Waiter::new(Mode::Adaptive);
        let waiter = own.as_deref_mut().unwrap_or(&mut fresh);
        let mut hint = self.hint.load(Relaxed);
        loop {
            match pool.claim(*me, &mut hint, waiter, deadline, object.arena().segment()) {
                Ok(id) => {
                    self.hint.store(hint, Relaxed);
                    return Ok(self.lend(id));
                }
                Err(BlocksError::Interrupted) => {}
                Err(_) => return Err(self.timeout()),
            }
        }
    }

    #[cold]
    fn timeout(&self) -> Error {
        let stats = self.pool.pool.stats();
        let owner = match stats.owners.as_slice() {
            [(only, _)] => self.pool.object.arena().describe(*only),
            _ => None,
        };
        let error = Error::new(ErrorKind::Timeout, "no block became free before the deadline");
        self.pool.object.name_error(error).with_owner(owner)
    }

    fn lend(&self, id: BlockId) -> BlockMut {
        BlockMut { len: self.size(), hold: Arc::new(Hold::claimed(&self.pool, id)) }
    }
}

/// A block that is being filled. Dropping it gives it back.
#[must_use = "dropping a block gives it back"]
pub struct BlockMut {
    /// The only one.
    hold: Arc<Hold>,
    len: usize,
}

impl BlockMut {
    /// Keeps the first `len` bytes. Does nothing if there are fewer.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Ends the filling: from now on it can be sent, and read, and not written.
    pub fn freeze(self) -> Block {
        Block { len: self.len, hold: self.hold }
    }
}

impl Deref for BlockMut {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let data = self.hold.bytes();
        // SAFETY: I1, I2: `len` is at most the size of a block.
        unsafe { std::slice::from_raw_parts(data.as_ptr(), self.len) }
    }
}

impl DerefMut for BlockMut {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let data = self.hold.bytes();
        // SAFETY: I1, I2: this is the one `BlockMut`, borrowed uniquely; `len` is at most the size of a block.
        unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), self.len) }
    }
}

impl fmt::Debug for BlockMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockMut").field("len", &self.len).field("hold", &self.hold).finish()
    }
}

/// A filled block: bytes to read, or to send on inside a message. One process has it at a time; dropping it gives it
/// back to its pool. Its first byte is aligned to a page.
#[must_use = "dropping a block gives it back"]
pub struct Block {
    hold: Arc<Hold>,
    len: usize,
}

impl Block {
    /// The block that a received message handed over.
    pub(crate) fn of(hold: Arc<Hold>) -> Self {
        Self { len: hold.len(), hold }
    }

    /// Where its bytes are. For bindings that lend them to programs of another language, which may write them: only
    /// while this is the one `Block` of its message, that message is acknowledged, and no slice of it is borrowed.
    #[doc(hidden)]
    #[must_use]
    pub fn place(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.hold.bytes(), self.len)
    }

    /// Are most blocks of its pool taken, so that who keeps this one for long should copy it instead? A pool of one
    /// block was made for that one.
    #[doc(hidden)]
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.hold.is_scarce()
    }

    /// Begins its way into a message; the codec goes on with [`Block::hold`]. `None`: it cannot travel, see
    /// [`Hold::travel`].
    pub(crate) fn travel(&self) -> Option<BlockId> {
        let id = self.hold.travel()?;
        self.hold.set_len(self.len);
        Some(id)
    }

    /// What the codec of messages works on.
    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }
}

impl Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if self.hold.is_gone() {
            return &[];
        }
        let data = self.hold.bytes();
        // SAFETY: I1, I2: `len` is at most the size of a block.
        unsafe { std::slice::from_raw_parts(data.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("len", &self.len).field("hold", &self.hold).finish()
    }
}

impl sealed::Sealed for Blocks {
    type Options = Options;

    fn kind() -> Kind {
        Kind { tag: tag::BLOCKS, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        let shape = options.shape()?;
        let pages = u32::try_from(shape.total().div_ceil(PAGE as u64)).map_err(|_| {
            Error::new(ErrorKind::TooLarge, format!("no manager has room for {} bytes", shape.total()))
                .with_advice("ask for fewer blocks, or for smaller ones")
        })?;
        arena.make(Self::kind(), pages, name, |base: NonNull<u8>| words::init_pool(base, &shape))
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let pool = OpenPool::open(object)?;
        let waiter = Private::new(Waiter::new(Mode::Adaptive));
        Ok(Self { pool: Arc::new(pool), hint: AtomicU32::new(0), waiter })
    }

    fn object(&self) -> &ObjectRef {
        &self.pool.object
    }
}

impl Serialize for Blocks {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(&self.pool.object, serializer)
    }
}

impl<'de> Deserialize<'de> for Blocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
