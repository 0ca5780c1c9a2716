//! Spans: how pages get a purpose, and lose it. Invariants and edges in `heap.rs`.

use ginnel_layout::atomic::Ordering::{Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::store::{Span, class_size, kind};

use super::{LINK, LOOKS, SLAB_MAX};
use crate::pages::PAGE;
use crate::{Error, Locked, Pages};

/// FREE spans looked at after one that is large enough.
const FURTHER: usize = 64;

/// Bytes that must have been given back before a rebuild is preferred to new pages, however small the shard is.
const MUCH: u64 = 16 * PAGE;

/// From so many pages on a shard claims more than it needs.
const FEW: u64 = 32;

/// So many, if that is not more than a quarter of what it has.
const STEP: u64 = 16;

/// How many blocks of a class a slab has room for.
pub(crate) const fn capacity(pages: u32, class: usize) -> u64 {
    (pages as u64 * PAGE).saturating_sub(Span::head_of(class)) / class_size(class)
}

/// Pages of a RUN with a block of `bytes` bytes. None: more than there can be.
pub(crate) fn run_pages(bytes: u64) -> Option<u32> {
    u32::try_from(bytes.checked_add(Span::HEAD)?.div_ceil(PAGE)).ok()
}

/// A FREE span in its list.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    /// The word that names it.
    link: &'a AtomicU64,
    offset: u64,
    pages: u32,
    next: u64,
}

impl Candidate<'_> {
    /// Is this one the better for `wanted` pages? One that is large enough before one that is not; then the closest.
    fn beats(&self, other: &Self, wanted: u32) -> bool {
        match (self.pages >= wanted, other.pages >= wanted) {
            (true, true) => self.pages < other.pages,
            (false, false) => self.pages > other.pages,
            (enough, _) => enough,
        }
    }
}

impl<'a, P: Pages> Locked<'a, P> {
    /// The span that begins at `offset`, which was read from shared memory.
    pub(super) fn span_at(&self, offset: u64) -> Result<Span, Error> {
        if !offset.is_multiple_of(PAGE) || !self.store().pages().owns(self.part(), offset) {
            return Err(Error::Corrupted("a span outside of the shard"));
        }
        let word = self.memory().word(offset)?.load(Relaxed);
        Span::from_bits(word).ok_or(Error::Corrupted("the head of a span"))
    }

    /// Gives `wanted` pages, or fewer, but `least`, a purpose: offset and number.
    pub(super) fn take_span(
        &self,
        wanted: u32,
        least: u32,
        make: impl Fn(u32) -> Span,
    ) -> Result<(u64, u32), Error> {
        if let Some(taken) = self.take_free(wanted, least, &make)? {
            return Ok(taken);
        }
        let much = (self.owned_pages() * PAGE / 2).max(MUCH);
        if self.shard().counts.freed.load(Relaxed) >= much && self.pendings() == 0 {
            self.rebuild();
            if let Some(taken) = self.take_free(wanted, least, &make)? {
                return Ok(taken);
            }
        }
        let mut pages = wanted.max(self.step());
        loop {
            match self.claim(pages) {
                Ok(offset) => return self.divide(offset, pages, pages.min(wanted), make),
                Err(error) if pages == least => return Err(error),
                Err(_) if pages > wanted => pages = wanted,
                Err(_) => pages = (pages / 2).max(least),
            }
        }
    }

    /// Pages to claim at once where fewer would do, so that a shard that grows gets them in long runs.
    fn step(&self) -> u32 {
        let pages = self.owned_pages();
        let few = if pages < FEW { 1 } else { (pages / 4).min(STEP) };
        few.max((pages / 8).min(SLAB_MAX)) as u32
    }

    /// Gives the first `wanted` of pages that were just claimed a purpose; the others are FREE.
    fn divide(
        &self,
        offset: u64,
        pages: u32,
        wanted: u32,
        make: impl Fn(u32) -> Span,
    ) -> Result<(u64, u32), Error> {
        self.count_move();
        if pages > wanted {
            let spans = &self.shard().counts.spans;
            let rest = offset + u64::from(wanted) * PAGE;
            self.memory().word(rest + LINK)?.store(spans.load(Relaxed), Relaxed);
            // E2. The pages before it have no span yet.
            self.memory().word(rest)?.store(Span::new(pages - wanted, kind::FREE).bits(), Release);
            spans.store(rest, Relaxed);
        }
        self.set_purpose(offset, make(wanted))?;
        Ok((offset, wanted))
    }

