//! Operations on a dict: put, replace, remove, a table that grows, memory of every kind, transactions.

use ginnel::Raw;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Act, DONE, LONG, SHORT, Start, counters, subject, world};
use crate::step::{Progress, all};
use crate::world::{World, during};

const EMPTY: Start = Start { shards: 1, pages: 0, history: &[] };
const ONE: Start = Start { history: &[Act::Set(1, 0, SHORT)], ..EMPTY };
const THREE: Start =
    Start { history: &[Act::Set(1, 0, SHORT), Act::Set(2, 1, SHORT), Act::Set(3, 2, SHORT)], ..EMPTY };

/// As many as a table of 8 slots takes before it grows.
const FULL: Start = Start {
    history: &[
        Act::Set(1, 0, SHORT),
        Act::Set(2, 1, SHORT),
        Act::Set(3, 2, SHORT),
        Act::Set(4, 3, SHORT),
        Act::Set(5, 4, SHORT),
        Act::Set(6, 5, SHORT),
        Act::Set(7, 6, SHORT),
    ],
    ..EMPTY
};

pub(in crate::step) fn insert(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let removed = Start { history: &[Act::Set(1, 0, SHORT), Act::Remove(1)], ..EMPTY };
    let cases = [
        subject("the first", EMPTY, Act::Set(1, 0, SHORT)),
        subject("beside another", ONE, Act::Set(2, 1, SHORT)),
        subject("where one was", removed, Act::Set(2, 1, SHORT)),
    ];
    all(plan, progress, cases)
}

pub(in crate::step) fn replace(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let cases =
        [subject("by as much", ONE, Act::Set(1, 1, SHORT)), subject("by more", ONE, Act::Set(1, 1, 300))];
    all(plan, progress, cases)
}

pub(in crate::step) fn remove(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let cases = [
        subject("the last", ONE, Act::Remove(1)),
        subject("beside others", THREE, Act::Remove(2)),
        subject("all of them", THREE, Act::Clear),
    ];
    all(plan, progress, cases)
}

pub(in crate::step) fn update(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    all(plan, progress, [subject("under the lock", THREE, Act::Update(2, 7))])
}

pub(in crate::step) fn rehash(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let tombs = Start {
        history: &[
            Act::Set(1, 0, SHORT),
            Act::Set(2, 1, SHORT),
            Act::Set(3, 2, SHORT),
            Act::Set(4, 3, SHORT),
            Act::Set(5, 4, SHORT),
            Act::Set(6, 5, SHORT),
            Act::Set(7, 6, SHORT),
            Act::Remove(1),
            Act::Remove(2),
            Act::Remove(3),
            Act::Remove(4),
        ],
        ..EMPTY
    };
    let cases = [
        subject("twice as large", FULL, Act::Set(8, 7, SHORT)),
        subject("without its tombs", tombs, Act::Set(8, 7, SHORT)),
    ];
    all(plan, progress, cases)
}

/// Pages full of what was removed, where the dict may have no more.
const SHORT_OF: Start = Start {
    shards: 1,
    pages: 4,
    history: &[
        Act::Set(1, 0, 700),
        Act::Set(2, 1, 700),
        Act::Set(3, 2, 700),
        Act::Set(4, 3, 700),
        Act::Set(5, 4, 700),
        Act::Set(6, 5, 700),
        Act::Remove(1),
        Act::Remove(2),
        Act::Remove(3),
        Act::Remove(4),
        Act::Remove(5),
        Act::Remove(6),
    ],
};

pub(in crate::step) fn allocate(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let long = Start { history: &[Act::Set(1, 0, LONG), Act::Set(2, 1, SHORT)], ..EMPTY };
    let hole = Start { history: &[Act::Set(1, 0, LONG), Act::Set(2, 1, SHORT), Act::Remove(1)], ..EMPTY };
    let cases = [
        subject("pages of its own", ONE, Act::Set(2, 1, LONG)),
        subject("pages of its own are given back", long, Act::Remove(1)),
        subject("a part of those", hole, Act::Set(3, 2, 1000)),
        subject("memory of what was removed", SHORT_OF, Act::Set(7, 6, 3000)),
    ];
    all(plan, progress, cases)
}

/// Two keys of several shards at once, and a third that goes.
pub(super) const PAIRS: Act = Act::Transaction([(1, 8), (9, 9)], 2);
pub(super) const FOUR_SHARDS: Start = Start { shards: 4, ..THREE };

pub(in crate::step) fn transaction(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let full = Act::Transaction([(8, 8), (9, 9)], 2);
    let cases = [
        subject("in one shard", THREE, PAIRS),
        subject("in four shards", FOUR_SHARDS, PAIRS),
        subject("whose table grows", FULL, full),
    ];
    all(plan, progress, cases)
}

/// A number in place: it is the one of before, or the next one.
pub(in crate::step) fn counter(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = Subject {
        setup: Box::new(|| {
            let world = world()?;
            let counters = counters(&world.manager).map_err(during("make the counters"))?;
            counters.set(&1, &Raw(40)).map_err(during("count"))?;
            Ok((world, counters))
        }),
        view: Box::new(|(world, _): &(World, _)| world.view()),
        victim: Box::new(|(world, _), marks| {
            let manager = world.attach();
            let counters = counters(&manager).expect("they are there");
            marks.begin();
            let done = counters.fetch_add(&1, 1);
            world.results.set(DONE, u64::from(done.is_ok_and(|before| before == 40)));
            marks.end();
        }),
        check: Box::new(|(world, counters), _| {
            let read = || counters.get(&1).map_err(during("read a counter"));
            let beside = read()?;
            let version = counters.version(&1).map_err(during("look at a version"))?;
            world.recover_one()?;
            let (found, done) = (read()?, world.results.get(DONE) == 1);
            let is_right = found == Some(Raw(41)) || (found == Some(Raw(40)) && !done);
            if !is_right || beside != found {
                return Err(format!("lost: {beside:?} beside the dead, then {found:?}; done: {done}"));
            }
            let before = counters.fetch_add(&1, 1).map_err(during("count on"))?;
            if Some(Raw(before)) != found || counters.version(&1).is_ok_and(|now| now == version) {
                return Err(format!("corrupt: {before} after {found:?}, or one version twice"));
            }
            drop(counters);
            world.is_empty_again()
        }),
    };
    all(plan, progress, [("a number in place".to_owned(), subject)])
}
