//! Random SIGKILLs under load; prints one line of figures and fails unless nothing was lost, doubled, torn or leaked.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, ValueEnum};
use ginnel_testkit::child::{self, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_tests::load::{self, Config};
use ginnel_tests::show::{self, Job, Outcome, PROGRESS};
use serde_json::{Value, json};

/// A strike takes milliseconds; a run that makes none for so long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has to be zero.
const ZERO: [&str; 4] = ["lost", "duplicated", "corrupt", "leaked"];

#[derive(Debug, Parser)]
#[command(
    about = "Kills processes at random while they exchange messages, lock and attach, and accounts for everything",
    after_help = "Examples:\n  kill                       a minute\n  kill --seconds 5 --json    the figures, for programs\n  \
                  kill --seed 7              the same choices as an earlier run\n  \
                  kill --load queues         senders and receivers of queues\n  \
                  kill --load locks          everything that locks and signals\n  \
                  kill --load pipes          pipes, ends that move, connections\n  \
                  kill --load processes      children, and the zygote that makes them\n  \
                  kill --load pool           workers of pools\n  \
                  kill --load dicts          those who change dicts and lists"
)]
struct Args {
    /// How long to go on
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Prints the JSON line only
    #[arg(long)]
    json: bool,
    /// Decides who is killed when; printed, so that a run can be repeated
    #[arg(long)]
    seed: Option<u64>,
    /// Who is killed
    #[arg(long, value_enum, default_value_t = Load::Lanes)]
    load: Load,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Load {
    /// The two ends of lanes, those who lock, and those who attach
    Lanes,
    /// Senders and receivers of queues
    Queues,
    /// Those who lock, signal and meet
    Locks,
    /// Those who talk through pipes and connections
    Pipes,
    /// Children, and the zygote that makes them
    Processes,
    /// Workers of pools
    Pool,
    /// Those who change dicts and lists
    Dicts,
}

impl Load {
    /// The role that does the work.
    fn role(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::Queues => "queues",
            Self::Locks => "locks",
            Self::Pipes => "pipes",
            Self::Processes => "processes",
            Self::Pool => "pool",
            Self::Dicts => "dicts",
        }
    }
}

fn main() -> ExitCode {
    if let Some((role, arguments)) = child::role() {
        return match work(&role, &arguments) {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("kill: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let args = Args::parse();
    match watch(&args) {
        Ok(line) => report(&args, &line),
        Err(error) => {
            eprintln!("kill: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(role: &str, arguments: &child::Arguments) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let words = Scratch::from_fd(arguments.fd(0).map_err(text)?).map_err(text)?;
    let time = Duration::from_secs(arguments.get(1).map_err(text)?);
    let config = Config { time, seed: arguments.get(2).map_err(text)? };
    match role {
        role if role == Load::Queues.role() => load::queue::run(config, &words, 0),
        role if role == Load::Locks.role() => load::locks::run(config, &words, 0),
        role if role == Load::Pipes.role() => load::pipes::run(config, &words, 0),
        role if role == Load::Processes.role() => load::processes::run(config, &words, 0),
        role if role == Load::Pool.role() => load::pool::run(config, &words, 0),
        role if role == Load::Dicts.role() => load::dicts::run(config, &words, 0),
        _ => load::run(config, &words, 0),
    }
}

/// Starts the run in a role, draws its progress, and ends it if it hangs.
fn watch(args: &Args) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let clock =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    // Half of the digits are enough to type in again.
    let seed = args.seed.unwrap_or_else(|| clock() >> 16 & 0xffff_ffff);
    let words = Scratch::new(PROGRESS).map_err(text)?;
    let role = Role::new(args.load.role()).fd(&words).arg(args.seconds).arg(seed);
    let mut job = Job::start(&role, 0).map_err(text)?;
    let bar = show::bar(args.json, args.seconds * 1000, "{bar:40} {msg}");
    loop {
        match job.wait(Duration::from_millis(100), PATIENCE, &words).map_err(text)? {
            None => {
                bar.set_position(words.get(0));
                bar.set_message(format!("{} kills, seed {seed}", words.get(1)));
            }
            Some(Outcome::Line(line)) => {
                bar.finish_and_clear();
                return Ok(line);
            }
            Some(Outcome::Broken(what)) => return Err(format!("{what} (seed {seed})")),
        }
    }
}

fn report(args: &Args, line: &Value) -> ExitCode {
    let wrong: Vec<&str> = ZERO.into_iter().filter(|name| line[name] != json!(0)).collect();
    println!("{line}");
    if !args.json {
        let number = |name: &str| line[name].as_u64().unwrap_or_default();
        let verdict = if wrong.is_empty() { "nothing is missing" } else { "NOT IN ORDER" };
        println!(
            "{} kills, {} messages, {} redelivered, {} sends cut off, recovery {:.1} ms at most: {verdict}",
            number("kills"),
            number("messages"),
            number("redelivered"),
            number("open_sends"),
            line["recovery_max_ms"].as_f64().unwrap_or_default(),
        );
    }
    if wrong.is_empty() && line["kills"] != json!(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
