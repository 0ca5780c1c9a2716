//! Whether a shard is whole: every page is a span's, every block is reached or free, every count is right. For tests
//! and for people; nothing is repaired.

use std::collections::BTreeSet;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{CLASSES, Shard, class_size, flag, kind};

use super::census::Census;
use super::{Marked, dict};
use crate::heap::LINK;
use crate::{Locked, Memory, Pages, list};

impl<P: Pages> Locked<'_, P> {
    /// Looks at everything the shard has. Only while nothing is pending. Costs as much as a rebuild.
    ///
    /// # Errors
    /// What is wrong, for people. A word that contradicts was made TOMB meanwhile, as by a rebuild.
    #[doc(hidden)]
    pub fn audit(&self) -> Result<(), String> {
        let (store, shard) = (self.store(), self.shard());
        let mut census = Census::walk(&store, self.part());
        let carved: Vec<u64> = census.found().iter().map(|found| found.carved).collect();
        let marked = if store.has(flag::LIST) {
            let mut mark = |offset, bytes| census.mark(offset, bytes);
            let found = list::mark(store.memory(), shard, store.has(flag::PLAIN8), &mut mark);
            Marked { len: found.len, carrying: found.carrying, lost: found.lost, ..Marked::default() }
        } else {
            dict::mark(store.memory(), shard, &mut census)
        };
        counts_agree(shard, &marked, &census)?;
        mark_free_blocks(store.memory(), shard, &mut census)?;
        spans_agree(store.memory(), shard, &census, &carved)
    }
}

fn counts_agree(shard: &Shard, marked: &Marked, census: &Census) -> Result<(), String> {
    let counts = &shard.counts;
    let pairs = [
        ("len", counts.len.load(Relaxed), marked.len),
        ("used", counts.used.load(Relaxed), marked.used),
        ("carrying", counts.carrying.load(Relaxed), marked.carrying),
        ("lost", 0, marked.lost),
        ("pages", counts.pages.load(Relaxed), census.pages()),
        ("runs of pages without a span", 0, census.unmade().len() as u64),
    ];
    match pairs.iter().find(|(_, counted, found)| counted != found) {
        Some((what, counted, found)) => Err(format!("{what}: {counted} counted, {found} found")),
        None if counts.serial.load(Relaxed) < marked.serial => Err("a serial from the future".into()),
        None => Ok(()),
    }
}

/// Every block of a free list is one, and is in no other.
fn mark_free_blocks(memory: Memory<'_>, shard: &Shard, census: &mut Census) -> Result<(), String> {
    for class in 0..CLASSES {
        let mut block = shard.free[class].load(Relaxed);
        while block != 0 {
            if !census.mark(block, class_size(class)) {
                return Err(format!("block {block:#x} of class {class} is free, and reached or free again"));
            }
            block = memory.word(block + LINK).map_err(|error| error.to_string())?.load(Relaxed);
        }
    }
    Ok(())
}

/// Now every carved block has to be marked, every run too, and every free span in the list.
fn spans_agree(memory: Memory<'_>, shard: &Shard, census: &Census, carved: &[u64]) -> Result<(), String> {
    let mut free = BTreeSet::new();
    let mut offset = shard.counts.spans.load(Relaxed);
    while offset != 0 {
        if !free.insert(offset) {
            return Err(format!("span {offset:#x} is free twice"));
        }
        offset = memory.word(offset + LINK).map_err(|error| error.to_string())?.load(Relaxed);
    }
    for (found, carved) in census.found().iter().zip(carved) {
        let at = found.offset;
        let fine = match found.span.kind {
            kind::FREE => !found.is_damaged && free.remove(&at),
            kind::SLAB => {
                let is_fresh = shard.fresh[found.class()].load(Relaxed) == at;
                found.live == *carved && found.carved == *carved && (*carved == found.capacity() || is_fresh)
            }
            _ => found.live == 1,
        };
        if !fine {
            return Err(format!("span {at:#x}, {carved} carved: {found:?}"));
        }
    }
    match free.first() {
        Some(span) => Err(format!("span {span:#x} is in the list of free ones, and none")),
        None => Ok(()),
    }
}
