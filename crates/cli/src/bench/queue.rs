//! The group `queue`: lanes and queues.

use ginnel_bench::fault::Fault;
use ginnel_bench::plan::{Picks, Row, Selection};
use ginnel_bench::report::{json, table};
use ginnel_bench::run::Timing;

use super::{Plan, Session, picks, plan_of};
use crate::args::Bench;

/// The rows asked for.
pub(super) fn plan(options: &Bench, strict: bool) -> Result<Option<Plan>, String> {
    let Some(Picks { cases, implementations }) = picks(options, strict)? else { return Ok(None) };
    let selection = Selection {
        cases,
        implementations,
        sizes: options.sizes.clone(),
        batches: options.batches.clone(),
        waits: options.waits.clone(),
        shapes: options.shapes.clone(),
        capacities: options.capacities.clone(),
    };
    Ok(plan_of(selection.rows(), measure))
}

fn measure(session: &Session<'_>, rows: &[Row]) -> Result<bool, Fault> {
    let timing = session.timing([Timing::QUICK, Timing::DEFAULT], |timing, row_seconds| Timing {
        row_seconds,
        slow_seconds: row_seconds.max(timing.slow_seconds),
        ..timing
    });
    session.announce_rows(rows.len(), timing.passes, timing.estimate_seconds(rows));
    let measured = session.with_bar(|progress| session.run(rows, timing).measure(progress))?;
    session.print(&measured, json::line, table::page)
}
