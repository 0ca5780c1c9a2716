//! What becomes of the tasks of the dead.
//!
//! The end of a worker is known when its alarm has rung. By then, if it was a death, the crate of processes has had it
//! recovered: its task is LOST, its seat says GONE. A worker that ended in order may still stand on its seat as UP; it
//! holds no task, but nobody may follow it before it is recovered, so that is done here.
//!
//! | the lease is LOST, and | its task |
//! |---|---|
//! | its worker was killed for the time it took | `TimedOut` |
//! | its worker was killed by `Task::kill` | `Died` |
//! | it may be tried again | READY, for the next worker |
//! | else | `Died`, with how the worker ended; `Panicked` where a panic ended it |
//! | it is a chunk | its job is told what is done and how it ended, and decides for the item that ran |
//!
//! A LOST lease says whose it was. One whose owner's end was not told yet waits for the pass in which it is.
//!
//! After a death the hint of a READY slot may be gone: it was popped by the dead one. So all of them are looked after
//! here; and now and then without a death (`supervisor.rs`), because a worker that was stopped between hint and claim
//! is as good as dead to the others.

use ginnel_layout::ParticipantId;
use ginnel_object::bridge;
use ginnel_object::bridge::crew::{SeatSt, St};
use ginnel_object::{Error, Manager};
use ginnel_process::ProcessError;

use super::{Ending, seats};
use crate::error::TaskError;
use crate::inner::Inner;
use crate::outcome::{Lost, Outcome, Part};
use crate::state::{Doom, Holder, State};

/// The signal that nobody sends himself by a mistake.
const SIGKILL: i32 = 9;

/// How a worker ended that may have had a task.
struct Cause {
    who: Option<ParticipantId>,
    how: ProcessError,
}

/// Takes the dead off their seats and decides about their tasks. True: somebody is dead and not recovered yet, so the
/// next look must be soon.
pub(super) fn bury(inner: &Inner) -> bool {
    let (dead, is_rung) = find(inner);
    let mut causes = Vec::new();
    for seat in dead {
        let Some(words) = inner.crew.seat(seat) else { continue };
        let word = words.word();
        let was_up = word.st != SeatSt::Coming;
        let Some(sitter) = inner.lock().seats.clear(&inner.crew, seat) else { continue };
        let (was_told, is_surplus) = (sitter.is_leaving, sitter.is_surplus);
        let is_news = was_up && !sitter.was_up;
        // It has ended, so this does not wait.
        let came = sitter.process.join();
        let mut state = inner.lock();
        if is_news {
            // It came up and died between two looks.
            state.seats.succeeded();
        }
        match came {
            Ok(Ok(())) => state.counters.recycled += u64::from(!is_surplus && !is_ending(&state)),
            Ok(Err(error)) if !was_up => seats::has_failed(inner, &mut state, &error, false),
            Ok(Err(_)) => {}
            Err(how) => {
                state.counters.worker_deaths += u64::from(!was_told || !is_ending(&state));
                if !was_up && !is_ending(&state) {
                    let is_kill = matches!(how, ProcessError::Killed { signal: SIGKILL, .. });
                    seats::has_failed(inner, &mut state, &Error::from(how.clone()), is_kill);
                }
                causes.push(Cause { who: word.participant, how });
            }
        }
    }
    let is_death = !causes.is_empty();
    let mut state = inner.lock();
    if state.requests.ending != Some(Ending::Now) {
        decide(inner, &mut state, causes);
    }
    let is_hinted = is_death && rehint(inner, &mut state);
    drop(state);
    if is_hinted {
        inner.crew.wake();
    }
    is_rung
}

fn is_ending(state: &State) -> bool {
    state.requests.ending.is_some()
}

