//! Those who give tasks to the pools, what the tasks do, and the account of it.

use std::collections::VecDeque;
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use ginnel::Pool;
use ginnel::pool::{Task, TaskError};
use ginnel::process::ProcessError;
use ginnel::sync::Mutex;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::atomic::{AtomicU32, spin_loop};

use super::books::{Books, first_number, runs};
use super::{POOLS, RETRIES};
use crate::load::processes::uses::until;
use crate::world::during;

/// Tasks under way at a time.
const WINDOW: usize = 48;
/// One task in so many carries something.
const CARRIES: u64 = 50;
/// One task in so many takes its time.
const SLOW: u64 = 16;
const SLOWNESS: Duration = Duration::from_micros(100);
/// A text that does not fit a slot.
const LONG: usize = 40_000;
/// Items of a map.
const ITEMS: u64 = 4096;
/// A task that is not over after so long is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which spawner is which, as in the table of pools.
const MAPS: usize = 2;

type Pair = Mutex<[u64; 2]>;

/// What the tasks share.
#[derive(Debug)]
pub(super) struct Things {
    pair: Pair,
}

/// What became of everything.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Outcomes, and deaths among them, of each pool.
    outcomes: [u64; POOLS.len()],
    deaths: [u64; POOLS.len()],
    /// Tasks that ran more than once, as they may.
    pub(super) repeated: u64,
    pub(super) maps: u64,
    pub(super) maps_failed: u64,
    /// Values of those that count, and their runs.
    counted: u64,
    count_runs: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) corrupt: u64,
    pub(super) faults: Vec<String>,
}

impl Account {
    pub(super) fn tasks(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    pub(super) fn died(&self) -> u64 {
        self.deaths.iter().sum()
    }

    fn fault(&mut self, what: String) {
        // The first say most.
        if self.faults.len() < 20 {
            self.faults.push(what);
        }
    }

    fn lose(&mut self, what: String) {
        self.lost += 1;
        self.fault(what);
    }

    /// Compares an outcome with the runs of its task. `is_right`: of its value.
    fn enter(&mut self, pool: usize, number: u64, outcome: Result<bool, TaskError>, runs: u64) {
        let name = POOLS[pool].0;
        self.outcomes[pool] += 1;
        self.repeated += runs.saturating_sub(1);
        let most = if name == "fails" { 1 } else { 1 + u64::from(RETRIES) };
        if runs > most {
            self.duplicated += runs - most;
            self.fault(format!("task {number:x} of {name} ran {runs} times"));
        }
        match outcome {
            Ok(true) if runs == 0 => {
                self.lose(format!("task {number:x} of {name} has a value and never ran"))
            }
            Ok(true) => {}
            Ok(false) => {
                self.corrupt += 1;
                self.fault(format!("task {number:x} of {name} came back with another value"));
            }
            Err(TaskError::Died(ProcessError::Killed { signal: 9, .. })) => self.deaths[pool] += 1,
            Err(other) => self.lose(format!("task {number:x} of {name}: {other:?}")),
        }
    }

    /// Compares what was reported with what was done: `kills` of each pool, deaths that the pools know of, and runs that
    /// came too late.
    pub(super) fn settle(&mut self, kills: [u64; POOLS.len()], deaths: u64, late: u64) {
        for (pool, (name, _)) in POOLS.into_iter().enumerate() {
            let (died, sent) = (self.deaths[pool], kills[pool]);
            if died > sent {
                self.lost += died - sent;
                self.fault(format!("{died} deaths reported by {name}, of {sent} kills"));
            }
        }
        let sent: u64 = kills.iter().sum();
        if deaths > sent {
            self.lost += deaths - sent;
            self.fault(format!("{deaths} workers died of {sent} kills"));
        }
        if late > 0 {
            self.duplicated += late;
            self.fault(format!("{late} runs after their outcomes"));
        }
    }
}

/// What is half done is taken back.
fn repair(pair: &mut [u64; 2]) {
    pair[0] = pair[1];
}

fn count(pair: &Pair) {
    let mut pair = pair.lock_or_repair(repair).expect("it comes free");
    pair[0] += 1;
    pair[1] += 1;
}

/// A task that computes.
fn plain(number: u64) -> u64 {
    runs(number);
    if number.is_multiple_of(SLOW) {
        let end = Instant::now() + SLOWNESS;
        while Instant::now() < end {
            spin_loop();
        }
    }
    number + 1
}

/// One that carries something both ways.
fn carrying(pair: Pair, number: u64, text: String) -> (String, Mutex<u64>) {
    runs(number);
    count(&pair);
    (text, Mutex::new(number + 1).expect("there is room"))
}

/// An item of a map.
fn item((number, pair): (u64, Option<Pair>)) -> u64 {
    runs(number);
    if let Some(pair) = pair {
        count(&pair);
    }
    number + 1
}

impl Things {
    pub(super) fn new() -> ginnel::Result<Self> {
        Ok(Self { pair: Mutex::new([0, 0])? })
    }

