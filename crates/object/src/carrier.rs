//! Which messages are on their way.
//!
//! A handle or a block inside a message belongs to its sender until the receiver makes it his; whose death frees it
//! depends on whether the message is committed and not acknowledged. The word beside it, its carrier, names the
//! message, and the queue or the process record answers.

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Carrier, st};
use ginnel_segment::Segment;

use crate::life;
use crate::process_record;
use crate::sweep::tag;
use crate::words;

/// Is the message that this carrier names committed and not yet acknowledged? For recovery, after the queues were
/// swept.
pub(crate) fn is_in_flight(segment: &Segment, carrier: Carrier) -> bool {
    let Some(entry) = segment.entry(u32::from(carrier.entry)) else { return false };
    let state = life::state(entry);
    // While a queue is taken apart its messages are still on their way: to its freer, who receives what they carry.
    if !matches!(state.st, st::LIVE | st::FREEING) {
        return false;
    }
    match entry.tag.load(Relaxed) {
        tag::QUEUE | tag::CHANNEL => {
            words::ring_of(segment, entry).is_some_and(|ring| ring.in_flight(carrier.position))
        }
        tag::PROCESS => process_record::is_in_flight(segment, entry, state.generation, carrier.position),
        _ => false,
    }
}
