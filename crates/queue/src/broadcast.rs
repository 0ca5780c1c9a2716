//! The broadcast channel: every reader gets every message, and writers never wait for readers.
//!
//! ```text
//! slots   FULL(8) FULL(9) WRITING(10,w) FULL(7)      four slots; position t lies in slot t mod 4
//!                         ^ tail: the next claim      a reader at 9 has one message to read; one at 3 missed 3..7
//! ```
//! A writer takes the oldest slot and overwrites it. A reader keeps its position to itself: it copies a slot out
//! and then looks whether the slot is still the same. So a reader costs the writers nothing, its death leaves
//! nothing, and it may map the memory read-only ([`View`]). A reader that is overtaken by a whole ring has missed
//! messages; it is told how many, and goes on with the oldest that is there.
//!
//! ```text
//! send    t = tail; slot t is FREE(t) or FULL(t-slots): CAS -> WRITING(t,me), the CLAIM; tail = t+1, a hint
//!         WRITING or FULL of t or later: claimed by another, go on behind it
//!         WRITING(t-slots,o): o is a lap behind, in the middle: Busy(o)
//!         closed? slot = FULL(t,ABORT), and Closed
//!         fence(Release); length, kind, payload; slot = FULL(t) Release: the COMMIT; post(news)
//! recv    s1 = slot h: FULL(h): fence(Acquire); copy out; fence(Acquire); s2 = slot h
//!         s1 == s2, but for W: it is message h, whole, h += 1; else look again
//!         FULL(h,ABORT): aborted += 1, h += 1
//!         later than h: h' = the oldest that may still be there, missed += h' - h
//!         earlier, or WRITING(h,o): nothing there yet; closed? look once more, then Closed
//! ```
//!
//! Invariants
//! - I1 the position in a slot's word never falls. Equal words therefore mean untouched bytes: between two equal
//!   loads nobody claimed the slot.
//! - I2 positions are claimed in their order, each by one CAS that names its owner, so the first position that is
//!   not claimed is the end; the hint is never beyond it, and not more than a ring before it.
//! - I3 only the owner, or the holder of its lock after its death, changes a WRITING slot. A slot whose writer died
//!   becomes ABORT, never again what it was before: its bytes are half overwritten.
//! - I4 a reader's place and everything it decides by is private; a word is loaded once for each decision, and no
//!   length is believed beyond the slot.
//!
//! Edges
//! - E1 commit (Release) -> the reader's first look (relaxed, then an Acquire fence: acquire loads are not allowed on
//!   read-only memory): payload, length, kind. Also to the next writer of the slot, at its claim (Acquire).
//! - E2 fence(Release) after the claim -> fence(Acquire) before the reader's second look: who has read a byte of the
//!   new message sees the claim, so the two words differ.
//! - E3 hint (Release) -> hint (Acquire): whoever starts there sees the slots before it claimed. Claims are AcqRel,
//!   so this passes from one writer to the next.
//! - E4 claim, look at `closed` | `closed`, second look at the slot; all SeqCst, the readers' by a fence. Either the
//!   writer sees that it is closed, or the reader that found it closed sees the claim.
//! - E5 the sleep and wake handshake of `sync::park` on the line `news`, with several sleepers: wakers wake all of
//!   them, and nobody clears the flag when he leaves. fence(SeqCst) on both sides; `seq` read before the flag.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | reader, any time | nothing; asleep, a bit and a flag for nobody: one futile wake | recovery clears the bit: `kill_broadcast_recv` |
//! | writer before its claim, after its wake | nothing | nobody |
//! | writer between claim and commit | WRITING(t,d) | `recover`: FULL(t,ABORT); the message before it in that slot is lost to slow readers: `kill_broadcast_send` |
//! | writer after the claim, before the hint | a hint one behind | the next writer walks |
//! | writer between commit and wake | sleepers | `recover` wakes all, else their slices end |
//! | recoverer | any prefix of that | the next one repeats it |
//!
//! Progress: `try_recv` and `try_send` take bounded time whatever others write. A writer waits only for another
//! writer that stands in the middle of a message a whole ring ago: make at least as many slots as writers. Readers
//! of a stream faster than they are miss messages, and never wait for it. Source: a sequence lock for each slot;
//! attributed claims and their recovery are our own, modelled in testkit (`broadcast`).

