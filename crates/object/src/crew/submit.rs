//! Submitting: arguments are packed without the mutex of the pool, and put into a slot with it.
//!
//! ```text
//! pack: encode, to a buffer for the slot or to a tray · (too long: a larger tray, or an object of its own)
//! submit: the words of the slot · carriers of the parcels · READY: from here on they are on their way
//! ```
//! | the parent dies | what is left |
//! |---|---|
//! | before READY | parcels of its own, not in flight: recovery frees them |
//! | after | a task that nobody will ask for: the last process out frees the crew |
#![allow(unsafe_code, reason = "writes arguments where they are to lie")]

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::pool::{Head, INLINE_MAX, SMALL_MAX, SlotWords};
use ginnel_queue::dispatch;
use zerocopy::IntoBytes;

use super::{Bits, Crew, End, Gen, Place, St, Tray};
use crate::carry::{self, Outgoing, PARCEL};
use crate::envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::message::out::Out;

/// What a slot is filled with besides its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Which task of the crew this is: no two that are out at a time have the same.
    pub serial: u32,
    /// What is called.
    pub routine: u64,
    /// How often it was given to a worker that died.
    pub attempt: u32,
    /// How many items a chunk has; 1 for a single task.
    pub items: u32,
    /// The arguments are several items, one behind the other, and carry nothing.
    pub is_chunk: bool,
    /// The worker is to say how long the task takes.
    pub is_timed: bool,
    /// Room for a result that does not fit the slot. The caller keeps it until the slot is FREE.
    pub result: Option<&'a Tray>,
    /// Who is to be told when it is over.
    pub bits: Bits,
}

/// Arguments, ready for a slot. Dropped, it takes back what they carry.
pub struct Packed {
    body: Body,
    /// Bytes in the place, with the table of parcels; of a heap, without.
    len: usize,
    /// In a box, as what is rare: every thread moves this a few times.
    parcels: Option<Box<Outgoing>>,
    /// A tray that was not used.
    spare: Option<Tray>,
}

/// Where they are.
enum Body {
    Small([u64; SMALL_MAX / 8]),
    Slot(Vec<u8>),
    Tray(Tray),
    /// The parcel of a letter.
    Letter([u8; PARCEL]),
    /// Nowhere yet: they fit neither the slot nor the tray.
    Heap(Vec<u8>),
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed").field("len", &self.len).field("wants", &self.wants()).finish_non_exhaustive()
    }
}

impl Packed {
    /// Bytes of the arguments, with what says what they carry.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Are they none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Do they carry handles or blocks?
    #[must_use]
    pub fn carries(&self) -> bool {
        self.parcels.is_some()
    }

    /// How large a tray they want before they can be submitted. `None`: they are ready.
    #[must_use]
    pub fn wants(&self) -> Option<usize> {
        match &self.body {
            Body::Heap(bytes) => Some(bytes.len() + self.table_len()),
            Body::Small(_) | Body::Slot(_) | Body::Tray(_) | Body::Letter(_) => None,
        }
    }

    /// Puts them into a tray. Gives it back if they do not want one, or a larger one.
    pub fn put_into(&mut self, tray: Tray) -> Option<Tray> {
        let Body::Heap(bytes) = &self.body else { return Some(tray) };
        let table = self.parcels.as_ref().map(|parcels| envelope::table_of(parcels)).unwrap_or_default();
        if bytes.len() + table.len() > tray.room() {
            return Some(tray);
        }
        // SAFETY: crew I3: the tray is the caller's, and lent to no slot.
        let mut out = unsafe { Out::place(tray.at(), tray.room()) };
        out.extend(bytes);
        out.extend(&table);
        self.len = out.len();
        self.body = Body::Tray(tray);
        None
    }

    /// Puts them into an object of their own, if they are nowhere yet.
    ///
    /// # Errors
    /// `Full` when the manager has no room for it; they are as they were.
    pub fn enclose(&mut self, crew: &Crew) -> Result<()> {
        let Body::Heap(bytes) = &self.body else { return Ok(()) };
        let parcels = self.parcels.get_or_insert_with(|| Box::new(Outgoing::none(crew.arena())));
        let (letter, _) = envelope::enclose(crew.arena(), bytes, parcels)?;
        self.len = PARCEL;
        self.body = Body::Letter(letter);
        Ok(())
    }

    /// The tray that was not used, once.
    pub fn spare(&mut self) -> Option<Tray> {
        self.spare.take()
    }

    fn table_len(&self) -> usize {
        self.parcels.as_ref().map_or(0, |parcels| parcels.parcels().len() * PARCEL)
    }

    /// Parcels beside the letter, if there is one.
    fn parcel_count(&self) -> u16 {
        let count = self.parcels.as_ref().map_or(0, |parcels| parcels.parcels().len());
        (count - usize::from(matches!(self.body, Body::Letter(_)))) as u16
    }

    /// These bytes, which lie in the tray if there is one.
    #[inline]
    fn placed(bytes: &[u8], tray: Option<Tray>, parcels: Option<Outgoing>) -> Self {
        let len = bytes.len();
        let (body, spare) = match tray {
            Some(tray) if len > INLINE_MAX => (Body::Tray(tray), None),
            spare if len <= SMALL_MAX => {
                let mut words = [0; SMALL_MAX / 8];
                words.as_mut_bytes()[..len].copy_from_slice(bytes);
                (Body::Small(words), spare)
            }
            spare => (Body::Slot(bytes.to_vec()), spare),
        };
        Self { body, len, parcels: parcels.map(Box::new), spare }
    }
}

