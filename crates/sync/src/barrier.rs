//! The barrier: a number of parties meet, and none goes on before all are there, or all are told that it will not be.
//!
//! ```text
//! BarrierWords   0 {parties @0, policy @4, state @8, fates @16, sleepers[4] @24}   128 line   256 ticket[parties]
//! state    {phase:32 | leader: thread:16 participant:13 | 0:2 | BROKEN:1}     leader 0: nobody runs the action
//! ticket   {phase:32 | PROV:1 | version:2 | participant:13 | thread:16}       arrived for p: phase == p+1, somebody, not PROV
//! fates    {next:32 | bits:32}                                                bit k: phase next-1-k was broken; no later one was
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | ticket | who arrives; recovery of its holder frees it | parties | E2 | freed (Leave), or its phase is broken (Break) |
//! | state | turner, leader, who breaks or resets, recovery | everybody | E1 | phase and fate are whole; a dead leader is taken out |
//! | fates | `reset`, between the break and the move | waiters, before they arrive, and late | E3 | a step ahead of the phase, which is broken |
//! | parties, policy | the maker | everybody | none: never change | as they are |
//! | line, sleepers | see `gate` | | | |
//!
//! ```text
//! wait     1 F = fates; P = state; BROKEN: told so; ph = P.phase
//!          2 ticket by ticket: taken for ph: the next
//!              older than ph+1      CAS -> {ph+1, version, me}                   a party
//!              {ph+1, nobody}       CAS -> {ph+1, version, me, PROV}; read-modify-write of state: moved: 1;
//!                                   CAS -> without PROV                          a party
//!              newer                1
//!              none left            waits until the phase moves or a ticket is not taken; 1. No party never turns.
//!          3 P = state: moved: fate. BROKEN: told so. No leader, and all are in: turn. Else sleep; again
//! fate     fates == F: turned. back = next-1-ph: negative: turned; below 32: bit back; else: Broken
//! turn     an action: CAS {ph, 0} -> {ph, me}; run it;  CAS {ph, 0 or me} -> {ph+1, 0}: COMMIT; wake all
//! break    CAS {ph, any} -> {ph, BROKEN}: COMMIT; wake all                       (abort, deadline, panic of the action)
//! reset    f = fates; P = state: not BROKEN: break;  f.next != ph+1: CAS f -> {ph+1, bits << (ph+1 - next) | 1};
//!          CAS {ph, BROKEN} -> {ph+1, 0}: COMMIT; wake all
//! recover  Break: a ticket of d for the phase, or d leads: break.  Leave: leader d -> 0; tickets of d -> {ph+1, version+1, nobody}
//!          always: wake all
//! ```
//! Where the dead break the phase, tickets only come, so one scan that finds all of them is a moment at which all were
//! in. Where they leave, a ticket may be freed behind the first look at it:
//! ```text
//!   A scans                  B (killed after its claim)     C
//!   ticket of B: in
//!                            recovery frees it
//!                                                           claims the last ticket
//!   ticket of C: in: turns, though two parties were never in together with C
//! ```
//! so there two scans must be equal (the version tells a ticket that was freed and taken again). A freed ticket keeps
//! its phase, so that after a turn every ticket carries ph+1 and the CAS of one who read the state before the turn
//! fails; and who takes a freed one counts only after it has seen, with PROV set, that the phase is the same still. Each
//! of these is a mutation of the model `barrier` in testkit that fails.
//!
//! Invariants
//! - I1 a ticket of the present phase changes only by recovery of its holder, and from PROV to whole by its holder.
//! - I2 a phase turns only if all tickets were in at one moment after it began; who is let through held one then.
//! - I3 BROKEN goes by `reset` alone, so a phase that was broken is never turned.
//! - I4 only `reset` moves a phase that was broken, and notes it before. So a phase that is over has turned if nothing was
//!   noted since before it was seen whole; and if something was, `next` is not from another age of the counter, and bit and
//!   distance say how it ended. Of a phase that is 32 or more before one that was broken the bit is gone: the waiter,
//!   who has slept through a reset, is told Broken.
//! - I5 what `reset` replaces it has read before it saw the phase of which it notes the fate: had that one moved and a
//!   later one been noted, the CAS fails.
//!
//! Edges
//! - E1 the CAS of state (AcqRel) -> a look (Acquire): what the turner had seen of all parties, and the action.
//! - E2 claim (AcqRel) -> scan (Acquire): what a party did before it came.
//! - E3 fates (AcqRel) -> fates (Acquire): the break that it follows. Who has read a fate sees at least that break; who has
//!   seen the phase whole had not read its fate before.
//!
//! | killed | what is left | Break | Leave |
//! |---|---|---|---|
//! | before its claim | nothing | | |
//! | party, before the turn | its ticket | all get Broken | the ticket is free, a successor may take it |
//! | leader, in the action | leader, ticket | all get Broken | the action runs again at the next completion |
//! | turner between COMMIT and wake | the phase has moved, sleepers | recovery wakes all; else the slice | the same |
//! | reset between fates and COMMIT | BROKEN, the fate noted | anybody's `reset` repeats it | the same |
//! | recoverer | any prefix | the next one repeats it | the same |
//!
//! Progress: arriving and turning are lock-free, at most two rounds over the tickets each; a wait sleeps in slices and at
//! the end of each asks for those who are in. A stopped party is waited for until the deadline. Source: the phase
//! counter with a double collect instead of an arrival count, because a count cannot say whose arrival a death undoes.

