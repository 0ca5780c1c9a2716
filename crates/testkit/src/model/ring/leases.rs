//! Leases: a message moves from its slot into a *cell*, which names its holder for as long as he works on it.
//!
//! ```text
//! slot      FREE(p)  WRITING(p,o)  FULL(p; NORMAL, ABORT or REDELIV)  READING(p,o)
//! cell      FREE  LOAN(o)  HELD(o)  ORPHAN, with a generation; beside it the position, and a copy
//! redeliver {version, bit}: something came back, look for it
//!
//! lease     f = redeliver; bit: every cell: CAS ORPHAN(g) -> HELD(me, g + 1): got it
//!           CAS a cell FREE -> LOAN(me) (none: no cell, give up)
//!           bit: every slot: CAS REDELIV -> READING(me); nothing: CAS f -> f without the bit
//!           head: CAS FULL -> READING(h, me) (ABORT: CAS -> FREE, go on); nothing: cell = FREE, give up
//!           copy the message and h into the cell
//!           cell = HELD(me)                       // the transfer
//!           slot = FREE(h + cap)
//! ack       cell = FREE(g + 1)
//! nack      cell = ORPHAN(g); redeliver = (x + 2) | bit
//! take      (without a lease) as above, slots scanned before cells; what came from a slot is acknowledged by
//!           slot = FREE(h + cap) or put back by slot = FULL(h, REDELIV), bump; what came from a cell by
//!           cell = FREE or ORPHAN, bump
//! recover d (holding the lock of d)
//!           1  slots: WRITING(d) -> ABORT; READING(h,d): a cell HELD(d) for h -> FREE(h + cap);
//!              else REDELIV (policy Drop: FREE(h + cap), counted)
//!           2  cells: LOAN(d) -> FREE; HELD(d) -> ORPHAN (policy Drop: FREE, counted)
//!           3  redeliver = (x + 2) | bit, always
//! is done   every slot is neither FULL nor READING, and then every cell neither HELD nor ORPHAN
//! close     closed = 1. A producer looks at closed behind its claim; closed: slot = ABORT
//! is over   (what a receiver must know before he says so) closed, and then every slot is FREE or ABORT, and
//!           then every cell is FREE, LOAN or his own: nothing can come back to him. Whoever has a lease does
//!           not wait for the leases of others: they may wait for his
//! in flight (position p) slot p is FULL(p) or READING(p); or then, some cell is HELD or ORPHAN with p
//! ```
//!
//! The store of HELD decides: before it the message is in the slot, after it in the cell. Recovery finishes
//! the transfer of the dead, and can, because a position never returns to a slot: READING(h,d) beside a cell
//! HELD(d) for h is only possible between the transfer and the store behind it. Hence slots before cells.
//! Whoever looks for a message looks in the direction in which it moves: slots, then cells.
//!
//! A cell that is ORPHAN needs no free cell, so it is looked for first. Otherwise a ring whose cells are all
//! ORPHAN, and whose receivers all want leases, has no way on.
//!
//! No step compares a generation: whoever changes a word by CAS reads what is beside it afterwards, and
//! nobody but its holder changes HELD. It guards against one's own mistake: a lease given back twice. For
//! that each HELD must have a number of its own, so a take of an ORPHAN raises it as well.
//!
//! What must hold: whatever was committed is delivered until it is acknowledged once, and not again; a second
//! delivery is flagged; nobody changes what he does not own; no id is reusable while a word names it. The
//! walk over the hints is one step here (the ring's own model has it), and nobody sleeps.
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | before the claim of the slot | LOAN(d) | FREE |
//! | copying | LOAN(d), READING(h,d) | REDELIV, FREE |
//! | after the transfer | HELD(d) for h, READING(h,d) | slot FREE(h + cap), ORPHAN |
//! | with the lease | HELD(d) | ORPHAN, delivered again with the flag |
//! | after ORPHAN, before the bump | a cell that nobody looks for | bumped |
//! | recoverer | any prefix | the next one repeats it |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod close;
mod consumer;
mod recovery;
mod watch;

pub(super) use cases::cases;

use super::super::check::{Model, Steps, Who};
use super::{Policy, Slot, Word};

const PROCESSES: usize = 4;
const SLOTS: usize = 2;
const CELLS: usize = 2;
const RECOVERERS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Lent {
    #[default]
    Free,
    Loan(u8),
    Held(u8),
    Orphan,
}

/// A cell; a message is known by its position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Cell {
    word: Lent,
    pos: u8,
    /// Delivered before, or perhaps.
    again: bool,
}

