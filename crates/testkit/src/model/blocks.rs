//! Blocks: large buffers that several queues hand on by reference, and that come back whoever dies.
//!
//! A message does not contain the bytes of a block but its number and generation. Who owns a block says the
//! block's own word; whether it is under way says the queue that carries the message. Beside the word stands
//! the *carrier*: which queue, and at which position. So one pool may serve any number of queues, and nobody
//! has to look through them: a dead owner's block is under way exactly if its carrier is.
//!
//! ```text
//! block     FREE(g)  OWNED(o, g); beside it the carrier: none, or (queue, position)
//! slot      FREE(p)  WRITING(p, o)  FULL(p)  ABORTED(p)  READING(p, o); names (block, g)
//! cell      a lease: FREE  LOAN(o)  HELD(o, p)  ORPHAN(p); names (block, g)
//!
//! claim     CAS FREE(g) -> OWNED(me, g); write the bytes
//! send      slot FREE(p) -> WRITING(p, me); carrier = (queue, p); slot = FULL(p): it is under way
//! closed    slot = ABORTED(p); carrier = none; the block is still mine
//! recv      slot FULL(p) -> READING(p, me)
//!           RECEIVE  CAS OWNED(any, g) -> OWNED(me, g)      // before the acknowledgement, always
//!           ACK      slot = FREE(p + capacity)
//!           carrier = none                                  // before the handle of the queue may go
//!           look at the bytes as long as I like; or send it on
//! lease     cell FREE -> LOAN(me); slot -> READING(p, me); cell = HELD(me, p); slot = FREE(p + capacity); RECEIVE
//!           ack: cell = FREE; carrier = none          nack: cell = ORPHAN(p), the block stays with it
//! release   carrier = none; store FREE(g + 1); a message thrown away unread: RECEIVE, ACK, release
//! recover d (holding the lock of d)
//!           queues:  WRITING(p, d) -> ABORTED(p); READING(p, d): leased by d -> FREE, else FULL(p) again;
//!                    HELD(d) -> ORPHAN. To lose the message instead: RECEIVE for d, then FREE
//!           blocks:  OWNED(d, g): its carrier in flight -> left alone; else, if the word is still the same,
//!                    carrier = none; CAS -> FREE(g + 1)
//!           holder bits of d (from here on a queue that only d held may go); wake who waits for a block
//! in flight the slot of that position is FULL or READING, whoever reads; if not, a cell with that position
//! ```
//!
//! Why one look at the carrier is enough: only d could have committed a block that d owns, and d is dead, so
//! such messages only disappear, and RECEIVE takes the block from d before they do. Hence "OWNED(d) and not in
//! flight" is stable; if a receiver was faster, the word has changed by the second look at it.
//!
//! Why the carrier is cleared, after ACK at the latest, and before the block is free: a block is looked at for any time, its queue may be destroyed and
//! another one made in the same entry of the directory, whose positions begin at zero. Then a stale carrier
//! would look in flight, and the block of a dead viewer (or of the next owner, who is filling it) would be left alone
//! for ever. Whoever has yet to clear it holds the queue; so recovery clears holder bits only after it has seen the blocks.
//!
//! Why the queues come before the blocks: only if messages may be lost. A recoverer that receives a block in
//! the name of d gives it to d; somebody must come by afterwards.
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | owner, filling or looking | OWNED(d), carrier none | FREE(g + 1) |
//! | between its place and its commit | WRITING(d), OWNED(d) | ABORTED, FREE(g + 1) |
//! | after the commit, at any time | OWNED(d), carrier in flight | left alone, delivered |
//! | receiver before ACK | READING(d), OWNED(sender or d) | delivered again |
//! | receiver after ACK | OWNED(d), carrier not in flight | FREE(g + 1) |
//! | holder of a lease | HELD(d), OWNED(d) | ORPHAN, delivered again |
//! | recoverer | any prefix | the next one repeats it |
//!
//! An OWNED(d) in flight may outlive d and name a reborn d: harmless, whose death asks the carrier again.
//! Waiting for a free block is a model of its own, [`waiting`]. What each mutation breaks stands at `Bug`.

mod cases;
mod process;
mod recovery;
mod waiting;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const PROCESSES: usize = 4;
const BLOCKS: usize = 2;
const SLOTS: usize = 2;
const RECOVERERS: usize = 2;

/// A position of a queue; queue 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Carrier {
    queue: u8,
    position: u8,
}

/// A block; owner 0 is FREE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Block {
    owner: u8,
    generation: u8,
    carrier: Carrier,
}

