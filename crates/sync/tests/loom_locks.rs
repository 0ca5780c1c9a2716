//! Models: locks on lines of their own, readers and writers, and a condition variable, under every interleaving loom
//! finds within its bounds. Time stands still, so no slice ends and a single lost wake is a deadlock that loom reports.
//!
//! Some show that the models can fail: a protocol written out with one fault.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-sync --test loom_locks`.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, fence};
use ginnel_layout::lock::{CondvarWords, LockWords, ReaderCell, RwLockWords};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::condvar;
use ginnel_sync::futex;
use ginnel_sync::futex::model::set_time_ns;
use ginnel_sync::mutex;
use ginnel_sync::rwlock::{Read, RwLock};
use ginnel_sync::{Arm, Deadline, Holder, LockError, Mode, Waiter};
use loom::thread;

fn model(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(scenario);
}

struct Immortal;

impl Liveness for Immortal {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn participant(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

fn holder(index: u16) -> Holder {
    Holder::new(participant(index), 1).expect("not thread 0")
}

fn waiter() -> Waiter {
    Waiter::new(Mode::Sleep)
}

/// A lock, and data that only its holder may touch: two words that are equal outside.
#[derive(Default)]
struct Guarded {
    lock: LockWords,
    data: [AtomicU32; 2],
}

impl Guarded {
    fn change(&self) {
        for word in &self.data {
            word.store(word.load(Relaxed) + 1, Relaxed);
        }
    }

    fn check(&self) -> u32 {
        let [one, two] = [0, 1].map(|i| self.data[i].load(Relaxed));
        assert_eq!(one, two);
        one
    }

    fn change_locked(&self, me: u16, deadline: Deadline) -> Result<(), LockError> {
        let locked = mutex::lock_in(&self.lock, holder(me), &mut waiter(), deadline, &Immortal)?;
        self.check();
        self.change();
        mutex::unlock_in(&self.lock, locked, true);
        Ok(())
    }
}

#[test]
fn three_lockers_exclude_each_other_and_nobody_is_left_asleep() {
    model(2, || {
        let guarded = Arc::new(Guarded::default());
        let others = [1, 2].map(|me| {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.change_locked(me, Deadline::NEVER).unwrap())
        });
        guarded.change_locked(0, Deadline::NEVER).unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(guarded.check(), 3);
        assert_eq!(guarded.lock.word.load(Relaxed) & 0x1fff_ffff, 0);
        assert!(guarded.lock.sleepers.iter().all(|word| word.load(Relaxed) == 0));
    });
}

/// A poller arms, is cancelled, and passes on: the sleeper behind it gets its wake.
#[test]
fn one_who_armed_and_leaves_takes_no_wake_with_it() {
    model(2, || {
        let guarded = Arc::new(Guarded::default());
        let held = mutex::try_lock_in(&guarded.lock, holder(0)).unwrap().expect("free");
        let sleeper = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.change_locked(1, Deadline::NEVER).unwrap())
        };
        let poller = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                if let Arm::Sleep(word) = mutex::arm(&guarded.lock) {
                    // As a wait for several things: it may use up the one wake.
                    futex::wait(&guarded.lock.word, word, Deadline::at_ns(1));
                }
                mutex::pass(&guarded.lock);
            })
        };
        mutex::unlock_in(&guarded.lock, held, true);
        set_time_ns(1);
        poller.join().unwrap();
        sleeper.join().unwrap();
        assert_eq!(guarded.check(), 1);
    });
}

/// One who armed and then takes the lock takes it with W, because another may sleep behind it.
#[test]
fn one_who_armed_and_gets_the_lock_wakes_the_next() {
    model(2, || {
        let guarded = Arc::new(Guarded::default());
        let held = mutex::try_lock_in(&guarded.lock, holder(0)).unwrap().expect("free");
        let sleeper = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.change_locked(1, Deadline::NEVER).unwrap())
        };
        let poller = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                let armed = mutex::arm(&guarded.lock);
                if let Arm::Sleep(word) = armed {
                    futex::wait(&guarded.lock.word, word, Deadline::at_ns(1));
                }
                match mutex::try_lock_armed(&guarded.lock, holder(2)).unwrap() {
                    Some(locked) => mutex::unlock_in(&guarded.lock, locked, true),
                    None => mutex::pass(&guarded.lock),
                }
            })
        };
        mutex::unlock_in(&guarded.lock, held, true);
        set_time_ns(1);
        poller.join().unwrap();
        sleeper.join().unwrap();
    });
}

