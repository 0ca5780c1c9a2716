//! Children and what can happen to them: the zygote, the starter or the child itself is killed or stopped.
//!
//! Each test runs its scene in a role of its own (the test `process_entry`), because a process has one arena, one zygote
//! and one table of descriptors.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ginnel::process::{OnParentDeath, ProcessError, Start, start_method, warm};
use ginnel::sync::{Event, Mutex};
use ginnel::{Manager, Process, Queue};
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::atomic::{AtomicU32, spin_loop};
use ginnel_testkit::child::{self, Arguments, Exit, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use ginnel_tests::load::processes::uses::{
    LIMIT, Uses, children_of, is_gone, settled, start, successor, until, zygote,
};

/// The way in for roles; by itself it does nothing.
#[test]
fn process_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let _dog = Watchdog::new(&name, LIMIT);
    match name.as_str() {
        "idle zygote" => idle_zygote(),
        "stopped zygote" => stopped_zygote(),
        "dying zygotes" => dying_zygotes(),
        "family" => family(&arguments),
        "before" => killed_at_any_moment(),
        "during" => killed_inside(),
        "after" => killed_after_its_result(),
        "heirs" => heirs(),
        other => panic!("no role {other}"),
    }
}

fn role(name: &str) -> Role {
    Role::new(name).through_test("process_entry")
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("it is ours");
}

#[test]
fn an_idle_zygote_that_was_killed_is_replaced() {
    role("idle zygote").play();
}

fn idle_zygote() {
    start(0);
    assert_eq!(start_method(), (Start::Zygote, None));
    let uses = settled().expect("it comes to rest");
    for number in 1..=20 {
        let victim = zygote().expect("there is one");
        signal(victim, Signal::SIGKILL);
        // Now and then the next start comes before anybody has noticed.
        if number % 2 == 0 {
            until(LIMIT, || is_gone(victim)).expect("it dies");
        }
        start(number);
        start(number);
    }
    until(LIMIT, || {
        start(0);
        zygote().is_some()
    })
    .expect("there is a zygote again");
    assert_eq!(start_method().0, Start::Zygote);
    assert_eq!(uses.is_back(), Ok(()));
}

#[test]
fn a_zygote_that_stands_still_holds_nobody_up() {
    role("stopped zygote").play();
}

fn stopped_zygote() {
    start(0);
    // Killed while a start waits for it; and left alone, until the starter loses its patience.
    for is_killed in [true, false] {
        let victim = zygote().expect("there is one");
        signal(victim, Signal::SIGSTOP);
        let begun = Instant::now();
        let (begins, waits) = mpsc::channel();
        let starter = thread::spawn(move || {
            begins.send(()).expect("somebody waits");
            start(7);
        });
        waits.recv().expect("it begins");
        if is_killed {
            // Most likely it waits for the answer by then; if not, that is the idle zygote again.
            let _ = until(Duration::from_millis(30), || starter.is_finished());
            signal(victim, Signal::SIGKILL);
        }
        starter.join().expect("the start worked");
        let took = begun.elapsed();
        assert!(took < LIMIT / 4, "a start took {took:?}");
        until(LIMIT, || is_gone(victim)).expect("a zygote that stands still is ended");
        until(LIMIT, || {
            start(8);
            zygote().is_some()
        })
        .expect("there is a zygote again");
    }
}

#[test]
fn zygotes_that_die_at_any_moment_neither_lose_nor_repeat_a_start() {
    role("dying zygotes").play();
}

/// Says that it ran: each must come once.
fn report(ran: Queue<u64>, number: u64) -> u64 {
    ran.send(number).expect("there is room");
    number + 1
}

fn dying_zygotes() {
    const STARTS: u64 = 150;
    start(0);
    let uses = settled().expect("it comes to rest");
    let ran: Queue<u64> = Queue::unbounded().expect("there is room");
    let is_over = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = Rng::new(u64::from(std::process::id()));
            while is_over.load(Relaxed) == 0 {
                // This is not synchronisation: the zygote dies at a random moment.
                thread::sleep(Duration::from_micros(rng.below(4000)));
                if let Some(victim) = zygote() {
                    let _ = kill(Pid::from_raw(victim as i32), Signal::SIGKILL);
                }
            }
        });
        let starters: Vec<_> = (0..2)
            .map(|half| {
                let ran = &ran;
                scope.spawn(move || {
                    for number in (0..STARTS).filter(|number| number % 2 == half) {
                        let child = Process::spawn(report, (ran, number)).expect("started");
                        assert_eq!(child.join().expect("nobody killed this one"), number + 1);
                    }
                })
            })
            .collect();
        let ends: Vec<_> = starters.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(1, Relaxed);
        ends.into_iter().for_each(|end| end.expect("all starts worked"));
    });
    let mut times = BTreeMap::<u64, u32>::new();
    while let Ok(number) = ran.try_recv() {
        *times.entry(number).or_default() += 1;
    }
    assert!(times.len() as u64 == STARTS && times.values().all(|count| *count == 1), "{times:?}");
    drop(ran);
    start(0);
    assert_eq!(uses.is_back(), Ok(()));
}

