//! The ring step by step on the heap: who gets what, what the dead leave, and what damaged words do.
//!
//! - I1 the memory of a ring is leaked and made of atomics, so it outlives every copy of the ring.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "lends heap memory to a ring")]

use std::cell::Cell;
use std::mem;
use std::ptr::NonNull;
use std::time::Duration;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Relaxed, SeqCst};
use ginnel_layout::ring::{SLOTS_AT, SlotWord};
use ginnel_layout::{Line, Liveness, ParticipantId};
use ginnel_queue::ring::{Held, NO_INPUT, NO_RECEIVER, OnDeath, Ring, RingError, Shape};
use ginnel_sync::{Deadline, Mode, Waiter};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

type Words = &'static [Line<[AtomicU64; 16]>];

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

fn shape(capacity: u64, cells: u64, policy: OnDeath) -> Shape {
    Shape::new(capacity, 48, cells, policy, Mode::Adaptive).expect("a small ring")
}

fn ring_and_words(shape: &Shape) -> (Ring, Words) {
    let lines = shape.size().div_ceil(128) as usize;
    let words: Words = Box::leak((0..lines).map(|_| Line::default()).collect());
    let base = NonNull::from(words).cast();
    // SAFETY: I1; nobody else has it yet.
    unsafe { Ring::init(base, shape) };
    // SAFETY: I1.
    let ring = unsafe { Ring::from_raw(base, 128 * lines as u64) }.expect("just made");
    (ring, words)
}

fn ring(capacity: u64, cells: u64) -> Ring {
    ring_and_words(&shape(capacity, cells, OnDeath::Redeliver)).0
}

fn send(ring: &Ring, me: ParticipantId, value: u64) -> Result<u64, RingError> {
    let mut claim = ring.try_claim(me)?;
    let position = claim.position();
    claim.write(0, &value.to_le_bytes());
    claim.commit(8, value as u32);
    Ok(position)
}

fn take(ring: &Ring, me: ParticipantId) -> Result<(u64, u32), RingError> {
    let taken = ring.try_take(me)?;
    let mut value = [0; 8];
    taken.read(0, &mut value);
    let (value, deliveries) = (u64::from_le_bytes(value), taken.deliveries());
    assert_eq!((taken.len(), taken.kind()), (8, value as u32));
    taken.release();
    Ok((value, deliveries))
}

fn value_of(ring: &Ring, held: &Held) -> u64 {
    let mut value = [0; 8];
    ring.read_cell(held, 0, &mut value);
    assert_eq!((held.len, held.kind), (8, u64::from_le_bytes(value) as u32));
    u64::from_le_bytes(value)
}

#[test]
fn messages_come_out_in_order_round_and_round() {
    for capacity in [1, 2, 8] {
        let ring = ring(capacity, 0);
        let mut next = (0, 0);
        for _ in 0..5 {
            while send(&ring, id(0), next.0).is_ok() {
                next.0 += 1;
            }
            assert_eq!(send(&ring, id(0), 0), Err(RingError::WouldBlock));
            assert_eq!(next.0 - next.1, capacity);
            assert_eq!(ring.stats().depth, capacity);
            while let Ok(got) = take(&ring, id(1)) {
                assert_eq!(got, (next.1, 1));
                next.1 += 1;
            }
            assert_eq!(take(&ring, id(1)), Err(RingError::WouldBlock));
        }
        assert_eq!((ring.stats().sent, ring.stats().received), (5 * capacity, 5 * capacity));
    }
}

#[test]
fn who_is_in_the_middle_is_named() {
    let ring = ring(2, 0);
    let claim = ring.try_claim(id(3)).expect("room");
    assert_eq!(take(&ring, id(1)), Err(RingError::Busy(id(3))));
    send(&ring, id(4), 5).expect("room");
    assert_eq!(send(&ring, id(4), 6), Err(RingError::Busy(id(3))), "a lap later its slot stands in the way");
    claim.commit(0, 0);
    let taken = ring.try_take(id(1)).expect("a message of no bytes");
    assert!(taken.is_empty());
    assert_eq!(send(&ring, id(4), 6), Err(RingError::Busy(id(1))));
    assert_eq!(take(&ring, id(2)), Ok((5, 1)), "the one behind it is not held up");
    assert_eq!(take(&ring, id(2)), Err(RingError::Busy(id(1))));
    taken.release();
    assert_eq!(take(&ring, id(2)), Err(RingError::WouldBlock));
}

