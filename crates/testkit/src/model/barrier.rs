//! The barrier: as many tickets as parties, one word that says the phase, and what a death does to both.
//!
//! ```text
//! state     {phase, leader: runs the action, 0 = nobody | BROKEN}
//! ticket    {phase, version, owner, PROV}     arrived for p  <=>  phase == p+1, owner != 0, not PROV
//! fates     {next, bits}                      bit k: phase next-1-k was broken, next-1 the last one that was
//!
//! wait      1 F = fates; P = state; BROKEN -> Broken; ph = P.phase
//!           2 ticket by ticket: arrived or PROV for ph -> the next
//!               older than ph+1      CAS -> {ph+1, version, me}: a party
//!               {ph+1, owner 0}      freed by recovery: CAS -> {ph+1, version, me, PROV}; read-modify-write of state:
//!                                    phase moved -> 1; else CAS -> without PROV: a party
//!               newer                -> 1
//!               none left            waits as in 3 without being a party: until the phase moves or a ticket is not
//!                                    taken, then 1; it never turns the phase
//!           3 arm; look; sleep; and again:
//!               look  P = state: moved -> fate; BROKEN -> Broken; a leader -> sleep
//!                     two equal scans, all arrived: turn
//!           deadline: CAS {ph, any} -> {ph, BROKEN}; post; fails -> look
//! fate      f = fates; f == F: turned. back = f.next-1-ph: negative: turned; remembered: bit back; else Broken
//! turn      with an action: CAS {ph, 0} -> {ph, me}; run it
//!           CAS {ph, 0 or me} -> {ph+1, 0}: COMMIT; post; fails -> look
//! reset     f = fates; P = state; not BROKEN: CAS -> BROKEN
//!           f.next != ph+1: CAS fates f -> {ph+1, bits << ph+1-f.next | 1}, fails -> again
//!           CAS {ph, BROKEN} -> {ph+1, 0}; post
//! recover d P = state
//!           Break: a ticket of d for P.phase, or leader d: CAS {ph, any} -> {ph, BROKEN}
//!           Leave: leader d -> 0; tickets of d for P.phase, PROV or not -> {ph+1, version+1, 0}
//!           always: wake all
//! ```
//!
//! Why a freed ticket keeps its phase: so that after a turn every ticket carries ph+1, and the CAS of one who read
//! the state before the turn fails. Only a freed ticket can still be taken then; who takes one is not counted before
//! it has seen that the phase is still the same. Why two scans: a dead party's ticket may be freed behind the
//! first look at it; between two equal scans there is a moment at which all were in. The version tells a
//! ticket that was given up and taken again by the next process of the same id (beyond the bounds of these cases).
//!
//! Only `reset` moves a phase that was broken, so the fates are its business alone. F tells whether any was moved so since
//! before the waiter came; if not, `next` may be from so long ago that the difference to it means nothing.
//!
//! What must hold: a phase is turned only if all were in at one moment; whoever is let through held a ticket when
//! the phase turned; everybody learns the fate that his phase had, or Broken where a phase was broken that is
//! at least as many phases later as are remembered; and nobody sleeps while his phase is full, or
//! moved, or waits for a dead one. The line is one step each here, arm and post (model `gate`). No slices.
//!
//! | dies | leaves | Break | Leave |
//! |---|---|---|---|
//! | before its claim | nothing | | |
//! | party | ticket d | BROKEN | the ticket is free, a successor may take it |
//! | leader in its action | leader d, ticket d | BROKEN | the action runs again at the next completion |
//! | turner before its post | phase moved, sleepers | recovery wakes all | the same |
//! | reset between fates and CAS | BROKEN, fate noted | the next reset | the same |
//! | recoverer | any prefix | the next one repeats it | the same |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod party;
mod recovery;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const PROCESSES: usize = 4;
const TICKETS: usize = 3;
const RECOVERERS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Ticket {
    phase: u8,
    version: u8,
    owner: u8,
    provisional: bool,
}

/// The state word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Word {
    phase: u8,
    leader: u8,
    broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Fates {
    next: u8,
    bits: u8,
}

