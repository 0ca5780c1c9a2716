//! A broadcast channel: slots that writers overwrite, and readers that leave nothing behind.
//!
//! ```text
//! byte 0       8          16    20      24 .. 128
//!      slots   slot_size  wait  closed  reserved, zero
//! byte 128  tail       where the writers are: a hint
//! byte 256  news       the line everybody sleeps on who waits for a commit
//! byte 384  aborted | refused | recoveries, then reserved
//! byte 512  sleepers   a bit for each participant that sleeps
//! byte 640  the slots, `slots * slot_size` bytes
//!
//! slot      word u64 | len u32 | kind u32 | payload, up to slot_size - 16 bytes
//! word      as in a ring ([`crate::ring::SlotWord`]): FREE(i), WRITING(t,o), FULL(t,mark); W is not used
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | slots, slot_size, wait | the creator, before LIVE | everybody, once at attach | as they are |
//! | closed | whoever closes | writers after each claim; readers that find nothing | as it is |
//! | tail | writers, after each claim | writers, new readers | at most a ring behind the truth |
//! | news | sleepers (flag), writers, recovery | writers after each commit; sleepers | see [`crate::wait`] |
//! | aborted, refused, recoveries | recovery, writers that find it closed | people | may miss what a killed one was about to add |
//! | sleepers | each participant its own bit; recovery the dead one's | people | the bit of d is cleared |
//! | slot word | the writer that claims and commits it; recovery | everybody | WRITING(t,d) becomes FULL(t,ABORT) |
//! | len, kind, payload | the writer in WRITING | readers, who then look whether the word is still the same | whatever they were |
//!
//! A position is 48 bits and wraps; the slot of position `t` is `t mod slots`. The protocol, its edges and its
//! crash table stand in the crate `queue`, file `broadcast.rs`.

use crate::atomic::{AtomicU32, AtomicU64};
use crate::line::Line;
#[cfg(not(loom))]
use crate::ring::SLOT_UNIT;
use crate::wait::WaitLine;

/// Bytes before the slots.
pub const SLOTS_AT: u64 = 640;

/// Largest channel in bytes.
pub const SIZE_MAX: u64 = 1 << 40;

/// What was agreed when the channel was made, and whether it is closed.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BroadcastGeometry {
    /// How many slots; a power of two.
    pub slots: AtomicU64,
    /// Bytes of a slot; a multiple of [`SLOT_UNIT`].
    pub slot_size: AtomicU64,
    /// One of [`crate::lane::wait_mode`].
    pub wait: AtomicU32,
    /// 1: nothing will be sent any more.
    pub closed: AtomicU32,
    reserved: [AtomicU64; 13],
}

/// What happened to the channel; for people.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BroadcastCounters {
    /// Claims of writers that died, made ABORT by recovery.
    pub aborted: AtomicU64,
    /// Claims that found the channel closed and were made ABORT by their own writer.
    pub refused: AtomicU64,
    /// How often it was recovered.
    pub recoveries: AtomicU64,
    reserved: [AtomicU64; 13],
}

/// Everything before the slots.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BroadcastControl {
    /// Immutable, but for `closed`.
    pub geometry: BroadcastGeometry,
    /// A position; the next one to claim is this one or a later one, less than a ring further.
    pub tail: Line<AtomicU64>,
    /// Whoever waits for a commit sleeps here: readers, and writers whose slot another one is filling.
    pub news: WaitLine,
    /// For people.
    pub counters: BroadcastCounters,
    /// Bit i: participant of row i sleeps on `news`. For people.
    pub sleepers: Line<[AtomicU64; 4]>,
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<BroadcastGeometry>() == 128);
    assert!(size_of::<BroadcastCounters>() == 128);
    assert!(offset_of!(BroadcastGeometry, wait) == 16);
    assert!(offset_of!(BroadcastGeometry, closed) == 20);
    assert!(offset_of!(BroadcastControl, tail) == 128);
    assert!(offset_of!(BroadcastControl, news) == 256);
    assert!(offset_of!(BroadcastControl, counters) == 384);
    assert!(offset_of!(BroadcastControl, sleepers) == 512);
    assert!(size_of::<BroadcastControl>() as u64 == SLOTS_AT);
    assert!(SLOTS_AT.is_multiple_of(SLOT_UNIT));
};
