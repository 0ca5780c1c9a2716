//! The untrusted lane in the memory it is made for: two sealed files, one side of which may write anything.
//!
//! - I1 the memory of both sides lives in a [`Pair`], or is leaked, and so outlives the ends made of it.
//! - I2 words of a side are reached at offsets below the length of its mapping, at multiples of their size, as atomics.
#![allow(unsafe_code, reason = "lends mapped memory to ends, and writes into it what no correct side would")]

use std::ptr::NonNull;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_layout::atomic::Ordering::{Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::line::PAGE;
use ginnel_layout::record::{RecordHeader, kind};
use ginnel_queue::lane::LaneError;
use ginnel_queue::untrusted::{OtherHalf, OwnHalf, Receiver, Sender, ends};
use ginnel_segment::sealed::{Foreign, Own};
use ginnel_sync::{Deadline, Mode};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(120);
const RING: u64 = 4096;

/// Both sides of a connection in one process: what each has written itself, and what it sees of the other.
struct Pair {
    a: Own,
    b: Own,
    a_sees: Foreign,
    b_sees: Foreign,
}

impl Pair {
    fn new(a: u64, b: u64) -> Self {
        let ((a, a_fd), (b, b_fd)) = (Own::create(a).expect("made"), Own::create(b).expect("made"));
        let b_sees = Foreign::map(a_fd, a.size()).expect("proved");
        let a_sees = Foreign::map(b_fd, b.size()).expect("proved");
        Self { a, b, a_sees, b_sees }
    }

    fn leaked() -> &'static Self {
        Box::leak(Box::new(Self::new(RING, RING)))
    }

    fn ends_of_a(&self, mode: Mode) -> (Sender, Receiver) {
        ends(own(&self.a), other(&self.a_sees), mode)
    }

    fn ends_of_b(&self, mode: Mode) -> (Sender, Receiver) {
        ends(own(&self.b), other(&self.b_sees), mode)
    }

    /// Word `index` of what B writes: the page first, then the ring.
    fn word_of_b(&self, index: usize) -> &AtomicU64 {
        let (page, ring) = (self.b.control().cast::<AtomicU64>(), self.b.ring().cast::<AtomicU64>());
        let words = PAGE / 8;
        let at = if index < words {
            page.as_ptr().wrapping_add(index)
        } else {
            ring.as_ptr().wrapping_add(index - words)
        };
        assert!(index < words + self.b.size() as usize / 8, "word {index}");
        // SAFETY: I1, I2.
        unsafe { &*at }
    }

    fn half_word_of_b(&self, index: usize) -> &AtomicU32 {
        let word = NonNull::from(self.word_of_b(index / 2)).cast::<AtomicU32>();
        // SAFETY: I1, I2: one half of an aligned word.
        unsafe { &*word.as_ptr().wrapping_add(index % 2) }
    }
}

fn own(own: &Own) -> OwnHalf {
    // SAFETY: I1; `Own` promises the rest.
    unsafe { OwnHalf::from_raw(own.control(), own.ring(), own.size()) }
}

fn other(other: &Foreign) -> OtherHalf {
    // SAFETY: I1; `Foreign` promises the rest.
    unsafe { OtherHalf::from_raw(other.control(), other.ring(), other.size()) }
}

fn alive() -> bool {
    true
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(2))
}

fn send(sender: &mut Sender, bytes: &[u8]) -> Result<bool, LaneError> {
    sender.try_send(kind::WHOLE, &[bytes])
}

fn recv(receiver: &mut Receiver) -> Result<Vec<u8>, LaneError> {
    let (len, _) = receiver.peek()?;
    let mut bytes = Vec::new();
    receiver.append(0, &mut bytes);
    assert_eq!(bytes.len() as u64, len);
    receiver.release();
    Ok(bytes)
}

/// Bytes that show where they were torn or taken from elsewhere.
fn pattern(seed: u64, len: u64) -> Vec<u8> {
    (0..len).map(|i| (seed.wrapping_mul(31).wrapping_add(i.wrapping_mul(7)) >> 1) as u8).collect()
}

