//! What a run says: one JSON object a row, or a table and the ratios that a reader wants.

pub mod json;
pub mod locks;
pub mod process;
pub mod queues;
pub mod ratio;
pub mod table;
mod units;
