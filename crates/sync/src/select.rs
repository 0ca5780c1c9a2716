//! Waiting for any of several things.
//!
//! Whatever can be waited for is a word that a sleeper sleeps on, a way to announce the sleeper, a look, and something
//! to do on leaving: a [`Port`]. A wait over several ports announces itself at all of them and sleeps on all words at
//! once. It takes nothing: it says which one is ready, and the caller tries there; another may have been faster.
//!
//! ```text
//!   waiter                                        waker of port 1            waker of port 2
//!   arm 1, arm 2       each with its fence
//!   look at 1, look at 2: nothing
//!   sleep while both words are as they were
//!                                                 commit; flag; wake one
//!                                                                            commit; flag; wake one: the same sleeper
//!   runs; both wakes are used up
//!   returns "1"        passes on 1 and on 2
//! ```
//! Without the pass on 2 another sleeper of 2 would sleep through what is there: this waiter was chosen for it and does
//! not take it. The pass on 1 is needed as well, since the caller may not take it, or take less than there is. That is
//! one wake too many now and then, instead of one too few.
//!
//! Invariants
//! - I1 a wait that has slept passes on every port at which it was armed, whatever its outcome.
//! - I2 nothing is slept on that was not looked at after it was armed.
//!
//! Edges
//! - E1 what makes a port ready (Release) -> the look (Acquire): the port's own; nothing here adds to it.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | any time | what a killed sleeper of each port leaves | as there: recovery wakes, else the slice |
//!
//! Progress: a wait blocks, in slices of 20 to 50 ms; at the end of each every port is probed. Without waiting it is
//! one look at each port. Costs one system call a sleep, whatever the number of ports.

use ginnel_layout::atomic::AtomicU32;

use crate::deadline::Deadline;
use crate::futex::{self, WaitEnd};
use crate::park::{Arm, SLICE_FIRST, SLICE_LONGEST, Stop, nap_end};

/// One thing to wait for.
///
/// A port is for one wait at a time; several ports may stand for the same object.
pub trait Port {
    /// What its sleepers sleep on.
    fn word(&self) -> &AtomicU32;

    /// Would an attempt get something other than "not now"? A look, which takes nothing.
    fn is_ready(&self) -> bool;

    /// Announces a sleeper, with whatever fence its wakers need. [`Port::is_ready`] is asked after it.
    fn arm(&self) -> Arm;

    /// This waiter leaves; called if it was armed. `slept`: it may have used up a wake, which is to be handed on.
    fn pass(&self, slept: bool);

    /// The end of a slice: asks whether those live who are in the way.
    fn probe(&self);
}

/// Waits until one of `ports` is ready, and says which. Where several are, the first from `first` on, cyclically.
///
/// # Errors
/// [`Stop::TimedOut`] at the deadline, [`Stop::Interrupted`] after a signal; nothing was ready after that.
pub fn wait_any(ports: &[&dyn Port], first: usize, deadline: Deadline) -> Result<usize, Stop> {
    wait_any_by(ports, first, deadline, &mut futex::wait_any)
}

/// How a wait sleeps: on which words while they hold what, and until when.
pub type Sleep<'a> = &'a mut dyn FnMut(&[(&AtomicU32, u32)], Deadline) -> WaitEnd;

/// [`wait_any`] for those whom something else wakes than the words: `sleep` gets the words and what they held when
/// they were armed, and how long to sleep at most.
///
/// # Errors
/// As [`wait_any`].
pub fn wait_any_by(
    ports: &[&dyn Port],
    first: usize,
    deadline: Deadline,
    sleep: Sleep<'_>,
) -> Result<usize, Stop> {
    if let Some(ready) = look(ports, first) {
        return Ok(ready);
    }
    if deadline.passed() {
        return Err(Stop::TimedOut);
    }
    let mut wait = Wait { ports, first, armed: 0, slept: false, words: Vec::with_capacity(ports.len()) };
    let outcome = wait.run(deadline, sleep);
    // I1
    for port in &ports[..wait.armed] {
        port.pass(wait.slept);
    }
    outcome
}

/// The first that is ready.
fn look(ports: &[&dyn Port], first: usize) -> Option<usize> {
    let first = first % ports.len().max(1);
    (first..ports.len()).chain(0..first).find(|index| ports[*index].is_ready())
}

/// One wait.
struct Wait<'a> {
    ports: &'a [&'a dyn Port],
    first: usize,
    /// How many ports were armed at least once, from the front.
    armed: usize,
    slept: bool,
    words: Vec<(&'a AtomicU32, u32)>,
}

