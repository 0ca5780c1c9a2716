//! Threads that claim, the service thread, and the spares.

use super::super::super::check::{Steps, Who};
use super::{At, Bug, CHILDREN, Cell, Child, Life, SERVICE, Spare, State, Thread, Word, child};

impl Spare {
    pub(super) fn thread(&self, s: &State, t: usize, out: &mut Steps<State>) {
        let who = Who::Process(t);
        let mut n = *s;
        let me = &mut n.threads[t];
        let what = match me.at {
            At::Idle if me.left > 0 => {
                *me = Thread { at: At::Look(0), left: me.left - 1, ..Thread::default() };
                "spawn"
            }
            At::Look(i) if i as usize == self.cells => {
                me.at = At::Spawn;
                "no spare"
            }
            At::Look(i) => {
                let is_parked = s.cells[i as usize].word == Word::Parked;
                me.at = if is_parked { At::Claim(i) } else { At::Look(i + 1) };
                "is a spare PARKED here?"
            }
            At::Claim(i) => {
                let cell = &mut n.cells[i as usize];
                if cell.word != Word::Parked && self.bug != Bug::ClaimByStore {
                    me.at = At::Look(i + 1);
                } else {
                    cell.word = Word::Claimed;
                    *me = Thread { at: At::Write(i), cell: i, number: cell.number, pid: cell.pid, ..*me };
                    if self.bug == Bug::RunFirst {
                        me.at = At::Run(i);
                    }
                }
                "PARKED -> CLAIMED"
            }
            At::Write(i) => {
                n.cells[i as usize].request = t as u8 + 1;
                me.at = if self.bug == Bug::RunFirst { At::Wake(i) } else { At::Run(i) };
                "the request"
            }
            At::Run(i) => {
                n.cells[i as usize].word = Word::Run;
                me.at = if self.bug == Bug::RunFirst { At::Write(i) } else { At::Wake(i) };
                "RUN"
            }
            At::Wake(i) => {
                me.at = At::Join;
                let asleep = n.children.iter_mut().find(|child| child.at == Life::Asleep && child.cell == i);
                if let (Some(child), true) = (asleep, self.bug != Bug::RunWithoutWake) {
                    child.at = Life::Sleep;
                }
                "wake"
            }
            At::Spawn => {
                let made =
                    Child { at: Life::Start, request: t as u8 + 1, of: t as u8 + 1, ..Child::default() };
                let Some(pid) = n.make(made) else { return };
                n.threads[t].pid = pid;
                // It has no cell: nothing is to be emptied.
                n.threads[t].number = 0;
                n.threads[t].at = At::Join;
                "posix_spawn"
            }
            _ => return self.join(s, t, out),
        };
        // From CLAIMED on it is the claimer's.
        if let (At::Write(_) | At::Run(_), pid) = (n.threads[t].at, n.threads[t].pid)
            && pid != 0
        {
            n.children[pid as usize - 1].of = t as u8 + 1;
        }
        out.add(who, what, n);
    }

    fn join(&self, s: &State, t: usize, out: &mut Steps<State>) {
        let who = Who::Process(t);
        let mut n = *s;
        let me = &mut n.threads[t];
        if me.at == At::Idle {
            return;
        }
        let pid = me.pid as usize - 1;
        let what = match me.at {
            At::Join if s.children[pid].at == Life::None || s.children[pid].of != t as u8 + 1 => {
                return out.violation(who, "join", "the pid of somebody else");
            }
            At::Join if s.children[pid].at == Life::Zombie => {
                me.at = At::Release;
                "it is dead"
            }
            At::Release => {
                let cell = &mut n.cells[me.cell as usize];
                let is_it = cell.number == me.number || self.bug == Bug::NoNumber;
                let is_run = matches!(cell.word, Word::Run) && me.number != 0;
                if is_it && is_run && self.bug != Bug::NotEmptied {
                    *cell = Cell { number: cell.number, ..Cell::default() };
                }
                me.at = At::Reap;
                "{number, RUN} -> EMPTY"
            }
            At::Reap => {
                let was_killed = s.children[pid].was_killed;
                let is_spare = me.number != 0;
                n.children[pid] = Child::default();
                if !me.has_started && is_spare && self.bug != Bug::NoRepeat {
                    me.at = At::Spawn;
                } else if me.ran == 0 && !(was_killed && (me.has_started || !is_spare)) {
                    return out.violation(who, "join", "the body never ran");
                } else {
                    *me = Thread { left: me.left, ..Thread::default() };
                }
                "reap"
            }
            _ => return,
        };
        out.add(who, what, n);
    }

