//! A crew, interrupted: at its worker, at its parent, at who recovers a worker, and at who clears up after both.
//!
//! A task carries a number and a mutex that holds the same number, and its result the next number and the same mutex.
//! Whoever dies where: the task has its one outcome, whole, or it is run once more, or it is given up; and when the last
//! hold on the crew is gone, no object, page or ticket may be left.

use ginnel::sync::{Init, Mutex};
use ginnel::{Manager, Message};
use ginnel_object::bridge::crew::{
    After, Bits, Cancelled, Crew, End, Frame, Gen, Ledger, Order, SeatSt, Shape, Sitting, St, Tray, Trays,
};
use ginnel_testkit::scratch::now_ns;
use ginnel_testkit::step::{Marks, Tracee};
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::process::{breathe, reaching};
use super::queue::stop_where;
use super::{Progress, all};
use crate::world::{World, during, try_attach};

/// What crosses, there and back.
type Parcel = (u64, Mutex<u64>);

const CREW: &str = "crew";
const NUMBER: u64 = 7;
/// Items of the chunk.
const ITEMS: u64 = 3;
const SERIAL: u32 = 41;

/// The victim has come to the end of its operation: 1 with success, 2 without.
const DONE: usize = 0;

fn shape() -> Shape {
    Shape { slots: 16, seats: 2, tray_bytes: 4096, ..Shape::default() }
}

/// The parent of a crew: what a pool knows in private.
struct Parent {
    crew: Crew,
    ledger: Ledger,
    trays: Trays,
}

impl Parent {
    fn new(manager: &Manager) -> ginnel::Result<Self> {
        let crew: Crew = manager.get_or_create_with(CREW, shape())?;
        let (ledger, trays) = (crew.ledger(), Trays::new(&crew));
        Ok(Self { crew, ledger, trays })
    }

    /// Fills slot `slot` with the parcel of a task.
    fn submit(&mut self, manager: &Manager, slot: u32) -> ginnel::Result<Gen> {
        let own: Mutex<u64> = manager.create_with(Init(Some(NUMBER)))?;
        breathe();
        let packed = self.crew.pack(None, |out| (NUMBER, own.clone()).put(out))?;
        breathe();
        let order = order(SERIAL + slot, 1, None);
        self.crew.submit(slot, &order, packed)?;
        let generation = Gen::of(SERIAL + slot);
        self.crew.hint(&mut self.ledger, slot, generation);
        self.crew.wake();
        Ok(generation)
    }

    /// What the supervisor of a pool does after the death of a worker: a hint for every task that waits.
    fn repair(&mut self, slot: u32, generation: Gen, retries: bool) -> Result<(), String> {
        let lease = self.crew.lease(slot);
        match lease.st {
            St::Lost if retries => {
                if !self.crew.retry(slot, generation, 1) {
                    return Err("a LOST task cannot be run again".to_owned());
                }
            }
            St::Lost => {
                self.crew.give_up(slot, generation);
                return Ok(());
            }
            St::Ready | St::Done => {}
            other => return Err(format!("after the recovery of its worker the task is {other:?}")),
        }
        if self.crew.lease(slot).st == St::Ready {
            self.crew.hint(&mut self.ledger, slot, generation);
        }
        Ok(())
    }

    /// Takes the result of the task.
    fn take(&self, slot: u32, generation: Gen) -> Result<(), String> {
        let taken = self.crew.take(slot, generation, None).map_err(during("take the result"))?;
        if taken.end() != End::Value {
            return Err(format!("the task ended with {:?}", taken.end()));
        }
        let (number, own): Parcel = taken.decode().map_err(during("decode the result"))?;
        let held = *own.lock().map_err(during("lock what came back"))?;
        if (number, held) != (NUMBER + 1, NUMBER) {
            return Err(format!("corrupt: {number} came back with {held}"));
        }
        if self.crew.take(slot, generation, None).is_ok() {
            return Err("duplicated: the result came twice".to_owned());
        }
        Ok(())
    }
}

fn order(serial: u32, items: u32, result: Option<&Tray>) -> Order<'_> {
    Order {
        serial,
        routine: 1,
        attempt: 0,
        items,
        is_chunk: items > 1,
        is_timed: false,
        result,
        bits: Bits::NONE,
    }
}

