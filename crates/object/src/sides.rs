//! Channels end when one of their sides is empty.
//!
//! Who holds a sending or a receiving end is written in the entry of the channel, by participant (`life`, I7). Whoever
//! leaves a side, and whoever recovers one that left by dying, looks if anybody is left there, and closes the queue
//! towards the other side if not.

use ginnel_layout::Liveness;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Entry, Side};
use ginnel_layout::ring::gate;
use ginnel_segment::Segment;

use crate::arena::ObjectRef;
use crate::life;
use crate::sweep::tag;
use crate::words;

/// Is it one that closes when a side is empty?
pub(crate) fn has_sides(object: &ObjectRef) -> bool {
    let entry = object.arena().segment().entry(object.index());
    entry.is_some_and(|entry| entry.tag.load(Relaxed) == tag::CHANNEL)
}

/// Is the object in `entry` one that closes when a side of it is empty?
pub(crate) fn may_have(entry: &Entry) -> bool {
    matches!(entry.tag.load(Relaxed), tag::CHANNEL | tag::BROADCAST)
}

/// Closes the channel in `entry` if nobody is left on `side`. The caller keeps the object alive.
pub(crate) fn close_if_empty(segment: &Segment, index: u32, entry: &Entry, side: Side) {
    let tag = entry.tag.load(Relaxed);
    if !may_have(entry) || !life::side_is_empty(segment, index, entry, side) {
        return;
    }
    if tag == tag::BROADCAST {
        // Receivers are on no side: without them a broadcast channel stays open.
        if let (Side::Sender, Some(words)) = (side, words::broadcast_of(segment, entry)) {
            words.close();
        }
        return;
    }
    let bit = match side {
        Side::Neither => return,
        Side::Sender => gate::NO_INPUT,
        Side::Receiver => gate::NO_RECEIVER,
    };
    if let Some(ring) = words::ring_of(segment, entry) {
        ring.close(bit);
    }
}

/// Asks whether those on that side of a channel live. One who died with the last end of it owns no word in the queue,
/// so whoever waits for him has to ask for him. The caller keeps the object alive.
pub(crate) fn probe(segment: &Segment, index: u32, side: Side) {
    let Some(entry) = segment.entry(index).filter(|entry| entry.tag.load(Relaxed) == tag::CHANNEL) else {
        return;
    };
    for id in life::on_side(segment, index, entry, side).into_iter().filter(|id| *id != segment.me()) {
        // True or false, the next look at the queue tells what came of it.
        let _ = segment.is_dead(id);
    }
}