#[test]
fn a_sleeper_gets_the_lock_of_the_dead_and_is_told() {
    model(2, || {
        let guarded = Arc::new(Guarded::default());
        let _dead = mutex::try_lock_in(&guarded.lock, holder(0)).unwrap().expect("free");
        let sleeper = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || {
                let locked =
                    mutex::lock_in(&guarded.lock, holder(1), &mut waiter(), Deadline::NEVER, &Immortal)
                        .unwrap();
                assert!(locked.told());
                mutex::unlock_in(&guarded.lock, locked, true);
            })
        };
        mutex::recover_in(&guarded.lock, participant(0), true);
        sleeper.join().unwrap();
    });
}

/// A read-write lock for two participants, over two words that are equal outside.
#[derive(Default)]
struct Shelf {
    words: RwLockWords,
    cells: [ReaderCell; 3],
    data: Guarded,
}

impl Shelf {
    fn new() -> Arc<Self> {
        let shelf = Arc::new(Self::default());
        (0..3).for_each(|index| shelf.lock().enroll(participant(index)));
        shelf
    }

    fn lock(&self) -> RwLock<'_> {
        RwLock { words: &self.words, cells: &self.cells }
    }

    fn read(&self, me: u16) {
        let read = self.lock().read(holder(me), &mut waiter(), Deadline::NEVER, &Immortal).unwrap();
        assert_eq!(read, Read::Granted);
        self.data.check();
        self.lock().leave(participant(me)).unwrap();
    }

    fn write(&self, me: u16, deadline: Deadline) -> Result<(), LockError> {
        let locked = self.lock().write(holder(me), &mut waiter(), deadline, &Immortal)?;
        self.data.check();
        self.data.change();
        self.lock().unlock(locked, true);
        Ok(())
    }
}

#[test]
fn a_reader_and_a_writer_never_meet_inside() {
    model(3, || {
        let shelf = Shelf::new();
        let reader = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || shelf.read(1))
        };
        shelf.write(0, Deadline::NEVER).unwrap();
        reader.join().unwrap();
        assert_eq!(shelf.data.check(), 1);
    });
}

#[test]
fn two_writers_and_a_reader_all_get_their_turn() {
    model(2, || {
        let shelf = Shelf::new();
        let reader = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || shelf.read(1))
        };
        let writer = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || shelf.write(2, Deadline::NEVER).unwrap())
        };
        shelf.write(0, Deadline::NEVER).unwrap();
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(shelf.data.check(), 2);
    });
}

/// A writer that gives up in front of a reader lets the next reader in.
#[test]
fn a_writer_that_gives_up_leaves_the_gate_open() {
    model(2, || {
        let shelf = Shelf::new();
        assert_eq!(shelf.lock().try_read(holder(0)), Ok(Some(Read::Granted)));
        let writer = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || {
                let outcome = shelf.write(1, Deadline::at_ns(0));
                assert_eq!(outcome, Err(LockError::TimedOut { owner: Some(participant(0)) }));
            })
        };
        shelf.read(2);
        writer.join().unwrap();
        shelf.lock().leave(participant(0)).unwrap();
    });
}

/// A writer sleeps in front of a reader that dies; recovery lets it in.
#[test]
fn a_dead_reader_is_waited_for_no_longer() {
    model(2, || {
        let shelf = Shelf::new();
        assert_eq!(shelf.lock().try_read(holder(0)), Ok(Some(Read::Granted)));
        let writer = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || shelf.write(1, Deadline::NEVER).unwrap())
        };
        shelf.lock().recover(participant(0));
        writer.join().unwrap();
    });
}

/// A reader sleeps in front of a writer that dies inside; recovery tells it.
#[test]
fn a_writer_that_died_inside_is_told_to_a_sleeping_reader() {
    model(2, || {
        let shelf = Shelf::new();
        let _dead = shelf.lock().try_write(holder(0)).unwrap().expect("free");
        let reader = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || {
                let read = shelf.lock().read(holder(1), &mut waiter(), Deadline::NEVER, &Immortal);
                assert_eq!(read, Ok(Read::NeedsRepair));
            })
        };
        shelf.lock().recover(participant(0));
        reader.join().unwrap();
    });
}

/// The reader's look before its count, instead of after it.
#[test]
#[should_panic(expected = "left == right")]
fn a_reader_that_looks_before_it_counts_meets_a_writer() {
    model(3, || {
        let shelf = Shelf::new();
        let reader = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || {
                if shelf.words.lock.word.load(SeqCst) == 0 {
                    shelf.cells[1].readers.fetch_add(1, SeqCst);
                    shelf.data.check();
                    shelf.lock().leave(participant(1)).unwrap();
                }
            })
        };
        shelf.write(0, Deadline::NEVER).unwrap();
        reader.join().unwrap();
    });
}

