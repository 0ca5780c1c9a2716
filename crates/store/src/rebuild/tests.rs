//! Deaths, and words that nobody of ours stored: after a rebuild everything is accounted for.

use std::collections::BTreeMap;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::participant::ParticipantId;
use ginnel_layout::store::{Span, kind};
use ginnel_sync::Holder;
use proptest::prelude::*;

use super::*;
use crate::ground::Ground;
use crate::heap::LINK;
use crate::node::{Extra, Key};
use crate::pages::PAGE;
use crate::read::Read;
use crate::{Copied, Error};

const SEED: u64 = 7;

fn holder() -> Holder {
    Holder::new(dead(), 1).expect("a thread")
}

fn dead() -> ParticipantId {
    ParticipantId::from_index(0)
}

fn locked(ground: &Ground) -> Locked<'_, Ground> {
    ground.store().try_lock(0, holder()).expect("no damage").expect("free")
}

fn never() -> u64 {
    0
}

/// A ground with its first shard, and what has to be in it.
struct Scene {
    ground: Ground,
    entries: BTreeMap<u8, Vec<u8>>,
}

impl Scene {
    fn new(pages: usize) -> Self {
        Self { ground: Ground::new(pages, 1), entries: BTreeMap::new() }
    }

    fn put(&mut self, key: u8, bytes: usize) -> Result<(), Error> {
        let locked = locked(&self.ground);
        let value = vec![key; bytes];
        let pending = locked.prepare(&Key::new(&[key], SEED)?, &value, Extra::default(), never)?;
        locked.commit(pending)?;
        self.entries.insert(key, value);
        Ok(())
    }

    fn remove(&mut self, key: u8) -> Result<(), Error> {
        let locked = locked(&self.ground);
        if let Some(pending) = locked.prepare_removal(&Key::new(&[key], SEED)?, never)? {
            locked.commit(pending)?;
        }
        self.entries.remove(&key);
        Ok(())
    }

    /// The same as put, but that its thread dies at the place `when`.
    fn die_in_put(&mut self, key: u8, bytes: usize, when: u8) -> Result<(), Error> {
        let locked = locked(&self.ground);
        let value = vec![key; bytes];
        let mut pending = locked.prepare(&Key::new(&[key], SEED)?, &value, Extra::default(), never)?;
        if when % 2 == 1 {
            let (slot, _) = pending.settle(&[])?;
            slot.store(pending.word(), Release);
            self.entries.insert(key, value);
        }
        std::mem::forget(pending);
        std::mem::forget(locked);
        Ok(())
    }

    /// Everything is there, nothing else is, and the shard is whole.
    fn check(&self) -> Result<(), String> {
        let locked = locked(&self.ground);
        locked.audit()?;
        let mut found = BTreeMap::new();
        let mut copied = Copied::new();
        for key in 0..=u8::MAX {
            let read = self.ground.store().get(&Key::new(&[key], SEED).expect("short"), never, &mut copied);
            match read {
                Read::Absent => None,
                Read::Found { .. } => found.insert(key, copied.as_bytes().to_vec()),
                Read::Busy => return Err("damaged".into()),
            };
        }
        if found == self.entries { Ok(()) } else { Err(format!("{found:?} instead of {:?}", self.entries)) }
    }
}

fn bytes() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..200usize, 2 => 200..8000usize, 1 => 8000..30_000usize]
}

