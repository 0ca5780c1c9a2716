//! The harness on toys: it has to pass what is right and to catch what is broken.
//!
//! What forks runs alone, in a copy of this test binary that is started for it (the test `alone_entry`).

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use ginnel_testkit::child::{self, Child, Exit, Role, fork_child};
use ginnel_testkit::kill::{Killer, Worker};
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::oracle::{self, Ledger};
use ginnel_testkit::scratch::{Scratch, View};
use ginnel_testkit::step::{Marks, Moved, Place, Tracee};
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject, preempt, sweep};
use ginnel_testkit::toy::{Order, ToyLane};
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::Signal;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(120);

/// The way in for roles; by itself it does nothing.
#[test]
fn alone_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "sweep-passes" => sweep_passes(),
        "sweep-fails" => sweep_fails(),
        "preempt" => preempt_passes(),
        "places" => places(),
        "deaths" => deaths(),
        "killer" => killer(),
        "killer-catches" => killer_catches(),
        "sleeper" => sleeper(arguments.fd(0).expect("a descriptor")),
        "exit" => std::process::exit(arguments.get(0).expect("a code")),
        other => panic!("no role {other}"),
    }
}

fn alone(role: &str) {
    let _dog = Watchdog::new(role, LIMIT);
    entry(role).play();
}

fn entry(role: &str) -> Role {
    Role::new(role).through_test("alone_entry")
}

#[test]
fn a_correct_lane_passes_the_sweep() {
    alone("sweep-passes");
}

#[test]
fn a_lane_that_commits_first_and_one_that_does_not_clear_fail_the_sweep() {
    alone("sweep-fails");
}

#[test]
fn a_correct_lane_passes_every_single_preemption() {
    alone("preempt");
}

#[test]
fn a_place_is_reached_again_and_system_calls_part_windows() {
    alone("places");
}

#[test]
fn children_die_with_their_handle_and_say_how_they_ended() {
    alone("deaths");
}

#[test]
fn random_kills_of_a_toy_lose_nothing() {
    alone("killer");
}

#[test]
fn random_kills_find_a_worker_that_ends_and_a_lane_that_is_broken() {
    alone("killer-catches");
}

const LANE: u64 = 1;
const RING: u64 = 16 * 8;

/// A toy lane some laps on, with some messages in it, and what the victim said.
struct World {
    memory: Scratch,
    before: Range<u64>,
    order: Order,
}

const RESULT: usize = ToyLane::words(RING);

impl World {
    fn new(order: Order, laps: u64, fill: u64) -> Self {
        let memory = Scratch::new(RESULT + 1).expect("a memfd");
        let world = Self { memory, before: laps..laps + fill, order };
        let lane = world.lane(Order::PayloadFirst);
        for sequence in 0..laps + fill {
            assert!(lane.send(&message(sequence)));
            if sequence < laps {
                lane.recv().expect("a message").expect("a message");
            }
        }
        world
    }

    fn lane(&self, order: Order) -> ToyLane {
        ToyLane::new(View::writable(&self.memory).expect("mapped"), 0, RING, order)
    }

    /// What a survivor finds: the messages from before, the victim's if it was committed, and one of his own.
    fn check(&self) -> Result<(), String> {
        let lane = self.lane(Order::PayloadFirst);
        let said = self.memory.get(RESULT) == 1;
        let victims = self.before.end;
        let sent = lane.send(&message(victims + 1));
        let mut found = Vec::new();
        while let Some(words) =
            lane.recv().map_err(|word| format!("{word:#x} stands where a header should"))?
        {
            found.push(oracle::read(&words).ok_or_else(|| format!("bytes that nobody sent: {words:x?}"))?.1);
            if found.len() as u64 > RING / 8 {
                return Err(format!("more messages than the ring can hold: {found:?}"));
            }
        }
        let committed = found.contains(&victims);
        if said && !committed {
            return Err(format!("the victim said `sent`, and the survivor finds {found:?}"));
        }
        let own = sent.then_some(victims + 1);
        let expected: Vec<u64> = self.before.clone().chain(committed.then_some(victims)).chain(own).collect();
        if found != expected {
            return Err(format!("found {found:?}, expected {expected:?}"));
        }
        let room = (0..).take_while(|_| lane.send(&message(99))).count() as u64;
        if room == RING / 32 - 1 || room == RING / 32 {
            Ok(())
        } else {
            Err(format!("room for {room} messages"))
        }
    }
}

fn message(sequence: u64) -> [u64; 3] {
    let mut words = [0; 3];
    oracle::write(LANE, sequence, &mut words);
    words
}

