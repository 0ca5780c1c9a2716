//! The record of a process, and what it leaves, whoever is killed when.
//!
//! Children are this test binary again, in a role (the test `record_entry`). A child without a process is a second
//! participant in this one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Barrier;
use std::time::Duration;

use ginnel_object::blocks::{self, Block, Blocks};
use ginnel_object::bridge::{self, BootTicket, Head, Ready, Record, Sealed, St};
use ginnel_object::manager::{self, Manager};
use ginnel_object::ready::Source;
use ginnel_object::select::Select;
use ginnel_object::{ErrorKind, Message, Mutex, Result, Shared};
use ginnel_testkit::child::{self, Child, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(60);

const HEAD: Head = Head { thunk: 0x1234_5678_9abc, image: u64::MAX };

/// What goes there and back.
#[derive(Debug, Serialize, Deserialize)]
struct Load {
    count: Mutex<u64>,
    primes: Shared<[u32]>,
    block: Block,
    text: String,
}

fn seal<T: Message>(manager: &Manager, value: &T) -> Sealed {
    let sealed = bridge::seal(manager, |out| value.put(out));
    sealed.expect("sealed")
}

fn dup(manager: &Manager) -> OwnedFd {
    manager.as_fd().try_clone_to_owned().expect("dup")
}

/// The way in for roles; by itself it does nothing.
#[test]
fn record_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let fd = arguments.fd(0).expect("a manager");
    let words = Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped");
    match name.as_str() {
        "child" => run_child(fd, &words),
        "starter" => run_starter(&Manager::from_fd(fd).expect("attached"), &words),
        "adopter" => run_adopter(fd, &words),
        other => panic!("no role {other}"),
    }
}

/// The words: ready, the two of the ticket, how far to go.
const READY: usize = 0;
const TICKET: usize = 1;
const GENERATION: usize = 2;
const HOW_FAR: usize = 3;

fn ticket_in(words: &Scratch) -> BootTicket {
    BootTicket { ticket: words.get(TICKET) as u32, generation: words.get(GENERATION) as u32 }
}

/// How far a child goes before it is killed.
const STAGES: [&str; 7] = ["attached", "redeemed", "started", "decoding", "running", "sealed", "returned"];

/// Says that it is ready, and waits for its end.
fn ready_to_die(words: &Scratch) -> ! {
    words.set(READY, 1);
    loop {
        std::thread::park();
    }
}

fn run_child(fd: OwnedFd, words: &Scratch) {
    let here = |stage: &str| {
        if STAGES.get(words.get(HOW_FAR) as usize) == Some(&stage) {
            ready_to_die(words);
        }
    };
    bridge::adopt_current(fd, "Process-1").expect("attached");
    let manager = Manager::current().expect("adopted");
    here("attached");
    let record = Record::redeem(manager, ticket_in(words)).expect("there");
    here("redeemed");
    assert!(record.start(std::process::id()));
    here("started");
    let load = record.take_args(|bytes| {
        here("decoding");
        Load::from_bytes(bytes)
    });
    let load = load.expect("decoded");
    *load.count.lock().expect("free") += 1;
    here("running");
    let result = seal(manager, &load);
    here("sealed");
    record.put_result(St::Returned, result).expect("first");
    drop(load);
    here("returned");
}

fn run_starter(manager: &Manager, words: &Scratch) {
    let pool: Blocks = manager.get("pool").expect("found").expect("there");
    let load = load(manager, &pool, 5000);
    let record = Record::make(manager, HEAD, b"boot", seal(manager, &load)).expect("made");
    drop(load);
    let ticket = record.ticket().expect("free");
    words.set(TICKET, u64::from(ticket.ticket));
    words.set(GENERATION, u64::from(ticket.generation));
    ready_to_die(words)
}

fn run_adopter(fd: OwnedFd, words: &Scratch) {
    let again = fd.try_clone().expect("dup");
    bridge::adopt_current(fd, "Process-1").expect("none before");
    let current = Manager::current().expect("adopted");
    assert!(current.inspect().participants.iter().any(|who| who.name == "Process-1"));
    let twice = bridge::adopt_current(again, "Process-2").expect_err("there is one");
    assert_eq!(twice.kind(), ErrorKind::Invalid);
    // Made without saying where.
    let _shared = Shared::new(7_u64).expect("room");
    words.set(READY, current.size() as u64);
}

struct Place {
    manager: Manager,
    pool: Blocks,
    empty: usize,
    words: Scratch,
    dog: Watchdog,
}

