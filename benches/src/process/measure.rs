//! A whole run of the group: the rows one after the other, the list several times, the samples put together.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::crew::Signals;
use crate::drive::{self, Report};
use crate::fault::Fault;
use crate::run::{Percentiles, quantile};

use super::pace::Pace;
use super::plan::Row;

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Seconds a row is measured, all passes together.
    pub row_seconds: f64,
    /// Operations that a row has in one pass at least, however long they take.
    pub least: u64,
    /// How many times the whole list is gone through.
    pub passes: u32,
}

impl Timing {
    /// About a minute for the whole list.
    pub const DEFAULT: Self = Self { row_seconds: 1.0, least: 30, passes: 5 };
    /// Some seconds for the whole list: a first look.
    pub const QUICK: Self = Self { row_seconds: 0.1, least: 10, passes: 2 };

    /// Seconds that `rows` will take, about.
    pub fn estimate_seconds(&self, rows: &[Row]) -> f64 {
        let large = rows.iter().filter(|row| row.case.is_large()).count();
        // To make a large one takes this long, each time.
        rows.len() as f64 * self.row_seconds * 1.2 + large as f64 * f64::from(self.passes) * 0.5
    }
}

/// A row with what was found.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What was measured.
    pub row: Row,
    /// Every operation of all passes, where each was timed.
    pub latency: Option<Percentiles>,
    /// Children a second: median of the turns of all passes.
    pub per_s: Option<f64>,
    /// The same, 90th percentile of the turns.
    pub per_s_p90: Option<f64>,
    /// How far the passes lie apart: largest less smallest median, in percent of the smallest.
    pub spread_percent: Option<f64>,
    /// Why there are no figures.
    pub fault: Option<Fault>,
}

impl Measured {
    /// Whether the row was refused, as opposed to measured or impossible here.
    pub fn is_refused(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| !fault.is_unsupported())
    }
}

/// The row that is about to be measured.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The row.
    pub row: Row,
    /// Measurements done.
    pub done: usize,
    /// Measurements altogether.
    pub total: usize,
}

/// Everything a run needs.
#[derive(Debug)]
pub struct Run<'a> {
    /// The list.
    pub rows: &'a [Row],
    /// How long, how often.
    pub timing: Timing,
    /// The cores that may be used, at least one. All are.
    pub cores: &'a [usize],
    /// What ends the run early.
    pub signals: Option<&'a Signals>,
}

impl Run<'_> {
    /// Measures the list, pass by pass, and tells `progress` before each row. The caller must not have threads.
    ///
    /// # Errors
    /// [`Fault::Interrupted`]. Every other fault belongs to its row and stands there.
    pub fn measure(&self, mut progress: impl FnMut(Progress)) -> Result<Vec<Measured>, Fault> {
        let mut gathered = self.rows.iter().map(|row| Gathered::new(*row)).collect::<Result<Vec<_>, _>>()?;
        let total = self.rows.len() * self.timing.passes as usize;
        let mut done = 0;
        for _ in 0..self.timing.passes {
            for gathered in &mut gathered {
                progress(Progress { row: gathered.row, done, total });
                done += 1;
                if gathered.fault.is_none() {
                    match self.sample(gathered.row) {
                        Ok(report) => gathered.add(report)?,
                        Err(Fault::Interrupted) => return Err(Fault::Interrupted),
                        Err(fault) => gathered.fault = Some(fault),
                    }
                }
            }
        }
        Ok(gathered.into_iter().map(Gathered::finish).collect())
    }

    /// How long and how often a row is measured in one pass.
    pub(super) fn pace(&self) -> Pace {
        let Timing { row_seconds, least, passes } = self.timing;
        Pace { duration: Duration::from_secs_f64(row_seconds / f64::from(passes)), least }
    }
}

/// The samples of one row, pass after pass.
struct Gathered {
    row: Row,
    histogram: Histogram<u64>,
    rates: Vec<f64>,
    pass_medians: Vec<f64>,
    fault: Option<Fault>,
}

impl Gathered {
    fn new(row: Row) -> Result<Self, Fault> {
        let histogram = drive::histogram()?;
        Ok(Self { row, histogram, rates: Vec::new(), pass_medians: Vec::new(), fault: None })
    }

    fn add(&mut self, report: Report) -> Result<(), Fault> {
        let mut pass = drive::histogram()?;
        for (nanoseconds, count) in report.latencies {
            pass.saturating_record_n(nanoseconds, count);
        }
        if !pass.is_empty() {
            self.pass_medians.push(pass.value_at_quantile(0.5) as f64);
            self.histogram.add(pass).map_err(|error| Fault::failed("adding up a pass", error))?;
        }
        let mut rates = report.rates;
        rates.sort_by(f64::total_cmp);
        self.pass_medians.extend(quantile(&rates, 0.5));
        self.rates.extend(rates);
        Ok(())
    }

    fn finish(mut self) -> Measured {
        let mut measured = Measured {
            row: self.row,
            latency: None,
            per_s: None,
            per_s_p90: None,
            spread_percent: None,
            fault: self.fault,
        };
        if measured.fault.is_some() {
            return measured;
        }
        self.rates.sort_by(f64::total_cmp);
        self.pass_medians.sort_by(f64::total_cmp);
        measured.latency = (!self.histogram.is_empty()).then(|| Percentiles {
            p50_ns: self.histogram.value_at_quantile(0.5),
            p99_ns: self.histogram.value_at_quantile(0.99),
            p999_ns: self.histogram.value_at_quantile(0.999),
        });
        let (low, high) = (self.pass_medians.first(), self.pass_medians.last());
        let spread = low.zip(high).filter(|(low, _)| self.pass_medians.len() > 1 && **low > 0.0);
        measured.per_s = quantile(&self.rates, 0.5);
        measured.per_s_p90 = quantile(&self.rates, 0.9);
        measured.spread_percent = spread.map(|(low, high)| (high / low - 1.0) * 100.0);
        measured
    }
}
