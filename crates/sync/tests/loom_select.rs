//! Models: waits for several things, and pollers beside sleepers, under every interleaving loom finds within its bounds.
//! Time stands still and an ear blocks for ever, so a single lost wake or byte is a deadlock that loom reports.
//!
//! The last ones show that the models can fail: the same waits with one step left out.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-sync --test loom_select`.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::wait::WaitLine;
use ginnel_sync::bell::{self, Ear};
use ginnel_sync::park::post;
use ginnel_sync::select::{Port, wait_any};
use ginnel_sync::shared_wait::{self, wait_shared};
use ginnel_sync::{Arm, Deadline, Mode, Waiter};
use loom::thread;

fn model(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(scenario);
}

/// A number of things, taken one by one, on a line that many wait on.
struct Things {
    line: WaitLine,
    count: AtomicU32,
    /// Does who leaves pass on?
    passes: bool,
}

impl Things {
    fn new(passes: bool) -> Arc<Self> {
        Arc::new(Self { line: WaitLine::default(), count: AtomicU32::new(0), passes })
    }

    fn give(&self) {
        self.count.fetch_add(1, Release);
        post(&self.line);
    }

    fn take(&self) -> Option<()> {
        let mut seen = self.count.load(Acquire);
        while seen > 0 {
            match self.count.compare_exchange(seen, seen - 1, Acquire, Relaxed) {
                Ok(_) => return Some(()),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// A thread that sleeps for one.
    fn sleep_for_one(&self) {
        let mut waiter = Waiter::new(Mode::Sleep);
        let take = || self.take();
        wait_shared(&mut waiter, &self.line, Deadline::NEVER, take, || self.is_ready(), || {}).unwrap();
    }

    /// A task that polls for one. `asks`: it says so before it looks.
    fn poll_for_one(&self, me: ParticipantId, asks: bool) {
        let key = bell::key(1, 1);
        let ear = Ear::open(key, me).unwrap();
        loop {
            if asks {
                bell::want(&self.line.bells, key, me);
            }
            let Arm::Sleep(_) = shared_wait::arm(&self.line) else { continue };
            let taken = self.take();
            if !asks && taken.is_none() {
                bell::want(&self.line.bells, key, me);
            }
            if taken.is_some() {
                bell::unwant(&self.line.bells, me);
                self.pass(true);
                return;
            }
            ear.wait();
            ear.drain();
        }
    }
}

impl Port for Things {
    fn word(&self) -> &AtomicU32 {
        &self.line.seq
    }

    fn is_ready(&self) -> bool {
        self.count.load(Acquire) > 0
    }

    fn arm(&self) -> Arm {
        shared_wait::arm(&self.line)
    }

    fn pass(&self, slept: bool) {
        if slept && self.passes {
            shared_wait::pass(&self.line, || self.is_ready());
        }
    }

    fn probe(&self) {}
}

fn who(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

/// One waits for `a` or `b` and takes nothing, another sleeps for `b`; each is given once.
fn a_waiter_of_two_and_a_sleeper(passes: bool) {
    let (a, b) = (Things::new(passes), Things::new(passes));
    let any = {
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        thread::spawn(move || {
            let ports: [&dyn Port; 2] = [&*a, &*b];
            wait_any(&ports, 0, Deadline::NEVER).unwrap()
        })
    };
    let sleeper = {
        let b = Arc::clone(&b);
        thread::spawn(move || b.sleep_for_one())
    };
    b.give();
    a.give();
    any.join().unwrap();
    sleeper.join().unwrap();
}

#[test]
fn one_who_waits_for_several_leaves_what_it_does_not_take_to_the_others() {
    model(2, || a_waiter_of_two_and_a_sleeper(true));
}

#[test]
fn one_thing_of_two_wakes() {
    model(3, || {
        let (a, b) = (Things::new(true), Things::new(true));
        let giver = {
            let b = Arc::clone(&b);
            thread::spawn(move || b.give())
        };
        let ports: [&dyn Port; 2] = [&*a, &*b];
        assert_eq!(wait_any(&ports, 0, Deadline::NEVER), Ok(1));
        giver.join().unwrap();
    });
}

fn a_poller_is_rung(asks: bool) {
    let things = Things::new(true);
    let giver = {
        let things = Arc::clone(&things);
        thread::spawn(move || things.give())
    };
    things.poll_for_one(who(3), asks);
    giver.join().unwrap();
}

#[test]
fn a_poller_hears_of_what_it_waits_for() {
    model(3, || a_poller_is_rung(true));
}

fn a_poller_and_a_sleeper(passes: bool) {
    let things = Things::new(passes);
    // A wake has been before: it is the pollers' turn.
    things.line.seq.store(1, Relaxed);
    let sleeper = {
        let things = Arc::clone(&things);
        thread::spawn(move || things.sleep_for_one())
    };
    let poller = {
        let things = Arc::clone(&things);
        thread::spawn(move || things.poll_for_one(who(3), true))
    };
    things.give();
    things.give();
    sleeper.join().unwrap();
    poller.join().unwrap();
}

#[test]
fn a_poller_and_a_sleeper_get_one_each() {
    model(2, || a_poller_and_a_sleeper(true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_pass_another_sleeper_is_forgotten() {
    model(2, || a_waiter_of_two_and_a_sleeper(false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_poller_that_asks_after_it_looked_hears_nothing() {
    model(3, || a_poller_is_rung(false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_poller_that_does_not_pass_leaves_a_sleeper_asleep() {
    model(2, || a_poller_and_a_sleeper(false));
}
