//! Is a recorded history one that a bounded first-in-first-out queue could have had?
//!
//! A history is a list of operations with the times of their call and their end. The checker looks for an order of
//! their effects in which each effect lies between the call and the end of its operation, and which the queue below
//! could have gone through (Wing and Gong, with the states that led nowhere remembered). The search is exponential in
//! the operations that overlap, so histories are short and many.
//!
//! Operations of a real queue take effect in two steps, and others may look in between. That is part of its contract,
//! and so of the queue here: `Full` may be answered while a consumer still has the oldest place in hand, `Empty` while a
//! producer is in the middle of the next message. Under [`Rules::Strict`] the steps of an operation are one.
//!
//! ```text
//! window    places from the oldest that is not free to the newest: never more than the capacity
//!           Reserved(who) -> Item(v) -> Taken(who, v) -> Freed          the oldest Freed leave the window
//!           Reserved(the dead) -> Aborted -> Freed, by a consumer        Taken(the dead, v) -> Back(v)
//! leases    (who, v): no place is taken by them; orphans: v, put back from a lease
//! ```
//!
//! | operation | effects, in this order |
//! |---|---|
//! | `Push` | reserves the next place; fills it |
//! | `Full` | at one moment, the window is as long as the capacity |
//! | `Pop` | takes the first item, over the heads of those that others have in hand, or anything put back; frees its place |
//! | `Lease` | the same, but what was taken is under a lease then |
//! | `Ack`, `Nack` | the lease is over; or what was leased is put back |
//! | `Empty` | at one moment, nothing is put back; then, at one, there is no item in front |
//! | `Push`, `Pop`, `Ack`, `Nack` whose process was killed | any beginning of their effects |
//! | `Death` | all that the dead one had in hand or under a lease comes back, between the kill and the end of the recovery |

use std::collections::HashSet;
use std::fmt;

/// What an operation was, and what it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Sent.
    Push(u64),
    /// Was told that there is no room.
    Full,
    /// Received. `again`: whether it was flagged as one that was delivered before, where that was said.
    Pop {
        /// The message.
        value: u64,
        /// The flag.
        again: Option<bool>,
    },
    /// Was told that there is nothing.
    Empty,
    /// Received, and has it under a lease from then on.
    Lease {
        /// The message.
        value: u64,
        /// The flag.
        again: Option<bool>,
    },
    /// Acknowledged what it had under a lease.
    Ack(u64),
    /// Gave back what it had under a lease.
    Nack(u64),
    /// Was killed while it sent.
    KilledPush(u64),
    /// Was killed while it received, or leased.
    KilledPop,
    /// Was killed while it acknowledged.
    KilledAck(u64),
    /// Was killed while it gave back.
    KilledNack(u64),
    /// Was killed (`called`); somebody had put everything in order at the `end`.
    Death,
}

/// An operation of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Who did it. One who was killed has a number of his own, and each does one thing at a time.
    pub who: u8,
    /// What it was.
    pub what: What,
    /// Not earlier than this did it begin.
    pub called: u64,
    /// Not later than this did it end, or was its process killed. `u64::MAX`: later than everything else.
    pub end: u64,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12}..{:<12} {} {:?}", self.called, self.end, self.who, self.what)
    }
}

/// How the steps of an operation are seen by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// As one.
    Strict,
    /// Others may look in between, and say so by `Full` or `Empty`.
    InProgress,
}

/// Says why not, unless a queue of `capacity` could have had this history.
///
/// # Errors
/// The history, for people.
pub fn check(capacity: usize, rules: Rules, history: &[Op]) -> Result<(), String> {
    if is_linearizable(capacity, rules, history) {
        return Ok(());
    }
    let mut sorted = history.to_vec();
    sorted.sort_by_key(|op| op.called);
    let lines: String = sorted.iter().map(|op| format!("\n{op}")).collect();
    Err(format!("no queue for {capacity} messages could have this history (times, who, what):{lines}"))
}

/// Whether a queue of `capacity` could have had this history.
#[must_use]
pub fn is_linearizable(capacity: usize, rules: Rules, history: &[Op]) -> bool {
    let mut open = vec![State { done: vec![0; history.len()], ..State::default() }];
    let mut seen = HashSet::new();
    while let Some(state) = open.pop() {
        // Whatever is not over yet must come before anything that was called after its end.
        let unfinished = history.iter().zip(&state.done).filter(|(_, done)| **done != DONE);
        let Some(horizon) = unfinished.map(|(op, _)| op.end).min() else { return true };
        for (index, op) in history.iter().enumerate() {
            if state.done[index] != DONE && op.called <= horizon {
                let mut next =
                    Next { capacity, rules, history, index, op: *op, state: &state, found: Vec::new() };
                next.find();
                open.extend(next.found.into_iter().filter(|state| seen.insert(state.clone())));
            }
        }
    }
    false
}

