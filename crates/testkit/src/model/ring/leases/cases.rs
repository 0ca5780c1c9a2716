//! The configurations of the lease model, and its mutations, with what must come out.

use super::super::super::{Case, Depth, Expect, with_controls};
use super::super::Policy;
use super::{Bug, Leases, Watch};

/// One producer, two consumers that lease and take, two slots, two cells, two messages; nobody is killed.
const SMALL: Leases = Leases {
    producers: 1,
    consumers: 2,
    capacity: 2,
    cells: 2,
    messages: 2,
    kills: 0,
    recoverers: 1,
    leases: true,
    takes: false,
    nacks: true,
    threads: false,
    keeps: false,
    careless: false,
    watch: Watch::Nothing,
    closes: false,
    policy: Policy::Redeliver,
    bug: Bug::None,
};

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Leases { bug: Bug::None, ..model };
    let name = |model: &Leases| match model.watch {
        Watch::InFlight => format!("{:?}, in flight", model.bug),
        _ => format!("{:?}", model.bug),
    };
    cases.extend(with_controls("leases", depth, MUTATIONS, name, without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, expect, model| cases.push(Case::new("leases", what, expect, depth, model));
    let two = Leases { kills: 2, recoverers: 2, ..SMALL };
    let both = Leases { takes: true, ..two };
    add("leases, 1 cell, 2 kills", Expect::Verified, Leases { cells: 1, ..two });
    add("leases and takes, 1 kill", Expect::Verified, Leases { kills: 1, ..both });
    add("leases and takes, 1 cell, 2 kills", Expect::Verified, Leases { cells: 1, messages: 1, ..both });
    add("leases kept, 1 consumer, 2 kills", Expect::Verified, Leases { keeps: true, consumers: 1, ..both });
    add("2 threads of one process, 1 kill", Expect::Verified, Leases { threads: true, kills: 1, ..both });
    add("policy Drop, 1 kill", Expect::Verified, Leases { policy: Policy::Drop, kills: 1, ..both });
    add("wait done, 1 kill", Expect::Verified, Leases { watch: Watch::Done, cells: 1, kills: 1, ..SMALL });
    add(
        "in flight, 1 kill",
        Expect::Verified,
        Leases { watch: Watch::InFlight, cells: 1, kills: 1, ..SMALL },
    );
    add("close, 1 consumer, 1 kill", Expect::Verified, Leases { consumers: 1, kills: 1, ..CLOSE });
    if depth == Depth::Deep {
        add("leases, 2 kills", Expect::Verified, two);
        add("leases and takes, 2 kills", Expect::Verified, both);
        add("policy Drop, 2 kills", Expect::Verified, Leases { policy: Policy::Drop, ..both });
        add("leases kept, 1 kill", Expect::Verified, Leases { keeps: true, kills: 1, ..SMALL });
        add("2 threads of one process, 2 kills", Expect::Verified, Leases { threads: true, ..both });
        add("2P2C, leases, 2 kills", Expect::Verified, Leases { producers: 2, messages: 1, ..two });
        add("wait done, leases and takes, 2 kills", Expect::Verified, Leases { watch: Watch::Done, ..both });
        add("close, leases kept, 1 kill", Expect::Verified, Leases { keeps: true, kills: 1, ..CLOSE });
    }
    cases
}

/// Two producers of one message each; somebody closes.
const CLOSE: Leases = Leases { producers: 2, messages: 1, closes: true, ..SMALL };

const fn closed(bug: Bug) -> Leases {
    Leases { bug, ..CLOSE }
}

const fn quiet(bug: Bug) -> Leases {
    Leases { bug, ..SMALL }
}

const fn killed(bug: Bug) -> Leases {
    Leases { bug, kills: 1, ..SMALL }
}

const fn taken(bug: Bug) -> Leases {
    Leases { bug, takes: true, ..SMALL }
}

const NAMED: Expect = Expect::Unsafe("a word still names it");
const AFTER: Expect = Expect::Unsafe("acknowledged before");
const TWICE: Expect = Expect::Unsafe("twice and is not flagged");
const ANOTHER: Expect = Expect::Unsafe("it ends another lease");
const COMES_BACK: Expect = Expect::Unsafe("may come back to it");
const ON_ITS_WAY: Expect = Expect::Unsafe("still on its way");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Leases)] = &[
    (Expect::Stuck, Leases { cells: 1, ..quiet(Bug::FreeCellFirst) }),
    (Expect::Stuck, killed(Bug::SlotFreedFirst)),
    (AFTER, killed(Bug::CellsNotAsked)),
    (Expect::Stuck, Leases { keeps: true, consumers: 1, ..killed(Bug::PositionNotCompared) }),
    (Expect::Stuck, killed(Bug::LoanIsTransfer)),
    (AFTER, killed(Bug::CellsFirst)),
    (NAMED, killed(Bug::WritingNotSwept)),
    (NAMED, killed(Bug::ReadingNotSwept)),
    (NAMED, killed(Bug::LoanNotSwept)),
    (NAMED, killed(Bug::HeldNotSwept)),
    (Expect::Stuck, killed(Bug::NoBumpByRecovery)),
    (Expect::Stuck, Leases { kills: 2, cells: 1, ..killed(Bug::BumpIfChanged) }),
    (Expect::Stuck, quiet(Bug::NackWithoutBump)),
    (Expect::Stuck, quiet(Bug::NackBumpsFirst)),
    (Expect::Stuck, taken(Bug::PutBackWithoutBump)),
    (Expect::Stuck, quiet(Bug::ClearBlindly)),
    (Expect::Stuck, taken(Bug::OrphansNotScanned)),
    (TWICE, quiet(Bug::OrphanNotFlagged)),
    (TWICE, taken(Bug::RedelivNotFlagged)),
    (ANOTHER, Leases { careless: true, keeps: true, ..quiet(Bug::AckWithoutNumber) }),
    (ANOTHER, Leases { careless: true, keeps: true, ..quiet(Bug::OrphanKeepsNumber) }),
    (ON_ITS_WAY, Leases { watch: Watch::Done, ..quiet(Bug::WatchCellsFirst) }),
    (ON_ITS_WAY, Leases { watch: Watch::InFlight, ..quiet(Bug::WatchCellsFirst) }),
    (ON_ITS_WAY, Leases { watch: Watch::Done, ..quiet(Bug::WatchIgnoresReading) }),
    (ON_ITS_WAY, Leases { watch: Watch::Done, ..quiet(Bug::WatchIgnoresOrphan) }),
    (COMES_BACK, closed(Bug::ClosedBeforeClaim)),
    (COMES_BACK, closed(Bug::ClosedAfterScan)),
    (COMES_BACK, closed(Bug::OverIgnoresWriting)),
    (COMES_BACK, closed(Bug::OverIgnoresReading)),
    (COMES_BACK, closed(Bug::OverIgnoresHeld)),
    (COMES_BACK, closed(Bug::OverCellsFirst)),
    (Expect::Stuck, Leases { keeps: true, nacks: false, ..closed(Bug::WaitsWithLease) }),
];
