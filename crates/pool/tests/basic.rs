//! What a pool does with tasks when nothing goes wrong, call by call.

use std::time::{Duration, Instant};

use ginnel_object::barrier::Barrier;
use ginnel_object::event::Event;
use ginnel_object::{Block, Blocks, ErrorKind, Json, Mutex, Queue, Raw};
use ginnel_pool::{Pool, Task, TaskError};
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Serialize};

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a pool")
}

fn after(go: Event, value: u64) -> u64 {
    go.wait();
    value
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    lines: Vec<(String, f64)>,
}

#[test]
fn apply_gives_what_the_function_returns() {
    let _watchdog = watchdog("apply");
    let pool = pool(2);
    assert_eq!(pool.apply(|| 42, ()).expect("no arguments"), 42);
    assert_eq!(pool.apply(|n: u64| n + 1, 1).expect("one"), 2);
    assert_eq!(pool.apply(|a: String, b: u32| format!("{a}{b}"), ("x", 2)).expect("two"), "x2");
    let six = |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8| u32::from(a + b + c + d + e + f);
    assert_eq!(pool.apply(six, (1_u8, 2_u8, 3_u8, 4_u8, 5_u8, 6_u8)).expect("six"), 21);
    assert_eq!(pool.apply(|| (), ()).expect("nothing"), ());
    let order = Order { id: 7, lines: vec![("nails".into(), 1.5), ("glue".into(), 3.0)] };
    assert_eq!(pool.apply(|order: Order| order, &order).expect("serde"), order);
    let raw = pool.apply(|Raw(n): Raw<[u64; 3]>| Raw([n[2], n[1], n[0]]), Raw([1, 2, 3])).expect("bytes");
    assert_eq!(raw.0, [3, 2, 1]);
    let json =
        pool.apply(|Json(word): Json<String>| Json(word.len()), Json("four".to_owned())).expect("json");
    assert_eq!(json.0, 4);
    assert_ne!(pool.apply(std::process::id, ()).expect("a pid"), std::process::id());
}

#[test]
fn tasks_of_every_size_come_back_whole() {
    let _watchdog = watchdog("sizes");
    let pool = pool(2);
    let echo = |bytes: String| bytes;
    for turn in 0..3 {
        for size in [0, 1, 14, 15, 16, 17, 190, 191, 192, 193, 1000, 5000, 70_000, 1 << 20] {
            let text = "0123456789abcdef".repeat(size / 16 + 1)[..size].to_owned();
            assert_eq!(pool.apply(echo, &text).expect("comes back"), text, "{size} bytes, turn {turn}");
        }
    }
    // The results are larger than what the same function gave before, and smaller.
    let make = |size: usize| "x".repeat(size);
    for size in [10, 300, 3, 100_000, 0, 2_000_000, 17, 250] {
        assert_eq!(pool.apply(make, size).expect("is made").len(), size);
    }
    pool.join().expect("no failures");
}

#[test]
fn many_tasks_are_out_at_a_time_and_are_joined_in_any_order() {
    let _watchdog = watchdog("many");
    let pool = pool(3);
    let mut tasks: Vec<_> = (0..500_u64).map(|n| pool.spawn(|n: u64| n * n, n).expect("a task")).collect();
    let mut sum = 0;
    while let Some(task) = if tasks.len() % 2 == 0 { tasks.pop() } else { Some(tasks.swap_remove(0)) } {
        sum += task.join().expect("a value");
        if tasks.is_empty() {
            break;
        }
    }
    assert_eq!(sum, (0..500_u64).map(|n| n * n).sum::<u64>());
    let stats = pool.join().expect("no failures");
    assert_eq!((stats.done, stats.failed, stats.waiting, stats.running), (500, 0, 0, 0));
}

#[test]
fn a_task_is_waited_for_with_and_without_a_limit() {
    let _watchdog = watchdog("waiting");
    let (pool, go) = (pool(1), Event::new().expect("an event"));
    let task = pool.spawn(after, (&go, 5)).expect("a task");
    assert!(!task.is_finished());
    assert!(!task.wait_timeout(Duration::from_millis(5)));
    assert!(!task.wait_deadline(Instant::now()));
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| task.wait())).collect();
        go.set();
        waiters.into_iter().for_each(|waiter| waiter.join().expect("waits"));
    });
    assert!(task.is_finished() && task.wait_timeout(Duration::ZERO));
    assert!(task.id() > 0);
    assert_eq!(task.join().expect("a value"), 5);
}

