//! What a pool knows of its tasks, private to this process and under one mutex.
//!
//! Every slot of the crew has an [`Entry`] here. Slots that are out (given to the workers, outcome not taken) form a
//! list in the order of their submission, linked through the entries. An outcome that is taken before its task is asked
//! for it waits in `kept`.
//!
//! Invariants
//! - I1 a slot is either in `free` or in the list of those that are out, never in both; in neither while a
//!   thread has reserved it.
//! - I2 `serial` of an entry rises by one with each use, so a ticket fits at most one use of its slot.
//! - I3 a ticket is in `kept` only after its slot is not out with that serial any more, and it leaves `kept` when its
//!   task is joined, or dropped.

use std::collections::HashMap;

use ginnel_object::bridge::crew::{Gen, Ledger, Tray};
use ginnel_object::{Error, Result};

use crate::callbacks::Notice;
use crate::error::{TaskError, closed};
use crate::outcome::Outcome;
use crate::supervisor::{Requests, Seats};

/// No slot.
const NONE: u32 = u32::MAX;

/// One use of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
    pub(crate) generation: Gen,
    /// Of all uses of all slots.
    pub(crate) number: u64,
}

/// For whom a slot is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Holder {
    /// Whoever had it has let go: its outcome is looked at, and dropped.
    #[default]
    Nobody,
    /// A task, or a call that waits for it. Whoever needs the slot may take its outcome for it.
    Task,
    /// The job whose chunk it is.
    Chunk,
    /// A job that was given up: its outcome is dropped, and nobody cares for its failures.
    Abandoned,
}

/// What is to happen when the outcome is there, besides that it is kept.
#[derive(Default)]
pub(crate) enum Want {
    #[default]
    Nothing,
    Wake(std::task::Waker),
    Call(Box<dyn FnOnce(Outcome) + Send>),
}

/// Why a worker was killed by the pool while it ran this task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doom {
    /// The task ran longer than the pool allows.
    TimedOut,
    /// By `Task::kill`.
    Killed,
}

/// What is known of a slot.
pub(crate) struct Entry {
    pub(crate) serial: u32,
    /// What its lease and its hints say of that.
    pub(crate) generation: Gen,
    number: u64,
    pub(crate) is_out: bool,
    pub(crate) holder: Holder,
    /// It has several items, and is never tried again as a whole, whoever holds it.
    pub(crate) is_chunk: bool,
    pub(crate) items: u32,
    pub(crate) want: Want,
    /// The place of its routine.
    pub(crate) routine: u64,
    pub(crate) attempt: u32,
    pub(crate) doom: Option<Doom>,
    /// The larger buffers that it has been lent.
    pub(crate) args: Option<Tray>,
    pub(crate) result: Option<Tray>,
    /// Threads that are about to sleep on its lease, or sleep there.
    pub(crate) sleepers: u32,
    /// Its commit rings the hall.
    pub(crate) rings: bool,
    older: u32,
    newer: u32,
}

impl Entry {
    fn new(serial: u32) -> Self {
        Self {
            serial,
            generation: Gen::of(serial),
            number: 0,
            is_out: false,
            holder: Holder::Nobody,
            is_chunk: false,
            items: 0,
            want: Want::Nothing,
            routine: 0,
            attempt: 0,
            doom: None,
            args: None,
            result: None,
            sleepers: 0,
            rings: false,
            older: NONE,
            newer: NONE,
        }
    }
}

/// What the pool counts itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) worker_deaths: u64,
    pub(crate) recycled: u64,
}

/// See the module.
pub(crate) struct State {
    pub(crate) entries: Box<[Entry]>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    /// Where the hints of the slots are.
    pub(crate) ledger: Ledger,
    kept: HashMap<Ticket, Outcome>,
    pub(crate) notices: Vec<Notice>,
    /// The first failure that nobody saw.
    pub(crate) unseen: Option<TaskError>,
    /// Threads that wait for any of several slots, or for room.
    pub(crate) in_hall: u32,
    /// Something came that those in the hall may wait for.
    pub(crate) owes_hall: bool,
    pub(crate) is_closed: bool,
    pub(crate) broken: Option<Error>,
    /// How many uses of slots there were.
    uses: u64,
    pub(crate) counters: Counters,
    pub(crate) seats: Seats,
    pub(crate) requests: Requests,
}

