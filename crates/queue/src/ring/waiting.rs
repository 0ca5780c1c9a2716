//! Waiting on a ring: for room, for a message, for a cell, for the end of all work.
//!
//! Invariants I1-I7 and edges E1-E9 are those of [`super`].

mod ready;

use core::cell::Cell;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::{AtomicU64, fence, spin_loop};
use ginnel_layout::ring::{after, gate};
use ginnel_layout::wait::WaitLine;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::Deadline;
use ginnel_sync::park::{self, Arm, Mode, Stop, Waiter};

use super::lease::Held;
use super::walk::{Next, Room};
use super::{Claim, Ring, RingError, Taken};

/// Looks of a producer that has found the ring full and waits a moment for an eighth of it instead of for one
/// slot: else it and the consumer take the same line away from each other with each message. Bounded, so that a
/// reply which waits for this very message is only delayed by them; never part of what is armed for a wake.
const PATIENT_LOOKS: u32 = if cfg!(loom) { 1 } else { 8 };

/// The same for a consumer that waits for several messages.
const GATHER_LOOKS: u32 = if cfg!(loom) { 1 } else { 64 };

/// Turns of the spin loop between two of these looks.
const TURNS_A_LOOK: u32 = if cfg!(loom) { 1 } else { 8 };

/// Messages that make it worth having waited for them.
const SEVERAL: u64 = 128;

/// Probes in a row after which an owner proven dead, whom no recovery takes out of the word, is called corruption.
const UNSWEPT_MAX: u32 = 3;

/// Attempts to leave a mark for the others before one of them is woken instead, which is never wrong.
const PASS_TRIES: u32 = 8;

pub use ready::RingPort;

/// Which way one waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// For room.
    Producers,
    /// For a message.
    Consumers,
}

/// What a wait remembers from one look to the next.
#[derive(Debug, Default)]
struct Memory {
    /// Has slept, and may have used up a wake that others need.
    slept: Cell<bool>,
    /// Has said in the bitmap of sleepers that it sleeps.
    said: Cell<bool>,
    /// Who was in the way at the last look.
    owner: Cell<Option<ParticipantId>>,
    /// How often in a row that one was proven dead.
    unswept: Cell<u32>,
}

impl Memory {
    /// What `result` means for one who waits: None is to wait on.
    fn judge<T>(&self, result: Result<T, RingError>) -> Option<Result<T, RingError>> {
        let owner = match &result {
            Err(RingError::WouldBlock) => None,
            Err(RingError::Busy(owner)) => Some(*owner),
            _ => return Some(result),
        };
        if owner != self.owner.replace(owner) {
            self.unswept.set(0);
        }
        (self.unswept.get() >= UNSWEPT_MAX).then_some(Err(RingError::Corrupted))
    }

    fn probe(&self, me: ParticipantId, liveness: &dyn Liveness) {
        if let Some(owner) = self.owner.get().filter(|owner| *owner != me) {
            let is_dead = liveness.is_dead(owner);
            self.unswept.set(if is_dead { self.unswept.get() + 1 } else { 0 });
        }
    }
}

impl Ring {
    /// [`Ring::try_claim`], waiting until `deadline` for room. `waiter` is the caller's own for this direction.
    ///
    /// # Errors
    /// `TimedOut` with who was in the way, `Interrupted`, `Closed`, `Corrupted`.
    #[inline]
    pub fn wait_claim(
        &self,
        me: ParticipantId,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<Claim<'_>, RingError> {
        match self.try_claim(me) {
            Err(RingError::WouldBlock) if self.shape.mode != Mode::Sleep => self.let_room_gather(),
            Err(RingError::WouldBlock | RingError::Busy(_)) => {}
            other => return other,
        }
        self.wait(Side::Producers, me, waiter, deadline, liveness, || self.try_claim(me))
    }

    /// [`Ring::try_take`], for who found nothing with it: waits until `deadline` for a message. `waiter` is the caller's own for this direction.
    ///
    /// # Errors
    /// `TimedOut` with who was in the way, `Interrupted`, `Closed`, `Corrupted`.
    #[inline]
    pub fn wait_take(
        &self,
        me: ParticipantId,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<Taken<'_>, RingError> {
        waiter.gather(self.head_hint(), || self.let_messages_gather());
        self.wait(Side::Consumers, me, waiter, deadline, liveness, || self.take_watching(me))
    }