#[test]
fn records_of_every_length_come_as_they_were_sent() {
    let pair = Pair::new(2 * RING, RING);
    let (mut sender, _unused) = pair.ends_of_a(Mode::Sleep);
    let (_also, mut receiver) = pair.ends_of_b(Mode::Sleep);
    assert_eq!(sender.len_max(), 2 * RING - 16);
    for len in (0..80).chain([1000, 1023, 1024, 1025, 3000, 4096, 5001, 8000, sender.len_max()]) {
        let bytes = pattern(len, len);
        // Gathered from pieces, one of them empty.
        let (left, right) = bytes.split_at(bytes.len() / 3);
        let kind = (len % 6) as u8;
        assert_eq!(sender.try_send(kind, &[left, &[], right]), Ok(false), "{len}");
        assert_eq!(receiver.peek(), Ok((len, kind)));
        let mut copy = vec![9];
        receiver.append(0, &mut copy);
        assert!(copy[0] == 9 && copy[1..] == bytes, "{len}");
        // In pieces, from places that are no multiples of anything.
        for step in [1, 3, 8, 13, 2000] {
            let (mut piece, mut at) = (vec![0; step], 0);
            while at < len {
                let count = receiver.read(at, &mut piece);
                assert_eq!(count as u64, (len - at).min(step as u64));
                assert_eq!(piece[..count], bytes[at as usize..][..count], "{len}, {at}");
                at += count as u64;
            }
            assert_eq!(receiver.read(len, &mut piece), 0);
            assert_eq!(receiver.read(u64::MAX, &mut piece), 0);
        }
        assert!(!receiver.release());
        assert_eq!(receiver.peek(), Err(LaneError::WouldBlock));
        assert!(!receiver.release(), "nothing is there to be released");
        assert_eq!(receiver.read(0, &mut [0; 8]), 0);
    }
}

#[test]
fn a_full_ring_takes_no_more_and_a_release_makes_room() {
    let pair = Pair::new(RING, RING);
    let (mut sender, _unused) = pair.ends_of_a(Mode::Sleep);
    let (_also, mut receiver) = pair.ends_of_b(Mode::Sleep);
    let max = sender.len_max();
    for len in [max + 1, u64::from(u32::MAX) + 1, u64::MAX] {
        assert_eq!(sender.has_room(len), Err(LaneError::TooLarge { len, max }));
    }
    for round in 0..200_u64 {
        let mut sent = 0;
        while send(&mut sender, &pattern(round + sent, 100)).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, (RING - 8) / 112, "round {round}");
        assert_eq!(sender.has_room(100), Err(LaneError::WouldBlock));
        assert_eq!(sender.wait_for_room(100, soon(), alive), Err(LaneError::TimedOut));
        for i in 0..sent {
            assert_eq!(recv(&mut receiver).expect("there"), pattern(round + i, 100));
            if i == 0 {
                assert_eq!(sender.has_room(100), Ok(()));
            }
        }
        assert_eq!(receiver.wait(soon(), alive), Err(LaneError::TimedOut));
    }
}

#[test]
fn what_is_given_up_is_told_after_the_last_record() {
    let pair = Pair::new(RING, RING);
    let (mut a_sends, a_receives) = pair.ends_of_a(Mode::Sleep);
    let (mut b_sends, mut b_receives) = pair.ends_of_b(Mode::Sleep);
    send(&mut a_sends, b"last").expect("room");
    drop(a_sends);
    assert_eq!(recv(&mut b_receives), Ok(b"last".to_vec()));
    assert_eq!(b_receives.peek(), Err(LaneError::Closed));
    assert_eq!(b_receives.wait(Deadline::NEVER, alive), Err(LaneError::Closed));
    assert!(!b_receives.arm());
    assert!(!b_sends.is_closed());
    drop(a_receives);
    assert!(b_sends.is_closed());
    assert_eq!(send(&mut b_sends, b"x"), Err(LaneError::Closed));
    assert_eq!(b_sends.wait_for_room(1, Deadline::NEVER, alive), Err(LaneError::Closed));
    assert!(!b_sends.arm(1));
    b_sends.close();
    b_receives.close();
    assert_eq!(b_receives.peek(), Err(LaneError::Closed));
}