/// Where a process is; the fields of [`Process`] say with what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    /// Producer, behind its claim, about to look at `closed`; in a broken one, before its claim.
    Check,
    /// Producer, about to commit.
    Write,
    /// Consumer: about to look at cell `i` for an ORPHAN.
    Orphans(u8),
    Loan,
    /// About to look at slot `i` for a REDELIV.
    Slots(u8),
    Clear,
    Fifo,
    GiveBack,
    Copy,
    Transfer,
    FreeSlot,
    /// Has a lease, or took an ORPHAN without one; not looked at yet.
    Held,
    /// Has looked at it.
    Seen,
    /// Took from a slot; not read yet.
    Read,
    Ack,
    Bump,
    /// Inside a broken nack, which has bumped and not yet stored ORPHAN.
    Orphan,
    /// Has seen `closed`, about to look at word number `i`.
    Over(u8),
    /// Was told that it is over.
    Told,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    pos: u8,
    cell: u8,
    /// The operation asks for a lease.
    lease: bool,
    /// It found the bit, and `redeliver` has moved since.
    bit: bool,
    moved: bool,
    again: bool,
    /// One more lease, seen and not given back: cell + 1.
    kept: u8,
    /// A copy of a lease that was given back: cell + 1, and whether the generation is still the same.
    stale: u8,
    same: bool,
    /// Producer: how many messages it has committed.
    sent: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Slot,
    Cell,
    Bump,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    i: u8,
    changed: bool,
}

/// Somebody who asks whether all is done, or whether a position is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Watcher {
    asks: bool,
    /// How many words it has looked at.
    i: u8,
    /// What it asks about: the positions committed when it began, or one of them.
    about: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    slots: [Slot; SLOTS],
    cells: [Cell; CELLS],
    tail: u8,
    head: u8,
    bit: bool,
    processes: [Process; PROCESSES],
    recoverers: [Recoverer; RECOVERERS],
    watcher: Watcher,
    closed: bool,
    /// Somebody was told that it is over.
    told: bool,
    kills: u8,
    /// Sets of positions.
    committed: u16,
    delivered: u16,
    acked: u16,
    dropped: u16,
}

/// What the watcher asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Watch {
    Nothing,
    Done,
    InFlight,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// Draft: a lease looks for a free cell before anything else.
    FreeCellFirst,
    /// The slot is freed before the cell is HELD: killed between, the message is nowhere.
    SlotFreedFirst,
    /// Recovery does not look whether the dead had moved the message already.
    CellsNotAsked,
    /// Recovery takes any cell HELD(d) for the one.
    PositionNotCompared,
    /// Recovery takes LOAN(d) with the position for a transfer.
    LoanIsTransfer,
    /// Recovery sweeps cells before slots, so that the transfer is no longer to be seen.
    CellsFirst,
    /// Recovery forgets one kind of word.
    WritingNotSwept,
    ReadingNotSwept,
    LoanNotSwept,
    HeldNotSwept,
    /// Recovery does not bump `redeliver`, or only if this sweep changed something.
    NoBumpByRecovery,
    BumpIfChanged,
    /// Somebody gives back a message and does not bump, or bumps before it is there.
    NackWithoutBump,
    NackBumpsFirst,
    PutBackWithoutBump,
    /// The bit is cleared without a look at the version.
    ClearBlindly,
    /// Nobody ever looks for an ORPHAN.
    OrphansNotScanned,
    /// An ORPHAN, or a REDELIV, is delivered as if it were new.
    OrphanNotFlagged,
    RedelivNotFlagged,
    /// A lease given back twice is not refused; or only if the cell was FREE in between.
    AckWithoutNumber,
    OrphanKeepsNumber,
    /// The watcher looks at the cells first, or takes READING for nothing, or ORPHAN for nothing.
    WatchCellsFirst,
    WatchIgnoresReading,
    WatchIgnoresOrphan,
    /// A producer looks at `closed` before its claim.
    ClosedBeforeClaim,
    /// A receiver looks at `closed` when he has found nothing, and not again.
    ClosedAfterScan,
    /// A receiver takes what others are doing for nothing.
    OverIgnoresWriting,
    OverIgnoresReading,
    OverIgnoresHeld,
    OverCellsFirst,
    /// A receiver that has a lease waits until others have given back theirs.
    WaitsWithLease,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Leases {
    producers: usize,
    consumers: usize,
    capacity: u8,
    cells: usize,
    messages: u8,
    kills: u8,
    recoverers: usize,
    /// Some operations ask for a lease, some do not.
    leases: bool,
    takes: bool,
    /// Messages are given back as well.
    nacks: bool,
    /// The consumers are threads of one process: they share an id, and die together.
    threads: bool,
    /// A consumer may keep one lease while it asks for more.
    keeps: bool,
    /// Somebody gives leases back twice.
    careless: bool,
    watch: Watch,
    closes: bool,
    policy: Policy,
    bug: Bug,
}

fn bit(pos: u8) -> u16 {
    1 << pos
}

impl State {
    fn slot(&mut self, pos: u8, capacity: u8) -> &mut Slot {
        &mut self.slots[(pos % capacity) as usize]
    }

    /// `redeliver = (x + 2) | bit`.
    fn bump(&mut self) {
        self.bit = true;
        self.redeliver_moves();
    }

    fn redeliver_moves(&mut self) {
        for process in &mut self.processes {
            process.moved |= process.bit;
        }
    }

    /// The cell has a new generation.
    fn renumber(&mut self, cell: usize) {
        for process in &mut self.processes {
            process.same &= process.stale as usize != cell + 1;
        }
    }

