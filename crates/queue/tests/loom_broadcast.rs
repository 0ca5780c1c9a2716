//! Models of the broadcast channel under loom: every interleaving and every allowed reordering of small scenarios.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-queue --test loom_broadcast`. One or two slots of
//! 64 bytes, messages of two words, so that a torn message shows. What loom cannot see (death) is in the
//! explicit-state models of testkit and in the step-kill runs.
#![cfg(loom)]

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::fence;
use ginnel_layout::broadcast::BroadcastControl;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::broadcast::{Broadcast, BroadcastError, Reader, Shape};
use ginnel_sync::{Deadline, Mode};

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn channel(capacity: u64, mode: Mode) -> Broadcast {
    let shape = Shape::new(capacity, 16, mode).expect("a small channel");
    let words: Vec<_> = (0..capacity * shape.slot_size / 8).map(|_| AtomicU64::new(0)).collect();
    let control: &'static BroadcastControl = Box::leak(Box::default());
    Broadcast::from_words(control, Box::leak(words.into_boxed_slice()), shape)
}

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

fn model(scenario: impl Fn() + Send + Sync + 'static) {
    model_to(3, scenario);
}

/// With so many preemptions at most: three threads that sleep and wake are too many for the usual number.
fn model_to(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(scenario);
}

fn message(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn send(channel: &Broadcast, me: u16, number: u64) {
    loop {
        match channel.try_send(id(me), number as u32, &message(number)) {
            Ok(_) => return,
            Err(BroadcastError::Busy(_) | BroadcastError::WouldBlock) => loom::thread::yield_now(),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// One try; a message must be whole.
fn recv(reader: &mut Reader) -> Result<u64, BroadcastError> {
    let message = reader.try_recv()?;
    let number = u64::from_le_bytes(message.bytes[..8].try_into().expect("eight bytes"));
    assert_eq!(message.bytes, self::message(number), "torn");
    assert_eq!(u64::from(message.kind), number, "torn");
    Ok(number)
}

/// Reads until `all` positions are accounted for.
fn read_all(reader: &mut Reader, all: u64) {
    let (mut seen, mut last) = (0, 0);
    while seen < all {
        match recv(reader) {
            Ok(number) => {
                assert!(number > last, "{number} after {last}");
                (last, seen) = (number, seen + 1);
            }
            Err(BroadcastError::WouldBlock | BroadcastError::Busy(_)) => loom::thread::yield_now(),
            Err(other) => panic!("{other:?}"),
        }
        seen += reader.take_missed();
    }
    assert_eq!((seen, reader.take_aborted()), (all, 0));
}

#[test]
fn an_overwritten_message_is_never_taken_for_whole() {
    for capacity in [1, 2] {
        model(move || {
            let channel = channel(capacity, Mode::Spin);
            let mut reader = channel.reader(id(1)).expect("whole");
            let writer = loom::thread::spawn(move || {
                for number in 1..=1 + capacity {
                    send(&channel, 0, number);
                }
            });
            read_all(&mut reader, 1 + capacity);
            writer.join().expect("no panic");
        });
    }
}

#[test]
fn two_writers_share_a_slot() {
    for capacity in [1, 2] {
        model(move || {
            let channel = channel(capacity, Mode::Spin);
            let mut reader = channel.reader(id(2)).expect("whole");
            let writer = loom::thread::spawn(move || send(&channel, 0, 1));
            send(&channel, 1, 2);
            // The two may come in either order.
            let mut seen = 0;
            for _ in 0..2 {
                seen += u64::from(recv(&mut reader).is_ok()) + reader.take_missed();
            }
            writer.join().expect("no panic");
            while seen < 2 {
                assert!(recv(&mut reader).is_ok(), "everything is committed");
                seen += 1 + reader.take_missed();
            }
            assert_eq!((seen, channel.stats().sent), (2, 2));
        });
    }
}

/// Claims go round and round one slot: nobody may take a stale word for nonsense.
#[test]
fn writers_that_start_from_a_hint_see_what_lies_before_it() {
    model(|| {
        let channel = channel(1, Mode::Spin);
        send(&channel, 0, 1);
        let writer = loom::thread::spawn(move || {
            send(&channel, 0, 2);
            send(&channel, 0, 3);
        });
        let mut reader = channel.reader(id(2)).expect("whole");
        send(&channel, 1, 4);
        writer.join().expect("no panic");
        while recv(&mut reader) != Err(BroadcastError::WouldBlock) {}
        assert_eq!(channel.stats().sent, 4);
    });
}

#[test]
fn nothing_that_was_sent_is_behind_the_end() {
    model(|| {
        let channel = channel(2, Mode::Spin);
        let mut reader = channel.reader(id(1)).expect("whole");
        let writer = loom::thread::spawn(move || channel.try_send(id(0), 1, &message(1)).is_ok());
        channel.close();
        let mut received = 0;
        loop {
            match recv(&mut reader) {
                Ok(_) => received += 1,
                Err(BroadcastError::Closed) => break,
                Err(_) => loom::thread::yield_now(),
            }
        }
        let sent = writer.join().expect("no panic");
        assert_eq!(received, u32::from(sent));
    });
}

#[test]
fn sleeping_readers_are_woken() {
    model(|| {
        let channel = channel(2, Mode::Sleep);
        let mut readers = [channel.reader(id(1)).expect("whole"), channel.reader(id(2)).expect("whole")];
        let [first, second] = &mut readers;
        let writer = loom::thread::spawn(move || send(&channel, 0, 7));
        let wait = |reader: &mut Reader| {
            let message = reader.recv(Deadline::NEVER, &EverybodyLives).expect("sent");
            assert_eq!(message.kind, 7);
        };
        let mut moved = std::mem::replace(second, first.subscribe().expect("whole"));
        let other = loom::thread::spawn(move || wait(&mut moved));
        wait(first);
        other.join().expect("no panic");
        writer.join().expect("no panic");
    });
}

#[test]
fn two_writers_wake_a_reader_that_sleeps_twice() {
    model_to(2, || {
        let channel = channel(2, Mode::Sleep);
        let mut reader = channel.reader(id(2)).expect("whole");
        let writer = loom::thread::spawn(move || send(&channel, 0, 1));
        let other = loom::thread::spawn(move || send(&channel, 1, 2));
        for _ in 0..2 {
            reader.recv(Deadline::NEVER, &EverybodyLives).expect("sent");
        }
        writer.join().expect("no panic");
        other.join().expect("no panic");
    });
}

#[test]
fn a_close_wakes_a_sleeping_reader() {
    model(|| {
        let channel = channel(1, Mode::Sleep);
        let mut reader = channel.reader(id(1)).expect("whole");
        let closer = loom::thread::spawn(move || channel.close());
        let end = reader.recv(Deadline::NEVER, &EverybodyLives).map(|_| ());
        assert_eq!(end, Err(BroadcastError::Closed));
        closer.join().expect("no panic");
    });
}

/// What is left out of a slot's protocol.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    ClaimFence,
    CommitRelease,
    FirstAcquire,
    SecondFence,
}

/// The protocol of one slot by itself: message 1 is there, message 2 overwrites it beside a reader.
fn one_slot(without: Without) {
    model(move || {
        let slot: &'static [AtomicU64; 3] = Box::leak(Box::new([1, 1, 1].map(AtomicU64::new)));
        let writer = loom::thread::spawn(move || {
            assert_eq!(slot[0].compare_exchange(1, 100, Acquire, Relaxed), Ok(1));
            if without != Without::ClaimFence {
                fence(Release);
            }
            slot[1].store(2, Relaxed);
            slot[2].store(2, Relaxed);
            slot[0].store(2, if without == Without::CommitRelease { Relaxed } else { Release });
        });
        let first = slot[0].load(Relaxed);
        if without != Without::FirstAcquire {
            fence(Acquire);
        }
        let payload = [slot[1].load(Relaxed), slot[2].load(Relaxed)];
        if without != Without::SecondFence {
            fence(Acquire);
        }
        if first != 100 && slot[0].load(Relaxed) == first {
            assert_eq!(payload, [first; 2], "torn");
        }
        writer.join().expect("no panic");
    });
}

#[test]
fn one_slot_is_right_with_all_four() {
    one_slot(Without::Nothing);
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_fence_after_the_claim() {
    one_slot(Without::ClaimFence);
}

#[test]
#[should_panic(expected = "torn")]
fn without_release_at_the_commit() {
    one_slot(Without::CommitRelease);
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_fence_after_the_first_look() {
    one_slot(Without::FirstAcquire);
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_fence_before_the_second_look() {
    one_slot(Without::SecondFence);
}
