//! The operations of a writer, as what they store under the lock.

use super::heap::Sim;
use super::plans::Commits;
use super::words::{
    EMPTY, ENTRIES, KEY, LEN, LOCK, REDO, REDO_LOCK, ROOT, SERIAL, TOMB, USED, VALUE, block, find,
    in_key_word, of_shard, slot,
};
use super::{Bug, CAPACITY};

/// What a writer does, one after the other: keys and values are small numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Put(u8, u8),
    /// With a value that takes a RUN of two pages.
    Large(u8, u8),
    Remove(u8),
    Rehash(u8),
    Clear(u8),
    /// Writes a node, and gives it up.
    Abandon(u8, u8),
    /// A value of one word, in place.
    Word(u8, u8),
    /// Two keys, both or none.
    Both((u8, u8), (u8, u8)),
    /// Of a list.
    Push(u8),
    Pop,
    Set(u8, u8),
    Insert(u8, u8),
    Delete(u8),
}

impl Op {
    /// The keys it is about; a list is where key 0 would be.
    pub(super) fn keys(self) -> [u8; 2] {
        match self {
            Op::Put(key, _) | Op::Large(key, _) | Op::Remove(key) | Op::Rehash(key) => [key, key],
            Op::Clear(key) | Op::Abandon(key, _) | Op::Word(key, _) => [key, key],
            Op::Both((one, _), (two, _)) => [one, two],
            Op::Push(_) | Op::Pop | Op::Set(..) | Op::Insert(..) | Op::Delete(_) => [0, 0],
        }
    }
}

impl Sim {
    /// The stores of `op`, by `me`, who holds the locks; and the unlocking.
    pub(super) fn run(&mut self, op: Op, me: u8) {
        let shard = self.model.shard(op.keys()[0]);
        match op {
            Op::Put(key, value) => self.put_key(shard, key, value, false),
            Op::Large(key, value) => self.put_key(shard, key, value, true),
            Op::Remove(key) => self.remove(shard, key),
            Op::Rehash(_) => self.rehash(shard),
            Op::Clear(_) => self.clear(shard),
            Op::Abandon(key, value) => {
                if let Some(node) = self.alloc(shard, false) {
                    self.write(shard, node, key, value, false);
                    self.take_back(shard, node, false);
                }
            }
            Op::Word(key, value) => self.word(shard, key, value),
            Op::Both(one, two) => return self.both(one, two, me),
            Op::Push(value) => self.push(value),
            Op::Pop => self.pop(),
            Op::Set(index, value) => self.set(index, value),
            Op::Insert(index, value) => self.insert(index, value),
            Op::Delete(index) => self.delete(index),
        }
        self.put("unlocks", of_shard(shard, LOCK), 0);
    }

    fn has_table(&mut self, shard: usize) -> bool {
        if self.get(shard, ROOT) != 0 {
            return true;
        }
        let Some(table) = self.alloc(shard, false) else { return false };
        for place in block(shard, table)..block(shard, table) + CAPACITY {
            self.put("slot of the new table = EMPTY", place, EMPTY);
        }
        self.moves(shard);
        self.put("root = the new table", of_shard(shard, ROOT), table);
        self.put("used = 0", of_shard(shard, USED), 0);
        self.pending -= 1;
        true
    }

    /// Where a key is, or where it can be put: there is always room. `taken` is what a transaction promised already.
    fn place(&self, shard: usize, key: u8, taken: usize) -> usize {
        let table = block(shard, self.get(shard, ROOT));
        let tomb = || (table..table + CAPACITY).find(|place| *place != taken && self.words[*place] == TOMB);
        let empty = || (table..table + CAPACITY).find(|place| *place != taken && self.words[*place] == EMPTY);
        find(&self.words, shard, key).map(|(place, _)| place).or_else(tomb).or_else(empty).unwrap_or(table)
    }

    fn old(&self, shard: usize, place: usize) -> Option<(u8, bool)> {
        let word = self.words[place];
        let node = (word >= 2).then(|| super::words::in_slot(word).0)?;
        let (_, large) = in_key_word(self.words[block(shard, node) + KEY])?;
        Some((node, large))
    }

