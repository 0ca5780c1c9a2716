//! Who opens a chunk and who punches it.

use super::super::check::{Steps, Who};
use super::{At, Bug, CAPACITY, CHUNK, CHUNKS, Presence, Process, Slot, State, Unbounded, Word};

impl Unbounded {
    pub(super) fn open(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let Process { at, pos, first, sent, .. } = s.processes[k];
        let chunk = State::chunk_of(pos);
        let presence = s.presence[chunk];
        let early = self.bug == Bug::PresentBeforeMemory;
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match at {
            At::Lock if s.lock != 0 && self.bug != Bug::NoLock => return,
            At::Lock => {
                *me = Process { pos, sent, at: At::Open, ..Process::default() };
                n.lock = if self.bug == Bug::NoLock { 0 } else { k as u8 + 1 };
                "open: lock"
            }
            At::Open => {
                let given = self.bug == Bug::OpenLapOfPosition;
                me.first = if given { pos - pos % CHUNK } else { presence.first };
                me.at = match presence.present {
                    true => At::Fill(0),
                    false if early => At::Present,
                    false => At::SetAside,
                };
                "open: load presence"
            }
            At::SetAside => {
                me.at = if early { At::Fill(0) } else { At::Present };
                n.memory[chunk] = true;
                "open: set memory aside"
            }
            At::Present => {
                me.at = if early { At::SetAside } else { At::Fill(0) };
                n.presence[chunk] = Presence { present: true, first };
                "open: presence = PRESENT"
            }
            At::Fill(i) => {
                let slot = chunk as u8 * CHUNK + i;
                let fills = s.slot(slot).word == Word::Hole || self.bug == Bug::OpenOverwrites;
                if fills && !s.has_memory(slot) {
                    return out.violation(who, "open: fill", "a slot without memory");
                }
                me.at = if i + 1 == CHUNK { At::Unlock } else { At::Fill(i + 1) };
                if fills {
                    *n.slot_mut(slot) = Slot::free(first + i);
                }
                "open: fill a word"
            }
            _ => {
                *me = Process { pos, sent, at: At::Presence, ..Process::default() };
                n.lock = 0;
                "open: unlock"
            }
        };
        out.add(who, what, n);
    }

    pub(super) fn punch(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let Process { at, chunk, first, .. } = s.processes[k];
        let slot = |i: u8| chunk * CHUNK + i;
        let is_last = |i: u8| i + 1 == CHUNK;
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match at {
            At::TryLock if s.lock != 0 && self.bug != Bug::NoLock => {
                me.rest();
                "punch: locked, leave it"
            }
            At::TryLock => {
                me.at = At::PunchPresence;
                n.lock = if self.bug == Bug::NoLock { 0 } else { k as u8 + 1 };
                "punch: lock"
            }
            At::PunchPresence => {
                if s.presence[chunk as usize].present {
                    me.at = At::PunchLook(0);
                } else {
                    self.punch_next(&mut n, k);
                }
                "punch: load presence"
            }
            At::PunchLook(i) => {
                let seen = s.slot(slot(i));
                let lap = if i == 0 { seen.pos } else { first };
                if self.may_go(seen, lap + i) {
                    me.first = lap;
                    me.at = if is_last(i) { At::PunchLap } else { At::PunchLook(i + 1) };
                } else {
                    self.punch_next(&mut n, k);
                }
                "punch: look"
            }
            At::PunchLap => {
                me.at = At::PunchZero(0);
                if self.bug != Bug::LapAfterZero && self.bug != Bug::LapStays {
                    n.presence[chunk as usize].first = first;
                }
                "punch: the lap of the holes"
            }
            _ => return self.punch_words(s, k, out),
        };
        out.add(who, what, n);
    }

    /// The second half: from the words to the memory under them.
    fn punch_words(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let Process { at, chunk, first, .. } = s.processes[k];
        let slot = |i: u8| chunk * CHUNK + i;
        let is_last = |i: u8| i + 1 == CHUNK;
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match at {
            At::PunchZero(i) if self.bug != Bug::PunchStores && !self.may_go(s.slot(slot(i)), first + i) => {
                me.at = At::PunchBack(0);
                me.seen.pos = i;
                if i == 0 {
                    self.punch_next(&mut n, k);
                }
                "punch: the CAS fails"
            }
            At::PunchZero(i) => {
                let early = self.bug == Bug::PunchBeforeAbsent;
                let then = if early { At::PunchMemory } else { At::PunchAbsent };
                me.at = if is_last(i) { then } else { At::PunchZero(i + 1) };
                *n.slot_mut(slot(i)) = Slot::default();
                "punch: CAS FREE -> 0"
            }
            At::PunchBack(i) => {
                let zeroed = me.seen.pos;
                me.at = At::PunchBack(i + 1);
                *n.slot_mut(slot(i)) = Slot::free(first + i);
                if i + 1 == zeroed {
                    self.punch_next(&mut n, k);
                }
                "punch: put a word back"
            }
            At::PunchAbsent => {
                let stays = self.bug == Bug::LapStays;
                let first = if stays { s.presence[chunk as usize].first } else { first };
                n.presence[chunk as usize] = Presence { present: false, first };
                me.at = At::PunchMemory;
                if self.bug == Bug::PunchBeforeAbsent {
                    self.punch_next(&mut n, k);
                }
                "punch: presence = ABSENT"
            }
            _ => {
                if (0..CHUNK).any(|i| s.slot(slot(i)).word != Word::Hole) {
                    return out.violation(who, "punch", "memory that is in use");
                }
                n.memory[chunk as usize] = false;
                me.at = At::PunchAbsent;
                if self.bug != Bug::PunchBeforeAbsent {
                    self.punch_next(&mut n, k);
                }
                "punch: give the memory back"
            }
        };
        out.add(who, what, n);
    }

    fn may_go(&self, seen: Slot, pos: u8) -> bool {
        let w = seen.w && self.bug != Bug::PunchDespiteW;
        seen.word == Word::Free && seen.pos == pos && !w
    }

    /// On to the chunk before, or done: unlocks in the step that found it.
    fn punch_next(&self, n: &mut State, k: usize) {
        let me = &mut n.processes[k];
        let Process { chunk, more, sent, .. } = *me;
        *me = Process { sent, ..Process::default() };
        if more {
            me.chunk = (chunk + CHUNKS as u8 - 1) % CHUNKS as u8;
            me.at = At::PunchPresence;
        } else {
            n.lock = 0;
        }
        debug_assert!(CAPACITY as usize == CHUNKS * CHUNK as usize);
    }
}
