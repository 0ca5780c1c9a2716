//! The heap against an oracle that knows which bytes are taken.

use std::collections::BTreeMap;

use ginnel_layout::participant::ParticipantId;
use ginnel_layout::store::CLASS_MAX;
use ginnel_sync::Holder;
use proptest::prelude::*;

use super::*;
use crate::NoPages;
use crate::ground::Ground;

fn me() -> Holder {
    Holder::new(ParticipantId::from_index(0), 1).expect("a thread")
}

fn locked(ground: &Ground) -> Locked<'_, Ground> {
    ground.store().try_lock(0, me()).expect("no damage").expect("free")
}

/// Blocks that are taken: offset to bytes. Each is filled with a word of its own.
#[derive(Default)]
struct Oracle {
    taken: BTreeMap<u64, u64>,
}

impl Oracle {
    fn take(&mut self, locked: &Locked<'_, Ground>, offset: u64, bytes: u64) {
        assert!(offset != 0 && offset.is_multiple_of(GRAIN));
        assert!(locked.is_own(offset, bytes), "not the shard's");
        let before = self.taken.range(..offset).next_back().map_or(0, |(at, bytes)| at + bytes);
        let behind = self.taken.range(offset..).next().map_or(u64::MAX, |(at, _)| *at);
        assert!(before <= offset && offset + bytes <= behind, "overlaps another block");
        for word in locked.memory().block(offset, bytes).expect("in bounds") {
            word.store(offset | 1, Relaxed);
        }
        self.taken.insert(offset, bytes);
    }

    fn give(&mut self, locked: &Locked<'_, Ground>, which: usize) {
        let Some((offset, bytes)) = self.taken.iter().nth(which % self.taken.len().max(1)) else { return };
        let (offset, bytes) = (*offset, *bytes);
        for word in locked.memory().block(offset, bytes).expect("in bounds") {
            assert_eq!(word.load(Relaxed), offset | 1, "somebody else wrote into the block");
        }
        self.taken.remove(&offset);
        locked.free(offset, bytes);
    }
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![5 => 1..300u64, 2 => 300..CLASS_MAX + 1, 1 => CLASS_MAX + 1..60_000u64]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_never_overlap(acts in prop::collection::vec((any::<bool>(), sizes(), any::<usize>()), 1..300)) {
        let ground = Ground::new(400, 1);
        let locked = locked(&ground);
        // What is taken here is in no table: a rebuild would take it back.
        locked.add_pending();
        let mut oracle = Oracle::default();
        for (takes, bytes, which) in acts {
            if !takes {
                oracle.give(&locked, which);
                continue;
            }
            match locked.alloc(bytes) {
                Ok(offset) => oracle.take(&locked, offset, bytes),
                Err(error) => prop_assert_eq!(error, Error::Full(NoPages::Full)),
            }
        }
        while !oracle.taken.is_empty() {
            oracle.give(&locked, 0);
        }
        locked.drop_pending();
        // All of it is one free span now, or several where other pages lie between.
        locked.rebuild();
        prop_assert_eq!(locked.audit(), Ok(()));
        let usage = ground.store().usage();
        prop_assert_eq!((usage.free, usage.largest_free), (usage.claimed, usage.claimed));
        prop_assert_eq!(usage.claimed, ground.used() as u64 * PAGE);
    }
}

#[test]
fn a_block_given_back_is_the_next_one_given_out() {
    let ground = Ground::new(16, 1);
    let locked = locked(&ground);
    let first = locked.alloc(96).expect("room");
    let second = locked.alloc(96).expect("room");
    assert_eq!(second, first + 96);
    locked.free(first, 90);
    assert_eq!(locked.alloc(81), Ok(first));
}

#[test]
fn memory_of_one_size_serves_another_when_it_is_short() {
    let ground = Ground::new(20, 1);
    let locked = locked(&ground);
    let mut blocks = Vec::new();
    while let Ok(block) = locked.alloc(64) {
        blocks.push(block);
    }
    assert_eq!(ground.used(), 19);
    assert_eq!(locked.alloc(4096), Err(Error::Full(NoPages::Full)));
    blocks.into_iter().for_each(|block| locked.free(block, 64));
    assert!(locked.alloc(18 * PAGE).is_ok(), "a rebuild merges slabs without blocks");
    assert_eq!(ground.used(), 19, "and no page came from outside");
}

#[test]
fn a_free_span_is_split_and_its_rest_is_used() {
    let ground = Ground::new(20, 1);
    let locked = locked(&ground);
    locked.add_pending();
    let run = locked.alloc(10 * PAGE).expect("room");
    locked.free(run, 10 * PAGE);
    let used = ground.used();
    let small = locked.alloc(3 * PAGE).expect("room");
    assert_eq!(small, run);
    assert_eq!(locked.alloc(5 * PAGE), Ok(run + 4 * PAGE));
    assert_eq!(ground.used(), used);
}

#[test]
fn what_is_larger_than_anything_is_refused() {
    let ground = Ground::new(4, 1);
    let locked = locked(&ground);
    assert_eq!(locked.alloc(u64::MAX), Err(Error::TooLarge));
    assert_eq!(locked.alloc(u64::from(u32::MAX) * PAGE), Err(Error::TooLarge));
    assert_eq!(locked.alloc(1 << 40), Err(Error::Full(NoPages::Full)));
    assert_eq!(ground.used(), 0);
}

#[test]
fn the_limit_counts_all_shards() {
    let ground = Ground::new(64, 2);
    ground.front().shape.limit.store(3, Relaxed);
    let store = ground.store();
    let lock = |index| store.try_lock(index, me()).expect("no damage").expect("free");
    let (one, two) = (lock(0), lock(1));
    assert!(one.alloc(32).is_ok() && two.alloc(32).is_ok() && one.alloc(64).is_ok());
    assert_eq!(two.alloc(64), Err(Error::Limit));
    assert_eq!(one.alloc(2 * PAGE), Err(Error::Limit));
    assert_eq!(ground.used(), 3);
    assert!(two.alloc(32).is_ok(), "what is claimed already may be used");
}

#[test]
fn small_slabs_waste_at_most_an_eighth() {
    for (class, pages) in SLABS.iter().copied().enumerate().take(CLASSES).skip(BIG) {
        let (bytes, used) = (u64::from(pages) * PAGE, capacity(pages, class) * class_size(class));
        assert!(used > 0 && bytes - used <= bytes / 8, "class {class}: {used} of {bytes}");
    }
}

#[test]
fn where_a_big_block_begins_shows_whether_it_has_its_own_pages() {
    for (class, pages) in SLABS.iter().copied().enumerate().take(CLASSES).skip(BIG) {
        let size = class_size(class);
        for index in 0..capacity(pages, class) {
            assert!(!is_run(PAGE + Span::head_of(class) + index * size, class));
        }
        assert!(is_run(PAGE + Span::HEAD, class));
    }
}

#[test]
fn a_table_that_grew_leaves_pages_that_anything_can_use() {
    let ground = Ground::new(40, 1);
    let locked = locked(&ground);
    locked.add_pending();
    for bytes in [2048, 4096, 8192] {
        let table = locked.alloc(bytes).expect("room");
        locked.free(table, bytes);
    }
    let used = ground.used();
    assert_eq!(used, 1 + 2 + 3);
    let blocks = 6 * ((PAGE - Span::HEAD) / 96);
    for _ in 0..blocks {
        locked.alloc(96).expect("room");
    }
    assert_eq!(ground.used(), used);
}
