//! Operations on locks and signals, interrupted: the stage on which they are played.
//!
//! A [`Play`] is one operation of the victim in one situation. Beside the survivor, who makes the object, up to two
//! others take part: one who sleeps at the object when the victim comes, one who holds it and lets go when the victim
//! sleeps. After the death nobody recovers on purpose. Whoever is next must proceed within 100 ms ([`PROMPT`]) by what
//! waiting does by itself, and is told of the death exactly if that is due. Then the object is as new, and nothing is
//! left in the segment.
//!
//! A time is taken without the share in which the one who is timed was ready to run and another process had its core:
//! that is the machine's, and these trials may have company.

mod barrier;
mod condvar;
mod cue;
mod detect;
mod doors;
mod events;
mod locks;
mod once;
mod permits;
mod rwlock;
mod select;
mod signals;

use std::fs;
use std::time::Duration;

use ginnel::Manager;
use ginnel::sync::Semaphore;
use ginnel_testkit::child::{Child, Exit, fork_child};
use ginnel_testkit::scratch::now_ns;
use ginnel_testkit::step::{Marks, Tracee};
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};
use nix::sys::signal::Signal;

use super::{Progress, all};
use crate::world::{World, during};
pub(super) use barrier::{barrier_break, barrier_leave, barrier_recover};
pub(super) use condvar::{condvar, condvar_recover};
pub(super) use cue::Cue;
pub(super) use detect::detect;
pub(super) use events::{event, event_auto, semaphore, signals_recover};
pub(super) use locks::{lock, locks_recover, mutex, nobodys, rlock};
pub(super) use once::{once, once_recover};
pub(super) use permits::{permits, permits_recover};
pub(super) use rwlock::{rwlock_read, rwlock_recover, rwlock_write};
pub(super) use select::{bells, select_lock, select_queue, select_recover, select_semaphore};

/// How long after a death the next one may take to proceed.
const PROMPT: Duration = Duration::from_millis(100);

/// Nothing in a trial takes that long, also on a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(20);

/// A wait in vain. A trial lasts as long, so it is short.
const MOMENT: Duration = Duration::from_micros(200);

/// How far into a recovery the scout looks: what comes behind is the segment's, and other targets look at it.
const REACH: usize = 8000;
const REACH_OF_SAMPLE: usize = 2500;

