//! Models of the ring under loom: every interleaving and every allowed reordering of small scenarios. Time stands
//! still, so no slice ends, and a single lost wake is a deadlock that loom reports.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-queue --test loom_ring`. The real code is run first;
//! then the same handshakes are written out with one fault at a time, to show that the models can fail. What loom
//! cannot see (death, mappings) is in the explicit-state models of testkit and in the step-kill runs.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, AtomicU64, fence};
use ginnel_layout::ring::SlotWord;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::ring::{NO_INPUT, OnDeath, Ring, RingError, Shape};
use ginnel_sync::{Deadline, Mode, Waiter, futex};
use loom::thread;

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn model(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(scenario);
}

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

fn ring(capacity: u64, cells: u64, mode: Mode) -> Ring {
    Ring::on_heap(&Shape::new(capacity, 8, cells, OnDeath::Redeliver, mode).expect("a small ring"))
}

fn try_send(ring: &Ring, me: ParticipantId, value: u64) -> Result<(), RingError> {
    let mut claim = ring.try_claim(me)?;
    claim.write(0, &value.to_le_bytes());
    claim.commit(8, 1);
    Ok(())
}

fn try_recv(ring: &Ring, me: ParticipantId) -> Result<u64, RingError> {
    let taken = ring.try_take(me)?;
    let mut value = [0; 8];
    taken.read(0, &mut value);
    assert_eq!((taken.len(), taken.kind()), (8, 1));
    taken.release();
    Ok(u64::from_le_bytes(value))
}

/// Tries until it neither blocks nor is busy.
fn spin<T>(mut attempt: impl FnMut() -> Result<T, RingError>) -> Result<T, RingError> {
    loop {
        match attempt() {
            Err(RingError::WouldBlock | RingError::Busy(_)) => thread::yield_now(),
            other => return other,
        }
    }
}

fn send(ring: &Ring, me: ParticipantId, value: u64) {
    let claim = ring.wait_claim(me, &mut Waiter::new(Mode::Sleep), Deadline::NEVER, &EverybodyLives);
    let mut claim = claim.expect("open");
    claim.write(0, &value.to_le_bytes());
    claim.commit(8, 1);
}

fn recv(ring: &Ring, me: ParticipantId) -> Result<u64, RingError> {
    let taken = ring.wait_take(me, &mut Waiter::new(Mode::Sleep), Deadline::NEVER, &EverybodyLives)?;
    let mut value = [0; 8];
    taken.read(0, &mut value);
    taken.release();
    Ok(u64::from_le_bytes(value))
}

#[test]
fn messages_arrive_once_in_order_round_the_ring() {
    for capacity in [1, 2] {
        model(3, move || {
            let ring = ring(capacity, 0, Mode::Spin);
            let sender = thread::spawn(move || {
                (1..=3).for_each(|value| spin(|| try_send(&ring, id(0), value)).expect("open"));
            });
            for value in 1..=3 {
                assert_eq!(spin(|| try_recv(&ring, id(1))), Ok(value));
            }
            sender.join().expect("no panic");
        });
    }
}

#[test]
fn two_producers_share_the_slots() {
    model(2, || {
        let ring = ring(2, 0, Mode::Spin);
        let senders: Vec<_> = (1..=2)
            .map(|sender| thread::spawn(move || try_send(&ring, id(sender), u64::from(sender))))
            .collect();
        let got = [(); 2].map(|()| spin(|| try_recv(&ring, id(0))).expect("open"));
        assert!(got == [1, 2] || got == [2, 1]);
        senders.into_iter().for_each(|sender| sender.join().expect("no panic").expect("room"));
    });
}

/// On one slot, so that a claim may be a lap late.
#[test]
fn two_producers_fight_for_one_slot() {
    model(2, || {
        let ring = ring(1, 0, Mode::Spin);
        let other = thread::spawn(move || try_send(&ring, id(1), 1).is_ok());
        let mine = try_send(&ring, id(2), 2).is_ok();
        let first = try_recv(&ring, id(0));
        let sent = u64::from(other.join().expect("no panic")) + 2 * u64::from(mine);
        let second = try_recv(&ring, id(0));
        assert_eq!(first.unwrap_or(0) + second.unwrap_or(0), sent);
        assert!(ring.is_done());
    });
}

