//! Rivals of ginnel that measure themselves: `ginnel bench` runs this program and reads what it prints.
//!
//! They live in a workspace of their own, because the crates they need are wanted by nobody else here. Build them with
//! `cargo build --release --manifest-path benches/rivals/Cargo.toml`; without this program their rows say so.
//!
//! ```text
//! ginnel-rivals procspawn rtt SECONDS WORKERS            one line a round trip: its nanoseconds
//! ginnel-rivals procspawn chunk1 SECONDS WORKERS         one line a window: tasks a second
//! ```
//!
//! The first fifth of the time is not counted. A wrong value ends the program with a sentence on standard error.

mod procspawn;

use std::process::ExitCode;

fn main() -> ExitCode {
    // In a child this serves calls and does not return.
    ::procspawn::init();
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let usage = || "usage: ginnel-rivals procspawn rtt|chunk1 SECONDS WORKERS".to_owned();
    let [rival, case, seconds, workers] = arguments else { return Err(usage()) };
    if rival != "procspawn" {
        return Err(usage());
    }
    let seconds: f64 = seconds.parse().map_err(|_| usage())?;
    let workers: usize = workers.parse().map_err(|_| usage())?;
    if !(0.0..=3600.0).contains(&seconds) || workers == 0 {
        return Err(usage());
    }
    match case.as_str() {
        "rtt" => procspawn::round_trips(seconds, workers),
        "chunk1" => procspawn::windows(seconds, workers),
        _ => Err(usage()),
    }
}
