//! What live processes do: claim, send, receive, lease, look, release.

use super::super::check::{Steps, Who};
use super::{At, Attached, Block, Blocks, Bug, Carrier, Cell, Leased, Process, SLOTS, State, Word, id};

impl Blocks {
    /// Every operation that an idle process may begin.
    pub(super) fn choose(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        if k < self.producers && process.left > 0 {
            for b in (0..self.blocks).filter(|b| s.blocks[*b].owner == 0) {
                let mut n = *s;
                n.blocks[b].owner = id(k);
                let attached = Attached { block: b as u8, generation: s.blocks[b].generation };
                n.processes[k] = Process { at: At::Fill, attached, left: process.left - 1, ..process };
                out.add(who, "claim: CAS FREE(g) -> OWNED(me, g)", n);
            }
        }
        if k < self.producers {
            return;
        }
        for slot in 0..SLOTS {
            let word = s.slots[slot].word;
            let mut n = *s;
            if word == Word::Aborted {
                self.free_slot(&mut n, slot);
                out.add(who, "recv: an aborted place, skipped", n);
            }
            if word == Word::Full {
                n.slots[slot].word = Word::Reading(id(k));
                let attached = s.slots[slot].attached;
                let holds = self.queue_of(slot);
                let at = if self.bug == Bug::AckBeforeReceive { At::EarlyAck } else { At::Receive };
                n.processes[k] = Process { at, attached, slot: slot as u8, holds, ..process };
                out.add(who, "recv: slot FULL -> READING(me)", n);
            }
        }
        if self.leases && s.cell.word == Leased::Free {
            let mut n = *s;
            n.cell.word = Leased::Loan(id(k));
            n.processes[k] = Process { at: At::CellLoan, holds: 1, ..process };
            out.add(who, "lease: cell FREE -> LOAN(me)", n);
        }
        if s.cell.word == Leased::Orphan {
            let mut n = *s;
            n.cell.word = Leased::Held(id(k));
            let attached = s.cell.attached;
            n.processes[k] = Process { at: At::Receive, attached, leased: true, holds: 1, ..process };
            out.add(who, "lease: cell ORPHAN -> HELD(me)", n);
        }
    }

