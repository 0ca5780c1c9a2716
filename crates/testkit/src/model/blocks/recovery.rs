//! `recover`: what is done for a dead process, in the order that matters.

use super::super::check::{Steps, Who};
use super::{
    BLOCKS, Block, Blocks, Bug, Carrier, Cell, Leased, Process, Recoverer, Repair, SLOTS, Slot, State,
    Unacked, Word, id,
};

impl Blocks {
    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let busy = s.recoverers.iter().any(|r| r.dead == id(k));
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (busy, idle) {
            let mut n = *s;
            let at = if self.bug == Bug::BlocksFirst { Repair::Block } else { Repair::Slot };
            n.recoverers[r] = Recoverer { dead: id(k), at, ..Recoverer::default() };
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    /// The one next step of a recoverer.
    pub(super) fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let mut me = s.recoverers[r];
        let what = match me.at {
            Repair::Slot | Repair::SlotFree => self.repair_slot(&mut n, &mut me),
            Repair::Cell | Repair::CellFree => self.repair_cell(&mut n, &mut me),
            Repair::Bits => {
                n.processes[me.dead as usize - 1].holds = 0;
                me.at = if self.bug == Bug::BitsFirst { Repair::Block } else { Repair::Reuse };
                "clear the holder bits of the dead"
            }
            Repair::Reuse => {
                if let Some(why) = self.names_the_dead(s, me.dead) {
                    return out.violation(Who::Recoverer(r), "frees the id", why);
                }
                let left = s.processes[me.dead as usize - 1].left;
                n.processes[me.dead as usize - 1] = Process { left, ..Process::default() };
                me = Recoverer::default();
                "the id is reusable"
            }
            _ => self.repair_block(&mut n, &mut me),
        };
        n.recoverers[r] = me;
        out.add(Who::Recoverer(r), what, n);
    }

