//! Those who change dicts and lists until they are killed.
//!
//! | act | what is checked |
//! |---|---|
//! | count, add | the sum of the counters is what was done, and at most what is open more |
//! | own | a key that only this worker writes has what it wrote last, or was writing when it was killed |
//! | shared, read | whoever replaced or removed it: what is read is whole, and of that key |
//! | transfer, sum | a transaction over two to four accounts; the sum of a snapshot is always the same |
//! | push, take | the length of the list is what was pushed and not taken; each value is whole and there once |
//! | order | sorting, reversing and keeping all of them changes no value |
//! | nest | a list in a dict: it has what was put into it, and is freed with its entry |
//! | cell | a value of two equal halves, larger than a word |

use std::collections::HashSet;
use std::time::Duration;

use ginnel::manager::Object;
use ginnel::{Dict, Error, ErrorKind, List, Manager, Raw, Value};
use ginnel_object::bridge::store::Wraps;
use ginnel_testkit::rng::Rng;

use super::books::{Books, Kind, OWN, WORKERS};
use crate::load::account::Account;
use crate::world::{during, try_attach};

/// No wait for what others have, and will give back, takes that long.
const LONGEST: Duration = Duration::from_secs(10);

/// How many keys all of them replace and remove.
const SHARED: u64 = 2000;
/// How many counters there are, of each sort.
const COUNTERS: u64 = 16;
const ACCOUNTS: u64 = 32;
/// What each account has at the beginning.
const FIRST: u64 = 1000;
/// Above that many values are taken rather than pushed.
const LIST: usize = 700;

/// What lies under a key that is shared or owned: its key, a seed, and words that follow from it.
type Words = Vec<u64>;

/// What they share.
pub(super) struct Things {
    counters: Dict<u64, u64>,
    sums: Dict<u64, Raw<u64>>,
    words: Dict<u64, Words>,
    accounts: Dict<u64, u64>,
    list: List<(u64, u64, Words)>,
    nested: Dict<u64, List<u64>>,
    cell: Value<[u64; 16]>,
}

fn get<T: Object>(manager: &Manager, name: &str) -> ginnel::Result<T> {
    manager.get_or_create(name)
}

impl Things {
    /// Makes or opens them.
    pub(super) fn open(manager: &Manager) -> ginnel::Result<Self> {
        Ok(Self {
            counters: get::<Dict<_, _>>(manager, "counters")?.with_patience(LONGEST),
            sums: get::<Dict<_, _>>(manager, "sums")?.with_patience(LONGEST),
            words: get::<Dict<_, _>>(manager, "words")?.with_patience(LONGEST),
            accounts: get::<Dict<_, _>>(manager, "accounts")?.with_patience(LONGEST),
            list: get::<List<_>>(manager, "list")?.with_patience(LONGEST),
            nested: get::<Dict<_, _>>(manager, "nested")?.with_patience(LONGEST),
            cell: get(manager, "cell")?,
        })
    }

    /// Gives each account its first sum, and each counter a zero.
    pub(super) fn fill(&self) -> ginnel::Result<()> {
        self.accounts.extend((0..ACCOUNTS).map(|account| (account, FIRST)))?;
        self.sums.extend((0..COUNTERS).map(|counter| (counter, Raw(0))))
    }

    /// How often shards were repaired after a death.
    pub(super) fn repairs(&self) -> ginnel::Result<u64> {
        let dicts = [
            self.counters.usage()?,
            self.sums.usage()?,
            self.words.usage()?,
            self.accounts.usage()?,
            self.nested.usage()?,
        ];
        Ok(dicts.iter().map(|usage| usage.repairs).sum::<u64>() + self.list.usage()?.repairs)
    }