/// The seats of those that are dead and recovered. True: there are others that are not recovered.
fn find(inner: &Inner) -> (Vec<u32>, bool) {
    let state = inner.lock();
    let rung: Vec<u32> =
        state.seats.sitters().filter(|(_, sitter)| sitter.alarm.rang()).map(|(seat, _)| seat).collect();
    // Nobody follows them then, and words that lie must not keep a pool from its end.
    let is_last = is_ending(&state);
    drop(state);
    let count = rung.len();
    let dead: Vec<u32> = rung.into_iter().filter(|seat| is_recovered(inner, *seat) || is_last).collect();
    let is_rung = dead.len() < count;
    (dead, is_rung)
}

/// Does nothing of the dead one of this seat stand in shared memory as if it lived?
fn is_recovered(inner: &Inner, seat: u32) -> bool {
    let Some(words) = inner.crew.seat(seat) else { return true };
    let sits = || {
        let word = words.word();
        word.participant.filter(|_| matches!(word.st, SeatSt::Up | SeatSt::Tired))
    };
    let Some(id) = sits() else { return true };
    // It returned: nobody has had to recover it before its end was told.
    if let Ok(manager) = Manager::current() {
        let _ = bridge::recover(manager, id);
    }
    sits().is_none()
}

/// Decides about everything that is LOST by one of these.
fn decide(inner: &Inner, state: &mut State, mut causes: Vec<Cause>) {
    let mut next = state.oldest();
    while let Some(slot) = next {
        if causes.is_empty() {
            break;
        }
        next = state.after(slot);
        let lease = inner.crew.lease(slot);
        let is_owner = |cause: &Cause| cause.who.is_some() && cause.who == lease.owner;
        if lease.st == St::Lost
            && let Some(its) = causes.iter().position(is_owner)
        {
            let cause = causes.swap_remove(its);
            settle(inner, state, slot, cause.how);
        }
    }
}

/// What becomes of one task.
fn settle(inner: &Inner, state: &mut State, slot: u32, how: ProcessError) {
    let retries = if state.broken.is_some() { 0 } else { inner.plan.retries() };
    let entry = state.entry_mut(slot);
    let (generation, attempt) = (entry.generation, entry.attempt);
    let is_again = attempt < retries && !entry.is_chunk && entry.holder != Holder::Abandoned;
    let is_jobs = entry.is_chunk && entry.holder == Holder::Chunk;
    let cause = match (entry.doom.take(), how) {
        (Some(Doom::TimedOut), _) => TaskError::TimedOut,
        (_, ProcessError::Panicked(panic)) => TaskError::Panicked(panic),
        (Some(Doom::Killed), how) => TaskError::Died(how),
        (None, _) if is_again && inner.crew.retry(slot, generation, attempt + 1) => {
            entry.attempt = attempt + 1;
            state.counters.retried += 1;
            return;
        }
        (None, how) => TaskError::Died(how),
    };
    let outcome = if is_jobs { salvage(inner, state, slot, cause) } else { Outcome::Failed(cause) };
    inner.crew.give_up(slot, generation);
    inner.over(state, slot, outcome);
}

/// What is left of a chunk, for its job.
fn salvage(inner: &Inner, state: &mut State, slot: u32, cause: TaskError) -> Outcome {
    let entry = state.entry_mut(slot);
    let (generation, attempt) = (entry.generation, entry.attempt);
    let tray = entry.result.take();
    let part = inner
        .crew
        .salvage(slot, generation, tray)
        .and_then(|results| Ok(Part { results, rest: inner.crew.remaining(slot)? }));
    match part {
        Ok(part) => Outcome::Lost(Box::new(Lost { cause, attempt, part })),
        Err(_) => Outcome::Failed(cause),
    }
}

/// Writes hints for those that wait for a worker and whose hint is gone. True: there were some.
pub(super) fn rehint(inner: &Inner, state: &mut State) -> bool {
    let mut any = false;
    let mut next = state.oldest();
    while let Some(slot) = next {
        next = state.after(slot);
        if inner.crew.lease(slot).st == St::Ready {
            any |= inner.hint(state, slot);
        }
    }
    any
}