#[derive(Debug, Clone)]
enum Act {
    Put(u8, usize),
    Remove(u8),
    DieInPut(u8, usize, u8),
    Rebuild,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..40u8, bytes()).prop_map(|(key, bytes)| Act::Put(key, bytes)),
        3 => (0..40u8).prop_map(Act::Remove),
        2 => (0..40u8, bytes(), any::<u8>()).prop_map(|(key, bytes, when)| Act::DieInPut(key, bytes, when)),
        1 => Just(Act::Rebuild),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_survives_every_death(acts in prop::collection::vec(act(), 1..120)) {
        let mut scene = Scene::new(120);
        for act in acts {
            let done = match act {
                Act::Put(key, bytes) => scene.put(key, bytes),
                Act::Remove(key) => scene.remove(key),
                Act::DieInPut(key, bytes, when) => scene.die_in_put(key, bytes, when),
                Act::Rebuild => { locked(&scene.ground).rebuild(); Ok(()) }
            };
            prop_assert!(matches!(done, Ok(()) | Err(Error::Full(_))), "{done:?}");
            let recovered = scene.ground.store().recover(dead());
            prop_assert_eq!(recovered.lost, 0);
            prop_assert_eq!(scene.check(), Ok(()));
        }
    }

    #[test]
    fn after_any_scribble_a_rebuild_makes_a_whole_shard(
        puts in prop::collection::vec((0..60u8, bytes()), 1..60),
        scribbles in prop::collection::vec((any::<prop::sample::Index>(), wild()), 1..40),
        evicts in any::<bool>(),
    ) {
        let mut scene = Scene::new(100);
        scene.ground.front().shape.flags.store(u32::from(evicts) * flag::EVICT, Relaxed);
        for (key, bytes) in puts {
            // What finds no room is no matter here.
            let _ = scene.put(key, bytes);
        }
        let canary = scene.ground.claim(9, 1).ok();
        for (place, wild) in scribbles {
            scribble(&scene.ground, &place, wild);
        }
        use_it(&scene.ground);
        let store = scene.ground.store();
        std::mem::forget(store.try_lock(0, holder()));
        store.recover(dead());
        prop_assert_eq!(locked(&scene.ground).audit(), Ok(()));
        use_it(&scene.ground);
        prop_assert_eq!(locked(&scene.ground).audit(), Ok(()));
        if let Some(canary) = canary {
            let words = store.memory().block(canary, PAGE).expect("in bounds");
            prop_assert!(words.iter().all(|word| word.load(Relaxed) == 0), "wrote into pages of somebody else");
        }
    }
}

/// What a death leaves of one change of spans, and how many pages belong to the shard after the recovery.
fn after_a_death(leave: impl FnOnce(&Ground, &Locked<'_, Ground>)) -> usize {
    let mut scene = Scene::new(60);
    for key in 0..30 {
        scene.put(key, 300).expect("room");
    }
    let locked = locked(&scene.ground);
    leave(&scene.ground, &locked);
    std::mem::forget(locked);
    let recovered = scene.ground.store().recover(dead());
    assert_eq!((recovered.shards, recovered.lost), (1, 0));
    assert_eq!(scene.check(), Ok(()));
    scene.ground.used()
}

fn set(locked: &Locked<'_, Ground>, offset: u64, word: u64) {
    locked.memory().word(offset).expect("in bounds").store(word, Relaxed);
}

#[test]
fn pages_that_were_claimed_and_never_became_a_span_go_back() {
    let before = after_a_death(|_, _| ());
    let claimed = after_a_death(|ground, _| {
        ground.claim(1, 7).expect("room");
    });
    assert_eq!(claimed, before);
    let divided = after_a_death(|ground, locked| {
        let offset = ground.claim(1, 7).expect("room");
        set(locked, offset + 5 * PAGE, Span::new(2, kind::FREE).bits());
    });
    assert_eq!(divided, before + 2, "what has a head is kept");
    let headed = after_a_death(|ground, locked| {
        let offset = ground.claim(1, 7).expect("room");
        set(locked, offset + 5 * PAGE, Span::new(2, kind::FREE).bits());
        set(locked, offset, Span::slab(5, 3).bits());
    });
    assert_eq!(headed, before + 7);
}

#[test]
fn every_prefix_of_a_split_is_a_tiling() {
    let free = |locked: &Locked<'_, Ground>| {
        let run = locked.alloc(9 * PAGE).expect("room");
        locked.free(run, 9 * PAGE);
        run - Span::HEAD
    };
    let whole = after_a_death(|_, locked| {
        free(locked);
    });
    let rest = after_a_death(|_, locked| {
        let span = free(locked);
        set(locked, span + 4 * PAGE, Span::new(6, kind::FREE).bits());
    });
    let first = after_a_death(|_, locked| {
        let span = free(locked);
        set(locked, span + 4 * PAGE, Span::new(6, kind::FREE).bits());
        set(locked, span + LINK, 0);
        set(locked, span, Span::new(4, kind::RUN).bits());
    });
    let carved = after_a_death(|_, locked| {
        let span = free(locked);
        set(locked, span + 4 * PAGE, Span::new(6, kind::FREE).bits());
        set(locked, span, Span::slab(4, 5).bits());
        locked.shard().fresh[5].store(span, Relaxed);
        set(locked, span + LINK, 3);
    });
    assert_eq!([rest, first, carved], [whole; 3]);
}

