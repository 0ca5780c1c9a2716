//! How a slot is filled, waited for and emptied: the pool as its handles, its jobs and its supervisor share it.
//!
//! ```text
//!   submit   slot from the free list, else from a finished one, else wait in the hall · fields, READY · hint · wake
//!   wait     look at the lease; sleep on it
//!   take     DONE: what came of it is copied out, FREE, slot back to the free list; or it was kept
//! ```
//! The mutex of the [`State`] is never held while user code runs, while something is encoded or decoded, or in a system
//! call that sleeps. Whoever holds it owes things that must happen without it (a ring for the hall, a post for the
//! supervisor): [`Locked`] does them when it is let go, so that no way out can forget them.
//!
//! The workers announce nothing. Whoever needs a slot looks at the leases of those that are out, oldest first; the
//! workers take hints in that order, so few leases that are not over lie before those that are, and a look that stops
//! after two more than there are workers that nobody has taken yet has found nearly all.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ginnel_layout::atomic::{AtomicU32, Ordering::Relaxed};
use ginnel_layout::pool::INLINE_MAX;
use ginnel_object::bridge::crew::{Bits, Crew, Order, Packed, St, Tray, Trays};
use ginnel_object::{Error, ErrorKind, Message, Result};
use ginnel_sync::{Deadline, Mode, Waiter};

use crate::builder::Plan;
use crate::callbacks::{self, Notice};
use crate::error::TaskError;
use crate::outcome::{Outcome, Part};
use crate::state::{Holder, State, Ticket, Want};
use crate::usual::Usual;

/// How long a thread sleeps on a lease before it asks whether the pool has decided without it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Arguments above this part of the region for them travel as a letter, in memory of their own.
const LARGEST: u64 = 4;

/// How long one waits who wants to give the pool work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    Until(Deadline),
}

/// What goes into a slot, besides the arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// The place of the routine, as `ginnel_process::routine` says it.
    pub(crate) routine: u64,
    pub(crate) holder: Holder,
    /// Items of a chunk; 1 for a task.
    pub(crate) items: u32,
    /// How often they were tried before.
    pub(crate) attempt: u32,
    /// How many bytes its results may take; 0 where they are expected to fit the slot.
    pub(crate) room: usize,
    /// Its commit rings the hall.
    pub(crate) rings: bool,
    /// The worker says how long it took.
    pub(crate) is_timed: bool,
    /// Threads that will sleep on it at once.
    pub(crate) sleepers: u32,
}

impl Request {
    /// That of one task.
    pub(crate) fn task(routine: u64) -> Self {
        Self {
            routine,
            holder: Holder::Task,
            items: 1,
            attempt: 0,
            room: 0,
            rings: false,
            is_timed: false,
            sleepers: 0,
        }
    }
}

/// See the module.
pub(crate) struct Inner {
    pub(crate) crew: Crew,
    pub(crate) trays: Trays,
    pub(crate) plan: Plan,
    pub(crate) usual: Usual,
    /// Threads that wait for room in the trays.
    short: AtomicU32,
    waiter: Mutex<Waiter>,
    state: Mutex<State>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("crew", &self.crew).finish_non_exhaustive()
    }
}

/// The state, locked. Let go, it does what its holder owes.
pub(crate) struct Locked<'a> {
    inner: &'a Inner,
    state: Option<MutexGuard<'a, State>>,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect("is there until the drop")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("is there until the drop")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let owes_hall = std::mem::take(&mut self.owes_hall);
        let owes_desk = !self.notices.is_empty();
        // Nobody comes to see to them any more.
        let mine =
            if owes_desk && self.requests.is_over { std::mem::take(&mut self.notices) } else { Vec::new() };
        self.state = None;
        if owes_hall {
            self.inner.crew.post_hall();
        }
        if owes_desk {
            self.inner.crew.post_desk();
        }
        mine.into_iter().for_each(|notice| callbacks::deliver_here(self.inner, notice));
    }
}

