//! Maps: every item once, in order, whatever its size and whatever it carries.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use ginnel_object::event::Event;
use ginnel_object::{ErrorKind, Mutex, Queue, Raw};
use ginnel_pool::{Pool, TaskError};
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Serialize, Serializer};

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a pool")
}

fn pool_in_chunks(items: Option<usize>) -> Pool {
    let builder = Pool::builder().workers(2);
    let builder = match items {
        Some(items) => builder.chunk(items),
        None => builder,
    };
    builder.build().expect("a pool")
}

fn text_of(n: u32) -> String {
    "0123456789".repeat(n as usize % 50)
}

#[test]
fn results_come_in_the_order_of_the_items() {
    let _watchdog = watchdog("order");
    let pool = pool(2);
    for count in [0, 1, 2, 3, 10, 1000, 200_000_u64] {
        let squares = pool.map(|n: u64| n * n, 0..count).expect("all");
        assert_eq!(squares.len() as u64, count);
        assert!(squares.iter().zip(0..).all(|(square, n)| *square == n * n), "{count} items");
    }
    let stats = pool.join().expect("nothing failed");
    assert_eq!(stats.failed, 0);
}

#[test]
fn an_iterator_need_not_know_its_length() {
    let _watchdog = watchdog("unknown length");
    let pool = pool(2);
    let odd = pool.map(|n: u32| n + 1, (0..20_000_u32).filter(|n| n % 2 == 1)).expect("all");
    assert_eq!(odd, (0..20_000).filter(|n| n % 2 == 1).map(|n| n + 1).collect::<Vec<_>>());
}

#[test]
fn items_that_take_long_share_no_chunk_and_all_workers_work() {
    let _watchdog = watchdog("long items");
    let pool = pool(2);
    let slow = |n: u32| {
        // Work that takes its time, not synchronisation.
        thread::sleep(Duration::from_millis(2));
        (n, std::process::id())
    };
    let came = pool.map(slow, 0..40_u32).expect("all");
    assert!(came.iter().zip(0..).all(|((n, _), expected)| *n == expected));
    let workers: HashSet<u32> = came.iter().map(|(_, pid)| *pid).collect();
    assert_eq!(workers.len(), 2);
    // Each was a task of its own: 2 ms are ten times what a chunk is to take.
    assert!(pool.stats().done >= 40);
}

#[test]
fn tuples_are_the_arguments_of_a_starmap() {
    let _watchdog = watchdog("starmap");
    let pool = pool(2);
    let words = ["a", "bc", "def"];
    let repeated = pool
        .starmap(|word: String, times: usize| word.repeat(times), words.into_iter().zip(1_usize..))
        .expect("all");
    assert_eq!(repeated, ["a", "bcbc", "defdefdef"]);
    let sums = pool
        .starmap(|a: u64, b: u64, Raw(c): Raw<u64>| a + b + c, (0..5000).map(|n| (n, 1, Raw(2))))
        .expect("all");
    assert!(sums.iter().zip(0..).all(|(sum, n)| *sum == n + 3));
}

#[test]
fn given_chunks_have_that_many_items() {
    let _watchdog = watchdog("given chunks");
    let pool = Pool::builder().workers(2).chunk(7).build().expect("a pool");
    let came = pool.map(|n: u32| n, 0..70_u32).expect("all");
    assert_eq!(came, (0..70).collect::<Vec<_>>());
    assert_eq!(pool.stats().done, 10);
    let workers = pool.workers();
    assert_eq!(workers.iter().map(|worker| worker.items).sum::<u64>(), 70);
}

#[test]
fn items_and_results_of_all_sizes_are_whole() {
    let _watchdog = watchdog("sizes");
    for chunk in [None, Some(1), Some(50), Some(100_000)] {
        let pool = pool_in_chunks(chunk);
        let came = pool.map(|text: String| text + "!", (0..3000).map(text_of)).expect("all");
        for (n, text) in (0..).zip(&came) {
            assert_eq!(*text, text_of(n) + "!", "item {n} in chunks of {chunk:?}");
        }
        // Results that are much larger than those before, and arguments that are.
        let grow = |n: u32| text_of(n).repeat(if n % 500 == 499 { 2000 } else { 1 });
        let came = pool.map(grow, 0..2000_u32).expect("all");
        assert!((0..).zip(&came).all(|(n, text)| *text == grow(n)), "chunks of {chunk:?}");
        let lengths = pool.map(|text: String| text.len(), (0..2000).map(grow)).expect("all");
        assert!((0..).zip(lengths).all(|(n, len)| len == grow(n).len()), "chunks of {chunk:?}");
    }
}

#[test]
fn large_items_go_through_a_small_room() {
    let _watchdog = watchdog("large items");
    let pool = pool(2);
    let large = |n: u32| n.to_string().repeat(1 << 18);
    let came = pool.map(|text: String| text.to_uppercase(), (0..40).map(large)).expect("all");
    assert!((0..).zip(&came).all(|(n, text)| *text == large(n)));
}

