//! Results: what the parent takes out of a slot whose task is over.
//!
//! Taking is done with the mutex of the pool held and is short: parcels are received, what lies in the slot is copied, and
//! the slot is FREE. What lies in a tray stays there, and the tray with who decodes it, without the mutex ([`crew`](super),
//! I2). A death of the parent in the middle takes the pool with it.
#![allow(unsafe_code, reason = "reads arguments and results where they lie")]

use std::fmt;
use std::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::pool::{Head, SMALL_MAX, SlotWords};
use ginnel_queue::dispatch;
use zerocopy::IntoBytes;

use super::{Crew, End, Gen, Progress, St, Tray, recover};
use crate::envelope::{LONG, Received};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;

/// What a task ended with, out of its slot. Dropped, it gives up what that carries.
pub struct Taken {
    end: End,
    progress: Progress,
    took_ns: u64,
    /// The result; of a chunk, what ended it early.
    bytes: Bytes,
    kind: u32,
    /// In a box, as what is rare: every thread moves this a few times.
    received: Option<Box<Received>>,
    /// The results of a chunk's items.
    items: Bytes,
}

/// Bytes that nobody writes any more.
enum Bytes {
    Small([u64; SMALL_MAX / 8], usize),
    Tray(Tray, usize),
    Heap(Vec<u8>),
}

impl Bytes {
    const NONE: Self = Self::Heap(Vec::new());

    fn get(&self) -> &[u8] {
        match self {
            Self::Small(words, len) => words.as_bytes().get(..*len).unwrap_or_default(),
            // SAFETY: crew I2: the task is over, and the tray is lent to no other.
            Self::Tray(tray, len) => unsafe { tray.bytes(*len) },
            Self::Heap(bytes) => bytes,
        }
    }

    fn leave_tray(&mut self) {
        if matches!(self, Self::Tray(..)) {
            *self = Self::Heap(self.get().to_vec());
        }
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("end", &self.end)
            .field("progress", &self.progress)
            .field("len", &self.bytes.get().len())
            .finish_non_exhaustive()
    }
}

impl Taken {
    fn plain(end: End, bytes: Bytes, words: &SlotWords) -> Self {
        let progress = Progress::from_bits(words.progress.load(Acquire)); // E1
        let took_ns = words.took.load(Relaxed);
        Self { end, progress, took_ns, bytes, kind: 0, received: None, items: Bytes::NONE }
    }

    /// How it ended. Of a chunk: why it ended early, or [`End::None`].
    #[must_use]
    pub fn end(&self) -> End {
        self.end
    }

    /// How much of a chunk is done.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// How long it took, ns. 0: nobody asked for it.
    #[must_use]
    pub fn took_ns(&self) -> u64 {
        self.took_ns
    }

    /// The results of a chunk's items, one behind the other: as many as its progress says.
    #[must_use]
    pub fn items(&self) -> &[u8] {
        self.items.get()
    }

    /// Does it carry handles or blocks?
    #[must_use]
    pub fn carries(&self) -> bool {
        self.received.is_some()
    }

    /// Bytes of the result, with what says what it carries: how large a tray would have held it.
    #[must_use]
    pub fn len(&self) -> usize {
        let letter = self.received.as_deref().and_then(Received::letter_len);
        letter.unwrap_or_else(|| self.bytes.get().len())
    }

    /// Is the result empty?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs `read` on the result; its handles can be decoded in there.
    ///
    /// # Errors
    /// Those of `read`; `Corrupted` where the result is not whole.
    #[inline]
    pub fn read<R>(self, read: impl FnOnce(&mut &[u8]) -> Result<R>) -> Result<R> {
        let mut bytes = self.bytes.get();
        match self.received {
            None => read(&mut bytes),
            Some(received) => received.decode(bytes, self.kind, |body| read(&mut body?)).0,
        }
    }

    /// The result as a value.
    ///
    /// # Errors
    /// `Decode`, `Corrupted`.
    #[inline]
    pub fn decode<R: Message>(self) -> Result<R> {
        self.read(R::take)
    }

    /// Copies what lies in trays to private memory, and gives the trays back.
    pub fn leave_trays(&mut self) {
        self.bytes.leave_tray();
        self.items.leave_tray();
    }
}

impl Crew {
    /// Takes the result of a DONE task and frees its slot. `tray` is the one that was lent for it. The tray of the arguments
    /// is the caller's again after this.
    ///
    /// # Errors
    /// `Invalid` when it is not DONE: then nothing happens, and the tray stays lent. `Corrupted` for a result that no correct
    /// worker writes: the slot is FREE all the same, and what it carries given up as far as it could be told.
    #[inline]
    pub fn take(&self, slot: u32, generation: Gen, tray: Option<Tray>) -> Result<Taken> {
        let Some(words) = self.slot_in(slot, generation, St::Done) else {
            return Err(self.not_over(slot, tray));
        };
        let mut tray = tray;
        let taken = self.take_from(words, &mut tray);
        dispatch::free(&words.lease, generation);
        // A tray that the task did not use goes back only now.
        drop(tray);
        taken
    }

