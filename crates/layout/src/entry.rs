//! The object directory: one entry an object, and the tickets of handles in transit.
//!
//! ```text
//! byte 0       8      12   16          20      24      32           64            96 .. 128
//!      state   named  tag  first_page  pages   format  holders[4]   receivers[4]  senders[4]
//! byte 128       136 .. 192          192 .. 256
//!      name_len  reserved, zero      name[64]
//!
//! state   {version:24 | gen:24 | owner:13 | st:3}
//! ticket  {gen:24 | entry:16 | owner:13 | spare:6 | side:2 | st:3}
//! carrier {entry+1:16 | position:48}, one a ticket, behind all tickets: the message that carries it
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | state | whoever creates, gains, frees; recovery | everybody | CREATING(d), FREEING(d): recovery frees the entry |
//! | named | the holder of the names lock | `try_free` | 1 means the name holds the object: always true or false, never half |
//! | tag .. format | the creator, before LIVE | everybody after | belongs to CREATING(d) until LIVE |
//! | holders | each participant its own bit; recovery the dead one's | `try_free` | bit of d is cleared |
//! | senders, receivers | the same, for channels: who holds an end of this side. Under a holder bit only | whoever asks if a side is empty | the same |
//! | name | the creator, before LIVE | lookups under the names lock | as above |
//! | ticket | whoever puts a handle into transit; its receiver | `try_free` | SENT(d), TAKEN(d) not in flight, LOST(d): freed |
//! | carrier | the owner of the ticket, before the commit of its message; NONE before the ticket is freed | recovery | decides whether the ticket is in flight |
//!
//! The transitions, their proof and their crash table stand in the crate `object`, file `life.rs`.

use crate::atomic::{AtomicU32, AtomicU64};
use crate::participant::ParticipantId;

/// States of an entry.
pub mod st {
    /// No object; `gen` counts how many there were.
    pub const FREE: u64 = 0;
    /// `owner` is making it; invisible to others.
    pub const CREATING: u64 = 1;
    /// In use.
    pub const LIVE: u64 = 2;
    /// `owner` takes it apart; nobody holds it any more.
    pub const FREEING: u64 = 3;
}

/// Longest name of an object, in bytes of UTF-8.
pub const NAME_MAX: usize = 64;

/// Handles that can be in transit at a time in one segment.
pub const TICKETS: usize = 2048;

/// The state word of an entry, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryState {
    /// Rises at every gain of a reference; wraps. What `try_free` compares.
    pub version: u32,
    /// Rises at every end of an object; a handle names the one it was made for. 24 bits.
    pub generation: u32,
    /// Who creates or frees; `None` while LIVE or FREE.
    pub owner: Option<ParticipantId>,
    /// One of [`st`].
    pub st: u64,
}

const GEN_SHIFT: u32 = 16;
const VERSION_SHIFT: u32 = 40;
const MASK24: u64 = (1 << 24) - 1;

/// What a gain adds to the state word: one version. The carry falls off the top.
pub const ONE_VERSION: u64 = 1 << VERSION_SHIFT;

impl EntryState {
    /// Takes a word apart.
    #[must_use]
    pub const fn from_bits(word: u64) -> Self {
        Self {
            version: (word >> VERSION_SHIFT) as u32,
            generation: ((word >> GEN_SHIFT) & MASK24) as u32,
            owner: ParticipantId::from_bits((word >> 3) & 0x1fff),
            st: word & 7,
        }
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let owner = match self.owner {
            Some(id) => id.bits(),
            None => 0,
        };
        ((self.version as u64 & MASK24) << VERSION_SHIFT)
            | ((self.generation as u64 & MASK24) << GEN_SHIFT)
            | (owner << 3)
            | self.st
    }

    /// The same object in another state.
    #[must_use]
    pub const fn with(self, st: u64, owner: Option<ParticipantId>) -> Self {
        Self { st, owner, ..self }
    }

    /// The free entry after this object. Its generation is not 0: the word of an entry that was used once is never that of
    /// one which was not.
    #[must_use]
    pub const fn freed(self) -> Self {
        let next = (self.generation + 1) & MASK24 as u32;
        Self { version: 0, generation: if next == 0 { 1 } else { next }, owner: None, st: st::FREE }
    }
}

/// One object.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Entry {
    /// [`EntryState`].
    pub state: AtomicU64,
    /// 1: the name holds the object.
    pub named: AtomicU32,
    /// What it is: one of the tags of the crate `object`.
    pub tag: AtomicU32,
    /// Its first page of data.
    pub first_page: AtomicU32,
    /// How many pages.
    pub pages: AtomicU32,
    /// What its payload is: `{align:16 | size:48}` of the type, checked when a name is opened.
    pub format: AtomicU64,
    /// Who holds a handle: one bit a participant.
    pub holders: [AtomicU64; 4],
    /// Who holds a receiving end, for objects with sides.
    pub receivers: [AtomicU64; 4],
    /// Who holds a sending end, for objects with sides.
    pub senders: [AtomicU64; 4],
    /// Bytes of `name`; 0 = it has none.
    pub name_len: AtomicU64,
    reserved_name: [AtomicU64; 7],
    /// UTF-8, zero-padded, eight bytes a word in memory order.
    pub name: [AtomicU64; NAME_MAX / 8],
}

