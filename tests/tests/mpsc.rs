//! Channels with many senders, between processes: deaths, stops and floods.
//!
//! Children are this test binary again, in a role (the test `mpsc_entry`).

use std::thread;
use std::time::Duration;

use ginnel::mpsc::{BATCH, Options, Receiver, RecvError, RecvTimeoutError, SendError, Sender};
use ginnel::{Manager, Raw, manager};
use ginnel_testkit::child::{self, Arguments, Child, Exit, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::Signal;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(60);

/// Senders at a time.
const LANES: usize = 3;

/// A word by which a child says that it is ready, then one for what each has done.
const READY: usize = 0;
const DONE: usize = 1;

/// Children of a test, at most.
const CHILDREN: usize = 64;

/// Who sent it, which number it is, and what it must be filled with.
type Numbered = Raw<[u64; 6]>;

fn numbered(from: u64, number: u64) -> Numbered {
    Raw([from, number, number ^ 0x55, number << 7, !number, from + number])
}

/// The way in for roles; by itself it does nothing.
#[test]
fn mpsc_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "flood" => flood(&arguments),
        "holder" => holder(&arguments),
        "reader" => reader(&arguments),
        other => panic!("no role {other}"),
    }
}

/// A named manager that is gone at the end of its test, and words between a child and its parent.
struct Place {
    name: String,
    manager: Manager,
    words: Scratch,
    dog: Watchdog,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("mpsc-{}-{test}", std::process::id());
        let options = manager::Options::new().limit(4 << 20).participants(8).objects(8);
        let manager = Manager::open_or_create_with(&name, options).expect("a fresh name");
        let words = Scratch::new(DONE + CHILDREN).expect("a memfd");
        Self { name, manager, words, dog: Watchdog::new(test, LIMIT) }
    }

    /// Starts a role and waits until it says that it has what it wants.
    fn start(&self, role: &str, number: u64) -> Child {
        self.words.set(READY, 0);
        let role = Role::new(role).through_test("mpsc_entry").arg(&self.name).fd(&self.words).arg(number);
        let mut child = role.spawn().expect("started");
        self.dog.waits_for("a child that gets ready");
        while self.words.get(READY) == 0 {
            let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
            assert_eq!(ended, None, "the child ended before it was ready");
        }
        child
    }

    fn sender(&self) -> ginnel::Result<Sender<Numbered>> {
        sender_of(&self.manager)
    }

    fn receiver(&self) -> Receiver<Numbered> {
        options().receiver(&self.manager, "inbox").expect("free")
    }
}

/// Small lanes, so that a flood fills them.
fn options() -> Options {
    Options::new().capacity(40).senders(LANES)
}

fn sender_of(manager: &Manager) -> ginnel::Result<Sender<Numbered>> {
    options().sender(manager, "inbox")
}

/// The child's side of a [`Place`].
fn opened(arguments: &Arguments) -> (Manager, Scratch, u64) {
    let name: String = arguments.get(0).expect("a name");
    let words = Scratch::from_fd(arguments.fd(1).expect("a descriptor")).expect("mapped");
    (Manager::open(&name).expect("the parent made it"), words, arguments.get(2).expect("a number"))
}

/// Sends as fast as it can until it is killed, and notes what it knows to be sent.
fn flood(arguments: &Arguments) {
    let (manager, words, me) = opened(arguments);
    let mut sender = sender_of(&manager).expect("a lane is free");
    words.set(READY, 1);
    for number in 0.. {
        sender.send(numbered(me, number)).expect("the receiver lives");
        words.set(DONE + me as usize, number + 1);
    }
}

/// Sends some messages, and keeps its lane.
fn holder(arguments: &Arguments) {
    let (manager, words, count) = opened(arguments);
    let mut sender = sender_of(&manager).expect("a lane is free");
    for number in 0..count {
        sender.send(numbered(9, number)).expect("there is room");
    }
    words.set(READY, 1);
    loop {
        thread::park();
    }
}

