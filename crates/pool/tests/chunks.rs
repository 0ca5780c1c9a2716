//! Chunks whose workers die, panic or give what cannot lie with the others: each item has one outcome, its own.

mod common;

use std::time::Duration;

use common::{die, watchdog};
use ginnel_object::{ErrorKind, Mutex};
use ginnel_pool::{OnWorkerDeath, Pool, TaskError, attempt};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn pool(chunk: usize, policy: OnWorkerDeath) -> Pool {
    Pool::builder().workers(2).chunk(chunk).on_worker_death(policy).build().expect("a pool")
}

/// Kills its worker for some items, as often as these say: at the first try, or at every one.
fn deadly(n: u32) -> u32 {
    if n % 97 == 50 || n % 97 == 13 && attempt() == 0 {
        die();
    }
    n * 2
}

#[test]
fn the_item_that_killed_its_worker_is_the_one_that_failed() {
    let _watchdog = watchdog("fail");
    for chunk in [1, 10, 400] {
        let pool = pool(chunk, OnWorkerDeath::Fail);
        let came: Vec<_> = pool.imap(deadly, 0..400_u32).chunk(chunk).collect();
        assert_eq!(came.len(), 400);
        for (n, came) in (0..).zip(&came) {
            match came {
                Ok(value) => assert_eq!(*value, n * 2),
                Err(TaskError::Died(end)) => {
                    assert!(end.is_killed() && matches!(n % 97, 50 | 13), "item {n}")
                }
                Err(other) => panic!("item {n}: {other}"),
            }
        }
        assert_eq!(came.iter().filter(|came| came.is_err()).count(), 8);
        let stats = pool.join().expect("seen");
        assert_eq!((stats.worker_deaths, stats.retried), (8, 0));
    }
}

#[test]
fn it_is_tried_again_alone_and_the_others_are_not_counted() {
    let _watchdog = watchdog("retry");
    for chunk in [1, 10, 400] {
        let pool = pool(chunk, OnWorkerDeath::Retry(2));
        let came: Vec<_> = pool.imap(deadly, 0..400_u32).chunk(chunk).collect();
        for (n, came) in (0..).zip(&came) {
            match came {
                Ok(value) => assert_eq!((*value, n % 97 == 50), (n * 2, false)),
                Err(TaskError::Died(end)) => assert!(end.is_killed() && n % 97 == 50, "item {n}"),
                Err(other) => panic!("item {n}: {other}"),
            }
        }
        // Four items died once, four three times.
        let stats = pool.join().expect("seen");
        assert_eq!((stats.worker_deaths, stats.retried), (4 + 12, 4 + 8));
    }
}

#[test]
fn a_map_survives_its_workers() {
    let _watchdog = watchdog("map");
    let pool = Pool::builder().workers(2).on_worker_death(OnWorkerDeath::Retry(1)).build().expect("a pool");
    let once = |n: u32| {
        if n % 5000 == 77 && attempt() == 0 {
            die();
        }
        n + 1
    };
    let came = pool.map(once, 0..50_000_u32).expect("all");
    assert!(came.into_iter().eq(1..=50_000));
    let failed = pool.map(|n: u32| if n == 4000 { die() } else { n }, 0..50_000_u32);
    assert!(failed.expect_err("died twice").is_died());
    pool.join().expect("seen");
}

#[test]
fn a_worker_that_exits_leaves_its_code() {
    let _watchdog = watchdog("exit");
    let pool = pool(50, OnWorkerDeath::Fail);
    let leave = |n: u32| if n == 30 { std::process::exit(7) } else { n };
    let came: Vec<_> = pool.imap(leave, 0..100_u32).chunk(50).collect();
    let Err(error) = &came[30] else { panic!("{:?}", came[30]) };
    assert!(error.to_string().contains("code 7"), "{error}");
    assert_eq!(came.iter().filter(|came| came.is_ok()).count(), 99);
}

