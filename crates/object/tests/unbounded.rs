//! Queues whose memory comes and goes: what they hold, what they give back, and what a kill in the middle leaves.
//!
//! Children are this test binary again, in a role (the test `unbounded_entry`).

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use ginnel_object::blocks::{self, Block, Blocks};
use ginnel_object::error::{RecvError, RecvTimeoutError, TryRecvError, TrySendError};
use ginnel_object::manager::{self, Manager};
use ginnel_object::queue::{OnConsumerDeath, Options};
use ginnel_object::{ErrorKind, Queue, Raw};
use ginnel_testkit::child::{self, Arguments, Child, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);
const KILLS: u64 = 24;
/// Slots of 64 bytes in chunks of 64, the smallest there are: a chunk is a page.
const SMALL: usize = 256;

type Numbers = Queue<Raw<u64>>;

fn place(limit: usize) -> Manager {
    let options = manager::Options::new().limit(limit).objects(32).participants(6);
    Manager::with(options).expect("a small manager")
}

fn small() -> Manager {
    place(16 << 20)
}

/// Bytes of memory that the manager really takes.
fn memory(manager: &Manager) -> u64 {
    let file = File::from(manager.as_fd().try_clone_to_owned().expect("a descriptor"));
    512 * file.metadata().expect("of a memfd").blocks()
}

fn send(numbers: &Numbers, number: u64) {
    numbers.send(Raw(number)).expect("room");
}

fn recv(numbers: &Numbers) -> u64 {
    numbers.recv().expect("there").0
}

#[test]
fn many_messages_wait_for_their_receiver_and_leave_nothing() {
    let _dog = Watchdog::new("many", LIMIT);
    let manager = place(512 << 20);
    let numbers: Numbers = manager.create_with(Options::unbounded()).expect("room");
    assert_eq!(numbers.capacity(), 1 << 20);
    let before = memory(&manager);
    assert!(before < 4 << 20, "{before} bytes for no message");
    for number in 0..300_000 {
        send(&numbers, number);
    }
    assert_eq!(numbers.len(), 300_000);
    assert!(memory(&manager) - before >= 300_000 * 64);
    for number in 0..300_000 {
        assert_eq!(recv(&numbers), number);
    }
    assert!(numbers.is_empty());
    let after = memory(&manager);
    assert!(after <= before + (1 << 20), "{before} bytes before, {after} after");
    drop(numbers);
    assert_eq!(manager.size(), 0);
}

#[test]
fn laps_keep_the_order_and_little_memory() {
    let _dog = Watchdog::new("laps", LIMIT);
    let manager = small();
    let numbers: Numbers = manager.create_with(Options::unbounded().limit(SMALL)).expect("room");
    assert_eq!(numbers.capacity(), SMALL);
    let before = memory(&manager);
    let (mut sent, mut received) = (0, 0);
    for burst in (0..400_u64).map(|round| round * 37 % 257) {
        for _ in 0..burst {
            send(&numbers, sent);
            sent += 1;
        }
        for _ in 0..burst {
            assert_eq!(recv(&numbers), received);
            received += 1;
        }
        assert!(memory(&manager) <= before + 2 * 4096);
        assert!(matches!(numbers.try_recv(), Err(TryRecvError::Empty)));
    }
}

#[test]
fn full_waits_and_closed_ends() {
    let _dog = Watchdog::new("full", LIMIT);
    let manager = small();
    let numbers: Numbers = manager.create_with(Options::unbounded().limit(1)).expect("room");
    assert_eq!(numbers.capacity(), SMALL);
    let short = Duration::from_millis(2);
    assert!(matches!(numbers.recv_timeout(short), Err(RecvTimeoutError::Timeout)));
    for number in 0..256 {
        numbers.try_send(Raw(number)).expect("room");
    }
    assert!(matches!(numbers.try_send(Raw(0)), Err(TrySendError::Full(Raw(0)))));
    assert!(numbers.send_timeout(Raw(0), short).is_err() && numbers.is_full());
    for number in 0..256 {
        assert_eq!(recv(&numbers), number);
    }
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| numbers.recv());
        while numbers.stats().waiting_to_receive == 0 {
            std::thread::park_timeout(Duration::from_micros(50));
        }
        numbers.close();
        assert!(matches!(waits.join().expect("no panic"), Err(RecvError::Closed)));
    });
    assert!(matches!(numbers.try_recv(), Err(TryRecvError::Closed)));
    assert!(numbers.try_send(Raw(0)).is_err());
}

#[test]
fn a_queue_takes_a_quarter_of_the_manager_or_what_it_is_told() {
    let manager = place(64 << 20);
    let quarter: Numbers = manager.create_with(Options::unbounded()).expect("room");
    assert_eq!(quarter.capacity(), 1 << 17, "8 MiB, as 16 and something is more than a quarter");
    let told: Numbers = manager.create_with(Options::unbounded().limit(1 << 18)).expect("room");
    assert_eq!(told.capacity(), 1 << 18);
    let size = manager.size();
    assert!(size > 24 << 20, "reserved");
    let more = manager.create_with::<Numbers>(Options::unbounded().limit(1 << 20)).expect_err("no room");
    assert_eq!((more.kind(), manager.size()), (ErrorKind::Full, size));
    let none = manager.create_with::<Numbers>(Options::unbounded().limit(0)).expect_err("useless");
    assert_eq!(none.kind(), ErrorKind::Invalid);
}

