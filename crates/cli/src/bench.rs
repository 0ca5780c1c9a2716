//! `ginnel bench`: makes the plan, runs it, and prints what was found.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

use ginnel_bench::crew::Signals;
use ginnel_bench::fault::Fault;
use ginnel_bench::machine::{CpuTime, Machine, load_average};
use ginnel_bench::plan::{Row, Selection};
use ginnel_bench::report::{json, queues, ratio, table};
use ginnel_bench::run::{Measured, Run, Timing};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;

use crate::args::Bench;

/// As a shell reports a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// `clap` ends with this where arguments make no sense.
const USAGE: u8 = 2;

/// Runs the command.
pub(crate) fn run(options: &Bench) -> ExitCode {
    let rows = selection(options).rows();
    if rows.is_empty() {
        complain("no row is left of that selection; see ginnel bench --help");
        return ExitCode::from(USAGE);
    }
    match measure(options, &rows) {
        Ok(measured) if measured.iter().any(Measured::is_refused) => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(Fault::Interrupted) => {
            complain("interrupted; both processes are gone and nothing is left behind");
            ExitCode::from(INTERRUPTED)
        }
        Err(fault) => {
            complain(&fault.to_string());
            ExitCode::FAILURE
        }
    }
}

fn selection(options: &Bench) -> Selection {
    Selection {
        cases: options.cases.clone(),
        implementations: options.implementations.clone(),
        sizes: options.sizes.clone(),
        batches: options.batches.clone(),
        waits: options.waits.clone(),
        shapes: options.shapes.clone(),
        capacities: options.capacities.clone(),
    }
}

fn timing(options: &Bench) -> Timing {
    let timing = if options.quick { Timing::QUICK } else { Timing::DEFAULT };
    match options.seconds {
        Some(row_seconds) => {
            Timing { row_seconds, slow_seconds: row_seconds.max(timing.slow_seconds), ..timing }
        }
        None => timing,
    }
}

/// Runs the rows and prints the report. The process has one thread throughout, as the forks demand.
fn measure(options: &Bench, rows: &[Row]) -> Result<Vec<Measured>, Fault> {
    let signals = Signals::hold()?;
    let machine = Machine::look();
    let timing = timing(options);
    let before = Before { load: load_average(), cpu: CpuTime::read() };
    let heading = heading(&machine, rows, timing, before.load);
    // In a stream of JSON the heading would be noise, but a reader of the terminal still wants the warnings.
    if options.json {
        say_aside(&heading)
    } else {
        say(&heading)
    }
    let bar = progress_bar();
    let run = Run { rows, timing, cores: &machine.allowed, signals: Some(&signals) };
    let outcome = run.measure(|progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(name(&progress.row));
    });
    bar.finish_and_clear();
    let measured = outcome?;
    if options.json {
        let lines = measured.iter().map(json::line).collect::<Result<Vec<_>, _>>();
        say(&(lines.map_err(|error| Fault::failed("writing JSON", error))?.join("\n") + "\n"));
    } else {
        let style = table::Style { width: terminal_width() };
        say(&(table::table(&measured, style) + &footer(&measured, &before)));
    }
    Ok(measured)
}

/// What the machine was doing before.
struct Before {
    load: Option<f64>,
    cpu: Option<CpuTime>,
}

fn heading(machine: &Machine, rows: &[Row], timing: Timing, load: Option<f64>) -> String {
    let mut text = format!("{machine}\n");
    for warning in machine.warnings(load) {
        let _ = writeln!(text, "warning: {warning}");
    }
    let seconds = timing.estimate_seconds(rows);
    let _ = writeln!(text, "{} rows, {} passes, about {seconds:.0} s\n", rows.len(), timing.passes);
    text
}

/// The ratios, and what a reader needs to doubt the figures.
fn footer(measured: &[Measured], before: &Before) -> String {
    let mut text = queues::tables(measured);
    let mut ratios = ratio::sentences(measured);
    ratios.extend(queues::sentences(measured));
    if !ratios.is_empty() {
        text.push_str("Ratios, each within this run:\n");
        for sentence in ratios {
            let _ = writeln!(text, "  {sentence}");
        }
        text.push('\n');
    }
    if let Some(doubt) = ratio::doubt(measured) {
        let _ = writeln!(text, "{doubt}");
    }
    let mut spreads: Vec<f64> = measured.iter().filter_map(|row| row.spread_percent).collect();
    spreads.sort_by(f64::total_cmp);
    if let (Some(middle), Some(widest)) = (spreads.get(spreads.len() / 2), spreads.last()) {
        let _ = writeln!(text, "Passes differ by {middle:.0} % in the middle, {widest:.0} % at most.");
    }
    let shown = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
    let _ = writeln!(text, "Load average {} before, {} after.", shown(before.load), shown(load_average()));
    if let Some((cpu, now)) = before.cpu.zip(CpuTime::read()) {
        let (others, stolen) = now.others_since(&cpu);
        let _ =
            writeln!(text, "Others took {others:.0} % of one core meanwhile, the hypervisor {stolen:.0} %.");
    }
    text
}

fn name(row: &Row) -> String {
    format!("{} {} {} {} B", row.case, row.implementation, row.shape, row.size)
}

/// A bar on standard error; silent where that is no terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {eta} left") {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar
}

/// Columns of the terminal on standard output.
fn terminal_width() -> Option<usize> {
    if !stdout().is_terminal() {
        return None;
    }
    Some(tcgetwinsize(stdout()).map_or(80, |size| usize::from(size.ws_col).max(40)))
}

/// Writes to standard output. Whoever closed it does not want the rest.
fn say(text: &str) {
    let _ = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush());
}

fn say_aside(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

fn complain(text: &str) {
    say_aside(&format!("ginnel bench: {text}\n"));
}
