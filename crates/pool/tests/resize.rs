//! Pools that grow, shrink and end; and who may have one.

mod common;

use std::pin::Pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use common::{die, exists, my_pid, pids, until, watchdog};
use ginnel_object::event::Event;
use ginnel_object::{ErrorKind, Result};
use ginnel_pool::{Pool, TaskError};
use ginnel_process::Process;

#[test]
fn it_grows_and_shrinks_without_a_death() {
    let _watchdog = watchdog("grows and shrinks");
    let pool = Pool::new(1).expect("a pool");
    for workers in [4, 2, 6, 1, 3] {
        pool.resize(workers).expect("is asked");
        until(|| pool.stats().workers == workers && pool.workers().len() == workers);
        let values = pool.map(|n| n + 1, 0..100_u32).expect("values");
        assert_eq!(values, (1..=100).collect::<Vec<_>>());
    }
    let stats = pool.join().expect("no failure");
    assert_eq!((stats.worker_deaths, stats.recycled, stats.failed), (0, 0, 0));
}

#[test]
fn one_that_has_to_go_finishes_its_task() {
    let _watchdog = watchdog("finishes");
    let pool = Pool::new(2).expect("a pool");
    let (begun, go) = (Event::new().expect("an event"), Event::new().expect("an event"));
    let slow = |begun: Event, go: Event| {
        begun.set();
        go.wait();
        my_pid()
    };
    let tasks = [0, 1].map(|_| pool.spawn(slow, (&begun, &go)).expect("a place"));
    begun.wait();
    until(|| pool.stats().running == 2);
    pool.resize(1).expect("is asked");
    pool.resize(1).expect("is asked");
    go.set();
    let workers = tasks.map(|task| task.join().expect("a number"));
    assert_ne!(workers[0], workers[1]);
    until(|| pool.workers().len() == 1);
    assert_eq!(pool.stats().worker_deaths, 0);
}

#[test]
fn sizes_that_no_pool_has_are_refused() {
    let _watchdog = watchdog("sizes");
    let kind = |made: Result<()>| made.expect_err("is refused").kind();
    assert_eq!(kind(Pool::new(0).map(drop)), ErrorKind::Invalid);
    assert_eq!(kind(Pool::new(251).map(drop)), ErrorKind::TooLarge);
    assert_eq!(kind(Pool::builder().workers(1).queue_size(0).build().map(drop)), ErrorKind::Invalid);
    assert_eq!(kind(Pool::builder().workers(1).queue_size(1 << 20).build().map(drop)), ErrorKind::TooLarge);
    assert_eq!(kind(Pool::builder().workers(1).chunk(0).build().map(drop)), ErrorKind::Invalid);
    let pool = Pool::new(1).expect("a pool");
    assert_eq!(kind(pool.resize(0)), ErrorKind::Invalid);
    assert_eq!(kind(pool.resize(251)), ErrorKind::TooLarge);
}

#[test]
fn a_dropped_pool_leaves_nobody() {
    let _watchdog = watchdog("dropped");
    let pool = Pool::new(3).expect("a pool");
    let begun = Event::new().expect("an event");
    let endless = |begun: Event| -> u32 {
        begun.set();
        loop {
            std::thread::park();
        }
    };
    let running = pool.spawn(endless, &begun).expect("a place");
    begun.wait();
    let waiting: Vec<_> = (0..10).map(|_| pool.spawn(endless, &begun).expect("a place")).collect();
    let workers = pids(&pool);
    drop(pool);
    assert!(workers.iter().all(|pid| !exists(*pid)), "{workers:?}");
    for task in std::iter::once(running).chain(waiting) {
        let why = task.join().expect_err("nobody ran it");
        assert!(matches!(&why, TaskError::Pool(error) if error.is_closed()), "{why}");
    }
}

#[test]
fn a_joined_pool_leaves_nobody_and_its_workers_end_in_order() {
    let _watchdog = watchdog("joined");
    let pool = Pool::new(3).expect("a pool");
    until(|| pool.stats().workers == 3);
    let workers = pids(&pool);
    let task = pool.spawn(|| 8, ()).expect("a place");
    assert_eq!(pool.join().expect("no failure").worker_deaths, 0);
    assert!(workers.iter().all(|pid| !exists(*pid)), "{workers:?}");
    assert_eq!(task.join().expect("a value"), 8);
}

fn sum_of_squares(upto: u64) -> Result<u64> {
    let pool = Pool::new(2)?;
    let squares = pool.map(|n| n * n, 0..upto)?;
    Ok(squares.into_iter().sum())
}

#[test]
fn a_worker_may_have_a_pool_and_a_daemon_may_not() {
    let _watchdog = watchdog("nested");
    let pool = Pool::new(1).expect("a pool");
    assert_eq!(pool.apply(sum_of_squares, 10).expect("runs").expect("a sum"), 285);
    let daemon = Process::builder().daemon().spawn(sum_of_squares, 10).expect("a child");
    let why = daemon.join().expect("returns").expect_err("is refused");
    assert_eq!(why.kind(), ErrorKind::Invalid);
}

#[test]
fn workers_are_named_after_their_pool_and_count_what_they_do() {
    let _watchdog = watchdog("names");
    let pool = Pool::builder().workers(1).name("thumbs").build().expect("a pool");
    for _ in 0..5 {
        pool.apply(|| 1, ()).expect("a value");
    }
    until(|| pool.workers().first().is_some_and(|worker| worker.tasks == 5));
    assert_eq!(pool.workers()[0].name, "thumbs:1");
    let _ = pool.apply(|| -> u32 { die() }, ());
    pool.apply(|| 1, ()).expect("a value");
    until(|| pool.workers().first().is_some_and(|worker| worker.tasks == 1));
    assert_eq!(pool.workers()[0].name, "thumbs:2");
}

#[test]
fn a_callback_may_end_its_pool() {
    let _watchdog = watchdog("in a callback");
    let pool = Pool::new(1).expect("a pool");
    let workers = pids(&pool);
    let (tell, told) = channel();
    let task = pool.spawn(|| 3, ()).expect("a place");
    let later = pool.spawn(|| 4, ()).expect("a place");
    task.on_done(move |came| {
        let joined = pool.join().is_ok();
        tell.send((came.expect("a value"), joined)).expect("somebody waits");
    });
    assert_eq!(told.recv().expect("is told"), (3, true));
    assert_eq!(later.join().expect("a value"), 4);
    until(|| workers.iter().all(|pid| !exists(*pid)));
}

/// Ends a pool where it is woken.
struct Ends(Mutex<Option<Pool>>);

impl Wake for Ends {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().expect("is whole").take());
    }
}

#[test]
fn a_waker_may_end_its_pool() {
    let _watchdog = watchdog("in a waker");
    let pool = Pool::new(1).expect("a pool");
    until(|| pool.stats().workers == 1);
    let workers = pids(&pool);
    let (begun, go) = (Event::new().expect("an event"), Event::new().expect("an event"));
    let slow = |begun: Event, go: Event| {
        begun.set();
        go.wait();
        5
    };
    let mut task = pool.spawn(slow, (&begun, &go)).expect("a place");
    begun.wait();
    let ends = Arc::new(Ends(Mutex::new(Some(pool))));
    let waker = Waker::from(Arc::clone(&ends));
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    go.set();
    until(|| workers.iter().all(|pid| !exists(*pid)));
    assert!(ends.0.lock().expect("is whole").is_none());
    assert_eq!(task.join().expect("a value"), 5);
}
