//! Waiting on a line between threads of one process.
//!
//! Invariant I1: the only signal handler here does nothing, and its signal belongs to one test.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "a signal handler can only be installed so")]

mod support;

use std::cell::Cell;
use std::os::unix::thread::JoinHandleExt;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::wait::WaitLine;
use ginnel_sync::park::{post, wake_all};
use ginnel_sync::{Deadline, Mode, Policy, Stop, Waiter};
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use support::Watchdog;

const MODES: [Mode; 3] = [Mode::Adaptive, Mode::Spin, Mode::Sleep];

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(3))
}

/// A line and the word that says what was committed.
#[derive(Debug, Default)]
struct Channel {
    line: WaitLine,
    data: AtomicU32,
}

impl Channel {
    fn commit(&self, value: u32) {
        self.data.store(value, Release);
        post(&self.line);
    }

    fn wait_for(&self, waiter: &mut Waiter, value: u32) {
        let ready = || (self.data.load(Acquire) >= value).then_some(());
        let got = waiter.wait(&self.line, Deadline::NEVER, ready, || {});
        assert_eq!(got, Ok(()));
    }

    fn is_untouched(&self) -> bool {
        self.line.seq.load(Relaxed) == 0 && self.line.flag.load(Relaxed) == 0
    }
}

#[test]
fn what_is_ready_is_taken_even_after_the_deadline() {
    let channel = Channel::default();
    for mode in MODES {
        let got = Waiter::new(mode).wait(&channel.line, Deadline::at_ns(0), || Some(7), || {});
        assert_eq!(got, Ok(7));
    }
    assert!(channel.is_untouched());
}

#[test]
fn a_deadline_in_the_past_ends_a_wait_before_it_sleeps() {
    let _watchdog = Watchdog::new("a_deadline_in_the_past_ends_a_wait_before_it_sleeps");
    let channel = Channel::default();
    for mode in MODES {
        let got = Waiter::new(mode).wait(&channel.line, Deadline::at_ns(0), || None::<()>, || {});
        assert_eq!(got, Err(Stop::TimedOut));
    }
    assert!(channel.is_untouched());
}

#[test]
fn a_wait_lasts_until_its_deadline_and_leaves_no_flag() {
    let _watchdog = Watchdog::new("a_wait_lasts_until_its_deadline_and_leaves_no_flag");
    let channel = Channel::default();
    for mode in MODES {
        let start = Instant::now();
        let got = Waiter::new(mode).wait(&channel.line, soon(), || None::<()>, || {});
        assert_eq!(got, Err(Stop::TimedOut));
        assert!(start.elapsed() >= Duration::from_millis(3));
    }
    assert!(channel.is_untouched());
}

#[test]
fn a_deadline_shorter_than_the_spin_ends_the_spin() {
    let _watchdog = Watchdog::new("a_deadline_shorter_than_the_spin_ends_the_spin");
    let channel = Channel::default();
    let policy = Policy { spin_budget: 1.0, max_spin: Duration::from_secs(4) };
    let mut waiter = Waiter::with(Mode::Adaptive, policy);
    let deadline = Deadline::after(Duration::from_micros(5));
    assert_eq!(waiter.wait(&channel.line, deadline, || None::<()>, || {}), Err(Stop::TimedOut));
}

#[test]
fn knobs_out_of_range_are_harmless() {
    let _watchdog = Watchdog::new("knobs_out_of_range_are_harmless");
    let channel = Channel::default();
    for spin_budget in [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e-30, 7.0] {
        for max_spin in [Duration::ZERO, Duration::MAX] {
            let mut waiter = Waiter::with(Mode::Adaptive, Policy { spin_budget, max_spin });
            for _ in 0..3 {
                let deadline = Deadline::after(Duration::from_micros(200));
                let got = waiter.wait(&channel.line, deadline, || None::<()>, || {});
                assert_eq!(got, Err(Stop::TimedOut));
            }
        }
    }
}

#[test]
fn the_end_of_a_slice_is_told_and_looked_at() {
    let _watchdog = Watchdog::new("the_end_of_a_slice_is_told_and_looked_at");
    for mode in MODES {
        let channel = Channel::default();
        let (start, ends) = (Instant::now(), Cell::new(0));
        let ready = || (ends.get() == 3).then_some("gone");
        let at_slice_end = || ends.set(ends.get() + 1);
        let got = Waiter::new(mode).wait(&channel.line, Deadline::NEVER, ready, at_slice_end);
        assert_eq!(got, Ok("gone"));
        assert!(start.elapsed() >= Duration::from_millis(60), "slices are never shorter than 20 ms");
    }
}

