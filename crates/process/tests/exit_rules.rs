//! What becomes of children when their starter ends: each rule as a program of its own.

use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use ginnel_object::ErrorKind;
use ginnel_object::event::Event;
use ginnel_process::{OnParentDeath, Process, Start, info};
use ginnel_testkit::child::{Role, role};
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

/// A line that other programs' output cannot be taken for.
fn say(what: &str) {
    let mut out = stdout().lock();
    // Nobody reads any more: then nothing depends on it.
    let _ = out.write_all(format!("\n>{what}\n").as_bytes());
    let _ = out.flush();
}

fn wait_for_a_byte() {
    // The end of the input serves as well.
    let _ = stdin().lock().read(&mut [0]);
}

/// A program, and what it is told and says.
struct Program {
    child: std::process::Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn new(name: &str) -> Self {
        let role = Role::new(name).through_test("programs");
        let mut command = role.command().expect("this program");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        Self { child, input, output: BufReader::new(output) }
    }

    /// The next thing it says. `None`: it and all its children are silent for ever.
    fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).expect("text") == 0 {
                return None;
            }
            if let Some(said) = line.strip_prefix('>') {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    fn hear_number(&mut self) -> Pid {
        let said = self.hear().expect("a number");
        Pid::from_raw(said.parse().expect("a number")).expect("a process")
    }

    fn tell(&mut self) {
        self.input.as_mut().expect("open").write_all(b"x").expect("somebody reads");
    }

    fn ends_well(&mut self) {
        assert!(self.child.wait().expect("ours").success());
    }
}

/// Has it ended? Waits up to a minute.
fn has_ended(pidfd: &impl std::os::fd::AsFd, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)).expect("polls") > 0
}

/// The programs. Does nothing when it runs as a test.
#[test]
fn programs() {
    let Some((name, _)) = role() else { return };
    match name.as_str() {
        "joins" => {
            let body = || {
                wait_for_a_byte();
                say("child");
            };
            drop(Process::spawn(body, ()).expect("a child"));
            say("main");
        }
        "daemon" => {
            let child = Process::builder().daemon().spawn(stand_still, ()).expect("a child");
            say(&child.pid().to_string());
            wait_for_a_byte();
        }
        "stubborn" => {
            let begun = Event::new().expect("an event");
            let body = |begun: Event| {
                let mut set = SigSet::empty();
                set.add(Signal::SIGTERM);
                set.thread_block().expect("it can be blocked");
                begun.set();
                stand_still();
            };
            let child = Process::builder().daemon().spawn(body, &begun).expect("a child");
            begun.wait();
            say(&child.pid().to_string());
            wait_for_a_byte();
        }
        "worker" => worker(),
        "orphans" => orphans(),
        "nested" => {
            let grandchild = || {
                wait_for_a_byte();
                say("grandchild");
            };
            let child = Process::spawn(
                move || {
                    drop(Process::spawn(grandchild, ()).expect("a grandchild"));
                    say("child");
                    5
                },
                (),
            );
            say(&child.expect("a child").join().expect("a value").to_string());
        }
        "late" => {
            // Somebody goes on starting children while the program ends.
            let first = Process::spawn(|| (), ()).expect("a child");
            thread::spawn(|| while Process::spawn(|| (), ()).is_ok() {});
            first.join().expect("it returns");
        }
        "exits" => {
            drop(Process::spawn(|| say("child"), ()).expect("a child"));
            std::process::exit(3);
        }
        other => panic!("no program {other}"),
    }
}

/// Has a worker, and interrupts it.
fn worker() {
    let body = |begun: Event| {
        begun.set();
        stand_still();
    };
    let begun = Event::new().expect("an event");
    let child = Process::builder().worker().spawn(body, &begun).expect("a child");
    begun.wait();
    child.interrupt().expect("it lives");
    say(&child.pid().to_string());
    wait_for_a_byte();
    assert!(child.is_alive(), "an interrupt is not for it");
}

/// Has children of all kinds, and does not end.
fn orphans() {
    // It is one of its own once it runs, not before.
    let begun = Event::new().expect("an event");
    let goes_on = |begun: Event| {
        begun.set();
        wait_for_a_byte();
        say("done");
    };
    let builder = Process::builder();
    let daemon = builder.clone().daemon().spawn(stand_still, ()).expect("a child");
    let tied = builder.clone().on_parent_death(OnParentDeath::Kill).spawn(stand_still, ()).expect("a child");
    let worker = builder.clone().worker().spawn(stand_still, ()).expect("a child");
    let again = builder.clone().daemon().start(Start::Exec).spawn(stand_still, ()).expect("a child");
    let other = builder.spawn(goes_on, &begun).expect("a child");
    begun.wait();
    for child in [daemon.pid(), tied.pid(), worker.pid(), again.pid(), other.pid()] {
        say(&child.to_string());
    }
    stand_still();
}

