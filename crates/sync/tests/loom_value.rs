//! Models: a value in two copies, under every interleaving and every reordering loom finds within its bounds. Readers see
//! whole values only, never an older one after a newer one, and what a dead writer left is nobody's.
//!
//! Two of them show that the models can fail: a reader that does not look again, and a writer without its fence.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-sync --test loom_value`.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::lock::LockWords;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::twin::Twin;
use ginnel_sync::{Deadline, Holder, Mode, Waiter, mutex};
use loom::thread;

fn model(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(scenario);
}

struct Immortal;

impl Liveness for Immortal {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

/// A value of two words, which are equal in every whole one.
#[derive(Default)]
struct Value {
    lock: LockWords,
    number: AtomicU64,
    copies: [[AtomicU64; 2]; 2],
}

impl Value {
    fn twin(&self) -> Twin<'_> {
        Twin { number: &self.number, copies: [&self.copies[0], &self.copies[1]] }
    }

    fn write(&self, value: u64) {
        self.twin().write(value.to_ne_bytes().repeat(2).as_slice());
    }

    fn read(&self) -> u64 {
        let mut out = [0; 16];
        self.twin().read(&mut out);
        whole(&out)
    }

    /// Adds one under the lock.
    fn increase(&self, me: u16) {
        let me = Holder::new(id(me), 1).expect("a thread");
        let locked =
            mutex::lock_in(&self.lock, me, &mut Waiter::new(Mode::Sleep), Deadline::NEVER, &Immortal)
                .expect("nobody dies");
        let mut out = [0; 16];
        self.twin().current(&mut out);
        self.write(whole(&out) + 1);
        mutex::unlock_in(&self.lock, locked, true);
    }
}

fn whole(out: &[u8; 16]) -> u64 {
    let [one, two] = *out.as_chunks::<8>().0 else { panic!("two words") };
    assert_eq!(one, two, "halves of two values");
    u64::from_ne_bytes(one)
}

#[test]
fn a_reader_beside_a_writer_sees_whole_values_in_their_order() {
    model(3, || {
        let value = Arc::new(Value::default());
        let writer = {
            let value = Arc::clone(&value);
            thread::spawn(move || (1..=3).for_each(|turn| value.write(turn)))
        };
        let (one, two) = (value.read(), value.read());
        assert!(one <= two && two <= 3, "{one} {two}");
        writer.join().unwrap();
        assert_eq!(value.read(), 3);
    });
}

#[test]
fn two_writers_lose_no_update_and_a_reader_between_them_sees_whole_values() {
    model(2, || {
        let value = Arc::new(Value::default());
        let writers = [1, 2].map(|me| {
            let value = Arc::clone(&value);
            thread::spawn(move || value.increase(me))
        });
        let (one, two) = (value.read(), value.read());
        assert!(one <= two && two <= 2, "{one} {two}");
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(value.read(), 2);
    });
}

/// The first writer dies with one word of two written; recovery frees the lock; the next one writes.
#[test]
fn a_writer_that_died_half_way_is_not_seen() {
    model(2, || {
        let value = Arc::new(Value::default());
        value.write(1);
        let heirs = {
            let value = Arc::clone(&value);
            thread::spawn(move || {
                let dead = Holder::new(id(1), 1).expect("a thread");
                let _dies = mutex::try_lock_in(&value.lock, dead).unwrap().expect("free");
                let next = value.number.load(Relaxed) + 1;
                value.copies[(next & 1) as usize][0].store(99, Relaxed);
                mutex::recover_in(&value.lock, id(1), false);
                value.increase(2);
                value.increase(2);
            })
        };
        let (one, two) = (value.read(), value.read());
        assert!(1 <= one && one <= two && two <= 3, "{one} {two}");
        heirs.join().unwrap();
        assert_eq!(value.read(), 3);
    });
}

#[test]
#[should_panic(expected = "halves of two values")]
fn a_reader_that_does_not_look_again_sees_halves() {
    model(3, || {
        let value = Arc::new(Value::default());
        let writer = {
            let value = Arc::clone(&value);
            thread::spawn(move || (1..=2).for_each(|turn| value.write(turn)))
        };
        let number = value.number.load(Acquire);
        let words = &value.copies[(number & 1) as usize];
        let out = [words[0].load(Relaxed).to_ne_bytes(), words[1].load(Relaxed).to_ne_bytes()].concat();
        whole(&out.try_into().expect("two words"));
        writer.join().unwrap();
    });
}

/// Without the fence the words of the next value may be seen before the number that was stored earlier.
#[test]
#[should_panic(expected = "halves of two values")]
fn a_writer_without_its_fence_is_seen_by_halves() {
    model(3, || {
        let value = Arc::new(Value::default());
        let writer = {
            let value = Arc::clone(&value);
            thread::spawn(move || {
                for turn in 1..=2_u64 {
                    let words = &value.copies[(turn & 1) as usize];
                    words.iter().for_each(|word| word.store(turn, Relaxed));
                    value.number.store(turn, Release);
                }
            })
        };
        value.read();
        writer.join().unwrap();
    });
}
