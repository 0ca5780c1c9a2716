//! The memory of a shard: blocks, spans, and the rebuild.

use super::plans::{Commits, Put};
use super::words::{
    FREE, FRESH, KEY, Kind, LEN, MOVES, REPAIRS, ROOT, SERIAL, SPANS, USED, VALUE, Words, block, block_of,
    head, header, in_key_word, in_slot, is_block, key_word, of_shard, owned, page_of, second, span,
};
use super::{Bug, CAPACITY, PAGES, Store};

/// What the holder of some locks is going to do, and the words as they will be then.
pub(super) struct Sim {
    pub(super) model: Store,
    pub(super) words: Words,
    pub(super) plan: Vec<Put>,
    /// Blocks that were allocated and that nothing names yet.
    pub(super) pending: u8,
}

impl Sim {
    pub(super) fn new(model: Store, words: &Words) -> Self {
        Sim { model, words: *words, plan: Vec::new(), pending: 0 }
    }

    pub(super) fn put(&mut self, what: &'static str, place: usize, value: u8) {
        self.commit(what, place, value, Commits::Nothing);
    }

    pub(super) fn commit(&mut self, what: &'static str, place: usize, value: u8, commits: Commits) {
        // A store of what is there already is not seen by anybody.
        if self.words[place] != value || commits != Commits::Nothing {
            self.plan.push(Put { what, place: place as u8, value, twin: false, commits });
        }
        self.words[place] = value;
    }

    pub(super) fn twin(&mut self, what: &'static str, place: usize, value: u8, commits: Commits) {
        self.plan.push(Put { what, place: place as u8, value, twin: true, commits });
        self.words[place] = value;
        self.words[place + 1] = value;
    }

    pub(super) fn get(&self, shard: usize, word: usize) -> u8 {
        self.words[of_shard(shard, word)]
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.model.bug == bug
    }

    pub(super) fn moves(&mut self, shard: usize) {
        self.put("moves += 1", of_shard(shard, MOVES), self.get(shard, MOVES) + 1);
    }

    /// A block, or two pages in a row if it is to be `large`. The first one of an operation may rebuild the shard.
    pub(super) fn alloc(&mut self, shard: usize, large: bool) -> Option<u8> {
        let mut found = self.take(shard, large);
        if found.is_none() && (self.pending == 0 || self.has(Bug::RebuildDespitePending)) {
            self.rebuild(shard);
            found = self.take(shard, large);
        }
        self.pending += u8::from(found.is_some());
        found
    }

    fn take(&mut self, shard: usize, large: bool) -> Option<u8> {
        let free = self.get(shard, FREE);
        if !large && free != 0 {
            self.put("pops a free block", of_shard(shard, FREE), self.words[block(shard, free) + KEY]);
            return Some(free);
        }
        let fresh = self.get(shard, FRESH) as usize;
        if !large && fresh != 0 && self.words[second(shard, fresh - 1)] < 2 {
            return Some(self.carve(shard, fresh - 1));
        }
        let page = self.span(shard, if large { 2 } else { 1 })?;
        if !matches!(self.model.bug, Bug::NoMovesAtPurpose | Bug::NoMovesOfSpans) {
            self.moves(shard);
        }
        self.put("second word of the span = 0", second(shard, page), 0);
        if large {
            self.put("header: RUN", head(shard, page), header(Kind::Run, 2));
            return Some(block_of(page));
        }
        self.put("header: SLAB", head(shard, page), header(Kind::Slab, 1));
        self.put("fresh", of_shard(shard, FRESH), page as u8 + 1);
        Some(self.carve(shard, page))
    }

    fn carve(&mut self, shard: usize, page: usize) -> u8 {
        let carved = self.words[second(shard, page)];
        self.put("carves a block", second(shard, page), carved + 1);
        block_of(page) + carved
    }