fn subject<'a>(order: Order, laps: u64, fill: u64) -> Subject<'a, World> {
    Subject {
        setup: Box::new(move || Ok(World::new(order, laps, fill))),
        view: Box::new(|world| View::readable(&world.memory).ok()),
        victim: Box::new(|world: &World, marks: &Marks| {
            let (lane, message) = (world.lane(world.order), message(world.before.end));
            marks.begin();
            if lane.send(&message) {
                world.memory.set(RESULT, 1);
            }
            marks.end();
        }),
        check: Box::new(|world, _| world.check()),
    }
}

fn pinned() {
    child::pin(child::cores().expect("cores")[0]).expect("pinned");
}

fn run(plan: &Plan, order: Order, laps: u64, fill: u64) -> Result<Report, Fault> {
    sweep(plan, &mut subject(order, laps, fill), |_, _| {})
}

fn sweep_passes() {
    pinned();
    for (laps, fill) in [(0, 0), (5, 1), (6, 2), (3, 3)] {
        let report = run(&Plan::short(), Order::PayloadFirst, laps, fill).expect("a correct lane");
        // Three words, two headers, the tail, the result; less where there is no room.
        assert!(report.states >= 5 || fill == 3, "{report:?}");
        assert!(report.trials >= report.states, "{report:?}");
    }
    let every = run(&Plan::full(), Order::PayloadFirst, 5, 1).expect("a correct lane");
    assert!(every.trials > every.instructions, "{every:?}");
}

fn sweep_fails() {
    pinned();
    for plan in [Plan::short(), Plan::full()] {
        let early = run(&plan, Order::CommitFirst, 5, 1).expect_err("commits before it writes");
        assert!(early.place.is_some() && !early.what.starts_with("killed after its end"), "{early}");
    }
    // Not clearing the next header does no harm before old bytes stand there.
    assert!(run(&Plan::short(), Order::NoClear, 0, 0).is_ok());
    let stale = (4..12).map(|laps| run(&Plan::short(), Order::NoClear, laps, 1)).find_map(Result::err);
    assert!(stale.is_some(), "old payload was never taken for a header");
}

fn preempt_passes() {
    pinned();
    let taken = Cell::new(0);
    let mut subject = subject(Order::PayloadFirst, 5, 2);
    subject.check = Box::new(|world, moved| {
        assert_eq!(moved, Moved::Over);
        let lane = world.lane(Order::PayloadFirst);
        let mut found = Vec::new();
        while let Some(words) = lane.recv().map_err(|word| format!("{word:#x}"))? {
            found.push(oracle::read(&words).ok_or("torn")?.1);
        }
        // What the peer took while the victim stood still is a beginning of the same row.
        let rest: Vec<u64> = (world.before.start + taken.get()..=world.before.end).collect();
        if found == rest { Ok(()) } else { Err(format!("found {found:?} after {} were taken", taken.take())) }
    });
    let peer = |world: &mut World| {
        taken.set(0);
        while world.lane(Order::PayloadFirst).recv().map_err(|word| format!("{word:#x}"))?.is_some() {
            taken.set(taken.get() + 1);
        }
        Ok(())
    };
    let report = preempt(&Plan::short(), &mut subject, peer, |_, _| {}).expect("a correct lane");
    assert!(report.trials > 5, "{report:?}");
}

fn places() {
    pinned();
    let memory = Scratch::new(1).expect("a memfd");
    let body = |marks: &Marks| {
        marks.begin();
        for round in 1..=3 {
            memory.set(0, round);
            nix::unistd::getppid();
        }
        memory.set(0, 9);
        marks.end();
    };
    for round in 0..=3 {
        let mut tracee = Tracee::start(body).expect("started");
        assert_eq!(tracee.run_to(Place { window: round, step: 0 }).expect("moved"), Moved::Inside);
        assert_eq!(memory.get(0), round as u64);
        // Far beyond the window: it stops in front of the system call that ends it.
        assert_eq!(tracee.run_to(Place { window: round, step: 100_000 }).expect("moved"), Moved::Inside);
        assert!(tracee.at_system_call().expect("looked at"));
        assert_eq!(memory.get(0), [1, 2, 3, 9][round]);
        if round == 2 {
            tracee.finish().expect("it goes on");
            assert_eq!(memory.get(0), 9);
        }
        tracee.kill().expect("killed");
        memory.set(0, 0);
    }
    let mut tracee = Tracee::start(body).expect("started");
    assert_eq!(tracee.run_to(Place { window: 99, step: 0 }).expect("moved"), Moved::Over);
    let crash = Tracee::start(|marks| {
        marks.begin();
        std::process::abort();
    });
    let fault = crash.expect("started").finish().expect_err("it aborts");
    assert!(fault.to_string().contains("SIGABRT"), "{fault}");
}

