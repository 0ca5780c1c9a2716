//! A store, and a shard of it that is locked.
//!
//! A [`Store`] is made for each operation, from words that the caller has mapped; it owns nothing. [`Store::lock`] takes
//! the lock of one shard, and everything that changes the shard is a method of the [`Locked`] that it gives.
//!
//! Invariants
//! - I1 the word of the lock names its holder from the instruction that takes it to the one that gives it up
//!   (`sync::mutex`); while it names a dead one, only whoever recovers the dead one changes the shard.
//! - I2 a block that was allocated and is not reachable from the root yet is *pending*. While there are any, nothing is
//!   rebuilt; whoever made them commits them or gives them back before the unlock.
//! - I3 the lock of a dead holder is given up after the shard was built anew, so whoever takes it finds it whole.
//!
//! The edge from unlock to lock is E1 of `mutex.rs`; nothing here adds one.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | before the lock | nothing | |
//! | with the lock | its word names the dead; what `heap` and the tables say | `Store::recover` |
//! | after the unlock, before its wake | sleepers | `Store::recover` wakes one of each shard, else the slice |
//!
//! Progress: as `sync::mutex`.

use std::cell::Cell;
use std::fmt;

use ginnel_layout::Liveness;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{SHARDS_MAX, Shard, StoreFront, flag};
use ginnel_sync::{Deadline, Holder, LockError, Waiter, mutex};

use crate::{Error, Memory, Pages};

/// A store in borrowed memory. A copy is the same store.
pub struct Store<'a, P> {
    front: &'a StoreFront,
    shards: &'a [Shard],
    memory: Memory<'a>,
    pages: &'a P,
}

impl<P> Clone for Store<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Store<'_, P> {}

impl<P> fmt::Debug for Store<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl<'a, P: Pages> Store<'a, P> {
    /// A store of these parts. Costs a few loads; make one for each operation.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: the front does not fit the shards.
    #[inline(always)]
    pub fn new(
        front: &'a StoreFront,
        shards: &'a [Shard],
        memory: Memory<'a>,
        pages: &'a P,
    ) -> Result<Self, Error> {
        let (count, flags) = (shards.len(), front.shape.flags.load(Relaxed));
        let possible = count.is_power_of_two() && count <= SHARDS_MAX as usize && flags & !flag::ALL == 0;
        if !possible || front.shape.shards.load(Relaxed) as usize != count {
            return Err(Error::Corrupted("the front of the store"));
        }
        Ok(Self { front, shards, memory, pages })
    }

    /// The front.
    #[must_use]
    #[inline(always)]
    pub const fn front(&self) -> &'a StoreFront {
        self.front
    }

    /// All shards.
    #[must_use]
    #[inline(always)]
    pub const fn shards(&self) -> &'a [Shard] {
        self.shards
    }

    /// All words that an offset may name.
    #[must_use]
    #[inline(always)]
    pub const fn memory(&self) -> Memory<'a> {
        self.memory
    }

    #[inline(always)]
    pub(crate) const fn pages(&self) -> &'a P {
        self.pages
    }

    /// Is this flag of [`flag`] set?
    #[must_use]
    #[inline(always)]
    pub fn has(&self, flag: u32) -> bool {
        self.front.shape.flags.load(Relaxed) & flag != 0
    }

    /// Shard `index`, modulo the number of shards.
    #[must_use]
    #[inline(always)]
    pub fn shard(&self, index: usize) -> &'a Shard {
        // The number is a power of two, checked in `new`.
        &self.shards[index & (self.shards.len() - 1)]
    }

    /// Entries of all shards. Others change them meanwhile.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shards.iter().map(|shard| shard.counts.len.load(Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Is there no entry?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the lock of shard `index` (modulo their number), waiting until `deadline` if another has it.
    ///
    /// As [`mutex::lock`]: `liveness` recovers a dead holder, by [`Store::recover`] among other things, so the shard
    /// is whole whenever this succeeds.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline(always)]
    pub fn lock(
        &self,
        index: usize,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<Locked<'a, P>, LockError> {
        Ok(self.locked(index, self.take(index, me, waiter, deadline, liveness)?))
    }

    /// [`Store::lock`] if nobody has it. None: somebody has, perhaps the caller.
    ///
    /// # Errors
    /// [`LockError::Corrupted`] only.
    #[inline]
    pub fn try_lock(&self, index: usize, me: Holder) -> Result<Option<Locked<'a, P>>, LockError> {
        Ok(self.try_take(index, me)?.map(|taken| self.locked(index, taken)))
    }

    /// [`Store::lock`] in two steps, of which [`Store::locked`] is the second: what goes from one to the other fits into
    /// a register.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline(always)]
    pub fn take(
        &self,
        index: usize,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<mutex::Locked, LockError> {
        mutex::lock(&self.shard(index).counts.lock, me, waiter, deadline, liveness)
    }

    /// [`Store::try_lock`] in two steps, as [`Store::take`].
    ///
    /// # Errors
    /// [`LockError::Corrupted`] only.
    #[inline(always)]
    pub fn try_take(&self, index: usize, me: Holder) -> Result<Option<mutex::Locked>, LockError> {
        mutex::try_lock(&self.shard(index).counts.lock, me)
    }

    /// Shard `index`, whose lock the calling thread has just taken.
    #[inline(always)]
    pub fn locked(&self, index: usize, taken: mutex::Locked) -> Locked<'a, P> {
        Locked::new(*self, index, taken)
    }
}

