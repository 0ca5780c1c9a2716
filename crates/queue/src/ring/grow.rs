//! Memory that comes and goes: a ring of many slots, of which only those near a message have memory.
//!
//! ```text
//!   ABSENT(l) ---- open: memory, then PRESENT(l), then 0 -> FREE(l) ----> PRESENT
//!       ^                                                                    |
//!       +--- no memory --- ABSENT(l) --- FREE(l) -> 0 --- PRESENT(l) <--- punch: all FREE(l), no W
//! ```
//! Slots come in chunks of whole pages, each with a presence word. A word that is 0, or in a chunk that is absent, is a
//! hole: FREE for the lap that the presence word names, but not to be claimed. So the walk goes over holes as over free
//! slots, and only who would claim one, or sleep at one, has it opened first. The lap is stored before the first word
//! becomes 0; it cannot be that of the position somebody came with, who may be laps behind.
//!
//! Who acknowledges the last slot of a chunk punches it, and the one before, if every word is FREE and nobody waits
//! for one; a claim meanwhile makes the swap of its word fail, and the others are put back. Nobody waits for the lock to
//! punch: memory that stays goes a lap later, or when an `open` finds none.
//!
//! A swap that comes too late finds 0, and fails; it may bring a page back that counts for none, and so may a look that
//! comes too late. Such pages go with the next punch. Positions must not go round: 2^48 messages are the end of a
//! ring with chunks (`Corrupted`).
//!
//! Invariants I1-I7 and edges E1-E9 are those of [`super`]. Modelled in testkit, `unbounded`.

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::ring::{PresenceWord, SlotWord, after};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::mutex::{self, Holder, LockError, Locked};
use ginnel_sync::{Deadline, Mode, Waiter};

use super::{Ring, RingError};

/// Where the memory of a ring with chunks comes from. Offsets count from the base of the ring; all are multiples of
/// a page if the base is.
pub trait Memory {
    /// Gives memory to `len` bytes; bytes that have memory keep it and what is in it, others are zero. False: there is none.
    fn set_aside(&self, offset: u64, len: u64) -> bool;

    /// Takes the memory of `len` bytes away; who reads there reads zero.
    fn punch(&self, offset: u64, len: u64);
}

impl Ring {
    /// The presence words and the hints of a ring without slots. Lap 0 is left out, so that no word of a slot is 0.
    pub(super) fn write_holes(&self) {
        let (capacity, chunk) = (self.slots.capacity(), self.slots.chunk());
        for first in (capacity..2 * capacity).step_by(chunk as usize) {
            self.slots.presence(first).store(PresenceWord::absent(first).0, Relaxed);
        }
        self.slots.control().tail.store(capacity, Relaxed);
        self.slots.control().head.hint.store(capacity, Relaxed);
    }

    /// Does the memory of its slots come and go?
    #[must_use]
    #[inline(always)]
    pub fn is_chunked(&self) -> bool {
        self.slots.is_chunked()
    }

    /// Is this the position of the last slot of a chunk? Whoever acknowledged it calls [`Ring::punch`].
    #[must_use]
    #[inline(always)]
    pub fn ends_chunk(&self, position: u64) -> bool {
        self.slots.is_chunked() && after(position, 1) & (self.slots.chunk() - 1) == 0
    }

    pub(super) fn presence(&self, position: u64) -> PresenceWord {
        PresenceWord(self.slots.presence(position).load(Acquire)) // E9
    }

    /// The word of a slot, as it is now: in a ring with chunks. Does not touch a chunk without memory.
    #[cold]
    #[inline(never)]
    pub(super) fn look_in_chunk(&self, position: u64) -> SlotWord {
        let step = position & (self.slots.chunk() - 1);
        let presence = self.presence(position);
        if !presence.is_present() {
            return presence.hole(step);
        }
        let word = self.slots.slot(position).word.load(Acquire); // E1, E2, E5
        // The lap that was read before may be that of an earlier hole.
        if word == 0 { self.presence(position).hole(step) } else { SlotWord(word) }
    }

    /// Gives the chunk of the slot for `position` its memory, and makes its holes free. Waits until `deadline` for
    /// another who opens or punches; without one not at all.
    ///
    /// Killed at any instruction it leaves a chunk that the next one opens.
    ///
    /// # Errors
    /// `NoMemory`; `Busy` or `TimedOut` when another was in the middle; `Interrupted`, `Corrupted`.
    pub fn open(
        &self,
        me: ParticipantId,
        position: u64,
        memory: &impl Memory,
        deadline: Option<Deadline>,
        liveness: &impl Liveness,
    ) -> Result<(), RingError> {
        if !self.is_chunked() {
            return Err(RingError::Corrupted);
        }
        let locked = self.lock_growth(me, deadline, liveness)?;
        let mut opened = self.open_chunk(position, memory);
        if opened == Err(RingError::NoMemory) && self.punch_all(memory) {
            opened = self.open_chunk(position, memory);
        }
        // Whatever the dead left under it is whole: each step is one that the next holder goes on from.
        mutex::unlock(&self.slots.control().counters.grow, locked, true);
        opened
    }

