//! What the groups share whose rows are a case and an implementation.

use std::fmt::{Display, Write};

use super::units::time;
use super::verdict;
use crate::passes::{Measured, Percentiles};
use crate::plan::Pick;

/// The rows of such a group.
pub(super) struct Rows<'a, C, I, M>(pub(super) &'a [Measured<Pick<C, I>, M>]);

impl<C: Copy + PartialEq, I: Copy + PartialEq + Display, M> Rows<'_, C, I, M> {
    /// The table: a block for each case, whose title and columns `heading` says, and a line for each row, whose
    /// figures are [`columns`].
    pub(super) fn table(
        &self,
        heading: impl Fn(C) -> (&'static str, [&'static str; 3]),
        figures: impl Fn(&Measured<Pick<C, I>, M>) -> String,
    ) -> String {
        let mut text = String::new();
        for block in self.0.chunk_by(|left, right| left.row.case == right.row.case) {
            let (title, names) = heading(block[0].row.case);
            // Writing to a string does not fail.
            let _ = writeln!(text, "{title:<36}{}", columns(names).trim_end());
            for measured in block {
                let shown = measured.fault.as_ref().map_or_else(|| figures(measured), verdict);
                let line = format!("  {:<34}{shown}", measured.row.implementation);
                let _ = writeln!(text, "{}", line.trim_end());
            }
            text.push('\n');
        }
        text
    }

    /// A row that has figures.
    pub(super) fn find(&self, case: C, implementation: I) -> Option<&Measured<Pick<C, I>, M>> {
        let wanted = Pick { case, implementation };
        self.0.iter().find(|measured| measured.row == wanted).filter(|measured| measured.fault.is_none())
    }

    /// Its operations a second.
    pub(super) fn rate(&self, case: C, implementation: I) -> Option<f64> {
        self.find(case, implementation)?.per_s.filter(|per_s| *per_s > 0.0)
    }

    /// Its median time in nanoseconds.
    pub(super) fn p50(&self, case: C, implementation: I) -> Option<u64> {
        Some(self.find(case, implementation)?.latency?.p50_ns).filter(|time| *time > 0)
    }

    /// How far the passes over the rows of `steady` lie apart: of what should not move.
    pub(super) fn spreads(&self, steady: &[I]) -> impl Iterator<Item = (String, f64)>
    where
        C: Display,
    {
        let rows = self.0.iter().filter(|measured| steady.contains(&measured.row.implementation));
        rows.filter_map(|measured| Some((measured.row.to_string(), measured.spread_percent?)))
    }
}

/// Cells side by side.
pub(super) fn columns(cells: impl IntoIterator<Item: Display>) -> String {
    cells.into_iter().map(|cell| format!("{cell:>15}")).collect()
}

/// The cells of a time.
pub(super) fn times(latency: Percentiles, unicode: bool) -> [String; 3] {
    [latency.p50_ns, latency.p99_ns, latency.p999_ns].map(|nanoseconds| time(nanoseconds, unicode))
}