use std::cell::Cell;
use std::fmt;

use ginnel_layout::Liveness;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use ginnel_layout::lock::owner_participant;
use ginnel_layout::participant::ParticipantId;
use ginnel_layout::signal::{BarrierControl, BarrierState, BarrierTicket, BarrierWords};

use crate::deadline::Deadline;
use crate::gate::{self, Sleeper};
use crate::mutex::Holder;
use crate::park::{Stop, Waiter};

mod ending;
mod recovery;
#[cfg(all(test, not(loom)))]
mod tests;

use ending::BreaksPhase;

/// The bit of a ticket's version that says: not counted yet.
const PROVISIONAL: u8 = 0b100;
const VERSION: u8 = 0b011;

/// Slices in a row after which a party proven dead, whom no recovery takes out, is called corruption.
const UNSWEPT_MAX: u32 = 3;

/// Why a wait at a barrier failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarrierError {
    /// The phase was broken: a party died, timed out or aborted, or somebody reset the barrier.
    Broken,
    /// The deadline came. If the caller was a party, the phase is broken now.
    TimedOut,
    /// A signal handler ran in this thread while it slept. Wait on with the same [`Arrival`], or [`Barrier::abort`].
    Interrupted,
    /// The words hold what no barrier of ours stores.
    Corrupted,
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "the barrier was broken: a party died, timed out or aborted",
            Self::TimedOut => "the deadline came before all parties",
            Self::Interrupted => "a signal interrupted the wait at the barrier",
            Self::Corrupted => "the words of the barrier are damaged",
        })
    }
}

impl std::error::Error for BarrierError {}

/// How far a wait has come. Begin with the default, and keep it over an interruption.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival {
    /// The phase for which it holds a ticket.
    party_of: Option<u32>,
    /// Which of the tickets that is.
    ticket: u32,
    /// The fates as they were before it arrived.
    fates: u64,
    /// Waits in slices.
    goes_on: bool,
}

impl Arrival {
    /// Of one who waits in slices: [`Barrier::wait`] is `Interrupted` at its deadline, and breaks nothing.
    #[must_use]
    pub fn in_slices() -> Self {
        Self { goes_on: true, ..Self::default() }
    }

    /// The next deadline is the last.
    pub fn end_slices(&mut self) {
        self.goes_on = false;
    }

