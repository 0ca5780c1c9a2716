//! Attaching, leaving, recovering, making and removing, interrupted.
//!
//! These are long operations with many system calls; the sweep takes them window by window.

use std::fs;

use ginnel::manager::Options;
use ginnel::spsc::{self, Consumer, Producer};
use ginnel::sync::{Init, Mutex};
use ginnel::{Manager, Plain};
use ginnel_layout::line::PAGE;
use ginnel_testkit::child::fork_child;
use ginnel_testkit::scratch::{Scratch, View};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Progress, all};
use crate::world::{PARTICIPANTS, World, during, try_attach};

/// 1: the victim's operation is over.
const DONE: usize = 0;

/// A subject over a plain world.
fn subject(
    victim: impl Fn(&World, &Marks) + 'static,
    check: impl FnMut(World, bool) -> Result<(), String> + 'static,
) -> Subject<'static, World> {
    let mut check = check;
    Subject {
        setup: Box::new(World::new),
        view: Box::new(World::view),
        victim: Box::new(victim),
        check: Box::new(move |world, _| {
            let done = world.results.get(DONE) == 1;
            check(world, done)
        }),
    }
}

/// Recovers whoever is dead; how many must be within `least..=most`.
fn recover_between(world: &World, least: usize, most: usize) -> Result<(), String> {
    let count = world.manager.recover().map_err(during("recover"))?;
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(format!("{count} participants were recovered, expected {least} to {most}"))
}

fn mutex<T: Plain>(manager: &Manager, name: &str, value: T) -> ginnel::Result<Mutex<T>> {
    manager.get_or_create_with(name, Init(Some(value)))
}

pub(super) fn attach(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(
        |world, marks| {
            marks.begin();
            let attached = try_attach(&world.manager);
            world.results.set(DONE, u64::from(attached.is_ok()));
            marks.end();
        },
        |world, done| {
            recover_between(&world, usize::from(done), 1)?;
            world.is_empty_again()
        },
    );
    all(plan, progress, [("an empty segment".to_owned(), subject)])
}

pub(super) fn detach(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(
        |world, marks| {
            let manager = world.attach();
            let producer: Producer<u64> = spsc::producer(&manager, "lane").expect("the end is free");
            let named = mutex(&manager, "mutex", 1_u64).expect("there is room");
            let unnamed: Mutex<u64> = manager.create().expect("there is room");
            marks.begin();
            drop((producer, named, unnamed));
            drop(manager);
            world.results.set(DONE, 1);
            marks.end();
        },
        |world, done| {
            recover_between(&world, 0, usize::from(!done))?;
            let mut producer: Producer<u64> =
                spsc::producer(&world.manager, "lane").map_err(during("take the end that was left"))?;
            producer.try_send(5).map_err(during("send"))?;
            drop(producer);
            drop(mutex(&world.manager, "mutex", 2_u64).map_err(during("open the mutex"))?.lock().map(drop));
            world.is_empty_again()
        },
    );
    all(plan, progress, [("an end, a mutex and an object without a name in hand".to_owned(), subject)])
}

/// Takes a lock, an end and an object, and ends without giving anything back.
fn die_with_everything(world: &World) {
    let manager = world.attach();
    let locked = mutex(&manager, "mutex", [0_u64; 2]).expect("there is room");
    let mut guard = locked.lock().expect("it is free");
    guard[0] = 1;
    let mut producer: Producer<u64> = spsc::producer(&manager, "lane").expect("the end is free");
    producer.try_send(5).expect("there is room");
    let unnamed: Mutex<u64> = manager.create().expect("there is room");
    std::mem::forget((guard, producer, unnamed));
    std::mem::forget((locked, manager));
}