/// A handle in transit, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The object's generation.
    pub generation: u32,
    /// The object's entry.
    pub entry: u16,
    /// Who put it into transit. `None`: the ticket is free.
    pub owner: Option<ParticipantId>,
    /// Which end of the object it is.
    pub side: Side,
    /// [`Ticket::SENT`], [`Ticket::LOST`] or [`Ticket::TAKEN`].
    pub st: u64,
}

/// Which end of an object a handle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Side {
    /// The object has no sides, or this handle is none of them.
    #[default]
    Neither,
    /// An end that sends.
    Sender,
    /// An end that receives.
    Receiver,
}

impl Side {
    const fn bits(self) -> u64 {
        match self {
            Self::Neither => 0,
            Self::Sender => 1,
            Self::Receiver => 2,
        }
    }

    const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            1 => Self::Sender,
            2 => Self::Receiver,
            _ => Self::Neither,
        }
    }
}

/// Which message carries a ticket or a block: the place in a queue that its sender has claimed.
///
/// Whether the message is committed and not yet acknowledged, the queue tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carrier {
    /// The queue's entry.
    pub entry: u16,
    /// The position in it, modulo 2^48.
    pub position: u64,
}

impl Carrier {
    /// The word of what no message carries: an entry's field is its index plus one.
    pub const NONE: u64 = 0;

    /// Takes a word apart. `None`: no message carries it.
    #[must_use]
    pub const fn from_bits(word: u64) -> Option<Self> {
        match (word >> 48) as u16 {
            0 => None,
            field => Some(Self { entry: field - 1, position: word & ((1 << 48) - 1) }),
        }
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        ((self.entry as u64 + 1) << 48) | (self.position & ((1 << 48) - 1))
    }
}

impl Ticket {
    /// The word of a ticket that nobody holds.
    pub const FREE: u64 = 0;

    /// It may be received by whoever has the message that carries it; one that no message carries, by whoever redeems it
    /// first.
    pub const SENT: u64 = 1;
    /// Its owner, or who recovers him, frees it: nobody can receive it any more.
    pub const LOST: u64 = 2;
    /// One that no message carried was redeemed by its owner: nobody else can redeem it.
    pub const TAKEN: u64 = 3;

    /// Takes a word apart.
    #[must_use]
    pub const fn from_bits(word: u64) -> Self {
        Self {
            generation: (word >> 40) as u32,
            entry: (word >> 24) as u16,
            owner: ParticipantId::from_bits((word >> 11) & 0x1fff),
            side: Side::from_bits(word >> 3),
            st: word & 7,
        }
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self.owner {
            None => Self::FREE,
            Some(id) => {
                ((self.generation as u64 & MASK24) << 40)
                    | ((self.entry as u64) << 24)
                    | (id.bits() << 11)
                    | (self.side.bits() << 3)
                    | (self.st & 7)
            }
        }
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Entry>() == 256);
    assert!(offset_of!(Entry, tag) == 12);
    assert!(offset_of!(Entry, format) == 24);
    assert!(offset_of!(Entry, holders) == 32);
    assert!(offset_of!(Entry, receivers) == 64);
    assert!(offset_of!(Entry, senders) == 96);
    assert!(offset_of!(Entry, name_len) == 128);
    assert!(offset_of!(Entry, name) == 192);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_round_trip() {
        let owner = ParticipantId::from_bits(8191);
        let state = EntryState { version: 0xff_fffe, generation: 0xab_cdef, owner, st: st::FREEING };
        assert_eq!(EntryState::from_bits(state.bits()), state);
        let sides = [Side::Neither, Side::Sender, Side::Receiver];
        for (side, st) in sides.into_iter().zip([Ticket::SENT, Ticket::LOST, Ticket::TAKEN]) {
            let ticket = Ticket { generation: 0xab_cdef, entry: 0xfedc, owner, side, st };
            assert_eq!(Ticket::from_bits(ticket.bits()), ticket);
        }
        let carrier = Carrier { entry: 0x7fff, position: (1 << 48) - 1 };
        assert_eq!(Carrier::from_bits(carrier.bits()), Some(carrier));
        assert_eq!(Carrier::from_bits(Carrier::NONE), None);
        assert_eq!(Ticket::from_bits(Ticket::FREE).owner, None);
    }

    #[test]
    fn a_version_step_touches_nothing_else() {
        let state = EntryState { version: 0xff_ffff, generation: 7, owner: None, st: st::LIVE };
        let next = EntryState::from_bits(state.bits().wrapping_add(ONE_VERSION));
        assert_eq!(next, EntryState { version: 0, ..state });
    }
}
