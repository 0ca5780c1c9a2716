//! What each worker has done, by its kind, and what it was about to do when it was killed.
//!
//! ```text
//! ready      a word for each worker
//! inside     for each place where one may be at a time: who says that it is there
//! wrong      for each kind, how often something was seen that must not be
//! number     what is counted in the books behind a lock that has no data
//! then, for each worker, for each kind: done | begun (0 or 1)
//! open       for each kind, acts that were begun and not finished by one who was killed
//! ```

use std::io;

use crate::load::account::Account;
use ginnel_testkit::scratch::{Scratch, now_ns};

/// How many there are.
pub(super) const WORKERS: usize = 8;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Mutex,
    Lock,
    Recursive,
    Write,
    Read,
    Permit,
    Acquire,
    Release,
    Set,
    Wait,
    Raise,
    Lower,
    Lead,
    Follow,
    Once,
    Select,
}

impl Kind {
    pub(super) const ALL: [Self; 16] = [
        Self::Mutex,
        Self::Lock,
        Self::Recursive,
        Self::Write,
        Self::Read,
        Self::Permit,
        Self::Acquire,
        Self::Release,
        Self::Set,
        Self::Wait,
        Self::Raise,
        Self::Lower,
        Self::Lead,
        Self::Follow,
        Self::Once,
        Self::Select,
    ];
}

/// Where one may be at a time: behind the four locks, and with each of the permits.
pub(super) const PLACES: usize = 8;

/// Numbers that are kept in the books: two for each lock without data, the generation of the once, and its runs.
pub(super) const NUMBERS: usize = 8;

const KINDS: usize = Kind::ALL.len();
const INSIDE: usize = WORKERS;
const WRONG: usize = INSIDE + PLACES;
const NUMBER: usize = WRONG + KINDS;
const OPEN: usize = NUMBER + NUMBERS;
const EACH: usize = OPEN + KINDS;
const WORDS: usize = EACH + WORKERS * 2 * KINDS;

/// The books.
#[derive(Debug)]
pub(super) struct Books {
    words: Scratch,
}

impl Books {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { words: Scratch::new(WORDS)? })
    }

    /// The words in which the workers say that they have taken over.
    pub(super) fn ready_words(&self) -> &Scratch {
        &self.words
    }

    pub(super) fn say_ready(&self, worker: usize) {
        if self.words.get(worker) == 0 {
            self.words.set(worker, now_ns());
        }
    }

    fn done_at(worker: usize, kind: Kind) -> usize {
        EACH + 2 * (worker * KINDS + kind as usize)
    }

    /// An act of that kind, which says how many times it was done.
    pub(super) fn act(&self, worker: usize, kind: Kind, act: impl FnOnce() -> u64) {
        let at = Self::done_at(worker, kind);
        self.words.set(at + 1, 1);
        let times = act();
        self.words.add(at, times);
        self.words.set(at + 1, 0);
    }

    /// An act that may come out as one of two kinds. `None`: as neither.
    pub(super) fn act_either(&self, worker: usize, kinds: [Kind; 2], act: impl FnOnce() -> Option<Kind>) {
        let [first, second] = kinds;
        self.act(worker, first, || {
            let mut outcome = None;
            self.act(worker, second, || {
                outcome = act();
                u64::from(outcome == Some(second))
            });
            u64::from(outcome == Some(first))
        });
    }

    /// The worker is dead and reaped: what it had begun is open.
    pub(super) fn bury(&self, worker: usize) {
        for kind in Kind::ALL {
            let at = Self::done_at(worker, kind);
            self.words.add(OPEN + kind as usize, self.words.get(at + 1));
            self.words.set(at + 1, 0);
        }
    }

    /// Says that the worker is at a place where one may be at a time.
    pub(super) fn comes_in(&self, worker: usize, place: usize) {
        self.words.set(INSIDE + place, worker as u64 + 1);
    }

    /// It was there alone. Asked at the end of its stay.
    pub(super) fn was_alone(&self, worker: usize, place: usize, kind: Kind) {
        self.must(kind, self.words.get(INSIDE + place) == worker as u64 + 1);
    }

    /// Notes it where something is not as it must be.
    pub(super) fn must(&self, kind: Kind, right: bool) {
        if !right {
            self.words.add(WRONG + kind as usize, 1);
        }
    }

    pub(super) fn number(&self, index: usize) -> u64 {
        self.words.get(NUMBER + index)
    }

    pub(super) fn set_number(&self, index: usize, value: u64) {
        self.words.set(NUMBER + index, value);
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