    /// The next steps of a process inside an operation.
    pub(super) fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        match process.at {
            At::Idle => {}
            At::Fill => {
                self.begin_send(s, k, out);
                self.release(s, k, out);
            }
            At::SetCarrier | At::Commit | At::LateCarrier | At::Withdraw => self.send(s, k, out),
            At::CellLoan | At::CellHeld | At::CellSlot => self.lease(s, k, out),
            At::Receive | At::LateReceive => self.receive(s, k, out),
            At::Lent => {
                let mut n = *s;
                n.processes[k].at = self.before_ack();
                out.add(who, "lease: it is done", n);
                let mut n = *s;
                n.cell.word = Leased::Orphan;
                n.processes[k] = idle(&process);
                out.add(who, "nack: cell = ORPHAN", n);
                if self.bug == Bug::ReleaseUnderLease {
                    let mut n = *s;
                    let generation = process.attached.generation + 1;
                    n.blocks[process.attached.block as usize] = Block { generation, ..Block::default() };
                    n.processes[k] = idle(&process);
                    out.add(who, "release: block = FREE, the lease goes on", n);
                }
            }
            At::EarlyClear | At::Clear => {
                let mut n = *s;
                n.blocks[process.attached.block as usize].carrier = Carrier::default();
                let early = process.at == At::EarlyClear;
                let at = if early { At::Ack } else { At::View };
                n.processes[k] = viewing(process, at);
                out.add(who, "recv: carrier = none", n);
            }
            At::Ack | At::EarlyAck => {
                let mut n = *s;
                let what = if process.leased {
                    n.cell = Cell::default();
                    "ack: cell = FREE"
                } else {
                    self.free_slot(&mut n, process.slot as usize);
                    "ACK: slot = FREE"
                };
                let at = match self.bug {
                    Bug::AckBeforeReceive => At::LateReceive,
                    Bug::NoClear | Bug::ClearBeforeAck => At::View,
                    _ => At::Clear,
                };
                n.processes[k] = viewing(process, at);
                out.add(who, what, n);
            }
            At::View => {
                if process.left > 0 {
                    let mut n = *s;
                    n.processes[k] = Process { at: At::Fill, left: process.left - 1, ..process };
                    out.add(who, "sends it on", n);
                }
                self.release(s, k, out);
            }
        }
    }

    fn before_ack(&self) -> At {
        if self.bug == Bug::ClearBeforeAck { At::EarlyClear } else { At::Ack }
    }

    fn release(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        let mut n = *s;
        let block = &mut n.blocks[process.attached.block as usize];
        if block.owner != id(k) || block.generation != process.attached.generation {
            return out.violation(Who::Process(k), "release", "it frees a block that is not its own");
        }
        *block = Block { generation: block.generation + 1, ..Block::default() };
        n.processes[k] = idle(&process);
        out.add(Who::Process(k), "release: block = FREE(g + 1)", n);
    }

    fn begin_send(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        for slot in (0..SLOTS).filter(|slot| s.slots[*slot].word == Word::Free && !process.closed) {
            let mut n = *s;
            n.slots[slot].word = Word::Writing(id(k));
            let at = if self.bug == Bug::CarrierAfterCommit { At::Commit } else { At::SetCarrier };
            n.processes[k] = Process { at, slot: slot as u8, holds: self.queue_of(slot), ..process };
            out.add(Who::Process(k), "send: slot FREE -> WRITING(me)", n);
        }
    }

    fn send(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let slot = process.slot as usize;
        let carrier = Carrier { queue: self.queue_of(slot), position: s.slots[slot].position };
        let mut n = *s;
        let block = &mut n.blocks[process.attached.block as usize];
        match process.at {
            At::SetCarrier => {
                block.carrier = carrier;
                n.processes[k].at = At::Commit;
                out.add(who, "send: carrier = (queue, position)", n);
            }
            At::LateCarrier => {
                block.carrier = carrier;
                n.processes[k] = idle(&process);
                out.add(who, "send: carrier = (queue, position), too late", n);
            }
            At::Withdraw => {
                block.carrier = Carrier::default();
                n.processes[k] = Process { at: At::Fill, slot: 0, closed: true, holds: 0, ..process };
                out.add(who, "closed: carrier = none", n);
            }
            _ => {
                n.slots[slot].word = Word::Full;
                n.slots[slot].attached = process.attached;
                n.processes[k] = if self.bug == Bug::CarrierAfterCommit {
                    Process { at: At::LateCarrier, ..process }
                } else {
                    idle(&process)
                };
                out.add(who, "send: slot = FULL, in flight", n);
                if self.closes {
                    let mut n = *s;
                    n.slots[slot].word = Word::Aborted;
                    n.processes[k].at = At::Withdraw;
                    out.add(who, "closed: slot = ABORTED", n);
                }
            }
        }
    }

    fn lease(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let slot = process.slot as usize;
        let mut n = *s;
        match process.at {
            At::CellLoan => {
                n.cell = Cell::default();
                n.processes[k] = idle(&process);
                out.add(who, "lease: no message, cell = FREE", n);
                let firsts = (0..SLOTS).filter(|slot| self.queue_of(*slot) == 1);
                for slot in firsts.filter(|slot| s.slots[*slot].word == Word::Full) {
                    let mut n = *s;
                    n.slots[slot].word = Word::Reading(id(k));
                    let attached = s.slots[slot].attached;
                    n.processes[k] =
                        Process { at: At::CellHeld, attached, slot: slot as u8, leased: true, ..process };
                    out.add(who, "lease: slot FULL -> READING(me)", n);
                }
            }
            At::CellHeld => {
                let position = s.slots[slot].position;
                n.cell = Cell { word: Leased::Held(id(k)), position, attached: process.attached };
                n.processes[k].at = At::CellSlot;
                out.add(who, "lease: cell = HELD(me)", n);
            }
            _ => {
                self.free_slot(&mut n, slot);
                n.processes[k] = Process { at: At::Receive, slot: 0, ..process };
                out.add(who, "lease: slot = FREE", n);
            }
        }
    }

    fn receive(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        let mut n = *s;
        let block = &mut n.blocks[process.attached.block as usize];
        let other = block.generation != process.attached.generation && self.bug != Bug::NoGeneration;
        if block.owner == 0 || other {
            let why = "the message names a block that was freed";
            return out.violation(Who::Process(k), "RECEIVE", why);
        }
        block.owner = id(k);
        n.processes[k].at = match process.at {
            At::LateReceive => At::Clear,
            _ if process.leased => At::Lent,
            _ => self.before_ack(),
        };
        out.add(Who::Process(k), "RECEIVE: CAS OWNED(any, g) -> OWNED(me, g)", n);
    }
}

/// Forgets everything private, so that equal situations are equal states.
fn idle(process: &Process) -> Process {
    Process { left: process.left, ..Process::default() }
}

/// Past the acknowledgement; once it looks at the bytes it has let go of the queue.
fn viewing(process: Process, at: At) -> Process {
    match at {
        At::View => Process { at, slot: 0, leased: false, holds: 0, ..process },
        At::Clear | At::LateReceive => Process { at, slot: 0, leased: false, ..process },
        _ => Process { at, ..process },
    }
}
