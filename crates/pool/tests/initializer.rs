//! What runs in each worker before its first task, and what a pool makes of one that fails.

mod common;

use std::sync::OnceLock;

use common::{die, my_pid, pids, sigkill, until, watchdog};
use ginnel_object::{Error, ErrorKind, Queue};
use ginnel_pool::{Pool, TaskError};
use ginnel_process::Failure;

static CONFIGURED: OnceLock<String> = OnceLock::new();

fn configure(text: String, times: usize) {
    CONFIGURED.get_or_init(|| text.repeat(times));
}

fn configured() -> Option<String> {
    CONFIGURED.get().cloned()
}

#[test]
fn it_runs_in_every_worker_before_the_first_task_and_not_here() {
    let _watchdog = watchdog("every worker");
    let pool = Pool::builder().workers(2).initializer(configure, ("ab", 2)).build().expect("a pool");
    for _ in 0..20 {
        assert_eq!(pool.apply(configured, ()).expect("a value").as_deref(), Some("abab"));
    }
    until(|| pool.stats().workers == 2);
    let before = pids(&pool);
    before.iter().for_each(|pid| sigkill(*pid));
    until(|| pool.stats().worker_deaths == 2);
    assert_eq!(pool.apply(configured, ()).expect("a value").as_deref(), Some("abab"));
    assert!(!before.contains(&pool.apply(my_pid, ()).expect("a number")));
    assert_eq!(configured(), None);
}

fn refuse(calls: Queue<u32>) -> Result<(), Failure> {
    calls.send(my_pid())?;
    Err(Failure::msg("no such table"))
}

#[test]
fn one_that_always_fails_breaks_the_pool_and_does_not_go_on_for_ever() {
    let _watchdog = watchdog("always fails");
    let calls = Queue::<u32>::bounded(64).expect("a queue");
    let pool = Pool::builder().workers(1).initializer(refuse, calls.clone()).build().expect("a pool");
    let task = pool.spawn(|| 1, ());
    if let Ok(task) = task {
        let why = task.join().expect_err("nobody runs it");
        assert!(
            matches!(&why, TaskError::Pool(error) if error.to_string().contains("no such table")),
            "{why}"
        );
    }
    until(|| pool.apply(|| 1, ()).is_err_and(|why| matches!(why, TaskError::Pool(_))));
    let why = pool.spawn(|| 1, ()).expect_err("takes nothing");
    assert!(why.to_string().contains("no such table"), "{why}");
    let why = pool.join().expect_err("is broken");
    assert!(why.to_string().contains("no such table"), "{why}");
    let mut count = 0;
    while calls.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn panics_and_deaths_of_it_are_failures_as_well() {
    let _watchdog = watchdog("panics and deaths");
    let pool = Pool::builder().workers(2).initializer(|| -> () { panic!("cannot") }, ()).build();
    let pool = pool.expect("a pool");
    let why = pool.apply(|| 1, ()).expect_err("nobody runs it");
    let TaskError::Pool(error) = &why else { panic!("{why}") };
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("cannot"), "{error}");

    let pool = Pool::builder().workers(2).initializer(|| -> () { die() }, ()).build().expect("a pool");
    let why = pool.apply(|| 1, ()).expect_err("nobody runs it");
    assert!(matches!(&why, TaskError::Pool(error) if error.kind() == ErrorKind::Killed), "{why}");
}

fn fail_while_there_are(tokens: Queue<u8>) -> Result<(), Error> {
    match tokens.try_recv() {
        Ok(_) => Err(Error::from(Failure::msg("not yet"))),
        Err(_) => Ok(()),
    }
}

#[test]
fn one_that_fails_now_and_then_is_tried_again() {
    let _watchdog = watchdog("now and then");
    let tokens = Queue::<u8>::bounded(16).expect("a queue");
    (0..2).for_each(|token| tokens.send(token).expect("room"));
    let pool = Pool::builder().workers(1).initializer(fail_while_there_are, tokens.clone()).build();
    let pool = pool.expect("a pool");
    for round in 1..=3 {
        assert_eq!(pool.apply(|| 4, ()).expect("a value"), 4);
        // Two failures, then one that comes up: the count begins anew.
        (0..2).for_each(|token| tokens.send(token).expect("room"));
        until(|| !pids(&pool).is_empty());
        sigkill(pids(&pool)[0]);
        until(|| pool.stats().worker_deaths == round);
    }
    assert_eq!(pool.apply(|| 4, ()).expect("a value"), 4);
    pool.join().expect("is whole");
}
