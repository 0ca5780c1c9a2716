//! Exclusive ends on their way when a process is killed: the other end is told, or the end lives on, and nobody has to ask
//! for it.
//!
//! Children are this test binary again, in a role (the test `moving_entry`).

use std::time::Duration;

use ginnel_object::error::{RecvError, RecvTimeoutError, SendError};
use ginnel_object::manager::{self, Manager};
use ginnel_object::queue::{Options, Queue};
use ginnel_object::spsc::{self, Consumer, Producer};
use ginnel_object::{Error, ErrorKind, transit};
use ginnel_testkit::child::{self, Arguments, Child, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const LIMIT: Duration = Duration::from_secs(60);

/// Where the receiver of a message waits for its end, before it has decoded what comes behind.
#[derive(Debug)]
struct Here;

impl Serialize for Here {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Here {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        if let Some((name, arguments)) = child::role()
            && name == "decoder"
        {
            ready_to_die(&arguments);
        }
        Ok(Self)
    }
}

type Letter = (Here, Producer<u64>);

/// The way in for roles; by itself it does nothing.
#[test]
fn moving_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    let post: Queue<Letter> = manager.get("post").expect("found").expect("there");
    match name.as_str() {
        // Has it, and has sent something.
        "holder" => {
            let (_, mut tx) = post.recv().expect("sent");
            drop(post);
            tx.send(7).expect("room");
            ready_to_die(&arguments)
        }
        // Keeps the queue in which it lies, and nothing else.
        "keeper" => ready_to_die(&arguments),
        // Has received the message and not decoded it.
        "decoder" => drop(post.recv()),
        // Sent it on, and has it no more.
        "sender" => {
            let tx: Producer<u64> = manager.get("lane").expect("found").expect("there");
            assert!(manager.remove("lane").expect("removed"));
            post.send((Here, tx)).expect("room");
            ready_to_die(&arguments)
        }
        // Issued a token that nobody redeems.
        "issuer" => {
            let tx: Producer<u64> = manager.get("lane").expect("found").expect("there");
            assert!(manager.remove("lane").expect("removed"));
            transit::issue(&tx).expect("free");
            ready_to_die(&arguments)
        }
        // Sends the receiving end on.
        "seller" => {
            let ends: Queue<Consumer<u64>> = manager.get("ends").expect("found").expect("there");
            let rx: Consumer<u64> = manager.get("lane").expect("found").expect("there");
            assert!(manager.remove("lane").expect("removed"));
            ends.send(rx).expect("room");
            ready_to_die(&arguments)
        }
        // Has looked at a message.
        "reader" => {
            let mut rx: Consumer<u64> = manager.get("lane").expect("found").expect("there");
            assert_eq!(*rx.loan().expect("sent"), 1);
            let loan = rx.loan().expect("sent");
            assert_eq!(*loan, 2);
            ready_to_die(&arguments)
        }
        other => panic!("no role {other}"),
    }
}

/// Says that it is ready, and waits for its end.
fn ready_to_die(arguments: &Arguments) -> ! {
    Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped").set(0, 1);
    loop {
        std::thread::park();
    }
}

/// A manager, a queue, and what a child says.
struct Stage {
    manager: Manager,
    post: Queue<Letter>,
    words: Scratch,
    _watchdog: Watchdog,
}

impl Stage {
    fn new(test: &str) -> Self {
        let watchdog = Watchdog::new(test, LIMIT);
        let options = manager::Options::new().limit(16 << 20).objects(16).participants(4);
        let manager = Manager::with(options).expect("a manager");
        let post = manager.get_or_create_with("post", Options::bounded(4)).expect("made");
        let words = Scratch::new(8).expect("words");
        Self { manager, post, words, _watchdog: watchdog }
    }

    fn ends(&self) -> spsc::Ends<u64> {
        let options = spsc::Options::new().capacity(8);
        let tx = options.producer(&self.manager, "lane").expect("made");
        (tx, options.consumer(&self.manager, "lane").expect("made"))
    }

    /// A child that has come so far.
    fn child(&self, role: &str) -> Child {
        let role = Role::new(role).fd(&self.manager).fd(&self.words).through_test("moving_entry");
        let mut child = role.spawn().expect("a child");
        while self.words.get(0) == 0 {
            let ended = child.wait_timeout(Duration::from_millis(1)).expect("ours");
            assert_eq!(ended, None, "the child ended before it was ready");
        }
        child
    }
}

fn assert_died(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
}

