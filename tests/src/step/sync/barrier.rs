//! The barrier. A dead party breaks it, or leaves it, as was declared; in both cases nobody waits for the dead.

use std::time::Instant;

use ginnel::Manager;
use ginnel::sync::{Barrier, OnDeath, Options};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report};

use super::doors::NAME;
use super::{Cue, Doomed, LIMIT, MOMENT, PROMPT, Part, Play, Stage, cue, play, play_recoveries};
use crate::step::Progress;
use crate::world::during;

/// What the others say.
const PASSED: u64 = 1;
const LED: u64 = 2;
const BROKEN: u64 = 3;

/// One for so many, which the dead leave or break.
struct For<const PARTIES: u32, const LEAVE: bool>(Barrier);

impl<const PARTIES: u32, const LEAVE: bool> For<PARTIES, LEAVE> {
    fn open(manager: &Manager) -> ginnel::Result<Self> {
        let on_death = if LEAVE { OnDeath::Leave } else { OnDeath::Break };
        manager.get_or_create_with(NAME, Options { parties: PARTIES, on_death }).map(Self)
    }

    /// Arrives. What it then has to say.
    fn arrive(&self) -> ginnel::Result<u64> {
        match self.0.wait_timeout(LIMIT) {
            Ok(true) => Ok(LED),
            Ok(false) => Ok(PASSED),
            Err(error) if error.is_broken() => Ok(BROKEN),
            Err(error) => Err(error),
        }
    }
}

type Two<const LEAVE: bool> = For<2, LEAVE>;

fn arrive_and_say<const N: u32, const LEAVE: bool>(barrier: &For<N, LEAVE>, cue: &Cue<'_>) {
    cue.here();
    cue.says(barrier.arrive().expect("a good barrier"));
}

fn arrive_when_it_sleeps<const LEAVE: bool>(barrier: &Two<LEAVE>, cue: &Cue<'_>) {
    cue.here();
    cue.until_victim_sleeps();
    cue.count();
    cue.says(barrier.arrive().expect("a good barrier"));
}

/// The other sleeps at the barrier, or has come through; the survivor helps where nobody else can. True: it came
/// through, false: it was told that the barrier is broken.
fn other_comes_through<const LEAVE: bool>(
    stage: &mut Stage<Two<LEAVE>>,
    index: usize,
    may_break: bool,
) -> Result<bool, String> {
    // One who died after its arrival is one of the two, until whoever waits has recovered it, or has gone through.
    let start = Instant::now();
    while stage.it.0.waiting() == 2 && !stage.is_over(index) && start.elapsed() < PROMPT {
        cue::pace();
    }
    let barrier = &stage.it.0;
    let mut survivor = None;
    if !stage.is_over(index) && !barrier.is_broken() && barrier.waiting() == 1 {
        survivor = Some(stage.promptly("the survivor's arrival", For::arrive)?);
        stage.count_from_now();
    }
    let said = stage.ends(index)?;
    let broken = said == BROKEN || survivor == Some(BROKEN);
    if broken && !may_break {
        return Err(format!("broken, and nothing was to break it: {said}, the survivor {survivor:?}"));
    }
    if let Some(own) = survivor
        && (own == BROKEN) != (said == BROKEN)
    {
        return Err(format!("of one phase one learns {said} and the other {own}"));
    }
    Ok(!broken)
}

/// A new phase: one who comes now, and the survivor.
fn works<const LEAVE: bool>(stage: &mut Stage<Two<LEAVE>>, index: usize) -> Result<(), String> {
    if stage.it.0.is_broken() {
        match stage.promptly("arrive at a broken one", For::arrive)? {
            BROKEN => {}
            said => return Err(format!("it is broken, and lets through: {said}")),
        }
        stage.promptly("reset", |barrier| barrier.0.reset())?;
    }
    stage.cue().call(index, true);
    stage.count_from_now();
    // Where a ticket of the dead is left, the one who came has gone through with it.
    if !stage.is_over(index) {
        stage.promptly("the survivor's arrival", For::arrive)?;
    }
    match stage.ends(index)? {
        BROKEN if LEAVE || !stage.it.0.is_broken() => Err("broken, and nobody died in this phase".to_owned()),
        _ => Ok(()),
    }
}

/// The victim completes the phase of one who sleeps.
fn completed<const LEAVE: bool>(stage: &mut Stage<Two<LEAVE>>) -> Result<(), String> {
    let done = stage.said() != 0;
    if done && !stage.is_woken(0) {
        return Err("not woken: who waits sleeps on, and all have come".to_owned());
    }
    let through = other_comes_through(stage, 0, !LEAVE && !done)?;
    if done && !through {
        return Err("all had come, and the phase is called broken".to_owned());
    }
    works(stage, 1)
}

/// The victim has come first; the other comes when it sleeps, or is dead.
fn first<const LEAVE: bool>(stage: &mut Stage<Two<LEAVE>>) -> Result<(), String> {
    stage.cue().go_on();
    // Until the other one has come, or has gone through.
    while !(stage.cue().counted() > 0 && stage.is_at_rest(0)) {
        cue::pace();
    }
    let done = stage.said() != 0;
    other_comes_through(stage, 0, !LEAVE && !done)?;
    works(stage, 1)
}

