//! What each worker has done, by its kind, and what it was about to do when it was killed.
//!
//! ```text
//! ready      a word for each worker
//! inside     for each worker: 1 while it is in a closure that runs under a lock
//! holders    how many died there
//! wrong      for each kind, how often something was seen that must not be
//! open       for each kind, acts that were begun and not finished by one who was killed
//! then, for each worker: for each kind: done | begun (0 or 1); for each of its own keys: is | will be
//! ```
//! A key of its own *is* what its owner wrote last (0: absent), and *will be* what its owner is writing (`NOTHING`: it is
//! not).

use std::io;

use crate::load::account::Account;
use ginnel_testkit::scratch::{Scratch, now_ns};

/// How many there are.
pub(super) const WORKERS: usize = 8;

/// Keys that only one worker writes.
pub(super) const OWN: u64 = 64;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Count,
    Add,
    Own,
    Shared,
    Read,
    Transfer,
    Sum,
    Push,
    Take,
    Order,
    Nest,
    Cell,
}

impl Kind {
    pub(super) const ALL: [Self; 12] = [
        Self::Count,
        Self::Add,
        Self::Own,
        Self::Shared,
        Self::Read,
        Self::Transfer,
        Self::Sum,
        Self::Push,
        Self::Take,
        Self::Order,
        Self::Nest,
        Self::Cell,
    ];
}

const NOTHING: u64 = u64::MAX;

const KINDS: usize = Kind::ALL.len();
const INSIDE: usize = WORKERS;
const HOLDERS: usize = INSIDE + WORKERS;
const WRONG: usize = HOLDERS + 1;
const OPEN: usize = WRONG + KINDS;
const EACH: usize = OPEN + KINDS;
const OF_ONE: usize = 2 * KINDS + 2 * OWN as usize;
const WORDS: usize = EACH + WORKERS * OF_ONE;

/// The books.
#[derive(Debug)]
pub(super) struct Books {
    words: Scratch,
}

impl Books {
    pub(super) fn new() -> io::Result<Self> {
        let words = Scratch::new(WORDS)?;
        let books = Self { words };
        for worker in 0..WORKERS {
            (0..OWN).for_each(|key| books.words.set(Self::own_at(worker, key) + 1, NOTHING));
        }
        Ok(books)
    }

    /// The words in which the workers say that they have taken over.
    pub(super) fn ready_words(&self) -> &Scratch {
        &self.words
    }

    pub(super) fn say_ready(&self, worker: usize) {
        self.words.set(worker, now_ns());
    }

    fn done_at(worker: usize, kind: Kind) -> usize {
        EACH + worker * OF_ONE + 2 * kind as usize
    }

    fn own_at(worker: usize, key: u64) -> usize {
        EACH + worker * OF_ONE + 2 * KINDS + 2 * key as usize
    }

    /// An act of that kind, which says how many times it was done.
    pub(super) fn act(&self, worker: usize, kind: Kind, act: impl FnOnce() -> u64) {
        let at = Self::done_at(worker, kind);
        self.words.set(at + 1, 1);
        let times = act();
        self.words.add(at, times);
        self.words.set(at + 1, 0);
    }

    /// Runs `f`, which is called under a lock, and takes its time in it.
    pub(super) fn inside<R>(&self, worker: usize, f: impl FnOnce() -> R) -> R {
        self.words.set(INSIDE + worker, 1);
        let until = now_ns() + 20_000;
        while now_ns() < until {
            ginnel_layout::atomic::spin_loop();
        }
        let result = f();
        self.words.set(INSIDE + worker, 0);
        result
    }

    /// The value under a key of its own is about to become `value` (0: none). `change` says whether it did.
    pub(super) fn change(&self, worker: usize, key: u64, value: u64, change: impl FnOnce() -> bool) {
        let at = Self::own_at(worker, key);
        self.words.set(at + 1, value);
        if change() {
            self.words.set(at, value);
        }
        self.words.set(at + 1, NOTHING);
    }

    /// Whether the value found under a key of its own (0: none) is what it was, or what was being written. The books say
    /// from now on that it is that.
    pub(super) fn is_own(&self, worker: usize, key: u64, found: u64) -> bool {
        let at = Self::own_at(worker, key);
        let is_right = found == self.words.get(at) || found == self.words.get(at + 1);
        self.words.set(at, found);
        self.words.set(at + 1, NOTHING);
        is_right
    }

    /// The worker is dead and reaped: what it had begun is open.
    pub(super) fn bury(&self, worker: usize) {
        for kind in Kind::ALL {
            let at = Self::done_at(worker, kind);
            self.words.add(OPEN + kind as usize, self.words.get(at + 1));
            self.words.set(at + 1, 0);
        }
        self.words.add(HOLDERS, self.words.get(INSIDE + worker));
        self.words.set(INSIDE + worker, 0);
    }

    /// How many died in a closure that ran under a lock.
    pub(super) fn holders(&self) -> u64 {
        self.words.get(HOLDERS)
    }

    /// Notes it where something is not as it must be.
    pub(super) fn must(&self, kind: Kind, right: bool) {
        if !right {
            self.words.add(WRONG + kind as usize, 1);
        }
    }

    /// How many acts of that kind are done, and how many are open.
    pub(super) fn count(&self, kind: Kind) -> (i64, i64) {
        let done: u64 = (0..WORKERS).map(|worker| self.words.get(Self::done_at(worker, kind))).sum();
        (done as i64, self.words.get(OPEN + kind as usize) as i64)
    }

    /// All acts that were done.
    pub(super) fn acts(&self) -> i64 {
        Kind::ALL.into_iter().map(|kind| self.count(kind).0).sum()
    }

    /// The kinds of which nothing was done.
    pub(super) fn idle(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| self.count(*kind).0 == 0).collect()
    }

    /// What was seen and must not be; and what is open.
    pub(super) fn account(&self) -> Account {
        let mut account = Account::default();
        for kind in Kind::ALL {
            let wrong = self.words.get(WRONG + kind as usize);
            account.corrupt += wrong;
            account.open += self.count(kind).1 as u64;
            if wrong > 0 {
                account.faults.push(format!("{kind:?}: {wrong} times not as it must be"));
            }
        }
        account
    }
}