fn stand_still() {
    loop {
        thread::park();
    }
}

#[test]
fn the_program_waits_for_those_it_dropped() {
    let _watchdog = watchdog("joins");
    let mut program = Program::new("joins");
    assert_eq!(program.hear().as_deref(), Some("main"));
    assert!(program.child.try_wait().expect("ours").is_none());
    program.tell();
    assert_eq!(program.hear().as_deref(), Some("child"));
    program.ends_well();
}

#[test]
fn exit_waits_as_well_and_keeps_its_code() {
    let _watchdog = watchdog("exits");
    let mut program = Program::new("exits");
    assert_eq!(program.hear().as_deref(), Some("child"));
    assert_eq!(program.child.wait().expect("ours").code(), Some(3));
}

#[test]
fn daemons_end_with_the_program_even_stubborn_ones() {
    let _watchdog = watchdog("daemons");
    for name in ["daemon", "stubborn", "worker"] {
        let mut program = Program::new(name);
        let daemon = pidfd_open(program.hear_number(), PidfdFlags::empty()).expect("it lives");
        assert!(!has_ended(&daemon, Duration::ZERO));
        program.tell();
        program.ends_well();
        assert!(has_ended(&daemon, Duration::ZERO), "{name}");
        assert_eq!(program.hear(), None);
    }
}

#[test]
fn a_killed_program_takes_those_with_it_that_are_tied_to_it() {
    let _watchdog = watchdog("orphans");
    let mut program = Program::new("orphans");
    let [daemon, tied, worker, again, other] =
        [(); 5].map(|()| pidfd_open(program.hear_number(), PidfdFlags::empty()).expect("it lives"));
    program.child.kill().expect("ours");
    program.child.wait().expect("ours");
    for child in [daemon, tied, worker, again] {
        assert!(has_ended(&child, Duration::from_secs(60)));
    }
    assert!(!has_ended(&other, Duration::ZERO));
    program.tell();
    assert_eq!(program.hear().as_deref(), Some("done"));
    assert!(has_ended(&other, Duration::from_secs(60)));
    assert_eq!(program.hear(), None);
}

#[test]
fn a_child_waits_for_its_own_before_it_ends() {
    let _watchdog = watchdog("nested");
    let mut program = Program::new("nested");
    assert_eq!(program.hear().as_deref(), Some("child"));
    program.tell();
    assert_eq!(program.hear().as_deref(), Some("grandchild"));
    assert_eq!(program.hear().as_deref(), Some("5"));
    program.ends_well();
}

#[test]
fn a_start_while_the_program_ends_does_not_hang_it() {
    let _watchdog = watchdog("late");
    for _ in 0..5 {
        let mut program = Program::new("late");
        program.ends_well();
        assert_eq!(program.hear(), None);
    }
}

#[test]
fn names_tell_where_a_process_stands() {
    let _watchdog = watchdog("names");
    let names = || {
        let grandchildren = ["", "named"].map(|name| {
            let builder = if name.is_empty() { Process::builder() } else { Process::builder().name(name) };
            let child = builder
                .spawn(|| (info::current(), info::parent()), ())
                .map(|child| (child.name().to_owned(), child.pid(), child.join().expect("a value")));
            child.expect("a grandchild")
        });
        let me = info::current();
        for (name, pid, (current, parent)) in &grandchildren {
            assert_eq!((&current.name, current.pid), (name, *pid));
            assert_eq!(parent.as_ref().map(|parent| (&parent.name, parent.pid)), Some((&me.name, me.pid)));
        }
        let parent = info::parent().expect("it was started").name;
        (me.name, parent, grandchildren.map(|(name, ..)| name))
    };
    let child = Process::builder().name("middle").spawn(names, ()).expect("a child");
    let (me, parent, below) = child.join().expect("names");
    assert_eq!((me.as_str(), parent.as_str()), ("middle", "MainProcess"));
    assert_eq!(below, ["middle:1", "named"]);
    let child = Process::spawn(|| info::current().name, ()).expect("a child");
    let name = child.name().to_owned();
    assert!(name.starts_with("Process-"));
    assert_eq!(child.join().expect("a name"), name);
}

#[test]
fn a_daemon_may_not_have_children() {
    let _watchdog = watchdog("daemon of a daemon");
    let body = || (info::current().daemon, Process::spawn(|| (), ()).map_err(|error| error.kind()).err());
    let child = Process::builder().daemon().spawn(body, ()).expect("a child");
    assert_eq!(child.join().expect("answers"), (true, Some(ErrorKind::Invalid)));
    for builder in [Process::builder(), Process::builder().worker()] {
        let child = builder.spawn(body, ()).expect("a child");
        assert_eq!(child.join().expect("answers"), (false, None));
    }
}
