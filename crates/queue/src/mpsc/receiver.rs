//! The consumer's end of an mpsc: which lane is next, and when there is nothing to come any more.
//!
//! Each lane is read as its own consumer would; only the role and the wait are common.
//! Invariants I1-I4 and edges E3-E6 are those of [`super`].

mod ready;

use core::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::lane::Role;
use ginnel_layout::mpsc::Census;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::Deadline;
use ginnel_sync::park::{self, Mode, Stop, Waiter};

use super::{BATCH, Mpsc, Shape};
#[cfg(not(loom))]
use crate::lane::Loan;
use crate::lane::{Lane, LaneError, Reader};

pub use ready::ReceiverPort;

/// The receiving end. One at a time; `Send`, not `Sync`.
pub struct Receiver {
    round: Round,
    waiter: Waiter,
    me: ParticipantId,
}

/// What the hot path touches.
struct Round {
    readers: Box<[Reader]>,
    /// The lane whose turn it is, and how many messages of it are still its share (I3).
    at: usize,
    share: u32,
    /// Lanes in use at the last turn.
    used: usize,
    /// Something was released since the last fence (E6), perhaps by the predecessor.
    owes_wakes: bool,
    /// A lane whose producer lived when it was looked at last: the first to look at next time.
    alive: usize,
    mpsc: Mpsc,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("mpsc", &self.round.mpsc).finish_non_exhaustive()
    }
}

impl Receiver {
    /// `after_death`: the last consumer died, and may have seen what is at the heads now. Not what comes later.
    pub(super) fn new(
        mpsc: Mpsc,
        lanes: Vec<Lane>,
        me: ParticipantId,
        after_death: bool,
    ) -> Result<Self, LaneError> {
        let readers = lanes.into_iter().map(|lane| {
            let mut reader = Reader::new(lane, lane.checked_head()?, false);
            reader.seen_before = after_death && reader.front();
            Ok(reader)
        });
        let readers = readers.collect::<Result<Box<[Reader]>, LaneError>>()?;
        let round = Round { used: readers.len(), readers, at: 0, share: 0, owes_wakes: true, alive: 0, mpsc };
        Ok(Self { round, waiter: Waiter::new(mpsc.shape.mode), me })
    }

    /// What was agreed when the mpsc was made.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.round.mpsc.shape()
    }

    /// Length of the next message, if one is there. It stays where it is, and is next until it is taken.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there and somebody may still send, or nobody came yet; `Closed` when nothing is
    /// there and all who came are gone; `Corrupted`.
    #[inline(always)]
    pub fn peek(&mut self) -> Result<u64, LaneError> {
        if !self.round.front() {
            self.round.why_nothing()?;
        }
        Ok(self.round.reader().len)
    }

    /// Copies the next message into `into`, which has exactly its length, and acknowledges it. True: it may have been
    /// delivered before, to a consumer that died.
    ///
    /// # Errors
    /// As [`Receiver::peek`]; `TooLarge` when the message has another length: it stays.
    #[inline(always)]
    pub fn try_recv(&mut self, into: &mut [u8]) -> Result<bool, LaneError> {
        let len = self.peek()?;
        if len != into.len() as u64 {
            return Err(LaneError::TooLarge { len, max: into.len() as u64 });
        }
        Ok(self.round.spend().take(into))
    }

    /// The next message where it lies. Dropping the loan acknowledges it.
    ///
    /// # Panics
    /// Unless [`Receiver::peek`] or [`Receiver::wait_for_message`] found a message before.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn loan(&mut self) -> Loan<'_> {
        self.round.spend().lend(1)
    }

    /// The lane of the message that [`Receiver::peek`] or [`Receiver::loan`] gave last.
    #[must_use]
    pub fn lane(&self) -> u32 {
        self.round.at as u32
    }

    /// Waits until a message is there.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`, `Closed`, `Corrupted`.
    pub fn wait_for_message(
        &mut self,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<(), LaneError> {
        let Self { round, waiter, .. } = self;
        let mpsc = round.mpsc;
        round.wake_producers();
        let ready = || {
            if round.front() {
                return Some(Ok(()));
            }
            match round.why_nothing() {
                Err(LaneError::WouldBlock) => None,
                result => Some(result),
            }
        };
        let at_slice_end = || mpsc.probe(liveness);
        match waiter.wait(&mpsc.control().not_empty, deadline, ready, at_slice_end) {
            Ok(result) => result,
            Err(Stop::TimedOut) => Err(LaneError::TimedOut),
            Err(Stop::Interrupted) => Err(LaneError::Interrupted),
        }
    }

    /// Messages that can be received now. Walks the rings; meant for people.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.round.readers.iter().map(Reader::count).sum()
    }

    /// Is there nothing to receive now?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// May one of the messages at the heads have been delivered before, to a consumer that died?
    #[must_use]
    pub fn seen_before(&self) -> bool {
        self.round.readers.iter().any(|reader| reader.seen_before)
    }

    /// How many lanes are held by producers now.
    #[must_use]
    pub fn producers(&self) -> u32 {
        self.round.mpsc.holders().count() as u32
    }

    /// Gives the end up: sending fails with `Closed` from now on. What was not received stays for a successor.
    pub fn close(self) {
        // Drop does it.
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mpsc = self.round.mpsc;
        // The next consumer must flag the messages as well that a dead one may have seen.
        let st = if self.seen_before() { Role::DEAD } else { Role::CLOSED };
        let Some((first, others)) = mpsc.lanes().split_first() else { return };
        Lane::give_up(&mpsc.control().not_empty.role, self.me, st, &first.not_full);
        for lane in others {
            park::wake_all(&lane.not_full);
        }
    }
}

