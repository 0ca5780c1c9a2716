//! `ginnel`: the command line. Conversions only: arguments in, text out.

mod args;
mod bench;
mod doctor;
mod gc;
mod ls;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Ls(options) => ls::run(&options),
        Command::Gc(options) => gc::run(&options),
        Command::Doctor(options) => doctor::run(&options),
    }
}
