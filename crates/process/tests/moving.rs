//! Exclusive ends as arguments and results of processes.

use std::process;
use std::thread;
use std::time::Duration;

use ginnel_object::error::{RecvError, RecvTimeoutError, SendError};
use ginnel_object::spsc::{self, Consumer, Producer};
use ginnel_object::{ErrorKind, Queue, mpsc};
use ginnel_process::{Process, Start};
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(120);

const STARTS: [Start; 2] = [Start::Auto, Start::Exec];

fn double(mut from: Consumer<u64>, mut to: Producer<u64>) -> u64 {
    let mut count = 0;
    while let Some(number) = from.next().expect("in order") {
        to.send(*number * 2).expect("somebody listens");
        count += 1;
    }
    count
}

#[test]
fn a_child_gets_an_end_of_two_lanes() {
    let _watchdog = Watchdog::new("two lanes", LIMIT);
    for start in STARTS {
        let (mut numbers, from) = spsc::channel::<u64>(16).expect("a lane");
        let (to, mut doubled) = spsc::channel::<u64>(16).expect("a lane");
        numbers.send(0).expect("room");
        let child = Process::builder().start(start).spawn(double, (from, to)).expect("a child");
        for number in 0..1000 {
            assert_eq!(doubled.recv().expect("doubled"), 2 * number);
            numbers.send(number + 1).expect("somebody listens");
        }
        numbers.close();
        assert_eq!(doubled.recv().expect("doubled"), 2000);
        assert_eq!(child.join().expect("a value"), 1001);
        assert!(matches!(doubled.recv(), Err(RecvError::Closed)));
    }
}

#[test]
fn an_end_comes_back_as_a_result() {
    let _watchdog = Watchdog::new("result", LIMIT);
    for start in STARTS {
        let (to, mut from) = spsc::channel::<u64>(16).expect("a lane");
        let send_and_return = |mut to: Producer<u64>| {
            to.send(1).expect("room");
            to
        };
        let child = Process::builder().start(start).spawn(send_and_return, to).expect("a child");
        assert_eq!(from.recv().expect("sent"), 1);
        let mut to = child.join().expect("a value");
        assert!(!from.is_closed());
        to.send(2).expect("room");
        assert_eq!(from.recv().expect("sent"), 2);
    }
}

#[test]
fn a_killed_child_takes_its_end_along() {
    let _watchdog = Watchdog::new("killed", LIMIT);
    let for_ever = |mut to: Producer<u64>, mut from: Consumer<u64>| -> u64 {
        to.send(from.recv().expect("sent")).expect("room");
        loop {
            thread::park();
        }
    };
    for start in STARTS {
        let (to, mut from) = spsc::channel::<u64>(16).expect("a lane");
        let (mut there, at_there) = spsc::channel::<u64>(1).expect("a lane");
        let child = Process::builder().start(start).spawn(for_ever, (to, at_there)).expect("a child");
        there.send(5).expect("room");
        assert_eq!(from.recv().expect("sent"), 5);
        child.kill().expect("ours");
        match from.recv() {
            Err(RecvError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}"),
            other => panic!("{other:?}"),
        }
        match (0..).find_map(|number| there.send(number).err()) {
            Some(SendError::Failed(_, error)) => assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Ends before it is decoded, in the middle of the arguments.
#[derive(Debug, Clone, Copy)]
struct Deadly;

impl serde::Serialize for Deadly {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(process::id())
    }
}

impl<'de> serde::Deserialize<'de> for Deadly {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if u32::deserialize(deserializer)? != process::id() {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("raised");
        }
        Ok(Self)
    }
}

#[test]
fn an_end_that_a_killed_child_never_decoded_is_closed() {
    let _watchdog = Watchdog::new("undecoded", LIMIT);
    for start in STARTS {
        for first in [true, false] {
            let (to, mut from) = spsc::channel::<u64>(16).expect("a lane");
            let builder = Process::builder().start(start);
            let child = if first {
                builder.spawn(|_: Producer<u64>, _: Deadly| 0_u32, (to, Deadly))
            } else {
                builder.spawn(|_: Deadly, _: Producer<u64>| 0_u32, (Deadly, to))
            };
            let child = child.expect("a child");
            match from.recv_timeout(LIMIT) {
                Err(RecvTimeoutError::Closed) => {}
                Err(RecvTimeoutError::Failed(error)) => {
                    assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}")
                }
                other => panic!("{other:?}"),
            }
            child.wait();
        }
    }
}

#[test]
fn many_children_get_senders_and_one_the_receiver() {
    let _watchdog = Watchdog::new("mpsc", LIMIT);
    let (sender, inbox) = mpsc::channel::<String>(64).expect("a channel");
    let children: Vec<Process<()>> = (0..4)
        .map(|number: u32| {
            let work = |mut to: mpsc::Sender<String>, number: u32| {
                for step in 0..100 {
                    to.send(format!("{number}.{step}")).expect("room");
                }
            };
            Process::spawn(work, (&sender, number)).expect("a child")
        })
        .collect();
    drop(sender);
    let count = |mut inbox: mpsc::Receiver<String>| inbox.iter().filter(|text| text.is_ok()).count();
    let counter = Process::spawn(count, inbox).expect("a child");
    assert_eq!(counter.join().expect("a value"), 400);
    children.into_iter().for_each(|child| child.join().expect("sent all"));
}

#[test]
fn an_end_goes_on_from_child_to_child() {
    let _watchdog = Watchdog::new("relay", LIMIT);
    let (to, mut from) = spsc::channel::<u64>(16).expect("a lane");
    let post = Queue::<Producer<u64>>::bounded(4).expect("a queue");
    let relay = |post: Queue<Producer<u64>>| {
        let mut to = post.recv().expect("sent");
        to.send(u64::from(process::id())).expect("room");
        post.send(to).expect("room");
    };
    let children: Vec<_> = (0..3).map(|_| Process::spawn(relay, &post).expect("a child")).collect();
    post.send(to).expect("room");
    for child in children {
        child.join().expect("sent it on");
    }
    let mut seen: Vec<_> = (0..3).map(|_| from.recv().expect("sent")).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3, "one from each");
    drop(post);
    assert!(matches!(from.recv(), Err(RecvError::Closed)), "nobody received it in the end");
}
