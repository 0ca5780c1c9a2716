//! Random kills of the workers of pools under load, with every task accounted for.
//!
//! | pool | its thread | each 50th |
//! |---|---|---|
//! | retries | up to 48 tasks at a time, joined in their order | carries a mutex and a long text, both ways |
//! | fails | the same | the same |
//! | maps | `map` over some thousand numbers, again and again | item carries a mutex |
//!
//! One worker of any of them is killed every 0.3 to 3 ms. The tasks themselves write down that they run
//! (`books`), so the outcomes can be compared with that.
//!
//! | account | must be |
//! |---|---|
//! | a value | the right one, else corrupt; of a task that ran, else lost |
//! | runs of a task that was not retried | one for a value, at most one for a death; more are duplicated |
//! | runs of one that was | at most one more than its retries |
//! | deaths that are reported | not more than kills of that pool; else lost |
//! | an outcome that is neither a value nor a death by SIGKILL, or none | lost |
//! | a run after the outcome | duplicated |
//! | the numbers behind the mutexes | between the values and the runs |
//! | descriptors, threads, children, participants, pages | as before; more is leaked |
//!
//! `recovery_max_ms` is the longest time from a kill until the pool had all of its workers again, of samples;
//! `full_strength_ms` that after the last one.

mod books;
mod spawners;

use std::sync::Mutex as StdMutex;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use ginnel::pool::OnWorkerDeath;
use ginnel::{Manager, Pool};
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Config;
use super::processes::uses::{is_gone, settled, until};
use crate::world::during;
use books::Books;
use spawners::{Account, Things};

/// Workers of each pool.
const WORKERS: usize = 2;
/// How often a task of the pools that retry may lose its worker.
const RETRIES: u32 = 3;
/// The time between two kills.
const PAUSE: std::ops::Range<Duration> = Duration::from_micros(300)..Duration::from_millis(3);
/// One kill in so many is followed by a look how long it takes until all is as before.
const SAMPLES: u64 = 64;
/// A pool that is not whole after so long will not be.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pools, in the order of the table above.
const POOLS: [(&str, OnWorkerDeath); 3] = [
    ("retries", OnWorkerDeath::Retry(RETRIES)),
    ("fails", OnWorkerDeath::Fail),
    ("maps", OnWorkerDeath::Retry(RETRIES)),
];

fn make(number: usize, books: &Books) -> Result<Pool, String> {
    let (name, policy) = POOLS[number];
    let builder = Pool::builder().workers(WORKERS).name(name).on_worker_death(policy);
    builder.initializer(books::open, books.path()).build().map_err(during("make a pool"))
}

