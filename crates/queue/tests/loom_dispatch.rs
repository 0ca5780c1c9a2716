//! Models of dispatch under loom: every interleaving and every allowed reordering of small scenarios. Time stands
//! still, so no slice ends, and a single lost wake is a deadlock that loom reports.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-queue --test loom_dispatch`. The real code is run first;
//! then the two handshakes are written out with one fault at a time, to show that the models can fail. Death itself is in
//! the model `pool` of testkit and in the step-kill runs.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, AtomicU64, fence};
use ginnel_layout::pool::{Bits, Gen, St};
use ginnel_layout::wait::WaitLine;
use ginnel_queue::dispatch::{self, Hints, Ledger};
use ginnel_sync::{Arm, Deadline, Mode, Waiter, futex, gate};
use loom::thread;

const SLOTS: usize = 2;

#[derive(Default)]
struct Crew {
    head: AtomicU64,
    tail: AtomicU64,
    places: [AtomicU32; SLOTS],
    leases: [AtomicU32; SLOTS],
    /// What a task is called with, and what it made of it.
    args: [AtomicU64; SLOTS],
    results: [AtomicU64; SLOTS],
    hall: WaitLine,
}

impl Crew {
    fn hints(&self) -> Hints<'_> {
        Hints::new(&self.head, &self.tail, &self.places).expect("a power of two")
    }

    fn lease(&self, slot: u32) -> &AtomicU32 {
        &self.leases[slot as usize]
    }

    fn submit(&self, ledger: &mut Ledger, slot: u32, serial: u32) {
        self.args[slot as usize].store(u64::from(serial), Relaxed);
        dispatch::offer(self.lease(slot), Gen::of(serial), Bits::NONE);
        ledger.offer(&self.hints(), slot, Gen::of(serial));
    }

    /// Takes one hint, and runs what is there. True: there was a task.
    fn work(&self, me: ParticipantId) -> bool {
        let Some(hint) = self.hints().pop() else { return false };
        let Some(mine) = dispatch::claim(self.lease(hint.slot), hint.generation, me) else { return false };
        let slot = hint.slot as usize;
        let args = self.args[slot].load(Relaxed);
        assert_eq!(Gen::of(args as u32), mine.generation, "stale arguments");
        self.results[slot].store(args + 100, Relaxed);
        self.tell(hint.slot, dispatch::commit(self.lease(hint.slot), mine.generation));
        true
    }

    fn tell(&self, slot: u32, bits: Bits) {
        if bits.has(Bits::WAITED) {
            futex::wake(self.lease(slot), u32::MAX);
        }
        if bits.has(Bits::HALL) {
            gate::post_all(&self.hall);
        }
    }

    fn is_out(&self, slot: u32, serial: u32) -> bool {
        dispatch::look(self.lease(slot)).is_some_and(|lease| {
            lease.generation == Gen::of(serial) && matches!(lease.st, St::Ready | St::Run | St::Lost)
        })
    }

    fn join(&self, slot: u32, serial: u32) {
        let generation = Gen::of(serial);
        let arm = || match dispatch::want(self.lease(slot), generation, Bits::WAITED) {
            Some(word) => Arm::Sleep(word),
            None => Arm::Again,
        };
        let ready = |_| (!self.is_out(slot, serial)).then_some(());
        let mut waiter = Waiter::new(Mode::Sleep);
        waiter.wait_word(self.lease(slot), Deadline::NEVER, ready, arm, || ()).expect("nothing else ends it");
    }

    /// A result, if the task was not cancelled.
    fn result(&self, slot: u32, serial: u32) -> Option<u64> {
        let lease = dispatch::look(self.lease(slot)).expect("ours");
        let is_done = lease.st == St::Done && lease.generation == Gen::of(serial);
        is_done.then(|| self.results[slot as usize].load(Relaxed))
    }
}

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

fn model(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(scenario);
}

fn crew() -> (Arc<Crew>, Ledger) {
    (Arc::new(Crew::default()), Ledger::new(SLOTS as u32))
}

