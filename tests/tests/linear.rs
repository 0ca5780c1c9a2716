//! Recorded histories of a queue, each of which a bounded first-in-first-out queue must be able to have had.
//!
//! | who | how they meet | deaths |
//! |---|---|---|
//! | threads | two or three at once on the same handle, thousands of short runs | none |
//! | processes | three at once | one of them at a random moment, all at the end |
//! | a traced process | it is moved by a few instructions at a time, and others work in between | at a random instruction |
//!
//! What was in the queue at the end of a run is received by the one who recorded it, so that what is lost shows. The
//! checker and the exact queue are in `ginnel_testkit::linear`. Queues that are broken in a usual way are refused.

#[path = "linear/record.rs"]
mod record;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ginnel::queue::Options;
use ginnel::{Manager, Queue, Raw, manager};
use ginnel_layout::atomic::spin_loop;
use ginnel_testkit::child::{self, Role, fork_child};
use ginnel_testkit::linear::{Op, Rules, What, check, is_linearizable};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::now_ns;
use ginnel_testkit::step::{Moved, Place, Tracee};
use ginnel_testkit::watchdog::Watchdog;
use record::{HOME, Hand, Log, OPS, Subject};

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(300);

/// Lets a moment pass that is different each time.
fn dawdle(rng: &mut Rng) {
    (0..rng.below(4)).for_each(|_| spin_loop());
}

/// Starts everybody at once, as far as there are cores.
fn wait_for_the_start(log: &Log, crew: u64) {
    log.words.add(Log::GO, 1);
    let mut looks = 0_u32;
    while log.words.get(Log::GO) < crew {
        looks += 1;
        if looks.is_multiple_of(1 << 14) {
            // Pacing, not synchronisation: there may be fewer cores than threads.
            thread::sleep(Duration::from_micros(50));
        }
        spin_loop();
    }
}

