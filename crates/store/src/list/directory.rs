//! The directory of a list: how many elements it has, and which leaf has which of them. A view of one block.
//!
//! What a view finds may be wild, where a reader without the lock looks at a block that somebody has used again, or
//! where memory is damaged. Nothing is followed outside the data of the arena, no loop is longer than a directory
//! can be, and what contradicts itself is [`Error::Corrupted`]: to a reader without the lock that means *again*.
//!
//! Whoever has no lock reads in this order: `len` (Acquire), then the head, then an entry; a writer stores them the
//! other way round (edge E3 of `list.rs`).

use std::ops::Range;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};

use super::plan::{LEAF_MAX, Leaf};
use crate::{Error, Memory};

/// Words before the first entry.
const HEAD_WORDS: usize = 2;

/// The first bit of an entry that is no part of the leaf's offset.
const OFFSET_BITS: u32 = 48;

/// Bytes of a directory with room for `cap` leaves.
pub(super) const fn bytes(cap: u64) -> u64 {
    8 * HEAD_WORDS as u64 + 16 * cap
}

/// A directory in force, or one that was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    memory: Memory<'a>,
    words: &'a [AtomicU64],
    leaves: usize,
    len: u64,
}

impl<'a> Directory<'a> {
    /// The directory that `root` names.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: there is none.
    #[inline]
    pub(super) fn open(memory: Memory<'a>, root: u64) -> Result<Self, Error> {
        if root == 0 || root >> OFFSET_BITS != 0 {
            return Err(Error::Corrupted("the root of a list"));
        }
        let len = memory.word(root + 8)?.load(Acquire); // E2
        let head = memory.word(root)?.load(Relaxed);
        let (cap, leaves) = (head as u32, head >> 32);
        if leaves > u64::from(cap) || len > LEAF_MAX * leaves {
            return Err(Error::Corrupted("the head of a list"));
        }
        let words = memory.block(root, bytes(u64::from(cap)))?;
        Ok(Self { memory, words, leaves: leaves as usize, len })
    }

    /// Makes the block `words` a directory of `leaves` with `len` elements. Nobody else knows of it yet.
    pub(super) fn make(words: &[AtomicU64], cap: u64, leaves: &[Leaf], len: u64) {
        words[0].store(cap | (leaves.len() as u64) << 32, Relaxed);
        words[1].store(len, Relaxed);
        for (at, leaf) in leaves.iter().enumerate() {
            write(&words[HEAD_WORDS + 2 * at..], leaf);
        }
    }

