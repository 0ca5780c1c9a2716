//! The record of a start, interrupted: at its starter, at its child, and at who clears up after both.
//!
//! A start carries a number and a mutex that holds the same number, and its result the next number and the same mutex.
//! Whoever dies where: either the result is there, whole, or there is none; and when the starter's hold on the record is
//! gone, no object, page or ticket may be left.

use ginnel::sync::{Init, Mutex};
use ginnel::{Manager, Message};
use ginnel_object::bridge::{self, BootTicket, Head, Record, Sealed, St};
use ginnel_testkit::scratch::now_ns;
use ginnel_testkit::step::Tracee;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::queue::stop_where;
use super::{Progress, all};
use crate::world::{World, during};

/// What crosses, there and back.
type Parcel = (u64, Mutex<u64>);

const NUMBER: u64 = 7;
const HEAD: Head = Head { thunk: 1, image: 2 };
/// Any number does: nobody sends a signal to it.
const PID: u32 = 4711;

/// The victim has come to the end of its operation: 1 with success, 2 without.
const DONE: usize = 0;

/// How far into the stretch between two system calls it is looked. To give a ticket up takes a search of all tickets, in
/// some hundred thousand instructions that change nothing; [`breathe`] begins a new stretch behind such.
const REACH: usize = 30_000;
const REACH_OF_SAMPLE: usize = 4_000;

/// A system call that does nothing.
pub(super) fn breathe() {
    let _ = std::os::unix::process::parent_id();
}

pub(super) fn reaching(plan: &Plan) -> Plan {
    Plan { reach: if plan.is_sample() { REACH_OF_SAMPLE } else { REACH }, ..*plan }
}

struct RecordWorld {
    world: World,
    /// The survivor is the starter.
    own: Option<(Record, BootTicket)>,
    doomed: Option<Tracee>,
}

fn sealed(manager: &Manager, parcel: &Parcel) -> ginnel::Result<Sealed> {
    bridge::seal(manager, |out| parcel.put(out))
}

/// A start with what it carries.
fn make(manager: &Manager) -> ginnel::Result<(Record, BootTicket)> {
    let own = manager.create_with(Init(Some(NUMBER)))?;
    breathe();
    let args = sealed(manager, &(NUMBER, own))?;
    breathe();
    let record = Record::make(manager, HEAD, b"settings", args)?;
    breathe();
    let ticket = record.ticket()?;
    Ok((record, ticket))
}

/// The child's part, to its end.
fn run(manager: &Manager, ticket: BootTicket) -> ginnel::Result<Record> {
    let record = Record::redeem(manager, ticket)?;
    breathe();
    assert!(record.start(PID), "nobody gave the start up");
    assert_eq!(record.boot(), b"settings");
    breathe();
    let (number, own) = record.take_args(|bytes| {
        breathe();
        Parcel::from_bytes(bytes)
    })?;
    breathe();
    let result = sealed(manager, &(number + 1, own))?;
    breathe();
    record.put_result(St::Returned, result)?;
    Ok(record)
}

impl RecordWorld {
    fn new() -> Result<Self, String> {
        // A record knows the time of its start. The first look at the clock searches the kernel's page for it, in so
        // many instructions that the victim, which inherits what was found, must not be the one to make it.
        let _ = now_ns();
        Ok(Self { world: World::new()?, own: None, doomed: None })
    }

    fn started() -> Result<Self, String> {
        let mut this = Self::new()?;
        this.own = Some(make(&this.world.manager).map_err(during("make a record"))?);
        Ok(this)
    }

    /// One stands in the middle of something, holding what `work` gives back.
    fn with_doomed<T>(work: impl Fn(&Manager) -> T) -> Result<Self, String> {
        let mut this = Self::new()?;
        let operation = |manager: &Manager, marks: &ginnel_testkit::step::Marks| {
            let _held = work(manager);
            marks.begin();
            marks.end();
        };
        this.doomed = Some(stop_where(&this.world, operation, || true)?);
        Ok(this)
    }

    fn say(&self, success: bool) {
        self.world.results.set(DONE, if success { 1 } else { 2 });
    }

    /// The victim is dead. Recovers it, unless that was done, and those who were doomed.
    fn recover(&mut self, dead: std::ops::RangeInclusive<usize>) -> Result<(), String> {
        if let Some(doomed) = self.doomed.take() {
            doomed.kill().map_err(during("kill who was doomed"))?;
        }
        let count = self.world.manager.recover().map_err(during("recover"))?;
        if dead.contains(&count) { Ok(()) } else { Err(format!("{count} were recovered, expected {dead:?}")) }
    }

