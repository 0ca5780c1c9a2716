//! The life of an object: made, held, freed, and never while anybody holds it.
//!
//! Holder: every participant. Byte picture: `layout::entry`.
//!
//! ```text
//! FREE(g) --claim--> CREATING(me,g) --publish--> LIVE(g) --try_free--> FREEING(me,g) --> FREE(g+1)
//!                         |                                                                 ^
//!                         +----------------------- abandon, recover ------------------------+
//! ```
//! References are: the holder bit of a participant, a ticket (a handle in transit), the name. Pages belong to
//! the *entry* (their words hold its index), the entry belongs to its owner while CREATING or FREEING: so every
//! page is attributed by the instruction that claims it, and one sweep by entry index frees them all.
//!
//! Invariants
//! - I1 pages are claimed and released only in CREATING(me) or FREEING(me), or by the holder of lock(d) for d.
//! - I2 an object is taken apart only when a scan found no reference *and* the version of its state word did
//!   not move between the scan's beginning and the CAS to FREEING.
//! - I3 whoever gains a reference sets it first, then raises the version, and only then may drop the one it
//!   rested on. Hence a scan that overlaps a gain sees the old reference, the new one, or a moved version.
//! - I4 a participant's bit is set while it owns any word in the object's pages. So recovery of `d` repairs an
//!   object only under d's bit, which keeps it from being freed meanwhile, and clears the bit last.
//! - I5 FREE is stored after pages, name and tag are gone.
//! - I6 a ticket is received (re-attributed) before its message is acknowledged, and freed after. Its carrier says
//!   which message; a ticket that is not SENT(me) has no carrier of mine, and a free one none at all.
//! - I7 a side bit (senders, receivers) is set only under the holder bit of the same participant, and is cleared
//!   before it. So whoever clears a side bit may still touch the object, to close a side that is now empty; and
//!   if he dies first, his holder bit makes recovery look.
//! - I8 a ticket is LOST, by a CAS from what its owner saw, before anything of it is given up, and nobody receives it
//!   after that; it keeps the object until it is FREE. So an end that travels with it is taken or closed, never both.
//! - I9 who gains without a reference (`upgrade`) sets its bit before it looks, and steps the version by CAS from LIVE of
//!   the right generation. So a bit may stand for a moment on an entry that is free or another object's by now: nobody stores a bitmap, and who
//!   takes such a bit back looks as a dropper does. A process makes and upgrades under one lock, for the bit is the same.
//!
//! Edges
//! - E1 publish (Release) -> state load (Acquire): tag, pages, content.
//! - E2 a reference dropped (Release) -> the scan (Acquire) before FREEING: the dropper's last use comes before
//!   the pages go.
//! - E3 (pairs with life.rs E3, the same fence in another process) a drop, then the scan: fence(SeqCst) between. Without it, two that leave at the same
//!   moment each see the other's reference, and nobody frees.
//! - E4 FREE (Release) -> claim (Acquire): the next object finds its pages released.
//! - E5 a gain: the set and the version step (AcqRel) are ordered for the scan of I2.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | making, before publish | CREATING(d), pages of the entry | recover: pages released, FREE(g+1) |
//! | after publish | LIVE with d's bit (and its name, if it has one) | as any holder |
//! | between set and version step | d's bit | recover clears it, then tries to free |
//! | gaining for an heir, who is then dead | some of its bits | recover of the heir, as above |
//! | between bit cleared and scan | LIVE, perhaps without references | recover tries every LIVE entry |
//! | taking apart, with messages that carry handles | FREEING(d), some of them received | recover receives the rest |
//! | taking apart | FREEING(d) | recover: as for CREATING(d) |
//! | with a ticket | SENT(d), TAKEN(d) | recover frees it unless its carrier is committed and not acknowledged |
//! | giving a ticket up | LOST(d) | recover closes again what travelled with it, wakes, and frees it |
//! | between a side bit cleared and the side closed | the holder bit | recover closes sides that are empty |
//! | recoverer | any prefix, in the name of d | the next recoverer of d repeats |
//!
//! Progress: lock-free; a scan is bounded by the tickets. Source: our own; the model `lifetime` of testkit
//! verifies it, together with thirty mutations that it must refuse.

