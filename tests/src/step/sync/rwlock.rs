//! The reader-writer lock. As a door for writers; and its readers, who are counted and not told apart.

use std::time::Duration;

use ginnel::sync::{Init, RwLock, WriteGuard};
use ginnel::{Manager, Owner};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report};

use super::doors::{self, Door, NAME};
use super::{Cue, Doomed, LIMIT, MOMENT, Part, Play, Stage, play, play_recoveries};
use crate::step::Progress;
use crate::world::{PARTICIPANTS, during, try_attach};

type Data = [u64; 2];

/// What the others say.
const CAME_IN: u64 = 1;
const WAS_TOLD: u64 = 2;

impl Door for RwLock<Data> {
    type Guard<'a> = WriteGuard<'a, Data>;
    const NAMED_IS_INSIDE: bool = false;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create_with(NAME, Init(Some([0, 0])))
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        match self.write_timeout(timeout) {
            Ok(guard) => Ok((guard, false)),
            Err(error) if error.is_owner_died() => {
                Ok((self.write_or_repair(|data| data[1] = data[0])?, true))
            }
            Err(error) => Err(error),
        }
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        self.try_write()
    }

    fn owner(&self) -> Option<Owner> {
        Self::owner(self)
    }
}

/// Reads two equal numbers; where a writer died, repairs first. True: one had.
fn read(lock: &RwLock<Data>, timeout: Duration) -> ginnel::Result<bool> {
    let whole = |data: &Data| assert_eq!(data[0], data[1], "a reader sees half of a change");
    match lock.read_timeout(timeout) {
        Ok(data) => {
            whole(&data);
            Ok(false)
        }
        Err(error) if error.is_owner_died() => {
            drop(lock.write_or_repair(|data| data[1] = data[0])?);
            whole(&*lock.read_timeout(timeout)?);
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

fn sleep_and_read(lock: &RwLock<Data>, cue: &Cue<'_>) {
    cue.here();
    let told = read(lock, LIMIT).expect("it comes in");
    cue.says(if told { WAS_TOLD } else { CAME_IN });
}

fn sleep_and_write(lock: &RwLock<Data>, cue: &Cue<'_>) {
    cue.here();
    let (guard, told) = lock.enter(LIMIT).expect("it comes in");
    drop(guard);
    cue.says(if told { WAS_TOLD } else { CAME_IN });
}

fn write_until_it_sleeps(lock: &RwLock<Data>, cue: &Cue<'_>) {
    let (guard, _) = lock.enter(LIMIT).expect("it comes in");
    cue.here();
    cue.until_victim_sleeps();
    drop(guard);
    cue.says(CAME_IN);
}

fn write_until_it_is_dead(lock: &RwLock<Data>, cue: &Cue<'_>) {
    let (guard, _) = lock.enter(LIMIT).expect("it comes in");
    cue.here();
    cue.until_victim_is_dead();
    drop(guard);
    cue.says(CAME_IN);
}

fn read_until_it_sleeps(lock: &RwLock<Data>, cue: &Cue<'_>) {
    let guard = lock.read().expect("it comes in");
    cue.here();
    cue.until_victim_sleeps();
    drop(guard);
    cue.says(CAME_IN);
}

fn read_until_it_is_dead(lock: &RwLock<Data>, cue: &Cue<'_>) {
    let guard = lock.read().expect("it comes in");
    cue.here();
    cue.until_victim_is_dead();
    drop(guard);
    cue.says(CAME_IN);
}

/// Of all who come in after the death one at most is told, and nobody if `dead` was a reader; and both sides are open.
fn after<const READER: bool>(stage: &mut Stage<RwLock<Data>>) -> Result<(), String> {
    stage.cue().go_on();
    let mut told = 0;
    for index in 0..stage.others.len() {
        told += usize::from(stage.ends(index)? == WAS_TOLD);
    }
    told +=
        usize::from(stage.promptly("the survivor's write", |lock| lock.enter(LIMIT).map(|(_, told)| told))?);
    told += usize::from(stage.promptly("the survivor's read", |lock| read(lock, LIMIT))?);
    let most = usize::from(!READER);
    if told > most {
        return Err(format!("told of a death {told} times, at most {most} are due"));
    }
    successors_are_no_readers(stage)
}

/// Whoever comes to the place of a dead reader does not inherit that it reads.
fn successors_are_no_readers(stage: &Stage<RwLock<Data>>) -> Result<(), String> {
    stage.world.manager.recover().map_err(during("recover"))?;
    let come = |_| {
        let manager = try_attach(&stage.world.manager).map_err(during("a place is not free"))?;
        <RwLock<Data> as Door>::open(&manager).map_err(during("open it at another's place"))
    };
    let successors = (1..PARTICIPANTS).map(come).collect::<Result<Vec<_>, String>>()?;
    stage.promptly("the survivor's write, beside successors", |lock| lock.enter(LIMIT).map(drop))?;
    drop(successors);
    Ok(())
}

fn reads(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let guard = lock.read_timeout(LIMIT);
    cue.says(u64::from(guard.is_ok()));
    marks.end();
}

fn reads_in_vain(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let guard = lock.read_timeout(MOMENT);
    assert!(guard.is_err(), "there is a writer");
    cue.says(1);
    marks.end();
}

fn reads_again(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    let first = lock.read().expect("nobody writes");
    cue.begins(marks);
    let second = lock.read();
    drop(first);
    cue.says(u64::from(second.is_ok()));
    marks.end();
}

fn ends_reading(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    let guard = lock.read().expect("nobody writes");
    cue.begins(marks);
    drop(guard);
    cue.says(1);
    marks.end();
}

fn ends_reading_with_sleeper(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    let guard = lock.read().expect("nobody writes");
    cue.call(0, true);
    cue.begins(marks);
    drop(guard);
    cue.says(1);
    marks.end();
}

fn ends_writing_with_sleepers(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    let (mut guard, _) = lock.enter(LIMIT).expect("nobody else is there");
    cue.call(0, true);
    cue.call(1, true);
    guard[0] = 1;
    guard[1] = 1;
    cue.begins(marks);
    drop(guard);
    cue.says(1);
    marks.end();
}

/// Changes one number after the other.
fn changes(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    let (mut guard, _) = lock.enter(LIMIT).expect("nobody else is there");
    cue.begins(marks);
    guard[0] = 1;
    std::hint::black_box(&mut *guard);
    guard[1] = 1;
    drop(guard);
    cue.says(1);
    marks.end();
}

fn writes(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let guard = lock.write_timeout(LIMIT);
    cue.says(u64::from(guard.is_ok()));
    marks.end();
}

fn writes_in_vain(lock: &RwLock<Data>, marks: &Marks, cue: &Cue<'_>) {
    cue.begins(marks);
    let guard = lock.write_timeout(MOMENT);
    assert!(guard.is_err(), "there is a reader");
    cue.says(1);
    marks.end();
}

type Plays = Vec<Play<RwLock<Data>>>;

fn plays_of_readers() -> Plays {
    let open = <RwLock<Data> as Door>::open;
    vec![
        Play::new("reads, nobody is there", open, reads, after::<true>),
        Play::new("reads once more", open, reads_again, after::<true>),
        Play::new("reads beside a reader", open, reads, after::<true>)
            .beside(Part::helper(read_until_it_is_dead)),
        Play::new("sleeps, and reads", open, reads, after::<true>)
            .beside(Part::helper(write_until_it_sleeps)),
        Play::new("gives up to read", open, reads_in_vain, after::<true>)
            .beside(Part::helper(write_until_it_is_dead)),
        Play::new("ends its reading", open, ends_reading, after::<true>),
        Play::new("ends its reading, and wakes a writer", open, ends_reading_with_sleeper, after::<true>)
            .beside(Part::called(sleep_and_write)),
    ]
}

fn plays_of_writers() -> Plays {
    let open = <RwLock<Data> as Door>::open;
    vec![
        Play::new("changes half", open, changes, after::<false>),
        Play::new("waits for a reader, and writes", open, writes, after::<false>)
            .beside(Part::helper(read_until_it_sleeps)),
        Play::new("gives up to wait for a reader", open, writes_in_vain, after::<true>)
            .beside(Part::helper(read_until_it_is_dead)),
        Play::new(
            "ends its writing, and wakes two readers",
            open,
            ends_writing_with_sleepers,
            after::<false>,
        )
        .beside(Part::called(sleep_and_read))
        .beside(Part::called(sleep_and_read)),
    ]
}

/// The victim recovers a reader, in whose way a writer waits.
fn recoveries_of_readers() -> Plays {
    let doomed = Doomed {
        operation: |lock: &RwLock<Data>, marks: &Marks| {
            marks.begin();
            std::mem::forget(lock.read().expect("nobody writes"));
            marks.end();
        },
        reached: |lock: &RwLock<Data>| !lock.readers().is_empty(),
    };
    vec![
        Play::recovery("after a reader's death", <RwLock<Data> as Door>::open, doomed, after::<true>)
            .beside(Part::sleeper(sleep_and_write).stopped()),
    ]
}

pub(in crate::step) fn rwlock_read(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(plan, progress, plays_of_readers())
}

pub(in crate::step) fn rwlock_write(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play(plan, progress, doors::plays::<RwLock<Data>>(false))?;
    Ok(report.and(play(plan, progress, plays_of_writers())?))
}

pub(in crate::step) fn rwlock_recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play_recoveries(plan, progress, doors::recoveries::<RwLock<Data>>())?;
    Ok(report.and(play_recoveries(plan, progress, recoveries_of_readers())?))
}
