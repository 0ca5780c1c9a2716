//! Waiting on the slot ring: who sleeps on which word, and who owes him a wake.
//!
//! ```text
//! slot      FREE(p)  WRITING(p,o)  FULL(p; NORMAL, ABORT or REDELIV)  READING(p,o); and W: somebody sleeps
//! lines     NE (not empty), NF (not full): a sequence word each. CELL: a flag and a sequence word
//!
//! wait      slept = false
//!           loop: s = my seq                              // before looking
//!             look: got a claim -> (work), pay, return
//!                   nothing, next slot armable -> CAS w -> w|W (not if it has W); fails: again
//!                   in the middle (somebody's WRITING or READING) -> again; with slices: sleep, unarmed
//!             deadline: if slept, pass; leave
//!             futex_wait(my seq, s); slept = true
//! armable   for a consumer FREE(head), for a producer FULL(tail - cap) of any kind
//! claim     the CAS writes a word without W; the old word had W: owes a wake to the other line
//! pay       after the commit, the acknowledgement, or the CAS that skips ABORT: owed: seq += 1; wake one
//!           then, if slept: pass
//! pass      next slot of my direction armable: CAS w -> w|W; else wake one on my line
//! abort     of a live producer is a commit: it pays what it owes
//! put back  slot = REDELIV|W (whoever armed the claimed word still sleeps); bump redeliver;
//!           NE: seq += 1, wake one
//! close     closed = 1; every line: seq += 1, wake all. A producer looks at closed behind its claim (then it
//!           aborts), and before it sleeps. A consumer that found nothing, then closed, then nothing again,
//!           is told so if nothing can come back: no slot but FREE or ABORT, no cell HELD or ORPHAN. For the
//!           HELD of others it sleeps as usual, but only with empty hands (model `leases`); whoever frees
//!           a cell looks at closed behind notify, and wakes all on NE
//!
//! lease     s = NE.seq; bit: CAS some ORPHAN -> HELD(me): got it
//!           c = CELL.seq; CAS a cell FREE -> LOAN(me); none: if slept, pass and slept = false;
//!             flag = 1; fence; look for FREE, and for ORPHAN, again; futex_wait(CELL.seq, c); again from s
//!           look as above; nothing: cell = FREE, notify; arm and sleep on NE
//!           got: cell = HELD(me), slot = FREE, pay
//! notify    (ack, lease given up, nack; whatever frees a cell or makes it an ORPHAN) fence;
//!           flag set? flag = 0; CELL.seq += 1; wake all
//! nack      cell = ORPHAN; bump redeliver; NE: seq += 1, wake one; notify
//! wait done s = CELL.seq; done? flag = 1; fence; done? futex_wait(CELL.seq, s)
//! recover d words of d: WRITING -> ABORT|W, READING -> REDELIV|W, LOAN -> FREE, HELD -> ORPHAN;
//!           bump redeliver; every line: seq += 1, wake all; always
//! ```
//!
//! Why no wake is lost without any fence on NE and NF: W and the claim share one word. Either W is set before
//! the claim, which then sees it, or the CAS that sets it fails. Why wake-one is enough: at any time when
//! somebody sleeps on a line, the next slot of that direction carries W, or somebody owes a wake, or somebody
//! who slept has not passed yet. Hence whoever slept passes, also before he goes to sleep on another line.
//!
//! CELL has sleepers of two kinds, so its wake goes to all: one alone may meet the wrong kind, who sleeps on.
//! Two lines, one for each kind, are a special case of this one.
//!
//! What must hold: everything that was sent is acknowledged in the end, every producer gets rid of its
//! messages, nobody sleeps over what he waits for. Nearly all configurations are without slices: there nobody
//! wakes by himself. The walk, the redelivery scan, the transfer into a cell and the look whether all is over
//! are one step each here (models `ring` and `leases`); a sequence word is a bit for each reader, which says
//! that it has moved.
//!
//! | dies | leaves | effect |
//! |---|---|---|
//! | sleeper | W or the flag, for nobody | one futile wake |
//! | sleeper that used up a wake | others asleep | recovery wakes all |
//! | between a claim that took W and its commit | W gone | ABORT or REDELIV with W, and recovery wakes all |
//! | between commit and wake | W gone | recovery wakes all |
//! | between flag = 0 and the wake | flag gone | recovery wakes all |
//! | recoverer | any prefix | the next one repeats it |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod ends;
mod leases;
mod lines;
mod recovery;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const PROCESSES: usize = 5;
const SLOTS: usize = 2;
const CELLS: usize = 2;