/// Words of the family: who is who, and how far they are.
const DAEMON: usize = 0;
const OTHER: usize = 1;
const TIED: usize = 2;
const READY: usize = 3;
const GO: usize = 4;
const DONE: usize = 5;
const WORDS: usize = 6;

fn words_at(path: &str) -> Scratch {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("the test keeps it open");
    Scratch::from_fd(file.into()).expect("mapped")
}

/// A child of the family, which says who it is in its word.
fn member(path: String, word: usize) {
    let words = words_at(&path);
    words.set(word, u64::from(std::process::id()));
    while words.get(GO) == 0 {
        // This is not synchronisation: its starter is dead, so a word is all there is to look at, again and again.
        thread::sleep(Duration::from_millis(1));
    }
    words.set(DONE, 1);
}

/// A daemon, one that is tied to its parent, one that is not, spares.
fn family(arguments: &Arguments) {
    let path: String = arguments.get(0).expect("a path");
    warm(2).expect("there is room");
    let daemon = Process::builder().daemon().start(Start::Zygote);
    let _daemon = daemon.spawn(member, (path.clone(), DAEMON)).expect("started");
    let tied = Process::builder().on_parent_death(OnParentDeath::Kill).start(Start::Exec);
    let _tied = tied.spawn(member, (path.clone(), TIED)).expect("started");
    let _other = Process::spawn(member, (path.clone(), OTHER)).expect("started");
    let words = words_at(&path);
    until(LIMIT, || [DAEMON, OTHER, TIED].iter().all(|who| words.get(*who) != 0)).expect("all run");
    words.set(READY, 1);
    loop {
        thread::park();
    }
}

#[test]
fn a_killed_starter_leaves_only_those_that_may_go_on() {
    let dog = Watchdog::new("a killed starter", LIMIT);
    let words = Scratch::new(WORDS).expect("a memfd");
    let mut parent = role("family").fd(&words).spawn().expect("started");
    dog.waits_for("the family");
    until(LIMIT, || words.get(READY) == 1).expect("all run");
    let pid = parent.pid().as_raw() as u32;
    let family = children_of(pid);
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it lives");
    assert!(!maps.contains("/dev/shm/"), "a tree of processes has no file:\n{maps}");
    let other = words.get(OTHER) as u32;
    let doomed: Vec<_> = family.iter().filter(|(child, ..)| *child != other).collect();
    let named = |name: &str| doomed.iter().filter(|(_, found, _)| found == name).count();
    assert!(named("ginnel-zygote") == 1 && doomed.len() >= 4, "{family:?}");

    assert_eq!(parent.kill().expect("it is ours"), Exit::KILLED);
    let took = until(Duration::from_secs(1), || doomed.iter().all(|(child, ..)| is_gone(*child)));
    let left: Vec<_> = doomed.iter().filter(|(child, ..)| !is_gone(*child)).collect();
    assert!(took.is_some(), "these outlive their starter: {left:?}");
    assert!(!is_gone(other), "one that is no daemon goes on");
    words.set(GO, 1);
    dog.waits_for("the one that goes on");
    until(LIMIT, || words.get(DONE) == 1).expect("it finishes");
    until(LIMIT, || is_gone(other)).expect("it ends");
}

#[test]
fn a_child_killed_at_any_moment_is_a_value_or_killed() {
    role("before").play();
}

/// Two equal numbers behind a mutex, each one higher.
fn raise(data: Mutex<[u64; 2]>, number: u64) -> u64 {
    let mut data = data.lock_or_repair(|data| data[0] = data[1]).expect("it comes free");
    data[0] += 1;
    data[1] += 1;
    number + 1
}

