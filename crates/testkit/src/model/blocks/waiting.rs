//! Waiting for a free block: one line, several sleepers, and nothing that says whose the wake is.
//!
//! ```text
//! line      flag: somebody may sleep; seq: rises at every wake, the futex
//!
//! wait      s = seq; scan the blocks: one is FREE: CAS -> mine, leave
//!           flag = 1; fence; scan again; futex_wait(seq, s); slept; again
//! leave     for whatever reason, if slept: pass
//! release   block = FREE; fence; flag is 0: done; else flag = 0; seq += 1; wake one
//! pass      flag = 1; fence; is a block FREE? then flag = 0; seq += 1; wake one
//! recover d blocks of d -> FREE; seq += 1; wake all: always, last
//! ```
//!
//! A wake goes to one sleeper, and clears the flag of all. So whoever slept may have used up a wake that others
//! need: before it leaves it says once more that somebody may sleep, and if there is something to be had, it
//! wakes the next one, who does the same. Nobody clears the flag because *he* leaves.
//!
//! Each user has a store buffer of one place (as on x86), because the fences are what is at stake. There are no
//! slices: a lost wake is a stuck state.

use super::super::check::{Model, Steps, Who};
use super::id;

const USERS: usize = 3;
const BLOCKS: usize = 2;

/// A store that the others do not see yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Buffer {
    #[default]
    Empty,
    /// This block = FREE.
    Free(u8),
    Flag(bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Seq,
    /// Looks at the block with this number.
    Scan(u8),
    Arm,
    ArmFence,
    ScanAgain(u8),
    LateSeq,
    Sleep,
    Asleep,
    Own,
    Disarm,
    PostFence,
    PostFlag,
    PostClear,
    PostBump,
    PostWake,
    PostClearLate,
    PassArm,
    PassFence,
    PassScan(u8),
    Dead,
    RepairBlock(u8),
    RepairBump,
    RepairWake,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct User {
    at: At,
    buffer: Buffer,
    /// The line's seq has risen since it was read.
    moved: bool,
    slept: bool,
    /// It has a block, plus one.
    owns: u8,
    /// Blocks it will still want.
    left: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct State {
    /// Owner of each; 0 is FREE.
    blocks: [u8; BLOCKS],
    flag: bool,
    users: [User; USERS],
    kills: u8,
    deadlines: u8,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
    None,
    /// A release looks at the flag before the block is seen to be free.
    NoPostFence,
    /// A sleeper looks at the blocks before its flag is seen.
    NoArmFence,
    /// No look between arming and sleeping.
    NoSecondLook,
    /// seq is read after the second look.
    SeqAfterLook,
    /// A waker clears the flag after it bumped seq: it clears the flag of a sleeper that has armed again.
    ClearAfterBump,
    /// Nobody passes: one wake for two free blocks reaches one of two sleepers.
    NoPass,
    /// Who leaves at its deadline does not pass.
    LeaveAtDeadline,
    /// `pass` does not say that somebody may sleep: the next release wakes nobody.
    PassWithoutArm,
    /// Who leaves clears the flag, as the single waiter of a lane may.
    LeaverDisarms,
    /// Recovery frees the blocks of the dead and wakes nobody.
    SilentRecovery,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) users: usize,
    pub(super) blocks: usize,
    /// Blocks that each of them wants, one after the other.
    pub(super) wants: u8,
    pub(super) kills: u8,
    pub(super) deadlines: u8,
    pub(super) bug: Bug,
}

impl State {
    fn drain(&mut self, k: usize) {
        match std::mem::take(&mut self.users[k].buffer) {
            Buffer::Empty => {}
            Buffer::Free(b) => self.blocks[b as usize] = 0,
            Buffer::Flag(flag) => self.flag = flag,
        }
    }

    fn bump(&mut self) {
        self.users.iter_mut().for_each(|user| user.moved = true);
    }

    fn wake(&mut self, k: usize) {
        let user = &mut self.users[k];
        *user = User { at: At::Seq, slept: true, moved: false, ..*user };
    }
}

impl Waiting {
    fn scan(&self, b: u8, next: fn(u8) -> At, end: At) -> At {
        if b as usize + 1 < self.blocks { next(b + 1) } else { end }
    }

    /// Where a wait that is over goes on.
    fn leave(&self, user: &User, passes: bool) -> At {
        match (user.slept && passes && self.bug != Bug::NoPass, self.bug) {
            (_, Bug::LeaverDisarms) => At::Disarm,
            (true, Bug::PassWithoutArm) => At::PassScan(0),
            (true, _) => At::PassArm,
            (false, _) => after(user),
        }
    }

    /// Wakes one of the sleepers, whichever.
    fn wake_one(&self, s: &State, k: usize, at: At, out: &mut Steps<State>) {
        let mut n = *s;
        n.users[k].at = at;
        settle(&mut n.users[k]);
        let mut nobody = true;
        for other in (0..self.users).filter(|other| s.users[*other].at == At::Asleep) {
            let mut woken = n;
            woken.wake(other);
            nobody = false;
            out.add(Who::Process(k), "wake one", woken);
        }
        if nobody {
            out.add(Who::Process(k), "wake: nobody sleeps", n);
        }
    }

    fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let user = s.users[k];
        let drained = user.buffer == Buffer::Empty;
        let mut n = *s;
        let me = &mut n.users[k];
        let what = match user.at {
            At::Idle if user.left > 0 => {
                me.left -= 1;
                me.at = At::Seq;
                "claim: begin"
            }
            At::Seq => {
                me.moved = false;
                me.at = At::Scan(0);
                "wait: s = seq"
            }
            At::Scan(b) | At::ScanAgain(b) => return self.look(s, k, b, out),
            At::Arm if drained => {
                me.buffer = Buffer::Flag(true);
                me.at = At::ArmFence;
                "wait: flag = 1"
            }
            At::ArmFence if drained || self.bug == Bug::NoArmFence => {
                me.at = if self.bug == Bug::NoSecondLook { At::Sleep } else { At::ScanAgain(0) };
                "wait: fence"
            }
            At::LateSeq => {
                me.moved = false;
                me.at = At::Sleep;
                "wait: s = seq, too late"
            }
            At::Sleep if drained => {
                me.at = if user.moved { At::Seq } else { At::Asleep };
                me.moved = false;
                "wait: futex_wait(seq, s)"
            }
            At::Disarm if drained => {
                me.buffer = Buffer::Flag(false);
                let passes = user.slept;
                me.at = if passes { At::PassArm } else { after(&user) };
                "leave: flag = 0"
            }
            At::Own if drained => {
                me.buffer = Buffer::Free(user.owns - 1);
                me.owns = 0;
                me.at = At::PostFence;
                "release: block = FREE"
            }
            At::PassArm if drained => {
                me.buffer = Buffer::Flag(true);
                me.at = At::PassFence;
                "pass: flag = 1"
            }
            At::PassFence if drained => {
                me.at = At::PassScan(0);
                "pass: fence"
            }
            At::PassScan(b) => {
                let free = s.blocks[b as usize] == 0;
                me.at = if free { At::PostClear } else { self.scan(b, At::PassScan, after(&user)) };
                if self.bug == Bug::ClearAfterBump && free {
                    me.at = At::PostBump;
                }
                settle(me);
                "pass: is a block free?"
            }
            _ => return self.post(s, k, out),
        };
        out.add(Who::Process(k), what, n);
    }

    fn look(&self, s: &State, k: usize, b: u8, out: &mut Steps<State>) {
        let user = s.users[k];
        let mut n = *s;
        let me = &mut n.users[k];
        let free = s.blocks[b as usize] == 0;
        if free && user.buffer != Buffer::Empty {
            return;
        }
        let what = if free {
            me.owns = b + 1;
            me.at = self.leave(&User { owns: b + 1, ..user }, true);
            settle(me);
            n.blocks[b as usize] = id(k);
            "claim: CAS FREE -> mine"
        } else {
            me.at = match (user.at, self.bug) {
                (At::Scan(_), _) => self.scan(b, At::Scan, At::Arm),
                (_, Bug::SeqAfterLook) => self.scan(b, At::ScanAgain, At::LateSeq),
                _ => self.scan(b, At::ScanAgain, At::Sleep),
            };
            "claim: not free"
        };
        out.add(Who::Process(k), what, n);
    }

    fn post(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let user = s.users[k];
        let drained = user.buffer == Buffer::Empty;
        let late = self.bug == Bug::ClearAfterBump;
        let mut n = *s;
        let me = &mut n.users[k];
        let what = match user.at {
            At::PostFence if drained || self.bug == Bug::NoPostFence => {
                me.at = At::PostFlag;
                "post: fence"
            }
            At::PostFlag => {
                me.at = match (s.flag, late) {
                    (false, _) => after(&user),
                    (true, false) => At::PostClear,
                    (true, true) => At::PostBump,
                };
                settle(me);
                "post: look at the flag"
            }
            At::PostClear | At::PostClearLate if drained => {
                me.buffer = Buffer::Flag(false);
                me.at = if late { after(&user) } else { At::PostBump };
                settle(me);
                "post: flag = 0"
            }
            At::PostBump if drained => {
                me.at = At::PostWake;
                n.bump();
                "post: seq += 1"
            }
            At::PostWake if drained => {
                let at = if late { At::PostClearLate } else { after(&user) };
                return self.wake_one(s, k, at, out);
            }
            _ => return,
        };
        out.add(Who::Process(k), what, n);
    }

    fn repair(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let (at, what) = match s.users[k].at {
            At::Dead => (At::RepairBlock(0), "takes the lock of the dead"),
            At::RepairBlock(b) => {
                if n.blocks[b as usize] == id(k) {
                    n.blocks[b as usize] = 0;
                }
                let silent = self.bug == Bug::SilentRecovery;
                let end = if silent { At::Idle } else { At::RepairBump };
                (self.scan(b, At::RepairBlock, end), "a block of the dead -> FREE")
            }
            At::RepairBump => {
                n.bump();
                (At::RepairWake, "seq += 1")
            }
            _ => {
                for other in (0..self.users).filter(|other| s.users[*other].at == At::Asleep) {
                    n.wake(other);
                }
                (At::Idle, "wake all; the id is reusable")
            }
        };
        n.users[k].at = at;
        out.add(Who::Recoverer(k), what, n);
    }
}

