//! A kill at every place of an operation.
//!
//! A [`Subject`] says how to make a fresh world, what the victim does in it, and what must hold once the victim is dead.
//! [`sweep`] first scouts: one run in single steps that notes how long each window is and after which steps the shared
//! memory changed. Then it makes one trial a place: fresh world, fresh child, run there, SIGKILL, check. The place
//! after the last instruction is always tried too.
//!
//! Which places, the [`Plan`] says. [`Plan::full`] takes every instruction, except that a window longer than its limit
//! is thinned to the places where a survivor could see a difference (the state of the shared memory changed with the
//! last step) and an even sample of the others: two places of one window between which no shared word changed and no
//! system call ran look the same to everybody who survives. [`Plan::short`] thins all windows that way.
//!
//! Runs need not be identical. If a run ends before it reaches its place, the trial is one of a kill after the end.

use std::fmt;
use std::io;

use crate::scratch::View;
use crate::step::far::{Path, Route};
use crate::step::{Marks, Moved, Place, Tracee};

/// Which places of an operation are tried.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Windows of at most this many instructions are tried at every one.
    pub every_up_to: usize,
    /// In longer windows, how many places are tried besides those after a change.
    pub sample: usize,
    /// About how many places at most; those after a change are never left out.
    pub most: usize,
    /// Added to the places of a sample, so that repeated runs look elsewhere.
    pub seed: u64,
    /// How far into a window the scout steps; what lies beyond is passed over.
    pub reach: usize,
}

/// Most single steps that the sample of one window may cost, about 20 s: the longest windows get a smaller one.
const STEPS_MOST: usize = 1_000_000;

impl Plan {
    /// Every instruction of every window up to 8000 instructions, as long as that makes no more than 20,000 trials.
    #[must_use]
    pub const fn full() -> Self {
        Self { every_up_to: 8000, sample: 300, most: 20_000, seed: 0, reach: usize::MAX }
    }

    /// The places after a change, and a few others.
    #[must_use]
    pub const fn short() -> Self {
        Self { every_up_to: 6, sample: 3, most: 400, seed: 0, reach: usize::MAX }
    }

    /// Does it look at a sample only?
    #[must_use]
    pub const fn is_sample(&self) -> bool {
        self.every_up_to < 100
    }

    /// The places to try. Where they would be too many, the shortest windows stay whole and the others get thinner.
    fn places(&self, scouted: &[Window]) -> Vec<Place> {
        let (mut every_up_to, mut sample) = (self.every_up_to, self.sample);
        loop {
            let places = self.choose(scouted, every_up_to, sample);
            if places.len() <= self.most || every_up_to == 0 {
                return places;
            }
            (every_up_to, sample) = (every_up_to / 2, sample / 2);
        }
    }

    fn choose(&self, scouted: &[Window], every_up_to: usize, sample: usize) -> Vec<Place> {
        let mut places = Vec::new();
        for (number, window) in scouted.iter().enumerate() {
            let mut steps: Vec<usize> = if window.length <= every_up_to {
                (0..=window.length).collect()
            } else {
                let sample = sample.min(2 * STEPS_MOST / window.length.max(1));
                let stride = window.length.div_ceil(sample.max(1)).max(1);
                let first = self.seed as usize % stride;
                let sample = (first..window.length).step_by(stride);
                sample.chain(window.changes.iter().copied()).chain([0, window.length]).collect()
            };
            steps.sort_unstable();
            steps.dedup();
            places.extend(steps.into_iter().map(|step| Place { window: number, step }));
        }
        places
    }
}

/// What one window of the scout's run looked like.
#[derive(Debug, Default)]
struct Window {
    /// Instructions up to the system call that ends it, without that one.
    length: usize,
    /// Steps after which the shared memory was another.
    changes: Vec<usize>,
    /// Where the steps led.
    path: Path,
}

type Setup<'a, W> = Box<dyn FnMut() -> Result<W, String> + 'a>;
type Look<'a, W> = Box<dyn Fn(&W) -> Option<View> + 'a>;
type Victim<'a, W> = Box<dyn Fn(&W, &Marks) + 'a>;
type Check<'a, W> = Box<dyn FnMut(W, Moved) -> Result<(), String> + 'a>;

/// An operation to be interrupted. `W` is what one trial needs and leaves.
pub struct Subject<'a, W> {
    /// Makes a fresh world.
    pub setup: Setup<'a, W>,
    /// The memory whose changes the scout notes; `None`: it notes no changes.
    pub view: Look<'a, W>,
    /// The victim: prepares itself, marks the beginning, runs the operation, marks the end.
    pub victim: Victim<'a, W>,
    /// Recovers as a survivor would, and compares. [`Moved::Over`]: the operation had come to its end.
    pub check: Check<'a, W>,
}

