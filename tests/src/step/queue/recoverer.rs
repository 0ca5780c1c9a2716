//! The recoverer dies too: a third process repeats what it began, and the survivors find what the first death alone
//! would have left.

use ginnel_layout::ring::{CellWord, SlotWord};
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Act, CAPACITY, History, QueueWorld, RingWords, State, Wish, state};
use crate::step::{Progress, all};

/// 1: the recoverer came to its end. (The word [`super::DONE`] is the first dead one's, who says nothing.)
const RECOVERED: usize = 1;

/// How far into a recovery the ring is done.
const REACH: usize = 2500;
const REACH_OF_SAMPLE: usize = 1000;

/// Somebody has died in the middle of `act`, where the words look as `reached` says; the victim recovers him.
fn subject(
    act: Act,
    state: State,
    reached: fn(&RingWords) -> bool,
) -> (String, Subject<'static, QueueWorld>) {
    let subject = Subject {
        setup: Box::new(move || {
            let mut world = QueueWorld::new(state)?;
            world.doomed = Some(world.stop_in(act, || reached(&world.words))?);
            Ok(world)
        }),
        view: Box::new(|world: &QueueWorld| world.world.view()),
        victim: Box::new(|world, marks| {
            let manager = world.world.attach();
            let doomed = world.doomed.as_ref().expect("somebody is to die");
            doomed.kill_from_elsewhere().expect("it can be killed");
            marks.begin();
            let count = manager.recover();
            world.world.results.set(RECOVERED, u64::from(count.is_ok_and(|count| count == 1)));
            marks.end();
        }),
        check: Box::new(move |mut world, _| {
            let recovered = world.world.results.get(RECOVERED) == 1;
            let doomed = world.doomed.take().ok_or("nobody was to die")?;
            doomed.kill().map_err(|error| error.to_string())?;
            world.after_death(act, 1..=if recovered { 1 } else { 2 })
        }),
    };
    (format!("after a death in {act:?} at {state:?}"), subject)
}

pub(in crate::step) fn recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let is_writing = |words: &RingWords| words.any_slot(SlotWord::WRITING);
    let is_reading = |words: &RingWords| words.any_slot(SlotWord::READING);
    let has_cell = |words: &RingWords| words.any_cell(CellWord::LOAN);
    let has_both = |words: &RingWords| words.any_cell(CellWord::HELD) && words.any_slot(SlotWord::READING);
    let holds = |words: &RingWords| words.any_cell(CellWord::HELD) && !words.any_slot(SlotWord::READING);
    let has_moved = |words: &RingWords| words.any_cell(CellWord::LOAN) && words.any_slot(SlotWord::READING);
    let gave_back = |words: &RingWords| words.any_cell(CellWord::ORPHAN);
    let closed = |words: &RingWords| words.gate() != 0;
    let cases = [
        subject(Act::Push, state(7, 2), is_writing),
        subject(Act::Push, state(7, 0).beside(Wish::Receive), is_writing),
        subject(Act::Pop, state(7, 3), is_reading),
        subject(Act::Pop, state(5, CAPACITY).beside(Wish::Send), is_reading),
        subject(Act::Pop, state(7, 3).dropping(), is_reading),
        subject(Act::Pop, state(5, 2).after(History::PutBackInSlot), is_reading),
        subject(Act::Lease, state(7, 3), has_cell),
        subject(Act::Lease, state(7, 3), has_moved),
        subject(Act::Lease, state(7, 3), has_both),
        subject(Act::Lease, state(7, 3).dropping(), has_both),
        subject(Act::Lease, state(7, 3), holds),
        subject(Act::Lease, state(7, 3).dropping(), holds),
        subject(Act::Nack, state(7, 3), gave_back),
        subject(Act::Close, state(7, 0).beside(Wish::Receive), closed),
    ];
    // The ring is put in order near the beginning; the target `recover` looks at the rest, which is long.
    let reach = if plan.is_sample() { REACH_OF_SAMPLE } else { REACH };
    all(&Plan { reach, ..*plan }, progress, cases)
}
