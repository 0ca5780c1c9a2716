//! The configurations of the model of the row of waiters, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{ALL, Bug, Waiters};

/// Two waiters, one notification of one, nobody dies.
const SMALL: Waiters = Waiters {
    waiters: 2,
    waits: [1; 3],
    asleep: false,
    is_pair: false,
    notes: [1, 0],
    kills: 0,
    kills_all: false,
    recoverers: 1,
    deadlines: 0,
    slices: false,
    is_strict: false,
    bug: Bug::None,
};

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Waiters { bug: Bug::None, ..model };
    cases.extend(with_controls("waiters", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut row = |what: &str, expect, model| cases.push(Case::new("waiters", what, expect, depth, model));
    let ok = Expect::Verified;
    let killed = killed(Bug::None);
    let again = Waiters { waits: [2; 3], deadlines: 1, ..SMALL };
    row("2 waiters x2, all and 1 called, 1 deadline, no kill", ok, Waiters { notes: [ALL, 1], ..again });
    row("2 waiters, 1 called, 2 kills", ok, Waiters { recoverers: 2, ..ALL_DIE });
    row("2 waiters, 2 called, 2 kills", ok, Waiters { notes: [2, 0], ..ALL_DIE });
    let nobody = Waiters { recoverers: 0, ..killed };
    row("2 waiters, 1 and all called, nobody recovers, 1 kill", ok, Waiters { notes: [1, ALL], ..nobody });
    row(
        "3 asleep, 1 and 2 called, 2 deadlines, no kill",
        ok,
        Waiters { notes: [1, 2], deadlines: 2, kills: 0, ..THREE },
    );
    row("3 asleep, 1 and 1 called, 1 kill, 1 deadline", ok, Waiters { notes: [1, 1], deadlines: 1, ..THREE });
    row("3 asleep, all called, 1 kill", ok, Waiters { notes: [ALL, 0], ..THREE });
    row(
        "3 asleep, 2 of one process, 2 called, 1 kill",
        ok,
        Waiters { is_pair: true, notes: [2, 0], ..THREE },
    );
    let all_die = Waiters { kills: 2, kills_all: true, slices: true, recoverers: 2, ..THREE };
    row("3 asleep, 1 called, 2 kills", ok, all_die);
    row("3 asleep, 1 and 1 called, 2 kills", ok, Waiters { notes: [1, 1], ..all_die });
    row("3 asleep, 2 called, 2 kills", ok, Waiters { notes: [2, 0], ..all_die });
    let no_slices = Waiters { kills: 1, slices: false, ..ALL_DIE };
    row("a kill between a call and its wake: the slice is needed", Expect::Stuck, no_slices);
    row("a kill between a call and its wake, slices", ok, Waiters { slices: true, ..no_slices });
    let came_after = Expect::Unsafe("came after");
    row(
        "a call of the dead may reach one that came later",
        came_after,
        Waiters { is_strict: true, ..killed },
    );
    let more = Expect::Unsafe("more returns");
    row("a recoverer killed in a pass: one more return", more, Waiters { is_strict: true, ..all_die });
    row("not needed: high before the commit, 1 kill", ok, Waiters { bug: Bug::HighLate, ..killed });
    if depth == Depth::Deep {
        let three = Waiters { asleep: false, ..THREE };
        row(
            "3 waiters, 1 and 2 called, 2 deadlines, no kill",
            ok,
            Waiters { notes: [1, 2], deadlines: 2, kills: 0, ..three },
        );
        row("3 waiters, 2 called, 1 kill", ok, Waiters { notes: [2, 0], ..three });
        row("3 waiters, all called, 1 kill", ok, Waiters { notes: [ALL, 0], ..three });
        row(
            "3 waiters, 2 of one process, 2 called, 1 kill",
            ok,
            Waiters { is_pair: true, notes: [2, 0], ..three },
        );
        row("3 waiters, 1 called, 2 kills", ok, Waiters { asleep: false, ..all_die });
        row(
            "3 waiters (1, 2, 1 times), 1 and 1 called, 1 kill",
            ok,
            Waiters { asleep: false, ..again_asleep(Bug::None) },
        );
        row(
            "2 waiters x2, 1 and 1 called, 1 kill, 1 deadline",
            ok,
            Waiters { notes: [1, 1], kills: 1, ..again },
        );
    }
    cases
}

/// Three that sleep already, one of them is killed.
const THREE: Waiters = Waiters { waiters: 3, asleep: true, kills: 1, ..SMALL };

/// Two waiters; they, the notifier and who recovers may be killed.
const ALL_DIE: Waiters = Waiters { kills: 2, kills_all: true, slices: true, ..SMALL };

const fn small(bug: Bug) -> Waiters {
    Waiters { bug, ..SMALL }
}

const fn late(bug: Bug) -> Waiters {
    Waiters { bug, deadlines: 1, ..SMALL }
}

const fn killed(bug: Bug) -> Waiters {
    Waiters { bug, kills: 1, ..SMALL }
}

/// The second of three comes again.
const fn again_asleep(bug: Bug) -> Waiters {
    Waiters { bug, waits: [1, 2, 1], notes: [1, 1], ..THREE }
}

const PASSED_OVER: Expect = Expect::Unsafe("passed over");
const LOST: Expect = Expect::Unsafe("lost its place");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Waiters)] = &[
    (Expect::Stuck, small(Bug::WakeFirst)),
    (Expect::Stuck, small(Bug::NoWake)),
    (Expect::Stuck, small(Bug::SleepBlindly)),
    (Expect::Stuck, small(Bug::SlotStays)),
    (Expect::Stuck, late(Bug::GoByStore)),
    (Expect::Stuck, late(Bug::CallByStore)),
    (Expect::Stuck, late(Bug::FailureCounts)),
    (PASSED_OVER, Waiters { waits: [2; 3], ..late(Bug::BySlot) }),
    (Expect::Stuck, Waiters { waits: [2; 3], notes: [ALL, 0], ..late(Bug::HighByStore) }),
    (Expect::Stuck, killed(Bug::NotPassed)),
    (Expect::Stuck, killed(Bug::PassBeforeSweep)),
    (Expect::Stuck, killed(Bug::SweepByStore)),
    (Expect::Stuck, killed(Bug::TakenStays)),
    (LOST, killed(Bug::RecoverAnyOwner)),
    (LOST, Waiters { waits: [2; 3], recoverers: 2, ..killed(Bug::RecoverWithoutLock) }),
    (Expect::Stuck, Waiters { bug: Bug::FreeBeforePass, ..ALL_DIE }),
    (PASSED_OVER, again_asleep(Bug::OwnerAlone)),
    (PASSED_OVER, again_asleep(Bug::NumberLate)),
    (Expect::Unsafe("was not called"), Waiters { waits: [1, 2, 0], ..killed(Bug::WakeIsCall) }),
];
