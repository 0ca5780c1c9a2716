//! Which parts of a region are given out, and which of its pages have memory.
//!
//! Numbers only; nothing here touches memory. A unit is a KiB. A block of order k has 2^k units and begins at a multiple
//! of that. Free blocks lie in a stack for each order; two halves of a block that are both free are put together only
//! when a block is wanted that no stack has, and then all of them are at once.

use std::ops::Range;

use ginnel_layout::line::PAGE;
use ginnel_layout::pool::{TRAY_UNIT, TRAYS_MAX};

use super::pages_of;

/// Pages from the beginning of the region.
pub(super) type Pages = Range<u32>;

/// One more than the order of a block of the largest region.
const ORDERS: usize = (TRAYS_MAX / TRAY_UNIT).ilog2() as usize + 1;

/// The state of a region.
#[derive(Debug)]
pub(super) struct Buddies {
    free: [Vec<u32>; ORDERS],
    /// One bit a page.
    memory: Vec<u64>,
    pages_of_memory: u32,
    units_out: u32,
}

impl Buddies {
    /// A region of so many units, whole pages, without memory and all free.
    pub(super) fn new(units: u32) -> Self {
        let pages = pages_of(0, units).end as usize;
        let mut new = Self {
            free: [const { Vec::new() }; ORDERS],
            memory: vec![0; pages.div_ceil(64)],
            pages_of_memory: 0,
            units_out: 0,
        };
        let mut at = 0;
        while at < units {
            // The largest block that begins here and ends inside.
            let order = at.trailing_zeros().min((units - at).ilog2()).min(ORDERS as u32 - 1);
            new.free[order as usize].push(at);
            at += 1 << order;
        }
        new
    }

    /// A block of that order. `None`: there is none.
    pub(super) fn take(&mut self, order: u8) -> Option<u32> {
        if usize::from(order) >= ORDERS {
            return None;
        }
        let at = self.split(order).or_else(|| {
            self.join_all();
            self.split(order)
        })?;
        self.units_out += 1 << order;
        Some(at)
    }

    /// Gives a block back that was taken as one of that order.
    pub(super) fn give(&mut self, at: u32, order: u8) {
        self.units_out -= 1 << order;
        self.free[usize::from(order)].push(at);
    }

    /// The last free block of the order, or the first part of the smallest larger one.
    fn split(&mut self, order: u8) -> Option<u32> {
        let order = usize::from(order);
        let from = (order..ORDERS).find(|larger| !self.free[*larger].is_empty())?;
        let at = self.free[from].pop()?;
        for half in (order..from).rev() {
            self.free[half].push(at + (1 << half));
        }
        Some(at)
    }

    /// Puts all free blocks together that are halves of one.
    #[cold]
    fn join_all(&mut self) {
        let mut all: Vec<(u32, usize)> = Vec::new();
        for (order, list) in self.free.iter_mut().enumerate() {
            all.extend(list.drain(..).map(|at| (at, order)));
        }
        all.sort_unstable();
        let mut joined: Vec<(u32, usize)> = Vec::with_capacity(all.len());
        for (mut at, mut order) in all {
            while let Some(&(before, as_large)) = joined.last()
                && as_large == order
                && order + 1 < ORDERS
                && before + (1 << order) == at
                && before.trailing_zeros() > order as u32
            {
                joined.pop();
                (at, order) = (before, order + 1);
            }
            joined.push((at, order));
        }
        // Those at the beginning come out first, so that what is used stays together.
        for (at, order) in joined.into_iter().rev() {
            self.free[order].push(at);
        }
    }

    /// Runs of pages of a block that have no memory.
    pub(super) fn without_memory(&self, at: u32, order: u8) -> Vec<Pages> {
        runs(pages_of(at, 1 << order), |page| !self.has_memory(page))
    }

    /// Notes that pages have memory now, or no longer.
    pub(super) fn set_memory(&mut self, pages: Pages, is_there: bool) {
        for page in pages {
            if self.has_memory(page) != is_there {
                self.memory[page as usize / 64] ^= 1 << (page % 64);
                if is_there { self.pages_of_memory += 1 } else { self.pages_of_memory -= 1 }
            }
        }
    }

    fn has_memory(&self, page: u32) -> bool {
        self.memory[page as usize / 64] & 1 << (page % 64) != 0
    }

    /// Runs of pages with memory that nobody uses, so many that, without them, not more than `kept` bytes of such memory
    /// are left, if that can be. The last ones of the region first.
    pub(super) fn idle_above(&mut self, kept: u64) -> Vec<Pages> {
        self.join_all();
        let mut blocks: Vec<_> =
            self.free.iter().enumerate().collect::<Vec<_>>().into_iter().flat_map(of_list).collect();
        blocks.sort_unstable();
        let mut idle = self.bytes_of_memory() - self.bytes_out();
        let mut found = Vec::new();
        for (at, order) in blocks.into_iter().rev() {
            let pages = pages_of(at, 1 << order);
            // Blocks below a page share it with others.
            if pages.len() as u64 * PAGE as u64 != TRAY_UNIT << order {
                continue;
            }
            for run in runs(pages, |page| self.has_memory(page)).into_iter().rev() {
                if idle <= kept {
                    return found;
                }
                let surplus = ((idle - kept).div_ceil(PAGE as u64) as u32).min(run.len() as u32);
                idle -= u64::from(surplus) * PAGE as u64;
                found.push(run.end - surplus..run.end);
            }
        }
        found
    }

    /// Bytes of blocks that are taken.
    pub(super) fn bytes_out(&self) -> u64 {
        u64::from(self.units_out) * TRAY_UNIT
    }

    /// Bytes that have memory. All that are taken do, once the taker has seen to it.
    pub(super) fn bytes_of_memory(&self) -> u64 {
        u64::from(self.pages_of_memory) * PAGE as u64
    }
}

fn of_list((order, list): (usize, &Vec<u32>)) -> impl Iterator<Item = (u32, usize)> {
    list.iter().map(move |at| (*at, order))
}

/// The longest runs of pages that are as wanted.
fn runs(pages: Pages, mut is_wanted: impl FnMut(u32) -> bool) -> Vec<Pages> {
    let mut found: Vec<Pages> = Vec::new();
    for page in pages.filter(|page| is_wanted(*page)) {
        match found.last_mut() {
            Some(last) if last.end == page => last.end += 1,
            _ => found.push(page..page + 1),
        }
    }
    found
}
