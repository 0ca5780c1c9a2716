//! The pool: leases say what is so, hints say where to look, and a worker's death costs one item.
//!
//! ```text
//! slot      FREE  READY  RUN(w)  DONE  LOST; bits W H K; first item, progress, results; private: where its last hint is
//! ring      head, tail, a slot number at each position between them; as many places as slots
//! idle      flag, seq: workers sleep here           hall      flag, seq: callers sleep here until anything is over
//!
//! submit    fields; READY; is my last hint below head? ring[tail] = slot; tail += 1.   Then flag set? flag = 0; seq += 1; wake one
//! worker    h < t: CAS head h -> h + 1; CAS READY -> RUN(me), bits stay; slept? pass; each item: body; result; progress += 1
//!           swap DONE: W: wake the lease; H: flag of the hall set? flag = 0; seq += 1; wake all; K: wait for the end
//!           h = t: s = seq; flag = 1; look again; futex_wait(seq, s)
//! join      over? DONE: take, FREE; else CAS + W; futex_wait(lease, what it was with W)
//! full      take whatever is DONE, and wake who sleeps on it; none: s = seq; flag = 1; CAS + H on all; futex_wait(seq, s)
//! cancel    CAS READY -> FREE; wake all in the hall  doom      CAS RUN(w) -> RUN(w) + K; then SIGKILL to w
//! recover d RUN(d) -> LOST, slot by slot; wake all who sleep on leases, on idle, in the hall
//! repair    after that: LOST: results of progress items are taken; the running one is told of, or READY once more; the
//!           rest READY, bits stay; every READY slot whose hint is below head gets another; only now the next worker
//! ```
//!
//! Submit, take and repair hold the one mutex of the parent. Why the old hint of a slot is looked for after READY: a
//! worker that pops it later finds READY; one that popped it earlier is seen to have moved head.
//!
//! What must hold: every item has exactly one outcome; a value has its result; nobody runs an item twice that is not
//! retried, or at all if it was cancelled; the ring never overflows; a kill that was decided on hits its task and no other;
//! and nobody sleeps for ever: there are no slices. That fences order the words is what `permits` and `gate` are for.
//!
//! | worker dies | leaves | next |
//! |---|---|---|
//! | after it popped a hint | READY, no hint | repair hints again |
//! | in item k | LOST, k results | told of, or run again; the rest at no cost |
//! | after the swap, before its wakes | DONE, sleepers | recovery wakes all |
//! | woken, with nothing taken yet | others asleep | the same |
//! | as one that is doomed | LOST or DONE | told of, or a value |
//!
//! The parent does not die here: its pool dies with it. What each mutation breaks stands at `Bug`.

mod cases;
mod parent;
mod worker;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const WORKERS: usize = 2;
const SLOTS: usize = 2;
const CALLERS: usize = 2;
const TASKS: usize = 3;
const ITEMS: usize = 2;

