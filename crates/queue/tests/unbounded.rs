//! A ring whose memory comes and goes: what it takes and gives back, what is refused, what a death leaves; and many
//! laps among threads.
//!
//! - I1 the memory of a ring is leaked and made of atomics, so it outlives every copy of the ring.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "lends heap memory to a ring")]

use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

use ginnel_layout::atomic::Ordering::{Relaxed, SeqCst};
use ginnel_layout::atomic::{AtomicU64, spin_loop};
use ginnel_layout::ring::{POSITION_MAX, PresenceWord, SLOTS_AT};
use ginnel_layout::{Line, Liveness, ParticipantId};
use ginnel_queue::ring::{Claim, Memory, NO_INPUT, OnDeath, Ring, RingError, Shape, Taken};
use ginnel_sync::{Deadline, Mode, Waiter};
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(120);
/// Slots of 1024 bytes, so that a chunk of four is a page.
const PAYLOAD: u64 = 1008;
const CHUNK: u64 = 4;

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn id(index: u64) -> ParticipantId {
    ParticipantId::from_index(index as u16)
}

/// Memory that knows which of it may be used, and is zero whenever it comes and goes.
struct Heap {
    words: &'static [Line<[AtomicU64; 16]>],
    slots_at: u64,
    /// A word for each chunk: does it have memory?
    chunks: Vec<AtomicU64>,
    /// Chunks that may have memory at a time, and how many have.
    most: AtomicU64,
    used: AtomicU64,
}

impl Heap {
    fn chunk(&self, offset: u64, len: u64) -> &AtomicU64 {
        assert_eq!(len, CHUNK * 1024);
        assert!((offset - self.slots_at).is_multiple_of(len));
        &self.chunks[((offset - self.slots_at) / len) as usize]
    }

    fn clear(&self, offset: u64, len: u64) {
        for line in &self.words[offset as usize / 128..(offset + len) as usize / 128] {
            line.iter().for_each(|word| word.store(0, Relaxed));
        }
    }

    fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

impl Memory for Heap {
    fn set_aside(&self, offset: u64, len: u64) -> bool {
        if self.used() >= self.most.load(Relaxed) {
            return false;
        }
        if self.chunk(offset, len).swap(1, Relaxed) == 0 {
            self.used.fetch_add(1, Relaxed);
        }
        true
    }

    fn punch(&self, offset: u64, len: u64) {
        assert_eq!(self.chunk(offset, len).swap(0, Relaxed), 1, "punched twice");
        self.clear(offset, len);
        self.used.fetch_sub(1, Relaxed);
    }
}

fn ring_with(capacity: u64, cells: u64, mode: Mode) -> (Ring, Heap) {
    let shape = Shape::new(capacity, PAYLOAD, cells, OnDeath::Redeliver, mode).expect("a small ring");
    let shape = shape.chunked(CHUNK).expect("chunks of a page");
    let lines = shape.size().div_ceil(128) as usize;
    let words: &'static [Line<[AtomicU64; 16]>] = Box::leak((0..lines).map(|_| Line::default()).collect());
    let base = NonNull::from(words).cast();
    // SAFETY: I1; nobody else has it yet.
    unsafe { Ring::init(base, &shape) };
    // SAFETY: I1.
    let ring = unsafe { Ring::from_raw(base, 128 * lines as u64) }.expect("just made");
    assert_eq!(ring.shape(), &shape);
    let chunks = (0..capacity / CHUNK).map(|_| AtomicU64::new(0)).collect();
    let most = AtomicU64::new(u64::MAX);
    (ring, Heap { words, slots_at: shape.fixed_size(), chunks, most, used: AtomicU64::new(0) })
}

fn ring(capacity: u64) -> (Ring, Heap) {
    ring_with(capacity, 2, Mode::Sleep)
}

fn claim<'a>(ring: &'a Ring, heap: &Heap, me: ParticipantId) -> Result<Claim<'a>, RingError> {
    loop {
        match ring.try_claim(me) {
            Err(RingError::Hole(position)) => ring.open(me, position, heap, None, &EverybodyLives)?,
            result => return result,
        }
    }
}

