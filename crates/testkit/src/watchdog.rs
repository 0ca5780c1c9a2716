//! An end to every wait: a test that hangs is ended with a word about what it waited for.
//!
//! A watchdog bounds hangs, never speed: choose its limit so that a machine ten times slower passes. It is a thread, so
//! a process that forks has none; its parent waits for it with a limit instead.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    waits_for: String,
    deadline: Instant,
    over: bool,
}

/// Aborts the process unless it is dropped or fed in time.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
    limit: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Ends the process after `limit`, with the name of the test.
    #[must_use]
    pub fn new(test: &str, limit: Duration) -> Self {
        let (name, pid) = (test.to_owned(), std::process::id());
        Self::with(test, limit, move |waits_for, limit| {
            eprintln!(
                "watchdog: process {pid}, {name}: no progress in {limit:?} while waiting for {waits_for}"
            );
            std::process::abort();
        })
    }

    fn with(test: &str, limit: Duration, bite: impl FnOnce(&str, Duration) + Send + 'static) -> Self {
        let state = State { waits_for: test.to_owned(), deadline: Instant::now() + limit, over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let watched = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut state = watched.state.lock().unwrap_or_else(PoisonError::into_inner);
            while !state.over {
                let rest = state.deadline.saturating_duration_since(Instant::now());
                if rest.is_zero() {
                    return bite(&state.waits_for, limit);
                }
                state = watched.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
            }
        });
        Self { shared, limit, thread: Some(thread) }
    }

    /// Says what comes next, and gives it the full time again.
    pub fn waits_for(&self, what: impl Into<String>) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waits_for = what.into();
        state.deadline = Instant::now() + self.limit;
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn it_bites_and_says_what_was_waited_for() {
        let (bitten, bites) = mpsc::channel();
        let dog = Watchdog::with("a test", Duration::from_millis(20), move |what, limit| {
            bitten.send((what.to_owned(), limit)).expect("somebody listens");
        });
        dog.waits_for("the end");
        assert_eq!(bites.recv(), Ok(("the end".to_owned(), Duration::from_millis(20))));
    }

    #[test]
    fn it_does_not_bite_once_dropped() {
        let (bitten, bites) = mpsc::channel::<String>();
        drop(Watchdog::with("a test", Duration::from_secs(600), move |what, _| {
            bitten.send(what.to_owned()).expect("somebody listens");
        }));
        assert!(bites.recv().is_err());
    }
}
