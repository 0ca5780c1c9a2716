//! What becomes of the messages of a queue that nobody will read.

use ginnel_layout::ParticipantId;
use ginnel_layout::entry::Entry;
use ginnel_queue::ring::Lost;
use ginnel_segment::Segment;

use crate::{envelope, words};

/// Frees what the messages of a queue carry, before its pages go. The caller owns the entry's FREEING. Doing it again
/// after a death in the middle goes on where it ended: a message that was acknowledged is not found again.
pub(crate) fn discard_all(segment: &Segment, entry: &Entry) {
    let Some(ring) = words::ring_of(segment, entry) else { return };
    let shape = *ring.shape();
    for _ in 0..shape.capacity + shape.cells {
        let Ok(taken) = ring.try_take(segment.me()) else { return };
        if taken.kind() == 0 {
            taken.release();
            continue;
        }
        let mut bytes = vec![0; taken.len() as usize];
        taken.read(0, &mut bytes);
        envelope::discard(segment, &bytes, taken.kind(), || taken.release());
    }
}

/// Receives, in the name of the dead, what a message carries that goes with its dead consumer. Until it is gone the
/// tickets are the dead one's and in flight; after that they are not, and the sweep of tickets frees them.
pub(crate) fn lose(segment: &Segment, lost: Lost<'_>, dead: ParticipantId) {
    if lost.kind() == 0 {
        return;
    }
    let mut bytes = vec![0; lost.len() as usize];
    lost.read(0, &mut bytes);
    envelope::lose(segment, &bytes, lost.kind(), dead);
}
