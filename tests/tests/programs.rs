//! The three programs, each for a moment: they run, they pass, and they fail where they must.

use std::process::{Command, Output};
use std::time::Duration;

use ginnel_testkit::watchdog::Watchdog;
use serde_json::Value;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(300);

/// The last line of a program's output, and whether it was content.
fn run(program: &str, arguments: &[&str]) -> (Value, bool) {
    let _dog = Watchdog::new(program, LIMIT);
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).output().expect("the program starts");
    let text = String::from_utf8_lossy(&stdout);
    let line = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let said = || format!("{arguments:?}: {status}\n{text}\n{}", String::from_utf8_lossy(&stderr));
    (line.unwrap_or_else(|| panic!("{}", said())), status.success())
}

#[test]
fn a_sample_of_places_passes_and_the_broken_ones_are_caught() {
    let names = [
        "send",
        "loan-release",
        "unlock",
        "attach",
        "event",
        "control-right",
        "control-broken",
        "control-nobodys",
    ];
    let targets: Vec<&str> = names.iter().flat_map(|name| ["--target", name]).collect();
    let (line, content) = run(env!("CARGO_BIN_EXE_step-kill"), &[&["--json"], targets.as_slice()].concat());
    assert!(content, "{line}");
    assert_eq!((&line["faults"], &line["broken_caught"]), (&Value::from(0), &Value::from(2)), "{line}");
}

#[test]
fn a_target_that_does_not_exist_is_an_error() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_step-kill")).args(["--target", "sned"]).output().expect("started");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("sned"));
}

#[test]
fn random_kills_lose_nothing() {
    let (line, content) = run(env!("CARGO_BIN_EXE_kill"), &["--json", "--seconds", "2"]);
    assert!(content, "{line}");
    for figure in ["kills", "messages", "recovery_max_ms"] {
        assert!(line[figure].as_f64().is_some_and(|number| number > 0.0), "{figure}: {line}");
    }
}

#[test]
fn a_scribbling_peer_makes_errors_and_nothing_else() {
    let (line, content) = run(env!("CARGO_BIN_EXE_hostile"), &["--json", "--seconds", "2"]);
    assert!(content, "{line}");
}
