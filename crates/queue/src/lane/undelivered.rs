//! What lies in a lane between its ends, looked at by somebody who is neither: recovery, and whoever takes the lane apart.
//!
//! Invariants I1-I3 and edges E1, E2 are those of [`super`]. The words of the ring are read as they lie, once, without
//! a mirror; a record that goes over the end is put together.

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::lane::{Cursor, LaneControl};
use ginnel_layout::record::{GRANULE, RecordHeader};

use super::{Lane, PLACE_SHIFT, Shape, record_size};

impl Lane {
    /// Is the record at `place` (as [`super::Producer::place`] gave it) committed and not acknowledged yet?
    ///
    /// Exact for a place at which its producer stood before the commit and at which no later producer has sent: the
    /// header there was zero before the commit (I1), and the head passes it with the acknowledgement.
    #[must_use]
    pub fn in_flight(control: &LaneControl, ring: &[AtomicU64], place: u64) -> bool {
        let Some(shape) = shape_of(control, ring) else { return false };
        let head = Cursor { index: 0, ..Cursor::from_bits(control.head.load(Acquire)) }; // E2
        let place = Cursor::from_bits(place << PLACE_SHIFT);
        head.distance(place, shape.size).is_some_and(|ahead| ahead < shape.size)
            && word_at(ring, place.offset).load(Acquire) != 0 // E1
    }

    /// Gives what was committed and not acknowledged to `each`, from the head on: kind, payload, and the
    /// acknowledgement, which `each` calls when it is done with the record. Stops at what no correct producer writes.
    ///
    /// The caller is alone with the lane: it has no ends any more, and nobody else takes it apart.
    pub fn drain(control: &LaneControl, ring: &[AtomicU64], mut each: impl FnMut(u8, &[u8], &dyn Fn())) {
        let Some(shape) = shape_of(control, ring) else { return };
        let unit = shape.room();
        let mut head = Cursor { index: 0, ..Cursor::from_bits(control.head.load(Acquire)) }; // E2
        let (mut walked, mut payload) = (0, Vec::new());
        while head.offset < shape.size && head.offset.is_multiple_of(unit) {
            let header = RecordHeader::from_bits(word_at(ring, head.offset).load(Acquire)); // E1
            let Some(header) = header else { return };
            let record = record_size(unit, u64::from(header.len));
            walked += record;
            if walked + GRANULE > shape.size {
                return;
            }
            payload.clear();
            let from = head.offset + unit;
            let words = (0..u64::from(header.len).div_ceil(GRANULE)).map(|i| from + i * GRANULE);
            payload.extend(words.flat_map(|at| word_at(ring, at).load(Relaxed).to_ne_bytes()));
            payload.truncate(header.len as usize);
            head = head.advance(record, shape.size);
            each(header.kind, &payload, &|| control.head.store(head.bits(), Release)); // E2
        }
    }
}

/// The geometry of the lane, if the ring is one of its size.
fn shape_of(control: &LaneControl, ring: &[AtomicU64]) -> Option<Shape> {
    Shape::read(&control.geometry).ok().filter(|shape| shape.size == ring.len() as u64 * GRANULE)
}

/// The word at an offset of less than two rings.
fn word_at(ring: &[AtomicU64], offset: u64) -> &AtomicU64 {
    &ring[(offset / GRANULE) as usize % ring.len()]
}
