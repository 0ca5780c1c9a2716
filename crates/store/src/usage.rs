//! How much memory a store has, and how much of it is free. For people.

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{CLASSES, Span, class_size, kind};

use crate::heap::{LINK, capacity};
use crate::pages::PAGE;
use crate::{Memory, Pages, Store};

/// What a store looks like at one moment. Others change it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many shards.
    pub shards: u32,
    /// Entries.
    pub entries: u64,
    /// Bytes of the pages that the store has taken.
    pub claimed: u64,
    /// Most bytes it may take. None: as many as the segment has.
    pub limit: Option<u64>,
    /// Bytes that entries, tables and directories have, with what their blocks are too large by.
    pub used: u64,
    /// Bytes that can be given out at once, to blocks of some size.
    pub free: u64,
    /// Bytes of the largest free span: what a single large block may have.
    pub largest_free: u64,
    /// How often shards were repaired after a death.
    pub repairs: u64,
}

impl<P: Pages> Store<'_, P> {
    /// Looks at all free lists, without locks: costs a cache miss a free block.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let limit = self.front().shape.limit.load(Relaxed);
        let mut usage = Usage {
            shards: self.shards().len() as u32,
            entries: self.len(),
            limit: (limit != 0).then(|| limit.saturating_mul(PAGE)),
            ..Usage::default()
        };
        for index in 0..self.shards().len() {
            self.add_shard(index, &mut usage);
        }
        usage
    }

    fn add_shard(&self, index: usize, usage: &mut Usage) {
        let (memory, shard) = (self.memory(), self.shard(index));
        let part = index as u16 + 1;
        // A list that changes under this look may lead anywhere, but not into pages that are not the shard's: those may
        // have no memory, and must not get any by being looked at.
        let is_own = |offset: &u64| *offset != 0 && self.pages().owns(part, *offset);
        // Nor must a wild count make the walks long.
        let claimed = shard.counts.pages.load(Relaxed).saturating_mul(PAGE).min(memory.len());
        let mut free = 0;
        for class in 0..CLASSES {
            let (mut blocks, mut block) = (0, shard.free[class].load(Relaxed));
            while blocks < claimed / class_size(class) && is_own(&block) {
                blocks += 1;
                block = memory.word(block + LINK).map_or(0, |word| word.load(Relaxed));
            }
            let slab = Some(shard.fresh[class].load(Relaxed)).filter(is_own);
            free += blocks * class_size(class) + slab.map_or(0, |slab| never_used(memory, slab, class));
        }
        let (mut spans, mut offset) = (0, shard.counts.spans.load(Relaxed));
        while spans < claimed / PAGE && is_own(&offset) {
            let word = memory.word(offset).map_or(0, |word| word.load(Relaxed));
            let Some(span) = Span::from_bits(word).filter(|span| span.kind == kind::FREE) else { break };
            let bytes = u64::from(span.pages) * PAGE;
            free += bytes;
            usage.largest_free = usage.largest_free.max(bytes.min(claimed));
            spans += 1;
            offset = memory.word(offset + LINK).map_or(0, |word| word.load(Relaxed));
        }
        let free = free.min(claimed);
        usage.claimed += claimed;
        usage.free += free;
        usage.used += claimed - free;
        usage.repairs = usage.repairs.wrapping_add(shard.top.repairs.load(Relaxed));
    }
}

/// Bytes of a slab that were never given out.
fn never_used(memory: Memory<'_>, slab: u64, class: usize) -> u64 {
    let word = |at: u64| memory.word(slab + at).map_or(0, |word| word.load(Relaxed));
    let span = Span::from_bits(word(0)).filter(|span| *span == Span::slab(span.pages, class));
    let capacity = span.map_or(0, |span| capacity(span.pages, class));
    capacity.saturating_sub(word(LINK)) * class_size(class)
}
