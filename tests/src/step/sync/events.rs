//! The semaphore and the event, as signals, and what is the event's own: it stays set, and a set that is cleared at once
//! releases all who waited before it.

use std::time::Duration;

use ginnel::Manager;
use ginnel::sync::{Event, Reset, Semaphore};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report};

use super::doors::NAME;
use super::signals::{self, Signal, sleep_and_take};
use super::{Cue, Doomed, LIMIT, MOMENT, Part, Play, Stage, play, play_recoveries};
use crate::step::Progress;
use crate::world::during;

impl Signal for Semaphore {
    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create(NAME)
    }

    fn give(&self) -> ginnel::Result<()> {
        self.release(1)
    }

    fn take(&self, timeout: Duration) -> bool {
        self.acquire_timeout(timeout)
    }

    fn is_there(&self) -> bool {
        self.value() > 0
    }

    fn count(&self) -> Option<i64> {
        Some(i64::from(self.value()))
    }
}

/// An event that lets one pass.
struct Auto(Event);

impl Signal for Auto {
    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create_with(NAME, Reset::Auto).map(Self)
    }

    fn give(&self) -> ginnel::Result<()> {
        self.0.set();
        Ok(())
    }

    fn take(&self, timeout: Duration) -> bool {
        self.0.wait_timeout(timeout)
    }

    fn is_there(&self) -> bool {
        self.0.is_set()
    }
}

/// An event that lets all pass.
struct Manual(Event);

impl Signal for Manual {
    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create_with(NAME, Reset::Manual).map(Self)
    }

    fn give(&self) -> ginnel::Result<()> {
        self.0.set();
        Ok(())
    }

    fn take(&self, timeout: Duration) -> bool {
        self.0.wait_timeout(timeout)
    }

    fn is_there(&self) -> bool {
        self.0.is_set()
    }
}

/// Both sleepers come to their end: by the victim's set, or by the survivor's.
fn all_are_released(stage: &mut Stage<Manual>) -> Result<(), String> {
    let done = stage.said() != 0;
    if done && !(stage.is_woken(0) && stage.is_woken(1)) {
        return Err("not woken: one sleeps on after the set".to_owned());
    }
    let released = done || stage.it.is_there() || stage.is_over(0) || stage.is_over(1);
    if !released {
        stage.promptly("the survivor's set", Manual::give)?;
        stage.count_from_now();
    }
    stage.ends(0)?;
    stage.ends(1)?;
    works(stage)
}

/// It can be set, seen, cleared, and then be waited for in vain.
fn works(stage: &Stage<Manual>) -> Result<(), String> {
    let right = stage.promptly("set, wait, clear", |Manual(event)| {
        event.set();
        let passed = event.wait_timeout(LIMIT) && event.is_set();
        event.clear();
        Ok(passed && !event.is_set() && !event.wait_timeout(MOMENT))
    })?;
    if right { Ok(()) } else { Err("the event is not what it was set to".to_owned()) }
}

fn sets(Manual(event): &Manual, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    event.set();
    cue.says(1);
    marks.end();
}

fn pulses(Manual(event): &Manual, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    event.set();
    event.clear();
    cue.says(1);
    marks.end();
}

fn clears(Manual(event): &Manual, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    event.clear();
    cue.says(1);
    marks.end();
}

fn waits(manual: &Manual, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    cue.says(1 + u64::from(manual.take(LIMIT)));
    marks.end();
}

fn waits_in_vain(manual: &Manual, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    cue.says(1 + u64::from(manual.take(MOMENT)));
    marks.end();
}

fn set_when_it_sleeps(manual: &Manual, cue: &Cue<'_>) {
    cue.here();
    cue.until_victim_sleeps();
    manual.0.set();
    cue.says(1);
}

/// Who waits does not change what it waits for.
fn is_still_set(stage: &mut Stage<Manual>) -> Result<(), String> {
    stage.cue().go_on();
    for index in 0..stage.others.len() {
        stage.ends(index)?;
    }
    if !stage.it.is_there() || stage.said() == 1 {
        return Err(format!("it was set, and the victim said {}", stage.said()));
    }
    works(stage)
}

fn plays() -> Vec<Play<Manual>> {
    let set = |manual: &Manual| manual.give().map_err(during("set it first"));
    let both =
        |play: Play<Manual>| play.beside(Part::sleeper(sleep_and_take)).beside(Part::sleeper(sleep_and_take));
    vec![
        both(Play::new("sets, and wakes two", Manual::open, sets, all_are_released)),
        both(Play::new("sets and clears, and wakes two", Manual::open, pulses, all_are_released)),
        Play::new("sets, nobody waits", Manual::open, sets, |stage| works(stage)),
        Play::new("clears", Manual::open, clears, |stage| {
            if stage.said() != 0 && stage.it.is_there() {
                return Err("it was cleared, and is set".to_owned());
            }
            works(stage)
        })
        .before(set),
        Play::new("waits for what is set", Manual::open, waits, is_still_set).before(set),
        Play::new("sleeps, and is released", Manual::open, waits, is_still_set)
            .beside(Part::helper(set_when_it_sleeps)),
        Play::new("gives up", Manual::open, waits_in_vain, |stage| {
            if stage.said() == 2 || stage.it.is_there() {
                return Err("nobody has set it".to_owned());
            }
            works(stage)
        }),
    ]
}

/// The victim recovers one who set it and woke nobody.
fn recoveries() -> Vec<Play<Manual>> {
    let doomed = Doomed {
        operation: |manual: &Manual, marks: &Marks| {
            marks.begin();
            manual.0.set();
            marks.end();
        },
        reached: Manual::is_there,
    };
    let check = |stage: &mut Stage<Manual>| {
        stage.ends(0)?;
        works(stage)
    };
    vec![
        Play::recovery("after a set that woke nobody", Manual::open, doomed, check)
            .beside(Part::sleeper(sleep_and_take).stopped()),
    ]
}

pub(in crate::step) fn semaphore(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, signals::plays::<Semaphore>())
}

pub(in crate::step) fn event(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, plays())
}

pub(in crate::step) fn event_auto(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, signals::plays::<Auto>())
}

pub(in crate::step) fn signals_recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play_recoveries(plan, progress, signals::recoveries::<Semaphore>())?;
    let report = report.and(play_recoveries(plan, progress, signals::recoveries::<Auto>())?);
    Ok(report.and(play_recoveries(plan, progress, recoveries())?))
}
