//! The configurations of the waiting model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Waiting};

/// One producer with two messages, one consumer without leases, one slot; nobody is killed or leaves.
const SMALL: Waiting = Waiting {
    producers: 1,
    takers: 1,
    lessees: 0,
    patient: 0,
    closer: 0,
    capacity: 1,
    cells: 0,
    messages: 2,
    kills: 0,
    leaves: 0,
    aborts: 0,
    nacks: false,
    hoarder: false,
    slices: false,
    bug: Bug::None,
};

/// Two sides of two.
const FOUR: Waiting = Waiting { producers: 2, takers: 2, messages: 1, ..SMALL };

/// Two consumers, one of which leaves.
const CONSUMERS: Waiting = Waiting { takers: 2, leaves: 1, ..SMALL };

/// Two producers, one of which leaves.
const PRODUCERS: Waiting = Waiting { producers: 2, leaves: 1, ..SMALL };

/// Consumers with and without leases, one of which leaves, and one cell.
const LEASES: Waiting = Waiting { lessees: 1, cells: 1, ..CONSUMERS };
const MIXED: Waiting = Waiting { takers: 1, ..LEASES };
const LESSEES: Waiting = Waiting { takers: 0, lessees: 2, ..LEASES };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Waiting { bug: Bug::None, ..model };
    cases.extend(with_controls("waiting", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("waiting", what, Expect::Verified, depth, model));
    add("2P2C, 1 leaves", Waiting { leaves: 1, ..FOUR });
    add("2P2C, room for 2", Waiting { capacity: 2, ..FOUR });
    add("1P2C x3, 1 leaves", Waiting { messages: 3, ..CONSUMERS });
    add("1P2C x2, 1 kill", Waiting { leaves: 0, kills: 1, ..CONSUMERS });
    add("2P1C x2, 1 leaves", PRODUCERS);
    add("2P1C x1, 1 leaves, 1 kill", Waiting { messages: 1, kills: 1, ..PRODUCERS });
    add("1P2C, puts back, aborts", Waiting { nacks: true, aborts: 1, messages: 1, ..CONSUMERS });
    add("mixed, nacks, 1 leaves", mixed(Bug::None));
    add("mixed, nacks, 1 kill", Waiting { leaves: 0, messages: 1, kills: 1, ..mixed(Bug::None) });
    add("2 lessees, nacks, 1 leaves", Waiting { messages: 1, ..lessees(Bug::None) });
    add("wait done, 2 lessees, 1 leaves", Waiting { patient: 1, messages: 1, ..LESSEES });
    add("close, 1P2C", Waiting { closer: 1, leaves: 0, messages: 1, ..CONSUMERS });
    add("close, mixed", Waiting { closer: 1, leaves: 0, messages: 1, ..MIXED });
    add("not needed: commit before wake", Waiting { bug: Bug::WakeBeforeCommit, ..CONSUMERS });
    add("not needed: W left by recovery", killed(Bug::RecoveryWithoutW));
    add("not needed: pass, if wakes go to all", leaves(Bug::WakesAll));
    add("slices: nobody passes", Waiting { slices: true, ..leaves(Bug::NoPass) });
    add("slices: recovery is silent", Waiting { slices: true, ..killed(Bug::SilentRecovery) });
    add("slices: plain ACK is silent", Waiting { slices: true, ..patient(Bug::PlainAckWithoutNotify) });
    if depth == Depth::Deep {
        add("2P2C x2", Waiting { messages: 2, ..FOUR });
        add("2P2C x2, room for 2", Waiting { messages: 2, capacity: 2, ..FOUR });
        add("2P2C, 1 kill", Waiting { kills: 1, ..FOUR });
        add("2P2C, slices, 1 kill", Waiting { kills: 1, slices: true, ..FOUR });
        add(
            "2P2C, slices, 1 leaves, nobody passes",
            Waiting { slices: true, leaves: 1, bug: Bug::NoPass, ..FOUR },
        );
        add("1P2C x2, 1 leaves, 1 kill", Waiting { kills: 1, ..CONSUMERS });
        add("1P2C x1, 2 kills", Waiting { messages: 1, kills: 2, leaves: 0, ..CONSUMERS });
        add("2P1C x1, 2 kills", Waiting { messages: 1, kills: 2, leaves: 0, ..PRODUCERS });
        add("1P3C x2, 1 leaves", Waiting { takers: 3, ..CONSUMERS });
        add("3P1C x1, 1 leaves", Waiting { producers: 3, messages: 1, ..PRODUCERS });
        add("2P2C, puts back, aborts", Waiting { nacks: true, aborts: 1, ..FOUR });
        add("2 lessees, nacks, 1 kill", Waiting { kills: 1, messages: 1, leaves: 0, ..lessees(Bug::None) });
        add("2 lessees, 2 cells, nacks", Waiting { cells: 2, leaves: 0, ..lessees(Bug::None) });
        add(
            "2 lessees and a taker, nacks",
            Waiting { takers: 1, messages: 1, leaves: 0, ..lessees(Bug::None) },
        );
        add("wait done, 2 lessees x2, 1 leaves", Waiting { patient: 1, ..LESSEES });
        add("close, 1P2C x2", Waiting { closer: 1, leaves: 0, ..CONSUMERS });
        add("close, 2P2C", Waiting { closer: 1, ..FOUR });
        add("close, 1P2C, 1 kill", Waiting { closer: 1, kills: 1, leaves: 0, messages: 1, ..CONSUMERS });
    }
    cases
}

