//! The broadcast channel among threads of one process, on the heap: who gets what, and what is counted.
//!
//! - I1 the memory of a channel is leaked and made of atomics, so it outlives every reader and writer.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "lends heap memory to a channel")]

use std::cell::Cell;
use std::ptr::NonNull;
use std::time::Duration;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Relaxed, SeqCst};
use ginnel_layout::broadcast::SLOTS_AT;
use ginnel_layout::ring::{POSITION_MAX, SlotWord};
use ginnel_layout::{Line, Liveness, ParticipantId};
use ginnel_queue::broadcast::{Broadcast, BroadcastError, Reader, Shape, View};
use ginnel_sync::{Deadline, Mode, Waiter};
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

fn channel(capacity: u64, payload: u64, mode: Mode) -> (Broadcast, Words) {
    let shape = Shape::new(capacity, payload, mode).expect("a small channel");
    let lines = shape.size().div_ceil(128) as usize;
    let words: Words = Box::leak((0..lines).map(|_| Line::default()).collect());
    let base = NonNull::from(words).cast();
    // SAFETY: I1; nobody else has it yet.
    unsafe { Broadcast::init(base, &shape) };
    // SAFETY: I1.
    let channel = unsafe { Broadcast::from_raw(base, 128 * lines as u64) }.expect("just made");
    (channel, words)
}

/// The word of the slot of `position`.
fn slot(channel: &Broadcast, words: Words, position: u64) -> &'static AtomicU64 {
    let shape = channel.shape();
    let byte = SLOTS_AT + (position & (shape.capacity - 1)) * shape.slot_size;
    &words[(byte / 128) as usize][(byte % 128 / 8) as usize]
}

/// A message that shows when it is torn: the sender, a number, and words that follow from them.
fn payload(sender: u64, number: u64, words: usize) -> Vec<u8> {
    let first = [sender, number];
    let rest = (0..words as u64).map(|i| sender << 48 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i);
    first.into_iter().chain(rest).flat_map(u64::to_le_bytes).collect()
}

fn checked(bytes: &[u8]) -> (u64, u64) {
    let word = |i: usize| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"));
    let (sender, number) = (word(0), word(1));
    assert_eq!(bytes, payload(sender, number, bytes.len() / 8 - 2), "torn: {number} of {sender}");
    (sender, number)
}

fn send(channel: &Broadcast, me: u16, bytes: &[u8]) -> u64 {
    let mut waiter = Waiter::new(channel.shape().mode);
    channel.send(id(me), 0, bytes, &mut waiter, Deadline::NEVER, &EverybodyLives).expect("open")
}

/// What one reader saw until the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    received: u64,
    missed: u64,
    aborted: u64,
}

impl Seen {
    fn all(&self) -> u64 {
        self.received + self.missed + self.aborted
    }
}

