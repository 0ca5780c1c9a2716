//! What the harness must refuse: a lock that does not lock, and a waiter that does not sleep.

use std::time::Duration;

use ginnel_layout::atomic::{Ordering, spin_loop};

use super::contended::{Contention, Load};
use super::rivals::standard::Standard;
use super::wake::{self, Board};
use super::work::Work;
use super::{Exclusion, Section, Signal, SignalEnd};
use crate::fault::Fault;
use crate::machine::allowed_cores;
use crate::memory::Region;
use crate::pair::{Cores, Pair};
use crate::refused::alone;

/// Lets everybody in at once.
#[derive(Debug)]
struct Open;

impl Exclusion for Open {
    type Section<'a> = &'a Open;

    fn open(&self) -> Result<&Self, Fault> {
        Ok(self)
    }
}

impl Section for &Open {
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        Ok(body())
    }
}

/// A word that the waiter never takes its eyes off.
#[derive(Debug)]
struct Stare(Region);

/// Either end of it.
#[derive(Debug)]
struct StareEnd<'a>(&'a Region, u64);

impl Signal for Stare {
    type End<'a> = StareEnd<'a>;

    fn open(&self) -> Result<StareEnd<'_>, Fault> {
        Ok(StareEnd(&self.0, 0))
    }
}

impl SignalEnd for StareEnd<'_> {
    fn set(&mut self) -> Result<(), Fault> {
        self.1 += 1;
        self.0.word64(0).store(self.1, Ordering::Release);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.1 += 1;
        while self.0.word64(0).load(Ordering::Acquire) != self.1 {
            spin_loop();
        }
        Ok(())
    }
}

fn contention(cores: &[usize]) -> Contention<'_> {
    Contention {
        processes: 2,
        load: Load { hold: Work::lasting(100), think: Work::lasting(100) },
        duration: Duration::from_millis(100),
        cores,
        grace: Duration::from_secs(60),
        signals: None,
    }
}

#[test]
fn a_lock_that_does_not_lock_is_refused() {
    let _alone = alone();
    let cores = allowed_cores();
    if cores.len() < 2 {
        return;
    }
    match contention(&cores).run(&Open) {
        Err(Fault::Intruded { entered, counted }) => assert!(counted < entered),
        other => panic!("{other:?}"),
    }
}

#[test]
fn threads_share_a_lock_that_locks() {
    let _alone = alone();
    let outcome = contention(&allowed_cores()).run_threads(&Standard::default()).expect("it locks");
    assert_eq!(outcome.shares.len(), 2);
    assert!(!outcome.rates.is_empty());
}

#[test]
fn a_waiter_that_does_not_sleep_is_refused() {
    let _alone = alone();
    let cores = allowed_cores();
    if cores.len() < 2 {
        return;
    }
    let (signal, board) = (Stare(Region::new(128).expect("memory")), Board::new().expect("memory"));
    let pair = Pair { cores: Cores::among(&cores), patience: Duration::from_secs(60), signals: None };
    let duration = 50_000_000;
    let ran =
        pair.run(|| wake::waiter(&signal, &board, duration), || wake::setter(&signal, &board, duration));
    let fault = ran.expect_err("nobody slept");
    assert!(fault.to_string().contains("slept"), "{fault}");
}
