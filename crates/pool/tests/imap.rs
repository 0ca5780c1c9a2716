//! Results one by one: in order or not, with an iterator that is asked for no more than the window lets through.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use ginnel_object::event::Event;
use ginnel_object::{ErrorKind, Queue};
use ginnel_pool::{Pool, TaskError, is_cancelled};
use ginnel_testkit::watchdog::Watchdog;

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a pool")
}

/// Counts what it gives.
fn counted<'c>(
    count: &'c Cell<u64>,
    items: impl Iterator<Item = u64> + 'c,
) -> impl Iterator<Item = u64> + 'c {
    items.inspect(|_| count.set(count.get() + 1))
}

#[test]
fn results_come_in_order_and_all_of_them() {
    let _watchdog = watchdog("in order");
    let pool = pool(2);
    for count in [0, 1, 5, 1000, 100_000_u64] {
        let mut next = 0;
        for square in pool.imap(|n: u64| n * n, 0..count) {
            assert_eq!(square.expect("a square"), next * next);
            next += 1;
        }
        assert_eq!(next, count);
    }
    pool.join().expect("nothing failed");
}

#[test]
fn unordered_results_are_the_same_ones() {
    let _watchdog = watchdog("unordered");
    let pool = pool(2);
    for chunk in [1, 7, 1000] {
        let came = pool.imap(|n: u64| n + 1, 0..5000_u64).unordered().chunk(chunk);
        let came: Result<HashSet<u64>, _> = came.collect();
        assert_eq!(came.expect("all"), (1..=5000).collect());
    }
    let came: Result<Vec<u64>, _> = pool.imap(|n: u64| n, 0..50_000_u64).unordered().collect();
    let mut came = came.expect("all");
    came.sort_unstable();
    assert!(came.into_iter().eq(0..50_000));
}

#[test]
fn the_quick_overtake_the_slow_where_order_does_not_matter() {
    let _watchdog = watchdog("overtaking");
    let pool = pool(2);
    let go = Event::new().expect("made");
    let wait = |(go, n): (Option<Event>, u32)| {
        go.iter().for_each(Event::wait);
        n
    };
    let items = (0..20_u32).map(|n| ((n == 0).then(|| go.clone()), n));
    let mut came = pool.imap(wait, items).unordered();
    let quick: Vec<u32> = came.by_ref().take(19).map(|n| n.expect("a number")).collect();
    assert!(!quick.contains(&0));
    go.set();
    assert_eq!(came.next().expect("the slow one").expect("a number"), 0);
    assert!(came.next().is_none());
}

#[test]
fn the_first_items_are_sent_at_once_and_no_more_than_one_a_worker() {
    let _watchdog = watchdog("at once");
    let pool = pool(3);
    let (ran, count) = (Queue::<u64>::bounded(64).expect("made"), Cell::new(0));
    let items = counted(&count, 0..).map(|n| (ran.clone(), n));
    let send = |(ran, n): (Queue<u64>, u64)| ran.send(n).expect("sent");
    let came = pool.imap(send, items);
    assert_eq!(count.get(), 3);
    let mut first: Vec<u64> = (0..3).map(|_| ran.recv().expect("ran")).collect();
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2]);
    drop(came);
    assert_eq!(count.get(), 3);
}

#[test]
fn nothing_is_taken_from_the_iterator_beyond_the_window() {
    let _watchdog = watchdog("window");
    let pool = pool(2);
    for (window, chunk) in [(1, 1), (2, 1), (10, 1), (10, 3), (100, 100), (64, 1000)] {
        for is_unordered in [false, true] {
            let count = Cell::new(0);
            let came = pool.imap(|n: u64| n, counted(&count, 0..3000)).window(window).chunk(chunk);
            let came = if is_unordered { came.unordered() } else { came };
            let mut given = 0;
            for n in came {
                // The pool has sent one for each worker before it knew of the window.
                let most = given + (window as u64).max(2);
                assert!(count.get() <= most, "{} of {most} ({window}, {chunk})", count.get());
                assert!(is_unordered || n.as_ref().is_ok_and(|n| *n == given));
                given += 1;
            }
            assert_eq!((given, count.get()), (3000, 3000));
        }
    }
    // Large ones and automatic chunks: what was taken and found too large for the chunk counts as well.
    let count = Cell::new(0);
    let items = counted(&count, 0..2000).map(|n| "x".repeat(if n % 50 == 49 { 100_000 } else { 3 }));
    for (given, len) in (0..).zip(pool.imap(|text: String| text.len() as u64, items).window(40)) {
        assert!(count.get() <= given + 40, "{} at {given}", count.get());
        assert_eq!(len.expect("a length"), if given % 50 == 49 { 100_000 } else { 3 });
    }
}

#[test]
fn without_a_window_it_runs_ahead_by_a_few_chunks() {
    let _watchdog = watchdog("no window");
    let pool = pool(2);
    let count = Cell::new(0);
    let mut came = pool.imap(|n: u64| n, counted(&count, 0..)).chunk(10);
    for n in 0..500 {
        assert_eq!(came.next().expect("endless").expect("a number"), n);
        // Four for each worker, besides the one that is being given out.
        assert!(count.get() <= n + 1 + 10 * 9 + 2, "{} at {n}", count.get());
    }
}