    /// The number of its ticket, below that of the parties. Of a barrier that a death breaks, no two parties of a
    /// phase have the same. `None`: it has none yet.
    #[must_use]
    pub fn ticket(&self) -> Option<u32> {
        self.party_of.map(|_| self.ticket)
    }
}

/// A barrier: its words, and one ticket for each party.
#[derive(Debug, Clone, Copy)]
pub struct Barrier<'a> {
    words: &'a BarrierWords,
    tickets: &'a [AtomicU64],
}

/// What a search for a ticket came to.
enum Found {
    Ticket,
    AllTaken,
    Moved,
}

/// What a look ended with.
enum Seen {
    /// The phase is over, or another one has begun.
    Moved,
    Broken,
    /// All are in, and nobody leads.
    Full,
    /// For one without a ticket: one is to be had.
    Room,
    Corrupted,
}

impl<'a> Barrier<'a> {
    /// The barrier of these words.
    #[must_use]
    pub const fn new(words: &'a BarrierWords, tickets: &'a [AtomicU64]) -> Self {
        Self { words, tickets }
    }

    /// Arrives, and waits until `deadline` for the others. True for the one that turned the phase, after it has run
    /// `action`, if that is there; of the actions of all parties one is run in each phase, or one more after a death.
    ///
    /// `liveness` is asked about the parties at the end of each slice. A panic of the action breaks the barrier.
    ///
    /// # Errors
    /// See [`BarrierError`]. After `Interrupted`, call again with the same `arrival`.
    pub fn wait(
        &self,
        arrival: &mut Arrival,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &dyn Liveness,
        action: &mut Option<impl FnOnce()>,
    ) -> Result<bool, BarrierError> {
        let mut sleeper = Sleeper::new(&self.words.control.sleepers, me.participant());
        let unswept = Cell::new(0);
        let mut scan = Vec::new();
        loop {
            let phase = match arrival.party_of {
                Some(phase) => phase,
                None => {
                    arrival.fates = self.words.control.fates.load(Acquire); // E3
                    match self.arrive(me, &mut arrival.ticket)? {
                        (Found::Moved, _) => continue,
                        (Found::AllTaken, phase) => phase,
                        (Found::Ticket, phase) => *arrival.party_of.insert(phase),
                    }
                }
            };
            let is_party = arrival.party_of.is_some();
            let ready = || match self.look(phase, is_party, &mut scan) {
                None if unswept.get() >= UNSWEPT_MAX => Some(Seen::Corrupted),
                seen => seen,
            };
            let probe = || {
                sleeper.mark();
                let is_unswept = self.probe(phase, me.participant(), liveness);
                unswept.set(if is_unswept { unswept.get() + 1 } else { 0 });
            };
            let outcome = gate::wait(waiter, &self.words.line, deadline, ready, probe);
            if let Some(end) = self.proceed(outcome, phase, *arrival, me, action) {
                return end;
            }
        }
    }

    /// What follows from the end of a wait for `phase`. None: goes on.
    fn proceed(
        &self,
        outcome: Result<Seen, Stop>,
        phase: u32,
        arrival: Arrival,
        me: Holder,
        action: &mut Option<impl FnOnce()>,
    ) -> Option<Result<bool, BarrierError>> {
        let is_party = arrival.party_of.is_some();
        match outcome {
            Ok(Seen::Broken) => Some(Err(BarrierError::Broken)),
            Ok(Seen::Corrupted) => Some(Err(BarrierError::Corrupted)),
            Ok(Seen::Moved) if is_party => Some(self.fate_of(phase, arrival.fates).map(|()| false)),
            Ok(Seen::Moved | Seen::Room) => None,
            Ok(Seen::Full) => self.turn(phase, me, action).then_some(Ok(true)),
            Err(Stop::Interrupted) => Some(Err(BarrierError::Interrupted)),
            Err(Stop::TimedOut) if arrival.goes_on => Some(Err(BarrierError::Interrupted)),
            // Only a party breaks the phase; and only if it is the same still, else the next look says how it ended.
            Err(Stop::TimedOut) if is_party && !self.break_phase(phase) => None,
            Err(Stop::TimedOut) => Some(Err(BarrierError::TimedOut)),
        }
    }

