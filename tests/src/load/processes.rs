//! Random kills of children and of the zygote that makes them, with every start accounted for.
//!
//! Three threads start children without end: by the zygote, by running the program again, from spares; with handles in
//! the arguments and in the result, with long messages, with a lock in the child's hands. Each child is killed at a random
//! moment of its life, or left alone; the zygote is killed, or stopped for a moment, whenever it pleases the main thread.
//!
//! | account | must be |
//! |---|---|
//! | a join of a child that nobody killed | its value; anything else is lost |
//! | a join of one that was killed | its value or `Killed`; anything else is lost |
//! | a value | the right one; else it is corrupt |
//! | the number behind the mutex | one for each value, and at most one for each that was killed; less is lost, more duplicated |
//! | descriptors, threads, children, participants, pages | as before; more is leaked |
//!
//! The figure `recovery_max_ms` is the longest time from a SIGKILL to the return of the join, with the child recovered.

pub mod uses;

mod starters;

use std::sync::Mutex as StdMutex;
use std::thread;
use std::time::{Duration, Instant};

use ginnel::process::{Start, start_method, warm};
use ginnel::{Manager, Process};
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Config;
use crate::world::during;
use starters::{Account, Things};
use uses::{settled, zygote};

/// Threads that start.
const STARTERS: u64 = 3;
/// Spares that are kept.
const SPARES: usize = 2;
/// The time between two signals to the zygote.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(60);
/// One signal in so many stops it for a moment instead.
const STOPS: u64 = 8;
/// One in so many zygotes is killed before it has shown that its clones work, if it is met then. It has no successor: the
/// rest of the run is without.
const EARLY: u64 = 1000;

/// What became of the zygotes.
#[derive(Debug, Default)]
struct Zygotes {
    kills: u64,
    stops: u64,
}

/// Runs it. `words` from `at` on tell the progress.
///
/// # Errors
/// When a start failed that nothing stood in the way of: then something is wrong that no figure expresses.
pub fn run(config: Config, words: &Scratch, at: usize) -> Result<Value, String> {
    // What is made once is there before the first count.
    warm_up()?;
    let things = Things::new().map_err(during("make what they share"))?;
    let before = settled().ok_or("the process does not come to rest before it begins")?;
    warm(SPARES).map_err(during("keep spares"))?;

    let (is_over, total) = (AtomicU32::new(0), StdMutex::new(Account::default()));
    let zygotes = thread::scope(|scope| {
        let starters: Vec<_> = (0..STARTERS)
            .map(|number| {
                let (things, is_over, total) = (&things, &is_over, &total);
                let rng = Rng::new(config.seed).fork(number);
                scope.spawn(move || starters::work(things, rng, is_over, total))
            })
            .collect();
        let zygotes = trouble(config, (words, at), &total, || starters.iter().any(|one| one.is_finished()));
        is_over.store(1, Relaxed);
        for starter in starters {
            starter.join().map_err(|_| "a starter panicked".to_owned())??;
        }
        Ok::<_, String>(zygotes)
    })?;

    let mut account = total.into_inner().map_err(|_| "a starter panicked with the books open".to_owned())?;
    things.settle(&mut account)?;
    warm(0).map_err(during("let the spares go"))?;
    // With the last start, whatever zygote was killed last is replaced, as there was one before.
    warm_up()?;
    let leaks = before.is_back().err();
    let manager = Manager::current().map_err(during("ask for the arena"))?;
    for line in account.faults.iter().chain(&leaks) {
        eprintln!("not in order: {line}");
    }
    if leaks.is_some() {
        eprintln!("in the arena: {:?}", manager.inspect());
    }
    Ok(json!({
        "kills": account.killed + zygotes.kills, "lost": account.lost, "duplicated": account.duplicated,
        "corrupt": account.corrupt, "leaked": u64::from(leaks.is_some()),
        "recovery_max_ms": account.recovery_max.as_secs_f64() * 1e3, "messages": account.starts,
        "redelivered": 0, "open_sends": account.open, "freezes": zygotes.stops, "zygotes": zygotes.kills,
        "returned": account.returned, "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}

/// One start that must work, by the zygote if there can be one.
fn warm_up() -> Result<(), String> {
    for _ in 0..20 {
        let child = Process::spawn(|number: u64| number + 1, 1).map_err(during("start a child"))?;
        match child.join() {
            Ok(2) => {}
            other => return Err(format!("{other:?} came of a child that nobody touched")),
        }
    }
    Ok(())
}

/// Kills and stops the zygote until the time is over.
fn trouble(
    config: Config,
    (words, at): (&Scratch, usize),
    total: &StdMutex<Account>,
    has_failed: impl Fn() -> bool,
) -> Zygotes {
    let mut rng = Rng::new(config.seed).fork(STARTERS);
    let (begun, mut zygotes) = (Instant::now(), Zygotes::default());
    while begun.elapsed() < config.time && !has_failed() {
        // This is not synchronisation: the next signal comes at a random moment.
        thread::sleep(rng.duration(&PAUSE));
        if let Some(victim) = zygote() {
            // It is ours, and only its death can come before.
            let send = |signal| kill(Pid::from_raw(victim as i32), signal).is_ok();
            if rng.below(STOPS) == 0 {
                zygotes.stops += u64::from(send(Signal::SIGSTOP));
                // This is not synchronisation: for so long it stands still.
                thread::sleep(rng.duration(&PAUSE));
                send(Signal::SIGCONT);
            } else if start_method().0 == Start::Zygote || rng.below(EARLY) == 0 {
                zygotes.kills += u64::from(send(Signal::SIGKILL));
            }
        }
        let killed = total.lock().map_or(0, |account| account.killed);
        words.set(at, begun.elapsed().as_millis() as u64);
        words.set(at + 1, killed + zygotes.kills);
        words.add(at + 2, 1);
    }
    zygotes
}