    /// Everybody is dead: whether all that is there agrees with the books.
    pub(super) fn settle(&self, books: &Books) -> Result<Account, String> {
        let mut account = books.account();
        let counted: u64 = self.counters.snapshot().map_err(during("read the counters"))?.values().sum();
        let (done, open) = books.count(Kind::Count);
        account.compare("increments by update", counted as i64, done, done + open);
        let added = self.sums.snapshot().map_err(during("read the sums"))?;
        let added: u64 = added.values().map(|Raw(sum)| sum).sum();
        let (done, open) = books.count(Kind::Add);
        account.compare("increments in place", added as i64, done, done + open);
        if !self.is_balanced().map_err(during("read the accounts"))? {
            account.torn("the accounts do not have what they had together".to_owned());
        }
        self.settle_words(books, &mut account)?;
        self.settle_list(books, &mut account)?;
        for worker in 0..WORKERS {
            self.nested.remove(&(worker as u64)).map_err(during("remove a nested list"))?;
        }
        self.audit(&mut account)?;
        Ok(account)
    }

    fn settle_words(&self, books: &Books, account: &mut Account) -> Result<(), String> {
        for (key, words) in self.words.snapshot().map_err(during("read the words"))? {
            if !is_whole(key, &words) {
                account.torn(format!("the value of key {key} is not whole"));
            }
        }
        for worker in 0..WORKERS {
            for key in 0..OWN {
                let found = self.words.get(&own(worker, key)).map_err(during("read a key"))?;
                if !books.is_own(worker, key, seed_of(found.as_ref())) {
                    account.lost += 1;
                    account.faults.push(format!("key {key} of worker {worker} is not what it wrote last"));
                }
            }
        }
        Ok(())
    }

    fn settle_list(&self, books: &Books, account: &mut Account) -> Result<(), String> {
        let values = self.list.to_vec().map_err(during("read the list"))?;
        let (pushed, pushing) = books.count(Kind::Push);
        let (taken, taking) = books.count(Kind::Take);
        let len = values.len() as i64;
        account.compare("the list", len, pushed - taken - taking, pushed + pushing - taken);
        let mut seen = HashSet::new();
        for (worker, number, words) in &values {
            if !is_whole(*number, words) || !seen.insert((*worker, *number)) {
                account.torn(format!("value {number} of worker {worker} is not whole, or there twice"));
            }
        }
        Ok(())
    }

    fn audit(&self, account: &mut Account) -> Result<(), String> {
        let mut said = |name: &str, result: ginnel::Result<()>| {
            if let Err(error) = result {
                account.leaks.push(format!("{name}: {error}"));
            }
        };
        said("counters", self.counters.raw().audit());
        said("sums", self.sums.raw().audit());
        said("words", self.words.raw().audit());
        said("accounts", self.accounts.raw().audit());
        said("nested", self.nested.raw().audit());
        if let Err(why) = self.list.raw().audit().map_err(during("audit the list"))? {
            account.leaks.push(format!("list: {why}"));
        }
        Ok(())
    }

    fn is_balanced(&self) -> ginnel::Result<bool> {
        let accounts = self.accounts.snapshot()?;
        Ok(accounts.len() as u64 == ACCOUNTS && accounts.values().sum::<u64>() == ACCOUNTS * FIRST)
    }
}

/// A key that only this worker writes.
fn own(worker: usize, key: u64) -> u64 {
    1_000_000 + worker as u64 * OWN + key
}

/// Words that follow from a key and a seed, which is not 0.
fn words(key: u64, seed: u64, count: usize) -> Words {
    let follow = (0..count as u64).map(|i| seed.wrapping_mul(2 * i + 3));
    [key, seed].into_iter().chain(follow).collect()
}

fn is_whole(key: u64, found: &Words) -> bool {
    found.len() >= 2 && *found == words(key, found[1], found.len() - 2)
}

/// 0: there is none.
fn seed_of(found: Option<&Words>) -> u64 {
    found.and_then(|words| words.get(1)).copied().unwrap_or(0)
}

