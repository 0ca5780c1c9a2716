//! Children that run the program again: results, panics, handles, and what might be mistaken for a child. And forks, from
//! such a child, because a test has many threads and a child one.
//!
//! Invariants
//! - I1 a child that has just begun has one thread besides that of ginnel.

#![allow(unsafe_code, reason = "forks a child that has one thread")]

use std::env;
use std::fs::File;
use std::io::{Read, Seek};
use std::process::Command;
use std::time::Duration;

use ginnel_object::{Manager, Message, Queue};
use ginnel_process::builder::Stdio;
use ginnel_process::{Builder, Process, ProcessError, Start, info};
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

fn builder() -> Builder {
    Process::builder().start(Start::Exec)
}

fn add(left: u64, right: u64) -> u64 {
    left + right
}

fn twice<T: Message + Clone>(value: T) -> (T, T) {
    (value.clone(), value)
}

#[test]
fn functions_return() {
    let _dog = Watchdog::new("functions_return", LIMIT);
    let child = builder().spawn(add, (2, 3)).expect("starts");
    assert_ne!(child.pid(), std::process::id());
    assert_eq!(child.join().expect("returns"), 5);
    let generic = builder().spawn(twice::<String>, "a").expect("starts");
    let closure = builder().spawn(|text: String| text.len(), &"x".repeat(100_000)).expect("starts");
    let nothing = builder().spawn(|| (), ()).expect("starts");
    assert_eq!(generic.join().expect("returns"), ("a".into(), "a".into()));
    assert_eq!(closure.join().expect("returns"), 100_000, "more than the record has room for");
    nothing.join().expect("returns");
}

#[test]
fn starts_from_many_threads_do_not_mix() {
    let _dog = Watchdog::new("starts_from_many_threads_do_not_mix", LIMIT);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            scope.spawn(move || {
                for round in 0..4 {
                    let child = builder().spawn(add, (thread, round * 10)).expect("starts");
                    assert_eq!(child.join().expect("returns"), thread + round * 10);
                }
            });
        }
    });
}

#[test]
fn a_panic_comes_back_with_its_place() {
    let _dog = Watchdog::new("a_panic_comes_back_with_its_place", LIMIT);
    let quiet = || builder().stderr(Stdio::Null);
    let line = line!() + 1;
    let child = quiet().spawn(|n: u32| -> u32 { panic!("no {n}") }, 7).expect("starts");
    let error = child.join().expect_err("panics");
    let panic = error.panic().expect("is a panic");
    assert_eq!(panic.message(), "no 7");
    assert!(panic.location().is_some_and(|place| place.contains(&format!("exec.rs:{line}:"))), "{panic:?}");

    let caught = || std::panic::catch_unwind(|| panic!("inner")).is_err();
    assert!(quiet().spawn(caught, ()).expect("starts").join().expect("it caught it"));
}

#[test]
fn an_end_without_a_result_is_told() {
    let _dog = Watchdog::new("an_end_without_a_result_is_told", LIMIT);
    let exits = builder().spawn(|| std::process::exit(7), ()).map(|child: Process<()>| child.join());
    assert!(matches!(exits.expect("starts"), Err(ProcessError::Exited(7))));
    let aborts = builder().spawn(|| std::process::abort(), ()).map(|child: Process<()>| child.join());
    assert!(matches!(aborts.expect("starts"), Err(ProcessError::Killed { signal: 6, .. })));
}

#[test]
fn handles_cross_both_ways() {
    let _dog = Watchdog::new("handles_cross_both_ways", LIMIT);
    let manager = Manager::current().expect("exists");
    let questions: Queue<u32> = manager.create().expect("is made");
    let answer = |questions: Queue<u32>| {
        let answers: Queue<String> = Manager::current().expect("is the starter's").create().expect("is made");
        for _ in 0..2 {
            let question = questions.recv().expect("comes");
            answers.send(format!("{question}!")).expect("has room");
        }
        answers
    };
    let child = builder().spawn(answer, &questions).expect("starts");
    questions.send(1).expect("has room");
    questions.send(2).expect("has room");
    let answers = child.join().expect("returns");
    assert_eq!(answers.recv().expect("is there"), "1!");
    assert_eq!(answers.recv().expect("is there"), "2!");
}

#[test]
fn a_child_is_made_as_the_builder_says() {
    let _dog = Watchdog::new("a_child_is_made_as_the_builder_says", LIMIT);
    let look = || {
        println!("printed");
        let boot = env::var_os("GINNEL_BOOT").is_some();
        (env::var("COLOUR").ok(), env::var_os("PATH").is_some(), boot, env::current_dir().ok())
    };
    let mut output = scratch();
    let copy = output.try_clone().expect("is copied");
    let child = builder().env("COLOUR", "red").env_remove("PATH").cwd("/").stdout(copy).stdin(Stdio::Null);
    let seen = child.spawn(look, ()).expect("starts").join().expect("returns");
    assert_eq!(seen, (Some("red".into()), false, false, Some("/".into())));
    output.rewind().expect("is a file");
    let mut text = String::new();
    output.read_to_string(&mut text).expect("is text");
    assert_eq!(text, "printed\n");
}

/// A file that nobody else has, and that has no name any more.
fn scratch() -> File {
    let path = env::temp_dir().join(format!("ginnel-exec-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("opens");
    std::fs::remove_file(&path).expect("is there");
    file
}

#[test]
fn children_have_children() {
    let _dog = Watchdog::new("children_have_children", LIMIT);
    let outer = |n: u64| {
        let inner = builder().spawn(add, (n, 1)).expect("starts");
        inner.join().expect("returns")
    };
    assert_eq!(builder().spawn(outer, 41).expect("starts").join().expect("returns"), 42);
}

#[test]
fn a_fork_runs_what_it_captured() {
    let _dog = Watchdog::new("a_fork_runs_what_it_captured", LIMIT);
    let outer = |queue: Queue<u32>| {
        let captured = String::from("captured");
        let body = || (captured.clone(), info::current().name, queue.try_send(1).is_err());
        // SAFETY: I1.
        let fork = unsafe { Process::builder().name("fork").fork(body) }.expect("forks");
        let panics = || -> u32 { panic!("in a fork") };
        // SAFETY: I1.
        let second = unsafe { Process::builder().fork(panics) }.expect("forks");
        let message = second.join().expect_err("panics").panic().map(|panic| panic.message().to_owned());
        (fork.join().expect("returns"), message)
    };
    let queue: Queue<u32> = Manager::current().expect("exists").create().expect("is made");
    let child = builder().name("outer").stderr(Stdio::Null).spawn(outer, &queue).expect("starts");
    let (found, message) = child.join().expect("returns");
    assert_eq!(found, ("captured".into(), "fork".into(), true));
    assert_eq!(message.as_deref(), Some("in a fork"));
}

#[test]
fn a_foreign_variable_harms_nothing() {
    let _dog = Watchdog::new("a_foreign_variable_harms_nothing", LIMIT);
    let itself = env::current_exe().expect("has a path");
    for value in
        ["garbage", "", "1:c:0:12:-1:1:1:1:1:0:x", "1:z:0:12:12:1:1:1:1:0:", "1:c:0:99999:0:0:0:0:0:0:"]
    {
        let listed = Command::new(&itself).arg("--list").env("GINNEL_BOOT", value).output().expect("runs");
        let text = String::from_utf8_lossy(&listed.stdout);
        assert!(listed.status.success() && text.contains("functions_return"), "{value:?}: {text}");
    }
}
