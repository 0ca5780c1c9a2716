//! SIGKILL after each instruction of each operation, then recovery, then an exact comparison.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ginnel_testkit::child::{self, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::sweep::Plan;
use ginnel_tests::show::{self, Job, Outcome, PROGRESS};
use ginnel_tests::step::{TARGETS, Target};
use serde_json::{Value, json};

/// No trial takes that long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Parser)]
#[command(
    about = "Kills a process after each instruction of each operation, and checks what the survivors find",
    after_help = "Examples:\n  step-kill                        a sample of the places, under a minute\n  \
                  step-kill --full                 every instruction\n  step-kill --full --target send   one operation\n  \
                  step-kill --list                 what there is\n  step-kill --json | tail -1       the sum, for programs"
)]
struct Args {
    /// Every instruction, instead of those after which memory changed and a few more
    #[arg(long)]
    full: bool,
    /// Only this operation; may be given several times
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// One JSON line an operation, and one for the sum
    #[arg(long)]
    json: bool,
    /// Moves the sampled places
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Names the operations
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    if let Some((name, arguments)) = child::role() {
        return role(&name, &arguments);
    }
    let args = Args::parse();
    if args.list {
        for target in TARGETS {
            println!("{:<16} {}", target.name, target.what);
        }
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("step-kill: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A sweep of one target, alone in its process.
fn role(name: &str, arguments: &child::Arguments) -> ExitCode {
    match sweep(name, arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("step-kill: {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sweep(name: &str, arguments: &child::Arguments) -> std::io::Result<Value> {
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .ok_or_else(|| std::io::Error::other("no such target"))?;
    let words = Scratch::from_fd(arguments.fd(0)?)?;
    let (at, core, full): (usize, usize, bool) = (arguments.get(1)?, arguments.get(2)?, arguments.get(3)?);
    child::pin(core)?;
    let plan = Plan { seed: arguments.get(4)?, ..if full { Plan::full() } else { Plan::short() } };
    let mut progress = |done, of| {
        words.set(at, done as u64);
        words.set(at + 1, of as u64);
        words.add(at + 2, 1);
    };
    let (report, fault) = match target.run(&plan, &mut progress) {
        Ok(report) => (report, None),
        Err(fault) => (
            ginnel_testkit::sweep::Report { trials: fault.trials, ..Default::default() },
            Some(fault.to_string()),
        ),
    };
    Ok(json!({
        "target": name, "trials": report.trials, "instructions": report.instructions,
        "system_calls": report.system_calls, "states": report.states, "fault": fault,
    }))
}

fn chosen(args: &Args) -> Result<Vec<&'static Target>, String> {
    if let Some(unknown) = args.targets.iter().find(|name| TARGETS.iter().all(|target| target.name != **name))
    {
        return Err(format!("there is no target `{unknown}`; --list names them"));
    }
    Ok(TARGETS
        .iter()
        .filter(|t| args.targets.is_empty() || args.targets.iter().any(|name| name == t.name))
        .collect())
}

/// Runs the targets, one on each core at a time. True: everything was as it must be.
fn run(args: &Args) -> Result<bool, String> {
    let text = |error: std::io::Error| error.to_string();
    let targets = chosen(args)?;
    let cores = child::cores().map_err(text)?;
    let words = Scratch::new(targets.len() * PROGRESS).map_err(text)?;
    let bar = show::bar(args.json, targets.len() as u64, "{bar:40} {pos}/{len} operations, {msg}");
    let mut waiting: VecDeque<(usize, &Target)> = targets.into_iter().enumerate().collect();
    let mut running: Vec<(&Target, usize, Instant, Job)> = Vec::new();
    let mut sum = Sum::default();
    while !waiting.is_empty() || !running.is_empty() {
        let free = cores.iter().find(|core| running.iter().all(|(_, busy, ..)| busy != *core));
        if let (Some(core), Some((index, target))) = (free, waiting.front().copied()) {
            waiting.pop_front();
            let role = Role::new(target.name)
                .fd(&words)
                .arg(index * PROGRESS)
                .arg(core)
                .arg(args.full)
                .arg(args.seed);
            running.push((target, *core, Instant::now(), Job::start(&role, index * PROGRESS).map_err(text)?));
            continue;
        }
        let trials: u64 = (0..words.words() / PROGRESS).map(|index| words.get(index * PROGRESS + 2)).sum();
        bar.set_message(format!("{trials} kills"));
        let mut ended = Vec::new();
        for (slot, (_, _, _, job)) in running.iter_mut().enumerate() {
            let outcome = job.wait(Duration::from_millis(20), PATIENCE, &words).map_err(text)?;
            ended.extend(outcome.map(|outcome| (slot, outcome)));
        }
        for (slot, outcome) in ended.into_iter().rev() {
            let (target, _, started, _) = running.swap_remove(slot);
            bar.inc(1);
            bar.suspend(|| sum.add(target, outcome, started.elapsed(), args.json));
        }
    }
    bar.finish_and_clear();
    sum.print(args.json);
    Ok(sum.faults == 0)
}

#[derive(Debug, Default)]
struct Sum {
    trials: u64,
    instructions: u64,
    faults: u64,
    caught: u64,
}

impl Sum {
    fn add(&mut self, target: &Target, outcome: Outcome, took: Duration, json: bool) {
        let mut line = match outcome {
            Outcome::Line(line) => line,
            Outcome::Broken(what) => json!({ "target": target.name, "fault": what, "hung": true }),
        };
        let number = |name: &str| line[name].as_u64().unwrap_or_default();
        let (trials, instructions) = (number("trials"), number("instructions"));
        let broken = line["fault"].as_str().map(str::to_owned);
        // A sweep that did not come to its end is a fault, whatever the target.
        let wrong = (broken.is_some() != target.must_fail) || line["hung"] == json!(true);
        self.trials += trials;
        self.instructions += instructions;
        self.faults += u64::from(wrong);
        self.caught += u64::from(target.must_fail && !wrong);
        if json {
            line["must_fail"] = json!(target.must_fail);
            line["seconds"] = json!(took.as_secs_f64());
            println!("{line}");
            return;
        }
        let verdict = match (wrong, &broken) {
            (false, None) => "nothing lost, duplicated, corrupt or leaked".to_owned(),
            (false, Some(fault)) => format!("caught, as it must be: {fault}"),
            (true, Some(fault)) => format!("FAILED: {fault}"),
            (true, None) => "FAILED: it is broken on purpose, and nothing was noticed".to_owned(),
        };
        let seconds = took.as_secs_f64();
        println!(
            "{:<16} {trials:>7} kills {instructions:>7} instructions {seconds:>6.1} s  {verdict}",
            target.name
        );
    }

    fn print(&self, json: bool) {
        let Self { trials, instructions, faults, caught } = self;
        if json {
            let line = json!({ "trials": trials, "instructions": instructions, "faults": faults, "broken_caught": caught });
            println!("{line}");
        } else {
            println!(
                "{trials} kills over {instructions} instructions, {faults} faults, {caught} broken ones caught"
            );
        }
    }
}