type Body<H> = fn(&H, &Cue<'_>);

/// One of the others.
struct Part<H> {
    body: Body<H>,
    /// It falls asleep in its part; else it is ready when it says so.
    sleeps: bool,
    /// When it comes: before the victim, or when somebody calls it.
    called: bool,
    /// It is stopped in its sleep until the victim is dead, so that it does not recover the dead by itself meanwhile.
    stopped: bool,
}

impl<H> Part<H> {
    /// Is asleep before the victim comes.
    fn sleeper(body: Body<H>) -> Self {
        Self { body, sleeps: true, called: false, stopped: false }
    }

    /// Comes and sleeps when it is called.
    fn called(body: Body<H>) -> Self {
        Self { called: true, ..Self::sleeper(body) }
    }

    /// Has done something before the victim comes, and does the rest when the victim sleeps, or is dead.
    fn helper(body: Body<H>) -> Self {
        Self { sleeps: false, ..Self::sleeper(body) }
    }

    fn stopped(self) -> Self {
        Self { stopped: true, ..self }
    }
}

/// One who stands half-way in an operation when the victim comes, who kills and recovers him.
struct Doomed<H> {
    operation: fn(&H, &Marks),
    reached: fn(&H) -> bool,
}

/// One operation in one situation.
struct Play<H> {
    what: &'static str,
    open: fn(&Manager) -> ginnel::Result<H>,
    /// What the survivor does first.
    before: fn(&H) -> Result<(), String>,
    /// What it did first keeps the object until it leaves: a guard that it forgot.
    stays: bool,
    others: Vec<Part<H>>,
    doomed: Option<Doomed<H>>,
    victim: fn(&H, &Marks, &Cue<'_>),
    check: fn(&mut Stage<H>) -> Result<(), String>,
}

impl<H: 'static> Play<H> {
    /// Nobody else is there.
    fn new(
        what: &'static str,
        open: fn(&Manager) -> ginnel::Result<H>,
        victim: fn(&H, &Marks, &Cue<'_>),
        check: fn(&mut Stage<H>) -> Result<(), String>,
    ) -> Self {
        let others = Vec::new();
        Self { what, open, before: |_| Ok(()), stays: false, others, doomed: None, victim, check }
    }

    /// The victim recovers `doomed`, who is dead by then.
    fn recovery(
        what: &'static str,
        open: fn(&Manager) -> ginnel::Result<H>,
        doomed: Doomed<H>,
        check: fn(&mut Stage<H>) -> Result<(), String>,
    ) -> Self {
        Self { doomed: Some(doomed), ..Self::new(what, open, |_, _, _| (), check) }
    }

    fn before(self, before: fn(&H) -> Result<(), String>) -> Self {
        Self { before, ..self }
    }

    /// [`before`](Self::before), and the survivor stays inside through a guard that it forgets.
    fn before_and_stays(self, before: fn(&H) -> Result<(), String>) -> Self {
        Self { before, stays: true, ..self }
    }

    fn beside(mut self, part: Part<H>) -> Self {
        self.others.push(part);
        self
    }

    fn subject(self) -> (String, Subject<'static, Stage<H>>) {
        let Self { what, open, before, stays, others, doomed, victim, check } = self;
        let has_doomed = doomed.is_some();
        let subject = Subject {
            setup: Box::new(move || Stage::set(open, before, &others, doomed.as_ref())),
            view: Box::new(|stage: &Stage<H>| stage.world.view()),
            victim: Box::new(move |stage, marks| {
                let manager = stage.world.attach();
                if has_doomed {
                    stage.recover(&manager, marks);
                    return;
                }
                let it = open(&manager).expect("it is there");
                victim(&it, marks, &Cue::of_victim(&stage.world.results));
            }),
            check: Box::new(move |mut stage, _| {
                stage.victim_is_dead()?;
                check(&mut stage)?;
                stage.strike(stays)
            }),
        };
        (what.to_owned(), subject)
    }
}

/// Plays them all.
fn play<H: 'static>(
    plan: &Plan,
    progress: Progress<'_>,
    plays: impl IntoIterator<Item = Play<H>>,
) -> Result<Report, Fault> {
    measure_the_machine().map_err(|what| Fault { place: None, what, trials: 0 })?;
    all(plan, progress, plays.into_iter().map(Play::subject))
}

/// The first wait of a process measures what a sleep costs. Once done here, no victim does it in its part.
fn measure_the_machine() -> Result<(), String> {
    let world = World::new()?;
    let semaphore: Semaphore = world.manager.get_or_create("none").map_err(during("make a semaphore"))?;
    if semaphore.acquire_timeout(MOMENT) { Err("it was zero".to_owned()) } else { Ok(()) }
}

/// [`play`], for recoveries, which are long: a short plan looks at fewer of the places where nothing has changed.
fn play_recoveries<H: 'static>(
    plan: &Plan,
    progress: Progress<'_>,
    plays: impl IntoIterator<Item = Play<H>>,
) -> Result<Report, Fault> {
    let reach = if plan.is_sample() { REACH_OF_SAMPLE } else { REACH };
    let sample = if plan.is_sample() { 1 } else { plan.sample };
    play(&Plan { reach, sample, ..*plan }, progress, plays)
}

/// One of the others, at work.
struct Other {
    child: Child,
    stopped: bool,
    ended: bool,
    /// What it had waited for its core when the victim died, in ns.
    delay: u64,
}

/// What one trial needs: the segment, the survivor's handle, the others.
pub(super) struct Stage<H> {
    world: World,
    it: H,
    others: Vec<Other>,
    doomed: Option<Tracee>,
    died: u64,
}

