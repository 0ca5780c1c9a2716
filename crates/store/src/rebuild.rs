//! Rebuild: what is free is whatever cannot be reached.
//!
//! After the death of a holder nothing but the root, what it reaches, and the heads of the spans is believed. The rest
//! (free lists, counts, half-made blocks) is made anew. A living holder does the same where memory is short.
//!
//! ```text
//! 1 moves += 1, fence                   readers that look at any block start over
//! 2 walk    the runs of pages of the shard, span by span                       private: `Census`
//! 3 mark    what the root reaches; a word that contradicts becomes TOMB        private, but for those words
//! 4 fence                               whoever sees a link below sees what was loaded in 3
//! 5 sweep   heads: dead slabs and runs become FREE, neighbours merge; links of free blocks
//! 6 release pages that were claimed and never became a span
//! 7 lists, counts; freed = 0
//! 8 repairs += 1                        after a death only: then a value may have changed without a new serial
//! ```
//!
//! Invariants
//! - I1 the caller holds the lock of the shard, or recovers its dead holder, whose name stays in the lock; and nothing is
//!   pending. So nobody else writes any of these words.
//! - I2 the steps may be repeated from the beginning after any of their instructions: 1 to 4 change nothing that is
//!   believed, a head is changed by one store that leaves a tiling (`heap.rs` I1), 7 is not believed.
//! - I3 a block that the root reaches keeps its words, its place and its size; a reader that has found it reads on.
//! - I4 no loop depends on a word that is not checked: the walk advances at each step, a table is bounded by its span,
//!   and a block is marked once.
//!
//! Edges
//! - E1 (pairs with read.rs E3) fence (Release) before the sweep -> a reader's fence (Acquire), then the slot again. The
//!   mark loaded a slot that the dead had committed; who sees a link that the sweep put into the old block sees that too.
//! - E2 head of a span (Release) -> the walk (Acquire): heap.rs E2. A TOMB (Release): as every commit.
//! - E3 (pairs with read.rs E4) `repairs` (Release) -> readers (Acquire), for versions: what the rebuild found.
//!
//! | killed | what is left | repaired by |
//! |---|---|---|
//! | at any place | the lock names the dead still, or the holder; I2 | the next rebuild, from the beginning |
//!
//! Progress: bounded by the pages of the shard; a few hundred nanoseconds for an entry that is in no cache. Private
//! memory: a bit for each block and 48 bytes a span.

mod audit;
mod census;
mod dict;
mod sweep;
mod window;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::atomic::fence;
use ginnel_layout::store::flag;
use ginnel_sync::mutex;

use crate::{Locked, Pages, Store, list};
use census::Census;

/// What a recovery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Shards that the dead one had locked.
    pub shards: u32,
    /// Words of its committed transaction.
    pub redone: u32,
    /// Entries, or whole tables, that contradicted the rest and are gone. Only a word that nobody of ours stored makes
    /// any.
    pub lost: u64,
}

/// What the mark counted.
#[derive(Debug, Clone, Copy, Default)]
struct Marked {
    len: u64,
    used: u64,
    carrying: u64,
    lost: u64,
    /// The largest serial that was seen.
    serial: u64,
}

impl<P: Pages> Store<'_, P> {
    /// Repairs what `dead` left in this store, and gives its locks back. Wakes one who sleeps for each lock.
    ///
    /// The caller has proof of the death and is the only one to recover `dead` now. Idempotent, and repeated from the
    /// beginning by the next recoverer if this one dies. Whoever waits for changes is for the caller to wake.
    pub fn recover(&self, dead: ParticipantId) -> Recovered {
        // Before any lock of the dead is given up: its transaction is whole or absent.
        let mut recovered = Recovered { redone: self.replay(dead), ..Recovered::default() };
        for (index, shard) in self.shards().iter().enumerate() {
            let owner = mutex::owner(&shard.counts.lock);
            if owner.is_some_and(|owner| owner.participant() == dead) {
                recovered.shards += 1;
                recovered.lost += rebuild(self, index);
                let repairs = &shard.top.repairs;
                repairs.store(repairs.load(Relaxed).wrapping_add(1), Release); // E3
            }
            mutex::recover(&shard.counts.lock, dead);
        }
        mutex::recover(&self.front().redo_lock, dead);
        recovered
    }
}

impl<P: Pages> Locked<'_, P> {
    /// Finds by reachability what is free. Gives how much contradicted the rest, and is gone.
    #[cold]
    pub(crate) fn rebuild(&self) -> u64 {
        debug_assert_eq!(self.pendings(), 0, "a pending block would be taken for a free one");
        rebuild(&self.store(), self.index())
    }
}

/// Builds a shard anew. I1.
fn rebuild<P: Pages>(store: &Store<'_, P>, index: usize) -> u64 {
    let (shard, part) = (store.shard(index), index as u16 + 1);
    let moves = &shard.top.moves;
    moves.store(moves.load(Relaxed).wrapping_add(1), Relaxed);
    fence(Release); // E1
    let mut census = Census::walk(store, part);
    let marked = if store.has(flag::LIST) {
        let mut mark = |offset, bytes| census.mark(offset, bytes);
        let found = list::mark(store.memory(), shard, store.has(flag::PLAIN8), &mut mark);
        Marked { len: found.len, carrying: found.carrying, lost: found.lost, ..Marked::default() }
    } else {
        dict::mark(store.memory(), shard, &mut census)
    };
    fence(Release); // E1
    let lists = sweep::sweep(store.memory(), &census);
    for (offset, pages) in census.unmade() {
        store.pages().release(part, *offset, *pages);
    }
    let counts = &shard.counts;
    for (word, first) in shard.free.iter().zip(lists.free) {
        word.store(first, Relaxed);
    }
    for (word, slab) in shard.fresh.iter().zip(lists.fresh) {
        word.store(slab, Relaxed);
    }
    counts.spans.store(lists.spans, Relaxed);
    counts.pages.store(census.pages(), Relaxed);
    counts.len.store(marked.len, Relaxed);
    counts.used.store(marked.used, Relaxed);
    counts.carrying.store(marked.carrying, Relaxed);
    counts.serial.store(counts.serial.load(Relaxed).max(marked.serial), Relaxed);
    counts.freed.store(0, Relaxed);
    marked.lost
}

#[cfg(all(test, not(loom)))]
mod tests;