#[test]
fn a_claim_that_is_dropped_is_no_message() {
    let ring = ring(2, 0);
    drop(ring.try_claim(id(0)).expect("room"));
    assert_eq!(ring.stats().depth, 0);
    assert!(ring.is_done());
    send(&ring, id(0), 1).expect("room");
    assert_eq!(send(&ring, id(0), 2), Err(RingError::WouldBlock), "it takes its slot until consumers come");
    assert_eq!(take(&ring, id(1)), Ok((1, 1)));
    assert_eq!(ring.stats().aborted, 1);
}

#[test]
fn what_is_put_back_comes_first_and_is_flagged() {
    let ring = ring(4, 1);
    for value in 1..=3 {
        send(&ring, id(0), value).expect("room");
    }
    drop(ring.try_take(id(1)).expect("a message"));
    assert_eq!(take(&ring, id(1)), Ok((1, 2)));
    let held = ring.try_lease(id(1)).expect("a message");
    drop(ring.try_take(id(1)).expect("a message"));
    assert_eq!(ring.stats().redelivered, 2);
    assert!(ring.nack(&held) && !ring.nack(&held) && !ring.ack(&held));
    let orphan = ring.try_take(id(2)).expect("put back");
    assert_eq!((orphan.position(), orphan.deliveries()), (1, 2));
    drop(orphan);
    assert_eq!(take(&ring, id(2)), Ok((2, 3)));
    assert_eq!(take(&ring, id(2)), Ok((3, 2)));
    assert_eq!(take(&ring, id(2)), Err(RingError::WouldBlock));
    assert!(ring.is_done());
}

#[test]
fn leases_free_the_slot_and_end_once() {
    let ring = ring(1, 2);
    for value in 1..=2 {
        send(&ring, id(0), value).expect("room");
        let held = ring.try_lease(id(1)).expect("a message");
        assert_eq!((held.deliveries, value_of(&ring, &held), held.position), (1, value, value - 1));
    }
    assert_eq!(ring.stats().leased, 2);
    assert_eq!(ring.try_lease(id(1)), Err(RingError::WouldBlock), "nothing to lease comes before no cell");
    send(&ring, id(0), 3).expect("room");
    assert_eq!(ring.try_lease(id(1)), Err(RingError::NoCell));
    assert_eq!(take(&ring, id(1)), Ok((3, 1)), "who needs no cell goes on");
    assert!(!ring.is_done());
}

#[test]
fn what_was_put_back_needs_no_free_cell() {
    let ring = ring(2, 1);
    send(&ring, id(0), 1).expect("room");
    for deliveries in 1..=3 {
        let held = ring.try_lease(id(1)).expect("a message");
        assert_eq!((held.deliveries, value_of(&ring, &held)), (deliveries, 1));
        assert!(ring.nack(&held));
    }
    let held = ring.try_lease(id(2)).expect("a message");
    assert!(ring.ack(&held) && !ring.ack(&held));
    assert!(ring.is_done());
    assert_eq!(ring.try_lease(id(2)), Err(RingError::WouldBlock));
}

#[test]
fn a_slot_put_back_is_leased_before_newer_ones() {
    let ring = ring(4, 2);
    for value in 1..=2 {
        send(&ring, id(0), value).expect("room");
    }
    drop(ring.try_take(id(1)).expect("a message"));
    for (value, deliveries) in [(1, 2), (2, 1)] {
        let held = ring.try_lease(id(1)).expect("a message");
        assert_eq!((value_of(&ring, &held), held.deliveries), (value, deliveries));
    }
}

#[test]
fn messages_in_flight_are_known_by_position() {
    let ring = ring(2, 1);
    let claim = ring.try_claim(id(0)).expect("room");
    assert!(!ring.in_flight(0));
    claim.commit(0, 0);
    drop(ring.try_claim(id(0)).expect("room"));
    assert!(ring.in_flight(0) && !ring.in_flight(1) && !ring.in_flight(2));
    let taken = ring.try_take(id(1)).expect("a message");
    assert!(ring.in_flight(0));
    drop(taken);
    let held = ring.try_lease(id(1)).expect("a message");
    assert!(ring.in_flight(0));
    assert!(ring.nack(&held));
    assert!(ring.in_flight(0));
    assert_eq!(ring.try_take(id(1)).map(|taken| taken.release()), Ok(()));
    assert!(!ring.in_flight(0));
}