#[test]
fn short_waits_add_up_to_a_slice() {
    let _watchdog = Watchdog::new("short_waits_add_up_to_a_slice");
    for mode in MODES {
        let channel = Channel::default();
        let (start, ends) = (Instant::now(), Cell::new(0));
        let mut waiter = Waiter::new(mode);
        while ends.get() == 0 {
            let at_slice_end = || ends.set(ends.get() + 1);
            let got = waiter.wait(&channel.line, soon(), || None::<()>, at_slice_end);
            assert_eq!(got, Err(Stop::TimedOut));
        }
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}

#[test]
fn a_death_found_when_the_deadline_comes_is_told_at_once() {
    let _watchdog = Watchdog::new("a_death_found_when_the_deadline_comes_is_told_at_once");
    let channel = Channel::default();
    for mode in [Mode::Adaptive, Mode::Sleep] {
        let gone = Cell::new(false);
        let ready = || gone.get().then_some("gone");
        let mut waiter = Waiter::new(mode);
        let mut got = std::iter::repeat_with(|| waiter.wait(&channel.line, soon(), ready, || gone.set(true)));
        assert_eq!(got.find(|got| got != &Err(Stop::TimedOut)), Some(Ok("gone")));
    }
}

#[test]
fn messages_cross_in_every_mode() {
    const MESSAGES: u32 = 3_000;
    let _watchdog = Watchdog::new("messages_cross_in_every_mode");
    for (here, there) in MODES.into_iter().flat_map(|here| MODES.map(|there| (here, there))) {
        // Where two spin on cores that others use too, each message can take a turn of the scheduler.
        let messages = if (here, there) == (Mode::Spin, Mode::Spin) { MESSAGES / 10 } else { MESSAGES };
        let (request, reply) = (Channel::default(), Channel::default());
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut waiter = Waiter::new(there);
                for number in 1..=messages {
                    request.wait_for(&mut waiter, number);
                    reply.commit(number);
                }
            });
            let mut waiter = Waiter::new(here);
            for number in 1..=messages {
                request.commit(number);
                reply.wait_for(&mut waiter, number);
            }
        });
    }
}

#[test]
fn a_waiter_may_move_between_threads() {
    let _watchdog = Watchdog::new("a_waiter_may_move_between_threads");
    let (request, mut waiter) = (Channel::default(), Waiter::default());
    for number in 1..=200 {
        waiter = thread::scope(|scope| {
            let there = scope.spawn(|| {
                let mut waiter = waiter;
                request.wait_for(&mut waiter, number);
                waiter
            });
            request.commit(number);
            there.join().unwrap()
        });
    }
}

#[test]
fn nobody_asleep_means_no_wake() {
    let channel = Channel::default();
    for number in 0..100 {
        channel.commit(number);
    }
    assert!(channel.is_untouched(), "a wake raises seq before its system call");
}

#[test]
fn recovery_wakes_a_sleeper_whose_flag_is_gone() {
    let _watchdog = Watchdog::new("recovery_wakes_a_sleeper_whose_flag_is_gone");
    for _ in 0..50 {
        let channel = Channel::default();
        thread::scope(|scope| {
            scope.spawn(|| channel.wait_for(&mut Waiter::new(Mode::Sleep), 1));
            // A waker that dies between clearing the flag and its system call.
            while channel.line.flag.load(Acquire) == 0 {
                thread::park_timeout(Duration::from_micros(50));
            }
            channel.data.store(1, Release);
            channel.line.flag.store(0, Relaxed);
            wake_all(&channel.line);
        });
    }
}

#[test]
fn hostile_hints_do_no_harm() {
    let _watchdog = Watchdog::new("hostile_hints_do_no_harm");
    let (request, reply) = (Channel::default(), Channel::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut waiter = Waiter::default();
            for number in 1..=2_000 {
                request.wait_for(&mut waiter, number);
                reply.commit(number);
            }
        });
        let mut waiter = Waiter::default();
        for number in 1..=2_000_u32 {
            for line in [&request.line, &reply.line] {
                line.stamp.store([0, 1, u64::MAX, u64::from(number) << 40][number as usize % 4], Relaxed);
                line.cpu.store(number.wrapping_mul(0x9e37_79b9), Relaxed);
            }
            request.commit(number);
            reply.wait_for(&mut waiter, number);
        }
    });
}

#[test]
fn a_signal_interrupts_a_sleep() {
    extern "C" fn nothing(_: i32) {}
    let _watchdog = Watchdog::new("a_signal_interrupts_a_sleep");
    // SA_RESTART on purpose: a handler of that kind must not hide the signal from the wait.
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: I1: a handler that does nothing is safe at any moment.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    for mode in [Mode::Adaptive, Mode::Sleep] {
        let (done, end) = channel();
        let there = thread::spawn(move || {
            let channel = Channel::default();
            let got = Waiter::new(mode).wait(&channel.line, Deadline::NEVER, || None::<()>, || {});
            done.send(()).unwrap();
            (got, channel.is_untouched())
        });
        // Again and again, because a signal that comes before the sleep interrupts nothing.
        while end.recv_timeout(Duration::from_millis(1)).is_err() {
            let _ = pthread_kill(there.as_pthread_t(), Signal::SIGUSR1);
        }
        assert_eq!(there.join().unwrap(), (Err(Stop::Interrupted), true));
    }
}
