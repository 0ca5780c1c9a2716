//! Models of the mpsc under loom: what lanes do by themselves is in `loom.rs`; here is what they share.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-queue --test loom_mpsc`.
//!
//! - I1 the memory of an mpsc is leaked, so it outlives every end; each ring was made for its lane.
#![cfg(loom)]

use std::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::lane::LaneControl;
use ginnel_layout::mpsc::MpscControl;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::Mirrored;
use ginnel_queue::lane::{LaneError, Producer, Shape as LaneShape};
use ginnel_queue::mpsc::{Mpsc, Receiver, Shape};
use ginnel_sync::{Deadline, Mode};

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

/// An mpsc of `u64` on the heap, and its rings.
#[derive(Clone, Copy)]
struct Heap {
    mpsc: Mpsc,
    rings: &'static [Mirrored],
}

impl Heap {
    fn new(lanes: u32, mode: Mode) -> Self {
        let lane = LaneShape::of_values(8, 8, 2, mode).expect("a small ring");
        let shape = Shape::new(lanes, lane).expect("a few lanes");
        let control: &'static MpscControl = Box::leak(Box::default());
        let lanes: &'static [LaneControl] =
            Box::leak((0..lanes).map(|_| LaneControl::default()).collect::<Vec<_>>().into_boxed_slice());
        Mpsc::init(control, lanes, &shape);
        // SAFETY: I1.
        #[allow(unsafe_code, reason = "leaked heap memory instead of a mapping")]
        let mpsc = unsafe { Mpsc::from_raw(NonNull::from(control), NonNull::from(lanes), &shape) };
        let ring = |_| {
            let words: Vec<_> = (0..lane.size / 8).map(|_| AtomicU64::new(0)).collect();
            Mirrored::from_words(Box::leak(words.into_boxed_slice()))
        };
        let rings: Vec<Mirrored> = (0..lanes.len()).map(ring).collect();
        Self { mpsc, rings: Box::leak(rings.into_boxed_slice()) }
    }

    /// Takes whatever lane is free.
    fn producer(self, id: u16) -> Producer {
        loop {
            let index = self.mpsc.vacancy().expect("there are lanes enough");
            let me = ParticipantId::from_index(id);
            // SAFETY: I1.
            #[allow(unsafe_code, reason = "leaked heap memory instead of a mapping")]
            let taken = unsafe { self.mpsc.take_producer(index, self.rings[index as usize], me) };
            match taken {
                Ok(producer) => return producer,
                Err(LaneError::Taken(_)) => loom::thread::yield_now(),
                Err(why) => panic!("{why:?}"),
            }
        }
    }

    fn receiver(self) -> Receiver {
        // SAFETY: I1.
        #[allow(unsafe_code, reason = "leaked heap memory instead of a mapping")]
        let taken = unsafe { self.mpsc.take_receiver(self.rings, ParticipantId::from_index(9)) };
        taken.expect("vacant")
    }
}

fn model(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(scenario);
}

fn received(receiver: &mut Receiver) -> Result<u64, LaneError> {
    receiver.wait_for_message(Deadline::NEVER, &EverybodyLives)?;
    let mut value = [0; 8];
    receiver.try_recv(&mut value)?;
    Ok(u64::from_le_bytes(value))
}

#[test]
fn a_sleeping_consumer_is_woken_by_both_of_two_producers() {
    model(3, || {
        let heap = Heap::new(2, Mode::Sleep);
        let mut receiver = heap.receiver();
        let senders: Vec<_> = [1_u64, 2]
            .map(|value| {
                let mut producer = heap.producer(value as u16);
                loom::thread::spawn(move || {
                    producer.try_send(&value.to_le_bytes()).expect("there is room");
                    producer
                })
            })
            .into();
        let mut got = [received(&mut receiver), received(&mut receiver)];
        got.sort_by_key(|value| value.unwrap_or(0));
        assert_eq!(got, [Ok(1), Ok(2)]);
        for sender in senders {
            drop(sender.join().expect("no panic"));
        }
    });
}

/// The second producer comes into a lane that the consumer may have passed already when the first one goes.
#[test]
fn a_lane_that_is_taken_late_is_seen_and_the_last_close_is_told() {
    model(3, || {
        let heap = Heap::new(2, Mode::Sleep);
        let mut receiver = heap.receiver();
        let before = heap.producer(0);
        let first = heap.producer(1);
        before.close();
        let sender = loom::thread::spawn(move || {
            let mut second = heap.producer(2);
            first.close();
            second.try_send(&7_u64.to_le_bytes()).expect("there is room");
            second.close();
        });
        assert_eq!(received(&mut receiver), Ok(7), "who came last came before the first one went");
        assert_eq!(received(&mut receiver), Err(LaneError::Closed));
        sender.join().expect("no panic");
    });
}

#[test]
fn a_successor_in_a_lane_sends_behind_what_is_still_there() {
    model(3, || {
        let heap = Heap::new(1, Mode::Spin);
        let mut receiver = heap.receiver();
        let mut first = heap.producer(1);
        first.try_send(&1_u64.to_le_bytes()).expect("there is room");
        let sender = loom::thread::spawn(move || {
            first.close();
            let mut second = heap.producer(2);
            second.try_send(&2_u64.to_le_bytes()).expect("there is room");
            second
        });
        let mut got = Vec::new();
        while got.len() < 2 {
            let mut value = [0; 8];
            match receiver.try_recv(&mut value) {
                Ok(_) => got.push(u64::from_le_bytes(value)),
                // Between the two nobody is there: that is an end as well.
                Err(LaneError::WouldBlock | LaneError::Closed) => loom::thread::yield_now(),
                Err(why) => panic!("{why:?}"),
            }
        }
        assert_eq!(got, [1, 2]);
        drop(sender.join().expect("no panic"));
    });
}

/// The release in one lane was posted without a fence; the round's fence must not miss the producer of it.
#[test]
fn a_producer_that_waits_for_room_is_woken() {
    model(3, || {
        let heap = Heap::new(2, Mode::Sleep);
        let mut receiver = heap.receiver();
        let mut producer = heap.producer(1);
        let mut full = 0;
        while producer.try_send(&[1; 8]).is_ok() {
            full += 1;
        }
        let other = heap.producer(2);
        let drain = loom::thread::spawn(move || {
            for _ in 0..=full {
                received(&mut receiver).expect("there");
            }
            receiver
        });
        assert_eq!(producer.wait_for_room(8, Deadline::NEVER, &EverybodyLives), Ok(()));
        assert_eq!(producer.try_send(&[1; 8]), Ok(()));
        drop(drain.join().expect("no panic"));
        drop(other);
    });
}
