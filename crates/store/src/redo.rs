//! Transactions: several keys, perhaps of several shards, changed by one store.
//!
//! ```text
//! locks    redo_lock, then the shards in ascending order; pendings are prepared in all of them
//! record   entries[i] = {place, word} of every slot · redo = {owner, count} Release = COMMIT
//! apply    each slot = its word, Release · redo = 0, Release
//! finish   counts, and the old blocks, of each; then the locks of the shards, and redo_lock last
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | entries | the holder of `redo_lock` | recovery | E1 | counted by `redo`, or of no meaning |
//! | redo | the holder of `redo_lock`; recovery | recovery | E1, E2 | names the dead: the transaction happened |
//!
//! Invariants
//! - I1 while `redo` is not 0, its owner has the locks of all shards whose slots are in the record (or is dead, and they
//!   name it), so nobody else changes them: to apply the record again changes nothing that anybody did since.
//! - I2 the places are chosen after everything was allocated, all in the tables that are in force then, and no place twice.
//! - I3 blocks that the transaction takes out of the tables are freed after `redo` is 0.
//!
//! Edges
//! - E1 redo (Release) -> the look of recovery (Acquire): the entries, and the new nodes.
//! - E2 the slots -> redo = 0 (Release): whoever sees the record gone sees all of it applied.
//! - E3 (pairs with read.rs E3) one fence for all slots, before the first block is free.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | before the commit | blocks that nothing names | the rebuild of each shard |
//! | after it, before redo = 0 | some slots old, some new | `Store::replay` applies all, then each shard is rebuilt |
//! | after redo = 0 | counts of before, old blocks | the rebuild of each shard |
//! | in the replay | the same record | the next recoverer does it again |
//!
//! A reader of one key sees the transaction when that slot is stored; whoever must see all or nothing of several keys reads
//! under their locks, or compares versions. Progress: at most [`REDO_MAX`] changes, each bounded. Source: a redo log of
//! one record, as file systems have it.

use std::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::fence;
use ginnel_layout::store::{REDO_MAX, RedoWord};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::{Deadline, Holder, LockError, Waiter, mutex};

use crate::write::Pending;
use crate::{Error, Pages, Store};

/// The right to commit a transaction of a store, one at a time. Dropped: given up.
#[must_use = "the lock is given up when this is dropped"]
pub struct RedoLocked<'a, P: Pages> {
    store: Store<'a, P>,
    me: ParticipantId,
    taken: Option<mutex::Locked>,
}

impl<P: Pages> fmt::Debug for RedoLocked<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedoLocked").field("me", &self.me).finish_non_exhaustive()
    }
}

impl<P: Pages> Drop for RedoLocked<'_, P> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            mutex::unlock(&self.store.front().redo_lock, taken, true);
        }
    }
}

impl<'a, P: Pages> Store<'a, P> {
    /// Takes the lock of transactions, waiting until `deadline`. To be taken before any lock of a shard.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock_redo(
        &self,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<RedoLocked<'a, P>, LockError> {
        let taken = mutex::lock(&self.front().redo_lock, me, waiter, deadline, liveness)?;
        Ok(RedoLocked { store: *self, me: me.participant(), taken: Some(taken) })
    }

    /// Finishes the transaction that `dead` had committed, if there is one. Gives how many words it set. The caller
    /// recovers `dead`, whose locks nobody has taken yet; may be repeated.
    pub(crate) fn replay(&self, dead: ParticipantId) -> u32 {
        let front = self.front();
        let seen = front.redo.load(Acquire); // E1
        let Some(record) = RedoWord::from_bits(seen).filter(|record| record.owner == dead) else { return 0 };
        let mut set = 0;
        for entry in front.entries.iter().take(record.count.into()) {
            // A place out of bounds is none of ours: the record is damaged, and the rest of it counts.
            let place = entry.place.load(Relaxed).checked_mul(8);
            if let Some(Ok(slot)) = place.map(|place| self.memory().word(place)) {
                slot.store(entry.word.load(Relaxed), Release); // E1 of `read`
                set += 1;
            }
        }
        front.redo.store(RedoWord::NONE, Release); // E2
        set
    }
}

/// Makes all these changes happen at once. Their shards are locked, their keys distinct. Killed before the one store that
/// commits: none of them has happened; after it: all have, as soon as this participant is recovered.
///
/// # Errors
/// [`Error::TooLarge`]: more than [`REDO_MAX`] of them. [`Error::Corrupted`]. None has happened then.
pub fn transact<'a, P: Pages>(
    redo: &RedoLocked<'a, P>,
    mut pendings: Vec<Pending<'_, 'a, P>>,
) -> Result<(), Error> {
    if pendings.len() > REDO_MAX {
        return Err(Error::TooLarge);
    }
    let front = redo.store.front();
    let mut taken = Vec::with_capacity(pendings.len());
    let mut slots = Vec::with_capacity(pendings.len());
    for (pending, entry) in pendings.iter_mut().zip(&front.entries) {
        let (slot, place) = pending.settle(&taken)?; // I2
        entry.place.store(place / 8, Relaxed);
        entry.word.store(pending.word(), Relaxed);
        taken.push(place);
        slots.push((slot, pending.word()));
    }
    let record = RedoWord { owner: redo.me, count: pendings.len() as u16 };
    front.redo.store(record.bits(), Release); // E1. COMMIT
    for (slot, word) in slots {
        slot.store(word, Release); // E1 of `read`
    }
    front.redo.store(RedoWord::NONE, Release); // E2
    fence(Release); // E3
    pendings.into_iter().for_each(Pending::finish);
    Ok(())
}
