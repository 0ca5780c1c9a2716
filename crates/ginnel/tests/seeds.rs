//! The small programs with processes, pools and dicts among the examples: each is run, and what it prints is what it is
//! to print.
//!
//! The examples are built with the tests (`cargo test`, `cargo nextest run`); `cargo test --test seeds` alone needs
//! them built before.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Far longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a program printed until it ended, and nothing after.
struct Run {
    lines: Vec<String>,
    took: Duration,
}

impl Run {
    fn of(example: &str) -> Self {
        let out = std::env::temp_dir().join(format!("ginnel-seed-{example}-{}", std::process::id()));
        let started = Instant::now();
        let mut child = Command::new(path_of(example))
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("a file"))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|why| panic!("{example}: {why}; `cargo test` without a filter builds it"));
        let group = child.id();
        while child.try_wait().expect("our child").is_none() {
            assert!(started.elapsed() < PATIENCE, "{example} does not end");
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let status = child.wait().expect("our child");
        // At once: what comes later comes from a child that it did not wait for.
        let text = fs::read_to_string(&out).expect("text");
        let took = started.elapsed();
        while members_of(group) > 0 {
            assert!(started.elapsed() < PATIENCE, "{example} left processes behind");
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let later = fs::read_to_string(&out).expect("text");
        fs::remove_file(&out).expect("our file");
        assert!(status.success(), "{example}: {status}");
        assert_eq!(text, later, "{example} did not wait for its children");
        Self { lines: text.lines().map(String::from).collect(), took }
    }

    fn matching(&self, prefix: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix(prefix)).collect()
    }

    fn at(&self, line: &str) -> usize {
        let found = self.lines.iter().position(|l| l == line);
        found.unwrap_or_else(|| panic!("no {line:?} in {:?}", self.lines))
    }

    fn has_in_any_order(&self, expected: impl IntoIterator<Item = String>) {
        let (mut found, mut expected) = (self.lines.clone(), expected.into_iter().collect::<Vec<_>>());
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}

fn path_of(example: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("this test");
    let built = tests.parent().and_then(|deps| deps.parent()).expect("target/profile/deps");
    built.join("examples").join(example)
}

/// How many processes of that group there are.
fn members_of(group: u32) -> usize {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    // pid (name) state parent group; the name may hold anything.
    let groups = stats.filter_map(|stat| {
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().nth(2).map(String::from)
    });
    groups.filter(|of| *of == group.to_string()).count()
}

