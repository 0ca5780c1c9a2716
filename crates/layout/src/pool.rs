//! The crew: what a pool and its workers have to say to each other.
//!
//! ```text
//! page 0  byte 0    head u64                next hint to take
//!         128       tail u64                next hint to write
//!         256       idle   WaitLine         workers that have nothing to do
//!         384       desk   WaitLine         the supervisor of the pool
//!         512       hall   WaitLine         threads of the parent that wait for any of several tasks
//!         640       slots u32 | seats u32 | trays u64 | tray_bytes u64 | stop u32 | flags u32 | max_tasks u64 | max_rss u64
//! page 1  seat i    128 bytes each
//! then    hint j    u32 each, as many as slots: {gen:11 | slot:14}
//! then    slot k    512 bytes each, aligned to a line
//! then    trays     aligned to a page
//!
//! seat      0 word {participant:13 | st:8}   4 order   8 slot + 1   16 done   24 items   32 failed   40 busy_ns
//! slot      0 lease   4 serial   8 routine   16 args head   24 small args[2]   40 result head   48 small result[2]
//!          64 attempt   68 items   72 args tray   76 result tray   80 result room   84 part   88 progress   96 began
//!         104 took   128 args[24]   320 result[24]
//! lease     {gen:11 | owner:13 | KILL | CEASE | DESK | HALL | WAITED | st:3}
//! head      {len:32 | LONG | TRAY | CHUNK | TIMED | end:4 | 0:12 | parcels:12}, the length in the upper half
//! progress  {items:16 | args:24 | result:24}
//! ```
//! A trivial task needs the first half line of its slot and nothing else. A tray is named by its offset in KiB.
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | lease | whoever its state allows | everybody | RUN(d) becomes LOST by recovery |
//! | serial, routine, args, attempt, items, trays, room | the parent while FREE; attempt also in LOST | the claimer; recovery (serial, head of the arguments) | as they are |
//! | result, took | the claimer, before its commit | the parent, after it | overwritten by whoever runs the task again |
//! | progress | the parent 0 before READY; the claimer, one store an item | the parent | says exactly which items are done |
//! | part, began | the claimer | the parent | hints |
//! | hint, tail | the parent | workers | a hint that was popped by the dead may be lost: the parent writes it again |
//! | head | workers, by CAS | parent and workers | one hint further, at most |
//! | seat: word | the parent COMING, EMPTY; its worker UP, TIRED; recovery GONE | the supervisor | GONE |
//! | seat: order | the parent | that worker | as it is |
//! | seat: the rest | that worker | the parent | history |
//! | stop | the parent | workers | as it is |
//! | shape, flags, limits | the parent, before the object is LIVE | everybody | as they are |
//!
//! The transitions of a lease stand in the crate `queue`, file `dispatch.rs`; invariants and the crash table in the crate
//! `object`, file `crew.rs`.

mod lease;
mod message;

use crate::atomic::{AtomicU32, AtomicU64};
use crate::line::{LINE, Line, PAGE};
use crate::wait::WaitLine;

pub use lease::{Bits, Gen, Hint, Lease, SeatSt, SeatWord, St};
pub use message::{End, Head, Place, Position, Progress};

/// Fewest and most slots of a crew, a power of two.
pub const SLOTS: core::ops::RangeInclusive<u32> = 16..=1 << SLOT_BITS;

/// Most seats of a crew.
pub const SEATS_MAX: u32 = 250;

/// Most bytes of trays.
pub const TRAYS_MAX: u64 = 256 << 20;

/// Bytes of arguments, or of a result, that lie in the slot.
pub const INLINE_MAX: usize = 192;

/// Bytes of arguments, or of a result, that lie in the first line of the slot.
pub const SMALL_MAX: usize = 16;

/// The smallest tray, and the unit of a tray's place.
pub const TRAY_UNIT: u64 = 1 << 10;

/// Most items of a chunk.
pub const ITEMS_MAX: u32 = u16::MAX as u32;