#[test]
fn leases_and_what_messages_carry_work_across_chunks() {
    let _dog = Watchdog::new("carried", LIMIT);
    let manager = small();
    let pool: Blocks = manager.create_with(blocks::Options::new(4, 64)).expect("room");
    let options = Options::unbounded().limit(SMALL).inline_size(48);
    let queue: Queue<(u64, Block, String)> = manager.create_with(options).expect("room");
    let before = memory(&manager);
    for number in 0..1000_u64 {
        let mut block = pool.try_claim().expect("asked").expect("free");
        block.fill(number as u8);
        let text = "x".repeat(number as usize % 100);
        queue.send((number, block.freeze(), text)).expect("room");
        if number % 3 == 0 {
            queue.lease().expect("there").nack();
        }
        let (got, block, text) = queue.lease().expect("there").ack().expect("ours");
        assert_eq!((got, block[63], text.len()), (number, number as u8, number as usize % 100));
    }
    assert!(queue.wait_done_timeout(Duration::ZERO).expect("not forked"));
    assert!(memory(&manager) <= before + 3 * 4096);
    queue.send((0, pool.claim().expect("free").freeze(), String::new())).expect("room");
    drop(queue);
    assert_eq!(pool.free(), 4, "what it held is gone with it");
}

/// The way in for roles; by itself it does nothing.
#[test]
fn unbounded_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    let numbers: Numbers = manager.get("numbers").expect("found").expect("there");
    match name.as_str() {
        "sends" => sends(&numbers, &arguments),
        "churns" => churns(&numbers),
        other => panic!("no role {other}"),
    }
}

/// Sends until it is killed, as fast as there is room.
fn sends(numbers: &Numbers, arguments: &Arguments) {
    let round: u64 = arguments.get(1).expect("a number");
    for number in 0.. {
        send(numbers, round << 32 | number);
    }
}

/// Sends and receives until it is killed: opens and punches.
fn churns(numbers: &Numbers) {
    let mut rng = Rng::new(7);
    loop {
        let burst = rng.below(100);
        (0..burst).for_each(|number| send(numbers, number));
        (0..burst).for_each(|_| drop(numbers.try_recv()));
    }
}

fn numbers_with(manager: &Manager) -> Numbers {
    let options = Options::unbounded().limit(SMALL).on_consumer_death(OnConsumerDeath::Redeliver);
    manager.get_or_create_with("numbers", options).expect("made")
}

fn start(manager: &Manager, role: &str, round: u64) -> Child {
    Role::new(role).through_test("unbounded_entry").fd(manager).arg(round).spawn().expect("started")
}

#[test]
fn a_killed_sender_leaves_no_gap_and_no_hole() {
    let _dog = Watchdog::new("killed senders", LIMIT);
    let manager = small();
    let numbers = numbers_with(&manager);
    let before = memory(&manager);
    let mut rng = Rng::new(1);
    for round in 0..KILLS {
        let mut child = start(&manager, "sends", round);
        let most = rng.below(3000) + 1;
        (0..most).for_each(|number| assert_eq!(recv(&numbers), round << 32 | number));
        child.kill().expect("killed");
        assert_eq!(manager.recover().expect("not forked"), 1);
        for (number, got) in (most..).zip(numbers.drain()) {
            assert_eq!(got.expect("whole").0, round << 32 | number);
        }
    }
    all_chunks_work(&manager, &numbers, before);
}

#[test]
fn one_who_is_killed_while_it_opens_or_punches_leaves_a_queue_that_works() {
    let _dog = Watchdog::new("killed churners", LIMIT);
    let manager = small();
    let numbers = numbers_with(&manager);
    let before = memory(&manager);
    let mut rng = Rng::new(2);
    for round in 0..KILLS {
        let mut child = start(&manager, "churns", round);
        // The first message of the child says that it is there.
        recv(&numbers);
        for _ in 0..rng.below(3000) {
            let _ = numbers.try_send(Raw(0));
            let _ = numbers.try_recv();
        }
        child.kill().expect("killed");
        // No call of `recover`: who is held up finds out.
        let drained = std::iter::from_fn(|| numbers.recv_timeout(Duration::from_millis(50)).ok()).count();
        assert!(drained <= SMALL + 1, "{drained} messages");
    }
    manager.recover().expect("not forked");
    all_chunks_work(&manager, &numbers, before);
}

/// Two laps over all of it; then it takes no more memory than in the beginning.
fn all_chunks_work(manager: &Manager, numbers: &Numbers, before: u64) {
    assert!(numbers.is_empty() && numbers.stats().owners.is_empty());
    for lap in 0..3 {
        (0..SMALL as u64).for_each(|number| send(numbers, lap << 32 | number));
        (0..SMALL as u64).for_each(|number| assert_eq!(recv(numbers), lap << 32 | number));
    }
    let after = memory(manager);
    assert!(after <= before + 2 * 4096, "{before} bytes before, {after} after");
}
