//! What the holder of the lock can do with a list: look at it, and get changes of it ready.
//!
//! All changes are one: a range of elements becomes other elements, which are new or were in that range. How it is
//! done depends on where the range is: at the end of the list in place (push, extend, pop, truncate), for a single
//! element in place (set), else by new leaves for those that the range touches and a new directory.

use std::ops::{ControlFlow, Range};

use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::atomic::fence;
use ginnel_layout::store::flag;

use super::change::{Append, Change, Replaced, Step, Words};
use super::directory::{Directory, bytes};
use super::plan::{self, LEAF_MAX, Leaf};
use super::{read, word};
use crate::node::{self, Extra, Source};
use crate::{Copied, Error, Locked, Pages};

/// A value that is to go into a list.
#[derive(Debug, Clone, Copy)]
pub struct Item<'i> {
    /// Its bytes. In a list of plain words at most 8.
    pub value: &'i [u8],
    /// The parcels of its handles, if it has any.
    pub parcels: &'i [[u8; 16]],
}

/// An element that is in the list, to be put at another place of it. Good while the lock is held.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept(u64);

/// An element of a list that is to be.
#[derive(Debug)]
pub enum Slot<'i> {
    /// One that is there.
    Kept(Kept),
    /// A new one.
    New(Item<'i>),
}

