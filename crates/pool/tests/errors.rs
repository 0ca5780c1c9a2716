//! Every way in which a task can have no value.

use std::time::Duration;

use ginnel_object::event::Event;
use ginnel_object::{Error, ErrorKind, Message};
use ginnel_pool::{Pool, TaskError};
use ginnel_process::{Process, ProcessError};
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a pool")
}

/// Encodes, and does not decode.
#[derive(Debug)]
struct OneWay;

impl Serialize for OneWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("goes one way only"))
    }
}

/// Does not encode.
#[derive(Debug, Deserialize)]
struct Stuck;

impl Serialize for Stuck {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("does not move"))
    }
}

fn kind(result: Result<impl Sized, TaskError>) -> ErrorKind {
    Error::from(result.map(drop).expect_err("no value")).kind()
}

#[test]
fn a_panic_is_told_and_the_worker_lives_on() {
    let _watchdog = watchdog("panic");
    let pool = pool(1);
    let before = pool.apply(std::process::id, ()).expect("a pid");
    let failed = pool.apply(|n: u32| -> u32 { panic!("no {n}") }, 7).expect_err("panics");
    let panic = failed.panic().expect("a panic");
    assert_eq!(panic.message(), "no 7");
    assert!(panic.location().is_some_and(|location| location.contains("errors.rs")), "{panic:?}");
    assert!(failed.to_string().starts_with("the task panicked: no 7"), "{failed}");
    assert_eq!(pool.apply(std::process::id, ()).expect("a pid"), before);
    let stats = pool.join().expect("it was seen");
    assert_eq!((stats.failed, stats.worker_deaths), (1, 0));
}

#[test]
fn a_worker_that_is_killed_or_leaves_costs_its_task() {
    let _watchdog = watchdog("died");
    let pool = pool(2);
    let killed = pool.apply(|| std::process::abort(), ()).map(|(): ()| ());
    assert!(matches!(&killed, Err(TaskError::Died(ProcessError::Killed { signal: 6, .. }))), "{killed:?}");
    let left = pool.apply(|| std::process::exit(3), ()).map(|(): ()| ());
    assert!(matches!(&left, Err(TaskError::Died(ProcessError::Exited(3)))), "{left:?}");
    // Nobody else noticed, and the pool goes on.
    for n in 0..100_u64 {
        assert_eq!(pool.apply(|n: u64| n + 1, n).expect("a value"), n + 1);
    }
    assert_eq!(pool.join().expect("they were seen").worker_deaths, 2);
}

#[test]
fn what_does_not_cross_is_told_where_it_happened() {
    let _watchdog = watchdog("crossing");
    let pool = pool(1);
    // Arguments that do not encode: nothing was started.
    let refused = pool.spawn(|_: Stuck| (), Stuck).map(drop).expect_err("is refused");
    assert_eq!(refused.kind(), ErrorKind::Encode);
    assert!(matches!(pool.apply(|_: Stuck| (), Stuck), Err(TaskError::Pool(_))));
    // Arguments that do not decode there.
    let undecodable = pool.apply(|_: OneWay| (), OneWay);
    assert!(matches!(&undecodable, Err(TaskError::Decode(_))), "{undecodable:?}");
    assert_eq!(kind(undecodable), ErrorKind::Decode);
    // A result that does not encode there, and one that does not decode here.
    assert_eq!(kind(pool.apply(|| Stuck, ())), ErrorKind::Encode);
    assert_eq!(kind(pool.apply(|| OneWay, ())), ErrorKind::Decode);
    let later = pool.spawn(|| OneWay, ()).expect("a task");
    later.wait();
    assert_eq!(kind(later.join()), ErrorKind::Decode);
    assert_eq!(pool.apply(|| 1, ()).expect("goes on"), 1);
    pool.join().expect("they were seen");
}

#[test]
fn the_first_failure_that_nobody_saw_is_told_by_join() {
    let _watchdog = watchdog("unseen");
    let first = pool(1);
    drop(first.spawn(|| (), ()).expect("a task"));
    drop(first.spawn(|| -> () { panic!("unseen") }, ()).expect("a task"));
    drop(first.spawn(|| -> () { panic!("second") }, ()).expect("a task"));
    let told = first.join().expect_err("a failure");
    assert!(told.kind() == ErrorKind::Panicked && told.to_string().contains("unseen"), "{told}");

    // Dropped after it was over.
    let second = pool(1);
    let task = second.spawn(|| -> () { panic!("late") }, ()).expect("a task");
    task.wait();
    drop(task);
    assert!(second.join().expect_err("a failure").to_string().contains("late"));

    // One that was seen is not told again.
    let third = pool(1);
    third.spawn(|| -> () { panic!("seen") }, ()).expect("a task").join().expect_err("a panic");
    third.join().expect("nothing unseen");
}

#[test]
fn a_panic_of_a_callback_ends_nothing_and_is_told_by_join() {
    let _watchdog = watchdog("callback");
    let pool = pool(1);
    let (tell, told) = std::sync::mpsc::channel();
    pool.spawn(|| 1, ()).expect("a task").on_done(|_| panic!("in the callback"));
    pool.spawn(|| 2, ()).expect("a task").on_done(move |value| tell.send(value.ok()).unwrap_or(()));
    assert_eq!(told.recv(), Ok(Some(2)));
    let failed = pool.join().expect_err("a failure");
    assert!(failed.to_string().contains("in the callback"), "{failed}");
}

#[test]
fn a_task_is_killed_and_no_other() {
    let _watchdog = watchdog("kill");
    let (pool, begun) = (pool(1), Event::new().expect("an event"));
    let endless = |begun: Event| -> u64 {
        begun.set();
        loop {
            std::thread::park();
        }
    };
    let running = pool.spawn(endless, &begun).expect("a task");
    let next = pool.spawn(|n: u64| n, 8_u64).expect("a task");
    let waiting = pool.spawn(|n: u64| n, 9_u64).expect("a task");
    begun.wait();
    waiting.kill().expect("is called off");
    assert!(matches!(waiting.join(), Err(TaskError::Cancelled)));
    running.kill().expect("the signal goes");
    let ended = running.join();
    assert!(matches!(&ended, Err(TaskError::Died(error)) if error.is_killed()), "{ended:?}");
    next.kill().map(drop).unwrap_or(());
    assert!(matches!(next.join(), Ok(8) | Err(TaskError::Cancelled | TaskError::Died(_))));
    let over = pool.spawn(|n: u64| n, 3_u64).expect("a task");
    over.wait();
    over.kill().expect("nothing happens");
    assert_eq!(over.join().expect("a value"), 3);
    pool.join().expect("all were seen");
}

#[test]
fn errors_of_tasks_cross_processes() {
    let _watchdog = watchdog("crossing back");
    let nested = || -> Result<u32, TaskError> { Pool::new(1)?.apply(|| panic!("deep"), ()) };
    let told = Process::spawn(nested, ()).expect("a child").join().expect("returns").expect_err("an error");
    assert_eq!(told.panic().map(|panic| panic.message()), Some("deep"));
}

fn crosses<T: Message>() {}

#[test]
fn an_outcome_is_a_message() {
    crosses::<Result<u64, TaskError>>();
}