fn send(ring: &Ring, heap: &Heap, number: u64) -> Result<(), RingError> {
    let mut claim = claim(ring, heap, id(0))?;
    claim.write(0, &number.to_le_bytes());
    claim.commit(8, 0);
    Ok(())
}

fn number(taken: &Taken<'_>) -> u64 {
    let mut bytes = [0; 8];
    taken.read(0, &mut bytes);
    u64::from_le_bytes(bytes)
}

fn finish(ring: &Ring, heap: &Heap, me: ParticipantId, taken: Taken<'_>) {
    let position = taken.position();
    taken.release();
    if ring.ends_chunk(position) {
        ring.punch(me, position, heap);
    }
}

fn take(ring: &Ring, heap: &Heap) -> Result<u64, RingError> {
    let taken = ring.try_take(id(1))?;
    let number = number(&taken);
    finish(ring, heap, id(1), taken);
    Ok(number)
}

#[test]
fn shapes_have_whole_chunks() {
    let shape = Shape::new(64, PAYLOAD, 3, OnDeath::Drop, Mode::Sleep).expect("a small ring");
    assert_eq!(shape.chunk, 0);
    assert_eq!(shape.size(), shape.fixed_size());
    for chunk in [0, 2, 3, 128] {
        assert_eq!(shape.chunked(chunk), None, "{chunk}");
    }
    let chunked = shape.chunked(4).expect("a page");
    assert_eq!(chunked.size() - chunked.fixed_size(), 64 * 1024);
    assert!(chunked.fixed_size().is_multiple_of(4096) && chunked.fixed_size() > SLOTS_AT + 16 * 8);
}

#[test]
fn memory_comes_with_messages_and_goes_with_them() {
    let (ring, heap) = ring(16);
    assert_eq!(ring.try_take(id(1)).err(), Some(RingError::Hole(16)));
    assert_eq!((heap.used(), ring.stats().depth, ring.is_done()), (0, 0, true));
    let (mut sent, mut received) = (0, 0);
    for burst in (0..200).map(|i| i * 7 % 17) {
        for _ in 0..burst {
            send(&ring, &heap, sent).expect("room");
            sent += 1;
        }
        assert_eq!(ring.stats().depth, burst);
        assert!(heap.used() >= burst / CHUNK && heap.used() <= burst.div_ceil(CHUNK) + 1);
        for _ in 0..burst {
            assert_eq!(take(&ring, &heap), Ok(received));
            received += 1;
        }
        assert!(heap.used() <= 1, "{} chunks for no message", heap.used());
        assert!(matches!(take(&ring, &heap), Err(RingError::Hole(_) | RingError::WouldBlock)));
    }
    assert!(received > 50 * 16, "many laps");
}

#[test]
fn a_full_ring_is_full_and_memory_is_refused() {
    let (ring, heap) = ring(16);
    heap.most.store(3, Relaxed);
    for number in 0..12 {
        send(&ring, &heap, number).expect("memory");
    }
    assert_eq!(send(&ring, &heap, 12), Err(RingError::NoMemory));
    assert_eq!(take(&ring, &heap), Ok(0));
    assert_eq!(send(&ring, &heap, 12), Err(RingError::NoMemory));
    heap.most.store(4, Relaxed);
    for number in 12..16 {
        send(&ring, &heap, number).expect("memory");
    }
    send(&ring, &heap, 16).expect("the slot of the first");
    assert_eq!(send(&ring, &heap, 17), Err(RingError::WouldBlock));
    for number in 1..17 {
        assert_eq!(take(&ring, &heap), Ok(number));
    }
}

#[test]
fn an_open_without_memory_takes_it_from_where_it_is_not_used() {
    let (ring, heap) = ring(16);
    for number in 0..4 {
        send(&ring, &heap, number).expect("memory");
    }
    // The last of the chunk is acknowledged first, so that nobody punches it.
    let held: Vec<_> = (0..4).map(|_| ring.try_take(id(1)).expect("a message")).collect();
    held.into_iter().rev().for_each(|taken| finish(&ring, &heap, id(1), taken));
    assert_eq!(heap.used(), 1);
    heap.most.store(1, Relaxed);
    send(&ring, &heap, 4).expect("the memory of the first chunk");
    assert_eq!((heap.used(), take(&ring, &heap)), (1, Ok(4)));
}

