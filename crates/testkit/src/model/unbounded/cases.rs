//! The configurations of the model of the unbounded ring, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Unbounded};

const SMALL: Unbounded = Unbounded {
    producers: 1,
    consumers: 1,
    messages: 5,
    kills: 0,
    sleeps: true,
    second_takes: 0,
    bug: Bug::None,
};

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Unbounded { bug: Bug::None, ..model };
    let bug = |model: &Unbounded| format!("{:?}", model.bug);
    cases.extend(with_controls("unbounded", depth, MUTATIONS, bug, without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add =
        |what: &str, model| cases.push(Case::new("unbounded", what, Expect::Verified, depth, model));
    let two = Unbounded { producers: 2, messages: 3, ..SMALL };
    let four = Unbounded { consumers: 2, second_takes: 9, sleeps: false, ..two };
    add("1P1C x9", Unbounded { messages: 9, ..SMALL });
    add("1P1C x5, 1 kill", Unbounded { kills: 1, ..SMALL });
    add("2P1C x2", Unbounded { messages: 2, ..two });
    add("1P2C x4", Unbounded { consumers: 2, second_takes: 9, messages: 4, ..SMALL });
    if depth == Depth::Deep {
        add("1P1C x5, 2 kills", Unbounded { kills: 2, ..SMALL });
        add("2P1C x3", two);
        add("1P2C x5", Unbounded { consumers: 2, second_takes: 9, ..SMALL });
        add("1P2C x5, 1 kill", Unbounded { consumers: 2, second_takes: 9, kills: 1, ..SMALL });
        add("2P1C x3, 1 kill", Unbounded { kills: 1, ..two });
        add("1P1C x9, 2 kills", Unbounded { messages: 9, kills: 2, ..SMALL });
        add("2P2C x2", Unbounded { messages: 2, ..four });
    }
    cases
}

const fn quiet(bug: Bug) -> Unbounded {
    Unbounded { bug, ..SMALL }
}

const fn killed(bug: Bug) -> Unbounded {
    Unbounded { bug, kills: 1, ..SMALL }
}

const fn producers(bug: Bug) -> Unbounded {
    Unbounded { bug, producers: 2, messages: 3, sleeps: false, ..SMALL }
}

const fn consumers(bug: Bug) -> Unbounded {
    Unbounded { bug, consumers: 2, second_takes: 2, messages: 3, ..SMALL }
}

const OWN: Expect = Expect::Unsafe("not its own");
const IMPOSSIBLE: Expect = Expect::Unsafe("cannot be there");
const NO_MEMORY: Expect = Expect::Unsafe("without memory");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Unbounded)] = &[
    (OWN, quiet(Bug::PunchStores)),
    (Expect::Stuck, consumers(Bug::PunchDespiteW)),
    (OWN, killed(Bug::OpenOverwrites)),
    (IMPOSSIBLE, producers(Bug::OpenLapOfPosition)),
    (Expect::Stuck, quiet(Bug::PositionsFromZero)),
    (Expect::Unsafe("in use"), producers(Bug::NoLock)),
    (IMPOSSIBLE, killed(Bug::LapAfterZero)),
    (NO_MEMORY, killed(Bug::PunchBeforeAbsent)),
    (NO_MEMORY, killed(Bug::PresentBeforeMemory)),
    (IMPOSSIBLE, quiet(Bug::LapStays)),
    (IMPOSSIBLE, quiet(Bug::LookOnce)),
    (Expect::Stuck, quiet(Bug::SleepAtHole)),
    (Expect::Stuck, killed(Bug::LockNotRecovered)),
];
