//! The mutex between threads that stand for participants, some of which die.
#![cfg(not(loom))]

mod support;

use std::cell::Cell;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::mutex::{lock, owner, recover, try_lock, unlock};
use ginnel_sync::{Deadline, Holder, LockError, Locked, Mode, Waiter};
use support::Watchdog;

const WAITED_FOR: u32 = 1 << 31;
const DIRTY: u32 = 1 << 30;

fn participant(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

fn holder(index: u16) -> Holder {
    Holder::current(participant(index))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(3))
}

/// Nobody ever dies.
struct Immortal;

impl Liveness for Immortal {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

/// Knows who died, by bit, and recovers the one word there is.
struct Register<'a> {
    dead: [AtomicU64; 4],
    word: &'a AtomicU32,
}

impl<'a> Register<'a> {
    fn new(word: &'a AtomicU32) -> Self {
        Self { dead: Default::default(), word }
    }

    fn died(&self, id: ParticipantId) {
        let index = usize::from(id.index());
        self.dead[index / 64].fetch_or(1 << (index % 64), Release);
    }
}

impl Liveness for Register<'_> {
    fn is_dead(&self, id: ParticipantId) -> bool {
        let index = usize::from(id.index());
        let dead = self.dead[index / 64].load(Acquire) >> (index % 64) & 1 == 1;
        if dead {
            recover(self.word, id);
        }
        dead
    }
}

fn lock_for_ever(word: &AtomicU32, me: Holder, liveness: &impl Liveness) -> Locked {
    lock(word, me, &mut Waiter::default(), Deadline::NEVER, liveness).unwrap()
}

#[test]
fn the_word_says_who_holds_it() {
    let word = AtomicU32::new(0);
    let me = holder(41);
    let locked = lock_for_ever(&word, me, &Immortal);
    assert_eq!(owner(&word), Some(me));
    assert_eq!(word.load(Relaxed), 42 << 16 | u32::from(me.thread()));
    unlock(&word, locked, true);
    assert_eq!((owner(&word), word.load(Relaxed)), (None, 0));
}

#[test]
fn a_free_lock_is_taken_even_after_the_deadline() {
    for free in [0, DIRTY, WAITED_FOR, DIRTY | WAITED_FOR] {
        let word = AtomicU32::new(free);
        let locked = lock(&word, holder(0), &mut Waiter::default(), Deadline::at_ns(0), &Immortal).unwrap();
        assert_eq!(locked.told(), free & DIRTY != 0);
        assert_eq!(word.load(Relaxed) & (WAITED_FOR | DIRTY), free, "both are carried over");
        unlock(&word, locked, true);
        assert_eq!(word.load(Relaxed), 0);
    }
}

#[test]
fn a_lock_that_is_held_times_out_and_names_its_holder() {
    let _watchdog = Watchdog::new("a_lock_that_is_held_times_out_and_names_its_holder");
    for mode in [Mode::Adaptive, Mode::Spin, Mode::Sleep] {
        let word = AtomicU32::new(0);
        let locked = lock_for_ever(&word, holder(0), &Immortal);
        let start = Instant::now();
        let got = lock(&word, holder(1), &mut Waiter::new(mode), soon(), &Immortal);
        assert_eq!(got.unwrap_err(), LockError::TimedOut { owner: Some(participant(0)) });
        assert!(start.elapsed() >= Duration::from_millis(3));
        assert!(try_lock(&word, holder(1)).unwrap().is_none());
        unlock(&word, locked, true);
        unlock(&word, try_lock(&word, holder(1)).unwrap().unwrap(), true);
    }
}

#[test]
fn a_thread_does_not_wait_for_itself() {
    let word = AtomicU32::new(0);
    let locked = lock_for_ever(&word, holder(0), &Immortal);
    let again = lock(&word, holder(0), &mut Waiter::default(), Deadline::NEVER, &Immortal);
    assert_eq!(again.unwrap_err(), LockError::Deadlock);
    assert!(try_lock(&word, holder(0)).unwrap().is_none());
    unlock(&word, locked, true);
}