#[test]
fn an_item_that_fails_does_not_end_it() {
    let _watchdog = watchdog("failures");
    let pool = pool(2);
    for chunk in [1, 4, 100] {
        let check = |n: u32| {
            assert!(n % 10 != 7, "no {n}");
            n
        };
        let mut came = pool.imap(check, 0..200_u32).chunk(chunk);
        for n in 0..200 {
            match came.next().expect("200 of them") {
                Ok(value) => assert_eq!((value, n % 10 == 7), (n, false)),
                Err(TaskError::Panicked(panic)) => {
                    assert_eq!((panic.message(), n % 10), (format!("no {n}").as_str(), 7));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(came.next().is_none());
        assert!(came.next().is_none());
        let failed = pool.imap(check, 0..200_u32).unordered().chunk(chunk).filter(Result::is_err).count();
        assert_eq!(failed, 20);
    }
    pool.join().expect("all failures were seen");
}

#[test]
fn dropping_it_calls_off_what_is_out_and_asks_what_runs() {
    let _watchdog = watchdog("drop");
    let pool = pool(1);
    let asked = Event::new().expect("made");
    let (begun, items) = (Event::new().expect("made"), 0..100_u32);
    let run = |(begun, asked, n): (Event, Event, u32)| {
        begun.set();
        while !is_cancelled() {
            ginnel_layout::atomic::spin_loop();
        }
        asked.set();
        panic!("item {n} was given up");
    };
    let came = pool.imap(run, items.map(|n| (begun.clone(), asked.clone(), n)));
    begun.wait();
    drop::<ginnel_pool::Imap<'_, _, ()>>(came);
    asked.wait();
    assert_eq!(pool.apply(|| 42, ()).expect("the worker is free"), 42);
    pool.join().expect("nobody's failure");
}

#[test]
fn one_that_nobody_pulls_holds_nothing_up() {
    let _watchdog = watchdog("not pulled");
    let pool = Pool::builder().workers(2).queue_size(16).build().expect("a pool");
    let mut came = pool.imap(|n: u64| n, 0..1000_u64).window(500).chunk(1);
    assert_eq!(came.next().expect("first").expect("a number"), 0);
    // Its pieces lie finished in all slots that it may have; others get theirs.
    let tasks: Vec<_> = (0..100_u64).map(|n| pool.spawn(|n: u64| n, n).expect("spawned")).collect();
    assert!(tasks.into_iter().zip(0..).all(|(task, n)| task.join().expect("joined") == n));
    let other: Result<Vec<u64>, _> = pool.imap(|n: u64| n, 0..100_u64).chunk(1).collect();
    assert_eq!(other.expect("all").len(), 100);
    assert!(came.map(|n| n.expect("a number")).eq(1..1000));
}

#[test]
fn an_item_that_cannot_be_sent_is_an_error_in_its_place() {
    let _watchdog = watchdog("encode");
    let pool = pool(2);
    // A handle of another manager cannot go through this pool.
    let elsewhere = ginnel_object::Manager::new(1 << 20).expect("a manager");
    let (here, there) = (Event::new().expect("made"), elsewhere.create::<Event>().expect("made elsewhere"));
    let items = (0..20).map(|n| if n == 11 { there.clone() } else { here.clone() });
    let came: Vec<_> = pool.imap(|event: Event| event.set(), items).collect();
    assert_eq!(came.len(), 20);
    for (n, came) in came.iter().enumerate() {
        match came {
            Ok(()) => assert_ne!(n, 11),
            Err(TaskError::Pool(error)) => assert_eq!((error.kind(), n), (ErrorKind::Encode, 11)),
            Err(other) => panic!("{other}"),
        }
    }
}

#[cfg(feature = "futures")]
mod streams {
    use std::future::poll_fn;
    use std::pin::Pin;

    use futures_core::Stream;

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(future)
    }

    async fn all<S: Stream<Item = Result<u64, TaskError>> + Unpin>(mut stream: S) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(came) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
            all.push(came.expect("a number"));
        }
        all
    }

    #[test]
    fn a_stream_gives_the_same_and_does_not_hold_the_thread() {
        let _watchdog = watchdog("stream");
        let pool = pool(2);
        for chunk in [1, 100] {
            let ordered = block_on(all(pool.imap(|n: u64| n, 0..3000_u64).chunk(chunk)));
            assert!(ordered.into_iter().eq(0..3000));
            let mut unordered = block_on(all(pool.imap(|n: u64| n, 0..3000_u64).unordered().chunk(chunk)));
            unordered.sort_unstable();
            assert!(unordered.into_iter().eq(0..3000));
        }
        // The task that sets the event runs while the stream waits.
        let go = Event::new().expect("made");
        let wait = |(go, n): (Event, u64)| {
            go.wait();
            n
        };
        let stream = pool.imap(wait, (0..4_u64).map(|n| (go.clone(), n)));
        let came = block_on(async {
            let (came, ()) = tokio::join!(all(stream), async { go.set() });
            came
        });
        assert_eq!(came, [0, 1, 2, 3]);
    }
}
