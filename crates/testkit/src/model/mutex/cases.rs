//! The configurations of the two models about the mutex, and their mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::poller::{self, Poller};
use super::{Bug, Mutex};

/// Three lockers, once each.
const SMALL: Mutex =
    Mutex { rounds: 1, kills: 0, deadlines: 0, recoverers: 1, slices: false, bug: Bug::None };

/// A poller and a sleeper, once each.
const PAIR: Poller = Poller {
    pollers: 1,
    sleepers: 1,
    rounds: 1,
    kills: 0,
    cancels: 0,
    slices: false,
    any_kill: false,
    bug: poller::Bug::None,
};

/// Every case of both models.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Mutex { bug: Bug::None, ..model };
    cases.extend(with_controls("mutex", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases.extend(polling_configurations(depth));
    let without = |model| Poller { bug: poller::Bug::None, ..model };
    let bug = |model: &Poller| format!("{:?}", model.bug);
    cases.extend(with_controls("bells", depth, POLLING_MUTATIONS, bug, without));
    cases
}

fn polling_configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, expect, model| cases.push(Case::new("bells", what, expect, depth, model));
    let ok = Expect::Verified;
    let mixed = Poller { sleepers: 2, ..PAIR };
    let two = Poller { pollers: 2, ..PAIR };
    add("1 poller and 2 sleepers x2, 1 cancel, no kill", ok, Poller { rounds: 2, cancels: 1, ..mixed });
    add("2 pollers and 1 sleeper x2, 1 cancel, no kill", ok, Poller { rounds: 2, cancels: 1, ..two });
    add("3 pollers, 2 cancels, no kill", ok, Poller { pollers: 3, sleepers: 0, cancels: 2, ..PAIR });
    add("1 poller and 2 sleepers, 2 kills, 1 cancel", ok, Poller { kills: 2, cancels: 1, ..mixed });
    add("2 pollers and 1 sleeper, 2 kills, 1 cancel", ok, Poller { kills: 2, cancels: 1, ..two });
    let any = Poller { kills: 1, any_kill: true, ..two };
    add("a kill between a bit and its byte: the slice is needed", Expect::Stuck, any);
    add("a kill between a bit and its byte, slices", ok, Poller { slices: true, ..any });
    let no_turns = Poller { kills: 1, bug: poller::Bug::NoTurns, ..two };
    add("not needed for progress: turns, 1 kill", ok, no_turns);
    let no_try = Poller { kills: 1, bug: poller::Bug::NoSecondTry, ..two };
    add("not needed on a lock: a try behind W, 1 kill", ok, no_try);
    let if_rung = Poller { rounds: 2, cancels: 1, bug: poller::Bug::CancelPassesIfRung, ..two };
    add("not needed on a lock: a pass by who was not rung", ok, if_rung);
    if depth == Depth::Deep {
        add(
            "3 pollers x2, 1 cancel, no kill",
            ok,
            Poller { pollers: 3, sleepers: 0, rounds: 2, cancels: 1, ..PAIR },
        );
        add(
            "2 pollers and 1 sleeper x2, 2 kills, 1 cancel",
            ok,
            Poller { rounds: 2, kills: 2, cancels: 1, ..two },
        );
    }
    cases
}

const fn polling(bug: poller::Bug) -> Poller {
    Poller { bug, ..PAIR }
}

const fn three(bug: poller::Bug) -> Poller {
    Poller { bug, pollers: 2, rounds: 2, ..PAIR }
}

/// The same for the bells.
const POLLING_MUTATIONS: &[(Expect, Poller)] = &[
    (Expect::Stuck, three(poller::Bug::TakesWithoutW)),
    (Expect::Stuck, polling(poller::Bug::WBeforeBit)),
    (Expect::Stuck, three(poller::Bug::DrainAfterLook)),
    (Expect::Stuck, three(poller::Bug::BitStays)),
    (Expect::Stuck, Poller { cancels: 1, ..three(poller::Bug::CancelWithoutPass) }),
    (Expect::Stuck, polling(poller::Bug::NoFence)),
    (Expect::Stuck, polling(poller::Bug::NoOtherKind)),
    (Expect::Stuck, three(poller::Bug::SendThenClear)),
    (Expect::Stuck, Poller { kills: 1, ..polling(poller::Bug::RecoveryWithoutRing) }),
    (Expect::Stuck, Poller { kills: 1, ..polling(poller::Bug::RecoveryWithoutWake) }),
];

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