    fn state(&self) -> Result<BarrierState, BarrierError> {
        let word = self.words.control.state.load(Acquire); // E1
        BarrierState::from_bits(word).ok_or(BarrierError::Corrupted)
    }

    /// One CAS of the state.
    fn advance(&self, from: BarrierState, to: BarrierState) -> bool {
        // E1
        self.words.control.state.compare_exchange(from.bits(), to.bits(), AcqRel, Relaxed).is_ok()
    }

    /// Gives up a wait that is not to be called again: a party breaks its phase, if that is not over.
    pub fn give_up(&self, arrival: &Arrival) {
        if let Some(phase) = arrival.party_of {
            self.break_phase(phase);
        }
    }

    /// Steps 1 and 2: looks for a ticket of the present phase. Its number goes to `number`.
    fn arrive(&self, me: Holder, number: &mut u32) -> Result<(Found, u32), BarrierError> {
        let now = self.state()?;
        if now.is_broken {
            return Err(BarrierError::Broken);
        }
        // Each begins at a place of its own, so that those who come together do not meet at one word.
        let start =
            (usize::from(me.participant().index()) + usize::from(me.thread())) % self.tickets.len().max(1);
        let (before, after) = self.tickets.split_at(start);
        let numbered = after.iter().zip(start..).chain(before.iter().zip(0..));
        for (ticket, at) in numbered {
            match self.claim(ticket, now.phase, me)? {
                Found::AllTaken => {}
                found => {
                    *number = at as u32;
                    return Ok((found, now.phase));
                }
            }
        }
        Ok((Found::AllTaken, now.phase))
    }

    /// Claims one ticket for `phase`. `AllTaken`: another one has it.
    fn claim(&self, ticket: &AtomicU64, phase: u32, me: Holder) -> Result<Found, BarrierError> {
        let mine = BarrierTicket { phase: phase.wrapping_add(1), version: 0, owner: me.bits() };
        let mut word = ticket.load(Acquire); // E2
        loop {
            let there = BarrierTicket::from_bits(word).ok_or(BarrierError::Corrupted)?;
            let ahead = there.phase.wrapping_sub(mine.phase) as i32;
            if ahead > 0 {
                return Ok(Found::Moved);
            }
            if ahead == 0 && there.owner != 0 {
                return Ok(Found::AllTaken);
            }
            let whole = BarrierTicket { version: there.version & VERSION, ..mine };
            let claimed = BarrierTicket { version: whole.version | PROVISIONAL, ..whole };
            let claimed = if ahead == 0 { claimed } else { whole };
            // E2
            match ticket.compare_exchange(word, claimed.bits(), AcqRel, Acquire) {
                Ok(_) if ahead < 0 => return Ok(Found::Ticket),
                Ok(_) => return self.confirm(ticket, claimed, whole, phase),
                Err(now) => word = now,
            }
        }
    }

    /// The second half of the claim of a ticket that recovery freed: nobody has counted it yet.
    fn confirm(
        &self,
        ticket: &AtomicU64,
        claimed: BarrierTicket,
        whole: BarrierTicket,
        phase: u32,
    ) -> Result<Found, BarrierError> {
        // E1. A read-modify-write: it comes before the turn of this phase, or sees it.
        let word = self.words.control.state.fetch_add(0, AcqRel);
        let now = BarrierState::from_bits(word).ok_or(BarrierError::Corrupted)?;
        if now.phase != phase || now.is_broken {
            return Ok(Found::Moved);
        }
        // E2. If it fails, the phase has turned since, and the next look sees that.
        let _ = ticket.compare_exchange(claimed.bits(), whole.bits(), AcqRel, Relaxed);
        Ok(Found::Ticket)
    }

