//! A whole run: the rows one after the other, the list several times, the samples of a row put together.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::crew::Signals;
use crate::drive::{self, Report};
use crate::fault::Fault;
use crate::plan::{Case, Row};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Seconds a row is measured, all passes together.
    pub row_seconds: f64,
    /// How many times the whole list is gone through.
    pub passes: u32,
    /// Seconds of a row whose answer is a share of processor time; measured in the last pass only.
    pub slow_seconds: f64,
}

impl Timing {
    /// About two minutes for the whole list.
    pub const DEFAULT: Self = Self { row_seconds: 0.9, passes: 3, slow_seconds: 2.0 };
    /// About 15 seconds for the whole list: a first look.
    pub const QUICK: Self = Self { row_seconds: 0.08, passes: 2, slow_seconds: 0.5 };

    /// How long a row is measured in one pass.
    pub(crate) fn pass(&self, row: &Row) -> Duration {
        let once = self.row_seconds / f64::from(self.passes);
        Duration::from_secs_f64(if is_slow(row) { self.slow_seconds } else { once })
    }

    /// Seconds that `rows` will take, about.
    pub fn estimate_seconds(&self, rows: &[Row]) -> f64 {
        rows.iter().map(|row| if is_slow(row) { self.slow_seconds } else { self.row_seconds }).sum()
    }
}

/// Rows whose answer is processor time need seconds in one piece.
pub(crate) fn is_slow(row: &Row) -> bool {
    matches!(row.case, Case::Idle | Case::Paced)
}

/// Percentiles of a round trip, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// Half of the round trips took no longer.
    pub p50_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// 999 of 1000.
    pub p999_ns: u64,
}

/// A row with what was found.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What was measured.
    pub row: Row,
    /// Round trips.
    pub latency: Option<Percentiles>,
    /// Messages, or round trips, a second: median of the windows of all passes.
    pub per_s: Option<f64>,
    /// The same, 90th percentile of the windows.
    pub per_s_p90: Option<f64>,
    /// Processor time of the receiver in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Share of the messages that receivers missed, in percent, where senders overwrite.
    pub missed_percent: Option<f64>,
    /// How far the passes lie apart: largest less smallest median, in percent of the smallest.
    pub spread_percent: Option<f64>,
    /// Whether there were more processes than cores, so that they took turns.
    pub is_oversubscribed: bool,
    /// Why there are no figures.
    pub fault: Option<Fault>,
}

impl Measured {
    /// Payload in millions of bytes a second, one way.
    pub fn mb_per_s(&self) -> Option<f64> {
        (self.row.case == Case::Oneway).then_some(self.per_s? * self.row.size as f64 / 1e6)
    }

    /// Nanoseconds from one message to the next.
    pub fn ns_each(&self) -> Option<f64> {
        self.per_s.filter(|per_s| *per_s > 0.0).map(|per_s| 1e9 / per_s)
    }

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
    /// The cores that may be used, at least one. Pairs take the first two.
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
        let mut gathered = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            gathered.push(Gathered::new(*row)?);
        }
        let slow = self.rows.iter().filter(|row| is_slow(row)).count();
        let total = (self.rows.len() - slow) * self.timing.passes as usize + slow;
        let mut done = 0;
        for pass in 1..=self.timing.passes {
            for gathered in &mut gathered {
                let row = gathered.row;
                if is_slow(&row) && pass < self.timing.passes {
                    continue;
                }
                progress(Progress { row, done, total });
                done += 1;
                if gathered.fault.is_none() {
                    match self.sample(&row) {
                        Ok(report) => gathered.add(report),
                        Err(Fault::Interrupted) => return Err(Fault::Interrupted),
                        Err(fault) => gathered.fault = Some(fault),
                    }
                }
            }
        }
        let cores = self.cores.len();
        Ok(gathered.into_iter().map(|gathered| gathered.finish(cores)).collect())
    }
}

/// The samples of one row, pass after pass.
struct Gathered {
    row: Row,
    histogram: Histogram<u64>,
    rates: Vec<f64>,
    pass_medians: Vec<f64>,
    cpu_percent: Option<f64>,
    missed_percent: Vec<f64>,
    fault: Option<Fault>,
}

impl Gathered {
    fn new(row: Row) -> Result<Self, Fault> {
        Ok(Self {
            row,
            histogram: drive::histogram()?,
            rates: Vec::new(),
            pass_medians: Vec::new(),
            cpu_percent: None,
            missed_percent: Vec::new(),
            fault: None,
        })
    }

    fn add(&mut self, report: Report) {
        for (nanoseconds, count) in report.latencies {
            self.histogram.saturating_record_n(nanoseconds, count);
        }
        let mut rates = report.rates;
        rates.sort_by(f64::total_cmp);
        self.pass_medians.extend(quantile(&rates, 0.5));
        self.rates.extend(rates);
        self.cpu_percent = report.cpu_percent.or(self.cpu_percent);
        self.missed_percent.extend(report.missed_percent);
    }

    fn finish(mut self, cores: usize) -> Measured {
        let empty = Measured {
            row: self.row,
            latency: None,
            per_s: None,
            per_s_p90: None,
            cpu_percent: None,
            missed_percent: None,
            spread_percent: None,
            is_oversubscribed: self.row.shape.processes() > cores && self.row.case != Case::RttSamecore,
            fault: self.fault,
        };
        if empty.fault.is_some() {
            return empty;
        }
        if self.rates.is_empty() && self.cpu_percent.is_none() {
            let reason = "nothing was left after the warm-up: the row needs more --seconds";
            return Measured { fault: Some(Fault::Unsupported(reason.into())), ..empty };
        }
        self.rates.sort_by(f64::total_cmp);
        self.pass_medians.sort_by(f64::total_cmp);
        self.missed_percent.sort_by(f64::total_cmp);
        let latency = (!self.histogram.is_empty()).then(|| Percentiles {
            p50_ns: self.histogram.value_at_quantile(0.5),
            p99_ns: self.histogram.value_at_quantile(0.99),
            p999_ns: self.histogram.value_at_quantile(0.999),
        });
        let (low, high) = (self.pass_medians.first(), self.pass_medians.last());
        // A pass without a single message has no ratio to the others.
        let spread = low.zip(high).filter(|(low, _)| self.pass_medians.len() > 1 && **low > 0.0);
        Measured {
            latency,
            per_s: quantile(&self.rates, 0.5),
            per_s_p90: quantile(&self.rates, 0.9),
            cpu_percent: self.cpu_percent,
            missed_percent: quantile(&self.missed_percent, 0.5),
            spread_percent: spread.map(|(low, high)| (high / low - 1.0) * 100.0),
            ..empty
        }
    }
}

/// The value below which `share` of a sorted list lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * share).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_short_lists() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.9), Some(7.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
    }
}
