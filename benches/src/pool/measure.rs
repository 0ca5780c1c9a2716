//! A whole run of the group: the rows one after the other, the list several times, the samples put together.

use std::time::Duration;

use crate::fault::Fault;
use crate::passes::{self, median};

use super::plan::{Case, Implementation, Row};

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Seconds a row is measured, all passes together. A map is never broken off.
    pub row_seconds: f64,
    /// How many times the whole list is gone through. Large tasks are measured in the last pass, in one piece.
    pub passes: u32,
    /// Items of a map.
    pub items: u64,
    /// Large tasks that our pool does, however long they take.
    pub large_tasks: u64,
}

impl Timing {
    /// One and a half minutes for the whole list.
    pub const DEFAULT: Self = Self { row_seconds: 1.5, passes: 3, items: 10_000_000, large_tasks: 10_000 };
    /// Some seconds for the whole list: a first look.
    pub const QUICK: Self = Self { row_seconds: 0.2, passes: 2, items: 1_000_000, large_tasks: 1_000 };

    /// Seconds that `rows` will take, about.
    pub fn estimate_seconds(&self, rows: &[Row]) -> f64 {
        let passes = f64::from(self.passes);
        let seconds = |row: &Row| match (row.case, row.implementation) {
            (Case::Auto, Implementation::PyPool) => self.items as f64 * 4e-7 * passes,
            (Case::Auto, _) => self.row_seconds + self.items as f64 * 1e-7 * passes,
            (Case::Large, Implementation::Pool) => self.large_tasks as f64 * 4e-4,
            // Each program needs a while to be there.
            (_, Implementation::PyPool | Implementation::Procspawn) => self.row_seconds + 0.3 * passes,
            _ => self.row_seconds + 0.02 * passes,
        };
        rows.iter().map(seconds).sum()
    }
}

/// A row with what was found.
pub type Measured = passes::Measured<Row, Memory>;
/// Everything a run needs. All cores are used where several workers are.
pub type Run<'a> = passes::Run<'a, Row, Timing>;

/// What only large tasks have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// How much more resident memory all processes had after the last task than after the first tenth, in percent.
    pub growth_percent: Option<f64>,
}

impl Measured {
    /// Bytes of arguments, in millions a second; as many come back.
    pub fn mb_per_s(&self) -> Option<f64> {
        (self.row.case == Case::Large).then_some(self.per_s? * self.row.case.size() as f64 / 1e6)
    }
}

impl Run<'_> {
    /// Measures the list, pass by pass, and tells `progress` before each row. The caller must not have threads.
    ///
    /// # Errors
    /// [`Fault::Interrupted`]. Every other fault belongs to its row and stands there.
    pub fn measure(&self, progress: impl FnMut(passes::Progress<Row>)) -> Result<Vec<Measured>, Fault> {
        let passes = self.timing.passes;
        self.go(
            passes,
            |row, pass| row.case != Case::Large || pass == passes,
            progress,
            |row, samples| {
                let report = self.sample(*row)?;
                let growths: &mut Vec<f64> = &mut samples.more;
                growths.extend(report.growth_percent);
                samples.add_timed(report)
            },
            |_, growths| Memory { growth_percent: median(growths) },
        )
    }

    /// How long a row is measured in one pass.
    pub(super) fn pass(&self, row: Row) -> Duration {
        let passes = if row.case == Case::Large { 1 } else { self.timing.passes };
        Duration::from_secs_f64(self.timing.row_seconds / f64::from(passes))
    }
}
