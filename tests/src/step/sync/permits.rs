//! Permits, which a death gives back. A pool of one is a door; of two, both must be had again.

use std::time::Duration;

use ginnel::sync::{Permit, PermitPool, Permits};
use ginnel::{Manager, Owner};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report};

use super::doors::{self, Door, NAME};
use super::{Cue, LIMIT, Part, Play, Stage, play, play_recoveries};
use crate::step::Progress;

/// A pool with one permit.
struct One(PermitPool);

impl Door for One {
    type Guard<'a> = Permit<'a>;
    const TELLS: bool = false;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        pool(manager, 1).map(Self)
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        self.0.acquire_timeout(timeout).map(|permit| (permit, false))
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        self.0.try_acquire()
    }

    fn owner(&self) -> Option<Owner> {
        self.0.holders().into_iter().next()
    }
}

fn pool(manager: &Manager, permits: u32) -> ginnel::Result<PermitPool> {
    manager.get_or_create_with(NAME, Permits(permits))
}

fn two(manager: &Manager) -> ginnel::Result<PermitPool> {
    pool(manager, 2)
}

/// Has one of the two for a while, until the victim is dead.
fn has_one(pool: &PermitPool, cue: &Cue<'_>) {
    let permit = pool.acquire().expect("there are two");
    cue.here();
    cue.until_victim_is_dead();
    drop(permit);
    cue.says(1);
}

/// Whatever the dead had, all permits are to be had, and no more than there are.
fn all_are_back(stage: &mut Stage<PermitPool>) -> Result<(), String> {
    stage.cue().go_on();
    for index in 0..stage.others.len() {
        stage.ends(index)?;
    }
    stage
        .promptly("the first permit", |pool| {
            let first = pool.acquire_timeout(LIMIT)?;
            let second = pool.acquire_timeout(LIMIT)?;
            let rest = (pool.available(), pool.try_acquire()?.is_none());
            drop((first, second));
            Ok(rest == (0, true) && pool.available() == 2)
        })?
        .then_some(())
        .ok_or_else(|| "lost or duplicated: a permit".to_owned())
}

fn acquires(pool: &PermitPool, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let permit = pool.acquire();
    cue.says(u64::from(permit.is_ok()));
    marks.end();
}

fn acquires_both_and_releases_one(pool: &PermitPool, marks: &Marks, cue: &Cue<'_>) {
    let first = pool.acquire().expect("there are two");
    cue.begins(marks);
    let second = pool.acquire();
    drop(first);
    cue.says(u64::from(second.is_ok()));
    marks.end();
}

pub(in crate::step) fn permits(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play(plan, progress, doors::plays::<One>(false))?;
    let of_two = [
        Play::new("takes one of two", two, acquires, all_are_back),
        Play::new("takes the second of two", two, acquires, all_are_back).beside(Part::helper(has_one)),
        Play::new("takes both, gives one back", two, acquires_both_and_releases_one, all_are_back),
    ];
    Ok(report.and(play(plan, progress, of_two)?))
}

pub(in crate::step) fn permits_recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play_recoveries(plan, progress, doors::recoveries::<One>())
}