    /// Takes the memory of the chunk of `position`, and of the one before, if they are free. Never waits. For those
    /// who acknowledged what [`Ring::ends_chunk`]; at any other time it is as good.
    pub fn punch(&self, me: ParticipantId, position: u64, memory: &impl Memory) {
        if !self.is_chunked() {
            return;
        }
        let word = &self.slots.control().counters.grow;
        if let Ok(Some(locked)) = mutex::try_lock(word, Holder::current(me)) {
            self.punch_chunk(position, memory);
            self.punch_chunk(position.wrapping_sub(self.slots.chunk()), memory);
            mutex::unlock(word, locked, true);
        }
    }

    fn lock_growth(
        &self,
        me: ParticipantId,
        deadline: Option<Deadline>,
        liveness: &impl Liveness,
    ) -> Result<Locked, RingError> {
        let (word, holder) = (&self.slots.control().counters.grow, Holder::current(me));
        let Some(deadline) = deadline else {
            let locked = mutex::try_lock(word, holder).map_err(|_| RingError::Corrupted)?;
            return locked.ok_or_else(|| match mutex::owner(word).map(Holder::participant) {
                Some(owner) => {
                    // Recovers it if it is dead: then the next call finds the lock free.
                    let _ = owner != me && liveness.is_dead(owner);
                    RingError::Busy(owner)
                }
                None => RingError::WouldBlock,
            });
        };
        mutex::lock(word, holder, &mut Waiter::new(Mode::Sleep), deadline, liveness).map_err(
            |why| match why {
                LockError::TimedOut { owner } => RingError::TimedOut { owner },
                LockError::Interrupted => RingError::Interrupted,
                LockError::Deadlock | LockError::Corrupted => RingError::Corrupted,
            },
        )
    }

    /// The caller has the lock.
    fn open_chunk(&self, position: u64, memory: &impl Memory) -> Result<(), RingError> {
        let chunk = self.slots.chunk();
        let presence = self.presence(position);
        let first = presence.first();
        if (first ^ position) & (self.slots.capacity() - 1) & !(chunk - 1) != 0 || first & (chunk - 1) != 0 {
            return Err(RingError::Corrupted);
        }
        if !presence.is_present() {
            let (offset, len) = self.slots.chunk_range(position);
            if !memory.set_aside(offset, len) {
                return Err(RingError::NoMemory);
            }
            self.slots.presence(position).store(PresenceWord::present(first).0, SeqCst); // E9
        }
        for step in 0..chunk {
            let position = after(first, step);
            let word = &self.slots.slot(position).word;
            // Nobody but the holder of the lock changes a 0 (I7).
            if word.load(Relaxed) == 0 {
                word.store(SlotWord::free(position).0, Release); // E9
            }
        }
        Ok(())
    }

    /// Takes the memory of the chunk of `position` if it has any and all of it is free. The caller has the lock.
    fn punch_chunk(&self, position: u64, memory: &impl Memory) -> bool {
        let chunk = self.slots.chunk();
        let start = position & (self.slots.capacity() - 1) & !(chunk - 1);
        if !self.presence(start).is_present() {
            return false;
        }
        let first = self.look(start).position();
        let is_lap = (first ^ start) & (self.slots.capacity() - 1) == 0;
        let free = |step| SlotWord::free(after(first, step));
        if !is_lap || first == 0 || (0..chunk).any(|step| self.look(start + step) != free(step)) {
            return false;
        }
        self.slots.presence(start).store(PresenceWord::present(first).0, SeqCst); // E9
        let word = |step| &self.slots.slot(start + step).word;
        let claimed =
            (0..chunk).find(|step| word(*step).compare_exchange(free(*step).0, 0, AcqRel, Relaxed).is_err()); // E9
        if let Some(claimed) = claimed {
            for step in 0..claimed {
                word(step).store(free(step).0, Release); // E9
            }
            return false;
        }
        // From here on nobody can claim: what he would swap is 0.
        self.slots.presence(start).store(PresenceWord::absent(first).0, SeqCst); // E9
        let (offset, len) = self.slots.chunk_range(start);
        memory.punch(offset, len);
        true
    }

    /// Takes all memory that can be had. True: there was some. The caller has the lock.
    fn punch_all(&self, memory: &impl Memory) -> bool {
        let chunks = (0..self.slots.capacity()).step_by(self.slots.chunk() as usize);
        chunks.filter(|start| self.punch_chunk(*start, memory)).count() > 0
    }
}