#[test]
fn items_may_carry_handles_and_so_may_results() {
    let _watchdog = watchdog("handles");
    for chunk in [1, 20] {
        let pool = Pool::builder().workers(2).chunk(chunk).build().expect("a pool");
        let sum = Mutex::new(0_u64).expect("made");
        let add = |sum: Mutex<u64>, n: u64| *sum.lock().expect("locked") += n;
        pool.starmap(add, (0..100_u64).map(|n| (&sum, n))).expect("all");
        assert_eq!(*sum.lock().expect("locked"), 4950);
        let made = pool
            .map(|n: u64| (!n.is_multiple_of(3)).then(|| Mutex::new(n).expect("made")), 0..60_u64)
            .expect("all");
        for (n, made) in (0..).zip(&made) {
            let value = made.as_ref().map(|made| *made.lock().expect("locked"));
            assert_eq!(value, (n % 3 != 0).then_some(n));
        }
        // Some of them do, others do not.
        let queue = Queue::<u64>::bounded(64).expect("made");
        let send = |queue: Option<Queue<u64>>, n: u64| queue.is_some_and(|queue| queue.send(n).is_ok());
        let some = (0..60_u64).map(|n| ((n % 10 == 3).then(|| queue.clone()), n));
        let sent = pool.starmap(send, some).expect("all");
        assert!((0..).zip(sent).all(|(n, was_sent)| was_sent == (n % 10 == 3)));
        let came: HashSet<u64> = std::iter::from_fn(|| queue.try_recv().ok()).collect();
        assert_eq!(came, HashSet::from([3, 13, 23, 33, 43, 53]));
    }
}

/// A number that is odd cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Even(u32);

impl Serialize for Even {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 2 == 1 {
            return Err(serde::ser::Error::custom("an odd number"));
        }
        serializer.serialize_newtype_struct("Even", &self.0)
    }
}

#[test]
fn the_first_failure_ends_a_map_and_is_seen() {
    let _watchdog = watchdog("failures");
    for chunk in [None, Some(1), Some(10)] {
        let pool = pool_in_chunks(chunk);
        let check = |n: u32| {
            assert!(n != 777, "no {n}");
            n
        };
        let failed = pool.map(check, 0..1000_u32);
        let message = match &failed {
            Err(TaskError::Panicked(panic)) => panic.message(),
            other => panic!("{other:?}"),
        };
        assert_eq!(message, "no 777");
        let failed = pool.map(|even: Even| even.0, [0, 2, 4, 5, 6].map(Even));
        assert!(matches!(failed, Err(TaskError::Pool(error)) if error.kind() == ErrorKind::Encode));
        let failed = pool.map(Even, 0..100_u32);
        assert!(matches!(failed, Err(TaskError::Decode(error)) if error.kind() == ErrorKind::Encode));
        assert_eq!(pool.map(|n: u32| n, 0..10_u32).expect("the pool is whole").len(), 10);
        pool.join().expect("all failures were seen");
    }
}

#[test]
fn what_a_failed_map_left_is_called_off() {
    let _watchdog = watchdog("called off");
    let pool = Pool::builder().workers(1).chunk(1).build().expect("a pool");
    let (go, ran) = (Event::new().expect("made"), Queue::<u32>::unbounded().expect("made"));
    let task = |go: Event, ran: Queue<u32>, n: u32| {
        ran.send(n).expect("sent");
        assert!(n > 0, "the first one fails");
        go.wait();
    };
    let failed = pool.starmap(task, (0..100_u32).map(|n| (&go, &ran, n)));
    assert!(failed.expect_err("the first one").panic().is_some());
    go.set();
    pool.join().expect("what was called off is no failure");
    // The first one, and the one that the worker took up while we looked, and so on: not all that were out.
    assert!(std::iter::from_fn(|| ran.try_recv().ok()).count() < 100);
}

#[test]
fn maps_of_several_threads_share_a_queue_that_is_too_short_for_all() {
    let _watchdog = watchdog("several threads");
    let pool = Pool::builder().workers(2).queue_size(16).chunk(3).build().expect("a pool");
    thread::scope(|scope| {
        for turn in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                let came = pool.starmap(|n: u64, turn: u64| n * turn, (0..2000).map(|n| (n, turn)));
                assert!(came.expect("all").into_iter().zip(0..).all(|(product, n)| product == n * turn));
            });
        }
        let tasks: Vec<_> = (0..200_u64).map(|n| pool.spawn(|n: u64| n, n).expect("spawned")).collect();
        assert!(tasks.into_iter().zip(0..).all(|(task, n)| task.join().expect("joined") == n));
    });
    pool.join().expect("nothing failed");
}