    fn free_cell(&mut self, cell: usize) {
        self.cells[cell] = Cell::default();
        self.renumber(cell);
    }

    /// Why it is wrong that somebody gets the message at `pos` now, if it is.
    fn deliver(&mut self, pos: u8, again: bool) -> Option<&'static str> {
        let message = bit(pos);
        if self.committed & message == 0 {
            return Some("a message that was never sent");
        }
        if (self.acked | self.dropped) & message != 0 {
            return Some("the message was acknowledged before");
        }
        if self.delivered & message != 0 && !again {
            return Some("a message came twice and is not flagged");
        }
        self.delivered |= message;
        None
    }
}

impl Model for Leases {
    type State = State;

    fn initial(&self) -> State {
        State {
            slots: [0, 1].map(|pos| Slot { word: Word::Free, pos }),
            cells: [Cell::default(); CELLS],
            tail: 0,
            head: 0,
            bit: false,
            processes: [Process::default(); PROCESSES],
            recoverers: [Recoverer::default(); RECOVERERS],
            watcher: Watcher::default(),
            closed: false,
            told: false,
            kills: 0,
            committed: 0,
            delivered: 0,
            acked: 0,
            dropped: 0,
        }
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.producers + self.consumers {
            let process = s.processes[k];
            if process.at == At::Dead {
                self.start_recovery(s, k, out);
                continue;
            }
            let owns = !matches!(process.at, At::Idle | At::Told) || process.kept != 0;
            if owns && s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                for j in (0..PROCESSES).filter(|j| self.id(*j) == self.id(k)) {
                    let sent = s.processes[j].sent;
                    n.processes[j] = Process { at: At::Dead, sent, ..Process::default() };
                }
                out.add(Who::Process(k), "KILLED", n);
            }
            if k < self.producers { self.produce(s, k, out) } else { self.consume(s, k, out) }
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
        self.watch(s, out);
        self.close(s, out);
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        if s.acked & s.dropped != 0 { Err("a message was acknowledged and dropped".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        let (producers, rest) = s.processes.split_at(self.producers);
        let end = if self.closes { At::Told } else { At::Idle };
        producers.iter().all(|p| p.at == At::Idle && p.sent == self.messages || p.at == At::Told)
            && rest[..self.consumers].iter().all(|p| p.at == end && p.kept == 0)
            && s.closed == self.closes
            && s.recoverers.iter().all(|r| r.dead == 0)
            && s.slots[..self.capacity as usize].iter().all(|slot| self.is_empty(slot))
            && s.cells.iter().all(|cell| cell.word == Lent::Free)
            && s.acked | s.dropped == s.committed
            && (self.policy == Policy::Drop || s.dropped == 0)
    }
}

impl Leases {
    fn id(&self, k: usize) -> u8 {
        let k = if self.threads { k.min(self.producers) } else { k };
        k as u8 + 1
    }

    fn is_empty(&self, slot: &Slot) -> bool {
        slot.word == Word::Free || self.closes && slot.word == Word::Abort
    }

    fn produce(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let sent = s.processes[k].sent;
        let pos = s.processes[k].pos;
        let early = self.bug == Bug::ClosedBeforeClaim;
        let own = Slot { word: Word::Writing(self.id(k)), pos };
        let mut n = *s;
        match s.processes[k].at {
            At::Idle if sent < self.messages && early => {
                n.processes[k].at = if s.closed { At::Told } else { At::Check };
                out.add(who, "send: look at closed, too early", n);
            }
            At::Idle | At::Check if sent < self.messages && (s.processes[k].at == At::Idle || early) => {
                let slot = n.slot(s.tail, self.capacity);
                if *slot != (Slot { word: Word::Free, pos: s.tail }) {
                    if s.closed {
                        n.processes[k] = Process { at: At::Told, sent, ..Process::default() };
                        out.add(who, "send: full, and closed", n);
                    }
                    return;
                }
                slot.word = own.word;
                n.tail += 1;
                n.processes[k].at = if self.closes && !early { At::Check } else { At::Write };
                n.processes[k].pos = s.tail;
                out.add(who, "send: CAS slot FREE -> WRITING(me)", n);
            }
            At::Check if s.closed => {
                n.slot(pos, self.capacity).word = Word::Abort;
                n.processes[k] = Process { at: At::Told, sent, ..Process::default() };
                out.add(who, "send: closed, slot = ABORT", n);
            }
            At::Check => {
                n.processes[k].at = At::Write;
                out.add(who, "send: not closed", n);
            }
            At::Write if *n.slot(pos, self.capacity) != own => {
                out.violation(who, "send: commit", "the slot is not its own");
            }
            At::Write if s.told => out.violation(who, "send: commit", "somebody was told that it is over"),
            At::Write => {
                n.slot(pos, self.capacity).word = Word::Full;
                n.committed |= bit(pos);
                n.processes[k] = Process { sent: sent + 1, ..Process::default() };
                out.add(who, "send: COMMIT, slot = FULL", n);
            }
            _ => {}
        }
    }
}