fn sleeper(fd: std::os::fd::OwnedFd) {
    let memory = Scratch::from_fd(fd).expect("mapped");
    memory.set(0, 1);
    loop {
        nix::unistd::pause();
    }
}

fn deaths() {
    let exit = |mut child: Child| child.wait_timeout(LIMIT).expect("waited").expect("ended");
    assert_eq!(exit(fork_child(|| {}).expect("forked")), Exit::Code(0));
    assert_eq!(exit(fork_child(|| panic!("on purpose")).expect("forked")), Exit::Code(101));
    assert_eq!(exit(entry("exit").arg(7).spawn().expect("started")), Exit::Code(7));

    let memory = Scratch::new(1).expect("a memfd");
    let mut child = entry("sleeper").fd(&memory).spawn().expect("started");
    let running = |child: &mut Child| child.wait_timeout(Duration::ZERO).expect("waited").is_none();
    while memory.get(0) == 0 {
        assert!(running(&mut child), "it ended early");
    }
    let pid = child.pid();
    child.signal(Signal::SIGSTOP).expect("stopped");
    drop(child);
    assert_eq!(nix::sys::signal::kill(pid, None), Err(nix::errno::Errno::ESRCH), "it survived its handle");

    // A process with threads of its own may not fork.
    let _dog = Watchdog::new("fork with threads", LIMIT);
    assert!(fork_child(|| {}).is_err());
}

const HOLES: usize = 64;

/// A toy lane with a ledger, killed at random; gives the account.
fn slaughter(order: Order, kills: u64) -> Result<oracle::Account, String> {
    let memory =
        Scratch::new(ToyLane::words(RING) + Ledger::words(HOLES)).map_err(|error| error.to_string())?;
    let lane = || ToyLane::new(View::writable(&memory).expect("mapped"), 0, RING, order);
    let ledger = Ledger::new(&memory, ToyLane::words(RING), LANE, HOLES);
    let producer = || {
        fork_child(|| {
            let lane = lane();
            loop {
                let sequence = ledger.begin(1).start;
                ledger.sent(u64::from(lane.send(&message(sequence))));
            }
        })
    };
    let consumer = || {
        fork_child(|| {
            let lane = lane();
            loop {
                match lane.recv() {
                    Ok(Some(words)) => ledger.saw(&words, false),
                    Ok(None) => {}
                    Err(word) => ledger.saw(&[word], false),
                }
            }
        })
    };
    let mut killer = Killer::new(11, Duration::from_micros(500)..Duration::from_millis(3));
    killer.add(Worker::new("producer", producer, |_| ledger.bury_producer()))?;
    // It takes a message before it writes it down.
    killer.add(Worker::new("consumer", consumer, |_| ledger.bury_copying_consumer(1)))?;
    let end = Instant::now() + LIMIT / 2;
    while (killer.kills() < kills || ledger.committed() == 0) && Instant::now() < end {
        killer.strike()?;
    }
    killer.stop()?;
    let lane = lane();
    // At most what the ring can hold: a broken lane gives the same messages for ever.
    for _ in 0..RING / 8 {
        match lane.recv().map_err(|word| format!("{word:#x} stands where a header should"))? {
            Some(words) => ledger.saw(&words, false),
            None => break,
        }
    }
    Ok(ledger.close())
}

fn killer() {
    let before = Snapshot::of(std::process::id()).expect("counted");
    let account = slaughter(Order::PayloadFirst, 40).expect("workers that stay");
    assert!(account.is_clean() && account.delivered > 0, "{account}");
    let after = Snapshot::of(std::process::id()).expect("counted");
    assert_eq!(after.leaked_since(&before), Vec::<String>::new());
    let open = Scratch::new(1).expect("a memfd");
    assert_eq!(Snapshot::of(std::process::id()).expect("counted").leaked_since(&before).len(), 2);
    drop(open);
}

fn killer_catches() {
    let mut killer = Killer::new(1, Duration::ZERO..Duration::from_millis(1));
    killer.add(Worker::new("short-lived", || fork_child(|| {}), |_| Ok(()))).expect("started");
    let end = Instant::now() + LIMIT / 2;
    let fault = loop {
        match killer.strike() {
            Ok(()) => assert!(Instant::now() < end, "it was never seen to end"),
            Err(fault) => break fault,
        }
    };
    assert!(fault.contains("short-lived ended by itself: exit code 0"), "{fault}");
    // Once round the ring, old messages come again, kill or no kill.
    let account = slaughter(Order::NoClear, 40);
    assert!(!account.as_ref().is_ok_and(oracle::Account::is_clean), "{account:?}");
}

#[test]
fn a_role_that_is_missing_is_an_error() -> io::Result<()> {
    let output = entry("nobody").command()?.output()?;
    assert!(!output.status.success());
    Ok(())
}