#[test]
fn a_closed_ring_is_drained_and_then_says_so() {
    let ring = ring(4, 1);
    for value in 1..=2 {
        send(&ring, id(0), value).expect("room");
    }
    ring.close(NO_INPUT);
    assert_eq!(ring.closed(), NO_INPUT);
    assert_eq!(send(&ring, id(0), 3), Err(RingError::Closed));
    assert_eq!(take(&ring, id(1)), Ok((1, 1)));
    let held = ring.try_lease(id(1)).expect("a message");
    assert_eq!(take(&ring, id(2)), Err(RingError::Busy(id(1))), "it may be put back for the others");
    assert_eq!(ring.try_lease(id(2)), Err(RingError::Busy(id(1))));
    assert_eq!(take(&ring, id(1)), Err(RingError::Closed), "nobody waits for himself");
    assert_eq!(ring.try_lease(id(1)), Err(RingError::Closed));
    assert!(ring.nack(&held));
    assert_eq!(take(&ring, id(2)), Ok((2, 2)));
    assert_eq!(take(&ring, id(2)), Err(RingError::Closed));
    assert_eq!(ring.stats().aborted, 1);
}

#[test]
fn without_receivers_nobody_sends() {
    let ring = ring(1, 0);
    send(&ring, id(0), 1).expect("room");
    ring.close(NO_RECEIVER);
    assert_eq!(send(&ring, id(0), 2), Err(RingError::Closed), "also where it is full");
    assert_eq!(take(&ring, id(1)), Ok((1, 1)));
    assert_eq!(send(&ring, id(0), 2), Err(RingError::Closed));
    assert_eq!(take(&ring, id(1)), Err(RingError::WouldBlock));
}

#[test]
fn a_dead_producer_has_sent_nothing() {
    let ring = ring(2, 0);
    mem::forget(ring.try_claim(id(0)).expect("room"));
    send(&ring, id(1), 7).expect("room");
    ring.recover(id(5));
    assert_eq!(take(&ring, id(2)), Err(RingError::Busy(id(0))), "the death of another changes nothing");
    for _ in 0..2 {
        ring.recover(id(0));
    }
    assert_eq!(take(&ring, id(2)), Ok((7, 1)));
    assert_eq!((ring.stats().aborted, ring.stats().recoveries), (1, 3));
}

#[test]
fn what_a_dead_consumer_held_is_delivered_once_more_or_dropped() {
    for policy in [OnDeath::Redeliver, OnDeath::Drop] {
        let (ring, _) = ring_and_words(&shape(4, 3, policy));
        for value in 1..=4 {
            send(&ring, id(0), value).expect("room");
        }
        mem::forget(ring.try_take(id(1)).expect("a message"));
        let held = ring.try_lease(id(1)).expect("a message");
        let other = ring.try_lease(id(2)).expect("a message");
        for _ in 0..2 {
            ring.recover(id(1));
        }
        assert!(!ring.ack(&held), "a lease of the dead is over");
        let got: Vec<_> = std::iter::from_fn(|| take(&ring, id(2)).ok()).collect();
        let stats = ring.stats();
        match policy {
            OnDeath::Redeliver => {
                assert_eq!(got, [(2, 2), (1, 2), (4, 1)]);
                assert_eq!((stats.redelivered, stats.dropped), (2, 0));
            }
            OnDeath::Drop => {
                assert_eq!(got, [(4, 1)]);
                assert_eq!((stats.redelivered, stats.dropped), (0, 2));
            }
        }
        assert!(ring.ack(&other) && ring.is_done());
    }
}

/// The only state with one message in two places, made by hand: HELD, and the slot not yet freed.
#[test]
fn a_transfer_of_the_dead_is_finished_in_its_name() {
    for policy in [OnDeath::Redeliver, OnDeath::Drop] {
        let shape = shape(2, 1, policy);
        let (ring, words) = ring_and_words(&shape);
        send(&ring, id(0), 1).expect("room");
        let held = ring.try_lease(id(1)).expect("a message");
        slot_word(&shape, words, 0).store(SlotWord::reading(held.position, id(1)).0, Relaxed);
        ring.recover(id(1));
        let expected = if policy == OnDeath::Redeliver { Ok((1, 2)) } else { Err(RingError::WouldBlock) };
        assert_eq!(take(&ring, id(2)), expected);
        assert_eq!(take(&ring, id(2)), Err(RingError::WouldBlock), "once only");
        for value in 2..=3 {
            send(&ring, id(0), value).expect("the slot is free");
        }
    }
}

