//! The explicit-state model checker, and models of the protocols that must survive a kill at any instruction.
//!
//! A test with real processes shows that some interleavings work. A model shows it for all of them, for a few
//! actors and a few objects: the protocol is written down as steps, and a program walks through every order
//! in which the steps can happen. Reading order: this page, [`check`] (the explorer), then any model: `lane`,
//! `mutex`, `attach`, `lifetime`. Each opens with its protocol in words and pseudo code, and lists its
//! deliberate mistakes (its `Bug`).
//!
//! **Step.** One atomic access to shared memory, or one system call, of one actor; private computation is
//! free and belongs to the step before it. A model is a function from a state to the steps possible in it.
//! The state holds shared memory, where every actor is and what it remembers, and a little that no program
//! knows but the checks need (which message was sent how often, who relies on what).
//!
//! **Crash.** Wherever a process may be killed, there is a step KILLED: its private part is gone, its shared
//! words stay as they are, its locks are free. As it lies between any two other steps, it stands for a kill
//! at any instruction. Somebody may then take the lock of the dead and repair; whoever repairs may be killed
//! as well, at each step, and the next one starts over. A configuration bounds the number of kills, else
//! nothing could be promised at all.
//!
//! **Safety.** Each model has an invariant, which is checked in every state; some steps are wrong in
//! themselves (a message received twice). The first violation is shown with a shortest trace.
//!
//! **Goal.** From every reachable state a goal must stay reachable (in the language of logic: AG EF goal):
//! everything delivered, freed, unlocked. This finds lost wake-ups, leaks and deadlocks without any notion of
//! time, provided the model has no step that would rescue them. So most configurations have no *slices*:
//! nobody wakes from a sleep by itself, and one lost wake-up shows as a stuck state. It does not promise a
//! bound, and it does not exclude that somebody is overtaken for ever.
//!
//! **Mutations.** A checker that finds nothing may be looking at nothing. Each model therefore has a list of
//! deliberate bugs, and for each a configuration in which it must be found, as unsafe or as stuck, whatever
//! is right for it; the same configuration without the bug must be verified (a *control*). Several bugs are
//! drafts of our own that looked right. A few rows ask the opposite: that something is not needed, or that
//! slices would hide a mistake.
//!
//! What is verified is verified within the bounds of a configuration, and for the memory model stated in the
//! model: the lane, and who waits for changes of a store, on a machine with store buffers (as x86), everything
//! else as if all processors agreed on one order.

pub mod check;

mod attach;
mod barrier;
mod blocks;
mod broadcast;
mod detect;
mod gate;
mod lane;
mod lifetime;
mod moving;
mod mpsc;
mod mutex;
mod permits;
mod pool;
mod process;
mod ring;
mod rwlock;
mod store;
mod unbounded;
mod waiters;
mod waiting;

use std::fmt;
use std::time::{Duration, Instant};

use check::{Model, Outcome, Verdict, explore};

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What the tests run: seconds for each model.
    Default,
    /// More actors, more kills: minutes, and several gigabytes of memory.
    Deep,
}

impl Depth {
    /// Most states of one configuration.
    fn limit(self) -> usize {
        match self {
            Depth::Default => 4_000_000,
            Depth::Deep => 100_000_000,
        }
    }
}

/// What a configuration must turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Right.
    Verified,
    /// Caught as unsafe, for a reason that contains this text.
    Unsafe(&'static str),
    /// Caught as stuck.
    Stuck,
}

/// One configuration of one model, with the verdict it must get.
pub struct Case {
    /// Name of the model.
    pub model: &'static str,
    /// The bounds, or the deliberate mistake.
    pub configuration: String,
    /// What must come out.
    pub expect: Expect,
    explore: Box<dyn Fn() -> Outcome>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("model", &self.model)
            .field("configuration", &self.configuration)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

impl Case {
    fn new<M: Model + 'static>(
        name: &'static str,
        configuration: impl Into<String>,
        expect: Expect,
        depth: Depth,
        model: M,
    ) -> Self {
        let explore = Box::new(move || explore(&model, depth.limit()));
        Case { model: name, configuration: configuration.into(), expect, explore }
    }

