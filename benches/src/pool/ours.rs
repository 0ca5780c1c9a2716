//! Workers of `ginnel::Pool`.

use std::collections::VecDeque;
use std::fmt;
use std::fs;

use ginnel::Pool;
use ginnel::pool::{OnWorkerDeath, Task};
use ginnel::process::Process;
use ginnel::spsc::Wait;
use ginnel::sync::{Barrier, OnDeath, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};
use zerocopy::IntoBytes;

use crate::arena::failed;
use crate::clock::now_ns;
use crate::drive::Report;
use crate::fault::Fault;

use super::drive::{self, answer_large, read_large, write_large};
use super::ledger::Ledger;
use super::plan::Case;
use super::{Engine, successor};

/// Windows of a rate of large tasks.
const PARTS: u64 = 50;

/// A pool, and what is out of it.
#[derive(Debug)]
pub(super) struct Ours {
    pool: Pool,
    out: VecDeque<Task<u64>>,
}

impl Ours {
    /// A pool as the case wants it; a single worker stays on `core`.
    pub(super) fn new(case: Case, core: usize) -> Result<Self, Fault> {
        let mut builder = Pool::builder().workers(case.workers());
        if case.workers() == 1 {
            let wait = if case == Case::Rtt { Wait::Spin } else { Wait::Sleep };
            builder = builder.wait(wait).process(Process::builder().cpus([core]));
        }
        if case == Case::Kill {
            builder = builder.on_worker_death(OnWorkerDeath::Retry(3));
        }
        let pool = builder.build().map_err(|error| failed("making a pool", error))?;
        Ok(Self { pool, out: VecDeque::new() })
    }

    /// Numbers mapped.
    pub(super) fn map(&self, items: u64) -> Result<Vec<u64>, Fault> {
        self.pool.map(successor, 0..items).map_err(task_failed)
    }

    /// `tasks` blocks of as many bytes as the case has there and back: how many a second, and how much memory grew.
    pub(super) fn large(&self, case: Case, tasks: u64) -> Result<Report, Fault> {
        let mut blocks = Blocks::new(&self.pool, case.size() / size_of::<u64>());
        let mut ledger = Ledger::new();
        let mut rates = Vec::new();
        let mut first = None;
        let (part, mut begin) = (tasks.div_ceil(PARTS), now_ns());
        while ledger.back() < tasks {
            while ledger.out() < case.window() as u64 {
                blocks.put(ledger.give()?)?;
            }
            ledger.take(blocks.get()?)?;
            if ledger.back().is_multiple_of(part) {
                let now = now_ns();
                rates.push(part as f64 * 1e9 / (now - begin).max(1) as f64);
                begin = now;
                if first.is_none() && ledger.back() * 10 >= tasks {
                    first = Some(self.resident()?);
                    begin = now_ns();
                }
            }
        }
        while ledger.out() > 0 {
            ledger.take(blocks.get()?)?;
        }
        let last = self.resident()?;
        let growth_percent = first.map(|first| (last as f64 / first.max(1) as f64 - 1.0) * 100.0);
        // What came before is warm-up.
        let rates = rates.split_off(rates.len() / 5);
        let received = ledger.back();
        Ok(Report { sent: received, received, rates, growth_percent, ..Report::default() })
    }

    /// Resident pages of this process and of the workers.
    fn resident(&self) -> Result<u64, Fault> {
        let workers = self.pool.workers().into_iter().map(|worker| worker.pid);
        let pids = workers.chain([std::process::id()]);
        pids.map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/statm"))
                .map_err(|error| Fault::failed("reading the memory of a process", error))?;
            let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
            pages.ok_or_else(|| Fault::failed("reading the memory of a process", text))
        })
        .sum()
    }

    /// From SIGKILL to a worker until as many as before are at work at the same time.
    pub(super) fn replace(&self) -> Result<u64, Fault> {
        let parties = Case::Kill.workers();
        let meeting = || {
            let options = Options { parties: parties as u32, on_death: OnDeath::Leave };
            Barrier::with(options).map_err(|error| failed("making a barrier", error))
        };
        // All have to be there before one can be missed.
        self.meet(&meeting()?, parties)?;
        let barrier = meeting()?;
        let worker = self.pool.workers().first().map(|worker| worker.pid);
        let worker = worker.ok_or_else(|| Fault::failed("killing a worker", "there is none"))?;
        let before = now_ns();
        kill(Pid::from_raw(worker as i32), Signal::SIGKILL).map_err(|error| Fault::failed("kill", error))?;
        let met = self.meet(&barrier, parties)?;
        Ok(met.saturating_sub(before))
    }

    /// When as many tasks as there are workers ran at the same time.
    fn meet(&self, barrier: &Barrier, parties: usize) -> Result<u64, Fault> {
        let spawn = |_| self.pool.spawn(come, barrier).map_err(|error| failed("giving a task out", error));
        let tasks = (0..parties).map(spawn).collect::<Result<Vec<_>, _>>()?;
        let times = tasks.into_iter().map(|task| task.join().map_err(task_failed)?);
        times.collect::<Result<Vec<_>, _>>().map(|times| times.into_iter().max().unwrap_or(0))
    }
}

/// A task that is over when all have come.
fn come(barrier: Barrier) -> Result<u64, Fault> {
    barrier.wait().map_err(|error| failed("meeting", error))?;
    Ok(now_ns())
}

fn task_failed(error: ginnel::pool::TaskError) -> Fault {
    failed("a task", error)
}

impl Engine for Ours {
    fn put(&mut self, number: u64) -> Result<(), Fault> {
        let task = self.pool.spawn(successor, number).map_err(|error| failed("giving a task out", error))?;
        self.out.push_back(task);
        Ok(())
    }

    fn get(&mut self) -> Result<u64, Fault> {
        let task = self.out.pop_front().ok_or_else(|| Fault::failed("a task", "none is out"))?;
        task.join().map_err(task_failed)
    }

    fn call(&mut self, number: u64) -> Result<u64, Fault> {
        self.pool.apply(successor, number).map_err(task_failed)
    }
}

/// Words that travel as bytes: one copy, as opposed to one number after the other.
#[derive(Clone)]
struct Block(Vec<u64>);

impl fmt::Debug for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Block of {} words", self.0.len())
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Block;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes of whole words")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Block, E> {
                let (words, rest) = bytes.as_chunks();
                match rest {
                    [] => Ok(Block(words.iter().map(|word| u64::from_ne_bytes(*word)).collect())),
                    _ => Err(E::invalid_length(bytes.len(), &self)),
                }
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The task of a block.
fn answer(mut block: Block) -> Block {
    answer_large(&mut block.0);
    block
}

/// Blocks that are out of a pool.
#[derive(Debug)]
struct Blocks<'a> {
    pool: &'a Pool,
    block: Block,
    out: VecDeque<Task<Block>>,
}

impl<'a> Blocks<'a> {
    fn new(pool: &'a Pool, words: usize) -> Self {
        Self { pool, block: Block(drive::large(words)), out: VecDeque::new() }
    }
}

impl Engine for Blocks<'_> {
    fn put(&mut self, number: u64) -> Result<(), Fault> {
        write_large(&mut self.block.0, number);
        let task =
            self.pool.spawn(answer, &self.block).map_err(|error| failed("giving a task out", error))?;
        self.out.push_back(task);
        Ok(())
    }

    fn get(&mut self) -> Result<u64, Fault> {
        let task = self.out.pop_front().ok_or_else(|| Fault::failed("a task", "none is out"))?;
        read_large(&task.join().map_err(task_failed)?.0, &self.block.0)
    }
}