/// `Full` is an answer, and nothing has happened then. False: that was it.
fn done<T>(what: &str, result: ginnel::Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) if error.is_full() => false,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Works for ever.
pub(super) fn work(manager: &Manager, books: &Books, index: usize, seed: u64) {
    let manager = try_attach(manager).expect("there is a place for each worker");
    let things = Things::open(&manager).expect("they are there");
    let mut worker =
        Worker { books, index, things: &things, rng: Rng::new(seed ^ u64::from(std::process::id())) };
    // What the predecessor may have left, and may have held.
    worker.take_over();
    books.say_ready(index);
    let mut number = 0;
    loop {
        number += 1;
        match worker.rng.below(16) {
            0 | 1 => worker.count(),
            2 => worker.add(),
            3 | 4 => worker.own(),
            5 | 6 => worker.share(),
            7 => worker.read(),
            8 | 9 => worker.transfer(),
            10 => worker.sum(),
            11 | 12 => worker.push_or_take(number),
            13 => worker.order(),
            14 => worker.nest(&manager),
            _ => worker.cell(),
        }
    }
}

struct Worker<'a> {
    books: &'a Books,
    index: usize,
    things: &'a Things,
    rng: Rng,
}

impl Worker<'_> {
    fn take_over(&mut self) {
        for key in 0..OWN {
            let found = self.things.words.get(&own(self.index, key)).expect("a key can be read");
            self.books.must(Kind::Own, self.books.is_own(self.index, key, seed_of(found.as_ref())));
        }
    }

    fn count(&mut self) {
        let counter = self.rng.below(COUNTERS);
        self.books.act(self.index, Kind::Count, || {
            let count = self
                .things
                .counters
                .update(counter, |count| self.books.inside(self.index, || count.unwrap_or(0) + 1));
            u64::from(done("count", count))
        });
    }

    fn add(&mut self) {
        let counter = self.rng.below(COUNTERS);
        self.books
            .act(self.index, Kind::Add, || u64::from(done("add", self.things.sums.fetch_add(&counter, 1))));
    }

    /// A length: most are short, some are long, a few have pages of their own.
    fn length(&mut self) -> usize {
        match self.rng.below(32) {
            0 => 2000 + self.rng.below(6000) as usize,
            1..8 => self.rng.below(300) as usize,
            _ => self.rng.below(12) as usize,
        }
    }

    fn own(&mut self) {
        let key = self.rng.below(OWN);
        let (place, length) = (own(self.index, key), self.length());
        let seed = self.rng.next_u64() >> 1 | 1;
        self.books.act(self.index, Kind::Own, || {
            if seed.is_multiple_of(5) {
                self.books.change(self.index, key, 0, || done("remove", self.things.words.discard(&place)));
            } else {
                let value = words(place, seed, length);
                self.books
                    .change(self.index, key, seed, || done("set", self.things.words.set(&place, &value)));
            }
            1
        });
        let found = self.things.words.get(&place).expect("a key can be read");
        self.books.must(Kind::Own, found.as_ref().is_none_or(|found| is_whole(place, found)));
        self.books.must(Kind::Own, self.books.is_own(self.index, key, seed_of(found.as_ref())));
    }

    fn share(&mut self) {
        let (key, length, seed) = (self.rng.below(SHARED), self.length(), self.rng.next_u64() | 1);
        self.books.act(self.index, Kind::Shared, || {
            let dict = &self.things.words;
            match seed >> 60 {
                0..5 => u64::from(done("remove", dict.discard(&key))),
                5..12 => u64::from(done("set", dict.set(&key, &words(key, seed, length)))),
                _ => {
                    let result = dict.alter(key, |old| {
                        self.books.inside(self.index, || {
                            self.books.must(Kind::Shared, old.is_none_or(|old| is_whole(key, &old)));
                            (seed >> 59 & 1 == 0).then(|| words(key, seed, length))
                        })
                    });
                    u64::from(done("alter", result))
                }
            }
        });
    }

    fn read(&mut self) {
        self.books.act(self.index, Kind::Read, || {
            for _ in 0..32 {
                let key = self.rng.below(SHARED);
                let found = self.things.words.get(&key).expect("a key can be read");
                self.books.must(Kind::Read, found.is_none_or(|found| is_whole(key, &found)));
            }
            1
        });
    }

    /// Takes from the first of two to four accounts and gives to the others.
    fn transfer(&mut self) {
        let first = self.rng.below(ACCOUNTS);
        let count = 1 + self.rng.below(3);
        let others: Vec<u64> = (1..=count).map(|step| (first + step * 7) % ACCOUNTS).collect();
        self.books.act(self.index, Kind::Transfer, || {
            let result = self.things.accounts.transaction(|t| {
                let has = t.get(&first)?.expect("each account is there");
                if has < count {
                    return Ok(());
                }
                t.insert(first, has - count)?;
                for other in &others {
                    let has = t.get(other)?.expect("each account is there");
                    t.insert(*other, has + 1)?;
                }
                Ok(())
            });
            u64::from(done("transfer", result))
        });
    }

    fn sum(&mut self) {
        self.books.act(self.index, Kind::Sum, || {
            self.books.must(Kind::Sum, self.things.is_balanced().expect("the accounts can be read"));
            1
        });
    }

    fn push_or_take(&mut self, number: u64) {
        let list = &self.things.list;
        let (len, length) = (list.len(), self.length());
        let at = self.rng.below(len.max(1) as u64) as usize;
        if self.rng.below(LIST as u64) as usize >= len {
            let number = number << 32 | u64::from(std::process::id());
            let value = (self.index as u64, number, words(number, number | 1, length));
            self.books.act(self.index, Kind::Push, || {
                u64::from(match self.rng.below(3) {
                    0 => match list.insert(at, value) {
                        // Somebody has made it shorter.
                        Err(error) if error.kind() == ErrorKind::Invalid => false,
                        result => done("insert", result),
                    },
                    _ => done("push", list.push(value)),
                })
            });
            return;
        }
        self.books.act(self.index, Kind::Take, || {
            let taken =
                if at.is_multiple_of(2) { list.remove(at) } else { list.pop() }.expect("it can be taken");
            if let Some((_, number, words)) = &taken {
                self.books.must(Kind::Take, is_whole(*number, words));
            }
            u64::from(taken.is_some())
        });
        let found = list.get(at).expect("it can be read");
        self.books.must(Kind::Take, found.is_none_or(|(_, number, words)| is_whole(number, &words)));
    }

    fn order(&mut self) {
        let list = &self.things.list;
        self.books.act(self.index, Kind::Order, || {
            let result = match self.rng.below(4) {
                0 => list.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1))),
                1 => list.reverse(),
                2 => list.retain(|(_, number, words)| {
                    self.books.must(Kind::Order, is_whole(*number, words));
                    true
                }),
                _ => list.update(0, |value| self.books.inside(self.index, || value)).map(drop),
            };
            u64::from(done("order", result))
        });
    }

    /// A list of its own in the dict of lists.
    fn nest(&mut self, manager: &Manager) {
        let key = self.index as u64;
        let keep = self.rng.below(4) > 0;
        self.books.act(self.index, Kind::Nest, || {
            let nested = &self.things.nested;
            if let Some(list) = nested.get(&key).expect("it can be read") {
                let values = list.to_vec().expect("it can be read");
                self.books.must(Kind::Nest, values.iter().enumerate().all(|(i, value)| *value == i as u64));
                if keep {
                    return u64::from(done("push", list.push(values.len() as u64)));
                }
                return u64::from(done("remove", nested.discard(&key)));
            }
            let list = manager.create::<List<u64>>();
            match list {
                Ok(list) => u64::from(done("nest", nested.set(&key, &list))),
                Err(error) => u64::from(done::<()>("make a list", Err(error))),
            }
        });
    }

    fn cell(&mut self) {
        let number = self.rng.next_u64();
        self.books.act(self.index, Kind::Cell, || {
            let found = self.things.cell.get();
            self.books.must(Kind::Cell, found.iter().all(|word| *word == found[0]));
            let result: Result<_, Error> = self.things.cell.set([number; 16]);
            u64::from(done("set", result))
        });
    }
}
