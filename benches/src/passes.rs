//! The passes of a group: its rows one after the other, the list several times, the samples of a row put together.
//!
//! A group brings its rows, how long they take, and one pass over a row; see [`run`](crate::run) for messages.

use hdrhistogram::Histogram;

use crate::crew::Signals;
use crate::drive::{self, Report};
use crate::fault::Fault;

/// Percentiles of a time, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// Half of the operations took no longer.
    pub p50_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// 999 of 1000.
    pub p999_ns: u64,
}

/// A row with what was found; `M` is what only its group has.
#[derive(Debug, Clone)]
pub struct Measured<R, M = ()> {
    /// What was measured.
    pub row: R,
    /// Every operation of all passes, where each was timed.
    pub latency: Option<Percentiles>,
    /// Operations a second, all processes together: median of the windows of all passes.
    pub per_s: Option<f64>,
    /// The same, 90th percentile of the windows.
    pub per_s_p90: Option<f64>,
    /// Processor time of the receiver in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Share of the messages that receivers missed, in percent, where senders overwrite.
    pub missed_percent: Option<f64>,
    /// How far the passes lie apart: largest less smallest median, in percent of the smallest.
    pub spread_percent: Option<f64>,
    /// What the other groups do not have.
    pub more: M,
    /// Why there are no figures.
    pub fault: Option<Fault>,
}

impl<R, M> Measured<R, M> {
    /// A row without figures.
    pub(crate) fn empty(row: R, more: M) -> Self {
        Self {
            row,
            latency: None,
            per_s: None,
            per_s_p90: None,
            cpu_percent: None,
            missed_percent: None,
            spread_percent: None,
            more,
            fault: None,
        }
    }

    /// Nanoseconds from one operation to the next.
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
pub struct Progress<R> {
    /// The row.
    pub row: R,
    /// Measurements done.
    pub done: usize,
    /// Measurements altogether.
    pub total: usize,
}

/// Everything a run of a group needs; `T` says how long and how often.
#[derive(Debug)]
pub struct Run<'a, R, T> {
    /// The list.
    pub rows: &'a [R],
    /// How long, how often.
    pub timing: T,
    /// The cores that may be used, at least one. Pairs take the first two.
    pub cores: &'a [usize],
    /// What ends the run early.
    pub signals: Option<&'a Signals>,
}

impl<R: Copy, T> Run<'_, R, T> {
    /// Goes through the list `passes` times and has `sample` add a pass to each row that `is_due`, until its first
    /// fault; tells `progress` before. Last, `more` makes of what a group gathers for itself what its rows show.
    ///
    /// # Errors
    /// [`Fault::Interrupted`]. Every other fault belongs to its row and stands there.
    pub(crate) fn go<P: Default, M>(
        &self,
        passes: u32,
        is_due: impl Fn(&R, u32) -> bool,
        mut progress: impl FnMut(Progress<R>),
        mut sample: impl FnMut(&R, &mut Samples<P>) -> Result<(), Fault>,
        more: impl Fn(&R, P) -> M,
    ) -> Result<Vec<Measured<R, M>>, Fault> {
        let gathered = self.rows.iter().map(|row| Ok((*row, Ok(Samples::new()?))));
        let mut gathered = gathered.collect::<Result<Vec<_>, Fault>>()?;
        let due_in = |pass| self.rows.iter().filter(|row| is_due(row, pass)).count();
        let (mut done, total) = (0, (1..=passes).map(due_in).sum());
        for pass in 1..=passes {
            for (row, samples) in gathered.iter_mut().filter(|(row, _)| is_due(row, pass)) {
                progress(Progress { row: *row, done, total });
                done += 1;
                let Ok(known) = samples else { continue };
                match sample(row, known) {
                    Ok(()) => {}
                    Err(Fault::Interrupted) => return Err(Fault::Interrupted),
                    Err(fault) => *samples = Err(fault),
                }
            }
        }
        let finish = |(row, samples): (R, Result<Samples<P>, Fault>)| match samples {
            Ok(mut samples) => {
                let own = more(&row, std::mem::take(&mut samples.more));
                samples.finish(row, own)
            }
            Err(fault) => Measured { fault: Some(fault), ..Measured::empty(row, more(&row, P::default())) },
        };
        Ok(gathered.into_iter().map(finish).collect())
    }
}

/// The samples of one row, pass after pass; `P` is what only its group gathers.
#[derive(Debug)]
pub(crate) struct Samples<P> {
    histogram: Histogram<u64>,
    rates: Vec<f64>,
    pass_medians: Vec<f64>,
    cpu_percent: Option<f64>,
    missed_percent: Vec<f64>,
    /// What the other groups do not gather.
    pub(crate) more: P,
}

impl<P: Default> Samples<P> {
    fn new() -> Result<Self, Fault> {
        Ok(Self {
            histogram: drive::histogram()?,
            rates: Vec::new(),
            pass_medians: Vec::new(),
            cpu_percent: None,
            missed_percent: Vec::new(),
            more: P::default(),
        })
    }

    /// Adds a pass, whose median is that of its rates.
    pub(crate) fn add(&mut self, report: Report) {
        for (nanoseconds, count) in report.latencies {
            self.histogram.saturating_record_n(nanoseconds, count);
        }
        self.pass_medians.extend(median(report.rates.clone()));
        self.rates.extend(report.rates);
        self.cpu_percent = report.cpu_percent.or(self.cpu_percent);
        self.missed_percent.extend(report.missed_percent);
    }

    /// Adds a pass, whose median is that of its times, or of its rates where it has those.
    pub(crate) fn add_timed(&mut self, report: Report) -> Result<(), Fault> {
        let mut pass = drive::histogram()?;
        for (nanoseconds, count) in &report.latencies {
            pass.saturating_record_n(*nanoseconds, *count);
        }
        self.pass_medians.extend((!pass.is_empty()).then(|| pass.value_at_quantile(0.5) as f64));
        self.add(report);
        Ok(())
    }

    fn finish<R, M>(mut self, row: R, more: M) -> Measured<R, M> {
        let empty = Measured::empty(row, more);
        if self.pass_medians.is_empty() && self.cpu_percent.is_none() {
            let reason = "nothing was left after the warm-up: the row needs more --seconds";
            return Measured { fault: Some(Fault::Unsupported(reason.into())), ..empty };
        }
        self.rates.sort_by(f64::total_cmp);
        self.pass_medians.sort_by(f64::total_cmp);
        let (low, high) = (self.pass_medians.first(), self.pass_medians.last());
        // A pass without a single message has no ratio to the others.
        let spread = low.zip(high).filter(|(low, _)| self.pass_medians.len() > 1 && **low > 0.0);
        Measured {
            latency: (!self.histogram.is_empty()).then(|| Percentiles {
                p50_ns: self.histogram.value_at_quantile(0.5),
                p99_ns: self.histogram.value_at_quantile(0.99),
                p999_ns: self.histogram.value_at_quantile(0.999),
            }),
            per_s: quantile(&self.rates, 0.5),
            per_s_p90: quantile(&self.rates, 0.9),
            cpu_percent: self.cpu_percent,
            missed_percent: median(self.missed_percent),
            spread_percent: spread.map(|(low, high)| (high / low - 1.0) * 100.0),
            ..empty
        }
    }
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The value below which `share` of a sorted list lies.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
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
