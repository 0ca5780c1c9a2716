//! The other side: a worker at its seat takes one task after the other.
//!
//! ```text
//! sit · { next: wait on idle for a hint, pop, claim · the routine fills the frame · commit: swap, wakes, parcels } · leave
//! ```
//! Who takes a hint has to look at its slot, so orders are looked at before. A worker that is TIRED takes nothing; it sleeps
//! on the word of its orders and not with the others, whose wakes it would use up.

mod frame;

use std::cell::Cell;
use std::fmt;
use std::thread;
use std::time::Duration;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::pool::{Lease, SeatSt, SeatWord, SeatWords, flag, order};
use ginnel_queue::dispatch;
use ginnel_sync::park::Arm;
use ginnel_sync::{Deadline, Mode, Waiter, deadline, gate, shared_wait};

use super::Crew;
use crate::error::{ErrorKind, Result};

pub use self::frame::Frame;

/// What a worker does after a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Takes the next one.
    Go,
    /// Nothing: it is about to be killed, and waits for that.
    Doomed,
    /// Ends.
    Leave,
}

/// A worker at its seat. One for each seat, and used by one thread.
///
/// If it is killed, the task it runs becomes LOST when its process is recovered; one that it has committed stays. In the
/// child of a bare fork it finds nothing to do.
pub struct Sitting {
    crew: Crew,
    number: usize,
    waiter: Waiter,
    /// Tasks it has claimed.
    taken: u64,
    pace: Pace,
    max_tasks: u64,
    is_timed: bool,
    is_tired: bool,
}

impl fmt::Debug for Sitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sitting")
            .field("seat", &self.number)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

/// Whether others keep up without this worker.
///
/// Where they do, each task that is submitted would wake it for nothing, since somebody who is awake takes the task first:
/// that costs the parent a system call each time, and where processors are few its own. So before it announces itself,
/// such a worker rests for a while, as one that the system has put aside. A task that comes meanwhile, while all others
/// are busy, is late by no more than that.
#[derive(Debug)]
struct Pace {
    /// How many hints had been taken, by all and by this worker, when it last announced itself.
    head: u64,
    taken: u64,
}

impl Pace {
    const REST: Duration = Duration::from_micros(500);
    /// Others have taken so many tasks since,
    const OTHERS: u64 = 64;
    /// and so many for each of its own.
    const SHARE: u64 = 8;

    /// Before it announces itself: `head` hints have been taken by all, and `taken` tasks by this worker.
    fn rest(&mut self, head: u64, taken: u64) {
        if self.others_keep_up(head, taken) {
            thread::sleep(Self::REST);
        }
        *self = Self { head, taken };
    }

    fn others_keep_up(&self, head: u64, taken: u64) -> bool {
        let (all, mine) = (head.wrapping_sub(self.head), taken.wrapping_sub(self.taken));
        all.saturating_sub(mine) >= Self::OTHERS.max(mine.saturating_mul(Self::SHARE))
    }
}

impl Crew {
    /// Takes a seat, which says from now on that it is UP, with this participant; the supervisor is told. The parent has
    /// said COMING, and that no other process takes it.
    ///
    /// # Errors
    /// `Invalid` for a seat that this crew does not have, `Forked`.
    pub fn sit(&self, seat: u32, mode: Mode) -> Result<Sitting> {
        self.check_fork()?;
        let number = seat as usize;
        let words = self.seats().get(number).ok_or_else(|| {
            self.handle.error(ErrorKind::Invalid, "a worker for a seat that the pool does not have")
        })?;
        words.slot.store(0, Relaxed);
        words.word.store(SeatWord::of(SeatSt::Up, self.me()).bits(), Release); // E2
        gate::post_all(&self.front().desk);
        let shape = &self.front().shape;
        Ok(Sitting {
            crew: self.clone(),
            number,
            waiter: Waiter::new(mode),
            taken: 0,
            pace: Pace { head: self.front().head.load(Relaxed), taken: 0 },
            max_tasks: shape.max_tasks.load(Relaxed),
            is_timed: shape.flags.load(Relaxed) & flag::TIMED != 0,
            is_tired: false,
        })
    }
}

