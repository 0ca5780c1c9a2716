//! What lies in the pages of a shard, found by walking from span to span; and which of its blocks are reached.

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::store::{Span, class_of, class_size, kind};

use crate::heap::{LINK, capacity, is_run, run_pages};
use crate::pages::PAGE;
use crate::{Memory, Pages, Store};

/// A span, as it was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) offset: u64,
    pub(super) span: Span,
    /// Its head is none: what lay here is given up, and it becomes FREE.
    pub(super) is_damaged: bool,
    /// Blocks of a slab that were ever given out, as its word says and what is reached shows.
    pub(super) carved: u64,
    /// Blocks that are reached.
    pub(super) live: u64,
    /// Where its bits begin.
    bits: usize,
}

impl Found {
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.span.pages) * PAGE
    }

    pub(super) fn class(&self) -> usize {
        usize::from(self.span.class)
    }

    /// Blocks that a slab has room for.
    pub(super) fn capacity(&self) -> u64 {
        capacity(self.span.pages, self.class())
    }

    /// Is there nothing in it that anybody reaches?
    pub(super) fn is_free(&self) -> bool {
        self.live == 0
    }
}

/// All spans of a shard in the order of their offsets.
pub(super) struct Census {
    found: Vec<Found>,
    /// One bit a block: it is reached.
    bits: Vec<u64>,
    /// Pages that were claimed and have no span yet.
    unmade: Vec<(u64, u32)>,
}

impl Census {
    pub(super) fn walk<P: Pages>(store: &Store<'_, P>, part: u16) -> Self {
        let mut census = Self { found: Vec::new(), bits: Vec::new(), unmade: Vec::new() };
        let memory = store.memory();
        store.pages().runs(part, &mut |offset, pages| {
            // Whoever answers may be wrong, but not so wrong that we leave the memory.
            let end = offset.saturating_add(u64::from(pages) * PAGE).min(memory.len() & !(PAGE - 1));
            census.walk_run(memory, offset, end);
        });
        census.found.sort_unstable_by_key(|found| found.offset);
        census
    }

    /// Spans of pages in a row.
    fn walk_run(&mut self, memory: Memory<'_>, mut at: u64, end: u64) {
        while at < end {
            match span_at(memory, at, end) {
                Ok(span) => {
                    self.add(memory, at, span);
                    at += u64::from(span.pages) * PAGE;
                }
                Err(word) => {
                    let mut next = at + PAGE;
                    while next < end && span_at(memory, next, end).is_err() {
                        next += PAGE;
                    }
                    // One arena has at most 2^32 pages.
                    let pages = ((next - at) / PAGE) as u32;
                    if word == 0 {
                        self.unmade.push((at, pages));
                    } else {
                        let span = Span::new(pages, kind::FREE);
                        let bits = self.bits.len();
                        self.found.push(Found {
                            offset: at,
                            span,
                            is_damaged: true,
                            carved: 0,
                            live: 0,
                            bits,
                        });
                    }
                    at = next;
                }
            }
        }
    }

    fn add(&mut self, memory: Memory<'_>, offset: u64, span: Span) {
        let bits = self.bits.len();
        let mut found = Found { offset, span, is_damaged: false, carved: 0, live: 0, bits };
        let blocks = match span.kind {
            kind::SLAB => found.capacity(),
            kind::RUN => 1,
            _ => 0,
        };
        if span.kind == kind::SLAB {
            let carved = memory.word(offset + LINK).map_or(0, |word| word.load(Relaxed));
            found.carved = carved.min(blocks);
        }
        self.bits.resize(bits + blocks.div_ceil(64) as usize, 0);
        self.found.push(found);
    }

    /// Which span this offset lies in, of those that begin at or before it.
    pub(super) fn position(&self, offset: u64) -> Option<usize> {
        self.found.partition_point(|found| found.offset <= offset).checked_sub(1)
    }

    /// Marks a block. False: there is no such block of this shard, or somebody else has it already.
    pub(super) fn mark(&mut self, offset: u64, bytes: u64) -> bool {
        let Some(found) = self.position(offset).map(|position| &mut self.found[position]) else {
            return false;
        };
        let Some(index) = block_index(found, offset, bytes) else { return false };
        let (word, bit) = (&mut self.bits[found.bits + (index / 64) as usize], 1 << (index % 64));
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        found.live += 1;
        found.carved = found.carved.max(index + 1);
        true
    }

    /// Is block `index` of this span marked?
    pub(super) fn is_live(&self, found: &Found, index: u64) -> bool {
        self.bits[found.bits + (index / 64) as usize] & (1 << (index % 64)) != 0
    }

    pub(super) fn found(&self) -> &[Found] {
        &self.found
    }

    pub(super) fn unmade(&self) -> &[(u64, u32)] {
        &self.unmade
    }

    /// Pages of all spans.
    pub(super) fn pages(&self) -> u64 {
        self.found.iter().map(|found| u64::from(found.span.pages)).sum()
    }
}

/// The span at `at`, if one begins there and ends before `end`; else what stands there.
fn span_at(memory: Memory<'_>, at: u64, end: u64) -> Result<Span, u64> {
    let word = memory.word(at).map_or(0, |word| word.load(Acquire)); // E2
    let span = Span::from_bits(word).filter(|span| u64::from(span.pages) * PAGE <= end - at);
    let span = span.filter(|span| span.kind != kind::SLAB || capacity(span.pages, span.class.into()) > 0);
    span.ok_or(word)
}

/// Which block of this span is given out for `bytes` bytes at `offset`, at or behind its beginning. None: none.
fn block_index(found: &Found, offset: u64, bytes: u64) -> Option<u64> {
    let inside = offset - found.offset;
    match found.span.kind {
        kind::SLAB => {
            let (class, size) = (found.class(), class_size(found.class()));
            let inside = inside.checked_sub(Span::head_of(class))?;
            let index = inside / size;
            let is_one = class_of(bytes) == Some(class) && inside.is_multiple_of(size);
            (is_one && index < found.capacity()).then_some(index)
        }
        kind::RUN => {
            let may_be_one = class_of(bytes).is_none_or(|class| is_run(offset, class));
            let is_one = may_be_one && inside == Span::HEAD && run_pages(bytes) == Some(found.span.pages);
            is_one.then_some(0)
        }
        _ => None,
    }
}
