//! The configurations of the mutex model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Mutex};

/// Three lockers, once each.
const SMALL: Mutex =
    Mutex { rounds: 1, kills: 0, deadlines: 0, recoverers: 1, slices: false, bug: Bug::None };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Mutex { bug: Bug::None, ..model };
    cases.extend(with_controls("mutex", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("mutex", what, Expect::Verified, depth, model));
    let two = Mutex { kills: 2, recoverers: 2, ..SMALL };
    add("3 lockers x3, 2 deadlines, no kill", Mutex { rounds: 3, deadlines: 2, ..SMALL });
    add("3 lockers x2, 2 kills, 2 recoverers", Mutex { rounds: 2, ..two });
    add("3 lockers x1, 3 kills, 2 recoverers", Mutex { kills: 3, ..two });
    add("3 lockers x1, 2 kills, 2 recoverers, 1 deadline", Mutex { deadlines: 1, ..two });
    add("not needed: DIRTY in the word while locked", Mutex { bug: Bug::DirtyInGuardOnly, ..two });
    add("not needed: W left by recovery", Mutex { bug: Bug::RecoverWithoutW, deadlines: 1, ..two });
    add("slices: recovery is silent", Mutex { bug: Bug::SilentRecovery, slices: true, ..two });
    if depth == Depth::Deep {
        let deep = Mutex { rounds: 2, kills: 3, ..two };
        add("3 lockers x2, 3 kills, 2 recoverers", deep);
        add("3 lockers x2, 3 kills, 2 recoverers, 1 deadline", Mutex { deadlines: 1, ..deep });
        add("3 lockers x2, 3 kills, 1 deadline, slices", Mutex { deadlines: 1, slices: true, ..deep });
    }
    cases
}

const fn quiet(bug: Bug) -> Mutex {
    Mutex { bug, rounds: 2, ..SMALL }
}

const fn killed(bug: Bug) -> Mutex {
    Mutex { bug, kills: 1, ..SMALL }
}

const NOT_TOLD: Expect = Expect::Unsafe("the next is not told");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Mutex)] = &[
    (Expect::Stuck, killed(Bug::SilentRecovery)),
    (Expect::Stuck, killed(Bug::WakeIfChanged)),
    (NOT_TOLD, killed(Bug::RecoverToFree)),
    (Expect::Unsafe("although the data was repaired"), killed(Bug::RecoverAnyOwner)),
    (Expect::Unsafe("not the holder any more"), Mutex { recoverers: 2, ..killed(Bug::RecoverWithoutLock) }),
    (Expect::Stuck, quiet(Bug::SleeperDropsW)),
    (Expect::Stuck, Mutex { deadlines: 1, ..quiet(Bug::LeaveAtDeadline) }),
    (Expect::Stuck, killed(Bug::TakeExactWordsOnly)),
    (Expect::Unsafe("not the holder any more"), quiet(Bug::ArmByStore)),
    (Expect::Stuck, quiet(Bug::SleepWithoutCompare)),
    (Expect::Stuck, quiet(Bug::UnlockWithoutWake)),
    (Expect::Stuck, quiet(Bug::UnlockInTwoSteps)),
    (Expect::Stuck, quiet(Bug::WakeBeforeUnlock)),
    (NOT_TOLD, killed(Bug::DropForgetsDirty)),
];
