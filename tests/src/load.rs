//! Random kills under load, with every message, increment and page accounted for.
//!
//! | who | how many | what |
//! |---|---|---|
//! | producers, consumers | one pair a lane | single values; batches; messages of bytes of 24 to 2000, written in place |
//! | counters | 2 | two equal numbers behind a mutex, and a word that says who is inside |
//! | openers | 2 | open a named segment, count behind its mutex, leave |
//!
//! All are killed at random and started again. A successor reports when it has what its predecessor had: the time from
//! the SIGKILL to that report is the recovery time, which includes fork and attach. After one half of the deaths the
//! supervisor recovers at once, after the other half it leaves that to whoever meets the dead one.
//!
//! In the end everybody is killed; what is still in the lanes is taken out, the ledgers are closed, and nothing may be
//! left: no object, page, participant, open file or name.

mod workers;

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

use ginnel::Manager;
use ginnel::manager::Options;
use ginnel_testkit::child::{self, Child, fork_child};
use ginnel_testkit::kill::{Killer, Worker};
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::oracle::{Account, Ledger};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::{Scratch, now_ns};
use serde_json::{Value, json};

use crate::world::during;
use workers::{Counter, LANES, Opener};

/// Deaths that a ledger has room for.
const HOLES: usize = 1 << 14;

/// How long a successor may take before the run fails. The measured maximum is far below.
const TAKEOVER: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long to go on killing.
    pub time: Duration,
    /// Decides who is killed when.
    pub seed: u64,
}

/// Words of the harness: one ledger a lane, the counters', and a ready word a worker.
pub(crate) struct Books {
    words: Scratch,
}

impl Books {
    const COUNTERS: usize = 2;
    const OPENERS: usize = 2;
    const WORKERS: usize = 2 * LANES.len() + Self::COUNTERS + Self::OPENERS;
    const LEDGER: usize = Ledger::words(HOLES);
    const COUNTS: usize = Self::WORKERS;
    const LEDGERS: usize = Self::COUNTS + 16;

    fn new() -> io::Result<Self> {
        Ok(Self { words: Scratch::new(Self::LEDGERS + LANES.len() * Self::LEDGER)? })
    }

    fn ledger(&self, lane: usize) -> Ledger<'_> {
        Ledger::new(&self.words, Self::LEDGERS + lane * Self::LEDGER, lane as u64, HOLES)
    }

    /// The books of counter `index`: done, intent; then, shared, who is inside, and how often that was wrong.
    fn counter(&self, index: usize) -> Counter<'_> {
        Counter { words: &self.words, at: Self::COUNTS, index }
    }

    /// Says that worker `index` has what its predecessor had.
    pub(crate) fn ready(&self, index: usize) {
        self.words.set(index, now_ns());
    }
}

/// What one role of the run shares with its closures.
struct Scene<'a> {
    manager: &'a Manager,
    books: &'a Books,
    cores: Vec<usize>,
    /// When the last SIGKILL was sent to a worker, in ns; 0: it has not died yet.
    killed: Vec<Cell<u64>>,
    recovery_max: Cell<u64>,
    recoveries: RefCell<Rng>,
}

impl Scene<'_> {
    /// Starts worker `index` and waits until it has taken over.
    fn start(&self, index: usize, body: impl FnOnce()) -> io::Result<Child> {
        self.books.words.set(index, 0);
        let core = self.cores[index % self.cores.len()];
        let mut child = fork_child(|| {
            child::pin(core).expect("the core is ours");
            body();
        })?;
        let begun = Instant::now();
        while self.books.words.get(index) == 0 {
            if let Some(exit) = child.wait_timeout(Duration::from_micros(200))? {
                return Err(io::Error::other(format!("it ended before it had taken over: {exit}")));
            }
            if begun.elapsed() > TAKEOVER {
                return Err(io::Error::other(format!("it could not take over in {TAKEOVER:?}")));
            }
        }
        let killed = self.killed[index].get();
        if killed != 0 {
            let took = self.books.words.get(index).saturating_sub(killed);
            self.recovery_max.set(self.recovery_max.get().max(took));
        }
        Ok(child)
    }

    /// Notes the time of a kill, and recovers at once or leaves it to the others.
    fn buried(&self, index: usize, sent: Instant) -> Result<(), String> {
        self.killed[index].set(now_ns().saturating_sub(sent.elapsed().as_nanos() as u64));
        if self.recoveries.borrow_mut().below(2) == 0 {
            self.manager.recover().map_err(during("recover"))?;
        }
        Ok(())
    }
}

