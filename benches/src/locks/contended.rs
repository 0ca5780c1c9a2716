//! Several processes that want one lock: each holds it for about 100 ns, gives it back, thinks for about 100 ns,
//! and comes again. On two cores with two processes, or with eight that take turns.
//!
//! Whoever holds the lock reads the word that it protects, computes, and writes the word back one higher; the next
//! value of the computation hangs on the word, so nothing of it can begin before the lock is taken. At the end the
//! word must count every hold. How the holds were shared out is measured in the same windows as their rate: a lock
//! that one process keeps for itself is fast, as its line never moves, and useless.

use std::time::Duration;

use ginnel_layout::atomic::{AtomicU64, Ordering};
use ginnel_layout::line::LINE;

use crate::clock::now_ns;
use crate::crew::{Crew, Member, Signals};
use crate::crowd::{Meeting, Windows};
use crate::drive::Report;
use crate::fault::Fault;
use crate::memory::Region;
use crate::pair::Cores;

use super::work::Work;
use super::{Exclusion, Section};

/// Holds between two looks at the clock.
const STRIDE: u64 = 32;
/// The shortest window of a rate where each process has a core.
const WINDOW_NS: u64 = 1_000_000;
/// The shortest window where they take turns: several turns of each.
const SHARED_WINDOW_NS: u64 = 25_000_000;

/// What the processes do with the lock, and between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// While it is held.
    pub(crate) hold: Work,
    /// Between two holds.
    pub(crate) think: Work,
}

/// What a run gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Holds a second, all processes together, one number for each window after the warm-up.
    pub(crate) rates: Vec<f64>,
    /// Holds of each process after the warm-up.
    pub(crate) shares: Vec<u64>,
}

/// A run of several processes.
#[derive(Debug)]
pub(crate) struct Contention<'a> {
    /// How many.
    pub(crate) processes: usize,
    /// What each does.
    pub(crate) load: Load,
    /// For how long.
    pub(crate) duration: Duration,
    /// The cores that may be used: the first two are, alternately.
    pub(crate) cores: &'a [usize],
    /// How long beyond that the processes may take before they count as stalled.
    pub(crate) grace: Duration,
    /// What may end the run early.
    pub(crate) signals: Option<&'a Signals>,
}

impl Contention<'_> {
    /// Runs all processes.
    pub(crate) fn run(&self, lock: &impl Exclusion) -> Result<Outcome, Fault> {
        let (meeting, board) = (Meeting::new(self.processes)?, Region::new(LINE)?);
        let members = (0..self.processes).map(|number| Member {
            role: format!("process {number}"),
            core: self.core(number),
            body: Box::new(|| self.worker(lock, &meeting, board.word64(0))),
        });
        let reports = self.crew().run(members.collect())?;
        self.outcome(&reports, board.word64(0))
    }

    /// The same with threads of one process, for what works between threads only.
    pub(crate) fn run_threads(&self, lock: &(impl Exclusion + Sync)) -> Result<Outcome, Fault> {
        let board = Region::new(LINE)?;
        let body = || {
            let meeting = Meeting::new(self.processes)?;
            let word = board.word64(0);
            let reports: Vec<Result<Report, Fault>> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..self.processes)
                    .map(|number| {
                        let (core, meeting) = (self.core(number), &meeting);
                        scope.spawn(move || {
                            crate::crew::pin_thread(core)?;
                            self.worker(lock, meeting, word)
                        })
                    })
                    .collect();
                let ended = |_| Err(Fault::failed("running a thread", "it panicked"));
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(ended)).collect()
            });
            let outcome = self.outcome(&reports.into_iter().collect::<Result<Vec<_>, _>>()?, word)?;
            Ok(Report { rates: outcome.rates, windows: outcome.shares, ..Report::default() })
        };
        let member = Member { role: "process".into(), core: self.core(0), body: Box::new(body) };
        let mut reports = self.crew().run(vec![member])?;
        let Report { rates, windows, .. } = reports.pop().unwrap_or_default();
        Ok(Outcome { rates, shares: windows })
    }

    /// The life of one process, or thread.
    fn worker(&self, lock: &impl Exclusion, meeting: &Meeting, word: &AtomicU64) -> Result<Report, Fault> {
        let mut section = lock.open()?;
        let Load { hold, think } = self.load;
        let begin = meeting.begin()?;
        let mut windows = Windows::new(begin, self.nanoseconds(), self.window_ns());
        let end = begin + self.nanoseconds();
        let mut count = 0;
        loop {
            for _ in 0..STRIDE {
                let computed = section.with(|| {
                    let before = word.load(Ordering::Relaxed);
                    let computed = hold.run(before);
                    word.store(before + 1, Ordering::Relaxed);
                    computed
                })?;
                think.run(computed);
            }
            count += STRIDE;
            let now = now_ns();
            windows.note(now, count);
            if now >= end {
                return Ok(Report { received: count, windows: windows.counts, ..Report::default() });
            }
        }
    }

    fn outcome(&self, reports: &[Report], word: &AtomicU64) -> Result<Outcome, Fault> {
        let entered = reports.iter().map(|report| report.received).sum();
        let counted = word.load(Ordering::Acquire);
        if counted != entered {
            return Err(Fault::Intruded { entered, counted });
        }
        let windows = reports.iter().map(|report| report.windows.len()).min().unwrap_or(0);
        let kept = windows.div_ceil(5)..windows;
        let seconds = self.window_ns() as f64 / 1e9;
        let rate = |window| reports.iter().map(|report| report.windows[window]).sum::<u64>() as f64 / seconds;
        let share = |report: &Report| report.windows[kept.clone()].iter().sum();
        Ok(Outcome { rates: kept.clone().map(rate).collect(), shares: reports.iter().map(share).collect() })
    }

    fn crew(&self) -> Crew<'_> {
        Crew { patience: self.duration + self.grace, signals: self.signals }
    }

    fn core(&self, number: usize) -> usize {
        let Cores { client, server } = Cores::among(self.cores);
        if number.is_multiple_of(2) { client } else { server }
    }

    fn nanoseconds(&self) -> u64 {
        self.duration.as_nanos() as u64
    }

    fn window_ns(&self) -> u64 {
        let shortest = if self.processes > self.cores.len().min(2) { SHARED_WINDOW_NS } else { WINDOW_NS };
        // After the warm-up a window must fit, however short the run.
        shortest.max(self.nanoseconds() / 200).min(self.nanoseconds() * 2 / 5)
    }
}
