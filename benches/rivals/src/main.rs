//! Rivals of ginnel that measure themselves: `ginnel bench` runs this program and reads what it prints.
//!
//! They live in a workspace of their own, because the crates they need are wanted by nobody else here. Build them with
//! `cargo build --release --manifest-path benches/rivals/Cargo.toml`; without this program their rows say so.
//!
//! ```text
//! ginnel-rivals procspawn rtt SECONDS WORKERS            one line a round trip: its nanoseconds
//! ginnel-rivals procspawn chunk1 SECONDS WORKERS         one line a window: tasks a second
//! ginnel-rivals lmdb get|set|update|mixed2 SECONDS KEYS  one line a window: operations a second
//! ```
//!
//! The first fifth of the time is not counted. A wrong value ends the program with a sentence on standard error.

mod lmdb;
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
    let usage = || {
        "usage: ginnel-rivals procspawn rtt|chunk1 SECONDS WORKERS
       ginnel-rivals lmdb get|set|update|mixed2 SECONDS KEYS"
            .to_owned()
    };
    let [rival, case, seconds, count] = arguments else { return Err(usage()) };
    let seconds: f64 = seconds.parse().map_err(|_| usage())?;
    let count: usize = count.parse().map_err(|_| usage())?;
    if !(0.0..=3600.0).contains(&seconds) || count == 0 {
        return Err(usage());
    }
    match (rival.as_str(), case.as_str()) {
        ("procspawn", "rtt") => procspawn::round_trips(seconds, count),
        ("procspawn", "chunk1") => procspawn::windows(seconds, count),
        ("lmdb", case @ ("get" | "set" | "update" | "mixed2")) => lmdb::measure(case, seconds, count as u64),
        // The second process of `mixed2`; `case` is the directory.
        ("lmdb-partner", at) => lmdb::join_in(at, seconds, count as u64),
        _ => Err(usage()),
    }
}
