//! The configurations of the model of spares, and its mutations, with what must come out.

use super::super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Spare};

const SMALL: Spare = Spare { threads: 1, cells: 1, wants: 1, spares: 1, kills: 0, bug: Bug::None };
const TWO: Spare = Spare { threads: 2, spares: 2, ..SMALL };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Spare { bug: Bug::None, ..model };
    cases.extend(with_controls("spare", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("spare", what, Expect::Verified, depth, model));
    add("2 threads, 1 cell, 2 spares, no kill", TWO);
    add("2 threads x2, 1 cell, 3 spares, 1 kill", Spare { wants: 2, spares: 3, kills: 1, ..TWO });
    add("2 threads, 2 cells, 3 spares, 2 kills", Spare { cells: 2, spares: 3, kills: 2, ..TWO });
    if depth == Depth::Deep {
        add(
            "2 threads x2, 2 cells, 4 spares, 2 kills",
            Spare { wants: 2, cells: 2, spares: 4, kills: 2, ..TWO },
        );
    }
    cases
}

const fn kill(bug: Bug) -> Spare {
    Spare { kills: 1, bug, ..TWO }
}

const STRANGER: Expect = Expect::Unsafe("the pid of somebody else");
const OTHER: Expect = Expect::Unsafe("the request of somebody else");
const NEVER: Expect = Expect::Unsafe("the body never ran");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Spare)] = &[
    (STRANGER, Spare { bug: Bug::ClaimByStore, ..TWO }),
    (OTHER, Spare { bug: Bug::RunFirst, ..SMALL }),
    (Expect::Stuck, Spare { bug: Bug::RunWithoutWake, ..SMALL }),
    (Expect::Stuck, Spare { bug: Bug::SleepBlindly, ..SMALL }),
    (STRANGER, kill(Bug::ReapsClaimed)),
    (OTHER, kill(Bug::EmptyByStore)),
    (Expect::Stuck, kill(Bug::ParkedNotReaped)),
    (NEVER, kill(Bug::NoRepeat)),
    (OTHER, kill(Bug::NoNumber)),
    (Expect::Stuck, kill(Bug::NotEmptied)),
    (OTHER, Spare { bug: Bug::EmptyFirst, ..TWO }),
];