    pub(super) fn service(&self, s: &State, out: &mut Steps<State>) {
        if s.reaps != 0 {
            let mut n = *s;
            n.children[s.reaps as usize - 1] = Child::default();
            n.reaps = 0;
            return out.add(SERVICE, "reap", n);
        }
        let empty = (0..self.cells).find(|i| s.cells[*i].word == Word::Empty);
        if let (Some(i), true) = (empty, s.made < self.spares && !s.is_closing) {
            let mut n = *s;
            let spare = Child { at: Life::Park, cell: i as u8, ..Child::default() };
            if let Some(pid) = n.make(spare) {
                n.made += 1;
                n.cells[i] = Cell { word: Word::Filling, number: s.made + 1, pid, request: 0 };
                out.add(SERVICE, "a spare", n);
            }
        }
        for c in (0..CHILDREN).filter(|c| s.children[*c].at == Life::Zombie) {
            self.look_at_dead(s, c, out);
        }
        let done = s.threads[..self.threads].iter().all(|thread| thread.at == At::Idle && thread.left == 0);
        if done && !s.is_closing {
            let mut n = *s;
            n.is_closing = true;
            out.add(SERVICE, "the starter ends", n);
        }
    }

    fn look_at_dead(&self, s: &State, c: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let pid = c as u8 + 1;
        let is_its = |cell: &&mut Cell| cell.pid == pid && cell.word != Word::Empty;
        let Some(cell) = n.cells.iter_mut().find(is_its) else { return };
        let is_free = matches!(cell.word, Word::Filling | Word::Parked);
        if !is_free && !matches!(self.bug, Bug::ReapsClaimed | Bug::EmptyByStore) {
            return;
        }
        if cell.word == Word::Parked && self.bug == Bug::ParkedNotReaped {
            return;
        }
        if self.bug != Bug::ReapsClaimed || is_free {
            *cell = Cell { number: cell.number, ..Cell::default() };
        }
        if is_free || self.bug == Bug::ReapsClaimed {
            n.reaps = pid;
        }
        out.add(SERVICE, "a spare is dead: FILLING or PARKED -> EMPTY", n);
    }

    pub(super) fn child(&self, s: &State, c: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.children[c];
        let cell = &mut n.cells[me.cell as usize];
        let what = match me.at {
            Life::None | Life::Zombie | Life::Asleep => return,
            Life::Park => {
                cell.word = Word::Parked;
                me.at = Life::Sleep;
                "PARKED"
            }
            Life::Sleep => {
                me.at = match cell.word {
                    Word::Run if self.bug == Bug::EmptyFirst => Life::Release,
                    Word::Run if self.bug != Bug::SleepBlindly => Life::Copy,
                    _ => Life::Asleep,
                };
                "futex_wait(cell, what it is)"
            }
            Life::Copy => {
                me.request = cell.request;
                me.at = if self.bug == Bug::EmptyFirst { Life::Start } else { Life::Release };
                "copy the request"
            }
            Life::Release => {
                *cell = Cell { number: cell.number, request: cell.request, ..Cell::default() };
                me.at = if self.bug == Bug::EmptyFirst { Life::Copy } else { Life::Start };
                "EMPTY"
            }
            Life::Start => {
                me.at = Life::Body;
                if me.request != me.of || me.of == 0 {
                    return out.violation(child(c), "REQUESTED -> STARTED", "the request of somebody else");
                }
                n.threads[me.request as usize - 1].has_started = true;
                "record REQUESTED -> STARTED"
            }
            Life::Body => {
                n.threads[me.request as usize - 1].ran += 1;
                me.at = Life::Zombie;
                "the body; exit"
            }
        };
        out.add(child(c), what, n);
    }
}
