//! A task that a worker has claimed: its arguments, and where its outcome goes.
//!
//! Invariants; the first three are those of `crew`, as far as a worker needs them
//! - I1 while a lease is RUN nobody writes its arguments, inline or in a tray.
//! - I2 the result, inline or in its tray, and the progress are written by the owner of RUN only.
//! - I3 what `Crew` lends stays mapped as long as the `Crew`, and `trays_place` checks that a tray lies inside.
//! - I4 a frame is made of a claimed lease and only its `commit` gives it up, so as long as it lives this worker is the
//!   owner of RUN. In the child of a fork it is not: there nothing is written.
//! - I5 the bytes of arguments and results in a slot are arrays of atomics, so a pointer to the array may be written
//!   through.
//!
//! Edges
//! - E1 (pairs with crew.rs E1) progress (Release), after a result -> its load (Acquire): the results it counts.
#![allow(unsafe_code, reason = "reads arguments and writes results where they lie")]

use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::pool::{
    Bits, CHUNK_MAX, End, Gen, Head, INLINE_MAX, ITEMS_MAX, Lease, Place, Progress, SMALL_MAX, SeatWords,
    SlotWords, St, order,
};
use ginnel_queue::dispatch;
use ginnel_sync::{deadline, futex, gate};
use zerocopy::IntoBytes;

use super::After;
use crate::carry::{self, Incoming, Outgoing, PARCEL};
use crate::crew::Crew;
use crate::envelope::{self, LONG, Received};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::message::out::Out;

/// A claimed task. Filled by the routine that it names, and given up by [`Frame::commit`].
#[must_use]
pub struct Frame<'s> {
    crew: &'s Crew,
    seat: &'s SeatWords,
    slot: &'s SlotWords,
    number: u32,
    generation: Gen,
    /// `None`: the word lies.
    args: Option<Head>,
    /// ns; 0: nobody asked.
    began: u64,
    is_timed: bool,
    result: Head,
    /// Parcels of the arguments, ours until the commit and freed after it.
    incoming: Option<Incoming>,
    /// Parcels of the result.
    outgoing: Option<Outgoing>,
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("slot", &self.number)
            .field("serial", &self.serial())
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

impl<'s> Frame<'s> {
    /// `None`: there is no such slot. `began`: when, if the crew is timed.
    #[inline(always)]
    pub(super) fn open(
        crew: &'s Crew,
        seat: &'s SeatWords,
        number: u32,
        lease: Lease,
        began: Option<u64>,
    ) -> Option<Self> {
        let slot = crew.slot(number)?;
        let args = Head::from_bits(slot.args_head.load(Relaxed));
        let is_timed = began.is_some();
        let began = match began {
            None if args.is_some_and(|head| head.is_timed) => deadline::now_ns(),
            began => began.unwrap_or(0),
        };
        if began != 0 {
            slot.began.store(began, Relaxed);
        }
        let result = Head { end: End::None, ..Head::plain(0) };
        let generation = lease.generation;
        Some(Self {
            crew,
            seat,
            slot,
            number,
            generation,
            args,
            began,
            is_timed,
            result,
            incoming: None,
            outgoing: None,
        })
    }

    /// What is to be called: a number that the parent and this process understand alike.
    #[must_use]
    #[inline(always)]
    pub fn routine(&self) -> u64 {
        self.slot.routine.load(Relaxed)
    }