/// Reads to the end; numbers of one sender must rise.
fn read_all(mut reader: Reader) -> Seen {
    let (mut seen, mut last) = (Seen::default(), [None; 4]);
    loop {
        match reader.recv(Deadline::NEVER, &EverybodyLives) {
            Ok(message) => {
                let (sender, number) = checked(message.bytes);
                let before = last[sender as usize].replace(number);
                assert!(before < Some(number), "{number} after {before:?}");
                seen.received += 1;
            }
            Err(BroadcastError::Closed) => break,
            Err(BroadcastError::Interrupted) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    Seen { missed: reader.take_missed(), aborted: reader.take_aborted(), ..seen }
}

/// `writers` send `each` messages to `readers`; what everybody must have seen is checked.
fn run(test: &str, (writers, readers): (u16, usize), capacity: u64, each: u64, mode: Mode) -> Vec<Seen> {
    let _dog = Watchdog::new(test, LIMIT);
    let (channel, _) = channel(capacity, 200, mode);
    let readers: Vec<Reader> = (0..readers).map(|_| channel.reader(id(9)).expect("whole")).collect();
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            readers.into_iter().map(|reader| scope.spawn(move || read_all(reader))).collect();
        std::thread::scope(|scope| {
            for writer in 0..writers {
                scope.spawn(move || {
                    for number in 0..each {
                        let bytes = payload(u64::from(writer), number, (number % 23) as usize);
                        send(&channel, writer, &bytes);
                    }
                });
            }
        });
        channel.close();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let sent = u64::from(writers) * each;
    assert_eq!(channel.stats().sent, sent);
    for seen in &seen {
        assert_eq!((seen.all(), seen.aborted), (sent, 0), "{seen:?}");
    }
    seen
}

#[test]
fn one_writer_one_reader() {
    for mode in [Mode::Adaptive, Mode::Sleep] {
        run("one_writer_one_reader", (1, 1), 8, 20_000, mode);
    }
}

#[test]
fn one_writer_three_readers_get_it_all_when_there_is_room() {
    let seen = run("one_writer_three_readers", (1, 3), 8192, 8192, Mode::Adaptive);
    assert!(seen.iter().all(|seen| seen.missed == 0), "{seen:?}");
    run("one_writer_three_readers", (1, 3), 4, 10_000, Mode::Sleep);
}

#[test]
fn two_writers_two_readers() {
    for capacity in [1, 2, 16] {
        for mode in [Mode::Adaptive, Mode::Sleep] {
            run("two_writers_two_readers", (2, 2), capacity, 5_000, mode);
        }
    }
}

#[test]
fn a_slow_reader_is_told_how_many_it_missed() {
    let (channel, _) = channel(4, 48, Mode::Adaptive);
    let mut reader = channel.reader(id(0)).expect("whole");
    assert_eq!(reader.try_recv().map(|_| ()), Err(BroadcastError::WouldBlock));
    for number in 0..11 {
        assert_eq!(channel.try_send(id(1), number as u32, &payload(1, number, 0)), Ok(number));
    }
    assert_eq!(reader.behind(), 11);
    for number in 7..11 {
        let message = reader.try_recv().expect("there");
        assert_eq!((message.position, message.kind), (number, number as u32));
        assert_eq!(checked(message.bytes), (1, number));
    }
    assert_eq!((reader.take_missed(), reader.take_missed()), (7, 0));
    assert_eq!(reader.try_recv().map(|_| ()), Err(BroadcastError::WouldBlock));
}

#[test]
fn a_new_reader_starts_at_the_present() {
    let (channel, _) = channel(4, 48, Mode::Adaptive);
    let first = channel.reader(id(0)).expect("whole");
    channel.try_send(id(1), 0, b"before").expect("room");
    let (mut second, mut view) = (first.subscribe().expect("whole"), view_of(&channel));
    channel.try_send(id(1), 0, b"after").expect("room");
    for reader in [&mut second, &mut view] {
        assert_eq!(reader.try_recv().expect("there").bytes, b"after");
        assert!(reader.try_recv().is_err());
    }
}

/// A reader that stores nothing; here on memory that could be written.
fn view_of(channel: &Broadcast) -> Reader {
    let (twin, words) = self::channel(channel.shape().capacity, 48, Mode::Adaptive);
    for position in 0..channel.stats().sent {
        twin.try_send(id(1), 0, &position.to_le_bytes()).expect("room");
    }
    // SAFETY: I1.
    let view = unsafe { View::from_raw(NonNull::from(words).cast(), twin.shape().size()) };
    let reader = view.expect("whole").reader().expect("whole");
    twin.try_send(id(1), 0, b"after").expect("room");
    reader
}

#[test]
fn skipping_leads_to_the_newest_message() {
    let (channel, words) = channel(4, 48, Mode::Adaptive);
    let mut reader = channel.reader(id(0)).expect("whole");
    assert_eq!(reader.skip_to_latest(), Ok(0));
    for number in 0..9_u64 {
        channel.try_send(id(1), 0, &number.to_le_bytes()).expect("room");
    }
    // The newest one is still being written.
    let newest = slot(&channel, words, 8);
    let whole = newest.load(Relaxed);
    newest.store(SlotWord::writing(8, id(3)).0, Relaxed);
    assert_eq!(reader.skip_to_latest(), Ok(7));
    assert_eq!(reader.try_recv().expect("there").bytes, 7_u64.to_le_bytes());
    assert_eq!(reader.skip_to_latest(), Ok(0));
    assert_eq!(reader.try_recv().map(|_| ()), Err(BroadcastError::Busy(id(3))));
    newest.store(whole, Relaxed);
    assert_eq!(reader.try_recv().expect("there").bytes, 8_u64.to_le_bytes());
    assert_eq!((reader.take_missed(), reader.take_aborted()), (0, 0));
}

#[test]
fn a_dead_writer_leaves_an_aborted_message() {
    let (channel, words) = channel(2, 48, Mode::Adaptive);
    let mut reader = channel.reader(id(0)).expect("whole");
    channel.try_send(id(1), 0, b"0").expect("room");
    // It died after its claim, and before the hint.
    slot(&channel, words, 1).store(SlotWord::writing(1, id(5)).0, Relaxed);
    channel.try_send(id(1), 0, b"2").expect("room");
    assert_eq!(channel.try_send(id(1), 0, b"3"), Err(BroadcastError::Busy(id(5))));
    assert_eq!(channel.stats().writers, [id(5)]);
    for _ in 0..2 {
        channel.recover(id(5));
    }
    assert_eq!(channel.try_send(id(1), 0, b"3"), Ok(3));
    channel.recover(id(1));
    for expected in [b"2", b"3"] {
        assert_eq!(reader.try_recv().expect("there").bytes, expected);
    }
    assert_eq!((reader.take_missed(), reader.take_aborted()), (2, 0));
    slot(&channel, words, 4).store(SlotWord::writing(4, id(5)).0, Relaxed);
    assert_eq!(reader.try_recv().map(|_| ()), Err(BroadcastError::Busy(id(5))));
    channel.recover(id(5));
    assert_eq!(reader.try_recv().map(|_| ()), Err(BroadcastError::WouldBlock));
    assert_eq!((reader.take_missed(), reader.take_aborted()), (0, 1));
    assert_eq!((channel.stats().aborted, channel.stats().recoveries), (2, 4));
}

/// Whoever waits for a dead writer asks whether it lives, and goes on when that has repaired the channel.
#[test]
fn waiting_for_a_dead_writer_ends_with_its_recovery() {
    struct Buries(Broadcast, Cell<u32>);

    impl Liveness for Buries {
        fn is_dead(&self, who: ParticipantId) -> bool {
            assert_eq!(who, id(5));
            self.1.set(self.1.get() + 1);
            self.0.recover(who);
            true
        }
    }

    let _dog = Watchdog::new("waiting_for_a_dead_writer_ends_with_its_recovery", LIMIT);
    for mode in [Mode::Adaptive, Mode::Sleep, Mode::Spin] {
        let (channel, words) = channel(1, 48, mode);
        let mut reader = channel.reader(id(0)).expect("whole");
        slot(&channel, words, 0).store(SlotWord::writing(0, id(5)).0, SeqCst);
        let soon = Deadline::after(Duration::from_millis(1));
        let expected = BroadcastError::TimedOut { owner: Some(id(5)) };
        assert_eq!(reader.recv(soon, &EverybodyLives).map(|_| ()), Err(expected));
        let liveness = Buries(channel, Cell::new(0));
        let mut waiter = Waiter::new(mode);
        let sent = channel.send(id(1), 0, b"x", &mut waiter, Deadline::NEVER, &liveness);
        assert_eq!((sent, liveness.1.get()), (Ok(1), 1));
        assert_eq!(reader.recv(Deadline::NEVER, &liveness).expect("there").bytes, b"x");
        assert_eq!((reader.take_missed(), reader.take_aborted()), (1, 0));
        assert_eq!(channel.stats().sleepers, [0; 4]);
    }
}

#[test]
fn one_message_wakes_every_sleeper() {
    let dog = Watchdog::new("one_message_wakes_every_sleeper", LIMIT);
    let (channel, _) = channel(4, 48, Mode::Sleep);
    std::thread::scope(|scope| {
        for row in 0..4 {
            let mut reader = channel.reader(id(row)).expect("whole");
            scope.spawn(move || {
                assert_eq!(reader.recv(Deadline::NEVER, &EverybodyLives).expect("sent").bytes, b"wake");
            });
        }
        dog.waits_for("four sleepers");
        while channel.stats().sleepers[0] != 0b1111 {
            std::hint::black_box(());
        }
        channel.try_send(id(9), 0, b"wake").expect("room");
        dog.waits_for("four that woke");
    });
    assert_eq!(channel.stats().sleepers, [0; 4]);
}

#[test]
fn closing_comes_after_everything_that_was_sent() {
    let (channel, _) = channel(4, 48, Mode::Adaptive);
    let mut reader = channel.reader(id(0)).expect("whole");
    channel.try_send(id(1), 0, b"last").expect("room");
    channel.close();
    channel.close();
    assert_eq!(channel.try_send(id(1), 0, b"late"), Err(BroadcastError::Closed));
    assert_eq!(reader.recv(Deadline::NEVER, &EverybodyLives).expect("there").bytes, b"last");
    assert_eq!(reader.recv(Deadline::NEVER, &EverybodyLives).map(|_| ()), Err(BroadcastError::Closed));
    assert_eq!((channel.stats().sent, channel.stats().refused), (1, 0));
}

/// Writers that race with a close: what was sent is received before the end is told, and nothing after.
#[test]
fn a_close_in_the_middle_of_sending_loses_nothing() {
    let _dog = Watchdog::new("a_close_in_the_middle_of_sending_loses_nothing", LIMIT);
    for round in 0..300 {
        let (channel, _) = channel(64, 48, Mode::Adaptive);
        let reader = channel.reader(id(9)).expect("whole");
        let (seen, sent) = std::thread::scope(|scope| {
            let reading = scope.spawn(move || read_all(reader));
            let writing = scope.spawn(move || {
                (0..50).take_while(|n| channel.try_send(id(1), 0, &payload(1, *n, 3)).is_ok()).count()
            });
            while channel.stats().sent < round % 50 {
                std::hint::black_box(());
            }
            channel.close();
            (reading.join().expect("no panic"), writing.join().expect("no panic") as u64)
        });
        let stats = channel.stats();
        assert_eq!((seen.received + seen.missed, stats.sent), (sent, sent + stats.refused), "{seen:?}");
    }
}

#[test]
fn a_message_must_fit_its_slot() {
    let (channel, _) = channel(2, 100, Mode::Adaptive);
    let max = channel.shape().payload_max();
    assert_eq!(max, 112, "rounded up to whole units");
    let mut reader = channel.reader(id(0)).expect("whole");
    let too_large = channel.try_send(id(1), 0, &[7; 113]);
    assert_eq!(too_large, Err(BroadcastError::TooLarge { len: 113, max }));
    for len in [0, 1, 7, 8, 9, 111, 112] {
        channel.try_send(id(1), 3, &vec![len as u8; len]).expect("it fits");
        let message = reader.try_recv().expect("there");
        assert_eq!((message.bytes, message.kind), (&vec![len as u8; len][..], 3));
    }
    for (capacity, payload) in [(0, 8), (u64::MAX, 8), (1 << 40, 8), (8, u64::MAX), (8, 1 << 32)] {
        assert_eq!(Shape::new(capacity, payload, Mode::Spin), None, "{capacity} x {payload}");
    }
}

#[test]
fn nonsense_is_refused() {
    // The last two concern readers only: a writer goes on behind whatever was claimed.
    for (position, word, stops_writers) in [
        (0, 3, true),
        (0, SlotWord::full(1, 0).0, true),
        (0, SlotWord::full(POSITION_MAX, 0).0, true),
        (1, SlotWord::free(5).0, true),
        (0, SlotWord::full(0, 2).0, false),
        (0, SlotWord::WRITING, false),
    ] {
        let (channel, words) = channel(4, 48, Mode::Adaptive);
        let mut reader = channel.reader(id(0)).expect("whole");
        if position == 1 {
            channel.try_send(id(1), 0, b"0").expect("room");
            assert_eq!(reader.try_recv().expect("there").bytes, b"0");
        }
        slot(&channel, words, position).store(word, Relaxed);
        for _ in 0..2 {
            assert_eq!(reader.try_recv().map(|_| ()), Err(BroadcastError::Corrupted), "{word:x}");
        }
        assert_eq!(channel.try_send(id(1), 0, b"x").is_err(), stops_writers, "{word:x}");
    }
    // A length beyond the slot.
    let (channel, words) = channel(4, 48, Mode::Adaptive);
    let mut reader = channel.reader(id(0)).expect("whole");
    channel.try_send(id(1), 0, b"0").expect("room");
    words[(SLOTS_AT / 128) as usize][1].store(49, Relaxed);
    assert_eq!(reader.try_recv().map(|_| ()), Err(BroadcastError::Corrupted));
    // A geometry that nobody writes.
    for (word, value) in [(0, 3), (0, 0), (1, 32), (1, 65), (1, 1 << 40), (2, 7)] {
        let (channel, words) = self::channel(4, 48, Mode::Adaptive);
        words[0][word].store(value, Relaxed);
        // SAFETY: I1.
        let again = unsafe { Broadcast::from_raw(NonNull::from(words).cast(), channel.shape().size()) };
        assert_eq!(again.map(|_| ()), Err(BroadcastError::Corrupted), "{value} in word {word}");
    }
}

/// Positions wrap at 2^48, which no test can reach by sending.
#[test]
fn positions_wrap() {
    let (channel, words) = channel(2, 48, Mode::Adaptive);
    for position in [POSITION_MAX - 1, POSITION_MAX] {
        slot(&channel, words, position).store(SlotWord::full(position, 0).0, Relaxed);
    }
    words[1][0].store(POSITION_MAX, Relaxed);
    let mut reader = channel.reader(id(0)).expect("whole");
    for number in 0..5 {
        assert_eq!(channel.try_send(id(1), 0, &[number as u8]), Ok(number));
        assert_eq!(reader.try_recv().expect("there").position, number);
    }
    assert_eq!((reader.take_missed(), channel.stats().sent), (0, 5));
}
