//! The control page of a lane: a queue with one producer and one consumer.
//!
//! ```text
//! byte 0     Geometry   what was agreed when it was made
//! byte 128   tail       the producer's line
//! byte 256   head       the consumer's line
//! byte 384   not_empty  the line the consumer sleeps on, with the consumer's role
//! byte 512   not_full   the line the producer sleeps on, with the producer's role
//! byte 4096  the ring, `size` bytes, mapped twice back to back by both ends
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | size, value_size, value_align, wait, max_message | the creator, before LIVE | both ends, once at attach | as they are |
//! | tail | the producer, after each commit | a successor of the producer; tools | at most one batch behind the truth |
//! | head | the consumer, at each release | the producer when it believes the ring full; a successor | exact: what lies behind it is acknowledged |
//! | not_empty.role | whoever takes, sends or gives up the consumer's end; recovery | the producer | HELD(d) becomes DEAD; MOVING(t) with its ticket |
//! | not_full.role | the same for the producer's end | the consumer when it finds nothing | the same |
//!
//! The truth about what is published is in the ring itself: the header words, see [`crate::record`]. The
//! protocol, its edges and its crash table stand in the crate `queue`, file `lane.rs`.

use crate::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
use crate::line::LINE;
use crate::line::{Line, PAGE};
use crate::participant::ParticipantId;
use crate::record::GRANULE;
use crate::wait::WaitLine;

/// Largest ring in bytes: its offsets in granules fit 32 bits with one to spare, its payloads fit a header.
pub const RING_MAX: u64 = 1 << 32;

/// How the ends of a lane wait, agreed at creation because it decides whether a commit owes a wake.
pub mod wait_mode {
    /// Spin while it pays, then sleep.
    pub const ADAPTIVE: u32 = 0;
    /// Never sleep; a commit looks at no flag.
    pub const SPIN: u32 = 1;
    /// Sleep at once.
    pub const SLEEP: u32 = 2;
}

/// What was agreed when the lane was made.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct LaneGeometry {
    /// Bytes of the ring; whole pages.
    pub size: AtomicU64,
    /// Bytes of a value; 0 = messages of bytes.
    pub value_size: AtomicU64,
    /// Alignment of a value; 1 for bytes.
    pub value_align: AtomicU32,
    /// One of [`wait_mode`].
    pub wait: AtomicU32,
    /// Longest message of a pipe, in bytes; 0 in other lanes.
    pub max_message: AtomicU64,
    reserved: [AtomicU64; 12],
}

/// The control page.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct LaneControl {
    /// Immutable.
    pub geometry: LaneGeometry,
    /// Where the producer is: a [`Cursor`]. A hint for its successor.
    pub tail: Line<AtomicU64>,
    /// What is acknowledged: a [`Cursor`].
    pub head: Line<AtomicU64>,
    /// The consumer sleeps here; its role.
    pub not_empty: WaitLine,
    /// The producer sleeps here; its role.
    pub not_full: WaitLine,
}

/// A place in the ring: `{lap:16 | granule:32 | index:16}`.
///
/// A lap and an offset instead of a running count, so that the ring may have any whole number of pages and
/// nothing ever overflows. `index` counts values already taken from the record that starts here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Times the ring was gone round, modulo 2^16.
    pub lap: u16,
    /// Bytes from the start of the ring, a multiple of [`GRANULE`].
    pub offset: u64,
    /// Values taken from the record of many that starts here.
    pub index: u16,
}

impl Cursor {
    /// Takes a word apart. The offset is not checked against any ring.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(word: u64) -> Self {
        Self { lap: (word >> 48) as u16, offset: ((word >> 16) & 0xffff_ffff) * GRANULE, index: word as u16 }
    }

    /// Puts it together.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        ((self.lap as u64) << 48) | ((self.offset / GRANULE) << 16) | self.index as u64
    }

    /// The place `bytes` further in a ring of `size` bytes. `bytes <= size`.
    #[must_use]
    #[inline(always)]
    pub const fn advance(self, bytes: u64, size: u64) -> Self {
        let offset = self.offset + bytes;
        if offset >= size {
            Self { lap: self.lap.wrapping_add(1), offset: offset - size, index: 0 }
        } else {
            Self { lap: self.lap, offset, index: 0 }
        }
    }

    /// Bytes from `self` up to `later` in a ring of `size` bytes; `None` if `later` is more than a ring
    /// ahead, behind, or outside the ring: such a word was not written by a correct peer.
    #[must_use]
    #[inline]
    pub const fn distance(self, later: Self, size: u64) -> Option<u64> {
        if self.offset >= size || later.offset >= size {
            return None;
        }
        match later.lap.wrapping_sub(self.lap) {
            0 if later.offset >= self.offset => Some(later.offset - self.offset),
            1 if later.offset <= self.offset => Some(size - self.offset + later.offset),
            _ => None,
        }
    }
}

/// The role word of an end, taken apart: `{owner:13 | st:3}`. While the end is MOVING the word has, above that, the
/// ticket that it travels with, and whether its last holder may have seen what is at the head:
/// `{seen:1 | ticket+1:15 | owner:13 | st:3}`. So whoever owns the ticket, and nobody else, decides what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Who holds it, or held it last.
    pub owner: Option<ParticipantId>,
    /// One of the states below.
    pub st: u32,
}