use std::cell::Cell;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::entry::{Carrier, Entry, EntryState, ONE_VERSION, Side, TICKETS, Ticket, st};
use ginnel_layout::participant::PARTICIPANTS_MAX;
use ginnel_segment::Segment;

use crate::carrier;
use crate::crew;
use crate::error::{Error, ErrorKind, Result};
use crate::process_record;
use crate::queue;
use crate::sides;
use crate::store;
use crate::sweep::tag;

/// Claims a free entry for `me`.
///
/// # Errors
/// `Full` when the directory is.
pub(crate) fn claim(segment: &Segment) -> Result<(u32, EntryState)> {
    let me = segment.me();
    for (index, entry) in segment.entries() {
        let free = EntryState::from_bits(entry.state.load(Acquire)); // E4
        let mine = free.with(st::CREATING, Some(me));
        if free.st != st::FREE {
            continue;
        }
        // E4
        if entry.state.compare_exchange(free.bits(), mine.bits(), Acquire, Relaxed).is_ok() {
            return Ok((index, mine));
        }
    }
    Err(Error::new(ErrorKind::Full, "the directory has no free entry")
        .with_advice("drop objects that are not needed, or make the manager with room for more"))
}

/// Makes a claimed object visible, with the maker as its first holder.
pub(crate) fn publish(entry: &Entry, mine: EntryState, me: ParticipantId) {
    set_bit(&entry.holders, me);
    entry.state.store(mine.with(st::LIVE, None).bits(), Release); // E1: the COMMIT
}

/// Gives a claimed entry up, or takes a dead object's apart: pages, name, tag, then FREE (I5).
pub(crate) fn dismantle(segment: &Segment, index: u32, entry: &Entry, state: EntryState) {
    entry.named.store(0, Relaxed);
    if state.st == st::FREEING {
        match entry.tag.load(Relaxed) {
            tag::QUEUE | tag::CHANNEL => queue::discard_all(segment, entry),
            tag::PIPE => carrier::discard_all(segment, entry),
            tag::PROCESS => process_record::discard_all(segment, entry),
            tag::POOL => crew::discard_all(segment, entry),
            tag::DICT | tag::LIST | tag::NAMESPACE => store::discard_all(segment, index, entry),
            _ => {}
        }
    }
    segment.release_pages(index);
    entry.tag.store(0, Relaxed);
    entry.name_len.store(0, Relaxed);
    entry.state.store(state.freed().bits(), Release); // E4
}

/// The state of an entry.
pub(crate) fn state(entry: &Entry) -> EntryState {
    EntryState::from_bits(entry.state.load(Acquire)) // E1
}

/// Adds `me` to the holders: ourselves, or an heir of ours. The caller has another reference, or holds the names lock over a
/// named object.
pub(crate) fn gain(entry: &Entry, me: ParticipantId) {
    set_bit(&entry.holders, me);
    entry.state.fetch_add(ONE_VERSION, AcqRel); // E5
}

/// Adds ourselves to the holders of an object of that generation without having any reference to it: the bit first, then
/// the version, if the object still lives. False: it does not.
pub(crate) fn upgrade(segment: &Segment, index: u32, entry: &Entry, generation: u32) -> bool {
    let me = segment.me();
    let mut seen = entry.state.load(Acquire); // E1
    // Most that is gone is found out here. And where no object ever was, there is never a bit: sweeps end there.
    if !is_live(seen, generation) {
        return false;
    }
    set_bit(&entry.holders, me);
    seen = entry.state.load(Acquire); // E1
    loop {
        if !is_live(seen, generation) {
            clear_bit(&entry.holders, me);
            // Somebody may have left meanwhile, and have taken our bit for a reference.
            try_free(segment, index, entry, me);
            return false;
        }
        // E5
        match entry.state.compare_exchange(seen, seen.wrapping_add(ONE_VERSION), AcqRel, Acquire) {
            Ok(_) => return true,
            Err(moved) => seen = moved,
        }
    }
}