#[test]
fn handles_go_to_a_worker_and_come_back() {
    let _watchdog = watchdog("handles");
    let pool = pool(2);
    let count = Mutex::new(0_u64).expect("a mutex");
    let add = |count: Mutex<u64>, n: u64| -> ginnel_object::Result<()> {
        *count.lock()? += n;
        Ok(())
    };
    let tasks: Vec<_> = (1..=100).map(|n| pool.spawn(add, (&count, n)).expect("a task")).collect();
    for task in tasks {
        task.join().expect("ran").expect("locked");
    }
    assert_eq!(*count.lock().expect("free"), 5050);

    let words = Queue::<String>::bounded(4).expect("a queue");
    let given = |words: Queue<String>| {
        let _ = words.send("from a worker".into());
        words
    };
    let back = pool.apply(given, &words).expect("a handle");
    assert_eq!(back.recv().expect("a word"), "from a worker");

    let fresh = pool.apply(|| Queue::<u32>::bounded(2), ()).expect("ran").expect("a queue made there");
    fresh.send(3).expect("room");
    let drain = |queue: Queue<u32>| queue.try_recv().ok();
    assert_eq!(pool.apply(drain, &fresh).expect("ran"), Some(3));
    pool.join().expect("no failures");
}

#[test]
fn blocks_travel_by_reference() {
    let _watchdog = watchdog("blocks");
    let pool = pool(1);
    let blocks = Blocks::new(4, 4096).expect("blocks");
    let sum = |block: Block| block.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    for _ in 0..20 {
        let mut block = blocks.claim().expect("a block");
        block.fill(2);
        assert_eq!(pool.apply(sum, block.freeze()).expect("a sum"), 2 * 4096);
    }
    pool.join().expect("no failures");
    assert_eq!(blocks.free(), 4);
}

#[test]
fn a_callback_gets_what_a_join_would() {
    let _watchdog = watchdog("callbacks");
    let (tell, told) = std::sync::mpsc::channel();
    let (pool, go) = (pool(2), Event::new().expect("an event"));
    for n in 0..20_u64 {
        let tell = tell.clone();
        let task = pool.spawn(after, (&go, n)).expect("a task");
        task.on_done(move |value| tell.send(value.expect("a value")).unwrap_or(()));
    }
    go.set();
    let mut values: Vec<_> = told.iter().take(20).collect();
    values.sort_unstable();
    assert_eq!(values, (0..20).collect::<Vec<_>>());
    // One that is over before it is asked for.
    let task = pool.spawn(|n: u64| n, 99_u64).expect("a task");
    task.wait();
    let thread = std::thread::current().id();
    task.on_done(move |value| {
        assert_ne!(std::thread::current().id(), thread);
        tell.send(value.expect("a value")).unwrap_or(());
    });
    assert_eq!(told.recv(), Ok(99));
    pool.join().expect("no failures");
}

#[test]
fn what_no_worker_has_taken_is_cancelled_and_what_runs_is_asked() {
    let _watchdog = watchdog("cancel");
    let (pool, begun) = (pool(1), Event::new().expect("an event"));
    let patient = |begun: Event| {
        begun.set();
        while !ginnel_pool::is_cancelled() {
            ginnel_layout::atomic::spin_loop();
        }
        "stopped".to_owned()
    };
    let running = pool.spawn(patient, &begun).expect("a task");
    let waiting: Task<u64> = pool.spawn(|n: u64| n, 1_u64).expect("a task");
    begun.wait();
    assert!(waiting.cancel() && !waiting.cancel());
    assert!(matches!(waiting.join(), Err(TaskError::Cancelled)));
    assert!(!running.cancel());
    assert_eq!(running.join().expect("returns"), "stopped");
    let over = pool.spawn(|n: u64| n, 2_u64).expect("a task");
    over.wait();
    assert!(!over.cancel());
    assert_eq!(over.join().expect("a value"), 2);
    assert!(!ginnel_pool::is_cancelled());
    pool.join().expect("a cancelled task was seen");
}

#[test]
fn a_task_says_how_far_it_is() {
    let _watchdog = watchdog("progress");
    let (pool, half, go) = (pool(1), Event::new().expect("an event"), Event::new().expect("an event"));
    let slow = |half: Event, go: Event| {
        ginnel_pool::set_progress(0.5);
        half.set();
        go.wait();
    };
    let task = pool.spawn(slow, (&half, &go)).expect("a task");
    half.wait();
    assert_eq!(task.progress(), Some(0.5));
    go.set();
    task.join().expect("ends");
    let silent = pool.spawn(|| (), ()).expect("a task");
    silent.wait();
    assert_eq!(silent.progress(), None);
}