    /// Which slot.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.number
    }

    /// Which task of the crew.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.slot.serial.load(Relaxed)
    }

    /// How many workers have died of it before.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.slot.attempt.load(Relaxed)
    }

    /// Items: those of a chunk, else 1.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.slot.items.load(Relaxed).clamp(1, ITEMS_MAX)
    }

    /// Several items, for [`Frame::each`].
    #[must_use]
    #[inline(always)]
    pub fn is_chunk(&self) -> bool {
        self.args.is_some_and(|head| head.is_chunk)
    }

    /// Is it asked to stop?
    #[must_use]
    pub fn is_asked(&self) -> bool {
        dispatch::look(&self.slot.lease).is_some_and(|lease| lease.bits.has(Bits::CEASE))
    }

    /// The arguments, as `read` finds them. What they carry stays with the task until its commit: if this worker dies,
    /// the next one receives it again.
    ///
    /// # Errors
    /// Those of `read`; `Corrupted` where the words of the slot lie.
    #[inline]
    pub fn input<R>(&mut self, read: impl FnOnce(&mut &[u8]) -> Result<R>) -> Result<R> {
        let head = self.head()?;
        if head.parcels == 0 && !head.is_long {
            return self.with_args(head, |mut bytes| read(&mut bytes))?;
        }
        let kind = u32::from(head.parcels) | if head.is_long { LONG } else { 0 };
        let (value, incoming) = self.with_args(head, |bytes| {
            let received = Received::receive(self.crew.arena(), bytes, kind)?;
            Ok::<_, Error>(received.decode(bytes, kind, |body| read(&mut body?)))
        })??;
        self.incoming = incoming;
        value
    }

    fn head(&self) -> Result<Head> {
        self.args.ok_or_else(|| self.corrupted("a task"))
    }

    #[cold]
    fn corrupted(&self, what: &str) -> Error {
        self.crew.handle.corrupted(what)
    }

    /// The bytes of the arguments, with the table of parcels behind them. Those of a tray where they lie, others in a
    /// copy.
    #[inline(always)]
    fn with_args<R>(&self, head: Head, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let len = head.len as usize;
        if head.is_small() {
            let words = self.slot.small_args.each_ref().map(|word| word.load(Relaxed));
            let len = if head.is_long { SMALL_MAX } else { len };
            return words.as_bytes().get(..len).map(f).ok_or_else(|| self.corrupted("a task"));
        }
        if head.is_in_tray {
            let place = self.crew.trays_place(self.slot.args_tray.load(Relaxed), len);
            let place = place.ok_or_else(|| self.corrupted("the place of arguments"))?;
            // SAFETY: I1, I3, I4: nobody writes them; they lie inside, as was just checked.
            return Ok(f(unsafe { NonNull::slice_from_raw_parts(place, len).as_ref() }));
        }
        let words = self.slot.args.each_ref().map(|word| word.load(Relaxed));
        words.as_bytes().get(..len).map(f).ok_or_else(|| self.corrupted("the length of arguments"))
    }

    /// The value of the task, as `write` appends it. The last one counts.
    ///
    /// # Errors
    /// Those of `write`; `Full` when there is no room for a long one, or too many parcels; `Forked`. There is no outcome
    /// then: [`Frame::failed`] is to say why.
    #[inline]
    pub fn value(&mut self, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<()> {
        self.put(End::Value, write)
    }

    /// That the task has none, as `write` says why. In a chunk: the item behind those that are done.
    ///
    /// If even that cannot be said, the outcome says nothing but `end`.
    #[cold]
    pub fn failed(&mut self, end: End, write: impl FnOnce(&mut Out<'_>) -> Result<()>) {
        if self.put(end, write).is_err() {
            self.outgoing = None;
            self.result = Head { end, ..Head::plain(0) };
        }
    }

    #[inline]
    fn put(&mut self, end: End, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<()> {
        self.crew.check_fork()?;
        let arena = self.crew.arena();
        carry::collecting(arena, || match self.tray() {
            // Of a chunk, it has the results before this one in it.
            Some((place, room)) if !self.is_chunk() => self.put_in_tray(end, place, room, write),
            _ => self.put_in_slot(end, write),
        })
    }

    /// The tray that was lent for the result.
    #[inline(always)]
    fn tray(&self) -> Option<(NonNull<u8>, usize)> {
        let room = self.slot.result_room.load(Relaxed) as usize;
        if room == 0 {
            return None;
        }
        let place = self.crew.trays_place(self.slot.result_tray.load(Relaxed), room)?;
        Some((place, room))
    }

    #[inline]
    fn put_in_slot(&mut self, end: End, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<()> {
        let mut room = MaybeUninit::<[u8; INLINE_MAX]>::uninit();
        let place: NonNull<u8> = NonNull::from(&mut room).cast();
        // SAFETY: I4: it is that large, and this function's own.
        let mut out = unsafe { Out::place(place, INLINE_MAX) };
        write(&mut out)?;
        let parcels = carry::collected();
        if let Some(body) = out.spilled() {
            return self.seal(end, &body, parcels);
        }
        let len = out.len();
        drop(out);
        // SAFETY: I4: the `Out` has written so many bytes there, and is gone.
        let body = unsafe { NonNull::slice_from_raw_parts(place, len).as_ref() };
        match parcels {
            None => {
                self.copy_in(body);
                self.result = Head { end, ..Head::plain(len as u32) };
                Ok(())
            }
            parcels => self.seal(end, body, parcels),
        }
    }

    fn put_in_tray(
        &mut self,
        end: End,
        place: NonNull<u8>,
        room: usize,
        write: impl FnOnce(&mut Out<'_>) -> Result<()>,
    ) -> Result<()> {
        // SAFETY: I2, I3, I4: the task is ours, and so are the bytes, as far as `trays_place` has checked.
        let mut out = unsafe { Out::place(place, room) };
        write(&mut out)?;
        let parcels = carry::collected();
        if let Some(body) = out.spilled() {
            return self.seal(end, &body, parcels);
        }
        let Some(parcels) = parcels else {
            self.result = Head { end, is_in_tray: true, ..Head::plain(out.len() as u32) };
            return Ok(());
        };
        let table = envelope::table_of(&parcels);
        if table.len() > out.room() {
            let body = out.cut();
            return self.seal(end, &body, Some(parcels));
        }
        out.extend(&table);
        let count = parcels.parcels().len() as u16;
        self.result = Head { end, is_in_tray: true, parcels: count, ..Head::plain(out.len() as u32) };
        self.keep(parcels);
        Ok(())
    }

    /// A message that carries something, or does not fit: with its table in the slot, or in an object of its own.
    #[cold]
    fn seal(&mut self, end: End, body: &[u8], parcels: Option<Outgoing>) -> Result<()> {
        let arena = self.crew.arena();
        let mut parcels = parcels.unwrap_or_else(|| Outgoing::none(arena));
        if body.len() + PARCEL * parcels.parcels().len() <= INLINE_MAX {
            let whole = [body, &envelope::table_of(&parcels)].concat();
            self.copy_in(&whole);
            let count = parcels.parcels().len() as u16;
            self.result = Head { end, parcels: count, ..Head::plain(whole.len() as u32) };
        } else {
            let (letter, kind) = envelope::enclose(arena, body, &mut parcels)?;
            self.copy_in(&letter);
            let count = (kind & !LONG) as u16;
            self.result = Head { end, is_long: true, parcels: count, ..Head::plain(letter.len() as u32) };
        }
        self.keep(parcels);
        Ok(())
    }

    /// They are on their way with the commit.
    fn keep(&mut self, parcels: Outgoing) {
        parcels.set_carrier(self.crew.carrier(self.number, self.serial(), Place::Result));
        self.outgoing = Some(parcels);
    }

    /// Copies a result to the slot, at most `INLINE_MAX` bytes: to the first line, if it is that short.
    #[inline(always)]
    fn copy_in(&self, bytes: &[u8]) {
        let room: &[AtomicU64] =
            if bytes.len() <= SMALL_MAX { &self.slot.small_result } else { &self.slot.result };
        let len = bytes.len().min(size_of_val(room));
        let to: NonNull<u8> = NonNull::from(room).cast();
        // SAFETY: I2, I4, I5: it has room for `len` bytes, and is nobody else's; private bytes do not lie there.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), len) };
    }

    /// Runs a chunk: `call` takes the arguments of an item and gives its value, `put` writes that. Ends early where it is
    /// asked to stop, where `call` or `put` fails, or with a value that carries something or does not fit: that, or the
    /// error, is then the outcome of its item, and no item behind it has run.
    ///
    /// If `call` panics, the items before are done; [`Frame::failed`] is to tell of this one.
    #[inline(always)]
    pub fn each<R>(
        &mut self,
        call: impl FnMut(&mut &[u8]) -> Result<R>,
        put: impl Fn(&R, &mut Out<'_>) -> Result<()>,
    ) {
        match self.run_items(call, put) {
            Ok(None) => self.result = Head { end: End::None, ..Head::plain(0) },
            Ok(Some((body, parcels))) => {
                if let Err(why) = self.seal(End::Value, &body, parcels) {
                    self.failed(End::Unsendable, |out| why.put(out));
                }
            }
            Err((end, why)) => self.failed(end, |out| why.put(out)),
        }
    }

    #[inline(always)]
    fn run_items<R>(
        &mut self,
        call: impl FnMut(&mut &[u8]) -> Result<R>,
        put: impl Fn(&R, &mut Out<'_>) -> Result<()>,
    ) -> std::result::Result<Option<Extra>, (End, Error)> {
        let refused = |why| (End::Undecodable, why);
        let head = self.head().map_err(refused)?;
        self.crew.check_fork().map_err(refused)?;
        self.slot.progress.store(0, Release); // E1
        let (place, room) = self.tray().unwrap_or((NonNull::dangling(), 0));
        let arena = self.crew.arena();
        let run = |bytes: &[u8]| {
            // SAFETY: I2, I3, I4: the task is ours, and so are the bytes, as far as `trays_place` has checked.
            let out = unsafe { Out::place(place, room.min(CHUNK_MAX)) };
            carry::collecting(arena, || self.run_loop(bytes, out, call, put))
        };
        self.with_args(head, run).map_err(refused)?
    }

    #[inline(always)]
    fn run_loop<R>(
        &self,
        bytes: &[u8],
        mut out: Out<'_>,
        mut call: impl FnMut(&mut &[u8]) -> Result<R>,
        put: impl Fn(&R, &mut Out<'_>) -> Result<()>,
    ) -> std::result::Result<Option<Extra>, (End, Error)> {
        let mut input = bytes;
        for items in 1..=self.items() {
            if self.slot.lease.load(Relaxed) & CEASE != 0 {
                return Ok(None);
            }
            if self.is_timed {
                self.slot.began.store(deadline::now_ns(), Relaxed);
            }
            out.mark();
            let value = call(&mut input).map_err(|why| (End::Undecodable, why))?;
            put(&value, &mut out).map_err(|why| (End::Unsendable, why))?;
            if out.is_spilled() || out.carries() {
                return Ok(Some((out.cut(), carry::collected())));
            }
            // Before it counts as done: a drop may panic.
            drop(value);
            let args = (bytes.len() - input.len()) as u32;
            let progress = Progress { items, args, result: out.len() as u32 };
            self.slot.progress.store(progress.bits(), Release); // E1
        }
        Ok(None)
    }

    /// The task is over: its outcome becomes the parent's, and whoever wants to know is told.
    ///
    /// A worker that is killed before leaves the task to be run again; after, the outcome stands.
    pub fn commit(mut self) -> After {
        if self.crew.check_fork().is_err() {
            // All of it is the parent's.
            mem::forget(self);
            return After::Leave;
        }
        let result = Head { is_chunk: self.is_chunk(), ..self.result };
        self.slot.result_head.store(result.bits(), Relaxed);
        self.count();
        let bits = dispatch::commit(&self.slot.lease, self.generation);
        if bits != Bits::NONE {
            self.tell(bits);
        }
        if let Some(parcels) = self.outgoing.take() {
            parcels.sent();
        }
        self.incoming = None;
        self.seat.slot.store(0, Relaxed);
        if bits.has(Bits::KILL) {
            After::Doomed
        } else if self.seat.order.load(Relaxed) != order::WORK {
            After::Leave
        } else {
            After::Go
        }
    }

    /// Before the commit, so that whoever sees that finds it counted. Only this worker writes there.
    #[inline(always)]
    fn count(&self) {
        let add = |word: &AtomicU64, more: u64| word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
        if self.began != 0 {
            let took = deadline::now_ns().saturating_sub(self.began);
            self.slot.took.store(took, Relaxed);
            add(&self.seat.busy_ns, took);
        }
        let items = if self.is_chunk() {
            u64::from(Progress::from_bits(self.slot.progress.load(Relaxed)).items)
        } else {
            1
        };
        add(&self.seat.items, items);
        if !matches!(self.result.end, End::Value | End::None) {
            add(&self.seat.failed, 1);
        }
        add(&self.seat.done, 1);
    }

    #[cold]
    fn tell(&self, bits: Bits) {
        let front = self.crew.front();
        if bits.has(Bits::WAITED) {
            futex::wake(&self.slot.lease, u32::MAX);
        }
        if bits.has(Bits::HALL) {
            gate::post_all_when(&front.hall, || {
                let mark = front.hall.mark.load(Relaxed);
                // Of two that commit at a time, one sees both (the fence is before this).
                mark == 0 || self.crew.done() >= mark
            });
        }
        if bits.has(Bits::DESK) {
            gate::post_all(&front.desk);
        }
    }
}

/// A value that does not lie with the others: its bytes, and what it carries.
type Extra = (Vec<u8>, Option<Outgoing>);

/// The bit of a lease.
const CEASE: u32 = Lease::of(St::Free, Gen::of(0), Bits::CEASE).bits();