    /// Compares what was counted with what came back.
    pub(super) fn settle(self, account: &mut Account) -> Result<(), String> {
        let [first, second] = *self.pair.lock_or_repair(repair).map_err(during("lock the numbers"))?;
        let (least, most) = (account.counted, account.count_runs);
        if first != second {
            account.corrupt += 1;
            account.fault(format!("{first} and {second} behind the mutex"));
        }
        if !(least..=most).contains(&first) {
            account.lost += least.saturating_sub(first);
            account.duplicated += first.saturating_sub(most);
            account.fault(format!("{first} counted, {least} to {most} expected"));
        }
        Ok(())
    }
}

/// Gives tasks to pool `pool` until it is over.
pub(super) fn work(
    pool: usize,
    workers: &Pool,
    things: &Things,
    books: &Books,
    is_over: &AtomicU32,
    total: &StdMutex<Account>,
) -> Result<(), String> {
    let spawner = Spawner { pool, workers, things, books, total };
    let mut number = first_number(pool as u64);
    if pool == MAPS {
        while is_over.load(Relaxed) == 0 {
            spawner.map(number, number >> 12 & 1 == 0)?;
            number += ITEMS;
        }
        return Ok(());
    }
    let mut window = VecDeque::new();
    while is_over.load(Relaxed) == 0 {
        if window.len() == WINDOW {
            window.pop_front().into_iter().for_each(|oldest| spawner.end(oldest));
        }
        window.push_back(spawner.begin(number)?);
        number += 1;
    }
    window.into_iter().for_each(|task| spawner.end(task));
    Ok(())
}

/// A task under way, with its number.
enum Way {
    Plain(u64, Task<u64>),
    Carrying(u64, Task<(String, Mutex<u64>)>),
}

struct Spawner<'a> {
    /// Which one of the pools.
    pool: usize,
    workers: &'a Pool,
    things: &'a Things,
    books: &'a Books,
    total: &'a StdMutex<Account>,
}

impl Spawner<'_> {
    fn begin(&self, number: u64) -> Result<Way, String> {
        let task = if number.is_multiple_of(CARRIES) {
            let args = (&self.things.pair, number, text(number));
            self.workers.spawn(carrying, args).map(|task| Way::Carrying(number, task))
        } else {
            self.workers.spawn(plain, number).map(|task| Way::Plain(number, task))
        };
        task.map_err(during("spawn a task"))
    }

    fn end(&self, way: Way) {
        match way {
            Way::Plain(number, task) => self.compare(number, task, false, |value| value == number + 1),
            Way::Carrying(number, task) => self.compare(number, task, true, |(back, own)| {
                back == text(number) && own.lock().is_ok_and(|own| *own == number + 1)
            }),
        }
    }

    fn compare<R: ginnel::Message>(
        &self,
        number: u64,
        task: Task<R>,
        counts: bool,
        is_right: impl FnOnce(R) -> bool,
    ) {
        if !task.wait_timeout(PATIENCE) {
            let mut account = self.account();
            account.outcomes[self.pool] += 1;
            return account.lose(format!("task {number:x} of {} does not end", POOLS[self.pool].0));
        }
        let outcome = task.join().map(is_right);
        let runs = self.books.close(number);
        let mut account = self.account();
        if counts {
            account.counted += u64::from(outcome.is_ok());
            account.count_runs += runs;
        }
        account.enter(self.pool, number, outcome, runs);
    }

    /// One map, from `first` on.
    fn map(&self, first: u64, carries: bool) -> Result<(), String> {
        let with = |number: &u64| carries && number.is_multiple_of(CARRIES);
        let items =
            (first..first + ITEMS).map(|number| (number, with(&number).then(|| self.things.pair.clone())));
        let outcome = self.workers.map(item, items);
        if outcome.is_err() {
            self.come_to_rest()?;
        }
        let mut account = self.account();
        account.maps += 1;
        let values = match outcome {
            Ok(values) => values,
            Err(error) => {
                account.maps_failed += 1;
                account.enter(self.pool, first, Err(error), 0);
                Vec::new()
            }
        };
        let is_whole = values.len() as u64 == ITEMS;
        if !is_whole && !values.is_empty() {
            account.lose(format!("{} values of {ITEMS} items", values.len()));
        }
        for (number, value) in
            (first..first + ITEMS).zip(values.iter().map(Some).chain(std::iter::repeat(None)))
        {
            let runs = self.books.close(number);
            if with(&number) {
                account.counted += u64::from(value.is_some());
                account.count_runs += runs;
            }
            // Of a map that failed nobody knows which items have run.
            if let Some(value) = value {
                account.enter(self.pool, number, Ok(*value == number + 1), runs);
            }
        }
        Ok(())
    }

    /// What a map that failed left behind may still run.
    fn come_to_rest(&self) -> Result<(), String> {
        let is_at_rest = || {
            let stats = self.workers.stats();
            stats.waiting + stats.running == 0
        };
        let left = || format!("a map that failed does not come to rest: {:?}", self.workers.stats());
        until(PATIENCE, is_at_rest).map(drop).ok_or_else(left)
    }

    fn account(&self) -> std::sync::MutexGuard<'_, Account> {
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text of its own for each number; every other one is long.
fn text(number: u64) -> String {
    let text = format!("{number:x}.");
    if number.is_multiple_of(2 * CARRIES) { text.repeat(LONG / text.len()) } else { text }
}