impl<'a, P: Pages> Locked<'a, P> {
    /// How many elements there are.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn list_len(&self) -> Result<u64, Error> {
        Ok(self.directory()?.map_or(0, |directory| directory.len()))
    }

    /// The element `index`, copied into `out`; whether it has parcels. None: the list is not as long as that. In a
    /// list of plain words these are 8 bytes, whatever was put in.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn list_read(&self, index: u64, out: &mut Copied) -> Result<Option<bool>, Error> {
        let Some(word) = self.list_word(index)? else { return Ok(None) };
        read::value(self.memory(), self.is_plain(), word, out).map(Some)
    }

    /// The parcels of the element `index`; none where it has none, or is not there.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn list_parcels(&self, index: u64) -> Result<Vec<[u8; 16]>, Error> {
        let word = self.list_word(index)?;
        match word.filter(|_| !self.is_plain()).and_then(word::node) {
            Some(offset) => node::parcels(self.memory(), offset),
            None => Ok(Vec::new()),
        }
    }

    /// Calls `each` with the index, the value and the parcels of the elements of `range`, as far as the list has them,
    /// until it breaks. The bytes are private copies; nothing may be changed meanwhile.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn list_for_each(
        &self,
        range: Range<u64>,
        mut each: impl FnMut(u64, &[u8], &[[u8; 16]]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let Some(directory) = self.directory()? else { return Ok(()) };
        let (memory, plain) = (self.memory(), self.is_plain());
        let mut value = Copied::new();
        let mut stopped = false;
        directory.each_word(range.start..range.end.min(directory.len()), |index, place| {
            if stopped {
                return Ok(());
            }
            let word = place.load(Relaxed);
            let carrying = read::value(memory, plain, word, &mut value)?;
            let parcels = if carrying { node::parcels(memory, word)? } else { Vec::new() };
            stopped = each(index, value.as_bytes(), &parcels).is_break();
            Ok(())
        })
    }

    /// The elements of `range` as what they are kept by, for [`Locked::list_rearrange`]. The range is within the list.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn list_kept(&self, range: Range<u64>) -> Result<Vec<Kept>, Error> {
        Ok(self.words(range)?.into_iter().map(Kept).collect())
    }

    /// The value of an element; whether it has parcels.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn list_value(&self, kept: &Kept, out: &mut Copied) -> Result<bool, Error> {
        read::value(self.memory(), self.is_plain(), kept.0, out)
    }

    /// The parcels of an element.
    ///
    /// # Errors
    /// [`Error::Corrupted`].
    pub fn list_parcels_of(&self, kept: &Kept) -> Result<Vec<[u8; 16]>, Error> {
        match Some(kept.0).filter(|_| !self.is_plain()).and_then(word::node) {
            Some(offset) => node::parcels(self.memory(), offset),
            None => Ok(Vec::new()),
        }
    }

    /// Gets ready what makes the elements of `range` into `items`: push and extend (`len..len`), pop and truncate (no
    /// items, up to `len`), set (one for one), insert and remove, clear, the assignment of a slice. All or nothing, by
    /// one commit. None: the range is not within the list.
    ///
    /// Memory that was given back is looked for where it is short.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Limit`], [`Error::TooLarge`], [`Error::Corrupted`]. Nothing was taken then.
    pub fn list_splice<'l>(
        &'l self,
        range: Range<u64>,
        items: &[Item<'_>],
    ) -> Result<Option<Change<'l, 'a, P>>, Error> {
        if let [item] = items {
            return self.list_rearrange(range, &[Slot::New(*item)]);
        }
        let slots: Vec<Slot<'_>> = items.iter().map(|item| Slot::New(*item)).collect();
        self.list_rearrange(range, &slots)
    }

    /// As [`Locked::list_splice`], with elements that stay: what is kept must be in `range`, and only once. It is not
    /// copied; sort, reverse, retain and swap move words and nothing else.
    ///
    /// # Errors
    /// As [`Locked::list_splice`]; [`Error::Corrupted`] where an element that is kept is not in the range.
    pub fn list_rearrange<'l>(
        &'l self,
        range: Range<u64>,
        slots: &[Slot<'_>],
    ) -> Result<Option<Change<'l, 'a, P>>, Error> {
        match self.list_change(&range, slots) {
            Err(Error::Full(_) | Error::Limit) if self.pendings() == 0 && self.reclaim() => {
                self.list_change(&range, slots)
            }
            done => done,
        }
    }

    fn list_change<'l>(
        &'l self,
        range: &Range<u64>,
        slots: &[Slot<'_>],
    ) -> Result<Option<Change<'l, 'a, P>>, Error> {
        let mut change = Change::new(self);
        // The values first: where memory is short, the first block of all may need a rebuild, and the view of the
        // directory is taken after it.
        let new = self.new_words(&mut change, slots)?;
        let directory = self.directory()?;
        let len = directory.map_or(0, |directory| directory.len());
        if range.start > range.end || range.end > len {
            return Ok(None);
        }
        if !self.is_plain() && !range.is_empty() {
            change.drop_words(self.gone(range, slots)?)?;
        }
        let step = match directory {
            Some(directory) => self.in_place(&mut change, directory, range, new)?,
            None => Err(new),
        };
        let step = match step {
            Ok(step) => step,
            Err(new) => self.by_new_leaves(&mut change, directory, range, new.as_slice())?,
        };
        change.set_step(step);
        Ok(Some(change))
    }

    /// The words of the elements that are to be.
    fn new_words(&self, change: &mut Change<'_, 'a, P>, slots: &[Slot<'_>]) -> Result<Words, Error> {
        let mut word = |at: usize, slot: &Slot<'_>| match slot {
            Slot::Kept(kept) => Ok(kept.0),
            Slot::New(item) => self.new_word(change, at, item),
        };
        match slots {
            [only] => word(0, only).map(Words::One),
            _ => {
                let words = slots.iter().enumerate().map(|(at, slot)| word(at, slot));
                words.collect::<Result<_, _>>().map(Words::Many)
            }
        }
    }

    fn new_word(&self, change: &mut Change<'_, 'a, P>, at: usize, item: &Item<'_>) -> Result<u64, Error> {
        if self.is_plain() {
            return word::plain(item.value);
        }
        if let Some(word) = word::short(item.value).filter(|_| item.parcels.is_empty()) {
            return Ok(word);
        }
        let extra = Extra { deadline: None, parcels: item.parcels };
        let made = self.make_node(&Source { key: &[], hash: 0, value: item.value, extra })?;
        change.keep(made.offset, made.bytes);
        if !item.parcels.is_empty() {
            change.add(at, made.offset);
        }
        Ok(made.offset)
    }

    /// The words of `range` that are not kept.
    fn gone(&self, range: &Range<u64>, slots: &[Slot<'_>]) -> Result<Words, Error> {
        if range.end - range.start == 1
            && slots.iter().all(|slot| matches!(slot, Slot::New(_)))
            && let Some(word) = self.list_word(range.start)?
        {
            return Ok(Words::One(word));
        }
        let old = self.words(range.clone())?;
        let kept = slots.iter().filter_map(|slot| match slot {
            Slot::Kept(kept) => word::node(kept.0),
            Slot::New(_) => None,
        });
        let mut kept: Vec<u64> = kept.collect();
        if kept.is_empty() {
            return Ok(Words::Many(old));
        }
        kept.sort_unstable();
        let mut gone: Vec<u64> = old.into_iter().filter(|word| word::node(*word).is_some()).collect();
        gone.sort_unstable();
        // Both in order, and no offset twice in a whole list: one walk finds whatever is kept and not there.
        let mut stay = kept.iter().peekable();
        gone.retain(|word| stay.next_if(|kept| *kept == word).is_none());
        match stay.next() {
            None => Ok(Words::Many(gone)),
            Some(_) => Err(Error::Corrupted("an element is kept that is not there")),
        }
    }

    /// The step that leaves the directory in force. Err: there is none; here are the words.
    fn in_place(
        &self,
        change: &mut Change<'_, 'a, P>,
        directory: Directory<'a>,
        range: &Range<u64>,
        new: Words,
    ) -> Result<Result<Step<'a>, Words>, Error> {
        let (len, added) = (directory.len(), new.as_slice().len() as u64);
        match (range.end - range.start, added) {
            (0, 0) => Ok(Ok(Step::Nothing)),
            (1, 1) => {
                let leaf = directory.find(range.start)?;
                let place = directory.word(&leaf, range.start)?;
                Ok(Ok(Step::Set { place, word: new.as_slice()[0] }))
            }
            (0, _) if range.start == len => self.append(change, directory, new),
            (_, 0) if range.end == len && (range.start > 0 || directory.leaves() == 1) => {
                Ok(Ok(Step::Truncate { directory, len: range.start }))
            }
            _ => Ok(Err(new)),
        }
    }

    /// Words at the end, if the directory has room for the leaves they need. A small leaf is replaced by a larger one.
    fn append(
        &self,
        change: &mut Change<'_, 'a, P>,
        directory: Directory<'a>,
        new: Words,
    ) -> Result<Result<Step<'a>, Words>, Error> {
        let added = new.as_slice().len() as u64;
        let tail = directory.tail()?;
        let missing = added.saturating_sub(directory.room()?);
        let known = directory.leaves();
        let number = missing.div_ceil(LEAF_MAX) as usize;
        if missing > 0 && (known + number > directory.cap() || known == 0) {
            return Ok(Err(new));
        }
        let mut opened = Vec::new();
        if missing > 0 {
            let last = directory.leaf(known - 1)?;
            if last.cap < LEAF_MAX {
                return Ok(Err(new));
            }
            let mut start = last.start + last.cap;
            for _ in 0..number {
                opened.push(self.new_leaf(change, LEAF_MAX, start)?);
                start += LEAF_MAX;
            }
        }
        Ok(Ok(Step::Append(Append { directory, tail, opened, words: new })))
    }

    fn by_new_leaves(
        &self,
        change: &mut Change<'_, 'a, P>,
        directory: Option<Directory<'a>>,
        range: &Range<u64>,
        new: &[u64],
    ) -> Result<Step<'a>, Error> {
        let (len, used) = match directory {
            Some(directory) => (directory.len(), directory.used()?),
            None => (0, Vec::new()),
        };
        let plan = plan::plan(&used, len, range, new.len() as u64);
        let mut words = self.words(plan.elements.start..range.start)?;
        words.extend_from_slice(new);
        words.extend(self.words(range.end..plan.elements.end)?);

        let mut start = plan.elements.start;
        let mut made = Vec::with_capacity(plan.made.len());
        for size in &plan.made {
            made.push(self.new_leaf(change, size.cap, start)?);
            start += size.count;
        }
        let behind = used[plan.leaves.end..].iter();
        let behind = behind.map(|leaf| Leaf { start: leaf.start - plan.elements.end + start, ..*leaf });
        let leaves: Vec<Leaf> =
            used[..plan.leaves.start].iter().chain(&made).copied().chain(behind).collect();
        let new_len = len - (range.end - range.start) + new.len() as u64;
        let root = self.new_directory(change, &leaves, new_len)?;

        // The memory of these blocks may still be looked at from an earlier life of it, which ended behind a fence
        // that another thread may have paid. E3.
        fence(Release);
        let mut rest = words.as_slice();
        for (leaf, size) in made.iter().zip(&plan.made) {
            let (now, then) = rest.split_at(size.count as usize);
            let places = self.memory().block(leaf.offset, 8 * leaf.cap)?;
            places.iter().zip(now).for_each(|(place, word)| place.store(*word, Relaxed));
            rest = then;
        }
        if let Some((offset, cap)) = root {
            Directory::make(self.memory().block(offset, bytes(cap))?, cap, &leaves, new_len);
        }
        let replaced = self.replaced(directory, &used, &plan.leaves)?;
        Ok(Step::Root { root: root.map_or(0, |(offset, _)| offset), len: new_len, replaced })
    }

    /// The blocks that new leaves and a new directory take the place of: those of the plan, and the spare ones.
    fn replaced(
        &self,
        directory: Option<Directory<'a>>,
        used: &[Leaf],
        planned: &Range<usize>,
    ) -> Result<Replaced, Error> {
        let Some(directory) = directory else { return Ok(Replaced::default()) };
        let mut leaves = used[planned.clone()].to_vec();
        for spare in used.len()..directory.leaves() {
            leaves.push(directory.leaf(spare)?);
        }
        let root = self.shard().top.root.load(Relaxed);
        Ok(Replaced { directory: Some((root, directory.cap() as u64)), leaves })
    }

    fn new_leaf(&self, change: &mut Change<'_, 'a, P>, cap: u64, start: u64) -> Result<Leaf, Error> {
        let offset = self.alloc(8 * cap)?;
        change.keep(offset, 8 * cap);
        Ok(Leaf { offset, cap, start })
    }

    /// A block for a directory of these leaves, and for how many it has room. None: there is nothing to be found.
    fn new_directory(
        &self,
        change: &mut Change<'_, 'a, P>,
        leaves: &[Leaf],
        len: u64,
    ) -> Result<Option<(u64, u64)>, Error> {
        if len == 0 {
            return Ok(None);
        }
        let cap = (leaves.len() as u64).next_power_of_two();
        if cap > u64::from(u32::MAX) {
            return Err(Error::TooLarge);
        }
        let offset = self.alloc(bytes(cap))?;
        change.keep(offset, bytes(cap));
        Ok(Some((offset, cap)))
    }

    /// The directory in force. None: the list is empty and never had one.
    fn directory(&self) -> Result<Option<Directory<'a>>, Error> {
        match self.shard().top.root.load(Relaxed) {
            0 => Ok(None),
            root => Directory::open(self.memory(), root).map(Some),
        }
    }

    fn is_plain(&self) -> bool {
        self.store().has(flag::PLAIN8)
    }

    fn list_word(&self, index: u64) -> Result<Option<u64>, Error> {
        let Some(directory) = self.directory()?.filter(|directory| index < directory.len()) else {
            return Ok(None);
        };
        Ok(Some(directory.word(&directory.find(index)?, index)?.load(Relaxed)))
    }

    /// The words of `range`, which is within the list.
    fn words(&self, range: Range<u64>) -> Result<Vec<u64>, Error> {
        let mut words = Vec::new();
        if let Some(directory) = self.directory()?
            && !range.is_empty()
        {
            words.reserve((range.end - range.start).min(directory.len()) as usize);
            directory.each_word(range.start..range.end.min(directory.len()), |_, place| {
                words.push(place.load(Relaxed));
                Ok(())
            })?;
        }
        Ok(words)
    }
}