mod attach;
mod memory;
mod reader;
mod waiting;

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::broadcast::{BroadcastControl, SIZE_MAX, SLOTS_AT};
use ginnel_layout::ring::{POSITION_MAX, SLOT_PAYLOAD_AT, SLOT_UNIT, SlotWord, after, distance};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::{Deadline, Mode, Waiter};

pub use attach::View;
pub use reader::{Message, Reader, ReaderPort};

use memory::Memory;

/// Why an operation on a broadcast channel did not happen. Small and `Copy`: the crates above say it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BroadcastError {
    /// Nothing new for this reader; for a writer: others claimed all the time. Only from `try_*`.
    WouldBlock,
    /// This participant is in the middle of the message that comes next, or of the one that would be overwritten.
    /// Only from `try_*`.
    Busy(ParticipantId),
    /// The deadline passed; the participant that was in the middle, if one was.
    TimedOut {
        /// Who stood in the way.
        owner: Option<ParticipantId>,
    },
    /// A signal arrived while asleep; nothing happened, call again.
    Interrupted,
    /// Nothing will be sent any more; for a reader: and everything was received.
    Closed,
    /// The message does not fit a slot: its length and the most that fits, in bytes.
    TooLarge {
        /// Bytes asked for.
        len: u64,
        /// Bytes possible.
        max: u64,
    },
    /// A word held what no correct writer writes.
    Corrupted,
}

/// What is to be agreed when a channel is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Slots, a power of two: so many messages a reader may be behind.
    pub capacity: u64,
    /// Bytes of a slot.
    pub slot_size: u64,
    /// How everybody waits. With [`Mode::Spin`] writers wake nobody.
    pub mode: Mode,
}

impl Shape {
    /// A channel of at least `capacity` messages of up to `payload` bytes. `None`: it would be too large, or has
    /// no slot.
    #[must_use]
    pub fn new(capacity: u64, payload: u64, mode: Mode) -> Option<Self> {
        let slot_size = payload.checked_add(SLOT_PAYLOAD_AT)?.checked_next_multiple_of(SLOT_UNIT)?;
        let shape = Self { capacity: capacity.checked_next_power_of_two()?, slot_size, mode };
        (capacity > 0 && shape.is_valid()).then_some(shape)
    }

    fn is_valid(&self) -> bool {
        self.capacity.is_power_of_two()
            && self.slot_size >= SLOT_UNIT
            && self.slot_size.is_multiple_of(SLOT_UNIT)
            && self.slot_size <= u64::from(u32::MAX)
            && self.capacity.checked_mul(self.slot_size).is_some_and(|bytes| bytes <= SIZE_MAX)
    }

    /// Longest message in bytes.
    #[must_use]
    #[inline(always)]
    pub const fn payload_max(&self) -> u64 {
        self.slot_size - SLOT_PAYLOAD_AT
    }

    /// Bytes of the whole channel.
    #[must_use]
    pub const fn size(&self) -> u64 {
        SLOTS_AT + self.capacity * self.slot_size
    }

    /// Turns of a walk over the slots: enough for a ring and a hint that is a ring behind.
    fn budget(&self) -> u64 {
        2 * self.capacity + 64
    }
}

/// What a slot's word says to somebody who stands at a position.
enum Slot {
    /// Nobody has claimed the position; its slot may be overwritten.
    Open,
    /// The same, but this one still fills the slot a ring earlier.
    Held(ParticipantId),
    /// It was claimed; the next position that may be open.
    Past(u64),
    /// No correct writer leaves such a word.
    Nonsense,
}

/// A broadcast channel in borrowed memory, its geometry checked and copied.
///
/// `Send`, `Sync` and `Copy`; any number of threads may send through it.
#[derive(Debug, Clone, Copy)]
pub struct Broadcast {
    memory: Memory,
    shape: Shape,
}

impl Broadcast {
    #[inline(always)]
    fn control(&self) -> &BroadcastControl {
        self.memory.control()
    }

    /// What was agreed.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// A reader that gets what is sent from now on; `me` is the participant it reads for.
    ///
    /// # Errors
    /// `Corrupted`.
    pub fn reader(&self, me: ParticipantId) -> Result<Reader, BroadcastError> {
        Ok(Reader::new(*self, Some(me), self.end()?))
    }