/// Most bytes of the arguments, and of the results, of a chunk.
pub const CHUNK_MAX: usize = (1 << 24) - 1;

const SLOT_BITS: u32 = 14;

/// What a crew begins with.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct CrewFront {
    /// Next hint to take.
    pub head: Line<AtomicU64>,
    /// Next hint to write.
    pub tail: Line<AtomicU64>,
    /// Workers with nothing to do.
    pub idle: WaitLine,
    /// The supervisor.
    pub desk: WaitLine,
    /// Who waits for any of several tasks. `mark`: the number of tasks done, from which on a wake is worth it.
    pub hall: WaitLine,
    /// How large it is, and what its workers are told.
    pub shape: Line<ShapeWords>,
}

/// The shape of a crew.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ShapeWords {
    /// How many slots, and hints.
    pub slots: AtomicU32,
    /// How many seats.
    pub seats: AtomicU32,
    /// Where the trays begin.
    pub trays: AtomicU64,
    /// Bytes of trays.
    pub tray_bytes: AtomicU64,
    /// 1: no more tasks will come.
    pub stop: AtomicU32,
    /// [`mod@flag`].
    pub flags: AtomicU32,
    /// Tasks after which a worker wants to be relieved. 0: never.
    pub max_tasks: AtomicU64,
    /// Bytes of resident memory above which it does. 0: never.
    pub max_rss: AtomicU64,
}

/// Flags of a crew.
pub mod flag {
    /// Workers say when they began a task, or an item.
    pub const TIMED: u32 = 1;
}

/// A worker's row.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct SeatWords {
    /// [`SeatWord`].
    pub word: AtomicU32,
    /// [`mod@order`].
    pub order: AtomicU32,
    /// The slot it works on, plus one. 0: none.
    pub slot: AtomicU32,
    spare: AtomicU32,
    /// Tasks it has committed.
    pub done: AtomicU64,
    /// Items of them.
    pub items: AtomicU64,
    /// Tasks of them that ended with anything else than a value.
    pub failed: AtomicU64,
    /// For how long it has run tasks.
    pub busy_ns: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 10],
}

/// Orders to a seat.
pub mod order {
    /// Go on.
    pub const WORK: u32 = 0;
    /// Take no further task, and end.
    pub const LEAVE: u32 = 1;
}

/// A task, or a chunk of several.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct SlotWords {
    /// [`Lease`].
    pub lease: AtomicU32,
    /// Which task of the crew it is. Its lower bits are the generation of the lease.
    pub serial: AtomicU32,
    /// What is called: an offset in the image.
    pub routine: AtomicU64,
    /// [`Head`] of the arguments.
    pub args_head: AtomicU64,
    /// The arguments, if they are short, or the parcel of a letter.
    pub small_args: [AtomicU64; 2],
    /// [`Head`] of the result.
    pub result_head: AtomicU64,
    /// The result, if it is short, or the parcel of a letter.
    pub small_result: [AtomicU64; 2],
    /// How often it was given to a worker that died.
    pub attempt: AtomicU32,
    /// Items of a chunk, else 1.
    pub items: AtomicU32,
    /// Tray of the arguments.
    pub args_tray: AtomicU32,
    /// Tray for the result.
    pub result_tray: AtomicU32,
    /// Bytes of that. 0: there is none.
    pub result_room: AtomicU32,
    /// How far the task is, as its worker says: an `f32`.
    pub part: AtomicU32,
    /// [`Progress`].
    pub progress: AtomicU64,
    /// When the task, or the item, was begun: `CLOCK_MONOTONIC`, ns. 0: not yet.
    pub began: AtomicU64,
    /// How long the task took, ns.
    pub took: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 2],
    /// Arguments that do not fit the first line.
    pub args: [AtomicU64; INLINE_MAX / 8],
    /// A result that does not fit the first line.
    pub result: [AtomicU64; INLINE_MAX / 8],
}

