//! The configurations of the two broadcast models, and their mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::waiting::{self, Waiting};
use super::{Broadcast, Bug};

/// Two writers, one message each, one slot, one reader.
const SMALL: Broadcast = Broadcast {
    capacity: 1,
    messages: [1, 1],
    readers: 1,
    kills: 0,
    w: false,
    hints: false,
    closes: false,
    bug: Bug::None,
};

/// Two readers that sleep, two writers.
const SLEEPERS: Waiting = Waiting { messages: [1, 1], readers: 2, kills: 0, bug: waiting::Bug::None };

/// Every case of both models.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Broadcast { bug: Bug::None, ..model };
    cases.extend(with_controls("broadcast", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    let mut add =
        |what: &str, model| cases.push(Case::new("bcastwait", what, Expect::Verified, depth, model));
    add("2 writers, 2 readers, 2+1 messages, no kill", Waiting { messages: [2, 1], ..SLEEPERS });
    add("2 writers, 2 readers, 1+1 messages, 1 kill", Waiting { kills: 1, ..SLEEPERS });
    if depth == Depth::Deep {
        add(
            "2 writers, 2 readers, 2+1 messages, 2 kills",
            Waiting { messages: [2, 1], kills: 2, ..SLEEPERS },
        );
    }
    let without = |model| Waiting { bug: waiting::Bug::None, ..model };
    let bug = |model: &Waiting| format!("{:?}", model.bug);
    cases.extend(with_controls("bcastwait", depth, WAITING_MUTATIONS, bug, without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add =
        |what: &str, model| cases.push(Case::new("broadcast", what, Expect::Verified, depth, model));
    let two = Broadcast { messages: [2, 2], ..SMALL };
    add("1 slot, 2+2 messages, 1 kill", Broadcast { kills: 1, ..two });
    add("2 slots, 2+1 messages, 1 kill", Broadcast { capacity: 2, messages: [2, 1], kills: 1, ..SMALL });
    add("1 slot, 1+1 messages, 2 kills", Broadcast { kills: 2, ..SMALL });
    add("1 slot, 2+1 messages, W, 1 kill", Broadcast { messages: [2, 1], kills: 1, w: true, ..SMALL });
    add("1 slot, 1+1 messages, hints, 1 kill", Broadcast { kills: 1, hints: true, ..SMALL });
    add("2 slots, 2+1 messages, hints", Broadcast { capacity: 2, messages: [2, 1], hints: true, ..SMALL });
    add(
        "1 slot, 1+1 messages, hints, closed, 1 kill",
        Broadcast { kills: 1, hints: true, closes: true, ..SMALL },
    );
    add("1 slot, 1+1 messages, 2 readers", Broadcast { readers: 2, ..SMALL });
    if depth == Depth::Deep {
        add("2 slots, 2+2 messages, 2 kills", Broadcast { capacity: 2, kills: 2, ..two });
        add("2 slots, 2+2 messages, W, 1 kill", Broadcast { capacity: 2, kills: 1, w: true, ..two });
        add("2 slots, 2+2 messages, hints, 1 kill", Broadcast { capacity: 2, kills: 1, hints: true, ..two });
        add(
            "2 slots, 2+1 messages, hints, closed",
            Broadcast { capacity: 2, messages: [2, 1], hints: true, closes: true, ..SMALL },
        );
    }
    cases
}

const fn quiet(bug: Bug) -> Broadcast {
    Broadcast { bug, ..SMALL }
}

const fn killed(bug: Bug) -> Broadcast {
    Broadcast { kills: 1, bug, ..SMALL }
}

const fn closed(bug: Bug) -> Broadcast {
    Broadcast { messages: [1, 0], closes: true, bug, ..SMALL }
}

const TORN: Expect = Expect::Unsafe("a torn message");
const NOT_MISSED: Expect = Expect::Unsafe("not all of it was overwritten");
const NONSENSE: Expect = Expect::Unsafe("it holds nonsense");
const BEHIND: Expect = Expect::Unsafe("behind the end");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Broadcast)] = &[
    (TORN, quiet(Bug::NoClaimFence)),
    (TORN, quiet(Bug::RelaxedCommit)),
    (TORN, quiet(Bug::NoReadFence)),
    (TORN, quiet(Bug::RelaxedFirstLook)),
    (TORN, quiet(Bug::NoSecondLook)),
    (NOT_MISSED, Broadcast { w: true, ..quiet(Bug::CompareW) }),
    (TORN, killed(Bug::RecoverToFull)),
    (NONSENSE, Broadcast { messages: [2, 1], ..killed(Bug::RecoverToOldFull) }),
    (Expect::Stuck, killed(Bug::NoRecovery)),
    (Expect::Unsafe("not its own any more"), killed(Bug::RecoverAnyOwner)),
    (Expect::Unsafe("not its own any more"), quiet(Bug::OverwriteWriting)),
    (NONSENSE, Broadcast { hints: true, ..quiet(Bug::RelaxedHint) }),
    (NONSENSE, Broadcast { hints: true, ..quiet(Bug::HintBeforeClaim) }),
    (NOT_MISSED, quiet(Bug::JumpToTail)),
    (BEHIND, closed(Bug::ClosedBeforeClaim)),
    (BEHIND, closed(Bug::RelaxedClosed)),
    (BEHIND, closed(Bug::NoLastLook)),
];

const fn asleep(messages: u8, bug: waiting::Bug) -> Waiting {
    Waiting { messages: [messages, 0], bug, ..SLEEPERS }
}

const WAITING_MUTATIONS: &[(Expect, Waiting)] = &[
    (Expect::Stuck, asleep(1, waiting::Bug::NoPostFence)),
    (Expect::Stuck, asleep(1, waiting::Bug::NoArmFence)),
    (Expect::Stuck, asleep(1, waiting::Bug::NoSecondLook)),
    (Expect::Stuck, asleep(2, waiting::Bug::SeqAfterLook)),
    (Expect::Stuck, asleep(2, waiting::Bug::ClearAfterWake)),
    (Expect::Stuck, asleep(1, waiting::Bug::WakeOne)),
    (Expect::Stuck, asleep(2, waiting::Bug::LeaverClears)),
    (Expect::Stuck, Waiting { kills: 1, ..asleep(1, waiting::Bug::SilentRecovery) }),
];
