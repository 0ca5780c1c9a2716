//! The slot ring.

mod leases;

use super::{Case, Depth};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Word {
    #[default]
    Free,
    Writing(u8),
    Full,
    Abort,
    Redeliv,
    Reading(u8),
}

impl Word {
    /// 0 if it names nobody.
    fn owner(self) -> u8 {
        match self {
            Word::Writing(owner) | Word::Reading(owner) => owner,
            _ => 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    word: Word,
    pos: u8,
}

/// What becomes of a message whose receiver dies with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Policy {
    Redeliver,
    Drop,
}

pub(super) fn cases(depth: Depth) -> Vec<Case> {
    leases::cases(depth)
}