const fn quiet(bug: Bug) -> Waiting {
    Waiting { bug, ..SMALL }
}

const fn leaves(bug: Bug) -> Waiting {
    Waiting { bug, ..CONSUMERS }
}

const fn killed(bug: Bug) -> Waiting {
    Waiting { bug, kills: 1, ..SMALL }
}

const fn mixed(bug: Bug) -> Waiting {
    Waiting { bug, nacks: true, ..MIXED }
}

const fn lessees(bug: Bug) -> Waiting {
    Waiting { bug, nacks: true, ..LESSEES }
}

const fn cell(bug: Bug) -> Waiting {
    Waiting { bug, messages: 1, ..LESSEES }
}

const fn patient(bug: Bug) -> Waiting {
    Waiting { bug, patient: 1, ..SMALL }
}

const fn closed(bug: Bug) -> Waiting {
    Waiting { bug, closer: 1, ..SMALL }
}

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Waiting)] = &[
    (Expect::Stuck, leaves(Bug::NoPass)),
    (Expect::Stuck, leaves(Bug::PassOnlyArms)),
    (Expect::Stuck, leaves(Bug::LeaveWithoutPass)),
    (Expect::Stuck, quiet(Bug::SleepUnarmed)),
    (Expect::Stuck, Waiting { aborts: 1, ..quiet(Bug::SkipDropsW) }),
    (Expect::Stuck, quiet(Bug::SeqAfterArm)),
    (Expect::Stuck, quiet(Bug::ArmBlindly)),
    (Expect::Stuck, killed(Bug::RecoveryWithoutAnything)),
    (Expect::Stuck, killed(Bug::SilentRecovery)),
    (Expect::Stuck, Waiting { nacks: true, ..quiet(Bug::PutBackWithoutW) }),
    (Expect::Stuck, Waiting { nacks: true, capacity: 2, messages: 1, ..leaves(Bug::PutBackWithoutWake) }),
    (Expect::Stuck, Waiting { aborts: 1, ..quiet(Bug::AbortWithoutWake) }),
    (Expect::Stuck, Waiting { messages: 1, ..mixed(Bug::NackWithoutWake) }),
    (Expect::Stuck, Waiting { messages: 1, ..mixed(Bug::NackWakesFirst) }),
    (Expect::Stuck, Waiting { messages: 1, ..lessees(Bug::NackWithoutNotify) }),
    (Expect::Stuck, Waiting { messages: 2, ..cell(Bug::AckWithoutNotify) }),
    (Expect::Stuck, cell(Bug::GiveUpWithoutNotify)),
    (Expect::Stuck, Waiting { hoarder: true, bug: Bug::NoCellWithoutPass, ..MIXED }),
    (Expect::Stuck, Waiting { messages: 2, ..cell(Bug::NotifyWithoutFence) }),
    (Expect::Stuck, Waiting { lessees: 1, takers: 0, cells: 1, ..patient(Bug::FlagClearedLate) }),
    (Expect::Stuck, cell(Bug::NoSecondLook)),
    (Expect::Stuck, Waiting { messages: 1, ..lessees(Bug::SecondLookForFreeOnly) }),
    (Expect::Stuck, Waiting { patient: 1, ..cell(Bug::CellWakesOne) }),
    (Expect::Stuck, patient(Bug::PlainAckWithoutNotify)),
    (Expect::Stuck, closed(Bug::SilentClose)),
    (Expect::Stuck, Waiting { messages: 1, lessees: 1, cells: 1, ..closed(Bug::AckIgnoresClosed) }),
    (Expect::Stuck, Waiting { takers: 0, ..closed(Bug::FullIgnoresClosed) }),
];
