//! Broadcast channels as users see them: who gets what, what ends when, and what deaths cost.
//!
//! Children are this test binary again, in a role (the test `broadcast_entry`).

use std::os::fd::AsFd;
use std::time::Duration;

use ginnel_object::broadcast::{self, Options, Receiver, Sender};
use ginnel_object::error::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use ginnel_object::manager::{self, Manager};
use ginnel_object::{ErrorKind, Mutex, Queue, Raw};
use ginnel_testkit::child::{self, Arguments, Child, Exit, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Serialize};

const SHORT: Duration = Duration::from_millis(5);
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Quote {
    name: String,
    prices: Vec<u32>,
}

/// A value that shows when it is torn.
type Numbered = Raw<[u64; 16]>;

fn numbered(from: u64, number: u64) -> Numbered {
    Raw(std::array::from_fn(|i| if i == 0 { from } else { number.wrapping_mul(i as u64) ^ from }))
}

fn number_of(value: &Numbered) -> (u64, u64) {
    let (from, number) = (value.0[0], value.0[1] ^ value.0[0]);
    assert_eq!(*value, numbered(from, number), "torn");
    (from, number)
}

fn small() -> Manager {
    Manager::with(manager::Options::new().limit(1 << 20).objects(8).participants(4)).expect("a small manager")
}

/// A second participant of the same manager.
fn second(manager: &Manager) -> Manager {
    Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach")
}

#[test]
fn every_receiver_gets_every_message() {
    let (sender, mut first) = broadcast::channel::<Quote>(4).expect("channel");
    let mut second = sender.subscribe().expect("whole");
    let quote = Quote { name: "a".into(), prices: vec![1, 2, 3] };
    sender.send(quote.clone()).expect("open");
    assert_eq!((first.len(), first.capacity(), sender.capacity()), (1, 4, 4));
    assert_eq!(first.recv().expect("there"), quote);
    assert_eq!(second.recv_timeout(LIMIT).expect("there"), quote);
    assert!(first.is_empty() && matches!(first.try_recv(), Err(TryRecvError::Empty)));
    assert!(matches!(first.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout)));
}

#[test]
fn a_slow_receiver_is_told_a_number_and_goes_on() {
    let (sender, mut receiver) = broadcast::channel::<Raw<u64>>(8).expect("channel");
    for number in 0..20 {
        sender.send(Raw(number)).expect("open");
    }
    drop(sender);
    let received: Vec<_> = receiver.iter().map(|value| value.expect("whole").0).collect();
    assert_eq!(received, Vec::from_iter(12..20));
    assert_eq!((receiver.take_missed(), receiver.take_missed(), receiver.take_aborted()), (12, 0, 0));
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
}

#[test]
fn skipping_counts_what_it_skips() {
    let (sender, mut receiver) = broadcast::channel::<Raw<u64>>(4).expect("channel");
    assert_eq!(receiver.skip_to_latest().expect("whole"), 0);
    for number in 0..9 {
        sender.send(Raw(number)).expect("open");
    }
    assert_eq!(receiver.skip_to_latest().expect("whole"), 8);
    assert_eq!(receiver.recv().expect("there"), Raw(8));
    assert_eq!((receiver.skip_to_latest().expect("whole"), receiver.take_missed()), (0, 0));
}

#[test]
fn threads_see_whole_messages_in_order_and_count_the_rest() {
    let _dog = Watchdog::new("threads_see_whole_messages_in_order_and_count_the_rest", LIMIT);
    for (senders, receivers) in [(1, 1), (1, 3), (2, 2)] {
        let (sender, first) = broadcast::channel::<Numbered>(16).expect("channel");
        let rest = (1..receivers).map(|_| sender.subscribe().expect("whole"));
        let receivers: Vec<_> = std::iter::once(first).chain(rest.collect::<Vec<_>>()).collect();
        std::thread::scope(|scope| {
            for mut receiver in receivers {
                scope.spawn(move || {
                    let (mut received, mut last) = (0, [None; 2]);
                    while let Some(value) = receiver.next().expect("whole") {
                        let (from, number) = number_of(&value);
                        let before = last[from as usize].replace(number);
                        assert!(before < Some(number), "{number} after {before:?}");
                        received += 1;
                    }
                    assert_eq!(received + receiver.take_missed(), senders * 5_000);
                });
            }
            for from in 0..senders {
                let sender = sender.clone();
                scope.spawn(move || (0..5_000).for_each(|n| sender.send(numbered(from, n)).expect("open")));
            }
            // The clones keep it open until they are done.
            drop(sender);
        });
    }
}

