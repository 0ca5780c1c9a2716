//! Holds that outlive their handles, because words in the object name this participant still.
//!
//! A guard borrows its handle, so the last handle goes with a lock held only if the guard was forgotten
//! (`std::mem::forget`). Without the holder bit no recovery would touch that lock again (`life`, I4): the next locker would
//! wait for somebody who is dead, and call it corruption. So the bit stays, and the object with it, until this process has
//! no such word any more: at its death, when others recover it, at the end of the attachment, when it does that itself,
//! or when another handle was opened and dropped after a release.
//!
//! | object | what names this participant | |
//! |---|---|---|
//! | lock, recursive lock, mutex | the word, as long as a guard is there | looked for here |
//! | read-write lock, array | the word, or the cell of its readers | looked for here |
//! | permit pool | the word of each permit | looked for here |
//! | condition variable, semaphore, event, barrier, once, value | at most while a call runs, which borrows the handle | not needed |
//! | a place in a queue (`Slot`) | its word in the ring | not looked for: it takes a walk over the ring |
//! | leases, blocks, ends of lanes and pipes, senders, subscribers, trays | they have a hold of their own | forgetting them forgets that, too |

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_segment::Segment;

use crate::life;
use crate::sweep::tag;
use crate::{lock, permits, rwlock};

/// Does the hold of `me` on this object have to outlive its last handle? That handle keeps the object meanwhile.
pub(super) fn is_needed(segment: &Segment, entry: &Entry, me: ParticipantId) -> bool {
    match entry.tag.load(Relaxed) {
        tag::LOCK | tag::RLOCK | tag::MUTEX => lock::names(segment, entry, me),
        tag::RWLOCK | tag::ARRAY => rwlock::names(segment, entry, me),
        tag::PERMITS => permits::names(segment, entry, me),
        _ => false,
    }
}

/// Ends such a hold at the end of the attachment, as if `me` had died with it. Nobody else recovers `me`, who lives.
pub(super) fn end(segment: &Segment, index: u32, me: ParticipantId) {
    let Some(entry) = segment.entry(index) else { return };
    life::recover(segment, index, entry, me, |entry| match entry.tag.load(Relaxed) {
        tag::LOCK | tag::RLOCK | tag::MUTEX => lock::recover(segment, entry, me),
        tag::RWLOCK | tag::ARRAY => rwlock::recover(segment, entry, me),
        tag::PERMITS => permits::recover(segment, entry, me),
        _ => {}
    });
}
