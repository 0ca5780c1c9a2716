//! What a builder was told reaches the child, whichever way it is started.
//!
//! Invariants
//! - I1 the child that changes its environment looks at it by the standard library only, which locks it.

#![allow(unsafe_code, reason = "a child changes its own environment")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use ginnel_object::{Error, ErrorKind};
use ginnel_process::{Builder, Limits, OnParentDeath, Process, ProcessError, Start};
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

fn both() -> [Builder; 2] {
    [Process::builder().start(Start::Zygote), Process::builder().start(Start::Exec)]
}

fn variable(key: String) -> Option<String> {
    env::var(key).ok()
}

fn directory() -> PathBuf {
    env::current_dir().unwrap_or_default()
}

/// A line of a file about the own process.
fn line(file: String, name: String) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn names_arrive() {
    let _dog = Watchdog::new("names_arrive", LIMIT);
    for builder in both() {
        let child = builder.clone().name("worker").spawn(|| ginnel_process::info::current().name, ());
        let child = child.expect("starts");
        assert_eq!(child.name(), "worker");
        assert_eq!(child.join().expect("returns"), "worker");
        let parent = || ginnel_process::info::parent().map(|parent| parent.name);
        assert_eq!(
            builder.spawn(parent, ()).expect("starts").join().expect("returns").as_deref(),
            Some("MainProcess")
        );
    }
}

#[test]
fn the_environment_arrives() {
    let _dog = Watchdog::new("the_environment_arrives", LIMIT);
    for builder in both() {
        let set = builder.clone().env("GINNEL_A", "1").env("GINNEL_B", "2").env_remove("GINNEL_B");
        let ask = |builder: &Builder, key: &str| {
            builder.spawn(variable, key).expect("starts").join().expect("returns")
        };
        assert_eq!(ask(&set, "GINNEL_A").as_deref(), Some("1"));
        assert_eq!(ask(&set, "GINNEL_B"), None);
        assert_eq!(ask(&set, "PATH"), env::var("PATH").ok());
        assert_eq!(ask(&builder.clone().env_clear(), "PATH"), None);
        assert_eq!(ask(&builder.env_remove("PATH"), "PATH"), None);
    }
    let long = Process::builder().env("GINNEL_LONG", "x".repeat(5000));
    let length = |key: String| env::var(key).map_or(0, |value| value.len());
    assert_eq!(long.spawn(length, "GINNEL_LONG").expect("starts").join().expect("returns"), 5000);
}

#[test]
fn the_directory_arrives() {
    let _dog = Watchdog::new("the_directory_arrives", LIMIT);
    for builder in both() {
        let child = builder.clone().cwd("/usr").spawn(directory, ()).expect("starts");
        assert_eq!(child.join().expect("returns"), PathBuf::from("/usr"));
        let child = builder.spawn(directory, ()).expect("starts");
        assert_eq!(child.join().expect("returns"), directory());
    }
    let child = Process::builder().cwd("/nonexistent").spawn(directory, ());
    assert!(child.and_then(|child| Ok(child.join()?)).is_err());
}

#[test]
fn what_the_starter_changed_since_its_zygote_was_made_arrives() {
    let _dog = Watchdog::new("what_the_starter_changed_since_its_zygote_was_made_arrives", LIMIT);
    // In a process of its own, whose environment and directory nobody else uses.
    let change = || -> Result<(Option<String>, Option<String>, PathBuf), Error> {
        let zygote = Process::builder().start(Start::Zygote);
        zygote.spawn(directory, ())?.join()?;
        // SAFETY: I1.
        unsafe { env::set_var("GINNEL_NEW", "1") };
        // SAFETY: I1.
        unsafe { env::remove_var("PATH") };
        env::set_current_dir("/usr")?;
        let new = zygote.spawn(variable, "GINNEL_NEW")?.join()?;
        let path = zygote.spawn(variable, "PATH")?.join()?;
        Ok((new, path, zygote.spawn(directory, ())?.join()?))
    };
    let (new, path, directory) =
        Process::spawn(change, ()).expect("starts").join().expect("returns").expect("starts");
    assert_eq!((new.as_deref(), path, directory), (Some("1"), None, PathBuf::from("/usr")));
}

#[test]
fn nice_processors_and_limits_arrive() {
    let _dog = Watchdog::new("nice_processors_and_limits_arrive", LIMIT);
    for builder in both() {
        let ask = |builder: &Builder, file: &str, name: &str| {
            builder.spawn(line, (file, name)).expect("starts").join().expect("returns")
        };
        let status = "/proc/self/status";
        assert_eq!(ask(&builder.clone().cpus([0]), status, "Cpus_allowed_list:"), "0");
        let nice = builder.clone().nice(7).spawn(
            || {
                let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
                stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(16)?.parse::<i32>().ok())
            },
            (),
        );
        assert_eq!(nice.expect("starts").join().expect("returns"), Some(7));
        let limits = Limits::new().files(40).core(0).cpu(Duration::from_millis(9_500)).data(1 << 30);
        let limited = builder.limits(limits);
        assert!(ask(&limited, "/proc/self/limits", "Max open files").starts_with("40 40"));
        assert!(ask(&limited, "/proc/self/limits", "Max core file size").starts_with("0 0"));
        assert!(ask(&limited, "/proc/self/limits", "Max cpu time").starts_with("10 10"));
        assert!(ask(&limited, "/proc/self/limits", "Max data size").starts_with("1073741824"));
    }
    let refused = |builder: Builder| builder.spawn(directory, ()).map(drop).expect_err("impossible").kind();
    assert_eq!(refused(Process::builder().nice(99)), ErrorKind::Invalid);
    assert_eq!(refused(Process::builder().cpus([])), ErrorKind::Invalid);
    let child = Process::builder().cpus([1000]).spawn(directory, ()).expect("starts");
    assert!(child.join().is_err(), "there is no such processor");
}