/// What a message carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Attached {
    block: u8,
    generation: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Word {
    #[default]
    Free,
    Writing(u8),
    Full,
    Aborted,
    Reading(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    word: Word,
    position: u8,
    attached: Attached,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Leased {
    #[default]
    Free,
    Loan(u8),
    Held(u8),
    Orphan,
}

/// The one cell, of the first queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Cell {
    word: Leased,
    position: u8,
    attached: Attached,
}

/// Where a process is; the fields of [`Process`] say with what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Fill,
    SetCarrier,
    Commit,
    LateCarrier,
    Withdraw,
    /// Has a cell, no message yet.
    CellLoan,
    CellHeld,
    CellSlot,
    Receive,
    Lent,
    EarlyAck,
    EarlyClear,
    Ack,
    LateReceive,
    Clear,
    View,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    attached: Attached,
    slot: u8,
    leased: bool,
    /// The queue was closed: the block can only be dropped.
    closed: bool,
    /// Blocks it may still claim, or send on.
    left: u8,
    /// The queue it is using, plus one: its holder bit there, which a death leaves behind.
    holds: u8,
    dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Slot,
    SlotFree,
    Cell,
    CellFree,
    Block,
    Carrier,
    LookSlot,
    LookCell,
    LookAgain,
    Clear,
    Free,
    Bits,
    Reuse,
}

/// Recovery of one dead process; `index` counts slots, then blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    index: u8,
    generation: u8,
    carrier: Carrier,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    blocks: [Block; BLOCKS],
    slots: [Slot; SLOTS],
    cell: Cell,
    processes: [Process; PROCESSES],
    recoverers: [Recoverer; RECOVERERS],
    kills: u8,
    /// Queues destroyed, and made anew in the same entry.
    reborn: u8,
}

/// What recovery does with a message that the dead was receiving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unacked {
    /// The next receiver gets it.
    Redeliver,
    /// It is lost with the dead, and so is its block.
    Drop,
}

/// A deliberate mistake, or (where the cases say so) something that is not needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// Recovery frees every block of the dead, also those under way.
    SweepInFlight,
    /// A message that somebody is reading does not count as in flight: its block may still be the sender's.
    InFlightFullOnly,
    /// An aborted place counts as in flight: its block is left alone, and then nobody comes by.
    InFlightAborted,
    /// A lease does not count as in flight.
    InFlightNoCell,
    /// Cells are looked at before slots: the message moves from one to the other behind the look.
    CellBeforeSlot,
    /// The message is acknowledged before the block is received: killed between, the block of a live sender is
    /// lost; and a recoverer of a dead sender sweeps it under the receiver.
    AckBeforeReceive,
    /// The carrier is written after the commit: killed between, a message under way is swept.
    CarrierAfterCommit,
    /// The carrier names a position but not the queue.
    CarrierWithoutQueue,
    /// The carrier names a queue and the slot but not the position: another message in that slot keeps it.
    CarrierWithoutPosition,
    /// Blocks are swept before the queues.
    BlocksFirst,
    /// A message is lost with its dead reader, and nobody receives its block for him.
    DropWithoutReceive,
    /// The recoverer frees with a store, without a second look: a receiver may have been faster.
    FreeByStore,
    /// The recoverer clears the carrier without a second look: a receiver may have sent the block on.
    ClearUnlooked,
    /// The recoverer frees a block with its carrier: the next owner inherits it.
    FreeWithCarrier,
    /// The carrier is cleared before the acknowledgement: killed between, the block is swept, and the message
    /// comes again.
    ClearBeforeAck,
    /// The carrier is not cleared.
    NoClear,
    /// Recovery clears the holder bits of the dead before it looks at the blocks: his queue may go meanwhile.
    BitsFirst,
    /// A block of a lease is freed while the lease is not acknowledged: it comes again without its block.
    ReleaseUnderLease,
    /// Nobody frees the blocks of the dead.
    SkipBlocks,
    /// Places that the dead was filling stay so.
    SkipWriting,
    /// Messages that the dead was reading stay so.
    SkipReading,
    /// Leases of the dead stay so.
    SkipCells,
    /// No generation is compared.
    NoGeneration,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    /// The first so many processes send, the others receive.
    producers: usize,
    consumers: usize,
    blocks: usize,
    /// Each has `SLOTS / queues` slots.
    queues: usize,
    /// Blocks that each producer claims.
    sends: u8,
    /// Blocks that each consumer may send on.
    forwards: u8,
    leases: bool,
    /// A queue may be closed to a sender that has its place already.
    closes: bool,
    /// Times that an empty queue may be destroyed and made anew.
    rebirths: u8,
    kills: u8,
    recoverers: usize,
    unacked: Unacked,
    bug: Bug,
}

/// The id of process `k`; 0 is nobody.
fn id(k: usize) -> u8 {
    k as u8 + 1
}

impl Process {
    /// Whether it writes or reads the bytes of its block, or is about to.
    fn uses_its_block(&self) -> bool {
        use At::*;
        let uses =
            matches!(self.at, Fill | SetCarrier | Commit | Withdraw | Lent | EarlyClear | Ack | Clear | View);
        uses && !self.dead
    }
}