/// Where a wait or a post is left for: with a block, or without.
fn after(user: &User) -> At {
    if user.owns == 0 { At::Idle } else { At::Own }
}

/// Forgets what is over, so that equal situations are equal states.
fn settle(user: &mut User) {
    if matches!(user.at, At::Idle | At::Own) {
        user.moved = false;
        user.slept = false;
    }
}

impl Model for Waiting {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        s.users[..self.users].iter_mut().for_each(|user| user.left = self.wants);
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.users {
            let user = s.users[k];
            let repairing = matches!(user.at, At::RepairBlock(_) | At::RepairBump | At::RepairWake);
            if s.kills < self.kills && user.at != At::Dead && (user.at != At::Idle || user.left > 0) {
                let mut n = *s;
                n.kills += 1;
                // What has left the program reaches memory, whoever dies.
                n.drain(k);
                n.users[k] = User { at: At::Dead, left: user.left, ..User::default() };
                let who = if repairing { Who::Recoverer(k) } else { Who::Process(k) };
                out.add(who, "KILLED", n);
            }
            if repairing || user.at == At::Dead {
                self.repair(s, k, out);
                continue;
            }
            if user.buffer != Buffer::Empty {
                let mut n = *s;
                n.drain(k);
                out.add(Who::Process(k), "its store is seen", n);
            }
            let may_leave = matches!(user.at, At::Asleep) || user.at == At::Seq && user.slept;
            if s.deadlines < self.deadlines && may_leave {
                let mut n = *s;
                n.deadlines += 1;
                n.users[k].slept = true;
                n.users[k].at = self.leave(&n.users[k], self.bug != Bug::LeaveAtDeadline);
                settle(&mut n.users[k]);
                out.add(Who::Process(k), "its deadline", n);
            }
            self.proceed(s, k, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        for (k, user) in s.users.iter().enumerate().filter(|(_, user)| user.owns != 0) {
            if s.blocks[user.owns as usize - 1] != id(k) {
                return Err(format!("user {k} lost its block"));
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let done = |user: &User| user.left == 0 && user.at == At::Idle && user.buffer == Buffer::Empty;
        s.users.iter().all(done) && s.blocks.iter().all(|owner| *owner == 0)
    }
}
