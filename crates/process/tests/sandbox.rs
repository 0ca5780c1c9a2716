//! What a child in a sandbox can do, and what not.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use ginnel_object::{Mutex, Queue};
use ginnel_process::{Builder, Process, Sandbox, Start};
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

fn both() -> Vec<Builder> {
    if !Sandbox::is_supported() {
        return Vec::new();
    }
    vec![Process::builder().start(Start::Zygote), Process::builder().start(Start::Exec)]
}

/// What can be done: read a file, write one, a socket, a process.
fn can(read: String, write: String) -> [bool; 4] {
    [
        File::open(read).is_ok(),
        fs::write(write, "x").is_ok(),
        UdpSocket::bind("127.0.0.1:0").is_ok() || UnixStream::pair().is_ok(),
        Command::new("/bin/true").status().is_ok(),
    ]
}

/// A directory for one test.
fn place(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("ginnel-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("can be made");
    path
}

#[test]
fn one_that_computes_cannot_reach_anything_else() {
    let _dog = Watchdog::new("one_that_computes_cannot_reach_anything_else", LIMIT);
    let target = place("compute").join("file");
    let target = target.to_str().expect("is text");
    for builder in both() {
        let child = builder.clone().sandbox(Sandbox::compute()).spawn(can, ("/etc/passwd", target));
        assert_eq!(child.expect("starts").join().expect("returns"), [false; 4]);
        let kill =
            || rustix::process::getppid().map(|parent| rustix::process::test_kill_process(parent).is_ok());
        let child = builder.sandbox(Sandbox::compute()).spawn(kill, ()).expect("starts");
        assert_eq!(child.join().expect("returns"), Some(false));
    }
    fs::remove_dir(place("compute")).expect("is empty");
}

#[test]
fn one_that_computes_can_compute() {
    let _dog = Watchdog::new("one_that_computes_can_compute", LIMIT);
    let work = |queue: Queue<Vec<u64>>, sum: Mutex<u64>| {
        let threads: Vec<_> = (0..4_u64)
            .map(|n| {
                let (queue, sum) = (queue.clone(), sum.clone());
                std::thread::Builder::new().name("part".into()).spawn(move || {
                    let numbers: Vec<u64> = (0..100_000).map(|i| i * n).collect();
                    let random = std::collections::HashMap::from([(n, 1_u64)]);
                    *sum.lock().expect("nobody died") += numbers.iter().sum::<u64>() * random[&n];
                    // This is not synchronisation: the call is one of those that have to be permitted.
                    std::thread::sleep(Duration::from_millis(1));
                    queue.send(numbers).is_ok()
                })
            })
            .collect();
        threads.into_iter().all(|thread| thread.is_ok_and(|thread| thread.join().unwrap_or(false)))
    };
    for builder in both() {
        let queue = Queue::<Vec<u64>>::bounded(8).expect("there is room");
        let sum = Mutex::new(0_u64).expect("there is room");
        let child = builder.clone().sandbox(Sandbox::compute()).spawn(work, (&queue, &sum)).expect("starts");
        assert!(child.join().expect("returns"));
        assert_eq!(*sum.lock().expect("nobody died"), 6 * (99_999 * 100_000 / 2));
        let child = builder.clone().sandbox(Sandbox::compute()).spawn(|| -> u8 { std::process::abort() }, ());
        let child = child.expect("starts");
        child.wait();
        assert_eq!(child.exit_code(), Some(-6));
        let child = builder.sandbox(Sandbox::compute()).spawn(|n: usize| vec![7_u8; n], 1 << 20);
        assert_eq!(child.expect("starts").join().expect("returns").len(), 1 << 20);
    }
}

#[test]
fn files_are_those_that_are_permitted() {
    let _dog = Watchdog::new("files_are_those_that_are_permitted", LIMIT);
    let place = place("files");
    let (read, write) = (place.join("read"), place.join("write"));
    fs::create_dir_all(&read).expect("can be made");
    fs::create_dir_all(&write).expect("can be made");
    fs::write(read.join("file"), "x").expect("can be written");
    let name = |path: std::path::PathBuf| path.to_str().expect("is text").to_owned();
    let (source, target) = (name(read.join("file")), name(write.join("file")));
    for builder in both() {
        let ask = |sandbox: Sandbox, source: &str, target: &str| {
            let child = builder.clone().sandbox(sandbox).spawn(can, (source, target)).expect("starts");
            child.join().expect("returns")
        };
        let files = || Sandbox::files().read(&read).write(&write);
        assert_eq!(ask(files(), &source, &target), [true, true, true, false]);
        assert_eq!(ask(files(), "/etc/passwd", &source), [false, false, true, false]);
        let compute = || Sandbox::compute().read(&read).write(&write);
        assert_eq!(ask(compute(), &source, &target), [true, true, false, false]);
        assert_eq!(ask(compute(), "/etc/passwd", &source), [false, false, false, false]);
        let one = Sandbox::compute().read(read.join("file"));
        assert_eq!(ask(one, &source, &target), [true, false, false, false]);
        let missing = Sandbox::files().read("/nonexistent");
        let child = builder.clone().sandbox(missing).spawn(can, (source.as_str(), "")).expect("starts");
        assert!(child.join().expect_err("is not there").to_string().contains("/nonexistent"));
    }
    fs::remove_dir_all(&place).expect("is ours");
}

#[test]
fn there_is_no_way_out() {
    let _dog = Watchdog::new("there_is_no_way_out", LIMIT);
    for builder in both() {
        let status = || {
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            status.lines().any(|line| line == "NoNewPrivs:\t1")
        };
        let child = builder.sandbox(Sandbox::files().read("/proc")).spawn(status, ()).expect("starts");
        assert!(child.join().expect("returns"));
    }
}
