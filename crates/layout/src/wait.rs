//! The line a sleeper waits on.
//!
//! ```text
//! byte 0    4     8      16   20    24    32     72 .. 128
//!      seq  flag  stamp  cpu  role  mark  bells  reserved, zero
//!
//! bells: byte 0         32
//!             armed[4]  key {beside:1 | segment:31 | line:32}
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | seq | wakers, recovery (+1) | sleepers; the futex | a sleeper whose waker died is woken by recovery or by the end of its slice |
//! | flag | sleeper 1, waker 0 | wakers after each commit | 1 for nobody: one futile wake |
//! | stamp, cpu | wakers that are about to wake | the woken | hints; never trusted beyond what the sleeper saw itself |
//! | mark | the sleeper, before it arms | wakers that see the flag | stale: one wake too early or too late, a slice at most |
//! | armed | a poller its participant's bit; who rings clears it, and recovery the dead one's | wakers that found the flag | bit of d: one futile byte, or cleared |
//! | key | any poller, always the same value, before its bit | who rings | as it is |
//! | role | the side that sleeps here (lane), recovery | the other side, at each commit | HELD(d) becomes DEAD |
//!
//! `role` stands here because the other side reads this line at each commit anyway, so learning that the
//! peer is gone costs no further line.

use core::fmt;

use crate::ParticipantId;
use crate::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
use crate::line::LINE;

/// Bit of a key: the segment has a name, and the byte goes to a [`BellFile`] beside it.
pub const BESIDE: u64 = 1 << 63;

/// The part of a key that tells segments apart: 31 bits of a random number, and never 0.
#[must_use]
pub const fn segment_bits(random: u32) -> u32 {
    match random & (u32::MAX >> 1) {
        0 => 1,
        bits => bits,
    }
}

/// The file in the directory of a named segment at which one participant listens for one line:
/// `ginnel.bell.<key, 16 hex digits>.<participant>`. No segment has such a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BellFile {
    /// As in [`Bells`].
    pub key: u64,
    /// Who listens.
    pub listener: ParticipantId,
}

impl BellFile {
    const PREFIX: &str = "ginnel.bell.";

    /// The file of that name, if it is one.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let (key, listener) = file.strip_prefix(Self::PREFIX)?.split_once('.')?;
        let plain = key.len() == 16 && !key.starts_with('+') && !listener.starts_with('+');
        let key = u64::from_str_radix(key, 16).ok().filter(|_| plain)?;
        Some(Self { key, listener: ParticipantId::from_bits(listener.parse().ok()?)? })
    }

    /// Whose it is, see [`segment_bits`].
    #[must_use]
    pub const fn segment(&self) -> u32 {
        (self.key >> 32) as u32 & (u32::MAX >> 1)
    }
}

impl fmt::Display for BellFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}.{}", Self::PREFIX, self.key, self.listener.bits())
    }
}

/// Who wants a byte when this place wakes: the pollers, who cannot sleep on a word.
///
/// Nobody reads this on a fast path. Only a waker that found a sleeper looks here.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Bells {
    /// One bit a participant: it wants one byte.
    pub armed: [AtomicU64; 4],
    /// `{beside:1 | segment:31 | line:32}`, which says where the byte goes. 0: nobody ever polled here.
    pub key: AtomicU64,
}

/// One direction of waiting: sleepers of one kind.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct WaitLine {
    /// The futex. Rises at every wake.
    pub seq: AtomicU32,
    /// 1: somebody may sleep.
    pub flag: AtomicU32,
    /// `CLOCK_MONOTONIC` of the last wake, ns.
    pub stamp: AtomicU64,
    /// The core the last waker ran on.
    pub cpu: AtomicU32,
    /// Who holds the end that waits here, see [`crate::lane::Role`].
    pub role: AtomicU32,
    /// From where on a wake is worth its price, see the user of the line (lane: a [`crate::lane::Cursor`]).
    pub mark: AtomicU64,
    /// Who wants a byte at a wake.
    pub bells: Bells,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 7],
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<WaitLine>() == LINE);
    assert!(offset_of!(WaitLine, flag) == 4);
    assert!(offset_of!(WaitLine, stamp) == 8);
    assert!(offset_of!(WaitLine, role) == 20);
    assert!(offset_of!(WaitLine, mark) == 24);
    assert!(offset_of!(WaitLine, bells) == 32);
    assert!(offset_of!(WaitLine, reserved) == 72);
    assert!(size_of::<Bells>() == 40);
    assert!(offset_of!(Bells, key) == 32);
};

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_bells_file_name_says_whose_it_is() {
        let listener = ParticipantId::from_index(255);
        let file = BellFile { key: BESIDE | (0x1234 << 32) | 7, listener };
        assert_eq!(file.to_string(), "ginnel.bell.8000123400000007.256");
        assert_eq!((BellFile::parse(&file.to_string()), file.segment()), (Some(file), 0x1234));
        for other in
            ["ginnel.0.orders", "ginnel.bell.12.1", "ginnel.bell.8000123400000007.0", "ginnel.bell.x.1"]
        {
            assert_eq!(BellFile::parse(other), None, "{other}");
        }
        assert_eq!((segment_bits(0), segment_bits(u32::MAX), segment_bits(5)), (1, u32::MAX >> 1, 5));
    }
}
