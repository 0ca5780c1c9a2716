//! `ginnel bench`: makes the plan of each group asked for, runs it, and prints what was found.

mod locks;
mod process;
mod queue;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;
use std::str::FromStr;

use ginnel_bench::crew::Signals;
use ginnel_bench::fault::Fault;
use ginnel_bench::machine::{CpuTime, Machine, load_average};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;

use crate::args::{Bench, Groups};

/// As a shell reports a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// `clap` ends with this where arguments make no sense.
const USAGE: u8 = 2;

/// Runs the command.
pub(crate) fn run(options: &Bench) -> ExitCode {
    let plans = match plans(options) {
        Ok(plans) if plans.iter().all(Plan::is_empty) => {
            complain("no row is left of that selection; see ginnel bench --help");
            return ExitCode::from(USAGE);
        }
        Ok(plans) => plans,
        Err(text) => {
            complain(&text);
            return ExitCode::from(USAGE);
        }
    };
    match measure(options, &plans) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Fault::Interrupted) => {
            complain("interrupted; all processes are gone and nothing is left behind");
            ExitCode::from(INTERRUPTED)
        }
        Err(fault) => {
            complain(&fault.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The rows of one group.
enum Plan {
    Queue(Vec<ginnel_bench::plan::Row>),
    Locks(Vec<ginnel_bench::locks::plan::Row>),
    Process(Vec<ginnel_bench::process::plan::Row>),
}

impl Plan {
    fn is_empty(&self) -> bool {
        match self {
            Self::Queue(rows) => rows.is_empty(),
            Self::Locks(rows) => rows.is_empty(),
            Self::Process(rows) => rows.is_empty(),
        }
    }
}

/// The plans of the groups asked for. Where several are, each takes of the names those that it knows.
fn plans(options: &Bench) -> Result<Vec<Plan>, String> {
    let strict = options.group != Groups::All;
    let mut plans = Vec::new();
    let wanted = |group| options.group == group || !strict;
    if wanted(Groups::Queue) {
        plans.push(Plan::Queue(queue::rows(options, strict)?));
    }
    if wanted(Groups::Locks) {
        plans.push(Plan::Locks(locks::rows(options, strict)?));
    }
    if wanted(Groups::Process) {
        plans.push(Plan::Process(process::rows(options, strict)?));
    }
    Ok(plans)
}

/// What a group makes of the names of a list. `None`: names were asked for, and all are of other groups. Where
/// `strict`, every name must be of this one.
fn of_group<T: FromStr<Err = String>>(names: &[String], strict: bool) -> Result<Option<Vec<T>>, String> {
    let mut known = Vec::new();
    for name in names {
        match name.parse() {
            Ok(one) => known.push(one),
            Err(_) if !strict => {}
            Err(why) => return Err(format!("{why} (see --group)")),
        }
    }
    Ok((names.is_empty() || !known.is_empty()).then_some(known))
}

/// Runs the plans and prints the reports; false where a row was refused. The process has one thread throughout,
/// as the forks demand.
fn measure(options: &Bench, plans: &[Plan]) -> Result<bool, Fault> {
    let signals = Signals::hold()?;
    let machine = Machine::look();
    let before = Before { load: load_average(), cpu: CpuTime::read() };
    let session = Session { options, machine: &machine, signals: &signals, before: &before };
    session.announce(&introduction(&machine, before.load));
    let mut is_sound = true;
    for plan in plans.iter().filter(|plan| !plan.is_empty()) {
        is_sound &= match plan {
            Plan::Queue(rows) => queue::measure(&session, rows)?,
            Plan::Locks(rows) => locks::measure(&session, rows)?,
            Plan::Process(rows) => process::measure(&session, rows)?,
        };
    }
    Ok(is_sound)
}

/// What only messages have: other groups refuse it.
fn refuse_sizes(options: &Bench) -> Result<(), String> {
    let sized = [
        ("--size", options.sizes.is_empty()),
        ("--batch", options.batches.is_empty()),
        ("--wait", options.waits.is_empty()),
        ("--shape", options.shapes.is_empty()),
        ("--capacity", options.capacities.is_empty()),
    ];
    match sized.iter().find(|(_, is_empty)| !is_empty) {
        Some((option, _)) => Err(format!("{option} is for the group queue")),
        None => Ok(()),
    }
}

/// What every group needs to run and to report.
struct Session<'a> {
    options: &'a Bench,
    machine: &'a Machine,
    signals: &'a Signals,
    before: &'a Before,
}

impl Session<'_> {
    /// In a stream of JSON a heading would be noise, but a reader of the terminal still wants the warnings.
    fn announce(&self, heading: &str) {
        if self.options.json { say_aside(heading) } else { say(heading) }
    }

    /// How much is about to be measured.
    fn announce_rows(&self, rows: usize, passes: u32, seconds: f64) {
        self.announce(&format!("{rows} rows, {passes} passes, about {seconds:.0} s\n\n"));
    }

    /// The ratios, and what a reader needs to doubt the figures.
    fn footer(&self, ratios: &[String], doubt: Option<String>, spreads: Vec<f64>) -> String {
        footer(ratios, doubt, spreads, self.before)
    }
}

/// What the machine was doing before.
struct Before {
    load: Option<f64>,
    cpu: Option<CpuTime>,
}

fn introduction(machine: &Machine, load: Option<f64>) -> String {
    let mut text = format!("{machine}\n");
    for warning in machine.warnings(load) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn footer(ratios: &[String], doubt: Option<String>, mut spreads: Vec<f64>, before: &Before) -> String {
    let mut text = String::new();
    if !ratios.is_empty() {
        text.push_str("Ratios, each within this run:\n");
        for sentence in ratios {
            let _ = writeln!(text, "  {sentence}");
        }
        text.push('\n');
    }
    if let Some(doubt) = doubt {
        let _ = writeln!(text, "{doubt}");
    }
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
