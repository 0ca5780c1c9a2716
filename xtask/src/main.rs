//! Checks and chores of the repository, as `cargo xtask <command>`.
//!
//! One file a command. `test` is what CI runs and what a contributor runs; the other commands are its jobs on
//! their own, with more time or more detail.

mod bench;
mod hostile;
mod kill;
mod models;
mod python;
mod step_kill;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Checks and chores of the repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs everything CI runs, job by job; the last line counts the jobs
    Test(test::Args),
    /// Checks what the compiler and clippy do not: floors, labels, SAFETY comments, ceilings
    Tidy,
    /// Runs `ginnel bench` (release); the arguments go through
    Bench(bench::Args),
    /// Kills random processes under load and counts what was lost
    Kill(kill::Args),
    /// Kills a process after every single instruction of each operation
    StepKill(step_kill::Args),
    /// Runs the explicit-state models and their mutations, and prints the table
    Models(models::Args),
    /// Scribbles over a segment in use: every answer must be a clean one
    Hostile(hostile::Args),
    /// Runs Python's own tests of multiprocessing against the Python package
    Conformance(python::Args),
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, String> {
    let workspace = Workspace::find()?;
    match command {
        // It ends with the count of its jobs, whatever became of them, and says nothing after that.
        Command::Test(args) => return test::run(&workspace, args),
        Command::Tidy => tidy::run(&workspace),
        Command::Bench(args) => bench::run(&workspace, args),
        Command::Kill(args) => kill::run(&workspace, args),
        Command::StepKill(args) => step_kill::run(&workspace, args),
        Command::Models(args) => models::run(&workspace, args),
        Command::Hostile(args) => hostile::run(&workspace, args),
        Command::Conformance(args) => python::conformance(&workspace, args),
    }?;
    Ok(ExitCode::SUCCESS)
}
