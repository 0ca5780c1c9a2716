//! The heap of a shard: blocks, in slabs of one class or alone on pages of their own. The holder of the lock uses it.
//!
//! ```text
//! pages   [ SLAB class 4, 2 pages | FREE, 3 pages | RUN, 5 pages | SLAB class 9, .. ]      spans, one behind the other
//! span    0 {pages:32 | check:16 | kind:8 | class:8}   8 carved, or next FREE span   64 or 128 blocks ..
//! slab    [ head | block 0 | block 1 | .. | block carved-1 |  never used ..  | rest ]
//! free block    0 as it was   8 next free block of its class   16 as it was
//! ```
//! A block has no header: whoever gives it back says how large it is. Blocks of a class come from its free list, from
//! the slab in `fresh`, from a new slab; its pages from a FREE span, from a rebuild where much was given back, from the
//! segment. Where there is nothing left: a rebuild, then eviction, then [`Error::Full`]. Blocks of more than 8 KiB have
//! pages of their own, a RUN; in a shard with few pages those of 2 KiB and more have, too, because a table that grows
//! leaves one of each size behind, and a RUN that is given back can be anything at once. Which it is shows in the offset:
//! a RUN's block begins 64 bytes behind a page, those of slabs of these sizes 128 bytes and multiples of 512 behind it.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | first word of a span | the holder | the holder, rebuild, usage; readers of a RUN | E2 | I1 |
//! | second word of a span | the holder, before the first word where it becomes a slab | the same | E2 | carved is too large by one at most |
//! | second word of a free block | the holder | the holder | | not looked at: lists are made anew |
//! | free, fresh, spans, freed, pages | the holder | the holder; tools | | made anew |
//! | moves | the holder, +1 before a span gets a purpose | readers | E1 | one too high |
//!
//! Invariants
//! - I1 between any two instructions the spans tile the pages of the shard, but for runs of pages that were claimed and
//!   have no span yet: those are all zero. For a span is split by writing the head of the rest first, and then both
//!   parts by one store of the head of the first; and merged by one store.
//! - I2 a block belongs to one of: a free list, the never used part of a slab, what the root reaches, the pending ones
//!   of this `Locked`, or nobody (after a death): then a rebuild finds it.
//! - I3 words of a block that was given back stay as they are, but for the second one, until the block is given out
//!   again; words of a span change only when it gets a new purpose, which `moves` counted before.
//! - I4 no word of a page that is not the shard's is written: every offset that was read from shared memory is checked
//!   against the owner of its pages first.
//!
//! Edges
//! - E1 (pairs with read.rs E3) `moves` (Relaxed), fence (Release) -> a reader's fence (Acquire), then `moves`: who saw any
//!   word of the new purpose sees that it was counted.
//! - E2 head of a span (Release) -> the walk of a rebuild (Acquire), and the look of a reader at the head of a RUN: what
//!   was written before, above all the count of carved blocks and the head of the rest.
//! - E3 (pairs with heap.rs E3) fence (SeqCst) of a claimer between its own `pages` and those of the others <-> the same of
//!   another claimer: of two that reach the limit together, one at least sees the other's.
//!
//! | killed | what is left | repaired by |
//! |---|---|---|
//! | popping, pushing, carving | a block that nobody reaches; lists with any link | rebuild: lists anew |
//! | splitting, after the head of the rest | as before, the rest is no span yet: it lies inside a FREE one | nothing to do |
//! | splitting, after the head of the first | two spans, the rest in no list | rebuild: lists anew |
//! | claiming, before the head | pages of zeroes that are the shard's; `pages` perhaps too high | rebuild gives them back, and counts |
//! | dividing what was claimed, before the head of the first | the same, and a FREE span behind them | the same |
//! | making a slab, after its head | an empty slab that `fresh` does not name | rebuild makes it FREE |
//! | giving a RUN back | RUN or FREE, in no list | rebuild makes it FREE |
//!
//! Progress: alloc and free of a class are a handful of loads and stores. A new slab looks at no more than
//! [`LOOKS`] FREE spans. A rebuild looks at everything the shard has, at most once while half of its bytes are given
//! back, and where memory is short. Source: size classes and slabs as everywhere; that lists may be lost and tilings
//! not is our own.

