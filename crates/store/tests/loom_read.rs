//! Models of the lock-free read of a dict under loom: every interleaving and every allowed reordering of small scenarios.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-store --test loom_read`. The real code is run first, on
//! a heap of a few pages of 512 bytes, one reader against one writer: replace, remove and reuse of the block, rehash, a
//! span with a new purpose, a word in place. Then the bracket is written out with one fault at a time, to show that the
//! models can fail. Deaths are in the model `store` of testkit and in the step-kill runs.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_store::ground::Ground;
use ginnel_store::node::{Extra, Key};
use ginnel_store::read::Read;
use ginnel_store::{Copied, Locked, Store};
use ginnel_sync::{Deadline, Holder, Mode, Waiter};
use loom::thread;

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn model(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.max_branches = 100_000;
    builder.check(scenario);
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key::new(bytes, 1).expect("short")
}

fn lock<'a>(store: &Store<'a, Ground>) -> Locked<'a, Ground> {
    let me = Holder::new(ParticipantId::from_index(0), 1).expect("a thread");
    store.lock(0, me, &mut Waiter::new(Mode::Spin), Deadline::NEVER, &EverybodyLives).expect("free")
}

/// A value of `words` words, all the same: a torn one shows.
fn value(number: u8, words: usize) -> Vec<u8> {
    vec![number; 8 * words]
}

fn put(store: &Store<'_, Ground>, name: &[u8], value: &[u8]) {
    let locked = lock(store);
    let pending = locked.prepare(&key(name), value, Extra::default(), || 0).expect("room");
    locked.commit(pending).expect("sound");
}

fn remove(store: &Store<'_, Ground>, name: &[u8]) {
    let locked = lock(store);
    let pending = locked.prepare_removal(&key(name), || 0).expect("sound").expect("there");
    locked.commit(pending).expect("sound");
}

/// What a reader finds: the number of a whole value. None: nothing, or others changed it all the time.
fn get(store: &Store<'_, Ground>, name: &[u8]) -> Result<Option<u8>, ()> {
    let mut out = Copied::new();
    match store.get(&key(name), || 0, &mut out) {
        Read::Absent => Ok(None),
        Read::Busy => Err(()),
        Read::Found { .. } => {
            let bytes = out.as_bytes();
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn: {bytes:?}");
            Ok(Some(bytes[0]))
        }
    }
}

