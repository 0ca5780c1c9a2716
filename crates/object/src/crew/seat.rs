//! The rows of the table of workers, as the supervisor sees them.
//!
//! Words, writers and what a crash leaves: `ginnel_layout::pool`. A worker writes its row in `worker`.

use std::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::pool::{SeatWord, SeatWords, order};
use ginnel_sync::futex;

/// A worker's row, as both sides see it.
#[derive(Clone, Copy)]
pub struct Seat<'a> {
    words: &'a SeatWords,
}

impl fmt::Debug for Seat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("word", &self.word()).field("slot", &self.slot()).finish_non_exhaustive()
    }
}

impl<'a> Seat<'a> {
    pub(super) fn of(words: &'a SeatWords) -> Self {
        Self { words }
    }

    /// Who sits there, and whether he works.
    #[must_use]
    pub fn word(&self) -> SeatWord {
        SeatWord::from_bits(self.words.word.load(Acquire)) // E2
    }

    /// Parent: a worker is being started for it. The seat is EMPTY, or was GONE and its worker recovered (I5). What it
    /// has counted stays; orders to the last one are gone.
    pub fn set_coming(&self) {
        self.words.order.store(order::WORK, Relaxed);
        self.words.slot.store(0, Relaxed);
        self.words.word.store(SeatWord::COMING.bits(), Release); // E2
    }

    /// Parent: its worker has ended, or never came.
    pub fn set_empty(&self) {
        self.words.slot.store(0, Relaxed);
        self.words.word.store(SeatWord::EMPTY.bits(), Release); // E2
    }

    /// Parent: takes no further task, and ends. [`Crew::wake_all`] is owed, unless it is TIRED: then it sleeps here.
    pub fn order_leave(&self) {
        self.words.order.store(order::LEAVE, Release); // E2
        futex::wake(&self.words.order, u32::MAX);
    }

    /// The slot it works on. A hint: it may be over by now.
    #[must_use]
    pub fn slot(&self) -> Option<u32> {
        self.words.slot.load(Relaxed).checked_sub(1)
    }

    /// Tasks that were committed from there.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.words.done.load(Relaxed)
    }

    /// Items of them.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.words.items.load(Relaxed)
    }

    /// Those of the tasks that ended with anything else than a value.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.words.failed.load(Relaxed)
    }

    /// For how long tasks ran there, ns.
    #[must_use]
    pub fn busy_ns(&self) -> u64 {
        self.words.busy_ns.load(Relaxed)
    }
}
