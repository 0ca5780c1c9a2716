//! A whole run of the group of messages: what a pass over a row adds, and how long it takes.

use std::time::Duration;

use crate::fault::Fault;
use crate::passes;
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

/// A row with what was found.
pub type Measured = passes::Measured<Row, Crowding>;
/// Everything a run needs. Pairs take the first two cores.
pub type Run<'a> = passes::Run<'a, Row, Timing>;

/// What only rows of messages have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Crowding {
    /// Whether there were more processes than cores, so that they took turns.
    pub is_oversubscribed: bool,
}

impl Measured {
    /// Payload in millions of bytes a second, one way.
    pub fn mb_per_s(&self) -> Option<f64> {
        (self.row.case == Case::Oneway).then_some(self.per_s? * self.row.size as f64 / 1e6)
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
            |row, pass| pass == passes || !is_slow(row),
            progress,
            |row, samples| {
                samples.add(self.sample(row)?);
                Ok(())
            },
            |row, ()| {
                let is_oversubscribed =
                    row.shape.processes() > self.cores.len() && row.case != Case::RttSamecore;
                Crowding { is_oversubscribed }
            },
        )
    }
}
