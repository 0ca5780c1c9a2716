//! The configurations of the model of permits, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Permits};

/// Three users of one permit, once each.
const SMALL: Permits =
    Permits { users: 3, permits: 1, wants: 1, kills: 0, recoverers: 1, deadlines: 0, bug: Bug::None };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Permits { bug: Bug::None, ..model };
    cases.extend(with_controls("permits", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("permits", what, Expect::Verified, depth, model));
    let two = Permits { kills: 2, recoverers: 2, ..SMALL };
    let pair = Permits { users: 2, ..two };
    add("3 users x2, 1 permit, no kill", Permits { wants: 2, ..SMALL });
    add("3 users, 2 permits, 1 deadline, no kill", Permits { permits: 2, deadlines: 1, ..SMALL });
    add("2 users x2, 1 permit, 2 kills", Permits { wants: 2, ..pair });
    add("2 users, 2 permits, 2 kills, 1 deadline", Permits { permits: 2, deadlines: 1, ..pair });
    let one = Permits { kills: 1, bug: Bug::RecoveryWakesOne, ..SMALL };
    add("not needed: recovery wakes all, 1 kill", one);
    add("3 users, 1 permit, 2 kills, 1 deadline", Permits { deadlines: 1, ..two });
    add("3 users, 2 permits, 2 kills", Permits { permits: 2, ..two });
    if depth == Depth::Deep {
        add("3 users x2, 1 permit, 1 kill", Permits { wants: 2, kills: 1, ..two });
        add("3 users x2, 2 permits, 2 kills", Permits { wants: 2, permits: 2, ..two });
        add("3 users x2, 1 permit, 2 kills, 1 deadline", Permits { wants: 2, deadlines: 1, ..two });
    }
    cases
}

const fn quiet(bug: Bug) -> Permits {
    Permits { bug, ..SMALL }
}

const fn pair(bug: Bug) -> Permits {
    Permits { users: 2, kills: 1, bug, ..SMALL }
}

const LOST: Expect = Expect::Unsafe("lost its permit");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Permits)] = &[
    (Expect::Stuck, quiet(Bug::NoPostFence)),
    (Expect::Stuck, quiet(Bug::NoArmFence)),
    (Expect::Stuck, quiet(Bug::NoLook)),
    (Expect::Stuck, quiet(Bug::SeqAfterLook)),
    (Expect::Stuck, quiet(Bug::FlagAfterSeq)),
    (Expect::Stuck, quiet(Bug::NoPass)),
    (Expect::Stuck, Permits { deadlines: 1, ..quiet(Bug::LeaveAtDeadline) }),
    (Expect::Stuck, quiet(Bug::PassWithoutArm)),
    (LOST, quiet(Bug::TakeByStore)),
    (Expect::Stuck, pair(Bug::SilentRecovery)),
    (Expect::Stuck, pair(Bug::WakeIfFreed)),
    (Expect::Stuck, pair(Bug::NotSwept)),
    (LOST, Permits { wants: 2, recoverers: 2, ..pair(Bug::RecoverWithoutLock) }),
    (LOST, Permits { wants: 2, recoverers: 2, ..pair(Bug::FreeAnyOwner) }),
];
