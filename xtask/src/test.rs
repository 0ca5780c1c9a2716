//! `cargo xtask test`: everything CI runs, job by job.
//!
//! Each job prints a header and how long it took. All jobs run, also after a failure, and the last line is `N
//! passed, N failed`. A job that needs a tool which is not installed is skipped by name and with the reason:
//! on a fresh machine with Rust and a C compiler nothing fails for want of a tool.

use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::workspace::{self, Workspace, works};
use crate::{bench, hostile, kill, models, python, step_kill, tidy};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Runs only this job; may be given several times
    #[arg(long = "job", value_name = "NAME")]
    jobs: Vec<String>,
    /// Names the jobs and what they do
    #[arg(long)]
    list: bool,
}

/// What became of a job that did not fail.
enum Outcome {
    Passed,
    Skipped(&'static str),
}

struct Job {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> Result<Outcome, String>,
}

const JOBS: [Job; 15] = [
    Job { name: "fmt", what: "cargo fmt --check", run: fmt },
    Job { name: "tidy", what: "the rules the compiler does not know", run: |w| tidy::run(w).map(passed) },
    Job { name: "clippy", what: "all targets, warnings denied", run: clippy },
    Job { name: "doc", what: "the documentation builds without a warning", run: doc },
    Job { name: "tests", what: "unit, process and kill-point tests", run: tests },
    Job { name: "doctests", what: "the examples in the documentation", run: doctests },
    Job {
        name: "models",
        what: "the protocols, and the mutations that must fail",
        run: |w| models::all(w).map(passed),
    },
    Job { name: "loom", what: "lanes, rings, blocks, waiting and locks under every interleaving", run: loom },
    Job { name: "kill", what: "random kills for 5 s", run: |w| kill::short(w).map(passed) },
    Job {
        name: "step-kill",
        what: "kills after each instruction, a sample",
        run: |w| step_kill::short(w).map(passed),
    },
    Job {
        name: "hostile",
        what: "a scribbling peer and a rogue, 2 s each",
        run: |w| hostile::short(w).map(passed),
    },
    Job {
        name: "bench",
        what: "the quick pass runs and its JSON parses",
        run: |w| bench::quick(w).map(passed),
    },
    Job { name: "python", what: "the wheel, on every Python found, and its tests", run: python },
    Job { name: "fuzz", what: "the fuzz targets build and run for 5 s each", run: fuzz },
    Job { name: "deny", what: "licences, sources and bans of the dependencies", run: deny },
];

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode, String> {
    if args.list {
        for job in &JOBS {
            println!("{:<10} {}", job.name, job.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(&args.jobs)?;
    let (mut passed, mut lines, mut failed) = (0_usize, Vec::new(), 0_usize);
    for job in chosen {
        println!("\n=== {}: {}", job.name, job.what);
        let start = Instant::now();
        let outcome = (job.run)(workspace);
        let seconds = start.elapsed().as_secs_f64();
        let verdict = match outcome {
            Ok(Outcome::Passed) => {
                passed += 1;
                "passed".to_owned()
            }
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Err(reason) => {
                failed += 1;
                format!("FAILED: {reason}")
            }
        };
        println!("--- {} {verdict} ({seconds:.1} s)", job.name);
        lines.push(format!("{:<10} {seconds:>7.1} s  {}", job.name, first_line(&verdict)));
    }
    println!("\n{}\n{passed} passed, {failed} failed", lines.join("\n"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The jobs named, in the order of the table; all of them where none is named.
fn choose(names: &[String]) -> Result<Vec<&'static Job>, String> {
    if let Some(unknown) = names.iter().find(|name| JOBS.iter().all(|job| job.name != **name)) {
        return Err(format!("there is no job `{unknown}`; `cargo xtask test --list` names them"));
    }
    Ok(JOBS.iter().filter(|job| names.is_empty() || names.iter().any(|name| name == job.name)).collect())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn passed((): ()) -> Outcome {
    Outcome::Passed
}

fn fmt(workspace: &Workspace) -> Result<Outcome, String> {
    workspace::run(workspace.cargo(["fmt", "--all", "--check"]))?;
    if workspace.root.join("fuzz/Cargo.toml").exists() {
        workspace::run(workspace.cargo(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))?;
    }
    Ok(Outcome::Passed)
}

fn clippy(workspace: &Workspace) -> Result<Outcome, String> {
    let mut command = workspace.cargo([
        "clippy",
        "--workspace",
        "--all-features",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]);
    command.env("CARGO_TARGET_DIR", workspace.target.join("clippy"));
    workspace::run(command).map(passed)
}

fn doc(workspace: &Workspace) -> Result<Outcome, String> {
    let mut command = workspace.cargo(["doc", "--workspace", "--all-features", "--no-deps", "--lib"]);
    command.env("RUSTDOCFLAGS", "--deny warnings");
    workspace::run(command).map(passed)
}

fn tests(workspace: &Workspace) -> Result<Outcome, String> {
    if works(&mut workspace.cargo(["nextest", "--version"])) {
        workspace::run(workspace.cargo(["nextest", "run", "--workspace", "--all-features", "--no-fail-fast"]))
            .map(passed)
    } else {
        println!("cargo-nextest is not installed: running the same tests with cargo test");
        workspace::run(workspace.cargo([
            "test",
            "--workspace",
            "--all-features",
            "--tests",
            "--no-fail-fast",
        ]))
        .map(passed)
    }
}

fn doctests(workspace: &Workspace) -> Result<Outcome, String> {
    workspace::run(workspace.cargo(["test", "--workspace", "--all-features", "--doc"])).map(passed)
}

/// Loom changes every atomic, so it has its own flags and its own target directory.
fn loom(workspace: &Workspace) -> Result<Outcome, String> {
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" --cfg loom");
    let mut command = workspace.cargo(["test", "--release", "--test", "loom*"]);
    command.args(["--package", "ginnel-sync", "--package", "ginnel-queue", "--package", "ginnel-store"]);
    command.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", workspace.target.join("loom"));
    workspace::run(command).map(passed)
}

fn python(workspace: &Workspace) -> Result<Outcome, String> {
    python::quick(workspace).map(|missing| missing.map_or(Outcome::Passed, Outcome::Skipped))
}

fn fuzz(workspace: &Workspace) -> Result<Outcome, String> {
    // `rustup run` and not `cargo +nightly`: the latter needs rustup's own cargo to come first in PATH.
    let nightly = |args: &[&str]| {
        let mut command = Command::new("rustup");
        command.current_dir(&workspace.root).args(["run", "nightly", "cargo"]).args(args);
        command.env_remove("RUSTUP_TOOLCHAIN").env("CARGO_TARGET_DIR", workspace.target.join("fuzz"));
        command
    };
    if !works(&mut nightly(&["--version"])) {
        return Ok(Outcome::Skipped("no nightly toolchain (rustup toolchain install nightly)"));
    }
    if !works(&mut nightly(&["fuzz", "--version"])) {
        return Ok(Outcome::Skipped("no cargo-fuzz (cargo install cargo-fuzz)"));
    }
    let targets = workspace::capture(nightly(&["fuzz", "list"]))?;
    for target in targets.lines() {
        workspace::run(nightly(&["fuzz", "run", target, "--", "-max_total_time=5"]))?;
    }
    if targets.trim().is_empty() { Err("there is no fuzz target".into()) } else { Ok(Outcome::Passed) }
}

fn deny(workspace: &Workspace) -> Result<Outcome, String> {
    if !works(&mut workspace.cargo(["deny", "--version"])) {
        return Ok(Outcome::Skipped("no cargo-deny (cargo install cargo-deny)"));
    }
    workspace::run(workspace.cargo(["deny", "check", "bans", "licenses", "sources"])).map(passed)
}

#[cfg(test)]
mod tests_of_the_list {
    use super::{JOBS, choose};

    #[test]
    fn no_name_means_all() {
        assert_eq!(choose(&[]).unwrap().len(), JOBS.len());
    }

    #[test]
    fn named_jobs_keep_the_order_of_the_table() {
        let chosen = choose(&["loom".into(), "fmt".into()]).unwrap();
        assert_eq!(chosen.iter().map(|job| job.name).collect::<Vec<_>>(), ["fmt", "loom"]);
    }

    #[test]
    fn an_unknown_job_is_an_error_and_not_an_empty_run() {
        assert!(choose(&["lom".into()]).is_err());
    }
}
