//! Those who lock and signal until they are killed.
//!
//! | act | what is checked |
//! |---|---|
//! | mutex | two equal numbers, a third one in the books; one inside; whoever is told repairs |
//! | lock, recursive lock (entered twice) | two equal numbers in the books, repaired by whoever is told |
//! | write, read | two equal numbers; a reader sees no writer from its first to its last look |
//! | permit | of three, each with one at a time |
//! | acquire and release, set and wait | the count of the semaphore; somebody comes through |
//! | the others | `counter`, `meetings` |

use std::time::Duration;

use ginnel::Manager;
use ginnel::sync::{
    Count, Event, Init, Lock, Mutex, MutexGuard, PermitPool, Permits, RLock, Reset, RwLock, Semaphore,
    WriteGuard,
};
use ginnel_testkit::rng::Rng;

use super::books::{Books, Kind};
use super::counter::Counter;
use super::meetings::Meetings;
use crate::load::account::Account;
use crate::world::{during, try_attach};

/// No wait for what others have, and will give back, takes that long.
pub(super) const LONGEST: Duration = Duration::from_secs(5);

/// A wait for something that need not come.
pub(super) const A_MOMENT: Duration = Duration::from_millis(2);

const PERMITS: u32 = 3;
/// The semaphore's first count.
const FIRST: u32 = 2;

/// The places in the books.
const IN_MUTEX: usize = 0;
const IN_LOCK: usize = 1;
const IN_RECURSIVE: usize = 2;
const WRITES: usize = 3;
const WITH_PERMIT: usize = 4;

/// The numbers in the books: two for each lock.
const OF_LOCK: usize = 0;
const OF_RECURSIVE: usize = 2;

type Pair = [u64; 2];

/// What they share.
pub(super) struct Things {
    mutex: Mutex<Pair>,
    lock: Lock,
    recursive: RLock,
    shared: RwLock<Pair>,
    permits: PermitPool,
    semaphore: Semaphore,
    event: Event,
    counter: Counter,
    meetings: Meetings,
}

impl Things {
    /// Makes or opens them.
    pub(super) fn open(manager: &Manager) -> ginnel::Result<Self> {
        Ok(Self {
            mutex: manager.get_or_create_with("mutex", Init(Some([0, 0])))?,
            lock: manager.get_or_create("lock")?,
            recursive: manager.get_or_create("recursive")?,
            shared: manager.get_or_create_with("shared", Init(Some([0, 0])))?,
            permits: manager.get_or_create_with("permits", Permits(PERMITS))?,
            semaphore: manager.get_or_create_with("semaphore", Count::new(FIRST))?,
            event: manager.get_or_create_with("event", Reset::Auto)?,
            counter: Counter::open(manager)?,
            meetings: Meetings::open(manager)?,
        })
    }

    /// Everybody is dead: whether all that is there agrees with the books.
    pub(super) fn settle(&self, books: &Books) -> Result<Account, String> {
        let mut account = books.account();
        let mut counted = |what: &str, kind: Kind, found: u64| {
            let (done, open) = books.count(kind);
            account.compare(what, found as i64, done, done + open);
        };
        counted("increments behind the mutex", Kind::Mutex, enter(&self.mutex).map_err(during("lock"))?.0[0]);
        drop(self.lock.lock_timeout(LONGEST).map_err(during("lock"))?);
        counted("increments behind the lock", Kind::Lock, books.number(OF_LOCK));
        drop(self.recursive.lock_timeout(LONGEST).map_err(during("lock"))?);
        counted("increments behind the recursive lock", Kind::Recursive, books.number(OF_RECURSIVE));
        counted("increments of writers", Kind::Write, write(&self.shared).map_err(during("write"))?.0[0]);
        let (acquired, taken) = books.count(Kind::Acquire);
        let (released, given) = books.count(Kind::Release);
        let value = i64::from(FIRST) + released - acquired;
        account.compare("the semaphore", i64::from(self.semaphore.value()), value - taken, value + given);
        if self.permits.available() != PERMITS {
            account.leaks.push(format!("{} of {PERMITS} permits are left", self.permits.available()));
        }
        self.counter.settle(books, &mut account)?;
        self.meetings.settle(books, &mut account);
        Ok(account)
    }
}

/// Works for ever.
pub(super) fn work(manager: &Manager, books: &Books, index: usize, seed: u64) {
    let manager = try_attach(manager).expect("there is a place for each worker");
    let things = Things::open(&manager).expect("they are there");
    let mut rng = Rng::new(seed ^ u64::from(std::process::id()));
    let worker = Worker { books, index, things: &things };
    // What the predecessor may have held.
    worker.mutex();
    books.say_ready(index);
    loop {
        match rng.below(16) {
            0 => worker.mutex(),
            1 => worker.lock(),
            2 => worker.recursive(),
            3 => worker.write(),
            4 | 5 => worker.read(),
            6 | 7 => worker.permit(),
            8 => worker.release(),
            9 => worker.acquire(),
            10 => worker.set(),
            11 => worker.wait(),
            12 => things.counter.raise_or_lower(&worker, rng.below(2) == 0),
            13 => things.meetings.meet(&worker),
            14 => things.meetings.once(&worker, &manager),
            _ => things.meetings.select(&worker, &things.semaphore),
        }
    }
}