/// Recovers whoever it is asked about, as the segment does.
struct AllDead<'a> {
    ring: &'a Ring,
    asked: Cell<u32>,
    repairs: bool,
}

impl Liveness for AllDead<'_> {
    fn is_dead(&self, id: ParticipantId) -> bool {
        self.asked.set(self.asked.get() + 1);
        if self.repairs {
            self.ring.recover(id);
        }
        true
    }
}

#[test]
fn the_dead_are_found_by_those_who_wait() {
    let _watchdog = Watchdog::new("the_dead_are_found_by_those_who_wait", LIMIT);
    for mode in [Mode::Adaptive, Mode::Sleep, Mode::Spin] {
        let ring = ring(1, 1);
        let all_dead = AllDead { ring: &ring, asked: Cell::new(0), repairs: true };
        let mut waiter = Waiter::new(mode);
        mem::forget(ring.try_claim(id(0)).expect("room"));
        // A dead producer: first of all its slot is in the way of a consumer, which skips it then.
        let early = Deadline::after(Duration::from_millis(60));
        assert!(matches!(
            ring.wait_take(id(1), &mut waiter, early, &all_dead),
            Err(RingError::TimedOut { .. })
        ));
        let claim = ring.wait_claim(id(1), &mut waiter, Deadline::NEVER, &all_dead);
        claim.expect("recovered").commit(0, 0);
        // A dead consumer, in the slot: in the way of a producer, and its message of a consumer.
        mem::forget(ring.try_take(id(2)).expect("a message"));
        let taken = ring.wait_take(id(1), &mut waiter, Deadline::NEVER, &all_dead);
        assert_eq!(taken.expect("recovered").deliveries(), 2);
        // A dead holder of a lease.
        let _lost = ring.wait_lease(id(2), &mut waiter, Deadline::NEVER, &all_dead).expect("a message");
        let held = ring.wait_lease(id(1), &mut waiter, Deadline::NEVER, &all_dead).expect("recovered");
        assert_eq!(held.deliveries, 3);
        assert!(all_dead.asked.get() >= 3);
    }
}

#[test]
fn an_owner_that_no_recovery_removes_is_corruption() {
    let _watchdog = Watchdog::new("an_owner_that_no_recovery_removes_is_corruption", LIMIT);
    let ring = ring(1, 0);
    let nobody = AllDead { ring: &ring, asked: Cell::new(0), repairs: false };
    mem::forget(ring.try_claim(id(9)).expect("room"));
    let mut waiter = Waiter::new(Mode::Sleep);
    for attempt in 0..2 {
        let error = if attempt == 0 {
            ring.wait_take(id(1), &mut waiter, Deadline::NEVER, &nobody).map(drop)
        } else {
            ring.wait_claim(id(1), &mut waiter, Deadline::NEVER, &nobody).map(drop)
        };
        assert_eq!(error, Err(RingError::Corrupted));
    }
}

#[test]
fn a_deadline_names_who_is_in_the_way() {
    let _watchdog = Watchdog::new("a_deadline_names_who_is_in_the_way", LIMIT);
    let soon = || Deadline::after(Duration::from_millis(3));
    for mode in [Mode::Adaptive, Mode::Sleep, Mode::Spin] {
        let ring = ring(1, 1);
        let mut waiter = Waiter::new(mode);
        let timed_out = |owner| Err(RingError::TimedOut { owner });
        let got = ring.wait_take(id(1), &mut waiter, soon(), &EverybodyLives).map(drop);
        assert_eq!(got, timed_out(None));
        let claim = ring.try_claim(id(7)).expect("room");
        let got = ring.wait_take(id(1), &mut waiter, soon(), &EverybodyLives).map(drop);
        assert_eq!(got, timed_out(Some(id(7))));
        let got = ring.wait_claim(id(1), &mut waiter, soon(), &EverybodyLives).map(drop);
        assert_eq!(got, timed_out(Some(id(7))));
        claim.commit(0, 0);
        let held = ring.try_lease(id(8)).expect("a message");
        assert_eq!(ring.wait_done(&mut waiter, soon(), &EverybodyLives), timed_out(None));
        send(&ring, id(0), 1).expect("room");
        let got = ring.wait_lease(id(1), &mut waiter, soon(), &EverybodyLives).map(|_| ());
        assert_eq!(got, timed_out(None), "no cell");
        assert!(ring.ack(&held));
        let stats = ring.stats();
        assert_eq!((stats.waiting_consumers, stats.waiting_producers), ([0; 4], [0; 4]));
    }
}