/// A worker at its seat.
fn sit(manager: &Manager, seat: u32) -> ginnel::Result<Sitting> {
    let crew: Option<Crew> = manager.get(CREW)?;
    crew.expect("it is there").sit(seat, ginnel_object::bridge::crew::Mode::Sleep)
}

/// The worker's part, to its end. `None`: there was no task.
fn work(sitting: &mut Sitting) -> Option<After> {
    let mut frame = sitting.next(|| true)?;
    half(&mut frame);
    breathe();
    Some(frame.commit())
}

/// Up to the commit.
fn half(frame: &mut Frame<'_>) {
    let (number, own) = frame.input(Parcel::take).expect("it was sent");
    breathe();
    frame.value(|out| (number + 1, own.clone()).put(out)).expect("there is room");
    breathe();
}

struct CrewWorld {
    world: World,
    parent: Option<Parent>,
    /// Of the task in slot 0.
    generation: Gen,
    lent: Option<Tray>,
    doomed: Option<Tracee>,
}

impl CrewWorld {
    fn new() -> Result<Self, String> {
        // The first look at the clock searches the kernel's page for it, in so many instructions that the victim, which
        // inherits what was found, must not be the one to make it.
        let _ = now_ns();
        let generation = Gen::of(SERIAL);
        Ok(Self { world: World::new()?, parent: None, generation, lent: None, doomed: None })
    }

    fn with_task() -> Result<Self, String> {
        let mut this = Self::new()?;
        let manager = &this.world.manager;
        let mut parent = Parent::new(manager).map_err(during("make a crew"))?;
        this.generation = parent.submit(manager, 0).map_err(during("submit a task"))?;
        this.parent = Some(parent);
        Ok(this)
    }

    fn with_chunk() -> Result<Self, String> {
        let mut this = Self::new()?;
        let mut parent = Parent::new(&this.world.manager).map_err(during("make a crew"))?;
        let packed = parent.crew.pack(None, |out| (0..ITEMS).try_for_each(|item| item.put(out)));
        let packed = packed.map_err(during("pack a chunk"))?;
        let lent = parent.trays.get(1024).ok_or("no tray")?;
        let order = order(SERIAL, ITEMS as u32, Some(&lent));
        parent.crew.submit(0, &order, packed).map_err(during("submit a chunk"))?;
        parent.crew.hint(&mut parent.ledger, 0, this.generation);
        (this.parent, this.lent) = (Some(parent), Some(lent));
        Ok(this)
    }

    /// One stands in the middle of something, holding what `work` gives back.
    fn doom<T>(&mut self, work: impl Fn(&Manager) -> T) -> Result<(), String> {
        let operation = |manager: &Manager, marks: &Marks| {
            let _held = work(manager);
            marks.begin();
            marks.end();
        };
        self.doomed = Some(stop_where(&self.world, operation, || true)?);
        Ok(())
    }

    fn say(&self, success: bool) {
        self.world.results.set(DONE, if success { 1 } else { 2 });
    }

    fn recover(&mut self, dead: std::ops::RangeInclusive<usize>) -> Result<(), String> {
        if let Some(doomed) = self.doomed.take() {
            doomed.kill().map_err(during("kill who was doomed"))?;
        }
        let count = self.world.manager.recover().map_err(during("recover"))?;
        if dead.contains(&count) { Ok(()) } else { Err(format!("{count} were recovered, expected {dead:?}")) }
    }

    /// The worker is dead and recovered: the supervisor repairs, another worker goes on, and the result is taken.
    fn worker_died(mut self, retries: bool) -> Result<(), String> {
        let mut parent = self.parent.take().ok_or("there was a parent")?;
        let (st, said) = (parent.crew.lease(0).st, self.world.results.get(DONE));
        if said == 1 && st != St::Done {
            return Err(format!("lost: the worker had committed, and the task is {st:?}"));
        }
        let seat = parent.crew.seat(0).ok_or("no seat")?.word();
        if seat.st != SeatSt::Gone {
            return Err(format!("the seat of the dead is {seat:?}"));
        }
        parent.repair(0, self.generation, retries)?;
        let is_given_up = parent.crew.lease(0).st == St::Free;
        let other = try_attach(&self.world.manager).map_err(during("attach another worker"))?;
        let mut sitting = sit(&other, 1).map_err(during("let another worker sit down"))?;
        let is_left = parent.crew.lease(0).st == St::Ready;
        if is_left != work(&mut sitting).is_some() {
            return Err(format!("the task was {st:?}, and another worker took one: {}", !is_left));
        }
        if parent.crew.done() < u64::from(!is_given_up) {
            return Err("no worker has counted the task".to_owned());
        }
        if !is_given_up {
            parent.take(0, self.generation)?;
        }
        drop((sitting, other, parent));
        self.world.is_empty_again()
    }

