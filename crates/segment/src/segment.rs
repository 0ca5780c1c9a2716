//! What a process holds of a segment: its mapping, its id, its locks, and the way to repair what the dead left.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::{AtomicU64, Ordering};
use ginnel_layout::entry::Entry;
use ginnel_layout::header::{Control, Geometry};
use ginnel_layout::participant::ParticipantRecord;

use crate::attach::Door;
use crate::fork::ForkMark;
use crate::map::Map;
use crate::{Error, Forked, Mirror};

/// What the crate above knows about the objects of a segment, for recovery.
pub trait Sweep: Send + Sync {
    /// Can this build recover objects of this kind? Attaching to a segment with one that it cannot is refused.
    fn knows(&self, tag: u32) -> bool;

    /// Releases all that participant `dead` owned in the segment: claims, locks, half-made objects, holder bits.
    ///
    /// The caller holds the byte lock of `dead`, so nobody else sweeps for it. Must be idempotent: a sweep that is
    /// itself killed is done again from the start. Must wake the sleepers of what it swept. May ask
    /// [`ginnel_layout::Liveness::is_dead`] about others.
    ///
    /// It also runs *within* attaching, for the id that is about to become this process's own (`dead ==
    /// segment.me()`), when the last holder of that id died. Whatever it does in its own name is then repaired by
    /// the same sweep, should this process die too.
    fn sweep(&self, segment: &Segment, dead: ParticipantId);
}

/// An attachment of this process to a segment: one participant.
///
/// Threads share it by reference. Several in one process are several participants. Dropping it is detaching: the
/// row of the table becomes free, and of a named segment, if it is not persistent, the last one removes the name. **Before** that the owner
/// must have released what it owns in the segment, as nothing will be swept for a participant that left in order.
///
/// After a `fork` the child's copy is dead weight: its methods fail with [`Forked`], and dropping it only unmaps. An
/// [`Heir`](crate::Heir) is the way in for a child.
/// A process that is killed leaves a row that says LIVE and a byte that can be locked, which the others read as dead.
pub struct Segment {
    pub(crate) me: ParticipantId,
    pub(crate) uuid: [u64; 2],
    /// Shared with the attachments of heirs.
    pub(crate) map: Arc<Map>,
    pub(crate) door: Door,
    /// Ids that a thread of this process looks at right now, one bit each.
    pub(crate) busy: [AtomicU64; 4],
    /// Where a claim of pages begins to look. Private memory, and only a hint.
    pub(crate) next_page: AtomicU64,
    pub(crate) sweep: Box<dyn Sweep>,
}

impl Segment {
    /// The id of this attachment.
    #[must_use]
    pub fn me(&self) -> ParticipantId {
        self.me
    }

    /// Where everything is; checked at attach, private memory since.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        self.map.geometry()
    }

    /// The mutable words of the front page.
    #[must_use]
    pub fn control(&self) -> &Control {
        self.map.control()
    }

    /// The random number by which this segment is told from all others.
    #[must_use]
    pub fn uuid(&self) -> [u64; 2] {
        self.uuid
    }

    /// The name under which others can open it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.door.name.as_ref().map(|named| named.name.as_str())
    }

    /// Does its name stay when the last participant leaves?
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.door.persistent
    }

    /// The descriptor, to be passed to another process (see [`crate::fd_passing`]). It carries no lock.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.door.fd.as_fd()
    }

    /// An entry of the object directory.
    #[must_use]
    pub fn entry(&self, index: u32) -> Option<&Entry> {
        self.map.entry(index)
    }

    /// All entries of the object directory.
    pub fn entries(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0..self.geometry().objects).filter_map(|index| Some((index, self.entry(index)?)))
    }

    /// The entries that were ever claimed, and perhaps some more. Whoever claims takes the first free entry, so those that never
    /// were, whose word of state is 0, are the last ones; on them there is nothing to be found.
    pub fn used_entries(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries().take_while(|(_, entry)| entry.state.load(Ordering::Relaxed) != 0)
    }

    /// The ticket `index`, below [`ginnel_layout::entry::TICKETS`].
    #[must_use]
    pub fn ticket(&self, index: usize) -> Option<&AtomicU64> {
        self.map.ticket(index)
    }

    /// The carrier word of ticket `index`.
    #[must_use]
    pub fn carrier(&self, index: usize) -> Option<&AtomicU64> {
        self.map.carrier(index)
    }

    /// The row of a participant, if the table has it.
    #[must_use]
    pub fn participant(&self, id: ParticipantId) -> Option<&ParticipantRecord> {
        self.map.participant(id.index())
    }

    /// Fails in a forked child. One load, no system call.
    ///
    /// # Errors
    /// [`Forked`].
    #[inline]
    pub fn check_fork(&self) -> Result<(), Forked> {
        self.door.mark.check()
    }

    /// The same check for handles that do not want to reach through the segment.
    #[must_use]
    pub fn fork_mark(&self) -> ForkMark {
        self.door.mark
    }

    /// The first byte of `count` pages of data from page `first` on, if there are that many.
    ///
    /// Valid as long as the segment. Whether the pages are the caller's is not asked.
    #[must_use]
    pub fn page(&self, first: u32, count: u32) -> Option<NonNull<u8>> {
        self.map.pages(first, count)
    }

    /// Maps `count` pages from page `first` on twice, back to back.
    ///
    /// # Errors
    /// [`Error::NoSuchPages`], [`Error::ZeroCapacity`], [`Error::Forked`], or that of the system.
    pub fn map_mirrored(&self, first: u32, count: u32) -> Result<Mirror, Error> {
        self.check_fork()?;
        let length = self.checked_length(first, count)?;
        Mirror::new(self.fd(), self.map.page_offset(first), length)
            .map_err(|e| Error::os("map pages of", self, e))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.door.name {
            Some(named) => named.fmt(f),
            None => write!(f, "the segment {:016x}{:016x}", self.uuid[0], self.uuid[1]),
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("me", &self.me)
            .field("name", &self.name())
            .field("uuid", &self.uuid)
            .field("geometry", self.geometry())
            .finish_non_exhaustive()
    }
}
