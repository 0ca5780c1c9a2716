//! What is done once, and the value that is made once: one who dies in it is followed by another, who is told.

use ginnel::Manager;
use ginnel::sync::{Once, OnceValue};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report};

use super::doors::NAME;
use super::{Cue, Doomed, LIMIT, Part, Play, Stage, play, play_recoveries};
use crate::step::Progress;

/// What the others say.
const FOUND_DONE: u64 = 1;
const DID_IT: u64 = 2;
const DID_IT_TOLD: u64 = 3;

/// What the value is when the victim made it, and when another one did.
const VICTIMS: u64 = 0x1111_2222_3333_4444;
const OTHERS: u64 = 0x5555_6666_7777_8888;

fn open(manager: &Manager) -> ginnel::Result<Once> {
    manager.get_or_create(NAME)
}

fn open_value(manager: &Manager) -> ginnel::Result<OnceValue<u64>> {
    manager.get_or_create(NAME)
}

/// Does it unless it is done. What it then has to say.
fn call(once: &Once) -> ginnel::Result<u64> {
    let mut said = FOUND_DONE;
    once.call_once(|state| said = if state.previous_died() { DID_IT_TOLD } else { DID_IT })?;
    Ok(said)
}

fn call_and_say(once: &Once, cue: &Cue<'_>) {
    cue.here();
    cue.says(call(once).expect("a good once"));
}

fn is_in_it_until_it_sleeps(once: &Once, cue: &Cue<'_>) {
    once.call_once(|_| {
        cue.here();
        cue.until_victim_sleeps();
    })
    .expect("a good once");
    cue.says(FOUND_DONE);
}

/// Of all who come after the death one at most does it, told if the victim had begun, and nobody if it was done.
fn done_once(stage: &mut Stage<Once>) -> Result<(), String> {
    let (done, begun) = (stage.said() != 0, stage.cue().counted() != 0);
    let was_completed = stage.it.is_completed();
    stage.cue().go_on();
    let mut said = Vec::new();
    for index in 0..stage.others.len() {
        said.push(stage.ends(index)?);
    }
    said.push(stage.promptly("the survivor's call", call)?);
    let runs: Vec<u64> = said.iter().copied().filter(|said| *said != FOUND_DONE).collect();
    let right = match runs.as_slice() {
        [] => was_completed || !stage.others.is_empty(),
        [told] => !was_completed && !done && (*told == DID_IT_TOLD || !begun),
        _ => false,
    };
    if !right || !stage.it.is_completed() {
        return Err(format!("done: {done}, completed: {was_completed}, begun: {begun}; they said {said:?}"));
    }
    match stage.promptly("the survivor's second call", call)? {
        FOUND_DONE => Ok(()),
        said => Err(format!("it was done, and is done again: {said}")),
    }
}

fn calls(once: &Once, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let outcome = once.call_once(|_| {
        cue.count();
    });
    cue.says(u64::from(outcome.is_ok()));
    marks.end();
}

fn finds_done(once: &Once, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let outcome = once.call_once(|_| panic!("it is done"));
    cue.says(u64::from(outcome.is_ok()));
    marks.end();
}

fn ends_its_call(once: &Once, marks: &Marks, cue: &Cue<'_>) {
    let outcome = once.call_once(|_| {
        cue.call(0, true);
        cue.count();
        cue.begins(marks);
    });
    cue.says(u64::from(outcome.is_ok()));
    marks.end();
}

fn plays() -> Vec<Play<Once>> {
    vec![
        Play::new("does it", open, calls, done_once),
        Play::new("finds it done", open, finds_done, done_once)
            .before(|once| call(once).map(drop).map_err(|error| error.to_string())),
        Play::new("ends it, and wakes one", open, ends_its_call, done_once)
            .beside(Part::called(call_and_say)),
        Play::new("sleeps, and finds it done", open, finds_done, done_once)
            .beside(Part::helper(is_in_it_until_it_sleeps)),
    ]
}

fn wait_and_say(value: &OnceValue<u64>, cue: &Cue<'_>) {
    cue.here();
    cue.says(*value.wait_timeout(LIMIT).expect("it is made"));
}

/// Whoever waits sees the one value, made by the victim or by the survivor.
fn made_once(stage: &mut Stage<OnceValue<u64>>) -> Result<(), String> {
    let done = stage.said() != 0;
    let before = stage.it.get().copied();
    let value = stage.promptly("the survivor's value", |value| value.get_or_init(|| OTHERS).copied())?;
    if before.is_none() {
        stage.count_from_now();
    }
    let right = match before {
        Some(before) => before == VICTIMS && value == VICTIMS,
        // The victim may have made it, and whoever waits has recovered it, between the two looks.
        None => !done && [VICTIMS, OTHERS].contains(&value),
    };
    if !right {
        return Err(format!("done: {done}, it was {before:x?}, and is {value:x}"));
    }
    for index in 0..stage.others.len() {
        let said = stage.ends(index)?;
        if said != value {
            return Err(format!("who waited sees {said:x}, and it is {value:x}"));
        }
    }
    match stage.it.set(OTHERS) {
        Err(_) if stage.it.get() == Some(&value) => Ok(()),
        other => Err(format!("it is made, and may be set again: {other:?}")),
    }
}

fn sets(value: &OnceValue<u64>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let outcome = value.set(VICTIMS);
    cue.says(u64::from(outcome.is_ok()));
    marks.end();
}

fn makes(value: &OnceValue<u64>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let outcome = value.get_or_init(|| VICTIMS);
    cue.says(u64::from(outcome.is_ok()));
    marks.end();
}

fn plays_of_values() -> Vec<Play<OnceValue<u64>>> {
    vec![
        Play::new("makes a value", open_value, makes, made_once),
        Play::new("sets a value, and wakes two", open_value, sets, made_once)
            .beside(Part::sleeper(wait_and_say))
            .beside(Part::sleeper(wait_and_say)),
    ]
}

/// The victim recovers one who died in the call; another one sleeps in front of it.
fn recoveries() -> Vec<Play<Once>> {
    let doomed = Doomed {
        operation: |once: &Once, marks: &Marks| {
            let _ = once.call_once(|_| {
                marks.begin();
                std::hint::black_box(once);
            });
            marks.end();
        },
        reached: |_| true,
    };
    let check = |stage: &mut Stage<Once>| {
        match stage.ends(0)? {
            DID_IT_TOLD => {}
            said => return Err(format!("one died in the call, and the next says {said}")),
        }
        match stage.promptly("the survivor's call", call)? {
            FOUND_DONE => Ok(()),
            said => Err(format!("it was done, and is done again: {said}")),
        }
    };
    vec![
        Play::recovery("after a death in the call", open, doomed, check)
            .beside(Part::sleeper(call_and_say).stopped()),
    ]
}

pub(in crate::step) fn once(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play(plan, progress, plays())?;
    Ok(report.and(play(plan, progress, plays_of_values())?))
}

pub(in crate::step) fn once_recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play_recoveries(plan, progress, recoveries())
}
