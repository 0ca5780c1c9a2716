//! Walking over the slots: where the next message goes, and where the next one is.
//!
//! A claim of position p can only be made by one who saw that p - 1 was claimed: it walked over the word, or began
//! at a hint that was stored after that claim. So there is one order of claims, although no counter is shared: the
//! hints only shorten the walk, and may lie behind the truth as far as they like.

use core::cmp::Ordering as Than;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_layout::ring::{POSITION_MAX, SlotWord, after, distance};

use super::{Ring, RingError};

/// What a look at the slots found for a producer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    /// The next slot is free.
    Free {
        position: u64,
        seen: SlotWord,
    },
    /// The next slot still has the message of the lap before.
    Full {
        position: u64,
        seen: SlotWord,
    },
    /// The next slot is free, and a hole.
    Hole(u64),
    /// Somebody is in the middle of it.
    Busy(ParticipantId),
    /// Others were faster, again and again.
    Spent,
    Corrupted,
}

/// What a look at the slots found for a consumer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// The next message.
    Found {
        position: u64,
        seen: SlotWord,
    },
    /// No message: the next slot is free.
    Empty {
        position: u64,
        seen: SlotWord,
    },
    /// No message: the next slot is free, and a hole.
    Hole(u64),
    /// No message; the slot of the next one still has one of the lap before, that somebody reads or put back.
    Behind(Option<ParticipantId>),
    /// The next message is being written.
    Busy(ParticipantId),
    /// Others were faster, again and again.
    Spent,
    Corrupted,
}

impl Next {
    /// What a consumer is told that finds this. None: there is a message.
    #[inline]
    pub(super) fn why_nothing(self) -> Option<RingError> {
        match self {
            Self::Found { .. } => None,
            Self::Busy(owner) | Self::Behind(Some(owner)) => Some(RingError::Busy(owner)),
            Self::Hole(position) => Some(RingError::Hole(position)),
            Self::Empty { .. } | Self::Behind(None) | Self::Spent => Some(RingError::WouldBlock),
            Self::Corrupted => Some(RingError::Corrupted),
        }
    }
}

/// How many words one operation may look at: twice round, and some. What is not found by then is not waited for,
/// so that nobody can keep an operation busy for ever.
#[derive(Debug)]
pub(super) struct Turns(u64);

