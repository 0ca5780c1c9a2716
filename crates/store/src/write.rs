//! Changing a dict: what the holder of a shard's lock does, in two steps.
//!
//! ```text
//! prepare  room in the table (rehash) · block · serial 0 · fence · words · serial v        nobody sees any of it
//!          between: the caller's parcels, those of the new node and those of the old one
//! commit   slot.store(Release) = COMMIT · used, len, carrying · fence(Release) · free the old block
//! ```
//! [`Locked::prepare`] gives a [`Pending`], which takes everything back when it is dropped; [`Locked::commit`] is one store,
//! and what follows from it. Several of them are committed at once by [`crate::redo`].
//!
//! Invariants (those of `node` and `table` hold, too)
//! - I1 nothing but the holder of the lock changes a slot, so what [`Locked::prepare`] saw stays true until the commit but
//!   for two things: an allocation that evicts, before the pending counts, and the commits and growths of other
//!   pendings of the same lock. Both are looked for, and the place is found again.
//! - I2 a pending of a new key has room: tables grow by what they hold *and* what is pending.
//! - I3 the keys of pendings that exist at the same time are distinct.
//!
//! Edges (those of `read`)
//! - E1 (pairs with read.rs E1) the commit (Release) -> the look at the slot (Acquire).
//! - E3 (pairs with read.rs E3) the fence (Release) behind the commit -> a reader's fence (Acquire).
//! - E4 (pairs with read.rs E4) the root of a store that is taken apart (Release) -> the look at the root (Acquire).
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | before the commit | a block that no slot names | the rebuild: it is free |
//! | after the commit, before the counts or the free | the new value; counts of before; the old block | the rebuild counts and frees |
//! | in the middle of `clear` | no table; nodes that nothing names | the rebuild frees them |
//!
//! Progress: all bounded; a growth as many steps as there are slots. Source: our own.

mod walk;

use std::fmt;

use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::store::{NodeHead, OFFSET_MASK, Slot};

use crate::node::{self, Extra, Key, Opened, Source};
use crate::read::version_of;
use crate::table::Found;
use crate::{Copied, Error, Locked, Pages};

/// An entry, as the holder of the lock found it. It stays what it is until the holder changes the same key, or anything is
/// allocated that may evict it.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    offset: u64,
    serial: u64,
    version: u64,
    head: NodeHead,
    deadline: Option<u64>,
    is_expired: bool,
}

impl Node {
    /// The number of this value of this key: another value has another one. Never 0.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Where it is: what a carrier says, times 16.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the value.
    #[must_use]
    pub const fn value_len(&self) -> usize {
        self.head.vlen as usize
    }

    /// How many parcels it has.
    #[must_use]
    pub const fn parcel_count(&self) -> u8 {
        self.head.parcels
    }

    /// When it is gone by itself, `CLOCK_MONOTONIC` in ns. None: never.
    #[must_use]
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Whether its time had passed: such an entry counts as absent.
    #[must_use]
    pub const fn is_expired(&self) -> bool {
        self.is_expired
    }
}

/// A change of one key that has not happened yet. Dropped: it never will.
#[must_use = "nothing happens before `commit`"]
pub struct Pending<'l, 'a, P: Pages> {
    locked: &'l Locked<'a, P>,
    slot: &'a AtomicU64,
    place: u64,
    root: u64,
    /// What the slot holds before the commit.
    before: u64,
    /// What it will hold.
    word: u64,
    hash: u32,
    /// The new node; offset 0: the change is a removal.
    block: u64,
    bytes: u64,
    has_parcels: bool,
    serial: u64,
    old: Option<Node>,
    is_open: bool,
}

impl<P: Pages> fmt::Debug for Pending<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("block", &self.block).field("old", &self.old).finish_non_exhaustive()
    }
}

impl<'l, 'a, P: Pages> Pending<'l, 'a, P> {
    /// Where the new node is, for its carriers: its offset in units of 16 bytes. None: the change is a removal.
    #[must_use]
    pub const fn position(&self) -> Option<u64> {
        if self.block == 0 { None } else { Some(self.block / 16) }
    }

    /// The entry that goes with the commit, whether it has expired or not: its parcels are to be received before.
    #[must_use]
    #[inline(always)]
    pub const fn old(&self) -> Option<Node> {
        self.old
    }

    /// Whether the key has a value, which has not expired.
    #[must_use]
    #[inline(always)]
    pub fn was_there(&self) -> bool {
        self.old.is_some_and(|old| !old.is_expired)
    }

    /// The version that the key will have. 0: it will be absent.
    #[must_use]
    pub fn version(&self) -> u64 {
        if self.block == 0 { 0 } else { self.locked.version(self.serial) }
    }

    /// What the slot is to become.
    #[inline(always)]
    pub(crate) const fn word(&self) -> u64 {
        self.word
    }

    /// Finds the place of this change again, if it has moved (I1), and not where one of `taken` will be. Gives the slot
    /// and its place.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    #[inline(always)]
    pub(crate) fn settle(&mut self, taken: &[u64]) -> Result<(&'a AtomicU64, u64), Error> {
        let is_there = self.locked.shard().top.root.load(Relaxed) == self.root
            && self.slot.load(Relaxed) == self.before
            && !taken.contains(&self.place);
        if !is_there {
            self.move_on(taken)?;
        }
        Ok((self.slot, self.place))
    }