    fn repair_slot(&self, n: &mut State, me: &mut Recoverer) -> &'static str {
        let at = me.index as usize;
        let slot = n.slots[at];
        let mut what = "looks at a slot";
        match slot.word {
            _ if me.at == Repair::SlotFree => {
                self.free_slot(n, at);
                me.at = Repair::Slot;
                what = "slot = FREE, the message is lost";
            }
            Word::Writing(d) if d == me.dead && self.bug != Bug::SkipWriting => {
                n.slots[at].word = Word::Aborted;
                what = "slot WRITING(d) -> ABORTED";
            }
            Word::Reading(d) if d == me.dead && self.bug != Bug::SkipReading => {
                let leased = n.cell.word == Leased::Held(d)
                    && n.cell.position == slot.position
                    && self.queue_of(at) == 1;
                if leased {
                    self.free_slot(n, at);
                    what = "slot READING(d), leased -> FREE";
                } else if self.unacked == Unacked::Redeliver {
                    n.slots[at].word = Word::Full;
                    what = "slot READING(d) -> FULL";
                } else {
                    self.receive_for(n, me, slot.attached);
                    me.at = Repair::SlotFree;
                    return "RECEIVE for the dead";
                }
            }
            _ => {}
        }
        me.index += 1;
        if me.index as usize == SLOTS {
            me.index = 0;
            me.at = if self.leases { Repair::Cell } else { self.after_queues() };
        }
        what
    }

    fn repair_cell(&self, n: &mut State, me: &mut Recoverer) -> &'static str {
        let mut what = "looks at the cell";
        if me.at == Repair::CellFree {
            n.cell = Cell::default();
            what = "cell = FREE, the message is lost";
        } else if n.cell.word == Leased::Loan(me.dead) && self.bug != Bug::SkipCells {
            n.cell = Cell::default();
            what = "cell LOAN(d) -> FREE";
        } else if n.cell.word == Leased::Held(me.dead) && self.bug != Bug::SkipCells {
            if self.unacked == Unacked::Drop {
                self.receive_for(n, me, n.cell.attached);
                me.at = Repair::CellFree;
                return "RECEIVE for the dead";
            }
            n.cell.word = Leased::Orphan;
            what = "cell HELD(d) -> ORPHAN";
        }
        me.at = self.after_queues();
        what
    }

    fn receive_for(&self, n: &mut State, me: &Recoverer, attached: super::Attached) {
        let block = &mut n.blocks[attached.block as usize];
        let there = block.owner != 0 && block.generation == attached.generation;
        if there && self.bug != Bug::DropWithoutReceive {
            block.owner = me.dead;
        }
    }

    fn after_queues(&self) -> Repair {
        match self.bug {
            Bug::BlocksFirst | Bug::SkipBlocks | Bug::BitsFirst => Repair::Bits,
            _ => Repair::Block,
        }
    }

    fn repair_block(&self, n: &mut State, me: &mut Recoverer) -> &'static str {
        let b = me.index as usize;
        let block = n.blocks[b];
        let what = match me.at {
            Repair::Block if block.owner == me.dead => {
                me.generation = block.generation;
                let sweeps_all = self.bug == Bug::SweepInFlight;
                me.at = if sweeps_all { Repair::LookAgain } else { Repair::Carrier };
                return "a block of the dead";
            }
            Repair::Carrier => {
                me.carrier = block.carrier;
                me.at = match (block.carrier.queue, self.bug) {
                    (0, _) => self.not_in_flight(),
                    (_, Bug::CellBeforeSlot) => Repair::LookCell,
                    _ => Repair::LookSlot,
                };
                return "its carrier";
            }
            Repair::LookSlot if !self.in_slot(n, me) => {
                let cell_next = self.leases && !matches!(self.bug, Bug::CellBeforeSlot | Bug::InFlightNoCell);
                me.at = if cell_next { Repair::LookCell } else { self.not_in_flight() };
                return "the slot: not in flight";
            }
            Repair::LookCell if !self.in_cell(n, me) => {
                let slot_next = self.bug == Bug::CellBeforeSlot;
                me.at = if slot_next { Repair::LookSlot } else { self.not_in_flight() };
                return "the cell: not in flight";
            }
            Repair::LookAgain if block.owner == me.dead => {
                let keeps = self.bug == Bug::FreeWithCarrier;
                me.at = if keeps { Repair::Free } else { Repair::Clear };
                return "still a block of the dead";
            }
            Repair::Clear => {
                n.blocks[b].carrier = Carrier::default();
                me.at = Repair::Free;
                return "carrier = none";
            }
            Repair::Free => {
                let block = &mut n.blocks[b];
                let same = block.generation == me.generation || self.bug == Bug::NoGeneration;
                if block.owner == me.dead && same || self.bug == Bug::FreeByStore {
                    let carrier =
                        if self.bug == Bug::FreeByStore { Carrier::default() } else { block.carrier };
                    *block = Block { owner: 0, generation: block.generation + 1, carrier };
                    "CAS block OWNED(d, g) -> FREE(g + 1)"
                } else {
                    "CAS fails"
                }
            }
            Repair::LookSlot | Repair::LookCell => "in flight, stays",
            Repair::LookAgain => "received meanwhile",
            _ => "another's block",
        };
        let index = me.index + 1;
        *me = Recoverer { dead: me.dead, at: Repair::Block, index, ..Recoverer::default() };
        if index as usize == self.blocks {
            me.index = 0;
            me.at = match self.bug {
                Bug::BlocksFirst => Repair::Slot,
                Bug::BitsFirst => Repair::Reuse,
                _ => Repair::Bits,
            };
        }
        what
    }

    fn not_in_flight(&self) -> Repair {
        match self.bug {
            Bug::FreeByStore => Repair::Free,
            Bug::ClearUnlooked => Repair::Clear,
            _ => Repair::LookAgain,
        }
    }

    fn in_slot(&self, n: &State, me: &Recoverer) -> bool {
        let carries = |at: usize, slot: &Slot| {
            let there = match slot.word {
                Word::Full => true,
                Word::Reading(_) => self.bug != Bug::InFlightFullOnly,
                Word::Aborted => self.bug == Bug::InFlightAborted,
                _ => false,
            };
            let each = self.each() as u8;
            let position = slot.position == me.carrier.position
                || self.bug == Bug::CarrierWithoutPosition
                    && slot.position % each == me.carrier.position % each;
            let queue = self.queue_of(at) == me.carrier.queue || self.bug == Bug::CarrierWithoutQueue;
            there && position && queue
        };
        n.slots.iter().enumerate().any(|(at, slot)| carries(at, slot))
    }

    fn in_cell(&self, n: &State, me: &Recoverer) -> bool {
        let carries = matches!(n.cell.word, Leased::Held(_) | Leased::Orphan);
        carries && n.cell.position == me.carrier.position && me.carrier.queue == 1
    }

    /// What still names the dead when its id is about to be used again. A block in flight may.
    fn names_the_dead(&self, s: &State, dead: u8) -> Option<&'static str> {
        let slot = |slot: &Slot| slot.word == Word::Writing(dead) || slot.word == Word::Reading(dead);
        let swept = |b: usize| {
            s.blocks[b].owner != dead || self.messages(s).any(|(attached, _)| attached.block as usize == b)
        };
        if s.slots.iter().any(slot) {
            Some("a slot still names it")
        } else if matches!(s.cell.word, Leased::Loan(d) | Leased::Held(d) if d == dead) {
            Some("a lease still names it")
        } else if !(0..BLOCKS).all(swept) {
            Some("a block that is not in flight still names it")
        } else {
            None
        }
    }
}