#[test]
fn a_stale_position_opens_nothing_in_the_wrong_lap() {
    let (ring, heap) = ring(8);
    for number in 0..8 {
        send(&ring, &heap, number).expect("memory");
        assert_eq!(take(&ring, &heap), Ok(number));
    }
    assert_eq!(heap.used(), 0);
    ring.open(id(0), 8, &heap, None, &EverybodyLives).expect("memory");
    for number in 8..20 {
        send(&ring, &heap, number).expect("memory");
        assert_eq!(take(&ring, &heap), Ok(number));
    }
}

#[test]
fn who_sleeps_at_a_word_keeps_its_chunk() {
    let _watchdog = Watchdog::new("unbounded", LIMIT);
    let (ring, heap) = ring(16);
    ring.open(id(1), 16, &heap, None, &EverybodyLives).expect("memory");
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let mut waiter = Waiter::new(Mode::Sleep);
            let taken = ring.wait_take(id(1), &mut waiter, Deadline::NEVER, &EverybodyLives);
            number(&taken.expect("a message"))
        });
        while ring.stats().waiting_consumers[0] == 0 {
            spin_loop();
        }
        // It has set W, or is about to: then a punch now makes it look again, and say `Hole`.
        while heap.words[heap.slots_at as usize / 128].0[0].load(SeqCst) & 4 == 0 {
            spin_loop();
        }
        ring.punch(id(0), 16, &heap);
        assert_eq!(heap.used(), 1);
        send(&ring, &heap, 5).expect("room");
        assert_eq!(sleeper.join().expect("no panic"), 5);
    });
}

#[test]
fn what_a_death_leaves_is_recovered_where_memory_is() {
    let (ring, heap) = ring(16);
    for number in 0..6 {
        send(&ring, &heap, number).expect("memory");
    }
    std::mem::forget(claim(&ring, &heap, id(5)).expect("room"));
    std::mem::forget(ring.try_take(id(5)).expect("a message"));
    assert_eq!(ring.stats().owners[0], 1 << 5);
    ring.recover(id(5));
    assert_eq!(ring.stats().owners[0], 0);
    let mut got: Vec<_> = std::iter::from_fn(|| take(&ring, &heap).ok()).collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4, 5]);
    assert!(ring.is_done());
    ring.close(NO_INPUT);
    assert_eq!(take(&ring, &heap), Err(RingError::Closed));
}

/// What was left by who died while it opened or punched: PRESENT and words that are 0, under a lock it still holds.
#[test]
fn a_half_open_chunk_is_opened_by_the_next() {
    let (ring, heap) = ring(16);
    for left in 0..CHUNK {
        for number in 0..4 {
            send(&ring, &heap, number).expect("memory");
            assert_eq!(take(&ring, &heap), Ok(number));
        }
        let RingError::Hole(position) = ring.try_claim(id(0)).expect_err("a hole") else {
            panic!("the chunk was punched")
        };
        ring.open(id(0), position, &heap, None, &EverybodyLives).expect("memory");
        let first = heap.slots_at / 128 + (position & 15) * 8;
        for step in left..CHUNK {
            heap.words[(first + step * 8) as usize].0[0].store(0, Relaxed);
        }
        for number in 0..4 {
            send(&ring, &heap, number).expect("the rest is filled");
            assert_eq!(take(&ring, &heap), Ok(number));
        }
    }
}

