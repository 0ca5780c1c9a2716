//! Runs the models and prints a line each: `cargo xtask models [--deep] [NAME ..]`.
//!
//! Every configuration must verify, every mutation must be refused. Exit status 1 if one does not do as expected.
//! The default set takes about 20 seconds of one core, `--deep` several minutes.

use std::process::ExitCode;

use ginnel_testkit::model::{Depth, cases};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--help" || word == "-h") {
        println!(
            "usage: models [--deep] [NAME ..]\n\nNAME: lane, mutex, attach, lifetime, ring, leases, waiting, .. (all of them if none is given)"
        );
        return ExitCode::SUCCESS;
    }
    let deep = arguments.iter().any(|word| word == "--deep");
    let names: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let depth = if deep { Depth::Deep } else { Depth::Default };
    let (mut rows, mut wrong) = (0_u32, 0_u32);
    for case in cases(depth) {
        if !names.is_empty() && !names.iter().any(|name| **name == case.model) {
            continue;
        }
        let row = case.run();
        println!("{row}");
        rows += 1;
        if !row.is_as_expected() {
            wrong += 1;
            row.trace().iter().for_each(|step| println!("    {step}"));
        }
    }
    println!("{} of {rows} rows as expected", rows - wrong);
    if rows > 0 && wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