/// One of them.
pub(super) struct Worker<'a> {
    pub(super) books: &'a Books,
    pub(super) index: usize,
    things: &'a Things,
}

impl Worker<'_> {
    /// A stay at a place, with an increment of two numbers that are equal outside of it.
    fn count(&self, kind: Kind, place: usize, told: bool, pair: &mut impl FnMut(usize, Option<u64>) -> u64) {
        self.books.comes_in(self.index, place);
        let first = pair(0, None);
        self.books.must(kind, told || first == pair(1, None));
        pair(0, Some(first + 1));
        std::hint::black_box(first);
        pair(1, Some(first + 1));
        self.books.was_alone(self.index, place, kind);
    }

    /// Two numbers in the books.
    fn count_in_books(&self, kind: Kind, place: usize, told: bool, at: usize) {
        self.count(kind, place, told, &mut |index, value| {
            if let Some(value) = value {
                self.books.set_number(at + index, value);
            }
            self.books.number(at + index)
        });
    }

    fn mutex(&self) {
        self.books.act(self.index, Kind::Mutex, || {
            let (mut guard, told) = enter(&self.things.mutex).expect("the mutex is to be had");
            self.count(Kind::Mutex, IN_MUTEX, told, &mut |index, value| {
                guard[index] = value.unwrap_or(guard[index]);
                std::hint::black_box(&mut *guard)[index]
            });
            1
        });
    }

    fn lock(&self) {
        self.books.act(self.index, Kind::Lock, || {
            let guard = self.things.lock.lock_timeout(LONGEST).expect("the lock is to be had");
            let told = guard.previous_owner_died().is_some();
            self.count_in_books(Kind::Lock, IN_LOCK, told, OF_LOCK);
            1
        });
    }

    fn recursive(&self) {
        self.books.act(self.index, Kind::Recursive, || {
            let outer = self.things.recursive.lock_timeout(LONGEST).expect("the lock is to be had");
            let told = outer.previous_owner_died().is_some();
            let inner = self.things.recursive.lock().expect("it is ours");
            self.count_in_books(Kind::Recursive, IN_RECURSIVE, told, OF_RECURSIVE);
            drop(inner);
            self.books.was_alone(self.index, IN_RECURSIVE, Kind::Recursive);
            1
        });
    }

    fn write(&self) {
        self.books.act(self.index, Kind::Write, || {
            let (mut guard, told) = write(&self.things.shared).expect("the writer's place is to be had");
            self.count(Kind::Write, WRITES, told, &mut |index, value| {
                guard[index] = value.unwrap_or(guard[index]);
                std::hint::black_box(&mut *guard)[index]
            });
            1
        });
    }

    fn read(&self) {
        self.books.act(self.index, Kind::Read, || {
            let guard = match self.things.shared.read_timeout(LONGEST) {
                Ok(guard) => guard,
                // A writer died: whoever writes next repairs.
                Err(error) if error.is_owner_died() => return 0,
                Err(error) => panic!("read: {error}"),
            };
            let look = |guard: &Pair| *std::hint::black_box(guard);
            let first = look(&guard);
            let again = self.things.shared.read().expect("whoever reads may read");
            self.books.must(Kind::Read, first[0] == first[1] && look(&again) == first);
            1
        });
    }

    fn permit(&self) {
        self.books.act(self.index, Kind::Permit, || {
            let permit = self.things.permits.acquire_timeout(LONGEST).expect("a permit is to be had");
            let place = WITH_PERMIT + permit.number() as usize;
            self.books.comes_in(self.index, place);
            std::hint::black_box(&permit);
            self.books.was_alone(self.index, place, Kind::Permit);
            1
        });
    }

    fn acquire(&self) {
        self.books
            .act(self.index, Kind::Acquire, || u64::from(self.things.semaphore.acquire_timeout(A_MOMENT)));
    }

    fn release(&self) {
        // Not for ever more: about as many as are taken.
        if self.things.semaphore.value() < 64 {
            self.books.act(self.index, Kind::Release, || {
                self.things.semaphore.release(1).expect("it is not bounded");
                1
            });
        }
    }

    fn set(&self) {
        self.books.act(self.index, Kind::Set, || {
            self.things.event.set();
            1
        });
    }

    fn wait(&self) {
        self.books.act(self.index, Kind::Wait, || u64::from(self.things.event.wait_timeout(A_MOMENT)));
    }
}

/// Locks; repairs where a holder died, by finishing what it had begun. True: one had.
fn enter(mutex: &Mutex<Pair>) -> ginnel::Result<(MutexGuard<'_, Pair>, bool)> {
    match mutex.lock_timeout(LONGEST) {
        Ok(guard) => Ok((guard, false)),
        Err(error) if error.is_owner_died() => Ok((mutex.lock_or_repair(|pair| pair[1] = pair[0])?, true)),
        Err(error) => Err(error),
    }
}

/// The same, for the writer's place.
fn write(shared: &RwLock<Pair>) -> ginnel::Result<(WriteGuard<'_, Pair>, bool)> {
    match shared.write_timeout(LONGEST) {
        Ok(guard) => Ok((guard, false)),
        Err(error) if error.is_owner_died() => Ok((shared.write_or_repair(|pair| pair[1] = pair[0])?, true)),
        Err(error) => Err(error),
    }
}
