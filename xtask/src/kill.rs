//! `cargo xtask kill`: random SIGKILLs under load. Prints one JSON line and fails unless nothing was lost.

use serde_json::Value;

use crate::workspace::{self, Workspace};

/// What has to be zero after any number of kills.
const ZERO: [&str; 4] = ["lost", "duplicated", "corrupt", "leaked"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to go on killing
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Prints the JSON line only
    #[arg(long)]
    json: bool,
    /// Repeats the choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// Who is killed: users of `lanes`, `queues`, `locks` or `pipes`, `processes` as they are started,
    /// workers of a `pool`, or users of `dicts`
    #[arg(long, default_value = LANES)]
    load: String,
}

const LANES: &str = "lanes";
const QUEUES: &str = "queues";
const LOCKS: &str = "locks";
const PIPES: &str = "pipes";
const PROCESSES: &str = "processes";
const POOL: &str = "pool";
const DICTS: &str = "dicts";

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<(), String> {
    if !args.json {
        let whom = match args.load.as_str() {
            PROCESSES => "",
            POOL => "workers of a ",
            _ => "users of ",
        };
        println!("killing {whom}{} for {} s", args.load, args.seconds);
    }
    let line = measure(workspace, args)?;
    println!("{line}");
    check(&line)
}

/// The short form for `test`.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    [LANES, QUEUES, LOCKS, PIPES, PROCESSES, POOL, DICTS].into_iter().try_for_each(|load| {
        run(workspace, &Args { seconds: 5, json: false, seed: None, load: load.to_owned() })
    })
}

fn measure(workspace: &Workspace, args: &Args) -> Result<String, String> {
    let mut command = workspace.program("ginnel-tests", "--bin", "kill");
    command.args(["--json", "--seconds", &args.seconds.to_string(), "--load", &args.load]);
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    let text = workspace::capture(command)?;
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    line.map(str::to_owned).ok_or_else(|| format!("the kill run printed no JSON line:\n{text}"))
}

/// A run counts when it killed somebody, every figure is there, and nothing was lost, doubled, torn or
/// leaked.
fn check(line: &str) -> Result<(), String> {
    let report: Value = serde_json::from_str(line).map_err(|e| format!("not JSON: {e}: {line}"))?;
    let figure =
        |name: &str| report[name].as_f64().ok_or_else(|| format!("the kill run reports no `{name}`"));
    for name in ZERO {
        if figure(name)? != 0.0 {
            return Err(format!("`{name}` is not zero: {line}"));
        }
    }
    figure("recovery_max_ms")?;
    if figure("kills")? < 1.0 {
        return Err(format!("nobody was killed, so nothing was shown: {line}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    const GOOD: &str = r#"{"kills":90,"lost":0,"duplicated":0,"corrupt":0,"leaked":0,"recovery_max_ms":1.5}"#;

    #[test]
    fn a_clean_run_passes() {
        assert_eq!(check(GOOD), Ok(()));
    }

    #[test]
    fn each_kind_of_damage_fails() {
        for name in super::ZERO {
            let bad = GOOD.replace(&format!("\"{name}\":0"), &format!("\"{name}\":1"));
            assert!(check(&bad).unwrap_err().contains(name));
        }
    }

    #[test]
    fn a_run_without_kills_or_figures_fails() {
        assert!(check(&GOOD.replace("90", "0")).is_err());
        assert!(check(&GOOD.replace("recovery_max_ms", "other")).is_err());
    }
}
