//! Children that are clones of the zygote: that they are what other children are, what becomes of requests when the
//! zygote is killed, and spares.

use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use ginnel_object::Queue;
use ginnel_process::{Process, ProcessError, Start, preload, start_method, warm};
use ginnel_testkit::watchdog::Watchdog;
use rustix::process::{Pid, Signal, getppid, kill_process};

const LIMIT: Duration = Duration::from_secs(60);
const ZYGOTE: &str = "ginnel-zygote";

/// Made by a function that only the zygote runs.
static LOADED: OnceLock<(u32, Vec<u64>)> = OnceLock::new();

fn load() {
    let _ = LOADED.set((std::process::id(), (0..1000).collect()));
}

/// One test at a time, as some of them kill the zygote of all; what is to be preloaded is.
fn begin() -> MutexGuard<'static, ()> {
    static SERIAL: Mutex<()> = Mutex::new(());
    static ONCE: Once = Once::new();
    let turn = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| preload(load).expect("nothing was started yet"));
    turn
}

fn add(left: u64, right: u64) -> u64 {
    left + right
}

/// The kernel's flag for a process that was copied, and runs no program of its own yet.
const IS_COPY: u64 = 0x40;

/// The processes of that name whose parent is this one. Clones have the zygote's name too until they first run; they do
/// not count.
fn children_called(name: &str) -> Vec<Pid> {
    let me = std::process::id().to_string();
    let pids = fs::read_dir("/proc").expect("is there").filter_map(|entry| {
        let entry = entry.ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(") ")?;
        let (pid, comm) = head.split_once(" (")?;
        let mut rest = rest.split(' ');
        let is_alive = rest.next()? != "Z";
        let is_ours = rest.next()? == me;
        let is_copy = rest.nth(4)?.parse::<u64>().ok()? & IS_COPY != 0;
        let is_it = comm == name && is_copy == (name != ZYGOTE);
        (is_alive && is_ours && is_it).then(|| pid.parse().ok().and_then(Pid::from_raw))?
    });
    pids.collect()
}

fn zygote() -> Pid {
    assert_eq!(start_method(), (Start::Zygote, None));
    let found = children_called(ZYGOTE);
    assert_eq!(found.len(), 1, "there is one zygote");
    found[0]
}

fn check_that_starts_work() {
    for n in 0..3 {
        assert_eq!(Process::spawn(add, (n, 1)).expect("starts").join().expect("returns"), n + 1);
    }
}

/// Starts until there is a zygote again: its death has to be noticed first.
fn check_that_there_is_a_zygote_again(old: Pid) {
    loop {
        check_that_starts_work();
        if start_method().0 == Start::Zygote && !children_called(ZYGOTE).contains(&old) {
            zygote();
            return;
        }
    }
}

#[test]
fn a_clone_computes_and_is_our_child() {
    let _dog = Watchdog::new("a_clone_computes_and_is_our_child", LIMIT);
    let _turn = begin();
    check_that_starts_work();
    zygote();
    let whose = || getppid().map(|parent| parent.as_raw_nonzero().get());
    let child = Process::builder().start(Start::Zygote).spawn(whose, ()).expect("starts");
    assert_eq!(child.join().expect("returns"), Some(std::process::id() as i32));
    let pid = Process::spawn(std::process::id, ()).expect("starts");
    let told = pid.pid();
    assert_eq!(pid.join().expect("returns"), told);
    assert_eq!(
        Process::spawn(|| fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count()), ())
            .expect("starts")
            .join()
            .expect("returns"),
        1
    );
}

