//! Models of the lane under loom: every interleaving and every allowed reordering of small scenarios.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-queue --test loom`. The ring is 64 bytes, so
//! that wrapping, a full ring and an empty one all happen within a few messages. What loom cannot see (death,
//! mappings) is in the explicit-state models of testkit and in the step-kill runs.
//!
//! - I1 the memory of a lane is leaked, so it outlives every end; its ring was made for that lane.
#![cfg(loom)]

use std::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::lane::LaneControl;
use ginnel_layout::record::RecordHeader;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::Mirrored;
use ginnel_queue::lane::{Consumer, Lane, LaneError, Producer, Shape};
use ginnel_sync::{Deadline, Mode};

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn words(size: u64) -> &'static [AtomicU64] {
    Box::leak((0..size / 8).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().into_boxed_slice())
}

/// Both ends of a lane of `u64` on the heap. The memory is leaked: a model runs in a process of its own.
fn ends(mode: Mode) -> (Producer, Consumer) {
    let shape = Shape::of_values(8, 8, 2, mode).expect("a small ring");
    let control: &'static LaneControl = Box::leak(Box::default());
    Lane::init(control, &shape);
    // SAFETY: I1.
    #[allow(unsafe_code, reason = "leaked heap memory instead of a mapping")]
    let lane =
        unsafe { Lane::from_raw(NonNull::from(control), Mirrored::from_words(words(shape.size)), shape) };
    let producer = lane.take_producer(ParticipantId::from_index(0)).expect("vacant");
    let consumer = lane.take_consumer(ParticipantId::from_index(1)).expect("vacant");
    (producer, consumer)
}

fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scenario);
}

fn recv_spinning(consumer: &mut Consumer) -> Result<u64, LaneError> {
    loop {
        let mut value = [0; 8];
        match consumer.try_recv(&mut value) {
            Ok(_) => return Ok(u64::from_le_bytes(value)),
            Err(LaneError::WouldBlock) => loom::thread::yield_now(),
            Err(other) => return Err(other),
        }
    }
}

fn send_spinning(producer: &mut Producer, value: u64) {
    while let Err(why) = producer.try_send(&value.to_le_bytes()) {
        assert_eq!(why, LaneError::WouldBlock);
        loom::thread::yield_now();
    }
}

#[test]
fn messages_arrive_once_in_order_round_the_ring() {
    model(|| {
        let (mut producer, mut consumer) = ends(Mode::Spin);
        let sender = loom::thread::spawn(move || {
            for value in 1..=4 {
                send_spinning(&mut producer, value);
            }
        });
        for value in 1..=4 {
            assert_eq!(recv_spinning(&mut consumer), Ok(value));
        }
        sender.join().expect("no panic");
    });
}

#[test]
fn a_batch_appears_at_once() {
    model(|| {
        let (mut producer, mut consumer) = ends(Mode::Spin);
        let sender = loom::thread::spawn(move || {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&1_u64.to_le_bytes());
            bytes[8..].copy_from_slice(&2_u64.to_le_bytes());
            assert_eq!(producer.try_send_values(&bytes), Ok(2));
            producer
        });
        assert_eq!(recv_spinning(&mut consumer), Ok(1));
        // The second value came with the same commit, so it is there without waiting.
        let mut value = [0; 8];
        assert_eq!(consumer.try_recv(&mut value), Ok(false));
        assert_eq!(u64::from_le_bytes(value), 2);
        drop(sender.join().expect("no panic"));
    });
}

#[test]
fn a_batch_of_records_appears_at_once() {
    model(|| {
        let (mut producer, mut consumer) = ends(Mode::Spin);
        let sender = loom::thread::spawn(move || {
            let (one, two) = (1_u64.to_le_bytes(), 2_u64.to_le_bytes());
            assert_eq!(producer.try_send_batch(&[&one, &two]), Ok(2));
            producer
        });
        assert_eq!(recv_spinning(&mut consumer), Ok(1));
        let mut value = [0; 8];
        assert_eq!(consumer.try_recv(&mut value), Ok(false));
        assert_eq!(u64::from_le_bytes(value), 2);
        drop(sender.join().expect("no panic"));
    });
}

#[test]
fn what_was_sent_before_the_close_is_received_before_it_is_told() {
    model(|| {
        let (mut producer, mut consumer) = ends(Mode::Spin);
        let sender = loom::thread::spawn(move || {
            send_spinning(&mut producer, 7);
            producer.close();
        });
        assert_eq!(recv_spinning(&mut consumer), Ok(7));
        assert_eq!(recv_spinning(&mut consumer), Err(LaneError::Closed));
        sender.join().expect("no panic");
    });
}

#[test]
fn a_sleeping_consumer_is_woken() {
    model(|| {
        let (mut producer, mut consumer) = ends(Mode::Sleep);
        let sender = loom::thread::spawn(move || {
            send_spinning(&mut producer, 7);
            producer
        });
        assert_eq!(consumer.wait_for_message(Deadline::NEVER, &EverybodyLives), Ok(()));
        assert_eq!(recv_spinning(&mut consumer), Ok(7));
        drop(sender.join().expect("no panic"));
    });
}

/// Both ends sleep: the producer on a full lane, the consumer on an empty one. A release posts without a fence, so
/// it is the consumer's post before its own wait that must not miss the producer.
#[test]
fn sleepers_on_both_sides_are_woken() {
    model(|| {
        let (mut producer, mut consumer) = ends(Mode::Sleep);
        while producer.try_send(&[1; 8]).is_ok() {}
        let full = producer.len();
        let receiver = loom::thread::spawn(move || {
            for _ in 0..=full {
                assert_eq!(consumer.wait_for_message(Deadline::NEVER, &EverybodyLives), Ok(()));
                recv_spinning(&mut consumer).expect("there");
            }
            consumer
        });
        assert_eq!(producer.wait_for_room(8, Deadline::NEVER, &EverybodyLives), Ok(()));
        assert_eq!(producer.try_send(&[1; 8]), Ok(()));
        drop(receiver.join().expect("no panic"));
    });
}

/// The scenario must be able to fail: a producer that commits before it writes the payload.
#[test]
#[should_panic(expected = "stale payload")]
fn commit_before_payload_is_caught() {
    model(|| {
        let ring = words(64);
        let sender = loom::thread::spawn(move || {
            ring[0].store(RecordHeader::one(8).bits(), Release);
            ring[1].store(7, Relaxed);
        });
        if ring[0].load(Acquire) != 0 {
            assert_eq!(ring[1].load(Relaxed), 7, "stale payload");
        }
        sender.join().expect("no panic");
    });
}
