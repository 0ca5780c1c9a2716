//! What a pool and its workers share: slots with tasks, hints where to look, a seat for each worker, trays for what is
//! large. Not for users: the crate `pool` builds on it, and is free of unsafe code because everything that touches slots
//! and trays is here.
//!
//! The words, who writes them and the picture stand in `ginnel_layout::pool`; the states of a lease and the ring of hints
//! in `ginnel_queue::dispatch`. A worker looks for a hint, claims the slot, runs what it names, and commits: that is one
//! swap of the lease, and its answer says who is to be told. Nobody announces what is finished: the leases say it.
//!
//! Reading order: this (geometry, and what both sides do), `submit`, `worker` (the other side), `take` (results), `parent`
//! (cancel, retry, wait), `seat`, `trays`, `recover` (what a death means, and what is on its way).
//!
//! Invariants
//! - I1 while a lease is READY, RUN or LOST nobody writes its arguments, inline or in a tray; nor while it is DONE or FREE
//!   and the parent has not freed their tray. So whoever owns or may own the task reads them where they lie.
//! - I2 the result, inline or in its tray, and the progress are written by the owner of RUN only; so from DONE on, and in
//!   LOST, nobody writes them until the parent has freed the slot and their tray.
//! - I3 a slot is filled, and its trays are given back, by the one thread of the parent that holds its mutex, in FREE.
//! - I4 parcels of arguments are in flight while READY, RUN or LOST; those of a result in DONE; both as long as the serial
//!   number is that of their carrier. A worker receives the parcels of its arguments and frees them after its commit, so
//!   whoever runs the task after its death receives them again.
//! - I5 from the moment the worker of a seat is dead until it was recovered, no other takes the seat.
//! - I6 a `Crew` keeps its object LIVE, its pages mapped and its own; the geometry was checked against the object's pages
//!   when the handle was made, and is kept in private memory.
//!
//! Edges are those of `dispatch`; besides
//! - E1 progress (Release), after a result -> its load (Acquire): the results it counts.
//! - E2 word of a seat (Release) -> its load (Acquire): what its worker, or its recovery, did before.
//!
//! | worker dies | what is left | who repairs |
//! |---|---|---|
//! | idle, or woken with nothing taken | others asleep | recovery wakes all on idle |
//! | with a hint popped | READY without a hint | the supervisor offers the hints of READY slots again |
//! | running, with some parcels of the arguments received | RUN(d), arguments whole | recovery: LOST; the supervisor: once more, or given up |
//! | with a result half written | as above, parcels of it not in flight | recovery frees those before the task is LOST |
//! | in item k of a chunk | LOST, k results whole | the job takes k results, and runs the others again |
//! | after the commit, before its wakes | DONE, who sleeps learns nothing | recovery wakes all on DONE leases, in the hall, at the desk |
//! | after the commit, with parcels of the arguments | they are its own, and not in flight | recovery frees them |
//! | recoverer, any prefix | as before | the next one: all of it may be repeated |
//! | parent | its workers die with it | the last process out frees the object with all that it carries |
#![allow(
    unsafe_code,
    reason = "lends the words of a crew, and the bytes in its slots, to whoever may touch them"
)]

mod parent;
mod recover;
mod seat;
mod submit;
mod take;
mod trays;
mod worker;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::entry::Carrier;
use ginnel_layout::line::PAGE;
use ginnel_layout::pool::{CrewFront, Plan, Position, SeatWords, SlotWords, TRAY_UNIT, flag};
use ginnel_queue::dispatch::Hints;
use ginnel_sync::{Waiter, futex, park};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::manager::{Manager, sealed};
use crate::sweep::tag;
use crate::words;

pub use ginnel_layout::pool::{Bits, End, Gen, ITEMS_MAX, Lease, Place, Progress, SeatSt, SeatWord, St};
pub use ginnel_queue::dispatch::Ledger;
pub use ginnel_sync::{Deadline, Mode};

pub use self::parent::Cancelled;
pub(crate) use self::recover::{discard_all, is_in_flight, recover};
pub use self::seat::Seat;
pub use self::submit::{Order, Packed};
pub use self::take::Taken;
pub use self::trays::{Tray, Trays};
pub use self::worker::{After, Frame, Sitting};

