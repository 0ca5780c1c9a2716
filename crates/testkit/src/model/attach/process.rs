//! What the processes do, from open to close.

use super::super::check::{Steps, Who};
use super::{At, Attach, Bug, File, GC, IDS, Life, Process, State};

impl Attach {
    /// Opens the name, or makes a file.
    pub(super) fn open(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let is_gc = self.gc && k == GC;
        let mut n = *s;
        let me = &mut n.processes[k];
        if !is_gc && me.rounds == 0 {
            return;
        }
        if s.name != 0 {
            me.file = s.name;
            me.at = match self.bug {
                _ if is_gc => At::Collect,
                Bug::CheckBeforeGate => At::Gated,
                _ => At::Opened,
            };
            out.add(Who::Process(k), "open the name", n);
        } else if let (false, Some(unused)) = (is_gc, s.files.iter().position(|file| !file.used)) {
            n.files[unused] = File { used: true, ..File::default() };
            me.file = unused as u8 + 1;
            me.at = if self.bug == Bug::LinkBeforeLocks { At::MadeLocked } else { At::Made };
            out.add(Who::Process(k), "no such name: make a file without one", n);
        }
    }

    /// What an attached process may do.
    pub(super) fn use_it(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let i = process.file();
        let mut n = *s;
        n.processes[k].at = At::Detach;
        out.add(who, "detach", n);
        if s.files[i].word == 0 {
            let mut n = *s;
            n.files[i].word = process.id + 1;
            n.processes[k].at = At::Claimed;
            out.add(who, "claim a word", n);
        }
        for id in 0..IDS {
            let probes = id as u8 != process.id || self.bug == Bug::ProbesItself;
            if probes && self.may_lock(&s.files[i], k, id) {
                let mut n = *s;
                n.files[i].bytes[id] = self.description(k);
                n.processes[k].other = id as u8;
                n.processes[k].at = At::ProbeState;
                out.add(who, "probe: the byte of d is free", n);
            }
        }
    }