impl Blocks {
    fn each(&self) -> usize {
        SLOTS / self.queues
    }

    fn queue_of(&self, slot: usize) -> u8 {
        (slot / self.each()) as u8 + 1
    }

    fn processes(&self) -> usize {
        self.producers + self.consumers
    }

    /// The slot goes to the next lap.
    fn free_slot(&self, n: &mut State, slot: usize) {
        let position = n.slots[slot].position + self.each() as u8;
        n.slots[slot] = Slot { position, ..Slot::default() };
    }

    /// The messages there are, and who may be using each: (attached, reader or 0, position in the first queue).
    fn messages<'a>(&'a self, s: &'a State) -> impl Iterator<Item = (Attached, u8)> + 'a {
        let slots = s.slots.iter().enumerate().filter_map(move |(at, slot)| match slot.word {
            Word::Full => Some((slot.attached, 0)),
            Word::Reading(r) => {
                let leased = s.cell.word == Leased::Held(r)
                    && s.cell.position == slot.position
                    && self.queue_of(at) == 1;
                (!leased).then_some((slot.attached, r))
            }
            _ => None,
        });
        let cell = match s.cell.word {
            Leased::Free | Leased::Loan(_) => None,
            Leased::Held(r) => Some((s.cell.attached, r)),
            Leased::Orphan => Some((s.cell.attached, 0)),
        };
        slots.chain(cell)
    }

    /// An empty queue that nobody holds is destroyed, and another made in its place.
    fn rebirth(&self, s: &State, out: &mut Steps<State>) {
        for queue in 1..=self.queues as u8 {
            let slots = (0..SLOTS).filter(|slot| self.queue_of(*slot) == queue);
            let empty = slots.clone().all(|slot| s.slots[slot].word == Word::Free)
                && (queue != 1 || s.cell.word == Leased::Free);
            if s.reborn == self.rebirths || !empty || s.processes.iter().any(|p| p.holds == queue) {
                continue;
            }
            let mut n = *s;
            n.reborn += 1;
            slots.for_each(|slot| n.slots[slot].position = (slot % self.each()) as u8);
            if n != (State { reborn: n.reborn, ..*s }) {
                out.add(Who::Process(0), "a queue is destroyed, and another made in its entry", n);
            }
        }
    }
}

impl Model for Blocks {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        for slot in 0..SLOTS {
            s.slots[slot].position = (slot % self.each()) as u8;
        }
        for (k, process) in s.processes[..self.processes()].iter_mut().enumerate() {
            process.left = if k < self.producers { self.sends } else { self.forwards };
        }
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.processes() {
            let process = s.processes[k];
            if process.dead {
                self.start_recovery(s, k, out);
                continue;
            }
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                let Process { left, holds, .. } = process;
                n.processes[k] = Process { left, holds, dead: true, ..Process::default() };
                out.add(Who::Process(k), "KILLED", n);
            }
            match process.at {
                At::Idle => self.choose(s, k, out),
                _ => self.proceed(s, k, out),
            }
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
        self.rebirth(s, out);
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        for (k, process) in s.processes.iter().enumerate().filter(|(_, process)| process.uses_its_block()) {
            let Attached { block, generation } = process.attached;
            let there = s.blocks[block as usize];
            if there.owner != id(k) || there.generation != generation {
                return Err(format!("use after free: process {k} uses block {block}, which is not its own"));
            }
        }
        if s.blocks.iter().any(|block| block.owner == 0 && block.carrier != Carrier::default()) {
            return Err("a free block has a carrier, which its next owner inherits".into());
        }
        let mut carried = [false; BLOCKS];
        for (Attached { block, generation }, reader) in self.messages(s) {
            let there = s.blocks[block as usize];
            if there.owner == 0 || there.generation != generation {
                return Err(format!("use after free: a message carries block {block}, which was freed"));
            }
            if std::mem::replace(&mut carried[block as usize], true) {
                return Err(format!("two messages carry block {block}"));
            }
            let other = |(k, p): (usize, &Process)| {
                p.uses_its_block() && p.attached.block == block && id(k) != reader
            };
            if s.processes.iter().enumerate().any(other) {
                return Err(format!("block {block} is used while a message carries it"));
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let slots = s.slots.iter().all(|slot| matches!(slot.word, Word::Free | Word::Aborted));
        let processes = s.processes.iter().all(|p| *p == Process { left: p.left, ..Process::default() });
        let sent = s.processes[..self.producers].iter().all(|p| p.left == 0);
        let blocks = s.blocks.iter().all(|block| block.owner == 0);
        slots && s.cell == Cell::default() && processes && sent && blocks
    }
}
