//! Models of the untrusted lane under loom: every interleaving and every allowed reordering of small scenarios.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-queue --test loom_untrusted`. A ring has 64 bytes, so
//! that wrapping, a full ring and an empty one all happen within a few records. What loom cannot see (a side that lies, a
//! side that is killed) is in `untrusted.rs` beside this file and in the fuzz target.
#![cfg(loom)]

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::peer::PeerControl;
use ginnel_layout::record::kind;
use ginnel_queue::lane::LaneError;
use ginnel_queue::untrusted::{OtherHalf, OwnHalf, Receiver, Sender, ends};
use ginnel_sync::{Deadline, Mode};

const RING: usize = 64;

/// The memory of one side, leaked: a model runs in a process of its own.
fn half() -> (&'static PeerControl, &'static [AtomicU64]) {
    let words: Vec<AtomicU64> = (0..RING / 8).map(|_| AtomicU64::new(0)).collect();
    (Box::leak(Box::default()), Box::leak(words.into_boxed_slice()))
}

/// What A sends with, and what B receives with. The other two ends are forgotten, so that they close nothing.
fn one_way(mode: Mode) -> (Sender, Receiver) {
    let ((a, a_ring), (b, b_ring)) = (half(), half());
    let (sender, unused) = ends(OwnHalf::from_words(a, a_ring), OtherHalf::from_words(b, b_ring), mode);
    core::mem::forget(unused);
    let (unused, receiver) = ends(OwnHalf::from_words(b, b_ring), OtherHalf::from_words(a, a_ring), mode);
    core::mem::forget(unused);
    (sender, receiver)
}

fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scenario);
}

fn send(sender: &mut Sender, value: u64) -> Result<bool, LaneError> {
    sender.try_send(kind::WHOLE, &[&value.to_le_bytes()])
}

fn send_spinning(sender: &mut Sender, value: u64) {
    while let Err(why) = send(sender, value) {
        assert_eq!(why, LaneError::WouldBlock);
        loom::thread::yield_now();
    }
}

/// The next record, which is there, and whether a byte is owed.
fn take(receiver: &mut Receiver) -> Result<(u64, bool), LaneError> {
    assert_eq!(receiver.peek()?, (8, kind::WHOLE));
    let mut bytes = [0; 8];
    assert_eq!(receiver.read(0, &mut bytes), 8);
    Ok((u64::from_le_bytes(bytes), receiver.release()))
}

fn recv_spinning(receiver: &mut Receiver) -> Result<u64, LaneError> {
    loop {
        match take(receiver) {
            Ok((value, _)) => return Ok(value),
            Err(LaneError::WouldBlock) => loom::thread::yield_now(),
            Err(other) => return Err(other),
        }
    }
}

#[test]
fn records_arrive_once_in_order_round_the_ring() {
    model(|| {
        let (mut sender, mut receiver) = one_way(Mode::Spin);
        let thread = loom::thread::spawn(move || {
            for value in 1..=5 {
                send_spinning(&mut sender, value);
            }
            sender
        });
        for value in 1..=5 {
            assert_eq!(recv_spinning(&mut receiver), Ok(value));
        }
        drop(thread.join().expect("no panic"));
    });
}

#[test]
fn what_was_sent_before_the_close_is_received_before_it_is_told() {
    model(|| {
        let (mut sender, mut receiver) = one_way(Mode::Spin);
        let thread = loom::thread::spawn(move || {
            send_spinning(&mut sender, 7);
            sender.close();
        });
        assert_eq!(recv_spinning(&mut receiver), Ok(7));
        assert_eq!(recv_spinning(&mut receiver), Err(LaneError::Closed));
        thread.join().expect("no panic");
    });
}

#[test]
fn a_sleeping_receiver_is_woken_by_each_record() {
    model(|| {
        let (mut sender, mut receiver) = one_way(Mode::Sleep);
        let thread = loom::thread::spawn(move || {
            send_spinning(&mut sender, 7);
            send_spinning(&mut sender, 8);
            sender
        });
        for value in 7..=8 {
            assert_eq!(receiver.wait(Deadline::NEVER, || true), Ok(()));
            assert_eq!(take(&mut receiver), Ok((value, false)));
        }
        drop(thread.join().expect("no panic"));
    });
}

#[test]
fn a_sleeping_receiver_is_woken_by_the_close() {
    model(|| {
        let (mut sender, mut receiver) = one_way(Mode::Sleep);
        let thread = loom::thread::spawn(move || {
            sender.close();
        });
        assert_eq!(receiver.wait(Deadline::NEVER, || true), Err(LaneError::Closed));
        thread.join().expect("no panic");
    });
}

#[test]
fn sleepers_on_both_sides_are_woken() {
    model(|| {
        let (mut sender, mut receiver) = one_way(Mode::Sleep);
        let mut full = 0;
        while send(&mut sender, full).is_ok() {
            full += 1;
        }
        let thread = loom::thread::spawn(move || {
            for value in 0..=full {
                assert_eq!(receiver.wait(Deadline::NEVER, || true), Ok(()));
                assert_eq!(take(&mut receiver), Ok((value, false)));
            }
            receiver
        });
        assert_eq!(sender.wait_for_room(8, Deadline::NEVER, || true), Ok(()));
        assert_eq!(send(&mut sender, full), Ok(false));
        drop(thread.join().expect("no panic"));
    });
}

/// The socket: as many bytes as were owed.
fn socket() -> &'static AtomicU32 {
    Box::leak(Box::new(AtomicU32::new(0)))
}

fn await_byte(socket: &AtomicU32) {
    while socket.load(Acquire) == 0 {
        loom::thread::yield_now();
    }
}

#[test]
fn a_polling_receiver_gets_a_byte() {
    model(|| {
        let (mut sender, mut receiver) = one_way(Mode::Sleep);
        let socket = socket();
        let thread = loom::thread::spawn(move || {
            for value in 7..=8 {
                if send(&mut sender, value).expect("there is room") {
                    socket.fetch_add(1, Release);
                }
            }
            sender
        });
        let mut got = 0;
        while got < 2 {
            socket.store(0, Relaxed);
            if receiver.arm() {
                await_byte(socket);
            }
            while let Ok((value, _)) = take(&mut receiver) {
                got += 1;
                assert_eq!(value, 6 + got);
            }
        }
        drop(thread.join().expect("no panic"));
    });
}

#[test]
fn a_polling_sender_gets_a_byte() {
    model(|| {
        let (mut sender, mut receiver) = one_way(Mode::Sleep);
        let socket = socket();
        while send(&mut sender, 1).is_ok() {}
        let thread = loom::thread::spawn(move || {
            for _ in 0..2 {
                if take(&mut receiver).expect("there").1 {
                    socket.fetch_add(1, Release);
                }
            }
            receiver
        });
        // Room for two of the three that fit: the first release alone is not worth a byte.
        if sender.arm(24) {
            await_byte(socket);
        }
        assert_eq!(sender.has_room(24), Ok(()));
        drop(thread.join().expect("no panic"));
    });
}

/// The scenarios must be able to fail: a side that asks for a byte and does not look once more is not told.
#[test]
#[should_panic(expected = "nobody told it")]
fn a_request_without_a_second_look_is_caught() {
    model(|| {
        let (mut sender, receiver) = one_way(Mode::Sleep);
        let thread = loom::thread::spawn(move || {
            let owed = send(&mut sender, 7).expect("there is room");
            core::mem::forget(sender);
            owed
        });
        let _ = receiver.arm();
        core::mem::forget(receiver);
        assert!(thread.join().expect("no panic"), "nobody told it");
    });
}
