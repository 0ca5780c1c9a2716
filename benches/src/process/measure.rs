//! A whole run of the group: the rows one after the other, the list several times, the samples put together.

use std::time::Duration;

use crate::fault::Fault;
use crate::passes;

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
pub type Measured = passes::Measured<Row>;
/// Everything a run needs. All cores are used.
pub type Run<'a> = passes::Run<'a, Row, Timing>;

impl Run<'_> {
    /// Measures the list, pass by pass, and tells `progress` before each row. The caller must not have threads.
    ///
    /// # Errors
    /// [`Fault::Interrupted`]. Every other fault belongs to its row and stands there.
    pub fn measure(&self, progress: impl FnMut(passes::Progress<Row>)) -> Result<Vec<Measured>, Fault> {
        let sample = |row: &Row, samples: &mut passes::Samples<()>| samples.add_timed(self.sample(*row)?);
        self.go(self.timing.passes, |_, _| true, progress, sample, |_, ()| ())
    }

    /// How long and how often a row is measured in one pass.
    pub(super) fn pace(&self) -> Pace {
        let Timing { row_seconds, least, passes } = self.timing;
        Pace { duration: Duration::from_secs_f64(row_seconds / f64::from(passes)), least }
    }
}
