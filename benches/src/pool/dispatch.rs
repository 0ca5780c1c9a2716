//! What each row measures, and which loops run over it.

use crate::control::copy::{self, Copy};
use crate::control::{futex::Futex, line::Line};
use crate::crew::{Crew, Member, spread_thread};
use crate::dispatch::GRACE;
use crate::drive::{self as control, Report};
use crate::fault::Fault;
use crate::pair::{Cores, Pair};
use crate::transport::Transport;

use super::limits::{Copies, Forked};
use super::measure::Run;
use super::pipes::{Giver, Wires};
use super::plan::{Case, Implementation, Row};
use super::threads::Threads;
use super::{drive, limits, ours, outside};

/// Deaths in one pass at least.
const DEATHS: u64 = 20;
/// Blocks that are out at a time where the ring has room for them: both sides then copy without waiting for each other,
/// and few lines are still in the cache of the other core when they are read.
const AHEAD: usize = 3;
/// Blocks that a worker on pipes has at a time.
const BLOCKS: usize = 1;

type Body<'a> = Box<dyn FnOnce() -> Result<Report, Fault> + 'a>;

impl Run<'_> {
    /// One pass over one row.
    pub(super) fn sample(&self, row: Row) -> Result<Report, Fault> {
        let needs_two = matches!(row.case, Case::Rtt) || row.implementation.is_copy();
        if needs_two && self.cores.len() < 2 {
            return Err(Fault::Unsupported("two processes that spin need two cores".into()));
        }
        let ns = self.pass(row).as_nanos() as u64;
        let words = row.case.size() / size_of::<u64>();
        match row.implementation {
            Implementation::LimitLine => self.round_trip(row, Line::new),
            Implementation::LimitFutex => self.round_trip(row, Futex::new),
            Implementation::LimitCopy => self.copies(row, 1, || Copy::new(words, copy::SMALL_RING)),
            Implementation::LimitCopyLarge => self.copies(row, AHEAD, || Copy::new(words, copy::LARGE_RING)),
            Implementation::LimitMemcpy => self.memcpy(row, words),
            Implementation::LimitFork => self.alone(row, || {
                let mut forked = Forked::new()?;
                let report = drive::times(ns, DEATHS, || forked.replace());
                forked.end()?;
                report
            }),
            Implementation::Pipes => self.pipes(row),
            Implementation::Threads => self.alone(row, || self.threads(row)),
            Implementation::Procspawn => {
                self.alone(row, || outside::procspawn(row, self.pass(row).as_secs_f64()))
            }
            Implementation::PyPool => {
                self.alone(row, || outside::python(row, self.pass(row).as_secs_f64(), self.timing.items))
            }
            Implementation::Pool => self.alone(row, || self.pool(row)),
        }
    }

    /// Runs a row's processes, the first of which has the report.
    fn crew(&self, row: Row, bodies: Vec<(String, usize, Body<'_>)>) -> Result<Report, Fault> {
        let members = bodies.into_iter().map(|(role, core, body)| Member { role, core, body }).collect();
        let crew = Crew { patience: self.patience(row), signals: self.signals };
        let mut reports = crew.run(members)?.into_iter();
        let first = reports.next().unwrap_or_default();
        let rest: Vec<_> = reports.map(|report| report.received).collect();
        let received: u64 = rest.iter().sum();
        if !rest.is_empty() && received != first.sent {
            return Err(Fault::Count { sent: first.sent, received });
        }
        Ok(first)
    }

    /// Runs what starts workers by itself. With one worker the starter keeps to its core and the worker to the other, if
    /// we can tell it so; else all may use all.
    fn alone(&self, row: Row, body: impl FnOnce() -> Result<Report, Fault>) -> Result<Report, Fault> {
        let is_told = matches!(row.implementation, Implementation::Pool | Implementation::Threads);
        let body = || {
            if row.case.workers() > 1 || !is_told {
                spread_thread(self.cores)?;
            }
            body()
        };
        self.crew(row, vec![("starter".into(), Cores::among(self.cores).client, Box::new(body))])
    }

    fn round_trip<T: Transport>(
        &self,
        row: Row,
        make: impl Fn() -> Result<T, Fault>,
    ) -> Result<Report, Fault> {
        let (there, back) = (make()?, make()?);
        let ns = self.pass(row).as_nanos() as u64;
        let pair =
            Pair { cores: Cores::among(self.cores), patience: self.patience(row), signals: self.signals };
        let ran = pair.run(|| control::client(&there, &back, ns), || control::server(&there, &back));
        // These are times.
        ran.map(|(client, _server)| Report { rates: Vec::new(), ..client })
    }

    fn copies(
        &self,
        row: Row,
        window: usize,
        make: impl Fn() -> Result<Copy, Fault>,
    ) -> Result<Report, Fault> {
        let (there, back) = (make()?, make()?);
        let ns = self.pass(row).as_nanos() as u64;
        let Cores { client, server } = Cores::among(self.cores);
        let give = || {
            let mut engine = Copies::new(&there, &back)?;
            let report = drive::windows(&mut engine, window, ns)?;
            engine.end();
            Ok(report)
        };
        let serve = || limits::serve(&there, &back);
        self.crew(
            row,
            vec![("client".into(), client, Box::new(give)), ("server".into(), server, Box::new(serve))],
        )
    }

    /// Each process by itself: what all of them get done.
    fn memcpy(&self, row: Row, words: usize) -> Result<Report, Fault> {
        let ns = self.pass(row).as_nanos() as u64;
        let members = self.cores.iter().take(row.case.workers()).map(|&core| {
            let body: Body<'_> = Box::new(move || drive::windows(&mut limits::Memcpy::new(words), 1, ns));
            Member { role: format!("process on core {core}"), core, body }
        });
        let crew = Crew { patience: self.patience(row), signals: self.signals };
        let mut reports = crew.run(members.collect())?.into_iter();
        let mut all = reports.next().unwrap_or_default();
        for report in reports {
            all.rates.iter_mut().zip(report.rates).for_each(|(sum, rate)| *sum += rate);
        }
        Ok(all)
    }

    fn pipes(&self, row: Row) -> Result<Report, Fault> {
        let workers = row.case.workers();
        let wires = Wires::new(workers, row.case == Case::Rtt, row.case == Case::Large)?;
        let words = row.case.size() / size_of::<u64>();
        let Cores { client, server } = Cores::among(self.cores);
        let is_single = workers == 1;
        let give = || {
            if !is_single {
                spread_thread(self.cores)?;
            }
            self.give(row, &wires)
        };
        let mut bodies: Vec<(String, usize, Body<'_>)> = vec![("giver".into(), client, Box::new(give))];
        for (number, wires) in wires.iter().enumerate() {
            let serve = move || {
                if !is_single {
                    spread_thread(self.cores)?;
                }
                match row.case {
                    Case::Auto => wires.serve_chunks(),
                    Case::Large => wires.serve_large(words),
                    _ => wires.serve(),
                }
            };
            bodies.push((format!("worker {number}"), server, Box::new(serve)));
        }
        self.crew(row, bodies)
    }

    /// The process that gives tasks to workers on pipes.
    fn give(&self, row: Row, wires: &[Wires]) -> Result<Report, Fault> {
        let ns = self.pass(row).as_nanos() as u64;
        let mut giver = Giver::new(wires);
        match row.case {
            Case::Large => {
                let mut blocks = giver.blocks(row.case.size() / size_of::<u64>());
                let report = drive::windows(&mut blocks, wires.len() * BLOCKS, ns)?;
                blocks.end()?;
                Ok(report)
            }
            Case::Auto => {
                let report = drive::maps(self.timing.items, ns, |items| giver.map(items))?;
                // What was sent are chunks.
                let sent = giver.end_chunks()?;
                Ok(Report { sent, ..report })
            }
            Case::Chunk1 => {
                let report = drive::windows(&mut giver, row.case.window(), ns)?;
                giver.end()?;
                Ok(report)
            }
            _ => {
                let report = drive::round_trips(&mut giver, ns)?;
                giver.end()?;
                Ok(report)
            }
        }
    }

    fn threads(&self, row: Row) -> Result<Report, Fault> {
        let ns = self.pass(row).as_nanos() as u64;
        let awake_on = (row.case == Case::Rtt).then(|| Cores::among(self.cores).server);
        let threads = Threads { count: row.case.workers(), window: row.case.window(), awake_on };
        match row.case {
            Case::Auto => drive::maps(self.timing.items, ns, |items| threads.map(items)),
            Case::Chunk1 => threads.run(|mut ends| drive::windows(&mut ends, threads.window, ns)),
            _ => threads.run(|mut ends| drive::round_trips(&mut ends, ns)),
        }
    }

    fn pool(&self, row: Row) -> Result<Report, Fault> {
        let ns = self.pass(row).as_nanos() as u64;
        let mut pool = ours::Ours::new(row.case, Cores::among(self.cores).server)?;
        match row.case {
            Case::Rtt | Case::RttAsleep => drive::round_trips(&mut pool, ns),
            Case::Chunk1 => drive::windows(&mut pool, row.case.window(), ns),
            Case::Auto => drive::maps(self.timing.items, ns, |items| pool.map(items)),
            Case::Large => pool.large(row.case, self.timing.large_tasks),
            Case::Kill => drive::times(ns, DEATHS, || pool.replace()),
        }
    }

    /// How long a row may take before it counts as stalled. Maps and large tasks are never broken off.
    fn patience(&self, row: Row) -> std::time::Duration {
        let whole = matches!(row.case, Case::Auto | Case::Large);
        self.pass(row) + if whole { 4 * GRACE } else { GRACE }
    }
}
