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
//! - I6 a ticket is received (re-attributed) before its message is acknowledged, and freed after.
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
//! | between bit cleared and scan | LIVE, perhaps without references | recover tries every LIVE entry |
//! | taking apart | FREEING(d) | recover: as for CREATING(d) |
//! | with a ticket | HELD(d) | recover frees it unless a committed message carries it |
//! | recoverer | any prefix, in the name of d | the next recoverer of d repeats |
//!
//! Progress: lock-free; a scan is bounded by the tickets. Source: our own; the model `lifetime` of testkit
//! verifies it, together with thirty mutations that it must refuse.

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::entry::{Entry, EntryState, ONE_VERSION, TICKETS, Ticket, st};
use ginnel_segment::Segment;

use crate::error::{Error, ErrorKind, Result};

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
    segment.release_pages(index);
    entry.tag.store(0, Relaxed);
    entry.name_len.store(0, Relaxed);
    entry.state.store(state.freed().bits(), Release); // E4
}

/// The state of an entry.
pub(crate) fn state(entry: &Entry) -> EntryState {
    EntryState::from_bits(entry.state.load(Acquire)) // E1
}

/// Adds `me` to the holders. The caller has another reference, or holds the names lock over a named object.
pub(crate) fn gain(entry: &Entry, me: ParticipantId) {
    set_bit(&entry.holders, me);
    entry.state.fetch_add(ONE_VERSION, AcqRel); // E5
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
/// this order the scan meets it wherever it goes.
fn is_referenced(segment: &Segment, index: u32, entry: &Entry) -> bool {
    let in_transit = tickets(segment).any(|(_, word)| {
        let ticket = Ticket::from_bits(word.load(Acquire)); // E2
        ticket.owner.is_some() && u32::from(ticket.entry) == index
    });
    in_transit
        || entry.named.load(Acquire) != 0 // E2
        || entry.holders.iter().chain(&entry.second).any(|word| word.load(Acquire) != 0) // E2
}

fn tickets(segment: &Segment) -> impl Iterator<Item = (u32, &AtomicU64)> {
    (0..TICKETS).filter_map(|i| Some((i as u32, segment.ticket(i)?)))
}

/// Puts a reference to an object into transit: a ticket that keeps it alive until it is received.
///
/// # Errors
/// `Full` when all tickets are in use.
pub(crate) fn pin(segment: &Segment, index: u32, entry: &Entry, generation: u32) -> Result<u32> {
    let ticket = Ticket { generation, entry: index as u16, owner: Some(segment.me()) }.bits();
    for (i, word) in tickets(segment) {
        // E5
        if word.compare_exchange(Ticket::FREE, ticket, AcqRel, Relaxed).is_ok() {
            entry.state.fetch_add(ONE_VERSION, AcqRel); // E5
            return Ok(i);
        }
    }
    Err(Error::new(ErrorKind::Full, format!("all {TICKETS} tickets for handles in transit are in use"))
        .with_advice("receive some of the handles that were sent"))
}

/// RECEIVE: makes a ticket ours. The message that carried it may be acknowledged after this, not before (I6).
/// `None`: it names nothing, so the message was not written by a correct peer.
pub(crate) fn receive(segment: &Segment, ticket: u32, generation: u32) -> Option<Ticket> {
    let word = segment.ticket(ticket as usize)?;
    let there = Ticket::from_bits(word.load(Acquire)); // E5
    there.owner.filter(|_| there.generation == generation)?;
    let mine = Ticket { owner: Some(segment.me()), ..there };
    word.compare_exchange(there.bits(), mine.bits(), AcqRel, Relaxed).ok()?; // E5
    Some(mine)
}

/// Gives a ticket back, and frees the object if that was the last reference.
pub(crate) fn unpin(segment: &Segment, ticket: u32) {
    let Some(word) = segment.ticket(ticket as usize) else { return };
    let there = Ticket::from_bits(word.load(Relaxed));
    word.store(Ticket::FREE, Release); // E2
    if let Some(entry) = segment.entry(u32::from(there.entry)) {
        try_free(segment, u32::from(there.entry), entry, segment.me());
    }
}

/// Frees the tickets of the dead `d`. Nothing carries tickets across a death yet, so all of them are his to lose.
pub(crate) fn recover_tickets(segment: &Segment, d: ParticipantId) {
    for (_, word) in tickets(segment) {
        let there = word.load(Acquire); // E5
        if Ticket::from_bits(there).owner == Some(d) {
            // A receiver may be faster: then it is his.
            let _ = word.compare_exchange(there, Ticket::FREE, AcqRel, Relaxed); // E2
        }
    }
}

/// Repairs one entry after the death of `d`; `repair` mends the words inside the object and wakes its sleepers.
pub(crate) fn recover(
    segment: &Segment,
    index: u32,
    entry: &Entry,
    d: ParticipantId,
    repair: impl FnOnce(&Entry),
) {
    let seen = state(entry);
    let held = has_bit(&entry.holders, d) || has_bit(&entry.second, d);
    if seen.st == st::LIVE && held {
        repair(entry); // I4
        // For a scan that is under way, d's bit may be the reference that something else rested on (I3).
        entry.state.fetch_add(ONE_VERSION, AcqRel); // E5
    }
    clear_bit(&entry.holders, d);
    clear_bit(&entry.second, d);
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

fn has_bit(words: &[AtomicU64; 4], id: ParticipantId) -> bool {
    let (word, bit) = place(words, id);
    word.load(Acquire) & bit != 0 // E2
}
