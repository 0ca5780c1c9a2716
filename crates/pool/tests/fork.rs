//! A pool in the child of a bare fork: every call says so, and nothing of the parent's is touched.
//!
//! Invariants
//! - I1 the process that forks is a child of the test with no other threads than those of ginnel, which sleep by then.
#![allow(unsafe_code, reason = "forks a child whose other threads sleep")]

use std::time::Duration;

use ginnel_object::{Error, ErrorKind};
use ginnel_pool::{Pool, Stats, Task, TaskError};
use ginnel_process::Process;
use ginnel_testkit::watchdog::Watchdog;

/// What a pool does in the child of a bare fork, by one letter a call.
fn in_a_fork(pool: &Pool, task: &Task<u64>) -> String {
    let is_forked = |error: &Error| error.kind() == ErrorKind::Forked;
    let calls = [
        matches!(pool.apply(|| 1, ()), Err(TaskError::Pool(error)) if is_forked(&error)),
        pool.spawn(|| 1, ()).is_err_and(|error| is_forked(&error)),
        matches!(pool.map(|n: u64| n, 0..3_u64), Err(TaskError::Pool(error)) if is_forked(&error)),
        matches!(pool.imap(|n: u64| n, 0..3_u64).next(), Some(Err(TaskError::Pool(error))) if is_forked(&error)),
        pool.resize(2).is_err_and(|error| is_forked(&error)),
        pool.reload().is_err_and(|error| is_forked(&error)),
        pool.workers().is_empty() && pool.stats() == Stats::default(),
        task.is_finished() && task.wait_timeout(Duration::ZERO) && !task.cancel() && task.kill().is_err(),
    ];
    calls.iter().map(|is_right| if *is_right { 'y' } else { 'n' }).collect()
}

fn forks() -> (String, u64) {
    let pool = Pool::new(1).expect("a pool");
    let first = pool.spawn(|| 6_u64, ()).expect("a task");
    first.wait();
    // SAFETY: I1; those who sleep hold no lock that is needed here.
    let fork = unsafe { Process::builder().fork(|| in_a_fork(&pool, &first)) }.expect("forks");
    let told = fork.join().expect("returns");
    // A pool that is dropped in a fork leaves the parent's workers alone.
    let second = pool.spawn(|| 1_u64, ()).expect("a task");
    let sum = first.join().expect("a value") + second.join().expect("a value");
    pool.join().expect("no failures");
    (told, sum)
}

fn drops() -> u64 {
    let mut pool = Some(Pool::new(1).expect("a pool"));
    let task = pool.as_ref().expect("is there").spawn(|| 5_u64, ()).expect("a task");
    task.wait();
    // SAFETY: I1, as above.
    let fork = unsafe { Process::builder().fork(|| drop(pool.take())) }.expect("forks");
    fork.join().expect("returns");
    let pool = pool.expect("only the fork's copy was dropped");
    pool.apply(|n: u64| n + 1, task.join().expect("a value")).expect("the worker lives")
}

#[test]
fn every_call_in_a_fork_says_so() {
    let _watchdog = Watchdog::new("forked", Duration::from_secs(60));
    let (told, sum) = Process::spawn(forks, ()).expect("a child").join().expect("returns");
    assert_eq!((told.as_str(), sum), ("yyyyyyyy", 7));
}

#[test]
fn a_pool_dropped_in_a_fork_is_the_parents() {
    let _watchdog = Watchdog::new("dropped", Duration::from_secs(60));
    assert_eq!(Process::spawn(drops, ()).expect("a child").join().expect("returns"), 6);
}