impl Inner {
    pub(crate) fn new(crew: Crew, plan: Plan) -> Self {
        let trays = Trays::new(&crew);
        let state = Mutex::new(State::new(crew.shape().slots, crew.first_serial(), crew.ledger()));
        let waiter = Mutex::new(Waiter::new(plan.mode()));
        Self { crew, trays, plan, usual: Usual::default(), short: AtomicU32::new(0), waiter, state }
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        // No user code runs under it, and what does not panic on its own account leaves it whole.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { inner: self, state: Some(state) }
    }

    /// Puts packed arguments into a slot. `None`: there is none, and patience is over; the arguments are given up.
    ///
    /// # Errors
    /// `Forked`; `Closed`; what the pool broke of.
    pub(crate) fn submit(
        &self,
        request: &Request,
        packed: Packed,
        patience: Patience,
    ) -> Result<Option<Ticket>> {
        self.crew.check_fork()?;
        // It may take memory from the system: not under the mutex.
        let room = (request.room > 0).then(|| self.trays.get(request.room)).flatten();
        let Some((mut state, slot)) = self.slot(patience)? else { return Ok(None) };
        let rings = request.rings || state.is_short();
        let entry = state.begin(slot);
        let order = Order {
            serial: entry.serial,
            routine: request.routine,
            attempt: request.attempt,
            items: request.items,
            is_chunk: request.holder == Holder::Chunk,
            is_timed: request.is_timed,
            result: room.as_ref(),
            bits: if rings { Bits::HALL } else { Bits::NONE },
        };
        match self.crew.submit(slot, &order, packed) {
            Ok(args) => (entry.args, entry.result) = (args, room),
            Err(error) => {
                state.end(slot);
                return Err(error);
            }
        }
        (entry.holder, entry.routine, entry.attempt) = (request.holder, request.routine, request.attempt);
        (entry.is_chunk, entry.items) = (request.holder == Holder::Chunk, request.items);
        (entry.rings, entry.sleepers) = (rings, request.sleepers);
        let is_new = self.hint(&mut state, slot);
        let ticket = state.ticket(slot);
        drop(state);
        if is_new {
            self.crew.wake();
        }
        Ok(Some(ticket))
    }

    /// Sees to it that the workers find a READY slot. True: they have to be woken for it. To be called whenever a slot
    /// became READY, and when its hint may have been lost with a worker.
    pub(crate) fn hint(&self, state: &mut State, slot: u32) -> bool {
        let generation = state.ticket(slot).generation;
        self.crew.hint(&mut state.ledger, slot, generation)
    }

    /// A reserved slot, with the mutex held. Waits in the hall where there is none.
    fn slot(&self, patience: Patience) -> Result<Option<(Locked<'_>, u32)>> {
        let mut state = self.lock();
        state.check_intake()?;
        if let Some(slot) = self.find(&mut state) {
            return Ok(Some((state, slot)));
        }
        let Patience::Until(deadline) = patience else { return Ok(None) };
        let worth = self.worth(&state);
        drop(state);
        let found = self.hall(deadline, worth, |is_armed| {
            let mut state = self.lock();
            if state.check_intake().is_err() {
                return Some(None);
            }
            if is_armed && !state.has_free() {
                self.ring_for_all(&mut state);
                self.reclaim(&mut state, u32::MAX);
            }
            self.find(&mut state).map(Some)
        });
        let mut state = self.lock();
        let slot = found.flatten();
        if let Err(error) = state.check_intake() {
            slot.into_iter().for_each(|slot| state.put_back(slot));
            return Err(error);
        }
        Ok(slot.map(|slot| (state, slot)))
    }

