//! The pool of permits: a word for each that says whose it is, one line, and recovery that gives back.
//!
//! ```text
//! permit    owner, 0 = free                 line: flag, seq
//!
//! acquire   look: permit by permit: free: CAS 0 -> me, leave
//!           s = seq; flag = 1; fence; look; futex_wait(seq, s); slept; again
//! leave     with a permit or without (deadline): if slept, pass
//! release   permit = 0; post: fence; flag set? flag = 0; seq += 1; wake one
//! pass      flag = 1; fence; is one free? flag = 0; seq += 1; wake one
//! recover d (holding the lock of d) permit by permit: d -> 0; always: seq += 1; wake all
//! ```
//!
//! How many are free is never stored, so nothing can disagree with the words. Why recovery may store: the word of
//! d is changed by d alone, who is dead, and by who holds the lock of d.
//!
//! Each user has a store buffer of one place (as on x86), because the fences are what is at stake. What must hold:
//! nobody loses the permit that it holds, every permit comes back, and nobody sleeps while one is free. There are no
//! slices: a lost wake is a stuck state.
//!
//! | dies | leaves | next |
//! |---|---|---|
//! | before its CAS, asleep | nothing, or the flag for nobody | one futile wake |
//! | with a permit | word d | free again, recovery wakes |
//! | woken, before it passes | others asleep, flag gone | recovery wakes all |
//! | between permit = 0 and its wake | the same | the same |
//! | recoverer | any prefix | the next one repeats it |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod user;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const USERS: usize = 3;
const PERMITS: usize = 2;
const RECOVERERS: usize = 2;

