//! A change of a list that is ready and not yet made: what it will do is fixed, every block it needs is there, and
//! one store makes it true.
//!
//! Between the two its maker does what belongs before the commit: the parcels of new values get their carriers, those
//! of values that go are received. A change that is dropped gives its blocks back; nobody has seen them.

use std::fmt;

use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::atomic::{AtomicU64, fence};

use super::directory::{Directory, bytes};
use super::plan::Leaf;
use super::word;
use crate::node::{self, Opened};
use crate::{Error, Locked, Pages};

/// A few words, without asking the allocator for one.
#[derive(Debug)]
pub(super) enum Words {
    One(u64),
    Many(Vec<u64>),
}

impl Words {
    pub(super) fn as_slice(&self) -> &[u64] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }
}

/// The one store that makes a change true, and what goes with it.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The list is as it is to be.
    Nothing,
    /// The word of an element.
    Set { place: &'a AtomicU64, word: u64 },
    /// `len`, after the words behind it.
    Append(Append<'a>),
    /// `len`, before the words behind it.
    Truncate { directory: Directory<'a>, len: u64 },
    /// `root`.
    Root { root: u64, len: u64, replaced: Replaced },
}

/// Words that follow the last element in place.
#[derive(Debug)]
pub(super) struct Append<'a> {
    pub(super) directory: Directory<'a>,
    /// The first leaf that gets some.
    pub(super) tail: usize,
    /// The leaves that come behind those that the directory knows.
    pub(super) opened: Vec<Leaf>,
    pub(super) words: Words,
}

impl<'a> Append<'a> {
    /// Calls `each` with the place of every word.
    fn spread(&self, mut each: impl FnMut(&'a AtomicU64, u64)) -> Result<(), Error> {
        let known = self.directory.leaves();
        let mut words = self.words.as_slice().iter();
        let mut index = self.directory.len();
        for at in self.tail..known + self.opened.len() {
            let leaf = match at.checked_sub(known) {
                Some(opened) => self.opened[opened],
                None => self.directory.leaf(at)?,
            };
            let room = (leaf.start + leaf.cap).saturating_sub(index) as usize;
            for word in words.by_ref().take(room) {
                each(self.directory.word(&leaf, index)?, *word);
                index += 1;
            }
        }
        match words.next() {
            None => Ok(()),
            Some(_) => Err(Error::Corrupted("the leaves of a list leave a gap")),
        }
    }
}

/// The blocks of a directory that another takes the place of, without those of its leaves that stay.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    pub(super) directory: Option<(u64, u64)>,
    pub(super) leaves: Vec<Leaf>,
}

/// A change of a list that is ready and not yet made. Dropped without [`Change::commit`], it never was.
#[must_use = "a change that is dropped never was"]
pub struct Change<'l, 'a, P: Pages> {
    locked: &'l Locked<'a, P>,
    step: Step<'a>,
    /// Blocks that nothing reaches before the commit: offset and bytes. The first one; offset 0: none.
    made: (u64, u64),
    more: Vec<(u64, u64)>,
    added: Vec<(usize, u64)>,
    /// Words of elements that go.
    dropped: Words,
    removed: Vec<u64>,
}

impl<P: Pages> fmt::Debug for Change<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("step", &self.step).finish_non_exhaustive()
    }
}

impl<P: Pages> Drop for Change<'_, '_, P> {
    fn drop(&mut self) {
        // Nobody could reach these blocks, so no store has to come first.
        for (offset, bytes) in self.release_made() {
            self.locked.free(offset, bytes);
        }
    }
}

impl<'l, 'a, P: Pages> Change<'l, 'a, P> {
    pub(super) const fn new(locked: &'l Locked<'a, P>) -> Self {
        Self {
            locked,
            step: Step::Nothing,
            made: (0, 0),
            more: Vec::new(),
            added: Vec::new(),
            dropped: Words::Many(Vec::new()),
            removed: Vec::new(),
        }
    }

    /// The new values that have parcels: the place in what was handed over, and the position of the node (its offset
    /// divided by 16), which is what their carriers say.
    #[must_use]
    pub fn added(&self) -> Vec<(usize, u64)> {
        self.added.iter().map(|(at, offset)| (*at, offset / 16)).collect()
    }

    /// Does the commit take values with parcels out of the list?
    #[must_use]
    pub fn has_removed(&self) -> bool {
        !self.removed.is_empty()
    }

