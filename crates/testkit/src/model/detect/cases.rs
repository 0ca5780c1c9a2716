//! The configurations of the model of the detector, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::Op::{Drop, Take, Try};
use super::{Bug, Detect, Op};

const A: u8 = 0;
const B: u8 = 1;
const C: u8 = 2;

const AB: &[Op] = &[Take(A), Take(B), Drop(B), Drop(A)];
const BA: &[Op] = &[Take(B), Take(A), Drop(A), Drop(B)];
const BC: &[Op] = &[Take(B), Take(C), Drop(C), Drop(B)];
const CA: &[Op] = &[Take(C), Take(A), Drop(A), Drop(C)];
/// One after the other, so that it is never in a cycle.
const A_THEN_B: &[Op] = &[Take(A), Drop(A), Take(B), Drop(B)];
const A_THEN_TRY_B_TWICE: &[Op] = &[Take(A), Drop(A), Try(B), Drop(B), Take(A), Drop(A), Try(B), Drop(B)];

const PAIR: &[&[Op]] = &[AB, BA];
const RING: &[&[Op]] = &[AB, BC, CA];

const SMALL: Detect = Detect { scripts: PAIR, kills: 0, bug: Bug::None };

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Detect { bug: Bug::None, ..model };
    cases.extend(with_controls("detect", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("detect", what, Expect::Verified, depth, model));
    add("2 threads, 2 locks, 2 kills", Detect { kills: 2, ..SMALL });
    add("3 threads in a ring, no kill", Detect { scripts: RING, ..SMALL });
    add("3 threads in a ring, 1 kill", Detect { scripts: RING, kills: 1, ..SMALL });
    add("3 threads, 2 in a cycle", Detect { scripts: &[AB, BA, AB], ..SMALL });
    add("3 threads, 2 in a cycle, 1 one after the other", Detect { scripts: &[AB, BA, A_THEN_B], ..SMALL });
    let deadlines = Detect { scripts: &[BA, A_THEN_TRY_B_TWICE], kills: 1, ..SMALL };
    add("2 threads, deadlines, 1 kill", deadlines);
    if depth == Depth::Deep {
        add("3 threads in a ring, 2 kills", Detect { scripts: RING, kills: 2, ..SMALL });
    }
    cases
}

const FALSE_ALARM: Expect = Expect::Unsafe("told without a cycle");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Detect)] = &[
    (Expect::Stuck, Detect { bug: Bug::WalkFirst, ..SMALL }),
    (FALSE_ALARM, Detect { bug: Bug::WalkOnce, scripts: &[BA, A_THEN_B], ..SMALL }),
    (FALSE_ALARM, Detect { bug: Bug::NoProbe, kills: 1, ..SMALL }),
    (FALSE_ALARM, Detect { bug: Bug::NoNumber, scripts: &[BA, A_THEN_TRY_B_TWICE], ..SMALL }),
    (Expect::Stuck, Detect { bug: Bug::ToldKeepsWord, ..SMALL }),
    (Expect::Stuck, Detect { bug: Bug::WordStays, ..SMALL }),
    (FALSE_ALARM, Detect { bug: Bug::NotSwept, scripts: &[BA, A_THEN_B], kills: 1 }),
];