#[test]
fn an_item_that_takes_too_long_is_the_only_one_that_did() {
    let _watchdog = watchdog("timeout");
    let builder = Pool::builder().workers(2).task_timeout(Duration::from_millis(100));
    let pool = builder.on_worker_death(OnWorkerDeath::Retry(3)).build().expect("a pool");
    let slow = |n: u32| {
        // Time itself, not synchronisation: all of the chunk takes longer than one item may.
        std::thread::sleep(if n == 20 { Duration::from_secs(3600) } else { Duration::from_millis(4) });
        n
    };
    let came: Vec<_> = pool.imap(slow, 0..80_u32).chunk(40).collect();
    for (n, came) in (0..).zip(&came) {
        match came {
            Ok(value) => assert_eq!(*value, n),
            Err(error) => assert!(error.is_timed_out() && n == 20, "item {n}: {error}"),
        }
    }
    assert!(came[20].is_err());
}

#[test]
fn values_that_do_not_fit_and_values_with_handles_end_a_chunk_and_are_whole() {
    let _watchdog = watchdog("extras");
    let pool = pool(64, OnWorkerDeath::Fail);
    let odd = |n: u32| match n % 16 {
        3 => (Some(Mutex::new(n).expect("made")), String::new()),
        9 => (None, "long".repeat(5000)),
        12 => (Some(Mutex::new(n).expect("made")), "both".repeat(5000)),
        _ => (None, n.to_string()),
    };
    for (n, came) in (0..).zip(pool.imap(odd, 0..512_u32).chunk(64)) {
        let (made, text) = came.expect("a value");
        assert_eq!(made.map(|made| *made.lock().expect("locked")), matches!(n % 16, 3 | 12).then_some(n));
        let expected = match n % 16 {
            3 => String::new(),
            9 => "long".repeat(5000),
            12 => "both".repeat(5000),
            _ => n.to_string(),
        };
        assert!(text == expected, "item {n}");
    }
}

/// Cannot be sent when it is 7, nor read when it is 9.
#[derive(Debug, PartialEq)]
struct Picky(u32);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 7 {
            return Err(serde::ser::Error::custom("seven"));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = u32::deserialize(deserializer)?;
        if n == 9 { Err(serde::de::Error::custom("nine")) } else { Ok(Self(n)) }
    }
}

#[test]
fn what_cannot_cross_fails_alone() {
    let _watchdog = watchdog("picky");
    for chunk in [1, 5, 64] {
        let pool = pool(chunk, OnWorkerDeath::Fail);
        // Results that cannot be sent.
        let came: Vec<_> = pool.imap(Picky, 0..9_u32).chunk(chunk).collect();
        for (n, came) in (0..).zip(&came) {
            match came {
                Ok(value) => assert_eq!(*value, Picky(n)),
                Err(TaskError::Decode(why)) => assert_eq!((why.kind(), n), (ErrorKind::Encode, 7)),
                Err(other) => panic!("item {n}: {other}"),
            }
        }
        // Arguments that cannot be sent.
        let came: Vec<_> = pool.imap(|picky: Picky| picky.0, (0..9).map(Picky)).chunk(chunk).collect();
        let failed: Vec<_> = came.iter().map(Result::is_err).collect();
        assert_eq!(failed, (0..9).map(|n| n == 7).collect::<Vec<_>>());
        // Arguments that cannot be read: where those behind them begin, nobody can tell.
        let came: Vec<_> = pool.imap(|picky: Picky| picky.0, (8..12).map(Picky)).chunk(chunk).collect();
        assert_eq!(came.len(), 4);
        assert!(matches!(&came[0], Ok(8)));
        assert!(matches!(&came[1], Err(TaskError::Decode(_))));
        assert!(chunk > 1 || came[2].is_ok());
    }
}

#[test]
fn a_panic_leaves_the_items_before_and_after_it() {
    let _watchdog = watchdog("panic");
    let pool = pool(100, OnWorkerDeath::Retry(5));
    let check = |n: u32| {
        assert!(n % 30 != 29, "item {n}");
        n
    };
    let came: Vec<_> = pool.imap(check, 0..300_u32).chunk(100).collect();
    for (n, came) in (0..).zip(&came) {
        match came {
            Ok(value) => assert_eq!((*value, n % 30 == 29), (n, false)),
            Err(error) => {
                let panic = error.panic().expect("a panic");
                assert_eq!((panic.message(), n % 30), (format!("item {n}").as_str(), 29));
                assert!(panic.location().is_some_and(|at| at.contains("chunks.rs")));
            }
        }
    }
    let stats = pool.join().expect("seen");
    assert_eq!((stats.worker_deaths, stats.retried), (0, 0));
}
