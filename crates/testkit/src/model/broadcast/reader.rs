//! A reader: look, copy, look again. It changes nothing but itself.

use super::super::check::{Steps, Who};
use super::{Broadcast, Bug, St, State, Word};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    /// So many of the four loads are done.
    Loads(u8),
    /// It found nothing.
    #[default]
    Start,
    Closed,
    LastLook,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Reader {
    at: At,
    position: u8,
    first: Word,
    second: Word,
    payload: [u8; 2],
}

/// The four loads, in the order of the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    First,
    Payload(usize),
    Second,
}

/// What a word says to a reader at a position.
enum Seen {
    Message,
    Aborted,
    /// Overtaken: it goes on here.
    Missed(u8),
    Nothing,
}

impl Reader {
    pub(super) fn position(&self) -> u8 {
        self.position
    }

    pub(super) fn is_told_the_end(&self) -> bool {
        self.at == At::End
    }

    pub(super) fn rests(&self) -> bool {
        self.at == At::Start
    }
}

impl Broadcast {
    /// The loads in the order in which they happen: without a fence, those of the payload move.
    fn order(&self) -> [Load; 4] {
        let (a, b) = (Load::Payload(0), Load::Payload(1));
        match self.bug {
            Bug::NoReadFence => [Load::First, Load::Second, a, b],
            Bug::RelaxedFirstLook => [a, b, Load::First, Load::Second],
            _ => [Load::First, a, b, Load::Second],
        }
    }

    fn seen(&self, word: Word, position: u8, tail: u8) -> Seen {
        match word.st {
            St::Full if word.pos == position => Seen::Message,
            St::Abort if word.pos == position => Seen::Aborted,
            St::Full | St::Abort | St::Writing if word.pos > position => Seen::Missed(match self.bug {
                Bug::JumpToTail => tail,
                _ => (word.pos + 1 - self.capacity).max(position + 1),
            }),
            _ => Seen::Nothing,
        }
    }

    pub(super) fn read(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(super::WRITERS + k);
        let actor = s.readers[k];
        let slot = s.slots[self.slot(actor.position)];
        let mut n = *s;
        let me = &mut n.readers[k];
        let what = match actor.at {
            At::End => return,
            At::Closed => {
                let end = s.closed.visible;
                me.at = match (end, self.bug) {
                    (true, Bug::NoLastLook) => At::End,
                    (true, _) => At::LastLook,
                    (false, _) => At::Start,
                };
                "recv: nothing; closed?"
            }
            At::LastLook => {
                let seen = self.seen(slot.word.visible, actor.position, s.tail);
                // Somebody who is about to commit is waited for.
                let writing = slot.word.visible.st == St::Writing && slot.word.visible.pos == actor.position;
                me.at = if matches!(seen, Seen::Nothing) && !writing { At::End } else { At::Start };
                "recv: looks once more"
            }
            At::Start | At::Loads(0..4) => return self.load(s, k, out),
            At::Loads(_) => {
                let same = match self.bug {
                    Bug::CompareW => actor.first == actor.second,
                    _ => Word { w: false, ..actor.first } == Word { w: false, ..actor.second },
                };
                if same || self.bug == Bug::NoSecondLook {
                    if actor.payload != [actor.position + 1; 2] {
                        return out.violation(who, "recv: takes it", "a torn message");
                    }
                    *me = Reader { position: actor.position + 1, ..Reader::default() };
                    "recv: takes it"
                } else if self.bug == Bug::CompareW {
                    return self.goes_on(s, k, actor.position + 1, out);
                } else {
                    *me = Reader { position: actor.position, ..Reader::default() };
                    "recv: it has changed"
                }
            }
        };
        out.add(who, what, n);
    }

    /// One of the four loads. The word of the first decides at once, unless the others came before it.
    fn load(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(super::WRITERS + k);
        let actor = s.readers[k];
        let slot = s.slots[self.slot(actor.position)];
        let done = if let At::Loads(done) = actor.at { done } else { 0 };
        let mut n = *s;
        let me = &mut n.readers[k];
        let load = self.order()[done as usize];
        match load {
            Load::First => me.first = slot.word.visible,
            Load::Payload(half) => me.payload[half] = slot.payload[half].visible,
            Load::Second => me.second = slot.word.visible,
        }
        me.at = At::Loads(done + 1);
        if load == Load::First {
            let fresh = Reader { position: actor.position, ..Reader::default() };
            match self.seen(me.first, actor.position, s.tail) {
                Seen::Message => {}
                Seen::Aborted => *me = Reader { position: actor.position + 1, ..fresh },
                Seen::Missed(to) => return self.goes_on(s, k, to, out),
                Seen::Nothing if self.closes => *me = Reader { at: At::Closed, ..fresh },
                Seen::Nothing => *me = fresh,
            }
        }
        if n != *s {
            out.add(who, "recv: a load", n);
        }
    }

    /// A reader that was overtaken. What it passes over must have been overwritten.
    fn goes_on(&self, s: &State, k: usize, to: u8, out: &mut Steps<State>) {
        let who = Who::Process(super::WRITERS + k);
        if s.tail < to + self.capacity {
            return out.violation(who, "recv: missed some", "not all of it was overwritten");
        }
        let mut n = *s;
        n.readers[k] = Reader { position: to, ..Reader::default() };
        out.add(who, "recv: missed some", n);
    }
}
