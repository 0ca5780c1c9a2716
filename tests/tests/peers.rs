//! What one process learns of another through the facade: messages, an orderly end, a death, a stop, a fork.
//!
//! Children are this test binary again, in a role (the test `peer_entry`).

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use ginnel::error::{RecvError, SendError, TrySendError};
use ginnel::spsc::{self, Consumer, Producer};
use ginnel::sync::{Init, Mutex};
use ginnel::{ErrorKind, Manager, OwnerState, manager};
use ginnel_testkit::child::{self, Arguments, Child, Exit, Role, fork_child};
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::Signal;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(60);

/// The way in for roles; by itself it does nothing.
#[test]
fn peer_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "echo" => echo(&arguments),
        "sender" => sender(&arguments),
        "borrower" => borrower(&arguments),
        "locker" => locker(&arguments),
        "forked" => forked(),
        "socket" => socket(),
        other => panic!("no role {other}"),
    }
}

/// A named manager that is gone at the end of its test, and a word by which a child says that it is ready.
struct Place {
    name: String,
    manager: Manager,
    ready: Scratch,
    dog: Watchdog,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("peers-{}-{test}", std::process::id());
        let options = manager::Options::new().limit(1 << 20).participants(8).objects(8);
        let manager = Manager::open_or_create_with(&name, options).expect("a fresh name");
        Self { name, manager, ready: Scratch::new(1).expect("a memfd"), dog: Watchdog::new(test, LIMIT) }
    }

    /// Starts a role and waits until it says that it has what it wants.
    fn start(&self, role: &str) -> Child {
        let role = Role::new(role).through_test("peer_entry").arg(&self.name).fd(&self.ready);
        let mut child = role.spawn().expect("started");
        self.dog.waits_for("a child that gets ready");
        while self.ready.get(0) == 0 {
            let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
            assert_eq!(ended, None, "the child ended before it was ready");
        }
        self.ready.set(0, 0);
        child
    }

    fn producer(&self, name: &str) -> ginnel::Result<Producer<u64>> {
        spsc::producer(&self.manager, name)
    }

    fn consumer(&self, name: &str) -> ginnel::Result<Consumer<u64>> {
        spsc::consumer(&self.manager, name)
    }
}

/// The child's side of a [`Place`].
fn opened(arguments: &Arguments) -> (Manager, Scratch) {
    let name: String = arguments.get(0).expect("a name");
    let ready = Scratch::from_fd(arguments.fd(1).expect("a descriptor")).expect("mapped");
    (Manager::open(&name).expect("the parent made it"), ready)
}

/// What a child does that only has to hold something: nothing, until it is killed.
fn hold_on() -> ! {
    loop {
        thread::park();
    }
}

/// Gives back what it gets, plus one, until the other end is closed.
fn echo(arguments: &Arguments) {
    let (manager, ready) = opened(arguments);
    let mut from: Consumer<u64> = spsc::consumer(&manager, "there").expect("free");
    let mut back: Producer<u64> = spsc::producer(&manager, "back").expect("free");
    ready.set(0, 1);
    while let Some(number) = from.next().expect("the parent lives") {
        back.send(*number + 1).expect("the parent lives");
    }
}

/// Sends three messages and keeps its end.
fn sender(arguments: &Arguments) {
    let (manager, ready) = opened(arguments);
    let mut lane: Producer<u64> = spsc::producer(&manager, "lane").expect("free");
    lane.send_many(&[1, 2, 3]).expect("there is room");
    ready.set(0, 1);
    hold_on();
}

/// Takes one message by copy and keeps the next on loan.
fn borrower(arguments: &Arguments) {
    let (manager, ready) = opened(arguments);
    let mut lane: Consumer<u64> = spsc::consumer(&manager, "lane").expect("free");
    lane.recv().expect("there are messages");
    let loan = lane.loan().expect("there are messages");
    ready.set(0, *loan);
    hold_on();
}

/// Changes one half of the data behind a mutex and keeps the lock.
fn locker(arguments: &Arguments) {
    let (manager, ready) = opened(arguments);
    let mutex: Mutex<[u64; 2]> = manager.get_or_create("mutex").expect("there is room");
    let mut pair = mutex.lock().expect("free");
    pair[0] = 1;
    ready.set(0, 1);
    hold_on();
}

