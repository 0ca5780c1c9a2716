//! A pool whose shared words are overwritten while it works: what comes of its tasks may be nonsense or never come, but the
//! process that has the pool goes on, without a panic, and can end the pool.
//!
//! The scribbler leaves one word of each slot alone, the one that says which function is called: only correct processes
//! share memory with a pool, and a wrong function would do what it does in a worker, not here.

use std::mem::offset_of;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ginnel::pool::OnWorkerDeath;
use ginnel::{Manager, Pool};
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Entry, EntryState, st};
use ginnel_layout::header::{Geometry, Header};
use ginnel_layout::line::PAGE;
use ginnel_layout::pool::{CrewFront, Plan, SLOT_BYTES, ShapeWords, SlotWords};
use ginnel_testkit::child::{self, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::View;
use ginnel_testkit::scribble::Scribbler;
use ginnel_testkit::watchdog::Watchdog;

/// What the directory calls a pool.
const TAG: u32 = 21;
const WORKERS: usize = 2;
/// How long one pool is overwritten.
const ROUND: Duration = Duration::from_millis(400);
const ROUNDS: u64 = 8;
/// Longer than an operation with a timeout of some milliseconds, or the end of a pool, takes on a busy machine.
const MOMENT: Duration = Duration::from_secs(20);

/// The way in for roles; by itself it does nothing.
#[test]
fn scribble_entry() {
    let Some((name, _)) = child::role() else { return };
    let _dog = Watchdog::new(&name, Duration::from_secs(120));
    // Also on the threads of the pool itself.
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        std::process::abort();
    }));
    match name.as_str() {
        "tasks" => (0..ROUNDS).for_each(tasks),
        "maps" => maps(),
        other => panic!("no role {other}"),
    }
}

#[test]
fn tasks_beside_a_scribbler_end_or_not_and_the_pool_can_be_ended() {
    Role::new("tasks").through_test("scribble_entry").play();
}

#[test]
fn jobs_beside_a_scribbler_harm_nobody() {
    Role::new("maps").through_test("scribble_entry").play();
}

fn pool() -> Pool {
    let builder = Pool::builder().workers(WORKERS).queue_size(32).task_timeout(Duration::from_millis(50));
    builder.on_worker_death(OnWorkerDeath::Retry(2)).build().expect("there is room")
}

fn sum(numbers: Vec<u64>) -> u64 {
    numbers.iter().fold(0, |sum, number| sum.wrapping_add(*number))
}

fn tasks(seed: u64) {
    let pool = pool();
    assert_eq!(pool.apply(sum, vec![1, 2, 3]).expect("nobody disturbs it yet"), 6);
    let mut harm = Harm::new(seed);
    let (mut rng, end) = (Rng::new(seed + 100), Instant::now() + ROUND);
    let (mut tasks, mut ended, mut right) = (Vec::new(), 0, 0);
    while Instant::now() < end {
        harm.some();
        let numbers: Vec<u64> = (0..1 << rng.below(12)).collect();
        let begun = Instant::now();
        tasks.extend(pool.spawn_timeout(sum, numbers, Duration::from_millis(1)).ok().flatten());
        if tasks.len() > 20 {
            let task = tasks.swap_remove(rng.below(20) as usize);
            match rng.below(4) {
                0 => _ = task.cancel(),
                1 => _ = task.kill(),
                2 => _ = task.progress(),
                _ => {}
            }
            if task.wait_timeout(Duration::from_millis(1)) {
                ended += 1;
                right += u32::from(task.join().is_ok());
            }
        }
        if rng.below(16) == 0 {
            let _ = (pool.stats(), pool.workers().len());
        }
        assert!(begun.elapsed() < MOMENT, "an operation took {:?}", begun.elapsed());
    }
    eprintln!("{ended} tasks ended, {right} of them with a value; then {:?}", pool.stats());
    drop(tasks);
    let begun = Instant::now();
    pool.terminate();
    assert!(begun.elapsed() < MOMENT, "the end of the pool took {:?}", begun.elapsed());
}

