//! All entries of a shard, one after the other: for whoever wants them all, those that have expired, or those with
//! parcels.

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::atomic::fence;
use ginnel_layout::store::{Slot, flag};

use super::{Node, add};
use crate::node::{self, Opened};
use crate::table::Table;
use crate::{Copied, Error, Locked, Pages, Store};

impl<P: Pages> Store<'_, P> {
    /// Gives `each` the parcels of every node of shard `index` that has any, and then lets go of all its entries by one
    /// store. For whoever owns the whole store and frees it: no lock is taken, because it may name one that died in
    /// here. May be repeated: then there is nothing left, or still everything. Words that contradict are passed by.
    pub fn take_apart(&self, index: usize, each: &mut dyn FnMut(&[[u8; 16]])) {
        if self.has(flag::LIST) {
            return self.take_list_apart(index, each);
        }
        self.take_dict_apart(index, each);
    }

    fn take_dict_apart(&self, index: usize, each: &mut dyn FnMut(&[[u8; 16]])) {
        let root = &self.shard(index).top.root;
        let table = Table::at(self.memory(), root.load(Relaxed));
        for slot in table.into_iter().flat_map(|table| table.round(0)) {
            if let Ok(node) = node::opened(self.memory(), slot.load(Relaxed))
                && node.parcel_count() > 0
            {
                each(&node.parcels());
            }
        }
        root.store(0, Release); // E4
    }
}

impl<'a, P: Pages> Locked<'a, P> {
    /// Calls `each` with every entry that has not expired, its key and its value, in no order that means anything.
    ///
    /// `each` must not change this shard.
    ///
    /// # Errors
    /// [`Error::Corrupted`]; what `each` was called with until then was true.
    pub fn for_each(
        &self,
        now: impl Fn() -> u64,
        mut each: impl FnMut(Node, &[u8], &[u8]),
    ) -> Result<(), Error> {
        let (mut key, mut value) = (Copied::new(), Copied::new());
        self.walk(|_, word, node| {
            let entry = self.entry(word, &node, &now);
            if !entry.is_expired() {
                node.copy_key(&mut key);
                node.copy_value(&mut value);
                each(entry, key.as_bytes(), value.as_bytes());
            }
            Ok(true)
        })
    }

    /// Calls `each` with every entry that has parcels, expired or not.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn for_each_carrier(&self, mut each: impl FnMut(Node)) -> Result<(), Error> {
        if self.shard().counts.carrying.load(Relaxed) == 0 {
            return Ok(());
        }
        self.walk(|_, word, node| {
            if node.parcel_count() > 0 {
                each(self.entry(word, &node, || 0));
            }
            Ok(true)
        })
    }

    /// Removes all entries whose time has passed, but for those with parcels: their parcels are the caller's first. Gives
    /// how many it removed.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn expire(&self, now: impl Fn() -> u64) -> Result<usize, Error> {
        let (now, mut gone) = (now(), 0);
        self.walk(|slot, _, node| {
            if node.is_expired(|| now) && self.drop_entry(slot, node)? {
                gone += 1;
            }
            Ok(true)
        })?;
        Ok(gone)
    }

    /// Removes one entry for good. False: it has parcels, so it stays.
    pub(crate) fn drop_entry(&self, slot: &AtomicU64, node: Opened<'_>) -> Result<bool, Error> {
        let Some(Slot { offset, .. }) = Slot::from_bits(slot.load(Relaxed)) else { return Ok(false) };
        if node.parcel_count() > 0 {
            return Ok(false);
        }
        slot.store(Slot::TOMB, Release); // E1. COMMIT
        add(&self.shard().counts.len, u64::MAX);
        fence(Release); // E3
        self.free(offset, node.head().size());
        Ok(true)
    }

    /// Calls `each` with every slot that names a node, its word, and the node, until it says that it is enough.
    fn walk(
        &self,
        mut each: impl FnMut(&'a AtomicU64, u64, Opened<'a>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let Some(table) = self.table()? else { return Ok(()) };
        for slot in table.round(0) {
            let word = slot.load(Relaxed);
            if Slot::from_bits(word).is_some() && !each(slot, word, node::opened(self.memory(), word)?)? {
                break;
            }
        }
        Ok(())
    }
}