    /// The parcels of the values that the commit takes out of the list.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn removed(&self) -> Result<Vec<[u8; 16]>, Error> {
        let mut parcels = Vec::new();
        for offset in &self.removed {
            parcels.extend(node::parcels(self.locked.memory(), *offset)?);
        }
        Ok(parcels)
    }

    /// Keeps a block for this change.
    pub(super) fn keep(&mut self, offset: u64, bytes: u64) {
        if self.made.0 == 0 {
            self.locked.add_pending();
            self.made = (offset, bytes);
        } else {
            self.more.push((offset, bytes));
        }
    }

    /// Says that value `at` has parcels and is in the node at `offset`.
    pub(super) fn add(&mut self, at: usize, offset: u64) {
        self.added.push((at, offset));
    }

    /// Says which words go.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub(super) fn drop_words(&mut self, words: Words) -> Result<(), Error> {
        if self.locked.shard().counts.carrying.load(Relaxed) > 0 {
            for offset in words.as_slice().iter().filter_map(|word| word::node(*word)) {
                match Opened::at(self.locked.memory(), offset) {
                    Some(node) if node.parcel_count() > 0 => self.removed.push(offset),
                    Some(_) => {}
                    None => return Err(Error::Corrupted("a node of a list")),
                }
            }
        }
        self.dropped = words;
        Ok(())
    }

    pub(super) fn set_step(&mut self, step: Step<'a>) {
        self.step = step;
    }

    /// The blocks are reached now, or are to be given back.
    fn release_made(&mut self) -> impl Iterator<Item = (u64, u64)> + use<P> {
        let first = std::mem::take(&mut self.made);
        if first.0 != 0 {
            self.locked.drop_pending();
        }
        std::iter::once(first).filter(|(offset, _)| *offset != 0).chain(std::mem::take(&mut self.more))
    }

    /// Makes the change, by one store, and gives back what it replaces.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: somebody scribbled between the two halves. Nothing was changed then.
    pub fn commit(mut self) -> Result<(), Error> {
        let step = std::mem::replace(&mut self.step, Step::Nothing);
        // Whatever is written from here on into a block that others may still look at from an earlier life of it
        // comes after the store that ended that life. E3.
        fence(Release);
        match step {
            Step::Nothing => return Ok(()),
            Step::Set { place, word } => {
                place.store(word, Release); // E1: COMMIT
                fence(Release); // E3
            }
            Step::Append(append) => self.append(&append)?,
            Step::Truncate { directory, len } => self.truncate(&directory, len),
            Step::Root { root, len, replaced } => self.replace_root(root, len, &replaced),
        }
        drop(self.release_made());
        self.settle();
        Ok(())
    }

    fn set_len(&self, len: u64) {
        self.locked.shard().counts.len.store(len, Relaxed);
    }

    /// All words, then `len`. No word is written unless all of them have their places: I4.
    fn append(&self, append: &Append<'a>) -> Result<(), Error> {
        append.spread(|_, _| ())?;
        let directory = &append.directory;
        if !append.opened.is_empty() {
            directory.open_leaves(directory.leaves(), &append.opened);
        }
        append.spread(|place, word| place.store(word, Release))?; // E1
        let len = directory.len() + append.words.as_slice().len() as u64;
        directory.len_word().store(len, Release); // E2: COMMIT
        fence(Release); // E3
        self.set_len(len);
        Ok(())
    }

    fn truncate(&self, directory: &Directory<'a>, len: u64) {
        directory.len_word().store(len, Release); // E2: COMMIT
        if !self.dropped.as_slice().is_empty() {
            // Whoever made the change has walked these leaves; where they contradict by now, nothing is cleared.
            let _ = directory.each_word(len..directory.len(), |_, place| {
                place.store(0, Release); // E2
                Ok(())
            });
        }
        fence(Release); // E3
        self.set_len(len);
        self.give_leaves_back(directory, len);
    }

    /// The leaves behind the first spare one. They count as a move: where elements come back to this length, a reader
    /// would take what is in the block by then for an element. Where the entries contradict, nothing is given back.
    fn give_leaves_back(&self, directory: &Directory<'a>, len: u64) {
        let Ok(keep) = directory.kept(len) else { return };
        let leaves = (keep..directory.leaves()).map(|at| directory.leaf(at)).collect::<Result<Vec<_>, _>>();
        let Ok(leaves) = leaves else { return };
        if leaves.is_empty() {
            return;
        }
        self.locked.count_move(); // E5
        directory.set_leaves(keep);
        for leaf in leaves {
            self.locked.free(leaf.offset, 8 * leaf.cap);
        }
    }

    fn replace_root(&self, root: u64, len: u64, replaced: &Replaced) {
        self.locked.count_move(); // E4
        self.locked.shard().top.root.store(root, Release); // E4: COMMIT
        fence(Release); // E3
        self.set_len(len);
        for leaf in &replaced.leaves {
            self.locked.free(leaf.offset, 8 * leaf.cap);
        }
        if let Some((offset, cap)) = replaced.directory {
            self.locked.free(offset, bytes(cap));
        }
    }

    /// After the commit and its fence: the nodes that went, the counts, and the number of the change.
    fn settle(&mut self) {
        let counts = &self.locked.shard().counts;
        for offset in self.dropped.as_slice().iter().filter_map(|word| word::node(*word)) {
            // A node that contradicts itself is left to the next rebuild.
            if let Ok(bytes) = node::bytes(self.locked.memory(), offset) {
                self.locked.free(offset, bytes);
            }
        }
        let (come, gone) = (self.added.len() as u64, self.removed.len() as u64);
        if come != gone {
            let carrying = counts.carrying.load(Relaxed);
            counts.carrying.store(carrying.wrapping_add(come).wrapping_sub(gone), Relaxed);
        }
        let serial = counts.serial.load(Relaxed);
        counts.serial.store(serial.wrapping_add(1), Release); // E6
    }
}
