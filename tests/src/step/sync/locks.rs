//! Mutex, lock and recursive lock, as doors; and one door that is none, to show that the plays notice.

use std::time::Duration;

use ginnel::sync::{Init, Lock, LockGuard, Mutex, MutexGuard, RLock, RLockGuard, Semaphore};
use ginnel::{Manager, Owner};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report};

use super::doors::{self, Door, NAME};
use super::{Cue, Part, Play, Stage, play, play_recoveries};
use crate::step::Progress;
use crate::world::during;

impl Door for Mutex<u64> {
    type Guard<'a> = MutexGuard<'a, u64>;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create_with(NAME, Init(Some(0)))
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        match self.lock_timeout(timeout) {
            Ok(guard) => Ok((guard, false)),
            Err(error) if error.is_owner_died() => Ok((self.lock_or_repair(|data| *data += 1)?, true)),
            Err(error) => Err(error),
        }
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        self.try_lock()
    }

    fn owner(&self) -> Option<Owner> {
        Self::owner(self)
    }
}

impl Door for Lock {
    type Guard<'a> = LockGuard<'a>;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create(NAME)
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        let guard = self.lock_timeout(timeout)?;
        let told = guard.previous_owner_died().is_some();
        Ok((guard, told))
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        self.try_lock()
    }

    fn owner(&self) -> Option<Owner> {
        Self::owner(self)
    }
}

impl Door for RLock {
    type Guard<'a> = RLockGuard<'a>;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create(NAME)
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        let guard = self.lock_timeout(timeout)?;
        let told = guard.previous_owner_died().is_some();
        Ok((guard, told))
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        self.try_lock()
    }

    fn owner(&self) -> Option<Owner> {
        Self::owner(self)
    }
}

/// A semaphore of one, used as a lock. It does not know who is inside, so a death inside locks all others out.
struct Nobodys(Semaphore);

struct Inside<'a>(&'a Nobodys);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.release(1).expect("it was taken");
    }
}

impl Door for Nobodys {
    type Guard<'a> = Inside<'a>;
    const TELLS: bool = false;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create_with(NAME, ginnel::sync::Count::new(1)).map(Self)
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        // Enough to be too late, and no more: this one is to fail.
        let came = self.0.acquire_timeout(timeout.min(Duration::from_millis(400)));
        came.then_some((Inside(self), false))
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        Ok(self.0.try_acquire().then_some(Inside(self)))
    }

    fn owner(&self) -> Option<Owner> {
        None
    }
}

/// What is told once is not told again by those who lock twice.
fn locks_twice(lock: &RLock, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let first = lock.lock().expect("nobody else is there");
    let second = lock.lock().expect("it is ours");
    drop(first);
    drop(second);
    cue.says(1);
    marks.end();
}

fn leaves_the_inner(lock: &RLock, marks: &Marks, cue: &Cue<'_>) {
    let outer = lock.lock().expect("nobody else is there");
    let inner = lock.try_lock().expect("a good lock").expect("it is ours");
    cue.call(0, true);
    cue.begins(marks);
    drop(inner);
    cue.says(1);
    marks.end();
    drop(outer);
}

fn plays_of_recursion() -> Vec<Play<RLock>> {
    vec![
        Play::new("comes in twice, leaves twice", RLock::open, locks_twice, doors::after_death),
        Play::new("leaves once, and is inside", RLock::open, leaves_the_inner, |stage| {
            // It is inside whatever it has done, so whoever sleeps comes in by its death, and is told.
            doors::sleeper_is_told(stage)
        })
        .beside(Part::called(doors::come_and_go)),
    ]
}

/// What another took may be released by anybody, and nobody is told of that.
fn play_unowned() -> Play<Lock> {
    let taken = |lock: &Lock| {
        std::mem::forget(lock.lock().map_err(during("take it"))?);
        Ok(())
    };
    let release = |lock: &Lock, marks: &Marks, cue: &Cue<'_>| {
        cue.begins(marks);
        let released = lock.release_unowned();
        cue.says(u64::from(released.is_ok()));
        marks.end();
    };
    let check = |stage: &mut Stage<Lock>| {
        if stage.said() == 0 && stage.it.is_locked() {
            stage.promptly("release it", Lock::release_unowned)?;
        }
        if stage.it.is_locked() || stage.it.release_unowned().is_ok() {
            return Err("it was released, and is taken".to_owned());
        }
        doors::survivor_enters_untold(stage)
    };
    Play::new("releases what another took", <Lock as Door>::open, release, check).before(taken)
}

pub(in crate::step) fn mutex(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, doors::plays::<Mutex<u64>>(false))
}

pub(in crate::step) fn lock(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play(plan, progress, doors::plays::<Lock>(false))?;
    Ok(report.and(play(plan, progress, [play_unowned()])?))
}

pub(in crate::step) fn rlock(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play(plan, progress, doors::plays::<RLock>(true))?;
    Ok(report.and(play(plan, progress, plays_of_recursion())?))
}

pub(in crate::step) fn locks_recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    // All three go through the same words; the sleepers look at each of them.
    let report = play_recoveries(plan, progress, doors::recoveries::<Mutex<u64>>())?;
    let report = report.and(play_recoveries(plan, progress, doors::recoveries::<Lock>().split_off(1))?);
    Ok(report.and(play_recoveries(plan, progress, doors::recoveries::<RLock>().split_off(1))?))
}

/// Broken: a death inside must be noticed here.
pub(in crate::step) fn nobodys(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, doors::plays::<Nobodys>(true))
}