    fn put_key(&mut self, shard: usize, key: u8, value: u8, large: bool) {
        if !self.has_table(shard) {
            return;
        }
        let mut old = self.old(shard, self.place(shard, key, 0));
        if let (Some((node, was_large)), true) = (old, self.has(Bug::FreeBeforeCommit)) {
            self.free(shard, node, was_large);
        }
        let Some(node) = self.alloc(shard, large) else { return };
        self.write(shard, node, key, value, large);
        let place = self.place(shard, key, 0);
        let was = self.words[place];
        self.commit("slot = the node: COMMIT", place, slot(node, key), Commits::Key(key, value));
        self.pending -= 1;
        self.late_serial(shard, node);
        if old.is_none() {
            self.put("len += 1", of_shard(shard, LEN), self.get(shard, LEN) + 1);
        }
        if was == EMPTY {
            self.put("used += 1", of_shard(shard, USED), self.get(shard, USED) + 1);
        }
        if self.has(Bug::FreeBeforeCommit) {
            old = None;
        }
        if let Some((node, was_large)) = old {
            self.free(shard, node, was_large);
        }
    }

    /// What three of the mistakes store too late.
    fn late_serial(&mut self, shard: usize, node: u8) {
        let serial =
            self.get(shard, SERIAL) + u8::from(self.words[block(shard, node)] > self.get(shard, SERIAL));
        match self.model.bug {
            Bug::SerialAfterCommit => self.put("serial of the node", block(shard, node), serial),
            Bug::SerialAtCommit => self.put("serial of the shard", of_shard(shard, SERIAL), serial),
            _ => {}
        }
    }

    fn remove(&mut self, shard: usize, key: u8) {
        let Some((place, _)) = find(&self.words, shard, key) else { return };
        let old = self.old(shard, place);
        self.commit("slot = TOMB: COMMIT", place, TOMB, Commits::Key(key, 0));
        self.put("len -= 1", of_shard(shard, LEN), self.get(shard, LEN) - 1);
        if let Some((node, large)) = old {
            self.free(shard, node, large);
        }
    }

    fn rehash(&mut self, shard: usize) {
        let old = self.get(shard, ROOT);
        if old == 0 {
            return;
        }
        let Some(table) = self.alloc(shard, false) else { return };
        if self.has(Bug::RootBeforeFill) {
            self.put("root = the new table", of_shard(shard, ROOT), table);
        }
        let from = block(shard, old);
        let live: Vec<u8> =
            self.words[from..from + CAPACITY].iter().copied().filter(|word| *word >= 2).collect();
        for (i, place) in (block(shard, table)..block(shard, table) + CAPACITY).enumerate() {
            self.put("fills the new table", place, live.get(i).copied().unwrap_or(EMPTY));
        }
        if !self.has(Bug::NoMovesAtRehash) {
            self.moves(shard);
        }
        self.put("root = the new table: COMMIT", of_shard(shard, ROOT), table);
        self.pending -= 1;
        self.put("used", of_shard(shard, USED), live.len() as u8);
        self.free(shard, old, false);
    }

    fn clear(&mut self, shard: usize) {
        let old = self.get(shard, ROOT);
        if old == 0 {
            return;
        }
        let table = block(shard, old);
        let nodes: Vec<_> = (table..table + CAPACITY).filter_map(|place| self.old(shard, place)).collect();
        let keys = (0..super::KEYS as u8)
            .filter(|key| self.model.shard(*key) == shard)
            .fold(0, |all, key| all | 1 << key);
        self.moves(shard);
        self.commit("root = 0: COMMIT", of_shard(shard, ROOT), 0, Commits::Clear(keys));
        self.put("len = 0", of_shard(shard, LEN), 0);
        self.put("used = 0", of_shard(shard, USED), 0);
        for (node, large) in nodes {
            self.free(shard, node, large);
        }
        self.free(shard, old, false);
    }