#[test]
fn a_side_that_is_gone_is_told_after_what_it_had_sent() {
    let _dog = Watchdog::new("a side that is gone", LIMIT);
    for mode in [Mode::Sleep, Mode::Adaptive, Mode::Spin] {
        let pair = Pair::new(RING, RING);
        let (mut a_sends, _a) = pair.ends_of_a(mode);
        let (mut b_sends, mut b_receives) = pair.ends_of_b(mode);
        send(&mut a_sends, b"last").expect("room");
        assert_eq!(b_receives.wait(Deadline::NEVER, || false), Ok(()));
        assert_eq!(recv(&mut b_receives), Ok(b"last".to_vec()));
        assert_eq!(b_receives.wait(Deadline::NEVER, || false), Err(LaneError::PeerDied(None)));
        while send(&mut b_sends, &[0; 1000]).is_ok() {}
        assert_eq!(b_sends.wait_for_room(1000, Deadline::NEVER, || false), Err(LaneError::PeerDied(None)));
        // Short waits add up to slices, at whose ends the question is asked too.
        let start = Instant::now();
        while b_receives.wait(soon(), || false) == Err(LaneError::TimedOut) {
            assert!(start.elapsed() < LIMIT);
        }
        assert_eq!(b_receives.peek(), Err(LaneError::WouldBlock));
    }
}

#[test]
fn who_polls_is_owed_one_byte_a_request() {
    let pair = Pair::new(RING, RING);
    let (mut a_sends, _a) = pair.ends_of_a(Mode::Sleep);
    let (_b, mut b_receives) = pair.ends_of_b(Mode::Sleep);
    assert_eq!(send(&mut a_sends, b"1"), Ok(false), "nobody has asked");
    assert!(!b_receives.arm() && b_receives.is_ready(), "there is something to be taken");
    recv(&mut b_receives).expect("there");
    assert!(b_receives.arm() && !b_receives.is_ready());
    assert_eq!(send(&mut a_sends, b"2"), Ok(true));
    assert_eq!(send(&mut a_sends, b"3"), Ok(false), "this request was served");
    recv(&mut b_receives).expect("there");
    recv(&mut b_receives).expect("there");
    assert!(b_receives.arm());
    b_receives.disarm();
    assert_eq!(send(&mut a_sends, b"4"), Ok(false), "it was withdrawn");
    recv(&mut b_receives).expect("there");
    // The same for room: a byte when as much is free as was asked for.
    while send(&mut a_sends, &[0; 504]).is_ok() {}
    assert!(a_sends.arm(1500));
    assert!(!b_receives.release(), "nothing was released");
    b_receives.peek().expect("there");
    assert!(!b_receives.release(), "too little");
    b_receives.peek().expect("there");
    assert!(b_receives.release());
    assert!(!a_sends.arm(1500));
    a_sends.has_room(1500).expect("there is room");
    assert!(!a_sends.arm(u64::MAX), "that will never fit");
    while b_receives.peek().is_ok() {
        assert!(!b_receives.release());
    }
    assert!(b_receives.arm());
    assert!(a_sends.close(), "the end is news, too");
    assert!(!a_sends.close());
    assert_eq!(b_receives.peek(), Err(LaneError::Closed));
}

#[test]
fn headers_that_nobody_sends_end_the_connection_and_no_other() {
    let proper = RecordHeader::one(8).bits();
    let words = [
        12,
        proper & !(1 << 63),
        proper | 1 << 62,
        proper | 1 << 52,
        proper | 6 << 48,
        RecordHeader { len: 8, count: 2, many: false, kind: 0 }.bits(),
        RecordHeader::many(8, 1).bits(),
        RecordHeader::one(RING as u32 - 15).bits(),
        RecordHeader::one(u32::MAX).bits(),
        u64::MAX,
    ];
    let bystander = Pair::new(RING, RING);
    let (mut sends, _c) = bystander.ends_of_b(Mode::Sleep);
    let (_d, mut receives) = bystander.ends_of_a(Mode::Sleep);
    for word in words {
        let pair = Pair::new(RING, RING);
        let (mut a_sends, mut a_receives) = pair.ends_of_a(Mode::Sleep);
        pair.word_of_b(PAGE / 8).store(word, Release);
        assert!(a_receives.is_ready() && !a_receives.arm());
        assert_eq!(a_receives.wait(Deadline::NEVER, alive), Err(LaneError::Corrupted), "{word:x}");
        // For good, whatever comes, and for the other end, too.
        pair.word_of_b(PAGE / 8).store(proper, Release);
        assert_eq!(a_receives.peek(), Err(LaneError::Corrupted));
        assert_eq!(send(&mut a_sends, b"x"), Err(LaneError::Corrupted));
        assert_eq!(a_sends.wait_for_room(1, Deadline::NEVER, alive), Err(LaneError::Corrupted));
        assert!(a_sends.is_closed());
    }
    send(&mut sends, b"well").expect("room");
    assert_eq!(recv(&mut receives), Ok(b"well".to_vec()));
    // The crate above may find more than headers tell.
    let (a_sends, mut a_receives) = bystander.ends_of_a(Mode::Sleep);
    assert!(!a_sends.is_corrupted());
    a_receives.condemn();
    assert!(a_sends.is_corrupted() && a_sends.is_ready(1));
    assert_eq!(a_receives.peek(), Err(LaneError::Corrupted));
}