fn killed_at_any_moment() {
    start(0);
    let uses = settled().expect("it comes to rest");
    let data = Mutex::new([0_u64; 2]).expect("there is room");
    let mut rng = Rng::new(u64::from(std::process::id()));
    let (mut returned, mut killed) = (0, 0);
    for number in 0..240_u64 {
        let method = if number % 3 == 0 { Start::Exec } else { Start::Auto };
        if number == 160 {
            warm(1).expect("there is room");
        }
        let child = Process::builder().start(method).spawn(raise, (&data, number)).expect("started");
        let end = Instant::now() + Duration::from_micros(rng.below(1500));
        while Instant::now() < end {
            spin_loop();
        }
        child.kill().expect("it is ours");
        match child.join() {
            Ok(value) => {
                assert_eq!(value, number + 1);
                returned += 1;
            }
            Err(ProcessError::Killed { signal: 9, .. }) => killed += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(returned > 0 && killed > 0, "{returned} returned, {killed} killed: the moments are not any");
    let counts = *data.lock_or_repair(|data| data[0] = data[1]).expect("it comes free");
    assert!(counts[0] == counts[1] && (returned..=returned + killed).contains(&counts[0]), "{counts:?}");
    drop(data);
    warm(0).expect("there is room");
    start(0);
    assert_eq!(uses.is_back(), Ok(()));
}

#[test]
fn a_child_killed_in_its_function_holds_nothing_any_more() {
    role("during").play();
}

fn hold(data: Mutex<u64>, holds: Event) {
    let _data = data.lock().expect("it is free");
    holds.set();
    loop {
        thread::park();
    }
}

fn killed_inside() {
    start(0);
    let uses = settled().expect("it comes to rest");
    for method in [Start::Zygote, Start::Exec] {
        let data = Mutex::new(5_u64).expect("there is room");
        let holds = Event::new().expect("there is room");
        let child = Process::builder().start(method).spawn(hold, (&data, &holds)).expect("started");
        holds.wait();
        assert!(matches!(data.try_lock(), Ok(None)), "the child holds it");
        child.kill().expect("it is ours");
        child.wait();
        // Who knows of the end finds everything recovered.
        assert!(data.try_lock().is_err_and(|error| error.is_owner_died()), "its holder died");
        assert_eq!(*data.lock_or_repair(|data| *data = 6).expect("it is free"), 6);
        assert_eq!(child.exit_code(), Some(-9));
        assert!(child.join().is_err_and(|error| error.is_killed()));
    }
    start(0);
    assert_eq!(uses.is_back(), Ok(()));
}

#[test]
fn a_child_killed_after_its_result_has_returned() {
    role("after").play();
}

/// Returns, and cannot leave: a child of its own is not done. Says when it is on its way out.
fn linger(go: Event, leaves: Event) -> (u64, Mutex<u64>) {
    let child = Process::spawn(|go: Event| go.wait(), &go).expect("started");
    drop(child);
    thread::spawn(move || {
        // Starts are refused once the exit has begun, which comes after the result.
        while Process::spawn(successor, 1).is_ok() {}
        leaves.set();
    });
    (4711, Mutex::new(42).expect("there is room"))
}

fn killed_after_its_result() {
    start(0);
    let uses = settled().expect("it comes to rest");
    for method in [Start::Zygote, Start::Exec] {
        let (go, leaves) = (Event::new().expect("room"), Event::new().expect("room"));
        let child = Process::builder().start(method).spawn(linger, (&go, &leaves)).expect("started");
        leaves.wait();
        assert!(child.is_alive(), "it waits for its own child");
        child.kill().expect("it is ours");
        child.wait();
        assert_eq!(child.exit_code(), Some(-9));
        let (value, data) = child.join().expect("the result comes first");
        assert_eq!((value, *data.lock().expect("free")), (4711, 42));
        go.set();
    }
    start(0);
    // The children of those that were killed are nobody's any more: they end by themselves, and as nobody watches them,
    // they are recovered by whoever looks.
    let manager = Manager::current().expect("there is one");
    let is_back = until(LIMIT / 4, || manager.recover().is_ok() && uses.covers(&Uses::now()));
    assert!(is_back.is_some(), "{uses:?} before, {:?} now", Uses::now());
}

#[test]
fn what_a_child_executes_inherits_no_memory() {
    role("heirs").play();
}

/// The open files of a program that this process executes.
fn files_of_a_program() -> String {
    let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output().expect("it runs");
    String::from_utf8_lossy(&listed.stdout).into_owned()
}

fn heirs() {
    let list = |method| {
        let child = Process::builder().start(method).spawn(files_of_a_program, ()).expect("started");
        let files = child.join().expect("it returns");
        assert!(files.contains(" 0 -> ") && !files.contains("memfd"), "{method:?}: {files}");
    };
    list(Start::Zygote);
    list(Start::Exec);
    warm(1).expect("there is room");
    list(Start::Auto);
}
