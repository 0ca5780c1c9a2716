//! Named segments: create, open, attach, probe and recover, detach, collect, on locks of open file
//! descriptions.
//!
//! ```text
//! kernel    name -> file; each file: links, a gate byte (read locks, or one write lock), a byte for each id
//! file      state of each id: FREE  LIVE  RECOVERING;   words that name ids;   DEAD
//!
//! open      fd = open(name). There is none: create
//!           gate: read lock, else close and retry              // a collector is at work
//!           fstat: no link, or DEAD: close and retry           // only valid under the gate
//!           any byte i: lock it, else close and retry
//!           state[i], read under the lock: not FREE -> RECOVERING; sweep(i)
//!           state[i] = LIVE: attached as i
//! create    file without a name; gate read lock, byte 0, state[0] = LIVE; link it to the name, last of all
//!           the name exists: close and retry
//! recover   attached: lock byte d, d not my own id, else it lives. state[d] FREE: unlock
//!           RECOVERING; sweep(d); state[d] = FREE; unlock
//! detach    state[me] = FREE; unlock me; unlock the gate; collect
//! collect   gate: write lock, else somebody is attached: close
//!           the name leads to another file: close.   unlink; DEAD; close
//! ```
//! Each process locks through a description of its own; when it is gone, the kernel drops its locks. A child
//! that was forked in between may keep the description for a while (a *leaked* lock): the death shows late,
//! never wrongly.
//!
//! What must hold: while anybody is attached, the name leads to its file (else two programs share a name and
//! no memory); one living owner of an id; an attached id is LIVE, so that its death is seen; a word that
//! names an id is changed by that id or by who holds its byte; no id becomes LIVE while a word names it. In
//! the end the name is gone.
//!
//! | dies | leaves | who repairs |
//! |---|---|---|
//! | creator before the link | nothing | the kernel |
//! | opener after its byte lock | byte free, any state | whoever locks that byte next |
//! | detacher before, after FREE | a death; nothing | the next prober; nobody |
//! | recoverer | RECOVERING, byte free | the next one |
//! | collector before unlink | the name, nobody attached | the next to open and leave, or `gc` |
//! | collector after unlink | a file without a name, perhaps not DEAD | nobody needs to |
//! | the last one attached | the name | the next to open and leave, or `gc` |
//!
//! The last row is why there is a tool `gc` (open, collect): without it a name may stay for ever after a
//! kill, and the model shows that. Without kills the last to leave always removes it. What each mutation
//! breaks stands at `Bug`.

