//! What a death means for a store, what of it is on its way, and how it is taken apart.
//!
//! Works on an entry of the segment, not on a handle: whoever recovers need not have one. The entry is kept by the holder
//! bit of the dead, or is FREEING by whoever calls (`life`, I4). Every word is checked, for who wrote it may be broken.

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::store::{SHARDS_AT, SHARDS_MAX, Shard, StoreFront};
use ginnel_segment::Segment;
use ginnel_store::{Memory, Store, Usage};
use ginnel_sync::park;

use crate::carry::Parcel;
use crate::life;
use crate::words;

use super::nested::Bytes;
use super::pages::StorePages;

/// Runs `f` on the store in an entry. `None`: the words lie.
fn with_store<R>(
    segment: &Segment,
    index: u32,
    entry: &Entry,
    f: impl FnOnce(Store<'_, StorePages<'_>>) -> R,
) -> Option<R> {
    let front: &StoreFront = words::front_of(segment, entry)?;
    let count = front.shape.shards.load(Relaxed);
    if count > SHARDS_MAX {
        return None;
    }
    let shards: &[Shard] = words::tail_of(segment, entry, SHARDS_AT as usize, count as usize)?;
    let memory = Memory::new(words::memory_of(segment)?);
    let pages = StorePages { segment, entry: index };
    let store = Store::new(front, shards, memory, &pages).ok()?;
    Some(f(store))
}

/// What the death of `dead` means: a transaction that it had committed is finished, shards whose lock it held are built
/// anew, and whoever it may have owed a wake is woken. May be repeated.
pub(crate) fn recover(segment: &Segment, index: u32, entry: &Entry, dead: ParticipantId) {
    with_store(segment, index, entry, |store| {
        let _ = store.recover(dead);
        park::wake_all(&store.front().changes);
    });
}

/// Is the node at `position` part of the store, and does it carry this ticket? In doubt it does.
pub(crate) fn is_in_flight(segment: &Segment, index: u32, entry: &Entry, position: u64, ticket: u32) -> bool {
    let is_it = |parcel: &Bytes| matches!(Parcel::from_bytes(*parcel), Some(Parcel::Ticket { ticket: found, .. }) if found == ticket);
    // A store whose words lie keeps what it has until it is freed.
    with_store(segment, index, entry, |store| store.is_linked(position, is_it)).unwrap_or(true)
}

/// Frees what the values of a store carry, before its pages go. The caller owns the entry's FREEING. Done again after a
/// death in the middle, it goes on where that ended.
pub(crate) fn discard_all(segment: &Segment, index: u32, entry: &Entry) {
    let mut tickets = Vec::new();
    with_store(segment, index, entry, |store| {
        for shard in 0..store.shards().len() {
            store.take_apart(shard, &mut |table| {
                for parcel in table {
                    if let Some(Parcel::Ticket { ticket, generation }) = Parcel::from_bytes(*parcel)
                        && life::receive(segment, ticket, generation).is_some()
                    {
                        tickets.push(ticket);
                    }
                }
            });
        }
    });
    for ticket in tickets {
        life::unpin(segment, ticket);
    }
}

/// What the memory of a store is used for. `None`: the words lie.
pub(crate) fn usage_of(segment: &Segment, index: u32, entry: &Entry) -> Option<Usage> {
    with_store(segment, index, entry, |store| store.usage())
}