#[test]
fn another_thread_of_the_same_participant_waits_and_does_not_ask_whether_it_lives() {
    struct Never;
    impl Liveness for Never {
        fn is_dead(&self, id: ParticipantId) -> bool {
            panic!("{id:?} asks about itself");
        }
    }
    let _watchdog =
        Watchdog::new("another_thread_of_the_same_participant_waits_and_does_not_ask_whether_it_lives");
    let word = AtomicU32::new(0);
    let locked = lock_for_ever(&word, holder(0), &Immortal);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let me = holder(0);
            // Two slices, to be tempted.
            let deadline = Deadline::after(Duration::from_millis(50));
            lock(&word, me, &mut Waiter::default(), deadline, &Never).unwrap_err()
        });
        assert_eq!(other.join().unwrap(), LockError::TimedOut { owner: Some(participant(0)) });
    });
    unlock(&word, locked, true);
}

#[test]
fn impossible_words_are_corrupted_and_stay_as_they_are() {
    let _watchdog = Watchdog::new("impossible_words_are_corrupted_and_stay_as_they_are");
    for bad in [1, 1 << 16, 1 << 29, u32::MAX, DIRTY | 7, WAITED_FOR | 9 << 16] {
        let word = AtomicU32::new(bad);
        let got = lock(&word, holder(0), &mut Waiter::default(), Deadline::NEVER, &Immortal);
        assert_eq!(got.unwrap_err(), LockError::Corrupted, "{bad:#x}");
        assert_eq!(try_lock(&word, holder(0)).unwrap_err(), LockError::Corrupted);
        assert_eq!((owner(&word), word.load(Relaxed)), (None, bad));
    }
}

#[test]
fn the_death_of_the_holder_is_told_until_somebody_repairs() {
    let _watchdog = Watchdog::new("the_death_of_the_holder_is_told_until_somebody_repairs");
    let word = AtomicU32::new(0);
    let register = Register::new(&word);
    let _left_behind = lock_for_ever(&word, holder(0), &register);
    register.died(participant(0));

    let told = lock_for_ever(&word, holder(1), &register);
    assert!(told.told());
    unlock(&word, told, false);
    assert_eq!(word.load(Relaxed), DIRTY);

    let told_again = lock_for_ever(&word, holder(2), &register);
    assert!(told_again.told());
    unlock(&word, told_again, true);

    let clean = lock_for_ever(&word, holder(3), &register);
    assert!(!clean.told());
    unlock(&word, clean, false);
    assert_eq!(word.load(Relaxed), 0, "who was told of no death leaves no dirt");
}

#[test]
fn recovery_leaves_the_locks_of_the_living_alone() {
    let word = AtomicU32::new(0);
    recover(&word, participant(1));
    assert_eq!(word.load(Relaxed), 0);
    let locked = lock_for_ever(&word, holder(0), &Immortal);
    recover(&word, participant(1));
    assert_eq!(owner(&word), Some(holder(0)));
    unlock(&word, locked, true);
    assert_eq!(word.load(Relaxed), 0);
}

#[test]
fn a_wake_owed_by_the_dead_is_paid_by_recovery() {
    let _watchdog = Watchdog::new("a_wake_owed_by_the_dead_is_paid_by_recovery");
    for _ in 0..50 {
        let word = AtomicU32::new(0);
        let _left_behind = lock_for_ever(&word, holder(0), &Immortal);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut waiter = Waiter::new(Mode::Sleep);
                let locked = lock(&word, holder(1), &mut waiter, Deadline::NEVER, &Immortal).unwrap();
                assert!(!locked.told());
                unlock(&word, locked, true);
            });
            while word.load(Relaxed) & WAITED_FOR == 0 {
                thread::park_timeout(Duration::from_micros(50));
            }
            // The holder dies after its swap, before its wake.
            word.store(0, Release);
            recover(&word, participant(0));
        });
    }
}

#[test]
fn a_holder_proven_dead_that_nobody_sweeps_is_corruption() {
    struct Lying(Cell<u32>);
    impl Liveness for Lying {
        fn is_dead(&self, _: ParticipantId) -> bool {
            self.0.set(self.0.get() + 1);
            true
        }
    }
    let _watchdog = Watchdog::new("a_holder_proven_dead_that_nobody_sweeps_is_corruption");
    for mode in [Mode::Adaptive, Mode::Spin, Mode::Sleep] {
        let word = AtomicU32::new(7 << 16 | 1);
        let lying = Lying(Cell::new(0));
        let got = lock(&word, holder(0), &mut Waiter::new(mode), Deadline::NEVER, &lying);
        assert_eq!((got.unwrap_err(), lying.0.get()), (LockError::Corrupted, 3));
    }
}