impl<H: 'static> Stage<H> {
    fn set(
        open: fn(&Manager) -> ginnel::Result<H>,
        before: fn(&H) -> Result<(), String>,
        parts: &[Part<H>],
        doomed: Option<&Doomed<H>>,
    ) -> Result<Self, String> {
        let world = World::new()?;
        let it = open(&world.manager).map_err(during("make it"))?;
        before(&it)?;
        let mut stage = Self { world, it, others: Vec::new(), doomed: None, died: 0 };
        if let Some(Doomed { operation, reached }) = doomed {
            let operation = |manager: &Manager, marks: &Marks| {
                operation(&open(manager).expect("it is there"), marks);
            };
            stage.doomed = Some(super::queue::stop_where(&stage.world, operation, || reached(&stage.it))?);
        }
        for (index, part) in parts.iter().enumerate() {
            let results = &stage.world.results;
            let child = fork_child(|| {
                let cue = Cue::of_other(results, index);
                cue.awaits_its_call();
                let manager = stage.world.attach();
                let it = open(&manager).expect("it is there");
                (part.body)(&it, &cue);
            });
            let child = child.map_err(during("fork one of the others"))?;
            if !part.called {
                Cue::of_victim(results).call(index, part.sleeps);
            }
            if part.stopped {
                child.signal(Signal::SIGSTOP).map_err(during("stop one of the others"))?;
            }
            stage.others.push(Other { child, stopped: part.stopped, ended: false, delay: 0 });
        }
        Ok(stage)
    }

    /// The victim's part where somebody else died before.
    fn recover(&self, manager: &Manager, marks: &Marks) {
        let doomed = self.doomed.as_ref().expect("somebody is to die");
        doomed.kill_from_elsewhere().expect("it can be killed");
        let cue = Cue::of_victim(&self.world.results);
        cue.begins(marks);
        let count = manager.recover();
        cue.says(count.unwrap_or(0) as u64);
        marks.end();
    }

    /// The time from which everybody's is counted; who was stopped goes on.
    fn victim_is_dead(&mut self) -> Result<(), String> {
        if let Some(doomed) = self.doomed.take() {
            doomed.kill().map_err(during("reap the first dead one"))?;
        }
        self.count_from_now();
        for other in self.others.iter().filter(|other| other.stopped) {
            other.child.signal(Signal::SIGCONT).map_err(during("let one go on"))?;
        }
        Ok(())
    }

    /// Counts everybody's time from now on: the survivor has done something for them.
    fn count_from_now(&mut self) {
        for other in &mut self.others {
            other.delay = delay_of(other.child.pid());
        }
        self.died = now_ns();
    }

    fn cue(&self) -> Cue<'_> {
        Cue::of_victim(&self.world.results)
    }

    /// What the victim said last: 0 if it did not come to the end of its operation.
    fn said(&self) -> u64 {
        self.cue().said()
    }

    /// An act of the survivor that must not take long. `what` says what it is.
    fn promptly<T>(&self, what: &str, act: impl FnOnce(&H) -> ginnel::Result<T>) -> Result<T, String> {
        let me = std::process::id();
        let (start, delay) = (now_ns(), delay_of(me));
        let outcome = act(&self.it);
        is_prompt(what, now_ns().saturating_sub(start), delay_of(me).saturating_sub(delay))?;
        outcome.map_err(during(what))
    }

    /// Is the part of the other over?
    fn is_over(&self, index: usize) -> bool {
        Cue::of_other(&self.world.results, index).said() != 0
    }

    /// Was it woken, or is it over already? Asked right after an act that was to wake it: its sleep has slices, after
    /// which it would look by itself.
    fn is_woken(&self, index: usize) -> bool {
        self.is_over(index) || !cue::is_asleep(self.others[index].child.pid())
    }

    /// Does it sleep, or is it over?
    fn is_at_rest(&self, index: usize) -> bool {
        self.is_over(index) || cue::is_asleep(self.others[index].child.pid())
    }

    /// Waits for the end of the other, which must come promptly. What it said.
    fn ends(&mut self, index: usize) -> Result<u64, String> {
        let Other { child, ended, delay, .. } = &mut self.others[index];
        match child.wait_timeout(LIMIT).map_err(during("wait for one of the others"))? {
            Some(Exit::Code(0)) => *ended = true,
            Some(exit) => return Err(format!("other {index} ended with {exit}")),
            None => return Err(format!("blocked: other {index} does not come to its end")),
        }
        let cue = Cue::of_other(&self.world.results, index);
        let (when, delayed) = cue.said_when();
        is_prompt(&format!("other {index}"), when.saturating_sub(self.died), delayed.saturating_sub(*delay))?;
        Ok(cue.said())
    }

    /// Nothing is left of what was played, once a survivor that stays inside has left.
    fn strike(self, stays: bool) -> Result<(), String> {
        let Self { mut world, it, others, .. } = self;
        if others.iter().any(|other| !other.ended) {
            return Err("a fault of the play: one of the others is still in it".to_owned());
        }
        world.manager.recover().map_err(during("recover"))?;
        drop(it);
        if stays {
            world.replace_survivor()?;
        }
        world.is_empty_again()
    }
}

/// Was `ns` short enough, without the `delay` for which there was no core?
fn is_prompt(what: &str, ns: u64, delay: u64) -> Result<(), String> {
    let took = Duration::from_nanos(ns.saturating_sub(delay));
    if took <= PROMPT {
        return Ok(());
    }
    Err(format!(
        "blocked: {what} took {took:?} (and {delay} ns without a core), at most {PROMPT:?} are allowed"
    ))
}

/// How long a process was ready to run and had no core, in ns, in all its life.
fn delay_of(pid: impl std::fmt::Display) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_default()
}
