//! The configurations of the model of the gate, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Gate};

/// One setter, two waiters, once each.
const SMALL: Gate =
    Gate { setters: 1, waiters: 2, sets: 1, waits: 1, pulse: false, kills: 0, bug: Bug::None };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Gate { bug: Bug::None, ..model };
    cases.extend(with_controls("gate", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("gate", what, Expect::Verified, depth, model));
    let pulse = Gate { pulse: true, ..SMALL };
    add("1 setter, 2 waiters, 2 kills", Gate { kills: 2, ..SMALL });
    add("2 pulses, 2 waiters x2, no kill", Gate { sets: 2, waits: 2, ..pulse });
    add("2 pulses, 2 waiters, 2 kills", Gate { sets: 2, kills: 2, ..pulse });
    add("2 setters, 2 waiters, pulses, 1 kill", Gate { setters: 2, kills: 1, ..pulse });
    let not_new = Gate { setters: 2, kills: 1, bug: Bug::PostIfNew, ..pulse };
    add("not needed: a post if it is set already, 1 kill", not_new);
    if depth == Depth::Deep {
        add(
            "2 setters, 2 waiters x2, 2 pulses, 1 kill",
            Gate { setters: 2, sets: 2, waits: 2, kills: 1, ..pulse },
        );
    }
    cases
}

const fn small(bug: Bug) -> Gate {
    Gate { bug, ..SMALL }
}

const fn pulses(bug: Bug) -> Gate {
    Gate { bug, pulse: true, sets: 2, waits: 2, ..SMALL }
}

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Gate)] = &[
    (Expect::Stuck, small(Bug::NoPostFence)),
    (Expect::Stuck, small(Bug::NoArmFence)),
    (Expect::Stuck, small(Bug::NoLook)),
    (Expect::Stuck, small(Bug::SeqAfterLook)),
    (Expect::Stuck, Gate { setters: 2, waiters: 1, ..pulses(Bug::FlagAfterSeq) }),
    (Expect::Stuck, small(Bug::WakeOne)),
    (Expect::Stuck, pulses(Bug::LeaverClears)),
    (Expect::Stuck, Gate { kills: 1, ..small(Bug::SilentRecovery) }),
    (Expect::Stuck, pulses(Bug::NoGeneration)),
];
