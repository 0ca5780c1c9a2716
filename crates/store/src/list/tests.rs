//! Lists against a vector, through every way that a change is made, with deaths in between.

use std::ops::{ControlFlow, Range};

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::participant::ParticipantId;
use ginnel_layout::store::flag;
use ginnel_sync::Holder;
use proptest::prelude::*;

use super::*;
use crate::ground::Ground;
use crate::{Copied, Error, Locked, NoPages};

const PAGES: usize = 2500;

fn participant() -> ParticipantId {
    ParticipantId::from_index(0)
}

fn ground(flags: u32, pages: usize) -> Ground {
    let ground = Ground::new(pages, 1);
    ground.front().shape.flags.store(flag::LIST | flags, Relaxed);
    ground
}

fn locked(ground: &Ground) -> Locked<'_, Ground> {
    let me = Holder::new(participant(), 1).expect("a thread");
    ground.store().try_lock(0, me).expect("no damage").expect("free")
}

/// Value number `n`: short ones, ones with a node, and a few that are large.
fn value(n: u32) -> Vec<u8> {
    let len = match n % 8 {
        0..4 => n % 8,
        4..6 => 7 + n % 9,
        6 => n % 250,
        _ => (n % 3) * 4000,
    };
    (0..len).map(|i| (n.wrapping_mul(31) + i) as u8).collect()
}

/// As a list of plain words gives it back.
fn plain(n: u32) -> Vec<u8> {
    u64::from(n % 3 * n).to_le_bytes().to_vec()
}

/// A list, what should be in it, and whether its values are plain words.
struct Pair {
    ground: Ground,
    oracle: Vec<Vec<u8>>,
    plain: bool,
    next: u32,
}

impl Pair {
    fn new(plain: bool) -> Self {
        let ground = ground(if plain { flag::PLAIN8 } else { 0 }, PAGES);
        Self { ground, oracle: Vec::new(), plain, next: 0 }
    }

    fn values(&mut self, count: usize) -> Vec<Vec<u8>> {
        let first = self.next;
        self.next += count as u32;
        (first..self.next).map(|n| if self.plain { plain(n) } else { value(n) }).collect()
    }

    fn clamp(&self, range: (usize, usize)) -> Range<usize> {
        let len = self.oracle.len();
        let (a, b) = (range.0 % (len + 1), range.1 % (len + 1));
        a.min(b)..a.max(b)
    }

    fn splice(&mut self, range: Range<usize>, count: usize) {
        let values = self.values(count);
        let items: Vec<Item<'_>> = values.iter().map(|value| Item { value, parcels: &[] }).collect();
        let locked = locked(&self.ground);
        let change = locked.list_splice(range.start as u64..range.end as u64, &items);
        change.expect("room").expect("within").commit().expect("whole");
        self.oracle.splice(range, values);
    }

    /// Keeps what `which` wants, in another order, and puts one new value in front.
    fn rearrange(&mut self, range: Range<usize>, order: impl Fn(&mut Vec<usize>)) {
        let values = self.values(1);
        let locked = locked(&self.ground);
        let places = range.start as u64..range.end as u64;
        let mut kept: Vec<Option<Kept>> =
            locked.list_kept(places.clone()).expect("whole").into_iter().map(Some).collect();
        let mut indexes: Vec<usize> = (0..kept.len()).collect();
        order(&mut indexes);
        let mut slots = vec![Slot::New(Item { value: &values[0], parcels: &[] })];
        slots.extend(indexes.iter().map(|at| Slot::Kept(kept[*at].take().expect("once"))));
        locked.list_rearrange(places, &slots).expect("room").expect("within").commit().expect("whole");
        let old = self.oracle[range.clone()].to_vec();
        let new = values.into_iter().chain(indexes.iter().map(|at| old[*at].clone()));
        self.oracle.splice(range, new.collect::<Vec<_>>());
    }

    /// A change that is ready and never made: dropped, or its maker dies.
    fn abandon(&mut self, range: Range<usize>, count: usize, dies: bool) {
        let values = self.values(count);
        let items: Vec<Item<'_>> = values.iter().map(|value| Item { value, parcels: &[] }).collect();
        let locked = locked(&self.ground);
        let change =
            locked.list_splice(range.start as u64..range.end as u64, &items).expect("room").expect("within");
        if dies {
            std::mem::forget(change);
            std::mem::forget(locked);
            self.ground.store().recover(participant());
        }
    }

