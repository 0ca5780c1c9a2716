//! What one operation of a dict costs on the heap of one process, without encoding: `cargo run --release -p ginnel-store
//! --example micro`. Hints for whoever changes the read path or the allocator; figures to quote come from `ginnel bench`.

use std::hint::black_box;
use std::time::Instant;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::store::{Shard, StoreFront};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_store::node::{Extra, Key};
use ginnel_store::pages::PAGE;
use ginnel_store::read::Read;
use ginnel_store::{Copied, Memory, NoPages, Pages, Store};
use ginnel_sync::{Deadline, Holder, Mode, Waiter};

const SHARDS: usize = 64;
const ROUNDS: u64 = 4_000_000;

/// Pages that are taken one behind the other, and never given back.
struct Flat {
    owners: Vec<AtomicU32>,
    next: AtomicU64,
}

impl Pages for Flat {
    fn claim(&self, part: u16, pages: u32) -> Result<u64, NoPages> {
        let first = self.next.fetch_add(pages.into(), Relaxed);
        let range = first as usize..first as usize + pages as usize;
        for owner in self.owners.get(range).ok_or(NoPages::Full)? {
            owner.store(part.into(), Relaxed);
        }
        Ok(first * PAGE)
    }

    #[inline(always)]
    fn owns(&self, part: u16, offset: u64) -> bool {
        self.owners.get((offset / PAGE) as usize).is_some_and(|owner| owner.load(Relaxed) == part.into())
    }

    fn runs(&self, _: u16, _: &mut dyn FnMut(u64, u32)) {}

    fn release(&self, _: u16, _: u64, _: u32) {}
}

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

/// Numbers in an order that no cache guesses.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn put(store: &Store<'_, Flat>, me: Holder, waiter: &mut Waiter, key: u64, value: &[u8]) {
    let bytes = key.to_le_bytes();
    let key = Key::new(&bytes, 1).expect("short");
    let shard = key.shard(store.shards().len());
    let locked = store.lock(shard, me, waiter, Deadline::NEVER, &EverybodyLives).expect("free");
    let pending = locked.prepare(&key, value, Extra::default(), || 0).expect("room");
    locked.commit(pending).expect("sound");
}

fn stroke(name: &str, rounds: u64, mut one: impl FnMut(u64)) {
    let start = Instant::now();
    for round in 0..rounds {
        one(round);
    }
    println!("{name:>24}  {:6.1} ns", start.elapsed().as_nanos() as f64 / rounds as f64);
}

fn main() {
    let entries: u64 =
        std::env::args().nth(1).map_or(50_000, |text| text.parse().expect("a number of entries"));
    let pages = 4096 + entries as usize / 12;
    let front = StoreFront::default();
    front.shape.shards.store(SHARDS as u32, Relaxed);
    let shards: Vec<Shard> = (0..SHARDS).map(|_| Shard::default()).collect();
    let words: Vec<AtomicU64> = (0..pages * PAGE as usize / 8).map(|_| AtomicU64::new(0)).collect();
    let flat = Flat { owners: (0..pages).map(|_| AtomicU32::new(0)).collect(), next: AtomicU64::new(1) };
    let store = Store::new(&front, &shards, Memory::new(&words), &flat).expect("a sound front");
    let me = Holder::current(ParticipantId::from_index(0));
    let (mut waiter, value) = (Waiter::new(Mode::Spin), [7_u8; 64]);

    stroke("insert", entries, |key| put(&store, me, &mut waiter, key, &value));
    let mut random = Random(42);
    for _ in 0..3 {
        stroke("get", ROUNDS, |_| {
            let (bytes, mut out) = ((random.next() % entries).to_le_bytes(), Copied::new());
            let store = Store::new(&front, &shards, Memory::new(&words), &flat).expect("a sound front");
            let read = store.get(&Key::new(&bytes, 1).expect("short"), || 0, &mut out);
            assert!(matches!(read, Read::Found { .. }));
            black_box(out.as_bytes());
        });
        stroke("get of one key", ROUNDS, |_| {
            let (bytes, mut out) = (black_box(7_u64).to_le_bytes(), Copied::new());
            store.get(&Key::new(&bytes, 1).expect("short"), || 0, &mut out);
            black_box(out.as_bytes());
        });
        stroke("absent", ROUNDS, |_| {
            let (bytes, mut out) = ((entries + random.next() % entries).to_le_bytes(), Copied::new());
            black_box(store.get(&Key::new(&bytes, 1).expect("short"), || 0, &mut out));
        });
        stroke("put", ROUNDS, |_| {
            put(&store, me, &mut waiter, random.next() % entries, black_box(&value));
        });
        stroke("put of one key", ROUNDS, |_| put(&store, me, &mut waiter, 7, black_box(&value)));
        stroke("lock, unlock", ROUNDS, |round| {
            drop(store.lock(round as usize, me, &mut waiter, Deadline::NEVER, &EverybodyLives));
        });
    }
    println!("{:>24}  {:6.1}", "bytes an entry", (flat.next.load(Relaxed) * PAGE) as f64 / entries as f64);
}
