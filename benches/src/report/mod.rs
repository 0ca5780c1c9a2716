//! What a run says: one JSON object a row, or a table and the ratios that a reader wants.

pub mod dict;
pub mod json;
pub mod locks;
mod picks;
mod pipes;
pub mod pool;
pub mod process;
pub mod queues;
pub mod ratio;
pub mod table;
mod units;

use std::fmt::Display;

use crate::fault::Fault;

/// What a group says to a reader.
#[derive(Debug)]
pub struct Page {
    /// The tables.
    pub tables: String,
    /// One sentence for each comparison whose two rows both have figures.
    pub ratios: Vec<String>,
    /// A warning where the machine was not the same all through the run, as the ratios then compare rows of
    /// different machines.
    pub doubt: Option<String>,
}

/// What stands in a line in place of its figures.
fn verdict(fault: &Fault) -> String {
    format!("{} {fault}", if fault.is_unsupported() { "-" } else { "REFUSED:" })
}

/// The warning that the row which moved most between passes gives, if by more than `most` percent.
fn doubt<N: Display>(spreads: impl Iterator<Item = (N, f64)>, most: f64, happened: &str) -> Option<String> {
    let (name, spread) = spreads.max_by(|left, right| left.1.total_cmp(&right.1))?;
    (spread > most).then(|| {
        format!(
            "warning: {name} itself differed by {spread:.0} % between passes: {happened}, so ratios between rows \
             are not reliable"
        )
    })
}