impl Role {
    /// Nobody ever held it.
    pub const VACANT: u32 = 0;
    /// `owner` has the end.
    pub const HELD: u32 = 1;
    /// `owner` sent it to another process, which has not taken it yet; see [`Role::moving`].
    pub const MOVING: u32 = 2;
    /// The first state of those in which nobody is there any more: `owner` gave it up in order.
    pub const CLOSED: u32 = 3;
    /// `owner` died with it.
    pub const DEAD: u32 = 4;

    /// Takes a word apart.
    #[must_use]
    pub const fn from_bits(word: u32) -> Self {
        Self { owner: ParticipantId::from_bits((word >> 3) as u64 & 0x1fff), st: word & 7 }
    }

    /// The word.
    #[must_use]
    pub const fn bits(self) -> u32 {
        let owner = match self.owner {
            Some(id) => id.bits() as u32,
            None => 0,
        };
        (owner << 3) | self.st
    }

    /// The word of an end held by `owner`.
    #[must_use]
    pub const fn held(owner: ParticipantId) -> u32 {
        Self { owner: Some(owner), st: Self::HELD }.bits()
    }

    /// The word of an end that `owner` put into transit with a ticket. `seen`: he may have seen the message at the head
    /// without acknowledging it, so it comes flagged to the next one.
    #[must_use]
    pub const fn moving(owner: Option<ParticipantId>, ticket: u32, seen: bool) -> u32 {
        let travels = ((seen as u32) << 31) | (((ticket + 1) & 0x7fff) << 16);
        travels | Self { owner, st: Self::MOVING }.bits()
    }

    /// The ticket of an end that is MOVING.
    #[must_use]
    pub const fn ticket_of(word: u32) -> Option<u32> {
        match (word & 7, (word >> 16) & 0x7fff) {
            (Self::MOVING, field @ 1..) => Some(field - 1),
            _ => None,
        }
    }

    /// Does the word of an end that is MOVING say that the message at its head may have been seen?
    #[must_use]
    pub const fn was_seen(word: u32) -> bool {
        word & 7 == Self::MOVING && word >> 31 != 0
    }

    /// Was there somebody, who is gone?
    #[must_use]
    #[inline(always)]
    pub const fn is_gone(word: u32) -> bool {
        word & 7 >= Self::CLOSED
    }
}

/// Bytes before the ring.
pub const RING_AT: u64 = PAGE as u64;

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<LaneControl>() == 5 * LINE);
    assert!(offset_of!(LaneControl, tail) == 128);
    assert!(offset_of!(LaneControl, head) == 256);
    assert!(offset_of!(LaneControl, not_empty) == 384);
    assert!(offset_of!(LaneControl, not_full) == 512);
    assert!(size_of::<LaneControl>() as u64 <= RING_AT);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_round_trip() {
        let place = Cursor { lap: 0xfffe, offset: RING_MAX - GRANULE, index: 0xffff };
        assert_eq!(Cursor::from_bits(place.bits()), place);
    }

    #[test]
    fn distance_follows_advance_round_the_ring_and_round_the_laps() {
        let size = 4096;
        let mut place = Cursor { lap: 0xffff, offset: 4080, index: 3 };
        for step in [0, 8, 16, 4088, 4096] {
            let later = place.advance(step, size);
            assert_eq!(place.distance(later, size), Some(step), "step {step} from {place:?}");
            place = later;
        }
    }

    #[test]
    fn impossible_places_are_refused() {
        let size = 4096;
        let here = Cursor { lap: 7, offset: 64, index: 0 };
        for bad in [
            Cursor { lap: 7, offset: 56, index: 0 },
            Cursor { lap: 8, offset: 72, index: 0 },
            Cursor { lap: 9, offset: 0, index: 0 },
            Cursor { lap: 7, offset: 4096, index: 0 },
        ] {
            assert_eq!(here.distance(bad, size), None, "{bad:?}");
        }
    }

    #[test]
    fn roles_survive_the_round_trip() {
        let id = ParticipantId::from_index(41);
        assert_eq!(Role::from_bits(Role::held(id)), Role { owner: Some(id), st: Role::HELD });
        assert!(
            !Role::is_gone(Role::held(id)) && Role::is_gone(Role { owner: Some(id), st: Role::DEAD }.bits())
        );
        assert!(!Role::is_gone(0));
    }

    #[test]
    fn an_end_on_its_way_names_its_ticket() {
        let owner = ParticipantId::from_bits(8191);
        for (ticket, seen) in [(0, false), (2047, true), (32766, true)] {
            let word = Role::moving(owner, ticket, seen);
            assert_eq!(Role::from_bits(word), Role { owner, st: Role::MOVING });
            assert_eq!((Role::ticket_of(word), Role::was_seen(word)), (Some(ticket), seen));
        }
        assert_eq!(Role::ticket_of(Role { owner, st: Role::HELD }.bits()), None);
        assert_eq!(Role::ticket_of(Role { owner, st: Role::MOVING }.bits()), None);
    }
}