    /// The worker of a chunk is dead and recovered.
    fn chunk_died(mut self) -> Result<(), String> {
        let mut parent = self.parent.take().ok_or("there was a parent")?;
        let (crew, lent) = (&parent.crew, self.lent.take());
        let st = crew.lease(0).st;
        let (taken, left) = match st {
            St::Ready => {
                parent.crew.cancel(0, self.generation);
                drop(lent);
                (None, crew.remaining(0).map_err(during("look at the items"))?)
            }
            St::Lost => {
                let left = crew.remaining(0).map_err(during("look at the items"))?;
                let taken = crew.salvage(0, self.generation, lent).map_err(during("salvage"))?;
                crew.give_up(0, self.generation);
                (Some(taken), left)
            }
            St::Done => {
                let taken = crew.take(0, self.generation, lent).map_err(during("take the chunk"))?;
                if taken.end() != End::None {
                    return Err(format!("the chunk ended with {:?}", taken.end()));
                }
                (Some(taken), crew.remaining(0).map_err(during("look at the items"))?)
            }
            other => return Err(format!("after the recovery of its worker the chunk is {other:?}")),
        };
        let count = taken.as_ref().map_or(0, |taken| u64::from(taken.progress().items));
        if st == St::Done && count != ITEMS || self.world.results.get(DONE) == 1 && st != St::Done {
            return Err(format!("{count} items are done, and the chunk is {st:?}"));
        }
        let mut done = taken.as_ref().map_or(&[][..], |taken| taken.items());
        let mut left = &left[..];
        for item in 0..ITEMS {
            let (bytes, wanted) = if item < count { (&mut done, item + 100) } else { (&mut left, item) };
            let found = u64::take(bytes).map_err(during("read an item"))?;
            if found != wanted {
                return Err(format!("item {item} of {count} is {found}, not {wanted}"));
            }
        }
        if !(done.is_empty() && left.is_empty()) {
            return Err("there are more items than were sent".to_owned());
        }
        drop(taken);
        parent.ledger = parent.crew.ledger();
        drop(parent);
        self.world.is_empty_again()
    }
}

fn subject(
    setup: fn() -> Result<CrewWorld, String>,
    victim: fn(&CrewWorld, &Manager, &Marks),
    check: impl Fn(CrewWorld) -> Result<(), String> + 'static,
) -> Subject<'static, CrewWorld> {
    Subject {
        setup: Box::new(setup),
        view: Box::new(|world: &CrewWorld| world.world.view()),
        victim: Box::new(move |world, marks| victim(world, &world.world.attach(), marks)),
        check: Box::new(move |world, _| check(world)),
    }
}

pub(super) fn worker(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let case = |retries: bool| {
        let subject = subject(
            CrewWorld::with_task,
            |world, manager, marks| {
                let mut sitting = sit(manager, 0).expect("there is a seat");
                marks.begin();
                let after = work(&mut sitting);
                world.say(after == Some(After::Go));
                marks.end();
            },
            move |mut world| {
                world.recover(1..=1)?;
                world.worker_died(retries)
            },
        );
        let name = if retries { "run again" } else { "given up" };
        (format!("claim to commit, {name}"), subject)
    };
    all(&reaching(plan), progress, [case(true), case(false)])
}

pub(super) fn chunk(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(
        CrewWorld::with_chunk,
        |world, manager, marks| {
            let mut sitting = sit(manager, 0).expect("there is a seat");
            marks.begin();
            let after = sitting.next(|| true).map(|mut frame| {
                frame.each(|bytes| Ok(u64::take(bytes)? + 100), u64::put);
                frame.commit()
            });
            world.say(after == Some(After::Go));
            marks.end();
        },
        |mut world| {
            world.recover(1..=1)?;
            world.chunk_died()
        },
    );
    all(&reaching(plan), progress, [("three items".to_owned(), subject)])
}

