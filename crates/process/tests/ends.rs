//! How children end: in order, by themselves, by signals; who learns of it, and what is left.
//!
//! Invariants
//! - I1 the new disposition of SIGCHLD is one of the system's, no function of ours.
#![allow(unsafe_code, reason = "ignores a signal, as a host may do")]

use std::os::fd::AsFd;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_object::event::Event;
use ginnel_object::lock::Lock;
use ginnel_object::{ErrorKind, Queue};
use ginnel_process::{Process, ProcessError, Start, info};
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitPidFlag, waitpid};

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

fn seven_after(go: Event) -> u32 {
    go.wait();
    7
}

fn for_ever(begun: Event) {
    begun.set();
    loop {
        thread::park();
    }
}

/// One that has begun, and will not end by itself.
fn endless() -> Process<()> {
    let begun = Event::new().expect("an event");
    let child = Process::spawn(for_ever, &begun).expect("a child");
    begun.wait();
    child
}

#[test]
fn waiting_ends_when_the_child_does_and_takes_nothing() {
    let _watchdog = watchdog("waiting");
    let go = Event::new().expect("an event");
    let child = Process::spawn(seven_after, &go).expect("a child");
    assert!(!child.wait_timeout(Duration::from_millis(5)));
    assert!(!child.wait_deadline(Instant::now()));
    assert!(child.is_alive());
    assert_eq!(child.exit_code(), None);
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| child.wait())).collect();
        go.set();
        waiters.into_iter().for_each(|waiter| waiter.join().expect("waits"));
    });
    assert!(child.wait_timeout(Duration::ZERO) && child.wait_deadline(Instant::now()));
    assert!(!child.is_alive());
    assert_eq!(child.exit_code(), Some(0));
    assert_eq!(child.join().expect("a value"), 7);
}

#[test]
fn signals_end_it_and_are_told() {
    let _watchdog = watchdog("signals");
    type Send = fn(&Process<()>) -> ginnel_object::Result<()>;
    let ways: [(Send, i32); 4] = [
        (Process::terminate, 15),
        (Process::kill, 9),
        (Process::interrupt, 2),
        (|child| child.signal(10), 10),
    ];
    for (send, number) in ways {
        let child = endless();
        send(&child).expect("it lives");
        child.wait();
        assert_eq!(child.exit_code(), Some(-number));
        child.kill().expect("nothing happens to what has ended");
        let error = child.join().expect_err("no value");
        assert!(matches!(error, ProcessError::Killed { signal, .. } if signal == number), "{error}");
        assert_eq!(ginnel_object::Error::from(error).kind(), ErrorKind::Killed);
    }
    let child = endless();
    for wrong in [0, -1, 65, i32::MAX] {
        assert_eq!(child.signal(wrong).expect_err("no signal").kind(), ErrorKind::Invalid);
    }
    child.kill().expect("it lives");
}

#[test]
fn a_child_that_does_not_return_is_told_from_one_that_does() {
    let _watchdog = watchdog("codes");
    let child = Process::spawn(|| -> u32 { process::exit(7) }, ()).expect("a child");
    child.wait();
    assert_eq!(child.exit_code(), Some(7));
    assert!(matches!(child.join(), Err(ProcessError::Exited(7))));
    let child = Process::spawn(|| -> u32 { process::exit(0) }, ()).expect("a child");
    assert!(matches!(child.join(), Err(ProcessError::Exited(0))));
    let child = Process::spawn(|| -> u32 { process::abort() }, ()).expect("a child");
    child.wait();
    assert_eq!(child.exit_code(), Some(-6));
    let child = Process::spawn(|n: u32| -> u32 { panic!("no {n}") }, 3).expect("a child");
    child.wait();
    assert_eq!(child.exit_code(), Some(101));
    let error = child.join().expect_err("it panicked");
    let panic = error.panic().expect("with a text");
    assert_eq!(panic.message(), "no 3");
    assert!(panic.location().is_some_and(|at| at.contains("ends.rs")), "{panic:?}");
}

#[test]
fn a_dropped_handle_lets_the_child_go_on() {
    let _watchdog = watchdog("dropped");
    let (go, done) = (Event::new().expect("an event"), Event::new().expect("an event"));
    let body = |go: Event, done: Event| {
        go.wait();
        done.set();
    };
    drop(Process::spawn(body, (&go, &done)).expect("a child"));
    go.set();
    done.wait();
}