impl Wait<'_> {
    fn run(&mut self, deadline: Deadline, sleep: Sleep<'_>) -> Result<usize, Stop> {
        let mut slice = SLICE_FIRST;
        let mut slice_end = Deadline::after(slice);
        loop {
            let naps = self.arm_all();
            // I2
            if let Some(ready) = look(self.ports, self.first) {
                return Ok(ready);
            }
            let end = match naps {
                None => WaitEnd::Changed,
                Some(false) => sleep(&self.words, deadline.min(slice_end)),
                Some(true) => sleep(&self.words, deadline.min(slice_end).min(nap_end())),
            };
            self.slept |= end != WaitEnd::Changed;
            if let Some(ready) = look(self.ports, self.first) {
                return Ok(ready);
            }
            if end == WaitEnd::Interrupted {
                return Err(Stop::Interrupted);
            }
            if deadline.passed() {
                return Err(Stop::TimedOut);
            }
            // By the clock: wakes that bring nothing must not put off the probe.
            if slice_end.passed() {
                self.ports.iter().for_each(|port| port.probe());
                slice = (slice * 2).min(SLICE_LONGEST);
                slice_end = Deadline::after(slice);
            }
        }
    }

    /// Arms every port. None: one changed meanwhile; true: one of them lets nobody sleep long.
    fn arm_all(&mut self) -> Option<bool> {
        self.words.clear();
        let mut naps = false;
        for (index, port) in self.ports.iter().enumerate() {
            self.armed = self.armed.max(index + 1);
            let value = match port.arm() {
                Arm::Again => return None,
                Arm::Sleep(value) => value,
                Arm::Nap(value) => {
                    naps = true;
                    value
                }
            };
            self.words.push((port.word(), value));
        }
        Some(naps)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use ginnel_layout::atomic::Ordering::{Acquire, Release};
    use ginnel_layout::wait::WaitLine;

    use super::*;
    use crate::{gate, park, shared_wait};

    /// Longer than any test may take.
    const FOR_EVER: Duration = Duration::from_secs(60);

    /// A counting thing on a shared line.
    #[derive(Default)]
    struct Things {
        line: WaitLine,
        count: AtomicU32,
    }

    impl Things {
        fn give(&self) {
            self.count.fetch_add(1, Release); // E1
            park::post(&self.line);
        }

        fn take(&self) -> bool {
            let seen = self.count.load(Acquire); // E1
            seen > 0 && self.count.compare_exchange(seen, seen - 1, Acquire, Acquire).is_ok() // E1
        }
    }

    impl Port for Things {
        fn word(&self) -> &AtomicU32 {
            &self.line.seq
        }

        fn is_ready(&self) -> bool {
            self.count.load(Acquire) > 0 // E1
        }

        fn arm(&self) -> Arm {
            shared_wait::arm(&self.line)
        }

        fn pass(&self, slept: bool) {
            if slept {
                shared_wait::pass(&self.line, || self.is_ready());
            }
        }

        fn probe(&self) {}
    }

    /// Something that opens once.
    #[derive(Default)]
    struct Door(WaitLine, AtomicU32);

    impl Port for Door {
        fn word(&self) -> &AtomicU32 {
            &self.0.seq
        }

        fn is_ready(&self) -> bool {
            self.1.load(Acquire) != 0 // E1
        }

        fn arm(&self) -> Arm {
            gate::arm(&self.0)
        }

        fn pass(&self, _: bool) {}

        fn probe(&self) {}
    }

    #[test]
    fn the_first_that_is_ready_from_the_given_one_on() {
        let (a, b, c) = (Things::default(), Things::default(), Things::default());
        let ports: [&dyn Port; 3] = [&a, &b, &c];
        let at_once = Deadline::at_ns(0);
        assert_eq!(wait_any(&ports, 0, at_once), Err(Stop::TimedOut));
        a.give();
        c.give();
        for (first, ready) in [(0, 0), (1, 2), (2, 2), (3, 0), (4, 2)] {
            assert_eq!(wait_any(&ports, first, at_once), Ok(ready));
        }
    }

    #[test]
    fn nothing_to_wait_for_lasts_until_the_deadline() {
        let deadline = Deadline::after(Duration::from_millis(30));
        assert_eq!(wait_any(&[], 7, deadline), Err(Stop::TimedOut));
        assert!(deadline.passed());
    }

    #[test]
    fn waiters_of_several_things_get_every_one_of_them() {
        const EACH: u32 = 300;
        let (a, b, done) = (Things::default(), Things::default(), Door::default());
        let total = AtomicU32::new(0);
        thread::scope(|scope| {
            for first in 0..3 {
                let (a, b, done, total) = (&a, &b, &done, &total);
                scope.spawn(move || {
                    let mut first = first;
                    loop {
                        let ports: [&dyn Port; 3] = [a, b, done];
                        let ready = wait_any(&ports, first, Deadline::after(FOR_EVER)).unwrap();
                        first = ready + 1;
                        let got = [a, b].get(ready).is_some_and(|things| things.take());
                        // E1
                        if got && total.fetch_add(1, Release) + 1 == 2 * EACH {
                            done.1.store(1, Release); // E1
                            gate::post_all(&done.0);
                        }
                        if done.is_ready() {
                            return;
                        }
                    }
                });
            }
            for things in [&a, &b] {
                scope.spawn(move || (0..EACH).for_each(|_| things.give()));
            }
        });
        assert_eq!(total.load(Acquire), 2 * EACH); // E1
    }
}
