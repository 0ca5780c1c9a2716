//! What a killed process leaves in queues, and in what their messages carry.
//!
//! Children are this test binary again, in a role (the test `queue_entry`).

use std::time::Duration;

use ginnel_object::blocks::{self, Block, Blocks};
use ginnel_object::error::{RecvError, TryRecvError};
use ginnel_object::manager::{self, Manager};
use ginnel_object::queue::{OnConsumerDeath, Options, Receiver, Sender};
use ginnel_object::{Mutex, Queue};
use ginnel_testkit::child::{self, Arguments, Child, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    number: u64,
    block: Block,
    count: Mutex<u64>,
    text: String,
}

/// The way in for roles; by itself it does nothing.
#[test]
fn queue_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    match name.as_str() {
        "leaser" => leaser(&manager, &arguments),
        "writer" => writer(&manager, &arguments),
        "sender" => sender(&manager, &arguments),
        other => panic!("no role {other}"),
    }
}

fn letters(manager: &Manager) -> Queue<Letter> {
    manager.get("letters").expect("found").expect("there")
}

/// Says that it is ready, and waits for its end.
fn ready_to_die(arguments: &Arguments) -> ! {
    Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped").set(0, 1);
    loop {
        std::thread::park();
    }
}

/// Has a message when it is killed.
fn leaser(manager: &Manager, arguments: &Arguments) {
    let lease = letters(manager).lease().expect("there");
    assert_eq!(lease.number, 1);
    ready_to_die(arguments)
}

/// Sent a message, and has the queue and the pool no more, when it is killed.
fn writer(manager: &Manager, arguments: &Arguments) {
    let pool: Blocks = manager.get("pool").expect("found").expect("there");
    let mut block = pool.claim().expect("free");
    block.fill(9);
    let count = manager.create::<Mutex<u64>>().expect("room");
    let text = "long ".repeat(100);
    let kept = pool.claim().expect("free");
    letters(manager).send(Letter { number: 2, block: block.freeze(), count, text }).expect("room");
    drop(pool);
    assert_eq!(kept.len(), 64);
    ready_to_die(arguments)
}

/// Has the only sender of a channel when it is killed.
fn sender(manager: &Manager, arguments: &Arguments) {
    let sender: Sender<u32> = manager.get("ends").expect("found").expect("there");
    assert!(manager.remove("ends").expect("removed"));
    sender.send(5).expect("room");
    ready_to_die(arguments)
}

struct Place {
    manager: Manager,
    dog: Watchdog,
}

impl Place {
    fn new(test: &str) -> Self {
        let options = manager::Options::new().limit(16 << 20).objects(32).participants(6);
        let manager = Manager::with(options).expect("a small manager");
        Self { manager, dog: Watchdog::new(test, LIMIT) }
    }

    /// Makes the queue of letters and the pool of three blocks that they carry.
    fn with_letters(test: &str, policy: OnConsumerDeath) -> (Self, Queue<Letter>, Blocks) {
        let place = Self::new(test);
        let options = Options::bounded(4).on_consumer_death(policy);
        let letters = place.manager.get_or_create_with("letters", options).expect("made");
        let pool = place.manager.get_or_create_with("pool", blocks::Options::new(3, 64)).expect("made");
        (place, letters, pool)
    }

    /// Starts a role, waits until it is ready, and kills it.
    fn kill_one(&self, role: &str) {
        let mut child = self.start(role);
        child.kill().expect("killed");
    }

    fn start(&self, role: &str) -> Child {
        let ready = Scratch::new(1).expect("a memfd");
        let role = Role::new(role).through_test("queue_entry").fd(&self.manager).fd(&ready);
        let mut child = role.spawn().expect("started");
        self.dog.waits_for("a child that gets ready");
        while ready.get(0) == 0 {
            let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
            assert_eq!(ended, None, "the child ended before it was ready");
        }
        child
    }
}

fn letter(place: &Place, pool: &Blocks, number: u64) -> Letter {
    let mut block = pool.try_claim().expect("asked").expect("free");
    block.fill(number as u8);
    let count = place.manager.create::<Mutex<u64>>().expect("room");
    Letter { number, block: block.freeze(), count, text: "x".repeat(number as usize * 200) }
}

#[test]
fn a_leased_message_and_what_it_carries_come_back() {
    let (place, letters, pool) = Place::with_letters("leased", OnConsumerDeath::Redeliver);
    letters.send(letter(&place, &pool, 1)).expect("room");
    place.kill_one("leaser");
    // Nobody tells: who waits finds out.
    let lease = letters.lease().expect("it comes back");
    assert_eq!((lease.number, lease.redelivered(), lease.block[63], lease.text.len()), (1, 1, 1, 200));
    let back = lease.ack().expect("acknowledged");
    *back.count.lock().expect("nobody died in it") += 1;
    drop(back);
    assert_eq!(pool.free(), 3);
}

#[test]
fn a_message_that_is_dropped_with_its_consumer_leaves_nothing() {
    let (place, letters, pool) = Place::with_letters("dropped", OnConsumerDeath::Drop);
    let before = place.manager.size();
    letters.send(letter(&place, &pool, 1)).expect("room");
    place.kill_one("leaser");
    assert_eq!(place.manager.recover().expect("not forked"), 1);
    assert!(matches!(letters.try_recv(), Err(TryRecvError::Empty)));
    assert_eq!((letters.stats().dropped, letters.stats().leased), (1, 0));
    assert_eq!(pool.free(), 3, "the block is free");
    assert_eq!(place.manager.size(), before, "the mutex and the long text are gone");
}

#[test]
fn what_a_dead_sender_sent_arrives_whole() {
    let (place, letters, pool) = Place::with_letters("sent", OnConsumerDeath::Redeliver);
    place.kill_one("writer");
    assert_eq!(place.manager.recover().expect("not forked"), 1);
    assert_eq!(pool.free(), 2, "the one that was not sent is free");
    let got = letters.recv().expect("it was sent");
    assert_eq!((got.number, got.block[0], got.text.len()), (2, 9, 500));
    *got.count.lock().expect("free") += 1;
    drop(got);
    assert_eq!(pool.free(), 3);
}

#[test]
fn a_queue_nobody_holds_any_more_takes_its_letters_along() {
    let (place, letters, pool) = Place::with_letters("orphaned", OnConsumerDeath::Redeliver);
    drop((letters, pool));
    place.kill_one("writer");
    // Only names hold them now.
    assert!(place.manager.remove("letters").expect("removed"));
    assert_eq!(place.manager.recover().expect("not forked"), 1);
    assert!(place.manager.remove("pool").expect("removed"));
    assert_eq!(place.manager.size(), 0);
}

#[test]
fn a_channel_ends_with_its_killed_sender() {
    let place = Place::new("channel");
    let receiver: Receiver<u32> = place.manager.get_or_create("ends").expect("made");
    place.kill_one("sender");
    assert_eq!(receiver.recv().expect("it was sent"), 5);
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)), "asleep, and told");
}
