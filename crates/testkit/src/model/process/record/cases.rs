//! The configurations of the model of the record, and its mutations, with what must come out.

use super::super::super::{Case, Depth, Expect, with_controls};
use super::{Bug, Record};

const CALM: Record = Record { kills: 0, may_give_up: false, bug: Bug::None };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Record { bug: Bug::None, ..model };
    cases.extend(with_controls("record", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("record", what, Expect::Verified, depth, model));
    add("no kill", CALM);
    add("2 kills", Record { kills: 2, ..CALM });
    add("give up, 2 kills", Record { kills: 2, may_give_up: true, ..CALM });
    add("give up, 3 kills", Record { kills: 3, may_give_up: true, ..CALM });
    add("not needed: settle discards, 2 kills", Record { bug: Bug::LeaveToDrop, kills: 2, ..CALM });
    cases
}

const fn kill(kills: u8, bug: Bug) -> Record {
    Record { kills, bug, ..CALM }
}

const LOST: Expect = Expect::Unsafe("lost a parcel");
const FREED: Expect = Expect::Unsafe("a parcel that was freed");
const GIVEN_UP: Expect = Expect::Unsafe("although the start was given up");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Record)] = &[
    (Expect::Stuck, kill(1, Bug::TicketStays)),
    (FREED, kill(1, Bug::AckFirst)),
    (FREED, kill(2, Bug::FreeBeforeAck)),
    (GIVEN_UP, Record { may_give_up: true, ..kill(0, Bug::CancelByStore) }),
    (GIVEN_UP, Record { may_give_up: true, ..kill(0, Bug::StartByStore) }),
    (Expect::Unsafe("RETURNED without a result"), kill(1, Bug::StepFirst)),
    (FREED, kill(0, Bug::SettleEarly)),
    (LOST, kill(1, Bug::TicketBeforeBit)),
    (Expect::Stuck, kill(1, Bug::InFlightCreating)),
    (FREED, kill(2, Bug::NotInFlightFreeing)),
    (FREED, kill(1, Bug::FillFirst)),
    (Expect::Stuck, kill(1, Bug::NoDiscard)),
    (FREED, kill(2, Bug::SweepInFlight)),
];
