//! One process's hold on one block, through its life in messages.
//!
//! ```text
//! claim, or the message was acknowledged:  MINE      dropped: the block goes back to the pool
//! received with an unacknowledged message: KEPT      dropped: nothing, the message keeps it
//! named by a message that is being made:   TRAVELS   dropped: goes back, the message is not sent
//! that message was committed:              GONE      dropped: nothing, it is somebody else's
//! ```
//! The codec of messages keeps a second reference to the hold while it works, so what becomes of the block is decided
//! when the value that contains it *and* the codec are done with it.
//!
//! Sending: [`Hold::travel`] while encoding · [`Hold::set_carrier`] when the place in the queue is claimed · COMMIT ·
//! [`Hold::sent`]; or [`Hold::stay`]. Receiving: [`Hold::receive`] (RECEIVE) · ACKNOWLEDGE · [`Hold::acknowledged`];
//! or, when a lease is given back, [`Hold::leave`].
//!
//! Edges
//! - E1 the fate changes (AcqRel) -> whoever reads it (Acquire): what was done with the block before comes before.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use ginnel_layout::entry::Carrier;
use ginnel_queue::blocks::{BlockId, Pool};

use crate::arena::ObjectRef;
use crate::error::Result;

/// The fates of a hold.
mod fate {
    pub(super) const MINE: u32 = 0;
    pub(super) const KEPT: u32 = 1;
    pub(super) const TRAVELS: u32 = 2;
    pub(super) const GONE: u32 = 3;
}

/// A pool that this process holds.
pub(crate) struct OpenPool {
    pub(super) object: ObjectRef,
    pub(super) me: ParticipantId,
    pub(super) pool: Pool,
}

impl OpenPool {
    /// # Errors
    /// `Corrupted` when the object's words are those of no pool.
    pub(crate) fn open(object: ObjectRef) -> Result<Self> {
        let pool = object.pool()?;
        let me = object.arena().segment().me();
        Ok(Self { object, me, pool })
    }
}

/// A hold on a block of an [`OpenPool`].
pub(crate) struct Hold {
    pool: Arc<OpenPool>,
    id: BlockId,
    /// Bytes filled, as the sender said.
    len: usize,
    /// One of [`fate`].
    fate: AtomicU32,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("pool", &self.pool.object)
            .field("id", &self.id)
            .field("fate", &self.fate.load(Relaxed))
            .finish_non_exhaustive()
    }
}

impl Hold {
    /// The hold on a block that was just claimed.
    pub(super) fn claimed(pool: &Arc<OpenPool>, id: BlockId) -> Self {
        Self { pool: Arc::clone(pool), id, len: 0, fate: AtomicU32::new(fate::MINE) }
    }

    /// RECEIVE: makes the block that a message names ours. The pool is held before, so that our death is noticed
    /// there. The message may be acknowledged after this, not before.
    ///
    /// # Errors
    /// `Corrupted` when there is no such block.
    pub(crate) fn receive(pool: &Arc<OpenPool>, id: BlockId) -> Result<Arc<Self>> {
        pool.object.check_fork_fast()?;
        let len = pool
            .pool
            .receive(pool.me, id)
            .map_err(|_| pool.object.corrupted("a message names a block that is not there"))?;
        Ok(Arc::new(Self { pool: Arc::clone(pool), id, len: len as usize, fate: AtomicU32::new(fate::KEPT) }))
    }

    /// The message was acknowledged: the block is ours alone. Before the handle of its queue goes.
    pub(crate) fn acknowledged(&self) {
        self.pool.pool.clear_carrier(self.id);
        self.become_if(fate::KEPT, fate::MINE);
    }

    /// The message goes back to its queue, and the block with it.
    pub(crate) fn leave(&self) {
        self.become_if(fate::KEPT, fate::GONE);
    }

    /// Begins its way into a message. `None`: it is on its way already, gone, or belongs to a lease that is not
    /// acknowledged yet.
    pub(crate) fn travel(&self) -> Option<BlockId> {
        self.become_if(fate::MINE, fate::TRAVELS).then_some(self.id)
    }

    /// Says which message carries it. After the place in the queue is claimed, before the commit.
    pub(crate) fn set_carrier(&self, carrier: Carrier) {
        self.pool.pool.set_carrier(self.id, carrier);
    }

    /// The message is committed: the block is no longer ours.
    pub(crate) fn sent(&self) {
        self.become_if(fate::TRAVELS, fate::GONE);
    }

    /// The message was not sent, and its place in the queue given up.
    pub(crate) fn stay(&self) {
        self.pool.pool.clear_carrier(self.id);
        self.become_if(fate::TRAVELS, fate::MINE);
    }

    /// The pool's object, for the ticket that keeps it alive while the block is under way.
    pub(crate) fn object(&self) -> &ObjectRef {
        &self.pool.object
    }

