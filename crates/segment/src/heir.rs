//! A participant for the child of a fork, made by its parent before the fork.
//!
//! A child that attached by itself would come too late: between the fork and its first instruction the parent may let
//! go of whatever the child is to have. So the parent takes a row of the table for it, with a lock of its own on an open
//! file description of its own, and whatever is done in the name of that row is there when the child wakes up. Parent
//! and child share the description; the lock is gone when both have closed it, so from then on it says whether the child
//! lives.
//!
//! ```text
//! parent    row locked · LIVE · (held in its name) · fork · its copy closed
//! child                                              fork · enter: who it is · its copy closed at its end
//! ```
//!
//! | dies | left | who repairs |
//! |---|---|---|
//! | parent: row locked | FREE, or LIVE or RECOVERING of the one before, byte free | the next who takes or probes the row |
//! | parent: LIVE, before the fork | LIVE, byte free: dead | as any participant |
//! | the fork fails | LIVE, byte free once the parent has closed its copy | the same |
//! | parent: after the fork | LIVE, byte locked: the child lives | nobody needs to |
//! | child: before the parent has closed its copy | LIVE, byte locked for so long | after that as any participant |
//! | child: later | LIVE, byte free: dead | as any participant |
//!
//! Forks of other threads meanwhile do not keep it: their children close the descriptor (`fork`, I2). Progress: as
//! attaching, in the parent; the child waits for nothing.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;

use crate::attach::{Busy, Door, MOMENT, Patience, seat};
use crate::fork::ForkMark;
use crate::locks::LockFile;
use crate::map::Map;
use crate::participants::{enter_heir, enter_inherited};
use crate::place::Named;
use crate::segment::{Segment, Sweep};
use crate::{Error, Forked};

/// A participant that has a row and a lock, and is to be the next child that this thread forks.
///
/// In the parent it is dropped after the fork; what was done in its name is then the child's, or a dead one's. In the
/// child it [enters](Heir::enter); dropped there without, it is dead.
#[derive(Debug)]
pub struct Heir {
    id: ParticipantId,
    uuid: [u64; 2],
    map: Arc<Map>,
    fd: Arc<OwnedFd>,
    name: Option<Named>,
    persistent: bool,
    locks: LockFile,
}

impl Segment {
    /// Makes a participant for the next child that this thread forks. A participant that died and has the first free row
    /// is recovered on the way. Takes some ten microseconds; a quarter of a second while the table is full.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::TableFull`], [`Error::TooManyFiles`], or that of the system.
    pub fn heir(&self) -> Result<Heir, Error> {
        self.check_fork()?;
        let locks = LockFile::reopen_for_child(self.fd(), self.fork_mark(), self)?;
        let mut patience = Patience::new(MOMENT);
        // Our own share keeps the gate from being closed.
        while !locks.share_gate().map_err(|e| Error::os("lock", self, e))? {
            patience.pause(Busy::Gate, self)?;
        }
        let participants = self.geometry().participants;
        let id = loop {
            match seat(&locks, participants, self)? {
                Some(id) => break id,
                None => patience.pause(Busy::Table(participants), self)?,
            }
        };
        if let Some(row) = self.participant(id) {
            self.recover_locked(id, row);
        }
        enter_heir(&self.map, id, self.me);
        Ok(Heir {
            id,
            uuid: self.uuid,
            map: Arc::clone(&self.map),
            fd: Arc::clone(&self.door.fd),
            name: self.door.name.clone(),
            persistent: self.door.persistent,
            locks,
        })
    }
}

impl Heir {
    /// The id that the child has.
    #[must_use]
    pub fn id(&self) -> ParticipantId {
        self.id
    }

    /// In the child: the attachment. It shares the mapping of the parent's, and needs no descriptor but that of its lock.
    ///
    /// # Errors
    /// [`Error::Forked`] in the child of another thread than that which made it.
    pub fn enter(self, sweep: Box<dyn Sweep>) -> Result<Segment, Error> {
        let mark = ForkMark::here()?;
        let Self { id, uuid, map, fd, name, persistent, locks } = self;
        let locks = locks.inherited(mark).map_err(|Forked| Error::Forked(Forked))?;
        enter_inherited(&map, id);
        Ok(Segment {
            me: id,
            uuid,
            map,
            door: Door { fd, locks, mark, name, persistent },
            busy: Default::default(),
            next_page: AtomicU64::new(0),
            sweep,
        })
    }
}
