//! The table of a dict's shard: open addressing, one word a slot, and the word that names the table.
//!
//! ```text
//! root   {bits:8 | 0:8 | offset:48}      0: no table yet
//! table  slot 0 | slot 1 | .. | slot 2^bits - 1          a block of its own; probed from hash & mask on, one by one
//! slot   0 EMPTY | 1 TOMB | {tag:16 | offset:48} of a node
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | root | the lock's holder | everybody | E4 | the old table or the new one, both whole |
//! | slot | the holder; recovery from the redo record | everybody | E1 | committed, or as before |
//! | used, len | the holder, after each commit | the holder; `len` also people | none | counted anew by the rebuild |
//!
//! Invariants
//! - I1 a table has an EMPTY slot, so every probe ends; a probe is bounded by the capacity all the same, because a
//!   damaged table may have none.
//! - I2 a key is in at most one slot. It gets into another one only by a removal and an insertion, so whoever probes
//!   past it meanwhile saw a moment without it.
//! - I3 a slot that was used never becomes EMPTY again within one table: what lies behind it stays reachable.
//! - I4 nothing is stored into a block for a new table before a release fence: the stores are seen by readers that take
//!   it for what it was before, and E3 of `read` tells them.
//!
//! Edges (those of `read`)
//! - E3 (pairs with read.rs E3) a fence (Release) before the first word of a new table, and one after the old one is out of
//!   force -> a reader's fence (Acquire).
//! - E4 (pairs with read.rs E4) `moves`, fence (Release), root (Release) -> root, `moves`.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | while the new table is filled | a block that nothing names | the rebuild: it is free |
//! | after `moves += 1`, before the root | the old table; readers look once more | nobody need |
//! | after the root, before the old table is free | the new table; a block that nothing names | the rebuild |
//!
//! Progress: a probe takes at most as many steps as there are slots, usually two or three; a growth as many as there are
//! slots, so an insertion costs a bounded number of steps on average. Source: linear probing with tombs.

use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::store::{NodeHead, Root, Slot, flag, node as words};

use crate::node::{self, Key, Opened};
use crate::{Error, Locked, Memory, Pages};

/// A table as one look at the root found it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    slots: &'a [AtomicU64],
    offset: u64,
}

impl<'a> Table<'a> {
    /// None: no table of ours can be there.
    #[inline(always)]
    pub(crate) fn at(memory: Memory<'a>, root: u64) -> Option<Self> {
        let root = Root::from_bits(root)?;
        let slots = memory.block(root.offset, root.capacity() * 8).ok()?;
        Some(Self { slots, offset: root.offset })
    }

    #[inline(always)]
    pub(crate) const fn capacity(self) -> u64 {
        self.slots.len() as u64
    }

    /// The slots in the order in which a key with that hash is looked for, each once, with their numbers.
    #[inline(always)]
    pub(crate) fn probe(self, hash: u32) -> impl Iterator<Item = (usize, &'a AtomicU64)> {
        let (slots, last) = (self.slots, self.slots.len().wrapping_sub(1));
        let order = (hash as usize..).take(slots.len()).map(move |at| at & last);
        order.map_while(move |at| slots.get(at).map(|slot| (at, slot)))
    }

    /// The offset of that slot's word.
    #[inline(always)]
    pub(crate) const fn place(self, number: usize) -> u64 {
        self.offset + 8 * number as u64
    }

    /// All slots, from the one with that number on and round.
    pub(crate) fn round(self, from: u64) -> impl Iterator<Item = &'a AtomicU64> {
        let (before, behind) = self.slots.split_at((from % self.capacity().max(1)) as usize);
        behind.iter().chain(before)
    }

    /// Puts a slot's word where `hash` finds it; for a table that nobody knows yet.
    fn fill(self, hash: u32, word: u64) -> Result<(), Error> {
        for (_, slot) in self.probe(hash) {
            if slot.load(Relaxed) == Slot::EMPTY {
                slot.store(word, Relaxed);
                return Ok(());
            }
        }
        Err(Error::Corrupted("more entries than a shard counts"))
    }
}

/// Where a key is, or would be put.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) slot: &'a AtomicU64,
    /// The offset of that slot's word.
    pub(crate) place: u64,
    /// What stands in it.
    pub(crate) word: u64,
    /// The node with that key, if there is one, whether it has expired or not.
    pub(crate) node: Option<Opened<'a>>,
}

