//! The detector: who waits says for what, and walks along those who wait before it sleeps.
//!
//! ```text
//! lock      owner, 0 = free               word[t]   {number, lock that t waits for}, 0 = does not wait
//!
//! take      free: mine. Else word[me] = {another number each time, lock}; fence; walk
//!           a cycle: word[me] = 0, all my locks go, told. Else sleep until it is free; take; word[me] = 0
//! walk      lock -> its owner -> that one's word -> its lock -> .. until me (a cycle), or nobody, or no word
//!           a cycle is walked once more: every owner must live, and every owner and every word be as before
//! recover d locks of d: free; word[d] = 0
//! ```
//!
//! The last one of a cycle to say for what it waits sees all the others. Why a second walk, and why with numbers: at the
//! moment between the walks each of them was waiting (its word has not changed, and no two words are equal), and whoever
//! waits neither takes nor gives up a lock; so what he held in the second walk he held at that moment.
//!
//! What must hold: of those who can never go on somebody is told, and nobody is told who was not in a cycle (of such as
//! wait, or are about to be told: several of one cycle may be). A thread is a script of takes and releases here; a lock is taken when it is free (model `mutex`).

mod cases;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const THREADS: usize = 3;
const LOCKS: usize = 3;

/// What a thread does, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Take(u8),
    /// The same, with a deadline: then it goes on without.
    Try(u8),
    Drop(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Word {
    number: u8,
    /// The lock, plus one.
    lock: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Run,
    Announce,
    Owner,
    Other,
    Leave,
    Release,
    Wait,
    Taken,
    Dead,
    SweepWord,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Thread {
    at: At,
    op: u8,
    number: u8,
    /// The walk: which lock it is at, what it found at each step, and whether it is the second one.
    lock: u8,
    step: u8,
    path: [(u8, Word); THREADS],
    again: bool,
    /// It was in a cycle since it said for what it waits. Known to the checks only.
    was_in_cycle: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    owners: [u8; LOCKS],
    words: [Word; THREADS],
    threads: [Thread; THREADS],
    kills: u8,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The walk comes before the word is seen.
    WalkFirst,
    /// One walk suffices.
    WalkOnce,
    /// Draft: nobody asks whether those in the cycle live: a dead one is not, recovery frees its locks.
    NoProbe,
    /// Draft: words have no number.
    NoNumber,
    /// Who is told keeps its word.
    ToldKeepsWord,
    /// The word stays when the lock is taken.
    WordStays,
    /// Recovery leaves the word of the dead.
    NotSwept,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Detect {
    scripts: &'static [&'static [Op]],
    kills: u8,
    bug: Bug,
}

fn id(k: usize) -> u8 {
    k as u8 + 1
}

impl Detect {
    fn op(&self, s: &State, k: usize) -> Option<Op> {
        self.scripts[k].get(s.threads[k].op as usize).copied()
    }

    /// The lock that `k` cannot go on without.
    fn waits_for(&self, s: &State, k: usize) -> Option<usize> {
        let waits = matches!(s.threads[k].at, At::Announce | At::Owner | At::Other | At::Wait | At::Leave);
        match self.op(s, k) {
            Some(Op::Take(lock) | Op::Try(lock)) if waits => Some(lock as usize),
            _ => None,
        }
    }

    fn is_in_cycle(&self, s: &State, k: usize) -> bool {
        let mut at = k;
        for _ in 0..THREADS {
            let Some(owner) = self.waits_for(s, at).map(|lock| s.owners[lock]).filter(|owner| *owner != 0)
            else {
                return false;
            };
            at = owner as usize - 1;
            if at == k {
                return true;
            }
        }
        false
    }

    fn add(&self, who: Who, what: &'static str, mut n: State, out: &mut Steps<State>) {
        for k in 0..self.scripts.len() {
            if self.is_in_cycle(&n, k) {
                n.threads[k].was_in_cycle = true;
            } else if self.waits_for(&n, k).is_none() && n.threads[k].at != At::Release {
                n.threads[k].was_in_cycle = false;
            }
        }
        out.add(who, what, n);
    }
}

impl Model for Detect {
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.scripts.len() {
            let thread = s.threads[k];
            let alive = !matches!(thread.at, At::Dead | At::SweepWord);
            if alive && s.kills < self.kills && self.op(s, k).is_some() {
                let mut n = *s;
                n.kills += 1;
                n.threads[k] =
                    Thread { at: At::Dead, op: thread.op, number: thread.number, ..Thread::default() };
                self.add(Who::Process(k), "KILLED", n, out);
            }
            match thread.at {
                At::Owner | At::Other => self.walk(s, k, out),
                _ => self.proceed(s, k, out),
            }
        }
    }

    fn invariant(&self, _: &State) -> Result<(), String> {
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let done = (0..self.scripts.len()).all(|k| s.threads[k].at == At::Run && self.op(s, k).is_none());
        done && s.owners == [0; LOCKS] && s.words.iter().all(|word| word.lock == 0)
    }
}

impl Detect {
    fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let thread = s.threads[k];
        let op = self.op(s, k);
        let mut n = *s;
        let me = &mut n.threads[k];
        let what = match (thread.at, op) {
            (At::Run, Some(Op::Drop(lock))) => {
                me.op += 1;
                if s.owners[lock as usize] == id(k) {
                    n.owners[lock as usize] = 0;
                }
                "unlock"
            }
            (At::Run, Some(Op::Take(lock) | Op::Try(lock))) if s.owners[lock as usize] == 0 => {
                me.op += 1;
                n.owners[lock as usize] = id(k);
                "lock: it is free"
            }
            (At::Run, Some(Op::Take(lock) | Op::Try(lock))) => {
                me.lock = lock;
                me.at = if self.bug == Bug::WalkFirst { At::Owner } else { At::Announce };
                "lock: it is taken"
            }
            (At::Announce, Some(Op::Take(lock) | Op::Try(lock))) => {
                me.number += u8::from(self.bug != Bug::NoNumber);
                n.words[k] = Word { number: me.number, lock: lock + 1 };
                me.at = if self.bug == Bug::WalkFirst { At::Wait } else { At::Owner };
                "word = what it waits for; fence"
            }
            (At::Wait, Some(Op::Take(lock) | Op::Try(lock))) => {
                if let Some(Op::Try(_)) = op {
                    let mut n = *s;
                    n.words[k] = Word::default();
                    n.threads[k] = Thread { op: thread.op + 1, number: thread.number, ..Thread::default() };
                    self.add(who, "deadline", n, out);
                }
                if s.owners[lock as usize] != 0 {
                    return;
                }
                n.owners[lock as usize] = id(k);
                me.op += 1;
                me.at = At::Taken;
                "lock: it has become free"
            }
            (At::Taken, _) => {
                *me = Thread { op: thread.op, number: thread.number, ..Thread::default() };
                if self.bug != Bug::WordStays {
                    n.words[k] = Word::default();
                }
                "word = 0"
            }
            _ => return self.finish(s, k, out),
        };
        self.add(who, what, n, out);
    }

    /// It was told, or it is dead.
    fn finish(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let thread = s.threads[k];
        let is_dead = matches!(thread.at, At::Dead | At::SweepWord);
        let who = if is_dead { Who::Recoverer(k) } else { Who::Process(k) };
        let mut n = *s;
        let me = &mut n.threads[k];
        let what = match thread.at {
            At::Leave => {
                if self.bug != Bug::ToldKeepsWord {
                    n.words[k] = Word::default();
                }
                me.at = At::Release;
                "told: word = 0"
            }
            At::Release => {
                n.owners.iter_mut().filter(|owner| **owner == id(k)).for_each(|owner| *owner = 0);
                let op = self.scripts[k].len() as u8;
                n.threads[k] = Thread { op, number: thread.number, ..Thread::default() };
                "told: its locks go"
            }
            At::Dead => {
                n.owners.iter_mut().filter(|owner| **owner == id(k)).for_each(|owner| *owner = 0);
                me.at = At::SweepWord;
                "locks of the dead are free"
            }
            At::SweepWord => {
                if self.bug != Bug::NotSwept {
                    n.words[k] = Word::default();
                }
                // The next one of this id does the same from the begin.
                me.at = At::Run;
                me.op = 0;
                "word of the dead = 0; the id is reusable"
            }
            _ => return,
        };
        self.add(who, what, n, out);
    }

    /// Nothing that looks like a cycle: sleep.
    fn sleeps(&self, me: &mut Thread) {
        let Thread { op, number, was_in_cycle, .. } = *me;
        let at = if self.bug == Bug::WalkFirst { At::Announce } else { At::Wait };
        *me = Thread { at, op, number, was_in_cycle, ..Thread::default() };
    }

    fn walk(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let thread = s.threads[k];
        let step = thread.step as usize;
        let mut n = *s;
        let me = &mut n.threads[k];
        if thread.at == At::Other {
            let other = thread.path[step].0;
            let word = s.words[other as usize - 1];
            let is_dead = matches!(s.threads[other as usize - 1].at, At::Dead | At::SweepWord);
            let probed_dead = is_dead && thread.again && self.bug != Bug::NoProbe;
            if word.lock == 0
                || probed_dead
                || thread.again && thread.path[step].1 != word
                || step + 1 == THREADS
            {
                self.sleeps(me);
            } else {
                me.path[step].1 = word;
                me.lock = word.lock - 1;
                me.step += 1;
                me.at = At::Owner;
            }
            return self.add(who, "walk: for what does the owner wait?", n, out);
        }
        let owner = s.owners[thread.lock as usize];
        if owner == id(k) && (thread.again || self.bug == Bug::WalkOnce) {
            if !thread.was_in_cycle {
                return out.violation(who, "walk", "told without a cycle");
            }
            *me = Thread { at: At::Leave, op: thread.op, number: thread.number, ..Thread::default() };
        } else if owner == id(k) {
            let Some(Op::Take(lock) | Op::Try(lock)) = self.op(s, k) else { return };
            me.again = true;
            me.step = 0;
            me.lock = lock;
        } else if owner == 0 || thread.again && thread.path[step].0 != owner {
            self.sleeps(me);
        } else {
            me.path[step].0 = owner;
            me.at = At::Other;
        }
        self.add(who, "walk: who owns the lock?", n, out);
    }
}