fn slot_word(shape: &Shape, words: Words, index: u64) -> &'static AtomicU64 {
    let byte = SLOTS_AT + index * shape.slot_size;
    &words[(byte / 128) as usize][(byte % 128 / 8) as usize]
}

/// Every operation, once each; what they say is their business, that they return is ours.
fn everything(ring: &Ring, me: ParticipantId) {
    let now = Deadline::at_ns(0);
    let mut waiter = Waiter::new(Mode::Sleep);
    let mut buffer = [0; 48];
    let _ = send(ring, me, 1);
    drop(ring.try_claim(me));
    let _ = ring.wait_claim(me, &mut waiter, now, &EverybodyLives).map(|claim| claim.commit(48, 0));
    if let Ok(taken) = ring.try_take(me) {
        assert!(taken.len() <= 48);
        taken.read(0, &mut buffer);
        taken.release();
    }
    drop(ring.wait_take(me, &mut waiter, now, &EverybodyLives));
    if let Ok(held) = ring.try_lease(me) {
        assert!(held.len <= 48);
        ring.read_cell(&held, 0, &mut buffer);
        ring.nack(&held);
    }
    if let Ok(held) = ring.wait_lease(me, &mut waiter, now, &EverybodyLives) {
        ring.ack(&held);
    }
    let _ = ring.wait_done(&mut waiter, now, &EverybodyLives);
    let _ = (ring.is_done(), ring.in_flight(3), ring.stats());
    ring.recover(me);
}

#[test]
fn damaged_words_are_survived() {
    let _watchdog = Watchdog::new("damaged_words_are_survived", LIMIT);
    let shape = shape(4, 2, OnDeath::Redeliver);
    let mut rng = Rng::new(0x51);
    for round in 0..3000 {
        let (ring, words) = ring_and_words(&shape);
        for value in 0..rng.below(4) {
            let _ = send(&ring, id(0), value);
        }
        for _ in 0..=rng.below(8) {
            let line = rng.below(words.len() as u64) as usize;
            let word = &words[line][rng.below(16) as usize];
            // Small changes of plausible words reach deeper than noise.
            let damage = match rng.below(4) {
                0 => rng.next_u64(),
                1 => word.load(SeqCst) ^ (1 << rng.below(64)),
                2 => word.load(SeqCst).wrapping_add(rng.below(9) << 16),
                _ => (rng.below(12) << 16) | (rng.below(5) << 3) | rng.below(8),
            };
            word.store(damage, SeqCst);
        }
        for me in [1, 2] {
            everything(&ring, id(me));
        }
        assert!(round < 3000);
    }
}

#[test]
fn impossible_geometries_are_refused() {
    let shape = shape(4, 2, OnDeath::Redeliver);
    let (_, words) = ring_and_words(&shape);
    let bytes = 128 * words.len() as u64;
    let open = |bytes| {
        // SAFETY: I1.
        unsafe { Ring::from_raw(NonNull::from(words).cast(), bytes) }.map(|ring| *ring.shape())
    };
    assert_eq!(open(shape.size()), Ok(shape));
    for too_few in [0, SLOTS_AT - 1, SLOTS_AT, shape.size() - 1] {
        assert_eq!(open(too_few), Err(RingError::Corrupted));
    }
    for (word, bad) in [
        (0, 0),
        (0, 3),
        (0, 1 << 33),
        (0, 1 << 63),
        (1, 0),
        (1, 65),
        (1, 1 << 32),
        (1, 1 << 63),
        (2, u64::MAX),
        (2, 1 << 31),
        (3, 2),
        (3, 3 << 32),
    ] {
        let good = words[0][word].swap(bad, SeqCst);
        assert_eq!(open(bytes), Err(RingError::Corrupted), "{bad} in word {word}");
        words[0][word].store(good, SeqCst);
    }
    assert_eq!(open(bytes), Ok(shape));
}

