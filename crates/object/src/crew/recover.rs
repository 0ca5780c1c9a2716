//! What a death means for a crew, what of it is on its way, and how it is taken apart.
//!
//! Works on an entry of the segment, not on a handle: whoever recovers need not have one. The entry is kept by the holder
//! bit of the dead, or is FREEING by whoever calls (`life`, I4). Every word is checked, for who wrote it may be broken.

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::entry::Entry;
use ginnel_layout::pool::{
    CrewFront, Head, Place, Plan, Position, SeatSt, SeatWord, SeatWords, SlotWords, St, TRAY_UNIT,
};
use ginnel_queue::dispatch;
use ginnel_segment::Segment;
use ginnel_sync::{futex, park};

use crate::carry::PARCEL;
use crate::envelope;
use crate::words;

/// The geometry, as the words say it. `None`: they lie.
fn plan_of(segment: &Segment, entry: &Entry) -> Option<Plan> {
    let shape = &words::front_of::<CrewFront>(segment, entry)?.shape;
    Plan::of(shape.slots.load(Relaxed), shape.seats.load(Relaxed), shape.tray_bytes.load(Relaxed))
}

fn slots_of<'a>(segment: &'a Segment, entry: &Entry, plan: &Plan) -> &'a [SlotWords] {
    words::tail_of(segment, entry, plan.slots_at, plan.slots as usize).unwrap_or_default()
}

/// What the death of `dead` means: what it ran is LOST, its seat is GONE, and whoever it may have owed a wake is woken.
/// What it had put into results was freed before (see [`crate::sweep`]). May be repeated.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    let Some(front) = words::front_of::<CrewFront>(segment, entry) else { return };
    let Some(plan) = plan_of(segment, entry) else { return };
    let slots = slots_of(segment, entry, &plan);
    for slot in slots {
        dispatch::lose(&slot.lease, dead);
    }
    // After the leases: a seat that is GONE says that they are LOST.
    let seats: &[SeatWords] =
        words::tail_of(segment, entry, Plan::SEATS_AT, plan.seats as usize).unwrap_or_default();
    for seat in seats {
        leave(&seat.word, dead);
    }
    park::wake_all(&front.idle);
    for slot in slots {
        // It may have been about to wake who sleeps on a task that it committed.
        if dispatch::look(&slot.lease).is_some_and(|lease| lease.st == St::Done) {
            futex::wake(&slot.lease, u32::MAX);
        }
    }
    park::wake_all(&front.hall);
    park::wake_all(&front.desk);
}

/// The seat of the dead is GONE.
fn leave(word: &AtomicU32, dead: ParticipantId) {
    let seen = word.load(Acquire); // E2
    let seat = SeatWord::from_bits(seen);
    if seat.participant == Some(dead) && matches!(seat.st, SeatSt::Up | SeatSt::Tired) {
        let gone = SeatWord::of(SeatSt::Gone, dead);
        // Nobody else writes the word of the dead; a loser would be another recoverer with the same value. E2
        let _ = word.compare_exchange(seen, gone.bits(), AcqRel, Relaxed);
    }
}

/// Is what lies at `position` on its way ([`crew`](super), I4)?
pub(crate) fn is_in_flight(segment: &Segment, entry: &Entry, position: u64) -> bool {
    let Some((position, plan)) = Position::from_bits(position).zip(plan_of(segment, entry)) else {
        return false;
    };
    let Some(slot) = slots_of(segment, entry, &plan).get(position.slot as usize) else { return false };
    let st = dispatch::look(&slot.lease).map(|lease| lease.st);
    slot.serial.load(Relaxed) == position.serial && is_carried(st, position.place)
}

fn is_carried(st: Option<St>, place: Place) -> bool {
    match place {
        Place::Args => matches!(st, Some(St::Ready | St::Run | St::Lost)),
        Place::Result => st == Some(St::Done),
    }
}

/// Frees what a crew carries, before its pages go. The caller owns the entry's FREEING. Done again after a death in the
/// middle, it goes on where that ended.
pub(crate) fn discard_all(segment: &Segment, entry: &Entry) {
    let Some(plan) = plan_of(segment, entry) else { return };
    for slot in slots_of(segment, entry, &plan) {
        let Some(lease) = dispatch::look(&slot.lease) else { continue };
        for place in [Place::Args, Place::Result] {
            if is_carried(Some(lease.st), place) {
                let acknowledge = || dispatch::free(&slot.lease, lease.generation);
                discard(segment, entry, &plan, slot, place, acknowledge);
            }
        }
    }
}

/// Frees what a message of a slot carries that nobody will read; `acknowledge` is called when all of it was received.
pub(super) fn discard(
    segment: &Segment,
    entry: &Entry,
    plan: &Plan,
    slot: &SlotWords,
    place: Place,
    acknowledge: impl FnOnce(),
) {
    let Some((table, kind)) = table_of(segment, entry, plan, slot, place) else { return acknowledge() };
    envelope::discard(segment, &table, kind, acknowledge);
}

/// What says which parcels a message carries: the table, or the parcel of the letter; and the `kind`. `None`: none, or the
/// words lie.
fn table_of(
    segment: &Segment,
    entry: &Entry,
    plan: &Plan,
    slot: &SlotWords,
    place: Place,
) -> Option<(Vec<u8>, u32)> {
    let (head, small, inline, tray): (_, &[AtomicU64], &[AtomicU64], _) = match place {
        Place::Args => (&slot.args_head, &slot.small_args, &slot.args, &slot.args_tray),
        Place::Result => (&slot.result_head, &slot.small_result, &slot.result, &slot.result_tray),
    };
    let head = Head::from_bits(head.load(Relaxed))?;
    let kind = u32::from(head.parcels);
    if head.is_long {
        return Some((copy_out(small, 0, PARCEL)?, kind | envelope::LONG));
    }
    let (len, table) = (head.len as usize, usize::from(head.parcels) * PARCEL);
    let from = len.checked_sub(table).filter(|_| table > 0)?;
    let bytes = if head.is_in_tray {
        let tray = usize::try_from(u64::from(tray.load(Relaxed)) * TRAY_UNIT).ok()?;
        let words = plan.tray_bytes.checked_sub(tray)? / size_of::<AtomicU64>();
        let tray: &[AtomicU64] = words::tail_of(segment, entry, plan.trays_at.checked_add(tray)?, words)?;
        copy_out(tray, from, table)?
    } else {
        copy_out(if head.is_small() { small } else { inline }, from, table)?
    };
    Some((bytes, kind))
}

/// `len` bytes behind the first `from` of these words. `None`: they are not so many.
pub(super) fn copy_out(words: &[AtomicU64], from: usize, len: usize) -> Option<Vec<u8>> {
    let end = from.checked_add(len)?;
    let words = words.get(from / 8..end.div_ceil(8))?;
    let mut bytes = Vec::with_capacity(words.len() * 8);
    words.iter().for_each(|word| bytes.extend_from_slice(&word.load(Relaxed).to_ne_bytes()));
    bytes.drain(..from % 8);
    bytes.truncate(len);
    Some(bytes)
}
