//! The parent's side of a task that is out: cancels it, marks it for a kill, runs it again, waits for it.
//!
//! Whoever calls what fills, frees or gives away a slot holds the mutex of the pool ([`crew`](super), I3): `submit`, `hint`,
//! `cancel`, `doom`, `retry`, `give_up`. The others may be called by any thread at any time.
//!
//! Who sleeps in the hall or at the desk is announced (`gate`) before the bits of leases are set; a worker commits by a swap,
//! and looks for an announcement if that gave it the bit. So it sees the sleeper, or the sleeper finds the task over.
//!
//! A crash of the parent at any point takes the pool with it: its workers die, and the last process out frees the crew.

use std::cell::Cell;
use std::sync::{MutexGuard, PoisonError};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::pool::SlotWords;
use ginnel_queue::dispatch;
use ginnel_sync::{Arm, Deadline, Stop, Waiter, futex, gate};

use super::submit::{clear, set};
use super::{Bits, Crew, Gen, Ledger, Place, SeatWord, St, recover};

/// What became of a task that was to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// Nobody had claimed it: the slot is FREE, what it carried is given up, and who waited for it was woken.
    TakenBack,
    /// Its worker was asked to stop.
    Asked,
    /// It was over.
    Over,
}

impl Crew {
    /// Sees to it that a READY slot has a hint, and only one. True: there is a new one, and [`Crew::wake`] is owed. After
    /// [`Crew::submit`] and [`Crew::retry`]; and of every READY slot after a death, for the dead one may have taken its hint.
    #[inline]
    pub fn hint(&self, ledger: &mut Ledger, slot: u32, generation: Gen) -> bool {
        ledger.offer(&self.hints(), slot, generation)
    }

    /// Takes a task back that nobody has claimed, or asks its worker to stop.
    pub fn cancel(&self, slot: u32, generation: Gen) -> Cancelled {
        let Some(words) = self.slot(slot) else { return Cancelled::Over };
        if let Some(bits) = dispatch::cancel(&words.lease, generation) {
            self.freed(words, bits);
            return Cancelled::TakenBack;
        }
        match dispatch::want(&words.lease, generation, Bits::CEASE) {
            Some(_) => Cancelled::Asked,
            None => Cancelled::Over,
        }
    }

    /// Gives up what a FREE task carried, and wakes who waits for it. It was not in flight any more, but ours.
    fn freed(&self, words: &SlotWords, bits: Bits) {
        if let Some(entry) = self.handle.segment().entry(self.handle.object().index()) {
            recover::discard(self.handle.segment(), entry, &self.plan, words, Place::Args, || ());
        }
        if bits.has(Bits::WAITED) {
            futex::wake(&words.lease, u32::MAX);
        }
        self.post_hall();
    }

    /// Marks a task that `owner` runs: it may be killed now, and nothing else can be hit by it. False: it does not run it.
    #[must_use]
    pub fn doom(&self, slot: u32, generation: Gen, owner: ParticipantId) -> bool {
        self.slot(slot).is_some_and(|words| dispatch::doom(&words.lease, generation, owner))
    }

    /// Adds bits to the lease of a task. False: it is over, and nobody will be told.
    #[must_use]
    pub fn want(&self, slot: u32, generation: Gen, bits: Bits) -> bool {
        self.slot(slot).is_some_and(|words| dispatch::want(&words.lease, generation, bits).is_some())
    }

    /// Makes a LOST task READY once more; who waits for it waits on. A hint is owed. False: it is not LOST.
    #[must_use]
    pub fn retry(&self, slot: u32, generation: Gen, attempt: u32) -> bool {
        let Some(words) = self.slot(slot).filter(|words| is_lost(words, generation)) else { return false };
        set(&words.attempt, attempt);
        clear(words);
        dispatch::retry(&words.lease, generation)
    }

    /// Frees a LOST task, gives up what it carried, and wakes who waits for it. False: it is not LOST.
    pub fn give_up(&self, slot: u32, generation: Gen) -> bool {
        let Some(words) = self.slot(slot) else { return false };
        let given_up = dispatch::give_up(&words.lease, generation);
        if let Some(bits) = given_up {
            self.freed(words, bits);
        }
        given_up.is_some()
    }

