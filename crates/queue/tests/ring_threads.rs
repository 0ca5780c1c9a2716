//! The ring among threads: nothing is lost, doubled or torn, nobody sleeps for ever, and each producer's messages
//! come in its order.
//!
//! - I1 the memory of a ring is leaked and made of atomics, so it outlives every copy of the ring.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "lends heap memory to a ring")]

use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Relaxed, SeqCst};
use ginnel_layout::{Line, Liveness, ParticipantId};
use ginnel_queue::ring::{NO_INPUT, OnDeath, Ring, RingError, Shape, Taken};
use ginnel_sync::{Deadline, Mode, Waiter};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(120);
const WORDS: usize = 6;

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn id(index: u64) -> ParticipantId {
    ParticipantId::from_index(index as u16)
}

fn ring(capacity: u64, cells: u64, mode: Mode) -> Ring {
    let shape = Shape::new(capacity, 48, cells, OnDeath::Redeliver, mode).expect("a small ring");
    let lines = shape.size().div_ceil(128) as usize;
    let words: &'static [Line<[AtomicU64; 16]>] = Box::leak((0..lines).map(|_| Line::default()).collect());
    let base = NonNull::from(words).cast();
    // SAFETY: I1; nobody else has it yet.
    unsafe { Ring::init(base, &shape) };
    // SAFETY: I1.
    unsafe { Ring::from_raw(base, 128 * lines as u64) }.expect("just made")
}