#[test]
fn what_cannot_be_sent_comes_back() {
    let options = Options::new().capacity(2).message_size(100);
    let (sender, mut receiver) = options.channel::<String>().expect("channel");
    assert_eq!(sender.max_len(), 112, "rounded up to whole units");
    let long = "x".repeat(112);
    let Err(SendError::Failed(back, error)) = sender.send(long.clone()) else { panic!("it cannot fit") };
    assert_eq!((back, error.kind()), (long, ErrorKind::TooLarge));
    let fits = "x".repeat(111);
    sender.try_send(fits.clone()).expect("open");
    assert_eq!(receiver.recv().expect("there"), fits);
    sender.close();
    assert!(sender.is_closed() && receiver.is_closed());
    assert!(matches!(sender.send("late".into()), Err(SendError::Closed(_))));
    assert!(matches!(sender.try_send("late".into()), Err(TrySendError::Closed(_))));
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Closed)));
    let none = broadcast::channel::<u8>(0).expect_err("of no use");
    assert_eq!(none.kind(), ErrorKind::Invalid);
    let huge = broadcast::channel::<u8>(usize::MAX).expect_err("no room");
    assert_eq!(huge.kind(), ErrorKind::TooLarge);
}

#[test]
fn handles_do_not_travel_in_it() {
    let (sender, _receiver) = broadcast::channel::<Queue<u32>>(2).expect("channel");
    let queue = Queue::bounded(2).expect("queue");
    let Err(SendError::Failed(_, error)) = sender.send(queue) else { panic!("nobody would own it") };
    assert_eq!(error.kind(), ErrorKind::Encode);
}

#[test]
fn ends_travel_in_queues_a_receiver_with_its_position() {
    let (sender, mut receiver) = broadcast::channel::<u32>(8).expect("channel");
    let ends = Queue::<(Sender<u32>, Receiver<u32>)>::bounded(2).expect("queue");
    (0..3).for_each(|number| sender.send(number).expect("open"));
    assert_eq!(receiver.recv().expect("there"), 0);
    ends.send((sender.clone(), receiver)).expect("room");
    drop(sender);
    let (sender, mut receiver) = ends.recv().expect("there");
    sender.send(3).expect("a sender was on its way, so it is open");
    drop(sender);
    assert_eq!(receiver.iter().collect::<Result<Vec<_>, _>>().expect("whole"), [1, 2, 3]);
    assert_eq!(receiver.take_missed(), 0);
}

#[test]
fn the_last_sender_of_all_participants_ends_it() {
    let manager = small();
    let other = second(&manager);
    let sender: Sender<u32> = manager.get_or_create_with("ticks", Options::new().capacity(4)).expect("made");
    let mut receiver: Receiver<u32> = other.get("ticks").expect("opened").expect("there");
    let theirs: Sender<u32> = other.get("ticks").expect("opened").expect("there");
    sender.send(1).expect("open");
    drop(sender);
    theirs.send(2).expect("open");
    drop(theirs);
    assert_eq!((receiver.recv().expect("there"), receiver.recv().expect("there")), (1, 2));
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "its name keeps it open");
    assert!(manager.remove("ticks").expect("no lock"));
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
    drop(receiver);
    assert_eq!(manager.size(), 0, "nothing is left of it");
}