fn is_live(state: u64, generation: u32) -> bool {
    let there = EntryState::from_bits(state);
    there.st == st::LIVE && there.generation == generation
}

/// Adds `me` to a side. The caller is a holder, and has another reference to that side (I7).
pub(crate) fn join_side(entry: &Entry, side: Side, me: ParticipantId) {
    if let Some(bits) = side_bits(entry, side) {
        set_bit(bits, me);
        entry.state.fetch_add(ONE_VERSION, AcqRel); // E5
    }
}

/// Takes `me` from a side. Whether that was the last of it, [`side_is_empty`] tells.
pub(crate) fn leave_side(entry: &Entry, side: Side, me: ParticipantId) {
    if let Some(bits) = side_bits(entry, side) {
        clear_bit(bits, me);
    }
}

/// Looks of [`side_is_empty`] while others come and go. One who moves the version that often is at work himself.
const LOOKS: u32 = 64;

/// Is nobody left on this side, for good? An end can only come from another end of the same side, from a ticket of
/// one, or from the name; so if a scan that the version did not move under finds none of them, it stays so.
pub(crate) fn side_is_empty(segment: &Segment, index: u32, entry: &Entry, side: Side) -> bool {
    let Some(bits) = side_bits(entry, side) else { return false };
    fence(SeqCst); // E3
    for _ in 0..LOOKS {
        let before = entry.state.load(Acquire); // E1
        let in_transit = tickets(segment).any(|(_, word)| {
            let ticket = Ticket::from_bits(word.load(Acquire)); // E2
            let is_there = ticket.owner.is_some() && ticket.st != Ticket::LOST;
            is_there && u32::from(ticket.entry) == index && ticket.side == side
        });
        let held = in_transit
            || entry.named.load(Acquire) != 0 // E2
            || bits.iter().any(|word| word.load(Acquire) != 0); // E2
        if held {
            return false;
        }
        // E1
        if entry.state.load(Acquire) == before {
            return true;
        }
    }
    false
}

/// Who is on that side, or has an end of it in transit.
pub(crate) fn on_side(segment: &Segment, index: u32, entry: &Entry, side: Side) -> Vec<ParticipantId> {
    let bits = side_bits(entry, side).map_or(&[][..], |bits| bits);
    let is_set =
        |id: u16| bits.get(usize::from(id / 64)).is_some_and(|word| word.load(Acquire) >> (id % 64) & 1 != 0); // E2
    let holders = (0..PARTICIPANTS_MAX).filter(|id| is_set(*id)).map(ParticipantId::from_index);
    let in_transit = tickets(segment).filter_map(|(_, word)| {
        let ticket = Ticket::from_bits(word.load(Acquire)); // E2
        ticket.owner.filter(|_| u32::from(ticket.entry) == index && ticket.side == side)
    });
    holders.chain(in_transit).collect()
}

fn side_bits(entry: &Entry, side: Side) -> Option<&[AtomicU64; 4]> {
    match side {
        Side::Neither => None,
        Side::Sender => Some(&entry.senders),
        Side::Receiver => Some(&entry.receivers),
    }
}

/// Takes `me` from the holders; frees the object if nobody is left.
pub(crate) fn release(segment: &Segment, index: u32, entry: &Entry, me: ParticipantId) {
    clear_bit(&entry.holders, me);
    try_free(segment, index, entry, me);
}

/// Takes the name from an object; frees it if nobody holds it. The caller holds the names lock.
pub(crate) fn unname(segment: &Segment, index: u32, entry: &Entry) {
    entry.named.store(0, Release); // E2
    try_free(segment, index, entry, segment.me());
}

/// Frees the object if there is no reference to it, in the name of `whom`: ourselves, or a dead participant
/// whose lock we hold.
fn try_free(segment: &Segment, index: u32, entry: &Entry, whom: ParticipantId) {
    fence(SeqCst); // E3
    let seen = EntryState::from_bits(entry.state.load(Acquire)); // E1
    if seen.st != st::LIVE || is_referenced(segment, index, entry) {
        return;
    }
    let mine = seen.with(st::FREEING, Some(whom));
    // A version that moved means that somebody gained a reference: he comes through here when he drops it. E5
    if entry.state.compare_exchange(seen.bits(), mine.bits(), AcqRel, Relaxed).is_ok() {
        dismantle(segment, index, entry, mine);
    }
}