#[test]
fn two_consumers_share_the_messages() {
    model(2, || {
        let ring = ring(2, 0, Mode::Spin);
        let consumers: Vec<_> =
            (1..=2).map(|index| thread::spawn(move || try_recv(&ring, id(index)).unwrap_or(0))).collect();
        (1..=2).for_each(|value| try_send(&ring, id(0), value).expect("room"));
        let mut got: u64 = consumers.into_iter().map(|consumer| consumer.join().expect("no panic")).sum();
        while let Ok(value) = try_recv(&ring, id(0)) {
            got += value;
        }
        assert_eq!(got, 3);
    });
}

/// A consumer that leases and one that takes what was put back: the payload goes through two places.
#[test]
fn a_lease_that_is_put_back_arrives_whole() {
    model(2, || {
        let ring = ring(1, 1, Mode::Spin);
        try_send(&ring, id(0), 7).expect("room");
        let other = thread::spawn(move || {
            let held = ring.try_lease(id(1)).ok()?;
            assert!(ring.nack(&held));
            Some(())
        });
        let first = try_recv(&ring, id(2));
        let leased = other.join().expect("no panic").is_some();
        match first {
            Ok(value) => assert_eq!(value, 7),
            Err(RingError::WouldBlock | RingError::Busy(_)) => assert!(leased),
            Err(other) => panic!("{other:?}"),
        }
        let second = try_recv(&ring, id(2));
        assert_eq!(second, if first.is_ok() { Err(RingError::WouldBlock) } else { Ok(7) });
        assert!(ring.is_done());
    });
}

#[test]
fn a_sleeping_consumer_is_woken() {
    model(3, || {
        let ring = ring(1, 0, Mode::Sleep);
        let sender = thread::spawn(move || (1..=2).for_each(|value| send(&ring, id(0), value)));
        for value in 1..=2 {
            assert_eq!(recv(&ring, id(1)), Ok(value));
        }
        sender.join().expect("no panic");
    });
}

/// Until participants 1 and 2 have said that they are about to sleep. Few schedules within the bound get there alone.
fn until_asleep(waiting: impl Fn() -> [u64; 4]) {
    while waiting()[0] != 0b110 {
        thread::yield_now();
    }
}

/// One wake for two sleepers, as the second message finds no mark: the first sleeper passes it on.
#[test]
fn two_sleeping_consumers_are_woken() {
    model(1, || {
        let ring = ring(2, 0, Mode::Sleep);
        let consumers: Vec<_> =
            (1..=2).map(|index| thread::spawn(move || recv(&ring, id(index)).expect("open"))).collect();
        until_asleep(|| ring.stats().waiting_consumers);
        (1..=2).for_each(|value| try_send(&ring, id(0), value).expect("room"));
        let got: u64 = consumers.into_iter().map(|consumer| consumer.join().expect("no panic")).sum();
        assert_eq!(got, 3);
    });
}

#[test]
fn two_sleeping_producers_are_woken() {
    model(1, || {
        let ring = ring(2, 0, Mode::Sleep);
        (1..=2).for_each(|value| try_send(&ring, id(0), value).expect("room"));
        let producers: Vec<_> =
            (1..=2).map(|index| thread::spawn(move || send(&ring, id(index), 9))).collect();
        until_asleep(|| ring.stats().waiting_producers);
        (1..=2).for_each(|value| assert_eq!(try_recv(&ring, id(0)), Ok(value)));
        producers.into_iter().for_each(|producer| producer.join().expect("no panic"));
    });
}

/// A claim that comes to nothing has swallowed the mark of a sleeper, and pays for it.
#[test]
fn an_abort_leaves_nobody_asleep() {
    model(3, || {
        let ring = ring(2, 0, Mode::Sleep);
        let sender = thread::spawn(move || {
            drop(ring.try_claim(id(0)).expect("room"));
            try_send(&ring, id(0), 5).expect("room");
        });
        assert_eq!(recv(&ring, id(1)), Ok(5));
        sender.join().expect("no panic");
    });
}

