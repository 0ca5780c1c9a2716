//! The barrier among threads, and by hand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use ginnel_layout::atomic::{AtomicU32, spin_loop};

use super::ending::REMEMBERED;
use super::*;
use crate::park::Mode;

/// Longer than any test may take: a wait that ends so late ends as an error.
const FOR_EVER: Duration = Duration::from_secs(60);

struct AllLive;

impl Liveness for AllLive {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

struct Memory<const N: usize> {
    words: BarrierWords,
    tickets: [AtomicU64; N],
}

impl<const N: usize> Memory<N> {
    fn new(policy: u32) -> Self {
        let words = BarrierWords::default();
        words.control.parties.store(N as u32, Relaxed);
        words.control.policy.store(policy, Relaxed);
        Self { words, tickets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    fn barrier(&self) -> Barrier<'_> {
        Barrier::new(&self.words, &self.tickets)
    }
}

fn holder(index: u16) -> Holder {
    Holder::new(ParticipantId::from_index(index), 1).expect("a thread")
}

fn wait(barrier: Barrier<'_>, index: u16, limit: Duration) -> Result<bool, BarrierError> {
    wait_with(barrier, index, limit, &mut None::<fn()>)
}

fn wait_with(
    barrier: Barrier<'_>,
    index: u16,
    limit: Duration,
    action: &mut Option<impl FnOnce()>,
) -> Result<bool, BarrierError> {
    let mut waiter = Waiter::new(Mode::Sleep);
    let (mut arrival, deadline) = (Arrival::default(), Deadline::after(limit));
    barrier.wait(&mut arrival, holder(index), &mut waiter, deadline, &AllLive, action)
}

fn spin_until(is_so: impl Fn() -> bool) {
    let end = Deadline::after(FOR_EVER);
    while !is_so() {
        assert!(!end.passed());
        spin_loop();
    }
}

#[test]
fn nobody_goes_on_before_all_are_there_and_one_leads() {
    const ROUNDS: u32 = 300;
    for policy in [BarrierControl::BREAK, BarrierControl::LEAVE] {
        let memory = Memory::<3>::new(policy);
        let (came, led, acted) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for index in 0..3 {
                let (barrier, came, led, acted) = (memory.barrier(), &came, &led, &acted);
                scope.spawn(move || {
                    for round in 1..=ROUNDS {
                        came.fetch_add(1, Relaxed);
                        let mut action = Some(|| _ = acted.fetch_add(1, Relaxed));
                        let leads = wait_with(barrier, index, FOR_EVER, &mut action).unwrap();
                        assert!(came.load(Relaxed) >= 3 * round && acted.load(Relaxed) >= round);
                        led.fetch_add(u32::from(leads), Relaxed);
                        assert_eq!(action.is_none(), leads);
                    }
                });
            }
        });
        assert_eq!((led.load(Relaxed), acted.load(Relaxed)), (ROUNDS, ROUNDS));
        assert_eq!((memory.barrier().waiting(), memory.barrier().is_broken()), (0, false));
    }
}

#[test]
fn more_threads_than_parties_meet_in_turn() {
    const PHASES: u32 = 200;
    let memory = Memory::<2>::new(BarrierControl::BREAK);
    let (led, followed) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for index in 0..4 {
            let (barrier, led, followed) = (memory.barrier(), &led, &followed);
            scope.spawn(move || {
                // Until it is broken.
                while let Ok(leads) = wait(barrier, index, FOR_EVER) {
                    if leads { led } else { followed }.fetch_add(1, Relaxed);
                }
            });
        }
        spin_until(|| led.load(Relaxed) >= PHASES);
        memory.barrier().abort().unwrap();
    });
    let turned = BarrierState::from_bits(memory.words.control.state.load(Relaxed)).unwrap().phase;
    assert_eq!((led.load(Relaxed), followed.load(Relaxed)), (turned, turned));
}

#[test]
fn a_deadline_breaks_it_for_all_until_a_reset() {
    let memory = Memory::<2>::new(BarrierControl::BREAK);
    let barrier = memory.barrier();
    assert_eq!(wait(barrier, 0, Duration::from_millis(1)), Err(BarrierError::TimedOut));
    assert!(barrier.is_broken());
    assert_eq!(wait(barrier, 1, FOR_EVER), Err(BarrierError::Broken));
    barrier.reset().unwrap();
    assert!(!barrier.is_broken() && barrier.waiting() == 0);
    thread::scope(|scope| {
        let other = scope.spawn(|| wait(memory.barrier(), 1, FOR_EVER));
        let mine = wait(barrier, 0, FOR_EVER).unwrap();
        assert_ne!(mine, other.join().unwrap().unwrap());
    });
}