/// Tickets first, then the name, bits last: a reference moves from a bit to a ticket and back to a bit, and in
/// this order the scan meets it wherever it goes. One that is seen is dropped later, and its dropper comes through here;
/// so a look at the bits before may spare the walk over all tickets.
fn is_referenced(segment: &Segment, index: u32, entry: &Entry) -> bool {
    let is_held = || {
        entry.named.load(Acquire) != 0 // E2
            || entry.holders.iter().any(|word| word.load(Acquire) != 0) // E2
    };
    let is_in_transit = |word: &AtomicU64| {
        let ticket = Ticket::from_bits(word.load(Acquire)); // E2
        ticket.owner.is_some() && u32::from(ticket.entry) == index
    };
    is_held() || tickets(segment).any(|(_, word)| is_in_transit(word)) || is_held()
}

fn tickets(segment: &Segment) -> impl Iterator<Item = (u32, &AtomicU64)> {
    (0..TICKETS).filter_map(|i| Some((i as u32, segment.ticket(i)?)))
}

thread_local! {
    /// Where this thread looks for a free ticket first. A hint.
    static NEXT_TICKET: Cell<usize> = const { Cell::new(0) };
}

/// Puts a reference to an object into transit: a ticket that keeps it alive until it is received.
///
/// # Errors
/// `Full` when all tickets are in use.
pub(crate) fn pin(segment: &Segment, index: u32, entry: &Entry, generation: u32, side: Side) -> Result<u32> {
    let owner = Some(segment.me());
    let ticket = Ticket { generation, entry: index as u16, owner, side, st: Ticket::SENT }.bits();
    let first = NEXT_TICKET.get();
    for i in (0..TICKETS).map(|step| (first + step) % TICKETS) {
        let Some(word) = segment.ticket(i) else { continue };
        // E5
        let free = word.load(Relaxed) == Ticket::FREE;
        // E5
        if free && word.compare_exchange(Ticket::FREE, ticket, AcqRel, Relaxed).is_ok() {
            entry.state.fetch_add(ONE_VERSION, AcqRel); // E5
            NEXT_TICKET.set(i + 1);
            return Ok(i as u32);
        }
    }
    Err(Error::new(ErrorKind::Full, format!("all {TICKETS} tickets for handles in transit are in use"))
        .with_advice("receive some of the handles that were sent"))
}

/// Says which message carries a ticket of ours. Before the message is committed.
pub(crate) fn set_carrier(segment: &Segment, ticket: u32, carrier: Carrier) {
    if let Some(word) = segment.carrier(ticket as usize) {
        word.store(carrier.bits(), Release); // E2
    }
}

/// RECEIVE: makes a ticket ours. The message that carried it may be acknowledged after this, not before (I6).
/// `None`: it names nothing, so the message was not written by a correct peer.
pub(crate) fn receive(segment: &Segment, ticket: u32, generation: u32) -> Option<Ticket> {
    receive_as(segment, ticket, generation, segment.me())
}

/// [`receive`] in the name of `whom`: ourselves, or a dead participant whose lock we hold.
pub(crate) fn receive_as(
    segment: &Segment,
    ticket: u32,
    generation: u32,
    whom: ParticipantId,
) -> Option<Ticket> {
    let word = segment.ticket(ticket as usize)?;
    let there = Ticket::from_bits(word.load(Acquire)); // E5
    there.owner.filter(|_| there.generation == generation && there.st == Ticket::SENT)?;
    let mine = Ticket { owner: Some(whom), ..there };
    word.compare_exchange(there.bits(), mine.bits(), AcqRel, Relaxed).ok()?; // E5
    Some(mine)
}

