//! Dicts against an oracle that is too simple to be wrong: a `HashMap` of what was committed.
#![cfg(not(loom))]

use std::collections::HashMap;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{REDO_MAX, flag};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_store::ground::Ground;
use ginnel_store::node::{Extra, Key};
use ginnel_store::read::Read;
use ginnel_store::redo::{RedoLocked, transact};
use ginnel_store::{Copied, Error, Locked, Store};
use ginnel_sync::{Deadline, Holder, Mode, Waiter};
use proptest::collection::vec;
use proptest::prelude::*;

const SEED: u64 = 7;

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn me() -> Holder {
    Holder::current(ParticipantId::from_index(0))
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key::new(bytes, SEED).expect("short")
}

fn lock<'a>(store: &Store<'a, Ground>, shard: usize) -> Locked<'a, Ground> {
    store.lock(shard, me(), &mut Waiter::new(Mode::Sleep), Deadline::NEVER, &EverybodyLives).expect("free")
}

fn lock_redo<'a>(store: &Store<'a, Ground>) -> RedoLocked<'a, Ground> {
    store.lock_redo(me(), &mut Waiter::new(Mode::Sleep), Deadline::NEVER, &EverybodyLives).expect("free")
}

fn shard_of(store: &Store<'_, Ground>, bytes: &[u8]) -> usize {
    key(bytes).shard(store.shards().len())
}

/// Puts a value that lives until `deadline`; says whether there was one.
fn put_until(
    store: &Store<'_, Ground>,
    bytes: &[u8],
    value: &[u8],
    deadline: Option<u64>,
    now: u64,
) -> Result<bool, Error> {
    let locked = lock(store, shard_of(store, bytes));
    let pending = locked.prepare(&key(bytes), value, Extra { deadline, parcels: &[] }, || now)?;
    let was_there = pending.was_there();
    locked.commit(pending)?;
    Ok(was_there)
}

fn put(store: &Store<'_, Ground>, bytes: &[u8], value: &[u8]) -> Result<bool, Error> {
    put_until(store, bytes, value, None, 0)
}

fn remove(store: &Store<'_, Ground>, bytes: &[u8], now: u64) -> bool {
    let locked = lock(store, shard_of(store, bytes));
    let Some(pending) = locked.prepare_removal(&key(bytes), || now).expect("sound") else { return false };
    let was_there = pending.was_there();
    locked.commit(pending).expect("sound");
    was_there
}

/// The value that both ways of reading agree on.
fn get(store: &Store<'_, Ground>, bytes: &[u8], now: u64) -> Option<Vec<u8>> {
    let (mut free, mut under) = (Copied::new(), Copied::new());
    let read = store.get(&key(bytes), || now, &mut free);
    let locked = lock(store, shard_of(store, bytes));
    let node = locked.find(&key(bytes), || now).expect("sound");
    match (read, node) {
        (Read::Absent, None) => None,
        (Read::Found { version, carrying: false, .. }, Some(node)) => {
            locked.read(node, &mut under).expect("sound");
            assert_eq!((version, free.as_bytes()), (node.version(), under.as_bytes()));
            Some(under.as_bytes().to_vec())
        }
        other => panic!("{other:?}"),
    }
}

fn audit(store: &Store<'_, Ground>) {
    for shard in 0..store.shards().len() {
        lock(store, shard).audit().unwrap_or_else(|what| panic!("shard {shard}: {what}"));
    }
}

/// One step of a history. Keys are few, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, usize, Option<u64>),
    Abandon(u8, usize),
    Remove(u8),
    AbandonRemoval(u8),
    Word(u8, u64),
    Transact(Vec<(u8, Option<usize>)>),
    Expire,
    Sleep(u64),
    Reclaim,
    Clear(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![0_usize..40, Just(8), 100..300_usize, 5000..20000_usize];
    let word = (any::<u8>(), any::<u64>()).prop_map(|(key, word)| Step::Word(key, word));
    let put = (any::<u8>(), len.clone(), prop::option::of(1_u64..50));
    prop_oneof![
        8 => put.prop_map(|(key, len, ttl)| Step::Put(key, len, ttl)),
        1 => (any::<u8>(), len.clone()).prop_map(|(key, len)| Step::Abandon(key, len)),
        4 => any::<u8>().prop_map(Step::Remove),
        1 => any::<u8>().prop_map(Step::AbandonRemoval),
        2 => word,
        2 => vec((any::<u8>(), prop::option::of(len)), 0..12).prop_map(Step::Transact),
        1 => Just(Step::Expire),
        1 => (1_u64..20).prop_map(Step::Sleep),
        1 => Just(Step::Reclaim),
        1 => (0_usize..2).prop_map(Step::Clear),
    ]
}

