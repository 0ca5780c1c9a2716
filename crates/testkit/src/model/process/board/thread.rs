//! A thread of the starter: it asks for children, one after the other, and waits for each.

use super::super::super::check::{Steps, Who};
use super::{At, Board, Bug, Cell, Child, Life, NO_CELL, State, Step, Thread, Word};

impl Board {
    pub(super) fn thread(&self, s: &State, t: usize, out: &mut Steps<State>) {
        match s.threads[t].at {
            At::Idle | At::Ask | At::Fill | At::Commit | At::Unlock | At::Bump | At::Wake => {
                self.ask(s, t, out);
            }
            At::Look | At::Sleep(_) | At::Asleep | At::Cancel | At::Free => self.resolve(s, t, out),
            At::Spawn | At::Watch | At::Join | At::Gone => self.join(s, t, out),
        }
    }

    /// The number of a request of a thread that has so many left after it.
    fn number(&self, t: usize, left: u8) -> u8 {
        t as u8 * self.wants + left
    }

    fn ask(&self, s: &State, t: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.threads[t];
        let cell = me.cell as usize;
        let is_early = self.bug == Bug::AskBeforeLock;
        let what = match me.at {
            At::Idle if me.left > 0 && is_early => {
                me.at = if s.has_no_zygote { At::Spawn } else { At::Ask };
                me.left -= 1;
                me.request = self.number(t, me.left);
                "spawn: is there a zygote?"
            }
            At::Idle if me.left > 0 && s.lock == 0 => {
                me.at = if s.has_no_zygote { At::Spawn } else { At::Ask };
                me.left -= 1;
                me.request = self.number(t, me.left);
                n.lock = if s.has_no_zygote { 0 } else { t as u8 + 1 };
                "spawn: lock; is there a zygote?"
            }
            At::Ask => {
                let free = (0..self.cells).find(|cell| s.cells[*cell].word == Word::Empty);
                if is_early && s.lock != 0 {
                    return;
                }
                if let Some(cell) = free {
                    me.cell = cell as u8;
                    me.at = At::Fill;
                    n.lock = t as u8 + 1;
                    n.cells[cell].word = Word::Filling;
                    "spawn: a cell"
                } else {
                    me.at = At::Spawn;
                    n.lock = 0;
                    "spawn: no cell is free; unlock"
                }
            }
            At::Fill => {
                n.cells[cell].request = me.request;
                if self.bug != Bug::PidStays {
                    n.cells[cell].pid = 0;
                }
                me.at = At::Commit;
                "spawn: pid = 0, the fields"
            }
            At::Commit => {
                n.cells[cell].word = Word::Requested;
                me.at = At::Unlock;
                "spawn: REQUESTED"
            }
            At::Unlock => {
                n.lock = 0;
                me.at = At::Bump;
                "spawn: unlock"
            }
            At::Bump => {
                me.at = At::Wake;
                n.bump();
                "spawn: request += 1"
            }
            At::Wake => {
                me.at = At::Look;
                n.wake_zygote();
                "spawn: wake the zygote"
            }
            _ => return,
        };
        out.add(Who::Process(t), what, n);
    }

    fn resolve(&self, s: &State, t: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.threads[t];
        let cell = s.cells[me.cell as usize];
        let what = match me.at {
            At::Look => {
                self.give_up(s, t, out);
                let has_pid = s.requests[me.request as usize].has_pid;
                match cell.word {
                    _ if self.bug == Bug::WaitForRecord && !has_pid => return,
                    Word::Answered => {
                        me.pid = cell.pid;
                        me.at = At::Free;
                    }
                    Word::Failed => {
                        me.pid = 0;
                        me.at = At::Free;
                    }
                    word => me.at = At::Sleep(word),
                }
                "resolve: look at the cell"
            }
            At::Sleep(word) => {
                me.at = if cell.word == word { At::Asleep } else { At::Look };
                "resolve: futex_wait on the cell"
            }
            At::Cancel => {
                let step = &mut n.requests[me.request as usize].step;
                if *step == Step::Requested || self.bug == Bug::CancelByStore {
                    *step = Step::Cancelled;
                    me.has_cancelled = true;
                }
                me.at = At::Look;
                "give up: record REQUESTED -> CANCELLED"
            }
            At::Free => {
                let pid = if self.bug == Bug::PidStays { cell.pid } else { 0 };
                n.cells[me.cell as usize] = Cell { pid, ..Cell::default() };
                me.at = if me.pid == 0 { At::Spawn } else { At::Watch };
                "resolve: the cell is EMPTY"
            }
            _ => return,
        };
        out.add(Who::Process(t), what, n);
    }

    fn give_up(&self, s: &State, t: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.threads[t];
        if s.cancels == self.cancels || me.gave_up {
            return;
        }
        n.cancels += 1;
        if self.bug == Bug::ForgetCell {
            *me = Thread { left: me.left, ..Thread::default() };
            return out.add(Who::Process(t), "the handle is dropped", n);
        }
        let cell = &mut n.cells[me.cell as usize];
        if cell.word == Word::Requested {
            *cell = Cell::default();
            *me = Thread { left: me.left, ..Thread::default() };
        } else {
            me.gave_up = true;
            me.at = At::Cancel;
        }
        out.add(Who::Process(t), "give up: cell REQUESTED -> EMPTY", n);
    }

    fn join(&self, s: &State, t: usize, out: &mut Steps<State>) {
        let who = Who::Process(t);
        let mut n = *s;
        let me = &mut n.threads[t];
        let what = match me.at {
            At::Spawn => {
                let request = me.request;
                let Some(pid) = n.make_child(request, NO_CELL) else { return };
                n.threads[t].pid = pid;
                n.threads[t].at = At::Watch;
                "posix_spawn"
            }
            At::Watch => {
                let child = s.children[me.pid as usize - 1];
                if child.at == Life::None || child.request != me.request {
                    return out.violation(who, "pidfd_open", "the pid of somebody else");
                }
                me.at = At::Join;
                "pidfd_open"
            }
            At::Join => {
                let pid = me.pid as usize - 1;
                let child = s.children[pid];
                if child.at == Life::Body && self.daemons {
                    n.end_child(pid);
                    return out.add(who, "the daemon is told to end", n);
                }
                if child.at != Life::Zombie {
                    return;
                }
                if s.requests[me.request as usize].ran == 0
                    && !child.was_killed
                    && !me.has_cancelled
                    && self.lost == 0
                {
                    return out.violation(who, "reap", "the body never ran");
                }
                *me = Thread { left: me.left, ..Thread::default() };
                n.children[pid] = Child::default();
                "reap"
            }
            _ => return,
        };
        out.add(who, what, n);
    }
}
