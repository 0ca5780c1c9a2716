//! What the tests of this crate share: a watchdog, and small random numbers.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Ends the whole test program if it is not dropped within a minute: the fault these tests look for is a hang.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _leash: Sender<()>,
}

impl Watchdog {
    pub(crate) fn new(test: &'static str) -> Self {
        let (leash, end) = channel::<()>();
        thread::spawn(move || {
            if end.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} hangs");
                std::process::abort();
            }
        });
        Self { _leash: leash }
    }
}