/// A message that shows when it is torn: the sender, a number, and words that follow from them.
fn payload(sender: u64, number: u64) -> [u8; 8 * WORDS] {
    let mut bytes = [0; 8 * WORDS];
    for (i, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let word = if i == 0 { sender << 48 | number } else { (sender << 48 | number) ^ (i as u64 * 0x9e37) };
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Sender and number of a message, checked against the rest of it.
fn read(bytes: &[u8; 8 * WORDS]) -> (u64, u64) {
    let first = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let (sender, number) = (first >> 48, first & ((1 << 48) - 1));
    assert_eq!(*bytes, payload(sender, number), "torn");
    (sender, number)
}

fn read_taken(taken: &Taken<'_>) -> (u64, u64) {
    let mut bytes = [0; 8 * WORDS];
    taken.read(0, &mut bytes);
    assert_eq!(taken.len(), 8 * WORDS as u64);
    read(&bytes)
}

/// What a consumer does with messages.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    /// Takes and acknowledges.
    Take,
    /// The same, and some producers and consumers change their mind.
    Fickle,
    /// Leases, and puts some back.
    Lease,
}

struct Run {
    ring: Ring,
    style: Style,
    producers: u64,
    messages: u64,
    /// How often each message was acknowledged, by sender and number.
    seen: Vec<AtomicU64>,
}

impl Run {
    fn produce(&self, sender: u64) {
        let (me, mut waiter) = (id(sender), Waiter::new(self.ring.shape().mode));
        let mut rng = Rng::new(sender);
        let mut number = 0;
        while number < self.messages {
            let claim = self.ring.wait_claim(me, &mut waiter, Deadline::NEVER, &EverybodyLives);
            let mut claim = claim.expect("open");
            if self.style == Style::Fickle && rng.below(8) == 0 {
                continue;
            }
            claim.write(0, &payload(sender, number));
            claim.commit(8 * WORDS as u64, 0);
            number += 1;
        }
    }

    fn consume(&self, index: u64) {
        let (me, mut waiter) = (id(self.producers + index), Waiter::new(self.ring.shape().mode));
        let mut rng = Rng::new(1000 + index);
        let mut last = vec![None; self.producers as usize];
        loop {
            let fickle = self.style != Style::Take && rng.below(8) == 0;
            let got = if self.style == Style::Lease {
                self.lease(me, &mut waiter, fickle)
            } else {
                self.take(me, &mut waiter, fickle)
            };
            match got {
                Ok(Some((sender, number))) => {
                    self.seen[(sender * self.messages + number) as usize].fetch_add(1, Relaxed);
                    let before = last[sender as usize].replace(number);
                    assert!(self.style != Style::Take || before < Some(number), "out of order");
                }
                Ok(None) => {}
                Err(RingError::Closed) => return,
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    fn take(
        &self,
        me: ParticipantId,
        waiter: &mut Waiter,
        fickle: bool,
    ) -> Result<Option<(u64, u64)>, RingError> {
        let taken = self.ring.wait_take(me, waiter, Deadline::NEVER, &EverybodyLives)?;
        if fickle {
            return Ok(None);
        }
        let got = read_taken(&taken);
        taken.release();
        Ok(Some(got))
    }

    fn lease(
        &self,
        me: ParticipantId,
        waiter: &mut Waiter,
        fickle: bool,
    ) -> Result<Option<(u64, u64)>, RingError> {
        let held = self.ring.wait_lease(me, waiter, Deadline::NEVER, &EverybodyLives)?;
        let mut bytes = [0; 8 * WORDS];
        self.ring.read_cell(&held, 0, &mut bytes);
        let got = read(&bytes);
        if fickle {
            assert!(self.ring.nack(&held));
            return Ok(None);
        }
        assert!(self.ring.ack(&held));
        Ok(Some(got))
    }
}

fn run(capacity: u64, threads: u64, mode: Mode, style: Style) {
    let messages = if mode == Mode::Adaptive { 20_000 } else { 2_000 } / threads;
    let run = Run {
        ring: ring(capacity, 2, mode),
        style,
        producers: threads,
        messages,
        seen: (0..threads * messages).map(|_| AtomicU64::new(0)).collect(),
    };
    thread::scope(|scope| {
        let senders: Vec<_> = (0..threads)
            .map(|sender| {
                scope.spawn({
                    let run = &run;
                    move || run.produce(sender)
                })
            })
            .collect();
        for index in 0..threads {
            let run = &run;
            scope.spawn(move || run.consume(index));
        }
        for sender in senders {
            sender.join().expect("no panic");
        }
        run.ring.close(NO_INPUT);
    });
    assert!(run.seen.iter().all(|count| count.load(SeqCst) == 1), "lost or doubled");
    assert!(run.ring.is_done());
    let stats = run.ring.stats();
    assert_eq!((stats.depth, stats.leased, stats.owners), (0, 0, [0; 4]));
    assert_eq!((stats.waiting_consumers, stats.waiting_producers), ([0; 4], [0; 4]));
}

fn run_all(name: &str, style: Style) {
    let _watchdog = Watchdog::new(name, LIMIT);
    for threads in [1, 2, 4] {
        for capacity in [1, 2, 16] {
            run(capacity, threads, Mode::Adaptive, style);
            run(capacity, threads, Mode::Sleep, style);
        }
    }
}

#[test]
fn threads_exchange_messages() {
    run_all("threads_exchange_messages", Style::Take);
}

#[test]
fn threads_that_change_their_minds_lose_nothing() {
    run_all("threads_that_change_their_minds_lose_nothing", Style::Fickle);
}

#[test]
fn leases_put_back_are_delivered_until_acknowledged() {
    run_all("leases_put_back_are_delivered_until_acknowledged", Style::Lease);
}

#[test]
fn spinners_need_no_wakes() {
    let _watchdog = Watchdog::new("spinners_need_no_wakes", LIMIT);
    run(2, 1, Mode::Spin, Style::Take);
    run(2, 1, Mode::Spin, Style::Lease);
}

#[test]
fn who_waits_for_the_end_of_all_work_is_told() {
    let _watchdog = Watchdog::new("who_waits_for_the_end_of_all_work_is_told", LIMIT);
    for lease in [false, true] {
        let ring = ring(4, 2, Mode::Sleep);
        let acknowledged = AtomicU64::new(0);
        thread::scope(|scope| {
            for index in 0..2 {
                let (ring, acknowledged) = (&ring, &acknowledged);
                scope.spawn(move || {
                    let (me, mut waiter) = (id(1 + index), Waiter::new(Mode::Sleep));
                    loop {
                        if lease {
                            match ring.wait_lease(me, &mut waiter, Deadline::NEVER, &EverybodyLives) {
                                Ok(held) => {
                                    acknowledged.fetch_add(1, SeqCst);
                                    assert!(ring.ack(&held));
                                }
                                Err(why) => return assert_eq!(why, RingError::Closed),
                            }
                        } else {
                            match ring.wait_take(me, &mut waiter, Deadline::NEVER, &EverybodyLives) {
                                Ok(taken) => {
                                    acknowledged.fetch_add(1, SeqCst);
                                    taken.release();
                                }
                                Err(why) => return assert_eq!(why, RingError::Closed),
                            }
                        }
                    }
                });
            }
            let mut waiter = Waiter::new(Mode::Sleep);
            for sent in 1..=300 {
                let claim = ring.wait_claim(id(0), &mut waiter, Deadline::NEVER, &EverybodyLives);
                claim.expect("open").commit(0, 0);
                if sent % 3 == 0 {
                    assert_eq!(ring.wait_done(&mut waiter, Deadline::NEVER, &EverybodyLives), Ok(()));
                    assert_eq!(acknowledged.load(SeqCst), sent);
                }
            }
            ring.close(NO_INPUT);
        });
    }
}

/// Requests and answers over two rings of one slot: a missed wake shows as a slice, many as a hang.
#[test]
fn two_threads_answer_each_other() {
    let _watchdog = Watchdog::new("two_threads_answer_each_other", LIMIT);
    for mode in [Mode::Adaptive, Mode::Sleep] {
        let (there, back) = (ring(1, 0, mode), ring(1, 0, mode));
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut waiters = (Waiter::new(mode), Waiter::new(mode));
                for number in 0..2000 {
                    let taken = there.wait_take(id(1), &mut waiters.0, Deadline::NEVER, &EverybodyLives);
                    let taken = taken.expect("open");
                    assert_eq!(read_taken(&taken), (0, number));
                    taken.release();
                    let claim = back.wait_claim(id(1), &mut waiters.1, Deadline::NEVER, &EverybodyLives);
                    let mut claim = claim.expect("open");
                    claim.write(0, &payload(1, number));
                    claim.commit(8 * WORDS as u64, 0);
                }
            });
            let mut waiters = (Waiter::new(mode), Waiter::new(mode));
            for number in 0..2000 {
                let claim = there.wait_claim(id(0), &mut waiters.0, Deadline::NEVER, &EverybodyLives);
                let mut claim = claim.expect("open");
                claim.write(0, &payload(0, number));
                claim.commit(8 * WORDS as u64, 0);
                let taken = back.wait_take(id(0), &mut waiters.1, Deadline::NEVER, &EverybodyLives);
                let taken = taken.expect("open");
                assert_eq!(read_taken(&taken), (1, number));
                taken.release();
            }
        });
    }
}
