//! The configurations of the ring model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Policy, Ring};

/// One producer of two messages, two consumers, two slots; nobody is killed.
const SMALL: Ring = Ring {
    producers: 1,
    consumers: 2,
    capacity: 2,
    messages: 2,
    kills: 0,
    recoverers: 1,
    puts_back: false,
    policy: Policy::Redeliver,
    bug: Bug::None,
};

/// Every case of this model.
pub(super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Ring { bug: Bug::None, ..model };
    cases.extend(with_controls("ring", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("ring", what, Expect::Verified, depth, model));
    let four = Ring { producers: 2, messages: 1, ..SMALL };
    add("2P2C x2", Ring { messages: 2, ..four });
    add("2P2C x1, 1 kill", Ring { kills: 1, ..four });
    add("2P1C x2, 1 kill", Ring { consumers: 1, messages: 2, kills: 1, ..four });
    add("1P2C x2, puts back, 2 kills", Ring { puts_back: true, kills: 2, recoverers: 2, ..SMALL });
    add("1P2C x2, 1 slot, 2 kills", Ring { capacity: 1, kills: 2, recoverers: 2, ..SMALL });
    add("1P2C x2, policy Drop, 2 kills", Ring { policy: Policy::Drop, kills: 2, ..SMALL });
    if depth == Depth::Deep {
        add("2P2C x2, 1 kill", Ring { messages: 2, kills: 1, ..four });
        add("2P2C x1, 2 kills", Ring { kills: 2, recoverers: 2, ..four });
        add("2P2C x1, puts back, 2 kills", Ring { puts_back: true, kills: 2, recoverers: 2, ..four });
        add("2P2C x1, policy Drop, 2 kills", Ring { policy: Policy::Drop, kills: 2, recoverers: 2, ..four });
        add("1P2C x3, 2 kills", Ring { messages: 3, kills: 2, recoverers: 2, ..SMALL });
        add("1P2C x2, 3 kills", Ring { kills: 3, recoverers: 2, ..SMALL });
    }
    cases
}

const fn quiet(bug: Bug) -> Ring {
    Ring { bug, ..SMALL }
}

const fn producers(bug: Bug) -> Ring {
    Ring { producers: 2, consumers: 1, ..quiet(bug) }
}

const fn killed(bug: Bug) -> Ring {
    Ring { bug, kills: 1, ..SMALL }
}

const NAMED: Expect = Expect::Unsafe("a slot still names it");
const NEVER: Expect = Expect::Unsafe("never sent");
const TWICE: Expect = Expect::Unsafe("twice and is not flagged");
const ANOTHER: Expect = Expect::Unsafe("not its own");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Ring)] = &[
    (Expect::Stuck, killed(Bug::Unattributed)),
    (NEVER, killed(Bug::AbortTaken)),
    (Expect::Stuck, killed(Bug::AbortNotSkipped)),
    (Expect::Stuck, killed(Bug::HintTrusted)),
    (Expect::Unsafe("cannot be there"), producers(Bug::HintBeforeClaim)),
    (Expect::Unsafe("overtakes"), Ring { messages: 4, ..quiet(Bug::JumpTooFar) }),
    (NEVER, quiet(Bug::CommitBeforePayload)),
    (NEVER, Ring { messages: 3, ..quiet(Bug::AckBeforeRead) }),
    (ANOTHER, quiet(Bug::StealFromLiving)),
    (Expect::Stuck, killed(Bug::NoScan)),
    (Expect::Stuck, Ring { puts_back: true, ..quiet(Bug::ClearBlindly) }),
    (TWICE, killed(Bug::RedelivNotFlagged)),
    (Expect::Stuck, Ring { puts_back: true, ..quiet(Bug::PutBackWithoutBump) }),
    (NAMED, killed(Bug::WritingNotSwept)),
    (NAMED, killed(Bug::ReadingNotSwept)),
    (Expect::Unsafe("cannot be there"), killed(Bug::WritingToFree)),
    (Expect::Stuck, killed(Bug::NoBump)),
    (Expect::Stuck, killed(Bug::BumpFirst)),
    (Expect::Stuck, Ring { kills: 2, ..killed(Bug::BumpIfChanged) }),
    (ANOTHER, Ring { recoverers: 2, ..killed(Bug::RecoverWithoutLock) }),
];