    fn word(&mut self, shard: usize, key: u8, value: u8) {
        let Some((_, node)) = find(&self.words, shard, key) else { return };
        let at = block(shard, node);
        let serial = self.get(shard, SERIAL) + 1;
        let commits = Commits::Key(key, value);
        if self.has(Bug::WordAfterSerial) {
            self.put("serial of the shard", of_shard(shard, SERIAL), serial);
            self.put("serial of the node", at, serial);
            return self.twin("value in place: COMMIT", at + VALUE, value, commits);
        }
        self.twin("value in place: COMMIT", at + VALUE, value, commits);
        self.put("serial of the shard", of_shard(shard, SERIAL), serial);
        self.put("serial of the node", at, serial);
    }

    /// The nodes of a transaction. `None`: taken back, there is no room.
    fn pair(&mut self, keys: [(usize, u8, u8); 2]) -> Option<[u8; 2]> {
        let mut nodes = [0; 2];
        for (i, (shard, key, value)) in keys.into_iter().enumerate() {
            let Some(node) = self.alloc(shard, false) else {
                if i == 1 {
                    self.take_back(keys[0].0, nodes[0], false);
                }
                return None;
            };
            self.write(shard, node, key, value, false);
            nodes[i] = node;
        }
        Some(nodes)
    }

    fn both(&mut self, one: (u8, u8), two: (u8, u8), me: u8) {
        let keys = [one, two].map(|(key, value)| (self.model.shard(key), key, value));
        let shards = [keys[0].0, keys[1].0];
        let ready = shards.iter().all(|shard| self.has_table(*shard));
        let mut nodes = if ready { self.pair(keys) } else { None };
        if ready && nodes.is_none() {
            self.rebuild(shards[0]);
            if shards[1] != shards[0] {
                self.rebuild(shards[1]);
            }
            nodes = self.pair(keys);
        }
        if let Some(nodes) = nodes {
            self.apply(keys, nodes, me);
        }
        if self.has(Bug::RedoLockFirst) {
            self.put("unlocks the redo record", REDO_LOCK, 0);
        }
        self.put("unlocks a shard", of_shard(shards[0], LOCK), 0);
        self.put("unlocks a shard", of_shard(shards[1], LOCK), 0);
        if self.has(Bug::UnlockBeforeClear) {
            self.put("redo = 0", REDO, 0);
        }
        self.put("unlocks the redo record", REDO_LOCK, 0);
    }

    fn apply(&mut self, keys: [(usize, u8, u8); 2], nodes: [u8; 2], me: u8) {
        let mut places = [self.place(keys[0].0, keys[0].1, 0), 0];
        let taken = if self.has(Bug::SamePlace) { 0 } else { places[0] };
        places[1] = self.place(keys[1].0, keys[1].1, taken);
        let olds = [0, 1].map(|i| self.old(keys[i].0, places[i]));
        let words = [0, 1].map(|i| slot(nodes[i], keys[i].1));
        let before = places.map(|place| self.words[place]);
        let commits = Commits::Keys([(keys[0].1, keys[0].2), (keys[1].1, keys[1].2)]);
        if self.has(Bug::RedoBeforeEntries) {
            self.commit("redo = me: COMMIT", REDO, me, commits);
        }
        for i in 0..2 {
            self.put("entry: place", ENTRIES + i * 2, places[i] as u8);
            self.put("entry: word", ENTRIES + i * 2 + 1, words[i]);
        }
        if self.has(Bug::NoRedo) {
            self.commit("slot = the node", places[0], words[0], commits);
        } else {
            self.commit("redo = me: COMMIT", REDO, me, commits);
        }
        if self.has(Bug::ClearBeforeApply) {
            self.put("redo = 0", REDO, 0);
        }
        for i in 0..2 {
            self.put("slot = the node", places[i], words[i]);
            self.pending -= 1;
        }
        if !self.has(Bug::UnlockBeforeClear) {
            self.put("redo = 0", REDO, 0);
        }
        for i in 0..2 {
            let shard = keys[i].0;
            if before[i] < 2 {
                self.put("len += 1", of_shard(shard, LEN), self.get(shard, LEN) + 1);
            }
            if before[i] == EMPTY {
                self.put("used += 1", of_shard(shard, USED), self.get(shard, USED) + 1);
            }
            if let Some((node, large)) = olds[i] {
                self.free(shard, node, large);
            }
        }
    }
}