/// How large a crew is, and what its workers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tasks that can be out at a time: a power of two, 16 to 16,384.
    pub slots: u32,
    /// Workers at a time, at most 250.
    pub seats: u32,
    /// Bytes of trays, at most 256 MiB; rounded up to pages. They take memory when they are used.
    pub tray_bytes: u64,
    /// Workers say when they begin a task, so that one can be found to take too long.
    pub is_timed: bool,
    /// Tasks after which a worker wants to be relieved. 0: never.
    pub max_tasks: u64,
    /// Bytes of resident memory above which it does. 0: never.
    pub max_rss: u64,
}

impl Default for Shape {
    /// 1,024 slots, one seat, no trays, no limits.
    fn default() -> Self {
        Self { slots: 1024, seats: 1, tray_bytes: 0, is_timed: false, max_tasks: 0, max_rss: 0 }
    }
}

const KIND: Kind = Kind { tag: tag::POOL, format: 0 };

/// A handle of a crew: the parent has one, and so has each worker.
///
/// `Clone + Send + Sync`; goes to a worker as an argument. The crew is freed with all that it carries when the last
/// handle and ticket are gone. In the child of a bare fork it may only be dropped: see [`Crew::check_fork`].
pub struct Crew {
    handle: Handle<CrewFront>,
    plan: Plan,
    seats: NonNull<[SeatWords]>,
    hints: NonNull<[AtomicU32]>,
    slots: NonNull<[SlotWords]>,
    trays: NonNull<u8>,
    /// How many of the parent's threads are in the hall: only one alone may leave a mark there.
    hall: Arc<Mutex<u32>>,
}

// SAFETY: I6: what it points to is atomics, and bytes that are lent by the rules of I1 and I2.
unsafe impl Send for Crew {}
// SAFETY: I6, as above.
unsafe impl Sync for Crew {}

impl Clone for Crew {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), hall: Arc::clone(&self.hall), ..*self }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("object", self.handle.object())
            .field("slots", &self.plan.slots)
            .field("seats", &self.plan.seats)
            .finish_non_exhaustive()
    }
}

impl Crew {
    /// Makes a crew without workers and tasks.
    ///
    /// # Errors
    /// `Invalid` for a shape that no crew has; `Full` when the manager has no room for it; `Forked`, `Os`.
    pub fn make(manager: &Manager, shape: Shape) -> Result<Self> {
        Self::open_object(make(&manager.arena, None, shape)?)
    }

    fn open_object(object: ObjectRef) -> Result<Self> {
        let handle: Handle<CrewFront> = Handle::open(object)?;
        let shape = &handle.words().shape;
        let plan =
            Plan::of(shape.slots.load(Relaxed), shape.seats.load(Relaxed), shape.tray_bytes.load(Relaxed));
        let plan = plan.filter(|plan| shape.trays.load(Relaxed) == plan.trays_at as u64);
        let plan = plan.ok_or_else(|| handle.corrupted("the geometry of the pool"))?;
        let seats = handle.tail(Plan::SEATS_AT, plan.seats as usize).map(NonNull::from)?;
        let hints = handle.tail(plan.hints_at, plan.slots as usize).map(NonNull::from)?;
        let slots = handle.tail(plan.slots_at, plan.slots as usize).map(NonNull::from)?;
        let trays: &[ginnel_layout::atomic::AtomicU64] = handle.tail(plan.trays_at, plan.tray_bytes / 8)?;
        let trays = NonNull::from(trays).cast();
        Ok(Self { handle, plan, seats, hints, slots, trays, hall: Arc::default() })
    }

