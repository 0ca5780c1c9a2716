//! Locks in processes that have the detector of deadlocks on: what they announce must not outlive them.
//!
//! The survivor has it off. A process that has switched it on leaves no attachment behind, and the survivor lives
//! through all trials.

use std::time::Duration;

use ginnel::sync::{Lock, LockGuard};
use ginnel::{ErrorKind, Manager, Owner};
use ginnel_layout::atomic::Ordering::Acquire;
use ginnel_layout::line::PAGE;
use ginnel_layout::lock::WAIT_WORDS;
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report};

use super::doors::{self, Door, NAME};
use super::{Cue, LIMIT, Part, Play, Stage, play};
use crate::step::Progress;
use crate::world::{during, locate};

/// Two locks, each of which somebody may hold who waits for the other.
struct Watched(Lock, Lock);

const SECOND: &str = "second";
const TABLE: &str = "ginnel.waits";

impl Door for Watched {
    type Guard<'a> = LockGuard<'a>;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        // The survivor is the first to come.
        if !manager.names().is_empty() {
            manager.detect_deadlocks()?;
        }
        Ok(Self(manager.get_or_create(NAME)?, manager.get_or_create(SECOND)?))
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        let guard = self.0.lock_timeout(timeout)?;
        let told = guard.previous_owner_died().is_some();
        Ok((guard, told))
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        self.0.try_lock()
    }

    fn owner(&self) -> Option<Owner> {
        self.0.owner()
    }
}

/// Holds the second, and waits for the first.
fn hold_second_and_come(watched: &Watched, cue: &Cue<'_>) {
    let second = watched.1.lock().expect("nobody else is there");
    doors::come_and_go(watched, cue);
    drop(second);
}

fn closes_the_cycle(watched: &Watched, marks: &Marks, cue: &Cue<'_>) {
    let first = watched.0.lock().expect("nobody else is there");
    cue.call(0, true);
    cue.begins(marks);
    let second = watched.1.lock();
    let named = second.as_ref().is_err_and(|error| error.kind() == ErrorKind::Deadlock);
    assert!(named, "expected the word that two wait for each other: {second:?}");
    cue.says(1);
    marks.end();
    drop((first, second));
}

/// The victim died with the first lock, so the other one comes in and is told; and nothing is announced any more.
fn cycle_is_gone(stage: &mut Stage<Watched>) -> Result<(), String> {
    doors::sleeper_is_told(stage)?;
    stage.promptly("the second lock", |watched| watched.1.lock_timeout(LIMIT).map(drop))?;
    stage.world.manager.recover().map_err(during("recover"))?;
    let view = stage.world.view().ok_or("the segment cannot be looked at")?;
    let table = locate(&view, TABLE).ok_or("there is no table of waits")? as usize / 8;
    const { assert!(WAIT_WORDS * 8 <= 4 * PAGE) };
    let left = (0..WAIT_WORDS).filter(|index| view.word(table + index).load(Acquire) != 0).count();
    if left == 0 { Ok(()) } else { Err(format!("leaked: {left} waits of the dead are still announced")) }
}

pub(in crate::step) fn detect(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    // Only who waits announces itself, and walks; one who gives up explains itself at length besides.
    let waits = doors::plays::<Watched>(true).swap_remove(3);
    let report = play(plan, progress, [waits])?;
    let cycle = Play::new("closes a cycle", Watched::open, closes_the_cycle, cycle_is_gone)
        .beside(Part::called(hold_second_and_come));
    Ok(report.and(play(plan, progress, [cycle])?))
}
