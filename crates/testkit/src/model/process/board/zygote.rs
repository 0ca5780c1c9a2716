//! The zygote, which clones, and the children that it or posix_spawn made.

use super::super::super::check::Steps;
use super::{Board, Bug, Life, State, Step, Word, ZYGOTE, Zygote, child};

impl Board {
    pub(super) fn zygote(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let what = match s.zygote {
            Zygote::None | Zygote::Asleep | Zygote::Zombie => return,
            Zygote::Boot => {
                if self.bug == Bug::CheckBeforeArm && s.starter_is_dead {
                    n.end_zygote();
                } else {
                    n.zygote = Zygote::Check;
                    n.is_armed = self.bug != Bug::CheckBeforeArm;
                }
                "arm PDEATHSIG"
            }
            Zygote::Check => {
                let sees = self.bug != Bug::NoCheck && self.bug != Bug::CheckBeforeArm;
                if sees && s.starter_is_dead {
                    n.end_zygote();
                } else {
                    n.zygote = Zygote::Count;
                    n.is_armed = true;
                }
                "is the parent still the parent?"
            }
            Zygote::Count if s.exit => {
                n.end_zygote();
                "exit"
            }
            Zygote::Count => {
                n.has_moved = false;
                n.zygote = Zygote::Scan(0);
                "s = request"
            }
            Zygote::Scan(i) if usize::from(i) == self.cells => {
                n.zygote = if self.bug == Bug::CountAfterScan { Zygote::LateCount } else { Zygote::Sleep };
                "no more cells"
            }
            Zygote::Scan(i) => {
                let is_asked = s.cells[i as usize].word == Word::Requested;
                n.zygote = if is_asked { Zygote::Claim(i) } else { Zygote::Scan(i + 1) };
                "a cell"
            }
            Zygote::LateCount => {
                n.has_moved = false;
                n.zygote = Zygote::Sleep;
                "s = request, too late"
            }
            Zygote::Sleep => {
                n.zygote = if s.has_moved { Zygote::Count } else { Zygote::Asleep };
                n.has_moved = false;
                "futex_wait(request, s)"
            }
            _ => return self.serve(s, out),
        };
        out.add(ZYGOTE, what, n);
    }

    fn serve(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let what = match s.zygote {
            Zygote::Claim(i) => {
                let cell = &mut n.cells[i as usize];
                if cell.word == Word::Requested {
                    cell.word = Word::Cloning;
                    n.copy = cell.request;
                    n.zygote = Zygote::Clone(i);
                } else {
                    n.zygote = Zygote::Scan(i + 1);
                }
                "cell REQUESTED -> CLONING; copy it"
            }
            Zygote::Clone(i) => return self.clone(s, i, out),
            Zygote::WritePid(i, pid) => {
                n.cells[i as usize].pid = pid;
                n.zygote = Zygote::Answer(i, true);
                "its pid"
            }
            Zygote::Answer(i, is_done) => {
                n.cells[i as usize].word = if is_done { Word::Answered } else { Word::Failed };
                n.zygote = Zygote::WakeCell(i);
                "ANSWERED or FAILED"
            }
            Zygote::WakeCell(i) => {
                n.zygote = Zygote::Scan(i + 1);
                if self.bug != Bug::AnswerWithoutWake {
                    n.wake_cell(i);
                }
                "wake the cell"
            }
            _ => return,
        };
        out.add(ZYGOTE, what, n);
    }

    fn clone(&self, s: &State, i: u8, out: &mut Steps<State>) {
        if s.failures < self.failures {
            let mut n = *s;
            n.failures += 1;
            n.copy = 0;
            n.zygote = Zygote::Answer(i, false);
            out.add(ZYGOTE, "clone fails", n);
        }
        let mut n = *s;
        let Some(pid) = n.make_child(s.copy, i) else { return };
        n.copy = 0;
        n.zygote = match self.bug {
            Bug::PidByZygote | Bug::Scan | Bug::ScanRecord => Zygote::WritePid(i, pid),
            _ => Zygote::Answer(i, true),
        };
        if s.lost < self.lost {
            let mut lost = n;
            lost.lost += 1;
            lost.end_zygote();
            out.add(ZYGOTE, "clone; KILLED, and the kernel does not store the pid", lost);
        }
        if n.zygote == Zygote::Answer(i, true) {
            n.cells[i as usize].pid = pid;
        }
        out.add(ZYGOTE, "clone; the kernel stores its pid", n);
    }

    pub(super) fn child(&self, s: &State, c: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.children[c];
        let what = match me.at {
            Life::None | Life::Zombie => return,
            Life::Born => {
                let is_gone = self.bug == Bug::CheckBeforeArm && s.starter_is_dead;
                me.at = Life::Check;
                me.is_armed = self.daemons && self.bug != Bug::CheckBeforeArm;
                me.announced = matches!(self.bug, Bug::Scan | Bug::ScanRecord);
                if let Some(cell) = n.cells.get_mut(me.cell as usize) {
                    let is_open = cell.word == Word::Cloning && cell.pid == 0;
                    if self.bug == Bug::ChildReadsCell {
                        me.request = cell.request;
                    } else if self.bug == Bug::Scan || self.bug == Bug::ScanRecord && is_open {
                        cell.pid = c as u8 + 1;
                    }
                }
                if self.daemons && is_gone {
                    n.end_child(c);
                }
                "arm PDEATHSIG"
            }
            Life::Check => {
                let sees = self.bug != Bug::NoCheck && self.bug != Bug::CheckBeforeArm;
                me.at = Life::Start;
                me.is_armed = self.daemons;
                if self.daemons && sees && s.starter_is_dead {
                    n.end_child(c);
                }
                "is the parent still the parent?"
            }
            Life::Start => {
                let record = &mut n.requests[me.request as usize];
                record.has_pid = self.bug == Bug::WaitForRecord;
                let is_mine = record.step == Step::Requested && record.draft == me.draft;
                if is_mine || matches!(self.bug, Bug::StartByStore | Bug::StartTwice) {
                    record.step = Step::Started;
                    me.at = Life::Run;
                } else {
                    n.end_child(c);
                }
                "record REQUESTED -> STARTED, or exit"
            }
            Life::Run => {
                n.requests[me.request as usize].ran += 1;
                me.at = Life::Body;
                "the body begins"
            }
            Life::Body if self.daemons => return,
            Life::Body => {
                n.end_child(c);
                "the body ends; exit"
            }
        };
        out.add(child(c), what, n);
    }
}
