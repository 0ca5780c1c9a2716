//! `cargo xtask bench`: the release build of `ginnel bench`, and the check that its JSON says all it must.

use serde_json::Value;

use crate::workspace::{self, Workspace};

/// The fields every JSON line of the bench carries; null is allowed where one does not apply.
const FIELDS: [&str; 14] = [
    "group",
    "case",
    "impl",
    "size",
    "batch",
    "producers",
    "consumers",
    "capacity",
    "wait",
    "p50_ns",
    "p99_ns",
    "p999_ns",
    "per_s",
    "mb_per_s",
];

/// What a run must at least have measured: limits, a rival of the kernel's, and ourselves.
const NEEDED: [&str; 9] =
    ["limit-line", "pipe", "lane", "vyukov", "ring", "mpsc", "broadcast", "blocks", "queue"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments for `ginnel bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<(), String> {
    let mut command =
        workspace.cargo(["run", "--quiet", "--release", "--package", "ginnel-cli", "--", "bench"]);
    command.args(&args.arguments);
    workspace::run(command)
}

/// The short form for `test`: the quick pass runs, and its output is what readers of it expect.
pub(crate) fn quick(workspace: &Workspace) -> Result<(), String> {
    let command = workspace.cargo(["run", "--quiet", "--release", "--", "bench", "--quick", "--json"]);
    let rows = check(&workspace::capture(command)?)?;
    println!("{rows} rows");
    Ok(())
}

/// Checks the JSON lines of a run and counts the rows.
fn check(text: &str) -> Result<usize, String> {
    let mut seen = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).map_err(|e| format!("not a JSON line: {e}: {line}"))?;
        if row.get("impl").is_none() {
            continue; // What the run says about its machine is not a row.
        }
        if let Some(field) = FIELDS.iter().find(|field| row.get(**field).is_none()) {
            return Err(format!("a row of the bench lacks `{field}`: {line}"));
        }
        let figures = ["p50_ns", "per_s", "cpu_percent"];
        let measured = figures.iter().any(|figure| row[*figure].is_number());
        if !measured && row["reason"].as_str().unwrap_or_default().is_empty() {
            return Err(format!("a row of the bench has neither a figure nor a reason: {line}"));
        }
        if measured {
            seen.push(row["impl"].as_str().unwrap_or_default().to_owned());
        }
    }
    match NEEDED.iter().find(|name| !seen.iter().any(|s| s == *name)) {
        Some(name) => Err(format!("the bench measured no `{name}`")),
        None => Ok(seen.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::{NEEDED, check};

    fn row(name: &str) -> String {
        let shape = r#""size":8,"batch":1,"producers":1,"consumers":1,"capacity":null,"wait":"spin""#;
        let figures = r#""p50_ns":1,"p99_ns":2,"p999_ns":3,"per_s":null,"mb_per_s":null"#;
        format!(r#"{{"group":"queue","case":"rtt","impl":"{name}",{shape},{figures}}}"#)
    }

    #[test]
    fn a_complete_run_passes() {
        let lines: Vec<String> = NEEDED.iter().map(|name| row(name)).collect();
        assert_eq!(check(&lines.join("\n")), Ok(NEEDED.len()));
    }

    #[test]
    fn a_missing_rival_fails() {
        assert!(check(&format!("{}\n{}\n", row("limit-line"), row("lane"))).is_err());
    }

    #[test]
    fn a_missing_field_fails() {
        assert!(check(&row("lane").replace("\"batch\":1,", "")).unwrap_err().contains("batch"));
    }

    #[test]
    fn a_row_without_figure_needs_a_reason() {
        let empty = row("posix-mq").replace("\"p50_ns\":1", "\"p50_ns\":null");
        assert!(check(&empty).unwrap_err().contains("reason"));
    }

    #[test]
    fn noise_fails() {
        assert!(check("warming up\n").is_err());
    }
}