/// A store, and what it should hold.
struct World<'a> {
    store: Store<'a, Ground>,
    entries: HashMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
    now: u64,
    count: u8,
}

impl<'a> World<'a> {
    fn new(store: Store<'a, Ground>) -> Self {
        Self { store, entries: HashMap::new(), now: 1, count: 0 }
    }

    fn name(number: u8) -> Vec<u8> {
        vec![number % 32; 1 + usize::from(number % 32)]
    }

    fn value(&mut self, len: usize) -> Vec<u8> {
        self.count = self.count.wrapping_add(1);
        (0..len).map(|at| self.count.wrapping_add(at as u8)).collect()
    }

    fn there(&self, name: &[u8]) -> Option<&Vec<u8>> {
        let (value, deadline) = self.entries.get(name)?;
        deadline.is_none_or(|deadline| deadline > self.now).then_some(value)
    }

    fn run(&mut self, step: &Step) {
        let (store, now) = (self.store, self.now);
        match step {
            Step::Put(number, len, ttl) => {
                let (name, value) = (Self::name(*number), self.value(*len));
                let deadline = ttl.map(|ttl| now + ttl);
                let was_there = put_until(&store, &name, &value, deadline, now);
                assert_eq!(was_there, Ok(self.there(&name).is_some()));
                self.entries.insert(name, (value, deadline));
            }
            Step::Abandon(number, len) => {
                let (name, value) = (Self::name(*number), self.value(*len));
                let locked = lock(&store, shard_of(&store, &name));
                drop(locked.prepare(&key(&name), &value, Extra::default(), || now).expect("room"));
            }
            Step::Remove(number) => {
                let name = Self::name(*number);
                assert_eq!(remove(&store, &name, now), self.there(&name).is_some());
                self.entries.remove(&name);
            }
            Step::AbandonRemoval(number) => {
                let name = Self::name(*number);
                let locked = lock(&store, shard_of(&store, &name));
                drop(locked.prepare_removal(&key(&name), || now).expect("sound"));
            }
            Step::Word(number, word) => self.word(&Self::name(*number), *word),
            Step::Transact(changes) => self.transact(changes),
            Step::Expire => self.expire(),
            Step::Sleep(time) => self.now += time,
            Step::Reclaim => (0..store.shards().len()).for_each(|shard| {
                lock(&store, shard).reclaim();
            }),
            Step::Clear(shard) => {
                lock(&store, *shard).clear().expect("sound");
                self.entries.retain(|name, _| shard_of(&store, name) != *shard);
            }
        }
    }

    fn word(&mut self, name: &[u8], word: u64) {
        let now = self.now;
        let locked = lock(&self.store, shard_of(&self.store, name));
        let node = locked.find(&key(name), || now).expect("sound");
        let Some(node) = node.filter(|node| node.value_len() == 8) else { return };
        let before = u64::from_le_bytes(self.entries[name].0.as_slice().try_into().expect("eight"));
        assert_eq!(locked.word(node), Ok(Some(before)));
        let version = locked.store_word(node, word).expect("sound");
        assert_ne!(version, node.version());
        let found = locked.find(&key(name), || now).expect("sound");
        assert_eq!(found.map(|node| node.version()), Some(version));
        self.entries.get_mut(name).expect("there").0 = word.to_le_bytes().to_vec();
    }