#[test]
fn messages_go_there_and_back_until_the_end_is_closed() {
    let place = Place::new("echo");
    let mut there = place.producer("there").expect("free");
    let mut back = place.consumer("back").expect("free");
    let mut child = place.start("echo");
    place.dog.waits_for("echoes");
    for number in 0..1000 {
        there.send(number).expect("the child lives");
        assert_eq!(back.recv().expect("the child lives"), number + 1);
    }
    there.close();
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    assert!(matches!(back.recv(), Err(RecvError::Closed)), "an orderly end is no accident");
}

#[test]
fn an_end_is_taken_while_its_holder_lives_and_free_once_it_is_dead() {
    let place = Place::new("taken");
    let mut child = place.start("sender");
    let taken = place.producer("lane").expect_err("the child has it");
    assert!(taken.is_taken(), "{taken}");
    assert_eq!(taken.owner().map(|owner| owner.pid), Some(child.pid().as_raw() as u32), "{taken}");
    let mut consumer = place.consumer("lane").expect("free");
    assert_eq!(child.kill().expect("killed"), Exit::KILLED);
    let got: Vec<u64> = (0..3).map(|_| consumer.recv().expect("it was committed")).collect();
    assert_eq!(got, [1, 2, 3]);
    match consumer.recv() {
        Err(RecvError::Failed(error)) if error.is_peer_dead() => {}
        other => panic!("{other:?}"),
    }
    let mut successor = place.producer("lane").expect("the holder is dead");
    successor.send(4).expect("the consumer lives");
    assert_eq!(consumer.recv().expect("sent"), 4);
}

#[test]
fn what_a_dead_consumer_had_on_loan_comes_again_and_is_flagged() {
    let place = Place::new("loan");
    let mut producer = place.producer("lane").expect("free");
    for number in [7, 8, 9] {
        producer.send(number).expect("there is room");
    }
    drop(place.start("borrower"));
    let mut consumer = place.consumer("lane").expect("the holder is dead");
    let got: Vec<(u64, bool)> = (0..3)
        .map_while(|_| consumer.try_recv().ok().map(|number| (number, consumer.redelivered())))
        .collect();
    assert_eq!(got, [(8, true), (9, false)], "7 was acknowledged");
}

