//! The shared words: where they are, and what they mean.

use super::{CAPACITY, PAGES, SHARDS};

/// The front, then the shards.
pub(super) const REDO_LOCK: usize = 0;
pub(super) const REDO: usize = 1;
pub(super) const ENTRIES: usize = 2;
const FRONT: usize = 6;

pub(super) const LOCK: usize = 0;
pub(super) const MOVES: usize = 1;
pub(super) const ROOT: usize = 2;
pub(super) const REPAIRS: usize = 3;
pub(super) const SERIAL: usize = 4;
pub(super) const LEN: usize = 5;
pub(super) const USED: usize = 6;
pub(super) const FREE: usize = 7;
pub(super) const FRESH: usize = 8;
pub(super) const SPANS: usize = 9;
const FIRST_PAGE: usize = 10;

/// Of a page: whether the shard has it, the first and the second word of a span, two blocks of four words.
const OWNED: usize = 0;
const HEAD: usize = 1;
const SECOND: usize = 2;
const BLOCKS: usize = 3;
const BLOCK: usize = 4;
const PAGE: usize = BLOCKS + 2 * BLOCK;

const SHARD: usize = FIRST_PAGE + PAGES * PAGE;
pub(super) const ALL: usize = FRONT + SHARDS * SHARD;

/// Everything that is shared.
pub(super) type Words = [u8; ALL];

pub(super) const EMPTY: u8 = 0;
pub(super) const TOMB: u8 = 1;

/// Of a node: its serial, its key (in a free block the link), its value twice.
pub(super) const KEY: usize = 1;
pub(super) const VALUE: usize = 2;

pub(super) fn of_shard(shard: usize, word: usize) -> usize {
    FRONT + shard * SHARD + word
}

fn of_page(shard: usize, page: usize) -> usize {
    of_shard(shard, FIRST_PAGE + page * PAGE)
}

pub(super) fn owned(shard: usize, page: usize) -> usize {
    of_page(shard, page) + OWNED
}

pub(super) fn head(shard: usize, page: usize) -> usize {
    of_page(shard, page) + HEAD
}

pub(super) fn second(shard: usize, page: usize) -> usize {
    of_page(shard, page) + SECOND
}

/// The first word of block `block`, which counts from 1; two of them are in a page.
pub(super) fn block(shard: usize, block: u8) -> usize {
    let number = block as usize - 1;
    of_page(shard, number / 2) + BLOCKS + number % 2 * BLOCK
}

/// The first block of a page.
pub(super) fn block_of(page: usize) -> u8 {
    page as u8 * 2 + 1
}

pub(super) fn page_of(block: u8) -> usize {
    (block as usize - 1) / 2
}

/// Purposes of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Free,
    Slab,
    Run,
}

pub(super) fn header(kind: Kind, pages: usize) -> u8 {
    let kind = match kind {
        Kind::Free => 1,
        Kind::Slab => 2,
        Kind::Run => 3,
    };
    kind | (pages as u8) << 2
}

pub(super) fn span(header: u8) -> Option<(Kind, usize)> {
    let kind = match header & 3 {
        1 => Kind::Free,
        2 => Kind::Slab,
        3 => Kind::Run,
        _ => return None,
    };
    Some((kind, (header >> 2) as usize))
}

pub(super) fn slot(block: u8, key: u8) -> u8 {
    2 + (block - 1) * 4 + key
}

/// Block and tag of a slot that is neither EMPTY nor TOMB. Both may be wild.
pub(super) fn in_slot(slot: u8) -> (u8, u8) {
    ((slot - 2) / 4 + 1, (slot - 2) % 4)
}

/// Whether there is memory where this block should be.
pub(super) fn is_block(block: u8) -> bool {
    (1..=PAGES as u8 * 2).contains(&block)
}

/// The word with the key and the lengths. Only a large value needs a RUN.
pub(super) fn key_word(key: u8, large: bool) -> u8 {
    32 + key + if large { 8 } else { 0 }
}

/// Key and size, unless it is impossible.
pub(super) fn in_key_word(word: u8) -> Option<(u8, bool)> {
    matches!(word, 32..36 | 40..44).then_some((word % 4, word >= 40))
}

/// What a shard has of a key: its place in the table and its block.
pub(super) fn find(words: &Words, shard: usize, key: u8) -> Option<(usize, u8)> {
    let table = words[of_shard(shard, ROOT)];
    if table == 0 {
        return None;
    }
    let first = block(shard, table);
    for (place, word) in words.iter().enumerate().skip(first).take(CAPACITY) {
        match *word {
            EMPTY => return None,
            TOMB => {}
            word => {
                let (node, tag) = in_slot(word);
                if tag == key {
                    return Some((place, node));
                }
            }
        }
    }
    None
}

/// The value of a key at this moment, 0 if there is none. `None`: what the table names is no node of this key.
pub(super) fn current(words: &Words, shard: usize, key: u8) -> Option<u8> {
    let Some((_, node)) = find(words, shard, key) else { return Some(0) };
    if !is_block(node) {
        return None;
    }
    let at = block(shard, node);
    let (there, _) = in_key_word(words[at + KEY])?;
    let whole = words[at] != 0 && there == key && words[at + VALUE] == words[at + VALUE + 1];
    whole.then_some(words[at + VALUE])
}