    /// [`Ring::try_lease`], for who got nothing with it: waits until `deadline` for a message and a cell for it.
    ///
    /// # Errors
    /// `TimedOut` with who was in the way, `Interrupted`, `Closed`, `Corrupted`.
    pub fn wait_lease(
        &self,
        me: ParticipantId,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<Held, RingError> {
        waiter.gather(self.head_hint(), || self.let_messages_gather());
        loop {
            // A wait that ends for want of a cell passes its wake on: another consumer may need none.
            match self.wait(Side::Consumers, me, waiter, deadline, liveness, || self.try_lease(me)) {
                Err(RingError::NoCell) if deadline.passed() => {
                    return Err(RingError::TimedOut { owner: None });
                }
                Err(RingError::NoCell) => self.wait_for_cell(me, waiter, deadline, liveness)?,
                other => return other,
            }
        }
    }

    /// Waits a moment for a message at a hole that no memory was found for. There is no word that could say that
    /// somebody sleeps, so it only naps.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`.
    pub fn wait_at_hole(
        &self,
        me: ParticipantId,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<(), RingError> {
        let line = &self.slots.control().not_empty;
        let ready = |slept| {
            let changed = self.put_back_bit().is_some() || !matches!(self.peek(), Next::Hole(_));
            (slept || changed).then_some(())
        };
        let arm = || Arm::Nap(line.seq.load(Acquire)); // E8
        // Whatever the mode: nobody opens the chunk the sooner for being watched.
        let waited = Waiter::new(Mode::Sleep).wait_seq(line, deadline, ready, arm, || {});
        self.probe_all(Some(me), liveness);
        stopped(waited)
    }

    /// Waits until every message that was sent before is acknowledged.
    ///
    /// # Errors
    /// `TimedOut`, `Interrupted`.
    pub fn wait_done(
        &self,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<(), RingError> {
        let line = &self.slots.control().done;
        let ready = |_| self.is_done().then_some(());
        let probe = || self.probe_all(None, liveness);
        stopped(waiter.wait_seq(line, deadline, ready, || self.arm_at(line, gate::DONE_WANTED), probe))
    }

    fn wait_for_cell(
        &self,
        me: ParticipantId,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<(), RingError> {
        let line = &self.slots.control().a_cell;
        let ready = |_| self.a_cell_can_be_had().then_some(());
        let probe = || self.probe_all(Some(me), liveness);
        stopped(waiter.wait_seq(line, deadline, ready, || self.arm_at(line, gate::CELL_WANTED), probe))
    }

    /// Says at the gate that somebody sleeps on `line`.
    fn arm_at(&self, line: &WaitLine, bit: u32) -> Arm {
        let seq = line.seq.load(Acquire); // E8
        self.slots.control().geometry.gate.fetch_or(bit, SeqCst); // E7
        fence(SeqCst); // E7
        Arm::Sleep(seq)
    }

    /// One wait of one side. `attempt` is asked again and again.
    #[inline(never)]
    fn wait<T>(
        &self,
        side: Side,
        me: ParticipantId,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
        mut attempt: impl FnMut() -> Result<T, RingError>,
    ) -> Result<T, RingError> {
        let memory = Memory::default();
        let ready = |slept| {
            memory.slept.set(slept);
            memory.judge(attempt())
        };
        let arm = || {
            if !memory.said.replace(true) {
                self.say_asleep(side, me);
            }
            self.arm(side)
        };
        let probe = || {
            memory.probe(me, liveness);
            if side == Side::Consumers {
                // What the dead have not acknowledged is a message to wait for as well.
                self.probe_all(Some(me), liveness);
            }
        };
        let result = waiter.wait_seq(self.line(side), deadline, ready, arm, probe);
        if memory.said.get() {
            self.say_awake(side, me);
        }
        if memory.slept.get() {
            self.pass(side);
        }
        match result {
            Ok(result) => result,
            Err(Stop::TimedOut) => Err(RingError::TimedOut { owner: memory.owner.get() }),
            Err(Stop::Interrupted) => Err(RingError::Interrupted),
        }
    }

    /// Makes the word that the other side claims next say that somebody sleeps. The sequence is read first: a wake
    /// that comes before the sleep then prevents it.
    fn arm(&self, side: Side) -> Arm {
        let seq = self.line(side).seq.load(Acquire); // E8
        match self.mark_next(side) {
            Mark::Set => Arm::Sleep(seq),
            Mark::Open | Mark::Lost => Arm::Again,
            // At the end every acknowledgement wakes, without a mark.
            Mark::NoWord if self.gate() & gate::NO_INPUT != 0 => Arm::Sleep(seq),
            Mark::NoWord | Mark::Taken => Arm::Nap(seq),
        }
    }

    /// Whoever slept, before it leaves, for whatever reason: it may have used up a wake that was meant for more
    /// than it took.
    fn pass(&self, side: Side) {
        for _ in 0..PASS_TRIES {
            if side == Side::Consumers && self.put_back_bit().is_some() {
                break;
            }
            match self.mark_next(side) {
                Mark::Set => return,
                Mark::Lost => {}
                Mark::Open | Mark::NoWord | Mark::Taken => break,
            }
        }
        park::hand_on(self.line(side));
    }

    fn mark_next(&self, side: Side) -> Mark {
        let (position, seen) = match side {
            Side::Producers => match self.peek_room() {
                Room::Full { position, seen } => (position, seen),
                Room::Free { .. } | Room::Hole(_) | Room::Corrupted => return Mark::Open,
                Room::Busy(_) | Room::Spent => return Mark::Taken,
            },
            Side::Consumers => match self.peek() {
                Next::Empty { position, seen } => (position, seen),
                Next::Found { .. } | Next::Corrupted => return Mark::Open,
                Next::Hole(_) => return Mark::NoWord,
                Next::Behind(_) | Next::Busy(_) | Next::Spent => return Mark::Taken,
            },
        };
        let word = &self.slots.slot(position).word;
        let is_set = seen.is_waited_for() || self.swap(word, seen, seen.waited_for());
        if is_set { Mark::Set } else { Mark::Lost }
    }

    /// Spins a moment for an eighth of the ring.
    fn let_room_gather(&self) {
        let eighth = self.slots.capacity() / 8;
        for _ in 0..PATIENT_LOOKS {
            let target = after(self.tail_hint(), eighth);
            if self.look(target).is_free(target) {
                return;
            }
            for _ in 0..TURNS_A_LOOK {
                spin_loop();
            }
        }
    }

    /// For a consumer that has caught up with a stream: spins a moment, 13 microseconds at most, for several messages
    /// instead of one. Else it and the producer take the same line away from each other with each message. Did a good
    /// part of them come?
    fn let_messages_gather(&self) -> bool {
        let several = (self.slots.capacity() / 4).clamp(8, SEVERAL);
        let target = after(self.head_hint(), several);
        for _ in 0..GATHER_LOOKS {
            for _ in 0..TURNS_A_LOOK {
                spin_loop();
            }
            if self.look(target).is_new(target) {
                return true;
            }
        }
        let some = after(self.head_hint(), several / 8);
        self.look(some).is_new(some)
    }

    /// Pays the wake that a claim of a word with W owes.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_consumer(&self) {
        park::wake_one(&self.slots.control().not_empty);
    }

    /// The same towards producers.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_producer(&self) {
        park::wake_one(&self.slots.control().not_full);
    }

    /// After an acknowledgement, or a cell given back, with the gate not zero: wakes those who wait for that.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_of_an_end(&self) {
        // Two who acknowledge at the same time: one of them sees what the other did.
        fence(SeqCst); // E7
        let control = self.slots.control();
        let seen = self.gate();
        if seen & gate::CELL_WANTED != 0 && self.a_cell_can_be_had() {
            control.geometry.gate.fetch_and(!gate::CELL_WANTED, SeqCst); // E7
            park::wake_all(&control.a_cell);
        }
        if seen & gate::DONE_WANTED != 0 && self.is_done() {
            control.geometry.gate.fetch_and(!gate::DONE_WANTED, SeqCst); // E7
            park::wake_all(&control.done);
        }
        // At the end consumers wait for each other, as something may still be put back.
        if seen & gate::NO_INPUT != 0 && !matches!(self.peek(), Next::Found { .. }) {
            park::wake_all(&control.not_empty);
        }
    }

    /// Asks about everybody who owns something here.
    fn probe_all(&self, but: Option<ParticipantId>, liveness: &dyn Liveness) {
        for owner in self.owners().filter(|owner| Some(*owner) != but) {
            // True or false, the next look at the words tells what came of it.
            let _ = liveness.is_dead(owner);
        }
    }

    fn line(&self, side: Side) -> &WaitLine {
        let control = self.slots.control();
        match side {
            Side::Producers => &control.not_full,
            Side::Consumers => &control.not_empty,
        }
    }

    fn sleeper_bit(&self, side: Side, who: ParticipantId) -> (&AtomicU64, u64) {
        let sleepers = &self.slots.control().sleepers;
        let words = match side {
            Side::Producers => &sleepers.producers,
            Side::Consumers => &sleepers.consumers,
        };
        let index = usize::from(who.index());
        (&words[index / 64 % words.len()], 1 << (index % 64))
    }

    fn say_asleep(&self, side: Side, who: ParticipantId) {
        let (word, bit) = self.sleeper_bit(side, who);
        word.fetch_or(bit, Relaxed);
    }

    fn say_awake(&self, side: Side, who: ParticipantId) {
        let (word, bit) = self.sleeper_bit(side, who);
        word.fetch_and(!bit, Relaxed);
    }

    /// The dead do not sleep.
    pub(super) fn forget_sleeper(&self, who: ParticipantId) {
        self.say_awake(Side::Producers, who);
        self.say_awake(Side::Consumers, who);
    }
}

/// What came of setting W in the next word of a side.
enum Mark {
    /// It is set.
    Set,
    /// Nothing stands in the way.
    Open,
    /// The word changed meanwhile: look again.
    Lost,
    /// The next word is in a hole: there is nothing to mark.
    NoWord,
    /// Somebody is in the middle of it: W is for words that are claimed by a CAS.
    Taken,
}

fn stopped(result: Result<(), Stop>) -> Result<(), RingError> {
    result.map_err(|stop| match stop {
        Stop::TimedOut => RingError::TimedOut { owner: None },
        Stop::Interrupted => RingError::Interrupted,
    })
}
