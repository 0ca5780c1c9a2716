//! The memory of one side of an untrusted connection: what it says, in a file that only it can write.
//!
//! Two processes that do not trust each other share two such files, one each. Whoever made a file maps it for writing and
//! then seals it; the other maps it for reading. So every word here has one writer, and nothing that a side decides by
//! lies in memory that the other can change: it keeps its own places privately, and these words are what it lets be known.
//!
//! ```text
//! byte 0     front    magic u64 | version u32 | 0 u32 | size u64         what was agreed
//! byte 128   head     bytes taken of the OTHER file's ring since the beginning
//! byte 256   message  seq, stamp, cpu of a [`WaitLine`]                  the other's receiver sleeps on seq
//! byte 384   room     the same                                           the other's sender sleeps on seq
//! byte 512   wants    message {u64 asleep, u64 armed} | room {u64 asleep, u64 armed} | mark u64 | closed u32
//! byte 4096  the ring of what this side sends, `size` bytes of records (`record`), mapped twice back to back
//! ```
//!
//! | field | its one writer | read by the other side's | meaning, and what a death leaves |
//! |---|---|---|---|
//! | magic, version, size | the maker, before it seals and passes the file | attach, once | as they are |
//! | head | the receiver, at each release | sender, when it believes its ring full | what is behind it may be overwritten |
//! | message.seq | the sender, when it wakes the other's receiver | receiver, asleep on it | rises; after a death sleeps end by the slice |
//! | room.seq | the receiver, when it wakes the other's sender | sender, asleep on it | the same |
//! | stamp, cpu | whoever wakes | the woken | hints, for the length of the next spin within its bounds |
//! | wants.message | the receiver | sender, after each commit | odd: it sleeps, or polls; each time another odd number |
//! | wants.room | the sender | receiver, after each release | the same, for room |
//! | mark | the sender, before it asks for room | receiver that found it asleep or polling | the head from which on a wake is worth its price |
//! | closed | both ends, one bit each | sender before each record, receiver when it finds nothing | [`closed`] |
//!
//! The reader of a word loads it once, compares it with what is possible, and uses what it loaded. The protocol, its edges
//! and its crash table stand in the crate `queue`, file `untrusted.rs`.

use crate::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
use crate::line::LINE;
use crate::line::{Line, PAGE};
use crate::wait::WaitLine;

/// First word of the file: eight letters, little endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ginnelPR");

/// Version of what stands in this file and of what a record is. Sides of different versions refuse each other.
pub const VERSION: u32 = 1;

/// Bits of [`Wants::closed`].
pub mod closed {
    /// The sending end was given up in order: nothing comes after what is in the ring.
    pub const SENDER: u32 = 1;
    /// The receiving end was given up in order: nothing more is taken.
    pub const RECEIVER: u32 = 2;
}

/// What was agreed.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct PeerFront {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    reserved: AtomicU32,
    /// Bytes of the ring: whole pages.
    pub size: AtomicU64,
}

/// How one end of this side wants to be told. Even: not at all. Each odd number is one request, served once.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Want {
    /// By a wake: it sleeps on a line of the other's.
    pub asleep: AtomicU64,
    /// By a byte over the socket: it polls that.
    pub armed: AtomicU64,
}

/// What this side wants to be told, and whether it is still there: what the other looks at for each record.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Wants {
    /// The receiver: that a record was sent.
    pub message: Want,
    /// The sender: that there is room.
    pub room: Want,
    /// From which head on `room` is worth telling.
    pub mark: AtomicU64,
    /// Which ends are given up, see [`closed`].
    pub closed: AtomicU32,
}

/// The first page.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct PeerControl {
    /// Immutable.
    pub front: PeerFront,
    /// What this side has taken, in bytes.
    pub head: Line<AtomicU64>,
    /// With what its sender wakes the other's receiver. Its flag, role, mark and bells are not used: they would have two
    /// writers.
    pub message: WaitLine,
    /// With what its receiver wakes the other's sender; the same holds.
    pub room: WaitLine,
    /// What it wants.
    pub wants: Wants,
}

/// Bytes before the ring.
pub const RING_AT: u64 = PAGE as u64;

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<PeerControl>() == 5 * LINE);
    assert!(offset_of!(PeerFront, version) == 8);
    assert!(offset_of!(PeerFront, size) == 16);
    assert!(offset_of!(PeerControl, head) == 128);
    assert!(offset_of!(PeerControl, message) == 256);
    assert!(offset_of!(PeerControl, room) == 384);
    assert!(offset_of!(PeerControl, wants) == 512);
    assert!(offset_of!(Wants, room) == 16);
    assert!(offset_of!(Wants, mark) == 32);
    assert!(offset_of!(Wants, closed) == 40);
    assert!(size_of::<PeerControl>() as u64 <= RING_AT);
};
