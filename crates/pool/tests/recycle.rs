//! Workers that are replaced in order: after so many tasks, for their size, and because somebody asked for new ones.

mod common;

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::thread;

use common::{my_pid, pids, until, watchdog};
use ginnel_pool::Pool;

#[test]
fn each_task_has_a_worker_of_its_own_where_one_is_all_they_do() {
    let _watchdog = watchdog("one task");
    let pool = Pool::builder().workers(2).max_tasks_per_worker(1).build().expect("a pool");
    let tasks: Vec<_> = (0..60).map(|_| pool.spawn(my_pid, ()).expect("a place")).collect();
    let workers: HashSet<u32> = tasks.into_iter().map(|task| task.join().expect("a number")).collect();
    assert_eq!(workers.len(), 60);
    until(|| pool.stats().recycled == 60);
    let stats = pool.join().expect("no failure");
    assert_eq!((stats.worker_deaths, stats.retried, stats.failed), (0, 0, 0));
}

#[test]
fn nobody_does_more_than_was_said() {
    let _watchdog = watchdog("ten tasks");
    let pool = Pool::builder().workers(2).max_tasks_per_worker(10).build().expect("a pool");
    let mut counts = HashMap::new();
    let tasks: Vec<_> = (0..500).map(|_| pool.spawn(my_pid, ()).expect("a place")).collect();
    for task in tasks {
        *counts.entry(task.join().expect("a number")).or_insert(0) += 1;
    }
    assert!(counts.values().all(|count| *count <= 10), "{counts:?}");
    assert!(counts.len() >= 50);
    assert_eq!(pool.stats().worker_deaths, 0);
}

/// Memory that nobody gives back.
fn leak(bytes: usize) -> u32 {
    black_box(Box::leak(vec![1_u8; bytes].into_boxed_slice()));
    my_pid()
}

#[test]
fn one_that_has_grown_is_replaced() {
    let _watchdog = watchdog("grown");
    let pool = Pool::builder().workers(1).max_rss(256 << 20).build().expect("a pool");
    let small = pool.apply(leak, 4096).expect("a number");
    assert_eq!(pool.apply(leak, 4096).expect("a number"), small);
    assert_eq!(pool.apply(leak, 300 << 20).expect("a number"), small);
    // It weighs itself after a task, and not at each.
    until(|| pool.apply(leak, 4096).expect("a number") != small);
    until(|| pool.stats().recycled == 1);
    assert_eq!(pool.stats().worker_deaths, 0);
}

#[test]
fn a_reload_replaces_all_and_no_task_notices() {
    let _watchdog = watchdog("reload");
    let pool = Pool::new(2).expect("a pool");
    until(|| pool.stats().workers == 2);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for n in 0..20_000_u64 {
                assert_eq!(pool.apply(|n: u64| n ^ 1, n).expect("a value"), n ^ 1);
            }
        });
        for round in 1..=5 {
            let before = pids(&pool);
            pool.reload().expect("is asked");
            until(|| pool.stats().recycled == round * 2 && pool.stats().workers == 2);
            let after = pids(&pool);
            assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
        }
        busy.join().expect("all have values");
    });
    let stats = pool.join().expect("no failure");
    assert_eq!((stats.worker_deaths, stats.failed), (0, 0));
}