    /// Sends `bytes`, marked with `kind`, and gives its position. Never waits.
    ///
    /// # Errors
    /// `Busy` when a writer is in the middle of the message that would be overwritten, `WouldBlock` when others
    /// claimed all the time; `Closed`, `TooLarge`, `Corrupted`.
    #[inline]
    pub fn try_send(&self, me: ParticipantId, kind: u32, bytes: &[u8]) -> Result<u64, BroadcastError> {
        self.check_len(bytes)?;
        let position = self.claim(me)?;
        self.fill(position, kind, bytes);
        Ok(position)
    }

    /// Sends `bytes`; waits while another writer is in the middle of the message that would be overwritten.
    ///
    /// # Errors
    /// `TimedOut` with that writer, `Interrupted`; else as [`Broadcast::try_send`].
    pub fn send(
        &self,
        me: ParticipantId,
        kind: u32,
        bytes: &[u8],
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<u64, BroadcastError> {
        self.check_len(bytes)?;
        let position = match self.claim(me) {
            Err(BroadcastError::WouldBlock | BroadcastError::Busy(_)) => {
                self.wait_for(waiter, Some(me), deadline, ask(liveness), || self.claim(me))?
            }
            result => result?,
        };
        self.fill(position, kind, bytes);
        Ok(position)
    }

    #[inline(always)]
    fn check_len(&self, bytes: &[u8]) -> Result<(), BroadcastError> {
        let (len, max) = (bytes.len() as u64, self.shape.payload_max());
        if len > max { Err(BroadcastError::TooLarge { len, max }) } else { Ok(()) }
    }

    /// Claims the next position.
    #[inline]
    fn claim(&self, me: ParticipantId) -> Result<u64, BroadcastError> {
        let control = self.control();
        // Only to spare the slots: each claim costs slow readers a message. What counts is the look below.
        if control.geometry.closed.load(Relaxed) != 0 {
            return Err(BroadcastError::Closed);
        }
        let mut position = control.tail.load(Acquire) & POSITION_MAX; // E3
        for _ in 0..self.shape.budget() {
            let word = self.memory.word(position);
            let seen = word.load(Acquire); // E1, E3
            match self.judge(seen, position) {
                Slot::Past(next) => position = next,
                Slot::Held(owner) => return Err(BroadcastError::Busy(owner)),
                Slot::Nonsense => return Err(BroadcastError::Corrupted),
                Slot::Open => {
                    let mine = SlotWord::writing(position, me).0;
                    // The CLAIM. E1, E3, E4
                    if word.compare_exchange(seen, mine, SeqCst, Relaxed).is_ok() {
                        return self.claimed(position);
                    }
                }
            }
        }
        Err(BroadcastError::WouldBlock)
    }

    /// What a claim owes: the hint, and the look at `closed`.
    #[inline(always)]
    fn claimed(&self, position: u64) -> Result<u64, BroadcastError> {
        let control = self.control();
        let next = after(position, 1);
        // Checked and stored in two steps: while this claim stands, nobody is more than a ring further (I2).
        if distance(control.tail.load(Relaxed) & POSITION_MAX, next) > 0 {
            control.tail.store(next, Release); // E3
        }
        #[cfg(not(loom))]
        let closed = control.geometry.closed.load(SeqCst); // E4
        // Loom takes SeqCst accesses for AcqRel ones, and only lets an exchange see the latest value. E4
        #[cfg(loom)]
        let closed = control.geometry.closed.fetch_or(0, SeqCst);
        if closed != 0 {
            return self.refuse(position);
        }
        Ok(position)
    }

    #[cold]
    fn refuse(&self, position: u64) -> Result<u64, BroadcastError> {
        self.memory.word(position).store(SlotWord::full(position, SlotWord::ABORT).0, Release); // E1
        self.control().counters.refused.fetch_add(1, Relaxed);
        self.post();
        Err(BroadcastError::Closed)
    }

    /// Fills the claimed slot and commits it.
    #[inline(always)]
    fn fill(&self, position: u64, kind: u32, bytes: &[u8]) {
        fence(Release); // E2
        self.memory.write(position, kind, bytes);
        // The COMMIT.
        self.memory.word(position).store(SlotWord::full(position, SlotWord::NORMAL).0, Release); // E1
        self.post();
    }

    /// What the word of the slot of `position` says to somebody who looks for the end.
    #[inline(always)]
    fn judge(&self, word: u64, position: u64) -> Slot {
        let word = SlotWord(word);
        let ahead = distance(position, word.position());
        let capacity = self.shape.capacity as i64;
        match word.st() {
            SlotWord::FREE if ahead == 0 => Slot::Open,
            SlotWord::FULL if ahead == -capacity => Slot::Open,
            SlotWord::WRITING if ahead == -capacity => word.owner().map_or(Slot::Nonsense, Slot::Held),
            SlotWord::FULL | SlotWord::WRITING if ahead >= 0 && ahead & (capacity - 1) == 0 => {
                Slot::Past(after(word.position(), 1))
            }
            _ => Slot::Nonsense,
        }
    }

    /// The first position that is not claimed. Beside fast writers: one that was claimed after the call began.
    fn end(&self) -> Result<u64, BroadcastError> {
        let mut position = self.control().tail.load(Relaxed) & POSITION_MAX;
        fence(Acquire); // E3
        for _ in 0..self.shape.budget() {
            match self.judge(self.look(position), position) {
                Slot::Open | Slot::Held(_) => break,
                Slot::Past(next) => position = next,
                Slot::Nonsense => return Err(BroadcastError::Corrupted),
            }
        }
        Ok(position)
    }

    /// A slot's word, also where the memory may only be read.
    #[inline(always)]
    fn look(&self, position: u64) -> u64 {
        let word = self.memory.word(position).load(Relaxed);
        fence(Acquire); // E1
        word
    }

    /// Ends the channel: from now on sending fails, and a reader that has received everything is told. Idempotent;
    /// a system call each time.
    pub fn close(&self) {
        let control = self.control();
        control.geometry.closed.fetch_or(1, SeqCst); // E4
        self.wake_all();
    }

    /// Is it closed? Messages may still be there.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.control().geometry.closed.load(Relaxed) != 0
    }

