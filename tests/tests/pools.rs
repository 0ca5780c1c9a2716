//! Pools and what can happen to them: the parent, a worker or the zygote is killed or stopped, at a moment of its choice.
//!
//! Each test runs its scene in a role of its own (the test `pool_entry`), because a process has one arena, one zygote and
//! one table of descriptors.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use ginnel::pool::{OnWorkerDeath, TaskError};
use ginnel::process::ProcessError;
use ginnel::sync::{Event, Mutex};
use ginnel::{Pool, Process};
use ginnel_layout::atomic::Ordering::{AcqRel, Relaxed};
use ginnel_layout::atomic::{AtomicU32, spin_loop};
use ginnel_testkit::child::{self, Arguments, Exit, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use ginnel_tests::load::processes::uses::{LIMIT, children_of, is_gone, settled, start, until, zygote};

/// The way in for roles; by itself it does nothing.
#[test]
fn pool_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let _dog = Watchdog::new(&name, LIMIT);
    match name.as_str() {
        "parent" => parent(&arguments),
        "bombs" => bombs(&arguments),
        "zygotes" => dying_zygotes(),
        "stopped" => stopped_workers(),
        other => panic!("no role {other}"),
    }
}

fn role(name: &str) -> Role {
    Role::new(name).through_test("pool_entry")
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("it is ours");
}

fn words_at(path: &str) -> Scratch {
    let file = fs::File::options().read(true).write(true).open(path).expect("the test keeps it open");
    Scratch::from_fd(file.into()).expect("mapped")
}

/// Waits for its workers to be ready.
fn whole(pool: &Pool, workers: usize) {
    until(LIMIT, || pool.stats().workers == workers).expect("they come up");
}

// The parent is killed.

const WORKERS: usize = 3;
/// The word of a parent: how far it is.
const STEP: usize = 0;

fn parent(arguments: &Arguments) {
    let words = words_at(&arguments.get::<String>(0).expect("a path"));
    let mood: String = arguments.get(1).expect("a mood");
    let pair = Mutex::new(0_u64).expect("there is room");
    loop {
        let pool = Pool::new(WORKERS).expect("made");
        if mood != "young" {
            whole(&pool, WORKERS);
        }
        if mood == "busy" || mood == "terminates" {
            for number in 0..100_u64 {
                // Much of it waits, much of it is large, one has a lock.
                let text = "x".repeat(100_000 * (number % 2) as usize);
                drop(pool.spawn(never_ends, (&pair, text)).expect("given"));
            }
            until(LIMIT, || pool.stats().running == WORKERS).expect("they are at it");
        }
        words.add(STEP, 1);
        match mood.as_str() {
            "terminates" => pool.terminate(),
            "young" => drop(pool),
            _ => loop {
                thread::park();
            },
        }
    }
}

fn never_ends(pair: Mutex<u64>, _text: String) {
    let _pair = pair.lock();
    loop {
        spin_loop();
    }
}

/// The arena of a process: the inode of its memory.
fn arena_of(pid: u32) -> Vec<u64> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_arena = |name: &str| name.contains("memfd:ginnel") && !name.contains("testkit");
    let arenas =
        files.filter(|file| fs::read_link(file.path()).is_ok_and(|to| is_arena(&to.to_string_lossy())));
    arenas.filter_map(|file| fs::metadata(file.path()).ok()).map(|file| file.ino()).collect()
}

/// Does any process have one of these mapped?
fn is_mapped(inodes: &[u64]) -> bool {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let has_it = |maps: String| {
        maps.lines().filter(|line| line.contains("/memfd:")).any(|line| {
            let inode = line.split_whitespace().nth(4).and_then(|inode| inode.parse().ok());
            inode.is_some_and(|inode| inodes.contains(&inode))
        })
    };
    pids.filter_map(|process| fs::read_to_string(process.path().join("maps")).ok()).any(has_it)
}

#[test]
fn a_killed_parent_takes_its_pool_along() {
    let dog = Watchdog::new("killed parents", LIMIT);
    let mut rng = Rng::new(u64::from(std::process::id()));
    for (mood, rounds) in [("idle", 1), ("busy", 2), ("terminates", 4), ("young", 4)] {
        for _ in 0..rounds {
            let words = Scratch::new(1).expect("a memfd");
            let mut parent = role("parent").fd(&words).arg(mood).spawn().expect("started");
            dog.waits_for(mood);
            until(LIMIT, || words.get(STEP) >= 2 || (rounds < 4 && words.get(STEP) == 1)).expect("it works");
            let end = Instant::now() + Duration::from_micros(rng.below(4000));
            while Instant::now() < end {
                spin_loop();
            }
            let pid = parent.pid().as_raw() as u32;
            let (arena, family) = (arena_of(pid), children_of(pid));
            assert!(!arena.is_empty() && !family.is_empty(), "{mood}: {arena:?} {family:?}");
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it lives");
            assert!(!maps.contains("/dev/shm/"), "a tree of processes has no file:\n{maps}");
            assert_eq!(parent.kill().expect("it is ours"), Exit::KILLED);
            let left = || family.iter().filter(|(child, ..)| !is_gone(*child)).collect::<Vec<_>>();
            let took = until(Duration::from_secs(1), || left().is_empty());
            assert!(took.is_some(), "{mood}: these outlive their parent: {:?}", left());
            // Those that were being started just then as well.
            until(Duration::from_secs(1), || !is_mapped(&arena)).expect("nobody has its memory");
        }
    }
}

