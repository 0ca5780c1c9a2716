//! What nobody reaches becomes free: spans as a whole, and blocks in slabs that others still use.

use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::store::{CLASSES, Span, class_size, kind};

use super::census::{Census, Found};
use crate::Memory;
use crate::heap::LINK;

/// The lists of a shard, made anew.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) free: [u64; 32],
    pub(super) fresh: [u64; 32],
    pub(super) spans: u64,
}

/// Writes heads and links. Every list begins with the lowest offset, because spans are taken from the last to the first.
pub(super) fn sweep(memory: Memory<'_>, census: &Census) -> Lists {
    let mut lists = Lists::default();
    let found = census.found();
    let mut end = found.len();
    while let Some(last) = end.checked_sub(1) {
        if !found[last].is_free() {
            if found[last].span.kind == kind::SLAB {
                sweep_slab(memory, census, &found[last], &mut lists);
            }
            end = last;
            continue;
        }
        let first = first_of_group(&found[..end]);
        make_free(memory, &found[first..end], &mut lists.spans);
        end = first;
    }
    lists
}

/// Where the free spans begin that lie one behind the other up to the last one.
fn first_of_group(found: &[Found]) -> usize {
    let mut first = found.len() - 1;
    let mut pages = u64::from(found[first].span.pages);
    while let Some(before) = first.checked_sub(1) {
        pages += u64::from(found[before].span.pages);
        let is_neighbour = found[before].end() == found[first].offset;
        if !found[before].is_free() || !is_neighbour || u32::try_from(pages).is_err() {
            break;
        }
        first = before;
    }
    first
}

/// Makes neighbours one FREE span: one store of the first head, which leaves a tiling before and after.
fn make_free(memory: Memory<'_>, group: &[Found], list: &mut u64) {
    let Some(first) = group.first() else { return };
    let (Ok(head), Ok(link)) = (memory.word(first.offset), memory.word(first.offset + LINK)) else { return };
    let pages = group.iter().map(|found| found.span.pages).sum();
    let free = Span::new(pages, kind::FREE);
    if first.is_damaged || first.span != free {
        head.store(free.bits(), Release); // E2
    }
    link.store(*list, Relaxed);
    *list = first.offset;
}

/// The blocks of a slab that nobody reaches go into the free list; the slab into `fresh`, or all of it is carved.
fn sweep_slab(memory: Memory<'_>, census: &Census, slab: &Found, lists: &mut Lists) {
    let (class, capacity) = (slab.class(), slab.capacity());
    let (Some(free), Some(fresh)) = (lists.free.get_mut(class), lists.fresh.get_mut(class)) else { return };
    debug_assert!(class < CLASSES);
    let mut carved = slab.carved;
    if carved < capacity {
        if *fresh == 0 {
            *fresh = slab.offset;
        } else {
            carved = capacity;
        }
    }
    if let Ok(word) = memory.word(slab.offset + LINK) {
        word.store(carved, Relaxed);
    }
    for index in (0..carved).rev().filter(|index| !census.is_live(slab, *index)) {
        let block = slab.offset + Span::head_of(class) + index * class_size(class);
        if let Ok(link) = memory.word(block + LINK) {
            link.store(*free, Relaxed);
            *free = block;
        }
    }
}
