//! The group `dict`: maps that processes share.

use ginnel_bench::dict::measure::Timing;
use ginnel_bench::dict::plan::{Row, Selection};
use ginnel_bench::fault::Fault;
use ginnel_bench::report::{dict, json};

use super::{Plan, Session, only_picks, plan_of};
use crate::args::Bench;

/// The rows asked for.
pub(super) fn plan(options: &Bench, strict: bool) -> Result<Option<Plan>, String> {
    let asked: Option<Selection> = only_picks(options, strict)?;
    Ok(asked.and_then(|asked| plan_of(asked.rows(), measure)))
}

fn measure(session: &Session<'_>, rows: &[Row]) -> Result<bool, Fault> {
    let set = |timing, row_seconds| Timing { row_seconds, ..timing };
    let timing = session.timing([Timing::QUICK, Timing::DEFAULT], set);
    session.announce_rows(rows.len(), timing.passes, timing.estimate_seconds(rows));
    let measured = session.with_bar(|progress| session.run(rows, timing).measure(progress))?;
    session.print(&measured, json::dict_line, dict::page)
}