/// The lines, as bits.
const NOT_EMPTY: u8 = 1;
const NOT_FULL: u8 = 2;
const CELL: u8 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Word {
    #[default]
    Free,
    Writing(u8),
    Full,
    Abort,
    Redeliv,
    Reading(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    word: Word,
    pos: u8,
    waits: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Lent {
    #[default]
    Free,
    Loan(u8),
    Held(u8),
    Orphan,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Producer,
    Taker,
    Lessee,
    /// Waits until everything is acknowledged.
    Patient,
    Closer,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    /// At the top of the loop.
    Again,
    Orphans,
    CellSeq,
    Loan,
    Flag,
    SecondLook,
    Look,
    Closed,
    /// Producer behind its claim, about to look at `closed`.
    ClosedLate,
    Hold,
    /// Between a store of ORPHAN or REDELIV and the bump of `redeliver`.
    Bump,
    GiveUp,
    Arm,
    LateSeq,
    Sleep(u8),
    Asleep(u8),
    /// Has something to do for others.
    Pay,
    Wake(u8),
    FlagClear,
    CellBump,
    CellWake,
    FlagClearLate,
    PassWake,
    EndingWake,
    /// Has a message in a cell.
    Leased,
    Gone,
    /// Was told that the ring is closed, or that all is done.
    Told,
    Dead,
}

/// What somebody has to do before he goes on, in this order.
const WAKE_NOT_EMPTY: u8 = NOT_EMPTY;
const WAKE_NOT_FULL: u8 = NOT_FULL;
const NOTIFY: u8 = CELL;
const PASS: u8 = 8;
const ENDING: u8 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    /// The slot claimed, or to be armed.
    pos: u8,
    /// That slot as it was when found.
    seen: Word,
    owes: bool,
    slept: bool,
    /// The lines whose sequence word it has read, and those that have moved since.
    read: u8,
    moved: u8,
    todo: u8,
    then: At,
    /// Its cell + 1.
    cell: u8,
    /// It has seen `closed` and looks once more.
    closed: bool,
    /// Only without the fence of notify: it has looked at the flag, and whether it was set.
    early: u8,
    sent: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Slot,
    Cells,
    Bump,
    Seqs,
    Wakes,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    i: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    slots: [Slot; SLOTS],
    cells: [Lent; CELLS],
    tail: u8,
    head: u8,
    bit: bool,
    flag: bool,
    closed: bool,
    processes: [Process; PROCESSES],
    recoverer: Recoverer,
    kills: u8,
    /// How many sleepers and idle ones have left for ever.
    leaves: u8,
    aborts: u8,
    sent: u8,
    acked: u8,
}

/// A deliberate mistake; the last three are none, and must be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// A wake goes to one sleeper, who does not pass.
    NoPass,
    /// Pass never wakes.
    PassOnlyArms,
    /// A sleeper at its deadline leaves at once.
    LeaveWithoutPass,
    /// Asleep, without slices, while the word that is in the way cannot carry W.
    SleepUnarmed,
    /// The CAS that skips ABORT does not look at W.
    SkipDropsW,
    /// The sequence word is read only behind W.
    SeqAfterArm,
    /// W is set by a store, over whatever the word has become.
    ArmBlindly,
    /// Recovery leaves words without W and wakes nobody; or with W and wakes nobody.
    RecoveryWithoutAnything,
    SilentRecovery,
    /// A message is put back without W, or without a wake.
    PutBackWithoutW,
    PutBackWithoutWake,
    /// A live producer that aborts does not pay.
    AbortWithoutWake,
    /// A lease given back wakes nobody on NE, or before the bump.
    NackWithoutWake,
    NackWakesFirst,
    /// Somebody changes a cell and does not notify.
    NackWithoutNotify,
    AckWithoutNotify,
    GiveUpWithoutNotify,
    /// A lease that slept on NE goes to sleep on CELL and does not pass.
    NoCellWithoutPass,
    /// Notify has no fence: it may look at the flag before the cell is changed.
    NotifyWithoutFence,
    /// The flag is cleared behind the wake.
    FlagClearedLate,
    /// No look between flag = 1 and the sleep, or one that sees only free cells.
    NoSecondLook,
    SecondLookForFreeOnly,
    /// A wake on CELL goes to one.
    CellWakesOne,
    /// An acknowledgement without a lease does not notify.
    PlainAckWithoutNotify,
    /// Close wakes nobody.
    SilentClose,
    /// The end of a lease does not wake those who wait only for it in order to be told of the end.
    AckIgnoresClosed,
    /// A producer that finds the ring full does not look at `closed`.
    FullIgnoresClosed,
    /// None: the wake comes before the commit; the woken one finds somebody in the middle, and stays awake.
    WakeBeforeCommit,
    /// None: recovery leaves words without W, as it wakes all anyway.
    RecoveryWithoutW,
    /// None: every wake goes to all, and nobody passes.
    WakesAll,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    producers: usize,
    takers: usize,
    lessees: usize,
    patient: usize,
    closer: usize,
    capacity: u8,
    cells: usize,
    messages: u8,
    kills: u8,
    leaves: u8,
    aborts: u8,
    /// Messages are put back, and leases nacked.
    nacks: bool,
    /// Somebody may take a cell and keep it for ever, instead of somebody leaving.
    hoarder: bool,
    slices: bool,
    bug: Bug,
}

