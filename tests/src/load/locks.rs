//! Random kills of those who lock, signal and meet, with every increment, permit, count and phase accounted for.
//!
//! Eight workers do the same: in any order, for ever, one of the acts of `workers`, on objects that all of them share.
//! Whoever is inside something says so in words of the books and looks at its end whether somebody else did; what is
//! counted behind a lock is counted in the books too, before and after. A worker that is killed leaves at most one act
//! of each kind open, which may have happened or not; everything else must agree in the end.
//!
//! No wait of a worker may take longer than `LONGEST`: then something is blocked, and the worker
//! ends, which ends the run.

mod books;
mod counter;
mod meetings;
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
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(16);

/// Runs it, in a process with one thread. `words` from `at` on tell the progress.
///
/// # Errors
/// When a worker ended by itself or could not take over: then something is wrong that no figure expresses.
pub fn run(config: Config, words: &Scratch, at: usize) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let before = Snapshot::of(std::process::id()).map_err(text)?;
    let options = Options::new().limit(4 << 20).participants(16).objects(32);
    let manager = Manager::with(options).map_err(during("make a segment"))?;
    let books = Books::new().map_err(text)?;
    let things = Things::open(&manager).map_err(during("make what they share"))?;

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
    let account = things.settle(&books)?;
    drop(things);
    let mut leaks = account.leaks.clone();
    leaks.extend(leaks_inside(&manager)?);
    let acts = books.acts();
    let idle = books.idle();
    drop((manager, books));
    leaks.extend(Snapshot::of(std::process::id()).map_err(text)?.leaked_since(&before));
    for line in leaks.iter().chain(&account.faults) {
        eprintln!("not in order: {line}");
    }
    if !idle.is_empty() {
        return Err(format!("no act of some kinds came to its end: {idle:?}"));
    }
    Ok(json!({
        "kills": toll.kills, "lost": account.lost, "duplicated": account.duplicated, "corrupt": account.corrupt,
        "leaked": leaks.len(), "recovery_max_ms": toll.recovery_max as f64 / 1e6, "messages": acts,
        "redelivered": 0, "open_sends": account.open, "freezes": toll.freezes,
        "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}