    /// The child is dead: the starter settles the start and takes what there is.
    fn child_died(mut self, recovers_first: bool) -> Result<(), String> {
        let (record, ticket) = self.own.take().ok_or("there was a start")?;
        record.settle(ticket);
        if recovers_first {
            self.recover(0..=1)?;
        }
        let st = record.step().st;
        let said = self.world.results.get(DONE);
        let taken = record.take_result(|st, bytes| (st, Parcel::from_bytes(bytes)));
        match (&taken, st) {
            (Some((St::Returned, Ok((number, own)))), St::Returned) => {
                let held = *own.lock().map_err(during("lock what came back"))?;
                if (*number, held) != (NUMBER + 1, NUMBER) {
                    return Err(format!("corrupt: {number} came back with {held}"));
                }
            }
            (None, St::Cancelled | St::Started | St::Running) if said != 1 => {}
            other => return Err(format!("{other:?}, and the child had said {said}")),
        }
        if record.take_result(|_, _| ()).is_some() {
            return Err("duplicated: the result came twice".to_owned());
        }
        drop(taken);
        if !recovers_first {
            self.recover(0..=1)?;
        }
        // A late child finds nothing, and what is settled can be settled again.
        if Record::redeem(&self.world.manager, ticket).is_ok() {
            return Err("duplicated: the ticket is good for a second child".to_owned());
        }
        record.settle(ticket);
        drop(record);
        self.world.is_empty_again()
    }
}

fn subject(
    setup: fn() -> Result<RecordWorld, String>,
    victim: fn(&RecordWorld, &Manager, &ginnel_testkit::step::Marks),
    check: impl Fn(RecordWorld) -> Result<(), String> + 'static,
) -> Subject<'static, RecordWorld> {
    Subject {
        setup: Box::new(setup),
        view: Box::new(|world: &RecordWorld| world.world.view()),
        victim: Box::new(move |world, marks| victim(world, &world.world.attach(), marks)),
        check: Box::new(move |world, _| check(world)),
    }
}

/// The starter dies alone: nothing is left.
fn starter_died(mut world: RecordWorld) -> Result<(), String> {
    world.recover(1..=1)?;
    world.world.is_empty_again()
}

pub(super) fn start(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let making = subject(
        RecordWorld::new,
        |_, manager, marks| {
            marks.begin();
            let made = make(manager);
            marks.end();
            drop(made.expect("there is room"));
        },
        starter_died,
    );
    let taking_back = subject(
        RecordWorld::new,
        |_, manager, marks| {
            let (record, ticket) = make(manager).expect("there is room");
            marks.begin();
            let cancelled = record.cancel();
            breathe();
            record.settle(ticket);
            breathe();
            drop(record);
            marks.end();
            assert!(cancelled, "no child came");
        },
        starter_died,
    );
    all(
        &reaching(plan),
        progress,
        [("make, publish".to_owned(), making), ("take back".to_owned(), taking_back)],
    )
}

pub(super) fn child(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let case = |recovers_first: bool| {
        let subject = subject(
            RecordWorld::started,
            |world, manager, marks| {
                let (_, ticket) = world.own.as_ref().expect("there was a start");
                marks.begin();
                let ran = run(manager, *ticket);
                world.say(ran.is_ok());
                marks.end();
            },
            move |world| world.child_died(recovers_first),
        );
        let order = if recovers_first { "recovered, then taken" } else { "taken, then recovered" };
        (format!("redeem to result, {order}"), subject)
    };
    all(&reaching(plan), progress, [case(true), case(false)])
}

/// The starter takes the result of a child that has ended, and dies.
pub(super) fn take(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(
        RecordWorld::new,
        |world, manager, marks| {
            let (record, ticket) = make(manager).expect("there is room");
            let child = world.world.attach();
            drop((run(&child, ticket).expect("it runs"), child));
            marks.begin();
            record.settle(ticket);
            breathe();
            let taken = record.take_result(|_, bytes| {
                breathe();
                Parcel::from_bytes(bytes)
            });
            breathe();
            drop(record);
            marks.end();
            assert!(taken.is_some_and(|parcel| parcel.is_ok()), "the result is there");
        },
        starter_died,
    );
    all(&reaching(plan), progress, [("take the result".to_owned(), subject)])
}

/// Somebody died with a record in hand; the victim recovers that one and takes the record apart.
pub(super) fn dismantle(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let requested: fn() -> Result<RecordWorld, String> =
        || RecordWorld::with_doomed(|manager| make(manager).expect("there is room"));
    // Starter and child in one process: both participants die at once, the result not taken.
    let returned: fn() -> Result<RecordWorld, String> = || {
        RecordWorld::with_doomed(|manager| {
            let (record, ticket) = make(manager).expect("there is room");
            let child = crate::world::try_attach(manager).expect("there is a place");
            let ran = run(&child, ticket).expect("it runs");
            (record, ran, child)
        })
    };
    let case = |name: &str, setup, dead: usize| {
        let subject = subject(
            setup,
            |world, manager, marks| {
                let doomed = world.doomed.as_ref().expect("somebody is to die");
                doomed.kill_from_elsewhere().expect("it can be killed");
                marks.begin();
                let count = manager.recover();
                world.say(count.is_ok());
                marks.end();
            },
            move |mut world| {
                // The victim is one of them, and it may have come to its end with the others.
                world.recover(1..=dead + 1)?;
                world.world.is_empty_again()
            },
        );
        (name.to_owned(), subject)
    };
    let cases =
        [case("a starter with its start", requested, 1), case("both, the result not taken", returned, 2)];
    all(&reaching(plan), progress, cases)
}