impl Crew {
    /// Makes arguments of what `write` appends: to the slot's 192 bytes, or to `tray`. Handles that it serializes are carried.
    ///
    /// # Errors
    /// Those of `write`, `Forked`. The tray is given back.
    #[inline]
    pub fn pack(&self, tray: Option<Tray>, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<Packed> {
        self.check_fork()?;
        carry::collecting(self.arena(), || {
            let mut buffer = MaybeUninit::<[u8; INLINE_MAX]>::uninit();
            let (place, room) = match &tray {
                None => (NonNull::from(&mut buffer).cast(), INLINE_MAX),
                Some(tray) => (tray.at(), tray.room()),
            };
            // SAFETY: the buffer is ours and lives long enough; crew I3: so is the tray, which is lent to no slot.
            let mut out = unsafe { Out::place(place, room) };
            write(&mut out)?;
            let parcels = carry::collected();
            if let Some(parcels) = &parcels
                && !out.is_spilled()
                && out.room() >= parcels.parcels().len() * PARCEL
            {
                out.extend(&envelope::table_of(parcels));
            } else if out.is_spilled() || parcels.is_some() {
                let behind = out.spilled().unwrap_or_default();
                // SAFETY: crew I3: the place is ours; the `Out` has written so many bytes there, and is not used any more.
                let before = unsafe { NonNull::slice_from_raw_parts(place, out.len()).as_ref() };
                let bytes = [before, &behind].concat();
                let parcels = parcels.map(Box::new);
                return Ok(Packed { len: bytes.len(), body: Body::Heap(bytes), parcels, spare: tray });
            }
            // SAFETY: crew I3: the place is ours; the `Out` has written so many bytes there, and is not used any more.
            let bytes = unsafe { NonNull::slice_from_raw_parts(place, out.len()).as_ref() };
            Ok(Packed::placed(bytes, tray, parcels))
        })
    }

    /// Fills a FREE slot and makes it READY. Gives the tray of the arguments, which the caller keeps until the slot is FREE
    /// again. A hint is owed: [`Crew::hint`].
    ///
    /// # Errors
    /// `Invalid` for a slot that is not FREE, for arguments that still want a tray, or for a chunk that carries something;
    /// they are given up.
    #[inline]
    pub fn submit(&self, slot: u32, order: &Order<'_>, packed: Packed) -> Result<Option<Tray>> {
        let free = self
            .slot(slot)
            .filter(|words| dispatch::look(&words.lease).is_some_and(|lease| lease.st == St::Free));
        let is_whole = packed.wants().is_none() && !(order.is_chunk && packed.carries());
        let Some(words) = free.filter(|_| is_whole) else { return Err(self.refused(slot)) };
        let mut head = Head {
            is_chunk: order.is_chunk,
            is_timed: order.is_timed,
            parcels: packed.parcel_count(),
            end: End::Value,
            ..Head::plain(packed.len as u32)
        };
        words.serial.store(order.serial, Relaxed);
        words.routine.store(order.routine, Relaxed);
        let tray = match packed.body {
            Body::Small(small) => {
                words.small_args.iter().zip(small).for_each(|(word, bytes)| word.store(bytes, Relaxed));
                None
            }
            Body::Slot(bytes) => {
                write_args(&words.args, &bytes);
                None
            }
            Body::Letter(parcel) => {
                head.is_long = true;
                write_args(&words.small_args, &parcel);
                None
            }
            Body::Tray(tray) => {
                head.is_in_tray = true;
                set(&words.args_tray, tray.kib());
                Some(tray)
            }
            Body::Heap(_) => return Err(self.refused(slot)),
        };
        words.args_head.store(head.bits(), Relaxed);
        set(&words.attempt, order.attempt);
        set(&words.items, order.items);
        set(&words.result_tray, order.result.map_or(0, Tray::kib));
        set(&words.result_room, order.result.map_or(0, |tray| tray.room() as u32));
        clear(words);
        if let Some(parcels) = &packed.parcels {
            parcels.set_carrier(self.carrier(slot, order.serial, Place::Args));
        }
        dispatch::offer(&words.lease, Gen::of(order.serial), order.bits);
        if let Some(parcels) = packed.parcels {
            parcels.sent();
        }
        Ok(tray)
    }

    #[cold]
    fn refused(&self, slot: u32) -> Error {
        self.handle.error(ErrorKind::Invalid, format!("slot {slot} cannot take this task"))
    }
}

fn write_args(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(padded), Relaxed);
    }
}

/// Stores what is not there already: the second line of a slot stays in the parent's cache, and is not asked back from a
/// worker, as long as every task says the same.
#[inline(always)]
pub(super) fn set(word: &AtomicU32, value: u32) {
    if word.load(Relaxed) != value {
        word.store(value, Relaxed);
    }
}

/// Nothing of the task was done, begun or said yet.
#[inline(always)]
pub(super) fn clear(words: &SlotWords) {
    set(&words.part, 0);
    for word in [&words.progress, &words.began, &words.took] {
        if word.load(Relaxed) != 0 {
            word.store(0, Relaxed);
        }
    }
}
