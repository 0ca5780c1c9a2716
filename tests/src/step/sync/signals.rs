//! Semaphores and events: what one gives and another takes. Nobody owns them, so nobody is told of a death; whoever
//! waits for what is there must get it.

use std::time::Duration;

use ginnel::Manager;
use ginnel_testkit::step::Marks;

use super::{Cue, Doomed, LIMIT, MOMENT, Part, Play, Stage};
use crate::world::during;

/// What the victim says of its take.
const GAVE_UP: u64 = 1;
const TOOK: u64 = 2;

/// What one gives and another takes.
pub(super) trait Signal: Sized + 'static {
    /// How long the victim waits for what others may take before it, as it goes step by step.
    const ENOUGH: Duration = Duration::from_secs(2);

    fn open(manager: &Manager) -> ginnel::Result<Self>;

    fn give(&self) -> ginnel::Result<()>;

    /// Takes one, or goes on because it is there. False: the deadline came.
    fn take(&self, timeout: Duration) -> bool;

    fn is_there(&self) -> bool;

    /// How often it could be taken, where it is counted.
    fn count(&self) -> Option<i64> {
        None
    }
}

/// A sleeper's whole part.
pub(super) fn sleep_and_take<S: Signal>(signal: &S, cue: &Cue<'_>) {
    cue.here();
    assert!(signal.take(LIMIT), "it is given within {LIMIT:?}");
    cue.says(1);
}

fn give_when_it_sleeps<S: Signal>(signal: &S, cue: &Cue<'_>) {
    cue.here();
    cue.until_victim_sleeps();
    signal.give().expect("it may be given");
    cue.says(1);
}

fn give_when_both_sleep<S: Signal>(signal: &S, cue: &Cue<'_>) {
    cue.here();
    cue.until_victim_sleeps();
    cue.call(1, true);
    signal.give().expect("it may be given");
    cue.says(1);
}

/// Everybody comes to an end: by what is there, and where there is nothing, by what the survivor gives. `HELPERS` of the
/// others gave. `DELTA` is what the victim did to the count, or may have done; `BEFORE` what was given besides.
fn settle<S: Signal, const HELPERS: usize, const DELTA: i64, const BEFORE: i64>(
    stage: &mut Stage<S>,
) -> Result<(), String> {
    let done = stage.said() != 0;
    stage.cue().go_on();
    for helper in 0..HELPERS {
        stage.ends(helper)?;
    }
    let (mut count, sleepers) = (BEFORE, HELPERS..stage.others.len());
    if done && DELTA > 0 && !sleepers.clone().all(|sleeper| stage.is_woken(sleeper)) {
        return Err("not woken: who waits sleeps on after the gift".to_owned());
    }
    for sleeper in sleepers.clone() {
        let given = (done && DELTA > 0) || stage.it.is_there() || stage.is_over(sleeper);
        if !given {
            stage.promptly("the survivor's gift", S::give)?;
            count += 1;
            stage.count_from_now();
        }
        stage.ends(sleeper)?;
    }
    count -= sleepers.len() as i64;
    let gave_up = DELTA < 0 && stage.said() == GAVE_UP;
    if gave_up && sleepers.is_empty() {
        return Err("not taken, and it was there".to_owned());
    }
    let Some(found) = stage.it.count() else { return works(stage) };
    let delta = if gave_up { 0 } else { DELTA };
    let allowed = if done { vec![count + delta] } else { vec![count, count + delta] };
    if !allowed.contains(&found) {
        return Err(format!("lost or duplicated: the count is {found}, expected one of {allowed:?}"));
    }
    works(stage)
}

fn works<S: Signal>(stage: &Stage<S>) -> Result<(), String> {
    stage.promptly("give", S::give)?;
    if stage.promptly("take", |signal| Ok(signal.take(LIMIT)))? {
        return Ok(());
    }
    Err("it was given, and nobody may take it".to_owned())
}

fn takes<S: Signal>(signal: &S, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let taken = signal.take(S::ENOUGH);
    cue.says(if taken { TOOK } else { GAVE_UP });
    marks.end();
}

fn takes_in_vain<S: Signal>(signal: &S, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let taken = signal.take(MOMENT);
    // Whoever takes what was never given does not come to its end.
    assert!(!taken, "nothing was given");
    cue.says(1);
    marks.end();
}

fn gives<S: Signal>(signal: &S, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let given = signal.give();
    cue.says(u64::from(given.is_ok()));
    marks.end();
}

/// Everything that a victim does with a signal that is used up.
pub(super) fn plays<S: Signal>() -> Vec<Play<S>> {
    let there = |signal: &S| signal.give().map_err(during("give it first"));
    vec![
        Play::new("takes what is there", S::open, takes, settle::<S, 0, -1, 1>).before(there),
        Play::new("gives up", S::open, takes_in_vain, settle::<S, 0, 0, 0>),
        Play::new("sleeps, and takes", S::open, takes, settle::<S, 1, -1, 1>)
            .beside(Part::helper(give_when_it_sleeps)),
        Play::new("is woken in front of another sleeper", S::open, takes, settle::<S, 1, -1, 1>)
            .beside(Part::helper(give_when_both_sleep))
            .beside(Part::called(sleep_and_take)),
        Play::new("gives up beside another sleeper", S::open, takes_in_vain, settle::<S, 0, 0, 0>)
            .beside(Part::sleeper(sleep_and_take)),
        Play::new("gives, nobody waits", S::open, gives, settle::<S, 0, 1, 0>),
        Play::new("gives, and wakes one", S::open, gives, settle::<S, 0, 1, 0>)
            .beside(Part::sleeper(sleep_and_take)),
    ]
}

/// The victim recovers one who died after it gave, and before it woke the sleeper.
pub(super) fn recoveries<S: Signal>() -> Vec<Play<S>> {
    let doomed = Doomed {
        operation: |signal: &S, marks: &Marks| {
            marks.begin();
            let _ = signal.give();
            marks.end();
        },
        reached: S::is_there,
    };
    let check = |stage: &mut Stage<S>| {
        stage.ends(0)?;
        works(stage)
    };
    vec![
        Play::recovery("after a gift that woke nobody", S::open, doomed, check)
            .beside(Part::sleeper(sleep_and_take).stopped()),
    ]
}