    /// Takes the results of those items of a LOST chunk that are done. The lease stays as it is; the chunk is to be given
    /// up, for the tray with its results is gone.
    ///
    /// # Errors
    /// `Invalid` when it is not LOST: then nothing happens, and the tray stays lent. `Corrupted` for results that are not in
    /// the tray.
    pub fn salvage(&self, slot: u32, generation: Gen, tray: Option<Tray>) -> Result<Taken> {
        let Some(words) = self.slot_in(slot, generation, St::Lost) else {
            return Err(self.not_over(slot, tray));
        };
        let mut taken = Taken::plain(End::None, Bytes::NONE, words);
        taken.items = self.items_of(taken.progress, &mut { tray })?;
        Ok(taken)
    }

    /// The bytes of those items of a chunk whose worker has not finished them, the running one first. For a chunk that is LOST
    /// or over, until its slot is filled again.
    ///
    /// # Errors
    /// `Corrupted` where the words lie.
    pub fn remaining(&self, slot: u32) -> Result<Vec<u8>> {
        let corrupted = || self.handle.corrupted("the items of a chunk");
        let words = self.slot(slot).ok_or_else(corrupted)?;
        let head = Head::from_bits(words.args_head.load(Relaxed)).ok_or_else(corrupted)?;
        let done = Progress::from_bits(words.progress.load(Acquire)).args as usize; // E1
        let left = (head.len as usize).checked_sub(done).ok_or_else(corrupted)?;
        if !head.is_in_tray {
            let inline: &[AtomicU64] = if head.is_small() { &words.small_args } else { &words.args };
            return recover::copy_out(inline, done, left).ok_or_else(corrupted);
        }
        let place =
            self.trays_place(words.args_tray.load(Relaxed), head.len as usize).ok_or_else(corrupted)?;
        // SAFETY: crew I1: nobody writes them; inside the trays, as was just checked.
        let bytes = unsafe { NonNull::slice_from_raw_parts(place, head.len as usize).as_ref() };
        Ok(bytes[done..].to_vec())
    }

    #[inline]
    fn slot_in(&self, slot: u32, generation: Gen, st: St) -> Option<&SlotWords> {
        self.slot(slot).filter(|words| {
            dispatch::look(&words.lease).is_some_and(|lease| lease.st == st && lease.generation == generation)
        })
    }

    #[cold]
    fn not_over(&self, slot: u32, tray: Option<Tray>) -> Error {
        // Somebody may be writing to it. The region has lost it, which is better than giving it to two.
        std::mem::forget(tray);
        self.handle.error(ErrorKind::Invalid, format!("the task in slot {slot} has no result now"))
    }

    #[inline]
    fn take_from(&self, words: &SlotWords, tray: &mut Option<Tray>) -> Result<Taken> {
        let head = Head::from_bits(words.result_head.load(Relaxed));
        let head = head.ok_or_else(|| self.handle.corrupted("the head of a result"))?;
        let len = head.len as usize;
        let mut taken = Taken::plain(head.end, Bytes::NONE, words);
        if head.is_in_tray {
            let fits = |tray: &mut Tray| len <= tray.room();
            let tray = tray.take_if(fits).ok_or_else(|| self.handle.corrupted("a result in no tray"))?;
            taken.bytes = Bytes::Tray(tray, len);
        } else if head.is_small() {
            let words = words.small_result.each_ref().map(|word| word.load(Relaxed));
            taken.bytes = Bytes::Small(words, len.min(SMALL_MAX));
        } else {
            let bytes = recover::copy_out(&words.result, 0, len);
            taken.bytes = Bytes::Heap(bytes.ok_or_else(|| self.handle.corrupted("the length of a result"))?);
        }
        // What the parent said itself.
        if Head::from_bits(words.args_head.load(Relaxed)).is_some_and(|head| head.is_chunk) {
            taken.items = self.items_of(taken.progress, tray)?;
        }
        if head.is_long || head.parcels > 0 {
            taken.kind = u32::from(head.parcels) | if head.is_long { LONG } else { 0 };
            let received = Received::receive(self.arena(), taken.bytes.get(), taken.kind)?;
            taken.received = Some(Box::new(received));
        }
        Ok(taken)
    }

    /// The results of a chunk's items, all of which lie in its tray.
    fn items_of(&self, progress: Progress, tray: &mut Option<Tray>) -> Result<Bytes> {
        let len = progress.result as usize;
        if len == 0 {
            return Ok(Bytes::NONE);
        }
        let tray = tray.take_if(|tray| len <= tray.room());
        let tray = tray.ok_or_else(|| self.handle.corrupted("the results of a chunk"))?;
        Ok(Bytes::Tray(tray, len))
    }
}