#[test]
fn abort_and_reset_are_told_to_those_who_wait() {
    let memory = Memory::<2>::new(BarrierControl::LEAVE);
    let barrier = memory.barrier();
    for reset_at_once in [false, true] {
        thread::scope(|scope| {
            let waits = scope.spawn(|| wait(memory.barrier(), 1, FOR_EVER));
            spin_until(|| barrier.waiting() == 1);
            if !reset_at_once {
                barrier.abort().unwrap();
                barrier.abort().unwrap();
                assert!(barrier.is_broken());
            }
            barrier.reset().unwrap();
            assert_eq!(waits.join().unwrap(), Err(BarrierError::Broken));
        });
    }
    assert!(!barrier.is_broken());
}

#[test]
fn an_action_that_panics_breaks_it() {
    let memory = Memory::<1>::new(BarrierControl::BREAK);
    let barrier = memory.barrier();
    let panics = || wait_with(barrier, 0, FOR_EVER, &mut Some(|| panic!("on purpose")));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert!(barrier.is_broken());
    barrier.reset().unwrap();
    assert_eq!(wait(barrier, 0, FOR_EVER), Ok(true));
}

#[test]
fn the_death_of_a_party_breaks_the_phase_or_leaves_its_place() {
    for policy in [BarrierControl::BREAK, BarrierControl::LEAVE] {
        let memory = Memory::<3>::new(policy);
        let barrier = memory.barrier();
        assert!(matches!(barrier.arrive(holder(7), &mut 0), Ok((Found::Ticket, 0))));
        thread::scope(|scope| {
            let first = scope.spawn(|| wait(memory.barrier(), 1, FOR_EVER));
            spin_until(|| barrier.waiting() == 2);
            // Only now come the others: with the ticket of the dead they would complete the phase.
            barrier.recover(holder(7).participant());
            barrier.recover(holder(7).participant());
            let second = scope.spawn(|| wait(memory.barrier(), 2, FOR_EVER));
            let mine = wait(barrier, 3, FOR_EVER);
            let outcomes = [mine, first.join().unwrap(), second.join().unwrap()];
            if policy == BarrierControl::BREAK {
                assert_eq!(outcomes, [Err(BarrierError::Broken); 3]);
            } else {
                assert_eq!(
                    outcomes.iter().filter(|outcome| **outcome == Ok(true)).count(),
                    1,
                    "{outcomes:?}"
                );
                assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            }
        });
    }
}

#[test]
fn one_without_a_ticket_takes_the_place_of_the_dead() {
    let memory = Memory::<2>::new(BarrierControl::LEAVE);
    let barrier = memory.barrier();
    assert!(matches!(barrier.arrive(holder(7), &mut 0), Ok((Found::Ticket, 0))));
    // The other one is in, and is slow to turn.
    assert!(matches!(barrier.arrive(holder(8), &mut 0), Ok((Found::Ticket, 0))));
    thread::scope(|scope| {
        let late = scope.spawn(|| wait(memory.barrier(), 1, FOR_EVER));
        spin_until(|| memory.words.line.flag.load(Relaxed) == 1);
        barrier.recover(holder(7).participant());
        let _ = late.join().unwrap().unwrap();
    });
    assert!(memory.tickets.iter().all(|t| t.load(Relaxed) >> 32 == 1));
}

#[test]
fn a_dead_leader_leaves_the_action_to_the_next() {
    let memory = Memory::<1>::new(BarrierControl::LEAVE);
    let barrier = memory.barrier();
    assert!(matches!(barrier.arrive(holder(7), &mut 0), Ok((Found::Ticket, 0))));
    let leading = BarrierState { phase: 0, leader: holder(7).bits(), is_broken: false };
    memory.words.control.state.store(leading.bits(), Relaxed);
    barrier.recover(holder(7).participant());
    let mut ran = false;
    assert_eq!(wait_with(barrier, 0, FOR_EVER, &mut Some(|| ran = true)), Ok(true));
    assert!(ran);
}

/// A barrier of one in phase `start`, of which nothing was noted yet.
fn alone(start: u32) -> Memory<1> {
    let memory = Memory::<1>::new(BarrierControl::BREAK);
    memory.words.control.state.store(u64::from(start) << 32, Relaxed);
    memory.tickets[0].store(u64::from(start) << 32, Relaxed);
    memory
}

#[test]
fn every_fate_is_right_until_32_phases_later_another_is_broken() {
    let start = u32::MAX - 20;
    let memory = alone(start);
    let (barrier, fates) = (memory.barrier(), &memory.words.control.fates);
    let breaks = |k: u32| k.is_multiple_of(7) || (30..33).contains(&k);
    let mut before = Vec::new();
    for k in 0..120 {
        before.push(fates.load(Relaxed));
        if breaks(k) {
            barrier.reset().unwrap();
        } else {
            assert_eq!(wait(barrier, 0, FOR_EVER), Ok(true), "{k}");
        }
        let last = (0..=k).rev().find(|k| breaks(*k)).unwrap();
        for slept in 0..=k {
            let told = barrier.fate_of(start.wrapping_add(slept), before[slept as usize]);
            assert_eq!(told.is_ok(), !breaks(slept) && last < slept + 32, "{k} {slept}");
        }
    }
}

