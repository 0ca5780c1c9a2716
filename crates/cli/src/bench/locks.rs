//! The group `locks`: locks, semaphores and events.

use ginnel_bench::fault::Fault;
use ginnel_bench::locks::measure::{Measured, Run, Timing};
use ginnel_bench::locks::plan::{Row, Selection};
use ginnel_bench::report::{json, locks, table};

use super::{Session, of_group, progress_bar, refuse_sizes, say, terminal_width};
use crate::args::Bench;

/// The rows asked for.
pub(super) fn rows(options: &Bench, strict: bool) -> Result<Vec<Row>, String> {
    let cases = of_group(&options.cases, strict)?;
    let Some((cases, implementations)) = cases.zip(of_group(&options.implementations, strict)?) else {
        return Ok(Vec::new());
    };
    if strict {
        refuse_sizes(options)?;
    }
    Ok(Selection { cases, implementations }.rows())
}

/// Runs the rows and prints the report; false where a row was refused.
pub(super) fn measure(session: &Session<'_>, rows: &[Row]) -> Result<bool, Fault> {
    let timing = timing(session.options);
    session.announce_rows(rows.len(), timing.passes, timing.estimate_seconds(rows));
    let bar = progress_bar();
    let run = Run { rows, timing, cores: &session.machine.allowed, signals: Some(session.signals) };
    let outcome = run.measure(|progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(format!("{} {}", progress.row.case, progress.row.implementation));
    });
    bar.finish_and_clear();
    let measured = outcome?;
    if session.options.json {
        let lines = measured.iter().map(json::locks_line).collect::<Result<Vec<_>, _>>();
        say(&(lines.map_err(|error| Fault::failed("writing JSON", error))?.join("\n") + "\n"));
    } else {
        let style = table::Style { width: terminal_width() };
        let spreads = measured.iter().filter_map(|row| row.spread_percent).collect();
        let footer = session.footer(&locks::sentences(&measured), locks::doubt(&measured), spreads);
        say(&(locks::table(&measured, style) + &footer));
    }
    Ok(!measured.iter().any(Measured::is_refused))
}

fn timing(options: &Bench) -> Timing {
    let timing = if options.quick { Timing::QUICK } else { Timing::DEFAULT };
    match options.seconds {
        Some(row_seconds) => {
            Timing { row_seconds, shared_seconds: row_seconds.max(timing.shared_seconds), ..timing }
        }
        None => timing,
    }
}
