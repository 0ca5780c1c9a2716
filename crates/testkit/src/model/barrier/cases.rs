//! The configurations of the barrier model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Barrier, Bug, Policy};

/// Two parties, once each; who dies breaks the barrier.
const PAIR: Barrier = Barrier {
    processes: 2,
    parties: 2,
    waits: [1, 1, 0, 0],
    policy: Policy::Break,
    action: false,
    kills: 0,
    recoverers: 1,
    deadlines: 0,
    resets: 0,
    remembered: 4,
    last_noted: 0,
    hints: true,
    bug: Bug::None,
};

/// Two parties and a spare one, who takes the place of the dead.
const SPARE: Barrier = Barrier { processes: 3, waits: [1, 1, 1, 0], policy: Policy::Leave, ..PAIR };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Barrier { bug: Bug::None, ..model };
    cases.extend(with_controls("barrier", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("barrier", what, Expect::Verified, depth, model));
    let three = Barrier { processes: 3, parties: 3, waits: [1, 1, 1, 0], ..PAIR };
    let two_kills = Barrier { kills: 2, recoverers: 2, ..PAIR };
    let twice = Barrier { waits: [2, 2, 0, 0], ..two_kills };
    add("2 parties x2, break, 2 kills", twice);
    add("2 parties x2, break, action, 2 kills", Barrier { action: true, ..twice });
    add("2 parties x2, all begin with one ticket, 2 kills", Barrier { hints: false, ..twice });
    add("3 parties, break, 1 kill", Barrier { kills: 1, ..three });
    add("3 parties, leave, 1 kill", Barrier { kills: 1, policy: Policy::Leave, ..three });
    add("2 parties and 1 spare, leave, 2 kills", Barrier { kills: 2, recoverers: 2, ..SPARE });
    add("2 parties and 1 spare, leave, action, 1 kill", Barrier { kills: 1, action: true, ..SPARE });
    add("2 parties and 1 spare x2, leave, no kill", Barrier { waits: [2, 2, 2, 0], ..SPARE });
    let reset = Barrier { deadlines: 1, resets: 1, ..PAIR };
    add("2 parties x2, 1 deadline, 2 resets, no kill", Barrier { waits: [2, 2, 0, 0], resets: 2, ..reset });
    add("2 parties, break, 1 deadline, 1 reset, 2 kills", Barrier { kills: 2, recoverers: 2, ..reset });
    let leave = Barrier { resets: 1, kills: 1, ..SPARE };
    add("2 parties and 1 spare, leave, 1 reset, 1 kill", leave);
    let late = Barrier { processes: 3, waits: [1, 2, 1, 0], resets: 2, remembered: 1, ..PAIR };
    add("2 parties of 3 (1, 2, 1 times), 2 resets, 1 fate", late);
    let resets = Barrier { waits: [1, 1, 0, 0], resets: 3, ..late };
    add("2 parties, a third that resets, 3 resets, 2 fates", Barrier { remembered: 2, ..resets });
    add("the same, 1 fate, the last reset long ago", Barrier { last_noted: FAR, ..resets });
    if depth == Depth::Deep {
        add("2 parties of 3 x2, 2 resets, 1 fate", Barrier { waits: [2, 2, 2, 0], ..late });
        let no_version = Barrier { kills: 2, recoverers: 2, bug: Bug::NoVersion, ..SPARE };
        add("not needed up to 2 kills: the version", no_version);
        add("3 parties, break, 2 kills", Barrier { kills: 2, recoverers: 2, ..three });
        let four = Barrier { processes: 4, waits: [1; 4], policy: Policy::Leave, ..three };
        add("3 parties and 1 spare, leave, 1 kill", Barrier { kills: 1, ..four });
        add("2 parties and 1 spare x2, leave, 1 kill", Barrier { waits: [2, 2, 2, 0], kills: 1, ..SPARE });
        let leave = Barrier { deadlines: 1, kills: 2, recoverers: 2, ..leave };
        add("2 parties and 1 spare, leave, 1 deadline, 1 reset, 2 kills", leave);
    }
    cases
}

const fn quiet(bug: Bug) -> Barrier {
    Barrier { bug, ..PAIR }
}

const fn killed(bug: Bug) -> Barrier {
    Barrier { bug, kills: 1, ..PAIR }
}

const fn spare(bug: Bug) -> Barrier {
    Barrier { bug, kills: 1, ..SPARE }
}

const fn reset(bug: Bug) -> Barrier {
    Barrier { bug, waits: [2, 2, 0, 0], deadlines: 1, resets: 1, ..PAIR }
}

/// One more than parties, and a third one who only resets.
const fn late(bug: Bug) -> Barrier {
    Barrier { bug, processes: 3, waits: [1, 1, 0, 0], resets: 3, remembered: 1, ..PAIR }
}

/// A reset that looks as if it were to come.
const FAR: u8 = 100;

const NO_MOMENT: Expect = Expect::Unsafe("no moment at which all were in");
const NO_TICKET: Expect = Expect::Unsafe("for which it held no ticket");
const STILL_IN: Expect = Expect::Unsafe("the dead is still a party");
const WRONG_FATE: Expect = Expect::Unsafe("the wrong fate");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Barrier)] = &[
    (NO_MOMENT, Barrier { parties: 3, ..spare(Bug::SingleScan) }),
    (NO_TICKET, spare(Bug::FreeKeepsNothing)),
    (NO_TICKET, spare(Bug::NoProvisional)),
    (NO_TICKET, spare(Bug::NoReread)),
    (NO_MOMENT, spare(Bug::ProvisionalCounts)),
    (STILL_IN, Barrier { kills: 2, ..spare(Bug::ProvisionalNotSwept) }),
    (Expect::Stuck, quiet(Bug::NoFence)),
    (Expect::Stuck, Barrier { hints: false, ..quiet(Bug::ClaimByStore) }),
    (NO_TICKET, Barrier { waits: [2, 2, 2, 0], kills: 0, ..spare(Bug::ClaimNewer) }),
    (Expect::Stuck, spare(Bug::SpareWaitsForTurn)),
    (Expect::Stuck, killed(Bug::SilentRecovery)),
    (STILL_IN, killed(Bug::NotSwept)),
    (Expect::Stuck, Barrier { action: true, ..spare(Bug::LeaderForgotten) }),
    (Expect::Unsafe("turns without a ticket"), Barrier { waits: [2, 1, 1, 0], ..spare(Bug::FreeByStore) }),
    (Expect::Stuck, quiet(Bug::TurnWithoutPost)),
    (Expect::Stuck, Barrier { parties: 3, deadlines: 1, ..quiet(Bug::TimeoutWithoutPost) }),
    (WRONG_FATE, reset(Bug::DeadlineMeansTurned)),
    (WRONG_FATE, Barrier { processes: 3, waits: [1, 1, 0, 0], ..reset(Bug::FateWithoutBroken) }),
    (WRONG_FATE, reset(Bug::FateAfterReset)),
    (WRONG_FATE, late(Bug::NoteBehindState)),
    (WRONG_FATE, late(Bug::NoteByStore)),
    (WRONG_FATE, late(Bug::FatesAfterArrival)),
    (WRONG_FATE, Barrier { last_noted: FAR, ..late(Bug::DistanceAlone) }),
    (WRONG_FATE, Barrier { remembered: 4, ..late(Bug::AnyResetMeansBroken) }),
    (WRONG_FATE, late(Bug::ForgottenMeansTurned)),
];