#[test]
fn who_waits_for_a_message_is_told_of_the_death() {
    let place = Place::new("waits");
    let mut child = place.start("sender");
    let mut consumer = place.consumer("lane").expect("free");
    for number in 1..=3 {
        assert_eq!(consumer.recv().expect("it was committed"), number);
    }
    let waiter = thread::spawn(move || consumer.recv());
    child.kill().expect("killed");
    place.dog.waits_for("the receiver that is told");
    match waiter.join().expect("no panic") {
        Err(RecvError::Failed(error)) => assert!(error.is_peer_dead(), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_waits_for_room_is_told_of_the_death() {
    let place = Place::new("room");
    let mut producer = place.producer("lane").expect("free");
    for number in [1, 2] {
        producer.send(number).expect("there is room");
    }
    let mut child = place.start("borrower");
    while producer.try_send(0).is_ok() {}
    let waiter = thread::spawn(move || producer.send(0));
    child.kill().expect("killed");
    place.dog.waits_for("the sender that is told");
    match waiter.join().expect("no panic") {
        Err(SendError::Failed(0, error)) => assert!(error.is_peer_dead(), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mutex_says_that_its_holder_died_until_it_is_repaired() {
    let place = Place::new("mutex");
    let mutex: Mutex<[u64; 2]> = place.manager.get_or_create_with("mutex", Init(Some([0, 0]))).expect("room");
    let mut child = place.start("locker");
    assert!(mutex.try_lock().expect("the holder lives").is_none());
    let waiter = {
        let mutex = mutex.clone();
        thread::spawn(move || mutex.lock().map(|pair| *pair))
    };
    child.kill().expect("killed");
    place.dog.waits_for("the waiter that is told");
    let told = waiter.join().expect("no panic").expect_err("the data are half changed");
    assert!(told.is_owner_died(), "{told}");
    assert!(mutex.lock().expect_err("nobody has repaired them").is_owner_died());
    assert_eq!(*mutex.lock_or_repair(|pair| pair[1] = pair[0]).expect("repaired"), [1, 1]);
    assert_eq!(*mutex.lock().expect("whole again"), [1, 1]);
}

#[test]
fn a_stopped_holder_is_a_timeout_that_names_it_and_keeps_its_lock() {
    let place = Place::new("stopped");
    let child = place.start("locker");
    let mutex: Mutex<[u64; 2]> = place.manager.get_or_create("mutex").expect("the child made it");
    child.signal(Signal::SIGSTOP).expect("stopped");
    // Longer than several slices, at each of which the owner is looked at.
    let late = mutex.lock_timeout(Duration::from_millis(200)).expect_err("nothing is taken from the living");
    assert!(late.is_timeout(), "{late}");
    let owner = late.owner().expect("somebody holds it");
    assert_eq!((owner.pid, owner.state), (child.pid().as_raw() as u32, OwnerState::Stopped), "{late}");
    assert_eq!(place.manager.recover().expect("looked"), 0);
    child.signal(Signal::SIGCONT).expect("it goes on");
}

#[test]
fn a_name_that_its_last_holder_died_with_is_found_again_or_collected() {
    let place = Place::new("stale");
    let name = place.name.clone();
    place.manager.get_or_create_with::<Mutex<u64>>("kept", Init(Some(5))).expect("there is room");
    let mut child = place.start("sender");
    drop(place);
    child.kill().expect("killed");
    let again = Manager::open(&name).expect("the dead one left it");
    let kept: Mutex<u64> = again.get("kept").expect("looked up").expect("it has a name");
    assert_eq!(*kept.lock().expect("free"), 5);
    drop((kept, again));
    let mut left = Snapshot::default();
    left.add_names(&name).expect("read");
    assert_eq!(
        left.leaked_since(&Snapshot::default()),
        Vec::<String>::new(),
        "the last one removes the name"
    );
    assert!(Manager::open(&name).expect_err("it is gone").is_not_found());
}

fn alone(role: &str) {
    let _dog = Watchdog::new(role, LIMIT);
    Role::new(role).through_test("peer_entry").play();
}

#[test]
fn what_a_forked_child_inherited_is_of_no_use_and_the_parent_keeps_its_own() {
    alone("forked");
}

fn forked() {
    let manager = Manager::new(1 << 20).expect("a segment");
    let producer: Producer<u64> = spsc::producer(&manager, "lane").expect("free");
    let consumer: Consumer<u64> = spsc::consumer(&manager, "lane").expect("free");
    let mutex: Mutex<u64> = manager.get_or_create("mutex").expect("there is room");
    let mut ends = Some((producer, consumer));
    let held = mutex.lock().expect("free");
    let mut child = fork_child(|| {
        let is_forked = |error: &ginnel::Error| error.kind() == ErrorKind::Forked;
        let (mut producer, mut consumer) = ends.take().expect("inherited");
        assert!(matches!(producer.try_send(2), Err(TrySendError::Failed(2, error)) if is_forked(&error)));
        assert!(matches!(consumer.recv(), Err(RecvError::Failed(error)) if is_forked(&error)));
        assert!(is_forked(&mutex.try_lock().expect_err("not ours")));
        assert!(is_forked(&manager.recover().expect_err("not ours")));
        // Dropping what it inherited harms nobody, and what it makes for itself is of use.
        drop((producer, consumer));
        let own =
            Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("duplicated")).expect("attached");
        let taken = spsc::producer::<u64>(&own, "lane").expect_err("the parent has it");
        assert!(taken.is_taken(), "{taken}");
    })
    .expect("forked");
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    let (mut producer, mut consumer) = ends.expect("the child took its own copy");
    producer.send(3).expect("ours");
    assert_eq!(consumer.recv().expect("ours"), 3);
    drop(held);
    assert!(mutex.try_lock().expect("ours").is_some());
    assert_eq!(manager.inspect().participants.len(), 1);
}

#[test]
fn a_manager_crosses_a_socket() {
    alone("socket");
}

fn socket() {
    let (here, there) = UnixStream::pair().expect("a pair");
    let manager = Manager::new(1 << 20).expect("a segment");
    let mut child = fork_child(|| {
        let manager = Manager::receive(&there).expect("it was sent");
        let mut producer: Producer<u64> = spsc::producer(&manager, "lane").expect("free");
        producer.send(5).expect("there is room");
    })
    .expect("forked");
    manager.send_over(&here).expect("sent");
    let mut consumer: Consumer<u64> = spsc::consumer(&manager, "lane").expect("free");
    assert_eq!(consumer.recv().expect("the child sends"), 5);
    assert!(matches!(consumer.recv(), Err(RecvError::Closed)));
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
}