    fn check(&self) {
        let store = self.ground.store();
        assert_eq!(store.list_len(), Some(self.oracle.len() as u64));
        assert_eq!(store.len(), self.oracle.len() as u64);
        let mut out = Copied::new();
        for (index, value) in self.oracle.iter().enumerate() {
            assert_eq!(store.list_get(index as u64, &mut out), Element::Found { carrying: false });
            assert_eq!(out.as_bytes(), value, "element {index} of {}", self.oracle.len());
        }
        assert_eq!(store.list_get(self.oracle.len() as u64, &mut out), Element::Absent);
        let mut all = Vec::new();
        let locked = locked(&self.ground);
        let each = |index, value: &[u8], _: &[[u8; 16]]| {
            assert_eq!(index, all.len() as u64);
            all.push(value.to_vec());
            ControlFlow::Continue(())
        };
        locked.list_for_each(0..u64::MAX, each).expect("whole");
        assert!(all == self.oracle);
    }

    /// No block is lost, or in two places: not before a rebuild, and not after it, which finds the same list.
    fn rebuild(&self) {
        let held = locked(&self.ground);
        assert_eq!(held.audit(), Ok(()), "before the rebuild");
        assert_eq!(held.rebuild(), 0, "elements lost");
        assert_eq!(held.audit(), Ok(()), "after the rebuild");
        drop(held);
        assert_eq!(self.ground.store().len(), self.oracle.len() as u64);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Push(usize),
    Pop(usize),
    Insert(usize, usize),
    Remove(usize, usize),
    Set(usize),
    Splice((usize, usize), usize),
    Reverse((usize, usize)),
    Retain((usize, usize)),
    Abandon((usize, usize), usize, bool),
    Clear,
    Rebuild,
}

fn acts() -> impl Strategy<Value = Act> {
    let at = || any::<usize>();
    let range = || (any::<usize>(), any::<usize>());
    prop_oneof![
        6 => (1..4usize).prop_map(Act::Push),
        2 => (200..700usize).prop_map(Act::Push),
        6 => (1..4usize).prop_map(Act::Pop),
        2 => (100..600usize).prop_map(Act::Pop),
        6 => (at(), 1..3usize).prop_map(|(at, count)| Act::Insert(at, count)),
        6 => (at(), 1..3usize).prop_map(|(at, count)| Act::Remove(at, count)),
        4 => at().prop_map(Act::Set),
        3 => (range(), 0..300usize).prop_map(|(range, count)| Act::Splice(range, count)),
        2 => range().prop_map(Act::Reverse),
        2 => range().prop_map(Act::Retain),
        2 => (range(), 0..300usize, any::<bool>()).prop_map(|(range, count, dies)| Act::Abandon(range, count, dies)),
        1 => Just(Act::Clear),
        2 => Just(Act::Rebuild),
    ]
}

fn act(pair: &mut Pair, act: &Act) {
    let len = pair.oracle.len();
    match *act {
        Act::Push(count) => pair.splice(len..len, count),
        Act::Pop(count) => pair.splice(len - count.min(len)..len, 0),
        Act::Insert(at, count) => pair.splice(at % (len + 1)..at % (len + 1), count),
        Act::Remove(at, count) => {
            let at = at % (len + 1);
            pair.splice(at..(at + count).min(len), 0);
        }
        Act::Set(at) if len > 0 => pair.splice(at % len..at % len + 1, 1),
        Act::Set(_) => {}
        Act::Splice(range, count) => pair.splice(pair.clamp(range), count),
        Act::Reverse(range) => pair.rearrange(pair.clamp(range), |order| order.reverse()),
        Act::Retain(range) => pair.rearrange(pair.clamp(range), |order| order.retain(|at| at % 3 == 1)),
        Act::Abandon(range, count, dies) => pair.abandon(pair.clamp(range), count, dies),
        Act::Clear => pair.splice(0..len, 0),
        Act::Rebuild => pair.rebuild(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_list_is_a_vector(is_plain in any::<bool>(), acts in prop::collection::vec(acts(), 1..80)) {
        let mut pair = Pair::new(is_plain);
        for one in &acts {
            act(&mut pair, one);
            if pair.oracle.len() > 3000 {
                pair.splice(1000..3000, 0);
            }
            pair.check();
        }
        pair.rebuild();
        pair.check();
    }
}

#[test]
fn what_is_out_of_range_is_no_change() {
    let ground = ground(0, 40);
    let locked = locked(&ground);
    assert!(locked.list_splice(1..1, &[]).expect("whole").is_none());
    assert!(locked.list_splice(0..1, &[]).expect("whole").is_none());
    let (start, end) = (2, 1);
    assert!(locked.list_splice(start..end, &[]).expect("whole").is_none());
    assert_eq!(locked.list_read(0, &mut Copied::new()), Ok(None));
}

#[test]
fn all_of_an_extend_is_there_or_nothing() {
    let mut pair = Pair { ground: ground(0, 24), ..Pair::new(false) };
    pair.splice(0..0, 5);
    let large = vec![7; 3000];
    let items: Vec<Item<'_>> = (0..60).map(|_| Item { value: &large, parcels: &[] }).collect();
    let held = locked(&pair.ground);
    assert_eq!(held.list_splice(5..5, &items).err(), Some(Error::Full(NoPages::Full)));
    assert_eq!(held.pendings(), 0);
    drop(held);
    pair.check();
    // What the attempt took has been given back: there is room for what fits.
    pair.splice(5..5, 20);
    pair.check();
    pair.rebuild();
}

#[test]
fn plain_values_have_eight_bytes() {
    let ground = ground(flag::PLAIN8, 40);
    let locked = locked(&ground);
    let items = [Item { value: &[1, 2], parcels: &[] }];
    locked.list_splice(0..0, &items).expect("room").expect("within").commit().expect("whole");
    let mut out = Copied::new();
    assert_eq!(locked.list_read(0, &mut out), Ok(Some(false)));
    assert_eq!(out.as_bytes(), [1, 2, 0, 0, 0, 0, 0, 0]);
    let long = [Item { value: &[0; 9], parcels: &[] }];
    assert_eq!(locked.list_splice(0..0, &long).err(), Some(Error::TooLarge));
}

#[test]
fn nobody_keeps_an_element_twice() {
    let ground = ground(0, 40);
    let locked = locked(&ground);
    let items = [Item { value: &[1; 40], parcels: &[] }, Item { value: &[2; 40], parcels: &[] }];
    locked.list_splice(0..0, &items).expect("room").expect("within").commit().expect("whole");
    let twice = || locked.list_kept(0..1).expect("whole").into_iter().map(Slot::Kept);
    let slots: Vec<Slot<'_>> = twice().chain(twice()).collect();
    assert!(matches!(locked.list_rearrange(0..2, &slots), Err(Error::Corrupted(_))));
    // Nor one of another range.
    let slots: Vec<Slot<'_>> = twice().collect();
    assert!(matches!(locked.list_rearrange(1..2, &slots), Err(Error::Corrupted(_))));
}

#[test]
fn parcels_are_named_as_they_come_and_go() {
    let ground = ground(0, 40);
    let store = ground.store();
    let held = locked(&ground);
    let (a, b) = ([[1; 16], [2; 16]], [[3; 16]]);
    let items = [
        Item { value: b"a", parcels: &a },
        Item { value: b"none", parcels: &[] },
        Item { value: b"b", parcels: &b },
    ];
    let change = held.list_splice(0..0, &items).expect("room").expect("within");
    let added = change.added();
    assert_eq!(added.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(change.removed(), Ok(Vec::new()));
    let is_linked = |position, name: [u8; 16]| store.is_linked(position, |parcel| *parcel == name);
    assert!(!is_linked(added[0].1, [1; 16]), "not before the commit");
    change.commit().expect("whole");
    assert!(is_linked(added[0].1, [2; 16]) && is_linked(added[1].1, [3; 16]));
    assert!(!is_linked(added[0].1, [3; 16]) && !is_linked(added[0].1 + 1, [1; 16]));
    assert_eq!(store.shard(0).counts.carrying.load(Relaxed), 2);
    let mut out = Copied::new();
    assert_eq!(store.list_get(0, &mut out), Element::Found { carrying: true });
    assert_eq!((held.list_read(0, &mut out), out.as_bytes()), (Ok(Some(true)), &b"a"[..]));
    assert_eq!(held.list_parcels(2), Ok(b.to_vec()));
    assert_eq!(held.list_parcels(1), Ok(Vec::new()));

    let change = held.list_splice(0..2, &[]).expect("room").expect("within");
    assert_eq!(change.removed(), Ok(a.to_vec()));
    change.commit().expect("whole");
    assert!(!is_linked(added[0].1, [1; 16]) && is_linked(added[1].1, [3; 16]));
    assert_eq!(store.shard(0).counts.carrying.load(Relaxed), 1);
    assert_eq!(held.rebuild(), 0);
    assert_eq!(store.shard(0).counts.carrying.load(Relaxed), 1);
    drop(held);

    let mut all = Vec::new();
    store.take_apart(0, &mut |parcels| all.extend_from_slice(parcels));
    assert_eq!((all, store.list_len()), (b.to_vec(), Some(0)));
    store.take_apart(0, &mut |_| panic!("nothing is left"));
}

#[test]
fn every_change_has_a_number() {
    let mut pair = Pair::new(true);
    let version = |pair: &Pair| pair.ground.store().list_version();
    let mut seen = vec![version(&pair)];
    for (range, count) in [(0..0, 3), (1..2, 1), (0..1, 0), (1..2, 0), (0..1, 4)] {
        pair.splice(range, count);
        seen.push(version(&pair));
    }
    pair.abandon(0..1, 1, true);
    seen.push(version(&pair));
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "{seen:?}");
}

/// Deaths inside a commit, which no proper test can cause: the words as they are after each store of it.
mod prefixes {
    use super::*;
    use crate::list::directory::Directory;
    use crate::list::plan::{LEAF_MAX, Leaf};

    /// A death now: the lock is left as it is, and recovered.
    fn die(pair: &Pair, locked: Locked<'_, Ground>) {
        std::mem::forget(locked);
        let recovered = pair.ground.store().recover(participant());
        assert_eq!((recovered.shards, recovered.lost), (1, 0));
        pair.check();
        pair.rebuild();
    }

    fn directory<'a>(locked: &Locked<'a, Ground>) -> Directory<'a> {
        let root = locked.shard().top.root.load(Relaxed);
        Directory::open(locked.memory(), root).expect("a directory")
    }

    /// A list of plain words with a full last leaf and room in the directory.
    fn full() -> Pair {
        let mut pair = Pair::new(true);
        pair.splice(0..0, 2 * LEAF_MAX as usize);
        pair.splice(0..0, 1);
        pair.splice(0..1, 0);
        pair
    }

    #[test]
    fn a_leaf_was_opened_and_nothing_pushed() {
        let mut pair = full();
        pair.splice(2 * LEAF_MAX as usize..2 * LEAF_MAX as usize, 1);
        let len = pair.oracle.len();
        let held = locked(&pair.ground);
        let view = directory(&held);
        let last = view.leaf(view.leaves() - 1).expect("a leaf");
        let start = last.start + last.cap;
        let opened = [0, 1].map(|i| Leaf {
            offset: held.alloc(8 * LEAF_MAX).expect("room"),
            cap: LEAF_MAX,
            start: start + i * LEAF_MAX,
        });
        if view.leaves() < view.cap() {
            view.open_leaves(view.leaves(), &opened[..1]);
        }
        die(&pair, held);
        pair.splice(len..len, 3 * LEAF_MAX as usize);
        pair.check();
    }

    #[test]
    fn words_were_written_and_len_was_not() {
        let mut pair = full();
        pair.splice(2 * LEAF_MAX as usize..2 * LEAF_MAX as usize, 1);
        let len = pair.oracle.len();
        let held = locked(&pair.ground);
        let view = directory(&held);
        let tail = view.leaf(view.tail().expect("whole")).expect("a leaf");
        view.word(&tail, len as u64).expect("a place").store(77, Relaxed);
        die(&pair, held);
        pair.splice(len..len, 1);
        pair.check();
    }

    #[test]
    fn len_went_down_and_nothing_was_given_back() {
        let mut pair = Pair::new(false);
        pair.splice(0..0, 3 * LEAF_MAX as usize);
        let held = locked(&pair.ground);
        directory(&held).len_word().store(3, Relaxed);
        pair.oracle.truncate(3);
        die(&pair, held);
        pair.splice(3..3, 2 * LEAF_MAX as usize);
        pair.check();
    }

    #[test]
    fn leaves_went_down_and_were_not_given_back() {
        let mut pair = Pair::new(false);
        pair.splice(0..0, 3 * LEAF_MAX as usize);
        let held = locked(&pair.ground);
        let view = directory(&held);
        view.len_word().store(3, Relaxed);
        view.set_leaves(1);
        pair.oracle.truncate(3);
        die(&pair, held);
        pair.splice(3..3, 2 * LEAF_MAX as usize);
        pair.check();
    }

    #[test]
    fn the_root_was_stored_and_nothing_else() {
        let mut pair = Pair::new(false);
        pair.splice(0..0, 700);
        let old = pair.ground.store().shard(0).top.root.load(Relaxed);
        pair.splice(100..600, 0);
        let held = locked(&pair.ground);
        // Nothing has used the old blocks since, but the old directory is free; the new one stays in force.
        assert_ne!(held.shard().top.root.load(Relaxed), old);
        held.shard().counts.len.store(9999, Relaxed);
        die(&pair, held);
    }
}

/// Words that somebody scribbled over: an answer, never a panic, a loop, or a look out of bounds.
mod damage {
    use super::*;
    use crate::list::directory::Directory;

