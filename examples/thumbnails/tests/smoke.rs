//! The program, run small: every way that this machine has, and its JSON.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_thumbnails")).args(args).env("TMPDIR", scratch()).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

/// Where temporary folders go, so that one that was left behind is seen.
fn scratch() -> PathBuf {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(std::thread::current().name().unwrap_or("t"));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn rows(args: &[&str]) -> Value {
    let small = [
        "--pictures",
        "24",
        "--width",
        "160",
        "--height",
        "120",
        "--rounds",
        "1",
        "--workers",
        "2",
        "--json",
    ];
    let output = run(&[&small, args].concat());
    assert_eq!(std::fs::read_dir(scratch()).expect("a folder").count(), 0, "the folder was left behind");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().map(|row| row["way"].as_str().expect("a name")).collect()
}

#[test]
fn every_way_is_run_or_left_out() {
    let report = rows(&[]);
    let mut named = [names(&report["rows"]), names(&report["left_out"])].concat();
    named.sort_unstable();
    assert_eq!(named, ["one", "pool-imap", "pool-map", "python", "python-draft", "rayon"]);
    for row in report["rows"].as_array().expect("rows") {
        assert!(row["all"].as_f64().expect("seconds") > 0.0, "{row}");
        assert!(row["beside_rayon"].as_f64().is_some(), "{row}");
    }
}

#[test]
fn a_killed_worker_costs_no_thumbnail() {
    let report = rows(&["--way", "pool-map,pool-imap", "--kill"]);
    assert_eq!(names(&report["rows"]), ["pool-map", "pool-imap"]);
    for row in report["rows"].as_array().expect("rows") {
        assert_eq!(row["workers_killed"], 1, "{row}");
    }
}

#[test]
fn a_python_that_is_not_there_is_said_to_be_absent() {
    let report = rows(&["--way", "python,one", "--python", "no-such-python-anywhere"]);
    assert_eq!((names(&report["rows"]), names(&report["left_out"])), (vec!["one"], vec!["python"]));
    assert_eq!(report["left_out"][0]["because"], "there is no no-such-python-anywhere");
}

#[test]
fn the_table_and_the_help_are_for_people() {
    let table =
        run(&["--pictures", "3", "--width", "64", "--height", "64", "--rounds", "1", "--way", "one,rayon"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("pictures/s"));
    let help = run(&["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Examples:"));
}