    /// Pages in a row without a purpose: a FREE span, or the front of one, or new ones.
    fn span(&mut self, shard: usize, pages: usize) -> Option<usize> {
        let mut link = of_shard(shard, SPANS);
        while self.words[link] != 0 {
            let page = self.words[link] as usize - 1;
            let (_, there) = span(self.words[head(shard, page)])?;
            let next = self.words[second(shard, page)];
            if there < pages {
                link = second(shard, page);
                continue;
            }
            if there == pages {
                self.put("takes a span off the list", link, next);
            } else {
                self.split(shard, page, pages, there, link);
            }
            return Some(page);
        }
        let run = |first: &usize| (*first..first + pages).all(|page| self.words[owned(shard, page)] == 0);
        let first = (0..=PAGES.min(self.model.pages) - pages).find(run)?;
        for page in first..first + pages {
            self.put("claims a page", owned(shard, page), 1);
        }
        Some(first)
    }

    /// Cuts the front off a FREE span: the header of the rest comes first.
    fn split(&mut self, shard: usize, page: usize, pages: usize, there: usize, link: usize) {
        let next = self.words[second(shard, page)];
        let rest = page + pages;
        let early = self.has(Bug::SplitFrontFirst);
        if early {
            self.put("header: shorter", head(shard, page), header(Kind::Free, pages));
        }
        self.put("second word of the rest", second(shard, rest), next);
        self.put("header of the rest: FREE", head(shard, rest), header(Kind::Free, there - pages));
        self.put("the rest into the list", link, rest as u8 + 1);
    }

    /// Gives a block back that nothing names any more.
    pub(super) fn free(&mut self, shard: usize, node: u8, large: bool) {
        if large {
            let page = page_of(node);
            self.put("second word of the span = list", second(shard, page), self.get(shard, SPANS));
            self.put("header: FREE", head(shard, page), header(Kind::Free, 2));
            self.put("the span into the list", of_shard(shard, SPANS), page as u8 + 1);
        } else {
            self.put("link in the free block", block(shard, node) + KEY, self.get(shard, FREE));
            self.put("free = block", of_shard(shard, FREE), node);
        }
    }

    /// Takes back what was allocated in vain.
    pub(super) fn take_back(&mut self, shard: usize, node: u8, large: bool) {
        self.free(shard, node, large);
        self.pending -= 1;
    }

    /// Writes a node that nothing names yet.
    pub(super) fn write(&mut self, shard: usize, node: u8, key: u8, value: u8, large: bool) {
        let at = block(shard, node);
        if !self.has(Bug::NoZero) {
            self.put("serial of the node = 0", at, 0);
        }
        self.put("key and lengths", at + KEY, key_word(key, large));
        self.put("value", at + VALUE, value);
        self.put("the rest of the value", at + VALUE + 1, value);
        if large {
            self.mimic(shard, node);
        }
        let serial = self.get(shard, SERIAL) + 1;
        if !self.has(Bug::SerialAtCommit) {
            self.put("serial of the shard", of_shard(shard, SERIAL), serial);
        }
        if !self.has(Bug::SerialAfterCommit) {
            self.put("serial of the node", at, serial);
        }
    }

    /// A large value that looks, where blocks of another purpose were or will be, like what a reader wants to find
    /// there; and like the header of a span that is longer than there is memory.
    fn mimic(&mut self, shard: usize, node: u8) {
        let page = page_of(node);
        for fake in [block_of(page) + 1, block_of(page + 1)] {
            let at = block(shard, fake);
            self.put("value", at, self.model.fake);
            self.put("value", at + KEY, key_word(0, false));
            self.put("value", at + VALUE, super::WRONG);
            self.put("value", at + VALUE + 1, super::WRONG);
        }
        self.put("value", head(shard, page + 1), header(Kind::Slab, 3));
    }

    /// The blocks that the root reaches, and how many keys and used slots there are. What contradicts is taken out.
    pub(super) fn reached(&mut self, shard: usize) -> (Vec<u8>, u8, u8) {
        let root = self.get(shard, ROOT);
        if root == 0 {
            return (Vec::new(), 0, 0);
        }
        if self.model.list {
            return self.reached_of_list(root);
        }
        let (mut all, mut len, mut used) = (vec![root], 0, 0);
        for place in block(shard, root)..block(shard, root) + CAPACITY {
            let word = self.words[place];
            used += u8::from(word != 0);
            if word < 2 {
                continue;
            }
            let (node, key) = in_slot(word);
            let whole = is_block(node) && {
                let at = block(shard, node);
                let named = in_key_word(self.words[at + KEY]).is_some_and(|(there, _)| there == key);
                named && self.words[at] != 0 && !all.contains(&node)
            };
            if whole {
                all.push(node);
                len += 1;
            } else {
                self.put("slot that contradicts = TOMB", place, super::words::TOMB);
            }
        }
        (all, len, used)
    }

