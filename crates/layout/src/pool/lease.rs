//! The words of a slot, a hint and a seat, taken apart.

use super::SLOT_BITS;
use crate::participant::ParticipantId;

const GEN_BITS: u32 = 11;
const GEN_MASK: u32 = (1 << GEN_BITS) - 1;

/// States of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum St {
    /// No task.
    Free,
    /// A task for whoever claims it.
    Ready,
    /// Its owner runs it.
    Run,
    /// It has a result.
    Done,
    /// Its worker died.
    Lost,
}

impl St {
    const fn bits(self) -> u32 {
        match self {
            Self::Free => 0,
            Self::Ready => 1,
            Self::Run => 2,
            Self::Done => 3,
            Self::Lost => 4,
        }
    }

    const fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits {
            0 => Self::Free,
            1 => Self::Ready,
            2 => Self::Run,
            3 => Self::Done,
            4 => Self::Lost,
            _ => return None,
        })
    }
}

/// What else a lease says: who is to be told when the task is over, and what its worker is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bits(u32);

impl Bits {
    /// Nobody, nothing.
    pub const NONE: Self = Self(0);
    /// Somebody sleeps on the lease.
    pub const WAITED: Self = Self(1 << 3);
    /// Somebody in the hall wants to know.
    pub const HALL: Self = Self(1 << 4);
    /// The supervisor wants to know.
    pub const DESK: Self = Self(1 << 5);
    /// The worker is asked to stop.
    pub const CEASE: Self = Self(1 << 6);
    /// The worker is about to be killed.
    pub const KILL: Self = Self(1 << 7);

    const ALL: u32 = 0x1f << 3;

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// All of `other`?
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A task's number modulo 2^11: what its lease and its hint say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gen(u32);

impl Gen {
    /// That of a serial number.
    #[must_use]
    pub const fn of(serial: u32) -> Self {
        Self(serial & GEN_MASK)
    }
}

/// The word of a slot, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Of which task.
    pub generation: Gen,
    /// With RUN, who runs it; with LOST, who ran it last, for people.
    pub owner: Option<ParticipantId>,
    /// Who is to be told, and what is asked for.
    pub bits: Bits,
    /// Its state.
    pub st: St,
}

impl Lease {
    /// A lease without an owner.
    #[must_use]
    pub const fn of(st: St, generation: Gen, bits: Bits) -> Self {
        Self { generation, owner: None, bits, st }
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u32 {
        let owner = match self.owner {
            Some(id) => id.bits() as u32,
            None => 0,
        };
        (self.generation.0 << 21) | (owner << 8) | self.bits.0 | self.st.bits()
    }

    /// Takes a word apart. `None`: a word that no correct process stores.
    #[must_use]
    pub const fn from_bits(word: u32) -> Option<Self> {
        let Some(st) = St::from_bits(word & 7) else { return None };
        let owner = ParticipantId::from_bits((word >> 8) as u64 & 0x1fff);
        let is_whole = match st {
            St::Run => owner.is_some(),
            St::Lost => true,
            St::Free | St::Ready | St::Done => owner.is_none(),
        };
        if is_whole {
            Some(Self { generation: Gen(word >> 21), owner, bits: Bits(word & Bits::ALL), st })
        } else {
            None
        }
    }
}

/// A hint, taken apart: look at this slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// Which.
    pub slot: u32,
    /// Of which task, when it was written.
    pub generation: Gen,
}

impl Hint {
    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u32 {
        (self.generation.0 << SLOT_BITS) | (self.slot & ((1 << SLOT_BITS) - 1))
    }

    /// Takes it apart. Whether there is such a slot, its reader checks.
    #[must_use]
    pub const fn from_bits(word: u32) -> Self {
        Self { slot: word & ((1 << SLOT_BITS) - 1), generation: Gen((word >> SLOT_BITS) & GEN_MASK) }
    }
}

/// States of a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeatSt {
    /// Nobody's.
    Empty,
    /// A worker is being started.
    Coming,
    /// Its worker takes tasks.
    Up,
    /// Its worker takes no more, and wants to be relieved.
    Tired,
    /// Its worker died.
    Gone,
}

/// The word of a seat, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatWord {
    /// Who sits there; with UP, TIRED and GONE.
    pub participant: Option<ParticipantId>,
    /// Its state.
    pub st: SeatSt,
}

impl SeatWord {
    /// Nobody's.
    pub const EMPTY: Self = Self { participant: None, st: SeatSt::Empty };
    /// For one who is being started.
    pub const COMING: Self = Self { participant: None, st: SeatSt::Coming };

    /// Of one who sits there.
    #[must_use]
    pub const fn of(st: SeatSt, id: ParticipantId) -> Self {
        Self { participant: Some(id), st }
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u32 {
        let participant = match self.participant {
            Some(id) => id.bits() as u32,
            None => 0,
        };
        let st = match self.st {
            SeatSt::Empty => 0,
            SeatSt::Coming => 1,
            SeatSt::Up => 2,
            SeatSt::Tired => 3,
            SeatSt::Gone => 4,
        };
        (participant << 8) | st
    }

    /// Takes a word apart. What no correct process stores is a seat whose worker died.
    #[must_use]
    pub const fn from_bits(word: u32) -> Self {
        let st = match word & 0xff {
            0 => SeatSt::Empty,
            1 => SeatSt::Coming,
            2 => SeatSt::Up,
            3 => SeatSt::Tired,
            _ => SeatSt::Gone,
        };
        Self { participant: ParticipantId::from_bits((word >> 8) as u64), st }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn leases_survive_the_word() {
        let id = ParticipantId::from_bits(8191);
        let all = [Bits::WAITED, Bits::HALL, Bits::DESK, Bits::CEASE, Bits::KILL];
        let bits = all.into_iter().fold(Bits::NONE, Bits::and);
        for st in [St::Free, St::Ready, St::Run, St::Done, St::Lost] {
            for bits in all.into_iter().chain([Bits::NONE, bits]) {
                let owner = id.filter(|_| st == St::Run);
                let lease = Lease { generation: Gen::of(u32::MAX), owner, bits, st };
                assert_eq!(Lease::from_bits(lease.bits()), Some(lease));
            }
        }
        assert_eq!(Lease::from_bits(0), Some(Lease::of(St::Free, Gen::of(0), Bits::NONE)));
        assert!(bits.has(Bits::KILL) && !bits.without(Bits::KILL).has(Bits::KILL));
    }

    #[test]
    fn words_that_nobody_stores_are_refused() {
        for word in [5, 6, 7, 2, 1 | (1 << 8), 3 | (1 << 20)] {
            assert_eq!(Lease::from_bits(word), None, "{word:x}");
        }
        assert_eq!(SeatWord::from_bits(77).st, SeatSt::Gone);
    }

    #[test]
    fn hints_and_seats_survive() {
        let hint = Hint { slot: 16383, generation: Gen::of(2047) };
        assert_eq!(Hint::from_bits(hint.bits()), hint);
        let seat = SeatWord::of(SeatSt::Tired, ParticipantId::from_index(8190));
        assert_eq!(SeatWord::from_bits(seat.bits()), seat);
    }
}