// A worker dies where its values are made and read.

/// Where a worker is to die; the fuse is a word of the test, used up by the first who gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    Initializer = 1,
    Reads,
    Runs,
    Guarded,
    Drops,
    Writes,
    Exits,
}

const SPOTS: [Spot; 7] =
    [Spot::Initializer, Spot::Reads, Spot::Runs, Spot::Guarded, Spot::Drops, Spot::Writes, Spot::Exits];
const FUSE: usize = 0;
const PARENT: usize = 1;

static WORDS: std::sync::OnceLock<Scratch> = std::sync::OnceLock::new();

/// In a worker: dies if it is this spot, unless one has died there.
fn pass(spot: Spot) {
    let Some(words) = WORDS.get() else { return };
    if words.get(PARENT) == u64::from(std::process::id()) {
        return;
    }
    let fuse = words.word(FUSE);
    if fuse.compare_exchange(spot as u64, 0, AcqRel, Relaxed).is_ok() {
        match spot {
            Spot::Exits => std::process::exit(3),
            _ => signal(std::process::id(), Signal::SIGKILL),
        }
    }
}

/// Text with a mine on each side.
#[derive(Debug)]
struct Mined(String);

impl Serialize for Mined {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pass(Spot::Writes);
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Mined {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        pass(Spot::Reads);
        Ok(Self(text))
    }
}

impl Drop for Mined {
    fn drop(&mut self) {
        pass(Spot::Drops);
    }
}

fn arm(path: String) {
    let _ = WORDS.set(words_at(&path));
    pass(Spot::Initializer);
}

/// Counts under a lock, and gives everything back, with a lock of its own on each side of the mine.
fn mined(pair: Mutex<u64>, text: Mined) -> (Mutex<u64>, Mined, Event) {
    *pair.lock_or_repair(|_| ()).expect("it comes free") += 1;
    let held = pair.lock_or_repair(|_| ()).expect("it comes free");
    pass(Spot::Runs);
    pass(Spot::Exits);
    drop(held);
    let _ = std::panic::catch_unwind(|| pass(Spot::Guarded));
    let text = Mined(text.0.clone());
    (Mutex::new(7).expect("there is room"), text, Event::new().expect("there is room"))
}

#[test]
fn a_worker_may_die_wherever_it_is() {
    let words = Scratch::new(2).expect("a memfd");
    role("bombs").fd(&words).play();
}

fn bombs(arguments: &Arguments) {
    let path: String = arguments.get(0).expect("a path");
    let words = WORDS.get_or_init(|| words_at(&path));
    words.set(PARENT, u64::from(std::process::id()));
    start(0);
    Pool::new(1).expect("made").join().expect("in order");
    let uses = settled().expect("it comes to rest");
    for policy in [OnWorkerDeath::Retry(2), OnWorkerDeath::Fail] {
        let pool = Pool::builder().workers(2).on_worker_death(policy).initializer(arm, path.clone());
        let pool = pool.build().expect("made");
        for (spot, length) in SPOTS.into_iter().flat_map(|spot| [(spot, 10), (spot, 1000), (spot, 100_000)]) {
            let pair = Mutex::new(0_u64).expect("there is room");
            words.set(FUSE, spot as u64);
            if spot == Spot::Initializer {
                pool.reload().expect("it works");
                until(LIMIT, || words.get(FUSE) == 0).expect("a new one comes");
            }
            let outcome = pool.apply(mined, (&pair, Mined("x".repeat(length))));
            let is_spared = policy != OnWorkerDeath::Fail || spot == Spot::Initializer;
            match outcome {
                Ok((own, text, event)) if is_spared => {
                    assert_eq!(
                        (text.0.len(), *own.lock().expect("free"), event.is_set()),
                        (length, 7, false)
                    );
                }
                Err(TaskError::Died(ProcessError::Killed { signal: 9, .. })) if !is_spared => {}
                Err(TaskError::Died(ProcessError::Exited { .. })) if !is_spared && spot == Spot::Exits => {}
                other => panic!("{spot:?} {length} {policy:?}: {other:?}"),
            }
            assert_eq!(words.get(FUSE), 0, "{spot:?}: nobody came there");
            assert!((0..=2).contains(&*pair.lock_or_repair(|_| ()).expect("recovered")));
            // A chunk of which one item meets the mine.
            if spot != Spot::Initializer && policy != OnWorkerDeath::Fail && length < 100_000 {
                words.set(FUSE, spot as u64);
                let texts = (0..40).map(|_| (pair.clone(), Mined("y".repeat(length))));
                let found = pool.map(|(pair, text): (Mutex<u64>, Mined)| mined(pair, text).1, texts);
                assert_eq!(found.expect("spared").iter().filter(|text| text.0.len() == length).count(), 40);
                assert_eq!(words.get(FUSE), 0, "{spot:?}: nobody came there");
            }
        }
        whole(&pool, 2);
        pool.join().expect("in order");
    }
    start(0);
    assert_eq!(uses.is_back(), Ok(()));
}