mod cases;
mod process;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const PROCESSES: usize = 3;
const FILES: usize = 3;
const IDS: usize = 2;
/// The process that runs `gc`, where there is one.
const GC: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Life {
    #[default]
    Free,
    Live,
    Recovering,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct File {
    used: bool,
    linked: bool,
    dead: bool,
    /// Processes with a read lock on the gate, one bit each.
    readers: u8,
    /// The process with the write lock, plus one.
    writer: u8,
    /// Who holds the byte of each id.
    bytes: [u8; IDS],
    states: [Life; IDS],
    /// A word somewhere in the segment: the id that it names, plus one.
    word: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    /// Has a file of its own, without a name.
    Made,
    MadeLocked,
    Opened,
    Gated,
    Checked,
    /// Broken: has looked at a state before it has the lock.
    Peeked,
    Locked,
    SweepOwn,
    GoLive,
    Attached,
    Claimed,
    ProbeState,
    ProbeSweep,
    ProbeFree,
    ProbeUnlock,
    Detach,
    DetachUnlock,
    DetachGate,
    Collect,
    Restat,
    Unlink,
    MarkDead,
    Close,
    /// Killed; a forked child still has its description.
    Leaked,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    /// The file it has open, plus one.
    file: u8,
    id: u8,
    /// The id it probes; after a peek, whether that id looked dead.
    other: u8,
    rounds: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    /// The file to which the name leads, plus one.
    name: u8,
    files: [File; FILES],
    processes: [Process; PROCESSES],
    kills: u8,
    leaks: u8,
}

/// A deliberate mistake; the last two are none in these configurations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The creator links its file and then takes the locks: it can be collected, or joined, in between.
    LinkBeforeLocks,
    /// The creator replaces a name that exists.
    LinkReplaces,
    /// An opener does not look whether its file still has the name.
    NoLinkCheck,
    /// It looks before it has the gate.
    CheckBeforeGate,
    /// Openers take no gate: a collector thinks that nobody is attached.
    NoGate,
    /// A collector does not ask for the gate.
    CollectWithoutGate,
    /// A collector unlinks without looking whether the name still leads to its file.
    NoRestat,
    /// Leavers turn their read lock into a write lock in place: two of them wait for each other, and the name
    /// stays.
    UpgradeInPlace,
    /// An opener reads the state of an id before it has the byte.
    StateBeforeLock,
    /// Two participants lock through one description: each gets the other's byte.
    SharedDescription,
    /// An id is probed through the very description that holds it.
    ProbesItself,
    /// Detach unlocks its byte and then stores FREE: over the state of the next owner.
    UnlockBeforeFree,
    /// The id of a dead is taken over without a sweep.
    NoSweep,
    /// Recovery stores FREE before it sweeps: killed between, nobody sweeps.
    FreeBeforeSweep,
    /// None: DEAD before the unlink. But after a kill between the two, only `gc` gets openers going again.
    DeadBeforeUnlink,
    /// None: openers do not look at DEAD, as the link says the same.
    NoDeadCheck,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Attach {
    /// How often each process opens and leaves.
    rounds: u8,
    kills: u8,
    leaks: u8,
    /// Two processes open, the third is `gc`.
    gc: bool,
    bug: Bug,
}

impl Process {
    fn is_attached(&self) -> bool {
        let uses = matches!(self.at, At::Attached | At::Claimed | At::Detach);
        uses || matches!(self.at, At::ProbeState | At::ProbeSweep | At::ProbeFree | At::ProbeUnlock)
    }

    fn file(&self) -> usize {
        self.file as usize - 1
    }
}

impl Model for Attach {
    type State = State;

    fn initial(&self) -> State {
        let mut state = State::default();
        for (k, process) in state.processes.iter_mut().enumerate() {
            process.rounds = if self.gc && k == GC { 0 } else { self.rounds };
        }
        state
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..PROCESSES {
            let process = s.processes[k];
            if process.at == At::Leaked {
                let mut n = *s;
                self.close(&mut n, k);
                out.add(Who::Process(k), "its forked child ends", n);
                continue;
            }
            if process.at != At::Idle && s.kills < self.kills {
                self.kill(s, k, out);
            }
            match process.at {
                At::Idle => self.open(s, k, out),
                At::Attached => self.use_it(s, k, out),
                _ => self.proceed(s, k, out),
            }
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        let attached = || s.processes.iter().filter(|p| p.is_attached());
        for process in attached() {
            if s.name != process.file {
                return Err(
                    "two segments: somebody is attached to a file to which the name does not lead".into()
                );
            }
            let same = |p: &&Process| p.file == process.file && p.id == process.id;
            if attached().filter(same).count() > 1 {
                return Err("two living owners of one id".into());
            }
            if s.files[process.file()].states[process.id as usize] != Life::Live {
                return Err("an attached id is not LIVE: nobody would see its death".into());
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let done = |p: &Process| p.at == At::Idle && p.rounds == 0;
        s.name == 0 && s.processes.iter().all(done) && s.files.iter().all(|file| !file.used)
    }
}

impl Attach {
    /// The description through which process `k` locks.
    fn description(&self, k: usize) -> u8 {
        if self.bug == Bug::SharedDescription && k < 2 { 1 } else { k as u8 + 1 }
    }

    fn may_lock(&self, file: &File, k: usize, id: usize) -> bool {
        file.bytes[id] == 0 || file.bytes[id] == self.description(k)
    }

    /// Closes the file: the kernel drops the locks, and the file itself when nothing leads to it any more.
    fn close(&self, n: &mut State, k: usize) {
        let Process { file, rounds, .. } = n.processes[k];
        n.processes[k] = Process { rounds, ..Process::default() };
        if file == 0 {
            return;
        }
        let open = n.processes.iter().any(|p| p.file == file);
        let mine = self.description(k);
        let file = &mut n.files[file as usize - 1];
        file.readers &= !(1 << k);
        if file.writer == k as u8 + 1 {
            file.writer = 0;
        }
        for byte in file.bytes.iter_mut().filter(|byte| **byte == mine) {
            *byte = 0;
        }
        if !open && !file.linked {
            *file = File::default();
        }
    }

    fn kill(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        n.kills += 1;
        n.processes[k].rounds = s.processes[k].rounds.saturating_sub(1);
        if s.leaks < self.leaks && s.processes[k].file > 0 {
            let mut n = n;
            n.leaks += 1;
            n.processes[k].at = At::Leaked;
            out.add(Who::Process(k), "KILLED, a forked child has its locks", n);
        }
        self.close(&mut n, k);
        out.add(Who::Process(k), "KILLED", n);
    }
}