/// A condition variable, and a number under a lock.
#[derive(Default)]
struct News {
    condvar: CondvarWords,
    guarded: Guarded,
}

impl News {
    fn lock(&self, me: u16) -> ginnel_sync::Locked {
        mutex::lock_in(&self.guarded.lock, holder(me), &mut waiter(), Deadline::NEVER, &Immortal).unwrap()
    }

    fn unlock(&self, locked: ginnel_sync::Locked) {
        mutex::unlock_in(&self.guarded.lock, locked, true);
    }

    /// Waits until there is something, and takes it.
    fn take(&self, me: u16) {
        let mut locked = self.lock(me);
        while self.guarded.data[0].load(Relaxed) == 0 {
            let begun = condvar::begin(&self.condvar);
            self.unlock(locked);
            condvar::wait(&self.condvar, participant(me), begun, &mut waiter(), Deadline::NEVER).unwrap();
            locked = self.lock(me);
        }
        self.guarded.data[0].store(self.guarded.data[0].load(Relaxed) - 1, Relaxed);
        self.unlock(locked);
    }

    fn give(&self, me: u16, count: u32) {
        let locked = self.lock(me);
        self.guarded.data[0].store(self.guarded.data[0].load(Relaxed) + count, Relaxed);
        self.unlock(locked);
    }
}

#[test]
fn a_notification_after_the_change_reaches_the_waiter() {
    model(3, || {
        let news = Arc::new(News::default());
        let taker = {
            let news = Arc::clone(&news);
            thread::spawn(move || news.take(1))
        };
        news.give(0, 1);
        condvar::notify(&news.condvar, 1);
        taker.join().unwrap();
    });
}

/// The first notification may find nobody asleep, and clears the flag; the second must find the waiter.
#[test]
fn a_futile_notification_does_not_hide_a_waiter_from_the_next() {
    model(3, || {
        let news = Arc::new(News::default());
        let taker = {
            let news = Arc::clone(&news);
            thread::spawn(move || news.take(1))
        };
        condvar::notify(&news.condvar, 1);
        news.give(0, 1);
        condvar::notify(&news.condvar, 1);
        taker.join().unwrap();
    });
}

#[test]
fn all_are_woken_by_one_notification_of_all() {
    model(2, || {
        let news = Arc::new(News::default());
        let takers = [1, 2].map(|me| {
            let news = Arc::clone(&news);
            thread::spawn(move || news.take(me))
        });
        news.give(0, 2);
        condvar::notify(&news.condvar, u32::MAX);
        takers.into_iter().for_each(|taker| taker.join().unwrap());
    });
}

#[test]
fn a_notifier_that_died_is_made_good_by_recovery() {
    model(2, || {
        let news = Arc::new(News::default());
        let taker = {
            let news = Arc::clone(&news);
            thread::spawn(move || news.take(1))
        };
        news.give(0, 1);
        // The notifier got no further than its first instruction.
        news.condvar.line.seq.fetch_add(1, Release);
        condvar::recover(&news.condvar, participant(0));
        taker.join().unwrap();
    });
}

/// The flag as a plain 1, cleared by whoever woke nobody.
#[test]
#[should_panic(expected = "deadlock")]
fn a_flag_that_does_not_say_for_whom_loses_a_waiter() {
    fn notify(words: &CondvarWords) {
        words.line.seq.fetch_add(1, Release);
        fence(SeqCst);
        if words.line.flag.load(Relaxed) != 0 && futex::wake(&words.line.seq, 1) == 0 {
            let _ = words.line.flag.compare_exchange(1, 0, Relaxed, Relaxed);
        }
    }
    model(3, || {
        let news = Arc::new(News::default());
        let taker = {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                let line = &news.condvar.line;
                while news.guarded.data[0].load(Acquire) == 0 {
                    let seq = line.seq.load(Acquire);
                    if news.guarded.data[0].load(Acquire) != 0 {
                        break;
                    }
                    let arm = || {
                        line.flag.store(1, Relaxed);
                        fence(SeqCst);
                        Arm::Sleep(seq)
                    };
                    let moved = |_| (line.seq.load(Acquire) != seq).then_some(());
                    waiter().wait_seq(line, Deadline::NEVER, moved, arm, || ()).unwrap();
                }
            })
        };
        notify(&news.condvar);
        news.guarded.data[0].store(1, Release);
        notify(&news.condvar);
        taker.join().unwrap();
    });
}
