//! What a rebuild has to know of a list: every block that its root reaches. Words that contradict are repaired here.
//!
//! A death leaves nothing to repair in the words of a list themselves: what is reached from `root` and lies before
//! `len` is whole, whatever instruction was the last one (the table in `list.rs`). What this finds besides is damage,
//! and it takes away the least that makes the list readable again: a word is set to 0 (its element is lost, the
//! others keep their places), a leaf that contradicts ends the list before it, a directory that does is no list at
//! all. May be run again at any point, and finds the same.

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::store::{Shard, flag};

use super::directory::{Directory, bytes};
use super::plan::Leaf;
use super::word::{self, Word};
use crate::node::{self, Opened};
use crate::{Error, Memory, Pages, Store};

/// What a list holds, and what it had lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marked {
    /// Elements.
    pub(crate) len: u64,
    /// Nodes with parcels.
    pub(crate) carrying: u64,
    /// Elements that contradicted, or that were in leaves which did.
    pub(crate) lost: u64,
}

/// Marks what the root of a list reaches, and repairs its words where they contradict. `mark` is told the offset and
/// the bytes of each block, and says whether it can be one: in bounds, the shard's, and reached once only.
pub(crate) fn mark(
    memory: Memory<'_>,
    shard: &Shard,
    plain8: bool,
    mark: &mut dyn FnMut(u64, u64) -> bool,
) -> Marked {
    let root = shard.top.root.load(Relaxed);
    if root == 0 {
        return Marked::default();
    }
    let directory = match Directory::open(memory, root) {
        Ok(directory) if mark(root, bytes(directory.cap() as u64)) => directory,
        _ => {
            shard.top.root.store(0, Release); // E4
            return Marked { lost: shard.counts.len.load(Relaxed), ..Marked::default() };
        }
    };
    let (leaves, len) = leaves(&directory, mark);
    if leaves.len() < directory.leaves() {
        directory.set_leaves(leaves.len());
    }
    let mut found = Marked { len, carrying: 0, lost: directory.len() - len };
    if len < directory.len() {
        directory.len_word().store(len, Release); // E2
    }
    if !plain8 {
        elements(memory, &leaves, &directory, mark, &mut found);
    }
    found
}

impl<P: Pages> Store<'_, P> {
    /// Calls `each` with the parcels of all elements of list `index`, all of them first, and then makes the list empty,
    /// by one store. For whoever frees the whole store: nobody else uses it, whatever its lock says, and a recoverer may
    /// do this once more. What contradicts is left out.
    pub(crate) fn take_list_apart(&self, index: usize, each: &mut dyn FnMut(&[[u8; 16]])) {
        let root = &self.shard(index).top.root;
        let there = root.load(Acquire); // E4
        if !self.has(flag::PLAIN8)
            && let Ok(directory) = Directory::open(self.memory(), there)
        {
            // Where the leaves contradict, what they reached before that has been given.
            let _ = directory.each_word(0..directory.len(), |_, place| {
                let node =
                    word::node(place.load(Acquire)).and_then(|offset| Opened::at(self.memory(), offset)); // E1
                if let Some(node) = node.filter(|node| node.parcel_count() > 0) {
                    each(&node.parcels());
                }
                Ok(())
            });
        }
        root.store(0, Release); // E4
    }
}

/// The leaves that follow each other, and how many elements they have together.
fn leaves(directory: &Directory<'_>, mark: &mut dyn FnMut(u64, u64) -> bool) -> (Vec<Leaf>, u64) {
    let mut found: Vec<Leaf> = Vec::new();
    let mut len = directory.len();
    for at in 0..directory.leaves() {
        let (begins, ends) = found.last().map_or((0, 0), |before| (before.start, before.start + before.cap));
        let leaf = match directory.leaf(at) {
            // With elements: where the one before has its first, or later. Spare: where the one before is full.
            Ok(leaf)
                if leaf.start == ends || (leaf.start < len && (begins + 1..ends).contains(&leaf.start)) =>
            {
                leaf
            }
            _ => {
                len = len.min(begins);
                break;
            }
        };
        if !mark(leaf.offset, 8 * leaf.cap) {
            len = len.min(leaf.start);
            break;
        }
        found.push(leaf);
    }
    let ends = found.last().map_or(0, |last| last.start + last.cap);
    (found, len.min(ends))
}

/// Marks the nodes of the elements; a word that names none becomes 0.
fn elements(
    memory: Memory<'_>,
    leaves: &[Leaf],
    directory: &Directory<'_>,
    mark: &mut dyn FnMut(u64, u64) -> bool,
    found: &mut Marked,
) {
    for (at, leaf) in leaves.iter().enumerate() {
        let end = leaves.get(at + 1).map_or(found.len, |next| next.start.min(found.len));
        for index in leaf.start..end {
            let Ok(place) = directory.word(leaf, index) else { continue };
            let word = place.load(Relaxed);
            match element(memory, word, mark) {
                Ok(carrying) => found.carrying += u64::from(carrying),
                // Lost and counted before.
                Err(_) if word == 0 => {}
                Err(_) => {
                    place.store(0, Release); // E1
                    found.lost += 1;
                }
            }
        }
    }
}

/// Marks the block of one element; says whether it has parcels.
fn element(memory: Memory<'_>, word: u64, mark: &mut dyn FnMut(u64, u64) -> bool) -> Result<bool, Error> {
    match word::decode(word)? {
        Word::None => Err(Error::Corrupted("no element")),
        Word::Short { .. } => Ok(false),
        Word::Node(offset) => {
            let node = Opened::at(memory, offset).ok_or(Error::Corrupted("the node of an element"))?;
            if !mark(offset, node::bytes(memory, offset)?) {
                return Err(Error::Corrupted("the block of an element"));
            }
            Ok(node.parcel_count() > 0)
        }
    }
}
