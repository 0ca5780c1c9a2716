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
//!
//! [`queue`] does the same to queues, with many producers and many consumers; [`locks`] to everything that locks and
//! signals; [`pipes`] to pipes, to ends that move, and to connections; [`processes`] to children and to the zygote that
//! makes them; [`pool`] to the workers of pools; [`dicts`] to those who change dicts and lists.

mod account;
pub mod dicts;
pub mod locks;
pub mod pipes;
pub mod pool;
pub mod processes;
pub mod queue;

mod scene;
mod workers;

use std::io;
use std::time::Duration;

use ginnel::Manager;
use ginnel::manager::Options;
use ginnel_testkit::kill::Killer;
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::oracle::{Account, Ledger};
use ginnel_testkit::scratch::Scratch;
use serde_json::{Value, json};

use crate::world::during;
use scene::{Scene, Toll, say_ready};
use workers::{Counter, LANES, Opener};

/// Deaths that a ledger has room for.
const HOLES: usize = 1 << 14;

/// The time between two kills.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(2)..Duration::from_millis(40);

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
        say_ready(&self.words, index);
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
    let scene = Scene::new(config, &manager, &books.words, Books::WORKERS)?;
    let Toll { kills, freezes, recovery_max } = scene.slaughter(
        config,
        PAUSE,
        |scene, killer| hire(scene, &manager, &books, &opener, killer),
        (words, at),
        |_| {},
    )?;
    drop(scene);
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

/// Adds all workers to the killer.
fn hire<'a>(
    scene: &'a Scene<'a>,
    manager: &'a Manager,
    books: &'a Books,
    opener: &'a Opener,
    killer: &mut Killer<'a>,
) -> Result<(), String> {
    for (lane, spec) in LANES.iter().enumerate() {
        let (tx, rx) = (2 * lane, 2 * lane + 1);
        let name = format!("producer of {}", spec.name);
        let produce = move || workers::produce(manager, books, lane, tx);
        scene.hire(killer, name, tx, produce, move || books.ledger(lane).bury_producer())?;
        let name = format!("consumer of {}", spec.name);
        scene.hire(killer, name, rx, move || workers::consume(manager, books, lane, rx), || Ok(()))?;
    }
    for counter in 0..Books::COUNTERS {
        let index = 2 * LANES.len() + counter;
        let count = move || books.counter(counter).count(manager, books, index);
        let bury = move || {
            books.counter(counter).bury();
            Ok(())
        };
        scene.hire(killer, format!("counter {counter}"), index, count, bury)?;
    }
    for number in 0..Books::OPENERS {
        let index = 2 * LANES.len() + Books::COUNTERS + number;
        let visit = move || opener.come_and_go(books, index);
        scene.hire(killer, format!("opener {number}"), index, visit, || Ok(()))?;
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