    /// Repairs what the dead participant `dead` left. The caller holds its byte lock. Idempotent: the next
    /// recoverer may repeat any prefix of it. Looks at every slot.
    pub fn recover(&self, dead: ParticipantId) {
        let counters = &self.control().counters;
        for index in 0..self.shape.capacity {
            let word = self.memory.word(index);
            let seen = word.load(Acquire); // E1
            let slot = SlotWord(seen);
            if slot.st() == SlotWord::WRITING && slot.owner() == Some(dead) {
                let aborted = SlotWord::full(slot.position(), SlotWord::ABORT).0;
                // I3: only we may change it; the comparison guards against a broken peer. E1
                if word.compare_exchange(seen, aborted, AcqRel, Relaxed).is_ok() {
                    counters.aborted.fetch_add(1, Relaxed);
                }
            }
        }
        counters.recoveries.fetch_add(1, Relaxed);
        self.forget_sleeper(dead);
        // Always, and last: the dead one may have been killed between its commit and its wake.
        self.wake_all();
    }

    /// How it stands; each number by itself is true of some moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let control = self.control();
        let words = (0..self.shape.capacity).map(|index| SlotWord(self.look(index)));
        Stats {
            sent: self.end().unwrap_or_default(),
            closed: self.is_closed(),
            writers: words
                .filter(|word| word.st() == SlotWord::WRITING)
                .filter_map(SlotWord::owner)
                .collect(),
            sleepers: core::array::from_fn(|i| control.sleepers[i].load(Relaxed)),
            aborted: control.counters.aborted.load(Relaxed),
            refused: control.counters.refused.load(Relaxed),
            recoveries: control.counters.recoveries.load(Relaxed),
        }
    }
}

/// Asks whether the one in the way lives. True or false, the next look at the slot tells what came of it.
fn ask(liveness: &impl Liveness) -> impl FnMut(Option<ParticipantId>) {
    |owner| {
        if let Some(owner) = owner {
            let _ = liveness.is_dead(owner);
        }
    }
}

/// How a channel stands, for people and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Positions claimed so far, aborted ones included; wraps at 2^48.
    pub sent: u64,
    /// Nothing will be sent any more.
    pub closed: bool,
    /// Who is in the middle of a message.
    pub writers: Vec<ParticipantId>,
    /// Who sleeps: a bit for each row of the participant table.
    pub sleepers: [u64; 4],
    /// Messages whose writer died in the middle.
    pub aborted: u64,
    /// Messages that came too late, between a claim and a close.
    pub refused: u64,
    /// How often it was recovered.
    pub recoveries: u64,
}