/// The victim waits in vain, and breaks it.
fn timed_out<const LEAVE: bool>(stage: &mut Stage<Two<LEAVE>>) -> Result<(), String> {
    if stage.said() != 0 && !stage.it.0.is_broken() {
        return Err("a party gave up, and the barrier is not broken".to_owned());
    }
    if !LEAVE && !stage.it.0.is_broken() && stage.it.0.waiting() == 1 {
        // The dead one is in: the survivor, who completes the phase with it, or is told.
        stage.promptly("the survivor's arrival", For::arrive)?;
    }
    works(stage, 0)
}

/// The victim breaks it, or sets it back, under one who sleeps.
fn broken<const LEAVE: bool>(stage: &mut Stage<Two<LEAVE>>) -> Result<(), String> {
    let done = stage.said() != 0;
    if done && !stage.is_woken(0) {
        return Err("not woken: who waits sleeps on, and the phase is broken".to_owned());
    }
    if other_comes_through(stage, 0, true)? && done {
        return Err("the phase was broken, and one came through".to_owned());
    }
    works(stage, 1)
}

fn arrives<const LEAVE: bool>(barrier: &Two<LEAVE>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let passed = barrier.0.wait();
    cue.says(u64::from(passed.is_ok()));
    marks.end();
}

fn arrives_with_action<const LEAVE: bool>(barrier: &Two<LEAVE>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let passed = barrier.0.wait_with(|| {
        cue.count();
    });
    // Where the other one has seen first that all are in, nobody has an action.
    assert!(cue.counted() <= 1, "its action runs once");
    cue.says(u64::from(passed.is_ok()));
    marks.end();
}

fn arrives_in_vain<const LEAVE: bool>(barrier: &Two<LEAVE>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let passed = barrier.0.wait_timeout(MOMENT);
    assert!(passed.is_err(), "nobody else came");
    cue.says(1);
    marks.end();
}

fn aborts<const LEAVE: bool>(barrier: &Two<LEAVE>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let done = barrier.0.abort();
    cue.says(u64::from(done.is_ok()));
    marks.end();
}

fn resets<const LEAVE: bool>(barrier: &Two<LEAVE>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let done = barrier.0.reset();
    cue.says(u64::from(done.is_ok()));
    marks.end();
}

fn plays<const LEAVE: bool>() -> Vec<Play<Two<LEAVE>>> {
    let open = Two::<LEAVE>::open;
    let with_sleeper = |what, victim, check| {
        Play::new(what, open, victim, check)
            .beside(Part::sleeper(arrive_and_say))
            .beside(Part::called(arrive_and_say))
    };
    vec![
        with_sleeper("comes last", arrives, completed),
        with_sleeper("comes last, with an action", arrives_with_action, completed),
        with_sleeper("breaks it", aborts, broken),
        with_sleeper("sets it back under one who waits", resets, broken),
        Play::new("sets back a broken one", open, resets, |stage| {
            if stage.said() != 0 && stage.it.0.is_broken() {
                return Err("it was set back, and is broken".to_owned());
            }
            works(stage, 0)
        })
        .before(|barrier| barrier.0.abort().map_err(during("break it first")))
        .beside(Part::called(arrive_and_say)),
        Play::new("comes first, and goes on", open, arrives, first)
            .beside(Part::helper(arrive_when_it_sleeps))
            .beside(Part::called(arrive_and_say)),
        Play::new("gives up", open, arrives_in_vain, timed_out).beside(Part::called(arrive_and_say)),
    ]
}

/// The victim recovers one of three, who had come; another one sleeps, a third one comes later.
fn recovery<const LEAVE: bool>() -> Play<For<3, LEAVE>> {
    let doomed = Doomed {
        operation: |barrier: &For<3, LEAVE>, marks: &Marks| {
            marks.begin();
            let _ = barrier.0.wait();
            marks.end();
        },
        reached: |barrier: &For<3, LEAVE>| barrier.0.waiting() == 1,
    };
    let check = |stage: &mut Stage<For<3, LEAVE>>| {
        if LEAVE {
            stage.cue().call(1, true);
            stage.count_from_now();
            let own = stage.promptly("the survivor's arrival", For::arrive)?;
            let said = [own, stage.ends(0)?, stage.ends(1)?];
            return match said.contains(&BROKEN) {
                false => Ok(()),
                true => Err(format!("the dead leave this one, and it is broken: {said:?}")),
            };
        }
        match stage.ends(0)? {
            BROKEN => {}
            said => return Err(format!("two of three came and one died: {said}")),
        }
        stage.cue().call(1, true);
        stage.ends(1).map(drop)
    };
    Play::recovery("after a death at the barrier", For::open, doomed, check)
        .beside(Part::sleeper(arrive_and_say).stopped())
        .beside(Part::called(arrive_and_say))
}

pub(in crate::step) fn barrier_break(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, plays::<false>())
}

pub(in crate::step) fn barrier_leave(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, plays::<true>())
}

pub(in crate::step) fn barrier_recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play_recoveries(plan, progress, [recovery::<false>()])?;
    Ok(report.and(play_recoveries(plan, progress, [recovery::<true>()])?))
}