impl Place {
    fn new(test: &str) -> Self {
        let options = manager::Options::new().limit(16 << 20).objects(32).participants(6);
        let manager = Manager::with(options).expect("a small manager");
        let pool = manager.get_or_create_with("pool", blocks::Options::new(3, 64)).expect("made");
        let (empty, words) = (manager.size(), Scratch::new(4).expect("a memfd"));
        Self { manager, pool, empty, words, dog: Watchdog::new(test, LIMIT) }
    }

    /// Another participant, in this process.
    fn other(&self) -> Manager {
        Manager::from_fd(dup(&self.manager)).expect("attached")
    }

    fn load(&self, text: usize) -> Load {
        load(&self.manager, &self.pool, text)
    }

    fn record(&self, text: usize) -> Record {
        let load = self.load(text);
        Record::make(&self.manager, HEAD, b"boot", seal(&self.manager, &load)).expect("made")
    }

    fn role(&self, role: &str) -> Child {
        let role = Role::new(role).through_test("record_entry").fd(&self.manager).fd(&self.words);
        role.spawn().expect("started")
    }

    /// Starts a role and waits until it is ready.
    fn start(&self, role: &str) -> Child {
        self.words.set(READY, 0);
        let mut child = self.role(role);
        self.dog.waits_for("a child that gets ready");
        while self.words.get(READY) == 0 {
            let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
            assert_eq!(ended, None, "the child ended before it was ready");
        }
        child
    }

    /// Tells the words of a ticket.
    fn tell(&self, ticket: BootTicket) {
        self.words.set(TICKET, u64::from(ticket.ticket));
        self.words.set(GENERATION, u64::from(ticket.generation));
    }

    /// Nothing is left of what was made.
    fn assert_empty(&self, when: &str) {
        let objects = self.manager.inspect().objects;
        assert_eq!((self.manager.size(), self.pool.free()), (self.empty, 3), "{when}: {objects:?}");
    }
}

fn load(manager: &Manager, pool: &Blocks, text: usize) -> Load {
    let mut block = pool.try_claim().expect("asked").expect("free");
    block.fill(7);
    let count = manager.create_with::<Mutex<u64>>(ginnel_object::mutex::Init(Some(41))).expect("room");
    let primes = manager.create_with(ginnel_object::shared::Init::slice(&[2_u32, 3, 5])).expect("room");
    Load { count, primes, block: block.freeze(), text: "x".repeat(text) }
}

fn assert_load(load: &Load, count: u64, text: usize) {
    let found = *load.count.lock().expect("free");
    assert_eq!((found, &load.primes[..], load.block[63], load.text.len()), (count, &[2, 3, 5][..], 7, text));
}

#[test]
fn holds_are_for_all_threads() {
    fn is<T: Send + Sync>() {}
    is::<Record>();
    fn goes<T: Send>() {}
    goes::<Sealed>();
}

#[test]
fn arguments_go_there_and_the_result_comes_back() {
    let place = Place::new("there and back");
    let there = place.other();
    // Short ones lie in the drawers, long ones in objects of their own.
    for text in [0, 10, 1400, 1520, 100_000] {
        let record = place.record(text);
        let ticket = record.ticket().expect("free");
        assert_eq!((record.step().st, record.pid()), (St::Requested, None));
        let child = Record::redeem(&there, ticket).expect("there");
        assert_eq!((child.head(), &child.boot()[..]), (HEAD, &b"boot"[..]));
        assert_eq!(child.starter_pid(), std::process::id());
        assert!(Record::redeem(&there, ticket).is_err(), "a ticket is for one");
        assert!(child.start(4711) && !child.start(4712) && !record.cancel());
        assert_eq!(record.step().participant, Some(bridge::me(&there)));
        assert_eq!(record.pid(), Some(4712));
        let load = child.take_args(Load::from_bytes).expect("decoded");
        assert_load(&load, 41, text);
        assert_eq!(record.step().st, St::Running);
        assert_eq!(child.take_args(|_| Ok(())).expect_err("once").kind(), ErrorKind::Invalid);
        assert!(record.take_result(|_, _| ()).is_none(), "there is none yet");
        *load.count.lock().expect("free") += 1;
        child.put_result(St::Returned, seal(&there, &load)).expect("first");
        let again = child.put_result(St::Panicked, seal(&there, &1_u8)).expect_err("once");
        assert_eq!(again.kind(), ErrorKind::Invalid);
        drop((load, child));
        record.settle(ticket);
        let back = record.take_result(|st, bytes| (st, Load::from_bytes(bytes)));
        let (st, back) = back.expect("it was committed");
        assert_eq!(st, St::Returned);
        assert_load(&back.expect("decoded"), 42, text);
        assert!(record.take_result(|_, _| ()).is_none(), "once");
        record.settle(ticket);
        drop(record);
        place.assert_empty(&format!("{text} bytes"));
    }
}

