//! A whole run: the rows one after the other, the list several times, the samples of a row put together.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::control::copy::{self, Copy};
use crate::control::{futex::Futex, index::Index, line::Line};
use crate::drive::{self, Report};
use crate::fault::Fault;
use crate::kernel::{message_queue::MessageQueue, packet::Packet, stream::Stream};
use crate::lane::{ByteLane, CopyLane, Lane};
use crate::pair::{Cores, Pair, Signals};
use crate::payload::{Dynamic, Fixed};
use crate::plan::{Case, Implementation, Row};
use crate::transport::Transport;

/// How long beyond its time a row may take before it counts as stalled.
const GRACE: Duration = Duration::from_secs(5);

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
    /// About 75 seconds for the whole list.
    pub const DEFAULT: Self = Self { row_seconds: 0.9, passes: 3, slow_seconds: 2.0 };
    /// About 10 seconds for the whole list: a first look.
    pub const QUICK: Self = Self { row_seconds: 0.1, passes: 2, slow_seconds: 0.5 };

    /// Seconds that `rows` will take, about.
    pub fn estimate_seconds(&self, rows: &[Row]) -> f64 {
        rows.iter().map(|row| if is_slow(row) { self.slow_seconds } else { self.row_seconds }).sum()
    }
}

/// Rows whose answer is processor time need seconds in one piece.
fn is_slow(row: &Row) -> bool {
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
    /// How far the passes lie apart: largest less smallest median, in percent of the smallest.
    pub spread_percent: Option<f64>,
    /// Why there are no figures.
    pub fault: Option<Fault>,
}

impl Measured {
    /// Payload in millions of bytes a second, one way.
    pub fn mb_per_s(&self) -> Option<f64> {
        (self.row.case == Case::Oneway).then_some(self.per_s? * self.row.size as f64 / 1e6)
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
    /// The two cores; the same twice where there is only one.
    pub cores: Cores,
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
        Ok(gathered.into_iter().map(Gathered::finish).collect())
    }

    /// One pass over one row: the client's report.
    fn sample(&self, row: &Row) -> Result<Report, Fault> {
        if row.needs_two_cores() && self.cores.client == self.cores.server {
            return Err(Fault::Unsupported("two processes that spin need two cores".into()));
        }
        let words = row.size / 8;
        match row.implementation {
            Implementation::LimitLine => self.pair_up(row, Line::new),
            Implementation::LimitFutex => self.pair_up(row, Futex::new),
            Implementation::LimitCopy => self.pair_up(row, || Copy::new(words, copy::SMALL_RING)),
            Implementation::LimitCopyLarge => self.pair_up(row, || Copy::new(words, copy::LARGE_RING)),
            Implementation::LimitIndex => with_size(row.size, IndexRow { run: self, row }),
            Implementation::Lane => with_size(row.size, LaneRow { run: self, row }),
            Implementation::LaneCopy => self.pair_up(row, || CopyLane::new(row)),
            Implementation::Pipe => self.pair_up(row, || Stream::pipe(words, row.ring_size())),
            Implementation::UnixStream => self.pair_up(row, || Stream::unix(words, row.ring_size())),
            Implementation::UnixSeqpacket => self.pair_up(row, || Packet::new(words, row.ring_size())),
            Implementation::PosixMq => self.pair_up(row, || MessageQueue::new(words)),
        }
    }

    /// Runs the row's case over transports that `make` makes.
    fn pair_up<T: Transport>(&self, row: &Row, make: impl Fn() -> Result<T, Fault>) -> Result<Report, Fault> {
        let seconds = if is_slow(row) {
            self.timing.slow_seconds
        } else {
            self.timing.row_seconds / f64::from(self.timing.passes)
        };
        let duration = Duration::from_secs_f64(seconds);
        let nanoseconds = duration.as_nanos() as u64;
        let mut cores = self.cores;
        if row.case == Case::RttSamecore {
            cores.server = cores.client;
        }
        let pair = Pair { cores, patience: duration + GRACE, signals: self.signals };
        let (client, _server) = match row.case {
            Case::Rtt | Case::RttSamecore => {
                let (there, back) = (make()?, make()?);
                pair.run(|| drive::client(&there, &back, nanoseconds), || drive::server(&there, &back))
            }
            Case::Oneway => {
                let way = make()?;
                pair.run(
                    || drive::consume(&way, row.batch, nanoseconds),
                    || drive::produce(&way, row.batch, nanoseconds),
                )
            }
            Case::Idle | Case::Paced => {
                let way = make()?;
                let paced = row.case == Case::Paced;
                pair.run(|| drive::consume_slowly(&way), || drive::produce_slowly(&way, paced, nanoseconds))
            }
        }?;
        Ok(client)
    }
}

/// A row whose transport is compiled for its size, in words.
trait SizedRow {
    fn fixed<const N: usize>(self) -> Result<Report, Fault>;
    fn dynamic(self, words: usize) -> Result<Report, Fault>;
}

/// Picks the size at compile time for the sizes of the default list, at run time for others.
fn with_size(bytes: usize, row: impl SizedRow) -> Result<Report, Fault> {
    match bytes {
        8 => row.fixed::<1>(),
        64 => row.fixed::<8>(),
        0x400 => row.fixed::<0x80>(),
        0x1_0000 => row.fixed::<0x2000>(),
        0x10_0000 => row.fixed::<0x2_0000>(),
        0x40_0000 => row.fixed::<0x8_0000>(),
        other => row.dynamic(other / 8),
    }
}

struct IndexRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for IndexRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || Index::new(Fixed::<N>, self.row.slots(), self.row.batch))
    }

    fn dynamic(self, words: usize) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || Index::new(Dynamic(words), self.row.slots(), self.row.batch))
    }
}

struct LaneRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for LaneRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || Lane::<N>::new(self.row))
    }

    fn dynamic(self, _words: usize) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || ByteLane::new(self.row))
    }
}

/// The samples of one row, pass after pass.
struct Gathered {
    row: Row,
    histogram: Histogram<u64>,
    rates: Vec<f64>,
    pass_medians: Vec<f64>,
    cpu_percent: Option<f64>,
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
    }

    fn finish(mut self) -> Measured {
        let empty = Measured {
            row: self.row,
            latency: None,
            per_s: None,
            per_s_p90: None,
            cpu_percent: None,
            spread_percent: None,
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
        let latency = (!self.histogram.is_empty()).then(|| Percentiles {
            p50_ns: self.histogram.value_at_quantile(0.5),
            p99_ns: self.histogram.value_at_quantile(0.99),
            p999_ns: self.histogram.value_at_quantile(0.999),
        });
        let (low, high) = (self.pass_medians.first(), self.pass_medians.last());
        let spread = low.zip(high).filter(|_| self.pass_medians.len() > 1);
        Measured {
            latency,
            per_s: quantile(&self.rates, 0.5),
            per_s_p90: quantile(&self.rates, 0.9),
            cpu_percent: self.cpu_percent,
            spread_percent: spread.map(|(low, high)| (high / low - 1.0) * 100.0),
            ..empty
        }
    }
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
