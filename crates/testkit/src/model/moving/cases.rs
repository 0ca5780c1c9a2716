//! The configurations of the model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Moving};

/// Two processes, one move; nobody is killed.
const SMALL: Moving = Moving {
    processes: 2,
    moves: 1,
    fails: false,
    tokens: false,
    discards: false,
    ring: false,
    leases: false,
    opens: 0,
    plains: 0,
    kills: 0,
    recoverers: 1,
    slices: false,
    bug: Bug::None,
};

/// Every case of the model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Moving { bug: Bug::None, ..model };
    cases.extend(with_controls("moving", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("moving", what, Expect::Verified, depth, model));
    let pair = Moving { moves: 2, fails: true, discards: true, kills: 2, recoverers: 2, ..SMALL };
    add("alone, to itself, 2 moves, 2 kills", Moving { processes: 1, ..pair });
    add("2 processes, 2 moves, 2 kills", pair);
    add("2 processes, 2 tokens or messages, 2 kills", Moving { tokens: true, ..pair });
    add("2 processes, 1 move, 1 message beside, 2 kills", Moving { moves: 1, plains: 1, ..pair });
    add("2 processes, named, 2 moves, 1 kill", Moving { opens: 1, kills: 1, ..pair });
    add("2 processes, by a ring, 2 moves, 2 kills", Moving { ring: true, ..pair });
    let leases = Moving { ring: true, leases: true, ..pair };
    add("2 processes, leases refused, 1 move, 2 kills", Moving { moves: 1, ..leases });
    add("3 processes, 2 moves, 1 kill", Moving { processes: 3, kills: 1, ..pair });
    add("slices: 2 processes, 2 moves, 1 kill", Moving { slices: true, kills: 1, ..pair });
    add("not needed: tickets before roles, 2 kills", Moving { bug: Bug::RoleFirst, moves: 1, ..pair });
    if depth == Depth::Deep {
        add("2 processes, 3 moves, 1 beside, 2 kills", Moving { moves: 3, plains: 1, ..pair });
        add("2 processes, named, tokens, 2 moves, 2 kills", Moving { opens: 1, tokens: true, ..pair });
        add("2 processes, leases refused, tokens, 2 moves, 2 kills", Moving { tokens: true, ..leases });
        add("3 processes, named, 2 moves, 2 kills", Moving { processes: 3, opens: 1, ..pair });
        add(
            "slices: 3 processes, tokens, 2 moves, 2 kills",
            Moving { processes: 3, slices: true, tokens: true, ..pair },
        );
    }
    cases
}

const fn killed(bug: Bug) -> Moving {
    Moving { bug, kills: 1, ..SMALL }
}

const fn discarded(bug: Bug) -> Moving {
    Moving { bug, discards: true, ..SMALL }
}

const fn sliced(bug: Bug) -> Moving {
    Moving { slices: true, ..killed(bug) }
}

const STOLEN: Expect = Expect::Unsafe("under way with ticket");
const NOT_ITS_OWN: Expect = Expect::Unsafe("an end that is not its own");
const GONE: Expect = Expect::Unsafe("the end that was received is gone");
const LEAKED: Expect = Expect::Unsafe("a ticket that is not in flight still names it");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Moving)] = &[
    (STOLEN, killed(Bug::RecoverMoving)),
    (STOLEN, Moving { moves: 2, opens: 1, discards: true, ..killed(Bug::AnyMoving) }),
    (Expect::Stuck, killed(Bug::RoleBeforePin)),
    (STOLEN, Moving { bug: Bug::CommitBeforeRole, ..SMALL }),
    (STOLEN, killed(Bug::CarrierAfterCommit)),
    (Expect::Stuck, Moving { fails: true, ..killed(Bug::StayFreesFirst) }),
    (NOT_ITS_OWN, Moving { fails: true, bug: Bug::NoStay, ..SMALL }),
    (Expect::Unsafe("names a ticket that is gone"), killed(Bug::AckBeforeReceive)),
    (Expect::Stuck, killed(Bug::FreeBeforeTake)),
    (Expect::Unsafe("the role still names it"), killed(Bug::TakeBeforeBit)),
    (Expect::Stuck, discarded(Bug::NoClose)),
    (Expect::Stuck, Moving { kills: 1, ..discarded(Bug::FreeBeforeClose) }),
    (Expect::Stuck, discarded(Bug::NoWake)),
    (Expect::Stuck, discarded(Bug::WakeFirst)),
    (NOT_ITS_OWN, Moving { bug: Bug::HuskCloses, ..SMALL }),
    (STOLEN, Moving { bug: Bug::HuskClosesMoving, ..SMALL }),
    (STOLEN, Moving { bug: Bug::NameTakesMoving, opens: 1, ..SMALL }),
    (STOLEN, killed(Bug::SweepInFlight)),
    (LEAKED, Moving { plains: 1, ..killed(Bug::PipeFirst) }),
    (Expect::Stuck, killed(Bug::NoCloseByRecovery)),
    (Expect::Stuck, Moving { kills: 2, ..killed(Bug::RecoveryFreesFirst) }),
    (Expect::Stuck, Moving { discards: true, ..killed(Bug::WakeIfClosed) }),
    (GONE, Moving { tokens: true, ..killed(Bug::OutByStore) }),
    (STOLEN, Moving { tokens: true, bug: Bug::RedeemTwice, ..SMALL }),
    (Expect::Unsafe("the role still names it"), Moving { kills: 2, ..killed(Bug::BitFirst) }),
    (STOLEN, Moving { ring: true, leases: true, bug: Bug::RefusalFrees, ..SMALL }),
    (Expect::Stuck, sliced(Bug::NoProbe)),
    (Expect::Stuck, sliced(Bug::ProbeMover)),
];