    /// Waits for a task, asleep on its lease. True: it is over, or gone. False: `deadline` came. At the end of each slice
    /// of 20 ms `at_slice` is called.
    pub fn wait(
        &self,
        waiter: &mut Waiter,
        slot: u32,
        generation: Gen,
        deadline: Deadline,
        mut at_slice: impl FnMut(),
    ) -> bool {
        let Some(words) = self.slot(slot) else { return true };
        let is_over = |_| {
            let lease = dispatch::look(&words.lease);
            let is_out = lease.is_some_and(|lease| {
                lease.generation == generation && matches!(lease.st, St::Ready | St::Run | St::Lost)
            });
            (!is_out).then_some(())
        };
        let arm = || match dispatch::want(&words.lease, generation, Bits::WAITED) {
            Some(word) => Arm::Sleep(word),
            None => Arm::Again,
        };
        loop {
            match waiter.wait_word(&words.lease, deadline, is_over, arm, &mut at_slice) {
                Ok(()) => return true,
                Err(Stop::TimedOut) => return false,
                Err(Stop::Interrupted) => {}
            }
        }
    }

    /// Wakes whoever waits for a task: for who takes a result, or frees a slot, in another one's place.
    pub fn wake_lease(&self, slot: u32) {
        if let Some(words) = self.slot(slot) {
            futex::wake(&words.lease, u32::MAX);
        }
    }

    /// Waits in the hall until `ready` gives something. `ready` is told whether the sleeper is announced: then it sets
    /// [`Bits::HALL`] on whatever is to end the wait, and finds out what is over by that ([`Crew::want`]). `worth`: how many
    /// tasks must have been committed ([`Crew::done`]) before a wake is worth it, where one thread waits alone; 0: any.
    pub fn wait_hall<T>(
        &self,
        waiter: &mut Waiter,
        deadline: Deadline,
        worth: u64,
        mut ready: impl FnMut(bool) -> Option<T>,
    ) -> Option<T> {
        let hall = &self.front().hall;
        let _presence = Presence::new(self, worth);
        let is_armed = Cell::new(false);
        loop {
            let arm = || {
                is_armed.set(true);
                gate::arm(hall)
            };
            match waiter.wait_seq(hall, deadline, |_| ready(is_armed.get()), arm, || ()) {
                Ok(value) => return Some(value),
                Err(Stop::TimedOut) => return None,
                Err(Stop::Interrupted) => {}
            }
        }
    }

    /// Wakes all who wait in the hall, if anybody does: for who frees a slot or makes an outcome.
    #[inline]
    pub fn post_hall(&self) {
        gate::post_all(&self.front().hall);
    }

    /// Announces the supervisor at the desk. Look at everything after this, then [`Crew::sleep_desk`].
    #[must_use]
    pub fn arm_desk(&self) -> u32 {
        match gate::arm(&self.front().desk) {
            Arm::Sleep(seen) | Arm::Nap(seen) => seen,
            Arm::Again => self.front().desk.seq.load(Relaxed),
        }
    }

    /// Sleeps at the desk until somebody posts there, if nobody has since it was armed; at the longest until `until`. May
    /// also end without a reason.
    pub fn sleep_desk(&self, seen: u32, until: Deadline) {
        let _ = futex::wait(&self.front().desk.seq, seen, until);
    }

    /// Wakes the supervisor, if it sleeps.
    #[inline]
    pub fn post_desk(&self) {
        gate::post_all(&self.front().desk);
    }

    fn in_hall(&self) -> MutexGuard<'_, u32> {
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many tasks were committed, by all workers that ever sat here. May lag behind by one for each that died, and
    /// counts nobody behind a seat that is empty and was never used: seats are taken from the first on, and only those
    /// that are in use are to be looked at. A hint.
    #[must_use]
    pub fn done(&self) -> u64 {
        let mut sum = 0_u64;
        for seat in self.seats() {
            let done = seat.done.load(Relaxed);
            if done == 0 && seat.word.load(Relaxed) == SeatWord::EMPTY.bits() {
                break;
            }
            sum = sum.wrapping_add(done);
        }
        sum
    }
}

/// A thread of the parent in the hall.
struct Presence<'a> {
    crew: &'a Crew,
}

impl<'a> Presence<'a> {
    fn new(crew: &'a Crew, worth: u64) -> Self {
        let mut inside = crew.in_hall();
        *inside += 1;
        // What is enough for one is not for the others.
        let mark = if *inside == 1 { worth } else { 0 };
        crew.front().hall.mark.store(mark, Relaxed);
        Self { crew }
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        *self.crew.in_hall() -= 1;
    }
}

fn is_lost(words: &SlotWords, generation: Gen) -> bool {
    dispatch::look(&words.lease).is_some_and(|lease| lease.st == St::Lost && lease.generation == generation)
}