pub(super) fn recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(
        |world, marks| {
            let manager = world.attach();
            let mut dead = fork_child(|| die_with_everything(world)).expect("the victim may fork");
            dead.wait().expect("its child ends");
            marks.begin();
            let count = manager.recover();
            world.results.set(DONE, u64::from(count.is_ok_and(|count| count == 1)));
            marks.end();
        },
        |world, done| {
            recover_between(&world, 1, if done { 1 } else { 2 })?;
            let locked = mutex(&world.manager, "mutex", [0_u64; 2]).map_err(during("open the mutex"))?;
            match locked.try_lock() {
                Err(error) if error.is_owner_died() => {}
                other => return Err(format!("{other:?}; expected the word that the holder died")),
            }
            drop(locked.lock_or_repair(|data| *data = [2, 2]).map_err(during("repair"))?);
            drop(locked);
            let mut consumer: Consumer<u64> =
                spsc::consumer(&world.manager, "lane").map_err(during("take the end"))?;
            match (consumer.try_recv(), consumer.try_recv()) {
                (Ok(5), Err(spsc::TryRecvError::Failed(error))) if error.is_peer_dead() => {}
                other => return Err(format!("{other:?}; expected 5, then the word that the producer died")),
            }
            let mut producer: Producer<u64> =
                spsc::producer(&world.manager, "lane").map_err(during("take the dead one's end"))?;
            producer.try_send(6).map_err(during("send"))?;
            consumer.try_recv().map_err(during("receive"))?;
            drop((producer, consumer));
            world.is_empty_again()
        },
    );
    all(plan, progress, [("a lock, an end and two objects".to_owned(), subject)])
}

pub(super) fn create(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let locks = subject(
        |world, marks| {
            let manager = world.attach();
            marks.begin();
            let made = mutex(&manager, "new", 3_u64);
            world.results.set(DONE, u64::from(made.is_ok()));
            marks.end();
        },
        |world, done| {
            world.recover_one()?;
            let found: Option<Mutex<u64>> = world.manager.get("new").map_err(during("look it up"))?;
            if done && found.is_none() {
                return Err("lost: it was made, and is not there".to_owned());
            }
            let made = mutex(&world.manager, "new", 3_u64).map_err(during("make it"))?;
            let value = *made.lock().map_err(during("lock it"))?;
            if value != 3 {
                return Err(format!("corrupt: it was made with 3 and holds {value}"));
            }
            drop((found, made));
            world.is_empty_again()
        },
    );
    let lanes = subject(
        |world, marks| {
            let manager = world.attach();
            marks.begin();
            let made: ginnel::Result<Producer<u64>> =
                spsc::Options::new().capacity(4).producer(&manager, "new");
            world.results.set(DONE, u64::from(made.is_ok()));
            marks.end();
        },
        |world, _| {
            world.recover_one()?;
            let options = spsc::Options::new().capacity(4);
            let mut producer: Producer<u64> =
                options.producer(&world.manager, "new").map_err(during("make it"))?;
            let mut consumer: Consumer<u64> =
                options.consumer(&world.manager, "new").map_err(during("open it"))?;
            producer.try_send(1).map_err(during("send"))?;
            consumer.try_recv().map_err(during("receive"))?;
            drop((producer, consumer));
            world.is_empty_again()
        },
    );
    all(plan, progress, [("a mutex".to_owned(), locks), ("a lane and its end".to_owned(), lanes)])
}

pub(super) fn release(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let check = |world: World, _| {
        world.recover_one()?;
        world.is_empty_again()
    };
    let last = subject(
        |world, marks| {
            let manager = world.attach();
            let unnamed: Mutex<u64> = manager.create().expect("there is room");
            marks.begin();
            drop(unnamed);
            marks.end();
        },
        check,
    );
    let name = subject(
        |world, marks| {
            let manager = world.attach();
            drop(mutex(&manager, "new", 3_u64).expect("there is room"));
            marks.begin();
            let removed = manager.remove("new");
            world.results.set(DONE, u64::from(removed.is_ok()));
            marks.end();
        },
        move |world, done| {
            if done && !world.manager.names().is_empty() {
                return Err(format!("it was removed: {:?}", world.manager.names()));
            }
            check(world, done)
        },
    );
    all(plan, progress, [("the last handle".to_owned(), last), ("the name".to_owned(), name)])
}

/// A name of this process, and words for results. The name must be gone at the end of each trial.
struct NamedWorld {
    name: String,
    results: Scratch,
}