/// Runs it, in a process with one thread. `words` from `at` on tell the progress.
///
/// # Errors
/// When a worker ended by itself or could not take over: then something is wrong that no figure expresses.
pub fn run(config: Config, words: &Scratch, at: usize) -> Result<Value, String> {
    let text = |error: io::Error| error.to_string();
    let before = Snapshot::of(std::process::id()).map_err(text)?;
    let books = Books::new().map_err(during("make the books"))?;
    let opener = Opener { name: format!("kill-{}", std::process::id()) };
    let manager = Manager::with(Options::new().limit(4 << 20).participants(32).objects(16))
        .map_err(during("make a segment"))?;
    let (kills, freezes, recovery_max) = slaughter(config, &manager, &books, &opener, words, at)?;
    manager.recover().map_err(during("recover"))?;
    let account = settle(&manager, &books)?;
    let (lost, duplicated, corrupt) = books.counter(0).settle(&manager)?;
    let mut leaks = leaks_inside(&manager)?;
    drop(manager);
    leaks.extend(opener.leaks()?);
    drop(books);
    let mut after = Snapshot::of(std::process::id()).map_err(text)?;
    after.add_names(&opener.name).map_err(text)?;
    leaks.extend(after.leaked_since(&before));
    for leak in &leaks {
        eprintln!("leaked: {leak}");
    }
    Ok(json!({
        "kills": kills, "lost": account.lost + lost, "duplicated": account.duplicated + duplicated,
        "corrupt": account.corrupt + corrupt, "leaked": leaks.len(),
        "recovery_max_ms": recovery_max as f64 / 1e6, "messages": account.delivered,
        "redelivered": account.redelivered, "open_sends": account.excused, "freezes": freezes,
        "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}

/// Kills until the time is over; gives kills, freezes and the longest recovery in ns.
fn slaughter(
    config: Config,
    manager: &Manager,
    books: &Books,
    opener: &Opener,
    words: &Scratch,
    at: usize,
) -> Result<(u64, u64, u64), String> {
    let rng = Rng::new(config.seed);
    let scene = Scene {
        manager,
        books,
        cores: child::cores().map_err(during("ask for the cores"))?,
        killed: vec![Cell::new(0); Books::WORKERS],
        recovery_max: Cell::new(0),
        recoveries: RefCell::new(rng.fork(1)),
    };
    let mut killer = Killer::new(rng.fork(0).next_u64(), Duration::from_millis(2)..Duration::from_millis(40));
    hire(&scene, opener, &mut killer)?;
    let (begun, mut freezes) = (Instant::now(), 0);
    while begun.elapsed() < config.time {
        killer.strike()?;
        if killer.kills().is_multiple_of(16) {
            killer.freeze()?;
            freezes += 1;
        }
        words.set(at, begun.elapsed().as_millis() as u64);
        words.set(at + 1, killer.kills());
        words.add(at + 2, 1);
    }
    killer.stop()?;
    let kills = killer.kills();
    drop(killer);
    Ok((kills, freezes, scene.recovery_max.get()))
}

/// Adds all workers to the killer.
fn hire<'a>(scene: &'a Scene<'a>, opener: &'a Opener, killer: &mut Killer<'a>) -> Result<(), String> {
    let Scene { manager, books, .. } = *scene;
    for (lane, spec) in LANES.iter().enumerate() {
        let (tx, rx) = (2 * lane, 2 * lane + 1);
        killer.add(Worker::new(
            format!("producer of {}", spec.name),
            move || scene.start(tx, || workers::produce(manager, books, lane, tx)),
            move |sent| {
                books.ledger(lane).bury_producer()?;
                scene.buried(tx, sent)
            },
        ))?;
        killer.add(Worker::new(
            format!("consumer of {}", spec.name),
            move || scene.start(rx, || workers::consume(manager, books, lane, rx)),
            move |sent| scene.buried(rx, sent),
        ))?;
    }
    for counter in 0..Books::COUNTERS {
        let index = 2 * LANES.len() + counter;
        killer.add(Worker::new(
            format!("counter {counter}"),
            move || scene.start(index, || books.counter(counter).count(manager, books, index)),
            move |sent| {
                books.counter(counter).bury();
                scene.buried(index, sent)
            },
        ))?;
    }
    for number in 0..Books::OPENERS {
        let index = 2 * LANES.len() + Books::COUNTERS + number;
        killer.add(Worker::new(
            format!("opener {number}"),
            move || scene.start(index, || opener.come_and_go(books, index)),
            move |sent| scene.buried(index, sent),
        ))?;
    }
    Ok(())
}

/// Takes out what is left in the lanes and closes their ledgers.
fn settle(manager: &Manager, books: &Books) -> Result<Account, String> {
    let mut sum = Account::default();
    for (lane, spec) in LANES.iter().enumerate() {
        workers::drain(manager, books, lane)?;
        let account = books.ledger(lane).close();
        if !account.is_clean() {
            eprintln!("lane {}: {account}", spec.name);
        }
        sum = sum.and(account);
    }
    Ok(sum)
}

/// What is left in the segment when all names are gone.
fn leaks_inside(manager: &Manager) -> Result<Vec<String>, String> {
    for name in manager.names() {
        manager.remove(&name).map_err(during("remove a name"))?;
    }
    let inside = manager.inspect();
    let mut leaks = Vec::new();
    if inside.participants.len() != 1 {
        leaks.push(format!("{} participants: {:?}", inside.participants.len() - 1, inside.participants));
    }
    if !inside.objects.is_empty() || manager.size() != 0 {
        leaks.push(format!("{} bytes: {:?}", manager.size(), inside.objects));
    }
    Ok(leaks)
}
