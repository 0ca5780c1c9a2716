//! Nobody dies: a process is stopped in the middle of its act, at each instruction, and goes on later.
//!
//! While it stands the others take and send what they can, and are told who stands in their way where one does.
//! Nothing is taken from it: nobody recovers it, and what it was at comes to its ordinary end when it goes on.

use std::time::Duration;

use ginnel::error::{RecvTimeoutError, SendTimeoutError};
use ginnel::{Error, OwnerState};
use ginnel_layout::ring::SlotWord;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject, stop};

use super::{Act, Performance, QueueWorld, State, message, number, open, state};
use crate::step::Progress;
use crate::world::during;

/// How long the others wait for the stopped one. Less than a slice: what they are told must not depend on slices.
const MOMENT: Duration = Duration::from_millis(2);

/// The messages that the survivor sends meanwhile begin here.
const MEANWHILE: u64 = 1 << 32;

/// The victim's message, if it got one.
const GOT: usize = 2;

/// A world, and what happened in it while the victim stood still.
struct Beside {
    world: QueueWorld,
    taken: Vec<u64>,
    sent: u64,
}

impl Beside {
    /// The survivor takes all there is, sends until there is no room, and takes all there is once more.
    fn work(&mut self, victim: u32) -> Result<(), String> {
        let recovered = self.world.world.manager.recover().map_err(during("recover"))?;
        if recovered != 0 {
            return Err("the living was recovered".to_owned());
        }
        let writes = self.world.words.any_slot(SlotWord::WRITING);
        // A ring that somebody reads is only in the way a lap later.
        let holds = writes || self.world.words.any_slot(SlotWord::READING);
        self.take_all(writes.then_some(victim))?;
        self.send_all(holds.then_some(victim))?;
        self.take_all(holds.then_some(victim))
    }

    fn take_all(&mut self, in_the_way: Option<u32>) -> Result<(), String> {
        loop {
            match self.world.queue.recv_timeout(MOMENT) {
                Ok(message) => self.taken.push(number(&message)?),
                Err(RecvTimeoutError::Timeout) if in_the_way.is_none() => return Ok(()),
                Err(RecvTimeoutError::Failed(error)) => return names(in_the_way, &error),
                other => return Err(format!("{other:?}, and process {in_the_way:?} stands in the way")),
            }
        }
    }

    fn send_all(&mut self, in_the_way: Option<u32>) -> Result<(), String> {
        loop {
            match self.world.queue.send_timeout(message(MEANWHILE + self.sent), MOMENT) {
                Ok(()) => self.sent += 1,
                Err(SendTimeoutError::Timeout(_)) if in_the_way.is_none() => return Ok(()),
                Err(SendTimeoutError::Failed(_, error)) => return names(in_the_way, &error),
                other => return Err(format!("{other:?}, and process {in_the_way:?} stands in the way")),
            }
        }
    }

    /// After the victim came to its end (and was killed, doing nothing): each message came once.
    fn check(self, act: Act) -> Result<(), String> {
        let Self { world, mut taken, sent } = self;
        world.world.recover_one()?;
        let success = world.world.results.get(super::DONE) == 1;
        let mut again = Vec::new();
        while let Some(seen) = world.next()? {
            taken.push(seen.sequence);
            again.extend(seen.again.filter(|again| *again > 0).map(|_| seen.sequence));
        }
        let victims = world.world.results.get(GOT);
        taken.extend((success && matches!(act, Act::Pop | Act::Ack)).then_some(victims));
        taken.sort_unstable();
        let pushed = (act == Act::Push && success).then_some(world.before.end);
        let all: Vec<u64> = world.before.clone().chain(pushed).chain(MEANWHILE..MEANWHILE + sent).collect();
        if act == Act::Push && !success {
            return Err("the victim found no room, and there was".to_owned());
        }
        if taken != all {
            return Err(format!("lost or duplicated: {taken:?} came, and {all:?} were sent"));
        }
        // Only what the victim still had when it was killed was given twice, or what it gave back itself.
        let may = success && matches!(act, Act::Lease | Act::Nack);
        if again.iter().any(|sequence| !may || *sequence != victims) {
            return Err(format!("{again:?} are flagged, and the victim had {victims}"));
        }
        world.works()
    }
}

/// A timeout that names the stopped process.
fn names(in_the_way: Option<u32>, error: &Error) -> Result<(), String> {
    let right = error.is_timeout()
        && error
            .owner()
            .is_some_and(|owner| Some(owner.pid) == in_the_way && owner.state == OwnerState::Stopped);
    if right { Ok(()) } else { Err(format!("{error}, and process {in_the_way:?} stands in the way")) }
}

fn run<const N: usize>(
    plan: &Plan,
    progress: Progress<'_>,
    act: Act,
    states: [State; N],
) -> Result<Report, Fault> {
    let mut total = Report::default();
    for state in states {
        let mut subject = Subject {
            setup: Box::new(move || {
                Ok(Beside { world: QueueWorld::new(state)?, taken: Vec::new(), sent: 0 })
            }),
            view: Box::new(|beside: &Beside| beside.world.world.view()),
            victim: Box::new(move |beside, marks| {
                let world = &beside.world;
                let manager = world.world.attach();
                let performance = Performance { act, queue: &open(&manager), sequence: world.before.end };
                let got = |sequence| world.world.results.set(GOT, sequence);
                performance.run(marks, |_| {}, got, |success| world.say(success));
            }),
            check: Box::new(move |beside, _| beside.check(act)),
        };
        let report = stop(plan, &mut subject, Beside::work, &mut *progress).map_err(|mut fault| {
            fault.what = format!("{act:?} at {state:?}: {}", fault.what);
            fault.trials += total.trials;
            fault
        })?;
        total = total.and(report);
    }
    Ok(total)
}

pub(in crate::step) fn push_stopped(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    run(plan, progress, Act::Push, [state(0, 0), state(7, 2)])
}

pub(in crate::step) fn pop_stopped(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    run(plan, progress, Act::Pop, [state(7, 3), state(0, 1)])
}

pub(in crate::step) fn lease_stopped(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    run(plan, progress, Act::Lease, [state(7, 3), state(0, 1)])
}

pub(in crate::step) fn ack_stopped(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = run(plan, progress, Act::Ack, [state(7, 3)])?;
    Ok(report.and(run(plan, progress, Act::Nack, [state(7, 3)])?))
}