#[test]
fn a_pool_is_joined_with_tasks_that_are_joined_later() {
    let _watchdog = watchdog("join");
    let pool = pool(2);
    let tasks: Vec<_> = (0..50_u64).map(|n| pool.spawn(|n: u64| n + 1, n).expect("a task")).collect();
    let stats = pool.join().expect("no failures");
    assert_eq!((stats.done, stats.failed, stats.worker_deaths), (50, 0, 0));
    for (n, task) in (0..).zip(tasks) {
        assert!(task.is_finished());
        assert_eq!(task.join().expect("a value"), n + 1);
    }
}

#[test]
fn a_terminated_pool_ends_what_runs_and_what_waits() {
    let _watchdog = watchdog("terminate");
    let (pool, begun) = (pool(1), Event::new().expect("an event"));
    let endless = |begun: Event| -> u64 {
        begun.set();
        loop {
            std::thread::park();
        }
    };
    let running = pool.spawn(endless, &begun).expect("a task");
    let waiting = pool.spawn(|n: u64| n, 1_u64).expect("a task");
    begun.wait();
    let called = pool.spawn(|n: u64| n, 1_u64).expect("a task");
    let (tell, told) = std::sync::mpsc::channel();
    called.on_done(move |result| tell.send(result.is_err()).unwrap_or(()));
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| running.join());
        pool.terminate();
        let ended = joiner.join().expect("no panic");
        assert!(matches!(&ended, Err(TaskError::Pool(error)) if error.is_closed()), "{ended:?}");
    });
    assert!(matches!(waiting.join(), Err(TaskError::Pool(error)) if error.is_closed()));
    assert_eq!(told.recv(), Ok(true));
}

#[test]
fn a_pool_for_the_length_of_a_call() {
    let _watchdog = watchdog("scope");
    let task = Pool::scope(2, |pool| pool.spawn(|n: u64| n * 2, 21_u64)).expect("a pool").expect("a task");
    assert!(task.is_finished());
    assert_eq!(task.join().expect("a value"), 42);
    let panicked = std::panic::catch_unwind(|| Pool::scope(1, |_| panic!("in the scope")).map(|(): ()| ()));
    assert!(panicked.is_err());
}

#[test]
fn a_pool_without_workers_is_refused() {
    assert_eq!(Pool::new(0).map(drop).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn stats_and_workers_say_what_is_under_way() {
    let _watchdog = watchdog("stats");
    let (pool, go, begun) = (pool(1), Event::new().expect("an event"), Event::new().expect("an event"));
    let slow = |begun: Event, go: Event| {
        begun.set();
        go.wait();
    };
    let tasks: Vec<_> = (0..3).map(|_| pool.spawn(slow, (&begun, &go)).expect("a task")).collect();
    begun.wait();
    let stats = pool.stats();
    assert_eq!((stats.workers, stats.running, stats.waiting, stats.done), (1, 1, 2, 0));
    go.set();
    tasks.into_iter().for_each(|task| task.join().expect("ends"));
    let workers = pool.workers();
    assert_eq!((workers.len(), workers[0].tasks), (1, 3));
    assert_ne!(workers[0].pid, std::process::id());
    assert_eq!(pool.join().expect("no failures").done, 3);
}

#[test]
fn threads_share_a_pool() {
    let _watchdog = watchdog("threads");
    let pool = pool(2);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..300 {
                    assert_eq!(
                        pool.apply(|a: u64, b: u64| a * 1000 + b, (thread, n)).ok(),
                        Some(thread * 1000 + n)
                    );
                }
            });
        }
    });
    assert_eq!(pool.join().expect("no failures").done, 1200);
}

#[test]
fn tasks_that_wait_for_each_other_run_at_the_same_time() {
    let _watchdog = watchdog("at the same time");
    let (pool, pair) = (pool(2), Barrier::new(2).expect("a barrier"));
    let meet = |pair: Barrier| pair.wait().map(drop);
    for _ in 0..100 {
        // One worker keeps up with these, and the other one falls asleep.
        for n in 0..50_u64 {
            assert_eq!(pool.apply(|n: u64| n, n).expect("a value"), n);
        }
        let both = [(); 2].map(|()| pool.spawn(meet, &pair).expect("a task"));
        both.into_iter().for_each(|task| task.join().expect("ran").expect("met"));
    }
    pool.join().expect("no failures");
}

#[test]
fn a_worker_may_have_a_pool_of_its_own() {
    let _watchdog = watchdog("nested");
    let outer = pool(1);
    let nested = |n: u64| -> Result<u64, TaskError> {
        let pool = Pool::new(1)?;
        pool.apply(|n: u64| n * n, n)
    };
    assert_eq!(outer.apply(nested, 9).expect("ran").expect("a pool in a worker"), 81);
    outer.join().expect("no failures");
}