    /// Step 3. None: wait.
    fn look(&self, phase: u32, is_party: bool, scan: &mut Vec<u64>) -> Option<Seen> {
        let Ok(now) = self.state() else { return Some(Seen::Corrupted) };
        if now.phase != phase {
            return Some(Seen::Moved);
        }
        if now.is_broken {
            return Some(Seen::Broken);
        }
        if !is_party {
            let is_taken = |ticket: BarrierTicket| ticket.is_for(phase);
            return self
                .all_tickets(is_taken)
                .map_or(Some(Seen::Corrupted), |all| (!all).then_some(Seen::Room));
        }
        if now.leader != 0 {
            return None;
        }
        match self.all_are_in(phase, scan) {
            Ok(all) => all.then_some(Seen::Full),
            Err(_) => Some(Seen::Corrupted),
        }
    }

    fn all_tickets(&self, holds: impl Fn(BarrierTicket) -> bool) -> Result<bool, BarrierError> {
        for ticket in self.tickets {
            let word = ticket.load(Acquire); // E2
            if !holds(BarrierTicket::from_bits(word).ok_or(BarrierError::Corrupted)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Was there a moment at which all were in? `scan` is room for the first of two scans.
    fn all_are_in(&self, phase: u32, scan: &mut Vec<u64>) -> Result<bool, BarrierError> {
        if !self.leaves() {
            return self.all_tickets(|ticket| has_arrived(ticket, phase));
        }
        loop {
            scan.clear();
            for ticket in self.tickets {
                let word = ticket.load(Acquire); // E2
                let there = BarrierTicket::from_bits(word).ok_or(BarrierError::Corrupted)?;
                if !has_arrived(there, phase) {
                    return Ok(false);
                }
                scan.push(word);
            }
            // E2
            if self.tickets.iter().zip(scan.iter()).all(|(ticket, seen)| ticket.load(Acquire) == *seen) {
                return Ok(true);
            }
        }
    }

    /// Do the dead leave their tickets to others, instead of breaking the phase?
    fn leaves(&self) -> bool {
        self.words.control.policy.load(Relaxed) == BarrierControl::LEAVE
    }

    /// Turns `phase`, in which all are. False: somebody else did something first; look again.
    fn turn(&self, phase: u32, me: Holder, action: &mut Option<impl FnOnce()>) -> bool {
        let mut from = BarrierState { phase, leader: 0, is_broken: false };
        if action.is_some() {
            let leading = BarrierState { leader: me.bits(), ..from };
            if !self.advance(from, leading) {
                return false;
            }
            from = leading;
            let unwound = BreaksPhase(self, phase);
            if let Some(action) = action.take() {
                action();
            }
            std::mem::forget(unwound);
        }
        let turned =
            self.advance(from, BarrierState { phase: phase.wrapping_add(1), leader: 0, is_broken: false });
        if turned {
            gate::post_all(&self.words.line);
        }
        turned
    }

    /// Is it broken? The answer may be old at once.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state().is_ok_and(|now| now.is_broken)
    }

    /// How many are in. 0 for a broken one.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        match self.state() {
            Ok(now) if !now.is_broken => self.parties_in(now.phase).count() as u32,
            _ => 0,
        }
    }

    /// Who is in `phase`, PROV or not.
    fn parties_in(&self, phase: u32) -> impl Iterator<Item = ParticipantId> + '_ {
        self.tickets.iter().filter_map(move |ticket| {
            let there = BarrierTicket::from_bits(ticket.load(Acquire))?; // E2
            if there.is_for(phase) { owner_participant(there.owner) } else { None }
        })
    }
}

/// Is this the ticket of one who counts?
fn has_arrived(ticket: BarrierTicket, phase: u32) -> bool {
    ticket.is_for(phase) && ticket.version & PROVISIONAL == 0
}