/// The parent dies alone: nothing is left.
fn parent_died(mut world: CrewWorld) -> Result<(), String> {
    world.recover(1..=2)?;
    world.world.is_empty_again()
}

/// A crew that no name keeps.
fn alone(manager: &Manager) -> Parent {
    let parent = Parent::new(manager).expect("there is room");
    assert!(manager.remove(CREW).expect("the names are free"), "it had a name");
    parent
}

pub(super) fn parent(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let submit = subject(
        CrewWorld::new,
        |_, manager, marks| {
            let mut parent = alone(manager);
            marks.begin();
            let submitted = parent.submit(manager, 0);
            breathe();
            let cancelled = submitted.as_ref().map(|generation| parent.crew.cancel(0, *generation));
            breathe();
            let again = parent.submit(manager, 0);
            breathe();
            drop(parent);
            marks.end();
            assert!(cancelled.is_ok_and(|cancelled| cancelled == Cancelled::TakenBack));
            again.expect("the slot is free again");
        },
        parent_died,
    );
    let take = subject(
        CrewWorld::new,
        |_, manager, marks| {
            let mut parent = Parent::new(manager).expect("there is room");
            let generation = parent.submit(manager, 0).expect("there is room");
            let other = try_attach(manager).expect("there is a place");
            let mut sitting = sit(&other, 0).expect("there is a seat");
            assert_eq!(work(&mut sitting), Some(After::Go));
            drop((sitting, other));
            assert!(manager.remove(CREW).expect("the names are free"), "it had a name");
            marks.begin();
            let taken = parent.crew.take(0, generation, None);
            breathe();
            let parcel = taken.and_then(|taken| taken.decode::<Parcel>());
            breathe();
            drop(parent);
            breathe();
            let is_right = parcel.is_ok_and(|(number, _)| number == NUMBER + 1);
            marks.end();
            assert!(is_right, "the result is there");
        },
        parent_died,
    );
    let cases = [("submit, cancel, drop".to_owned(), submit), ("take a result".to_owned(), take)];
    all(&reaching(plan), progress, cases)
}

/// The victim recovers somebody, or several at once.
fn recovers(world: &CrewWorld, manager: &Manager, marks: &Marks) {
    let doomed = world.doomed.as_ref().expect("somebody is to die");
    doomed.kill_from_elsewhere().expect("it can be killed");
    marks.begin();
    let count = manager.recover();
    assert!(count.is_ok(), "the names are free");
    marks.end();
}

pub(super) fn recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    // With the arguments received and a result written, but not committed.
    let running: fn() -> Result<CrewWorld, String> = || {
        let mut world = CrewWorld::with_task()?;
        world.doom(|manager| {
            let mut sitting = sit(manager, 0).expect("there is a seat");
            let mut frame = sitting.next(|| true).expect("there is a task");
            half(&mut frame);
            std::mem::forget(frame);
            sitting
        })?;
        Ok(world)
    };
    let worker = subject(running, recovers, |mut world| {
        world.recover(1..=2)?;
        world.worker_died(true)
    });
    // Parent and worker in one process, with a task in every state.
    let both: fn() -> Result<CrewWorld, String> = || {
        let mut world = CrewWorld::new()?;
        world.doom(|manager| {
            let mut parent = Parent::new(manager).expect("there is room");
            let other = try_attach(manager).expect("there is a place");
            let mut sitting = sit(&other, 0).expect("there is a seat");
            parent.submit(manager, 0).expect("there is room");
            assert_eq!(work(&mut sitting), Some(After::Go));
            parent.submit(manager, 1).expect("there is room");
            let mut frame = sitting.next(|| true).expect("there is a task");
            half(&mut frame);
            std::mem::forget(frame);
            parent.submit(manager, 2).expect("there is room");
            assert!(manager.remove(CREW).expect("the names are free"), "it had a name");
            (parent, sitting, other)
        })?;
        Ok(world)
    };
    let crew = subject(both, recovers, |mut world| {
        world.recover(1..=3)?;
        world.world.is_empty_again()
    });
    let cases = [("a worker in a task".to_owned(), worker), ("a parent with its worker".to_owned(), crew)];
    all(&reaching(plan), progress, cases)
}