    /// Explores it. Takes milliseconds to a minute, and some hundred bytes of memory a state.
    #[must_use]
    pub fn run(&self) -> Row {
        let start = Instant::now();
        let outcome = (self.explore)();
        Row {
            model: self.model,
            configuration: self.configuration.clone(),
            expect: self.expect,
            states: outcome.states,
            transitions: outcome.transitions,
            verdict: outcome.verdict,
            time: start.elapsed(),
        }
    }
}

/// What came out of a [`Case`]. `Display` gives one line of a table, without the trace.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the model.
    pub model: &'static str,
    /// The bounds, or the deliberate mistake.
    pub configuration: String,
    /// What should have come out.
    pub expect: Expect,
    /// Distinct states seen.
    pub states: usize,
    /// Steps between them.
    pub transitions: usize,
    /// What came out.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}

impl Row {
    /// Whether the verdict is the expected one.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        match (&self.verdict, self.expect) {
            (Verdict::Verified { .. }, Expect::Verified) => true,
            (Verdict::Unsafe { why, .. }, Expect::Unsafe(part)) => why.contains(part),
            (Verdict::Stuck { .. }, Expect::Stuck) => true,
            _ => false,
        }
    }

    /// A shortest way to what was found; empty if nothing was.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        match &self.verdict {
            Verdict::Unsafe { trace, .. } | Verdict::Stuck { trace, .. } => trace,
            Verdict::Verified { .. } | Verdict::TooBig => &[],
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_as_expected() { "ok " } else { "BAD" };
        let seconds = self.time.as_secs_f64();
        write!(
            f,
            "{mark} {:8} {:52} {:9} states {seconds:6.2} s  ",
            self.model, self.configuration, self.states
        )?;
        let steps = self.trace().len().saturating_sub(1);
        match &self.verdict {
            Verdict::Verified { .. } => write!(f, "verified"),
            Verdict::Unsafe { why, .. } => write!(f, "unsafe after {steps} steps: {why}"),
            Verdict::Stuck { count, .. } => write!(f, "stuck after {steps} steps ({count} states)"),
            Verdict::TooBig => write!(f, "too big, nothing is known"),
        }
    }
}

/// A case for each mutation, and one for each of their configurations without it.
fn with_controls<M: Model + Copy + fmt::Debug + 'static>(
    name: &'static str,
    depth: Depth,
    mutations: &[(Expect, M)],
    bug: impl Fn(&M) -> String,
    without: impl Fn(M) -> M,
) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut controls: Vec<(String, M, usize)> = Vec::new();
    for (expect, model) in mutations {
        cases.push(Case::new(name, format!("mutation {}", bug(model)), *expect, depth, *model));
        let right = without(*model);
        let key = format!("{right:?}");
        match controls.iter_mut().find(|(known, ..)| *known == key) {
            Some((.., count)) => *count += 1,
            None => controls.push((key, right, 1)),
        }
    }
    for (number, (_, model, count)) in controls.into_iter().enumerate() {
        let what = format!("control {} of {count} mutations", number + 1);
        cases.push(Case::new(name, what, Expect::Verified, depth, model));
    }
    cases
}

/// Every case of every model, in reading order.
#[must_use]
pub fn cases(depth: Depth) -> Vec<Case> {
    let models = [
        lane::cases(depth),
        mutex::cases(depth),
        attach::cases(depth),
        lifetime::cases(depth),
        broadcast::cases(depth),
        blocks::cases(depth),
        ring::cases(depth),
        unbounded::cases(depth),
        waiting::cases(depth),
        mpsc::cases(depth),
        permits::cases(depth),
        gate::cases(depth),
        waiters::cases(depth),
        barrier::cases(depth),
        detect::cases(depth),
        rwlock::cases(depth),
        process::cases(depth),
        pool::cases(depth),
        moving::cases(depth),
        store::cases(depth),
    ];
    models.into_iter().flatten().collect()
}

/// Runs every case of every model, one after the other, on the calling thread.
#[must_use]
pub fn report(depth: Depth) -> Vec<Row> {
    cases(depth).iter().map(Case::run).collect()
}
