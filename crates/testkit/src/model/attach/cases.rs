//! The configurations of the attach model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Attach, Bug};

/// Three processes open and leave twice; no kill, so no `gc` is needed.
const QUIET: Attach = Attach { rounds: 2, kills: 0, leaks: 0, gc: false, bug: Bug::None };

/// Two processes open and leave twice; `gc` runs when it likes.
const SWEPT: Attach = Attach { gc: true, ..QUIET };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Attach { bug: Bug::None, ..model };
    cases.extend(with_controls("attach", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, expect, model| cases.push(Case::new("attach", what, expect, depth, model));
    add("3 processes x1, no kill", Expect::Verified, Attach { rounds: 1, ..QUIET });
    add("2 processes x2, gc, 2 kills", Expect::Verified, Attach { kills: 2, ..SWEPT });
    add(
        "2 processes x1, gc, 2 kills, 1 leak",
        Expect::Verified,
        Attach { rounds: 1, kills: 2, leaks: 1, ..SWEPT },
    );
    add(
        "3 processes x1, 1 kill, no gc: a name stays",
        Expect::Stuck,
        Attach { rounds: 1, kills: 1, ..QUIET },
    );
    let dead_first = Attach { kills: 1, bug: Bug::DeadBeforeUnlink, ..SWEPT };
    add("tolerable with gc: DEAD before unlink, 1 kill", Expect::Verified, dead_first);
    add(
        "not needed: a look at DEAD, 1 kill",
        Expect::Verified,
        Attach { bug: Bug::NoDeadCheck, ..dead_first },
    );
    if depth == Depth::Deep {
        add("3 processes x2, no kill", Expect::Verified, QUIET);
        add(
            "2 processes x3, gc, 2 kills, 1 leak",
            Expect::Verified,
            Attach { rounds: 3, kills: 2, leaks: 1, ..SWEPT },
        );
        add("2 processes x2, gc, 3 kills, 1 leak", Expect::Verified, Attach { kills: 3, leaks: 1, ..SWEPT });
    }
    cases
}

const fn swept(bug: Bug, kills: u8) -> Attach {
    Attach { bug, kills, ..SWEPT }
}

const TWO: Expect = Expect::Unsafe("two segments");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Attach)] = &[
    (TWO, swept(Bug::LinkBeforeLocks, 0)),
    (TWO, swept(Bug::LinkReplaces, 0)),
    (TWO, swept(Bug::NoLinkCheck, 1)),
    (TWO, swept(Bug::CheckBeforeGate, 0)),
    (TWO, swept(Bug::NoGate, 0)),
    (TWO, swept(Bug::CollectWithoutGate, 0)),
    (TWO, swept(Bug::NoRestat, 0)),
    (Expect::Stuck, Attach { bug: Bug::UpgradeInPlace, rounds: 1, ..QUIET }),
    (Expect::Unsafe("lives again"), swept(Bug::StateBeforeLock, 1)),
    (Expect::Unsafe("not LIVE"), swept(Bug::SharedDescription, 0)),
    (Expect::Unsafe("recovers a living"), swept(Bug::ProbesItself, 0)),
    (Expect::Unsafe("not LIVE"), swept(Bug::UnlockBeforeFree, 0)),
    (Expect::Unsafe("lives again"), swept(Bug::NoSweep, 1)),
    (Expect::Unsafe("lives again"), swept(Bug::FreeBeforeSweep, 2)),
];
