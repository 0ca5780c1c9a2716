//! What one at a time may enter: the plays that are the same for a mutex, both locks, and the writer of a
//! reader-writer lock.

use std::time::Duration;

use ginnel::{Manager, Owner};
use ginnel_testkit::step::Marks;

use super::{Cue, Doomed, LIMIT, MOMENT, Part, Play, Stage};
use crate::world::during;

/// The names of the plays' objects.
pub(super) const NAME: &str = "door";

/// What the others say: they came in, and were told of a death or not.
const CAME_IN: u64 = 1;
const WAS_TOLD: u64 = 2;

/// One at a time comes in.
pub(super) trait Door: Sized + 'static {
    /// Lets the next one in when it is dropped.
    type Guard<'a>;

    /// Whoever the word names has been inside. A writer that waits for the readers to leave is named, and has not.
    const NAMED_IS_INSIDE: bool = true;

    /// The next one is told of a death inside.
    const TELLS: bool = true;

    fn open(manager: &Manager) -> ginnel::Result<Self>;

    /// Comes in, and makes good what a dead one left. True: it was told of one.
    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)>;

    /// Comes in if it need not wait, or not.
    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>>;

    fn owner(&self) -> Option<Owner>;
}

/// Whether somebody must be told of the death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Must,
    May,
    MustNot,
}

impl Told {
    /// At the moment of the death: the victim's name is in the word, or not.
    fn of<D: Door>(stage: &Stage<D>) -> Self {
        if !D::TELLS {
            return Self::MustNot;
        }
        let named = stage.it.owner().is_some_and(|owner| owner.pid == stage.cue().victim());
        match (named, D::NAMED_IS_INSIDE) {
            (true, true) => Self::Must,
            (true, false) => Self::May,
            // One who waits may have recovered the victim between its death and this look.
            (false, _) if !stage.others.is_empty() => Self::May,
            (false, _) => Self::MustNot,
        }
    }

    fn check(self, told: bool) -> Result<(), String> {
        let right = match self {
            Self::Must => told,
            Self::May => true,
            Self::MustNot => !told,
        };
        if right { Ok(()) } else { Err(format!("told of a death: {told}, expected: {self:?}")) }
    }
}

/// Comes in, says so, leaves.
pub(super) fn come_and_go<D: Door>(door: &D, cue: &Cue<'_>) {
    cue.here();
    let (guard, told) = door.enter(LIMIT).expect("it comes in");
    cue.says(if told { WAS_TOLD } else { CAME_IN });
    drop(guard);
}

/// Is inside until the victim sleeps, or is dead.
fn leave_when_it_sleeps<D: Door>(door: &D, cue: &Cue<'_>) {
    let (guard, _) = door.enter(LIMIT).expect("it comes in");
    cue.here();
    cue.until_victim_sleeps();
    drop(guard);
    cue.says(CAME_IN);
}

/// The same, and there is another one who sleeps by then, behind the victim.
fn leave_when_both_sleep<D: Door>(door: &D, cue: &Cue<'_>) {
    let (guard, _) = door.enter(LIMIT).expect("it comes in");
    cue.here();
    cue.until_victim_sleeps();
    cue.call(1, true);
    drop(guard);
    cue.says(CAME_IN);
}

/// Is inside until the victim is dead.
fn leave_after_it<D: Door>(door: &D, cue: &Cue<'_>) {
    let (guard, _) = door.enter(LIMIT).expect("it comes in");
    cue.here();
    cue.until_victim_is_dead();
    drop(guard);
    cue.says(CAME_IN);
}

/// The survivor comes in promptly, perhaps told of the death; the next time nobody is.
fn survivor_enters<D: Door>(stage: &Stage<D>) -> Result<bool, String> {
    let enter = |what: &str| {
        stage.promptly(what, |door| {
            let (guard, told) = door.enter(LIMIT)?;
            drop(guard);
            Ok(told)
        })
    };
    let told = enter("the survivor")?;
    Told::MustNot.check(enter("the survivor, again")?)?;
    Ok(told)
}

/// All the others come to their end, and the survivor comes in; of them all, the first who comes is told.
pub(super) fn after_death<D: Door>(stage: &mut Stage<D>) -> Result<(), String> {
    let told = Told::of(stage);
    stage.cue().go_on();
    let mut heard = false;
    for index in 0..stage.others.len() {
        heard |= stage.ends(index)? == WAS_TOLD;
    }
    once(told, heard, survivor_enters(stage)?)
}

/// Of one of the others and the survivor, one is told, if anybody is.
fn once(told: Told, other: bool, survivor: bool) -> Result<(), String> {
    if other && survivor {
        return Err("two were told of one death".to_owned());
    }
    told.check(other || survivor)
}

/// The survivor comes in, and nobody has died inside.
pub(super) fn survivor_enters_untold<D: Door>(stage: &mut Stage<D>) -> Result<(), String> {
    Told::MustNot.check(survivor_enters(stage)?)
}

