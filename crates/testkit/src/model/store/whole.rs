//! What a shard must be whenever it is unlocked: its spans tile its pages, and each block is in use once or free once.

use super::heap::Sim;
use super::words::{
    FREE, FRESH, KEY, Kind, LEN, SPANS, USED, Words, block, block_of, head, is_block, of_shard, owned,
    second, span,
};
use super::{PAGES, Store};

pub(super) fn check(model: Store, words: &Words, shard: usize) -> Result<(), &'static str> {
    let mut sim = Sim::new(model, words);
    let (reached, len, used) = sim.reached(shard);
    if !sim.plan.is_empty() {
        return Err("a slot that contradicts");
    }
    if words[of_shard(shard, LEN)] != len || words[of_shard(shard, USED)] != used {
        return Err("len or used do not count what there is");
    }
    let spans = sim.spans(shard);
    tiles(words, shard, &spans)?;
    let blocks = carved(words, shard, &spans)?;
    let in_use = with_free(words, shard, reached)?;
    if blocks.iter().any(|block| !in_use.contains(block)) {
        return Err("a block is leaked");
    }
    if in_use.iter().any(|block| !blocks.contains(block)) {
        return Err("a block is in use that is none");
    }
    free_spans(words, shard, spans.iter().filter(|(_, kind)| *kind == Kind::Free).count())
}

/// No page is in two spans, and every page of the shard is in one.
fn tiles(words: &Words, shard: usize, spans: &[(usize, Kind)]) -> Result<(), &'static str> {
    let mut tiled = [false; PAGES];
    for (page, _) in spans {
        let pages = span(words[head(shard, *page)]).map_or(1, |(_, pages)| pages);
        for tile in *page..*page + pages {
            if tiled.get(tile) != Some(&false) || words[owned(shard, tile)] == 0 {
                return Err("the spans do not tile the pages");
            }
            tiled[tile] = true;
        }
    }
    match (0..PAGES).any(|page| words[owned(shard, page)] != 0 && !tiled[page]) {
        true => Err("a page that no span has"),
        false => Ok(()),
    }
}

/// The blocks that were ever given out.
fn carved(words: &Words, shard: usize, spans: &[(usize, Kind)]) -> Result<Vec<u8>, &'static str> {
    let mut blocks = Vec::new();
    for (page, kind) in spans {
        let first = block_of(*page);
        match kind {
            Kind::Free => {}
            Kind::Run => blocks.push(first),
            Kind::Slab => {
                let carved = words[second(shard, *page)];
                if carved < 2 && words[of_shard(shard, FRESH)] != *page as u8 + 1 {
                    return Err("a slab is never carved to its end");
                }
                blocks.extend((first..first + 2).take(carved as usize));
            }
        }
    }
    Ok(blocks)
}

/// What is reached, and the free list.
fn with_free(words: &Words, shard: usize, mut all: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let mut free = words[of_shard(shard, FREE)];
    while free != 0 {
        if !is_block(free) {
            return Err("the free list leads nowhere");
        }
        if all.contains(&free) {
            return Err("a block is in use twice");
        }
        all.push(free);
        free = words[block(shard, free) + KEY];
    }
    Ok(all)
}

fn free_spans(words: &Words, shard: usize, wanted: usize) -> Result<(), &'static str> {
    let (mut at, mut count) = (words[of_shard(shard, SPANS)], 0);
    while at != 0 && count <= PAGES {
        let page = at as usize - 1;
        if span(words[head(shard, page)]).is_none_or(|(kind, _)| kind != Kind::Free) {
            return Err("a span is free and in use");
        }
        count += 1;
        at = words[second(shard, page)];
    }
    if count == wanted { Ok(()) } else { Err("a FREE span is leaked") }
}