    /// Waits in the hall until `ready` gives something: a look that takes the mutex for itself. It is told whether this
    /// thread is announced there: then it asks those that are out to ring ([`Inner::ring_for_all`], or [`Crew::want`])
    /// before it looks at them. `worth`: how many tasks must have been committed before a ring is worth it; 0: any.
    pub(crate) fn hall<T>(
        &self,
        deadline: Deadline,
        worth: u64,
        ready: impl FnMut(bool) -> Option<T>,
    ) -> Option<T> {
        self.lock().in_hall += 1;
        // Who waits here looks at much, and under the mutex: it does not look again and again for nothing.
        let found = self.crew.wait_hall(&mut Waiter::new(Mode::Sleep), deadline, worth, ready);
        self.lock().in_hall -= 1;
        found
    }

    /// Lends what this pool has learnt of waiting for tasks, or a fresh waiter while another thread waits with that.
    fn with_waiter<R>(&self, wait: impl FnOnce(&mut Waiter) -> R) -> R {
        match self.waiter.try_lock() {
            Ok(mut waiter) => wait(&mut waiter),
            Err(_) => wait(&mut Waiter::new(self.plan.mode())),
        }
    }

    fn find(&self, state: &mut State) -> Option<u32> {
        if !state.has_free() {
            // Workers take tasks in the order of their submission, but for those that were given out anew and those that
            // an old hint leads to: so few that are READY lie before those that are DONE.
            self.reclaim(state, self.plan.workers as u32 + 2);
        }
        state.reserve()
    }

    /// From how many committed tasks on a ring is worth it for who waits for a slot: while the workers have enough, one
    /// who is woken for a few slots at a time costs less than one who is woken for each.
    fn worth(&self, state: &State) -> u64 {
        let waiting = state.count_out().saturating_sub(2 * self.plan.workers);
        if waiting < 16 { 0 } else { self.crew.done() + waiting as u64 / 4 }
    }

    /// Sees to it that the commit of everything that is out rings the hall. For who has armed there, and looks again.
    pub(crate) fn ring_for_all(&self, state: &mut State) {
        let mut next = state.oldest();
        while let Some(slot) = next {
            next = state.after(slot);
            let entry = state.entry_mut(slot);
            if !std::mem::replace(&mut entry.rings, true) {
                // Where it is over already, the look that follows finds it.
                let _ = self.crew.want(slot, entry.generation, Bits::HALL);
            }
        }
    }

    /// Takes what is finished, for those that it belongs to: oldest first, until so many were READY.
    pub(crate) fn reclaim(&self, state: &mut State, mut patience: u32) {
        let mut next = state.oldest();
        while let Some(slot) = next {
            next = state.after(slot);
            match self.crew.lease(slot).st {
                St::Done => self.collect(state, slot),
                St::Ready if patience == 0 => break,
                St::Ready => patience -= 1,
                _ => {}
            }
        }
    }

    /// Takes the outcome of a slot that is DONE, for whom it belongs to.
    pub(crate) fn collect(&self, state: &mut State, slot: u32) {
        let mut outcome = self.fetch(state, slot);
        if self.trays.bytes_out() > self.crew.shape().tray_bytes / 2 {
            outcome.leave_trays();
        }
        self.over(state, slot, outcome);
    }

    /// What came of a slot that is DONE; its lease is FREE after that. To be followed by the end of its entry.
    fn fetch(&self, state: &mut State, slot: u32) -> Outcome {
        let entry = state.entry_mut(slot);
        let tray = entry.result.take();
        let is_lent = tray.is_some();
        let taken = match self.crew.take(slot, entry.generation, tray) {
            Ok(taken) => taken,
            Err(why) => return Outcome::Failed(TaskError::Decode(why)),
        };
        if entry.is_chunk && taken.progress().items < entry.items {
            // The slot is not filled before its entry has ended.
            return match self.crew.remaining(slot) {
                Ok(rest) => Outcome::Early(Box::new(Part { results: taken, rest })),
                Err(why) => Outcome::Failed(TaskError::Decode(why)),
            };
        }
        if is_lent || taken.len() > INLINE_MAX {
            self.usual.saw_result(entry.routine, taken.len());
        }
        Outcome::Taken(taken)
    }