    /// What it was made with.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let words = &self.front().shape;
        Shape {
            slots: self.plan.slots,
            seats: self.plan.seats,
            tray_bytes: self.plan.tray_bytes as u64,
            is_timed: words.flags.load(Relaxed) & flag::TIMED != 0,
            max_tasks: words.max_tasks.load(Relaxed),
            max_rss: words.max_rss.load(Relaxed),
        }
    }

    /// # Errors
    /// `Forked` in the child of a bare fork. One load where all is well.
    #[inline(always)]
    pub fn check_fork(&self) -> Result<()> {
        self.handle.check_fork()
    }

    /// The first serial number for this crew: others that lay in the same place before had others.
    #[must_use]
    pub fn first_serial(&self) -> u32 {
        self.handle.object().generation().wrapping_mul(0x9e37_79b1)
    }

    /// What the parent has to know of its hints. Once a crew.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.plan.slots)
    }

    /// A row of the table of workers. `None`: there are not so many.
    #[must_use]
    pub fn seat(&self, number: u32) -> Option<Seat<'_>> {
        self.seats().get(number as usize).map(Seat::of)
    }

    /// The lease of a slot. A word that no correct process stores, or a slot that is not there, is FREE.
    #[must_use]
    #[inline]
    pub fn lease(&self, slot: u32) -> Lease {
        let lease = self.slot(slot).and_then(|slot| ginnel_queue::dispatch::look(&slot.lease));
        lease.unwrap_or(Lease::of(St::Free, Gen::of(0), Bits::NONE))
    }

    /// How much of a chunk is done; of any task that is out.
    #[must_use]
    #[inline]
    pub fn progress(&self, slot: u32) -> Progress {
        self.slot(slot).map_or_else(Progress::default, |slot| {
            Progress::from_bits(slot.progress.load(Acquire)) // E1
        })
    }

    /// When its worker began the task, or the item: `CLOCK_MONOTONIC`, ns. `None`: not yet, or nobody asked for it.
    #[must_use]
    pub fn began(&self, slot: u32) -> Option<u64> {
        self.slot(slot).map(|slot| slot.began.load(Relaxed)).filter(|began| *began != 0)
    }

    /// How far the task is, as it says itself. `None`: it has said nothing.
    #[must_use]
    pub fn part(&self, slot: u32) -> Option<f32> {
        let bits = self.slot(slot).map(|slot| slot.part.load(Relaxed)).filter(|bits| *bits != 0);
        bits.map(f32::from_bits)
    }

    /// Is the worker of this task asked to stop? False also when the task is over.
    #[must_use]
    pub fn is_asked(&self, slot: u32, serial: u32) -> bool {
        let lease = self.lease(slot);
        lease.st == St::Run && lease.generation == Gen::of(serial) && lease.bits.has(Bits::CEASE)
    }

    /// Says how far the task is: for the thread that runs it. When it is over, nothing happens.
    pub fn set_part(&self, slot: u32, serial: u32, part: f32) {
        if let Some(words) = self.slot(slot) {
            let lease = self.lease(slot);
            let is_mine = lease.owner == Some(self.handle.me()) && lease.st == St::Run;
            if is_mine && lease.generation == Gen::of(serial) {
                // The bits of 0.0 say that nothing was said.
                words.part.store(if part == 0.0 { (-0.0_f32).to_bits() } else { part.to_bits() }, Relaxed);
            }
        }
    }

    /// Wakes one idle worker, if one sleeps: owed after a new hint. A fence and a load where nobody does.
    #[inline]
    pub fn wake(&self) {
        park::post(&self.front().idle);
    }

    /// Wakes all idle workers: after an order, for instance. Always a system call.
    pub fn wake_all(&self) {
        park::wake_all(&self.front().idle);
    }

    /// No more tasks will come: workers end when they are idle.
    pub fn stop(&self) {
        self.front().shape.stop.store(1, Release); // E2
        self.wake_all();
        for seat in self.seats() {
            futex::wake(&seat.order, u32::MAX);
        }
    }

    /// Was it stopped?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.front().shape.stop.load(Acquire) != 0 // E2
    }

    /// Runs `f` with what this handle knows of waiting, or with a fresh waiter where another thread waits with it.
    pub fn with_waiter<R>(&self, f: impl FnOnce(&mut Waiter) -> R) -> R {
        self.handle.with_waiter(f)
    }

    /// This participant.
    pub(crate) fn me(&self) -> ParticipantId {
        self.handle.me()
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        self.handle.arena()
    }

    /// What stands beside a parcel in a slot.
    pub(crate) fn carrier(&self, slot: u32, serial: u32, place: Place) -> Carrier {
        let position = Position { serial, slot, place }.bits();
        Carrier { entry: self.handle.object().index() as u16, position }
    }

    #[inline(always)]
    fn front(&self) -> &CrewFront {
        self.handle.words()
    }

    #[inline(always)]
    fn seats(&self) -> &[SeatWords] {
        // SAFETY: I6.
        unsafe { self.seats.as_ref() }
    }

    #[inline(always)]
    fn slots(&self) -> &[SlotWords] {
        // SAFETY: I6.
        unsafe { self.slots.as_ref() }
    }

    #[inline(always)]
    fn slot(&self, number: u32) -> Option<&SlotWords> {
        self.slots().get(number as usize)
    }

    #[inline(always)]
    fn hints(&self) -> Hints<'_> {
        let front = self.front();
        // SAFETY: I6.
        match Hints::new(&front.head, &front.tail, unsafe { self.hints.as_ref() }) {
            Some(hints) => hints,
            None => unreachable!("a plan has a power of two of slots"),
        }
    }

    /// Where `len` bytes of a tray begin, `kib` behind the beginning of the trays. `None`: they do not lie there.
    #[inline]
    fn trays_place(&self, kib: u32, len: usize) -> Option<NonNull<u8>> {
        let at = u64::from(kib) * TRAY_UNIT;
        let end = at.checked_add(len as u64)?;
        if end > self.plan.tray_bytes as u64 {
            return None;
        }
        // SAFETY: I6: inside the object's pages, as was just checked.
        Some(unsafe { self.trays.add(at as usize) })
    }

    /// Gives memory to a part of the trays: whole pages, counted from their beginning.
    ///
    /// # Errors
    /// `Full` or `Os` when there is none, `Invalid` for bytes that are no trays, `Forked`.
    fn set_aside(&self, offset: u64, len: u64) -> Result<()> {
        let wrong = || self.handle.error(ErrorKind::Invalid, "memory for trays that are not there");
        let (first, count) = self.tray_pages(offset, len).ok_or_else(wrong)?;
        Ok(self.handle.segment().set_aside_pages(self.handle.object().index(), first, count)?)
    }

    /// Takes the memory of a part of the trays away.
    fn punch(&self, offset: u64, len: u64) {
        if let Some((first, count)) = self.tray_pages(offset, len) {
            self.handle.segment().punch_pages(self.handle.object().index(), first, count);
        }
    }

    fn tray_pages(&self, offset: u64, len: u64) -> Option<(u32, u32)> {
        let page = PAGE as u64;
        let end = offset.checked_add(len)?;
        let whole = offset.is_multiple_of(page) && len.is_multiple_of(page) && len > 0;
        if !whole || end > self.plan.tray_bytes as u64 {
            return None;
        }
        let first = (self.plan.trays_at as u64 + offset) / page;
        Some((self.handle.object().first_page() + first as u32, (len / page) as u32))
    }
}