#[test]
fn pre_run_runs_before_the_function_and_can_refuse() {
    let _dog = Watchdog::new("pre_run_runs_before_the_function_and_can_refuse", LIMIT);
    for builder in both() {
        let prepare = || Ok(env::set_current_dir("/usr/lib")?);
        let child = builder.clone().cwd("/usr").pre_run(prepare).spawn(directory, ()).expect("starts");
        assert_eq!(child.join().expect("returns"), fs::canonicalize("/usr/lib").expect("is there"));
        let refuse = || Err(std::io::Error::other("not today").into());
        let child = builder.pre_run(refuse).spawn(directory, ()).expect("starts");
        let error = child.join().expect_err("was refused");
        assert!(error.to_string().contains("not today"), "{error}");
    }
}

#[test]
fn a_control_group_that_is_not_there_is_an_error() {
    let _dog = Watchdog::new("a_control_group_that_is_not_there_is_an_error", LIMIT);
    for builder in both() {
        let child = builder.cgroup("/sys/fs/cgroup/ginnel-nonexistent").spawn(directory, ()).expect("starts");
        let error = child.join().expect_err("has no group");
        assert!(error.to_string().contains("ginnel-nonexistent"), "{error}");
    }
}

#[test]
fn a_control_group_is_entered() {
    let _dog = Watchdog::new("a_control_group_is_entered", LIMIT);
    let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter().map(PathBuf::from);
    let Some(root) = root.into_iter().find(|root| root.join("cgroup.procs").exists()) else { return };
    let group = root.join(format!("ginnel-test-{}", std::process::id()));
    // Who may make no groups has nothing to test.
    if fs::create_dir(&group).is_err() {
        return;
    }
    for builder in both() {
        let own = || fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let child = builder.cgroup(&group).spawn(own, ()).expect("starts");
        let groups = child.join().expect("returns");
        assert!(
            groups.lines().any(|line| line.starts_with("0::") && line.contains("ginnel-test-")),
            "{groups}"
        );
    }
    fs::remove_dir(&group).expect("is empty");
}

#[test]
fn settings_that_are_too_long_are_refused() {
    let _dog = Watchdog::new("settings_that_are_too_long_are_refused", LIMIT);
    let error = Process::builder().name("x".repeat(2000)).spawn(directory, ()).expect_err("is too long");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn all_are_started_or_none_goes_on() {
    let _dog = Watchdog::new("all_are_started_or_none_goes_on", LIMIT);
    let children = Process::spawn_all(|n: u64| n * n, 0..10_u64).expect("start");
    let values: Result<Vec<u64>, ProcessError> = children.into_iter().map(Process::join).collect();
    assert_eq!(values.expect("return"), [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
}

#[test]
fn one_that_is_to_die_with_its_starter_does() {
    let _dog = Watchdog::new("one_that_is_to_die_with_its_starter_does", LIMIT);
    for start in [Start::Zygote, Start::Exec] {
        // The starter tells who its child is, and is killed.
        let queue = ginnel_object::Queue::<u32>::bounded(2).expect("there is room");
        let starter = |queue: ginnel_object::Queue<u32>, exec: bool| {
            let start = if exec { Start::Exec } else { Start::Zygote };
            let builder = Process::builder().start(start).on_parent_death(OnParentDeath::Kill);
            if let Ok(child) = builder.spawn(std::thread::park, ()) {
                let _ = queue.send(child.pid());
                child.wait();
            }
        };
        let child = Process::spawn(starter, (&queue, start == Start::Exec)).expect("starts");
        let grandchild = queue.recv().expect("was told");
        child.kill().expect("is there");
        child.wait();
        let stat = format!("/proc/{grandchild}/stat");
        // An orphan that nobody waits for stays a zombie where the init process does not care.
        let lives =
            || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "));
        while lives() {
            // The end of it has no event for one that is no parent of it; the watchdog ends a wait without end.
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// A group of 64 MiB, removed when dropped. `None` where this user cannot make one.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        places.into_iter().find_map(|(root, limit)| {
            let group = Self(Path::new(root).join(format!("ginnel-{}", process::id())));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(limit), (64 << 20).to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was in it has been waited for.
        let _ = fs::remove_dir(&self.0);
    }
}

fn endless() {
    loop {
        std::thread::park();
    }
}

#[test]
fn one_that_uses_its_groups_memory_up_says_so() {
    let Some(group) = Group::new() else {
        eprintln!("no group with the memory controller can be made here");
        return;
    };
    let limited = || Process::builder().cgroup(&group.0);
    assert_eq!(limited().spawn(|| 7_u32, ()).expect("starts").join().expect("returns"), 7);
    let killed =
        limited().spawn(|| drop(std::hint::black_box(vec![1_u8; 256 << 20])), ()).expect("starts").join();
    assert!(matches!(killed, Err(ProcessError::Killed { signal: 9, out_of_memory: true, .. })), "{killed:?}");
    let endless = limited().spawn(endless, ()).expect("starts");
    endless.kill().expect("lives");
    let killed = endless.join();
    assert!(
        matches!(killed, Err(ProcessError::Killed { signal: 9, out_of_memory: false, .. })),
        "{killed:?}"
    );
}
