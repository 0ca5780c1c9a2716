//! Waiting for a change of a key: armed under the lock of its shard, posted after the unlock.
//!
//! ```text
//! writer    lock; COMMIT; armed = flag; unlock.   armed? flag = 0; seq += 1; wake all
//! watcher   lock; s = seq; flag = 1; look: changed? unlock, done.   unlock; futex_wait(seq, s); from the start
//! recover d the locks that name d; then flag = 0; seq += 1; wake all: always, whatever d has held
//! ```
//!
//! One line for all shards, and no fence between the commit and the look at the flag: whoever locks second sees what the
//! first one did. So stores lie in a buffer here, as on x86: those of one process are seen in order, later, and at the
//! latest before it locks or enters the kernel. A killed one's are seen, too. Nobody wakes by itself, so a wake-up that is
//! lost is a state without an end.

use super::super::check::{Model, Steps, Who};

const WRITERS: usize = 2;
const WATCHERS: usize = 2;
const SHARDS: usize = 2;

/// A deliberate mistake; the last ones are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
    None,
    /// Recovery wakes nobody; or only where a lock named the dead.
    SilentRecovery,
    PostIfLocked,
    /// The watcher arms without the lock.
    ArmWithoutLock,
    /// It reads the sequence when it has looked, or when it has unlocked.
    SeqAfterLook,
    SeqAfterUnlock,
    /// The writer looks at the flag before it locks.
    FlagBeforeLock,
    /// The flag is cleared after the sequence rose.
    ClearAfterBump,
    /// One sleeper is woken.
    WakeOne,
    /// None: the watcher looks before it sets the flag; it has the lock.
    FlagAfterLook,
    /// None: the writer looks at the flag before its commit; it has the lock.
    FlagBeforeCommit,
}

/// One configuration of the model: which shard each writer changes, and each watcher watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    pub(super) writes: [&'static [usize]; WRITERS],
    pub(super) watches: [usize; WATCHERS],
    pub(super) kills: u8,
    pub(super) recoverers: usize,
    pub(super) bug: Bug,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    EarlyFlag,
    Commit,
    Flag,
    Unlock,
    Clear,
    Bump,
    Wake,
    // A watcher.
    Seq,
    Arm,
    Look,
    Leave,
    LateSeq,
    Sleep,
    Asleep,
    Done,
    Dead,
    Gone,
}