    fn transact(&mut self, changes: &[(u8, Option<usize>)]) {
        let changes: HashMap<_, _> = changes
            .iter()
            .map(|(number, len)| (Self::name(*number), len.map(|len| self.value(len))))
            .collect();
        let (store, now) = (self.store, self.now);
        let redo = lock_redo(&store);
        let locks: Vec<_> = (0..store.shards().len()).map(|shard| lock(&store, shard)).collect();
        let pendings = changes.iter().filter_map(|(name, value)| {
            let locked = &locks[shard_of(&store, name)];
            let Some(value) = value else {
                return locked.prepare_removal(&key(name), || now).expect("sound");
            };
            Some(locked.prepare(&key(name), value, Extra::default(), || now).expect("room"))
        });
        transact(&redo, pendings.collect()).expect("sound");
        drop((locks, redo));
        for (name, value) in changes {
            match value {
                Some(value) => self.entries.insert(name, (value, None)),
                None => self.entries.remove(&name),
            };
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        let shards = 0..self.store.shards().len();
        let gone: usize = shards.map(|shard| lock(&self.store, shard).expire(|| now).expect("sound")).sum();
        let before = self.entries.len();
        self.entries.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| deadline > now));
        assert_eq!(gone, before - self.entries.len());
    }

    fn check(&self) {
        for number in 0..32 {
            let name = Self::name(number);
            assert_eq!(get(&self.store, &name, self.now).as_ref(), self.there(&name), "{number}");
        }
        assert_eq!(self.store.len(), self.entries.len() as u64);
        let mut seen = HashMap::new();
        for shard in 0..self.store.shards().len() {
            let each = |_, key: &[u8], value: &[u8]| {
                assert_eq!(seen.insert(key.to_vec(), value.to_vec()), None);
            };
            lock(&self.store, shard).for_each(|| self.now, each).expect("sound");
        }
        let live = self.entries.keys().filter_map(|name| Some((name.clone(), self.there(name)?.clone())));
        assert_eq!(seen, live.collect());
        audit(&self.store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_as_the_oracle_says(steps in vec(step(), 1..120)) {
        let ground = Ground::new(2000, 2);
        let mut world = World::new(ground.store());
        for step in &steps {
            world.run(step);
        }
        world.check();
    }
}

#[test]
fn a_dict_grows_and_keeps_everything() {
    let ground = Ground::new(4000, 4);
    let store = ground.store();
    let value = |number: u32| vec![number as u8; 8 + number as usize % 90];
    for number in 0..20_000_u32 {
        assert_eq!(put(&store, &number.to_le_bytes(), &value(number)), Ok(false));
    }
    assert_eq!(store.len(), 20_000);
    for number in 0..20_000_u32 {
        assert_eq!(get(&store, &number.to_le_bytes(), 0), Some(value(number)));
        if number % 3 == 0 {
            assert!(remove(&store, &number.to_le_bytes(), 0));
        }
    }
    for number in 0..20_000_u32 {
        assert_eq!(get(&store, &number.to_le_bytes(), 0), (number % 3 != 0).then(|| value(number)));
    }
    audit(&store);
}

#[test]
fn tombs_do_not_make_a_table_grow() {
    let ground = Ground::new(200, 1);
    let store = ground.store();
    for number in 0..50_000_u32 {
        put(&store, &number.to_le_bytes(), b"x").expect("room");
        assert!(remove(&store, &number.to_le_bytes(), 0));
    }
    assert_eq!(store.len(), 0);
    assert!(ground.used() < 20, "{} pages for nothing", ground.used());
    audit(&store);
}

#[test]
fn what_expires_is_absent_and_comes_back_with_a_new_value() {
    let ground = Ground::new(100, 1);
    let store = ground.store();
    assert_eq!(put_until(&store, b"a", b"one", Some(10), 0), Ok(false));
    assert_eq!(get(&store, b"a", 9).as_deref(), Some(&b"one"[..]));
    assert_eq!(get(&store, b"a", 10), None);
    assert_eq!(put_until(&store, b"a", b"two", None, 10), Ok(false), "it counts as absent");
    assert_eq!((store.len(), get(&store, b"a", 99).as_deref()), (1, Some(&b"two"[..])));
    audit(&store);
}

#[test]
fn a_full_store_says_so_and_what_was_there_stays() {
    let ground = Ground::new(20, 1);
    let store = ground.store();
    let mut count = 0_u32;
    let why = loop {
        match put(&store, &count.to_le_bytes(), &[7; 500]) {
            Ok(_) => count += 1,
            Err(why) => break why,
        }
    };
    assert!(matches!(why, Error::Full(_)), "{why:?}");
    assert!(count > 50, "{count}");
    for number in 0..count {
        assert_eq!(get(&store, &number.to_le_bytes(), 0), Some(vec![7; 500]));
    }
    audit(&store);
    for number in 0..count {
        assert!(remove(&store, &number.to_le_bytes(), 0));
    }
    // What was removed makes room for others of another size.
    for number in 0..count / 3 {
        assert_eq!(put(&store, &number.to_le_bytes(), &[8; 1000]), Ok(false), "{number} of {count}");
    }
    audit(&store);
}

#[test]
fn eviction_makes_room_and_rarely_takes_what_is_read() {
    let ground = Ground::new(40, 1);
    ground.front().shape.flags.store(flag::EVICT, Relaxed);
    let store = ground.store();
    let mut lost = 0;
    for number in 0..5_000_u32 {
        put(&store, &number.to_le_bytes(), &[1; 64]).expect("something goes");
        match store.version(&key(b"dear"), || 0) {
            Read::Found { cold: true, .. } => lock(&store, 0).touch(&key(b"dear")).expect("sound"),
            Read::Found { .. } => (),
            _ => {
                put(&store, b"dear", b"kept").expect("something goes");
                lost += 1;
            }
        }
    }
    // Only a table that finds no pages in a row takes everything.
    assert!(lost < 10, "{lost} times");
    assert!(store.len() > 100, "{} of them", store.len());
    audit(&store);
    for number in 0..200_u32 {
        put(&store, &number.to_le_bytes(), &[2; 3000]).expect("something goes");
    }
    audit(&store);
}

#[test]
fn parcels_are_found_by_their_position_until_the_entry_goes() {
    let ground = Ground::new(100, 2);
    let store = ground.store();
    let (ticket, other) = ([3; 16], [4; 16]);
    let position = {
        let locked = lock(&store, shard_of(&store, b"a"));
        let extra = Extra { deadline: None, parcels: &[other, ticket] };
        let pending = locked.prepare(&key(b"a"), b"handles", extra, || 0).expect("room");
        let position = pending.position().expect("a node");
        assert!(!store.is_linked(position, |parcel| *parcel == ticket), "not committed");
        locked.commit(pending).expect("sound");
        position
    };
    assert!(store.is_linked(position, |parcel| *parcel == ticket));
    assert!(!store.is_linked(position, |parcel| *parcel == [5; 16]));
    assert!(!store.is_linked(position + 1, |_| true) && !store.is_linked(u64::MAX, |_| true));
    let read = store.get(&key(b"a"), || 0, &mut Copied::new());
    assert!(matches!(read, Read::Found { carrying: true, .. }));
    {
        let locked = lock(&store, shard_of(&store, b"a"));
        let node = locked.find(&key(b"a"), || 0).expect("sound").expect("there");
        assert_eq!((locked.parcels(node), node.offset()), (Ok(vec![other, ticket]), position * 16));
        let mut carriers = 0;
        locked.for_each_carrier(|node| carriers += u32::from(node.parcel_count())).expect("sound");
        assert_eq!((carriers, locked.expire(|| u64::MAX)), (2, Ok(0)));
    }
    let mut taken = Vec::new();
    store.take_apart(shard_of(&store, b"a"), &mut |parcels| taken.extend_from_slice(parcels));
    assert_eq!(taken, [other, ticket]);
    assert!(!store.is_linked(position, |parcel| *parcel == ticket));
}

#[test]
fn a_transaction_has_its_limits() {
    let ground = Ground::new(2000, 2);
    let store = ground.store();
    let names: Vec<_> = (0..=REDO_MAX as u32).map(u32::to_le_bytes).collect();
    let run = |count: usize| {
        let redo = lock_redo(&store);
        let locks = [lock(&store, 0), lock(&store, 1)];
        let prepare = |name: &[u8; 4]| {
            let locked = &locks[shard_of(&store, name)];
            locked.prepare(&key(name), b"all", Extra::default(), || 0).expect("room")
        };
        transact(&redo, names[..count].iter().map(prepare).collect())
    };
    assert_eq!(run(REDO_MAX + 1), Err(Error::TooLarge));
    assert_eq!(store.len(), 0);
    audit(&store);
    assert_eq!((run(REDO_MAX), run(0)), (Ok(()), Ok(())));
    assert_eq!(store.len(), REDO_MAX as u64);
    audit(&store);
}

#[test]
fn keys_are_their_bytes() {
    let ground = Ground::new(100, 2);
    let store = ground.store();
    assert!(matches!(Key::new(&[0; 65536], SEED), Err(Error::TooLarge)));
    // A longer key of zeros, and an empty one, are keys of their own.
    for len in 0..40 {
        put(&store, &vec![0; len], &[len as u8]).expect("room");
    }
    for len in 0..40 {
        assert_eq!(get(&store, &vec![0; len], 0), Some(vec![len as u8]));
    }
    let long = vec![9; 65535];
    put(&store, &long, &[1; 100_000]).expect("room");
    assert_eq!(get(&store, &long, 0), Some(vec![1; 100_000]));
    audit(&store);
}
