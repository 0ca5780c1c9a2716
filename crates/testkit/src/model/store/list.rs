//! A list: a directory that the root names, leaves of two elements, and nodes where an element is more than a word.
//!
//! ```text
//! directory   len | leaf | leaf              push    all blocks; leaf; element; COMMIT len
//! leaf        element | element              pop     COMMIT len; element = 0 unless that is a value; free the node
//! element     a value, or the block of       set     COMMIT element; free the old node
//!             a node (0: none)               insert  new leaves and directory; moves += 1; COMMIT root; free the old ones
//! ```
//!
//! An emptied leaf is kept as a spare one; when another one is emptied, moves += 1 and it is freed. `get` of an index: m; t;
//! len; leaf; element w; serial and value; then element == w? len > index? serial? root? moves?

use super::heap::Sim;
use super::plans::Commits;
use super::reader::{At, Reader};
use super::words::{KEY, ROOT, VALUE, Words, block, in_key_word, is_block, of_shard};
use super::{Bug, LONGEST, State, Store};

/// Of a directory: its length, then its leaves, each of so many elements.
const LEN: usize = 0;
const LEAVES: usize = 1;
const LEAF: usize = 2;

/// The shard of a list.
const SHARD: usize = 0;

/// Where the element word of an index is, if there is a leaf.
fn place(words: &Words, directory: u8, index: usize) -> Option<usize> {
    let leaf = words[block(SHARD, directory) + LEAVES + index / LEAF];
    is_block(leaf).then(|| block(SHARD, leaf) + index % LEAF)
}

impl Store {
    /// One more than the element at this moment, 0 if there is none. `None`: it is damaged.
    fn at(&self, words: &Words, index: usize) -> Option<u8> {
        let directory = words[of_shard(SHARD, ROOT)];
        if directory == 0 || words[block(SHARD, directory) + LEN] as usize <= index {
            return Some(0);
        }
        let word = words[place(words, directory, index)?];
        if self.plain {
            return Some(word + 1);
        }
        let node = is_block(word).then(|| block(SHARD, word))?;
        in_key_word(words[node + KEY])?;
        let whole = words[node] != 0 && words[node + VALUE] == words[node + VALUE + 1];
        whole.then_some(words[node + VALUE] + 1)
    }

    /// The element that is read, as the reader's interval has it.
    pub(super) fn element(&self, words: &Words) -> Option<u8> {
        self.at(words, self.index as usize)
    }

    pub(super) fn list_as_committed(&self, s: &State) -> Result<(), &'static str> {
        for (index, value) in s.list.iter().enumerate() {
            match self.at(&s.words, index) {
                None => return Err("an element of the list is damaged"),
                Some(there) if there != *value => return Err("the list is not what was committed"),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The steps of the reader that only a list has.
    pub(super) fn read_list(&self, s: &State, n: &mut State) -> &'static str {
        let me = &mut n.reader;
        let index = self.index as usize;
        let len = s.words[block(SHARD, me.root) + LEN];
        match me.at {
            At::Len => {
                me.at = if len as usize > index { At::Entry } else { self.end() };
                "len"
            }
            At::Entry => {
                me.leaf = s.words[block(SHARD, me.root) + LEAVES + index / LEAF];
                me.at = At::Element;
                if !is_block(me.leaf) {
                    *me = me.again();
                }
                "leaf"
            }
            At::Element => {
                me.slot = s.words[block(SHARD, me.leaf) + index % LEAF];
                (me.found, me.at) = (true, At::Serial);
                if self.plain {
                    *me = Reader { value: me.slot, rest: me.slot, at: At::ElementAgain, ..*me };
                } else if !is_block(me.slot) {
                    *me = me.again();
                }
                "w = element"
            }
            At::ElementAgain => {
                let now = s.words[block(SHARD, me.leaf) + index % LEAF];
                me.at = At::LenAgain;
                if now != me.slot && self.bug != Bug::NoElementCheck {
                    *me = me.again();
                }
                "element == w?"
            }
            _ => {
                me.at = if self.plain { self.end() } else { At::SerialAgain };
                if len as usize <= index && self.bug != Bug::NoLenCheck {
                    *me = me.again();
                }
                "len > index?"
            }
        }
    }
}

impl Sim {
    fn directory(&self) -> usize {
        block(SHARD, self.get(SHARD, ROOT))
    }

    fn has_root(&self) -> bool {
        self.get(SHARD, ROOT) != 0
    }

    fn len(&self) -> usize {
        if self.has_root() { self.words[self.directory() + LEN] as usize } else { 0 }
    }

    fn elements(&self) -> Vec<u8> {
        let root = self.get(SHARD, ROOT);
        (0..self.len()).filter_map(|i| place(&self.words, root, i)).map(|place| self.words[place]).collect()
    }

    /// What the list is to be, from its element words as they will be.
    fn becomes(&self, elements: &[u8]) -> Commits {
        let mut list = [0; LONGEST];
        for (value, word) in list.iter_mut().zip(elements) {
            let plain = self.model.plain;
            *value = 1 + if plain { *word } else { self.words[block(SHARD, *word) + VALUE] };
        }
        Commits::List(list)
    }

    /// The word of a new element.
    fn word_of(&mut self, value: u8) -> Option<u8> {
        if self.model.plain {
            return Some(value);
        }
        let node = self.alloc(SHARD, false)?;
        self.write(SHARD, node, 0, value, false);
        Some(node)
    }

    fn forget(&mut self, word: u8) {
        if !self.model.plain {
            self.free(SHARD, word, false);
        }
    }

