//! A whole run of the group: the rows one after the other, the list several times, the samples put together.

use std::time::Duration;

use crate::fault::Fault;
use crate::passes::{self, median};

use super::plan::{Case, Implementation, Row};

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Seconds a row is measured, all passes together. To fill a map is never broken off.
    pub row_seconds: f64,
    /// How many times the whole list is gone through. Memory and growth are measured in the last pass, in one piece.
    pub passes: u32,
    /// Entries, where the case does not say it.
    pub keys: u64,
    /// Deaths that one pass over a row has at least.
    pub deaths: u64,
}

impl Timing {
    /// Somewhat more than a minute for the usual list.
    pub const DEFAULT: Self = Self { row_seconds: 1.5, passes: 3, keys: 50_000, deaths: 30 };
    /// Some seconds for the usual list: a first look.
    pub const QUICK: Self = Self { row_seconds: 0.2, passes: 2, keys: 50_000, deaths: 10 };

    /// Seconds that `rows` will take, about.
    pub fn estimate_seconds(&self, rows: &[Row]) -> f64 {
        let passes = f64::from(self.passes);
        let seconds = |row: &Row| match (row.case, row.implementation) {
            (Case::Memory, _) => 0.1,
            (case, _) if case.is_slow() => self.row_seconds + case.entries().unwrap_or(0) as f64 * 5e-7,
            // It has to be filled over a socket.
            (_, Implementation::PyManager) => self.row_seconds + 0.5 * passes,
            _ => self.row_seconds + 0.1 * passes,
        };
        rows.iter().map(seconds).sum()
    }
}

/// A row with what was found.
pub type Measured = passes::Measured<Row, Filled>;
/// Everything a run needs.
pub type Run<'a> = passes::Run<'a, Row, Timing>;

/// What only maps have that were filled for their own sake.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filled {
    /// Nanoseconds to put one entry in, on the average.
    pub insert_ns: Option<f64>,
    /// Bytes of memory an entry, with all that is around it.
    pub entry_bytes: Option<f64>,
}

/// What the passes gather of it.
#[derive(Debug, Default)]
struct Gathered {
    insert_ns: Vec<f64>,
    entry_bytes: Vec<f64>,
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
            |row, pass| !row.case.is_single() || pass == passes,
            progress,
            |row, samples| {
                let report = self.sample(*row)?;
                let gathered: &mut Gathered = &mut samples.more;
                gathered.insert_ns.extend(report.insert_ns);
                gathered.entry_bytes.extend(report.entry_bytes);
                samples.add_timed(report)
            },
            |_, gathered| Filled {
                insert_ns: median(gathered.insert_ns),
                entry_bytes: median(gathered.entry_bytes),
            },
        )
    }

    /// How long a row is measured in one pass.
    pub(super) fn pass(&self, row: Row) -> Duration {
        let passes = if row.case.is_single() { 1 } else { self.timing.passes };
        Duration::from_secs_f64(self.timing.row_seconds / f64::from(passes))
    }

    /// How many entries a map of the row has.
    pub(super) fn entries(&self, row: Row) -> u64 {
        row.case.entries().unwrap_or(self.timing.keys)
    }
}
