//! Waiting for any of several things, and by a descriptor: the plays of locks and semaphores with those who wait so.
//!
//! A wait for several things takes nothing: it says what is ready, and the one who waits tries there. One who dies in
//! between has taken no wake from the others.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ginnel::queue::{Options, TryRecvError};
use ginnel::select::{Registration, Select, Waitable};
use ginnel::sync::{Event, Lock, LockGuard, Semaphore};
use ginnel::{Manager, Owner, Queue, Raw};
use ginnel_testkit::sweep::{Fault, Plan, Report};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::doors::{self, Door, NAME};
use super::signals::{self, Signal};
use super::{play, play_recoveries};
use crate::step::Progress;

/// How long a victim waits that goes step by step, and may be overtaken in each of its slices.
const ENOUGH: Duration = Duration::from_millis(300);

/// The event that never comes.
const OTHER: &str = "other";

fn too_late() -> ginnel::Error {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// A lock, waited for together with an event.
struct ChosenLock(Lock, Event);

/// A semaphore, waited for together with an event.
struct ChosenSemaphore(Semaphore, Event);

/// A queue, waited for together with an event.
struct ChosenQueue(Queue<Raw<u64>>, Event);

/// A lock, waited for by a descriptor.
struct HeardLock(Lock);

/// A semaphore, waited for by a descriptor.
struct HeardSemaphore(Semaphore);

/// Waits until `what` may be ready, by its descriptor. False: the deadline came.
fn listen<H: Waitable>(ear: &mut Registration<H>, deadline: Instant) -> ginnel::Result<bool> {
    if !ear.arm()? {
        return Ok(true);
    }
    let rest = deadline.saturating_duration_since(Instant::now());
    let slice = rest.min(ear.look_again_in());
    let timeout = PollTimeout::try_from(slice).unwrap_or(PollTimeout::MAX);
    let woken = poll(&mut [PollFd::new(ear.as_fd(), PollFlags::POLLIN)], timeout).unwrap_or(0);
    if woken == 0 {
        ear.probe()?;
    }
    Ok(!rest.is_zero())
}

fn told(guard: LockGuard<'_>) -> (LockGuard<'_>, bool) {
    let told = guard.previous_owner_died().is_some();
    (guard, told)
}

impl Door for ChosenLock {
    type Guard<'a> = LockGuard<'a>;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        Ok(Self(manager.get_or_create(NAME)?, manager.get_or_create(OTHER)?))
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(guard) = self.0.try_lock()? {
                return Ok(told(guard));
            }
            let ready = Select::new().on(&self.1, 0).on(&self.0, 1).wait_deadline(deadline)?;
            ready.ok_or_else(too_late)?;
        }
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        self.0.try_lock()
    }

    fn owner(&self) -> Option<Owner> {
        self.0.owner()
    }
}

impl Door for HeardLock {
    type Guard<'a> = LockGuard<'a>;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create(NAME).map(Self)
    }

    fn enter(&self, timeout: Duration) -> ginnel::Result<(Self::Guard<'_>, bool)> {
        if let Some(guard) = self.0.try_lock()? {
            return Ok(told(guard));
        }
        let deadline = Instant::now() + timeout;
        let mut ear = Registration::new(&self.0)?;
        while listen(&mut ear, deadline)? {
            if let Some(guard) = self.0.try_lock()? {
                return Ok(told(guard));
            }
        }
        Err(too_late())
    }

    fn try_enter(&self) -> ginnel::Result<Option<Self::Guard<'_>>> {
        self.0.try_lock()
    }

    fn owner(&self) -> Option<Owner> {
        self.0.owner()
    }
}

impl Signal for ChosenSemaphore {
    const ENOUGH: Duration = ENOUGH;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        Ok(Self(manager.get_or_create(NAME)?, manager.get_or_create(OTHER)?))
    }

    fn give(&self) -> ginnel::Result<()> {
        self.0.release(1)
    }

    fn take(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if self.0.try_acquire() {
                return true;
            }
            let select = Select::new().on(&self.1, 0).on(&self.0, 1);
            if select.wait_deadline(deadline).expect("good objects").is_none() {
                return false;
            }
        }
    }

    fn is_there(&self) -> bool {
        self.0.value() > 0
    }

    fn count(&self) -> Option<i64> {
        Some(i64::from(self.0.value()))
    }
}

impl Signal for ChosenQueue {
    const ENOUGH: Duration = ENOUGH;

    fn open(manager: &Manager) -> ginnel::Result<Self> {
        Ok(Self(manager.get_or_create_with(NAME, Options::bounded(4))?, manager.get_or_create(OTHER)?))
    }

    fn give(&self) -> ginnel::Result<()> {
        self.0.try_send(Raw(7)).map_err(std::io::Error::other).map_err(ginnel::Error::from)
    }

    fn take(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            match self.0.try_recv() {
                Ok(Raw(number)) => return number == 7,
                Err(TryRecvError::Empty) => {}
                Err(error) => panic!("receive: {error}"),
            }
            let select = Select::new().on(&self.1, 0).on(&self.0, 1);
            if select.wait_deadline(deadline).expect("good objects").is_none() {
                return false;
            }
        }
    }

    fn is_there(&self) -> bool {
        self.0.stats().depth > 0
    }
}

impl Signal for HeardSemaphore {
    fn open(manager: &Manager) -> ginnel::Result<Self> {
        manager.get_or_create(NAME).map(Self)
    }

    fn give(&self) -> ginnel::Result<()> {
        self.0.release(1)
    }

    fn take(&self, timeout: Duration) -> bool {
        if self.0.try_acquire() {
            return true;
        }
        let deadline = Instant::now() + timeout;
        let mut ear = Registration::new(&self.0).expect("an address is free");
        while listen(&mut ear, deadline).expect("a good object") {
            if self.0.try_acquire() {
                return true;
            }
        }
        false
    }

    fn is_there(&self) -> bool {
        self.0.value() > 0
    }

    fn count(&self) -> Option<i64> {
        Some(i64::from(self.0.value()))
    }
}

/// How far the scout steps between two system calls. The slices of this wait are counted by the clock, from before it
/// arms; a scout that needs longer than the longest of them (50 ms) to come to the sleep never sees it sleep.
const REACH: usize = 500;
const REACH_OF_SAMPLE: usize = 250;

/// The same plan, with that reach.
fn within_reach(plan: &Plan) -> Plan {
    Plan { reach: if plan.is_sample() { REACH_OF_SAMPLE } else { REACH }, ..*plan }
}

pub(in crate::step) fn select_lock(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(&within_reach(plan), progress, doors::plays::<ChosenLock>(false))
}

pub(in crate::step) fn select_semaphore(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(&within_reach(plan), progress, signals::plays::<ChosenSemaphore>())
}

pub(in crate::step) fn select_queue(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    play(&within_reach(plan), progress, signals::plays::<ChosenQueue>())
}

pub(in crate::step) fn bells(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play(plan, progress, doors::plays::<HeardLock>(false))?;
    Ok(report.and(play(plan, progress, signals::plays::<HeardSemaphore>())?))
}

pub(in crate::step) fn select_recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let report = play_recoveries(plan, progress, doors::recoveries::<ChosenLock>().split_off(1))?;
    let report = report.and(play_recoveries(plan, progress, doors::recoveries::<HeardLock>().split_off(1))?);
    Ok(report.and(play_recoveries(plan, progress, signals::recoveries::<HeardSemaphore>())?))
}