    #[cold]
    #[inline(never)]
    fn move_on(&mut self, taken: &[u64]) -> Result<(), Error> {
        let before = self.before;
        let found = match self.old {
            Some(_) => self.locked.first_slot(self.hash, |_, word| word == before),
            None => self.locked.first_slot(self.hash, |place, word| {
                (word == Slot::EMPTY || word == Slot::TOMB) && !taken.contains(&place)
            }),
        }?;
        let (slot, place) = found.ok_or(Error::Corrupted("an entry that is gone under its lock"))?;
        self.root = self.locked.shard().top.root.load(Relaxed);
        (self.slot, self.place, self.before) = (slot, place, slot.load(Relaxed));
        Ok(())
    }

    /// What follows from the commit, which the caller has done.
    #[inline(always)]
    pub(crate) fn finish(mut self) {
        self.is_open = false;
        let (locked, counts) = (self.locked, &self.locked.shard().counts);
        locked.drop_pending();
        if self.before == Slot::EMPTY {
            add(&counts.used, 1);
        }
        match (self.block != 0, self.old) {
            (true, None) => add(&counts.len, 1),
            (false, Some(_)) => add(&counts.len, u64::MAX),
            _ => (),
        }
        if self.has_parcels {
            add(&counts.carrying, 1);
        }
        if let Some(old) = self.old {
            if old.head.parcels > 0 {
                add(&counts.carrying, u64::MAX);
            }
            fence(Release); // E3: whoever sees a word of the block's next life sees the commit.
            locked.free(old.offset, old.head.size());
        }
    }
}

impl<P: Pages> Drop for Pending<'_, '_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_open {
            take_back(self.locked, self.block, self.bytes);
        }
    }
}

#[cold]
#[inline(never)]
fn take_back<P: Pages>(locked: &Locked<'_, P>, block: u64, bytes: u64) {
    locked.drop_pending();
    if block != 0 {
        locked.free(block, bytes);
    }
}

impl<'a, P: Pages> Locked<'a, P> {
    /// The entry of `key`. None: it is absent, or has expired.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    #[inline]
    pub fn find(&self, key: &Key<'_>, now: impl Fn() -> u64) -> Result<Option<Node>, Error> {
        let Some(table) = self.table()? else { return Ok(None) };
        let found = self.locate(table, key)?;
        Ok(self.entry_of(&found, now).filter(|node| !node.is_expired))
    }

    /// Copies the value of an entry.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    #[inline]
    pub fn read(&self, node: Node, out: &mut Copied) -> Result<(), Error> {
        self.opened(node)?.copy_value(out);
        Ok(())
    }