/// A store that the others do not see yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Buffer {
    #[default]
    Empty,
    /// This permit = 0.
    Free(u8),
    Flag(bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    /// Looks at the permits, unannounced: at the begin, and when it was woken.
    First(u8),
    Seq,
    Flag,
    Fence,
    Scan(u8),
    LateSeq,
    /// It was found free, only for `TakeByStore`.
    Take(u8),
    Sleep,
    Asleep,
    Own,
    PostFence,
    PostLook,
    PostClear,
    PostBump,
    PostWake,
    PostClearLate,
    PassArm,
    PassFence,
    PassScan(u8),
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct User {
    at: At,
    buffer: Buffer,
    /// seq has risen since it was read.
    moved: bool,
    slept: bool,
    /// Its permit plus one.
    owns: u8,
    left: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Look,
    Free,
    Bump,
    Wake,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    permit: u8,
    freed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    permits: [u8; PERMITS],
    flag: bool,
    users: [User; USERS],
    recoverers: [Recoverer; RECOVERERS],
    kills: u8,
    deadlines: u8,
}

/// A deliberate mistake; the last one is none, and must be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// A release looks at the flag before its permit is seen to be free.
    NoPostFence,
    /// A sleeper looks at the permits before its flag is seen.
    NoArmFence,
    /// No look between arming and sleeping.
    NoLook,
    /// seq is read after that look.
    SeqAfterLook,
    /// A waker clears the flag after it bumped seq: it wipes the flag of one that has armed again.
    FlagAfterSeq,
    /// Nobody passes: two releases before the first woken one runs wake one of two sleepers.
    NoPass,
    /// Who leaves at its deadline does not pass.
    LeaveAtDeadline,
    /// A pass does not say that somebody may sleep.
    PassWithoutArm,
    /// Recovery frees and wakes nobody.
    SilentRecovery,
    /// Recovery wakes only if it has freed something.
    WakeIfFreed,
    /// The permits of the dead are not given back.
    NotSwept,
    /// Two recover the same dead at once: the slow one takes a permit from the next process of that id.
    RecoverWithoutLock,
    /// Recovery looks, and frees whatever is in the word by then: also without a lock.
    FreeAnyOwner,
    /// A permit is taken by a store.
    TakeByStore,
    /// None: recovery wakes one, who passes.
    RecoveryWakesOne,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Permits {
    users: usize,
    permits: usize,
    /// Permits that each wants, one after the other.
    wants: u8,
    kills: u8,
    recoverers: usize,
    deadlines: u8,
    bug: Bug,
}

/// The id of user `k`; 0 is nobody.
fn id(k: usize) -> u8 {
    k as u8 + 1
}

impl State {
    fn drain(&mut self, k: usize) {
        match std::mem::take(&mut self.users[k].buffer) {
            Buffer::Empty => {}
            Buffer::Free(permit) => self.permits[permit as usize] = 0,
            Buffer::Flag(flag) => self.flag = flag,
        }
    }

    fn bump(&mut self) {
        for user in &mut self.users {
            user.moved |= matches!(user.at, At::Flag | At::Fence | At::Scan(_) | At::Sleep);
        }
    }

    fn wake(&mut self, k: usize) {
        let user = &mut self.users[k];
        *user = User { at: At::First(0), slept: true, moved: false, ..*user };
    }
}

impl Model for Permits {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        s.users[..self.users].iter_mut().for_each(|user| user.left = self.wants);
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.users {
            let user = s.users[k];
            if user.at == At::Dead {
                self.start_recovery(s, k, out);
                continue;
            }
            if s.kills < self.kills && (user.at != At::Idle || user.buffer != Buffer::Empty) {
                let mut n = *s;
                n.kills += 1;
                // What has left the program reaches memory, whoever dies.
                n.drain(k);
                n.users[k] = User { at: At::Dead, left: user.left, ..User::default() };
                out.add(Who::Process(k), "KILLED", n);
            }
            if user.buffer != Buffer::Empty {
                let mut n = *s;
                n.drain(k);
                out.add(Who::Process(k), "its store is seen", n);
            }
            self.proceed(s, k, out);
        }
        for r in 0..self.recoverers {
            if s.recoverers[r].dead == 0 {
                continue;
            }
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.recoverers[r] = Recoverer::default();
                out.add(Who::Recoverer(r), "KILLED", n);
            }
            self.repair(s, r, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        for (k, user) in s.users.iter().enumerate().filter(|(_, user)| user.owns != 0) {
            if s.permits[user.owns as usize - 1] != id(k) {
                return Err(format!("user {k} lost its permit"));
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let done = |user: &User| user.left == 0 && user.at == At::Idle && user.buffer == Buffer::Empty;
        let recovered = s.recoverers.iter().all(|r| r.dead == 0);
        recovered && s.users.iter().all(done) && s.permits.iter().all(|owner| *owner == 0)
    }
}

impl Permits {
    fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let dead = id(k);
        let unlocked = matches!(self.bug, Bug::RecoverWithoutLock | Bug::FreeAnyOwner);
        let locked = s.recoverers.iter().any(|r| r.dead == dead) && !unlocked;
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (locked, idle) {
            let mut n = *s;
            n.recoverers[r] = Recoverer { dead, ..Recoverer::default() };
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let who = Who::Recoverer(r);
        let Recoverer { dead, at, permit, freed } = s.recoverers[r];
        let mut n = *s;
        let me = &mut n.recoverers[r];
        let silent = self.bug == Bug::SilentRecovery || self.bug == Bug::WakeIfFreed && !freed;
        let last = permit as usize + 1 == self.permits;
        let end = if silent { Repair::Reuse } else { Repair::Bump };
        let what = match at {
            Repair::Look if s.permits[permit as usize] == dead && self.bug != Bug::NotSwept => {
                me.at = Repair::Free;
                "a permit of the dead"
            }
            Repair::Look => {
                me.at = if last { end } else { Repair::Look };
                me.permit = if last { 0 } else { permit + 1 };
                "not a permit of the dead"
            }
            Repair::Free => {
                me.freed = self.bug == Bug::WakeIfFreed;
                me.at = Repair::Look;
                if self.bug != Bug::RecoverWithoutLock || s.permits[permit as usize] == dead {
                    n.permits[permit as usize] = 0;
                }
                "permit = 0"
            }
            Repair::Bump => {
                me.at = Repair::Wake;
                n.bump();
                "seq += 1"
            }
            Repair::Wake if self.bug == Bug::RecoveryWakesOne => {
                return self.wake_one(s, who, out, |n| n.recoverers[r].at = Repair::Reuse);
            }
            Repair::Wake => {
                me.at = Repair::Reuse;
                (0..self.users).filter(|k| s.users[*k].at == At::Asleep).for_each(|k| n.wake(k));
                "wake all"
            }
            Repair::Reuse => {
                let user = &mut n.users[dead as usize - 1];
                if user.at == At::Dead {
                    user.at = At::Idle;
                }
                n.recoverers[r] = Recoverer::default();
                "the id is reusable"
            }
        };
        out.add(who, what, n);
    }
}