/// A store that nobody else has seen yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Stored {
    #[default]
    None,
    Version(u8),
    Unlock(u8),
    Arm,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Actor {
    at: At,
    op: u8,
    armed: bool,
    changed: bool,
    /// The sequence rose since it was read.
    moved: bool,
    buffer: [Stored; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    /// Whom it recovers, plus one, and how far it is.
    dead: u8,
    at: u8,
    locked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct State {
    /// How often each shard has changed.
    versions: [u8; SHARDS],
    locks: [u8; SHARDS],
    flag: bool,
    actors: [Actor; WRITERS + WATCHERS],
    recoverers: [Recoverer; 2],
    kills: u8,
}

impl Actor {
    fn later(&mut self, stored: Stored) {
        let place = usize::from(self.buffer[0] != Stored::None);
        self.buffer[place] = stored;
    }
}

impl State {
    /// The oldest store of an actor is seen.
    fn drain(&mut self, k: usize) {
        let [oldest, next] = self.actors[k].buffer;
        self.actors[k].buffer = [next, Stored::None];
        match oldest {
            Stored::None => {}
            Stored::Version(shard) => self.versions[shard as usize] += 1,
            Stored::Unlock(shard) => self.locks[shard as usize] = 0,
            Stored::Arm => self.flag = true,
        }
    }

    fn bump(&mut self) {
        self.actors.iter_mut().for_each(|actor| actor.moved = true);
    }

    fn wake(&mut self, all: bool) {
        for actor in &mut self.actors[WRITERS..] {
            if actor.at == At::Asleep {
                *actor = Actor::default();
                if !all {
                    return;
                }
            }
        }
    }
}

impl Changes {
    /// Locks a shard; a lock empties the buffer first.
    fn lock(&self, s: &State, k: usize, shard: usize) -> Option<State> {
        let ready = s.actors[k].buffer[0] == Stored::None && s.locks[shard] == 0;
        let mut n = *s;
        n.locks[shard] = k as u8 + 1;
        ready.then_some(n)
    }

    fn write(&self, s: &State, k: usize) -> Option<(&'static str, State)> {
        let me = s.actors[k];
        let shard = *self.writes[k].get(me.op as usize)?;
        let early = matches!(self.bug, Bug::FlagBeforeLock | Bug::FlagBeforeCommit);
        let mut n = *s;
        let (next, what) = match me.at {
            At::Idle if self.bug == Bug::FlagBeforeLock => {
                n.actors[k].armed = s.flag;
                (At::EarlyFlag, "armed = flag")
            }
            At::Idle | At::EarlyFlag => {
                n = self.lock(s, k, shard)?;
                (if self.bug == Bug::FlagBeforeCommit { At::Flag } else { At::Commit }, "locks")
            }
            At::Commit => {
                n.actors[k].later(Stored::Version(shard as u8));
                (if early { At::Unlock } else { At::Flag }, "COMMIT")
            }
            At::Flag => {
                n.actors[k].armed = s.flag;
                (if early { At::Commit } else { At::Unlock }, "armed = flag")
            }
            At::Unlock => {
                n.actors[k].later(Stored::Unlock(shard as u8));
                (if me.armed { self.first_of_post() } else { At::Wake }, "unlocks")
            }
            At::Clear => {
                n.flag = false;
                (if self.bug == Bug::ClearAfterBump { At::Wake } else { At::Bump }, "flag = 0")
            }
            At::Bump => {
                n.bump();
                (if self.bug == Bug::ClearAfterBump { At::Clear } else { At::Wake }, "seq += 1")
            }
            At::Wake => {
                if me.armed {
                    n.wake(self.bug != Bug::WakeOne);
                }
                n.actors[k] = Actor { op: me.op + 1, buffer: me.buffer, ..Actor::default() };
                return Some(("wakes all who sleep", n));
            }
            _ => return None,
        };
        n.actors[k].at = next;
        Some((what, n))
    }

    fn first_of_post(&self) -> At {
        if self.bug == Bug::ClearAfterBump { At::Bump } else { At::Clear }
    }

    fn watch(&self, s: &State, k: usize) -> Option<(&'static str, State)> {
        let me = s.actors[k];
        let shard = self.watches[k - WRITERS];
        let locks = self.bug != Bug::ArmWithoutLock;
        let (late, looks_first) =
            (matches!(self.bug, Bug::SeqAfterLook | Bug::SeqAfterUnlock), self.bug == Bug::FlagAfterLook);
        let mut n = *s;
        let (next, what) = match me.at {
            At::Idle => {
                if locks {
                    n = self.lock(s, k, shard)?;
                }
                (if late { At::Arm } else { At::Seq }, "locks, to watch")
            }
            At::Seq => {
                n.actors[k].moved = false;
                let next = match self.bug {
                    Bug::SeqAfterLook => At::Leave,
                    _ if looks_first => At::Look,
                    _ => At::Arm,
                };
                (next, "s = seq")
            }
            At::Arm => {
                n.actors[k].later(Stored::Arm);
                (if looks_first { At::Leave } else { At::Look }, "flag = 1")
            }
            At::Look => {
                n.actors[k].changed = s.versions[shard] > 0;
                let next = match self.bug {
                    Bug::SeqAfterLook => At::Seq,
                    _ if looks_first => At::Arm,
                    _ => At::Leave,
                };
                (next, "looks")
            }
            At::Leave => {
                if locks {
                    n.actors[k].later(Stored::Unlock(shard as u8));
                }
                let next = match self.bug {
                    _ if me.changed => At::Done,
                    Bug::SeqAfterUnlock => At::LateSeq,
                    _ => At::Sleep,
                };
                (next, "unlocks")
            }
            At::LateSeq => {
                n.actors[k].moved = false;
                (At::Sleep, "s = seq")
            }
            At::Sleep if me.buffer[0] == Stored::None => {
                (if me.moved { At::Idle } else { At::Asleep }, "futex_wait")
            }
            _ => return None,
        };
        n.actors[k].at = next;
        if matches!(next, At::Idle | At::Asleep) {
            n.actors[k] = Actor { at: next, ..Actor::default() };
        }
        Some((what, n))
    }

    fn recover(&self, s: &State, r: usize) -> (&'static str, State) {
        let mut n = *s;
        let me = s.recoverers[r];
        let silent = match self.bug {
            Bug::SilentRecovery => true,
            Bug::PostIfLocked => !me.locked,
            _ => false,
        };
        n.recoverers[r].at += 1;
        let what = match me.at {
            0 | 1 => {
                let lock = &mut n.locks[me.at as usize];
                n.recoverers[r].locked |= *lock == me.dead;
                *lock = if *lock == me.dead { 0 } else { *lock };
                "repairs and unlocks what the dead had locked"
            }
            2 if !silent => {
                n.flag = false;
                "flag = 0"
            }
            3 if !silent => {
                n.bump();
                "seq += 1"
            }
            4 if !silent => {
                n.wake(true);
                "wakes all who sleep"
            }
            _ => {
                n.actors[me.dead as usize - 1].at = At::Gone;
                n.recoverers[r] = Recoverer::default();
                "the id is reusable"
            }
        };
        (what, n)
    }
}

impl Model for Changes {
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..WRITERS + WATCHERS {
            let at = s.actors[k].at;
            if s.actors[k].buffer[0] != Stored::None {
                let mut n = *s;
                n.drain(k);
                out.add(Who::Process(k), "(a store is seen)", n);
            }
            let step = if k < WRITERS { self.write(s, k) } else { self.watch(s, k) };
            if let Some((what, n)) = step {
                out.add(Who::Process(k), what, n);
            }
            if s.kills < self.kills && !matches!(at, At::Idle | At::Done | At::Dead | At::Gone) {
                let mut n = *s;
                n.drain(k);
                n.drain(k);
                n.kills += 1;
                n.actors[k] = Actor { at: At::Dead, ..Actor::default() };
                out.add(Who::Process(k), "KILLED", n);
            }
            let busy = s.recoverers.iter().any(|r| r.dead == k as u8 + 1);
            let idle = s.recoverers[..self.recoverers].iter().position(|r| r.dead == 0);
            if let (At::Dead, false, Some(r)) = (at, busy, idle) {
                let mut n = *s;
                n.recoverers[r].dead = k as u8 + 1;
                out.add(Who::Recoverer(r), "takes the lock of the dead", n);
            }
        }
        for r in (0..self.recoverers).filter(|r| s.recoverers[*r].dead != 0) {
            let (what, n) = self.recover(s, r);
            out.add(Who::Recoverer(r), what, n);
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.recoverers[r] = Recoverer::default();
                out.add(Who::Recoverer(r), "KILLED", n);
            }
        }
    }

    fn invariant(&self, _: &State) -> Result<(), String> {
        Ok(())
    }

    /// The writers are done or gone, and who watches a shard that has changed was told.
    fn goal(&self, s: &State) -> bool {
        let written = (0..WRITERS).all(|k| match s.actors[k].at {
            At::Idle => {
                s.actors[k].op as usize == self.writes[k].len() && s.actors[k].buffer[0] == Stored::None
            }
            at => at == At::Gone,
        });
        let told = (0..WATCHERS).all(|w| match s.actors[WRITERS + w].at {
            At::Done => s.actors[WRITERS + w].buffer[0] == Stored::None,
            At::Asleep => s.versions[self.watches[w]] == 0,
            at => at == At::Gone,
        });
        written && told && s.locks == [0; SHARDS]
    }
}
