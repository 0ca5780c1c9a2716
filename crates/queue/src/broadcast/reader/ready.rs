//! A reader as one of several things to wait for.
//!
//! Edges
//! - E4 (pairs with broadcast.rs E4) closed seen, fence (SeqCst), then the slot: a claim from before is seen.
//! - E5 (pairs with broadcast.rs E5) flag, fence of the sleeper (SeqCst) <-> fence of the waker; `seq` is read first (Acquire).

use core::fmt;

use ginnel_layout::Liveness;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::ring::{SlotWord, distance};
use ginnel_layout::wait::Bells;
use ginnel_sync::park::{Arm, Mode};
use ginnel_sync::select::Port;

use super::{Place, Reader};

/// A reader, to be waited for among other things. Borrowed from the reader, made for one wait.
pub struct ReaderPort<'a> {
    reader: &'a Reader,
    liveness: &'a dyn Liveness,
}

impl fmt::Debug for ReaderPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderPort").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl Reader {
    /// What this reader waits for: the next message, or the end of them.
    #[must_use]
    pub fn port<'a>(&'a self, liveness: &'a dyn Liveness) -> ReaderPort<'a> {
        ReaderPort { reader: self, liveness }
    }

    /// Who wants a byte when a message comes. `None`: this reader stores nothing.
    #[must_use]
    pub fn bells(&self) -> Option<&Bells> {
        self.me.map(|_| &self.place.channel.control().news.bells)
    }
}

impl Place {
    fn word(&self) -> SlotWord {
        SlotWord(self.channel.look(self.position))
    }

    /// Nobody has claimed the position yet, or its writer is at work.
    fn is_nothing_there(&self) -> bool {
        let capacity = self.channel.shape.capacity as i64;
        let word = self.word();
        match (distance(self.position, word.position()), word.st()) {
            _ if self.poisoned => false,
            (0, SlotWord::WRITING | SlotWord::FREE) => true,
            (by, SlotWord::FULL | SlotWord::WRITING) => by == -capacity,
            _ => false,
        }
    }
}

impl Port for ReaderPort<'_> {
    fn word(&self) -> &AtomicU32 {
        &self.reader.place.channel.control().news.seq
    }

    fn is_ready(&self) -> bool {
        let place = &self.reader.place;
        if !place.is_nothing_there() {
            return true;
        }
        if !place.channel.is_closed() {
            return false;
        }
        // A writer that did not see it closed claimed before it was, and this look sees the claim.
        fence(SeqCst); // E4
        place.word().st() != SlotWord::WRITING || distance(place.position, place.word().position()) != 0
    }

    fn arm(&self) -> Arm {
        let news = &self.reader.place.channel.control().news;
        if self.reader.me.is_none() || self.reader.place.channel.shape.mode == Mode::Spin {
            // Nobody would see it.
            return Arm::Nap(news.seq.load(Relaxed));
        }
        let seq = news.seq.load(Acquire); // E5
        news.flag.store(1, Relaxed);
        fence(SeqCst); // E5
        Arm::Sleep(seq)
    }

    /// The flag may be another's, and a waker wakes all.
    fn pass(&self, _: bool) {}

    fn probe(&self) {
        let word = self.reader.place.word();
        if let (SlotWord::WRITING, Some(owner)) = (word.st(), word.owner()) {
            // True or false, the next look at the slot tells what came of it.
            let _ = Some(owner) != self.reader.me && self.liveness.is_dead(owner);
        }
    }
}