#[test]
fn another_type_is_refused() {
    let manager = small();
    let _sender: Sender<Raw<u64>> = manager.get_or_create("x").expect("made");
    for error in [
        manager.get::<Receiver<Raw<u32>>>("x").expect_err("another size"),
        manager.get::<Receiver<u64>>("x").expect_err("encoded"),
        manager.get::<Queue<Raw<u64>>>("x").expect_err("another object"),
        manager.get::<Mutex<u64>>("x").expect_err("another object"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    }
}

/// The way in for roles; by itself it does nothing.
#[test]
fn broadcast_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "sender" => {
            let (manager, ready) = opened(&arguments);
            let sender: Sender<Numbered> = manager.get("ticks").expect("opened").expect("there");
            ready.set(0, 1);
            for number in 0.. {
                sender.send(numbered(1, number)).expect("open");
            }
        }
        "quiet" => {
            let (manager, ready) = opened(&arguments);
            let _sender: Sender<Numbered> = manager.get("ticks").expect("opened").expect("there");
            ready.set(0, 1);
            loop {
                std::thread::park();
            }
        }
        "receiver" => {
            let (manager, ready) = opened(&arguments);
            let mut receiver: Receiver<Numbered> = manager.get("ticks").expect("opened").expect("there");
            ready.set(0, 1);
            receiver.iter().for_each(|value| _ = number_of(&value.expect("whole")));
        }
        other => panic!("no role {other}"),
    }
}

fn opened(arguments: &Arguments) -> (Manager, Scratch) {
    let name: String = arguments.get(0).expect("a name");
    let ready = Scratch::from_fd(arguments.fd(1).expect("a descriptor")).expect("mapped");
    (Manager::open(&name).expect("opened"), ready)
}

fn start(role: &str, name: &str) -> Child {
    let ready = Scratch::new(1).expect("a memfd");
    let role = Role::new(role).through_test("broadcast_entry").arg(name).fd(&ready);
    let child = role.spawn().expect("started");
    while ready.get(0) == 0 {
        std::hint::black_box(());
    }
    child
}

#[test]
fn killed_senders_and_receivers_cost_nobody_anything() {
    let dog = Watchdog::new("killed_senders_and_receivers_cost_nobody_anything", LIMIT);
    let name = format!("broadcast-{}", std::process::id());
    let options = manager::Options::new().limit(1 << 20).participants(8).objects(8);
    let manager = Manager::open_or_create_with(&name, options).expect("a fresh name");
    let sender: Sender<Numbered> = Options::new().capacity(4).sender(&manager, "ticks").expect("made");
    let mut receiver: Receiver<Numbered> = manager.get("ticks").expect("opened").expect("there");
    let mut rng = Rng::new(11);
    for round in 0..20 {
        dog.waits_for(format!("the children of round {round}"));
        let mut children = [start("sender", &name), start("sender", &name), start("receiver", &name)];
        for _ in 0..rng.below(3_000) {
            number_of(&receiver.recv().expect("two of them send"));
        }
        dog.waits_for(format!("what comes after the kills of round {round}"));
        for child in &mut children {
            assert_eq!(child.kill().expect("killed"), Exit::KILLED);
        }
        // More than the ring, through whatever the dead left in it; a receiver waits for none of them.
        for number in 0..6 {
            sender.send(numbered(0, number)).expect("open");
        }
        loop {
            if number_of(&receiver.recv().expect("sent")) == (0, 5) {
                break;
            }
        }
    }
    Manager::unlink(&name).expect("ours");
}

/// Nobody is in the middle of anything, and nobody but the waiting receiver is left to notice.
#[test]
fn a_waiting_receiver_is_told_that_the_last_sender_died() {
    let dog = Watchdog::new("a_waiting_receiver_is_told_that_the_last_sender_died", LIMIT);
    let name = format!("broadcast-last-{}", std::process::id());
    let options = manager::Options::new().limit(1 << 20).participants(8).objects(8);
    let manager = Manager::open_or_create_with(&name, options).expect("a fresh name");
    let mut receiver: Receiver<Numbered> = Options::new().receiver(&manager, "ticks").expect("made");
    let mut child = start("quiet", &name);
    assert!(manager.remove("ticks").expect("no lock"));
    assert!(
        matches!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout)),
        "the child keeps it open"
    );
    assert_eq!(child.kill().expect("killed"), Exit::KILLED);
    dog.waits_for("the end");
    assert!(receiver.next().expect("whole").is_none());
    drop(receiver);
    assert_eq!(manager.size(), 0, "nothing is left of it");
    Manager::unlink(&name).expect("ours");
}