#[test]
fn heads_that_nobody_has_end_the_connection() {
    // Four records of 1008 bytes were sent. Taken up to here, then up to there.
    for (first, second) in
        [(0, 1), (0, 4040), (0, u64::MAX), (0, 1 << 63), (2016, 1008), (3024, 3023), (3024, 7120)]
    {
        let pair = Pair::new(RING, RING);
        let (mut a_sends, mut a_receives) = pair.ends_of_a(Mode::Sleep);
        while send(&mut a_sends, &[1; 1000]).is_ok() {}
        let head = pair.word_of_b(128 / 8);
        head.store(first, Release);
        assert_eq!(
            a_sends.wait_for_room(4080, soon(), alive),
            Err(LaneError::TimedOut),
            "{first} is possible"
        );
        head.store(second, Release);
        assert!(!a_sends.arm(4080), "there is news");
        assert_eq!(a_sends.wait_for_room(4080, soon(), alive), Err(LaneError::Corrupted), "{first} {second}");
        head.store(4032, Release);
        assert_eq!(send(&mut a_sends, &[]), Err(LaneError::Corrupted));
        assert_eq!(a_receives.peek(), Err(LaneError::Corrupted));
    }
}

/// Two threads, all ways of waiting, rings of different sizes, in both directions at once.
#[test]
fn streams_come_whole_and_in_order() {
    const COUNT: u64 = 20_000;
    let _dog = Watchdog::new("streams", LIMIT);
    for mode in [Mode::Adaptive, Mode::Sleep] {
        let pair: &'static Pair = Box::leak(Box::new(Pair::new(RING, 4 * RING)));
        let len = |i: u64| i.wrapping_mul(0x9e37_79b9) % 300;
        let run = move |(mut sends, mut receives): (Sender, Receiver)| {
            let writer = thread::spawn(move || {
                for i in 0..COUNT {
                    sends.wait_for_room(len(i), Deadline::NEVER, alive).expect("room comes");
                    sends.try_send(kind::WHOLE, &[&pattern(i, len(i))]).expect("there is room");
                }
            });
            let reader = thread::spawn(move || {
                for i in 0..COUNT {
                    receives.wait(Deadline::NEVER, alive).expect("comes");
                    assert!(recv(&mut receives).expect("there") == pattern(i, len(i)), "{i}");
                }
                assert_eq!(receives.wait(Deadline::NEVER, alive), Err(LaneError::Closed));
            });
            [writer, reader]
        };
        for thread in run(pair.ends_of_a(mode)).into_iter().chain(run(pair.ends_of_b(mode))) {
            thread.join().expect("no panic");
        }
    }
}

/// What B writes while A works: nonsense that gets past coarse checks, and past fine ones.
fn scribble(pair: &Pair, rng: &mut Rng) {
    let (page, ring) = (PAGE as u64 / 8, RING / 8);
    let index = match rng.below(4) {
        // The words that mean something: head, the two sequences, wants, mark, closed.
        0 => [16, 32, 48, 64, 65, 66, 67, 68, 69][rng.below(9) as usize],
        1 => rng.below(page) as usize,
        _ => (page + rng.below(ring)) as usize,
    };
    let (old, random) = (pair.word_of_b(index).load(Relaxed), rng.next_u64());
    let new = match rng.below(8) {
        0 => random,
        1 => old ^ 1 << (random % 64),
        2 => old.wrapping_add(8 * (random % 64)),
        3 => old.wrapping_sub(random % 9),
        4 => 0,
        // As closed, a header, or a number, this is what a correct side might write.
        5 => random % 4,
        6 => RecordHeader::of_kind((random % 600) as u32, (random >> 40 & 7) as u8).bits(),
        _ => pair.word_of_b((random % (page + ring)) as usize).load(Relaxed),
    };
    if rng.below(4) == 0 {
        pair.half_word_of_b(2 * index + (random & 1) as usize).store(new as u32, Relaxed);
    } else {
        pair.word_of_b(index).store(new, Relaxed);
    }
}