#[test]
fn sixty_four_at_once() {
    let _watchdog = watchdog("sixty-four");
    let go = Event::new().expect("an event");
    let body = |go: Event, n: u64| {
        go.wait();
        n * n
    };
    let children = Process::spawn_all(body, (0..64).map(|n| (&go, n))).expect("64 children");
    assert!(children.iter().all(Process::is_alive));
    let names: std::collections::HashSet<_> = children.iter().map(|child| child.name().to_owned()).collect();
    assert_eq!(names.len(), 64);
    let listed = info::children();
    assert!(children.iter().all(|child| listed.iter().any(|info| info.pid == child.pid())));
    go.set();
    let squares: Vec<u64> = children.into_iter().map(|child| child.join().expect("a value")).collect();
    assert_eq!(squares, (0..64).map(|n| n * n).collect::<Vec<_>>());
}

#[test]
fn one_killed_at_any_moment_is_a_value_or_killed_and_its_lock_is_free() {
    let _watchdog = watchdog("killed anywhere");
    let lock = Lock::new().expect("a lock");
    let queue = Queue::<String>::bounded(16).expect("a queue");
    let body = |lock: Lock, queue: Queue<String>, text: String| {
        let guard = lock.lock();
        let _ = queue.try_send(text.clone());
        drop(guard);
        text
    };
    let (mut values, mut killed) = (0, 0);
    for round in 0..120_u32 {
        let text = "x".repeat(if round % 2 == 0 { 10 } else { 10_000 });
        let child = Process::spawn(body, (&lock, &queue, &text)).expect("a child");
        // From at once to some time after its end.
        let _ = child.wait_timeout(Duration::from_micros(u64::from(round) * 20));
        child.kill().expect("ours");
        match child.join() {
            Ok(value) => {
                assert_eq!(value, text);
                values += 1;
            }
            Err(ProcessError::Killed { signal: 9, .. }) => killed += 1,
            Err(other) => panic!("round {round}: {other}"),
        }
        drop(lock.lock_timeout(Duration::ZERO).expect("free when the end is known"));
        while queue.try_recv().is_ok() {}
    }
    assert_eq!(values + killed, 120);
}

#[test]
fn a_host_that_ignores_sigchld_gets_values_and_no_codes() {
    let _watchdog = watchdog("ignored");
    let host = Process::spawn(
        || {
            // SAFETY: I1.
            unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.expect("it can be ignored");
            strange_host()
        },
        (),
    );
    assert_eq!(host.expect("a host").join().expect("answers"), (20, Some(255)));
}

#[test]
fn a_host_that_waits_for_every_child_gets_values_all_the_same() {
    let _watchdog = watchdog("thief");
    let host = Process::spawn(
        || {
            thread::spawn(|| {
                loop {
                    let _ = waitpid(None, Some(WaitPidFlag::__WALL));
                }
            });
            let (values, code) = strange_host();
            (values, code == Some(255) || code == Some(-9))
        },
        (),
    );
    assert_eq!(host.expect("a host").join().expect("answers"), (20, true));
}

/// How many of 20 came back right, and the exit code of one that was killed.
fn strange_host() -> (u32, Option<i32>) {
    let mut values = 0;
    for n in 0..20_u32 {
        let method = if n.is_multiple_of(2) { Start::Auto } else { Start::Exec };
        let child = Process::builder().start(method).spawn(|n: u32| n + 1, n).expect("starts");
        child.wait();
        assert_eq!(child.exit_code(), Some(0));
        values += u32::from(child.join().expect("a value") == n + 1);
    }
    let child = endless();
    child.kill().expect("it lives");
    child.wait();
    (values, child.exit_code())
}

#[test]
fn the_descriptor_tells_the_end() {
    use rustix::event::{PollFd, PollFlags, poll};
    let _watchdog = watchdog("descriptor");
    let child = endless();
    child.kill().expect("it lives");
    let mut fds = [PollFd::new(&child, PollFlags::IN)];
    while poll(&mut fds, None).expect("polls") == 0 {}
    assert!(!child.is_alive());
    assert!(child.as_fd().try_clone_to_owned().is_ok());
}
