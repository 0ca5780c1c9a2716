//! What lies in a slot or a cell, and what becomes of it when nobody holds the queue any more.

use ginnel_layout::ParticipantId;
use ginnel_layout::entry::Entry;
use ginnel_queue::ring::Lost;
use ginnel_segment::Segment;

use crate::carry::{self, PARCEL, PARCELS_MAX};
use crate::error::{Error, ErrorKind, Result};
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
        match Message::parse(&bytes, taken.kind()) {
            Ok(Message::Short { table, .. }) => carry::discard(segment, table, None, || taken.release()),
            Ok(Message::Long { letter, parcels }) => {
                carry::discard(segment, &[], Some((*letter, parcels)), || taken.release());
            }
            Err(_) => taken.release(),
        }
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
    match Message::parse(&bytes, lost.kind()) {
        Ok(Message::Short { table, .. }) => carry::lose(segment, table, None, dead),
        Ok(Message::Long { letter, parcels }) => carry::lose(segment, &[], Some((*letter, parcels)), dead),
        Err(_) => {}
    }
}

/// Set in the `kind` of a message whose bytes lie in an object of their own; the slot has its parcel.
pub(super) const LONG: u32 = 1 << 31;

/// A message as it lies in its slot or cell, taken apart. The rest of its `kind` is the number of its parcels.
pub(super) enum Message<'a> {
    /// All of it.
    Short { body: &'a [u8], table: &'a [u8] },
    /// Where it is: in an object, `body | table` as well.
    Long { letter: &'a [u8; PARCEL], parcels: usize },
}

impl<'a> Message<'a> {
    /// # Errors
    /// `Corrupted` where the bytes are fewer than the parcels take.
    pub(super) fn parse(bytes: &'a [u8], kind: u32) -> Result<Self> {
        let parcels = (kind & !LONG) as usize;
        if kind & LONG == 0 {
            return split(bytes, parcels).map(|(body, table)| Self::Short { body, table });
        }
        bytes.first_chunk().map(|letter| Self::Long { letter, parcels }).ok_or_else(impossible)
    }
}

/// The body and the table of parcels.
pub(super) fn split(bytes: &[u8], parcels: usize) -> Result<(&[u8], &[u8])> {
    let table = parcels.min(PARCELS_MAX) * PARCEL;
    let body = bytes.len().checked_sub(table).filter(|_| parcels <= PARCELS_MAX);
    body.map(|body| bytes.split_at(body)).ok_or_else(impossible)
}

fn impossible() -> Error {
    Error::new(ErrorKind::Corrupted, "a message with an impossible number of handles")
}
