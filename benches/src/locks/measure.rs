//! A whole run of the group: the rows one after the other, the list several times, the samples put together.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::crew::Signals;
use crate::drive;
use crate::fault::Fault;
use crate::run::{Percentiles, quantile};

use super::dispatch::Sample;
use super::plan::{Case, Row};

/// A lock that gives one of two processes less than this share of the holds is not compared with others: whoever
/// keeps the lock to itself is fast, as nothing moves between the cores.
pub const SHARE_MIN: f64 = 0.3;

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Seconds a row is measured, all passes together.
    pub row_seconds: f64,
    /// The same for rows with more processes than cores, which take turns by slices of milliseconds.
    pub shared_seconds: f64,
    /// How many times the whole list is gone through.
    pub passes: u32,
}

impl Timing {
    /// About a minute for the whole list.
    pub const DEFAULT: Self = Self { row_seconds: 1.0, shared_seconds: 2.5, passes: 5 };
    /// Some seconds for the whole list: a first look.
    pub const QUICK: Self = Self { row_seconds: 0.12, shared_seconds: 0.4, passes: 2 };

    fn seconds(&self, row: Row) -> f64 {
        if row.case == Case::Oversub { self.shared_seconds } else { self.row_seconds }
    }

    /// Seconds that `rows` will take, about.
    pub fn estimate_seconds(&self, rows: &[Row]) -> f64 {
        rows.iter().map(|row| self.seconds(*row)).sum()
    }
}

/// A row with what was found.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What was measured.
    pub row: Row,
    /// Wakes and round trips.
    pub latency: Option<Percentiles>,
    /// Holds, or round trips, a second, all processes together: median of the windows of all passes.
    pub per_s: Option<f64>,
    /// The same, 90th percentile of the windows.
    pub per_s_p90: Option<f64>,
    /// Part of the holds that the process with the fewest had, between 0 and 1: median of the passes.
    pub smaller_share: Option<f64>,
    /// Holds of the process with the fewest for one hold of the process with the most: median of the passes.
    pub fairness: Option<f64>,
    /// How far the passes lie apart: largest less smallest median, in percent of the smallest.
    pub spread_percent: Option<f64>,
    /// Why there are no figures.
    pub fault: Option<Fault>,
}

impl Measured {
    /// Nanoseconds from one hold to the next.
    pub fn ns_each(&self) -> Option<f64> {
        self.per_s.filter(|per_s| *per_s > 0.0).map(|per_s| 1e9 / per_s)
    }

    /// Whether the row was refused, as opposed to measured or impossible here.
    pub fn is_refused(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| !fault.is_unsupported())
    }

    /// Whether its rate says nothing, because one of two processes had the lock nearly to itself.
    pub fn is_void(&self) -> bool {
        self.row.case == Case::Contended && self.smaller_share.is_some_and(|share| share < SHARE_MIN)
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
    /// The cores that may be used, at least one. The first two are.
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
                        Ok(sample) => gathered.add(sample),
                        Err(Fault::Interrupted) => return Err(Fault::Interrupted),
                        Err(fault) => gathered.fault = Some(fault),
                    }
                }
            }
        }
        Ok(gathered.into_iter().map(Gathered::finish).collect())
    }

    /// How long a row is measured in one pass.
    pub(super) fn pass(&self, row: Row) -> Duration {
        Duration::from_secs_f64(self.timing.seconds(row) / f64::from(self.timing.passes))
    }
}

/// The samples of one row, pass after pass.
struct Gathered {
    row: Row,
    histogram: Histogram<u64>,
    rates: Vec<f64>,
    pass_medians: Vec<f64>,
    smaller_shares: Vec<f64>,
    fairness: Vec<f64>,
    fault: Option<Fault>,
}

impl Gathered {
    fn new(row: Row) -> Result<Self, Fault> {
        Ok(Self {
            row,
            histogram: drive::histogram()?,
            rates: Vec::new(),
            pass_medians: Vec::new(),
            smaller_shares: Vec::new(),
            fairness: Vec::new(),
            fault: None,
        })
    }

    fn add(&mut self, sample: Sample) {
        for (nanoseconds, count) in sample.report.latencies {
            self.histogram.saturating_record_n(nanoseconds, count);
        }
        let mut rates = sample.report.rates;
        rates.sort_by(f64::total_cmp);
        self.pass_medians.extend(quantile(&rates, 0.5));
        self.rates.extend(rates);
        let (least, most) = (sample.shares.iter().min(), sample.shares.iter().max());
        if let Some((&least, &most)) = least.zip(most).filter(|(_, most)| **most > 0) {
            let all: u64 = sample.shares.iter().sum();
            self.smaller_shares.push(least as f64 / all as f64);
            self.fairness.push(least as f64 / most as f64);
        }
    }

    fn finish(mut self) -> Measured {
        let mut measured = Measured {
            row: self.row,
            latency: None,
            per_s: None,
            per_s_p90: None,
            smaller_share: None,
            fairness: None,
            spread_percent: None,
            fault: self.fault,
        };
        if measured.fault.is_some() {
            return measured;
        }
        if self.rates.is_empty() {
            let reason = "nothing was left after the warm-up: the row needs more --seconds";
            return Measured { fault: Some(Fault::Unsupported(reason.into())), ..measured };
        }
        for list in [&mut self.rates, &mut self.pass_medians, &mut self.smaller_shares, &mut self.fairness] {
            list.sort_by(f64::total_cmp);
        }
        measured.latency = (!self.histogram.is_empty()).then(|| Percentiles {
            p50_ns: self.histogram.value_at_quantile(0.5),
            p99_ns: self.histogram.value_at_quantile(0.99),
            p999_ns: self.histogram.value_at_quantile(0.999),
        });
        let (low, high) = (self.pass_medians.first(), self.pass_medians.last());
        let spread = low.zip(high).filter(|(low, _)| self.pass_medians.len() > 1 && **low > 0.0);
        measured.per_s = quantile(&self.rates, 0.5);
        measured.per_s_p90 = quantile(&self.rates, 0.9);
        measured.smaller_share = quantile(&self.smaller_shares, 0.5);
        measured.fairness = quantile(&self.fairness, 0.5);
        measured.spread_percent = spread.map(|(low, high)| (high / low - 1.0) * 100.0);
        measured
    }
}