mod spans;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{BIG, BIG_STEP, CLASSES, GRAIN, Span, class_of, class_size, flag, kind};

use crate::pages::PAGE;
use crate::{Error, Locked, Pages};

pub(crate) use spans::{capacity, run_pages};

/// Where a free block has the offset of the next one: the first word stays, because a node has its serial there.
pub(crate) const LINK: u64 = 8;

/// FREE spans that are looked at in search of one.
const LOOKS: usize = 1024;

/// Rebuilds and evictions in a row for the sake of one block.
const TURNS: usize = 8;

impl<P: Pages> Locked<'_, P> {
    /// Gives a block of at least `bytes` bytes: its offset. What is in it is old; nothing reaches it yet.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Limit`], [`Error::TooLarge`], [`Error::Corrupted`]. Nothing was taken then.
    #[inline(always)]
    pub(crate) fn alloc(&self, bytes: u64) -> Result<u64, Error> {
        let class = class_of(bytes);
        if let Some(class) = class
            && let Some(block) = self.pop(class)?
        {
            return Ok(block);
        }
        self.alloc_cold(class, bytes)
    }

    /// Takes a block back that was given for `bytes` bytes, and that nothing reaches any more. The caller has paid a
    /// fence (Release) since the store that made it unreachable.
    ///
    /// A block that contradicts the spans is left to the next rebuild.
    #[inline(always)]
    pub(crate) fn free(&self, offset: u64, bytes: u64) {
        let Some(class) = class_of(bytes).filter(|class| !is_run(offset, *class)) else {
            return self.free_run(offset, bytes);
        };
        let size = class_size(class);
        if self.is_own(offset, size)
            && let Ok(link) = self.memory().word(offset + LINK)
        {
            let head = &self.shard().free[class & 31];
            link.store(head.load(Relaxed), Relaxed);
            head.store(offset, Relaxed);
            self.count_freed(size);
        }
    }

    /// Makes room where there is none: gives back what nothing reaches, or drops entries where that is allowed. False:
    /// there is nothing to be had. Only while nothing is pending.
    pub fn reclaim(&self) -> bool {
        self.make_room(None, GRAIN)
    }

    /// Pops a block of a class. I4: the list may name anything.
    #[inline(always)]
    fn pop(&self, class: usize) -> Result<Option<u64>, Error> {
        let head = &self.shard().free[class & 31];
        let block = head.load(Relaxed);
        if block == 0 {
            return Ok(None);
        }
        if !self.is_own(block, class_size(class)) {
            return Err(damaged_list());
        }
        let next = self.memory().word(block + LINK)?.load(Relaxed);
        head.store(next, Relaxed);
        Ok(Some(block))
    }

    /// Are all pages of this block the shard's, and may a block begin there?
    #[inline(always)]
    pub(crate) fn is_own(&self, offset: u64, bytes: u64) -> bool {
        let (pages, part) = (self.store().pages(), self.part());
        if !offset.is_multiple_of(GRAIN) || !pages.owns(part, offset) {
            return false;
        }
        let last = offset + bytes - 1;
        offset / PAGE == last / PAGE || self.owns_rest(offset, last)
    }

    #[inline(never)]
    fn owns_rest(&self, offset: u64, last: u64) -> bool {
        (offset / PAGE + 1..=last / PAGE).all(|page| self.store().pages().owns(self.part(), page * PAGE))
    }

    #[inline(always)]
    fn count_freed(&self, bytes: u64) {
        let freed = &self.shard().counts.freed;
        freed.store(freed.load(Relaxed).wrapping_add(bytes), Relaxed);
    }

    /// A block whose class has an empty free list, or which has none.
    #[cold]
    #[inline(never)]
    fn alloc_cold(&self, class: Option<usize>, bytes: u64) -> Result<u64, Error> {
        let mut turns = 0..TURNS;
        loop {
            match self.attempt(class, bytes) {
                Err(error) if is_short(error) => {
                    if turns.next().is_none() || !self.make_room(class, bytes) {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    /// A block from wherever one is to be had.
    fn attempt(&self, class: Option<usize>, bytes: u64) -> Result<u64, Error> {
        let Some(class) = class else { return self.new_run(bytes) };
        if let Some(block) = self.pop(class)? {
            return Ok(block);
        }
        if let Some(block) = self.carve(class)? {
            return Ok(block);
        }
        let least = SLABS[class & 31];
        let wanted = (self.owned_pages() / 8).min(SLAB_MAX) as u32;
        if class < BIG || wanted >= least {
            match self.take_span(wanted.max(least), least, |pages| Span::slab(pages, class)) {
                Ok((slab, _)) => {
                    self.shard().fresh[class & 31].store(slab, Relaxed);
                    return self.carve(class)?.ok_or(Error::Corrupted("a slab without blocks"));
                }
                Err(error) if class < BIG || !is_short(error) => return Err(error),
                Err(_) => {}
            }
        }
        self.new_run(bytes)
    }

    /// A block with pages of its own.
    fn new_run(&self, bytes: u64) -> Result<u64, Error> {
        let pages = run_pages(bytes).ok_or(Error::TooLarge)?;
        let (run, _) = self.take_span(pages, pages, |pages| Span::new(pages, kind::RUN))?;
        Ok(run + Span::HEAD)
    }

    /// The next block of the slab in `fresh` that was never used. None: there is no such slab, or none is left in it.
    fn carve(&self, class: usize) -> Result<Option<u64>, Error> {
        let fresh = &self.shard().fresh[class & 31];
        let slab = fresh.load(Relaxed);
        if slab == 0 {
            return Ok(None);
        }
        let (span, size) = (self.span_at(slab)?, class_size(class));
        if span != Span::slab(span.pages, class) {
            return Err(Error::Corrupted("a slab is none"));
        }
        let carved = self.memory().word(slab + LINK)?;
        let index = carved.load(Relaxed);
        if index >= capacity(span.pages, class) {
            fresh.store(0, Relaxed);
            return Ok(None);
        }
        let block = slab + Span::head_of(class) + index * size;
        if !self.is_own(block, size) {
            return Err(Error::Corrupted("a slab is larger than its pages"));
        }
        carved.store(index + 1, Relaxed);
        Ok(Some(block))
    }

    /// A rebuild, if enough was given back to be worth it; else eviction, if it is allowed. False: neither.
    fn make_room(&self, class: Option<usize>, bytes: u64) -> bool {
        if self.pendings() > 0 {
            return false;
        }
        let worth = bytes.max(self.owned_pages() * PAGE / WORTH);
        if self.shard().counts.freed.load(Relaxed) >= worth {
            self.rebuild();
            return true;
        }
        if !self.store().has(flag::EVICT) {
            return false;
        }
        match class {
            Some(class) if class < BIG => {
                // Entries of other sizes went, and perhaps no page became free: one page is enough.
                let is_there = || self.shard().free[class & 31].load(Relaxed) != 0;
                (self.evict_for(Some(class), worth) && is_there()) || self.evict_window(1)
            }
            _ => run_pages(bytes).is_some_and(|pages| self.evict_window(pages)),
        }
    }
}

/// The part of a shard's bytes (one in so many) that has to be given back before a rebuild is worth it.
const WORTH: u64 = 64;

/// Most pages of a slab.
const SLAB_MAX: u64 = 512;

/// Pages of the smallest slab of each class: one. From [`BIG`] on, as few as leave no more than an eighth of them unused.
const SLABS: [u32; 32] = {
    let mut slabs = [1; 32];
    let mut class = 0;
    while class < CLASSES {
        let eighths = if class < BIG { 1 } else { 7 };
        while capacity(slabs[class], class) * class_size(class) * 8 < slabs[class] as u64 * PAGE * eighths {
            slabs[class] += 1;
        }
        class += 1;
    }
    slabs
};

/// Does a block of this class that begins here have pages of its own?
#[inline(always)]
pub(crate) const fn is_run(offset: u64, class: usize) -> bool {
    class >= BIG && offset % BIG_STEP == Span::HEAD
}

const fn is_short(error: Error) -> bool {
    matches!(error, Error::Full(_) | Error::Limit)
}

#[cold]
#[inline(never)]
fn damaged_list() -> Error {
    Error::Corrupted("a list of free blocks")
}

#[cfg(all(test, not(loom)))]
mod tests;
