//! Dicts and lists in the child of a bare fork: every call says so, and nothing of the parent's is touched.
//!
//! Invariants
//! - I1 the process that forks is a child of the test with no other threads than those of ginnel, which sleep by then.
#![allow(unsafe_code, reason = "forks a child whose other threads sleep")]

mod common;

use std::time::Duration;

use common::watchdog;
use ginnel_manager::{Dict, List, Namespace};
use ginnel_object::{Error, Result};
use ginnel_process::Process;

type All = (Dict<u8, u64>, List<u64>, Namespace);

/// One letter a call: was it refused for the fork?
fn in_a_fork((dict, list, names): &All) -> String {
    fn is_forked<T>(result: Result<T>) -> bool {
        result.err().as_ref().is_some_and(Error::is_forked)
    }
    let calls = [
        is_forked(dict.get(&1)),
        is_forked(dict.set(&1, &0)),
        is_forked(dict.insert(1, 0)),
        is_forked(dict.remove(&1)),
        is_forked(dict.update(1, |_| 0)),
        is_forked(dict.version(&1)),
        is_forked(dict.wait_changed_timeout(&1, 0, Duration::ZERO)),
        is_forked(dict.transaction(|t| t.insert(1, 0))),
        is_forked(dict.snapshot()),
        dict.iter().next().is_some_and(is_forked),
        is_forked(dict.clear()),
        is_forked(list.get(0)),
        is_forked(list.push(1)),
        is_forked(list.to_vec()),
        is_forked(list.sort()),
        is_forked(names.get::<u8>("x")),
        is_forked(names.set("x", &0_u8)),
    ];
    calls.iter().map(|is_right| if *is_right { 'y' } else { 'n' }).collect()
}

fn forks() -> Result<(String, u64)> {
    let all = (Dict::from_iter([(1, 2)])?, List::from_iter([3])?, Namespace::new()?);
    all.2.set("x", &4_u8)?;
    // SAFETY: I1; those who sleep hold no lock that is needed here.
    let fork = unsafe { Process::builder().fork(|| in_a_fork(&all)) }?;
    let told = fork.join()?;
    let (dict, list, names) = &all;
    let sum = dict.get(&1)?.unwrap_or(0) + list.get(0)?.unwrap_or(0) + u64::from(names.get_or("x", 0_u8)?);
    Ok((told, sum))
}

fn drops() -> Result<u64> {
    let mut all = Some((Dict::from_iter([(1_u8, 2_u64)])?, List::from_iter([3_u64])?));
    // SAFETY: I1, as above.
    let fork = unsafe { Process::builder().fork(|| drop(all.take())) }?;
    fork.join()?;
    let (dict, list) = all.expect("only the fork's copy was dropped");
    Ok(dict.update(1, |n| n.unwrap_or(0) + 1)? + list.pop()?.unwrap_or(0))
}

#[test]
fn every_call_in_a_fork_says_so() {
    let _watchdog = watchdog("forked");
    let (told, sum) =
        Process::spawn(forks, ()).expect("a child").join().expect("returns").expect("no failure");
    assert_eq!((told, sum), ("y".repeat(17), 9));
}

#[test]
fn what_is_dropped_in_a_fork_is_the_parents() {
    let _watchdog = watchdog("dropped");
    let sum = Process::spawn(drops, ()).expect("a child").join().expect("returns").expect("no failure");
    assert_eq!(sum, 6);
}