// The zygote dies.

#[test]
fn zygotes_that_die_under_load_cost_nothing_but_time() {
    role("zygotes").play();
}

/// Says that it is over when it goes, also by a panic: the killer would go on for ever, and hide why.
struct Over<'a>(&'a AtomicU32);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(1, Relaxed);
    }
}

fn dying_zygotes() {
    // After some deaths in a row there is no zygote for a while: workers are then started without one.
    const DEATHS: u32 = 20;
    const ROUNDS: u32 = 20;
    const TIME: Duration = Duration::from_secs(3);
    start(0);
    Pool::new(1).expect("made").join().expect("in order");
    let uses = settled().expect("it comes to rest");
    let pool = Pool::builder().workers(2).on_worker_death(OnWorkerDeath::Retry(50)).build().expect("made");
    let (is_over, deaths) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(|| {
            let mut rng = Rng::new(u64::from(std::process::id()));
            while is_over.load(Relaxed) == 0 {
                // This is not synchronisation: somebody dies at a random moment.
                thread::sleep(Duration::from_micros(rng.below(6000)));
                let worker = pool.workers().iter().find(|worker| worker.tasks > 0).map(|worker| worker.pid);
                let mut end = |victim: u32| kill(Pid::from_raw(victim as i32), Signal::SIGKILL).is_ok();
                worker.filter(|_| rng.below(4) == 0).map(&mut end);
                deaths.fetch_add(u32::from(zygote().is_some_and(end)), Relaxed);
            }
        });
        let _over = Over(&is_over);
        let (begun, mut rounds) = (Instant::now(), 0);
        while rounds < ROUNDS || (deaths.load(Relaxed) < DEATHS && begun.elapsed() < TIME) {
            assert_eq!(applied(pool), (1..=100).sum::<u64>());
            rounds += 1;
        }
        assert!(deaths.load(Relaxed) > 0, "no zygote died");
    });
    whole(&pool, 2);
    pool.join().expect("in order");
    start(0);
    assert_eq!(uses.is_back(), Ok(()));
}

/// A hundred tasks: the sum of what they return.
fn applied(pool: &Pool) -> u64 {
    let tasks: Vec<_> =
        (0..100_u64).map(|number| pool.spawn(|n: u64| n + 1, number).expect("given")).collect();
    tasks.into_iter().map(|task| task.join().expect("it is run again")).sum()
}

// A worker stands still.

#[test]
fn a_worker_that_stands_still_holds_only_its_own_task_up() {
    role("stopped").play();
}

fn stopped_workers() {
    start(0);
    Pool::new(1).expect("made").join().expect("in order");
    let uses = settled().expect("it comes to rest");
    let pool = Pool::builder().workers(3).task_timeout(Duration::from_millis(400)).build().expect("made");
    whole(&pool, 3);

    // One with a task in its hands.
    let task = pool.spawn(|| signal(std::process::id(), Signal::SIGSTOP), ()).expect("given");
    until(LIMIT, || pool.stats().running == 1).expect("it is taken");
    assert_eq!(applied(&pool), (1..=100).sum::<u64>());
    assert!(matches!(task.join(), Err(TaskError::TimedOut)));
    whole(&pool, 3);

    // One that is idle, and may be the one that is woken.
    let idle = pool.workers()[0].pid;
    signal(idle, Signal::SIGSTOP);
    for _ in 0..5 {
        let begun = Instant::now();
        assert_eq!(applied(&pool), (1..=100).sum::<u64>());
        assert!(begun.elapsed() < LIMIT / 10, "it took {:?}", begun.elapsed());
    }
    signal(idle, Signal::SIGCONT);
    assert_eq!(pool.workers().iter().filter(|worker| worker.pid == idle).count(), 1);

    // One that stands still when the pool ends.
    let last = pool.workers()[1].pid;
    signal(last, Signal::SIGSTOP);
    pool.terminate();
    assert!(is_gone(last));
    let child = Process::spawn(|| 1_u64, ()).expect("started");
    assert_eq!(child.join().expect("it returns"), 1);
    assert_eq!(uses.is_back(), Ok(()));
}