impl Fates {
    /// With `phase` noted as broken.
    fn noted(self, phase: u8) -> Fates {
        let bits = self.bits.checked_shl(u32::from(phase.wrapping_add(1).wrapping_sub(self.next)));
        Fates { next: phase + 1, bits: bits.unwrap_or(0) | 1 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Fates,
    Read,
    Find,
    Claim,
    Reread,
    Confirm,
    FatesLate,
    Arm,
    Look,
    Fate,
    Scan,
    ScanAgain,
    Sleep,
    Asleep,
    Lead,
    Action,
    Commit,
    Deadline,
    ResetFates,
    ResetRead,
    ResetAbort,
    ResetFatesLate,
    ResetNote,
    ResetCommit,
    Post,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    phase: u8,
    /// The ticket it looks at.
    index: u8,
    /// Its own ticket plus one; 0: no party.
    ticket: u8,
    seen: Ticket,
    scan: [Ticket; TICKETS],
    /// What it has read of the fates: before it arrived, or for the CAS of a reset.
    fates: Fates,
    /// Posted since it armed.
    moved: bool,
    leads: bool,
    /// Only without a fence: it looked at the other tickets before its claim, and somebody was missing.
    missing: bool,
    /// It held a ticket when its phase turned. Known to the checks only.
    counted: bool,
    left: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Read,
    Leader,
    Ticket,
    TicketStore,
    Break,
    Wake,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    phase: u8,
    index: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    word: Word,
    fates: Fates,
    tickets: [Ticket; TICKETS],
    processes: [Process; PROCESSES],
    recoverers: [Recoverer; RECOVERERS],
    kills: u8,
    deadlines: u8,
    resets: u8,
    /// All tickets of this phase were taken at one moment.
    was_full: bool,
    /// Which phases were broken, as bits; the others turned.
    broken: u16,
}

/// What a death does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Policy {
    Break,
    Leave,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// One scan suffices: a ticket may be freed behind it.
    SingleScan,
    /// None up to two kills: a freed ticket gets no other version. With three, and ids that come again, two scans
    /// could be equal with a hole between them.
    NoVersion,
    /// Draft: a freed ticket goes back to the phase before, and is claimed like any other: also after the turn.
    FreeKeepsNothing,
    /// A freed ticket is taken in one step.
    NoProvisional,
    /// The phase is not looked at again between the two steps.
    NoReread,
    /// A provisional ticket counts as arrived.
    ProvisionalCounts,
    /// Provisional tickets of the dead stay.
    ProvisionalNotSwept,
    /// The scan is done before the claim is seen, and nothing fences them.
    NoFence,
    /// A claim stores without comparing.
    ClaimByStore,
    /// A claimer that has slept takes the ticket of a later phase.
    ClaimNewer,
    /// Draft: who found no ticket waits for the turn only, and a freed one wakes him in vain.
    SpareWaitsForTurn,
    /// Recovery never wakes.
    SilentRecovery,
    /// Recovery leaves tickets alone.
    NotSwept,
    /// Recovery does not look who leads.
    LeaderForgotten,
    /// Recovery frees whatever is in the ticket by then.
    FreeByStore,
    /// The turn wakes nobody.
    TurnWithoutPost,
    /// The timeout wakes nobody.
    TimeoutWithoutPost,
    /// A deadline that comes behind the phase takes it for turned.
    DeadlineMeansTurned,
    /// Reset notes the fate without having made sure of BROKEN: the phase may turn after all.
    FateWithoutBroken,
    /// Reset notes the fate after the phase has moved.
    FateAfterReset,
    /// Reset reads the fates that it replaces after the state: it may be about to note a phase that moved long ago.
    NoteBehindState,
    /// Reset notes the fate whatever has happened to the word since it was read.
    NoteByStore,
    /// Who arrives reads the fates when it has arrived.
    FatesAfterArrival,
    /// The fates are judged by the distance alone, also where nothing was noted since.
    DistanceAlone,
    /// A reset since the arrival means Broken.
    AnyResetMeansBroken,
    /// A fate that is too old to be remembered is taken for a turn.
    ForgottenMeansTurned,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Barrier {
    processes: usize,
    parties: usize,
    /// Waits of each process.
    waits: [u8; PROCESSES],
    policy: Policy,
    action: bool,
    kills: u8,
    recoverers: usize,
    deadlines: u8,
    resets: u8,
    /// So many phases back the fates reach.
    remembered: u8,
    /// What stands in the fates at first: the trace of a reset, a whole turn of the counter of phases ago.
    last_noted: u8,
    /// Each begins its search at another ticket. If all begin with the first, a claimer has seen every earlier claim.
    hints: bool,
    bug: Bug,
}

/// The id of process `k`; 0 is nobody.
fn id(k: usize) -> u8 {
    k as u8 + 1
}

impl State {
    /// `seq += 1` and wake all.
    fn post(&mut self) {
        for process in &mut self.processes {
            match process.at {
                At::Asleep => process.at = At::Arm,
                At::Look | At::Scan | At::ScanAgain | At::Sleep => process.moved = true,
                _ => {}
            }
        }
    }
}

impl Process {
    fn rest(&mut self) {
        *self = Process { left: self.left, ..Process::default() };
    }

    /// Back to step 1.
    fn again(&mut self) {
        *self = Process { at: At::Fates, left: self.left, ..Process::default() };
    }

    /// Back to the look, or another step of it, with nothing of the last one kept.
    fn go(&mut self, at: At) {
        self.at = at;
        self.index = 0;
        self.seen = Ticket::default();
        self.scan = [Ticket::default(); TICKETS];
    }
}

impl Barrier {
    fn arrived(&self, ticket: Ticket, phase: u8) -> bool {
        let counts = !ticket.provisional || self.bug == Bug::ProvisionalCounts;
        ticket.phase == phase + 1 && ticket.owner != 0 && counts
    }

    /// Where process `k` begins to look for a ticket.
    fn start(&self, k: usize) -> u8 {
        if self.hints { (k % self.parties) as u8 } else { 0 }
    }

    fn is_full(&self, s: &State) -> bool {
        s.tickets[..self.parties]
            .iter()
            .all(|t| t.phase == s.word.phase + 1 && t.owner != 0 && !t.provisional)
    }

    /// Whether somebody who sleeps is right to do so: his phase lacks somebody, and all who are in live.
    fn sleeps_well(&self, s: &State, k: usize) -> bool {
        let process = s.processes[k];
        let party = |t: &Ticket| {
            let arrived = t.phase == s.word.phase + 1 && t.owner != 0;
            !arrived || t.owner > 0 && s.processes[t.owner as usize - 1].at == At::Asleep
        };
        process.at == At::Asleep
            && process.ticket != 0
            && s.tickets[process.ticket as usize - 1].owner == id(k)
            && s.word == (Word { phase: process.phase, leader: 0, broken: false })
            && !self.is_full(s)
            && s.tickets.iter().all(party)
    }
}

impl Model for Barrier {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State { fates: Fates { next: self.last_noted, ..Fates::default() }, ..State::default() };
        for (process, waits) in s.processes[..self.processes].iter_mut().zip(self.waits) {
            process.left = waits;
        }
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.processes {
            let process = s.processes[k];
            if process.at == At::Dead {
                self.start_recovery(s, k, out);
                continue;
            }
            if process.at != At::Idle && s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.processes[k].rest();
                n.processes[k].at = At::Dead;
                out.add(Who::Process(k), "KILLED", n);
            }
            self.proceed(s, k, out);
        }
        for r in 0..self.recoverers {
            if s.recoverers[r].dead == 0 {
                continue;
            }
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.recoverers[r] = Recoverer::default();
                out.add(Who::Recoverer(r), "KILLED", n);
            }
            self.repair(s, r, out);
        }
    }

    fn invariant(&self, _: &State) -> Result<(), String> {
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let done = |k: usize| {
            let process = s.processes[k];
            process.at == At::Idle && process.left == 0 || self.sleeps_well(s, k)
        };
        s.recoverers.iter().all(|r| r.dead == 0) && (0..self.processes).all(done)
    }
}
