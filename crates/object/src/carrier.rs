//! Which messages are on their way.
//!
//! A handle or a block inside a message belongs to its sender until the receiver makes it his; whose death frees it
//! depends on whether the message is committed and not acknowledged. The word beside it, its carrier, names the
//! message, and the queue answers.

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Carrier, st};
use ginnel_segment::Segment;

use crate::life;
use crate::sweep::tag;
use crate::words;

/// Is the message that this carrier names committed and not yet acknowledged? For recovery, after the queues were
/// swept.
pub(crate) fn is_in_flight(segment: &Segment, carrier: Carrier) -> bool {
    let Some(entry) = segment.entry(u32::from(carrier.entry)) else { return false };
    let is_queue = matches!(entry.tag.load(Relaxed), tag::QUEUE | tag::CHANNEL);
    // While a queue is taken apart its messages are still on their way: to its freer, who receives what they carry.
    if !matches!(life::state(entry).st, st::LIVE | st::FREEING) || !is_queue {
        return false;
    }
    words::ring_of(segment, entry).is_some_and(|ring| ring.in_flight(carrier.position))
}
