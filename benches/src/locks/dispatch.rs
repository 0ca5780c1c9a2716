//! What each row measures, and which loops run over it.

use std::time::Duration;

use ginnel_layout::line::LINE;

use crate::crew::{Crew, Member};
use crate::dispatch::GRACE;
use crate::drive::Report;
use crate::fault::Fault;
use crate::memory::Region;
use crate::pair::{Cores, Pair};

use super::contended::{Contention, Load, Outcome};
use super::limits::{BareFutex, Cas, FutexMutex, Lines};
use super::measure::Run;
use super::ours::{
    Auto, Bare, Data, Flagged, Manual, Named, Pool, Reader, Recursive, Tasks, Units, Words, Writer,
};
use super::plan::{Case, Implementation, Row};
use super::rivals::{
    eventfd::Eventfd,
    posix_sem::PosixSem,
    pthread::Pthread,
    raw::{RawEvent, RawMutex},
    standard::Standard,
};
use super::wake::Board;
use super::work::Work;
use super::{Exclusion, Signal, alone, round_trip, wake};

/// How long a lock is held, and how long its user stays away, in nanoseconds.
const HOLD_NS: u64 = 100;
const THINK_NS: u64 = 100;

/// One pass over one row.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Rates and latencies.
    pub(super) report: Report,
    /// Holds of each process, where several wanted the lock.
    pub(super) shares: Vec<u64>,
}

impl Run<'_> {
    /// One pass over one row.
    pub(super) fn sample(&self, row: Row) -> Result<Sample, Fault> {
        if row.case.processes() > 1 && self.cores.len() < 2 {
            return Err(Fault::Unsupported("the processes of this row need two cores".into()));
        }
        if row.case.is_exclusion() { self.lock(row) } else { self.signal(row) }
    }

    fn lock(&self, row: Row) -> Result<Sample, Fault> {
        match row.implementation {
            Implementation::LimitCas => self.exclude(row, Cas::new),
            Implementation::LimitFutex => self.exclude(row, FutexMutex::new),
            Implementation::Pthread => self.exclude(row, Pthread::new),
            Implementation::PthreadRobust => self.exclude(row, Pthread::robust),
            Implementation::PosixSem => self.exclude(row, || PosixSem::new(1)),
            Implementation::StdMutex if row.case == Case::Uncontended => {
                self.exclude(row, || Ok(Standard::default()))
            }
            Implementation::StdMutex => self.contention(row).run_threads(&Standard::default()).map(sample_of),
            Implementation::RawSync => self.exclude(row, RawMutex::new),
            Implementation::Mutex => self.exclude(row, Named::<Data>::mutex),
            Implementation::Lock => self.exclude(row, Named::<Bare>::lock),
            Implementation::RLock => self.exclude(row, Named::<Recursive>::rlock),
            Implementation::RwLockRead => self.exclude(row, Named::<Reader>::reader),
            Implementation::RwLockWrite => self.exclude(row, Named::<Writer>::writer),
            Implementation::Semaphore => self.exclude(row, || Named::<Units>::semaphore(1)),
            Implementation::Permits => self.exclude(row, Named::<Pool>::permits),
            _ => Err(no_such_row()),
        }
    }

    fn signal(&self, row: Row) -> Result<Sample, Fault> {
        match row.implementation {
            Implementation::LimitLine => self.set_and_wait(row, Lines::new),
            Implementation::LimitFutex => self.set_and_wait(row, BareFutex::new),
            Implementation::PosixSem => self.set_and_wait(row, || PosixSem::new(0)),
            Implementation::Eventfd => self.set_and_wait(row, Eventfd::new),
            Implementation::RawSync => self.set_and_wait(row, RawEvent::new),
            Implementation::Event => self.set_and_wait(row, Named::<Manual>::manual),
            Implementation::EventAuto => self.set_and_wait(row, Named::<Auto>::auto),
            Implementation::Condvar => self.set_and_wait(row, Named::<Flagged>::condvar),
            Implementation::Semaphore => self.set_and_wait(row, || Named::<Units>::semaphore(0)),
            Implementation::Queue => self.set_and_wait(row, Named::<Words>::words),
            Implementation::Tokio => self.over_a_reactor(row),
            _ => Err(no_such_row()),
        }
    }

    fn exclude<T: Exclusion>(
        &self,
        row: Row,
        make: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<Sample, Fault> {
        let lock = make()?;
        if row.case != Case::Uncontended {
            return self.contention(row).run(&lock).map(sample_of);
        }
        let duration = self.pass(row);
        let crew = Crew { patience: duration + GRACE, signals: self.signals };
        let core = Cores::among(self.cores).client;
        let body = Box::new(|| alone::run(&lock, nanoseconds(duration)));
        let mut reports = crew.run(vec![Member { role: "process".into(), core, body }])?;
        Ok(Sample { report: reports.pop().unwrap_or_default(), shares: Vec::new() })
    }

    fn contention(&self, row: Row) -> Contention<'_> {
        // Measured anew each time: a processor changes its pace.
        let load = Load { hold: Work::lasting(HOLD_NS), think: Work::lasting(THINK_NS) };
        Contention {
            processes: row.case.processes(),
            load,
            duration: self.pass(row),
            cores: self.cores,
            grace: GRACE,
            signals: self.signals,
        }
    }

    fn set_and_wait<T: Signal>(
        &self,
        row: Row,
        make: impl Fn() -> Result<T, Fault>,
    ) -> Result<Sample, Fault> {
        let there = make()?;
        if row.case != Case::Wake {
            let back = make()?;
            return self.there_and_back(row, (&there, &there), (&back, &back));
        }
        let (ns, board) = (nanoseconds(self.pass(row)), Board::new()?);
        let (report, _) =
            self.pair(row).run(|| wake::waiter(&there, &board, ns), || wake::setter(&there, &board, ns))?;
        Ok(Sample { report, shares: Vec::new() })
    }

    /// The client sends and receives in a task, the server blocks.
    fn over_a_reactor(&self, row: Row) -> Result<Sample, Fault> {
        let (there, back) = (Named::<Words>::words()?, Named::<Words>::words()?);
        self.there_and_back(row, (&Tasks(&there), &there), (&Tasks(&back), &back))
    }

    /// Both signals as the client and as the server hold them.
    fn there_and_back(
        &self,
        row: Row,
        there: (&impl Signal, &impl Signal),
        back: (&impl Signal, &impl Signal),
    ) -> Result<Sample, Fault> {
        let ns = nanoseconds(self.pass(row));
        let board = Region::new(LINE)?;
        let last = board.word64(0);
        let (report, _) = self.pair(row).run(
            || round_trip::client(there.0, back.0, last, ns),
            || round_trip::server(there.1, back.1, last),
        )?;
        Ok(Sample { report, shares: Vec::new() })
    }

    fn pair(&self, row: Row) -> Pair<'_> {
        let patience = self.pass(row) + GRACE;
        let cores = Cores::among(self.cores);
        let cores = match row.case {
            Case::AsyncRttSamecore => Cores { server: cores.client, ..cores },
            _ => cores,
        };
        Pair { cores, patience, signals: self.signals }
    }
}

fn sample_of(outcome: Outcome) -> Sample {
    let report = Report { rates: outcome.rates, ..Report::default() };
    Sample { report, shares: outcome.shares }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// The plan has no such row.
fn no_such_row() -> Fault {
    Fault::Unsupported("it has no such row".into())
}
