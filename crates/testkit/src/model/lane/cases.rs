//! The configurations of the lane model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Lane};

/// Room for two messages and the zero behind them.
const SMALL: Lane =
    Lane { cells: 3, messages: 4, batch: 1, loan: 1, kills: 0, slices: false, bug: Bug::None };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Lane { bug: Bug::None, ..model };
    cases.extend(with_controls("lane", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("lane", what, Expect::Verified, depth, model));
    let batches = Lane { batch: 2, loan: 2, ..SMALL };
    add("room for 1, 4 messages, 3 kills", Lane { cells: 2, kills: 3, ..SMALL });
    add("room for 2, 4 messages, 2 kills", Lane { kills: 2, ..SMALL });
    add("room for 2, batches and loans of 2, no kill", Lane { messages: 6, ..batches });
    add("room for 2, batches and loans of 2, 2 kills", Lane { kills: 2, ..batches });
    add("room for 3, batches and loans of 2, 1 kill", Lane { cells: 4, kills: 1, ..batches });
    add("slices: nobody fences", Lane { slices: true, bug: Bug::NoPostFence, ..SMALL });
    add(
        "slices: recovery is silent, 2 kills",
        Lane { slices: true, kills: 2, bug: Bug::SilentRecovery, ..SMALL },
    );
    if depth == Depth::Deep {
        add("room for 2, batches and loans of 2, 3 kills", Lane { kills: 3, messages: 5, ..batches });
        add(
            "room for 3, batches of 3, loans of 2, 3 kills",
            Lane { cells: 4, batch: 3, kills: 3, messages: 5, ..batches },
        );
    }
    cases
}

const fn quiet(bug: Bug) -> Lane {
    Lane { bug, ..SMALL }
}

const fn killed(bug: Bug) -> Lane {
    Lane { bug, kills: 1, ..SMALL }
}

const TAIL: Expect = Expect::Unsafe("away from the tail");
const OTHER: Expect = Expect::Unsafe("not the message sent there");
const TWICE: Expect = Expect::Unsafe("twice and is not flagged");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Lane)] = &[
    (Expect::Stuck, quiet(Bug::NoPostFence)),
    (Expect::Stuck, quiet(Bug::NoArmFence)),
    (Expect::Stuck, quiet(Bug::NoSecondLook)),
    (Expect::Stuck, quiet(Bug::SeqAfterLook)),
    (Expect::Stuck, quiet(Bug::ClearAfterWake)),
    (Expect::Stuck, killed(Bug::SilentRecovery)),
    (Expect::Unsafe("a role still names it"), killed(Bug::RoleStaysHeld)),
    (Expect::Unsafe("while messages wait"), Lane { messages: 2, ..quiet(Bug::RoleWithoutProof) }),
    (OTHER, quiet(Bug::CommitBeforePayload)),
    (OTHER, quiet(Bug::NoZero)),
    (OTHER, quiet(Bug::ZeroAfterCommit)),
    (Expect::Stuck, quiet(Bug::NoRoomForZero)),
    (TAIL, Lane { batch: 2, ..killed(Bug::FirstHeaderFirst) }),
    (TAIL, killed(Bug::HintBeforeCommit)),
    (TAIL, killed(Bug::NoWalk)),
    (Expect::Unsafe("a message was lost"), killed(Bug::AckBeforeRead)),
    (Expect::Unsafe("while messages wait"), killed(Bug::NoLastLook)),
    (TWICE, killed(Bug::NoFlag)),
    (TWICE, Lane { loan: 2, ..killed(Bug::FlagFirstOnly) }),
    (TWICE, killed(Bug::CloseForgetsFlag)),
];