/// A shard whose lock this thread has. Dropped: given up.
pub struct Locked<'a, P: Pages> {
    store: Store<'a, P>,
    shard: &'a Shard,
    index: usize,
    taken: Option<mutex::Locked>,
    /// I2. The cell also keeps other threads away: only this one may change the shard.
    pendings: Cell<u32>,
}

impl<P: Pages> fmt::Debug for Locked<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").field("index", &self.index).finish_non_exhaustive()
    }
}

impl<P: Pages> Drop for Locked<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            // Whole, whatever the holder before us did: I3.
            mutex::unlock(&self.shard.counts.lock, taken, true);
        }
    }
}

impl<'a, P: Pages> Locked<'a, P> {
    #[inline(always)]
    fn new(store: Store<'a, P>, index: usize, taken: mutex::Locked) -> Self {
        Self {
            store,
            shard: store.shard(index),
            index: index & (store.shards.len() - 1),
            taken: Some(taken),
            pendings: Cell::new(0),
        }
    }

    /// The store.
    #[must_use]
    #[inline(always)]
    pub const fn store(&self) -> Store<'a, P> {
        self.store
    }

    /// Which shard it is.
    #[must_use]
    #[inline(always)]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The words of the shard.
    #[must_use]
    #[inline(always)]
    pub const fn shard(&self) -> &'a Shard {
        self.shard
    }

    #[inline(always)]
    pub(crate) const fn memory(&self) -> Memory<'a> {
        self.store.memory
    }

    /// The name under which this shard claims pages.
    #[inline(always)]
    pub(crate) const fn part(&self) -> u16 {
        // At most 64 shards.
        self.index as u16 + 1
    }

    /// Gives out the next serial: in the shard before anybody uses it, so that none is ever used twice.
    #[inline(always)]
    pub(crate) fn next_serial(&self) -> u64 {
        let serial = self.shard.counts.serial.load(Relaxed).wrapping_add(1);
        self.shard.counts.serial.store(serial, Relaxed);
        serial
    }

    /// A block was allocated that nothing reaches yet. I2.
    #[inline(always)]
    pub(crate) fn add_pending(&self) {
        self.pendings.set(self.pendings.get() + 1);
    }

    /// It is reached now, or was given back.
    #[inline(always)]
    pub(crate) fn drop_pending(&self) {
        debug_assert!(self.pendings.get() > 0);
        self.pendings.set(self.pendings.get().wrapping_sub(1));
    }

    /// How many such blocks there are. While there are any, nothing is rebuilt and nothing evicted.
    #[inline(always)]
    pub(crate) fn pendings(&self) -> u32 {
        self.pendings.get()
    }
}
