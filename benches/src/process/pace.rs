//! The loop of every row: one operation after the other, each timed by itself.

use std::time::Duration;

use crate::clock::now_ns;
use crate::drive::{Report, counts, histogram};
use crate::fault::Fault;

/// Operations before the first that counts: files are in the page cache then, and what is made once is made.
const WARM_UP: u64 = 5;

/// How long one row goes on in one pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// For so long,
    pub(super) duration: Duration,
    /// and so often at least.
    pub(super) least: u64,
}

impl Pace {
    /// Times an operation, which says how many nanoseconds it took.
    pub(super) fn times(self, mut once: impl FnMut(u64) -> Result<u64, Fault>) -> Result<Report, Fault> {
        let mut histogram = histogram()?;
        let count = self.run(|number, counts| {
            let took = once(number)?;
            if counts {
                // A value above the bound is counted as the bound.
                histogram.saturating_record(took);
            }
            Ok(())
        })?;
        Ok(Report { received: count, latencies: counts(&histogram), ..Report::default() })
    }

    /// The rate of an operation that starts `each` children.
    pub(super) fn rates(
        self,
        each: u64,
        mut once: impl FnMut(u64) -> Result<u64, Fault>,
    ) -> Result<Report, Fault> {
        let mut rates = Vec::new();
        let count = self.run(|number, counts| {
            let took = once(number)?;
            rates.extend(counts.then(|| each as f64 * 1e9 / took.max(1) as f64));
            Ok(())
        })?;
        Ok(Report { received: count * each, rates, ..Report::default() })
    }

    fn run(self, mut once: impl FnMut(u64, bool) -> Result<(), Fault>) -> Result<u64, Fault> {
        for number in 0..WARM_UP.min(self.least) {
            once(number, false)?;
        }
        let end = now_ns() + self.duration.as_nanos() as u64;
        let mut count = 0;
        while count < self.least || now_ns() < end {
            once(count, true)?;
            count += 1;
        }
        Ok(count)
    }
}

/// The nanoseconds that `start` took, where it gives the number that follows on `number`.
pub(super) fn checked(number: u64, start: impl FnOnce(u64) -> Result<u64, Fault>) -> Result<u64, Fault> {
    let before = now_ns();
    let value = start(number)?;
    let took = now_ns() - before;
    if value == successor(number) {
        return Ok(took);
    }
    Err(Fault::failed("starting a child", format!("{value} came back where {number} + 1 was due")))
}

/// The function of every child that computes.
pub(super) fn successor(number: u64) -> u64 {
    number + 1
}
