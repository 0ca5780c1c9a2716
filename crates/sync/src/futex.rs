//! The futex: sleeping on a word of shared memory, and waking who sleeps there.
//!
//! Futexes here are *shared*: the kernel finds sleepers by the page and not by the address, so processes that
//! mapped the word at different places meet. Deadlines are absolute, which is what `FUTEX_WAIT_BITSET` offers.
//!
//! What the kernel promises, and the files above rest on:
//! - F1 `wait` compares the word and queues the caller in one step with regard to `wake`: after a change of the
//!   word followed by `wake`, a sleeper is either woken or was told `Changed`.
//! - F2 whoever `wake` chose gets `Woken`, even if its deadline came or a signal arrived in the same moment.
//!
//! It does not promise that a word which wakes somebody was changed, nor that a hostile process which maps the
//! page leaves the sleepers where they are: callers look again after every return, and every sleep is a slice.
//!
//! Under loom the kernel is a table of sleepers behind a loom mutex, and time is moved by the model.

use ginnel_layout::atomic::AtomicU32;

use crate::deadline::Deadline;

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitEnd {
    /// Somebody woke this sleeper.
    Woken,
    /// The word did not hold the expected value: no sleep took place.
    Changed,
    /// The deadline came.
    TimedOut,
    /// A signal handler ran in this thread.
    Interrupted,
}

#[cfg(not(loom))]
pub use real::{wait, wake};

#[cfg(loom)]
pub use model::{wait, wake};

#[cfg(not(loom))]
mod real {
    use core::num::NonZeroU32;

    use rustix::io::Errno;
    use rustix::thread::futex::{self, Flags};
    use rustix::time::Timespec;

    use super::{AtomicU32, Deadline, WaitEnd};

    /// Wakers of every kind wake us.
    const ANY: NonZeroU32 = NonZeroU32::MAX;

    /// Sleeps while `word` holds `expected`, until somebody wakes it or the deadline comes.
    ///
    /// Spurious ends are possible in every form. An error of the kernel that no correct call gives (the page was
    /// taken away) is reported as [`WaitEnd::Changed`]: the caller looks at the word again and finds out.
    pub fn wait(word: &AtomicU32, expected: u32, until: Deadline) -> WaitEnd {
        let time = Timespec {
            tv_sec: (until.ns() / 1_000_000_000) as i64,
            tv_nsec: (until.ns() % 1_000_000_000) as _,
        };
        let timeout = (until != Deadline::NEVER).then_some(&time);
        match futex::wait_bitset(word.futex_word(), Flags::empty(), expected, timeout, ANY) {
            Ok(()) => WaitEnd::Woken,
            Err(Errno::TIMEDOUT) => WaitEnd::TimedOut,
            Err(Errno::INTR) => WaitEnd::Interrupted,
            Err(_) => WaitEnd::Changed,
        }
    }

    /// Wakes at most `count` of those who sleep on `word`; `u32::MAX` wakes all.
    pub fn wake(word: &AtomicU32, count: u32) {
        // The kernel counts in signed numbers, and takes a negative one for one.
        let count = count.min(i32::MAX as u32);
        // The call fails only where the word is not mapped, which a reference excludes, or where its page was
        // taken away; then nobody sleeps there.
        let _ = futex::wake(word.futex_word(), Flags::empty(), count);
    }
}

/// The kernel and its clock, for models.
#[cfg(loom)]
pub mod model {
    use std::sync::Arc;

    use ginnel_layout::atomic::Ordering::Relaxed;
    use loom::sync::{Condvar, Mutex};

    use super::{AtomicU32, Deadline, WaitEnd};

    struct Sleeper {
        address: usize,
        woken: bool,
        bell: Arc<Condvar>,
    }

    /// Sleepers by number, and the time.
    #[derive(Default)]
    struct Kernel {
        sleepers: Vec<(u64, Sleeper)>,
        next: u64,
        time_ns: u64,
    }

    loom::lazy_static! {
        static ref KERNEL: Mutex<Kernel> = Mutex::new(Kernel::default());
    }

    /// What time it is.
    pub(crate) fn time_ns() -> u64 {
        KERNEL.lock().unwrap().time_ns
    }

    /// Lets the time become `ns`, and ends the sleeps that lasted until then.
    pub fn set_time_ns(ns: u64) {
        let mut kernel = KERNEL.lock().unwrap();
        kernel.time_ns = ns;
        for (_, sleeper) in &kernel.sleepers {
            sleeper.bell.notify_one();
        }
    }

    /// As the real one, without spurious ends and signals.
    pub fn wait(word: &AtomicU32, expected: u32, until: Deadline) -> WaitEnd {
        let mut kernel = KERNEL.lock().unwrap();
        if word.load(Relaxed) != expected {
            return WaitEnd::Changed;
        }
        let (me, bell) = (kernel.next, Arc::new(Condvar::new()));
        kernel.next += 1;
        let sleeper = Sleeper { address: word as *const _ as usize, woken: false, bell: Arc::clone(&bell) };
        kernel.sleepers.push((me, sleeper));
        loop {
            let place = kernel.sleepers.iter().position(|(number, _)| *number == me).unwrap();
            if kernel.sleepers[place].1.woken || kernel.time_ns >= until.ns() {
                let (_, sleeper) = kernel.sleepers.remove(place);
                return if sleeper.woken { WaitEnd::Woken } else { WaitEnd::TimedOut };
            }
            kernel = bell.wait(kernel).unwrap();
        }
    }

    /// As the real one; the longest sleeper first.
    pub fn wake(word: &AtomicU32, count: u32) {
        let mut kernel = KERNEL.lock().unwrap();
        let address = word as *const _ as usize;
        let asleep = kernel.sleepers.iter_mut().filter(|(_, s)| s.address == address && !s.woken);
        for (_, sleeper) in asleep.take(count as usize) {
            sleeper.woken = true;
            sleeper.bell.notify_one();
        }
    }
}