#[test]
fn several_values_are_one_message() {
    let place = Place::new("several");
    let there = place.other();
    let (one, two) = (place.load(3), place.load(4));
    let sealed = bridge::seal(&place.manager, |out| {
        one.put(out)?;
        two.put(out)
    });
    let record = Record::make(&place.manager, HEAD, &[], sealed.expect("sealed")).expect("made");
    drop((one, two));
    let child = Record::redeem(&there, record.ticket().expect("free")).expect("there");
    assert!(child.start(1));
    let loads = child.take_args(|mut bytes| {
        let loads = [Load::take(&mut bytes)?, Load::take(&mut bytes)?];
        assert_eq!(bytes, b"");
        Ok(loads)
    });
    let loads = loads.expect("decoded");
    assert_load(&loads[0], 41, 3);
    assert_load(&loads[1], 41, 4);
    drop((loads, child, record));
    place.assert_empty("after");
}

#[test]
fn what_is_sealed_and_not_used_stays() {
    let place = Place::new("unused");
    let load = place.load(5000);
    drop(seal(&place.manager, &load));
    let refused = bridge::seal(&place.manager, |out| {
        load.put(out)?;
        u8::from_bytes(&[]).map(drop)
    });
    assert_eq!(refused.expect_err("it was").kind(), ErrorKind::Decode);
    let large = Record::make(&place.manager, HEAD, &[0; 881], seal(&place.manager, &load));
    assert_eq!(large.expect_err("too large").kind(), ErrorKind::TooLarge);
    let elsewhere = Place::new("elsewhere");
    let foreign = Record::make(&elsewhere.manager, HEAD, &[], seal(&place.manager, &load));
    assert_eq!(foreign.expect_err("of another arena").kind(), ErrorKind::Invalid);
    assert_load(&load, 41, 5000);
    drop(load);
    place.assert_empty("after");
    elsewhere.assert_empty("after");
}

#[test]
fn more_starts_than_tickets() {
    let place = Place::new("many");
    let there = place.other();
    for round in 0..1500 {
        let record = place.record(0);
        let ticket = record.ticket().expect("no ticket is lost");
        match round % 3 {
            0 => assert!(Record::discard_ticket(&place.manager, ticket) && record.cancel()),
            1 => drop(Record::redeem(&there, ticket).expect("there")),
            _ => {}
        }
        record.settle(ticket);
        assert_eq!(record.step().st, St::Cancelled);
        assert!(!Record::discard_ticket(&place.manager, ticket));
    }
    place.assert_empty("after");
}

#[test]
fn a_ticket_that_comes_too_late_fits_nobody() {
    let place = Place::new("late");
    let there = place.other();
    let old = place.record(0);
    let late = old.ticket().expect("free");
    assert!(Record::discard_ticket(&place.manager, late));
    drop(old);
    let others: Vec<Record> = (0..3).map(|_| place.record(0)).collect();
    for other in &others[..2] {
        let ticket = other.ticket().expect("free");
        assert_eq!(Record::redeem(&there, late).expect_err("gone").kind(), ErrorKind::NotFound);
        assert!(!Record::discard_ticket(&place.manager, late));
        assert!(Record::discard_ticket(&place.manager, ticket));
    }
    drop(others);
    place.assert_empty("after");
}

#[test]
fn of_a_start_and_its_cancellation_one_wins() {
    let place = Place::new("one wins");
    let there = place.other();
    let (mut started, mut cancelled) = (0, 0);
    let meet = Barrier::new(2);
    for _ in 0..500 {
        let record = place.record(0);
        let ticket = record.ticket().expect("free");
        let child = Record::redeem(&there, ticket).expect("there");
        let (start, cancel) = std::thread::scope(|scope| {
            let starting = scope.spawn(|| {
                meet.wait();
                child.start(1)
            });
            meet.wait();
            let cancel = record.cancel();
            (starting.join().expect("no panic"), cancel)
        });
        assert_ne!(start, cancel);
        assert_eq!(child.take_args(Load::from_bytes).is_ok(), start);
        if start {
            started += 1
        } else {
            cancelled += 1
        }
        drop(child);
        record.settle(ticket);
    }
    assert_eq!(started + cancelled, 500);
    place.assert_empty("after");
}