#[test]
fn shapes_hold_what_they_promise() {
    let of = |capacity, payload, cells| Shape::new(capacity, payload, cells, OnDeath::Drop, Mode::Spin);
    for (capacity, payload, cells) in [(1, 0, 0), (3, 48, 1), (1000, 49, 7), (4, 1 << 20, 2)] {
        let shape = of(capacity, payload, cells).expect("fits");
        assert!(shape.capacity >= capacity && shape.payload_max() >= payload && shape.cells == cells);
        assert!(shape.size() >= shape.capacity * shape.slot_size + cells * shape.slot_size);
    }
    assert_eq!(of(1, 48, 0).map(|shape| shape.slot_size), Some(64));
    for (capacity, payload, cells) in [
        (0, 8, 0),
        (u64::MAX, 8, 0),
        (1 << 33, 8, 0),
        (1, u64::MAX, 0),
        (1, 1 << 32, 0),
        (1, 8, u64::MAX),
        (1 << 32, 1 << 20, 0),
        (1, 1 << 20, 1 << 31),
    ] {
        assert_eq!(of(capacity, payload, cells), None, "{capacity} of {payload}, {cells} cells");
    }
}

#[test]
fn a_ring_with_a_limit_is_full_with_exactly_that() {
    for limit in [1, 3, 5, 8] {
        let shape = shape(8, 1, OnDeath::Redeliver).limited(limit).expect("at most as many as slots");
        let ring = ring_and_words(&shape).0;
        assert_eq!(*ring.shape(), shape);
        for round in 0..30 {
            for value in 0..limit {
                assert_eq!(ring.depth(), value);
                send(&ring, id(0), round * 10 + value).expect("room");
            }
            assert_eq!(send(&ring, id(1), 99), Err(RingError::WouldBlock));
            assert_eq!(ring.depth(), limit);
            let first = ring.try_take(id(2)).expect("a message");
            assert_eq!(send(&ring, id(1), 99), Err(RingError::Busy(id(2))), "its slot is not free yet");
            first.release();
            assert_eq!(ring.depth(), limit - 1);
            send(&ring, id(1), round * 10 + limit).expect("room again");
            for value in 1..=limit {
                assert_eq!(take(&ring, id(2)), Ok((round * 10 + value, 1)));
            }
            assert_eq!(take(&ring, id(2)), Err(RingError::WouldBlock));
        }
    }
    assert!(shape(8, 1, OnDeath::Redeliver).limited(0).is_none());
    assert!(shape(8, 1, OnDeath::Redeliver).limited(9).is_none());
}

#[test]
fn what_was_put_back_counts_against_the_limit() {
    let ring = ring_and_words(&shape(4, 1, OnDeath::Redeliver).limited(3).expect("fits")).0;
    for value in 0..3 {
        send(&ring, id(0), value).expect("room");
    }
    drop(ring.try_take(id(1)).expect("a message"));
    assert_eq!(ring.depth(), 3);
    assert_eq!(send(&ring, id(0), 3), Err(RingError::WouldBlock));
    assert_eq!(take(&ring, id(1)), Ok((0, 2)));
    send(&ring, id(0), 3).expect("room");
}

#[test]
fn producers_sleep_at_the_limit_and_are_woken() {
    let _watchdog = Watchdog::new("producers_sleep_at_the_limit_and_are_woken", LIMIT);
    let ring = ring_and_words(&shape(8, 1, OnDeath::Redeliver).limited(3).expect("fits")).0;
    std::thread::scope(|scope| {
        for producer in 0..3 {
            scope.spawn(move || {
                let mut waiter = Waiter::new(Mode::Sleep);
                for value in 0..2000 {
                    let claim = ring.wait_claim(id(producer), &mut waiter, Deadline::NEVER, &EverybodyLives);
                    let mut claim = claim.expect("room");
                    assert!(ring.depth() <= 3);
                    claim.write(0, &u64::to_le_bytes(value));
                    claim.commit(8, value as u32);
                }
            });
        }
        let mut waiter = Waiter::new(Mode::Sleep);
        for _ in 0..6000 {
            let taken = ring.wait_take(id(9), &mut waiter, Deadline::NEVER, &EverybodyLives);
            taken.expect("a message").release();
        }
    });
    assert_eq!(ring.depth(), 0);
}
