//! The messages of a queue that nobody holds any more.

use ginnel_layout::entry::Entry;
use ginnel_segment::Segment;

use super::core::split;
use crate::carry;
use crate::words;

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
        let kind = taken.kind();
        let table = split(&bytes, kind).map_or(&[][..], |(_, table)| table);
        carry::discard(segment, table, || taken.release());
    }
}