#[test]
fn what_is_put_back_wakes_a_sleeper() {
    for lease in [false, true] {
        model(2, move || {
            let ring = ring(1, 1, Mode::Sleep);
            try_send(&ring, id(0), 5).expect("room");
            let fickle = thread::spawn(move || {
                if lease {
                    ring.try_lease(id(1)).is_ok_and(|held| ring.nack(&held))
                } else {
                    ring.try_take(id(1)).map(drop).is_ok()
                }
            });
            assert_eq!(recv(&ring, id(2)), Ok(5));
            fickle.join().expect("no panic");
        });
    }
}

/// The mark of a sleeping producer on a word that is put back does not hide the message.
#[test]
fn a_sleeper_does_not_hide_what_is_put_back() {
    model(2, || {
        let ring = ring(1, 0, Mode::Sleep);
        try_send(&ring, id(0), 5).expect("room");
        drop(ring.try_take(id(1)).expect("a message"));
        let producer = thread::spawn(move || send(&ring, id(0), 6));
        assert_eq!(recv(&ring, id(1)), Ok(5));
        producer.join().expect("no panic");
        assert_eq!(try_recv(&ring, id(1)), Ok(6));
    });
}

#[test]
fn nothing_that_was_sent_is_behind_a_close() {
    model(3, || {
        let ring = ring(2, 0, Mode::Spin);
        let sender = thread::spawn(move || try_send(&ring, id(0), 7));
        let closer = thread::spawn(move || ring.close(NO_INPUT));
        let got = spin(|| try_recv(&ring, id(1)));
        let sent = sender.join().expect("no panic");
        closer.join().expect("no panic");
        match got {
            Ok(value) => assert_eq!((value, sent), (7, Ok(()))),
            Err(why) => assert_eq!((why, sent), (RingError::Closed, Err(RingError::Closed))),
        }
    });
}

#[test]
fn a_close_wakes_those_who_sleep() {
    model(3, || {
        let ring = ring(1, 0, Mode::Sleep);
        let consumer = thread::spawn(move || recv(&ring, id(1)));
        ring.close(NO_INPUT);
        assert_eq!(consumer.join().expect("no panic"), Err(RingError::Closed));
    });
}

/// At the end a consumer waits for the lease of another one: it ends, or comes back.
#[test]
fn at_the_end_the_last_lease_wakes_the_others() {
    for put_back in [false, true] {
        model(3, move || {
            let ring = ring(1, 1, Mode::Sleep);
            try_send(&ring, id(0), 7).expect("room");
            ring.close(NO_INPUT);
            let held = ring.try_lease(id(1)).expect("a message");
            let other = thread::spawn(move || recv(&ring, id(2)));
            assert!(if put_back { ring.nack(&held) } else { ring.ack(&held) });
            let expected = if put_back { Ok(7) } else { Err(RingError::Closed) };
            assert_eq!(other.join().expect("no panic"), expected);
        });
    }
}

#[test]
fn who_wants_a_cell_is_woken() {
    for put_back in [false, true] {
        model(2, move || {
            let ring = ring(2, 1, Mode::Sleep);
            (1..=2).for_each(|value| try_send(&ring, id(0), value).expect("room"));
            let held = ring.try_lease(id(1)).expect("a message");
            let other = thread::spawn(move || {
                let waiter = &mut Waiter::new(Mode::Sleep);
                ring.wait_lease(id(2), waiter, Deadline::NEVER, &EverybodyLives).map(|held| held.position)
            });
            assert!(if put_back { ring.nack(&held) } else { ring.ack(&held) });
            assert_eq!(other.join().expect("no panic"), Ok(if put_back { 0 } else { 1 }));
        });
    }
}

#[test]
fn who_waits_for_the_end_is_woken_by_a_lease() {
    model(3, || {
        let ring = ring(1, 1, Mode::Sleep);
        try_send(&ring, id(0), 1).expect("room");
        let held = ring.try_lease(id(1)).expect("a message");
        let other = thread::spawn(move || {
            ring.wait_done(&mut Waiter::new(Mode::Sleep), Deadline::NEVER, &EverybodyLives)
        });
        assert!(ring.ack(&held));
        assert_eq!(other.join().expect("no panic"), Ok(()));
    });
}