/// One connection to a side gone mad; how many operations succeeded, and whether it ended as corrupted.
fn meet_a_scribbler(seed: u64) -> (u64, bool) {
    let pair = Pair::leaked();
    let stop = Arc::new(AtomicU32::new(0));
    let stopped = Arc::clone(&stop);
    let scribbler = thread::spawn(move || {
        let mut rng = Rng::new(seed);
        while stopped.load(Relaxed) == 0 {
            scribble(pair, &mut rng);
            for _ in 0..rng.below(200) {
                ginnel_layout::atomic::spin_loop();
            }
        }
    });
    let mode = if seed.is_multiple_of(2) { Mode::Sleep } else { Mode::Adaptive };
    let (mut sends, mut receives) = pair.ends_of_a(mode);
    let mut rng = Rng::new(!seed);
    let (mut done, mut corrupted) = (0, false);
    for _ in 0..400 {
        let deadline = Deadline::after(Duration::from_micros(rng.below(300)));
        let result = match rng.below(8) {
            0 => sends.wait_for_room(rng.below(RING), deadline, alive),
            1 | 2 => sends.try_send(kind::FIRST, &[&[7; 8], &[8; 200][..rng.below(200) as usize]]).map(drop),
            3 => {
                let _ = (receives.arm(), sends.arm(rng.below(RING)));
                receives.disarm();
                Ok(())
            }
            4 => receives.wait(deadline, alive),
            _ => receives.peek().map(|(len, kind)| {
                assert!(len <= RING - 16 && kind <= kind::LAST_CARRIES);
                let mut bytes = Vec::new();
                receives.append(rng.below(20), &mut bytes);
                receives.read(rng.below(RING), &mut [0; 64]);
                receives.release();
            }),
        };
        done += u64::from(result.is_ok());
        corrupted |= result == Err(LaneError::Corrupted);
        if corrupted {
            assert_eq!(receives.peek(), Err(LaneError::Corrupted));
            assert_eq!(sends.has_room(1), Err(LaneError::Corrupted));
        }
    }
    stop.store(1, SeqCst);
    scribbler.join().expect("no panic");
    (done, corrupted)
}

#[test]
fn a_side_gone_mad_costs_its_connection_and_nothing_else() {
    let dog = Watchdog::new("a side gone mad", LIMIT);
    let (mut done, mut corrupted) = (0, 0);
    for seed in 0..300 {
        dog.waits_for(format!("the connection of seed {seed}"));
        let start = Instant::now();
        let (some, ended) = meet_a_scribbler(seed);
        // 400 operations of at most 0.3 ms and a slice each would take 8 s.
        assert!(start.elapsed() < Duration::from_secs(30), "seed {seed} took {:?}", start.elapsed());
        done += some;
        corrupted += u64::from(ended);
    }
    assert!(done > 3000 && corrupted > 100, "{done} operations, {corrupted} connections ended: too tame");
}

/// A side that wakes us all the time and sends nothing: the deadline holds.
#[test]
fn wakes_without_a_record_do_not_keep_a_wait_beyond_its_deadline() {
    let _dog = Watchdog::new("wakes without a record", LIMIT);
    let pair = Pair::leaked();
    let stop = Arc::new(AtomicU32::new(0));
    let stopped = Arc::clone(&stop);
    let waker = thread::spawn(move || {
        let post = pair.half_word_of_b(256 / 4);
        while stopped.load(Relaxed) == 0 {
            post.fetch_add(1, Relaxed);
            ginnel_sync::futex::wake(post, 1);
        }
    });
    let (_s, mut receives) = pair.ends_of_a(Mode::Sleep);
    let (start, mut asked) = (Instant::now(), 0);
    let ended = receives.wait(Deadline::after(Duration::from_millis(150)), || {
        asked += 1;
        true
    });
    assert_eq!(ended, Err(LaneError::TimedOut));
    assert!(asked >= 2, "asked {asked} times in {:?}", start.elapsed());
    stop.store(1, SeqCst);
    waker.join().expect("no panic");
}
