//! Processes that are stopped in the middle of their work on a queue, and go on later.
//!
//! At each instruction of a sample: by the program `step-kill` (its targets that end in `-stopped`). Under load:
//! here, with children that are this test binary again, in a role (the test `stopped_entry`).

use std::process::{Command, Output};
use std::time::Duration;

use ginnel::queue::Options;
use ginnel::{Manager, Queue, Raw, manager};
use ginnel_testkit::child::{self, Arguments, Child, Exit, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::Signal;
use serde_json::Value;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn whoever_stands_still_at_any_instruction_is_named_and_loses_nothing() {
    let _dog = Watchdog::new("step-kill", LIMIT);
    let targets = ["push-stopped", "pop-stopped", "lease-stopped", "ack-stopped"];
    let arguments = targets.iter().flat_map(|name| ["--target", name]);
    let program = env!("CARGO_BIN_EXE_step-kill");
    let Output { status, stdout, stderr } =
        Command::new(program).arg("--json").args(arguments).output().expect("the program starts");
    let text = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "{text}\n{}", String::from_utf8_lossy(&stderr));
    let sum: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("a sum");
    assert!(sum["trials"].as_u64().is_some_and(|trials| trials > 40), "{sum}");
}

const PRODUCERS: usize = 2;
const CONSUMERS: usize = 2;
/// Messages that each producer sends at most.
const MOST: usize = 1 << 18;
/// Stops, over all processes.
const STOPS: u32 = 200;

/// The words between the processes: one that ends the input, how many each producer sent, how often each message came.
const END: usize = 0;
const SENT: usize = 1;
const CAME: usize = SENT + PRODUCERS;
const WORDS: usize = CAME + PRODUCERS * MOST;

/// Who sent it, which number it is, both mixed.
type Message = Raw<[u64; 3]>;

/// The way in for roles; by itself it does nothing.
#[test]
fn stopped_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "producer" => produce(&arguments),
        "consumer" => consume(&arguments),
        other => panic!("no role {other}"),
    }
}

fn opened(arguments: &Arguments) -> (Queue<Message>, Scratch, usize) {
    let name: String = arguments.get(0).expect("a name");
    let words = Scratch::from_fd(arguments.fd(1).expect("a descriptor")).expect("mapped");
    let manager = Manager::open(&name).expect("the parent made it");
    let queue = manager.get("jobs").expect("it can be opened").expect("it is there");
    (queue, words, arguments.get(2).expect("a number"))
}

fn produce(arguments: &Arguments) {
    let (queue, words, who) = opened(arguments);
    for number in 0..MOST as u64 {
        if words.get(END) != 0 {
            return;
        }
        queue.send(Raw([who as u64, number, number ^ !(who as u64)])).expect("it is open");
        words.set(SENT + who, number + 1);
    }
}

/// The first one takes, the second one leases.
fn consume(arguments: &Arguments) {
    let (queue, words, who) = opened(arguments);
    let note = |Raw([from, number, check]): &Message| {
        assert_eq!(*check, number ^ !from, "damaged");
        words.add(CAME + *from as usize * MOST + *number as usize, 1);
    };
    if who == 0 {
        while let Some(message) = queue.next().expect("a good queue") {
            note(&message);
        }
        return;
    }
    while let Some(lease) = queue.next_lease().expect("a good queue") {
        assert_eq!(lease.redelivered(), 0, "it was taken from the living");
        note(&lease.ack().expect("it is ours"));
    }
}

#[test]
fn stops_under_load_lose_and_double_nothing() {
    let dog = Watchdog::new("stops under load", LIMIT);
    let name = format!("stopped-{}", std::process::id());
    let options = manager::Options::new().limit(1 << 20).participants(8).objects(4);
    let manager = Manager::open_or_create_with(&name, options).expect("a fresh name");
    let queue: Queue<Message> =
        manager.get_or_create_with("jobs", Options::bounded(8).leases(2)).expect("there is room");
    let words = Scratch::new(WORDS).expect("a memfd");
    let start = |role: &str, who: usize| -> Child {
        let role = Role::new(role).through_test("stopped_entry").arg(&name).fd(&words).arg(who);
        role.spawn().expect("started")
    };
    let mut producers: Vec<Child> = (0..PRODUCERS).map(|who| start("producer", who)).collect();
    let mut consumers: Vec<Child> = (0..CONSUMERS).map(|who| start("consumer", who)).collect();
    dog.waits_for("the first message");
    while words.get(CAME) == 0 {
        let ended = producers[0].wait_timeout(Duration::from_millis(1)).expect("waited");
        assert_eq!(ended, None, "it ended before it sent anything");
    }
    let mut rng = Rng::new(7);
    for stop in 0..STOPS {
        dog.waits_for(format!("stop {stop}"));
        let all: Vec<&mut Child> = producers.iter_mut().chain(&mut consumers).collect();
        let index = rng.below(all.len() as u64) as usize;
        let victim = all.into_iter().nth(index).expect("an index below the length");
        victim.signal(Signal::SIGSTOP).expect("it is ours");
        // While it stands the others work, or wait for it; the pause is only long enough to let them.
        let _ = victim.wait_timeout(Duration::from_micros(rng.below(3000)));
        assert_eq!(manager.recover().expect("looked"), 0, "nobody died");
        victim.signal(Signal::SIGCONT).expect("it is ours");
    }
    words.set(END, 1);
    dog.waits_for("the producers");
    for producer in &mut producers {
        assert_eq!(producer.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    }
    queue.close();
    dog.waits_for("the consumers");
    for consumer in &mut consumers {
        assert_eq!(consumer.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    }
    for who in 0..PRODUCERS {
        let sent = words.get(SENT + who) as usize;
        let came = |number: usize| words.get(CAME + who * MOST + number);
        let wrong: Vec<usize> =
            (0..MOST).filter(|number| came(*number) != u64::from(*number < sent)).collect();
        assert_eq!(wrong, Vec::<usize>::new(), "of {sent} of producer {who}");
        assert!(sent > 0);
    }
    let stats = queue.stats();
    assert_eq!((stats.depth, stats.leased, stats.redelivered, stats.recoveries), (0, 0, 0, 0), "{stats:?}");
}
