//! The configurations of the mpsc model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Mpsc};

/// Two producers, a lane for each, one message each.
const TWO: Mpsc =
    Mpsc { lanes: 2, producers: 2, messages: 1, clones: 0, kills: 0, closes: 0, stay: false, bug: Bug::None };

/// Two producers that have to share a lane, one after the other.
const SHARED: Mpsc = Mpsc { lanes: 1, ..TWO };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Mpsc { bug: Bug::None, ..model };
    cases.extend(with_controls("mpsc", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("mpsc", what, Expect::Verified, depth, model));
    let clone = Mpsc { producers: 1, clones: 1, ..TWO };
    let one = Mpsc { producers: 1, kills: 2, closes: 1, ..TWO };
    add("2 producers x2, 2 lanes, all stay, no kill", Mpsc { messages: 2, stay: true, ..TWO });
    add("2 producers x2, 1 lane, 1 kill", Mpsc { messages: 2, kills: 1, ..SHARED });
    add("1 producer x1, 2 lanes, 2 kills, 1 close", one);
    add("1 producer and 1 clone, 2 lanes, 1 kill", Mpsc { kills: 1, ..clone });
    if depth == Depth::Deep {
        add("2 producers x1, 2 lanes, 1 kill", Mpsc { kills: 1, ..TWO });
        add("2 producers x2, 1 lane, 2 kills", Mpsc { messages: 2, kills: 2, ..SHARED });
        add("1 producer x2, 2 lanes, 2 kills, 1 close", Mpsc { messages: 2, ..one });
        add("2 producers x1, 2 lanes, 2 kills", Mpsc { kills: 2, ..TWO });
        add("1 producer and 2 clones, 2 lanes, 1 kill", Mpsc { clones: 2, kills: 1, ..clone });
    }
    cases
}

const fn quiet(bug: Bug) -> Mpsc {
    Mpsc { bug, ..TWO }
}

const fn staying(bug: Bug) -> Mpsc {
    Mpsc { bug, stay: true, ..TWO }
}

const fn killed(bug: Bug) -> Mpsc {
    Mpsc { bug, producers: 1, messages: 2, kills: 1, ..TWO }
}

const fn cloned(bug: Bug) -> Mpsc {
    Mpsc { bug, producers: 1, clones: 2, ..TWO }
}

const END: Expect = Expect::Unsafe("away from the end of the lane");
const EARLY: Expect = Expect::Unsafe("there was a producer all the time");
const TWICE: Expect = Expect::Unsafe("twice and is not flagged");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Mpsc)] = &[
    (END, Mpsc { bug: Bug::TakeAsEmpty, ..SHARED }),
    (Expect::Stuck, staying(Bug::PostToOwnLine)),
    (Expect::Stuck, staying(Bug::ArmAfterLook)),
    (Expect::Stuck, staying(Bug::LookAtOneLane)),
    (Expect::Stuck, staying(Bug::ClearAfterWake)),
    (Expect::Stuck, Mpsc { stay: true, ..killed(Bug::SilentRecovery) }),
    (Expect::Stuck, killed(Bug::RoleStaysHeld)),
    (Expect::Stuck, quiet(Bug::SilentClose)),
    (EARLY, cloned(Bug::OneCensus)),
    (EARLY, cloned(Bug::CensusBeforeTaking)),
    (EARLY, quiet(Bug::CensusAfterCommit)),
    (Expect::Unsafe("messages wait"), quiet(Bug::NoLastLook)),
    (TWICE, killed(Bug::NoFlag)),
    (TWICE, Mpsc { kills: 1, ..staying(Bug::FlagOneLane) }),
    (TWICE, Mpsc { closes: 1, ..killed(Bug::CloseForgetsFlag) }),
    (Expect::Unsafe("a message was lost"), killed(Bug::AckBeforeRead)),
];