/// One run of `crew` threads on `subject`; its history.
fn run_threads<S: Subject + Sync>(
    subject: &S,
    log: &Log,
    crew: u8,
    seed: u64,
    act: impl Fn(&mut Hand<'_, S>, &mut Rng) + Sync,
) -> Vec<Op> {
    log.clear();
    thread::scope(|scope| {
        for who in 0..crew {
            let act = &act;
            scope.spawn(move || {
                let (mut rng, mut hand) = (Rng::new(seed).fork(u64::from(who)), Hand::new(log, who, subject));
                wait_for_the_start(log, u64::from(crew));
                while hand.number < OPS {
                    dawdle(&mut rng);
                    act(&mut hand, &mut rng);
                }
            });
        }
    });
    (0..crew).flat_map(|who| log.history(who, None)).collect()
}

/// Operations that overlap another one's.
fn overlaps(history: &[Op]) -> usize {
    let beside = |op: &&Op| {
        history.iter().any(|other| other.who != op.who && other.called < op.end && op.called < other.end)
    };
    history.iter().filter(beside).count()
}

#[test]
fn threads_have_histories_of_a_queue() {
    let dog = Watchdog::new("threads", LIMIT);
    let log = Log::new();
    let (mut strict, mut beside, mut runs) = (0, 0, 0);
    for (capacity, crew) in [(1, 2), (2, 2), (4, 2), (1, 3), (2, 3), (4, 3)] {
        dog.waits_for(format!("{crew} threads on a queue for {capacity}, {beside} operations beside others"));
        let queue = Options::bounded(capacity).leases(64).create::<Raw<u64>>().expect("made");
        // A loaded machine may run the threads one after the other for long: the last shape waits for an overlap.
        let last = (capacity, crew) == (4, 3);
        let mut seed = 0;
        while seed < 500 || (last && beside == 0) {
            let mut history = run_threads(&queue, &log, crew, seed, |hand, rng| hand.push_or_pop(rng));
            let mut home = Hand::new(&log, HOME, &queue);
            while home.pop() {}
            history.extend(log.history(HOME, None));
            check(capacity, Rules::InProgress, &history).unwrap_or_else(|what| panic!("{what}"));
            strict += u64::from(is_linearizable(capacity, Rules::Strict, &history));
            beside += overlaps(&history);
            (seed, runs) = (seed + 1, runs + 1);
        }
    }
    println!("{runs} runs, {beside} operations beside others, {strict} runs without a look in between");
}

#[test]
fn threads_with_leases_have_histories_of_a_queue() {
    let dog = Watchdog::new("threads with leases", LIMIT);
    let log = Log::new();
    for (capacity, crew) in [(1, 2), (2, 2), (4, 2), (2, 3)] {
        dog.waits_for(format!("{crew} threads with leases on a queue for {capacity}"));
        let queue = Options::bounded(capacity).leases(64).create::<Raw<u64>>().expect("made");
        for seed in 0..500 {
            let mut history = run_threads(&queue, &log, crew, seed, |hand, rng| {
                hand.anything(rng);
                if hand.number >= OPS {
                    while !hand.leases.is_empty() {
                        hand.end_lease(true);
                    }
                }
            });
            let mut home = Hand::new(&log, HOME, &queue);
            while home.pop() {}
            history.extend(log.history(HOME, None));
            check(capacity, Rules::InProgress, &history).unwrap_or_else(|what| panic!("{what}"));
        }
    }
}

/// The way in for roles; by itself it does nothing.
#[test]
fn linear_entry() {
    let Some((name, _)) = child::role() else { return };
    match name.as_str() {
        "killed" => killed(),
        "traced" => traced(),
        other => panic!("no role {other}"),
    }
}

/// Runs a role in a process with one thread, which may fork.
fn alone(role: &str) {
    let _dog = Watchdog::new(role, LIMIT);
    println!("{}", Role::new(role).through_test("linear_entry").play());
}

const QUEUE: &str = "queue";

/// A small segment; its queue is a fresh one in each run.
struct Scene {
    manager: Manager,
    log: Log,
    capacity: usize,
}

impl Scene {
    fn new() -> Self {
        let options = manager::Options::new().limit(256 << 10).participants(8).objects(4);
        Self { manager: Manager::with(options).expect("a segment"), log: Log::new(), capacity: 1 }
    }

    fn next_run(&mut self, run: u64) -> Queue<Raw<u64>> {
        self.log.clear();
        self.manager.remove(QUEUE).expect("removed");
        self.capacity = 1 << (run % 3);
        let options = Options::bounded(self.capacity).leases(4 * OPS);
        self.manager.get_or_create_with(QUEUE, options).expect("there is room")
    }

    /// The queue as a child has it, whose inherited handles are worth nothing.
    fn enter(&self) -> Queue<Raw<u64>> {
        let own = self.manager.as_fd().try_clone_to_owned().expect("a descriptor");
        let own = Manager::from_fd(own).expect("there is a place for each child");
        own.get(QUEUE).expect("looked up").expect("it has a name")
    }

    /// Puts in order what a dead one left: until when.
    fn recover(&self) -> u64 {
        assert_eq!(self.manager.recover().expect("recovered"), 1, "one has died");
        now_ns()
    }

    /// Receives what is left, and judges the whole.
    fn judge(&self, mut home: Hand<'_, Queue<Raw<u64>>>, run: u64, history: &mut Vec<Op>) {
        while !home.leases.is_empty() {
            home.end_lease(true);
        }
        while home.pop() {}
        history.extend(self.log.history(HOME, None));
        check(self.capacity, Rules::InProgress, history).unwrap_or_else(|what| panic!("run {run}: {what}"));
    }
}

/// Operations that were cut off.
fn cut_off(history: &[Op]) -> usize {
    let is_cut = |what| {
        matches!(what, What::KilledPush(_) | What::KilledPop | What::KilledAck(_) | What::KilledNack(_))
    };
    history.iter().filter(|op| is_cut(op.what)).count()
}

#[test]
fn processes_of_which_one_is_killed_have_histories_of_a_queue() {
    alone("killed");
}

fn killed() {
    let mut scene = Scene::new();
    let (mut beside, mut cut, runs) = (0, 0, 400);
    for run in 0..runs {
        let queue = scene.next_run(run);
        let mut rng = Rng::new(run);
        let crew = 2 + (run % 2) as usize;
        let work = |who: usize| {
            let queue = scene.enter();
            let (mut rng, mut hand) =
                (Rng::new(run).fork(who as u64 + 1), Hand::new(&scene.log, who as u8, &queue));
            wait_for_the_start(&scene.log, crew as u64 + 1);
            // The one that is to die works until then.
            while hand.number < if who == 0 { 7 * OPS } else { OPS } {
                dawdle(&mut rng);
                hand.anything(&mut rng);
            }
            // What it has under leases it takes to its grave.
            loop {
                thread::park();
            }
        };
        let mut children: Vec<_> = (0..crew).map(|who| fork_child(|| work(who)).expect("forked")).collect();
        wait_for_the_start(&scene.log, crew as u64 + 1);
        while scene.log.len(0) == 0 {
            spin_loop();
        }
        let end = now_ns() + rng.below(10_000);
        while now_ns() < end {
            spin_loop();
        }
        let mut history = Vec::new();
        for (who, child) in children.iter_mut().enumerate() {
            // The first dies at once, the others when they have come to the end of their work.
            while who > 0 && scene.log.len(who as u8) < OPS {
                let ended = child.wait_timeout(Duration::from_micros(200)).expect("waited");
                assert_eq!(ended, None, "it works until it is killed");
            }
            child.kill().expect("killed");
            let died = now_ns();
            history.extend(scene.log.history(who as u8, Some((died, scene.recover()))));
        }
        scene.judge(Hand::new(&scene.log, HOME, &queue), run, &mut history);
        (beside, cut) = (beside + overlaps(&history), cut + cut_off(&history));
    }
    println!("{runs} runs, {beside} operations beside others, {cut} cut off by a kill");
}

#[test]
fn a_process_that_stops_or_dies_at_any_instruction_has_a_history_of_a_queue() {
    alone("traced");
}

/// Instructions that the traced process moves by, at most, before the others have their turn.
const STRIDE: u64 = 120;

fn traced() {
    let mut scene = Scene::new();
    // Tracer and traced share a core, which makes a step four times faster.
    child::pin(child::cores().expect("asked")[0]).expect("ours");
    let (mut beside, mut cut, mut seen_inside, runs) = (0, 0, 0, 400);
    for run in 0..runs {
        let queue = scene.next_run(run);
        let mut rng = Rng::new(run);
        let mut home = Hand::new(&scene.log, HOME, &queue);
        for _ in 0..rng.below(4) {
            home.anything(&mut rng);
        }
        let mut victim = Tracee::start(|marks| {
            let queue = scene.enter();
            let (mut rng, mut hand) = (Rng::new(run).fork(1), Hand::new(&scene.log, 0, &queue));
            marks.begin();
            while hand.number < 3 {
                hand.anything(&mut rng);
            }
            marks.end();
        })
        .expect("it comes to its first mark");
        // Most die on their way, some come to the end of their work.
        for _ in 0..1 + rng.below(14) {
            let place = victim.place();
            let there = Place { step: place.step + 1 + rng.below(STRIDE) as usize, ..place };
            if victim.run_to(there).expect("no fault") == Moved::Over {
                break;
            }
            for _ in 0..rng.below(3) {
                home.anything(&mut rng);
            }
        }
        victim.kill().expect("killed");
        let died = now_ns();
        for _ in 0..rng.below(3) {
            home.anything(&mut rng);
        }
        let mut history = scene.log.history(0, Some((died, scene.recover())));
        scene.judge(home, run, &mut history);
        (beside, cut) = (beside + overlaps(&history), cut + cut_off(&history));
        seen_inside += u64::from(!is_linearizable(scene.capacity, Rules::Strict, &history));
    }
    println!(
        "{runs} runs, {beside} operations beside others, {cut} cut off by a kill, {seen_inside} looks inside"
    );
    assert!(cut > 0, "nobody was ever killed in the middle");
}

/// Ways in which queues are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Looks at the message and takes it in two steps.
    TakesTwice,
    /// Counts its places and takes one in two steps.
    Overfills,
    /// Makes room for a message by throwing away the oldest.
    Overwrites,
    /// Gives the newest message first.
    Stack,
    /// Says that it is empty while another one has it locked.
    Shy,
}