    fn scribbled(what: impl Fn(&Locked<'_, Ground>, u64), word: u64) -> (Pair, u64) {
        let mut pair = Pair::new(false);
        pair.splice(0..0, 700);
        let held = locked(&pair.ground);
        what(&held, word);
        let lost = held.rebuild();
        drop(held);
        (pair, lost)
    }

    /// Reads, changes and a rebuild of a list in which any word may be anything.
    fn use_it(ground: &Ground) {
        let (store, mut out) = (ground.store(), Copied::new());
        for index in [0, 1, 255, 256, 600, 699, u64::MAX] {
            let _ = store.list_get(index, &mut out);
        }
        let _ = (store.list_len(), store.is_linked(5, |_| true));
        let items = [Item { value: &[1; 30], parcels: &[] }; 3];
        for range in [0..0, 10..10, 3..600, 0..1, 0..700, 0..3] {
            let held = locked(ground);
            let len = held.list_len().unwrap_or(0);
            let _ = held.list_for_each(0..len, |_, _, _| ControlFlow::Continue(()));
            for range in [range.start..range.end.min(len), len..len, len.saturating_sub(1)..len] {
                if let Ok(Some(change)) = held.list_splice(range, &items) {
                    let _ = change.commit();
                }
            }
            let _ = held.rebuild();
        }
    }

    const WILD: [u64; 12] =
        [0, 1, 8, 16, 255, 1 << 32, 3 << 32 | 1, 1 << 40, 4096, 4112, (5 << 48) | 4112, u64::MAX];

    #[test]
    fn a_root() {
        for word in WILD {
            let (pair, lost) = scribbled(|held, word| held.shard().top.root.store(word, Relaxed), word);
            assert_eq!(lost, if word == 0 { 0 } else { 700 }, "{word:#x}");
            assert_eq!(pair.ground.store().list_len(), Some(0));
            use_it(&pair.ground);
        }
    }

    #[test]
    fn each_word_of_the_directory_and_of_a_leaf() {
        for at in 0..12 {
            for word in WILD {
                let scribble = |held: &Locked<'_, Ground>, word| {
                    let root = held.shard().top.root.load(Relaxed);
                    held.memory().word(root + 8 * at).expect("in bounds").store(word, Relaxed);
                };
                let (pair, _) = scribbled(scribble, word);
                use_it(&pair.ground);
                let unrepaired = ground(0, PAGES);
                let mut pair = Pair { ground: unrepaired, ..Pair::new(false) };
                pair.splice(0..0, 700);
                scribble(&locked(&pair.ground), word);
                use_it(&pair.ground);
            }
        }
    }

    #[test]
    fn a_lost_element_leaves_the_others() {
        let (pair, lost) = scribbled(
            |held, word| {
                let root = held.shard().top.root.load(Relaxed);
                let directory = Directory::open(held.memory(), root).expect("a directory");
                let leaf = directory.find(300).expect("a leaf");
                directory.word(&leaf, 300).expect("a word").store(word, Relaxed);
            },
            24,
        );
        assert_eq!(lost, 1);
        let (store, mut out) = (pair.ground.store(), Copied::new());
        assert_eq!(store.list_get(300, &mut out), Element::Busy);
        assert!(matches!(locked(&pair.ground).list_read(300, &mut out), Err(Error::Corrupted(_))));
        assert_eq!(store.list_get(301, &mut out), Element::Found { carrying: false });
        assert_eq!(out.as_bytes(), pair.oracle[301]);
        use_it(&pair.ground);
    }
}