impl Sitting {
    /// Waits for a task and claims it. `None`: it is to leave, because it was ordered to, because no more tasks will come,
    /// or because `at_slice`, which is asked every 20 to 50 ms while nothing comes, says so.
    ///
    /// At the claim of the last task that the crew allows it, it says that it is tired.
    pub fn next(&mut self, mut at_slice: impl FnMut() -> bool) -> Option<Frame<'_>> {
        if self.crew.check_fork().is_err() {
            return None;
        }
        if self.is_tired {
            self.wait_for_order(at_slice);
            return None;
        }
        let (slot, lease) = self.claim(&mut at_slice)?;
        self.taken += 1;
        if self.taken == self.max_tasks {
            self.tired();
        }
        let seat = self.seat();
        seat.slot.store(slot + 1, Relaxed);
        let began = if self.is_timed { Some(deadline::now_ns()) } else { None };
        // `claim` has found the slot there.
        Frame::open(&self.crew, seat, slot, lease, began)
    }

    /// Says that it takes no more tasks and wants to be relieved. [`Sitting::next`] then waits for the order to leave.
    pub fn tired(&mut self) {
        if self.is_tired || self.crew.check_fork().is_err() {
            return;
        }
        self.is_tired = true;
        self.seat().word.store(SeatWord::of(SeatSt::Tired, self.crew.me()).bits(), Release); // E2
        gate::post_all(&self.crew.front().desk);
    }

    fn seat(&self) -> &SeatWords {
        // `sit` has looked, and the number of seats never changes.
        match self.crew.seats().get(self.number) {
            Some(seat) => seat,
            None => unreachable!("a crew does not lose seats"),
        }
    }

    /// `None`: leave.
    fn claim(&mut self, at_slice: &mut impl FnMut() -> bool) -> Option<(u32, Lease)> {
        let Self { crew, number, waiter, taken, pace, .. } = self;
        let (front, hints, me) = (crew.front(), crew.hints(), crew.me());
        let seat = crew.seats().get(*number)?;
        let leaves = Cell::new(false);
        let take = || {
            if leaves.get() || seat.order.load(Relaxed) != order::WORK {
                return Some(None);
            }
            while let Some(hint) = hints.pop() {
                let slot = crew.slot(hint.slot);
                if let Some(lease) = slot.and_then(|slot| dispatch::claim(&slot.lease, hint.generation, me)) {
                    return Some(Some((hint.slot, lease)));
                }
            }
            (front.shape.stop.load(Relaxed) != 0).then_some(None)
        };
        loop {
            let mut has_slept = false;
            let look = |slept| {
                has_slept |= slept;
                take()
            };
            let arm = || {
                pace.rest(front.head.load(Relaxed), *taken);
                shared_wait::arm(&front.idle)
            };
            let at_slice_end = || leaves.set(at_slice());
            // As `shared_wait::wait_shared`, but for the rest.
            let found = waiter.wait_seq(&front.idle, Deadline::NEVER, look, arm, at_slice_end);
            if has_slept {
                shared_wait::pass(&front.idle, || hints.is_any());
            }
            // Else a signal.
            if let Ok(found) = found {
                return found;
            }
        }
    }

    /// Sleeps until it is ordered to leave, or no more tasks will come.
    fn wait_for_order(&mut self, mut at_slice: impl FnMut() -> bool) {
        let Self { crew, number, waiter, .. } = self;
        let Some(seat) = crew.seats().get(*number) else { return };
        let leaves = Cell::new(false);
        let ready = |_| {
            let is_over = leaves.get() || seat.order.load(Acquire) != order::WORK || crew.is_stopped(); // E2
            is_over.then_some(())
        };
        let arm = || Arm::Sleep(order::WORK);
        let mut at_slice_end = || leaves.set(at_slice());
        while waiter.wait_word(&seat.order, Deadline::NEVER, ready, arm, &mut at_slice_end).is_err() {}
    }
}

#[cfg(test)]
mod tests;
