//! The counters of a queue, for people and tools.

use ginnel_layout::ParticipantId;
use ginnel_layout::participant::PARTICIPANTS_MAX;
use ginnel_queue::ring::Ring;
use serde::Serialize;

use crate::arena::Arena;
use crate::error::Owner;

/// A queue at about one moment. Counts run since it was made; sample twice for a rate.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Messages in the queue that nobody has received.
    pub depth: u64,
    /// Messages that fit.
    pub capacity: u64,
    /// Sends so far, those that were given up included.
    pub sent: u64,
    /// Messages that were taken so far.
    pub received: u64,
    /// Messages under a lease now, or waiting to be leased again.
    pub leased: u64,
    /// Processes asleep until there is room.
    pub waiting_to_send: u32,
    /// Processes asleep until there is a message.
    pub waiting_to_receive: u32,
    /// Who is in the middle of a place, or has a lease.
    pub owners: Vec<Owner>,
    /// Sends that were given up: their process died, or the queue was closed meanwhile.
    pub aborted: u64,
    /// Messages that were given to another consumer after the first one's death or `nack`.
    pub redelivered: u64,
    /// Messages that were dropped with their consumer, where the queue was made so.
    pub dropped: u64,
    /// Deaths of participants that were put in order here.
    pub recoveries: u64,
}

impl Stats {
    /// The counters of a ring, with its owners in words.
    pub(crate) fn of(ring: &Ring, arena: &Arena) -> Self {
        let stats = ring.stats();
        Self {
            depth: stats.depth,
            capacity: ring.shape().limit,
            sent: stats.sent,
            received: stats.received,
            leased: stats.leased,
            waiting_to_send: count(&stats.waiting_producers),
            waiting_to_receive: count(&stats.waiting_consumers),
            owners: participants(&stats.owners).filter_map(|id| arena.describe(id)).collect(),
            aborted: stats.aborted,
            redelivered: stats.redelivered,
            dropped: stats.dropped,
            recoveries: stats.recoveries,
        }
    }
}

fn count(bitmap: &[u64]) -> u32 {
    bitmap.iter().map(|word| word.count_ones()).sum()
}

fn participants(bitmap: &[u64]) -> impl Iterator<Item = ParticipantId> {
    let is_set =
        |index: u16| bitmap.get(usize::from(index / 64)).is_some_and(|word| word >> (index % 64) & 1 != 0);
    (0..PARTICIPANTS_MAX).filter(move |index| is_set(*index)).map(ParticipantId::from_index)
}
