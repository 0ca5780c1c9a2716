//! Producers and consumers: look, claim, commit, acknowledge, sleep; and what is done for the dead.

use super::super::check::{Steps, Who};
use super::{At, Bug, CAPACITY, CHUNK, Process, Recoverer, Repair, Slot, State, Unbounded, Word};

impl Unbounded {
    pub(super) fn process(&self, s: &State, k: usize, out: &mut Steps<State>) {
        match s.processes[k].at {
            At::Idle | At::Presence | At::Word | At::Reload => self.look(s, k, out),
            At::Claim | At::Hint | At::End | At::Wake | At::Arm => self.act(s, k, out),
            At::Asleep | At::Dead => {}
            At::Lock | At::Open | At::SetAside | At::Present | At::Fill(_) | At::Unlock => {
                self.open(s, k, out);
            }
            _ => self.punch(s, k, out),
        }
    }

    fn is_producer(&self, k: usize) -> bool {
        k < self.producers
    }

    /// From the hint to a word, or to a hole with its lap.
    fn look(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let pos = s.processes[k].pos;
        let presence = s.presence[State::chunk_of(pos)];
        let hole = Slot { word: Word::Hole, pos: presence.first + pos % CHUNK, w: false };
        let mut n = *s;
        let me = &mut n.processes[k];
        match s.processes[k].at {
            At::Idle if self.is_producer(k) && me.sent == self.messages => {}
            At::Idle if k > self.producers && me.sent >= self.second_takes => {}
            At::Idle => {
                me.pos = if self.is_producer(k) { s.tail_hint } else { s.head_hint };
                me.at = At::Presence;
                out.add(who, "load the hint", n);
            }
            At::Presence if presence.present => {
                me.at = At::Word;
                me.first = presence.first;
                out.add(who, "presence: PRESENT", n);
            }
            At::Word if s.slot(pos).word == Word::Hole && self.bug == Bug::LookOnce => {
                self.decide(s, k, Slot { pos: me.first + pos % CHUNK, ..hole }, "word: 0", out);
            }
            At::Word if s.slot(pos).word == Word::Hole => {
                me.at = At::Reload;
                me.first = 0;
                out.add(who, "word: 0", n);
            }
            At::Word => self.decide(s, k, s.slot(pos), "load the word", out),
            _ => self.decide(s, k, hole, "presence: the lap of a hole", out),
        }
    }

    /// What one does who found `seen` at its position.
    fn decide(&self, s: &State, k: usize, seen: Slot, what: &'static str, out: &mut Steps<State>) {
        let mut n = *s;
        let producer = self.is_producer(k);
        let me = &mut n.processes[k];
        let pos = me.pos;
        let sent = me.sent;
        *me = Process { pos, seen, sent, ..Process::default() };
        if seen.pos == pos {
            let sleeps = if self.sleeps { At::Arm } else { At::Idle };
            me.at = match seen.word {
                Word::Free if producer => At::Claim,
                Word::Free => sleeps,
                Word::Hole if producer || (self.sleeps && self.bug != Bug::SleepAtHole) => At::Lock,
                Word::Hole => sleeps,
                Word::Full | Word::Abort if !producer => At::Claim,
                Word::Writing(_) if !producer => At::Idle,
                _ => At::Presence,
            };
            me.pos += u8::from(me.at == At::Presence);
        } else if seen.pos < pos {
            let may_be = matches!(seen.word, Word::Full | Word::Reading(_))
                || producer && matches!(seen.word, Word::Writing(_) | Word::Abort);
            if !may_be || seen.pos + CAPACITY != pos {
                return out.violation(Who::Process(k), what, "meets a word that cannot be there");
            }
        } else {
            let of_lap_before = match seen.word {
                Word::Free | Word::Hole => true,
                Word::Reading(_) => false,
                _ => !producer,
            };
            let target = seen.pos + 1 - if of_lap_before { CAPACITY } else { 0 };
            me.pos = target.max(pos + 1);
            me.at = At::Presence;
        }
        if matches!(me.at, At::Idle | At::Presence) {
            me.seen = Slot::default();
        }
        if me.at == At::Idle {
            me.rest();
        }
        out.add(Who::Process(k), what, n);
    }

