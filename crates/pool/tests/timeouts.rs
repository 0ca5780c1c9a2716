//! Tasks that take too long, and tasks that are killed.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{my_pid, until, watchdog};
use ginnel_object::ErrorKind;
use ginnel_object::event::Event;
use ginnel_pool::{OnWorkerDeath, Pool, TaskError};

fn endless(begun: Event) -> u32 {
    begun.set();
    loop {
        thread::park();
    }
}

fn takes(ms: u64, value: u32) -> u32 {
    // A task that takes its time, not synchronisation.
    thread::sleep(Duration::from_millis(ms));
    value
}

#[test]
fn one_that_takes_too_long_is_killed_and_the_others_are_not() {
    let _watchdog = watchdog("too long");
    let limit = Duration::from_millis(500);
    let pool = Pool::builder().workers(2).task_timeout(limit).build().expect("a pool");
    let begun = Event::new().expect("an event");
    for _ in 0..2 {
        let late = pool.spawn(endless, &begun).expect("a place");
        // Behind each other, they wait for longer than one may run.
        let others: Vec<_> = (0..20).map(|n| pool.spawn(takes, (30, n)).expect("a place")).collect();
        let began = Instant::now();
        assert!(late.join().is_err_and(|why| why.is_timed_out()));
        assert!(began.elapsed() >= limit / 2);
        for (n, task) in (0..).zip(others) {
            assert_eq!(task.join().expect("a value"), n);
        }
    }
    let stats = pool.join().expect("each failure was seen");
    assert_eq!((stats.worker_deaths, stats.failed, stats.done), (2, 2, 42));
}

#[test]
fn an_idle_pool_notices_its_first_late_task_in_time() {
    let _watchdog = watchdog("first late");
    let pool = Pool::builder().workers(1).task_timeout(Duration::from_millis(20)).build().expect("a pool");
    until(|| pool.stats().workers == 1);
    let begun = Event::new().expect("an event");
    let began = Instant::now();
    assert!(pool.apply(endless, &begun).is_err_and(|why| why.is_timed_out()));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn timeouts_are_not_tried_again() {
    let _watchdog = watchdog("not again");
    let builder = Pool::builder().workers(1).task_timeout(Duration::from_millis(20));
    let pool = builder.on_worker_death(OnWorkerDeath::Retry(5)).build().expect("a pool");
    let begun = Event::new().expect("an event");
    assert!(pool.apply(endless, &begun).is_err_and(|why| why.is_timed_out()));
    assert_eq!(pool.stats().retried, 0);
}

#[test]
fn a_kill_at_the_last_moment_hits_the_late_task_or_none() {
    let _watchdog = watchdog("last moment");
    let pool = Pool::builder().workers(2).task_timeout(Duration::from_millis(4)).build().expect("a pool");
    let (mut values, mut late) = (0, 0);
    for round in 0..100_u32 {
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let just = pool.spawn(takes_us, (3_800 + u64::from(round) * 4, n)).expect("a place");
                (just, pool.spawn(|n: u32| n, n).expect("a place"))
            })
            .collect();
        for (n, (just, next)) in (0..).zip(tasks) {
            match just.join() {
                Ok(value) => {
                    assert_eq!(value, n);
                    values += 1;
                }
                Err(TaskError::TimedOut) => late += 1,
                Err(other) => panic!("{other}"),
            }
            // One that a machine under load keeps from its processor for so long is late itself; none has died.
            match next.join() {
                Ok(value) => assert_eq!(value, n),
                Err(why) => assert!(why.is_timed_out(), "{why}"),
            }
        }
    }
    assert_eq!(values + late, 400);
    assert!(late > 0);
}

fn takes_us(us: u64, value: u32) -> u32 {
    // A task that takes its time, not synchronisation.
    thread::sleep(Duration::from_micros(us));
    value
}

#[test]
fn a_task_that_is_killed_says_so_and_its_worker_is_replaced() {
    let _watchdog = watchdog("kill");
    let builder = Pool::builder().workers(1).on_worker_death(OnWorkerDeath::Retry(5));
    let pool = builder.build().expect("a pool");
    let begun = Event::new().expect("an event");
    let task = pool.spawn(endless, &begun).expect("a place");
    begun.wait();
    let before = pool.workers()[0].pid;
    task.kill().expect("is sent");
    let why = task.join().expect_err("was killed");
    assert!(why.is_died(), "{why}");
    assert_ne!(pool.apply(my_pid, ()).expect("a number"), before);
    let stats = pool.stats();
    assert_eq!((stats.retried, stats.worker_deaths), (0, 1));
}

#[test]
fn no_time_is_refused() {
    let _watchdog = watchdog("no time");
    let made = Pool::builder().workers(1).task_timeout(Duration::ZERO).build();
    assert_eq!(made.expect_err("is refused").kind(), ErrorKind::Invalid);
}

#[test]
fn an_item_of_a_map_may_take_as_long_as_a_task() {
    let _watchdog = watchdog("items");
    let limit = Duration::from_millis(500);
    let pool = Pool::builder().workers(2).chunk(20).task_timeout(limit).build().expect("a pool");
    // Each chunk takes longer than that, and no item does.
    let values = pool.map(|n| takes(30, n), 0..40_u32).expect("values");
    assert_eq!(values, (0..40).collect::<Vec<_>>());
    let failed = pool.map(|n| takes(if n == 31 { 60_000 } else { 1 }, n), 0..60_u32);
    assert!(failed.is_err_and(|why| why.is_timed_out()));
}
