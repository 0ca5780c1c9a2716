//! Eviction for the sake of pages in a row: what lies in the cheapest window of neighbouring spans goes.
//!
//! The clock of `evict.rs` drops entries here and there; that makes room for blocks of their size, and hardly ever a
//! free page. Whoever needs pages needs all entries of some slabs that lie one behind the other gone, and nothing else.
//!
//! Killed in here: as in a removal, or in a rebuild. Progress: a look at every slot, thrice.

use std::ops::Range;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{Root, Slot};

use super::census::Census;
use super::dict;
use crate::node;
use crate::pages::PAGE;
use crate::{Error, Locked, Pages};

/// How much dearer an entry is that was read since the clock came by: dearer than many that were not.
const SEEN: u64 = 16 * PAGE;

/// What it costs to make a span FREE. None: it cannot be done.
type Cost = Option<u64>;

impl<P: Pages> Locked<'_, P> {
    /// Drops entries so that `pages` pages in a row become FREE, and rebuilds. False: there are no such pages. Only
    /// while nothing is pending.
    #[cold]
    #[inline(never)]
    pub(crate) fn evict_window(&self, pages: u32) -> bool {
        self.make_window(pages).unwrap_or(false)
    }

    fn make_window(&self, pages: u32) -> Result<bool, Error> {
        let mut census = Census::walk(&self.store(), self.part());
        dict::mark(self.memory(), self.shard(), &mut census);
        let costs = self.costs(&census)?;
        let Some(window) = cheapest(&census, &costs, pages.into()) else { return Ok(false) };
        let Some(table) = self.table()? else { return Ok(false) };
        for slot in table.round(0) {
            let word = slot.load(Relaxed);
            if Slot::from_bits(word).is_some_and(|slot| window.contains(&slot.offset)) {
                self.drop_entry(slot, node::opened(self.memory(), word)?)?;
            }
        }
        self.rebuild();
        Ok(true)
    }

    /// The cost of each span: the bytes of its entries. That of the table cannot be had, nor can those with parcels.
    fn costs(&self, census: &Census) -> Result<Vec<Cost>, Error> {
        let mut costs: Vec<Cost> = vec![Some(0); census.found().len()];
        let Some(table) = self.table()? else { return Ok(costs) };
        let root = Root::from_bits(self.shard().top.root.load(Relaxed));
        if let Some(span) = root.and_then(|root| census.position(root.offset)) {
            costs[span] = None;
        }
        for slot in table.round(0) {
            let word = slot.load(Relaxed);
            let Some(span) = Slot::from_bits(word).and_then(|slot| census.position(slot.offset)) else {
                continue;
            };
            let node = node::opened(self.memory(), word)?;
            let bytes = node.head().size() + if node.is_seen() { SEEN } else { 0 };
            costs[span] =
                costs[span].filter(|_| node.parcel_count() == 0).map(|cost| cost.saturating_add(bytes));
        }
        Ok(costs)
    }
}

/// The offsets of the neighbouring spans that have so many pages and cost least.
fn cheapest(census: &Census, costs: &[Cost], pages: u64) -> Option<Range<u64>> {
    let found = census.found();
    let mut best: Option<(u64, Range<u64>)> = None;
    let (mut first, mut have, mut total) = (0, 0, 0_u64);
    for (at, span) in found.iter().enumerate() {
        let is_neighbour = at > 0 && found[at - 1].end() == span.offset;
        if !is_neighbour {
            (first, have, total) = (at, 0, 0);
        }
        let Some(cost) = costs[at] else {
            (first, have, total) = (at + 1, 0, 0);
            continue;
        };
        have += u64::from(span.span.pages);
        total = total.saturating_add(cost);
        // As few as will do.
        while have - u64::from(found[first].span.pages) >= pages {
            have -= u64::from(found[first].span.pages);
            total = total.saturating_sub(costs[first].unwrap_or(0));
            first += 1;
        }
        if have >= pages && best.as_ref().is_none_or(|(least, _)| total < *least) {
            best = Some((total, found[first].offset..span.end()));
        }
    }
    best.map(|(_, window)| window)
}