/// A queue behind a lock, with a fault.
struct Broken {
    values: Mutex<VecDeque<u64>>,
    capacity: usize,
    fault: Fault,
}

impl Broken {
    fn values(&self) -> std::sync::MutexGuard<'_, VecDeque<u64>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subject for Broken {
    fn push(&self, value: u64) -> bool {
        let mut values = self.values();
        if self.fault == Fault::Overwrites && values.len() >= self.capacity {
            values.pop_front();
        }
        if values.len() >= self.capacity {
            return false;
        }
        if self.fault == Fault::Overfills {
            drop(values);
            // The fault, not synchronisation: what was seen need not be so any more.
            thread::sleep(Duration::from_micros(20));
            values = self.values();
        }
        values.push_back(value);
        true
    }

    fn pop(&self) -> Option<u64> {
        match self.fault {
            Fault::TakesTwice => {
                let value = self.values().front().copied()?;
                // The fault, not synchronisation, as above.
                thread::sleep(Duration::from_micros(20));
                self.values().pop_front();
                Some(value)
            }
            Fault::Stack => self.values().pop_back(),
            Fault::Shy => {
                let mut values = self.values.try_lock().ok()?;
                // The fault, not synchronisation: long in the middle, so that others come.
                thread::sleep(Duration::from_micros(20));
                values.pop_front()
            }
            Fault::Overfills | Fault::Overwrites => self.values().pop_front(),
        }
    }
}

#[test]
fn broken_queues_are_refused() {
    let dog = Watchdog::new("broken queues", LIMIT);
    let log = Log::new();
    for fault in [Fault::TakesTwice, Fault::Overfills, Fault::Overwrites, Fault::Stack, Fault::Shy] {
        dog.waits_for(format!("{fault:?} to be refused"));
        // However the threads meet, some run shows the fault.
        let refused = (0..).find(|seed| {
            let subject = Broken { values: Mutex::default(), capacity: 2, fault };
            let mut history = run_threads(&subject, &log, 3, *seed, |hand, rng| hand.push_or_pop(rng));
            let mut home = Hand::new(&log, HOME, &subject);
            while home.pop() {}
            history.extend(log.history(HOME, None));
            !is_linearizable(subject.capacity, Rules::InProgress, &history)
        });
        println!("{fault:?}: refused in run {refused:?}");
    }
}
