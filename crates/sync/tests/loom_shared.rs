//! Models: several waiters on one line, under every interleaving loom finds within its bounds. Time stands still, so
//! no slice ends and a single lost wake is a deadlock that loom reports.
//!
//! The last one shows that the models can fail: the same wait written out without its pass.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-sync --test loom_shared`.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, fence};
use ginnel_layout::wait::WaitLine;
use ginnel_sync::futex::model::set_time_ns;
use ginnel_sync::park::{post, wake_all};
use ginnel_sync::shared_wait::wait_shared;
use ginnel_sync::{Arm, Deadline, Mode, Stop, Waiter};
use loom::thread;

fn model(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(scenario);
}

/// Permits, 1 = free, and the line for those who want one.
struct Permits<const N: usize> {
    line: WaitLine,
    free: [AtomicU32; N],
}

impl<const N: usize> Permits<N> {
    fn new(free: u32) -> Arc<Self> {
        Arc::new(Self { line: WaitLine::default(), free: std::array::from_fn(|_| AtomicU32::new(free)) })
    }

    fn take(&self) -> Option<usize> {
        self.free
            .iter()
            .position(|word| word.load(Relaxed) == 1 && word.compare_exchange(1, 0, Acquire, Relaxed).is_ok())
    }

    fn available(&self) -> bool {
        self.free.iter().any(|word| word.load(Relaxed) == 1)
    }

    fn acquire(&self, deadline: Deadline) -> Result<usize, Stop> {
        let mut waiter = Waiter::new(Mode::Sleep);
        wait_shared(&mut waiter, &self.line, deadline, || self.take(), || self.available(), || {})
    }

    fn release(&self, permit: usize) {
        self.free[permit].store(1, Release);
        post(&self.line);
    }
}

#[test]
fn two_waiters_share_one_permit() {
    model(2, || {
        let permits = Permits::<1>::new(0);
        let users: Vec<_> = (0..2)
            .map(|_| {
                let permits = Arc::clone(&permits);
                thread::spawn(move || {
                    let mine = permits.acquire(Deadline::NEVER).expect("no deadline");
                    permits.release(mine);
                })
            })
            .collect();
        permits.release(0);
        users.into_iter().for_each(|user| user.join().unwrap());
        assert!(permits.available());
    });
}

#[test]
fn two_releases_reach_two_sleepers_who_keep_what_they_get() {
    model(3, || {
        let permits = Permits::<2>::new(0);
        let users: Vec<_> = (0..2)
            .map(|_| {
                let permits = Arc::clone(&permits);
                thread::spawn(move || permits.acquire(Deadline::NEVER).expect("no deadline"))
            })
            .collect();
        permits.release(0);
        permits.release(1);
        let mut got: Vec<_> = users.into_iter().map(|user| user.join().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, [0, 1]);
    });
}

#[test]
fn one_who_leaves_at_its_deadline_takes_no_wake_with_it() {
    model(2, || {
        let permits = Permits::<1>::new(0);
        let hasty = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.acquire(Deadline::at_ns(1)).map(|mine| permits.release(mine)))
        };
        let patient = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.acquire(Deadline::NEVER).expect("no deadline"))
        };
        permits.release(0);
        set_time_ns(1);
        let _ = hasty.join().unwrap();
        assert_eq!(patient.join().unwrap(), 0);
    });
}

#[test]
fn a_silent_death_is_made_good_by_waking_all() {
    model(2, || {
        let permits = Permits::<1>::new(0);
        let user = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.acquire(Deadline::NEVER).expect("no deadline"))
        };
        // What recovery does for a holder that was killed: free, then wake, whatever the flag says.
        permits.free[0].store(1, Release);
        wake_all(&permits.line);
        assert_eq!(user.join().unwrap(), 0);
    });
}

/// The wait without the pass. One of two sleepers is woken for two releases, because the second of them finds the flag
/// cleared, and keeps what it gets.
#[test]
#[should_panic(expected = "deadlock")]
fn without_the_pass_a_sleeper_is_left() {
    model(3, || {
        let permits = Permits::<2>::new(0);
        let users: Vec<_> = (0..2)
            .map(|_| {
                let permits = Arc::clone(&permits);
                thread::spawn(move || {
                    let arm = || {
                        let seq = permits.line.seq.load(Acquire);
                        permits.line.flag.store(1, Relaxed);
                        fence(SeqCst);
                        Arm::Sleep(seq)
                    };
                    let mut waiter = Waiter::new(Mode::Sleep);
                    waiter.wait_seq(&permits.line, Deadline::NEVER, |_| permits.take(), arm, || {})
                })
            })
            .collect();
        permits.release(0);
        permits.release(1);
        users.into_iter().for_each(|user| {
            user.join().unwrap();
        });
    });
}