/// An operation without further effects.
const DONE: u8 = u8::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Reserved(u8),
    Item(u64),
    Taken(u8, u64),
    Back(u64),
    Aborted,
    Freed,
}

/// The queue, and how far each operation has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct State {
    done: Vec<u8>,
    window: Vec<Place>,
    leases: Vec<(u8, u64)>,
    orphans: Vec<u64>,
}

impl State {
    /// Where the first thing lies that no consumer has had in hand yet.
    fn front(&self) -> Option<usize> {
        let is_ahead = |place: &Place| matches!(place, Place::Reserved(_) | Place::Item(_) | Place::Aborted);
        self.window.iter().position(is_ahead)
    }

    fn has_put_back(&self) -> bool {
        !self.orphans.is_empty() || self.window.iter().any(|place| matches!(place, Place::Back(_)))
    }

    fn set(&mut self, at: usize, place: Place) {
        self.window[at] = place;
        let freed = self.window.iter().take_while(|place| **place == Place::Freed).count();
        self.window.drain(..freed);
    }

    fn orphan(&mut self, value: u64) {
        self.orphans.push(value);
        // Their order means nothing, and states that differ in nothing else are the same.
        self.orphans.sort_unstable();
    }
}

/// What one operation can do next, in a state.
struct Next<'a> {
    capacity: usize,
    rules: Rules,
    history: &'a [Op],
    index: usize,
    op: Op,
    state: &'a State,
    found: Vec<State>,
}

/// How far a consumer has come: nothing yet; a place in hand.
const IN_HAND: u8 = 1;
/// How far a producer has come.
const RESERVED: u8 = 1;
/// How far one that found nothing has come.
const NOTHING_BACK: u8 = 1;