/// [`receive`] of a ticket that no message carries: only one can, also of two threads of this process.
pub(crate) fn redeem(segment: &Segment, ticket: u32, generation: u32) -> Option<Ticket> {
    let word = segment.ticket(ticket as usize)?;
    let there = Ticket::from_bits(word.load(Acquire)); // E5
    there.owner.filter(|_| there.generation == generation && there.st == Ticket::SENT)?;
    let mine = Ticket { owner: Some(segment.me()), st: Ticket::TAKEN, ..there };
    word.compare_exchange(there.bits(), mine.bits(), AcqRel, Relaxed).ok()?; // E5
    Some(mine)
}

/// [`receive`] of a ticket that no message carries, and only if it is one of the object of that entry and generation:
/// a number that was kept too long may be another object's by now.
pub(crate) fn receive_exactly(
    segment: &Segment,
    ticket: u32,
    (index, generation): (u32, u32),
) -> Option<Ticket> {
    let word = segment.ticket(ticket as usize)?;
    let there = Ticket::from_bits(word.load(Acquire)); // E5
    let same = there.generation == generation && u32::from(there.entry) == index;
    there.owner.filter(|_| same && there.st == Ticket::SENT)?;
    let mine = Ticket { owner: Some(segment.me()), ..there };
    word.compare_exchange(there.bits(), mine.bits(), AcqRel, Relaxed).ok()?; // E5
    Some(mine)
}

/// What became of a ticket that its issuer wanted back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    /// It is free.
    Yes,
    /// It was used up before.
    Gone,
    /// Somebody has received it, and not made a hold of it yet.
    Received(ParticipantId),
}

/// Takes back a ticket of ours without a side that no message carries. Whoever redeems it at the same moment finds it
/// gone, or has received it: one CAS decides.
pub(crate) fn withdraw(segment: &Segment, ticket: u32, (index, generation): (u32, u32)) -> Withdrawn {
    let Some(word) = segment.ticket(ticket as usize) else { return Withdrawn::Gone };
    loop {
        let there = Ticket::from_bits(word.load(Acquire)); // E5
        let same = there.generation == generation && u32::from(there.entry) == index;
        match there.owner {
            Some(owner) if same && owner != segment.me() => return Withdrawn::Received(owner),
            Some(_) if same && there.side == Side::Neither && there.st == Ticket::SENT => {}
            _ => return Withdrawn::Gone,
        }
        // E2
        if word.compare_exchange(there.bits(), Ticket::FREE, AcqRel, Relaxed).is_ok() {
            break;
        }
    }
    if let Some(entry) = segment.entry(index) {
        try_free(segment, index, entry, segment.me());
    }
    Withdrawn::Yes
}

/// Gives a ticket of ours back: ends what travels with it, closes a side that it leaves empty, and frees the object if
/// that was the last reference.
pub(crate) fn unpin(segment: &Segment, ticket: u32) {
    let Some(word) = segment.ticket(ticket as usize) else { return };
    let there = Ticket::from_bits(word.load(Relaxed));
    if there.owner == Some(segment.me()) {
        give_up_ticket(segment, ticket, there, None);
    }
}

/// Frees a ticket that is ours, or a dead one's whose lock we hold, in his name. First nobody can receive it any more,
/// but it still keeps the object, so that what travels with it and an empty side can be closed (I7, I8).
fn give_up_ticket(segment: &Segment, ticket: u32, there: Ticket, dead: Option<ParticipantId>) {
    let Some(word) = segment.ticket(ticket as usize) else { return };
    let lost = Ticket { st: Ticket::LOST, ..there };
    // A receiver may have been faster: then it is his. E5
    if word.compare_exchange(there.bits(), lost.bits(), AcqRel, Relaxed).is_err() {
        return;
    }
    let index = u32::from(there.entry);
    let entry = segment.entry(index);
    if let (Some(entry), Side::Sender | Side::Receiver) = (entry, there.side) {
        sides::lost(segment, (index, entry), there.side, ticket, dead);
    }
    forget_carrier(segment, ticket);
    word.store(Ticket::FREE, Release); // E2
    if let Some(entry) = entry {
        try_free(segment, index, entry, dead.unwrap_or(segment.me()));
    }
}

/// The object of a ticket that is under way.
pub(crate) fn entry_of_ticket(segment: &Segment, ticket: u32) -> Option<&Entry> {
    let there = Ticket::from_bits(segment.ticket(ticket as usize)?.load(Acquire)); // E5
    there.owner?;
    segment.entry(u32::from(there.entry))
}