    /// Claim, commit, acknowledge, sleep.
    fn act(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let Process { at, pos, seen, sent, .. } = s.processes[k];
        let producer = self.is_producer(k);
        let mut n = *s;
        let mine = if producer { Word::Writing(k as u8 + 1) } else { Word::Reading(k as u8 + 1) };
        let what = match at {
            At::Claim if s.slot(pos) != seen => {
                n.processes[k].at = At::Presence;
                n.processes[k].seen = Slot::default();
                "the claim fails"
            }
            At::Claim if !s.has_memory(pos) => {
                return out.violation(who, "claim", "a slot without memory");
            }
            At::Claim if seen.word == Word::Abort => {
                *n.slot_mut(pos) = Slot::free(pos + CAPACITY);
                n.processes[k].pos += 1;
                n.processes[k].at = At::Presence;
                n.processes[k].seen = Slot::default();
                "skip what was aborted"
            }
            At::Claim => {
                *n.slot_mut(pos) = Slot { word: mine, pos, w: false };
                n.processes[k].at = At::Hint;
                "claim"
            }
            At::Hint => {
                let hint = if producer { &mut n.tail_hint } else { &mut n.head_hint };
                *hint = (*hint).max(pos + 1);
                n.processes[k].at = At::End;
                "hint"
            }
            At::End if s.slot(pos) != (Slot { word: mine, pos, w: false }) => {
                return out.violation(who, "commit or ACK", "the slot is not its own");
            }
            At::End if producer => {
                *n.slot_mut(pos) = Slot { word: Word::Full, pos, w: false };
                let message = k as u8 * self.messages + sent;
                n.payloads[(pos % CAPACITY) as usize] = message + 1;
                n.committed |= 1 << message;
                n.processes[k].rest();
                n.processes[k].sent += 1;
                n.processes[k].at = if seen.w { At::Wake } else { At::Idle };
                "COMMIT"
            }
            At::End => return self.acknowledge(s, k, out),
            At::Wake => {
                n.wake_all();
                n.processes[k].rest();
                "wake"
            }
            _ if s.slot(pos) == seen && seen.word == Word::Free => {
                n.slot_mut(pos).w = true;
                n.processes[k].rest();
                n.processes[k].at = At::Asleep;
                "set W, sleep"
            }
            _ if seen.word == Word::Hole => {
                n.processes[k].rest();
                n.processes[k].at = At::Asleep;
                "sleep without W"
            }
            _ => {
                n.processes[k].rest();
                "W fails"
            }
        };
        out.add(who, what, n);
    }

    fn acknowledge(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let pos = s.processes[k].pos;
        let mut n = *s;
        let payload = std::mem::take(&mut n.payloads[(pos % CAPACITY) as usize]);
        let message = 1u16.checked_shl(u32::from(payload).wrapping_sub(1)).unwrap_or(0);
        if message == 0 || s.acked & message != 0 {
            return out.violation(Who::Process(k), "ACK", "a message that was never sent, or twice");
        }
        n.acked |= message;
        *n.slot_mut(pos) = Slot::free(pos + CAPACITY);
        n.processes[k].rest();
        n.processes[k].sent += u8::from(k > self.producers);
        if pos % CHUNK == CHUNK - 1 {
            n.processes[k].at = At::TryLock;
            n.processes[k].chunk = State::chunk_of(pos) as u8;
            n.processes[k].more = true;
        }
        out.add(Who::Process(k), "ACK", n);
    }

    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        if s.recoverer.dead == 0 {
            let mut n = *s;
            n.recoverer = Recoverer { dead: k as u8 + 1, ..Recoverer::default() };
            out.add(Who::Recoverer(0), "takes the lock of the dead", n);
        }
    }

    pub(super) fn repair(&self, s: &State, out: &mut Steps<State>) {
        let Recoverer { dead, at, i } = s.recoverer;
        let mut n = *s;
        let what = match at {
            Repair::Slot => {
                let present = s.presence[State::chunk_of(i)].present;
                let seen = s.slot(i);
                if present && seen.word == Word::Writing(dead) {
                    *n.slot_mut(i) = Slot { word: Word::Abort, pos: seen.pos, w: true };
                } else if present && seen.word == Word::Reading(dead) {
                    *n.slot_mut(i) = Slot::free(seen.pos + CAPACITY);
                    let payload = std::mem::take(&mut n.payloads[i as usize]);
                    n.dropped |= 1 << (payload - 1);
                }
                let last = i + 1 == CAPACITY;
                n.recoverer.i = if last { 0 } else { i + 1 };
                n.recoverer.at = if last { Repair::Lock } else { at };
                "a slot"
            }
            Repair::Lock => {
                if s.lock == dead && self.bug != Bug::LockNotRecovered {
                    n.lock = 0;
                }
                n.recoverer.at = Repair::Wake;
                "the lock"
            }
            Repair::Wake => {
                n.wake_all();
                n.recoverer.at = Repair::Reuse;
                "wake all"
            }
            Repair::Reuse => {
                let named =
                    |slot: &Slot| matches!(slot.word, Word::Writing(o) | Word::Reading(o) if o == dead);
                if s.slots.iter().any(named) {
                    return out.violation(Who::Recoverer(0), "frees the id", "a slot still names it");
                }
                n.processes[dead as usize - 1].rest();
                n.recoverer = Recoverer::default();
                "the id is reusable"
            }
        };
        out.add(Who::Recoverer(0), what, n);
    }
}

impl State {
    fn wake_all(&mut self) {
        for process in &mut self.processes {
            if process.at == At::Asleep {
                process.rest();
            }
        }
    }
}
