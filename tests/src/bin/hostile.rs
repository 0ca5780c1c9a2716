//! A peer that overwrites the segment while others work in it, and one that does the same with a connection: clean errors
//! only, no crash, no hang.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ginnel_testkit::child::{self, Role};
use ginnel_testkit::scratch::{Scratch, now_ns};
use ginnel_tests::hostile::{self, Config};
use ginnel_tests::show::{self, Job, Outcome, PROGRESS};
use serde_json::{Value, json};

/// A round takes a quarter of a second; at the end, the patience of those who wait for a name has to run out.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Parser)]
#[command(
    about = "Overwrites a segment, and the memory of connections, while processes work with them",
    after_help = "Examples:\n  hostile                       ten seconds of each\n  hostile --who strangers       connections only\n  hostile --seconds 2 --json    the figures, for programs\n  \
                  hostile --seed 7              the same nonsense as an earlier run"
)]
struct Args {
    /// How long to go on
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Whom to harm; both, if it is not said
    #[arg(long, value_enum)]
    who: Option<Who>,
    /// Prints the JSON lines only
    #[arg(long)]
    json: bool,
    /// Decides what is overwritten; printed, so that a run can be repeated
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Those who share a segment
    Segment,
    /// Those who are connected, and trust nobody
    Strangers,
}

impl Who {
    /// The role that does the work.
    fn role(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Strangers => "strangers",
        }
    }
}

fn main() -> ExitCode {
    if let Some((role, arguments)) = child::role() {
        return end(work(&role, &arguments).map(|line| {
            println!("{line}");
            true
        }));
    }
    let args = Args::parse();
    let whom = args.who.map_or(vec![Who::Segment, Who::Strangers], |who| vec![who]);
    end(whom.into_iter().try_fold(true, |clean, who| Ok(report(&args, &watch(&args, who)?) && clean)))
}

fn end(result: Result<bool, String>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostile: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(role: &str, arguments: &child::Arguments) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let words = Scratch::from_fd(arguments.fd(0).map_err(text)?).map_err(text)?;
    let time = Duration::from_secs(arguments.get(1).map_err(text)?);
    let config = Config { time, seed: arguments.get(2).map_err(text)? };
    if role == Who::Strangers.role() {
        return hostile::strangers::run(config, &words, 0);
    }
    hostile::run(config, &words, 0)
}

fn watch(args: &Args, who: Who) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let seed = args.seed.unwrap_or_else(|| now_ns() >> 10 & 0xffff_ffff);
    let words = Scratch::new(PROGRESS).map_err(text)?;
    let role = Role::new(who.role()).fd(&words).arg(args.seconds).arg(seed);
    let mut job = Job::start(&role, 0).map_err(text)?;
    let bar = show::bar(args.json, args.seconds * 1000, "{bar:40} {msg}");
    loop {
        match job.wait(Duration::from_millis(100), PATIENCE, &words).map_err(text)? {
            None => {
                bar.set_position(words.get(0));
                bar.set_message(format!("{} rounds, seed {seed}", words.get(1)));
            }
            Some(Outcome::Line(line)) => {
                bar.finish_and_clear();
                return Ok(line);
            }
            Some(Outcome::Broken(what)) => return Err(format!("{what} (seed {seed})")),
        }
    }
}

fn report(args: &Args, line: &Value) -> bool {
    println!("{line}");
    let number = |name: &str| line[name].as_u64().unwrap_or_default();
    let clean = line["faults"] == json!(0) && number("done") > 0 && number("corrupted") > 0;
    if !args.json {
        println!(
            "{} operations in {} rounds beside {}: {} done, {} refused as corrupted, {} faults",
            number("operations"),
            number("rounds"),
            if line["who"] == json!("strangers") { "a rogue" } else { "a scribbler" },
            number("done"),
            number("corrupted"),
            number("faults"),
        );
    }
    clean
}