/// The entry of the object of a ticket that is under way.
pub(crate) fn index_of_ticket(segment: &Segment, ticket: u32) -> Option<u32> {
    let there = Ticket::from_bits(segment.ticket(ticket as usize)?.load(Acquire)); // E5
    there.owner.map(|_| u32::from(there.entry))
}

/// A ticket that may be received, and is not. The caller keeps others from receiving it.
pub(crate) fn look_at_ticket(segment: &Segment, ticket: u32, generation: u32) -> Option<Ticket> {
    let there = Ticket::from_bits(segment.ticket(ticket as usize)?.load(Acquire)); // E5
    there.owner.filter(|_| there.generation == generation && there.st == Ticket::SENT)?;
    Some(there)
}

fn forget_carrier(segment: &Segment, ticket: u32) {
    if let Some(word) = segment.carrier(ticket as usize) {
        word.store(Carrier::NONE, Release); // E2
    }
}

/// Frees the tickets of the dead `d` that no message in flight carries. The queues were swept before: then
/// "held by `d` and not in flight" is stable, because a receiver makes a ticket his before he acknowledges (I6). One that
/// travels outside of messages may be redeemed at this moment: one CAS decides.
pub(crate) fn recover_tickets(segment: &Segment, d: ParticipantId, in_flight: impl Fn(Carrier, u32) -> bool) {
    for (i, word) in tickets(segment) {
        let there = Ticket::from_bits(word.load(Acquire)); // E5
        if there.owner != Some(d) {
            continue;
        }
        let carrier = segment.carrier(i as usize).map_or(Carrier::NONE, |word| word.load(Acquire)); // E2
        let is_in_flight = there.st != Ticket::LOST
            && Carrier::from_bits(carrier).is_some_and(|carrier| in_flight(carrier, i));
        if !is_in_flight {
            give_up_ticket(segment, i, there, Some(d));
        }
    }
}

/// Repairs one entry after the death of `d`; `repair` mends the words inside the object and wakes its sleepers. `d`
/// is on no side any more when it runs.
pub(crate) fn recover(
    segment: &Segment,
    index: u32,
    entry: &Entry,
    d: ParticipantId,
    repair: impl FnOnce(&Entry),
) {
    let seen = state(entry);
    // Nobody else sets or clears bits of d now.
    for bits in [&entry.senders, &entry.receivers] {
        if has_bit(bits, d) {
            clear_bit(bits, d);
        }
    }
    if seen.st == st::LIVE && has_bit(&entry.holders, d) {
        repair(entry); // I4
        // For a scan that is under way, d's bit may be the reference that something else rested on (I3).
        entry.state.fetch_add(ONE_VERSION, AcqRel); // E5
    }
    if has_bit(&entry.holders, d) {
        clear_bit(&entry.holders, d);
    }
    match seen.st {
        st::CREATING | st::FREEING if seen.owner == Some(d) => dismantle(segment, index, entry, seen),
        // Also where its bit was not set: it may have died between the drop and the scan.
        st::LIVE => try_free(segment, index, entry, d),
        _ => {}
    }
}

fn place(words: &[AtomicU64; 4], id: ParticipantId) -> (&AtomicU64, u64) {
    let index = usize::from(id.index());
    (&words[(index / 64) % words.len()], 1 << (index % 64))
}

fn set_bit(words: &[AtomicU64; 4], id: ParticipantId) {
    let (word, bit) = place(words, id);
    word.fetch_or(bit, AcqRel); // E5
}

fn clear_bit(words: &[AtomicU64; 4], id: ParticipantId) {
    let (word, bit) = place(words, id);
    word.fetch_and(!bit, Release); // E2
}

/// Does `id` hold the object?
pub(crate) fn is_held_by(entry: &Entry, id: ParticipantId) -> bool {
    has_bit(&entry.holders, id)
}

fn has_bit(words: &[AtomicU64; 4], id: ParticipantId) -> bool {
    let (word, bit) = place(words, id);
    word.load(Acquire) & bit != 0 // E2
}