impl State {
    pub(crate) fn new(slots: u32, serial: u32, ledger: Ledger) -> Self {
        Self {
            entries: (0..slots).map(|_| Entry::new(serial)).collect(),
            // The last one is taken first: the lowest numbers, which are the warmest.
            free: (0..slots).rev().collect(),
            oldest: NONE,
            newest: NONE,
            ledger,
            kept: HashMap::new(),
            notices: Vec::new(),
            unseen: None,
            in_hall: 0,
            owes_hall: false,
            is_closed: false,
            broken: None,
            uses: 0,
            counters: Counters::default(),
            seats: Seats::default(),
            requests: Requests::default(),
        }
    }

    pub(crate) fn entry(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }

    pub(crate) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[slot as usize]
    }

    /// May work be given to the pool?
    pub(crate) fn check_intake(&self) -> Result<()> {
        match &self.broken {
            Some(error) => Err(error.clone()),
            None if self.is_closed => Err(closed()),
            None => Ok(()),
        }
    }

    /// The ticket of the use that a slot is out for.
    pub(crate) fn ticket(&self, slot: u32) -> Ticket {
        let entry = self.entry(slot);
        Ticket { slot, serial: entry.serial, generation: entry.generation, number: entry.number }
    }

    /// Is the slot still out for the ticket's use?
    pub(crate) fn is_out(&self, ticket: &Ticket) -> bool {
        let entry = self.entry(ticket.slot);
        entry.is_out && entry.serial == ticket.serial
    }

    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many are out, or about to be.
    pub(crate) fn count_out(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Few enough are left that those who come next will have to wait.
    pub(crate) fn is_short(&self) -> bool {
        self.free.len() < self.entries.len() / 4
    }

    /// Takes a slot from the free ones.
    pub(crate) fn reserve(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives a slot back that was reserved and not begun.
    pub(crate) fn put_back(&mut self, slot: u32) {
        self.free.push(slot);
        self.owes_hall |= self.in_hall > 0;
    }

    /// Puts a reserved slot behind those that are out, under its next serial. It is to be filled before the mutex is let
    /// go.
    pub(crate) fn begin(&mut self, slot: u32) -> &mut Entry {
        let newest = std::mem::replace(&mut self.newest, slot);
        match newest {
            NONE => self.oldest = slot,
            newest => self.entry_mut(newest).newer = slot,
        }
        self.uses += 1;
        let number = self.uses;
        let entry = self.entry_mut(slot);
        entry.serial = entry.serial.wrapping_add(1);
        entry.generation = Gen::of(entry.serial);
        entry.number = number;
        entry.is_out = true;
        (entry.older, entry.newer) = (newest, NONE);
        (entry.attempt, entry.doom, entry.sleepers, entry.rings) = (0, None, 0, false);
        entry
    }

    /// Takes a slot off those that are out; its lease is FREE. What it was out for is given back.
    pub(crate) fn end(&mut self, slot: u32) -> (Holder, Want) {
        let entry = self.entry_mut(slot);
        entry.is_out = false;
        entry.sleepers = 0;
        (entry.args, entry.result) = (None, None);
        let was = (std::mem::take(&mut entry.holder), std::mem::take(&mut entry.want));
        let (older, newer) = (entry.older, entry.newer);
        match older {
            NONE => self.oldest = newer,
            older => self.entry_mut(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.entry_mut(newer).older = older,
        }
        self.free.push(slot);
        self.owes_hall |= self.in_hall > 0;
        was
    }

    /// The oldest that is out.
    pub(crate) fn oldest(&self) -> Option<u32> {
        Some(self.oldest).filter(|slot| *slot != NONE)
    }

    /// The one that was submitted next.
    pub(crate) fn after(&self, slot: u32) -> Option<u32> {
        Some(self.entry(slot).newer).filter(|slot| *slot != NONE)
    }

    /// Those that are out, oldest first.
    pub(crate) fn out(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.oldest(), |slot| self.after(*slot))
    }

    /// Puts an outcome aside for the task that will ask.
    pub(crate) fn keep(&mut self, ticket: Ticket, outcome: Outcome) {
        self.kept.insert(ticket, outcome);
    }

    pub(crate) fn take_kept(&mut self, ticket: &Ticket) -> Option<Outcome> {
        // The usual pool keeps nothing, and then nothing need be hashed.
        if self.kept.is_empty() { None } else { self.kept.remove(ticket) }
    }

    pub(crate) fn kept_mut(&mut self) -> impl Iterator<Item = &mut Outcome> {
        self.kept.values_mut()
    }

    /// Looks at an outcome that nobody will: the first failure is kept for `Pool::join`. That a task was cancelled is
    /// known to whoever did it.
    pub(crate) fn look_at(&mut self, outcome: Outcome) {
        if outcome.is_failure() && self.unseen.is_none() {
            self.unseen = outcome.into_failure().filter(|why| !why.is_cancelled());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(state: &mut State) -> Option<u32> {
        let slot = state.reserve()?;
        state.begin(slot);
        Some(slot)
    }

    fn out(state: &State) -> Vec<u32> {
        state.out().collect()
    }

    #[test]
    fn slots_are_out_in_the_order_of_their_submission_and_each_use_has_a_serial() {
        let mut state = State::new(4, 0, Ledger::new(4));
        let slots: Vec<_> = (0..4).map_while(|_| begin(&mut state)).collect();
        assert_eq!((slots.as_slice(), begin(&mut state)), ([0, 1, 2, 3].as_slice(), None));
        let ticket = state.ticket(1);
        assert!(state.is_out(&ticket));
        for (slot, left) in [(1, vec![0, 2, 3]), (0, vec![2, 3]), (3, vec![2])] {
            state.end(slot);
            assert_eq!(out(&state), left);
        }
        assert!(!state.is_out(&ticket));
        assert_eq!([begin(&mut state), begin(&mut state), begin(&mut state)], [Some(3), Some(0), Some(1)]);
        assert_eq!(out(&state), [2, 3, 0, 1]);
        assert!(!state.is_out(&ticket), "the next use is another one");
        for slot in [2, 3, 0, 1] {
            state.end(slot);
        }
        assert_eq!((out(&state), state.oldest()), (vec![], None));
    }

    #[test]
    fn the_hall_is_owed_a_ring_only_where_somebody_waits() {
        let mut state = State::new(2, 0, Ledger::new(2));
        begin(&mut state);
        state.end(0);
        assert!(!state.owes_hall);
        begin(&mut state);
        state.in_hall = 1;
        state.end(0);
        assert!(state.owes_hall);
    }

    #[test]
    fn intake_ends_with_a_close_and_says_why_it_broke() {
        let mut state = State::new(2, 0, Ledger::new(2));
        assert!(state.check_intake().is_ok());
        state.is_closed = true;
        assert!(state.check_intake().is_err_and(|error| error.is_closed()));
        state.broken = Some(Error::new(ginnel_object::ErrorKind::Os, "no processes left"));
        assert_eq!(state.check_intake().unwrap_err().kind(), ginnel_object::ErrorKind::Os);
    }

    #[test]
    fn the_first_failure_nobody_saw_is_kept() {
        let mut state = State::new(2, 0, Ledger::new(2));
        state.look_at(Outcome::Failed(TaskError::Cancelled));
        assert!(state.unseen.is_none(), "whoever cancelled it knows");
        state.look_at(Outcome::Failed(TaskError::TimedOut));
        state.look_at(Outcome::Failed(TaskError::closed()));
        assert!(state.unseen.as_ref().is_some_and(TaskError::is_timed_out));
    }
}