/// The numbers in a line such as `child: id 12, parent 3`.
fn numbers(line: &str) -> Vec<u32> {
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

fn each(numbers: std::ops::Range<u32>, line: impl Fn(u32) -> String, last: &str) -> Vec<String> {
    numbers.map(line).chain([last.to_owned()]).collect()
}

#[test]
fn hello_ten() {
    Run::of("hello_ten").has_in_any_order((0..10).map(|i| format!("hello QQ{i}")));
}

#[test]
fn process_threads() {
    let run = Run::of("process_threads");
    let greeted: HashSet<_> = run.matching("hello QQ").into_iter().collect();
    let threads: HashSet<_> = run.matching("QQ").iter().map(|line| &line[..1]).collect();
    assert_eq!((greeted.len(), run.lines.len()), (10, 20));
    assert_eq!(greeted, threads);
}

#[test]
fn parent_child() {
    let run = Run::of("parent_child");
    let (ids, parents) = (run.matching("process id: "), run.matching("parent process: "));
    assert_eq!(run.matching("name: "), ["MainProcess", "Process-1"]);
    assert_eq!((ids.len(), parents[1]), (2, ids[0]), "the starter is the parent, however it was started");
    assert_eq!(run.matching("hello "), ["QQ"]);
}

#[test]
fn three_workers() {
    let run = Run::of("three_workers");
    for worker in 1..=3 {
        assert_eq!(run.matching(&format!("worker {worker}: tick ")), ["0", "1", "2", "3", "4"]);
    }
    assert_eq!(run.matching("name: "), [r#"["Process-1", "Process-2", "Process-3"]"#]);
    assert_eq!(run.matching("alive: "), ["[false, false, false]"]);
    assert_eq!(numbers(run.matching("pid: ")[0]).iter().filter(|pid| **pid > 0).count(), 3);
    assert!(run.matching("processors: ")[0].parse::<usize>().expect("a number") > 0);
}

#[test]
fn clock_daemon() {
    let run = Run::of("clock_daemon");
    run.at("main process is done");
    assert!(run.matching("the time is").len() < 5, "the daemon finished its work");
}

#[test]
fn lock_file() {
    let run = Run::of("lock_file");
    assert_eq!(run.lines[0], "both are started");
    let (first, second) = (["first"; 9], ["second"; 9]);
    let written = &run.lines[1..];
    assert!(written == [first, second].concat() || written == [second, first].concat(), "{written:?}");
}

#[test]
fn semaphore_five() {
    let run = Run::of("semaphore_five");
    let (mut inside, mut most, mut names) = (0_i32, 0, HashSet::new());
    for line in &run.lines {
        let (name, act) = line.split_once(' ').expect("two words");
        names.insert(name);
        inside += if act == "acquired" { 1 } else { -1 };
        most = most.max(inside);
    }
    assert_eq!((run.lines.len(), names.len(), inside, most), (10, 5, 0, 2));
}

#[test]
fn queue_nonblocking() {
    let run = Run::of("queue_nonblocking");
    assert!(run.lines == ["1"] || run.lines == ["nothing there yet"], "{:?}", run.lines);
}

#[test]
fn two_children_talk() {
    let run = Run::of("two_children_talk");
    let expected = ["0", "1", "2", "3", "4", "0", "1", "2", "3", "4"];
    assert_eq!(run.matching("send: "), expected);
    assert_eq!(run.matching("received: "), expected);
}

#[test]
fn pipe() {
    assert_eq!(Run::of("pipe").lines, [r#"(66, None, "hello, word")"#, "then: None"]);
}

#[test]
fn pipe_both_ways() {
    let run = Run::of("pipe_both_ways");
    assert_eq!(run.lines, ["Numbers(66, None)", r#"Word("QQ")"#, "the child received: 微信"]);
}

#[test]
fn pipe_two_way() {
    let run = Run::of("pipe_two_way");
    assert!(run.at("child sends") < run.at("main received: Hello, main process"));
    assert_eq!(run.lines[2..], ["child received: Hello, child process", "end of the conversation"]);
}

#[test]
fn pipe_answer() {
    Run::of("pipe_answer").has_in_any_order([
        "son received: I am the parent process".to_owned(),
        "parent received: 42, nothing, hello".to_owned(),
    ]);
}

/// Two programs that share an address and a key.
#[test]
fn echo() {
    let address = format!("@ginnel-seed-echo-{}", std::process::id());
    let mut server = Command::new(path_of("echo_server"))
        .arg(&address)
        .stdout(Stdio::piped())
        .spawn()
        .expect("`cargo test` without a filter builds it");
    let mut said = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    assert_eq!(said.next().expect("a line").expect("text"), format!("listening at {address}"));
    let client = Command::new(path_of("echo_client")).args([&address, "one", "two"]).output();
    let client = client.expect("the client runs");
    server.kill().expect("our child");
    server.wait().expect("our child");
    assert_eq!(String::from_utf8_lossy(&client.stdout), "one\ntwo\n", "{client:?}");
}

#[test]
#[cfg(feature = "tokio")]
fn tokio_worker() {
    let expected = ["97 = [97]", "360 = [2, 2, 2, 3, 3, 5]", "1000036000099 = [1000003, 1000033]"];
    assert_eq!(Run::of("tokio_worker").lines, expected);
}

#[test]
fn event_two() {
    let run = Run::of("event_two");
    assert!(run.at("hasty: waits") < run.at("hasty: is set: false"));
    assert!(run.at("hasty: is set: false") < run.at("main: event is set"));
    run.at("patient: is set: true");
    assert_eq!(run.lines.last().expect("lines"), "names: patient hasty");
}

#[test]
fn pids() {
    let run = Run::of("pids");
    assert_eq!(run.lines.iter().filter(|line| line.parse::<u32>().is_ok()).count(), 2);
}

#[test]
fn child_pids() {
    let run = Run::of("child_pids");
    let (main, child) = (numbers(run.matching("main: ")[0]), numbers(run.matching("child: ")[0]));
    assert_eq!((child[1], run.lines.len()), (main[0], 2));
    assert_ne!(child[0], main[0]);
}

#[test]
fn asynchronous() {
    let run = Run::of("asynchronous");
    assert_eq!(run.matching("child ").len(), 4);
    let stars: Vec<_> = run.lines.iter().filter(|line| line.starts_with('*')).cloned().collect();
    assert_eq!(stars, ["*", "**", "***", "****", "*****"]);
}

#[test]
fn isolation() {
    assert_eq!(Run::of("isolation").lines, ["child: 100", "main: 99"]);
}

#[test]
fn concurrent() {
    let run = Run::of("concurrent");
    let ids: Vec<_> = run.matching("child: ").into_iter().map(numbers).collect();
    assert_eq!(ids.iter().map(|ids| ids[0]).collect::<HashSet<_>>().len(), 10);
    assert_eq!(ids.iter().map(|ids| ids[1]).collect::<HashSet<_>>().len(), 1);
    let mut ends = run.matching("end of ");
    ends.sort_unstable();
    assert_eq!(ends, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    run.at("main process is done");
}

#[test]
fn main_waits() {
    let run = Run::of("main_waits");
    run.has_in_any_order(each(0..10, |i| format!("end of {i}"), "main process is done"));
}

#[test]
fn join() {
    assert_eq!(Run::of("join").lines, ["first letter is sent", "second letter is sent"]);
}

#[test]
fn join_many() {
    let run = Run::of("join_many");
    assert_eq!(run.at("last letter is sent"), 5);
    run.has_in_any_order(each(0..5, |i| format!("letter {i} is sent"), "last letter is sent"));
}

#[test]
fn state() {
    let run = Run::of("state");
    let (main, child) = (numbers(run.matching("main: ")[0]), numbers(run.matching("child: ")[0]));
    assert_eq!((child[1], run.lines.len()), (main[0], 2));
}

#[test]
fn state_args() {
    let run = Run::of("state_args");
    let lines = run.matching("child ");
    let mut arguments: Vec<_> =
        lines.iter().map(|line| line.split_once(" has ").expect("who has what").1).collect();
    arguments.sort_unstable();
    assert_eq!(arguments, (0..10).map(|i| format!("argument {i}")).collect::<Vec<_>>());
    assert_eq!(run.lines.last().expect("lines"), "together 100 bytes");
}

#[test]
fn daemon() {
    let run = Run::of("daemon");
    run.at("main process is done");
    assert!(run.matching("child ends").is_empty() && run.took < Duration::from_secs(25));
}

#[test]
fn daemon_and_not() {
    let run = Run::of("daemon_and_not");
    assert!(run.at("worker begins") < run.at("main process is done"));
    let after = &run.lines[run.at("worker ends")..];
    assert!(after.len() <= 2, "the daemon went on: {after:?}");
    assert!(!run.matching("*").is_empty());
}

#[test]
fn heartbeat() {
    let run = Run::of("heartbeat");
    run.at("host one counts its log");
    assert!(run.matching("host one is alive").len() >= 2);
    assert!(run.lines.len() - run.at("...") <= 2, "the daemon went on");
}

#[test]
fn process() {
    let run = Run::of("process");
    assert_eq!(run.lines, each(0..5, |_| "test Rust processes".into(), "end of the test"));
}

#[test]
fn named() {
    let run = Run::of("named");
    assert_eq!(run.at("end of the test"), 5);
    run.has_in_any_order(each(0..5, |i| format!("tester {i} at work"), "end of the test"));
}

#[test]
fn queue_three() {
    let run = Run::of("queue_three");
    assert_eq!((run.at("main receives"), run.at("end of the test")), (3, 7));
    let mut texts = run.lines[4..7].to_vec();
    texts.sort();
    assert_eq!(texts, ["I am 0", "I am 1", "I am 2"]);
}

#[test]
fn worker_threads() {
    let run = Run::of("worker_threads");
    let threads: HashSet<_> = run.matching("a thread of ").into_iter().collect();
    assert_eq!((run.matching("hello bob ").len(), threads.len()), (10, 10));
}

#[test]
fn global_is_not_shared() {
    assert_eq!(Run::of("global_is_not_shared").lines, ["nothing received"]);
}

#[test]
fn queue() {
    assert_eq!(Run::of("queue").lines, [r#"(42, None, "hello")"#]);
}

#[test]
#[cfg(feature = "macros")]
fn in_main() {
    assert_eq!(Run::of("in_main").lines, [r#"the child runs in thread Some("main")"#]);
}

/// Which processes the tasks of a pool say that they ran in: never the main one, and at most so many.
fn workers_of(run: &Run, prefix: &str, most: usize) -> Vec<u32> {
    let ids: Vec<u32> = run.matching(prefix).into_iter().flat_map(numbers).collect();
    let distinct = ids.iter().collect::<HashSet<_>>().len();
    assert!((1..=most).contains(&distinct), "{distinct} workers, and not {most}: {:?}", run.lines);
    ids
}

#[test]
fn pool_apply() {
    let run = Run::of("pool_apply");
    assert_eq!(workers_of(&run, "in process ", 5).len(), 10);
    assert_eq!((run.at("end"), run.lines.len()), (10, 12));
    assert!(numbers(&run.lines[11])[0] >= 500, "one after the other: {}", run.lines[11]);
}

#[test]
fn pool_spawn() {
    let run = Run::of("pool_spawn");
    assert_eq!(workers_of(&run, "in process ", 5).len(), 10);
    assert!(run.at("end") < 10, "spawn waited for the tasks");
}

#[test]
fn pool_callback() {
    let run = Run::of("pool_callback");
    let main = numbers(run.matching("main process ")[0])[0];
    assert!(!workers_of(&run, "in process ", 2).contains(&main));
    assert_eq!(run.matching("--> done: Ok(()) in "), vec![main.to_string(); 3]);
    assert_eq!((run.at("end") < 7, run.lines.len()), (true, 8));
}

#[test]
fn pool_three_workers() {
    let run = Run::of("pool_three_workers");
    let (begun, ended): (Vec<_>, Vec<_>) =
        (0..4).map(|i| (run.at(&format!("message: hello {i}")), run.at(&format!("end hello {i}")))).unzip();
    let first = *ended.iter().min().expect("four");
    assert!(begun[3] > first, "the fourth did not wait for a free worker: {:?}", run.lines);
    run.at("mark");
    assert_eq!(run.at("all workers are done"), 9);
}

#[test]
fn pool_uneven() {
    let run = Run::of("pool_uneven");
    for name in 0..10 {
        let (runs, ran) = (format!("task {name} runs in "), format!("task {name} ran for "));
        assert_eq!((run.matching(&runs).len(), run.matching(&ran).len()), (1, 1));
    }
    assert_eq!((run.at("end of the test"), run.lines.len()), (20, 21));
}

#[test]
fn pool_map_files() {
    assert_eq!(Run::of("pool_map_files").lines, ["60 thumbnails"]);
}

#[test]
fn pool_results() {
    let run = Run::of("pool_results");
    let main = numbers(run.matching("main process ")[0])[0];
    assert!(!workers_of(&run, "in process ", 3).contains(&main));
    let mut done = run.matching("--> done: ");
    done.sort_unstable();
    assert_eq!(done, (100..110).map(|result| format!("{result} in {main}")).collect::<Vec<_>>());
    run.at("end");
}

#[test]
fn pool_serial() {
    let run = Run::of("pool_serial");
    assert_eq!(workers_of(&run, "in process ", 3).len(), 4);
    assert_eq!(run.matching("result "), ["100", "101", "102", "103"]);
    for (i, line) in run.lines[..8].iter().enumerate() {
        assert_eq!(line.starts_with("in process "), i % 2 == 0, "{:?}", run.lines);
    }
    assert_eq!((run.at("end"), run.lines.len()), (8, 9));
}

#[test]
fn word_count() {
    let run = Run::of("word_count");
    assert_eq!(run.lines[..3], ["160000 the", "80000 and", "80000 next"]);
    assert_eq!(run.lines[3..], ["560000 words, 94 different", "the same as one process counts: true"]);
}

#[test]
fn config_watch() {
    let run = Run::of("config_watch");
    for worker in 0..3 {
        let seen = run.matching(&format!("worker {worker}: "));
        let expected = ["0.5 a second from one", "2 a second from one", "2 a second from one, two", "ends"];
        assert_eq!(seen, expected);
    }
}

#[test]
fn shared_dict() {
    let run = Run::of("shared_dict");
    let (children, main) = run.lines.split_at(10);
    let ids: Vec<_> = children.iter().map(|line| numbers(line)).collect();
    assert!(ids.iter().all(|seen| seen.len() >= 6 && seen[..5] == [0, 1, 2, 3, 4]), "{:?}", run.lines);
    let (dict, log) = (numbers(&main[0]), numbers(&main[1]));
    assert_eq!((dict.len(), log.len(), main.len()), (20, 15, 2));
    let of_dict: HashSet<_> = dict.chunks(2).map(|entry| (entry[0], entry[1])).collect();
    assert_eq!(of_dict, log[5..].iter().map(|id| (*id, *id)).collect(), "{main:?}");
}

#[test]
fn dict_and_list() {
    let run = Run::of("dict_and_list");
    let mut keys = run.lines[..11].to_vec();
    keys.sort();
    let mut expected: Vec<_> = (0..10).map(|i| format!("Number({i}): a")).collect();
    expected.push(r#"Word("2"): b"#.into());
    assert_eq!(keys, expected);
    let mut list = numbers(&run.lines[11]);
    assert_eq!((&list[..5], list.len(), run.lines.len()), (&[0, 1, 2, 3, 4][..], 15, 12));
    list[5..].sort_unstable();
    assert_eq!(list[5..], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn dict_one_key() {
    let run = Run::of("dict_one_key");
    assert_eq!(run.lines[0], r#"{1: "1"}"#);
    let list = numbers(&run.lines[1]);
    assert_eq!((&list[..5], run.lines.len()), (&[0, 1, 2, 3, 4][..], 2));
    assert_eq!(list[5..].iter().collect::<HashSet<_>>().len(), 10);
}