#[test]
fn parties_of_a_turned_phase_are_not_told_of_resets_behind_it() {
    let memory = alone(5);
    let barrier = memory.barrier();
    let fates = memory.words.control.fates.load(Relaxed);
    let mut arrival = Arrival { fates, ..Arrival::default() };
    let (_, phase) = barrier.arrive(holder(0), &mut 0).unwrap();
    arrival.party_of = Some(phase);
    assert!(barrier.turn(phase, holder(0), &mut None::<fn()>));
    for _ in 0..REMEMBERED - 1 {
        barrier.reset().unwrap();
        let seen = barrier.proceed(Ok(Seen::Moved), phase, arrival, holder(0), &mut None::<fn()>);
        assert_eq!(seen, Some(Ok(false)));
    }
}

#[test]
fn a_reset_of_another_age_is_not_taken_for_one_to_come() {
    // The phases went on by half a turn of their counter, and more, since the last reset.
    for ago in [1 << 31, (1 << 31) + 5, u32::MAX - 100] {
        let memory = alone(7);
        let barrier = memory.barrier();
        let old = u64::from(7_u32.wrapping_sub(ago)) << 32 | 1;
        memory.words.control.fates.store(old, Relaxed);
        assert_eq!(wait(barrier, 0, FOR_EVER), Ok(true));
        assert_eq!(barrier.fate_of(7, old), Ok(()));
        barrier.reset().unwrap();
        assert_eq!(barrier.fate_of(7, old), Ok(()));
        assert_eq!(barrier.fate_of(8, old), Err(BarrierError::Broken));
        assert_eq!(wait(barrier, 0, FOR_EVER), Ok(true));
        assert_eq!(barrier.fate_of(9, memory.words.control.fates.load(Relaxed)), Ok(()));
    }
}

#[test]
fn a_reset_that_died_is_repeated_and_a_stale_one_notes_nothing() {
    let memory = alone(3);
    let barrier = memory.barrier();
    let before = memory.words.control.fates.load(Relaxed);
    // It had broken the phase and noted that.
    barrier.abort().unwrap();
    assert!(barrier.note_broken(3, before));
    assert_eq!(wait(barrier, 0, FOR_EVER), Err(BarrierError::Broken));
    barrier.reset().unwrap();
    assert_eq!((barrier.fate_of(3, before), barrier.is_broken()), (Err(BarrierError::Broken), false));
    // Another one was stopped before it noted the same, while others went on.
    assert_eq!(wait(barrier, 0, FOR_EVER), Ok(true));
    barrier.reset().unwrap();
    assert!(!barrier.note_broken(3, before));
    let fates = [3, 4, 5].map(|phase| barrier.fate_of(phase, before).is_ok());
    assert_eq!(fates, [false, true, false]);
}

#[test]
fn words_that_nobody_writes_are_refused() {
    let memory = Memory::<1>::new(BarrierControl::BREAK);
    memory.words.control.state.store(0b10, Relaxed);
    assert_eq!(wait(memory.barrier(), 0, FOR_EVER), Err(BarrierError::Corrupted));
    assert_eq!(memory.barrier().reset(), Err(BarrierError::Corrupted));
    assert_eq!(memory.barrier().abort(), Err(BarrierError::Corrupted));
    memory.barrier().recover(holder(1).participant());
    memory.words.control.state.store(0, Relaxed);
    memory.tickets[0].store(9, Relaxed);
    assert_eq!(wait(memory.barrier(), 0, FOR_EVER), Err(BarrierError::Corrupted));
}

#[test]
fn a_dead_party_that_nobody_recovers_is_corruption_and_not_a_hang() {
    struct AllDead;
    impl Liveness for AllDead {
        fn is_dead(&self, _: ParticipantId) -> bool {
            true
        }
    }
    let memory = Memory::<3>::new(BarrierControl::BREAK);
    let barrier = memory.barrier();
    assert!(matches!(barrier.arrive(holder(7), &mut 0), Ok((Found::Ticket, 0))));
    let (mut arrival, mut waiter) = (Arrival::default(), Waiter::new(Mode::Sleep));
    let deadline = Deadline::after(FOR_EVER);
    let outcome = barrier.wait(&mut arrival, holder(0), &mut waiter, deadline, &AllDead, &mut None::<fn()>);
    assert_eq!(outcome, Err(BarrierError::Corrupted));
}
