//! Eviction: which entries go where memory is short, in stores that asked for it.
//!
//! A hand goes round the table. An entry that was read since it came by keeps its place and loses the mark; one that was
//! not goes, by the same commit as a removal. Entries with parcels stay, because what is in flight has an owner to ask.
//! Marks are set by readers that got the lock without waiting, under the lock: a reader without it would write into a block
//! that may be another's by then. So a mark may be missing; nothing depends on it.
//!
//! Expired entries go first only as far as the hand meets them: the clock is the caller's (`Locked::expire`).
//!
//! Killed in here: as in a removal. Progress: at most two turns of the hand. Source: the clock algorithm.

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{Slot, class_of, class_size};

use crate::node;
use crate::pages::PAGE;
use crate::{Error, Locked, Pages};

/// The part of a shard's bytes (one in so many) that is freed before the spans are looked at again, where no block of the
/// wanted class turned up: entries are not in the order of the spans, so few of them make no span free.
const BATCH: u64 = 8;

impl<P: Pages> Locked<'_, P> {
    /// Drops entries for the sake of `bytes` bytes of this class, or of pages (None). True: something was given back, and
    /// another try may succeed, at the latest after a rebuild. False: nothing is left that may go.
    #[cold]
    #[inline(never)]
    pub(crate) fn evict_for(&self, class: Option<usize>, bytes: u64) -> bool {
        let shard = self.shard().counts.pages.load(Relaxed).saturating_mul(PAGE);
        self.evict(class, bytes.max(shard / BATCH)).unwrap_or(false)
    }

    fn evict(&self, class: Option<usize>, enough: u64) -> Result<bool, Error> {
        let Some(table) = self.table()? else { return Ok(false) };
        let hand = &self.shard().counts.hand;
        let (mut at, mut given) = (hand.load(Relaxed), 0_u64);
        let twice = table.round(at).chain(table.round(at));
        for slot in twice {
            at = at.wrapping_add(1);
            let word = slot.load(Relaxed);
            if Slot::from_bits(word).is_none() {
                continue;
            }
            let node = node::opened(self.memory(), word)?;
            if node.is_seen() {
                node.set_seen(false);
                continue;
            }
            let size = node.head().size();
            if !self.drop_entry(slot, node)? {
                continue;
            }
            given = given.saturating_add(class_of(size).map_or(size, class_size));
            if given >= enough || (class.is_some() && class_of(size) == class) {
                break;
            }
        }
        hand.store(at, Relaxed);
        Ok(given > 0)
    }
}