#[test]
fn a_clone_has_threads_randomness_and_a_working_abort() {
    let _dog = Watchdog::new("a_clone_has_threads_randomness_and_a_working_abort", LIMIT);
    let _turn = begin();
    let threads = || {
        let threads: Vec<_> =
            (0..4_u64).map(|n| std::thread::spawn(move || HashMap::from([(n, n)]))).collect();
        threads.into_iter().map(|thread| thread.join().expect("ends").into_values().sum::<u64>()).sum::<u64>()
    };
    assert_eq!(Process::spawn(threads, ()).expect("starts").join().expect("returns"), 6);
    let child = Process::spawn(|| -> () { std::process::abort() }, ()).expect("starts");
    child.wait();
    assert_eq!(child.exit_code(), Some(-6));
    assert!(matches!(child.join(), Err(ProcessError::Killed { signal: 6, .. })));
    let child = Process::builder().stderr(ginnel_process::Stdio::Null).spawn(|| -> u8 { panic!("no") }, ());
    assert!(matches!(child.expect("starts").join(), Err(ProcessError::Panicked(_))));
}

#[test]
fn a_clone_has_default_signals() {
    let _dog = Watchdog::new("a_clone_has_default_signals", LIMIT);
    let _turn = begin();
    let masks = || {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap_or("x").trim(), 16).unwrap_or(u64::MAX)
        };
        (line("SigBlk:"), line("SigIgn:"))
    };
    let (blocked, ignored) = Process::spawn(masks, ()).expect("starts").join().expect("returns");
    // The C library ignores two of its own beyond the standard ones in what it starts.
    let (pipe, hangup, standard) = (1 << 12, 1, (1_u64 << 31) - 1);
    assert_eq!((blocked, ignored & !hangup & standard), (0, pipe), "blocked, ignored");
}

#[test]
fn what_was_preloaded_is_there() {
    let _dog = Watchdog::new("what_was_preloaded_is_there", LIMIT);
    let _turn = begin();
    let sum = || LOADED.get().map(|(pid, table)| (*pid, table.iter().sum::<u64>()));
    let child = Process::builder().start(Start::Zygote).spawn(sum, ()).expect("starts");
    let (pid, sum) = child.join().expect("returns").expect("was preloaded");
    assert_eq!((pid, sum), (zygote().as_raw_nonzero().get().unsigned_abs(), 499_500));
    assert!(LOADED.get().is_none(), "not here");
    assert!(preload(load).is_err(), "it is too late");
}

#[test]
fn handles_reach_a_clone() {
    let _dog = Watchdog::new("handles_reach_a_clone", LIMIT);
    let _turn = begin();
    let queue = Queue::<u64>::bounded(4).expect("there is room");
    let fill = |queue: Queue<u64>, count: u64| (0..count).all(|n| queue.send(n).is_ok());
    let child = Process::spawn(fill, (&queue, 4)).expect("starts");
    assert!(child.join().expect("returns"));
    assert_eq!((0..4).filter_map(|_| queue.recv().ok()).sum::<u64>(), 6);
}

#[test]
fn signals_do_not_end_the_zygote() {
    let _dog = Watchdog::new("signals_do_not_end_the_zygote", LIMIT);
    let _turn = begin();
    check_that_starts_work();
    let zygote_then = zygote();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        kill_process(zygote_then, signal).expect("is there");
    }
    check_that_starts_work();
    assert_eq!(zygote(), zygote_then);
}

#[test]
fn a_killed_zygote_is_replaced() {
    let _dog = Watchdog::new("a_killed_zygote_is_replaced", LIMIT);
    let _turn = begin();
    check_that_starts_work();
    let old = zygote();
    let before = Process::spawn(add, (1, 1)).expect("starts");
    kill_process(old, Signal::KILL).expect("is there");
    check_that_there_is_a_zygote_again(old);
    assert_eq!(before.join().expect("returns"), 2);
}

#[test]
fn a_zygote_that_is_killed_in_a_request_does_not_hold_it_up() {
    let _dog = Watchdog::new("a_zygote_that_is_killed_in_a_request_does_not_hold_it_up", LIMIT);
    let _turn = begin();
    check_that_starts_work();
    let old = zygote();
    kill_process(old, Signal::STOP).expect("is there");
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|n| scope.spawn(move || Process::spawn(add, (n, 1)))).collect();
        // Whether they have asked by now or will ask a dead one: each gets its child.
        kill_process(old, Signal::KILL).expect("is there");
        for (n, start) in (0..).zip(starts) {
            let child = start.join().expect("no panic").expect("starts");
            assert_eq!(child.join().expect("returns"), n + 1);
        }
    });
    check_that_there_is_a_zygote_again(old);
}