/// A job waits for its chunks as long as they are out, and a word that lies may keep one out for ever; so the threads that
/// run them are left alone in the end.
fn maps() {
    for seed in 0..ROUNDS {
        let pool = Arc::new(pool());
        let mut harm = Harm::new(seed + 1000);
        let workers = [(); 2].map(|()| Arc::clone(&pool)).map(|pool| {
            thread::spawn(move || {
                let end = Instant::now() + ROUND;
                while Instant::now() < end {
                    let _ = pool.map(|number: u64| number + 1, 0..20_000);
                    let texts =
                        pool.imap(|text: String| text.len() as u64, (0..50).map(|n| "x".repeat(n * 7)));
                    drop(texts.unordered().take(40).collect::<Vec<_>>());
                }
            })
        });
        let end = Instant::now() + ROUND;
        while Instant::now() < end {
            harm.some();
            thread::sleep(Duration::from_micros(500)); // pacing, not synchronisation
        }
        if workers.iter().all(thread::JoinHandle::is_finished) {
            workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
        } else {
            std::mem::forget(pool);
        }
    }
}

/// Overwrites the words of the one pool of this process.
struct Harm {
    view: View,
    /// Front, seats and hints.
    scribbler: Scribbler,
    /// In words.
    slots: Range<usize>,
    rng: Rng,
}

impl Harm {
    fn new(seed: u64) -> Self {
        let manager = Manager::current().expect("a pool has made it");
        let map = || View::writable(manager).expect("it can be mapped");
        let view = map();
        let (base, plan) = newest(&view).expect("there is a pool");
        let slots = (base + plan.slots_at) / 8..(base + plan.slots_at + plan.slots as usize * SLOT_BYTES) / 8;
        let scribbler = Scribbler::new(map(), seed).within(base / 8..slots.start);
        Self { view, scribbler, slots, rng: Rng::new(seed) }
    }

    fn some(&mut self) {
        for _ in 0..self.rng.below(4) {
            self.scribbler.scribble();
        }
        for _ in 0..self.rng.below(8) {
            let index = self.slots.start + self.rng.below(self.slots.len() as u64) as usize;
            let is_function =
                (index - self.slots.start) % (SLOT_BYTES / 8) == offset_of!(SlotWords, routine) / 8;
            if !is_function {
                let word = self.view.word(index);
                let old = word.load(Relaxed);
                let new = match self.rng.below(5) {
                    0 => old ^ 1 << self.rng.below(64),
                    1 => self.rng.next_u64(),
                    2 => self.rng.below(64),
                    3 => old.wrapping_add(1 << self.rng.below(64)),
                    _ => u64::MAX,
                };
                word.store(new, Relaxed);
            }
        }
    }
}

/// The pool in the directory, the last whose geometry is whole if there are several: where it begins, and its geometry.
fn newest(view: &View) -> Option<(usize, Plan)> {
    let word = |byte: usize| view.word(byte / 8).load(Relaxed);
    let half = |byte: usize| view.half(byte / 4).load(Relaxed);
    let participants = half(offset_of!(Header, participants)) as u16;
    let objects = half(offset_of!(Header, objects));
    let geometry = Geometry::new(participants, objects, word(offset_of!(Header, pages)))?;
    let directory = geometry.directory_at() as usize;
    let entries = (0..objects as usize).map(|index| directory + index * size_of::<Entry>());
    let is_pool = |entry: &usize| {
        let state = EntryState::from_bits(word(entry + offset_of!(Entry, state)));
        state.st == st::LIVE && half(entry + offset_of!(Entry, tag)) == TAG
    };
    // One of an earlier round may be left there with words that lie.
    let found = |entry: usize| {
        let base = geometry.data_at() as usize + half(entry + offset_of!(Entry, first_page)) as usize * PAGE;
        let shape = base + offset_of!(CrewFront, shape);
        let plan = Plan::of(
            half(shape + offset_of!(ShapeWords, slots)),
            half(shape + offset_of!(ShapeWords, seats)),
            word(shape + offset_of!(ShapeWords, tray_bytes)),
        )?;
        (word(shape + offset_of!(ShapeWords, trays)) == plan.trays_at as u64).then_some((base, plan))
    };
    entries.filter(is_pool).filter_map(found).next_back()
}
