//! The configurations of the two models about blocks, and their mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::waiting::{self, Waiting};
use super::{Blocks, Bug, Unacked};

/// One sender, one receiver, one block; nobody is killed.
const SMALL: Blocks = Blocks {
    producers: 1,
    consumers: 1,
    blocks: 1,
    queues: 2,
    sends: 2,
    forwards: 0,
    leases: false,
    closes: false,
    rebirths: 0,
    kills: 0,
    recoverers: 1,
    unacked: Unacked::Redeliver,
    bug: Bug::None,
};

/// Three users of one block.
const THREE: Waiting =
    Waiting { users: 3, blocks: 1, wants: 1, kills: 0, deadlines: 0, bug: waiting::Bug::None };

/// Every case of both models.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Blocks { bug: Bug::None, ..model };
    cases.extend(with_controls("blocks", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases.extend(waiting_configurations(depth));
    let without = |model| Waiting { bug: waiting::Bug::None, ..model };
    let bug = |model: &Waiting| format!("{:?}", model.bug);
    cases.extend(with_controls("blockwait", depth, WAITING_MUTATIONS, bug, without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, expect, model| cases.push(Case::new("blocks", what, expect, depth, model));
    let pair = Blocks { blocks: 2, kills: 2, recoverers: 2, ..SMALL };
    let wide = Blocks { producers: 2, consumers: 2, sends: 1, blocks: 2, kills: 2, recoverers: 2, ..SMALL };
    add("1+1, 2 blocks, 2 queues, 2 kills", Expect::Verified, pair);
    add("1+1, 2 blocks, leases, 2 kills", Expect::Verified, Blocks { leases: true, ..pair });
    add("1+1, 2 blocks, drop, 2 kills", Expect::Verified, Blocks { unacked: Unacked::Drop, ..pair });
    let drops = Blocks { unacked: Unacked::Drop, leases: true, kills: 1, ..pair };
    add("1+1, 2 blocks, drop, leases, 1 kill", Expect::Verified, drops);
    add("1+1, 2 blocks, closed, 1 kill", Expect::Verified, Blocks { closes: true, kills: 1, ..pair });
    let reborn = Blocks { rebirths: 1, kills: 1, ..pair };
    add("1+1, 2 blocks, a queue made anew, 1 kill", Expect::Verified, reborn);
    add("1+1, a block sent on, 2 kills", Expect::Verified, Blocks { forwards: 1, blocks: 1, ..pair });
    let one_queue = Blocks { queues: 1, ..pair };
    add("1+1, 2 blocks, 1 queue of 2, 2 kills", Expect::Verified, one_queue);
    add("2+1, 2 kills", Expect::Verified, Blocks { consumers: 1, ..wide });
    let leases = Blocks { producers: 1, leases: true, sends: 2, kills: 1, ..wide };
    add("1+2, leases, 1 kill", Expect::Verified, leases);
    add("2+2, 1 kill", Expect::Verified, Blocks { kills: 1, ..wide });
    let no_generation = Blocks { bug: Bug::NoGeneration, ..pair };
    add("not needed: the generation, 1+1, 2 kills", Expect::Verified, no_generation);
    let blocks_first = Blocks { bug: Bug::BlocksFirst, leases: true, kills: 1, ..pair };
    add("not needed if redelivered: queues first", Expect::Verified, blocks_first);
    if depth == Depth::Deep {
        add("2+2, 2 kills", Expect::Verified, wide);
        add("2+1, leases, 2 kills", Expect::Verified, Blocks { consumers: 1, leases: true, ..wide });
        add(
            "1+2, leases, 2 kills",
            Expect::Verified,
            Blocks { producers: 1, leases: true, sends: 2, ..wide },
        );
        let reborn = Blocks { producers: 1, rebirths: 1, sends: 2, ..wide };
        add("1+2, a queue made anew, 2 kills", Expect::Verified, reborn);
        let no_generation = Blocks { bug: Bug::NoGeneration, ..wide };
        add("not needed: the generation, 2+2, 2 kills", Expect::Verified, no_generation);
    }
    cases
}

const fn killed(bug: Bug) -> Blocks {
    Blocks { bug, kills: 1, ..SMALL }
}

const fn leased(bug: Bug) -> Blocks {
    Blocks { leases: true, ..killed(bug) }
}

const FREED: Expect = Expect::Unsafe("use after free");
const COMES_AGAIN: Expect = Expect::Unsafe("was freed");
const INHERITED: Expect = Expect::Unsafe("which its next owner inherits");
const LEAKED: Expect = Expect::Unsafe("a block that is not in flight still names it");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Blocks)] = &[
    (COMES_AGAIN, killed(Bug::SweepInFlight)),
    (COMES_AGAIN, Blocks { kills: 1, consumers: 2, ..killed(Bug::InFlightFullOnly) }),
    (LEAKED, Blocks { closes: true, ..killed(Bug::InFlightAborted) }),
    (COMES_AGAIN, leased(Bug::InFlightNoCell)),
    (COMES_AGAIN, leased(Bug::CellBeforeSlot)),
    (LEAKED, killed(Bug::AckBeforeReceive)),
    (INHERITED, killed(Bug::CarrierAfterCommit)),
    (LEAKED, Blocks { blocks: 2, ..killed(Bug::CarrierWithoutQueue) }),
    (LEAKED, Blocks { blocks: 2, ..killed(Bug::CarrierWithoutPosition) }),
    (LEAKED, Blocks { unacked: Unacked::Drop, ..killed(Bug::BlocksFirst) }),
    (Expect::Stuck, Blocks { unacked: Unacked::Drop, ..killed(Bug::DropWithoutReceive) }),
    (Expect::Unsafe("not its own"), killed(Bug::FreeByStore)),
    (COMES_AGAIN, Blocks { kills: 2, forwards: 1, ..killed(Bug::ClearUnlooked) }),
    (INHERITED, killed(Bug::FreeWithCarrier)),
    (COMES_AGAIN, killed(Bug::ClearBeforeAck)),
    (LEAKED, Blocks { blocks: 2, rebirths: 1, ..killed(Bug::NoClear) }),
    (LEAKED, Blocks { blocks: 2, rebirths: 1, ..killed(Bug::BitsFirst) }),
    (FREED, leased(Bug::ReleaseUnderLease)),
    (LEAKED, killed(Bug::SkipBlocks)),
    (Expect::Unsafe("a slot still names it"), killed(Bug::SkipWriting)),
    (Expect::Unsafe("a slot still names it"), killed(Bug::SkipReading)),
    (Expect::Unsafe("a lease still names it"), leased(Bug::SkipCells)),
];

fn waiting_configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| {
        cases.push(Case::new("blockwait", what, Expect::Verified, depth, model));
    };
    add("3 users x2, 1 block, no kill", Waiting { wants: 2, ..THREE });
    add("3 users x1, 1 block, 2 deadlines, no kill", Waiting { deadlines: 2, ..THREE });
    add("3 users x1, 2 blocks, 1 deadline, no kill", Waiting { blocks: 2, deadlines: 1, ..THREE });
    add("3 users x1, 1 block, 2 kills, 1 deadline", Waiting { kills: 2, deadlines: 1, ..THREE });
    if depth == Depth::Deep {
        add(
            "3 users x2, 2 blocks, 1 deadline, no kill",
            Waiting { wants: 2, blocks: 2, deadlines: 1, ..THREE },
        );
        add(
            "3 users x2, 1 block, 2 kills, 1 deadline",
            Waiting { wants: 2, kills: 2, deadlines: 1, ..THREE },
        );
    }
    cases
}

const fn quiet(bug: waiting::Bug) -> Waiting {
    Waiting { bug, wants: 2, ..THREE }
}

/// Each mistake in a configuration that is right without it, and shows it.
const WAITING_MUTATIONS: &[(Expect, Waiting)] = &[
    (Expect::Stuck, quiet(waiting::Bug::NoPostFence)),
    (Expect::Stuck, quiet(waiting::Bug::NoArmFence)),
    (Expect::Stuck, quiet(waiting::Bug::NoSecondLook)),
    (Expect::Stuck, quiet(waiting::Bug::SeqAfterLook)),
    (Expect::Stuck, quiet(waiting::Bug::ClearAfterBump)),
    (Expect::Stuck, quiet(waiting::Bug::NoPass)),
    (Expect::Stuck, Waiting { deadlines: 1, wants: 1, ..quiet(waiting::Bug::LeaveAtDeadline) }),
    (Expect::Stuck, quiet(waiting::Bug::PassWithoutArm)),
    (Expect::Stuck, quiet(waiting::Bug::LeaverDisarms)),
    (Expect::Stuck, Waiting { kills: 1, wants: 1, ..quiet(waiting::Bug::SilentRecovery) }),
];
