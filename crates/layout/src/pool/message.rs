//! What stands beside a message in a slot, taken apart: how it is, how far it is, and what names it to its parcels.

use super::{CHUNK_MAX, SLOT_BITS, SMALL_MAX};

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// With a value.
    Value,
    /// It panicked; the result tells of it.
    Panicked,
    /// Its arguments are no values of the wanted types; the result is the error. It never ran.
    Undecodable,
    /// Its value cannot be sent; the result is the error.
    Unsendable,
    /// A chunk: there is nothing besides the results of its items.
    None,
}

impl End {
    const fn bits(self) -> u32 {
        match self {
            Self::Value => 0,
            Self::Panicked => 1,
            Self::Undecodable => 2,
            Self::Unsendable => 3,
            Self::None => 4,
        }
    }

    const fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits {
            0 => Self::Value,
            1 => Self::Panicked,
            2 => Self::Undecodable,
            3 => Self::Unsendable,
            4 => Self::None,
            _ => return None,
        })
    }
}

/// What stands before a message in a slot: how long it is, and what kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes, with the table of parcels behind them.
    pub len: u32,
    /// The bytes lie in an object of their own, whose parcel is in the slot.
    pub is_long: bool,
    /// They lie in a tray.
    pub is_in_tray: bool,
    /// Several items, one behind the other.
    pub is_chunk: bool,
    /// The worker is to say when it begins each item.
    pub is_timed: bool,
    /// How it ended: of a result.
    pub end: End,
    /// Parcels in the table.
    pub parcels: u16,
}

impl Head {
    const LONG: u32 = 1 << 31;
    const TRAY: u32 = 1 << 30;
    const CHUNK: u32 = 1 << 29;
    const TIMED: u32 = 1 << 28;

    /// Short bytes with nothing special about them.
    #[must_use]
    pub const fn plain(len: u32) -> Self {
        Self {
            len,
            is_long: false,
            is_in_tray: false,
            is_chunk: false,
            is_timed: false,
            end: End::Value,
            parcels: 0,
        }
    }

    /// Does the message lie in the first line of the slot?
    #[must_use]
    pub const fn is_small(self) -> bool {
        self.is_long || (!self.is_in_tray && self.len as usize <= SMALL_MAX)
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let mut kind = self.end.bits() << 24 | (self.parcels as u32 & 0xfff);
        if self.is_long {
            kind |= Self::LONG;
        }
        if self.is_in_tray {
            kind |= Self::TRAY;
        }
        if self.is_chunk {
            kind |= Self::CHUNK;
        }
        if self.is_timed {
            kind |= Self::TIMED;
        }
        (self.len as u64) << 32 | kind as u64
    }

    /// Takes a word apart. `None`: a word that no correct process stores.
    #[must_use]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let kind = word as u32;
        let Some(end) = End::from_bits((kind >> 24) & 0xf) else { return None };
        Some(Self {
            len: (word >> 32) as u32,
            is_long: kind & Self::LONG != 0,
            is_in_tray: kind & Self::TRAY != 0,
            is_chunk: kind & Self::CHUNK != 0,
            is_timed: kind & Self::TIMED != 0,
            end,
            parcels: (kind & 0xfff) as u16,
        })
    }
}

/// How much of a chunk is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Items.
    pub items: u32,
    /// Bytes of the arguments that they took.
    pub args: u32,
    /// Bytes of results that they made.
    pub result: u32,
}

impl Progress {
    /// Puts it together. What is above the limits of a chunk is cut off; nobody lets it get there.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.items as u64 & 0xffff) << 48
            | (self.args as u64 & CHUNK_MAX as u64) << 24
            | self.result as u64 & CHUNK_MAX as u64
    }

    /// Takes a word apart.
    #[must_use]
    pub const fn from_bits(word: u64) -> Self {
        Self {
            items: (word >> 48) as u32,
            args: (word >> 24) as u32 & CHUNK_MAX as u32,
            result: word as u32 & CHUNK_MAX as u32,
        }
    }
}

/// Which message of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// What it is called with.
    Args,
    /// What it ended with.
    Result,
}

/// What stands beside a parcel in a slot: `{serial:32 | slot:14 | place:2}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which task.
    pub serial: u32,
    /// Where it lies.
    pub slot: u32,
    /// In which message.
    pub place: Place,
}

impl Position {
    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let place = match self.place {
            Place::Args => 1,
            Place::Result => 2,
        };
        (self.serial as u64) << 16 | (self.slot as u64 & ((1 << SLOT_BITS) - 1)) << 2 | place
    }

    /// Takes it apart. `None`: a number that no correct process stores.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        let place = match bits & 3 {
            1 => Place::Args,
            2 => Place::Result,
            _ => return None,
        };
        let slot = (bits >> 2) as u32 & ((1 << SLOT_BITS) - 1);
        Some(Self { serial: (bits >> 16) as u32, slot, place })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_the_word_and_others_are_refused() {
        let head = Head {
            len: u32::MAX,
            is_long: true,
            is_in_tray: true,
            is_chunk: true,
            is_timed: true,
            end: End::None,
            parcels: 1024,
        };
        assert_eq!(Head::from_bits(head.bits()), Some(head));
        for end in [End::Value, End::Panicked, End::Undecodable, End::Unsendable] {
            let head = Head { end, ..Head::plain(16) };
            assert_eq!(Head::from_bits(head.bits()), Some(head));
        }
        assert_eq!(Head::from_bits(5 << 24), None);
        assert!(Head::plain(16).is_small() && !Head::plain(17).is_small());
    }

    #[test]
    fn positions_and_progress_survive() {
        for place in [Place::Args, Place::Result] {
            let position = Position { serial: u32::MAX, slot: 16383, place };
            assert_eq!(Position::from_bits(position.bits()), Some(position));
            assert!(position.bits() < 1 << 48);
        }
        assert_eq!((Position::from_bits(0), Position::from_bits(3)), (None, None));
        let progress = Progress { items: super::super::ITEMS_MAX, args: CHUNK_MAX as u32, result: 1 };
        assert_eq!(Progress::from_bits(progress.bits()), progress);
    }
}