impl<W> fmt::Debug for Subject<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Kills, each with its check.
    pub trials: usize,
    /// Instructions of the operation.
    pub instructions: usize,
    /// System calls of the operation.
    pub system_calls: usize,
    /// States of the shared memory that the operation went through.
    pub states: usize,
}

impl Report {
    fn of(scouted: &[Window]) -> Self {
        Self {
            trials: 0,
            instructions: scouted.iter().map(|window| window.length).sum(),
            // The marks are system calls of the harness; the second opens a window of its own.
            system_calls: scouted.len().saturating_sub(2),
            states: 1 + scouted.iter().map(|window| window.changes.len()).sum::<usize>(),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            trials: self.trials + other.trials,
            instructions: self.instructions + other.instructions,
            system_calls: self.system_calls + other.system_calls,
            states: self.states + other.states,
        }
    }
}

/// Why a sweep failed.
#[derive(Debug)]
pub struct Fault {
    /// Where the victim was killed; `None` where no trial came that far.
    pub place: Option<Place>,
    /// What was wrong.
    pub what: String,
    /// Trials before it that were in order.
    pub trials: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "killed at {place}: {}", self.what),
            None => write!(f, "{}", self.what),
        }
    }
}

impl std::error::Error for Fault {}

/// Kills the victim at each place of the plan.
///
/// The calling process has to be allowed to fork (see [`crate::child`]) and should be pinned. `progress` hears of every
/// trial: how many are done, of how many.
///
/// # Errors
/// The first place at which a check failed, or the trial could not be made.
pub fn sweep<W>(
    plan: &Plan,
    subject: &mut Subject<'_, W>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Report, Fault> {
    let scouted = scout(subject, plan.reach).map_err(|what| Fault { place: None, what, trials: 0 })?;
    let places = plan.places(&scouted);
    let mut report = Report::of(&scouted);
    for place in places.iter().copied().map(Some).chain([None]) {
        progress(report.trials, places.len() + 1);
        let way = place.map(|place| (route(&scouted, place), place));
        trial(subject, way).map_err(|what| Fault { place, what, trials: report.trials })?;
        report.trials += 1;
    }
    Ok(report)
}

/// The way to a place, and the place.
type Way = (Option<Route>, Place);

fn route(scouted: &[Window], place: Place) -> Option<Route> {
    scouted.get(place.window)?.path.route(place.step)
}

/// One trial: killed at a place, or after the end. Where a route led astray, that is a trial of its own, and the place
/// is stepped to.
fn trial<W>(subject: &mut Subject<'_, W>, way: Option<Way>) -> Result<(), String> {
    let (world, tracee, moved) = bring(subject, way)?;
    let astray = way.filter(|(route, place)| route.is_some() && tracee.place() != *place);
    tracee.kill().map_err(|error| error.to_string())?;
    (subject.check)(world, moved)?;
    match astray {
        Some((_, place)) => trial(subject, Some((None, place))),
        None => Ok(()),
    }
}

/// A fresh world with a victim at a place, or after its end.
fn bring<W>(subject: &mut Subject<'_, W>, way: Option<Way>) -> Result<(W, Tracee, Moved), String> {
    let text = |error: io::Error| error.to_string();
    let world = (subject.setup)()?;
    let mut tracee = Tracee::start(|marks| (subject.victim)(&world, marks)).map_err(text)?;
    let moved = match way {
        Some((route, place)) => tracee.run_by(route, place).map_err(text)?,
        None => {
            tracee.finish().map_err(text)?;
            Moved::Over
        }
    };
    Ok((world, tracee, moved))
}

/// Steps through the whole operation once.
fn scout<W>(subject: &mut Subject<'_, W>, reach: usize) -> Result<Vec<Window>, String> {
    let world = (subject.setup)()?;
    let view = (subject.view)(&world);
    let windows = walk(&world, &subject.victim, view.as_ref(), reach).map_err(|error| error.to_string())?;
    // The world of a run that came to its end must be in order too, or no trial means anything.
    (subject.check)(world, Moved::Over).map_err(|what| format!("killed after its end: {what}"))?;
    Ok(windows)
}

fn walk<W>(
    world: &W,
    victim: impl Fn(&W, &Marks),
    view: Option<&View>,
    reach: usize,
) -> io::Result<Vec<Window>> {
    let mut tracee = Tracee::start(|marks| victim(world, marks))?;
    let look = || view.map_or(0, View::fingerprint);
    let (mut windows, mut seen) = (vec![Window::default()], look());
    windows[0].path.push(tracee.address()?);
    loop {
        let Place { window, step } = tracee.place();
        let next = Place { window: window + 1, step: 0 };
        let moved = if step < reach { tracee.step() } else { tracee.run_to(next) }?;
        if moved == Moved::Over {
            break;
        }
        let Place { window, step } = tracee.place();
        if window == windows.len() {
            windows.push(Window::default());
        }
        let now = look();
        let this = &mut windows[window];
        this.length = step;
        this.path.push(tracee.address()?);
        if now != seen {
            this.changes.push(step);
            seen = now;
        }
    }
    tracee.kill()?;
    Ok(windows)
}