#[test]
fn a_joiner_is_woken_with_the_result() {
    model(3, || {
        let (crew, mut ledger) = crew();
        crew.submit(&mut ledger, 0, 1);
        let worker = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || assert!(crew.work(id(1))))
        };
        crew.join(0, 1);
        assert_eq!(crew.result(0, 1), Some(101));
        worker.join().expect("no panic");
    });
}

#[test]
fn a_task_is_cancelled_or_run_and_the_joiner_is_woken() {
    model(2, || {
        let (crew, mut ledger) = crew();
        crew.submit(&mut ledger, 0, 1);
        let worker = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || crew.work(id(1)))
        };
        let joiner = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || crew.join(0, 1))
        };
        let cancelled = dispatch::cancel(crew.lease(0), Gen::of(1));
        if let Some(bits) = cancelled {
            crew.tell(0, bits);
        }
        joiner.join().expect("no panic");
        let has_run = worker.join().expect("no panic");
        assert!(has_run != cancelled.is_some());
    });
}

#[test]
fn a_doomed_task_is_known_to_be_one_by_its_commit() {
    model(3, || {
        let (crew, mut ledger) = crew();
        crew.submit(&mut ledger, 0, 1);
        let worker = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || {
                let hint = crew.hints().pop().expect("there");
                let mine = dispatch::claim(crew.lease(0), hint.generation, id(1)).expect("ready");
                dispatch::commit(crew.lease(0), mine.generation).has(Bits::KILL)
            })
        };
        let doomed = dispatch::doom(crew.lease(0), Gen::of(1), id(1));
        assert_eq!(worker.join().expect("no panic"), doomed);
    });
}

#[test]
fn two_workers_share_two_tasks() {
    model(2, || {
        let (crew, mut ledger) = crew();
        let workers: Vec<_> = (1..=2)
            .map(|index| {
                let crew = Arc::clone(&crew);
                thread::spawn(move || crew.work(id(index)))
            })
            .collect();
        (0..2).for_each(|slot| crew.submit(&mut ledger, slot, slot + 1));
        let mut ran = workers.into_iter().filter(|_| true).map(|worker| worker.join().expect("no panic"));
        let ran = usize::from(ran.next().expect("two")) + usize::from(ran.next().expect("two"));
        let left = (0..2).filter(|_| crew.work(id(3))).count();
        assert_eq!(ran + left, 2);
    });
}

/// E5: the hint of a task that was cancelled is still there, or was just popped.
#[test]
fn an_old_hint_is_seen_to_be_gone_or_serves() {
    model(3, || {
        let (crew, mut ledger) = crew();
        crew.submit(&mut ledger, 0, 1);
        assert!(dispatch::cancel(crew.lease(0), Gen::of(1)).is_some());
        let worker = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || crew.work(id(1)))
        };
        crew.submit(&mut ledger, 0, 2);
        let ran = worker.join().expect("no panic");
        assert!(ran || crew.hints().is_any(), "READY without a hint");
        assert!(!(ran && crew.hints().is_any()) || !crew.work(id(2)));
    });
}

/// Places are written over only when their hints are taken.
#[test]
fn the_ring_goes_round() {
    model(2, || {
        let (crew, mut ledger) = crew();
        let worker = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || {
                let mut ran = 0;
                while ran < 3 {
                    if crew.work(id(1)) {
                        ran += 1;
                    } else {
                        thread::yield_now();
                    }
                }
            })
        };
        for serial in 1..=3 {
            crew.submit(&mut ledger, 0, serial);
            crew.join(0, serial);
            assert_eq!(crew.result(0, serial), Some(u64::from(serial) + 100));
            dispatch::free(crew.lease(0), Gen::of(serial));
        }
        worker.join().expect("no panic");
    });
}

