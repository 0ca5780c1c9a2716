//! The condition variable, with a counter behind a mutex: a notify never waits for one who waits, and what it has begun
//! reaches them though it dies.

use std::time::Duration;

use ginnel::Manager;
use ginnel::sync::{Condvar, Init, Mutex, MutexGuard};
use ginnel_layout::atomic::Ordering::Acquire;
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report};

use super::{Cue, Doomed, LIMIT, MOMENT, Part, Play, Stage, play, play_recoveries};
use crate::step::Progress;
use crate::world::locate;

const CONDVAR: &str = "changed";
const MUTEX: &str = "count";

/// Where the sequence stands in a condition variable: its line is the second.
const SEQUENCE_AT: u64 = 128;

/// The count is raised by one who then notifies, and lowered by one who waits for that.
struct Counter {
    changed: Condvar,
    count: Mutex<u64>,
}

impl Counter {
    fn open(manager: &Manager) -> ginnel::Result<Self> {
        Ok(Self {
            changed: manager.get_or_create(CONDVAR)?,
            count: manager.get_or_create_with(MUTEX, Init(Some(0)))?,
        })
    }

    /// Locks. A count is whole whatever happened.
    fn lock(&self) -> ginnel::Result<MutexGuard<'_, u64>> {
        self.count.lock_or_repair(|_| {})
    }

    fn raise(&self, by: u64) -> ginnel::Result<()> {
        *self.lock()? += by;
        Ok(())
    }

    /// Waits until the count is not zero, and lowers it. False: the deadline came.
    fn lower(&self, timeout: Duration) -> ginnel::Result<bool> {
        let mut guard = self.lock()?;
        loop {
            match self.changed.wait_timeout_while(guard, timeout, |count| *count == 0) {
                Ok((mut count, outcome)) => {
                    let came = !outcome.timed_out() || *count > 0;
                    *count -= u64::from(came);
                    return Ok(came);
                }
                // A holder of the mutex died: the wait begins anew.
                Err(error) if error.is_owner_died() => guard = self.lock()?,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Has somebody notified?
fn is_notified(stage: &Stage<Counter>) -> bool {
    stage.world.view().is_some_and(|view| {
        let at = locate(&view, CONDVAR).unwrap_or_default();
        view.half(((at + SEQUENCE_AT) / 4) as usize).load(Acquire) != 0
    })
}

fn sleep_and_lower(counter: &Counter, cue: &Cue<'_>) {
    cue.here();
    assert!(counter.lower(LIMIT).expect("a good counter"), "it is raised within {LIMIT:?}");
    cue.says(1);
}

fn raise_when_it_sleeps(counter: &Counter, cue: &Cue<'_>) {
    cue.here();
    cue.until_victim_sleeps();
    counter.raise(1).expect("a good counter");
    counter.changed.notify_one();
    cue.says(1);
}

fn raise_when_both_sleep(counter: &Counter, cue: &Cue<'_>) {
    cue.here();
    cue.until_victim_sleeps();
    cue.call(1, true);
    counter.raise(1).expect("a good counter");
    counter.changed.notify_one();
    cue.says(1);
}

/// Whoever sleeps comes to its end: by a notify that was begun, or by the survivor's.
fn notified(stage: &mut Stage<Counter>) -> Result<(), String> {
    if stage.said() != 0 && !(0..stage.others.len()).all(|index| stage.is_woken(index)) {
        return Err("not woken: one sleeps on after the notify".to_owned());
    }
    if !is_notified(stage) {
        stage.promptly("the survivor's notify", |counter| {
            counter.changed.notify_all();
            Ok(())
        })?;
        stage.count_from_now();
    }
    for index in 0..stage.others.len() {
        stage.ends(index)?;
    }
    works(stage)
}

/// The helper has notified; whoever sleeps behind the victim gets what the victim did not take.
fn waited(stage: &mut Stage<Counter>) -> Result<(), String> {
    stage.cue().go_on();
    let helpers = stage.others.len().min(1);
    for index in 0..helpers {
        stage.ends(index)?;
    }
    for index in helpers..stage.others.len() {
        let count = stage.promptly("look at the count", |counter| counter.lock().map(|count| *count))?;
        if count == 0 && !stage.is_over(index) {
            stage.promptly("the survivor's notify", |counter| {
                counter.raise(1)?;
                counter.changed.notify_one();
                Ok(())
            })?;
            stage.count_from_now();
        }
        stage.ends(index)?;
    }
    works(stage)
}

/// Notifies find nobody, and return at once; the mutex is to be had.
fn works(stage: &Stage<Counter>) -> Result<(), String> {
    stage.promptly("notify nobody", |counter| {
        counter.changed.notify_one();
        counter.changed.notify_many(3);
        counter.changed.notify_all();
        Ok(())
    })?;
    let came = stage.promptly("raise and lower", |counter| {
        counter.raise(1)?;
        counter.lower(LIMIT)
    })?;
    if came { Ok(()) } else { Err("the count was raised, and nobody may lower it".to_owned()) }
}

fn notifies_one(counter: &Counter, marks: &Marks, cue: &Cue<'_>) {
    counter.raise(1).expect("a good counter");
    cue.begins(marks);
    counter.changed.notify_one();
    cue.says(1);
    marks.end();
}

fn notifies_all(counter: &Counter, marks: &Marks, cue: &Cue<'_>) {
    counter.raise(2).expect("a good counter");
    cue.begins(marks);
    counter.changed.notify_all();
    cue.says(1);
    marks.end();
}

fn waits(counter: &Counter, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let came = counter.lower(LIMIT);
    cue.says(1 + u64::from(came.is_ok_and(|came| came)));
    marks.end();
}

fn waits_in_vain(counter: &Counter, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let came = counter.lower(MOMENT);
    assert!(matches!(came, Ok(false)), "nobody has raised the count: {came:?}");
    cue.says(1);
    marks.end();
}

fn plays() -> Vec<Play<Counter>> {
    vec![
        Play::new("notifies nobody", Counter::open, notifies_one, |stage| works(stage)),
        Play::new("notifies one", Counter::open, notifies_one, notified)
            .beside(Part::sleeper(sleep_and_lower)),
        Play::new("notifies two", Counter::open, notifies_all, notified)
            .beside(Part::sleeper(sleep_and_lower))
            .beside(Part::sleeper(sleep_and_lower)),
        Play::new("gives up", Counter::open, waits_in_vain, waited),
        Play::new("sleeps, and is notified", Counter::open, waits, waited)
            .beside(Part::helper(raise_when_it_sleeps)),
        Play::new("is notified in front of another sleeper", Counter::open, waits, waited)
            .beside(Part::helper(raise_when_both_sleep))
            .beside(Part::called(sleep_and_lower)),
    ]
}

/// The victim recovers one who raised the count, and died in its notify.
fn recoveries() -> Vec<Play<Counter>> {
    let doomed = Doomed {
        operation: |counter: &Counter, marks: &Marks| {
            marks.begin();
            counter.raise(1).expect("a good counter");
            counter.changed.notify_one();
            marks.end();
        },
        reached: |counter: &Counter| counter.count.owner().is_some(),
    };
    let check = |stage: &mut Stage<Counter>| {
        let helped = |counter: &Counter| {
            let is_zero = *counter.lock()? == 0;
            if is_zero {
                counter.raise(1)?;
            }
            counter.changed.notify_one();
            Ok(())
        };
        stage.promptly("the survivor's notify", helped)?;
        stage.count_from_now();
        stage.ends(0)?;
        works(stage)
    };
    vec![
        Play::recovery("after a death with the mutex", Counter::open, doomed, check)
            .beside(Part::sleeper(sleep_and_lower).stopped()),
    ]
}

pub(in crate::step) fn condvar(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, plays())
}

pub(in crate::step) fn condvar_recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play_recoveries(plan, progress, recoveries())
}