impl Turns {
    /// One more. False: they are used up.
    #[inline(always)]
    pub(super) fn next(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

impl Ring {
    #[inline]
    pub(super) fn turns(&self) -> Turns {
        Turns(2 * self.slots.capacity() + 64)
    }

    /// Moves a hint to `position`, unless somebody was faster.
    ///
    /// Not a CAS: that costs twice as much, and a hint that falls back costs others some steps of their walk.
    #[inline(always)]
    pub(super) fn move_hint(hint: &AtomicU64, position: u64) {
        // E5
        if distance(hint.load(Acquire), position) > 0 {
            hint.store(position, Release); // E5
        }
    }

    #[inline(always)]
    pub(super) fn tail_hint(&self) -> u64 {
        self.slots.control().tail.load(Acquire) & POSITION_MAX // E5
    }

    #[inline(always)]
    pub(super) fn head_hint(&self) -> u64 {
        self.slots.control().head.hint.load(Acquire) & POSITION_MAX // E5
    }

    /// The word of the slot for `position`, as it is now.
    #[inline(always)]
    pub(super) fn look(&self, position: u64) -> SlotWord {
        #[cfg(not(loom))]
        if self.slots.is_chunked() {
            return self.look_in_chunk(position);
        }
        SlotWord(self.slots.slot(position).word.load(Acquire)) // E1, E2, E5
    }

    /// Looks for room, from `position` on, whose word is `seen`.
    pub(super) fn find_room(&self, mut position: u64, mut seen: SlotWord, turns: &mut Turns) -> Room {
        while turns.next() {
            let ahead = distance(position, seen.position());
            position = match (ahead.cmp(&0), seen.st()) {
                (Than::Equal, SlotWord::FREE) => {
                    return match self.guard(position) {
                        Some(taken) => taken,
                        None if seen.is_hole() => Room::Hole(position),
                        None => Room::Free { position, seen },
                    };
                }
                (Than::Equal, _) => after(position, 1),
                (Than::Less, _) if !self.is_lap(ahead) => return Room::Corrupted,
                (Than::Less, SlotWord::FULL) => return Room::Full { position, seen },
                (Than::Less, SlotWord::FREE) => return Room::Corrupted,
                (Than::Less, _) => return seen.owner().map_or(Room::Corrupted, Room::Busy),
                (Than::Greater, st) => match self.jump(position, seen, st == SlotWord::FREE) {
                    Some(position) => position,
                    None => return Room::Corrupted,
                },
            };
            seen = self.look(position);
        }
        Room::Spent
    }

    /// Why a free slot for `position` cannot be claimed yet: in a ring with a limit the message that lies so far before it
    /// must be out of its slot. Once it is, it stays so, and only one claims `position`; so the limit is exact.
    #[inline(always)]
    pub(super) fn guard(&self, position: u64) -> Option<Room> {
        if self.shape.limit == self.shape.capacity { None } else { self.guard_of(position) }
    }

    #[inline(never)]
    fn guard_of(&self, position: u64) -> Option<Room> {
        let position = position.wrapping_sub(self.shape.limit) & POSITION_MAX;
        let seen = self.look(position);
        match (distance(position, seen.position()).cmp(&0), seen.st()) {
            (Than::Greater, _) => None,
            (Than::Equal, SlotWord::FULL) => Some(Room::Full { position, seen }),
            (Than::Equal, SlotWord::WRITING | SlotWord::READING) => {
                Some(seen.owner().map_or(Room::Corrupted, Room::Busy))
            }
            _ => Some(Room::Corrupted),
        }
    }

    /// About how many messages are in slots, unclaimed by consumers. Looks at a few words, unless something was put back.
    #[must_use]
    pub fn depth(&self) -> u64 {
        if self.put_back_bit().is_some() {
            return self.stats().depth;
        }
        let head = self.claimed_up_to(self.head_hint(), |st| st == SlotWord::READING);
        let tail = self.claimed_up_to(self.tail_hint(), |st| st != SlotWord::FREE);
        u64::try_from(distance(head, tail)).unwrap_or(0).min(self.slots.capacity())
    }

    /// The first position from `position` on that one side has not claimed; `is_claimed` says which states of its own
    /// position tell of a claim.
    fn claimed_up_to(&self, mut position: u64, is_claimed: impl Fn(u64) -> bool) -> u64 {
        let mut turns = self.turns();
        while turns.next() {
            let seen = self.look(position);
            let is_past = match distance(position, seen.position()).cmp(&0) {
                Than::Greater => true,
                Than::Equal => is_claimed(seen.st()),
                Than::Less => false,
            };
            if !is_past {
                break;
            }
            position = after(position, 1);
        }
        position
    }

    /// The next message, unclaimed.
    pub(super) fn peek(&self) -> Next {
        let position = self.head_hint();
        self.find_message(position, self.look(position), &mut self.turns())
    }

    /// The next position for a message, if its slot has no memory.
    #[must_use]
    pub fn hole_ahead(&self) -> Option<u64> {
        if self.shape.chunk == 0 {
            return None;
        }
        match self.peek() {
            Next::Hole(position) => Some(position),
            _ => None,
        }
    }

    /// The next room, unclaimed.
    pub(super) fn peek_room(&self) -> Room {
        let position = self.tail_hint();
        self.find_room(position, self.look(position), &mut self.turns())
    }

    /// Looks for a message, from `position` on, whose word is `seen`. Skips what was aborted.
    pub(super) fn find_message(&self, mut position: u64, mut seen: SlotWord, turns: &mut Turns) -> Next {
        while turns.next() {
            let ahead = distance(position, seen.position());
            position = match (ahead.cmp(&0), seen.st()) {
                (Than::Equal, SlotWord::FULL) if seen.mark() == SlotWord::ABORT => {
                    self.skip(position, seen);
                    position
                }
                (Than::Equal, SlotWord::FULL) => return Next::Found { position, seen },
                (Than::Equal, SlotWord::FREE) if seen.is_hole() => return Next::Hole(position),
                (Than::Equal, SlotWord::FREE) => return Next::Empty { position, seen },
                (Than::Equal, SlotWord::WRITING) => {
                    return seen.owner().map_or(Next::Corrupted, Next::Busy);
                }
                (Than::Equal, _) => after(position, 1),
                (Than::Less, _) if !self.is_lap(ahead) => return Next::Corrupted,
                (Than::Less, SlotWord::READING) => {
                    return seen.owner().map_or(Next::Corrupted, |owner| Next::Behind(Some(owner)));
                }
                (Than::Less, SlotWord::FULL) if seen.mark() == SlotWord::REDELIVER => {
                    return Next::Behind(None);
                }
                (Than::Less, _) => return Next::Corrupted,
                (Than::Greater, st) => match self.jump(position, seen, st != SlotWord::READING) {
                    Some(position) => position,
                    None => return Next::Corrupted,
                },
            };
            seen = self.look(position);
        }
        Next::Spent
    }

    /// The `count` positions from `first` on whose slots have memory, at about this moment.
    pub(super) fn with_memory(&self, first: u64, count: u64) -> impl Iterator<Item = u64> + use<> {
        let ring = *self;
        let mut step = 0;
        core::iter::from_fn(move || {
            while step < count {
                let position = after(first, step);
                let Some(absent) = ring.absent_from(position) else {
                    step += 1;
                    return Some(position);
                };
                step += absent;
            }
            None
        })
    }

    /// How many slots from this one on have no memory, as a whole chunk. None: it has.
    #[inline]
    fn absent_from(&self, position: u64) -> Option<u64> {
        #[cfg(not(loom))]
        if self.slots.is_chunked() && !self.presence(position).is_present() {
            let chunk = self.slots.chunk();
            return Some(chunk - (position & (chunk - 1)));
        }
        #[cfg(loom)]
        let _ = position;
        None
    }

    /// Takes an aborted slot out of the way. This is a claim and an acknowledgement in one: it owes the wake.
    fn skip(&self, position: u64, seen: SlotWord) {
        let next = SlotWord::free(after(position, self.slots.capacity()));
        let word = &self.slots.slot(position).word;
        if self.swap(word, seen, next) && seen.is_waited_for() {
            self.wake_producer();
        }
    }

    /// The hint lies more than a lap behind the word. Where to go on: behind the claim that the word tells of.
    ///
    /// `of_lap_before`: the word says only that the position a lap before was claimed.
    fn jump(&self, position: u64, seen: SlotWord, of_lap_before: bool) -> Option<u64> {
        let capacity = self.slots.capacity();
        if (seen.position() ^ position) & (capacity - 1) != 0 {
            return None;
        }
        let claimed = if of_lap_before { seen.position().wrapping_sub(capacity) } else { seen.position() };
        let target = after(claimed, 1);
        Some(if distance(position, target) > 0 { target } else { after(position, 1) })
    }

    fn is_lap(&self, ahead: i64) -> bool {
        ahead.unsigned_abs() == self.slots.capacity()
    }
}
