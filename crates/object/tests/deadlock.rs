//! Cycles of threads and processes that wait for one another: one of them is told, and by that the others go on.
//!
//! Children are this test binary again, in a role (the test `deadlock_entry`).

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use ginnel_layout::atomic::{AtomicU32, Ordering::Relaxed};
use ginnel_object::lock::{Lock, RLock};
use ginnel_object::manager::{Manager, Options};
use ginnel_object::{Error, ErrorKind, Mutex};
use ginnel_testkit::child::{self, Exit, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

/// Too long for any wait of these tests, unless nobody is told.
const LONG: Duration = Duration::from_secs(40);

fn manager() -> Manager {
    let options = Options::new().limit(8 << 20).objects(16).participants(6);
    let manager = Manager::with(options).expect("a small manager");
    manager.detect_deadlocks().expect("a table");
    manager
}

fn lock(manager: &Manager, name: &str) -> Lock {
    manager.get_or_create(name).expect("made")
}

/// The way in for roles; by itself it does nothing.
#[test]
fn deadlock_entry() {
    let Some((name, arguments)) = child::role() else { return };
    assert_eq!(name, "other");
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    manager.detect_deadlocks().expect("the table");
    let words = Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped");
    let (first, second) = (lock(&manager, "first"), lock(&manager, "second"));
    let held = second.lock().expect("free");
    words.set(0, 1);
    // Told, or granted because the other one was told.
    match first.lock_timeout(LONG) {
        Ok(guard) => drop(guard),
        Err(error) => {
            check(&error, &["first", "second"]);
            words.set(1, 1);
        }
    }
    drop(held);
}

fn check(error: &Error, names: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
    let sentence = error.to_string();
    assert!(names.iter().all(|name| sentence.contains(&format!("\"{name}\""))), "{sentence}");
    assert!(sentence.contains(&format!("process {}", std::process::id())), "{sentence}");
    assert!(error.owner().is_some(), "{sentence}");
}

#[test]
fn one_of_two_processes_is_told_and_the_other_goes_on() {
    let dog = Watchdog::new("processes", LIMIT);
    let manager = manager();
    let (first, second) = (lock(&manager, "first"), lock(&manager, "second"));
    for _ in 0..20 {
        let words = Scratch::new(2).expect("a memfd");
        let held = first.lock().expect("free");
        let role = Role::new("other").through_test("deadlock_entry").fd(&manager).fd(&words);
        let mut child = role.spawn().expect("started");
        dog.waits_for("a child that holds its lock");
        while words.get(0) == 0 {
            assert_eq!(child.wait_timeout(Duration::from_millis(1)).expect("waited"), None);
        }
        let outcome = second.lock_timeout(LONG);
        let told_here = match &outcome {
            Ok(_) => 0,
            Err(error) => {
                check(error, &["first", "second"]);
                1
            }
        };
        drop(outcome);
        drop(held);
        dog.waits_for("a child that ends");
        assert_eq!(child.wait().expect("waited"), Exit::Code(0));
        // Both may be told, if they looked in the same moment; never neither.
        assert!(told_here + words.get(1) >= 1);
    }
}

#[test]
fn a_cycle_of_three_threads_and_three_kinds_is_named() {
    let _dog = Watchdog::new("three", LIMIT);
    let manager = manager();
    let one: Lock = manager.get_or_create("one").expect("made");
    let two: RLock = manager.get_or_create("two").expect("made");
    let three: Mutex<u64> = manager.get_or_create("three").expect("made");
    let all_hold = Barrier::new(3);
    let told: usize = thread::scope(|scope| {
        let threads = [
            scope.spawn(|| {
                let _held = one.lock().expect("free");
                all_hold.wait();
                two.lock_timeout(LONG).map(drop)
            }),
            scope.spawn(|| {
                let _held = two.lock().expect("free");
                all_hold.wait();
                three.lock_timeout(LONG).map(drop)
            }),
            scope.spawn(|| {
                let _held = three.lock().expect("free");
                all_hold.wait();
                one.lock_timeout(LONG).map(drop)
            }),
        ];
        let outcomes = threads.map(|thread| thread.join().expect("no panic"));
        outcomes
            .into_iter()
            .filter_map(Result::err)
            .map(|error| check(&error, &["one", "two", "three"]))
            .count()
    });
    assert!((1..=3).contains(&told), "{told}");
}

#[test]
fn waits_without_a_cycle_are_left_alone() {
    const ROUNDS: u64 = 2_000;
    let _dog = Watchdog::new("order", LIMIT);
    let manager = manager();
    let (outer, inner) = (lock(&manager, "outer"), manager.create::<Mutex<u64>>().expect("room"));
    thread::scope(|scope| {
        for _ in 0..4 {
            let (outer, inner) = (outer.clone(), inner.clone());
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let _outer = (round % 3 != 0).then(|| outer.lock().expect("no cycle"));
                    *inner.lock().expect("no cycle") += 1;
                }
            });
        }
    });
    assert_eq!(*inner.lock().expect("free"), 4 * ROUNDS);
    assert!(outer.lock().is_ok() && manager.detect_deadlocks().is_ok(), "twice is as good as once");
}

