//! What can be seen of a lock or a signal from outside.
//!
//! Nothing here decides anything: plain words are read one after the other, so what is said may be a moment old, and
//! two threads of one process that wait share one place among the waiting.

use std::time::Duration;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::lock::{CondvarWords, LockWords, OWNER_MASK};
use ginnel_layout::signal::{BarrierWords, EventWords, PermitWords, SemaphoreWords};
use ginnel_segment::Segment;
use ginnel_sync::{deadline, mutex};

use crate::arena::Arena;
use crate::error::Owner;
use crate::sweep::tag;
use crate::words::front_of;

/// Who holds a lock, who waits for it, and how it went so far. For people: it may be a moment old.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SyncInfo {
    /// Who holds it, if it has one holder.
    pub owner: Option<Owner>,
    /// Which processes sleep for it.
    pub waiting: Vec<Owner>,
    /// For how long at least that one has held it, if somebody waits.
    pub held_at_least: Option<Duration>,
    /// How many waits for it slept.
    pub contended: u64,
    /// How long they took together.
    pub waited: Duration,
}

/// What can be seen of the object in an entry. `None`: there is nothing of that kind to see.
pub(crate) fn of(segment: &Segment, entry: &Entry, arena: &Arena) -> Option<SyncInfo> {
    let sleepers = match entry.tag.load(Relaxed) {
        tag::MUTEX | tag::LOCK | tag::RLOCK | tag::RWLOCK | tag::ONCE | tag::ARRAY | tag::VALUE => {
            return front_of::<LockWords>(segment, entry).map(|words| of_lock(words, arena));
        }
        tag::CONDVAR => &front_of::<CondvarWords>(segment, entry)?.control.sleepers,
        tag::SEMAPHORE => &front_of::<SemaphoreWords>(segment, entry)?.control.sleepers,
        tag::PERMITS => &front_of::<PermitWords>(segment, entry)?.control.sleepers,
        tag::EVENT => &front_of::<EventWords>(segment, entry)?.control.sleepers,
        tag::BARRIER => &front_of::<BarrierWords>(segment, entry)?.control.sleepers,
        _ => return None,
    };
    Some(of_sleepers(sleepers, arena))
}

/// What can be seen of a lock.
pub(crate) fn of_lock(words: &LockWords, arena: &Arena) -> SyncInfo {
    let seen = words.word.load(Relaxed) & OWNER_MASK;
    let watched = (seen != 0 && words.watched.load(Relaxed) == seen)
        .then(|| Duration::from_nanos(deadline::now_ns().saturating_sub(words.watched_at.load(Relaxed))));
    SyncInfo {
        owner: mutex::owner(&words.word).and_then(|holder| arena.describe(holder.participant())),
        held_at_least: watched,
        contended: words.contended.load(Relaxed),
        waited: Duration::from_nanos(words.waited_ns.load(Relaxed)),
        ..of_sleepers(&words.sleepers, arena)
    }
}

/// What can be seen of something that nobody holds.
pub(crate) fn of_sleepers(sleepers: &[AtomicU64; 4], arena: &Arena) -> SyncInfo {
    SyncInfo {
        owner: None,
        waiting: participants(sleepers).filter_map(|id| arena.describe(id)).collect(),
        held_at_least: None,
        contended: 0,
        waited: Duration::ZERO,
    }
}

/// Whose bits are set.
pub(crate) fn participants(words: &[AtomicU64; 4]) -> impl Iterator<Item = ParticipantId> {
    words.iter().enumerate().flat_map(|(index, word)| {
        let bits = word.load(Relaxed);
        (0..64)
            .filter(move |bit| bits >> bit & 1 == 1)
            .map(move |bit| ParticipantId::from_index((index * 64 + bit) as u16))
    })
}
