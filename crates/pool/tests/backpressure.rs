//! Who gives work waits when the pool has enough, and memory stays where it is.

use std::cell::Cell;
use std::time::Duration;

use ginnel_object::event::Event;
use ginnel_object::{Manager, Message};
use ginnel_pool::{Pool, TaskError};
use ginnel_testkit::watchdog::Watchdog;

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

fn small(workers: usize, queue: usize) -> Pool {
    Pool::builder().workers(workers).queue_size(queue).build().expect("a pool")
}

fn hold(go: Event) -> u64 {
    go.wait();
    1
}

/// As many as the pool takes without waiting.
fn filled<R: Message>(give: impl Fn() -> Option<ginnel_pool::Task<R>>) -> Vec<ginnel_pool::Task<R>> {
    std::iter::from_fn(give).take(100_000).collect()
}

#[test]
fn a_full_pool_takes_no_more_without_waiting() {
    let _watchdog = watchdog("full");
    let (pool, go) = (small(1, 16), Event::new().expect("an event"));
    let tasks = filled(|| pool.try_spawn(hold, &go).expect("no failure"));
    assert!((16..=64).contains(&tasks.len()), "{} tasks", tasks.len());
    let late = pool.spawn_timeout(hold, &go, Duration::from_millis(10)).expect("no failure");
    assert!(late.is_none());
    go.set();
    let count = tasks.len() as u64;
    assert_eq!(tasks.into_iter().map(|task| task.join().expect("a value")).sum::<u64>(), count);
    assert!(pool.try_spawn(hold, &go).expect("no failure").is_some());
    pool.join().expect("no failures");
}

#[test]
fn spawn_waits_for_a_slot_and_results_nobody_joined_yet_make_room() {
    let _watchdog = watchdog("slots");
    let pool = small(2, 16);
    // Forty times the slots, and nobody joins before all are given.
    let tasks: Vec<_> = (0..640_u64).map(|n| pool.spawn(|n: u64| n * 3, n).expect("a task")).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().expect("a value"), n * 3);
    }
    assert_eq!(pool.join().expect("no failures").done, 640);
}

#[test]
fn a_cancelled_task_makes_room_for_one_who_waits() {
    let _watchdog = watchdog("cancel makes room");
    let (pool, go) = (small(1, 16), Event::new().expect("an event"));
    let mut tasks = filled(|| pool.try_spawn(hold, &go).expect("no failure"));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| pool.spawn(hold, &go).map(|task| task.join()));
        let last = tasks.pop().expect("a task");
        // The one in the hall sleeps by then, or not; both ways it gets the slot.
        assert!(!last.wait_timeout(Duration::from_millis(30)));
        assert!(last.cancel());
        drop(last);
        go.set();
        assert_eq!(waits.join().expect("no panic").expect("a task").expect("a value"), 1);
    });
    tasks.into_iter().for_each(|task| assert_eq!(task.join().expect("a value"), 1));
}

#[test]
fn a_pool_that_ends_lets_go_of_those_who_wait_for_it() {
    let _watchdog = watchdog("the end");
    let (pool, go) = (small(1, 16), Event::new().expect("an event"));
    let tasks = filled(|| pool.try_spawn(hold, &go).expect("no failure"));
    let late = std::thread::scope(|scope| {
        let joiner = scope.spawn(move || tasks.into_iter().map(|task| task.join()).collect::<Vec<_>>());
        assert!(pool.spawn_timeout(hold, &go, Duration::from_millis(20)).expect("no failure").is_none());
        pool.terminate();
        joiner.join().expect("no panic")
    });
    assert!(late.iter().all(|ended| matches!(ended, Err(TaskError::Pool(error)) if error.is_closed())));
}

/// One thread of several that share few slots: it has more tasks out than its share, and takes them in every way.
fn mixed(pool: &Pool, rounds: u64) {
    let (tell, told) = std::sync::mpsc::channel();
    for round in 0..rounds {
        let mut tasks: Vec<_> =
            (0..10_u64).map(|n| pool.spawn(|n: u64| n + 1, round + n).expect("a task")).collect();
        let tell = tell.clone();
        tasks.remove(9).on_done(move |value| tell.send(value.ok()).unwrap_or(()));
        drop(tasks.remove(8));
        tasks.remove(7).cancel();
        tasks.remove(6).wait();
        let _ = tasks.pop().expect("a task").wait_timeout(Duration::from_micros(50));
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join().expect("a value"), round + n + 1);
        }
        assert_eq!(told.recv(), Ok(Some(round + 10)));
    }
}

#[test]
fn threads_that_share_few_slots_lose_nothing() {
    let _watchdog = watchdog("few slots");
    let pool = small(2, 16);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| mixed(&pool, 200))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
    let stats = pool.join().expect("no failures");
    assert_eq!((stats.done, stats.waiting, stats.running), (6 * 200 * 10, 0, 0));
}

#[test]
fn large_arguments_and_results_go_through_a_small_region() {
    let _watchdog = watchdog("large");
    let pool = small(2, 64);
    let reversed = |text: String| text.chars().rev().collect::<String>();
    let text = "abcdefgh".repeat(1 << 17);
    let expected: String = text.chars().rev().collect();
    let used = || Manager::current().expect("a manager").size();
    let mut before = None;
    for round in 0..4 {
        // More than the region holds at a time, and joined late.
        let tasks: Vec<_> = (0..40).map(|_| pool.spawn(reversed, &text).expect("a task")).collect();
        for task in tasks {
            assert!(task.join().expect("a value") == expected);
        }
        if round > 0 {
            let limit: usize = *before.get_or_insert_with(used);
            assert!(used() <= limit + limit / 10 + (1 << 20), "round {round}: {} over {limit}", used());
        }
    }
    pool.join().expect("no failures");
}

#[test]
fn imap_never_asks_for_more_than_its_window() {
    let _watchdog = watchdog("window");
    let pool = small(2, 64);
    let asked = Cell::new(0_u64);
    let items = std::iter::from_fn(|| {
        asked.set(asked.get() + 1);
        Some(asked.get())
    });
    let mut results = pool.imap(|n: u64| n, items).window(10).chunk(2);
    for given in 1..=500 {
        assert_eq!(results.next().expect("there is no end").expect("a value"), given);
        assert!(asked.get() <= given + 12, "{} asked for, {given} given", asked.get());
    }
}
