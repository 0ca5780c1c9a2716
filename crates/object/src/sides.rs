//! Channels end when one of their sides is empty.
//!
//! Who holds a sending or a receiving end is written in the entry of the channel, by participant (`life`, I7). Whoever
//! leaves a side, and whoever recovers one that left by dying, looks if anybody is left there, and closes the queue
//! towards the other side if not.

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Entry, Side};
use ginnel_layout::ring::gate;
use ginnel_segment::Segment;

use crate::life;
use crate::sweep::tag;
use crate::words;

/// Closes the channel in `entry` if nobody is left on `side`. The caller keeps the object alive.
pub(crate) fn close_if_empty(segment: &Segment, index: u32, entry: &Entry, side: Side) {
    let tag = entry.tag.load(Relaxed);
    if !matches!(tag, tag::CHANNEL | tag::BROADCAST) || !life::side_is_empty(segment, index, entry, side) {
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