/// What a caller does, one after the other. The number is the task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Submit(u8),
    Join(u8),
    Cancel(u8),
    Doom(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum St {
    #[default]
    Free,
    Ready,
    Run,
    Done,
    Lost,
}

/// The word that decides. `task` (plus one) stands for the generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Lease {
    st: St,
    owner: u8,
    task: u8,
    waited: bool,
    hall: bool,
    kill: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    lease: Lease,
    /// The first item of those that are left.
    base: u8,
    attempt: u8,
    /// Items behind `base` that are done, and those whose result is written.
    progress: u8,
    results: u8,
    /// Private: the position of its last hint, plus one; and that its worker is to be killed.
    hint: u8,
    doomed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Outcome {
    #[default]
    None,
    Value,
    Died,
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Work {
    #[default]
    Look,
    Hint,
    Pop,
    Claim,
    Seq,
    Flag,
    Sleep,
    Asleep,
    PassFlag,
    PassLook,
    PassWake,
    Body,
    Result,
    Progress,
    /// Reads the bits, only for `CommitByStore`.
    Bits,
    Commit,
    Wake,
    Hall,
    HallWake,
    Doomed,
    /// Dead, and what is done about it.
    Sweep(u8),
    WakeIdle,
    WakeLeases,
    WakeHall,
    Recovered,
    /// The seat is being filled again; only for `ReplaceFirst` before it was swept.
    Replaced,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Worker {
    at: Work,
    head: u8,
    slot: u8,
    armed: bool,
    /// The sequence has risen since it was read.
    moved: bool,
    slept: bool,
    /// Bits that the commit has found.
    waited: bool,
    hall: bool,
    kill: bool,
    /// A SIGKILL is under way to it, for this task, plus one.
    to_die: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Call {
    #[default]
    Next,
    // Submit.
    Lock,
    Fill(u8),
    HintLook(u8),
    HintPut(u8),
    HintTail(u8),
    Unlock,
    PostFlag,
    PostWake,
    Reclaim(u8),
    ReclaimWake(u8),
    HallSeq,
    HallFlag,
    HallAsk(u8),
    HallSleep,
    HallAsleep,
    // Join.
    JoinLock,
    SetWaited(u8),
    JoinSleep(u8),
    JoinAsleep(u8),
    // Cancel.
    CancelLock,
    CancelLate(u8),
    // The supervisor.
    Slot(u8),
    SlotWake(u8),
    Replace,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Caller {
    at: Call,
    op: u8,
    moved: bool,
    /// What the lease was when it was marked; whether the last hint of the slot is still there.
    seen: Lease,
    served: bool,
    /// The supervisor: whom it repairs, plus one; none is a late sweep's.
    dead: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    slots: [Slot; SLOTS],
    ring: [u8; SLOTS],
    head: u8,
    tail: u8,
    idle: bool,
    hall: bool,
    workers: [Worker; WORKERS],
    callers: [Caller; CALLERS + 1],
    /// Who holds the mutex, plus one.
    lock: u8,
    kills: u8,
    /// Who is still to be swept, and that it was; only for `ReplaceFirst`.
    late: u8,
    swept: bool,
    /// Known to the checks, and the outcomes to the parent.
    runs: [[u8; ITEMS]; TASKS],
    outcomes: [[Outcome; ITEMS]; TASKS],
    broken: Option<&'static str>,
}

/// The one who repairs, among the callers.
const SUPERVISOR: usize = CALLERS;

/// A deliberate mistake; the last ones are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The draft: repair hints at every READY slot.
    RehintAll,
    /// Repair hints at none but those that it made READY.
    NoRehint,
    /// A slot gets a hint at each submit, although the last one is still there.
    HintAlways,
    /// The last hint is looked for before READY is stored.
    HintBeforeReady,
    /// The hint comes before READY.
    ReadyLast,
    /// A claim is a look and a store.
    ClaimByStore,
    /// The claim, or the retry, drops the bits.
    ClaimDropsBits,
    RetryDropsBits,
    /// The commit is a look at the bits and a store.
    CommitByStore,
    /// The commit, or the progress, comes before the result.
    CommitFirst,
    ProgressFirst,
    /// The joiner sleeps whatever the lease says.
    SleepBlindly,
    /// Recovery wakes nobody on leases; or in the hall.
    NoLeaseWake,
    NoHallWake,
    /// Who takes another one's result does not wake him.
    TakeWakesNobody,
    /// The next worker sits down before the last one was swept.
    ReplaceFirst,
    /// A task is cancelled by a look and a store; or nobody in the hall is told of the slot.
    CancelByStore,
    CancelSilently,
    /// The worker that is to be killed takes another task.
    DoomedGoesOn,
    /// Nobody asks for the hall; or asks before he is announced.
    NoHallBits,
    HallBitsFirst,
    /// None: a woken worker passes nothing on. It comes back for what is left.
    NoPass,
    /// None: recovery wakes nobody on idle. The next worker looks.
    NoIdleWake,
    /// None: who finds the old hint of the slot in the ring wakes nobody.
    ServedWithoutPost,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Pool {
    scripts: &'static [&'static [Op]],
    workers: usize,
    slots: usize,
    items: u8,
    retries: u8,
    kills: u8,
    bug: Bug,
}

impl State {
    /// An item is over.
    fn over(&mut self, task: u8, item: u8, outcome: Outcome) {
        let place = &mut self.outcomes[task as usize][item as usize];
        if *place != Outcome::None {
            self.broken = Some("an item has two outcomes");
        }
        *place = outcome;
    }

    /// The first `count` items that a slot has left are over, with values.
    fn values(&mut self, slot: usize, count: u8) {
        let Slot { lease, base, results, .. } = self.slots[slot];
        if results < count {
            self.broken = Some("a value without its result");
        }
        for item in base..base + count {
            self.over(lease.task - 1, item, Outcome::Value);
        }
    }

    fn free(&mut self, slot: usize) {
        let hint = self.slots[slot].hint;
        self.slots[slot] = Slot { hint, ..Slot::default() };
    }

    fn wake_lease(&mut self, slot: usize) {
        for caller in &mut self.callers {
            if caller.at == Call::JoinAsleep(slot as u8) {
                caller.at = Call::JoinLock;
            }
        }
    }

    fn bump_idle(&mut self) {
        // Only who has read it, and does not sleep yet, cares.
        for worker in self.workers.iter_mut().filter(|worker| worker.armed || worker.at == Work::Flag) {
            worker.moved = true;
        }
    }

    fn bump_hall(&mut self) {
        for caller in &mut self.callers {
            let cares = matches!(caller.at, Call::HallFlag | Call::HallAsk(_) | Call::HallSleep);
            caller.moved |= cares;
        }
    }

    fn wake_hall(&mut self) {
        self.bump_hall();
        for caller in &mut self.callers {
            if caller.at == Call::HallAsleep {
                caller.at = Call::Lock;
            }
        }
    }

    fn slot_of(&self, task: u8) -> Option<usize> {
        self.slots.iter().position(|slot| slot.lease.task == task + 1)
    }
}

impl Pool {
    /// One sleeper on idle is woken, or there is none: a state each.
    fn wake_idle(&self, s: &State, mut add: impl FnMut(State)) {
        let mut n = *s;
        n.bump_idle();
        let asleep = |k: &usize| s.workers[*k].at == Work::Asleep;
        let mut nobody = true;
        for k in (0..self.workers).filter(asleep) {
            let mut n = n;
            n.workers[k].at = Work::Look;
            n.workers[k].slept = true;
            n.workers[k].armed = false;
            nobody = false;
            add(n);
        }
        if nobody {
            add(n);
        }
    }

    fn is_over(&self, s: &State, task: u8) -> bool {
        s.outcomes[task as usize][..self.items as usize].iter().all(|outcome| *outcome != Outcome::None)
    }

    fn op(&self, s: &State, caller: usize) -> Option<Op> {
        self.scripts.get(caller)?.get(s.callers[caller].op as usize).copied()
    }
}

impl Model for Pool {
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.workers {
            self.kill(s, k, out);
            self.worker(s, k, out);
            self.late(s, k, out);
        }
        for k in 0..self.scripts.len() {
            self.caller(s, k, out);
        }
        self.supervisor(s, out);
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        if let Some(why) = s.broken {
            return Err(why.into());
        }
        for (runs, outcomes) in s.runs.iter().flatten().zip(s.outcomes.iter().flatten()) {
            if *runs > 1 + self.retries || *runs > 1 + s.kills {
                return Err("an item ran too often".into());
            }
            if *outcomes == Outcome::Cancelled && *runs > 0 {
                return Err("a cancelled item ran".into());
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let done = |k: usize| s.callers[k].at == Call::Next && self.op(s, k).is_none();
        let at_work = |k: usize| matches!(s.workers[k].at, Work::Look | Work::Asleep);
        let free = s.slots.iter().all(|slot| slot.lease == Lease::default());
        free && (0..self.scripts.len()).all(done)
            && (0..self.workers).all(at_work)
            && s.callers[SUPERVISOR].at == Call::Next
    }
}

impl Pool {
    fn kill(&self, s: &State, k: usize, out: &mut Steps<State>) {
        use Work::{Recovered, Replaced, Sweep, WakeHall, WakeIdle, WakeLeases};
        let worker = s.workers[k];
        if matches!(worker.at, Sweep(_) | WakeIdle | WakeLeases | WakeHall | Recovered | Replaced) {
            return;
        }
        let at = if self.bug == Bug::ReplaceFirst { Replaced } else { Sweep(0) };
        let dead = Worker { at, ..Worker::default() };
        if worker.to_die != 0 {
            let mut n = *s;
            n.workers[k] = dead;
            let hit = s.slots[worker.slot as usize].lease;
            let runs = hit.st == St::Run && hit.owner == k as u8 + 1;
            if runs && hit.task != worker.to_die {
                return out.violation(Who::Process(k), "KILLED as was decided", "it hits another task");
            }
            out.add(Who::Process(k), "KILLED as was decided", n);
        }
        if s.kills < self.kills {
            let mut n = *s;
            n.kills += 1;
            n.workers[k] = dead;
            out.add(Who::Process(k), "KILLED", n);
        }
    }
}
