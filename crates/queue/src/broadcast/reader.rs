//! The reading side: look, copy, look again.
//!
//! Invariants I1-I4 and edges E1-E4 are those of [`super`]. A reader has a place of its own and a buffer of its own;
//! nothing in shared memory says that it exists.

mod ready;

use core::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::ring::{POSITION_MAX, SlotWord, after, distance};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::{Deadline, Waiter};

use super::{Broadcast, BroadcastError, Shape};

pub use ready::ReaderPort;

/// Receives what is sent while it exists. `Send`; each reader gets every message.
///
/// Every position it passes is accounted for once: received, missed, aborted or skipped.
pub struct Reader {
    place: Place,
    waiter: Waiter,
    /// `None`: the memory may be read-only, so nothing is stored.
    me: Option<ParticipantId>,
}

/// Where a reader stands, and the message it copied last.
struct Place {
    channel: Broadcast,
    position: u64,
    missed: u64,
    aborted: u64,
    buffer: Vec<u8>,
    len: usize,
    kind: u32,
    poisoned: bool,
}

/// A message, in the reader's own memory.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its position; rises by one with each message, wraps at 2^48.
    pub position: u64,
    /// What the sender marked it with.
    pub kind: u32,
    /// What was sent.
    pub bytes: &'a [u8],
}

/// What lies at a reader's position.
enum Found {
    /// A message, which has been copied.
    Message,
    /// Nobody has claimed the position yet.
    Nothing,
    /// This one fills it.
    Writing(ParticipantId),
    /// Writers were faster than all looks this time.
    Overtaken,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("position", &self.place.position)
            .field("missed", &self.place.missed)
            .field("aborted", &self.place.aborted)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(channel: Broadcast, me: Option<ParticipantId>, position: u64) -> Self {
        let waiter = Waiter::new(channel.shape.mode);
        let place = Place {
            channel,
            position,
            missed: 0,
            aborted: 0,
            buffer: Vec::new(),
            len: 0,
            kind: 0,
            poisoned: false,
        };
        Self { place, waiter, me }
    }

