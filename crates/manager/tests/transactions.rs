//! Several keys at once: under contention, in processes that are killed, and with readers that must never see a half.

mod common;

use std::cell::Cell;
use std::thread;

use common::{audit, die, watchdog};
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_manager::Dict;
use ginnel_object::event::Event;
use ginnel_object::{Error, ErrorKind, Result};
use ginnel_process::Process;
use ginnel_testkit::rng::Rng;

const ACCOUNTS: u64 = 10;
const EACH: i64 = 1000;

fn accounts() -> Dict<u64, i64> {
    Dict::from_iter((0..ACCOUNTS).map(|account| (account, EACH))).expect("a dict")
}

fn total(accounts: &Dict<u64, i64>) -> i64 {
    accounts.snapshot().expect("no failure").values().sum()
}

/// Moves an amount between two accounts.
fn transfer(accounts: &Dict<u64, i64>, rng: &mut Rng) -> Result<bool> {
    let (from, to, amount) = (rng.below(ACCOUNTS), rng.below(ACCOUNTS), rng.below(50) as i64);
    accounts.transaction(|t| {
        let (rich, poor) = (t.get(&from)?.expect("there"), t.get(&to)?.expect("there"));
        if from == to || rich < amount {
            return Ok(false);
        }
        t.insert(from, rich - amount)?;
        t.insert(to, poor + amount)?;
        Ok(true)
    })
}

/// Runs `f` in another thread: in the closure of a transaction, this one may take no lock.
fn elsewhere(f: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(f).join()).expect("no panic");
}

#[test]
fn a_transaction_sees_its_own_writes_and_nobody_else_does_before_its_end() {
    let _watchdog = watchdog("own writes");
    let dict = Dict::from_iter([(1_u8, "one".to_owned()), (2, "two".to_owned())]).expect("a dict");
    let given = dict.transaction(|t| {
        assert_eq!(t.get(&1)?.as_deref(), Some("one"));
        t.insert(1, "uno".into())?;
        assert_eq!(t.get(&1)?.as_deref(), Some("uno"));
        t.insert(1, "eins".into())?;
        assert_eq!(t.get(&1)?.as_deref(), Some("eins"));
        t.remove(&2)?;
        assert_eq!(t.get(&2)?, None);
        assert!(!t.contains_key(&2)? && t.contains_key(&1)? && !t.contains_key(&3)?);
        t.insert(3, "three".into())?;
        assert!(t.contains_key(&3)?);
        t.remove(&9)?;
        assert_eq!(dict.get(&1)?.as_deref(), Some("one"), "not yet");
        assert_eq!(dict.len(), 2);
        Ok(format!("{t:?}"))
    });
    assert!(given.expect("room").contains("writes: 4"));
    let all = dict.snapshot().expect("no failure");
    assert_eq!(all, [(1, "eins".to_owned()), (3, "three".to_owned())].into());
}

#[test]
fn an_error_and_a_rollback_leave_everything_as_it_was() {
    let _watchdog = watchdog("rollback");
    let dict = Dict::from_iter([(1_u8, 1_u32)]).expect("a dict");
    let before = dict.version(&1).expect("no failure");
    let failed = dict.transaction(|t| -> Result<()> {
        t.insert(1, 2)?;
        Err(Error::new(ErrorKind::Failed, "not today"))
    });
    assert!(failed.expect_err("fails").to_string().contains("not today"));
    let given = dict.transaction(|t| {
        t.insert(1, 2)?;
        t.remove(&1)?;
        t.insert(2, 2)?;
        t.rollback();
        t.get(&1)
    });
    assert_eq!(given.expect("no failure"), Some(1));
    assert_eq!((dict.version(&1).expect("no failure"), dict.len()), (before, 1));
}

#[test]
fn a_transaction_has_at_most_224_writes() {
    let _watchdog = watchdog("most");
    let dict = Dict::<u32, u32>::new().expect("a dict");
    let write = |count: u32| dict.transaction(|t| (0..count).try_for_each(|n| t.insert(n, n)));
    write(224).expect("room");
    assert_eq!(dict.len(), 224);
    dict.clear().expect("no failure");
    assert_eq!(write(225).expect_err("too many").kind(), ErrorKind::TooLarge);
    assert!(dict.is_empty());
    dict.transaction(|t| (0..224).try_for_each(|n| t.remove(&n))).expect("nothing to remove is no failure");
}

#[test]
fn who_loses_runs_again_and_the_fourth_time_nobody_disturbs() {
    let _watchdog = watchdog("lost");
    let dict = Dict::from_iter([(1_u8, 0_u64), (2, 0)]).expect("a dict");
    // How often somebody is faster, and how many runs it takes then.
    for (faster, runs) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        let run = Cell::new(0);
        let sum = dict.transaction(|t| {
            run.set(run.get() + 1);
            let one = t.get(&1)?.expect("there");
            if run.get() <= faster {
                elsewhere(|| assert!(dict.set(&1, &(one + 10)).expect("room")));
            }
            let two = t.get(&2);
            if run.get() <= faster {
                assert!(two.is_err(), "what was read before does not hold any more");
            }
            t.insert(2, two?.expect("there") + 1)?;
            Ok(one)
        });
        assert_eq!(
            (sum.expect("no failure"), run.get()),
            (dict.get(&1).expect("no failure").expect("there"), runs)
        );
    }
    assert_eq!(dict.get(&2).expect("no failure"), Some(4), "each was done once");
}