/// Runs it. `words` from `at` on tell the progress.
///
/// # Errors
/// When something failed that nothing stood in the way of: then something is wrong that no figure expresses.
pub fn run(config: Config, words: &Scratch, at: usize) -> Result<Value, String> {
    let books = Books::new(POOLS.len() as u64).map_err(during("make the books"))?;
    let things = Things::new().map_err(during("make what they share"))?;
    // What is made once is there before the first count.
    let warm = make(0, &books)?;
    warm.apply(|number: u64| number + 1, 1).map_err(during("run a task"))?;
    warm.join().map_err(during("end a pool"))?;
    let before = settled().ok_or("the process does not come to rest before it begins")?;

    let (is_over, total) = (AtomicU32::new(0), StdMutex::new(Account::default()));
    let pools = [make(0, &books)?, make(1, &books)?, make(2, &books)?];
    let kills = thread::scope(|scope| {
        let spawners: Vec<_> = pools
            .iter()
            .enumerate()
            .map(|(number, pool)| {
                let (things, books, is_over, total) = (&things, &books, &is_over, &total);
                scope.spawn(move || spawners::work(number, pool, things, books, is_over, total))
            })
            .collect();
        let has_failed = || spawners.iter().any(|one| one.is_finished());
        let kills = trouble(config, (words, at), &pools, &total, has_failed);
        is_over.store(1, Relaxed);
        for spawner in spawners {
            spawner.join().map_err(|_| "a spawner panicked".to_owned())??;
        }
        kills
    })?;

    let mut account = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut deaths = 0;
    for (pool, (name, _)) in pools.into_iter().zip(POOLS) {
        let stats = pool.stats();
        deaths += stats.worker_deaths;
        pool.join().map_err(|error| format!("pool {name} did not end in order: {error}"))?;
    }
    things.settle(&mut account)?;
    account.settle(kills.sent, deaths, books.late());
    let leaks = before.is_back().err();
    for line in account.faults.iter().chain(&leaks) {
        eprintln!("not in order: {line}");
    }
    if leaks.is_some() {
        eprintln!("in the arena: {:?}", Manager::current().map_err(during("ask for the arena"))?.inspect());
    }
    Ok(json!({
        "kills": kills.all(), "lost": account.lost, "duplicated": account.duplicated,
        "corrupt": account.corrupt, "leaked": u64::from(leaks.is_some()),
        "recovery_max_ms": kills.slowest.as_secs_f64() * 1e3,
        "full_strength_ms": kills.last.as_secs_f64() * 1e3, "messages": account.tasks(),
        "redelivered": account.repeated, "open_sends": account.died(), "worker_deaths": deaths,
        "maps": account.maps, "maps_failed": account.maps_failed,
        "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}

/// What was done to the workers.
#[derive(Debug, Default)]
struct Kills {
    sent: [u64; POOLS.len()],
    /// Until all workers were there again, of samples, and after the last one.
    slowest: Duration,
    last: Duration,
}

impl Kills {
    fn all(&self) -> u64 {
        self.sent.iter().sum()
    }
}

/// Kills until the time is over.
fn trouble(
    config: Config,
    (words, at): (&Scratch, usize),
    pools: &[Pool],
    total: &StdMutex<Account>,
    has_failed: impl Fn() -> bool,
) -> Result<Kills, String> {
    let mut rng = Rng::new(config.seed);
    let (begun, mut kills) = (Instant::now(), Kills::default());
    // One that has not done anything yet may be at its beginning. Three of those in a row break a pool, as they should:
    // so there is one, and no second before all were up.
    let mut fresh = [false; POOLS.len()];
    while begun.elapsed() < config.time && !has_failed() {
        // This is not synchronisation: the next kill comes at a random moment.
        thread::sleep(rng.duration(&PAUSE));
        let number = rng.below(POOLS.len() as u64) as usize;
        let workers = pools[number].workers();
        fresh[number] &= pools[number].stats().workers < WORKERS;
        if let Some(victim) = workers.get(rng.below(workers.len().max(1) as u64) as usize)
            && (victim.tasks > 0 || !std::mem::replace(&mut fresh[number], true))
        {
            // It is ours, and only its death can come before.
            kills.sent[number] += u64::from(kill(Pid::from_raw(victim.pid as i32), Signal::SIGKILL).is_ok());
        }
        if kills.all().is_multiple_of(SAMPLES) {
            kills.slowest = kills.slowest.max(whole_again(&pools[number], POOLS[number].0)?);
        }
        let done = total.lock().map_or(0, |account| account.tasks());
        words.set(at, begun.elapsed().as_millis() as u64);
        words.set(at + 1, kills.all());
        words.set(at + 2, done);
    }
    for (pool, (name, _)) in pools.iter().zip(POOLS) {
        kills.last = kills.last.max(whole_again(pool, name)?);
    }
    kills.slowest = kills.slowest.max(kills.last);
    Ok(kills)
}

/// Waits until a pool has all of its workers: how long that took.
fn whole_again(pool: &Pool, name: &str) -> Result<Duration, String> {
    // One that was killed a moment ago counts until its death is known.
    let is_whole = || {
        let workers = pool.workers();
        let live = workers.iter().filter(|worker| !is_gone(worker.pid));
        live.count() == WORKERS && pool.stats().workers == WORKERS
    };
    until(PATIENCE, is_whole)
        .ok_or_else(|| format!("pool {name} does not get its workers back: {:?}", pool.stats()))
}