    /// What was agreed when the channel was made.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.place.channel.shape
    }

    /// The next message. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` when there is none, `Busy` when this participant is about to send it; `Closed` when there will
    /// be none; `Corrupted`, for good.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Message<'_>, BroadcastError> {
        self.place.next()?;
        Ok(self.place.message())
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`; else as [`Reader::try_recv`], but for `WouldBlock` and `Busy`.
    pub fn recv(
        &mut self,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<Message<'_>, BroadcastError> {
        self.recv_with(deadline, super::ask(liveness))
    }

    /// [`Reader::recv`] for those who know more than one whom a wait may be for. At the end of each slice `ask` is told
    /// who is in the middle of the next message; `None`: nobody, so it may be time to ask whether any writer is left.
    ///
    /// # Errors
    /// As [`Reader::recv`].
    pub fn recv_with(
        &mut self,
        deadline: Deadline,
        ask: impl FnMut(Option<ParticipantId>),
    ) -> Result<Message<'_>, BroadcastError> {
        let Self { place, waiter, me } = self;
        match place.next() {
            Err(BroadcastError::WouldBlock | BroadcastError::Busy(_)) => {
                let channel = place.channel;
                channel.wait_for(waiter, *me, deadline, ask, || place.next())?;
            }
            result => result?,
        }
        Ok(place.message())
    }

    /// How many messages were overwritten before this reader came to them, since the last call.
    pub fn take_missed(&mut self) -> u64 {
        core::mem::take(&mut self.place.missed)
    }

    /// How many positions held no message, because the writer died or came too late, since the last call.
    pub fn take_aborted(&mut self) -> u64 {
        core::mem::take(&mut self.place.aborted)
    }

    /// Goes on with the newest message that is there, and gives how many positions that skips. They do not count as
    /// missed. Where there is nothing new, it skips nothing.
    ///
    /// # Errors
    /// `Corrupted`.
    pub fn skip_to_latest(&mut self) -> Result<u64, BroadcastError> {
        self.place.skip_to_latest()
    }

    /// Another reader of the same channel, which gets what is sent from now on.
    ///
    /// # Errors
    /// `Corrupted`.
    pub fn subscribe(&self) -> Result<Self, BroadcastError> {
        let channel = self.place.channel;
        Ok(Self::new(channel, self.me, channel.end()?))
    }

    /// The same reader, at another position: what it missed since then counts as missed.
    #[must_use]
    pub fn starting_at(mut self, position: u64) -> Self {
        self.place.position = position & POSITION_MAX;
        self
    }

    /// The position of the next message.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.place.position
    }

    /// Positions that were claimed and not yet passed. More than the capacity: some are missed already.
    #[must_use]
    pub fn behind(&self) -> u64 {
        let end = self.place.channel.end().unwrap_or(self.place.position);
        distance(self.place.position, end).max(0) as u64
    }
}

impl Place {
    fn message(&self) -> Message<'_> {
        let position = self.position.wrapping_sub(1) & POSITION_MAX;
        Message { position, kind: self.kind, bytes: &self.buffer[..self.len] }
    }

    /// Copies the next message, or says why not.
    #[inline]
    fn next(&mut self) -> Result<(), BroadcastError> {
        match self.find()? {
            Found::Message => Ok(()),
            Found::Nothing => self.why_nothing(),
            Found::Writing(owner) => Err(BroadcastError::Busy(owner)),
            Found::Overtaken => Err(BroadcastError::WouldBlock),
        }
    }

    /// Nothing was there: is that all there will ever be?
    #[cold]
    fn why_nothing(&mut self) -> Result<(), BroadcastError> {
        if self.channel.control().geometry.closed.load(Relaxed) == 0 {
            return Err(BroadcastError::WouldBlock);
        }
        // A writer that did not see it closed claimed before it was, and this look sees the claim.
        fence(SeqCst); // E4
        match self.find()? {
            Found::Message => Ok(()),
            Found::Nothing => Err(BroadcastError::Closed),
            Found::Writing(owner) => Err(BroadcastError::Busy(owner)),
            Found::Overtaken => Err(BroadcastError::WouldBlock),
        }
    }

    #[inline]
    fn find(&mut self) -> Result<Found, BroadcastError> {
        let capacity = self.channel.shape.capacity as i64;
        for _ in 0..self.channel.shape.budget() {
            let word = SlotWord(self.channel.look(self.position));
            match (distance(self.position, word.position()), word.st(), word.mark()) {
                _ if self.poisoned => break,
                (0, SlotWord::FULL, SlotWord::NORMAL) => {
                    if self.copy() {
                        return Ok(Found::Message);
                    }
                }
                (0, SlotWord::FULL, SlotWord::ABORT) => {
                    self.aborted += 1;
                    self.pass(1);
                }
                (0, SlotWord::WRITING, _) => match word.owner() {
                    Some(owner) => return Ok(Found::Writing(owner)),
                    None => self.poisoned = true,
                },
                (0, SlotWord::FREE, _) => return Ok(Found::Nothing),
                (by, SlotWord::FULL | SlotWord::WRITING, _) if by == -capacity => return Ok(Found::Nothing),
                (by, SlotWord::FULL | SlotWord::WRITING, _) if by >= capacity && by & (capacity - 1) == 0 => {
                    // The oldest that may still be there is a ring before the next claim of this slot.
                    let gone = (by - capacity + 1) as u64;
                    self.missed += gone;
                    self.pass(gone);
                }
                _ => self.poisoned = true,
            }
        }
        if self.poisoned { Err(BroadcastError::Corrupted) } else { Ok(Found::Overtaken) }
    }

    /// Copies the message at this position. False: the slot is not what it was any more.
    #[inline(always)]
    fn copy(&mut self) -> bool {
        let memory = &self.channel.memory;
        let (len, kind) = memory.head(self.position);
        let fits = u64::from(len) <= self.channel.shape.payload_max();
        if fits {
            let room = (len as usize).next_multiple_of(8);
            if self.buffer.len() < room {
                self.buffer.resize(room, 0);
            }
            memory.read(self.position, self.buffer[..room].as_chunks_mut().0);
        }
        fence(Acquire); // E2
        // I1; W is not compared: it does not concern the bytes.
        if !SlotWord(memory.word(self.position).load(Relaxed)).is_new(self.position) {
            return false;
        }
        (self.len, self.kind, self.poisoned) = (len as usize, kind, !fits);
        if fits {
            self.pass(1);
        }
        fits
    }

    #[inline(always)]
    fn pass(&mut self, positions: u64) {
        self.position = after(self.position, positions);
    }

    fn skip_to_latest(&mut self) -> Result<u64, BroadcastError> {
        let end = self.channel.end()?;
        // Not the newest claim but the newest message: what is being written comes after it anyway.
        let back = self.channel.shape.capacity.min(distance(self.position, end).max(0) as u64);
        for step in 1..=back {
            let position = end.wrapping_sub(step) & POSITION_MAX;
            if SlotWord(self.channel.look(position)).is_new(position) {
                let skipped = distance(self.position, position) as u64;
                self.position = position;
                return Ok(skipped);
            }
        }
        Ok(0)
    }
}