impl NamedWorld {
    fn new() -> Result<Self, String> {
        let name = format!("step-kill-{}", std::process::id());
        let this = Self { name, results: Scratch::new(4).map_err(during("make words for results"))? };
        if this.files()? != 0 {
            return Err(format!("`{}` is left from the trial before", this.name));
        }
        Ok(this)
    }

    fn open(&self) -> ginnel::Result<Manager> {
        let options = Options::new().limit(8 * PAGE).participants(PARTICIPANTS).objects(4);
        Manager::open_or_create_with(&self.name, options)
    }

    fn view(&self) -> Option<View> {
        let path = fs::read_dir("/dev/shm").ok()?.filter_map(Result::ok).map(|entry| entry.path());
        let mut own = path.filter(|path| path.to_string_lossy().contains(&self.name));
        View::readable(&fs::File::open(own.next()?).ok()?).ok()
    }

    fn files(&self) -> Result<usize, String> {
        let entries = fs::read_dir("/dev/shm").map_err(during("read /dev/shm"))?;
        let own =
            entries.filter_map(Result::ok).filter(|e| e.file_name().to_string_lossy().contains(&self.name));
        Ok(own.count())
    }

    /// Whatever stands there under the name can be opened and used, and goes when the last one leaves.
    fn survives(&self) -> Result<(), String> {
        let manager = self.open().map_err(during("open or make it"))?;
        manager.recover().map_err(during("recover"))?;
        let inside = manager.inspect().participants;
        if inside.len() != 1 {
            return Err(format!("left behind: {inside:?}"));
        }
        drop(
            mutex(&manager, "mutex", 1_u64)
                .map_err(during("make a mutex"))?
                .lock()
                .map_err(during("lock it"))?,
        );
        drop(manager);
        match self.files()? {
            0 => Ok(()),
            more => Err(format!("{more} files of that name are left in /dev/shm")),
        }
    }
}

fn named(
    setup: impl Fn(&NamedWorld) -> Result<(), String> + 'static,
    victim: impl Fn(&NamedWorld) -> bool + 'static,
    check: impl Fn(&NamedWorld, bool) -> Result<(), String> + 'static,
) -> Subject<'static, NamedWorld> {
    Subject {
        setup: Box::new(move || {
            let world = NamedWorld::new()?;
            setup(&world).map(|()| world)
        }),
        view: Box::new(NamedWorld::view),
        victim: Box::new(move |world, marks| {
            marks.begin();
            let done = victim(world);
            world.results.set(DONE, u64::from(done));
            marks.end();
        }),
        check: Box::new(move |world, _| {
            check(&world, world.results.get(DONE) == 1)?;
            world.survives()
        }),
    }
}

/// Leaves a segment that nobody has, with an object in it.
fn stale(world: &NamedWorld) -> Result<(), String> {
    let mut owner = fork_child(|| {
        let manager = world.open().expect("it is made");
        std::mem::forget(mutex(&manager, "mutex", 1_u64).expect("there is room"));
        std::mem::forget(manager);
    })
    .map_err(during("fork an owner"))?;
    owner.wait().map_err(during("wait for the owner"))?;
    if world.files()? == 1 { Ok(()) } else { Err("the owner left no segment behind".to_owned()) }
}

pub(super) fn create_named(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let there = |world: &NamedWorld, done: bool| match (done, world.files()?) {
        (true, 1) | (false, 0 | 1) => Ok(()),
        (_, files) => Err(format!("{files} files; it was made: {done}")),
    };
    let open = |world: &NamedWorld| world.open().map(std::mem::forget).is_ok();
    let fresh = named(|_| Ok(()), open, there);
    let again = named(stale, open, there);
    all(plan, progress, [("no such name".to_owned(), fresh), ("left by a dead one".to_owned(), again)])
}

pub(super) fn remove_stale(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let collected = named(
        stale,
        |world| Manager::collect(&world.name).is_ok_and(|removed| removed),
        |world, done| match (done, world.files()?) {
            (true, 0) | (false, 0 | 1) => Ok(()),
            (_, files) => Err(format!("{files} files; it was removed: {done}")),
        },
    );
    all(plan, progress, [("left by a dead one".to_owned(), collected)])
}
