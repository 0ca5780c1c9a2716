//! `ginnel ls` and `ginnel gc` as a user meets them: the real binary, real segments in /dev/shm.
//!
//! Every segment has a name with our process id in it and is removed at the end; other segments on the machine
//! are neither counted nor touched.

use std::process::{Command, Output};

use ginnel::{Manager, spsc};

/// Tells the re-executed test binary to be the process that dies.
const VICTIM: &str = "GINNEL_CLI_TEST_VICTIM";

fn ginnel(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ginnel")).args(arguments).output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Not a test of its own: where the variable is set, makes a segment, sends a message and dies at once.
#[test]
fn victim() {
    if let Ok(name) = std::env::var(VICTIM) {
        let manager = Manager::open_or_create(&name).expect("a segment");
        let mut producer = spsc::producer::<u64>(&manager, "orders").expect("the producer's end");
        producer.send(4711).expect("there is room");
        std::process::abort();
    }
}

fn stale_segment(name: &str) {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, name)
        .output()
        .expect("the victim starts");
    assert!(!output.status.success(), "the victim dies");
}

#[test]
fn a_segment_in_use_is_listed_and_kept() {
    let name = format!("cli-used-{}", std::process::id());
    let manager = Manager::open_or_create(&name).expect("a segment");
    let listed = text(&ginnel(&["ls", "--long", &name]));
    assert!(listed.contains(&name) && !listed.contains("stale"), "{listed}");
    assert!(listed.contains(&format!("process {}", std::process::id())), "{listed}");
    let collected = ginnel(&["gc", &name]);
    assert!(collected.status.success() && text(&collected).contains("in use, kept"), "{}", text(&collected));
    drop(manager);
    let gone = ginnel(&["ls", &name]);
    assert!(!gone.status.success(), "it went with its last user: {}", text(&gone));
}

#[test]
fn a_persistent_segment_is_listed_as_one_and_removed_on_request() {
    let name = format!("cli-kept-{}", std::process::id());
    let options = ginnel::manager::Options::new().limit(1 << 20).persistent();
    drop(Manager::open_or_create_with(&name, options).expect("a segment"));
    for _ in 0..2 {
        let listed = text(&ginnel(&["ls", &name]));
        assert!(
            listed.lines().any(|line| line.starts_with(&name) && line.ends_with("persistent")),
            "{listed}"
        );
    }
    let collected = ginnel(&["gc", &name]);
    assert!(collected.status.success() && text(&collected).contains("removed"), "{}", text(&collected));
}

#[test]
fn what_a_killed_process_left_survives_looking_and_is_removed_on_request() {
    let name = format!("cli-stale-{}", std::process::id());
    stale_segment(&name);
    for _ in 0..3 {
        let listed = text(&ginnel(&["ls", "--json", &name]));
        assert!(listed.contains("\"alive\":0") && listed.contains("\"orders\""), "{listed}");
    }
    let all = text(&ginnel(&["ls"]));
    assert!(all.lines().any(|line| line.starts_with(&name) && line.ends_with("stale")), "{all}");

    // What was sent before the death is still there after all that looking.
    let manager = Manager::open(&name).expect("it is still there");
    let mut consumer = spsc::consumer::<u64>(&manager, "orders").expect("the consumer's end");
    assert_eq!(consumer.recv().expect("the message"), 4711);
    drop(consumer);
    drop(manager);

    stale_segment(&name);
    let collected = ginnel(&["gc", &name]);
    assert!(collected.status.success() && text(&collected).contains("removed"), "{}", text(&collected));
    let again = ginnel(&["gc", &name]);
    assert!(!again.status.success() && text(&again).contains("no segment"), "{}", text(&again));
}

#[test]
fn gc_wants_to_know_what() {
    assert_eq!(ginnel(&["gc"]).status.code(), Some(2));
    assert_eq!(ginnel(&["gc", "--all", "shop"]).status.code(), Some(2));
}
