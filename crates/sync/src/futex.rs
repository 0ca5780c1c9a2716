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
//! [`wait_any`] sleeps on several words at once (Linux 5.16; some sandboxes forbid it, so ask [`can_wait_any`]). One
//! sleeper of it may be chosen by several `wake`s, one a word, before it runs: each of them counts it.
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
pub use real::{can_wait_any, wait, wait_any, wake};

#[cfg(loom)]
pub use model::{can_wait_any, wait, wait_any, wake};

/// The most words that [`wait_any`] takes.
pub const WORDS_MAX: usize = 128;

#[cfg(not(loom))]
mod real {
    use core::num::NonZeroU32;
    use std::sync::OnceLock;

    use rustix::io::Errno;
    use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags};
    use rustix::time::{ClockId, Timespec};

    use super::{AtomicU32, Deadline, WORDS_MAX, WaitEnd};

    /// Wakers of every kind wake us.
    const ANY: NonZeroU32 = NonZeroU32::MAX;

    /// Sleeps while `word` holds `expected`, until somebody wakes it or the deadline comes.
    ///
    /// Spurious ends are possible in every form. An error of the kernel that no correct call gives (the page was
    /// taken away) is reported as [`WaitEnd::Changed`]: the caller looks at the word again and finds out.
    pub fn wait(word: &AtomicU32, expected: u32, until: Deadline) -> WaitEnd {
        let time = timespec(until);
        end_of(futex::wait_bitset(word.futex_word(), Flags::empty(), expected, time.as_ref(), ANY))
    }

    /// Sleeps while each of `words` holds the value beside it, until somebody wakes one of them or the deadline
    /// comes. No words: until the deadline. Of more than [`WORDS_MAX`] the rest is not slept on.
    pub fn wait_any(words: &[(&AtomicU32, u32)], until: Deadline) -> WaitEnd {
        match words {
            [] => return wait(&AtomicU32::new(0), 0, until),
            [(word, expected)] => return wait(word, *expected, until),
            _ => {}
        }
        let mut all = [Wait::new(); WORDS_MAX];
        for (wait, (word, expected)) in all.iter_mut().zip(words) {
            wait.val = u64::from(*expected);
            wait.uaddr = WaitPtr::new(word.futex_word().as_ptr().cast());
            wait.flags = WaitFlags::SIZE_U32;
        }
        let all = &all[..words.len().min(WORDS_MAX)];
        let time = timespec(until);
        end_of(futex::waitv(all, WaitvFlags::empty(), time.as_ref(), ClockId::Monotonic))
    }

    /// Does this kernel, or this sandbox, let us sleep on several words? Found out once a process.
    pub fn can_wait_any() -> bool {
        static KNOWN: OnceLock<bool> = OnceLock::new();
        // An empty list is refused as such by a kernel that knows the call.
        let ask = || futex::waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic) == Err(Errno::INVAL);
        *KNOWN.get_or_init(ask)
    }

    fn timespec(until: Deadline) -> Option<Timespec> {
        let time = Timespec {
            tv_sec: (until.ns() / 1_000_000_000) as i64,
            tv_nsec: (until.ns() % 1_000_000_000) as _,
        };
        (until != Deadline::NEVER).then_some(time)
    }

    fn end_of<T>(result: rustix::io::Result<T>) -> WaitEnd {
        match result {
            Ok(_) => WaitEnd::Woken,
            Err(Errno::TIMEDOUT) => WaitEnd::TimedOut,
            Err(Errno::INTR) => WaitEnd::Interrupted,
            Err(_) => WaitEnd::Changed,
        }
    }

    /// Wakes at most `count` of those who sleep on `word`; `u32::MAX` wakes all. Gives how many it woke.
    pub fn wake(word: &AtomicU32, count: u32) -> u32 {
        // The kernel counts in signed numbers, and takes a negative one for one.
        let count = count.min(i32::MAX as u32);
        // The call fails only where the word is not mapped, which a reference excludes, or where its page was
        // taken away; then nobody sleeps there.
        futex::wake(word.futex_word(), Flags::empty(), count).map_or(0, |woken| woken as u32)
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
        /// Where it sleeps, and whether it was chosen there: a word may choose one that another word has chosen.
        places: Vec<(usize, bool)>,
        bell: Arc<Condvar>,
    }

    impl Sleeper {
        fn is_woken(&self) -> bool {
            self.places.iter().any(|(_, woken)| *woken)
        }
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
        wait_any(&[(word, expected)], until)
    }

    /// As the real one, without spurious ends and signals.
    pub fn wait_any(words: &[(&AtomicU32, u32)], until: Deadline) -> WaitEnd {
        let mut kernel = KERNEL.lock().unwrap();
        if words.iter().any(|(word, expected)| word.load(Relaxed) != *expected) {
            return WaitEnd::Changed;
        }
        let (me, bell) = (kernel.next, Arc::new(Condvar::new()));
        kernel.next += 1;
        let places = words.iter().map(|(word, _)| (address(word), false)).collect();
        let sleeper = Sleeper { places, bell: Arc::clone(&bell) };
        kernel.sleepers.push((me, sleeper));
        loop {
            let place = kernel.sleepers.iter().position(|(number, _)| *number == me).unwrap();
            if kernel.sleepers[place].1.is_woken() || kernel.time_ns >= until.ns() {
                let (_, sleeper) = kernel.sleepers.remove(place);
                return if sleeper.is_woken() { WaitEnd::Woken } else { WaitEnd::TimedOut };
            }
            kernel = bell.wait(kernel).unwrap();
        }
    }

    /// It does.
    pub fn can_wait_any() -> bool {
        true
    }

    /// As the real one; the longest sleeper first.
    pub fn wake(word: &AtomicU32, count: u32) -> u32 {
        let mut kernel = KERNEL.lock().unwrap();
        let here = address(word);
        let mut woken = 0;
        for (_, sleeper) in kernel.sleepers.iter_mut() {
            if woken == count {
                break;
            }
            let chosen = sleeper.places.iter_mut().find(|(place, chosen)| *place == here && !*chosen);
            if let Some((_, chosen)) = chosen {
                *chosen = true;
                woken += 1;
                sleeper.bell.notify_one();
            }
        }
        woken
    }

    fn address(word: &AtomicU32) -> usize {
        word as *const _ as usize
    }
}
