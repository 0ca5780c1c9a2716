//! The configurations of the lifetime model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Bumps, Lifetime, Unacked};

/// Two processes, one object of one page, one ticket, one carrier; nobody is killed.
const SMALL: Lifetime = Lifetime {
    processes: 2,
    entries: 1,
    pages: 1,
    pages_each: 1,
    tickets: 1,
    carriers: 1,
    kills: 0,
    recoverers: 1,
    names: false,
    weak: false,
    late_ack: false,
    unacked: Unacked::Redeliver,
    bits_first: false,
    looks_again: false,
    bumps: Bumps::Every,
    bug: Bug::None,
};

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Lifetime { bug: Bug::None, ..model };
    cases.extend(with_controls("lifetime", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, expect, model| cases.push(Case::new("lifetime", what, expect, depth, model));
    let two = Lifetime { kills: 2, recoverers: 2, ..SMALL };
    let three = Lifetime { processes: 3, kills: 1, ..SMALL };
    let lean = Bumps::FromBits;
    add("2 processes, names, 2 kills", Expect::Verified, Lifetime { names: true, ..two });
    add("2 processes, 2 messages, 2 kills", Expect::Verified, Lifetime { tickets: 2, carriers: 2, ..two });
    add("2 processes, 2 objects want 1 page, 2 kills", Expect::Verified, Lifetime { entries: 2, ..two });
    let wide = Lifetime { entries: 2, pages: 2, pages_each: 2, ..two };
    add("2 processes, 2 objects of 2 pages, 2 kills", Expect::Verified, wide);
    add("2 processes, at most once, 2 kills", Expect::Verified, Lifetime { unacked: Unacked::Finish, ..two });
    add("2 processes, late ACK, 2 kills", Expect::Verified, Lifetime { late_ack: true, tickets: 2, ..two });
    add(
        "2 processes, weak references, names, 1 kill",
        Expect::Verified,
        Lifetime { weak: true, names: true, kills: 1, ..SMALL },
    );
    add("3 processes, 1 kill", Expect::Verified, three);
    add("3 processes, scan looks again, 1 kill", Expect::Verified, Lifetime { looks_again: true, ..three });
    add("3 processes, bits scanned first, 1 kill", Expect::Verified, Lifetime { bits_first: true, ..three });
    add(
        "3 processes, bumps from bits only, names",
        Expect::Verified,
        Lifetime { bumps: lean, names: true, kills: 0, ..three },
    );
    let broken = Lifetime { bumps: lean, bits_first: true, ..three };
    add("3 processes, bumps from bits only, bits first", Expect::Unsafe("use after free"), broken);
    if depth == Depth::Deep {
        let three = Lifetime { kills: 2, recoverers: 2, ..three };
        add("3 processes, names, 2 kills", Expect::Verified, Lifetime { names: true, ..three });
        add("3 processes, 2 tickets, 1 kill", Expect::Verified, Lifetime { tickets: 2, kills: 1, ..three });
        add(
            "3 processes, 2 objects want 1 page, no kill",
            Expect::Verified,
            Lifetime { entries: 2, kills: 0, ..three },
        );
        add(
            "3 processes, weak references, 1 kill",
            Expect::Verified,
            Lifetime { weak: true, kills: 1, ..three },
        );
        add(
            "3 processes, bumps from bits only, names, 1 kill",
            Expect::Verified,
            Lifetime { bumps: lean, names: true, kills: 1, ..three },
        );
        let two = Lifetime { kills: 3, entries: 2, tickets: 2, carriers: 2, ..two };
        add("2 processes, 2 objects, 2 messages, 3 kills", Expect::Verified, two);
        let names = Lifetime { names: true, weak: true, entries: 2, ..SMALL };
        add("2 processes, 2 objects, names, weak, 1 kill", Expect::Verified, Lifetime { kills: 1, ..names });
    }
    cases
}

const fn quiet(bug: Bug) -> Lifetime {
    Lifetime { bug, ..SMALL }
}

const fn killed(bug: Bug) -> Lifetime {
    Lifetime { bug, kills: 1, ..SMALL }
}

const fn named(bug: Bug) -> Lifetime {
    Lifetime { names: true, ..quiet(bug) }
}

const fn bits_first(bug: Bug) -> Lifetime {
    Lifetime { bits_first: true, ..quiet(bug) }
}

const fn weak(bug: Bug) -> Lifetime {
    Lifetime { weak: true, ..quiet(bug) }
}

const FREED: Expect = Expect::Unsafe("use after free");
const PAGES: Expect = Expect::Unsafe("pages instead of");
const NAMED: Expect = Expect::Unsafe("frees the id");
const WRONG_TICKET: Expect = Expect::Unsafe("the ticket keeps something else");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Lifetime)] = &[
    (FREED, killed(Bug::TicketFreedBeforeAck)),
    (Expect::Unsafe("a ticket that is not in flight"), killed(Bug::AckWithoutReceive)),
    (FREED, quiet(Bug::NoBump)),
    (FREED, quiet(Bug::NoBumpOnEncode)),
    (FREED, bits_first(Bug::NoBumpOnDecode)),
    (FREED, Lifetime { names: true, ..bits_first(Bug::NoBumpOnOpen) }),
    (FREED, named(Bug::NoBumpOnName)),
    (FREED, quiet(Bug::BumpBeforeTicket)),
    (FREED, bits_first(Bug::BumpBeforeBit)),
    (FREED, quiet(Bug::TicketFreedBeforeBit)),
    (FREED, named(Bug::OpenWithoutLock)),
    (PAGES, quiet(Bug::LiveBeforeBit)),
    (PAGES, quiet(Bug::FreeBeforePages)),
    (Expect::Stuck, Lifetime { entries: 2, pages: 2, pages_each: 2, ..quiet(Bug::NoUndo) }),
    (Expect::Stuck, quiet(Bug::NoFence)),
    (FREED, weak(Bug::UpgradeStateFirst)),
    (FREED, weak(Bug::UpgradeBlind)),
    (Expect::Stuck, weak(Bug::UpgradeNoTryFree)),
    (NAMED, killed(Bug::SkipFreeing)),
    (NAMED, killed(Bug::SkipCreating)),
    (NAMED, killed(Bug::SkipBits)),
    (NAMED, killed(Bug::SkipTickets)),
    (NAMED, killed(Bug::SkipWriting)),
    (NAMED, Lifetime { names: true, ..killed(Bug::SkipLock) }),
    (WRONG_TICKET, killed(Bug::SweepInFlight)),
    (WRONG_TICKET, killed(Bug::InFlightFullOnly)),
    (NAMED, Lifetime { unacked: Unacked::Finish, kills: 2, recoverers: 2, ..killed(Bug::TicketsFirst) }),
    (FREED, Lifetime { names: true, ..killed(Bug::NoBumpByRecovery) }),
    (Expect::Stuck, killed(Bug::NoTryFree)),
    (Expect::Stuck, killed(Bug::TryFreeIfBit)),
    (Expect::Stuck, killed(Bug::FreeBeforeBit)),
];