    /// Gives a FREE span a purpose, or a part of it. None: there is none of `least` pages.
    fn take_free(
        &self,
        wanted: u32,
        least: u32,
        make: impl Fn(u32) -> Span,
    ) -> Result<Option<(u64, u32)>, Error> {
        let Some(best) = self.find_free(wanted, least)? else { return Ok(None) };
        if !self.is_own(best.offset, u64::from(best.pages) * PAGE) {
            return Err(Error::Corrupted("a span is larger than its pages"));
        }
        let pages = best.pages.min(wanted);
        self.count_move();
        let mut behind = best.next;
        if best.pages > pages {
            behind = best.offset + u64::from(pages) * PAGE;
            self.memory().word(behind + LINK)?.store(best.next, Relaxed);
            // E2. Until the next store it is but a part of the FREE span (I1).
            self.memory().word(behind)?.store(Span::new(best.pages - pages, kind::FREE).bits(), Release);
        }
        self.set_purpose(best.offset, make(pages))?;
        best.link.store(behind, Relaxed);
        Ok(Some((best.offset, pages)))
    }

    /// The FREE span that fits best.
    fn find_free(&self, wanted: u32, least: u32) -> Result<Option<Candidate<'a>>, Error> {
        let mut link = &self.shard().counts.spans;
        let mut best: Option<Candidate<'a>> = None;
        let mut further = FURTHER;
        for _ in 0..LOOKS {
            let offset = link.load(Relaxed);
            if offset == 0 || further == 0 {
                break;
            }
            let span = self.span_at(offset)?;
            if span.kind != kind::FREE {
                return Err(Error::Corrupted("the list of free spans"));
            }
            let behind = self.memory().word(offset + LINK)?;
            let this = Candidate { link, offset, pages: span.pages, next: behind.load(Relaxed) };
            if this.pages >= least && best.is_none_or(|best| this.beats(&best, wanted)) {
                best = Some(this);
            }
            if this.pages == wanted {
                break;
            }
            further -= usize::from(best.is_some_and(|best| best.pages >= wanted));
            link = behind;
        }
        Ok(best)
    }

    /// Takes pages from the segment: all zero, no span yet (I1).
    fn claim(&self, pages: u32) -> Result<u64, Error> {
        let (counts, limit) = (&self.shard().counts, self.store().front().shape.limit.load(Relaxed));
        let before = self.owned_pages();
        counts.pages.store(before + u64::from(pages), Relaxed);
        let result = if limit > 0 && self.pages_of_all() > limit {
            Err(Error::Limit)
        } else {
            self.store().pages().claim(self.part(), pages).map_err(Error::Full)
        };
        match result {
            // 0 would be no span: lists end with it.
            Ok(offset) if offset == 0 || !self.is_own(offset, u64::from(pages) * PAGE) => {
                Err(Error::Corrupted("the segment gave pages of somebody else"))
            }
            Ok(offset) => Ok(offset),
            Err(error) => {
                counts.pages.store(before, Relaxed);
                Err(error)
            }
        }
    }

    /// Pages of the shard, as it counts them: never more than there are.
    #[inline]
    pub(super) fn owned_pages(&self) -> u64 {
        self.shard().counts.pages.load(Relaxed).min(self.memory().len() / PAGE)
    }

    /// Pages of all shards, the own included. Two claimers that would both go beyond the limit may both be refused.
    fn pages_of_all(&self) -> u64 {
        fence(SeqCst); // E3
        let pages = self.store().shards().iter().map(|shard| shard.counts.pages.load(Relaxed));
        pages.fold(0, u64::saturating_add)
    }

    /// Before any word of a span with a new purpose is written.
    pub(crate) fn count_move(&self) {
        let moves = &self.shard().top.moves;
        moves.store(moves.load(Relaxed).wrapping_add(1), Relaxed);
        fence(Release); // E1
    }

    /// One store, after the word that it speaks of.
    fn set_purpose(&self, offset: u64, span: Span) -> Result<(), Error> {
        self.memory().word(offset + LINK)?.store(0, Relaxed);
        self.memory().word(offset)?.store(span.bits(), Release); // E2
        Ok(())
    }

    /// Takes a block back that has pages of its own.
    #[cold]
    #[inline(never)]
    pub(super) fn free_run(&self, offset: u64, bytes: u64) {
        let Some(at) = offset.checked_sub(Span::HEAD) else { return };
        let Ok(span) = self.span_at(at) else { return };
        let expected = run_pages(bytes).map(|pages| Span::new(pages, kind::RUN));
        let length = u64::from(span.pages) * PAGE;
        if expected != Some(span) || !self.is_own(at, length) {
            return;
        }
        if let (Ok(head), Ok(link)) = (self.memory().word(at), self.memory().word(at + LINK)) {
            head.store(Span::new(span.pages, kind::FREE).bits(), Release); // E2
            let spans = &self.shard().counts.spans;
            link.store(spans.load(Relaxed), Relaxed);
            spans.store(at, Relaxed);
            self.count_freed(length);
        }
    }
}
