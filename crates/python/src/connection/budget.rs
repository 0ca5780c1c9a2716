//! How much a sender may have unread: a bound in bytes, beside the ring's bound in messages.
//!
//! Long messages lie in the arena, not in the ring, so a thousand of them might take all memory before a sender waits.
//! Each end counts what it has sent itself and what of that the other side may not have read yet; with several processes
//! at one end each has a budget of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Messages from this size on are counted.
pub(super) const COUNTED: usize = 64 << 10;

/// A message above this size is on its way until it is received, and so is the call that sends it: no pipe of the system
/// takes so much at once, and programs know that.
pub(super) const AWAITED: usize = 16 << 20;

/// Bytes that may be unread before a further long message waits. One may always.
const UNREAD_MAX: usize = 32 << 20;

/// Of one end in one process.
#[derive(Default)]
pub(super) struct Budget {
    /// How many had been sent on the direction after each long one, and its length.
    unread: Mutex<VecDeque<(u64, usize)>>,
}

impl Budget {
    /// Is there room for `len` bytes more, when `received` messages have been taken?
    pub(super) fn has_room(&self, len: usize, received: u64) -> bool {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        while unread.front().is_some_and(|(sent, _)| *sent <= received) {
            unread.pop_front();
        }
        let bytes: usize = unread.iter().map(|(_, len)| len).sum();
        unread.is_empty() || bytes.saturating_add(len) <= UNREAD_MAX
    }

    /// One of `len` bytes was sent, `sent` in all.
    pub(super) fn add(&self, len: usize, sent: u64) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).push_back((sent, len));
    }
}