/// The victim died inside: who slept comes in and is told, the survivor is not.
pub(super) fn sleeper_is_told<D: Door>(stage: &mut Stage<D>) -> Result<(), String> {
    once(Told::Must, stage.ends(0)? == WAS_TOLD, survivor_enters(stage)?)
}

/// One sleeps, and comes in by itself: woken by the victim, or at the end of its slice.
fn sleeper_after_death<D: Door>(stage: &mut Stage<D>) -> Result<(), String> {
    let told = Told::of(stage);
    if stage.said() != 0 && !stage.is_woken(0) {
        return Err("not woken: who waited sleeps on after the release".to_owned());
    }
    let was_told = stage.ends(0)? == WAS_TOLD;
    if stage.said() != 0 && was_told {
        return Err("told of a death, and the dead had left".to_owned());
    }
    once(told, was_told, survivor_enters(stage)?)
}

/// The survivor is inside through a guard that was forgotten, and stays there.
fn survivor_is_inside<D: Door>(stage: &mut Stage<D>) -> Result<(), String> {
    if stage.said() == 2 {
        return Err("two are inside".to_owned());
    }
    match stage.promptly("a try", |door| door.try_enter().map(|guard| guard.is_none()))? {
        true => {}
        false => return Err("the survivor's place did not survive".to_owned()),
    }
    match stage.it.enter(LIMIT) {
        Err(error) if error.kind() == ginnel::ErrorKind::Deadlock => Ok(()),
        Err(error) => Err(format!("expected the word that this thread is inside: {error}")),
        Ok(_) => Err("the survivor came in twice".to_owned()),
    }
}

fn enters<D: Door>(door: &D, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let inside = door.enter(LIMIT);
    cue.says(u64::from(inside.is_ok()));
    marks.end();
}

fn enters_in_vain<D: Door>(door: &D, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let inside = door.enter(MOMENT);
    cue.says(1 + u64::from(inside.is_ok()));
    marks.end();
}

fn leaves<D: Door>(door: &D, marks: &Marks, cue: &Cue<'_>) {
    let inside = door.enter(LIMIT).expect("it comes in");
    cue.begins(marks);
    drop(inside);
    cue.says(1);
    marks.end();
}

fn leaves_with_sleeper<D: Door>(door: &D, marks: &Marks, cue: &Cue<'_>) {
    let inside = door.enter(LIMIT).expect("it comes in");
    cue.call(0, true);
    cue.begins(marks);
    drop(inside);
    cue.says(1);
    marks.end();
}

/// Everything that a victim does at a door.
pub(super) fn plays<D: Door>(takes_twice: bool) -> Vec<Play<D>> {
    let inside = |door: &D| {
        let (guard, _) = door.enter(LIMIT).map_err(during("come in first"))?;
        std::mem::forget(guard);
        Ok(())
    };
    let mut plays = vec![
        Play::new("comes in, nobody is there", D::open, enters, after_death),
        Play::new("leaves, nobody waits", D::open, leaves, after_death),
        Play::new("leaves, and wakes one", D::open, leaves_with_sleeper, sleeper_after_death)
            .beside(Part::called(come_and_go)),
        Play::new("sleeps, and comes in", D::open, enters, after_death)
            .beside(Part::helper(leave_when_it_sleeps)),
        Play::new("is woken in front of another sleeper", D::open, enters, after_death)
            .beside(Part::helper(leave_when_both_sleep))
            .beside(Part::called(come_and_go)),
        Play::new("gives up beside another sleeper", D::open, enters_in_vain, after_death)
            .beside(Part::helper(leave_after_it))
            .beside(Part::sleeper(come_and_go)),
    ];
    if !takes_twice {
        plays.push(
            Play::new("gives up", D::open, enters_in_vain, survivor_is_inside).before_and_stays(inside),
        );
    }
    plays
}

/// The victim recovers one who died inside; another one sleeps in front of the door.
pub(super) fn recoveries<D: Door>() -> Vec<Play<D>> {
    let doomed = || Doomed {
        operation: |door: &D, marks: &Marks| {
            marks.begin();
            std::mem::forget(door.enter(LIMIT).expect("it comes in"));
            marks.end();
        },
        reached: |door| door.owner().is_some(),
    };
    let alone = |stage: &mut Stage<D>| told_after_recovery::<D>().check(survivor_enters(stage)?);
    let sleeper = |stage: &mut Stage<D>| {
        once(told_after_recovery::<D>(), stage.ends(0)? == WAS_TOLD, survivor_enters(stage)?)
    };
    vec![
        Play::recovery("after a death inside", D::open, doomed(), alone),
        Play::recovery("after a death inside, one sleeps", D::open, doomed(), sleeper)
            .beside(Part::sleeper(come_and_go).stopped()),
    ]
}

const fn told_after_recovery<D: Door>() -> Told {
    match (D::TELLS, D::NAMED_IS_INSIDE) {
        (true, true) => Told::Must,
        (true, false) => Told::May,
        (false, _) => Told::MustNot,
    }
}