#[test]
fn a_zygote_that_stands_still_is_given_up() {
    let _dog = Watchdog::new("a_zygote_that_stands_still_is_given_up", LIMIT);
    let _turn = begin();
    check_that_starts_work();
    let old = zygote();
    kill_process(old, Signal::STOP).expect("is there");
    check_that_starts_work();
    check_that_there_is_a_zygote_again(old);
}

#[test]
fn spares_are_claimed_replaced_and_ended() {
    let _dog = Watchdog::new("spares_are_claimed_replaced_and_ended", LIMIT);
    let _turn = begin();
    warm(2).expect("there is room");
    let spares = children_called("ginnel-spare");
    assert_eq!(spares.len(), 2);
    let who = || (std::process::id(), getppid().map(|parent| parent.as_raw_nonzero().get()));
    let child = Process::builder().name("claimed").spawn(who, ()).expect("starts");
    let (pid, parent) = child.join().expect("returns");
    assert!(spares.iter().any(|spare| spare.as_raw_nonzero().get().unsigned_abs() == pid), "was a spare");
    assert_eq!(parent, Some(std::process::id() as i32));
    warm(2).expect("there is room");
    let spares = children_called("ginnel-spare");
    assert_eq!(spares.len(), 2, "the claimed one was replaced");
    for spare in spares {
        kill_process(spare, Signal::KILL).expect("is there");
    }
    // One that is claimed while it dies is a child that was killed.
    while !children_called("ginnel-spare").is_empty() {}
    check_that_starts_work();
    warm(2).expect("there is room");
    assert_eq!(children_called("ginnel-spare").len(), 2, "the killed ones were replaced");
    let old = zygote();
    kill_process(old, Signal::KILL).expect("is there");
    check_that_there_is_a_zygote_again(old);
    warm(0).expect("none");
    assert_eq!(children_called("ginnel-spare"), []);
}

#[test]
fn spares_are_made_by_the_next_zygote_when_one_dies_over_them() {
    let _dog = Watchdog::new("spares_are_made_by_the_next_zygote_when_one_dies_over_them", LIMIT);
    let _turn = begin();
    check_that_starts_work();
    let old = zygote();
    // It takes the requests and does not answer, until the starter loses its patience and kills it.
    kill_process(old, Signal::STOP).expect("is there");
    warm(2).expect("another makes them");
    assert_ne!(zygote(), old);
    assert_eq!(children_called("ginnel-spare").len(), 2);
    let old = zygote();
    kill_process(old, Signal::STOP).expect("is there");
    warm(0).expect("none");
    assert_eq!(children_called("ginnel-spare"), []);
    // It still stands: nothing was asked of it.
    kill_process(old, Signal::CONT).expect("is there");
    check_that_starts_work();
    assert_eq!(zygote(), old);
}

#[test]
fn a_claimed_spare_is_a_child_like_others() {
    let _dog = Watchdog::new("a_claimed_spare_is_a_child_like_others", LIMIT);
    let _turn = begin();
    for round in 0..30 {
        warm(3).expect("there is room");
        let children: Vec<_> = (0..5).map(|n| Process::spawn(add, (n, round)).expect("starts")).collect();
        for (n, child) in (0..).zip(children) {
            assert_eq!(child.join().expect("returns"), n + round);
        }
    }
    let child = Process::builder().env("GINNEL_TEST", "7").spawn(|| std::env::var("GINNEL_TEST").ok(), ());
    assert_eq!(child.expect("starts").join().expect("returns").as_deref(), Some("7"));
    warm(0).expect("none");
}

#[test]
fn starts_from_many_threads_do_not_mix() {
    let _dog = Watchdog::new("starts_from_many_threads_do_not_mix", LIMIT);
    let _turn = begin();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            scope.spawn(move || {
                for round in 0..20 {
                    let child = Process::spawn(add, (thread * 100, round)).expect("starts");
                    assert_eq!(child.join().expect("returns"), thread * 100 + round);
                }
            });
        }
    });
}
