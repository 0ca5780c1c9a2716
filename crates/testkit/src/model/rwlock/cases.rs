//! The configurations of the model of the read-write lock, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, RwLock};

/// Two readers and two writers, once each.
const ALL: RwLock = RwLock {
    readers: 2,
    writers: 2,
    reads: 1,
    writes: 1,
    kills: 0,
    recoverers: 1,
    deadlines: 0,
    bug: Bug::None,
};

/// One reader and one writer.
const PAIR: RwLock = RwLock { readers: 1, writers: 1, ..ALL };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| RwLock { bug: Bug::None, ..model };
    cases.extend(with_controls("rwlock", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("rwlock", what, Expect::Verified, depth, model));
    let two = RwLock { kills: 2, recoverers: 2, ..ALL };
    add("2 readers and 2 writers x2, no kill", RwLock { reads: 2, writes: 2, ..ALL });
    add(
        "1 reader and 1 writer x2, 2 kills, 1 deadline",
        RwLock { reads: 2, writes: 2, deadlines: 1, ..PAIR_KILLED },
    );
    add("2 readers and 2 writers, 1 kill", RwLock { kills: 1, ..ALL });
    add("2 readers and 1 writer x2, 2 kills", RwLock { writers: 1, writes: 2, ..two });
    add("1 reader and 2 writers x2, 2 kills", RwLock { readers: 1, writes: 2, ..two });
    add("2 readers and 2 writers, 1 deadline, 1 kill", RwLock { kills: 1, deadlines: 1, ..ALL });
    if depth == Depth::Deep {
        add("2 readers and 2 writers, 2 kills", two);
        add("2 readers and 2 writers, 3 kills, 1 deadline", RwLock { kills: 3, deadlines: 1, ..two });
        add("2 readers x2 and 2 writers x2, 1 kill", RwLock { reads: 2, writes: 2, kills: 1, ..two });
    }
    cases
}

const PAIR_KILLED: RwLock = RwLock { kills: 2, recoverers: 2, ..PAIR };

const fn pair(bug: Bug) -> RwLock {
    RwLock { bug, ..PAIR }
}

const fn killed(bug: Bug) -> RwLock {
    RwLock { bug, kills: 1, ..PAIR }
}

const fn two_writers(bug: Bug) -> RwLock {
    RwLock { bug, writers: 2, kills: 2, recoverers: 2, ..PAIR }
}

const NOT_ALONE: Expect = Expect::Unsafe("a writer is not alone");
const NOT_TOLD: Expect = Expect::Unsafe("the next is not told");
const TOLD: Expect = Expect::Unsafe("told without a death");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, RwLock)] = &[
    (NOT_ALONE, pair(Bug::WordBeforeCell)),
    (NOT_ALONE, pair(Bug::CellsBeforeWord)),
    (NOT_ALONE, pair(Bug::PresentLate)),
    (NOT_ALONE, pair(Bug::NoDrain)),
    (Expect::Stuck, pair(Bug::LeaveWithoutPost)),
    (Expect::Stuck, pair(Bug::LeaveLooksFirst)),
    (Expect::Stuck, pair(Bug::WaitInCell)),
    (Expect::Stuck, pair(Bug::UnlockWithoutPost)),
    (Expect::Stuck, RwLock { readers: 2, deadlines: 1, ..pair(Bug::TimeoutWithoutPost) }),
    (TOLD, killed(Bug::InsideBeforeDrain)),
    (NOT_TOLD, RwLock { writers: 2, ..killed(Bug::InsideOffLate) }),
    (NOT_TOLD, two_writers(Bug::InsideOffFirst)),
    (NOT_TOLD, two_writers(Bug::InsideOfOthers)),
    (TOLD, killed(Bug::AlwaysDirty)),
    (NOT_TOLD, killed(Bug::NeverDirty)),
    (NOT_TOLD, RwLock { reads: 2, deadlines: 1, ..two_writers(Bug::TimeoutForgetsDirty) }),
    (Expect::Stuck, killed(Bug::CellStays)),
    (Expect::Stuck, killed(Bug::CellMinusOne)),
    (Expect::Stuck, killed(Bug::SilentRecovery)),
    (Expect::Stuck, killed(Bug::WakesDrainedOnly)),
    (Expect::Stuck, killed(Bug::WakesOpenedOnly)),
];