impl Next<'_> {
    /// Adds the state in which `change` has happened and the operation has come to `done`.
    fn add(&mut self, done: u8, change: impl FnOnce(&mut State)) {
        let mut state = self.state.clone();
        state.done[self.index] = done;
        change(&mut state);
        self.found.push(state);
    }

    fn find(&mut self) {
        let who = self.op.who;
        match (self.op.what, self.state.done[self.index]) {
            (What::Push(value), 0) => self.reserve(value),
            (What::Push(value), _) => self.fill(value),
            (What::KilledPush(value), done) => {
                self.add(DONE, |_| {});
                if done == 0 { self.reserve(value) } else { self.fill(value) }
            }
            (What::Full, _) if self.state.window.len() >= self.capacity => self.add(DONE, |_| {}),
            (What::Full, _) => {}
            (What::Pop { value, again }, 0) => self.take(|found, flag| is(found, flag, value, again), DONE),
            (What::Lease { value, again }, 0) => {
                self.take(|found, flag| is(found, flag, value, again), DONE);
            }
            (What::Pop { .. }, _) => self.free(false),
            (What::Lease { .. }, _) => self.free(true),
            (What::KilledPop, 0) => {
                self.add(DONE, |_| {});
                self.take(|_, _| true, DONE);
            }
            (What::KilledPop, _) => {
                self.add(DONE, |_| {});
                self.free(false);
                self.free(true);
            }
            (What::Empty, done) => self.find_nothing(done),
            (What::Ack(value), _) => self.end_lease(value, false),
            (What::Nack(value), _) => self.end_lease(value, true),
            (What::KilledAck(value), _) => {
                self.add(DONE, |_| {});
                self.end_lease(value, false);
            }
            (What::KilledNack(value), _) => {
                self.add(DONE, |_| {});
                self.end_lease(value, true);
            }
            (What::Death, _) => self.recover(who),
        }
    }

    fn reserve(&mut self, value: u64) {
        if self.state.window.len() < self.capacity {
            let (who, strict) = (self.op.who, self.rules == Rules::Strict);
            let (place, done) =
                if strict { (Place::Item(value), DONE) } else { (Place::Reserved(who), RESERVED) };
            self.add(done, |state| state.window.push(place));
        }
    }

    fn fill(&mut self, value: u64) {
        let mine = Place::Reserved(self.op.who);
        if let Some(at) = self.state.window.iter().position(|place| *place == mine) {
            self.add(DONE, |state| state.window[at] = Place::Item(value));
        }
    }

    /// Takes a message that `fits`, from the front or from what was put back. From a cell it goes to `from_cell`.
    fn take(&mut self, fits: impl Fn(u64, bool) -> bool, from_cell: u8) {
        let (who, is_lease) = (self.op.who, matches!(self.op.what, What::Lease { .. } | What::KilledPop));
        for at in 0..self.state.orphans.len() {
            let value = self.state.orphans[at];
            if fits(value, true) {
                self.add(from_cell, |state| {
                    state.orphans.remove(at);
                    if is_lease {
                        state.leases.push((who, value));
                    }
                });
                if self.op.what == What::KilledPop {
                    // It came as far as the acknowledgement.
                    self.add(DONE, |state| {
                        state.orphans.remove(at);
                    });
                }
            }
        }
        let front = self.front_without_aborted();
        for at in 0..self.state.window.len() {
            let found = match self.state.window[at] {
                Place::Item(value) if Some(at) == front => Some((value, false)),
                Place::Back(value) => Some((value, true)),
                _ => None,
            };
            if let Some((value, _)) = found.filter(|(value, flag)| fits(*value, *flag)) {
                if self.rules == Rules::Strict && !matches!(self.op.what, What::KilledPop) {
                    self.add(DONE, |state| {
                        state.set(at, Place::Freed);
                        if is_lease {
                            state.leases.push((who, value));
                        }
                    });
                } else {
                    self.add(IN_HAND, |state| state.set(at, Place::Taken(who, value)));
                }
            }
        }
    }

    /// The place in front. What was aborted there is freed on the way: a step of its own, which others may see.
    fn front_without_aborted(&mut self) -> Option<usize> {
        let front = self.state.front()?;
        if self.state.window[front] == Place::Aborted {
            self.add(self.state.done[self.index], |state| state.set(front, Place::Freed));
            return None;
        }
        Some(front)
    }

    /// Frees the place in hand; what lay in it is acknowledged, or goes under a lease.
    fn free(&mut self, lease: bool) {
        let who = self.op.who;
        let mine = |place: &Place| matches!(place, Place::Taken(owner, _) if *owner == who);
        let Some(at) = self.state.window.iter().position(mine) else { return };
        let Place::Taken(_, value) = self.state.window[at] else { return };
        self.add(DONE, |state| {
            state.set(at, Place::Freed);
            if lease {
                state.leases.push((who, value));
            }
        });
    }

    fn find_nothing(&mut self, done: u8) {
        let strict = self.rules == Rules::Strict;
        if done == 0 {
            if self.state.has_put_back() {
                return;
            }
            if !strict {
                return self.add(NOTHING_BACK, |_| {});
            }
        }
        match self.front_without_aborted() {
            None if self.state.front().is_some() => {}
            Some(front) if matches!(self.state.window[front], Place::Item(_)) => {}
            _ => self.add(DONE, |_| {}),
        }
    }

    fn end_lease(&mut self, value: u64, put_back: bool) {
        let mine = (self.op.who, value);
        if let Some(at) = self.state.leases.iter().position(|lease| *lease == mine) {
            self.add(DONE, |state| {
                state.leases.remove(at);
                if put_back {
                    state.orphan(value);
                }
            });
        }
    }

    /// One more thing of the dead comes back, or, when there is none left, the death is over.
    fn recover(&mut self, dead: u8) {
        let last = |(index, op): (usize, &Op)| {
            op.who != dead || index == self.index || self.state.done[index] == DONE
        };
        if !self.history.iter().enumerate().all(last) {
            return;
        }
        let mut over = true;
        for at in 0..self.state.window.len() {
            match self.state.window[at] {
                Place::Reserved(who) if who == dead => self.add(0, |state| state.set(at, Place::Aborted)),
                Place::Taken(who, value) if who == dead => {
                    self.add(0, |state| state.set(at, Place::Back(value)));
                    // It may have been in a cell already, and its place not yet freed.
                    self.add(0, |state| {
                        state.set(at, Place::Freed);
                        state.orphan(value);
                    });
                }
                _ => continue,
            }
            over = false;
        }
        for at in 0..self.state.leases.len() {
            let (who, value) = self.state.leases[at];
            if who == dead {
                over = false;
                self.add(0, |state| {
                    state.leases.remove(at);
                    state.orphan(value);
                });
            }
        }
        if over {
            self.add(DONE, |_| {});
        }
    }
}

/// Whether a message that was found is the one that the operation got.
fn is(found: u64, found_again: bool, value: u64, again: Option<bool>) -> bool {
    found == value && again.is_none_or(|again| again == found_again)
}

#[cfg(test)]
mod tests;