    /// The one next step inside an operation.
    pub(super) fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let result = match s.processes[k].at {
            At::Made | At::MadeLocked => self.create(&mut n, k),
            At::Opened | At::Gated | At::Checked | At::Peeked => self.enter(&mut n, k),
            At::Locked | At::SweepOwn | At::GoLive => self.go_live(&mut n, k),
            At::Claimed => {
                let word = &mut n.files[s.processes[k].file()].word;
                let own = *word == s.processes[k].id + 1;
                *word = 0;
                n.processes[k].at = At::Attached;
                if own { Ok("release the word") } else { Err("its word was taken from a living owner") }
            }
            At::ProbeState | At::ProbeSweep | At::ProbeFree | At::ProbeUnlock => self.recover(&mut n, k),
            At::Detach | At::DetachUnlock | At::DetachGate => Ok(self.detach(&mut n, k)),
            _ => Ok(self.collect(&mut n, k)),
        };
        match result {
            Ok(what) => out.add(Who::Process(k), what, n),
            Err(why) => out.violation(Who::Process(k), "uses the segment", why),
        }
    }

    fn create(&self, n: &mut State, k: usize) -> Result<&'static str, &'static str> {
        let i = n.processes[k].file();
        let link_first = self.bug == Bug::LinkBeforeLocks;
        if n.processes[k].at == At::Made {
            let file = &mut n.files[i];
            if file.bytes[0] != 0 || file.writer != 0 {
                self.close(n, k);
                return Ok("somebody was faster: retry");
            }
            file.readers |= 1 << k;
            file.bytes[0] = self.description(k);
            file.states[0] = Life::Live;
            n.processes[k].id = 0;
            n.processes[k].at = if link_first { At::Attached } else { At::MadeLocked };
            return Ok("gate, byte 0, LIVE");
        }
        if n.name != 0 && self.bug != Bug::LinkReplaces {
            self.close(n, k);
            return Ok("link: the name exists, retry");
        }
        if n.name != 0 {
            n.files[n.name as usize - 1].linked = false;
        }
        n.name = i as u8 + 1;
        n.files[i].linked = true;
        n.processes[k].at = if link_first { At::Made } else { At::Attached };
        Ok("link: it has the name")
    }

    /// From the open file to the byte of an id.
    fn enter(&self, n: &mut State, k: usize) -> Result<&'static str, &'static str> {
        let mine = self.description(k);
        let check_first = self.bug == Bug::CheckBeforeGate;
        let me = &mut n.processes[k];
        let file = &mut n.files[me.file()];
        let what = match me.at {
            At::Opened if file.writer == 0 => {
                if self.bug != Bug::NoGate {
                    file.readers |= 1 << k;
                }
                me.at = if check_first { At::Checked } else { At::Gated };
                "gate: read lock"
            }
            At::Gated => {
                let unlinked = !file.linked && self.bug != Bug::NoLinkCheck;
                if unlinked || file.dead && self.bug != Bug::NoDeadCheck {
                    self.close(n, k);
                    return Ok("it was collected: retry");
                }
                me.at = if check_first { At::Opened } else { At::Checked };
                "fstat: it has its link"
            }
            At::Checked => {
                let free = (0..IDS).find(|id| file.bytes[*id] == 0 || file.bytes[*id] == mine);
                let Some(id) = free else {
                    self.close(n, k);
                    return Ok("no byte is free: retry");
                };
                me.id = id as u8;
                if self.bug == Bug::StateBeforeLock {
                    me.other = u8::from(file.states[id] != Life::Free);
                    me.at = At::Peeked;
                    "state, before the lock"
                } else {
                    file.bytes[id] = mine;
                    me.at = At::Locked;
                    "byte: locked"
                }
            }
            At::Peeked if file.bytes[me.id as usize] == 0 => {
                file.bytes[me.id as usize] = mine;
                me.at = if me.other == 1 { At::SweepOwn } else { At::GoLive };
                me.other = 0;
                "byte: locked, late"
            }
            _ => {
                self.close(n, k);
                "gate or byte is busy: retry"
            }
        };
        Ok(what)
    }

    /// From the byte to LIVE.
    fn go_live(&self, n: &mut State, k: usize) -> Result<&'static str, &'static str> {
        let me = &mut n.processes[k];
        let file = &mut n.files[me.file()];
        let state = &mut file.states[me.id as usize];
        Ok(match me.at {
            At::Locked if *state == Life::Free || self.bug == Bug::NoSweep => {
                me.at = At::GoLive;
                "state: FREE"
            }
            At::Locked => {
                *state = Life::Recovering;
                me.at = At::SweepOwn;
                "state: a death, RECOVERING"
            }
            At::SweepOwn => {
                if file.word == me.id + 1 {
                    file.word = 0;
                }
                me.at = At::GoLive;
                "sweep"
            }
            _ => {
                if file.word == me.id + 1 {
                    return Err("an id lives again while a word still names it");
                }
                *state = Life::Live;
                me.at = At::Attached;
                "state = LIVE: attached"
            }
        })
    }

    fn recover(&self, n: &mut State, k: usize) -> Result<&'static str, &'static str> {
        let free_first = self.bug == Bug::FreeBeforeSweep;
        let Process { at, other, file, .. } = n.processes[k];
        let lives = |p: &Process| p.is_attached() && p.file == file && p.id == other;
        if at == At::ProbeSweep && n.processes.iter().any(lives) {
            return Err("it recovers a living participant");
        }
        let me = &mut n.processes[k];
        let file = &mut n.files[me.file()];
        let state = &mut file.states[other as usize];
        Ok(match at {
            At::ProbeState if *state == Life::Free => {
                me.at = At::ProbeUnlock;
                "state of d: FREE"
            }
            At::ProbeState => {
                *state = Life::Recovering;
                me.at = if free_first { At::ProbeFree } else { At::ProbeSweep };
                "state of d: a death, RECOVERING"
            }
            At::ProbeSweep => {
                if file.word == other + 1 {
                    file.word = 0;
                }
                me.at = if free_first { At::ProbeUnlock } else { At::ProbeFree };
                "sweep for d"
            }
            At::ProbeFree => {
                *state = Life::Free;
                me.at = if free_first { At::ProbeSweep } else { At::ProbeUnlock };
                "state of d = FREE"
            }
            _ => {
                file.bytes[other as usize] = 0;
                me.other = 0;
                me.at = At::Attached;
                "unlock d"
            }
        })
    }

    fn detach(&self, n: &mut State, k: usize) -> &'static str {
        let unlock_first = self.bug == Bug::UnlockBeforeFree;
        let me = &mut n.processes[k];
        let file = &mut n.files[me.file()];
        let id = me.id as usize;
        match me.at {
            At::Detach | At::DetachUnlock => {
                let first = me.at == At::Detach;
                me.at = match (first, self.bug) {
                    (true, _) => At::DetachUnlock,
                    (false, Bug::UpgradeInPlace) => At::Collect,
                    (false, _) => At::DetachGate,
                };
                if first != unlock_first {
                    file.states[id] = Life::Free;
                    return "state = FREE";
                }
                file.bytes[id] = 0;
                "unlock me"
            }
            _ => {
                file.readers &= !(1 << k);
                me.id = 0;
                me.at = At::Collect;
                "unlock the gate"
            }
        }
    }

    fn collect(&self, n: &mut State, k: usize) -> &'static str {
        let dead_first = self.bug == Bug::DeadBeforeUnlink;
        let me = &mut n.processes[k];
        let file = &mut n.files[me.file.saturating_sub(1) as usize];
        match me.at {
            At::Collect => {
                let alone = file.writer == 0 && file.readers & !(1 << k) == 0;
                if !alone && self.bug != Bug::CollectWithoutGate {
                    me.at = At::Close;
                    return "gate: somebody is attached";
                }
                file.readers &= !(1 << k);
                file.writer = k as u8 + 1;
                me.at = At::Restat;
                "gate: write lock"
            }
            At::Restat => {
                let same = n.name == me.file || self.bug == Bug::NoRestat;
                me.at = match (same, dead_first) {
                    (false, _) => At::Close,
                    (true, false) => At::Unlink,
                    (true, true) => At::MarkDead,
                };
                "stat: does the name lead here?"
            }
            At::Unlink => {
                me.at = if dead_first { At::Close } else { At::MarkDead };
                if n.name != 0 {
                    n.files[n.name as usize - 1].linked = false;
                    n.name = 0;
                }
                "unlink the name"
            }
            At::MarkDead => {
                file.dead = true;
                me.at = if dead_first { At::Unlink } else { At::Close };
                "DEAD"
            }
            _ => {
                me.rounds = me.rounds.saturating_sub(1);
                self.close(n, k);
                "close"
            }
        }
    }
}
