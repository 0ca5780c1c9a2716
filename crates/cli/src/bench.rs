//! `ginnel bench`: makes the plan of each group asked for, runs it, and prints what was found.

mod dict;
mod locks;
mod pool;
mod process;
mod queue;

use std::fmt::{Display, Write as _};
use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;
use std::str::FromStr;

use ginnel_bench::crew::Signals;
use ginnel_bench::fault::Fault;
use ginnel_bench::machine::{CpuTime, Machine, load_average};
use ginnel_bench::passes::{Measured, Progress, Run};
use ginnel_bench::plan::Picks;
use ginnel_bench::report::{Page, table::Style};
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
        Ok(plans) if plans.is_empty() => {
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

/// Runs the rows of one group and prints the report; false where a row was refused.
type Plan = Box<dyn Fn(&Session<'_>) -> Result<bool, Fault>>;

/// What a group makes of the options, where a row is left of it. Told whether every name must be of this group.
type Planner = fn(&Bench, bool) -> Result<Option<Plan>, String>;

const GROUPS: [(Groups, Planner); 5] = [
    (Groups::Queue, queue::plan),
    (Groups::Locks, locks::plan),
    (Groups::Process, process::plan),
    (Groups::Pool, pool::plan),
    (Groups::Dict, dict::plan),
];

/// The plans of the groups asked for. Where several are, each takes of the names those that it knows.
fn plans(options: &Bench) -> Result<Vec<Plan>, String> {
    let strict = options.group != Groups::All;
    let wanted = GROUPS.iter().filter(|(group, _)| options.group == *group || !strict);
    wanted.filter_map(|(_, plan)| plan(options, strict).transpose()).collect()
}

/// Rows with the function that runs them.
fn plan_of<R: 'static>(rows: Vec<R>, measure: fn(&Session<'_>, &[R]) -> Result<bool, Fault>) -> Option<Plan> {
    (!rows.is_empty()).then(|| -> Plan { Box::new(move |session| measure(session, &rows)) })
}

/// The cases and the implementations asked for; `None` where all names are of other groups.
fn picks<C, I>(options: &Bench, strict: bool) -> Result<Option<Picks<C, I>>, String>
where
    C: FromStr<Err = String>,
    I: FromStr<Err = String>,
{
    let asked = of_group(&options.cases, strict)?.zip(of_group(&options.implementations, strict)?);
    Ok(asked.map(|(cases, implementations)| Picks { cases, implementations }))
}

/// The same for groups whose rows have nothing else.
fn only_picks<C, I>(options: &Bench, strict: bool) -> Result<Option<Picks<C, I>>, String>
where
    C: FromStr<Err = String>,
    I: FromStr<Err = String>,
{
    let picks = picks(options, strict)?;
    if strict {
        refuse_sizes(options)?;
    }
    Ok(picks)
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
    for plan in plans {
        is_sound &= plan(&session)?;
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

    /// How long and how often: as the group does it `[quick, default]`, changed by `set` where seconds were asked for.
    fn timing<T>(&self, [quick, default]: [T; 2], set: impl FnOnce(T, f64) -> T) -> T {
        let timing = if self.options.quick { quick } else { default };
        match self.options.seconds {
            Some(seconds) => set(timing, seconds),
            None => timing,
        }
    }

    fn run<'a, R, T>(&'a self, rows: &'a [R], timing: T) -> Run<'a, R, T> {
        Run { rows, timing, cores: &self.machine.allowed, signals: Some(self.signals) }
    }

    /// Measures under a bar on standard error, which is silent where that is no terminal.
    fn with_bar<R: Display, M>(
        &self,
        measure: impl FnOnce(&mut dyn FnMut(Progress<R>)) -> Result<M, Fault>,
    ) -> Result<M, Fault> {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {eta} left") {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        let outcome = measure(&mut |progress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(progress.row.to_string());
        });
        bar.finish_and_clear();
        outcome
    }

    /// Prints a line of JSON for each row, or the page with what a reader needs to doubt the figures; false where a
    /// row was refused.
    fn print<R, M, E: Display>(
        &self,
        measured: &[Measured<R, M>],
        line: fn(&Measured<R, M>) -> Result<String, E>,
        page: fn(&[Measured<R, M>], Style) -> Page,
    ) -> Result<bool, Fault> {
        if self.options.json {
            let lines = measured.iter().map(line).collect::<Result<Vec<_>, _>>();
            say(&(lines.map_err(|error| Fault::failed("writing JSON", error))?.join("\n") + "\n"));
        } else {
            let page = page(measured, Style { width: terminal_width() });
            let spreads = measured.iter().filter_map(|row| row.spread_percent).collect();
            let footer = footer(&page.ratios, page.doubt, spreads, self.before);
            say(&(page.tables + &footer));
        }
        Ok(!measured.iter().any(Measured::is_refused))
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
