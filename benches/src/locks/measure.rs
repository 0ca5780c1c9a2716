//! A whole run of the group: the rows one after the other, the list several times, the samples put together.

use std::time::Duration;

use crate::fault::Fault;
use crate::passes::{self, median};

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
pub type Measured = passes::Measured<Row, Shares>;
/// Everything a run needs. The first two cores are used.
pub type Run<'a> = passes::Run<'a, Row, Timing>;

/// What only locks that several want have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shares {
    /// Part of the holds that the process with the fewest had, between 0 and 1: median of the passes.
    pub smaller: Option<f64>,
    /// Holds of the process with the fewest for one hold of the process with the most: median of the passes.
    pub fairness: Option<f64>,
}

impl Measured {
    /// Whether its rate says nothing, because one of two processes had the lock nearly to itself.
    pub fn is_void(&self) -> bool {
        self.row.case == Case::Contended && self.more.smaller.is_some_and(|share| share < SHARE_MIN)
    }
}

impl Run<'_> {
    /// Measures the list, pass by pass, and tells `progress` before each row. The caller must not have threads.
    ///
    /// # Errors
    /// [`Fault::Interrupted`]. Every other fault belongs to its row and stands there.
    pub fn measure(&self, progress: impl FnMut(passes::Progress<Row>)) -> Result<Vec<Measured>, Fault> {
        self.go(
            self.timing.passes,
            |_, _| true,
            progress,
            |row, samples| {
                let Sample { report, shares } = self.sample(*row)?;
                samples.add(report);
                let (least, most) = (shares.iter().min(), shares.iter().max());
                let (smaller, fairness): &mut (Vec<f64>, Vec<f64>) = &mut samples.more;
                if let Some((&least, &most)) = least.zip(most).filter(|(_, most)| **most > 0) {
                    let all: u64 = shares.iter().sum();
                    smaller.push(least as f64 / all as f64);
                    fairness.push(least as f64 / most as f64);
                }
                Ok(())
            },
            |_, (smaller, fairness)| Shares { smaller: median(smaller), fairness: median(fairness) },
        )
    }

    /// How long a row is measured in one pass.
    pub(super) fn pass(&self, row: Row) -> Duration {
        Duration::from_secs_f64(self.timing.seconds(row) / f64::from(self.timing.passes))
    }
}