/// Where everything lies in a crew of some shape, in bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many slots, and hints.
    pub slots: u32,
    /// How many seats.
    pub seats: u32,
    /// The hints.
    pub hints_at: usize,
    /// The slots.
    pub slots_at: usize,
    /// The trays.
    pub trays_at: usize,
    /// Bytes of trays.
    pub tray_bytes: usize,
}

impl Plan {
    /// The seats.
    pub const SEATS_AT: usize = PAGE;

    /// `None`: no crew has this shape.
    #[must_use]
    pub const fn of(slots: u32, seats: u32, tray_bytes: u64) -> Option<Self> {
        let fits = slots.is_power_of_two()
            && slots >= *SLOTS.start()
            && slots <= *SLOTS.end()
            && seats >= 1
            && seats <= SEATS_MAX
            && tray_bytes <= TRAYS_MAX
            && tray_bytes.is_multiple_of(PAGE as u64);
        if !fits {
            return None;
        }
        let hints_at = Self::SEATS_AT + seats as usize * LINE;
        let slots_at = (hints_at + slots as usize * 4).next_multiple_of(LINE);
        let trays_at = (slots_at + slots as usize * SLOT_BYTES).next_multiple_of(PAGE);
        Some(Self { slots, seats, hints_at, slots_at, trays_at, tray_bytes: tray_bytes as usize })
    }

    /// Bytes of all of it.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.trays_at + self.tray_bytes
    }
}

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 512;

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<CrewFront>() == 6 * LINE && size_of::<CrewFront>() <= PAGE);
    assert!(offset_of!(CrewFront, tail) == 128);
    assert!(offset_of!(CrewFront, idle) == 256);
    assert!(offset_of!(CrewFront, desk) == 384);
    assert!(offset_of!(CrewFront, hall) == 512);
    assert!(offset_of!(CrewFront, shape) == 640);
    assert!(offset_of!(ShapeWords, trays) == 8);
    assert!(offset_of!(ShapeWords, stop) == 24);
    assert!(offset_of!(ShapeWords, max_tasks) == 32);
    assert!(size_of::<SeatWords>() == LINE);
    assert!(offset_of!(SeatWords, slot) == 8);
    assert!(offset_of!(SeatWords, done) == 16);
    assert!(offset_of!(SeatWords, busy_ns) == 40);
    assert!(size_of::<SlotWords>() == SLOT_BYTES && align_of::<SlotWords>() == LINE);
    assert!(offset_of!(SlotWords, routine) == 8);
    assert!(offset_of!(SlotWords, args_head) == 16);
    assert!(offset_of!(SlotWords, small_args) == 24);
    assert!(offset_of!(SlotWords, result_head) == 40);
    assert!(offset_of!(SlotWords, small_result) == 48);
    assert!(offset_of!(SlotWords, attempt) == 64);
    assert!(offset_of!(SlotWords, result_room) == 80);
    assert!(offset_of!(SlotWords, progress) == 88);
    assert!(offset_of!(SlotWords, took) == 104);
    assert!(offset_of!(SlotWords, args) == 128);
    assert!(offset_of!(SlotWords, result) == 320);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_room_for_everything_and_refuses_what_no_crew_is() {
        let plan = Plan::of(1024, 4, 1 << 20).expect("a shape");
        assert_eq!((plan.hints_at, plan.slots_at % LINE, plan.trays_at % PAGE), (PAGE + 512, 0, 0));
        assert!(plan.slots_at >= plan.hints_at + 4096 && plan.trays_at >= plan.slots_at + 1024 * 512);
        assert_eq!(plan.total(), plan.trays_at + (1 << 20));
        for (slots, seats, trays) in
            [(8, 1, 0), (1000, 1, 0), (1 << 15, 1, 0), (16, 0, 0), (16, 251, 0), (16, 1, 1), (16, 1, 1 << 29)]
        {
            assert_eq!(Plan::of(slots, seats, trays), None);
        }
    }
}
