//! Tasks as futures.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ginnel_object::event::Event;
use ginnel_pool::{Pool, Task, TaskError};
use ginnel_testkit::block_on::block_on;
use ginnel_testkit::watchdog::Watchdog;

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

fn after(go: Event, value: u64) -> u64 {
    go.wait();
    value
}

fn poll_once<R: ginnel_object::Message>(task: &mut Task<R>) -> Poll<Result<R, TaskError>> {
    Pin::new(task).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_task_is_a_future_without_a_runtime() {
    let _watchdog = watchdog("without a runtime");
    let (pool, go) = (Pool::new(2).expect("a pool"), Event::new().expect("an event"));
    let task = pool.spawn(after, (&go, 5)).expect("a task");
    std::thread::scope(|scope| {
        let awaited = scope.spawn(|| block_on(task));
        go.set();
        assert_eq!(awaited.join().expect("no panic").expect("a value"), 5);
    });
    for n in 0..200 {
        assert_eq!(block_on(pool.spawn(|n: u64| n, n).expect("a task")).expect("a value"), n);
    }
    let failed = block_on(pool.spawn(|| -> u32 { panic!("no") }, ()).expect("a task"));
    assert!(matches!(failed, Err(TaskError::Panicked(_))));
    pool.join().expect("no failures");
}

#[test]
fn a_thousand_are_awaited_under_tokio() {
    let _watchdog = watchdog("tokio");
    let pool = Pool::new(2).expect("a pool");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let tasks: Vec<_> =
            (0..1000_u64).map(|n| tokio::spawn(pool.spawn(|n: u64| n + 1, n).expect("a task"))).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await.expect("no panic").expect("a value"), n + 1);
        }
        let go = Event::new().expect("an event");
        let slow = pool.spawn(after, (&go, 1)).expect("a task");
        let mut slow = pin!(slow);
        assert!(tokio::time::timeout(Duration::from_millis(5), slow.as_mut()).await.is_err());
        go.set();
        assert_eq!(slow.await.expect("a value"), 1);
    });
}

#[test]
fn a_future_that_is_dropped_is_forgotten_and_one_that_is_over_says_so() {
    let _watchdog = watchdog("dropped");
    let (pool, go) = (Pool::new(1).expect("a pool"), Event::new().expect("an event"));
    let mut dropped = pool.spawn(after, (&go, 1)).expect("a task");
    assert!(poll_once(&mut dropped).is_pending());
    drop(dropped);
    let mut polled = pool.spawn(after, (&go, 2)).expect("a task");
    assert!(poll_once(&mut polled).is_pending());
    go.set();
    polled.wait();
    assert!(matches!(poll_once(&mut polled), Poll::Ready(Ok(2))));
    assert!(matches!(poll_once(&mut polled), Poll::Ready(Err(TaskError::Pool(_)))));
    drop(polled);
    assert_eq!(pool.join().expect("no failures").done, 2);
}

#[test]
fn a_terminated_pool_wakes_its_futures() {
    let _watchdog = watchdog("terminated");
    let (pool, never) = (Pool::new(1).expect("a pool"), Event::new().expect("an event"));
    let tasks: Vec<_> = (0..10).map(|n| pool.spawn(after, (&never, n)).expect("a task")).collect();
    std::thread::scope(|scope| {
        let awaited: Vec<_> = tasks.into_iter().map(|task| scope.spawn(|| block_on(task))).collect();
        pool.terminate();
        for ended in awaited {
            let ended = ended.join().expect("no panic");
            assert!(matches!(&ended, Err(TaskError::Pool(error)) if error.is_closed()), "{ended:?}");
        }
    });
}

/// Holds a task for as long as somebody may wake it.
struct Keeps(#[allow(dead_code, reason = "its drop is what counts")] Task<u64>);

impl Wake for Keeps {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waker_may_be_what_holds_another_task() {
    let _watchdog = watchdog("wakers");
    let (pool, go) = (Pool::new(1).expect("a pool"), Event::new().expect("an event"));
    for way in 0..4 {
        let mut task = pool.spawn(after, (&go, 7)).expect("a task");
        let other = pool.spawn(|n: u64| n, 1_u64).expect("a task");
        let waker = Waker::from(Arc::new(Keeps(other)));
        let first = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        drop(waker);
        // The one that the pool keeps is the last: each way to end lets go of it, and so forgets the other task.
        if way == 0 {
            drop(task);
        } else if way == 1 {
            // Another waker takes its place.
            assert!(first.is_pending() && poll_once(&mut task).is_pending());
            drop(task);
        } else if way == 2 {
            go.set();
            assert_eq!(task.join().expect("a value"), 7);
        } else {
            task.on_done(|value| assert_eq!(value.expect("a value"), 7));
        }
    }
    go.set();
    assert_eq!(pool.join().expect("no failures").done, 8);
}