    /// A directory and leaves with these elements; nothing names them yet.
    fn build(&mut self, elements: &[u8]) -> Option<u8> {
        let mut blocks = Vec::new();
        for _ in 0..=elements.len().div_ceil(LEAF) {
            let Some(new) = self.alloc(SHARD, false) else {
                blocks.into_iter().for_each(|block| self.take_back(SHARD, block, false));
                return None;
            };
            blocks.push(new);
        }
        let directory = block(SHARD, blocks[0]);
        self.put("len of the new directory", directory + LEN, elements.len() as u8);
        for leaf in 0..2 {
            let there = blocks.get(1 + leaf).copied().unwrap_or(0);
            self.put("leaf of the new directory", directory + LEAVES + leaf, there);
        }
        for (index, word) in elements.iter().enumerate() {
            self.put("fills a new leaf", block(SHARD, blocks[1 + index / LEAF]) + index % LEAF, *word);
        }
        self.pending -= blocks.len() as u8 - 1;
        Some(blocks[0])
    }

    /// The list becomes another one by its root.
    fn replace(&mut self, elements: &[u8], new: bool, gone: Option<u8>) {
        let old = self.get(SHARD, ROOT);
        let Some(directory) = self.build(elements) else {
            if let (true, Some(word), false) = (new, gone, self.model.plain) {
                self.take_back(SHARD, word, false);
            }
            return;
        };
        let leaves: Vec<u8> = match old {
            0 => Vec::new(),
            _ => (0..2)
                .map(|leaf| self.words[block(SHARD, old) + LEAVES + leaf])
                .filter(|leaf| *leaf != 0)
                .collect(),
        };
        let commits = self.becomes(elements);
        self.moves(SHARD);
        self.commit("root = the new directory: COMMIT", of_shard(SHARD, ROOT), directory, commits);
        self.pending = 0;
        leaves.into_iter().for_each(|leaf| self.free(SHARD, leaf, false));
        if old != 0 {
            self.free(SHARD, old, false);
        }
        if let (false, Some(word)) = (new, gone) {
            self.forget(word);
        }
    }

    pub(super) fn push(&mut self, value: u8) {
        let index = self.len();
        if index == LONGEST {
            return;
        }
        let Some(word) = self.word_of(value) else { return };
        let mut elements = self.elements();
        elements.push(word);
        if !self.has_root() {
            return self.replace(&elements, true, Some(word));
        }
        let directory = self.directory();
        let entry = directory + LEAVES + index / LEAF;
        let mut leaf = self.words[entry];
        if leaf == 0 {
            leaf = match self.alloc(SHARD, false) {
                Some(leaf) => leaf,
                None if self.model.plain => return,
                None => return self.take_back(SHARD, word, false),
            };
            self.put("leaf of the directory", entry, leaf);
        }
        let commits = self.becomes(&elements);
        let element = block(SHARD, leaf) + index % LEAF;
        if self.has(Bug::LenFirst) {
            self.commit("len += 1: COMMIT", directory + LEN, index as u8 + 1, commits);
            return self.put("element beyond len", element, word);
        }
        self.put("element beyond len", element, word);
        self.commit("len += 1: COMMIT", directory + LEN, index as u8 + 1, commits);
        self.pending = 0;
    }

    pub(super) fn pop(&mut self) {
        let Some(index) = self.len().checked_sub(1) else { return };
        let (directory, mut elements) = (self.directory(), self.elements());
        let Some(word) = elements.pop() else { return };
        let Some(element) = place(&self.words, self.get(SHARD, ROOT), index) else { return };
        let commits = self.becomes(&elements);
        self.commit("len -= 1: COMMIT", directory + LEN, index as u8, commits);
        if !self.model.plain || self.has(Bug::PopZeroes) {
            self.put("popped element = 0", element, 0);
        }
        self.forget(word);
        let spare = self.words[directory + LEAVES + 1];
        if index == 0 && spare != 0 {
            if !self.has(Bug::LeafFreedSilently) {
                self.moves(SHARD);
            }
            self.put("second spare leaf = none", directory + LEAVES + 1, 0);
            self.free(SHARD, spare, false);
        }
    }

    pub(super) fn set(&mut self, index: u8, value: u8) {
        let mut elements = self.elements();
        let Some(element) = place(&self.words, self.get(SHARD, ROOT), index as usize) else { return };
        if index as usize >= elements.len() {
            return;
        }
        let Some(word) = self.word_of(value) else { return };
        let old = std::mem::replace(&mut elements[index as usize], word);
        let commits = self.becomes(&elements);
        self.commit("element: COMMIT", element, word, commits);
        self.pending = 0;
        self.forget(old);
    }

    pub(super) fn insert(&mut self, index: u8, value: u8) {
        let mut elements = self.elements();
        if elements.len() == LONGEST || index as usize > elements.len() {
            return;
        }
        let Some(word) = self.word_of(value) else { return };
        elements.insert(index as usize, word);
        self.replace(&elements, true, Some(word));
    }

    pub(super) fn delete(&mut self, index: u8) {
        let mut elements = self.elements();
        if index as usize >= elements.len() {
            return;
        }
        let word = elements.remove(index as usize);
        self.replace(&elements, false, Some(word));
    }

    /// The blocks that a list reaches: directory, leaves, nodes.
    pub(super) fn reached_of_list(&self, root: u8) -> (Vec<u8>, u8, u8) {
        let mut all = vec![root];
        all.extend(
            (0..2).map(|leaf| self.words[block(SHARD, root) + LEAVES + leaf]).filter(|leaf| *leaf != 0),
        );
        if !self.model.plain {
            all.extend(self.elements());
        }
        (all, 0, 0)
    }
}
