//! The acts in which one depends on the others: a barrier, a once, a wait for several things.
//!
//! | act | what is checked |
//! |---|---|
//! | meet, two at a barrier that the dead leave | as many lead as follow |
//! | once | of each generation one run comes to its end; a second one begins only where it is told of a death |
//! | select | what is said to be ready was, and is not taken by the saying |

use std::time::Duration;

use ginnel::Manager;
use ginnel::select::{Waitable, wait_any};
use ginnel::sync::{Barrier, Event, Init, Mutex, MutexGuard, OnDeath, Once, Reset, Semaphore};

use super::books::{Books, Kind};
use super::workers::{A_MOMENT, LONGEST, Worker};
use crate::load::account::Account;

/// The number in the books that says which once is the present one, and how often its run has begun.
const GENERATION: usize = 4;
const BEGUN: usize = 5;

/// How long two wait for each other.
const A_WHILE: Duration = Duration::from_millis(5);

pub(super) struct Meetings {
    barrier: Barrier,
    signal: Event,
    next: Mutex<u64>,
}

impl Meetings {
    pub(super) fn open(manager: &Manager) -> ginnel::Result<Self> {
        let barrier = ginnel::sync::Options { parties: 2, on_death: OnDeath::Leave };
        Ok(Self {
            barrier: manager.get_or_create_with("barrier", barrier)?,
            signal: manager.get_or_create_with("signal", Reset::Auto)?,
            next: manager.get_or_create_with("next", Init(Some(0)))?,
        })
    }

    pub(super) fn settle(&self, books: &Books, account: &mut Account) {
        let (led, leading) = books.count(Kind::Lead);
        let (followed, following) = books.count(Kind::Follow);
        account.compare("those who followed at the barrier", followed, led - following, led + leading);
    }

    pub(super) fn meet(&self, worker: &Worker<'_>) {
        worker.books.act_either(worker.index, [Kind::Lead, Kind::Follow], || {
            match self.barrier.wait_timeout(A_WHILE) {
                Ok(true) => Some(Kind::Lead),
                Ok(false) => Some(Kind::Follow),
                Err(error) if error.is_broken() || error.is_timeout() => {
                    self.barrier.reset().expect("a good barrier");
                    None
                }
                Err(error) => panic!("meet: {error}"),
            }
        });
    }

    /// The present once; whoever finds it done makes the next one.
    pub(super) fn once(&self, worker: &Worker<'_>, manager: &Manager) {
        let books = worker.books;
        let generation = books.number(GENERATION);
        let name = format!("once-{generation}");
        let once: Once = match manager.get_or_create(&name) {
            Ok(once) => once,
            // It is being removed by one who was quicker.
            Err(error) if error.kind() == ginnel::ErrorKind::Full => return,
            Err(error) => panic!("open a once: {error}"),
        };
        books.act(worker.index, Kind::Once, || {
            // Who comes late meets a once of the same name that is nobody's any more, and must not count.
            let guard = self.next();
            if books.number(GENERATION) != generation {
                drop(guard);
                drop(once);
                let _ = manager.remove(&name);
                return 0;
            }
            drop(guard);
            once.call_once(|state| {
                books.must(Kind::Once, state.previous_died() || books.number(BEGUN) != generation + 1);
                books.set_number(BEGUN, generation + 1);
            })
            .expect("the once is to be had");
            books.must(Kind::Once, once.is_completed());
            self.turn(books, manager, generation, &name);
            1
        });
    }

    /// Nobody else turns the generation.
    fn next(&self) -> MutexGuard<'_, u64> {
        let guard = match self.next.lock_timeout(LONGEST) {
            Err(error) if error.is_owner_died() => self.next.lock_or_repair(|_| {}),
            outcome => outcome,
        };
        guard.expect("the mutex is to be had")
    }

    /// The generation is done with: the next one, unless somebody else has made it so.
    fn turn(&self, books: &Books, manager: &Manager, generation: u64, name: &str) {
        let guard = self.next();
        if books.number(GENERATION) == generation && books.number(BEGUN) == generation + 1 {
            books.set_number(GENERATION, generation + 1);
            let _ = manager.remove(name);
        }
        drop(guard);
    }

    pub(super) fn select(&self, worker: &Worker<'_>, semaphore: &Semaphore) {
        self.signal.set();
        worker.books.act(worker.index, Kind::Select, || {
            let things: [&dyn Waitable; 2] = [&self.signal, semaphore];
            match wait_any(&things, Some(A_MOMENT)).expect("good objects") {
                Some(0) => u64::from(self.signal.wait_timeout(A_MOMENT)),
                Some(1) => 1,
                Some(other) => panic!("number {other} of two is ready"),
                None => 0,
            }
        });
    }
}
