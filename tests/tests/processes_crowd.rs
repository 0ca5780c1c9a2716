//! Children in numbers: beside threads that hold locks, thousands in a row, 64 at once.
//!
//! Each test runs its scene in a role of its own (the test `crowd_entry`), because a process has one arena, one zygote and
//! one table of descriptors.

use std::io::Write;
use std::sync::{Mutex as StdMutex, PoisonError};
use std::thread;
use std::time::Duration;

use ginnel::process::{ProcessError, Start};
use ginnel::sync::{Event, Mutex};
use ginnel::{Manager, Process, Queue};
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_testkit::child::{self, Role};
use ginnel_testkit::watchdog::Watchdog;
use ginnel_tests::load::processes::uses::{LIMIT, resident, settled, start, successor};

/// The way in for roles; by itself it does nothing.
#[test]
fn crowd_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "locks" => locks_of_other_threads(),
        "churn" => churn(arguments.get(0).expect("a count")),
        "many" => many_at_once(),
        "refused" => starts_that_fail(),
        other => panic!("no role {other}"),
    }
}

fn role(name: &str) -> Role {
    Role::new(name).through_test("crowd_entry")
}

/// Is killed.
fn for_ever() {
    loop {
        thread::park();
    }
}

#[test]
fn locks_of_other_threads_never_hang_a_child() {
    role("locks").play();
}

static HELD: StdMutex<u64> = StdMutex::new(0);

/// Takes everything that the starter's other threads hold or fight for.
fn take_all(number: u64) -> u64 {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) += number;
    let mut out = std::io::stdout().lock();
    writeln!(out, "child {number}").expect("stdout is open");
    drop(out);
    let many: Vec<Vec<u8>> = (1..200).map(|size| vec![1; size * 16]).collect();
    many.iter().map(Vec::len).sum::<usize>() as u64 / 318_400 + number
}

fn locks_of_other_threads() {
    let _dog = Watchdog::new("locks", LIMIT);
    let (over, ready) = (AtomicU32::new(0), std::sync::Barrier::new(5));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _held = HELD.lock().expect("nobody has it");
            ready.wait();
            while over.load(Relaxed) == 0 {
                // This is not synchronisation: it holds what it holds until it is over.
                thread::sleep(Duration::from_millis(1));
            }
        });
        scope.spawn(|| {
            let _out = std::io::stdout().lock();
            ready.wait();
            while over.load(Relaxed) == 0 {
                // This is not synchronisation: it holds what it holds until it is over.
                thread::sleep(Duration::from_millis(1));
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                ready.wait();
                while over.load(Relaxed) == 0 {
                    std::hint::black_box((1..100).map(|size| vec![0_u8; size * 100]).collect::<Vec<_>>());
                }
            });
        }
        ready.wait();
        let starts = || {
            for number in 0..200_u64 {
                let method = if number % 4 == 0 { Start::Exec } else { Start::Auto };
                let child = Process::builder().start(method).spawn(take_all, number).expect("started");
                assert!(child.wait_timeout(LIMIT / 4), "child {number} hangs");
                assert_eq!(child.join().expect("it returns"), number + 1);
            }
        };
        let end = thread::scope(|inner| inner.spawn(starts).join());
        over.store(1, Relaxed);
        end.expect("no child hung");
    });
}

/// Starts of the churn; `GINNEL_CHURN=20000` for the long form.
const CHURN: u64 = 600;

#[test]
fn nothing_grows_with_the_number_of_starts() {
    let count = std::env::var("GINNEL_CHURN").ok().and_then(|count| count.parse().ok()).unwrap_or(CHURN);
    role("churn").arg(count).play();
}

/// So many starts, a tenth of them by running the program again, now and then one that panics or is killed.
fn churn(count: u64) {
    let dog = Watchdog::new("churn", LIMIT);
    let some = |count: u64| {
        for number in 0..count {
            let method = if number % 10 == 0 { Start::Exec } else { Start::Auto };
            let builder = Process::builder().start(method);
            match number % 100 {
                98 => {
                    let child = builder.spawn(for_ever, ()).expect("started");
                    child.kill().expect("it is ours");
                    assert!(child.join().is_err_and(|error| error.is_killed()));
                }
                99 => drop(builder.spawn(successor, number).expect("started")),
                _ => {
                    let child = builder.spawn(successor, number).expect("started");
                    assert_eq!(child.join().expect("it returns"), number + 1);
                }
            }
            if number % 1000 == 0 {
                dog.waits_for(format!("start {number}"));
            }
        }
    };
    // What is made once, and what the allocator keeps, is there after some.
    some(count.min(300));
    let (uses, memory) = (settled().expect("it comes to rest"), resident());
    some(count);
    assert_eq!(uses.is_back(), Ok(()));
    let now = resident();
    assert!(now <= memory + memory / 50 + 256, "{memory} KiB resident before, {now} after {count} starts");
}

#[test]
fn sixty_four_at_once() {
    role("many").play();
}

fn many_at_once() {
    let _dog = Watchdog::new("many", LIMIT);
    start(0);
    let uses = settled().expect("it comes to rest");
    for method in [Start::Zygote, Start::Exec] {
        let (go, here) = (Event::new().expect("room"), Queue::<u64>::unbounded().expect("room"));
        let items = (0..64_u64).map(|number| (&go, &here, number));
        let body = |go: Event, here: Queue<u64>, number: u64| {
            here.send(number).expect("there is room");
            go.wait();
            number + 1
        };
        let children = Process::builder().start(method).spawn_all(body, items).expect("started");
        let mut said: Vec<u64> = (0..64).map(|_| here.recv().expect("it comes")).collect();
        said.sort_unstable();
        assert!(said.into_iter().eq(0..64), "all run at once");
        assert!(Manager::current().expect("there is one").inspect().participants.len() >= 65);
        go.set();
        for (number, child) in (0..).zip(children) {
            assert_eq!(child.join().expect("it returns"), number + 1_u64);
        }
    }
    start(0);
    assert_eq!(uses.is_back(), Ok(()));
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    role("refused").play();
}

fn starts_that_fail() {
    let _dog = Watchdog::new("refused", LIMIT);
    start(0);
    let data = Mutex::new(5_u64).expect("there is room");
    let uses = settled().expect("it comes to rest");
    for method in [Start::Auto, Start::Exec] {
        for _ in 0..8 {
            let nowhere = Process::builder().cwd("/no/such/directory").start(method);
            // It is refused at the start, or ends before its function, and says so.
            if let Ok(child) = nowhere.spawn(|data: Mutex<u64>| *data.lock().expect("free") += 1, &data) {
                match child.join() {
                    Err(ProcessError::Start(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(*data.lock().expect("free"), 5);
    assert_eq!(uses.is_back(), Ok(()));
}