#[test]
fn a_change_after_the_last_read_is_noticed_at_the_end() {
    let _watchdog = watchdog("late");
    let dict = Dict::from_iter([(1_u8, 0_u64)]).expect("a dict");
    let run = Cell::new(0);
    dict.transaction(|t| {
        run.set(run.get() + 1);
        let seen = t.get(&1)?.unwrap_or(0);
        if run.get() == 1 {
            elsewhere(|| assert!(dict.discard(&1).expect("no failure")));
        }
        t.insert(1, seen + 5)
    })
    .expect("room");
    assert_eq!((run.get(), dict.get(&1).expect("no failure")), (2, Some(5)));
}

#[test]
fn threads_that_move_money_lose_none_and_readers_see_no_half() {
    let _watchdog = watchdog("threads");
    let accounts = accounts();
    let (done, moved) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 0..3 {
            let (accounts, done, moved) = (&accounts, &done, &moved);
            scope.spawn(move || {
                let mut rng = Rng::new(seed);
                for _ in 0..1500 {
                    if transfer(accounts, &mut rng).expect("no failure") {
                        moved.fetch_add(1, Relaxed);
                    }
                }
                done.fetch_add(1, Relaxed);
            });
        }
        scope.spawn(|| {
            while done.load(Relaxed) < 3 {
                assert_eq!(total(&accounts), ACCOUNTS as i64 * EACH, "a snapshot is one moment");
                let read = accounts.transaction(|t| {
                    let mut sum = 0;
                    for account in 0..ACCOUNTS {
                        sum += t.get(&account)?.expect("there");
                    }
                    Ok(sum)
                });
                assert_eq!(
                    read.expect("no failure"),
                    ACCOUNTS as i64 * EACH,
                    "a transaction reads one moment"
                );
            }
        });
    });
    assert_eq!(total(&accounts), ACCOUNTS as i64 * EACH);
    assert!(moved.load(Relaxed) > 0);
}

fn moves(accounts: Dict<u64, i64>, seed: u64, times: u64) -> Result<u64> {
    let mut rng = Rng::new(seed);
    let mut moved = 0;
    for _ in 0..times {
        moved += u64::from(transfer(&accounts, &mut rng)?);
    }
    Ok(moved)
}

#[test]
fn processes_that_move_money_lose_none() {
    let _watchdog = watchdog("processes");
    let accounts = accounts();
    let children: Vec<_> =
        (0..3).map(|seed| Process::spawn(moves, (&accounts, seed, 1500_u64)).expect("a child")).collect();
    let moved: u64 =
        children.into_iter().map(|child| child.join().expect("returns").expect("no failure")).sum();
    assert!(moved > 0);
    assert_eq!(total(&accounts), ACCOUNTS as i64 * EACH);
}

fn moves_until_killed(accounts: Dict<u64, i64>, started: Event, seed: u64) -> Result<()> {
    let mut rng = Rng::new(seed);
    loop {
        transfer(&accounts, &mut rng)?;
        started.set();
    }
}

#[test]
fn processes_that_are_killed_while_they_move_money_lose_none() {
    let _watchdog = watchdog("kills");
    let accounts = accounts();
    let mut rng = Rng::new(7);
    for round in 0..25 {
        let started = Event::new().expect("an event");
        let child = Process::spawn(moves_until_killed, (&accounts, &started, round)).expect("a child");
        started.wait();
        // Some transfers of ours beside it, so that the kill hits it at any place.
        for _ in 0..rng.below(40) {
            transfer(&accounts, &mut rng).expect("no failure");
        }
        child.kill().expect("a signal");
        assert!(child.join().is_err());
        transfer(&accounts, &mut rng).expect("nothing is locked");
        assert_eq!(total(&accounts), ACCOUNTS as i64 * EACH, "round {round}");
        audit(&accounts);
    }
}

fn dies_inside(accounts: Dict<u64, i64>) -> Result<()> {
    accounts.transaction(|t| {
        t.insert(1, 0)?;
        die()
    })
}

#[test]
fn a_process_that_dies_inside_the_closure_has_written_nothing() {
    let _watchdog = watchdog("inside");
    let accounts = accounts();
    assert!(Process::spawn(dies_inside, &accounts).expect("a child").join().is_err());
    assert_eq!(accounts.get(&1).expect("no failure"), Some(EACH));
    assert!(transfer(&accounts, &mut Rng::new(1)).is_ok());
}
