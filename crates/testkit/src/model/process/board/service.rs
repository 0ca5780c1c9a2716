//! The service thread: it completes what a dead zygote has begun, makes the next one, and ends it at last.

use super::super::super::check::Steps;
use super::{At, Board, Bug, Child, Life, SERVICE, Service, State, Step, Word, Zygote};

const LOCK: u8 = 9;

impl Board {
    pub(super) fn service(&self, s: &State, out: &mut Steps<State>) {
        match s.service {
            Service::Watch => self.watch(s, out),
            Service::Lock | Service::Sweep(_) | Service::Spawn(_) | Service::Finish(_) => {
                self.sweep(s, out);
            }
            Service::WakeCell(_) | Service::Renew => self.renew(s, out),
            Service::Close | Service::CloseBump | Service::CloseWake => self.close(s, out),
            Service::Gone => {}
        }
        if self.is_draft() {
            self.scan(s, out);
        }
    }

    fn watch(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        if s.zygote == Zygote::Zombie && s.is_closing {
            n.zygote = Zygote::None;
            n.service = Service::Gone;
            return out.add(SERVICE, "reap the zygote; the end", n);
        }
        if s.zygote == Zygote::Zombie {
            n.service = Service::Lock;
            if self.bug != Bug::ZygoteNotReaped {
                n.zygote = Zygote::None;
            }
            out.add(SERVICE, "the zygote is dead: reap it", n);
        }
        let lives = !matches!(s.zygote, Zygote::None | Zygote::Zombie);
        let is_begun = s.cells.iter().any(|cell| cell.word == Word::Cloning);
        if self.bug == Bug::SweepBeforeDeath && lives && is_begun {
            let mut n = *s;
            n.service = Service::Lock;
            out.add(SERVICE, "the zygote takes long: as good as dead", n);
        }
        let done = s.threads[..self.threads].iter().all(|thread| thread.at == At::Idle && thread.left == 0);
        if done && !s.is_closing && s.lock == 0 {
            let mut n = *s;
            n.is_closing = true;
            n.service = if s.zygote == Zygote::None { Service::Gone } else { Service::Close };
            out.add(SERVICE, "the starter ends", n);
        }
    }

    fn is_draft(&self) -> bool {
        matches!(self.bug, Bug::Scan | Bug::ScanRecord)
    }

    /// Whether there is to be no other zygote.
    fn is_last(&self, s: &State) -> bool {
        s.zygotes == self.zygotes && s.zygote == Zygote::None
    }

    fn sweep(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let what = match s.service {
            Service::Lock if s.lock == 0 => {
                n.lock = LOCK;
                n.service = Service::Sweep(0);
                "lock"
            }
            Service::Sweep(i) if usize::from(i) == self.cells => {
                n.service = Service::Renew;
                "no more cells"
            }
            Service::Sweep(i) => {
                let cell = s.cells[i as usize];
                let is_left = cell.word == Word::Requested
                    && (!self.is_last(s) || self.bug == Bug::SweepLeavesRequested);
                let is_answered = matches!(cell.word, Word::Answered | Word::Failed);
                let is_open = matches!(cell.word, Word::Requested | Word::Cloning);
                n.service = if is_answered && self.bug != Bug::AnsweredNotWoken {
                    Service::WakeCell(i)
                } else if !is_open || is_left {
                    Service::Sweep(i + 1)
                } else if cell.pid != 0 && self.bug != Bug::RepeatCloned {
                    Service::Finish(i)
                } else {
                    Service::Spawn(i)
                };
                "a cell"
            }
            Service::Spawn(i) => return self.repeat(s, i, out),
            Service::Finish(i) => {
                n.cells[i as usize].word = Word::Answered;
                n.service = Service::WakeCell(i);
                "ANSWERED"
            }
            _ => return,
        };
        out.add(SERVICE, what, n);
    }

    /// No child exists for the cell, so it is started anew.
    fn repeat(&self, s: &State, i: u8, out: &mut Steps<State>) {
        let mut n = *s;
        let cell = s.cells[i as usize];
        if self.bug == Bug::AskAgain && cell.word == Word::Cloning && !self.is_last(s) {
            n.cells[i as usize].word = Word::Requested;
            n.service = Service::Sweep(i + 1);
            return out.add(SERVICE, "REQUESTED again", n);
        }
        if self.is_draft() {
            let record = &mut n.requests[cell.request as usize];
            if record.step != Step::Requested {
                return self.wait_for_announcement(s, i, out);
            }
            record.draft += 1;
        }
        let Some(pid) = n.make_child(cell.request, super::NO_CELL) else { return };
        n.cells[i as usize].pid = pid;
        n.service = Service::Finish(i);
        out.add(SERVICE, "posix_spawn, and its pid", n);
    }

    /// Draft: it has STARTED, so its pid is, or will be, in the cell.
    fn wait_for_announcement(&self, s: &State, i: u8, out: &mut Steps<State>) {
        let mut n = *s;
        if s.cells[i as usize].pid != 0 {
            n.service = Service::Finish(i);
            out.add(SERVICE, "it has started after all", n);
        }
    }

    /// Draft: children that have announced themselves, and whose record was given up, are found and reaped.
    fn scan(&self, s: &State, out: &mut Steps<State>) {
        for (c, child) in s.children.iter().enumerate() {
            let is_orphan = child.draft != s.requests[child.request as usize].draft;
            if child.at == Life::Zombie && child.announced && is_orphan {
                let mut n = *s;
                n.children[c] = Child::default();
                out.add(SERVICE, "scan: reap a late child", n);
            }
        }
    }

    fn renew(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let what = match s.service {
            Service::WakeCell(i) => {
                n.service = Service::Sweep(i + 1);
                if self.bug != Bug::SweepWithoutWake {
                    n.wake_cell(i);
                }
                "wake the cell"
            }
            _ => {
                n.service = Service::Watch;
                n.lock = 0;
                if self.is_last(s) {
                    n.has_no_zygote = true;
                } else if s.zygote == Zygote::None {
                    n.zygotes += 1;
                    n.zygote = Zygote::Boot;
                }
                "a new zygote, or none; unlock"
            }
        };
        out.add(SERVICE, what, n);
    }

    fn close(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let what = match s.service {
            Service::Close => {
                n.exit = true;
                n.service = Service::CloseBump;
                "exit = 1"
            }
            Service::CloseBump => {
                n.bump();
                n.service = Service::CloseWake;
                "request += 1"
            }
            _ => {
                n.wake_zygote();
                n.service = Service::Watch;
                "wake the zygote"
            }
        };
        out.add(SERVICE, what, n);
    }
}
