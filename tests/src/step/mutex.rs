//! Operations on a mutex, interrupted.
//!
//! The data are two equal numbers. A survivor that is let in must find them equal; while they may be unequal it must
//! be told that a holder died, until it has repaired them.

use std::time::Duration;

use ginnel::sync::{Init, Mutex};
use ginnel_testkit::child::fork_child;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Progress, all};
use crate::world::{World, during};

type Data = [u64; 2];

const NAME: &str = "mutex";
/// 1: the victim's operation is over.
const DONE: usize = 0;

struct MutexWorld {
    world: World,
    mutex: Mutex<Data>,
}

impl MutexWorld {
    fn new() -> Result<Self, String> {
        let world = World::new()?;
        let mutex = open(&world.manager).map_err(during("make the mutex"))?;
        Ok(Self { world, mutex })
    }

    /// One whose holder died half-way through a change.
    fn dirty() -> Result<Self, String> {
        let this = Self::new()?;
        let mut holder = fork_child(|| {
            let manager = this.world.attach();
            let mutex = open(&manager).expect("the mutex is there");
            let mut guard = mutex.lock().expect("the mutex is free");
            guard[0] = 9;
            std::mem::forget(guard);
            std::mem::forget((mutex, manager));
        })
        .map_err(during("fork a holder"))?;
        holder.wait().map_err(during("wait for the holder"))?;
        this.world.recover_one()?;
        Ok(this)
    }

    /// What the survivor finds. `told` says whether it may, must or must not hear of a death.
    fn after_death(self, told: Told, allowed: &[Data]) -> Result<(), String> {
        self.world.recover_one()?;
        let heard = match self.mutex.lock_timeout(Duration::from_secs(20)) {
            Ok(data) if allowed.contains(&data) => false,
            Ok(data) => {
                return Err(format!("corrupt: {:?} behind the mutex, expected one of {allowed:?}", *data));
            }
            Err(error) if error.is_owner_died() => true,
            Err(error) => return Err(format!("the mutex does not come back: {error}")),
        };
        if (told == Told::Must && !heard) || (told == Told::MustNot && heard) {
            return Err(format!("the survivor was told of a death: {heard}; it {told:?}"));
        }
        drop(self.mutex.lock_or_repair(|data| *data = [7, 7]).map_err(during("repair"))?);
        let data = *self.mutex.lock().map_err(during("lock after the repair"))?;
        if heard && data != [7, 7] {
            return Err(format!("the repair is lost: {data:?}"));
        }
        let Self { world, mutex } = self;
        drop(mutex);
        world.is_empty_again()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Must,
    May,
    MustNot,
}

fn open(manager: &ginnel::Manager) -> ginnel::Result<Mutex<Data>> {
    manager.get_or_create_with(NAME, Init(Some([0, 0])))
}

fn subject(
    setup: impl FnMut() -> Result<MutexWorld, String> + 'static,
    victim: impl Fn(&MutexWorld, &Mutex<Data>, &ginnel_testkit::step::Marks) + 'static,
    check: impl FnMut(MutexWorld, bool) -> Result<(), String> + 'static,
) -> Subject<'static, MutexWorld> {
    let mut check = check;
    Subject {
        setup: Box::new(setup),
        view: Box::new(|world: &MutexWorld| world.world.view()),
        victim: Box::new(move |world, marks| {
            let manager = world.world.attach();
            let mutex = open(&manager).expect("the mutex is there");
            victim(world, &mutex, marks);
        }),
        check: Box::new(move |world, _| {
            let done = world.world.results.get(DONE) == 1;
            check(world, done)
        }),
    }
}

pub(super) fn lock(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(
        MutexWorld::new,
        |world, mutex, marks| {
            marks.begin();
            let guard = mutex.lock();
            world.world.results.set(DONE, u64::from(guard.is_ok()));
            marks.end();
        },
        |world, done| world.after_death(if done { Told::Must } else { Told::May }, &[[0, 0]]),
    );
    all(plan, progress, [("free".to_owned(), subject)])
}

pub(super) fn lock_asleep(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(
        || {
            let world = MutexWorld::new()?;
            // Held by the survivor, through a guard that it forgets, to its end.
            std::mem::forget(world.mutex.lock().map_err(during("hold the mutex"))?);
            Ok(world)
        },
        |world, mutex, marks| {
            marks.begin();
            let guard = mutex.lock_timeout(Duration::from_micros(200));
            world.world.results.set(DONE, 1 + u64::from(guard.is_ok()));
            marks.end();
        },
        |mut world, _| {
            if world.world.results.get(DONE) == 2 {
                return Err("two hold the mutex".to_owned());
            }
            world.world.recover_one()?;
            match world.mutex.try_lock() {
                Ok(None) => {}
                other => return Err(format!("the survivor's lock did not survive: {other:?}")),
            }
            match world.mutex.lock() {
                Err(error) if error.kind() == ginnel::ErrorKind::Deadlock => {}
                other => return Err(format!("expected the word that this thread holds it: {other:?}")),
            }
            drop(world.mutex);
            world.world.replace_survivor()?;
            world.world.is_empty_again()
        },
    );
    all(plan, progress, [("held by the survivor".to_owned(), subject)])
}

pub(super) fn unlock(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(
        MutexWorld::new,
        |world, mutex, marks| {
            let mut guard = mutex.lock().expect("the mutex is free");
            *guard = [1, 1];
            marks.begin();
            drop(guard);
            world.world.results.set(DONE, 1);
            marks.end();
        },
        |world, done| world.after_death(if done { Told::MustNot } else { Told::May }, &[[1, 1]]),
    );
    all(plan, progress, [("held by the victim".to_owned(), subject)])
}

pub(super) fn lock_or_repair(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let free = subject(
        MutexWorld::new,
        |world, mutex, marks| {
            marks.begin();
            drop(mutex.lock_or_repair(|data| *data = [5, 5]));
            world.world.results.set(DONE, 1);
            marks.end();
        },
        |world, done| world.after_death(if done { Told::MustNot } else { Told::May }, &[[0, 0]]),
    );
    let dirty = subject(
        MutexWorld::dirty,
        |world, mutex, marks| {
            marks.begin();
            drop(mutex.lock_or_repair(|data| *data = [5, 5]));
            world.world.results.set(DONE, 1);
            marks.end();
        },
        // Once released it is whole; before that nobody may be let in.
        |world, done| world.after_death(if done { Told::MustNot } else { Told::May }, &[[5, 5]]),
    );
    all(plan, progress, [("clean".to_owned(), free), ("left dirty".to_owned(), dirty)])
}