    /// Everything anew, from what the root reaches. By a living holder for want of memory: nothing that it has committed
    /// is half done, so versions stay.
    pub(super) fn rebuild(&mut self, shard: usize) {
        if !matches!(self.model.bug, Bug::RebuildWithoutMoves | Bug::NoMovesOfSpans) {
            self.moves(shard);
        }
        let (reached, len, used) = self.reached(shard);
        self.purposes(shard, &reached);
        self.merge(shard);
        let (mut free, mut spans) = (0, 0);
        for (page, kind) in self.spans(shard).into_iter().rev() {
            if kind == Kind::Free {
                self.put("second word of a span = list", second(shard, page), spans);
                spans = page as u8 + 1;
            }
            if kind != Kind::Slab {
                continue;
            }
            self.put("all its blocks are carved", second(shard, page), 2);
            for node in [block_of(page) + 1, block_of(page)] {
                if !reached.contains(&node) {
                    self.put("link in a free block", block(shard, node) + KEY, free);
                    free = node;
                }
            }
        }
        if !self.has(Bug::FreeFromMemory) {
            self.put("free", of_shard(shard, FREE), free);
        }
        self.put("fresh = 0", of_shard(shard, FRESH), 0);
        self.put("spans", of_shard(shard, SPANS), spans);
        if !self.has(Bug::LenFromMemory) {
            self.put("len", of_shard(shard, LEN), len);
        }
        if !self.has(Bug::UsedFromMemory) {
            self.put("used", of_shard(shard, USED), used);
        }
        if self.has(Bug::SerialFromNodes) {
            let last = reached.iter().skip(1).map(|node| self.words[block(shard, *node)]).max();
            self.put("serial", of_shard(shard, SERIAL), last.unwrap_or(0));
        }
    }

    /// [`Sim::rebuild`] for a dead holder.
    pub(super) fn repair(&mut self, shard: usize) {
        self.rebuild(shard);
        if !self.has(Bug::NoRepairs) {
            self.put("repairs += 1", of_shard(shard, REPAIRS), self.get(shard, REPAIRS) + 1);
        }
    }

    /// Pages that were never made a span go back; spans without anything in use become FREE.
    fn purposes(&mut self, shard: usize, reached: &[u8]) {
        let mut page = 0;
        while page < PAGES {
            let there = self.words[head(shard, page)];
            let is_owned = self.words[owned(shard, page)] != 0;
            let Some((kind, pages)) = span(there).filter(|_| is_owned) else {
                if !self.has(Bug::NeverMadeStays) {
                    self.put("gives a page back", owned(shard, page), 0);
                }
                page += 1;
                continue;
            };
            let first = block_of(page);
            let in_use = match kind {
                Kind::Free => true,
                Kind::Slab => reached.contains(&first) || reached.contains(&(first + 1)),
                Kind::Run => reached.contains(&first),
            };
            if !in_use {
                self.put("header: FREE", head(shard, page), header(Kind::Free, pages));
            }
            page += pages;
        }
    }

    fn merge(&mut self, shard: usize) {
        let mut last: Option<(usize, usize)> = None;
        for (page, kind) in self.spans(shard) {
            let pages = span(self.words[head(shard, page)]).map_or(1, |(_, pages)| pages);
            last = match last {
                Some((first, before)) if kind == Kind::Free && first + before == page => {
                    let all = header(Kind::Free, before + pages);
                    self.put("header: longer", head(shard, first), all);
                    Some((first, before + pages))
                }
                _ if kind == Kind::Free => Some((page, pages)),
                _ => None,
            };
        }
    }

    /// The spans in order.
    pub(super) fn spans(&self, shard: usize) -> Vec<(usize, Kind)> {
        let (mut all, mut page) = (Vec::new(), 0);
        while page < PAGES {
            match span(self.words[head(shard, page)]) {
                Some((kind, pages)) if self.words[owned(shard, page)] != 0 && pages > 0 => {
                    all.push((page, kind));
                    page += pages;
                }
                _ => page += 1,
            }
        }
        all
    }
}
