//! What each row measures.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use crate::crew::{Crew, Member, spread_thread};
use crate::dispatch::GRACE;
use crate::drive::Report;
use crate::fault::Fault;
use crate::pair::Cores;

use super::limits;
use super::measure::Run;
use super::ours::Way;
use super::pace::Pace;
use super::plan::{Case, Implementation, Row};
use super::rivals::{self, Forks, Spawns};

/// What a large starter has touched.
const LARGE: usize = 1 << 30;
/// What must be left besides, in bytes.
const SPARE_MEMORY: usize = 512 << 20;
/// Children at a time.
const MANY: u64 = 64;
/// A large one takes as long to be made as some rows take to be measured.
const LARGE_GRACE: Duration = Duration::from_secs(60);

impl Run<'_> {
    /// One pass over one row, in a process of its own.
    pub(super) fn sample(&self, row: Row) -> Result<Report, Fault> {
        if row.case.is_large() {
            check_memory()?;
        }
        let pace = self.pace();
        let crew = Crew { patience: pace.duration + GRACE + LARGE_GRACE, signals: self.signals };
        let body = Box::new(|| {
            spread_thread(self.cores)?;
            // Python has a heap of its own.
            let is_large = row.case.is_large() && row.implementation != Implementation::PythonFork;
            let heap = vec![0x5a_u8; if is_large { LARGE } else { 0 }];
            black_box(&heap);
            let report = measure(row, pace);
            black_box(&heap);
            report
        });
        let core = Cores::among(self.cores).client;
        let mut reports = crew.run(vec![Member { role: "starter".into(), core, body }])?;
        Ok(reports.pop().unwrap_or_default())
    }
}

fn measure(row: Row, pace: Pace) -> Result<Report, Fault> {
    let forks = Forks::new(MANY)?;
    let way = match row.implementation {
        Implementation::LimitVfork => return pace.times(|_| limits::vfork()),
        Implementation::Fork => {
            return match row.case {
                Case::StartJoin | Case::StartJoin1g => pace.times(|number| forks.join(number)),
                Case::SpareBody => pace.times(|_| forks.body()),
                Case::KillSeen => pace.times(|_| forks.kill()),
                Case::Churn64 => pace.rates(MANY, |_| forks.churn(MANY)),
            };
        }
        Implementation::PosixSpawnTrue => {
            let spawns = Spawns::new()?;
            return match row.case {
                Case::Churn64 => pace.rates(MANY, |_| spawns.churn(MANY)),
                _ => pace.times(|_| spawns.join()),
            };
        }
        Implementation::StdProcess => return pace.times(|_| rivals::command()),
        Implementation::PythonFork => return python(row, pace),
        Implementation::Zygote => Way::Zygote,
        Implementation::Reexec => Way::Reexec,
        Implementation::Spare => Way::Spare,
    };
    match row.case {
        Case::StartJoin | Case::StartJoin1g => pace.times(|number| way.join(number)),
        Case::SpareBody => pace.times(|_| way.body()),
        Case::KillSeen => pace.times(|_| way.kill()),
        Case::Churn64 => pace.rates(MANY, |_| way.churn(MANY)),
    }
}

/// Python warms up and counts by itself: it takes as many turns as any row takes at least.
fn python(row: Row, pace: Pace) -> Result<Report, Fault> {
    let exact = |times: Vec<u64>| {
        let pace = Pace { duration: Duration::ZERO, least: times.len() as u64 };
        (pace, times)
    };
    let size = if row.case.is_large() { LARGE } else { 0 };
    let many = if row.case == Case::Churn64 { MANY } else { 1 };
    let turns = if many == 1 { pace.least } else { pace.least.div_ceil(5) };
    let (pace, times) = exact(rivals::python(turns, size, many)?);
    let time = |number: u64| Ok(times[number as usize]);
    if many == 1 { pace.times(time) } else { pace.rates(many, time) }
}

/// Is there room for a large starter?
fn check_memory() -> Result<(), Fault> {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or_default();
    let kilobytes: usize = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
    if kilobytes << 10 >= LARGE + SPARE_MEMORY {
        return Ok(());
    }
    let free = kilobytes >> 10;
    Err(Fault::Unsupported(format!("a starter of 1 GiB needs 1.5 GiB of memory, and {free} MiB are free")))
}
