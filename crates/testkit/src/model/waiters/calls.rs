//! Notifying: one that holds the lock of the condition, and recovery, which does not.

use super::super::check::{Steps, Who};
use super::{ALL, At, Bug, NOTIFIER, Note, Notifier, State, Tag, Waiters, Word};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) enum Step {
    #[default]
    High,
    Look,
    Number(Word),
    WakeEarly,
    Call,
    Wake,
}

/// The best so far: its slot plus one, and what was seen there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Seen {
    slot: u8,
    word: Word,
    number: u8,
}

/// How far a notification is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Calling {
    /// Its number plus one; 0: of no notification, which a mutation makes.
    pub(super) note: u8,
    step: Step,
    most: u8,
    pub(super) called: u8,
    /// Only later ones: the number of the last plus one.
    from: u8,
    high: u8,
    slot: u8,
    first: Seen,
    is_passing: bool,
}

impl Calling {
    /// A call of the dead, which is passed on.
    pub(super) fn pass(note: u8) -> Self {
        Self { note, most: 1, is_passing: true, ..Self::default() }
    }

    /// The next round; none after the last.
    fn again(self) -> Option<Self> {
        let Self { note, most, called, from, is_passing, .. } = self;
        (called < most).then_some(Self { note, most, called, from, is_passing, ..Self::default() })
    }

    /// Behind a slot.
    fn onwards(mut self, wakes_first: bool) -> Option<Self> {
        self.slot += 1;
        if self.slot < self.high {
            self.step = Step::Look;
            return Some(self);
        }
        if self.most == ALL || self.first.slot == 0 {
            return None;
        }
        self.slot = 0;
        self.high = 0;
        self.from = self.first.number + 1;
        self.step = if wakes_first { Step::WakeEarly } else { Step::Call };
        Some(self)
    }
}

impl Waiters {
    /// What is still to notify.
    pub(super) fn next_note(&self, s: &State) -> Option<u8> {
        self.notes.get(s.noted as usize).copied().filter(|most| *most > 0)
    }

    pub(super) fn notifier(&self, s: &State, out: &mut Steps<State>) {
        let who = Who::Process(NOTIFIER);
        let mut n = *s;
        match s.notifier {
            Notifier::Idle => {
                let Some(most) = self.next_note(s).filter(|_| s.lock == 0) else { return };
                n.lock = NOTIFIER as u8 + 1;
                n.notes[s.noted as usize] = Note { most, before: s.next, ..Note::default() };
                n.noted += 1;
                n.notifier = Notifier::Calls(Calling { note: n.noted, most, ..Calling::default() });
                out.add(who, "notify: lock", n);
            }
            Notifier::Calls(calling) => match self.call(&mut n, calling) {
                Ok((what, next)) => {
                    n.notifier = next.map_or(Notifier::Unlock, Notifier::Calls);
                    out.add(who, what, n);
                }
                Err(why) => out.violation(who, "notify: CALLED", why),
            },
            Notifier::Unlock => {
                n.unlock(NOTIFIER);
                n.notifier = Notifier::Idle;
                out.add(who, "notify: unlock", n);
            }
        }
    }

    /// One step of a notification; without a next one it is over.
    pub(super) fn call(
        &self,
        n: &mut State,
        calling: Calling,
    ) -> Result<(&'static str, Option<Calling>), &'static str> {
        let mut next = calling;
        let wakes_first = self.bug == Bug::WakeFirst;
        Ok(match calling.step {
            Step::High => {
                next.high = n.high;
                next.step = Step::Look;
                ("notify: high", (next.high > 0).then_some(next))
            }
            Step::Look => {
                let word = n.slots[calling.slot as usize].word;
                if word.tag != Tag::Waits {
                    return Ok(("notify: nobody waits in this slot", next.onwards(wakes_first)));
                }
                if calling.most == ALL {
                    next.first = Seen { slot: calling.slot + 1, word, number: 0 };
                    next.step = if wakes_first { Step::WakeEarly } else { Step::Call };
                    return Ok(("notify: one that waits", Some(next)));
                }
                if self.keeps_owner() {
                    next.step = Step::Number(word);
                    return Ok(("notify: one that waits", Some(next)));
                }
                next.choose(word, word.value, self.bug);
                ("notify: one that waits", next.onwards(wakes_first))
            }
            Step::Number(word) => {
                next.choose(word, n.slots[calling.slot as usize].second, self.bug);
                ("notify: its number", next.onwards(wakes_first))
            }
            Step::WakeEarly => {
                n.wake(calling.first.slot - 1, At::Look);
                next.step = Step::Call;
                ("notify: wake, too early", Some(next))
            }
            Step::Call => return self.commit(n, calling),
            Step::Wake => {
                n.wake(calling.first.slot - 1, if self.bug == Bug::WakeIsCall { At::Go } else { At::Look });
                ("notify: wake", next.then())
            }
        })
    }

    fn commit(
        &self,
        n: &mut State,
        calling: Calling,
    ) -> Result<(&'static str, Option<Calling>), &'static str> {
        let mut next = calling;
        let place = calling.first.slot as usize - 1;
        let slot = n.slots[place];
        if slot.word != calling.first.word && self.bug != Bug::CallByStore {
            next.called += u8::from(self.bug == Bug::FailureCounts && calling.most != ALL);
            return Ok(("notify: it has gone", next.then()));
        }
        let note = n.notes[(calling.note as usize).saturating_sub(1)];
        let came = self.number(&slot);
        if slot.word.tag == Tag::Waits {
            if came >= note.before && (self.is_strict || !calling.is_passing) {
                return Err("it came after the notification");
            }
            if calling.most != ALL && self.waits_before(n, &note, came) {
                return Err("one that came before is passed over");
            }
        }
        n.slots[place].word = Word { tag: Tag::Called, ..calling.first.word };
        n.slots[place].by = calling.note;
        if calling.most != ALL {
            next.called += 1;
        }
        next.step = Step::Wake;
        let wakes = !matches!(self.bug, Bug::WakeFirst | Bug::NoWake);
        Ok(("notify: CALLED", if wakes { Some(next) } else { next.then() }))
    }
}

impl Calling {
    fn choose(&mut self, word: Word, number: u8, bug: Bug) {
        let is_later = number >= self.from || bug == Bug::BySlot;
        let is_first = self.first.slot == 0 || number < self.first.number && bug != Bug::BySlot;
        if is_later && is_first {
            self.first = Seen { slot: self.slot + 1, word, number };
        }
    }

    /// Behind a call.
    fn then(mut self) -> Option<Self> {
        if self.most != ALL {
            return self.again();
        }
        self.first = Seen::default();
        self.onwards(false)
    }
}