/// Receives some messages, and keeps the receiving end.
fn reader(arguments: &Arguments) {
    let (manager, words, count) = opened(arguments);
    let mut receiver: Receiver<Numbered> = options().receiver(&manager, "inbox").expect("free");
    for _ in 0..count {
        receiver.recv().expect("there are messages");
    }
    words.set(READY, 1);
    loop {
        thread::park();
    }
}

/// What a receiver saw of one sender must be a beginning of what that one sent. Gives the length.
fn check(message: &Numbered, next: &mut u64) -> u64 {
    let Raw([from, number, ..]) = *message;
    assert_eq!(*message, numbered(from, number), "whole");
    assert_eq!(number, *next, "of sender {from}: in order, none twice, none lost");
    *next += 1;
    from
}

#[test]
fn what_a_killed_sender_committed_arrives_and_its_lane_is_used_again() {
    let place = Place::new("killed");
    let mut receiver = place.receiver();
    let mut rng = Rng::new(7);
    // More senders than lanes: each dies in the middle of a stream.
    for round in 0..4 * LANES as u64 {
        let mut child = place.start("flood", round);
        let mut next = 0;
        for _ in 0..rng.below(2000) {
            let message = receiver.recv().expect("the child sends");
            assert_eq!(check(&message, &mut next), round);
        }
        assert_eq!(child.kill().expect("killed"), Exit::KILLED);
        place.dog.waits_for("the end after a death");
        loop {
            match receiver.recv() {
                Ok(message) => assert_eq!(check(&message, &mut next), round),
                Err(RecvError::Closed) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
        let noted = place.words.get(DONE + round as usize);
        assert!(next == noted || next == noted + 1, "{next} arrived, {noted} were known to be sent");
        assert!(!receiver.redelivered());
    }
    assert_eq!(receiver.senders(), 0);
}

#[test]
fn senders_killed_beside_others_lose_and_double_nothing() {
    let place = Place::new("beside");
    let mut receiver = place.receiver();
    let mut rng = Rng::new(11);
    let mut next = [0; CHILDREN];
    let mut alive: Vec<(usize, Child)> = (0..LANES).map(|me| (me, place.start("flood", me as u64))).collect();
    for me in LANES..20 {
        for _ in 0..rng.below(500) {
            let message = receiver.recv().expect("there are senders");
            check(&message, &mut next[message.0[0] as usize]);
        }
        let (_, mut child) = alive.swap_remove(rng.below(LANES as u64) as usize);
        assert_eq!(child.kill().expect("killed"), Exit::KILLED);
        drop(child);
        // All lanes are held by the dead and the living: the newcomer finds out which is which.
        alive.push((me, place.start("flood", me as u64)));
    }
    drop(alive);
    place.dog.waits_for("the end after the last deaths");
    for message in receiver.iter() {
        let message = message.expect("whole");
        check(&message, &mut next[message.0[0] as usize]);
    }
    for (me, arrived) in next.iter().enumerate() {
        let noted = place.words.get(DONE + me);
        assert!(*arrived == noted || *arrived == noted + 1, "of {me} {arrived} arrived, {noted} were sent");
    }
}

#[test]
fn a_flooding_process_does_not_starve_the_others() {
    let place = Place::new("flood");
    let mut receiver = place.receiver();
    let mut sender = place.sender().expect("a lane is free");
    let _child = place.start("flood", 1);
    let mut next = [0; 2];
    for round in 0..500 {
        // The flood's lane is full, or nearly: whatever is taken is replaced at once.
        sender.send(numbered(0, round)).expect("room");
        let mut before = 0;
        loop {
            let message = receiver.recv().expect("two senders");
            let from = message.0[0] as usize;
            check(&message, &mut next[from]);
            if from == 0 {
                break;
            }
            before += 1;
            assert!(before <= BATCH, "round {round}");
        }
    }
}

#[test]
fn a_sleeping_receiver_is_told_that_the_last_senders_died() {
    let place = Place::new("asleep");
    let mut receiver = place.receiver();
    let mut children = [place.start("holder", 2), place.start("holder", 0)];
    let waiter = thread::spawn(move || {
        let messages = receiver.iter().map(|message| message.expect("whole")).collect::<Vec<_>>();
        (messages, receiver)
    });
    for child in &mut children {
        assert_eq!(child.kill().expect("killed"), Exit::KILLED);
    }
    place.dog.waits_for("the receiver that is told");
    let (messages, mut receiver) = waiter.join().expect("no panic");
    assert_eq!(messages, [numbered(9, 0), numbered(9, 1)]);
    assert!(matches!(receiver.try_recv(), Err(error) if error.is_closed()));
}

#[test]
fn a_full_channel_has_room_again_when_a_holder_dies() {
    let place = Place::new("full");
    let mut children: Vec<_> = (0..LANES).map(|_| place.start("holder", 1)).collect();
    let full = place.sender().expect_err("all lanes are held");
    assert!(full.is_full(), "{full}");
    children[1].kill().expect("killed");
    let mut sender = place.sender().expect("one of them is dead");
    let mut clone = sender.clone();
    assert!(matches!(clone.send(numbered(2, 0)), Err(SendError::Failed(_, error)) if error.is_full()));
    children[0].kill().expect("killed");
    clone.send(numbered(2, 0)).expect("another one is dead");
    sender.send(numbered(1, 0)).expect("room");
    let mut receiver = place.receiver();
    let mut got: Vec<u64> = (0..LANES + 2).map(|_| receiver.recv().expect("sent").0[0]).collect();
    got.sort_unstable();
    assert_eq!(got, [1, 2, 9, 9, 9], "also what the dead sent");
}

#[test]
fn a_stopped_sender_is_no_end_and_holds_nobody_up() {
    let place = Place::new("stopped");
    let mut receiver = place.receiver();
    let child = place.start("flood", 5);
    child.signal(Signal::SIGSTOP).expect("stopped");
    let mut sender = place.sender().expect("a lane is free");
    let mut next = [0; 6];
    for number in 0..100 {
        sender.send(numbered(0, number)).expect("room");
        while next[0] <= number {
            let message = receiver.recv().expect("sent");
            check(&message, &mut next[message.0[0] as usize]);
        }
    }
    drop(sender);
    let late = loop {
        match receiver.recv_timeout(Duration::from_millis(100)) {
            Ok(_) => {}
            Err(late) => break late,
        }
    };
    assert!(matches!(late, RecvTimeoutError::Timeout), "it lives: {late:?}");
    child.signal(Signal::SIGCONT).expect("it goes on");
    receiver.recv().expect("it goes on");
}

#[test]
fn the_successor_of_a_killed_receiver_goes_on_where_that_one_was() {
    let place = Place::new("receiver");
    let mut sender = place.sender().expect("a lane is free");
    for number in 0..30 {
        sender.send(numbered(0, number)).expect("room");
    }
    let mut child = place.start("reader", 10);
    while sender.try_send(numbered(0, 30)).is_ok() {}
    let waiter = thread::spawn(move || (sender.send(numbered(0, 31)), sender));
    child.kill().expect("killed");
    place.dog.waits_for("the sender that is told");
    let (told, mut sender) = waiter.join().expect("no panic");
    match told {
        Err(SendError::Failed(_, error)) => assert!(error.is_peer_dead(), "{error}"),
        other => panic!("{other:?}"),
    }
    let mut receiver = place.receiver();
    let mut next = 10;
    check(&receiver.recv().expect("left"), &mut next);
    assert!(receiver.redelivered(), "the dead one may have seen it");
    while next < 31 {
        check(&receiver.recv().expect("left"), &mut next);
        assert!(!receiver.redelivered());
    }
    while receiver.try_recv().is_ok() {}
    sender.send(numbered(0, 99)).expect("there is a receiver again");
    assert_eq!(receiver.recv().expect("sent"), numbered(0, 99));
}