    pub(super) fn is_scarce(&self) -> bool {
        let pool = &self.pool.pool;
        let count = pool.shape().count();
        count > 1 && pool.stats().free * 4 < count
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn set_len(&self, len: usize) {
        self.pool.pool.set_len(self.id, len as u64);
    }

    /// Sent, or given back with its message.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        self.fate.load(Acquire) == fate::GONE // E1
    }

    /// Where its bytes begin.
    #[inline]
    pub(super) fn bytes(&self) -> NonNull<u8> {
        match self.pool.pool.bytes_of(self.id.index) {
            Some(bytes) => bytes,
            None => unreachable!("claim and receive give only blocks that the pool has"),
        }
    }

    fn become_if(&self, from: u32, to: u32) -> bool {
        self.fate.compare_exchange(from, to, AcqRel, Relaxed).is_ok() // E1
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A hold inherited through a bare fork is the parent's.
        if self.pool.object.is_forked() {
            return;
        }
        let fate = self.fate.swap(fate::GONE, AcqRel); // E1
        if matches!(fate, fate::MINE | fate::TRAVELS) {
            self.pool.pool.release(self.pool.me, self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::{Block, Blocks, Options};
    use super::*;
    use crate::manager::Manager;

    const HERE: Carrier = Carrier { entry: 5, position: 77 };

    /// The same pool, as two participants see it.
    fn pools() -> (Blocks, Blocks) {
        let here = Manager::new(1 << 20).expect("a manager");
        let there = Manager::from_fd(here.as_fd().try_clone_to_owned().expect("dup")).expect("attach");
        let blocks = here.get_or_create_with("pool", Options::new(2, 64)).expect("made");
        (blocks, there.get("pool").expect("no failure").expect("there"))
    }

    fn filled(blocks: &Blocks, bytes: &[u8]) -> Block {
        let mut block = blocks.claim().expect("free");
        block[..bytes.len()].copy_from_slice(bytes);
        block.truncate(bytes.len());
        block.freeze()
    }

    /// What a codec does to send: gives what the message says.
    fn send(block: Block) -> BlockId {
        let hold = Arc::clone(block.hold());
        let id = block.travel().expect("mine");
        hold.set_carrier(HERE);
        hold.sent();
        drop((block, hold));
        id
    }

    #[test]
    fn a_block_crosses_with_its_bytes() {
        let (here, there) = pools();
        let id = send(filled(&here, b"frame"));
        assert_eq!(here.free(), 1, "dropping it after the commit gives nothing back");
        let hold = Hold::receive(&there.pool, id).expect("there");
        hold.acknowledged();
        let block = Block::of(hold);
        assert_eq!(&*block, b"frame");
        assert_eq!(there.stats().owners.len(), 1);
        drop(block);
        assert_eq!(here.free(), 2);
        assert!(Hold::receive(&there.pool, id).is_err(), "it was given back");
    }

    #[test]
    fn what_was_not_sent_stays() {
        let (here, _) = pools();
        let block = filled(&here, b"x");
        let hold = Arc::clone(block.hold());
        assert!(block.travel().is_some());
        assert!(block.travel().is_none(), "it is in a message already");
        hold.set_carrier(HERE);
        hold.stay();
        drop(hold);
        assert_eq!((&*block, here.free()), (&b"x"[..], 1));
        drop(block);
        assert_eq!(here.free(), 2);
    }

    #[test]
    fn a_value_dropped_while_its_message_is_made_gives_the_block_back() {
        let (here, _) = pools();
        let block = filled(&here, b"x");
        let hold = Arc::clone(block.hold());
        assert!(block.travel().is_some());
        drop(block);
        assert_eq!(here.free(), 1, "the codec has it still");
        hold.stay();
        drop(hold);
        assert_eq!(here.free(), 2);
    }

    #[test]
    fn a_block_that_is_gone_has_no_bytes() {
        let (here, _) = pools();
        let block = filled(&here, b"x");
        assert!(block.travel().is_some());
        block.hold().sent();
        assert!(block.is_empty() && block.travel().is_none());
    }

    #[test]
    fn a_lease_decides_over_its_blocks() {
        let (here, there) = pools();
        let id = send(filled(&here, b"job"));
        // Given back: the value goes first, and nothing is freed.
        let kept = Hold::receive(&there.pool, id).expect("there");
        let value = Block::of(Arc::clone(&kept));
        assert_eq!(&*value, b"job");
        assert!(value.travel().is_none(), "it is the message's");
        drop(value);
        kept.leave();
        drop(kept);
        assert_eq!(here.free(), 1);
        // Done: the value that was dropped too early is freed with the lease, the other one later.
        for early in [true, false] {
            let id = if early { id } else { send(filled(&here, b"job")) };
            let kept = Hold::receive(&there.pool, id).expect("there");
            let value = Some(Block::of(Arc::clone(&kept))).filter(|_| !early);
            kept.acknowledged();
            drop(kept);
            assert_eq!(here.free(), if early { 2 } else { 1 });
            drop(value);
            assert_eq!(here.free(), 2);
        }
    }
}