    /// The end of a slot that is out, whose lease is FREE: its outcome goes where it belongs, the slot to the free ones.
    pub(crate) fn over(&self, state: &mut State, slot: u32, outcome: Outcome) {
        let ticket = state.ticket(slot);
        if state.entry(slot).sleepers > 0 {
            self.crew.wake_lease(slot);
        }
        count(state, &outcome);
        let (holder, want) = state.end(slot);
        match (holder, want) {
            (Holder::Abandoned, _) => drop(outcome),
            (Holder::Nobody, _) => state.look_at(outcome),
            (_, Want::Call(call)) => state.notices.push(Notice::Callback(Box::new(move || call(outcome)))),
            (_, want) => {
                if let Want::Wake(waker) = want {
                    state.notices.push(Notice::Waker(waker));
                }
                // A job looks for its chunks in the hall.
                state.owes_hall |= state.in_hall > 0;
                state.keep(ticket, outcome);
            }
        }
    }

    /// Is it over? One look at its lease, which may be behind what the pool has decided without a worker.
    pub(crate) fn is_over(&self, ticket: &Ticket) -> bool {
        let lease = self.crew.lease(ticket.slot);
        lease.generation != ticket.generation || matches!(lease.st, St::Done | St::Free)
    }

    /// Waits until it is over. False: not before the deadline.
    ///
    /// Whoever submitted it with himself among the `sleepers` passes true for `is_counted`.
    pub(crate) fn wait(&self, ticket: &Ticket, deadline: Deadline, is_counted: bool) -> bool {
        if self.is_over(ticket) {
            return true;
        }
        if !is_counted {
            let mut state = self.lock();
            if !state.is_out(ticket) {
                return true;
            }
            state.entry_mut(ticket.slot).sleepers += 1;
        }
        loop {
            let until = deadline.min(Deadline::after(LOOK_AGAIN));
            let wait =
                |waiter: &mut Waiter| self.crew.wait(waiter, ticket.slot, ticket.generation, until, || ());
            if self.with_waiter(wait) {
                return true;
            }
            let mut state = self.lock();
            if !state.is_out(ticket) {
                return true;
            }
            if deadline.passed() {
                let entry = state.entry_mut(ticket.slot);
                entry.sleepers = entry.sleepers.saturating_sub(1);
                return false;
            }
        }
    }

    /// What came of it, once. `None`: it is not over, or was taken before.
    pub(crate) fn take(&self, ticket: &Ticket, is_sleeper: bool) -> Option<Outcome> {
        let mut state = self.lock();
        self.take_from(&mut state, ticket, is_sleeper)
    }

    /// As [`Inner::take`], with the mutex held.
    pub(crate) fn take_from(&self, state: &mut State, ticket: &Ticket, is_sleeper: bool) -> Option<Outcome> {
        if !state.is_out(ticket) {
            return state.take_kept(ticket);
        }
        if self.crew.lease(ticket.slot).st != St::Done {
            return None;
        }
        let outcome = self.fetch(state, ticket.slot);
        if state.entry(ticket.slot).sleepers > u32::from(is_sleeper) {
            self.crew.wake_lease(ticket.slot);
        }
        count(state, &outcome);
        if let (_, Want::Wake(waker)) = state.end(ticket.slot) {
            // It may be what holds other tasks, so it cannot be dropped here; and to be woken for nothing does no harm.
            state.notices.push(Notice::Waker(waker));
        }
        Some(outcome)
    }

    /// Lets go of it: what comes of it is looked at for failures, and dropped.
    pub(crate) fn forget(&self, ticket: &Ticket) {
        let mut state = self.lock();
        let mut want = Want::Nothing;
        if state.is_out(ticket) {
            let entry = state.entry_mut(ticket.slot);
            entry.holder = Holder::Nobody;
            want = std::mem::take(&mut entry.want);
        } else if let Some(outcome) = state.take_kept(ticket) {
            state.look_at(outcome);
        }
        drop(state);
        // A waker may be what holds other tasks.
        drop(want);
    }