    /// Elements, as they were counted when the directory was opened.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The word whose store adds elements at the end, or takes them away there.
    pub(super) fn len_word(&self) -> &'a AtomicU64 {
        &self.words[1]
    }

    /// Entries that say where a leaf is; those behind the last element are spare.
    pub(super) fn leaves(&self) -> usize {
        self.leaves
    }

    /// Leaves there is room for.
    pub(super) fn cap(&self) -> usize {
        (self.words.len() - HEAD_WORDS) / 2
    }

    /// Entry `at`, which is below [`Self::leaves`].
    ///
    /// # Errors
    /// [`Error::Corrupted`] for a leaf that none can be.
    #[inline]
    pub(super) fn leaf(&self, at: usize) -> Result<Leaf, Error> {
        let entry = self.words[HEAD_WORDS + 2 * at].load(Relaxed);
        let start = self.words[HEAD_WORDS + 2 * at + 1].load(Relaxed);
        let (cap, offset) = (entry >> OFFSET_BITS, entry & ((1 << OFFSET_BITS) - 1));
        // No leaf before it has more elements than LEAF_MAX, so the sums that are made of it cannot overflow.
        if cap > LEAF_MAX || cap == 0 || start > LEAF_MAX * at as u64 {
            return Err(Error::Corrupted("the leaf of a list"));
        }
        Ok(Leaf { offset, cap, start })
    }

    /// The leaf that has the element `index`, which is below `len`: by one division where all leaves before it are
    /// full, else by halving.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: none has.
    #[inline]
    pub(super) fn find(&self, index: u64) -> Result<Leaf, Error> {
        if self.leaves == 0 {
            return Err(Error::Corrupted("a list with elements and without leaves"));
        }
        let guess = (index / LEAF_MAX).min(self.leaves as u64 - 1) as usize;
        let leaf = self.leaf(guess)?;
        let leaf = match index.checked_sub(leaf.start) {
            Some(within) if within < leaf.cap && self.ends_after(guess, index) => leaf,
            _ => self.leaf(self.halve(index))?,
        };
        match index.checked_sub(leaf.start) {
            Some(within) if within < leaf.cap => Ok(leaf),
            _ => Err(Error::Corrupted("an element of a list is in no leaf")),
        }
    }

    fn start(&self, at: usize) -> u64 {
        self.words[HEAD_WORDS + 2 * at + 1].load(Relaxed)
    }

    #[inline]
    fn ends_after(&self, at: usize, index: u64) -> bool {
        at + 1 >= self.leaves || self.start(at + 1) > index
    }

    /// The last leaf that begins at or before `index`.
    #[cold]
    fn halve(&self, index: u64) -> usize {
        let (mut low, mut high) = (0, self.leaves);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.start(middle) <= index { low = middle } else { high = middle }
        }
        low
    }

    /// The word of the element `index` of `leaf`.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: it is outside the memory, or outside the leaf.
    #[inline]
    pub(super) fn word(&self, leaf: &Leaf, index: u64) -> Result<&'a AtomicU64, Error> {
        match index.checked_sub(leaf.start) {
            Some(within) if within < leaf.cap => self.memory.word(leaf.offset + 8 * within),
            _ => Err(Error::Corrupted("an element of a list is in no leaf")),
        }
    }

    /// The leaves that have elements, in order, checked against each other. For writers.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: they do not cover the list one behind the other.
    pub(super) fn used(&self) -> Result<Vec<Leaf>, Error> {
        let mut used: Vec<Leaf> = Vec::with_capacity(self.leaves.min((self.len / 64) as usize + 4));
        for at in 0..self.leaves {
            let leaf = self.leaf(at)?;
            if leaf.start >= self.len {
                break;
            }
            let expected = used.last().map_or(0..1, |before| before.start + 1..before.start + before.cap + 1);
            if !expected.contains(&leaf.start) {
                return Err(Error::Corrupted("the leaves of a list leave a gap"));
            }
            used.push(leaf);
        }
        if self.len > used.last().map_or(0, |last| last.start + last.cap) {
            return Err(Error::Corrupted("the leaves of a list end before it"));
        }
        Ok(used)
    }

    /// The leaf where the next element goes: the last one with elements, or the first spare one, which need not be
    /// there yet.
    pub(super) fn tail(&self) -> Result<usize, Error> {
        let used = self.used_by(self.len);
        let Some(at) = used.checked_sub(1) else { return Ok(0) };
        let last = self.leaf(at)?;
        match self.len.checked_sub(last.start) {
            Some(held) if held < last.cap => Ok(at),
            Some(held) if held == last.cap => Ok(used),
            _ => Err(Error::Corrupted("the leaves of a list end before it")),
        }
    }

    /// Words that can follow the last element without another leaf.
    pub(super) fn room(&self) -> Result<u64, Error> {
        let Some(last) = self.leaves.checked_sub(1) else { return Ok(0) };
        let last = self.leaf(last)?;
        Ok((last.start + last.cap).saturating_sub(self.len))
    }

    /// How many leaves stay where the list has `len` elements: those with elements, and one spare one behind them if
    /// elements can go on there without a gap.
    pub(super) fn kept(&self, len: u64) -> Result<usize, Error> {
        let used = self.used_by(len);
        if used == self.leaves {
            return Ok(used);
        }
        let ends = match used.checked_sub(1) {
            None => 0,
            Some(at) => self.leaf(at).map(|last| last.start + last.cap)?,
        };
        Ok(used + usize::from(self.leaf(used)?.start == ends))
    }

    /// How many leaves have elements where the list has `len`. From behind, because few are spare.
    fn used_by(&self, len: u64) -> usize {
        let mut used = self.leaves;
        while used > 0 && self.start(used - 1) >= len {
            used -= 1;
        }
        used
    }

    /// Writes the entries `at..` and then how many there are. The leaves are ready; no element is in them yet.
    pub(super) fn open_leaves(&self, at: usize, leaves: &[Leaf]) {
        for (i, leaf) in leaves.iter().enumerate() {
            write(&self.words[HEAD_WORDS + 2 * (at + i)..], leaf);
        }
        self.set_leaves(at + leaves.len());
    }

    /// Says how many entries there are.
    pub(super) fn set_leaves(&self, leaves: usize) {
        self.words[0].store(self.cap() as u64 | (leaves as u64) << 32, Release); // E2, E5
    }

    /// Calls `each` with every word of `range`, in order.
    ///
    /// # Errors
    /// [`Error::Corrupted`], and those of `each`.
    pub(super) fn each_word(
        &self,
        range: Range<u64>,
        mut each: impl FnMut(u64, &'a AtomicU64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut index = range.start;
        let mut at = self.halve(index);
        while index < range.end {
            if at >= self.leaves {
                return Err(Error::Corrupted("the leaves of a list end before it"));
            }
            let leaf = self.leaf(at)?;
            let next = if at + 1 < self.leaves { self.start(at + 1) } else { self.len };
            let end = next.min(range.end);
            if leaf.start > index || end <= index || end - leaf.start > leaf.cap {
                return Err(Error::Corrupted("the leaves of a list leave a gap"));
            }
            let words = self.memory.block(leaf.offset, 8 * leaf.cap)?;
            for here in index..end {
                each(here, &words[(here - leaf.start) as usize])?;
            }
            index = end;
            at += 1;
        }
        Ok(())
    }
}

fn write(words: &[AtomicU64], leaf: &Leaf) {
    words[0].store(leaf.offset | leaf.cap << OFFSET_BITS, Relaxed);
    words[1].store(leaf.start, Relaxed);
}
