//! Who sits where: starting workers, relieving them, and giving up when none comes up.
//!
//! A row for each seat of the crew. What is wanted is a number of workers of the present generation; each pass compares
//! it with who is there:
//!
//! | there is | what is done |
//! |---|---|
//! | too few of the present generation | start more, each on a free seat |
//! | too many | those with the highest seats are told to leave |
//! | one that is tired (its tasks are used up, it has grown) | told to leave, no longer counted: its successor starts while it is at its last task |
//! | one of an older generation (`reload`) | told to leave as soon as the new ones that are up make up for it |
//! | no free seat, but old workers | one of those is told to leave first |
//!
//! Starts are made without the mutex of the state; the row says STARTING meanwhile, so that nobody takes it. A start that
//! fails is tried again after 1 ms, 2, 4 up to 100; with three failures in a row and no worker at all, the pool is
//! broken. So it is when three workers in a row end before they sit down, whatever others are at work: their
//! initializer fails, and will. Four that were killed count as one that failed: a kill may come from elsewhere.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_object::bridge::crew::{Cancelled, Crew, SeatSt};
use ginnel_object::{Error, Result};
use ginnel_process::Process;
use ginnel_sync::Deadline;

use crate::error::TaskError;
use crate::inner::Inner;
use crate::outcome::Outcome;
use crate::state::State;
use crate::stats::Worker;

/// Failures in a row after which the pool is broken.
const FAILURES_MAX: u32 = 3;

/// Kills of workers that are coming, for one failure: whoever kills them may have nothing to do with what they do.
const KILLS: u32 = 4;

/// The longest pause between two starts.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Rings the desk when its child has ended, wherever that is found.
pub(super) struct Alarm {
    crew: Crew,
    rang: AtomicU32,
}

impl Alarm {
    /// Has it ended? (The end itself is published by the mutex of its fate.)
    pub(super) fn rang(&self) -> bool {
        self.rang.load(Acquire) != 0
    }

