//! Random kills of those who change dicts and lists, with every value, count, transfer and block accounted for.
//!
//! Eight workers do the same: in any order, for ever, one of the acts of `workers`, on stores that all of them share.
//! Before an act a worker writes into the books what it is about to do, and after it that it is done; where it is in a
//! closure that runs under a shard's lock, the books say that, too, and in there it takes its time: so that many of the
//! dead die with a lock. What was done must be there, what was begun may be; everything that is read must be whole.
//!
//! In the end every shard is audited (each block is reached or free, and not both; lengths are what is there), and
//! nothing may be left when the names are gone: no page, object, ticket, participant.

mod books;
mod workers;

use std::time::Duration;

use ginnel::Manager;
use ginnel::manager::Options;
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::scratch::Scratch;
use serde_json::{Value, json};

use super::scene::Scene;
use super::{Config, leaks_inside};
use crate::world::during;
use books::{Books, WORKERS};
use workers::Things;

/// The time between two kills.
const PAUSE: std::ops::Range<Duration> = Duration::from_micros(200)..Duration::from_millis(4);

/// Bytes that all of it may take.
const LIMIT: usize = 64 << 20;

/// Runs it, in a process with one thread. `words` from `at` on tell the progress.
///
/// # Errors
/// When a worker ended by itself or could not take over: then something is wrong that no figure expresses.
pub fn run(config: Config, words: &Scratch, at: usize) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let before = Snapshot::of(std::process::id()).map_err(text)?;
    let options = Options::new().limit(LIMIT).participants(16).objects(256);
    let manager = Manager::with(options).map_err(during("make a segment"))?;
    let books = Books::new().map_err(text)?;
    let things = Things::open(&manager).map_err(during("make what they share"))?;
    things.fill().map_err(during("fill the accounts"))?;

    let scene = Scene::new(config, &manager, books.ready_words(), WORKERS)?;
    let toll = scene.slaughter(
        config,
        PAUSE,
        |scene, killer| {
            (0..WORKERS).try_for_each(|worker| {
                let (manager, books) = (&manager, &books);
                let work = move || workers::work(manager, books, worker, config.seed);
                let bury = move || {
                    books.bury(worker);
                    Ok(())
                };
                scene.hire(killer, format!("worker {worker}"), worker, work, bury)
            })
        },
        (words, at),
        |_| {},
    )?;
    drop(scene);

    manager.recover().map_err(during("recover"))?;
    let mut account = things.settle(&books)?;
    let repairs = things.repairs().map_err(during("ask for repairs"))?;
    drop(things);
    account.leaks.extend(leaks_inside(&manager)?);
    let (acts, idle, holders) = (books.acts(), books.idle(), books.holders());
    drop((manager, books));
    account.leaks.extend(Snapshot::of(std::process::id()).map_err(text)?.leaked_since(&before));
    for line in account.leaks.iter().chain(&account.faults) {
        eprintln!("not in order: {line}");
    }
    if !idle.is_empty() {
        return Err(format!("no act of some kinds came to its end: {idle:?}"));
    }
    Ok(json!({
        "kills": toll.kills, "lost": account.lost, "duplicated": account.duplicated, "corrupt": account.corrupt,
        "leaked": account.leaks.len(), "recovery_max_ms": toll.recovery_max as f64 / 1e6, "messages": acts,
        "redelivered": 0, "open_sends": account.open, "freezes": toll.freezes, "held_a_lock": holders,
        "repairs": repairs, "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}