/// One thread holds `held` and wants `wanted` again and again; the others take `wanted`, give it back, and only then
/// wait for `held`, with a deadline, again and again. What they hold and what they wait for look like a cycle to who
/// looks at one after the other.
#[test]
fn waiters_that_give_up_and_come_again_are_in_no_cycle() {
    const ROUNDS: u32 = 60_000;
    let _dog = Watchdog::new("again", LIMIT);
    let manager = manager();
    let (held, wanted) = (lock(&manager, "held"), lock(&manager, "wanted"));
    let guard = held.lock().expect("free");
    let (rounds, is_over) = (AtomicU32::new(0), AtomicU32::new(0));
    let told = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while is_over.load(Relaxed) == 0 {
                    drop(wanted.lock().expect("who holds it waits for nothing"));
                    let error = held.lock_timeout(Duration::ZERO).expect_err("it is held");
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                    rounds.fetch_add(1, Relaxed);
                }
            });
        }
        let mut told = None;
        while told.is_none() && rounds.load(Relaxed) < ROUNDS {
            told = wanted.lock().map(drop).err();
        }
        is_over.store(1, Relaxed);
        told
    });
    drop(guard);
    assert!(told.is_none(), "{told:?}");
}

#[test]
fn who_died_in_a_cycle_ends_it() {
    let dog = Watchdog::new("dead", LIMIT);
    let manager = manager();
    let (first, second) = (lock(&manager, "first"), lock(&manager, "second"));
    let words = Scratch::new(2).expect("a memfd");
    let _held = first.lock().expect("free");
    let role = Role::new("other").through_test("deadlock_entry").fd(&manager).fd(&words);
    let mut child = role.spawn().expect("started");
    dog.waits_for("a child that holds its lock");
    while words.get(0) == 0 {
        assert_eq!(child.wait_timeout(Duration::from_millis(1)).expect("waited"), None);
    }
    // Two slices, in which it says that it waits, and falls asleep.
    assert_eq!(child.wait_timeout(Duration::from_millis(45)).expect("waited"), None);
    assert_eq!(child.kill().expect("killed"), Exit::KILLED);
    dog.waits_for("the lock of the dead");
    let guard = second.lock_timeout(LONG).expect("no cycle, for the dead one is in none");
    assert!(guard.previous_owner_died().is_some());
}

#[test]
fn the_detector_keeps_nobody_attached() {
    let _dog = Watchdog::new("leave", LIMIT);
    let name = format!("deadlock-leave-{}", std::process::id());
    let options = Options::new().limit(1 << 20).participants(4).objects(8);
    let stays = Manager::open_or_create_with(&name, options).expect("a fresh name");
    let holders = || {
        let mut objects = stays.inspect().objects.into_iter();
        objects.find(|object| object.name.as_deref() == Some("ginnel.waits")).map(|table| table.holders)
    };
    for _ in 0..5 {
        let leaves = Manager::open(&name).expect("there");
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| leaves.detect_deadlocks().expect("room"));
            }
        });
        assert_eq!((stays.inspect().participants.len(), holders()), (2, Some(1)));
        let one = lock(&leaves, "one");
        let held = lock(&stays, "one");
        let guard = held.lock().expect("free");
        let waited = one.lock_timeout(Duration::from_millis(1)).map(drop);
        assert_eq!(waited.map_err(|error| error.kind()), Err(ErrorKind::Timeout));
        drop((guard, leaves));
        assert_eq!(stays.inspect().participants.len(), 2, "a lock keeps its manager");
        drop(one);
        assert_eq!((stays.inspect().participants.len(), holders()), (1, Some(0)));
    }
    stays.detect_deadlocks().expect("the table");
    drop(stays);
    assert!(!Manager::list().expect("readable").contains(&name), "the last one has left");
}