impl State {
    fn slot(&self, pos: u8, capacity: u8) -> Slot {
        self.slots[(pos % capacity) as usize]
    }

    fn slot_mut(&mut self, pos: u8, capacity: u8) -> &mut Slot {
        &mut self.slots[(pos % capacity) as usize]
    }

    /// `seq += 1` on these lines.
    fn bump(&mut self, lines: u8) {
        for process in &mut self.processes {
            process.moved |= process.read & lines;
        }
    }
}

impl Process {
    /// Nothing is going on any more.
    fn rest(&mut self, at: At) {
        *self = Process { at, sent: self.sent, ..Process::default() };
    }

    /// One more turn of the loop.
    fn again(&mut self) {
        let (slept, closed, sent) = (self.slept, self.closed, self.sent);
        *self = Process { at: At::Again, slept, closed, sent, ..Process::default() };
    }

    fn forget_seq(&mut self) {
        self.read = 0;
        self.moved = 0;
        self.seen = Word::Free;
    }

    /// Does what is to be done for others, then goes on.
    fn settle(&mut self) {
        if self.todo != 0 {
            self.at = At::Pay;
            return;
        }
        match std::mem::take(&mut self.then) {
            At::Again => self.again(),
            At::Idle => self.rest(At::Idle),
            At::Gone => self.rest(At::Gone),
            At::Told => self.rest(At::Told),
            then => self.at = then,
        }
    }
}

impl Model for Waiting {
    type State = State;

    fn initial(&self) -> State {
        let slots = [0, 1].map(|pos| Slot { pos, ..Slot::default() });
        State { slots, ..State::default() }
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.processes() {
            let process = s.processes[k];
            if process.at == At::Dead {
                self.start_recovery(s, k, out);
                continue;
            }
            let can_die = !matches!(process.at, At::Idle | At::Gone | At::Told);
            if can_die && s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.processes[k].rest(At::Dead);
                out.add(Who::Process(k), "KILLED", n);
            }
            self.proceed(s, k, out);
        }
        self.hoard(s, out);
        if s.recoverer.dead != 0 {
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.recoverer = Recoverer::default();
                out.add(Who::Recoverer(0), "KILLED", n);
            }
            self.repair(s, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        if s.acked > s.sent { Err("more came than was sent".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        let ended = (0..self.processes()).all(|k| {
            let at = s.processes[k].at;
            match self.kind(k) {
                Kind::Producer if at == At::Idle => s.processes[k].sent == self.messages,
                Kind::Producer => matches!(at, At::Gone | At::Told),
                Kind::Taker | Kind::Lessee if self.closer == 0 => {
                    matches!(at, At::Idle | At::Gone | At::Asleep(_))
                }
                Kind::Closer => s.closed && at == At::Idle,
                _ => matches!(at, At::Gone | At::Told),
            }
        });
        let no_readers = self.takers + self.lessees == 0;
        ended && s.recoverer.dead == 0 && (s.acked == s.sent || no_readers)
    }
}

impl Waiting {
    fn processes(&self) -> usize {
        self.producers + self.takers + self.lessees + self.patient + self.closer
    }

    fn kind(&self, k: usize) -> Kind {
        let ends = [
            (self.producers, Kind::Producer),
            (self.takers, Kind::Taker),
            (self.lessees, Kind::Lessee),
            (self.patient, Kind::Patient),
        ];
        let mut end = 0;
        for (count, kind) in ends {
            end += count;
            if k < end {
                return kind;
            }
        }
        Kind::Closer
    }

    /// The line on which `k` waits for the ring.
    fn line(&self, k: usize) -> u8 {
        if self.kind(k) == Kind::Producer { NOT_FULL } else { NOT_EMPTY }
    }

    /// The next position of the direction of `k`.
    fn next(&self, s: &State, k: usize) -> u8 {
        if self.kind(k) == Kind::Producer { s.tail } else { s.head }
    }

    /// Whether `k` may set W in this word, and then sleep.
    fn armable(&self, slot: Slot, pos: u8, k: usize) -> bool {
        if self.kind(k) == Kind::Producer {
            slot.pos + self.capacity == pos && matches!(slot.word, Word::Full | Word::Abort | Word::Redeliv)
        } else {
            slot.pos == pos && slot.word == Word::Free
        }
    }

    fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        match s.processes[k].at {
            At::Idle | At::Again => self.start(s, k, out),
            At::Look if self.kind(k) == Kind::Producer => self.look_for_room(s, k, out),
            At::Look => self.look_for_message(s, k, out),
            At::Hold if self.kind(k) == Kind::Producer => self.commit(s, k, out),
            At::Hold => self.acknowledge(s, k, out),
            At::Closed | At::ClosedLate => self.look_at_closed(s, k, out),
            At::Orphans | At::CellSeq | At::Loan | At::Flag | At::SecondLook | At::GiveUp | At::Leased => {
                self.lease(s, k, out);
            }
            At::Gone | At::Told | At::Dead => {}
            _ => self.wait_or_pay(s, k, out),
        }
    }
}