#[test]
fn a_child_killed_at_any_step_leaves_a_result_or_nothing() {
    let place = Place::new("killed children");
    for (how_far, stage) in STAGES.iter().enumerate() {
        for text in [0, 3000] {
            let record = place.record(text);
            let ticket = record.ticket().expect("free");
            place.tell(ticket);
            place.words.set(HOW_FAR, how_far as u64);
            let mut child = place.start("child");
            let pid = (how_far >= 2).then(|| child.pid().as_raw() as u32);
            child.kill().expect("killed");
            assert_eq!(record.pid(), pid, "{stage}");
            record.settle(ticket);
            let step = record.step();
            let back = record.take_result(|st, bytes| (st, Load::from_bytes(bytes)));
            match (*stage, back) {
                ("returned", Some((St::Returned, back))) => assert_load(&back.expect("decoded"), 42, text),
                ("returned", other) => panic!("no result: {other:?}"),
                (_, back) => assert!(back.is_none(), "{stage}"),
            }
            match step.participant {
                // Taken back already, or only the dead one's handles are left.
                Some(dead) => assert!(bridge::recover(&place.manager, dead), "{stage}"),
                None => assert_eq!(step.st, St::Cancelled, "{stage}"),
            }
            place.manager.recover().expect("not forked");
            drop(record);
            place.assert_empty(&format!("{stage}, {text}"));
        }
    }
}

#[test]
fn recovery_before_settling_leaves_the_arguments_to_the_starter() {
    let place = Place::new("recovered first");
    for (how_far, stage) in STAGES.iter().enumerate() {
        let record = place.record(2000);
        let ticket = record.ticket().expect("free");
        place.tell(ticket);
        place.words.set(HOW_FAR, how_far as u64);
        place.start("child").kill().expect("killed");
        assert_eq!(place.manager.recover().expect("not forked"), 1);
        record.settle(ticket);
        drop(record);
        place.assert_empty(stage);
    }
}

#[test]
fn a_starter_killed_before_its_child_came_leaves_nothing() {
    let place = Place::new("killed starter");
    let mut starter = place.start("starter");
    let ticket = ticket_in(&place.words);
    assert_eq!(place.pool.free(), 2, "its block is on its way");
    starter.kill().expect("killed");
    assert_eq!(place.manager.recover().expect("not forked"), 1);
    let late = Record::redeem(&place.manager, ticket).expect_err("gone");
    assert_eq!(late.kind(), ErrorKind::NotFound);
    place.assert_empty("after");
}

#[test]
fn a_child_outlives_its_starter() {
    let place = Place::new("orphan");
    for returns in [false, true] {
        let mut starter = place.start("starter");
        let child = Record::redeem(&place.manager, ticket_in(&place.words)).expect("there");
        starter.kill().expect("killed");
        assert_eq!(place.manager.recover().expect("not forked"), 1);
        assert!(child.start(1));
        if returns {
            let load = child.take_args(Load::from_bytes).expect("they are in flight still");
            assert_load(&load, 41, 5000);
            child.put_result(St::Returned, seal(&place.manager, &load)).expect("first");
        }
        // The last one out takes along what nobody took.
        drop(child);
        place.assert_empty("after");
    }
}

#[test]
fn a_child_adopts_the_arena_of_its_starter() {
    let place = Place::new("adopted");
    let mut child = place.role("adopter");
    place.dog.waits_for("a child that ends by itself");
    assert_eq!(child.wait().expect("waited"), child::Exit::Code(0));
    assert!(place.words.get(READY) > place.empty as u64, "it made an object here");
    place.manager.recover().expect("not forked");
    place.assert_empty("after");
}

#[test]
fn who_has_a_manager_adopts_no_other() {
    let place = Place::new("two");
    Manager::current().expect("made");
    let refused = bridge::adopt_current(dup(&place.manager), "Process-1").expect_err("there is one");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(place.manager.inspect().participants.len(), 1);
}

/// What the crate `process` does with its handle.
struct Ended(OwnedFd);

impl Ready for Ended {
    fn source(&self) -> Result<Source<'_>> {
        Ok(bridge::readable(self.fd()))
    }
}

impl Ended {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[test]
fn a_handle_of_another_crate_can_be_waited_for() {
    let (end, other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let ended = Ended(end.into());
    let select = Select::new().on(&ended, "ended");
    assert_eq!(select.try_wait().expect("waited"), None);
    drop(other);
    assert_eq!(select.wait().expect("waited"), "ended");
}