    /// The parcels of an entry.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn parcels(&self, node: Node) -> Result<Vec<[u8; 16]>, Error> {
        Ok(self.opened(node)?.parcels())
    }

    /// Copies the key of an entry.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn key(&self, node: Node, out: &mut Copied) -> Result<(), Error> {
        self.opened(node)?.copy_key(out);
        Ok(())
    }

    /// Marks an entry as read, so that eviction passes it by once.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn touch(&self, key: &Key<'_>) -> Result<(), Error> {
        if let Some(node) = self.find(key, || 0)? {
            self.opened(node)?.set_seen(true);
        }
        Ok(())
    }

    /// Makes everything that gives `key` this value, but for the commit.
    ///
    /// The first pending of a lock may evict other entries, or the same, or rebuild the shard; while there is one,
    /// memory that is short is [`Error::Full`]: drop the pendings, call [`Locked::reclaim`], and prepare them again.
    ///
    /// # Errors
    /// Those of the allocation; [`Error::TooLarge`]; [`Error::Corrupted`]. Nothing was changed then.
    #[inline(always)]
    pub fn prepare<'l>(
        &'l self,
        key: &Key<'_>,
        value: &[u8],
        extra: Extra<'_>,
        now: impl Fn() -> u64,
    ) -> Result<Pending<'l, 'a, P>, Error> {
        let mut found = self.locate_with_room(key)?;
        let root = self.shard().top.root.load(Relaxed);
        let made = self.make_node(&Source { key: key.bytes, hash: key.hash32(), value, extra })?;
        if self.shard().top.root.load(Relaxed) != root || found.slot.load(Relaxed) != found.word {
            found = self.locate_again(key, made.offset, made.bytes)?;
        }
        self.add_pending();
        Ok(Pending {
            locked: self,
            slot: found.slot,
            place: found.place,
            root,
            before: found.word,
            word: Slot { tag: key.tag(), offset: made.offset }.bits(),
            hash: key.hash32(),
            block: made.offset,
            bytes: made.bytes,
            has_parcels: !extra.parcels.is_empty(),
            serial: made.serial,
            old: self.entry_of(&found, now),
            is_open: true,
        })
    }

    /// Makes everything that removes `key`, but for the commit. None: it is absent. An entry that has expired is there,
    /// and says so.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    #[inline]
    pub fn prepare_removal<'l>(
        &'l self,
        key: &Key<'_>,
        now: impl Fn() -> u64,
    ) -> Result<Option<Pending<'l, 'a, P>>, Error> {
        let Some(table) = self.table()? else { return Ok(None) };
        let found = self.locate(table, key)?;
        let Some(old) = self.entry_of(&found, now) else { return Ok(None) };
        self.add_pending();
        Ok(Some(Pending {
            locked: self,
            slot: found.slot,
            place: found.place,
            root: self.shard().top.root.load(Relaxed),
            before: found.word,
            word: Slot::TOMB,
            hash: key.hash32(),
            block: 0,
            bytes: 0,
            has_parcels: false,
            serial: 0,
            old: Some(old),
            is_open: true,
        }))
    }

    /// Makes the change happen. Killed before the one store in here: it has not; after it: it has.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: it has not happened.
    #[inline(always)]
    pub fn commit(&self, mut pending: Pending<'_, 'a, P>) -> Result<(), Error> {
        let (slot, _) = pending.settle(&[])?;
        slot.store(pending.word, Release); // E1. COMMIT
        pending.finish();
        Ok(())
    }

    /// The value of an entry of exactly eight bytes, as a word. None: it has another length.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    #[inline]
    pub fn word(&self, node: Node) -> Result<Option<u64>, Error> {
        Ok(self.opened(node)?.only_word().map(|word| u64::from_le(word.load(Relaxed))))
    }

    /// Changes a value of exactly eight bytes in place; gives its new version. Killed before the store: nothing
    /// happened; after it: it happened, and the repair shows it as another version.
    ///
    /// # Errors
    /// [`Error::Corrupted`], also for a value of another length.
    #[inline]
    pub fn store_word(&self, node: Node, value: u64) -> Result<u64, Error> {
        let opened = self.opened(node)?;
        let word = opened.only_word().ok_or(Error::Corrupted("a word that has not eight bytes"))?;
        word.store(value.to_le(), Release); // E1. COMMIT
        let serial = self.next_serial();
        opened.set_serial(serial);
        Ok(self.version(serial))
    }

    /// Takes all entries away at once. Entries with parcels must be gone before.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn clear(&self) -> Result<(), Error> {
        let Some(table) = self.table()? else { return Ok(()) };
        let old = self.set_root(0, 0);
        self.shard().counts.len.store(0, Relaxed);
        self.shard().counts.carrying.store(0, Relaxed);
        for slot in table.round(0) {
            if let Some(Slot { offset, .. }) = Slot::from_bits(slot.load(Relaxed)) {
                self.free(offset, node::bytes(self.memory(), offset)?);
            }
        }
        if let Some(old) = old {
            self.free(old.offset, old.capacity() * 8);
        }
        Ok(())
    }

    /// The version of the value with that serial.
    #[inline(always)]
    pub(crate) fn version(&self, serial: u64) -> u64 {
        version_of(serial, self.shard().top.repairs.load(Relaxed))
    }

    /// Where `key` is or would be put, and then there is room for it.
    #[inline(always)]
    fn locate_with_room(&self, key: &Key<'_>) -> Result<Found<'a>, Error> {
        if let Some(table) = self.table()? {
            let found = self.locate(table, key)?;
            if found.node.is_some() || self.has_room(table) {
                return Ok(found);
            }
        }
        self.locate(self.grow()?, key)
    }

    /// [`Self::locate`] after an allocation that changed the table; gives the new block back if that fails.
    #[cold]
    #[inline(never)]
    fn locate_again(&self, key: &Key<'_>, block: u64, bytes: u64) -> Result<Found<'a>, Error> {
        let table = self.table().and_then(|table| table.ok_or(Error::Corrupted("a table that is gone")));
        table.and_then(|table| self.locate(table, key)).inspect_err(|_| self.free(block, bytes))
    }

    #[inline(always)]
    fn entry_of(&self, found: &Found<'_>, now: impl Fn() -> u64) -> Option<Node> {
        let node = found.node?;
        Some(self.entry(found.word, &node, now))
    }

    /// What the holder of the lock knows of a node that this slot word names.
    #[inline(always)]
    fn entry(&self, word: u64, node: &Opened<'_>, now: impl Fn() -> u64) -> Node {
        let deadline = node.deadline();
        Node {
            offset: word & OFFSET_MASK,
            serial: node.serial(),
            version: self.version(node.serial()),
            head: node.head(),
            deadline,
            is_expired: deadline.is_some_and(|deadline| deadline <= now()),
        }
    }

    /// The node behind an entry, if it is still the same.
    #[inline(always)]
    fn opened(&self, node: Node) -> Result<Opened<'a>, Error> {
        match Opened::at(self.memory(), node.offset) {
            Some(opened) if opened.serial() == node.serial => Ok(opened),
            _ => Err(Error::Corrupted("an entry that is gone")),
        }
    }
}

/// Adds to a count that only the holder of the lock changes.
#[inline(always)]
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Relaxed).wrapping_add(more), Relaxed);
}