fn make(arena: &Arc<Arena>, name: Option<&str>, shape: Shape) -> Result<ObjectRef> {
    let tray_bytes = shape.tray_bytes.checked_next_multiple_of(PAGE as u64);
    let plan = tray_bytes.and_then(|bytes| Plan::of(shape.slots, shape.seats, bytes)).ok_or_else(|| {
        let happened = format!(
            "a pool with {} slots, {} workers and {} bytes of trays",
            shape.slots, shape.seats, shape.tray_bytes
        );
        Error::new(ErrorKind::Invalid, happened).with_advice(
            "take a power of two of slots from 16 to 16384, 1 to 250 workers, at most 256 MiB of trays",
        )
    })?;
    let pages = |bytes: usize| (bytes / PAGE) as u32;
    let init = |base| {
        let front: &CrewFront = words::new_front(base);
        let words = &front.shape;
        words.slots.store(plan.slots, Relaxed);
        words.seats.store(plan.seats, Relaxed);
        words.trays.store(plan.trays_at as u64, Relaxed);
        words.tray_bytes.store(plan.tray_bytes as u64, Relaxed);
        words.flags.store(if shape.is_timed { flag::TIMED } else { 0 }, Relaxed);
        words.max_tasks.store(shape.max_tasks, Relaxed);
        words.max_rss.store(shape.max_rss, Relaxed);
    };
    arena.make_partly(KIND, (pages(plan.total()), pages(plan.trays_at)), name, init)
}

impl sealed::Sealed for Crew {
    type Options = Shape;

    fn kind() -> Kind {
        KIND
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Shape) -> Result<ObjectRef> {
        make(arena, name, options)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        Self::open_object(object)
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

impl Serialize for Crew {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for Crew {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