/// Lets a peer run while the victim stands at each place of the plan, and the victim go on afterwards.
///
/// `peer` works on the world while the victim stands still; `check` sees the world after the victim's end. This is every
/// schedule with a single preemption, on the real code.
///
/// # Errors
/// As [`sweep`].
pub fn preempt<W>(
    plan: &Plan,
    subject: &mut Subject<'_, W>,
    mut peer: impl FnMut(&mut W) -> Result<(), String>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Report, Fault> {
    beside(plan, subject, &mut progress, |world, tracee, moved| {
        peer(world)?;
        if moved == Moved::Inside {
            tracee.finish().map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}

/// [`preempt`] with a signal: the victim stands because of SIGSTOP, untraced, and goes on after SIGCONT. The peer is
/// told the process id to expect.
///
/// # Errors
/// As [`sweep`].
pub fn stop<W>(
    plan: &Plan,
    subject: &mut Subject<'_, W>,
    mut peer: impl FnMut(&mut W, u32) -> Result<(), String>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Report, Fault> {
    beside(plan, subject, &mut progress, |world, tracee, moved| {
        let text = |error: io::Error| error.to_string();
        if moved == Moved::Over {
            return peer(world, tracee.id());
        }
        tracee.leave_stopped().map_err(text)?;
        peer(world, tracee.id())?;
        tracee.go_on().map_err(text)
    })
}

/// Brings the victim to each place of the plan, lets `meanwhile` happen there, which ends with the victim at its end,
/// and checks.
fn beside<W>(
    plan: &Plan,
    subject: &mut Subject<'_, W>,
    progress: &mut dyn FnMut(usize, usize),
    mut meanwhile: impl FnMut(&mut W, &mut Tracee, Moved) -> Result<(), String>,
) -> Result<Report, Fault> {
    let scouted = scout(subject, plan.reach).map_err(|what| Fault { place: None, what, trials: 0 })?;
    let places = plan.places(&scouted);
    let mut report = Report::of(&scouted);
    // The second mark is a system call too, and what follows it no more of the operation.
    for place in places.iter().copied().filter(|place| place.window + 1 < scouted.len()) {
        progress(report.trials, places.len());
        let fault = |what| Fault { place: Some(place), what, trials: report.trials };
        let mut way = route(&scouted, place);
        loop {
            let (mut world, mut tracee, moved) = bring(subject, Some((way, place))).map_err(fault)?;
            let astray = way.is_some() && tracee.place() != place;
            if !astray {
                meanwhile(&mut world, &mut tracee, moved).map_err(fault)?;
            } else if moved == Moved::Inside {
                tracee.finish().map_err(|error| fault(error.to_string()))?;
            }
            tracee.kill().map_err(|error| fault(error.to_string()))?;
            (subject.check)(world, Moved::Over).map_err(fault)?;
            if !astray {
                break;
            }
            way = None;
        }
        report.trials += 1;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(length: usize, changes: Vec<usize>) -> Window {
        Window { length, changes, path: Path::default() }
    }

    fn windows() -> Vec<Window> {
        vec![window(3, vec![2]), window(1000, vec![501, 777])]
    }

    #[test]
    fn a_short_window_is_tried_at_every_step() {
        let places = Plan { every_up_to: 3, sample: 1, most: 99, ..Plan::short() }.places(&windows());
        let first: Vec<usize> = places.iter().filter(|p| p.window == 0).map(|p| p.step).collect();
        assert_eq!(first, [0, 1, 2, 3]);
    }

    #[test]
    fn too_many_places_are_thinned_and_changes_stay() {
        let places = Plan { every_up_to: 2000, sample: 100, most: 50, ..Plan::short() }.places(&windows());
        assert!(places.len() < 50, "{}", places.len());
        for step in [501, 777] {
            assert!(places.contains(&Place { window: 1, step }));
        }
    }

    #[test]
    fn a_long_window_keeps_its_ends_and_its_changes() {
        let places =
            Plan { every_up_to: 3, sample: 2, most: 99, seed: 100, ..Plan::short() }.places(&windows());
        let second: Vec<usize> = places.iter().filter(|p| p.window == 1).map(|p| p.step).collect();
        assert_eq!(second, [0, 100, 501, 600, 777, 1000]);
    }
}
