//! Random kills of those who talk through pipes and connections, with every message accounted for.
//!
//! | who | how many | what |
//! |---|---|---|
//! | senders, receivers | one a pipe | short messages, some with a handle, one in 64 in parts; now and then they give their end away through a queue and go on with another |
//! | a listener | 1 | gives back what its clients send, at a path |
//! | clients | 2 | connect, send, compare what comes back |
//!
//! An end whose holder is killed is free again: whoever has none takes one that waits in the queue, or a free one by its
//! name. In the end everybody is killed, what is still in queues and pipes is taken out, and nothing may be left.

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

use super::scene::{Scene, Toll, say_ready};
use super::{Config, leaks_inside};
use crate::world::during;
use workers::Place;

/// Pipes, each with a sender and a receiver.
const PIPES: usize = 3;
/// Who connects.
const CLIENTS: usize = 2;
const WORKERS: usize = 2 * PIPES + 1 + CLIENTS;

/// Deaths that a ledger has room for.
const HOLES: usize = 1 << 15;

/// The time between two kills.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(8);

/// Words of the harness.
struct Books {
    words: Scratch,
}

impl Books {
    /// Messages that came back from the listener.
    const ECHOES: usize = WORKERS;
    /// Handles and answers that were not the right ones.
    const WRONG: usize = WORKERS + 1;
    /// For each pipe, receivers that have died since one wrote a message down.
    const DEAD: usize = WORKERS + 2;
    const LEDGERS: usize = Self::DEAD + PIPES;
    const LEDGER: usize = Ledger::words(HOLES);

    fn new() -> io::Result<Self> {
        Ok(Self { words: Scratch::new(Self::LEDGERS + PIPES * Self::LEDGER)? })
    }

    fn ledger(&self, pipe: usize) -> Ledger<'_> {
        Ledger::new(&self.words, Self::LEDGERS + pipe * Self::LEDGER, pipe as u64, HOLES)
    }

    /// The receiver of a pipe is dead. It copies: what it had taken and not written down is missing, and so is what others
    /// had taken that died before it, if none of them came to write.
    fn bury_receiver(&self, pipe: usize) -> Result<(), String> {
        self.words.add(Self::DEAD + pipe, 1);
        self.ledger(pipe).bury_copying_consumer(self.words.get(Self::DEAD + pipe))
    }

    fn ready(&self, index: usize) {
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
    let options = Options::new().limit(8 << 20).participants(32).objects(512);
    let manager = Manager::with(options).map_err(during("make a segment"))?;
    let place = Place { manager: &manager, books: &books, path: workers::path() };
    let scene = Scene::new(config, &manager, &books.words, WORKERS)?;
    let toll =
        scene.slaughter(config, PAUSE, |scene, killer| hire(scene, &place, killer), (words, at), |_| {})?;
    let Toll { kills, freezes, recovery_max } = toll;
    drop(scene);
    manager.recover().map_err(during("recover"))?;
    let account = place.settle()?;
    let mut leaks = place.leaks_outside()?;
    drop(place);
    leaks.extend(leaks_inside(&manager)?);
    drop(manager);
    let (echoes, wrong) = (books.words.get(Books::ECHOES), books.words.get(Books::WRONG));
    drop(books);
    leaks.extend(Snapshot::of(std::process::id()).map_err(text)?.leaked_since(&before));
    for leak in &leaks {
        eprintln!("leaked: {leak}");
    }
    Ok(json!({
        "kills": kills, "lost": account.lost, "duplicated": account.duplicated,
        "corrupt": account.corrupt + wrong, "leaked": leaks.len(),
        "recovery_max_ms": recovery_max as f64 / 1e6, "messages": account.delivered, "echoes": echoes,
        "redelivered": account.redelivered, "open_sends": account.excused, "freezes": freezes,
        "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}

/// Adds all workers to the killer.
fn hire<'a>(scene: &'a Scene<'a>, place: &'a Place<'a>, killer: &mut Killer<'a>) -> Result<(), String> {
    for index in 0..PIPES {
        scene.hire(killer, format!("sender {index}"), index, move || place.send(index), || Ok(()))?;
    }
    for index in PIPES..2 * PIPES {
        scene.hire(killer, format!("receiver {index}"), index, move || place.receive(index), || Ok(()))?;
    }
    let index = 2 * PIPES;
    scene.hire(killer, "listener".to_owned(), index, move || place.listen(index), || Ok(()))?;
    for index in index + 1..WORKERS {
        scene.hire(killer, format!("client {index}"), index, move || place.call(index), || Ok(()))?;
    }
    Ok(())
}

impl Place<'_> {
    /// Takes out what is left in queues and pipes, and closes the ledgers.
    fn settle(&self) -> Result<Account, String> {
        let mut sum = Account::default();
        for (pipe, mut rx) in self.all_receivers()? {
            let ledger = self.books.ledger(pipe);
            self.drain(pipe, &mut rx)?;
            let account = ledger.close();
            if !account.is_clean() {
                eprintln!("pipe {pipe}: {account}");
            }
            sum = sum.and(account);
        }
        Ok(sum)
    }
}