#[test]
fn the_end_that_moved_dies_with_its_holder() {
    let stage = Stage::new("holder");
    let (tx, mut rx) = stage.ends();
    stage.manager.remove("lane").expect("removed");
    stage.post.send((Here, tx)).expect("room");
    let mut child = stage.child("holder");
    assert_eq!(rx.recv().expect("sent"), 7);
    child.kill().expect("ours");
    match rx.recv() {
        Err(RecvError::Failed(error)) => assert_died(&error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_end_in_a_queue_that_only_a_dead_process_held_is_closed() {
    let stage = Stage::new("keeper");
    let (tx, mut rx) = stage.ends();
    stage.manager.remove("lane").expect("removed");
    let mut child = stage.child("keeper");
    stage.post.send((Here, tx)).expect("room");
    stage.manager.remove("post").expect("removed");
    let Stage { post, manager, _watchdog, .. } = stage;
    drop(post);
    assert!(matches!(rx.recv_timeout(Duration::from_millis(60)), Err(RecvTimeoutError::Timeout)));
    child.kill().expect("ours");
    // Nobody recovers the dead one but who waits here.
    assert!(matches!(rx.recv(), Err(RecvError::Closed)));
    drop(rx);
    assert!(manager.inspect().objects.is_empty());
}

#[test]
fn an_end_whose_receiver_dies_before_he_decodes_it_is_dead() {
    let stage = Stage::new("decoder");
    let (tx, mut rx) = stage.ends();
    stage.manager.remove("lane").expect("removed");
    stage.post.send((Here, tx)).expect("room");
    let mut child = stage.child("decoder");
    assert!(matches!(rx.recv_timeout(Duration::from_millis(60)), Err(RecvTimeoutError::Timeout)));
    child.kill().expect("ours");
    match rx.recv() {
        Err(RecvError::Failed(error)) => assert_died(&error),
        other => panic!("{other:?}"),
    }
    assert!(stage.post.is_empty(), "the message was received");
}

#[test]
fn an_end_lives_on_when_its_sender_dies() {
    let stage = Stage::new("sender");
    let (tx, mut rx) = stage.ends();
    drop(tx);
    let mut child = stage.child("sender");
    child.kill().expect("ours");
    assert!(matches!(rx.recv_timeout(Duration::from_millis(60)), Err(RecvTimeoutError::Timeout)));
    assert_eq!(stage.manager.recover().expect("attached"), 0, "the one who waited did that");
    let (_, mut tx) = stage.post.recv().expect("sent");
    tx.send(3).expect("room");
    assert_eq!(rx.recv().expect("sent"), 3);
}

#[test]
fn that_a_message_may_have_been_seen_moves_along() {
    let stage = Stage::new("reader");
    let (mut tx, rx) = stage.ends();
    tx.send_many(&[1]).expect("room");
    tx.send(2).expect("room");
    tx.send(3).expect("room");
    drop(rx);
    let mut child = stage.child("reader");
    child.kill().expect("ours");
    let mut rx = stage.manager.get::<Consumer<u64>>("lane").expect("free").expect("there");
    for _ in 0..2 {
        let token = transit::issue(&rx).expect("free");
        rx = transit::redeem(&stage.manager, token).expect("under way");
    }
    assert_eq!(rx.recv().expect("there"), 2);
    assert!(rx.redelivered());
    assert_eq!(rx.recv().expect("there"), 3);
    assert!(!rx.redelivered());
}

#[test]
fn a_token_dies_with_its_issuer() {
    let stage = Stage::new("issuer");
    let (tx, mut rx) = stage.ends();
    drop(tx);
    let mut child = stage.child("issuer");
    assert!(matches!(rx.recv_timeout(Duration::from_millis(60)), Err(RecvTimeoutError::Timeout)));
    child.kill().expect("ours");
    match rx.recv() {
        Err(RecvError::Failed(error)) => assert_died(&error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_producer_that_waits_for_room_learns_it_too() {
    let stage = Stage::new("seller");
    let ends: Queue<Consumer<u64>> =
        stage.manager.get_or_create_with("ends", Options::bounded(2)).expect("made");
    let (mut tx, rx) = stage.ends();
    drop(rx);
    let mut child = stage.child("seller");
    let mut sent = 0;
    while tx.try_send(sent).is_ok() {
        sent += 1;
    }
    child.kill().expect("ours");
    assert_eq!(stage.manager.recover().expect("attached"), 1);
    // The end is in the queue. When that goes, it goes.
    assert!(stage.manager.remove("ends").expect("removed"));
    let waiting = std::thread::spawn(move || tx.send(0));
    drop(ends);
    assert!(matches!(waiting.join().expect("no panic"), Err(SendError::Closed(0))));
}