/// A store of so many pages, a writer in a thread of its own, and a reader here.
fn against(
    preemptions: usize,
    pages: usize,
    before: impl Fn(&Store<'_, Ground>) + Send + Sync + 'static,
    write: impl Fn(&Store<'_, Ground>) + Send + Sync + Copy + 'static,
    read: impl Fn(&Store<'_, Ground>) + Send + Sync + 'static,
) {
    model(preemptions, move || {
        let ground = Arc::new(Ground::new(pages, 1));
        before(&ground.store());
        let writer = {
            let ground = Arc::clone(&ground);
            thread::spawn(move || write(&ground.store()))
        };
        read(&ground.store());
        writer.join().expect("no panic");
    });
}

#[test]
fn a_value_that_is_replaced_is_the_old_or_the_new_and_whole() {
    against(
        3,
        4,
        |store| put(store, b"a", &value(1, 2)),
        // The second one lies in the block of the first.
        |store| (2..=3).for_each(|number| put(store, b"a", &value(number, 2))),
        |store| {
            let first = get(store, b"a");
            assert!(matches!(first, Ok(Some(1..=3)) | Err(())), "{first:?}");
            let second = get(store, b"a");
            if let (Ok(first), Ok(second)) = (first, second) {
                assert!(second >= first, "{first:?}, then {second:?}");
            }
        },
    );
}

#[test]
fn a_block_that_becomes_another_keys_is_never_taken_for_the_first() {
    against(
        3,
        4,
        |store| put(store, b"a", &value(1, 2)),
        |store| {
            remove(store, b"a");
            put(store, b"b", &value(2, 2));
        },
        |store| {
            let (b, a) = (get(store, b"b"), get(store, b"a"));
            assert!(matches!(a, Ok(None | Some(1)) | Err(())), "{a:?}");
            assert!(matches!(b, Ok(None | Some(2)) | Err(())), "{b:?}");
            assert!(!(b == Ok(Some(2)) && a == Ok(Some(1))), "the first was gone before the second came");
        },
    );
}

#[test]
fn the_same_block_in_the_same_slot_is_not_the_same_value() {
    against(
        3,
        4,
        |store| put(store, b"a", &value(1, 2)),
        |store| {
            remove(store, b"a");
            put(store, b"a", &value(2, 2));
        },
        |store| {
            let (first, second) = (get(store, b"a"), get(store, b"a"));
            assert!(matches!(second, Ok(None | Some(1 | 2)) | Err(())), "{second:?}");
            if first == Ok(Some(2)) {
                assert!(matches!(second, Ok(Some(2)) | Err(())), "{second:?} after 2");
            }
        },
    );
}

/// Six of eight slots are in use, so that the next new key makes the table grow. Loom runs this one in a single
/// interleaving only (counted), so it is a smoke test: growth against readers is shown by the model `store` of testkit.
#[test]
fn what_is_there_is_found_while_the_table_grows() {
    const NAMES: [&[u8]; 6] = [b"a", b"b", b"c", b"d", b"e", b"f"];
    against(
        2,
        6,
        |store| NAMES.iter().for_each(|name| put(store, name, &value(1, 1))),
        |store| {
            put(store, b"g", &value(2, 1));
            // A node in what was the table, if it fits.
            put(store, b"h", &value(3, 3));
        },
        |store| {
            for name in [b"a", b"f"] {
                let found = get(store, name);
                assert!(matches!(found, Ok(Some(1)) | Err(())), "{found:?}");
            }
        },
    );
}

#[test]
fn a_span_with_a_new_purpose_is_never_read_as_before() {
    against(
        2,
        5,
        |store| put(store, b"a", &value(1, 2)),
        |store| {
            remove(store, b"a");
            assert!(lock(store).reclaim(), "a rebuild is worth it");
            put(store, b"b", &value(2, 8));
        },
        |store| {
            let found = get(store, b"a");
            assert!(matches!(found, Ok(None | Some(1)) | Err(())), "{found:?}");
            let found = get(store, b"b");
            assert!(matches!(found, Ok(None | Some(2)) | Err(())), "{found:?}");
        },
    );
}

#[test]
fn versions_of_a_word_in_place_rise_with_it() {
    model(3, || {
        let ground = Arc::new(Ground::new(4, 1));
        put(&ground.store(), b"n", &0_u64.to_le_bytes());
        let writer = {
            let ground = Arc::clone(&ground);
            thread::spawn(move || {
                let store = ground.store();
                for word in 1..=2 {
                    let locked = lock(&store);
                    let node = locked.find(&key(b"n"), || 0).expect("sound").expect("there");
                    locked.store_word(node, word).expect("eight bytes");
                }
            })
        };
        let (store, mut out, mut last) = (ground.store(), Copied::new(), (0, 0));
        for _ in 0..2 {
            if let Read::Found { version, .. } = store.get(&key(b"n"), || 0, &mut out) {
                let now = (version, u64::from_le_bytes(out.as_bytes().try_into().expect("eight")));
                assert!(now.0 >= last.0 && now.1 >= last.1, "{now:?} after {last:?}");
                last = now;
            }
        }
        writer.join().expect("no panic");
    });
}

/// What is wrong with the bracket, written out below.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The serial of a node is no release.
    RelaxedSerial,
    /// Nothing stands between `serial = 0` and the words.
    NoFenceBeforeWords,
    /// Nothing stands between the commit that took the block out and the link in it.
    NoFenceBeforeLink,
    /// The reader does not fence before its last looks.
    NoReadersFence,
    /// The last look at the slot is no acquire.
    RelaxedLastSlot,
    /// The serial is looked at again before the slot.
    SerialBeforeSlot,
    /// The slot is not looked at again.
    NoLastSlot,
    /// The serial is not looked at again.
    NoLastSerial,
    /// Serials are used again.
    SameSerial,
}

/// One slot, two blocks of {serial, first word, second word}. Offsets are 16 and 32.
#[derive(Default)]
struct Small {
    slot: AtomicU64,
    blocks: [[AtomicU64; 3]; 2],
}

impl Small {
    fn block(&self, offset: u64) -> &[AtomicU64; 3] {
        &self.blocks[usize::from(offset == 32)]
    }
}

impl Fault {
    fn is(self, fault: Self) -> bool {
        self == fault
    }

    fn release(self, fault: Self) -> ginnel_layout::atomic::Ordering {
        if self.is(fault) { Relaxed } else { Release }
    }

    /// Writes a node and commits it.
    fn put(self, small: &Small, offset: u64, number: u64) {
        let [serial, first, second] = small.block(offset);
        serial.store(0, Relaxed);
        if !self.is(Self::NoFenceBeforeWords) {
            fence(Release);
        }
        first.store(number, Relaxed);
        second.store(number, Relaxed);
        let named = if self.is(Self::SameSerial) { 1 } else { number };
        serial.store(named, self.release(Self::RelaxedSerial));
        small.slot.store(offset, Release);
    }

    /// Takes the node out, and gives its block back: the link goes into the first word.
    fn take_out(self, small: &Small, offset: u64) {
        small.slot.store(1, Release);
        self.free(small, offset);
    }

    fn free(self, small: &Small, offset: u64) {
        if !self.is(Self::NoFenceBeforeLink) {
            fence(Release);
        }
        small.block(offset)[1].store(99, Relaxed);
    }

    /// A number, if the bracket holds; 0: absent. None: look again.
    fn get(self, small: &Small) -> Option<u64> {
        let slot = small.slot.load(Acquire);
        if slot <= 1 {
            return Some(0);
        }
        let [serial, first, second] = small.block(slot);
        let version = serial.load(Acquire);
        if version == 0 {
            return None;
        }
        let words = (first.load(Relaxed), second.load(Relaxed));
        if !self.is(Self::NoReadersFence) {
            fence(Acquire);
        }
        let early = serial.load(Relaxed);
        let order = if self.is(Self::RelaxedLastSlot) { Relaxed } else { Acquire };
        let still = self.is(Self::NoLastSlot) || small.slot.load(order) == slot;
        let late = if self.is(Self::SerialBeforeSlot) { early } else { serial.load(Relaxed) };
        if !still || (late != version && !self.is(Self::NoLastSerial)) {
            return None;
        }
        assert_eq!(words.0, words.1, "torn");
        assert!(self.is(Self::SameSerial) || words.0 == version, "torn");
        Some(words.0)
    }

    /// One writer does `write`, one reader looks twice.
    fn run(self, write: impl Fn(&Small) + Send + Sync + Copy + 'static) {
        model(3, move || {
            let small = Arc::new(Small::default());
            self.put(&small, 16, 1);
            let writer = {
                let small = Arc::clone(&small);
                thread::spawn(move || write(&small))
            };
            let (first, second) = (self.get(&small), self.get(&small));
            if let (Some(first), Some(second)) = (first, second) {
                assert!(first == 0 || second == 0 || second >= first, "torn: {first}, then {second}");
            }
            writer.join().expect("no panic");
        });
    }

    /// Replaced twice, the second time in the first block; then the same by removal.
    fn replace(self) {
        self.run(move |small| {
            self.put(small, 32, 2);
            self.free(small, 16);
            self.put(small, 16, 3);
            self.free(small, 32);
        });
    }

    fn come_back(self) {
        self.run(move |small| {
            self.take_out(small, 16);
            self.put(small, 16, 2);
        });
    }

    /// A node is written into the block that was taken out, and given up; then another one, which is committed.
    fn give_up(self) {
        self.run(move |small| {
            self.take_out(small, 16);
            let [serial, first, second] = small.block(16);
            serial.store(0, Relaxed);
            fence(Release);
            first.store(7, Relaxed);
            second.store(7, Relaxed);
            serial.store(7, Release);
            self.free(small, 16);
            self.put(small, 16, 8);
        });
    }

    /// One writer takes the node out, another one uses its block: their lock alone orders the two, not the reader.
    fn hand_over(self) {
        model(2, move || {
            let world = Arc::new((Small::default(), AtomicU64::new(0)));
            self.put(&world.0, 16, 1);
            let [first, second] = [0, 1].map(|writer| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let (small, lock) = (&world.0, &world.1);
                    if writer == 0 {
                        self.take_out(small, 16);
                        lock.store(1, Release);
                    } else if lock.load(Acquire) == 1 {
                        self.put(small, 16, 2);
                    }
                })
            });
            let _ = self.get(&world.0);
            first.join().expect("no panic");
            second.join().expect("no panic");
        });
    }

    fn all(self) {
        self.hand_over();
        self.come_back();
        self.give_up();
        self.replace();
    }
}

#[test]
fn the_bracket_is_sound() {
    Fault::None.all();
}

macro_rules! refused {
    ($($(#[$doc:meta])* $name:ident, $fault:ident;)*) => {
        $(
            $(#[$doc])*
            #[test]
            #[should_panic(expected = "torn")]
            fn $name() {
                Fault::$fault.all();
            }
        )*
    };
}

refused! {
    the_words_need_a_fence_before_them, NoFenceBeforeWords;
    the_link_needs_a_fence_before_it, NoFenceBeforeLink;
    the_reader_needs_its_fence, NoReadersFence;
    the_last_look_at_the_slot_must_be_an_acquire, RelaxedLastSlot;
    the_slot_must_be_looked_at_before_the_serial, SerialBeforeSlot;
    the_slot_must_be_looked_at_again, NoLastSlot;
    the_serial_must_be_looked_at_again, NoLastSerial;
    serials_must_not_come_back, SameSerial;
    the_serial_must_be_a_release, RelaxedSerial;
}