#[test]
fn presence_words_that_nobody_writes_are_told_from_ours() {
    let (ring, heap) = ring(16);
    let presence = &heap.words[SLOTS_AT as usize / 128].0[0];
    for word in [0, 1, u64::MAX, PresenceWord::absent(17).0, PresenceWord::present(POSITION_MAX - 2).0] {
        presence.store(word, Relaxed);
        for _ in 0..3 {
            if let Err(RingError::Hole(position)) = ring.try_claim(id(0)).map(drop) {
                let _ = ring.open(id(0), position, &heap, None, &EverybodyLives);
            }
            let _ = ring.try_take(id(1)).map(drop);
            ring.punch(id(1), 19, &heap);
        }
        assert!(ring.stats().depth <= 16);
        ring.recover(id(3));
    }
    assert_eq!(ring.open(id(0), 16, &heap, None, &EverybodyLives), Err(RingError::Corrupted));
}

#[test]
fn leases_free_their_slots() {
    let (ring, heap) = ring(16);
    for number in 0..8 {
        send(&ring, &heap, number).expect("memory");
    }
    let leases: Vec<_> = (0..2).map(|_| ring.try_lease(id(1)).expect("a cell")).collect();
    assert_eq!(ring.try_lease(id(1)), Err(RingError::NoCell));
    assert!(ring.nack(&leases[1]) && ring.ack(&leases[0]));
    let mut got: Vec<_> = (0..7).map(|_| take(&ring, &heap).expect("a message")).collect();
    got.sort_unstable();
    assert_eq!((got, heap.used()), ((1..8).collect(), 0));
}

fn produce(ring: &Ring, heap: &Heap, sender: u64, messages: u64) {
    let (me, mut waiter) = (id(sender), Waiter::new(ring.shape().mode));
    for number in 0..messages {
        let mut claim = loop {
            match ring.wait_claim(me, &mut waiter, Deadline::NEVER, &EverybodyLives) {
                Err(RingError::Hole(position)) => ring
                    .open(me, position, heap, Some(Deadline::NEVER), &EverybodyLives)
                    .expect("memory without end"),
                claim => break claim.expect("open"),
            }
        };
        claim.write(0, &(sender << 32 | number).to_le_bytes());
        claim.commit(8, 0);
    }
}

fn consume(ring: &Ring, heap: &Heap, index: u64, seen: &[Vec<AtomicU64>]) {
    let (me, mut waiter) = (id(index), Waiter::new(ring.shape().mode));
    let mut last = vec![None; seen.len()];
    loop {
        let taken = match ring.wait_take(me, &mut waiter, Deadline::NEVER, &EverybodyLives) {
            Err(RingError::Hole(position)) => {
                ring.open(me, position, heap, Some(Deadline::NEVER), &EverybodyLives).expect("memory");
                continue;
            }
            Err(RingError::Closed) => return,
            taken => taken.expect("a message"),
        };
        let (sender, at) = ((number(&taken) >> 32) as usize, number(&taken) & u64::from(u32::MAX));
        finish(ring, heap, me, taken);
        assert!(last[sender].replace(at) < Some(at), "out of order");
        seen[sender][at as usize].fetch_add(1, SeqCst);
    }
}

fn many_laps(capacity: u64, mode: Mode, messages: u64) {
    let _watchdog = Watchdog::new("unbounded", LIMIT);
    let (ring, heap) = ring_with(capacity, 1, mode);
    let seen: Vec<Vec<_>> = (0..2).map(|_| (0..messages).map(|_| AtomicU64::new(0)).collect()).collect();
    thread::scope(|scope| {
        let (ring, heap, seen) = (&ring, &heap, &seen);
        let producers = [0, 1].map(|sender| scope.spawn(move || produce(ring, heap, sender, messages)));
        for index in 2..4 {
            scope.spawn(move || consume(ring, heap, index, seen));
        }
        producers.into_iter().for_each(|producer| producer.join().expect("no panic"));
        ring.close(NO_INPUT);
    });
    assert!(seen.iter().flatten().all(|count| count.load(SeqCst) == 1), "each message once");
    assert!(ring.is_done());
}

#[test]
fn two_and_two_over_many_laps_asleep() {
    many_laps(8, Mode::Sleep, 30_000);
}

#[test]
fn two_and_two_over_many_laps_awake() {
    many_laps(16, Mode::Adaptive, 30_000);
}

#[test]
fn two_and_two_with_room() {
    many_laps(256, Mode::Adaptive, 30_000);
}