#[test]
fn short_timeouts_notice_a_death_too() {
    let _watchdog = Watchdog::new("short_timeouts_notice_a_death_too");
    let word = AtomicU32::new(0);
    let register = Register::new(&word);
    let _left_behind = lock_for_ever(&word, holder(0), &register);
    register.died(participant(0));
    let mut waiter = Waiter::default();
    let locked = loop {
        match lock(&word, holder(1), &mut waiter, soon(), &register) {
            Ok(locked) => break locked,
            Err(error) => assert_eq!(error, LockError::TimedOut { owner: Some(participant(0)) }),
        }
    };
    assert!(locked.told());
    unlock(&word, locked, true);
}

/// Small random numbers, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % sides
    }
}

/// What the lock protects. Every access is an ordinary load or store, so a broken lock loses updates.
#[derive(Default)]
struct Data {
    count: AtomicU64,
    twice: AtomicU64,
    /// Somebody died inside and nobody has repaired: what `told` must say.
    debt: AtomicU64,
}

impl Data {
    fn step(&self) {
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
        self.twice.store(self.twice.load(Relaxed) + 2, Relaxed);
    }

    /// Under the lock: compares with what the lock said, and repairs sometimes. True: it is whole now.
    fn look(&self, told: bool, repair: bool) -> bool {
        assert_eq!(told, self.debt.load(Relaxed) == 1, "told exactly while there is a debt");
        if told && repair {
            self.twice.store(self.count.load(Relaxed) * 2, Relaxed);
            self.debt.store(0, Relaxed);
        }
        self.debt.load(Relaxed) == 1 || {
            assert_eq!(self.twice.load(Relaxed), self.count.load(Relaxed) * 2);
            true
        }
    }
}

/// Threads lock, count and unlock in all ways; now and then one dies inside and comes back with another id.
fn compete(seed: u64, threads: u16, lives: u16, turns: u64) {
    let word = AtomicU32::new(0);
    let (register, data, counted) = (Register::new(&word), Data::default(), AtomicU64::new(0));
    let start = Barrier::new(usize::from(threads));
    let run = |thread: u16| {
        let mut dice = Dice(seed ^ u64::from(thread) << 32);
        let mode = [Mode::Adaptive, Mode::Sleep, Mode::Adaptive][usize::from(thread) % 3];
        let mut waiter = Waiter::new(mode);
        start.wait();
        for life in 0..lives {
            let me = holder(thread * lives + life);
            for turn in 0..turns {
                let got = match dice.roll(4) {
                    0 => try_lock(&word, me).unwrap(),
                    1 => lock(&word, me, &mut waiter, Deadline::after(Duration::from_micros(30)), &register)
                        .ok(),
                    _ => Some(lock(&word, me, &mut waiter, Deadline::NEVER, &register).unwrap()),
                };
                let Some(locked) = got else { continue };
                let consistent = dice.roll(2) == 0;
                data.look(locked.told(), consistent);
                if data.debt.load(Relaxed) == 0 {
                    data.step();
                    counted.fetch_add(1, Relaxed);
                }
                if turn + 1 == turns && life + 1 < lives {
                    data.debt.store(1, Relaxed);
                    data.twice.store(0, Relaxed);
                    register.died(me.participant());
                    break;
                }
                unlock(&word, locked, consistent);
            }
        }
    };
    thread::scope(|scope| {
        for thread in 0..threads {
            let run = &run;
            scope.spawn(move || run(thread));
        }
    });
    let last = lock_for_ever(&word, holder(255), &register);
    data.look(last.told(), true);
    unlock(&word, last, true);
    assert_eq!(data.count.load(Relaxed), counted.load(Relaxed));
    assert_eq!(word.load(Relaxed), 0);
}

#[test]
fn nothing_is_lost_among_the_living() {
    let _watchdog = Watchdog::new("nothing_is_lost_among_the_living");
    compete(1, 2, 1, 20_000);
    compete(2, 5, 1, 5_000);
}

#[test]
fn nothing_is_lost_among_the_dying() {
    let _watchdog = Watchdog::new("nothing_is_lost_among_the_dying");
    for seed in 0..3 {
        compete(seed, 4, 12, 40);
    }
}
