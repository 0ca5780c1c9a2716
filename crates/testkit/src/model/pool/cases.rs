//! The configurations of the model of the pool, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::Op::{Cancel, Doom, Join, Submit};
use super::{Bug, Op, Pool};

const ONE: &[Op] = &[Submit(0), Join(0)];
const TWO: &[Op] = &[Submit(0), Submit(1), Join(0), Join(1)];
const THREE: &[Op] = &[Submit(0), Submit(1), Submit(2), Join(0), Join(1), Join(2)];
const TAKEN_BACK: &[Op] = &[Submit(0), Cancel(0), Join(0)];
const OTHER: &[Op] = &[Submit(1), Join(1)];
/// The slot of the first is used again while its hint may still be there.
const CANCEL: &[Op] = &[Submit(0), Cancel(0), Submit(1), Join(0), Join(1)];
const CANCEL_TWICE: &[Op] =
    &[Submit(0), Cancel(0), Submit(1), Cancel(1), Submit(2), Join(0), Join(1), Join(2)];
const DOOM: &[Op] = &[Submit(0), Submit(1), Doom(0), Join(0), Join(1)];

const SMALL: Pool =
    Pool { scripts: &[ONE], workers: 2, slots: 2, items: 1, retries: 0, kills: 0, bug: Bug::None };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Pool { bug: Bug::None, ..model };
    cases.extend(with_controls("pool", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("pool", what, Expect::Verified, depth, model));
    let pair = Pool { scripts: &[ONE, OTHER], ..SMALL };
    let two = Pool { scripts: &[TWO], ..SMALL };
    add("2 tasks, no kill", two);
    add("2 tasks, 1 kill, Retry", Pool { kills: 1, retries: 1, ..two });
    add("1 task, 2 kills, Retry(1)", Pool { kills: 2, retries: 1, ..SMALL });
    add(
        "3 tasks, 2 slots, 1 worker, 1 kill, Retry",
        Pool { workers: 1, kills: 1, retries: 1, scripts: &[THREE], ..SMALL },
    );
    add("2 callers, 1 slot, 1 worker, 1 kill", Pool { slots: 1, workers: 1, kills: 1, ..pair });
    let again = Pool { scripts: &[CANCEL], kills: 1, ..SMALL };
    add("a task cancelled, its slot used again, 1 worker, 1 kill", Pool { workers: 1, ..again });
    add("two cancelled, 1 worker", Pool { scripts: &[CANCEL_TWICE], workers: 1, kills: 1, ..SMALL });
    add("a chunk of 2, 1 kill, Retry", Pool { items: 2, kills: 1, retries: 1, ..SMALL });
    add("2 chunks of 2, 1 worker, 1 kill, Retry", Pool { items: 2, kills: 1, retries: 1, workers: 1, ..two });
    add("one doomed beside another", Pool { scripts: &[DOOM], ..SMALL });
    add("one doomed, 1 worker, 1 kill", Pool { scripts: &[DOOM], workers: 1, kills: 1, ..SMALL });
    add("a chunk of 2, 1 kill, Fail", Pool { items: 2, kills: 1, ..SMALL });
    add("not needed: a pass", Pool { bug: Bug::NoPass, ..two });
    add("not needed: recovery wakes on idle, 1 kill", Pool { bug: Bug::NoIdleWake, kills: 1, ..SMALL });
    let served = Pool { scripts: &[CANCEL], slots: 1, bug: Bug::ServedWithoutPost, ..SMALL };
    add("not needed: a post for a hint that is there", served);
    if depth == Depth::Deep {
        add("a task cancelled, its slot used again, 1 kill", again);
        add("a chunk of 2, 2 kills, Retry(1)", Pool { items: 2, kills: 2, retries: 1, ..SMALL });
        add("a chunk of 2, 2 kills, Fail", Pool { items: 2, kills: 2, ..SMALL });
        add("2 callers, 1 slot, 2 workers, no kill", Pool { slots: 1, ..pair });
        add("2 tasks, 1 kill, Fail", Pool { kills: 1, ..two });
        add("2 tasks, 2 kills, Retry(2)", Pool { kills: 2, retries: 2, ..two });
        add("3 tasks, 2 slots, 1 kill, Retry", Pool { scripts: &[THREE], kills: 1, retries: 1, ..SMALL });
        add("2 callers, 1 slot, 2 workers, 1 kill", Pool { slots: 1, kills: 1, ..pair });
        add("2 chunks of 2, 1 kill, Retry", Pool { items: 2, kills: 1, retries: 1, ..two });
    }
    cases
}

const fn one(bug: Bug) -> Pool {
    Pool { bug, workers: 1, ..SMALL }
}

const fn killed(bug: Bug) -> Pool {
    Pool { bug, kills: 1, ..SMALL }
}

const fn cancelled(bug: Bug) -> Pool {
    Pool { bug, scripts: &[CANCEL], workers: 1, ..SMALL }
}

const fn full(bug: Bug) -> Pool {
    Pool { bug, scripts: &[ONE, OTHER], slots: 1, workers: 1, ..SMALL }
}

const OVERFLOW: Expect = Expect::Unsafe("the ring overflows");
const NO_RESULT: Expect = Expect::Unsafe("a value without its result");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Pool)] = &[
    (OVERFLOW, Pool { scripts: &[TWO], workers: 1, ..killed(Bug::RehintAll) }),
    (OVERFLOW, Pool { scripts: &[CANCEL_TWICE], ..one(Bug::HintAlways) }),
    (Expect::Stuck, killed(Bug::NoRehint)),
    (Expect::Stuck, Pool { slots: 1, ..cancelled(Bug::HintBeforeReady) }),
    (Expect::Stuck, one(Bug::ReadyLast)),
    (Expect::Stuck, one(Bug::ClaimDropsBits)),
    (Expect::Stuck, Pool { retries: 1, ..killed(Bug::RetryDropsBits) }),
    (Expect::Stuck, one(Bug::CommitByStore)),
    (NO_RESULT, one(Bug::CommitFirst)),
    (NO_RESULT, Pool { items: 2, ..killed(Bug::ProgressFirst) }),
    (Expect::Stuck, one(Bug::SleepBlindly)),
    (Expect::Stuck, killed(Bug::NoLeaseWake)),
    (Expect::Stuck, Pool { kills: 1, ..full(Bug::NoHallWake) }),
    (Expect::Stuck, Pool { kills: 1, ..full(Bug::TakeWakesNobody) }),
    (NO_RESULT, Pool { retries: 1, ..killed(Bug::ReplaceFirst) }),
    (Expect::Unsafe("there is no task"), cancelled(Bug::CancelByStore)),
    (Expect::Stuck, Pool { scripts: &[TAKEN_BACK, OTHER], ..full(Bug::CancelSilently) }),
    (Expect::Unsafe("it hits another task"), Pool { scripts: &[DOOM], ..one(Bug::DoomedGoesOn) }),
    (Expect::Stuck, full(Bug::NoHallBits)),
    (Expect::Stuck, full(Bug::HallBitsFirst)),
    (Expect::Unsafe("there is no task"), cancelled(Bug::ClaimByStore)),
];