#[test]
fn a_run_that_was_given_back_halfway_is_free() {
    let by_hand = after_a_death(|_, locked| {
        let run = locked.alloc(9 * PAGE).expect("room");
        set(locked, run - Span::HEAD, Span::new(10, kind::FREE).bits());
    });
    let never = after_a_death(|_, locked| {
        locked.alloc(9 * PAGE).expect("room");
    });
    assert_eq!(by_hand, never);
}

#[test]
fn blocks_that_were_popped_or_pushed_halfway_are_free() {
    after_a_death(|_, locked| {
        let block = locked.alloc(96).expect("room");
        locked.shard().free[4].store(block, Relaxed);
        set(locked, block + LINK, block);
    });
    after_a_death(|_, locked| {
        locked.shard().free[4].store(0x10, Relaxed);
        locked.shard().counts.spans.store(u64::MAX, Relaxed);
        locked.shard().counts.len.store(77, Relaxed);
    });
}

#[test]
fn only_a_death_shows_in_versions() {
    let mut scene = Scene::new(40);
    scene.put(1, 10).expect("room");
    let version = || match scene.ground.store().version(&Key::new(&[1], SEED).expect("short"), never) {
        Read::Found { version, .. } => version,
        other => panic!("{other:?}"),
    };
    let before = version();
    locked(&scene.ground).rebuild();
    assert_eq!(version(), before);
    std::mem::forget(locked(&scene.ground));
    scene.ground.store().recover(dead());
    assert_ne!(version(), before);
}

/// How a word becomes another one.
#[derive(Debug, Clone, Copy)]
enum Wild {
    Any(u64),
    Flip(u32),
    Offset(u32, u16),
    Head(u32, u8, u8),
}

fn wild() -> impl Strategy<Value = Wild> {
    prop_oneof![
        any::<u64>().prop_map(Wild::Any),
        (0..64u32).prop_map(Wild::Flip),
        (any::<u32>(), any::<u16>()).prop_map(|(offset, tag)| Wild::Offset(offset % (100 << 12), tag)),
        (0..20u32, 0..4u8, 0..32u8).prop_map(|(pages, kind, class)| Wild::Head(pages, kind, class)),
    ]
}

/// Changes one word that means something: of the shard (not its lock), the head of a page, or any in the pages.
fn scribble(ground: &Ground, place: &prop::sample::Index, wild: Wild) {
    let (store, shard) = (ground.store(), ground.store().shard(0));
    let counts = &shard.counts;
    let mut words: Vec<&AtomicU64> = vec![
        &shard.top.root,
        &shard.top.moves,
        &counts.serial,
        &counts.len,
        &counts.used,
        &counts.hand,
        &counts.carrying,
        &counts.pages,
        &counts.freed,
        &counts.spans,
    ];
    words.extend(shard.free.iter().chain(&shard.fresh));
    let own = |page: &u64| store.pages().owns(1, page * PAGE);
    for page in (1..store.memory().len() / PAGE).filter(own) {
        let all = store.memory().block(page * PAGE, PAGE).expect("in bounds");
        // Heads of spans, and the first words of blocks and tables, weigh more than others.
        words.extend(all.iter().take(40).chain(all.iter().step_by(7)));
    }
    let word = place.get(&words);
    let old = word.load(Relaxed);
    word.store(
        match wild {
            Wild::Any(any) => any,
            Wild::Flip(bit) => old ^ (1 << bit),
            Wild::Offset(offset, tag) => u64::from(offset & !15) | u64::from(tag) << 48,
            Wild::Head(pages, kind, class) => Span { pages, kind, class }.bits(),
        },
        Relaxed,
    );
}

/// Every operation, whatever it says; none may panic, run for ever, or write elsewhere.
fn use_it(ground: &Ground) {
    let store = ground.store();
    let mut copied = Copied::new();
    let locked = locked(ground);
    for key in 0..80u8 {
        let name = [key];
        let key = Key::new(&name, SEED).expect("short");
        store.get(&key, never, &mut copied);
        if let Ok(pending) = locked.prepare(&key, &vec![1; 20 << (name[0] % 10)], Extra::default(), never) {
            let _ = locked.commit(pending);
        }
        if let Ok(Some(pending)) = locked.prepare_removal(&key, never) {
            let _ = locked.commit(pending);
        }
    }
    let _ = locked.for_each(never, |_, _, _| ());
    let _ = locked.reclaim();
    let _ = store.usage();
}