impl<'a, P: Pages> Locked<'a, P> {
    /// The table in force. None: there is none yet.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    #[inline(always)]
    pub(crate) fn table(&self) -> Result<Option<Table<'a>>, Error> {
        match self.shard().top.root.load(Relaxed) {
            0 => Ok(None),
            root => Table::at(self.memory(), root).map(Some).ok_or(Error::Corrupted("the root of a dict")),
        }
    }

    /// Where `key` is, or would be put: in the first tomb on the way, else in the empty slot that ended it.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    #[inline(always)]
    pub(crate) fn locate(&self, table: Table<'a>, key: &Key<'_>) -> Result<Found<'a>, Error> {
        let mut tomb = None;
        for (number, slot) in table.probe(key.hash32()) {
            let word = slot.load(Relaxed);
            if word == Slot::EMPTY {
                let (number, slot, word) = tomb.unwrap_or((number, slot, word));
                return Ok(Found { slot, place: table.place(number), word, node: None });
            }
            if word == Slot::TOMB {
                tomb = tomb.or(Some((number, slot, word)));
            } else if (word >> 48) as u16 == key.tag() {
                let node = node::opened(self.memory(), word)?;
                if key.may_be_of(node.head()) && key.is_in(node.key_words()) {
                    return Ok(Found { slot, place: table.place(number), word, node: Some(node) });
                }
            }
        }
        Err(Error::Corrupted("a table without an empty slot"))
    }

    /// The first slot on the way of `hash` that is `wanted`, by its place and its word; the way ends after the first
    /// empty slot. Gives its place.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub(crate) fn first_slot(
        &self,
        hash: u32,
        mut wanted: impl FnMut(u64, u64) -> bool,
    ) -> Result<Option<(&'a AtomicU64, u64)>, Error> {
        let Some(table) = self.table()? else { return Ok(None) };
        let ways = table.probe(hash).map(|(number, slot)| (slot, table.place(number)));
        Ok(ways.into_iter().find(|(slot, place)| wanted(*place, slot.load(Relaxed))))
    }

    /// Whether a table has room for one key more than it has and than is pending. Full tables, because a get waits for a
    /// slot that is in no cache much longer than it takes to look at some more of the same line.
    #[inline(always)]
    pub(crate) fn has_room(&self, table: Table<'_>) -> bool {
        self.taken() < table.capacity() / 8 * 7
    }

    /// Slots that are in use, or soon will be.
    #[inline(always)]
    fn taken(&self) -> u64 {
        self.shard().counts.used.load(Relaxed).saturating_add(self.pendings().into())
    }

    /// A new table for the same entries, without tombs and with room; or the old one, if there is no memory for
    /// another and it has a little room left. Some entries may be gone then, where entries may be evicted: but not
    /// before there is no other way, because it takes many of them to make room for a table.
    ///
    /// # Errors
    /// Those of the allocation; [`Error::Corrupted`].
    #[cold]
    #[inline(never)]
    pub(crate) fn grow(&self) -> Result<Table<'a>, Error> {
        let old = self.table()?;
        let is_urgent = old.is_none_or(|old| self.taken() >= old.capacity() / 16 * 15);
        let calm = !is_urgent && self.store().has(flag::EVICT);
        if calm {
            // While anything is pending, nothing is evicted.
            self.add_pending();
        }
        let mut grown = self.rehash();
        if calm {
            self.drop_pending();
        }
        // A table is many pages in a row, or none: each turn drops an eighth of the entries.
        while is_urgent && matches!(grown, Err(Error::Full(_) | Error::Limit)) && self.pendings() == 0 {
            if !self.store().has(flag::EVICT) || !self.evict_for(None, 0) {
                break;
            }
            self.rebuild();
            grown = self.rehash();
        }
        match (&grown, self.table()?) {
            (Err(Error::Full(_) | Error::Limit), Some(old)) if !is_urgent => Ok(old),
            _ => grown,
        }
    }

    fn rehash(&self) -> Result<Table<'a>, Error> {
        let capacity = self.table()?.map_or(0, Table::capacity);
        let counts = &self.shard().counts;
        let entries = counts.len.load(Relaxed).saturating_add(self.pendings().into());
        let mut bits = Root::BITS_MIN.max(capacity.checked_ilog2().unwrap_or(0));
        while entries.saturating_mul(2) >= 1 << bits && bits < Root::BITS_MAX {
            bits += 1;
        }
        let bytes = 8 << bits;
        let offset = self.alloc(bytes)?;
        let root = Root { bits, offset };
        let filled = Table::at(self.memory(), root.bits()).ok_or(Error::Corrupted("a block out of bounds"));
        let filled = filled.and_then(|new| Ok((new, self.fill(new)?)));
        let (new, used) = match filled {
            Ok(filled) => filled,
            Err(error) => {
                self.free(offset, bytes);
                return Err(error);
            }
        };
        if let Some(old) = self.set_root(root.bits(), used) {
            self.free(old.offset, old.capacity() * 8);
        }
        Ok(new)
    }

    /// Copies the slots of the table in force into `new`. Gives how many.
    fn fill(&self, new: Table<'a>) -> Result<u64, Error> {
        fence(Release); // E3, I4
        new.slots.iter().for_each(|slot| slot.store(Slot::EMPTY, Relaxed));
        let mut used = 0;
        // Looked up only now: the allocation may have evicted entries.
        for slot in self.table()?.into_iter().flat_map(|old| old.slots) {
            let word = slot.load(Relaxed);
            if let Some(Slot { offset, .. }) = Slot::from_bits(word) {
                let head = self.memory().word(offset.saturating_add(words::HEAD))?.load(Relaxed);
                new.fill(NodeHead::from_bits(head, 0).hash, word)?;
                used += 1;
            }
        }
        Ok(used)
    }

    /// Puts another table into force, with `used` slots in use, or none (0). Gives the one that was: nobody reaches it any
    /// longer, and it may be freed.
    pub(crate) fn set_root(&self, root: u64, used: u64) -> Option<Root> {
        let top = &self.shard().top;
        let old = top.root.load(Relaxed);
        top.moves.store(top.moves.load(Relaxed).wrapping_add(1), Relaxed);
        fence(Release); // E4
        top.root.store(root, Release); // E4. COMMIT
        self.shard().counts.used.store(used, Relaxed);
        fence(Release); // E3: whoever sees a word of the old table's next life sees that the root is another.
        Root::from_bits(old)
    }
}