impl Round {
    #[inline(always)]
    fn reader(&mut self) -> &mut Reader {
        &mut self.readers[self.at]
    }

    /// The reader of the message that was found, which is taken now.
    #[inline(always)]
    fn spend(&mut self) -> &mut Reader {
        self.share = self.share.saturating_sub(1);
        self.owes_wakes = true;
        self.reader()
    }

    /// Is a message there? Then it is at the front of the lane whose turn it is.
    #[inline(always)]
    fn front(&mut self) -> bool {
        (self.share > 0 && self.reader().front()) || self.turn()
    }

    /// The turn goes to the next lane that has a message; to the same one if no other has.
    #[inline(never)]
    fn turn(&mut self) -> bool {
        let census = Census::from_bits(self.mpsc.control().census.load(Acquire)); // E5
        self.used = self.readers.len().min(census.used as usize);
        let behind = self.used.saturating_sub(self.at + 1);
        if self.look_at(self.at + 1, behind) {
            return true;
        }
        self.wake_producers();
        self.look_at(0, self.used - behind)
    }

    /// Looks at `count` lanes from `first` on.
    #[inline(always)]
    fn look_at(&mut self, first: usize, count: usize) -> bool {
        for index in first..first + count {
            if self.readers[index].front() {
                (self.at, self.share) = (index, BATCH);
                return true;
            }
        }
        false
    }

    /// Makes up for the releases that were posted without a fence since the last time (E6).
    #[inline(always)]
    fn wake_producers(&mut self) {
        if !self.owes_wakes {
            return;
        }
        self.owes_wakes = false;
        if self.mpsc.shape.mode != Mode::Spin {
            fence(SeqCst); // E6
            for reader in &self.readers[..self.used] {
                reader.post_soon();
            }
        }
    }

    /// Nothing was found: is that all there will ever be? `Ok`: something is there after all.
    #[cold]
    fn why_nothing(&mut self) -> Result<(), LaneError> {
        if self.readers.iter().any(|reader| reader.poisoned) {
            return Err(LaneError::Corrupted);
        }
        if self.is_held(self.alive) {
            return Err(LaneError::WouldBlock);
        }
        let census = self.mpsc.control().census.load(Acquire); // E5
        let Census { takings, used } = Census::from_bits(census);
        if used as usize > self.readers.len() {
            return Err(LaneError::Corrupted);
        }
        for index in 0..used as usize {
            if self.is_held(index) {
                self.alive = index;
                return Err(LaneError::WouldBlock);
            }
            // E3: all it ever committed is visible now, so this look is the last one needed.
            if self.look_at(index, 1) {
                return Ok(());
            }
            if self.readers[index].poisoned {
                return Err(LaneError::Corrupted);
            }
        }
        // Who came meanwhile may have come from one whom this scan saw gone, into a lane that it had passed.
        let is_same = self.mpsc.control().census.load(Acquire) == census; // E5
        if takings > 0 && is_same { Err(LaneError::Closed) } else { Err(LaneError::WouldBlock) }
    }

    /// Does a producer hold that lane?
    #[inline(always)]
    fn is_held(&self, index: usize) -> bool {
        let role = self.readers[index].lane().control().not_full.role.load(Acquire); // E3
        matches!(Role::from_bits(role).st, Role::HELD | Role::MOVING)
    }
}