/// What is wrong with the handshake of one slot, written out below.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The claim does not look for W.
    WIgnored,
    /// The sequence is read after W was set.
    SeqReadAfterArming,
    /// W is set by a store.
    ArmedByStore,
    /// The commit is no release.
    RelaxedCommit,
    /// The look is no acquire.
    RelaxedLook,
}

impl Fault {
    fn run(self) {
        model(3, move || {
            let slot = Arc::new((AtomicU64::new(SlotWord::free(0).0), AtomicU64::new(0), AtomicU32::new(0)));
            let producer = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || self.produce(&slot.0, &slot.1, &slot.2))
            };
            self.consume(&slot.0, &slot.1, &slot.2);
            producer.join().expect("no panic");
        });
    }

    fn produce(self, word: &AtomicU64, payload: &AtomicU64, seq: &AtomicU32) {
        let seen = loop {
            let seen = word.load(Acquire);
            let claim = word.compare_exchange(seen, SlotWord::writing(0, id(0)).0, SeqCst, Relaxed);
            if claim.is_ok() {
                break SlotWord(seen);
            }
        };
        payload.store(7, Relaxed);
        let owes = seen.is_waited_for() && self != Self::WIgnored;
        word.store(SlotWord::full(0, 0).0, if self == Self::RelaxedCommit { Relaxed } else { Release });
        if owes {
            seq.fetch_add(1, Release);
            futex::wake(seq, 1);
        }
    }

    fn consume(self, word: &AtomicU64, payload: &AtomicU64, seq: &AtomicU32) {
        let look = || SlotWord(word.load(if self == Self::RelaxedLook { Relaxed } else { Acquire }));
        loop {
            let early = seq.load(Acquire);
            let seen = look();
            match seen.st() {
                SlotWord::FULL => break,
                SlotWord::WRITING => thread::yield_now(),
                _ if self == Self::ArmedByStore => {
                    word.store(seen.waited_for().0, Release);
                    futex::wait(seq, early, Deadline::NEVER);
                }
                _ => {
                    let armed = word.compare_exchange(seen.0, seen.waited_for().0, AcqRel, Relaxed);
                    if armed.is_ok() || seen.is_waited_for() {
                        let late = if self == Self::SeqReadAfterArming { seq.load(Acquire) } else { early };
                        futex::wait(seq, late, Deadline::NEVER);
                    }
                }
            }
        }
        assert_eq!(payload.load(Relaxed), 7, "stale payload");
    }
}

#[test]
fn the_handshake_of_one_slot_is_sound() {
    Fault::None.run();
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_claim_must_look_for_w() {
    Fault::WIgnored.run();
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_sequence_must_be_read_before_the_mark() {
    Fault::SeqReadAfterArming.run();
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_mark_must_be_set_by_a_cas() {
    Fault::ArmedByStore.run();
}

#[test]
#[should_panic(expected = "stale payload")]
fn the_commit_must_be_a_release() {
    Fault::RelaxedCommit.run();
}

#[test]
#[should_panic(expected = "stale payload")]
fn the_look_must_be_an_acquire() {
    Fault::RelaxedLook.run();
}

/// The look of a producer at the gate after its claim, and of a consumer at the slot after the gate.
fn claim_against_close(producer_fence: bool, consumer_fence: bool) {
    model(3, move || {
        let words = Arc::new((AtomicU64::new(0), AtomicU32::new(0)));
        let producer = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                let claim = words.0.compare_exchange(0, 1, AcqRel, Relaxed);
                assert!(claim.is_ok());
                fence_if(producer_fence);
                words.1.load(Acquire) == 0
            })
        };
        words.1.fetch_or(1, AcqRel);
        fence_if(consumer_fence);
        let is_empty = words.0.load(Acquire) == 0;
        let sends = producer.join().expect("no panic");
        assert!(!(is_empty && sends), "sent behind a close");
    });
}

fn fence_if(wanted: bool) {
    if wanted {
        fence(SeqCst);
    }
}

#[test]
fn a_claim_and_a_close_see_each_other() {
    claim_against_close(true, true);
}

#[test]
#[should_panic(expected = "sent behind a close")]
fn the_claim_needs_its_order_with_the_gate() {
    claim_against_close(false, true);
}

#[test]
#[should_panic(expected = "sent behind a close")]
fn the_last_look_needs_its_order_with_the_gate() {
    claim_against_close(true, false);
}