    /// The value of an outcome that was taken. Whoever waits for room in the trays is told that there may be some.
    pub(crate) fn read<R: Message>(&self, outcome: Outcome) -> Result<R, TaskError> {
        let result = outcome.into_result();
        self.gave_back();
        result
    }

    /// Trays may have been given back: whoever waits for room is told.
    pub(crate) fn gave_back(&self) {
        // The waiter counted itself before it looked at the trays, and they have a mutex of their own: if it has not
        // seen this one given back, it is seen here.
        if self.short.load(Relaxed) > 0 {
            self.crew.post_hall();
        }
    }

    /// A larger buffer for arguments. `None`: they are too large for one, or there is no room and nothing is out that
    /// could make some; they travel as a letter then. Waits in the hall while what is out may give some back.
    pub(crate) fn tray(&self, size: usize, patience: Patience) -> Option<Tray> {
        if size as u64 > self.crew.shape().tray_bytes / LARGEST {
            return None;
        }
        if let Some(tray) = self.trays.get(size) {
            return Some(tray);
        }
        let deadline = match patience {
            Patience::None => Deadline::at_ns(0),
            Patience::Until(deadline) => deadline,
        };
        self.short.fetch_add(1, Relaxed);
        let found = self.hall(deadline, 0, |is_armed| {
            let mut state = self.lock();
            if is_armed {
                self.ring_for_all(&mut state);
            }
            self.make_room(&mut state);
            match self.trays.get(size) {
                Some(tray) => Some(Some(tray)),
                None => state.oldest().is_none().then_some(None),
            }
        });
        self.short.fetch_sub(1, Relaxed);
        found.flatten()
    }

    /// Arguments that found no place go to a tray of their size; else they become a letter.
    ///
    /// # Errors
    /// `Full` when the arena has no room for the letter.
    pub(crate) fn settle(&self, routine: u64, mut packed: Packed, patience: Patience) -> Result<Packed> {
        if let Some(size) = packed.wants() {
            self.usual.saw_args(routine, size);
            if let Some(tray) = self.tray(size, patience) {
                drop(packed.put_into(tray));
            }
        }
        packed.enclose(&self.crew)?;
        Ok(packed)
    }

    /// Moves finished results that nobody has asked for out of the trays.
    fn make_room(&self, state: &mut State) {
        self.reclaim(state, u32::MAX);
        state.kept_mut().for_each(Outcome::leave_trays);
    }

    /// Ends everything that is out: what is DONE is taken, all else comes to what `why` says. For a pool without living
    /// workers; a job's chunks are kept for it like tasks.
    pub(crate) fn end_all(&self, state: &mut State, why: impl Fn() -> TaskError) {
        while let Some(slot) = state.oldest() {
            let generation = state.entry(slot).generation;
            match self.crew.lease(slot).st {
                St::Done => {
                    self.collect(state, slot);
                    continue;
                }
                St::Ready => _ = self.crew.cancel(slot, generation),
                St::Lost => _ = self.crew.give_up(slot, generation),
                // Its worker is dead and somebody else is recovering it: the lease is not ours to free, and the crew
                // ends with the pool.
                St::Run | St::Free => self.crew.wake_lease(slot),
            }
            self.over(state, slot, Outcome::Failed(why()));
        }
    }
}

fn count(state: &mut State, outcome: &Outcome) {
    state.counters.done += 1;
    state.counters.failed += u64::from(outcome.is_failure());
}

/// What one gets who waits for a task of which the outcome was given away already.
pub(crate) fn taken_before() -> TaskError {
    TaskError::Pool(Error::new(ErrorKind::Invalid, "the outcome of this task was taken before"))
}