#[test]
fn who_sleeps_in_the_hall_learns_of_any_task() {
    model(2, || {
        let (crew, mut ledger) = crew();
        (0..2).for_each(|slot| crew.submit(&mut ledger, slot, slot + 1));
        let worker = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || assert!(crew.work(id(1))))
        };
        let mut is_armed = false;
        let armed = std::cell::Cell::new(false);
        let ready = |_| {
            let over = |slot| dispatch::want(crew.lease(slot), Gen::of(slot + 1), Bits::HALL).is_none();
            (armed.get() && (0..2).any(over)).then_some(())
        };
        let arm = || {
            armed.set(true);
            gate::arm(&crew.hall)
        };
        let mut waiter = Waiter::new(Mode::Sleep);
        waiter.wait_seq(&crew.hall, Deadline::NEVER, ready, arm, || is_armed = true).expect("a task is over");
        assert!(!is_armed, "time stands still");
        worker.join().expect("no panic");
    });
}

/// The bits of who waits outlive the worker and the retry.
#[test]
fn a_joiner_sleeps_through_a_death() {
    model(2, || {
        let (crew, mut ledger) = crew();
        crew.submit(&mut ledger, 0, 1);
        let hint = crew.hints().pop().expect("there");
        assert!(dispatch::claim(crew.lease(0), hint.generation, id(1)).is_some());
        let joiner = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || crew.join(0, 1))
        };
        assert!(dispatch::lose(crew.lease(0), id(1)));
        assert!(dispatch::retry(crew.lease(0), Gen::of(1)));
        ledger.offer(&crew.hints(), 0, Gen::of(1));
        assert!(crew.work(id(2)));
        joiner.join().expect("no panic");
        assert_eq!(crew.result(0, 1), Some(101));
    });
}

/// E5, written out with a fault.
#[derive(Clone, Copy, PartialEq)]
enum OldHint {
    Sound,
    LookedForBeforeReady,
    NoFenceOfTheParent,
    NoFenceOfTheWorker,
}

fn old_hint(fault: OldHint) {
    const READY: u32 = 1;
    model(3, move || {
        let words = Arc::new((AtomicU64::new(0), AtomicU32::new(0)));
        let worker = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                words.0.compare_exchange(0, 1, AcqRel, Acquire).expect("only he does");
                if fault != OldHint::NoFenceOfTheWorker {
                    fence(SeqCst);
                }
                words.1.load(Acquire) == READY
            })
        };
        let mut is_gone = words.0.load(Acquire) == 1;
        words.1.store(READY, Release);
        if fault != OldHint::LookedForBeforeReady {
            if fault != OldHint::NoFenceOfTheParent {
                fence(SeqCst);
            }
            is_gone = words.0.load(Acquire) == 1;
        }
        let found = worker.join().expect("no panic");
        assert!(is_gone || found, "READY without a hint");
    });
}

#[test]
fn the_old_hint_written_out() {
    old_hint(OldHint::Sound);
}

#[test]
#[should_panic(expected = "READY without a hint")]
fn the_old_hint_looked_for_too_early() {
    old_hint(OldHint::LookedForBeforeReady);
}

#[test]
#[should_panic(expected = "READY without a hint")]
fn the_old_hint_without_the_fence_of_the_parent() {
    old_hint(OldHint::NoFenceOfTheParent);
}

#[test]
#[should_panic(expected = "READY without a hint")]
fn the_old_hint_without_the_fence_of_the_worker() {
    old_hint(OldHint::NoFenceOfTheWorker);
}

/// The commit is one instruction: with a look at the bits and then a store, the bit of a joiner is lost, and he sleeps for
/// ever.
#[test]
#[should_panic(expected = "deadlock")]
fn a_commit_of_two_instructions_loses_a_joiner() {
    model(3, || {
        let (crew, mut ledger) = crew();
        crew.submit(&mut ledger, 0, 1);
        let worker = {
            let crew = Arc::clone(&crew);
            thread::spawn(move || {
                let hint = crew.hints().pop().expect("there");
                let mine = dispatch::claim(crew.lease(0), hint.generation, id(1)).expect("ready");
                let bits = dispatch::look(crew.lease(0)).expect("ours").bits;
                dispatch::commit(crew.lease(0), mine.generation);
                crew.tell(0, bits);
            })
        };
        crew.join(0, 1);
        worker.join().expect("no panic");
    });
}