    fn ring(&self) {
        self.rang.store(1, Release);
        self.crew.post_desk();
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// A worker on its seat.
pub(super) struct Sitter {
    pub(super) process: Process<Result<(), Error>>,
    pub(super) alarm: Arc<Alarm>,
    name: String,
    generation: u32,
    /// It was told to leave.
    pub(super) is_leaving: bool,
    /// Nobody comes in its place.
    pub(super) is_surplus: bool,
    /// It was seen to be up.
    pub(super) was_up: bool,
    /// What the seat had done and how many items before it came.
    before: (u64, u64),
}

/// A seat, as this process knows it.
#[derive(Default)]
enum Row {
    #[default]
    Free,
    /// Somebody is being started for it.
    Starting,
    Taken(Box<Sitter>),
}

impl Row {
    fn sitter(&self) -> Option<&Sitter> {
        match self {
            Self::Taken(sitter) => Some(sitter),
            Self::Free | Self::Starting => None,
        }
    }

    fn sitter_mut(&mut self) -> Option<&mut Sitter> {
        match self {
            Self::Taken(sitter) => Some(sitter),
            Self::Free | Self::Starting => None,
        }
    }
}

/// All seats, and what is wanted of them.
#[derive(Default)]
pub(crate) struct Seats {
    rows: Vec<Row>,
    wanted: usize,
    generation: u32,
    /// How many workers were ever begun, for their names.
    begun: u64,
    /// Starts that failed, and workers that ended before they sat down, since the last one that did.
    failures: u32,
    /// Workers that were killed before they sat down, since then.
    kills: u32,
    not_before: Option<Deadline>,
}

/// A start to be made.
struct Begin {
    seat: u32,
    number: u64,
    generation: u32,
}

impl Seats {
    /// So many workers.
    pub(super) fn want(&mut self, workers: usize) {
        self.wanted = workers;
    }

    /// Nobody who is there now counts any more.
    pub(super) fn reload(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Is there no worker, and none on the way?
    pub(super) fn are_empty(&self) -> bool {
        self.rows.iter().all(|row| matches!(row, Row::Free))
    }

    /// Those that sit, by seat.
    pub(super) fn sitters(&self) -> impl Iterator<Item = (u32, &Sitter)> {
        (0..).zip(&self.rows).filter_map(|(seat, row)| Some((seat, row.sitter()?)))
    }

    fn sitters_mut(&mut self) -> impl Iterator<Item = (u32, &mut Sitter)> {
        (0..).zip(&mut self.rows).filter_map(|(seat, row)| Some((seat, row.sitter_mut()?)))
    }

    /// Takes a worker that is dead off its seat.
    pub(super) fn clear(&mut self, crew: &Crew, seat: u32) -> Option<Box<Sitter>> {
        let row = std::mem::take(self.rows.get_mut(seat as usize)?);
        if let Some(seat) = crew.seat(seat) {
            seat.set_empty();
        }
        match row {
            Row::Taken(sitter) => Some(sitter),
            Row::Free | Row::Starting => None,
        }
    }

    /// The workers that are there.
    pub(crate) fn workers(&self, crew: &Crew) -> Vec<Worker> {
        let workers = self.sitters().map(|(seat, sitter)| {
            let (tasks, items) = done_at(crew, seat);
            Worker {
                pid: sitter.process.pid(),
                name: sitter.name.clone(),
                tasks: tasks.saturating_sub(sitter.before.0),
                items: items.saturating_sub(sitter.before.1),
            }
        });
        workers.collect()
    }

    /// A worker has ended before it came up, or could not be started. True: that was so too often.
    fn fail(&mut self, is_kill: bool) -> bool {
        if is_kill {
            self.kills += 1;
        } else {
            self.failures += 1;
        }
        let failures = self.failures + self.kills / KILLS;
        let pause = failures.checked_sub(1).map(|before| Duration::from_millis(1 << before.min(8)));
        self.not_before = pause.map(|pause| Deadline::after(pause.min(PAUSE_MAX)));
        failures >= FAILURES_MAX
    }

    /// One came up.
    pub(super) fn succeeded(&mut self) {
        (self.failures, self.kills, self.not_before) = (0, 0, None);
    }

    /// Looks who is up and who is tired, and tells those to leave that have to. True: somebody was told, and may sleep.
    fn relieve(&mut self, crew: &Crew) -> bool {
        let (mut fresh, mut fresh_up, mut old) = (Vec::new(), 0, Vec::new());
        let mut has_succeeded = false;
        let mut is_told = false;
        let generation = self.generation;
        for (seat, sitter) in self.sitters_mut() {
            let st = st_of(crew, seat);
            has_succeeded |= matches!(st, SeatSt::Up | SeatSt::Tired) && !sitter.was_up;
            sitter.was_up |= matches!(st, SeatSt::Up | SeatSt::Tired);
            if st == SeatSt::Tired && !sitter.is_leaving {
                sitter.leave(crew, seat);
                is_told = true;
            }
            if sitter.is_leaving {
                continue;
            }
            if sitter.generation == generation {
                fresh.push(seat);
                fresh_up += usize::from(st == SeatSt::Up);
            } else {
                old.push(seat);
            }
        }
        if has_succeeded {
            self.succeeded();
        }
        let spare = fresh.len().saturating_sub(self.wanted);
        let mut old_allowed = self.wanted.saturating_sub(fresh_up);
        if fresh.len() < self.wanted && !self.rows.iter().any(|row| matches!(row, Row::Free)) {
            old_allowed = old_allowed.min(old.len().saturating_sub(1));
        }
        let surplus = fresh.into_iter().rev().take(spare).map(|seat| (seat, true));
        let outdated = old.into_iter().skip(old_allowed).map(|seat| (seat, false));
        for (seat, is_surplus) in surplus.chain(outdated) {
            if let Some(sitter) = self.rows[seat as usize].sitter_mut() {
                sitter.is_surplus = is_surplus;
                sitter.leave(crew, seat);
                is_told = true;
            }
        }
        is_told
    }

    /// The next start to be made; its row is taken.
    fn next(&mut self) -> Option<Begin> {
        let generation = self.generation;
        let is_fresh = |row: &Row| match row {
            Row::Free => false,
            Row::Starting => true,
            Row::Taken(sitter) => !sitter.is_leaving && sitter.generation == generation,
        };
        let there = self.rows.iter().filter(|row| is_fresh(row)).count();
        if there >= self.wanted || self.not_before.is_some_and(|time| !time.passed()) {
            return None;
        }
        let free = self.rows.iter().position(|row| matches!(row, Row::Free))?;
        self.rows[free] = Row::Starting;
        self.begun += 1;
        Some(Begin { seat: free as u32, number: self.begun, generation })
    }
}

/// The state of a seat; one that is not there is nobody's.
fn st_of(crew: &Crew, seat: u32) -> SeatSt {
    crew.seat(seat).map_or(SeatSt::Empty, |seat| seat.word().st)
}

/// Tasks and items that were done at a seat, by all who ever sat there.
fn done_at(crew: &Crew, seat: u32) -> (u64, u64) {
    crew.seat(seat).map_or((0, 0), |seat| (seat.done(), seat.items()))
}

impl Sitter {
    fn leave(&mut self, crew: &Crew, seat: u32) {
        self.is_leaving = true;
        if let Some(seat) = crew.seat(seat) {
            seat.order_leave();
        }
    }
}

/// Relieves and starts. When to try again what cannot be tried yet.
pub(super) fn settle(inner: &Inner) -> Deadline {
    let mut state = inner.lock();
    if let Some(ending) = state.requests.ending {
        end(inner, &mut state, ending);
        return Deadline::NEVER;
    }
    if state.broken.is_some() {
        return Deadline::NEVER;
    }
    let is_told = state.seats.relieve(&inner.crew);
    drop(state);
    if is_told {
        inner.crew.wake_all();
    }
    // A failure is written down, and tried again later.
    let _ = fill(inner);
    let state = inner.lock();
    state.seats.not_before.filter(|_| state.broken.is_none()).unwrap_or(Deadline::NEVER)
}

/// The pool ends: nobody comes any more, and those who are there leave or are killed.
fn end(inner: &Inner, state: &mut State, ending: super::Ending) {
    inner.crew.stop();
    for (_, sitter) in state.seats.sitters_mut() {
        sitter.is_leaving = true;
        if ending == super::Ending::Now {
            // One that is dead already needs none.
            let _ = sitter.process.kill();
        }
    }
}

/// Starts whoever is missing.
///
/// # Errors
/// Those of the first start that fails; the others of this pass are not tried then.
pub(super) fn fill(inner: &Inner) -> Result<()> {
    loop {
        let mut state = inner.lock();
        if state.seats.rows.is_empty() {
            state.seats.rows.resize_with(inner.crew.shape().seats as usize, Row::default);
        }
        if state.broken.is_some() || state.requests.ending.is_some() {
            return Ok(());
        }
        let Some(begin) = state.seats.next() else { return Ok(()) };
        drop(state);
        let started = start(inner, &begin);
        let mut state = inner.lock();
        match started {
            Ok(sitter) => state.seats.rows[begin.seat as usize] = Row::Taken(Box::new(sitter)),
            Err(error) => {
                state.seats.clear(&inner.crew, begin.seat);
                if state.seats.fail(false) && state.seats.are_empty() {
                    break_down(inner, &mut state, &error);
                }
                return Err(error);
            }
        }
    }
}

/// Starts one, without the mutex.
fn start(inner: &Inner, begin: &Begin) -> Result<Sitter> {
    let before = done_at(&inner.crew, begin.seat);
    if let Some(seat) = inner.crew.seat(begin.seat) {
        seat.set_coming();
    }
    let name = format!("{}:{}", inner.plan.name, begin.number);
    let process = inner.plan.start(&inner.crew, begin.seat, &name)?;
    let alarm = Arc::new(Alarm { crew: inner.crew.clone(), rang: AtomicU32::new(0) });
    if process.watch(&Waker::from(Arc::clone(&alarm))) {
        alarm.ring();
    }
    let generation = begin.generation;
    Ok(Sitter {
        process,
        alarm,
        name,
        generation,
        is_leaving: false,
        is_surplus: false,
        was_up: false,
        before,
    })
}

/// A worker has ended before it sat down.
pub(super) fn has_failed(inner: &Inner, state: &mut State, error: &Error, is_kill: bool) {
    if state.seats.fail(is_kill) {
        break_down(inner, state, error);
    }
}

/// The pool is broken: what no worker has taken comes to the error, and no worker will take anything more. What runs is
/// asked to stop, and keeps what it comes to.
fn break_down(inner: &Inner, state: &mut State, why: &Error) {
    if state.broken.is_some() {
        return;
    }
    state.broken = Some(why.clone());
    inner.crew.stop();
    let mut next = state.oldest();
    while let Some(slot) = next {
        next = state.after(slot);
        let generation = state.entry(slot).generation;
        if inner.crew.cancel(slot, generation) == Cancelled::TakenBack {
            inner.over(state, slot, Outcome::Failed(TaskError::Pool(why.clone())));
        }
    }
    // Those who wait for room are to see it.
    state.owes_hall = true;
}

/// Kills and waits for everybody, because the pool could not be made.
pub(super) fn abandon(inner: &Inner) {
    let mut state = inner.lock();
    state.requests.ending = Some(super::Ending::Now);
    end(inner, &mut state, super::Ending::Now);
    let rows = std::mem::take(&mut state.seats.rows);
    drop(state);
    rows.iter().filter_map(Row::sitter).for_each(|sitter| sitter.process.wait());
}
