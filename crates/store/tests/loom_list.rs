//! Models of a list under loom: readers without the lock against push, pop, set, insert and remove, in every interleaving
//! and with every allowed reordering. Leaves have 4 words there, and a block has the size of a leaf and of a node with
//! one word, so that what a late reader looks at is soon something else.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-store --test loom_list`. Deaths at any step are in the
//! model `store` of testkit.
#![cfg(loom)]

use std::ops::Range;
use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::flag;
use ginnel_store::ground::Ground;
use ginnel_store::list::{Element, Item};
use ginnel_store::{Copied, Locked};
use ginnel_sync::Holder;
use loom::thread;

/// Of 64 words each.
const PAGES: usize = 7;

fn model(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.max_branches = 50_000;
    builder.check(scenario);
}

fn list(flags: u32, values: &[&[u8]]) -> Arc<Ground> {
    let ground = Ground::new(PAGES, 1);
    ground.front().shape.flags.store(flag::LIST | flags, Relaxed);
    splice(&locked(&ground), 0..0, values);
    Arc::new(ground)
}

/// No two writers at a time in these models: the lock is free.
fn locked(ground: &Ground) -> Locked<'_, Ground> {
    let me = Holder::new(ParticipantId::from_index(0), 1).expect("a thread");
    ground.store().try_lock(0, me).expect("no damage").expect("free")
}

fn splice(locked: &Locked<'_, Ground>, range: Range<u64>, values: &[&[u8]]) {
    let items: Vec<Item<'_>> = values.iter().map(|value| Item { value, parcels: &[] }).collect();
    locked.list_splice(range, &items).expect("room").expect("within").commit().expect("whole");
}

/// Several changes, under one lock.
fn write(ground: &Ground, changes: &[(Range<u64>, &[&[u8]])]) {
    let locked = locked(ground);
    for (range, values) in changes {
        splice(&locked, range.clone(), values);
    }
}

/// A look at an element. None: it is absent.
fn get(ground: &Ground, index: u64) -> Option<Vec<u8>> {
    let mut out = Copied::new();
    match ground.store().list_get(index, &mut out) {
        Element::Found { .. } => Some(out.as_bytes().to_vec()),
        Element::Absent => None,
        Element::Busy => panic!("nobody is at work for so long"),
    }
}

/// Looks at an element twice while `writer` is at work: each look finds one of the states that it goes through, and the
/// second one none that is before the first's.
fn follows(
    ground: &Arc<Ground>,
    index: u64,
    states: &[Option<&[u8]>],
    writer: impl FnOnce(&Ground) + Send + 'static,
) {
    looks(2, ground, index, states, writer);
}

/// As [`follows`], with so many looks.
fn looks(
    count: u32,
    ground: &Arc<Ground>,
    index: u64,
    states: &[Option<&[u8]>],
    writer: impl FnOnce(&Ground) + Send + 'static,
) {
    let shared = Arc::clone(ground);
    let writing = thread::spawn(move || writer(&shared));
    let mut from = 0;
    for _ in 0..count {
        let seen = get(ground, index);
        let at = states[from..].iter().position(|state| *state == seen.as_deref());
        from += at.unwrap_or_else(|| panic!("element {index} was never {seen:?} from state {from} on"));
    }
    writing.join().expect("the writer");
    assert_eq!(get(ground, index).as_deref(), *states.last().expect("a state"));
}

const A: &[u8] = b"eight A.";
const B: &[u8] = b"eight B.";
const C: &[u8] = b"eight C.";
const D: &[u8] = b"eight D.";
const E: &[u8] = b"short";

#[test]
fn a_push_is_whole() {
    model(3, || {
        let ground = list(0, &[A]);
        follows(&ground, 1, &[None, Some(B)], |ground| write(ground, &[(1..1, &[B])]));
    });
}

/// The block of each value is the next one's.
#[test]
fn set_and_set_again() {
    model(3, || {
        let ground = list(0, &[A, E]);
        follows(&ground, 0, &[Some(A), Some(B), Some(C)], |ground| {
            write(ground, &[(0..1, &[B]), (0..1, &[C])]);
        });
    });
}

/// A short value in between, so that the same block comes back at the same index.
#[test]
fn set_to_another_in_the_same_block() {
    model(3, || {
        let ground = list(0, &[A]);
        follows(&ground, 0, &[Some(A), Some(E), Some(B)], |ground| {
            write(ground, &[(0..1, &[E]), (0..1, &[B])]);
        });
    });
}

#[test]
fn popped_and_pushed() {
    model(2, || {
        let ground = list(0, &[A, B]);
        follows(&ground, 1, &[Some(B), None, Some(C)], |ground| {
            write(ground, &[(1..2, &[]), (1..1, &[C])]);
        });
    });
}

/// The block of what was popped becomes another element, and the length comes back.
#[test]
fn popped_and_used_elsewhere_and_pushed() {
    model(2, || {
        let ground = list(0, &[A, B]);
        follows(&ground, 1, &[Some(B), None, Some(D)], |ground| {
            write(ground, &[(1..2, &[]), (0..1, &[C]), (1..1, &[D])]);
        });
    });
}

/// 0 is a value of a plain list, but not one that was ever here.
#[test]
fn plain_words_are_never_cleared() {
    model(2, || {
        let ground = list(flag::PLAIN8, &[A, B]);
        follows(&ground, 1, &[Some(B), None, Some(C), None, Some(D)], |ground| {
            write(ground, &[(1..2, &[]), (1..1, &[C]), (1..2, &[]), (1..1, &[D])]);
        });
    });
}

/// The last leaf goes, becomes a node, and another one comes in its place while the length is as before.
#[test]
fn a_leaf_that_becomes_a_node() {
    model(2, || {
        let ground = list(0, &[E, E, E, E, E, E, E, E, A]);
        follows(&ground, 8, &[Some(A), None, Some(B)], |ground| {
            write(ground, &[(4..9, &[]), (0..1, &[C]), (1..2, &[D]), (4..4, &[E, E, E, E, B])]);
        });
    });
}

/// The same in a list of plain words, where the leaf becomes the leaf of other elements.
#[test]
fn a_leaf_that_becomes_another() {
    model(2, || {
        let ground = list(flag::PLAIN8, &[A, A, A, A, A, A, A, A, B]);
        looks(1, &ground, 8, &[Some(B), None, Some(D)], |ground| {
            write(ground, &[(4..9, &[]), (1..2, &[]), (3..3, &[A, C, C, C, C, D])]);
        });
    });
}

#[test]
fn removed_and_inserted_in_the_middle() {
    model(2, || {
        let ground = list(0, &[A, B, C]);
        looks(1, &ground, 1, &[Some(B), Some(C), Some(D)], |ground| {
            write(ground, &[(1..2, &[]), (1..1, &[D])]);
        });
    });
}

/// Two roots later the first directory's block is the directory again. Leaves have blocks of another size here.
#[test]
fn the_root_is_an_old_block_again() {
    model(2, || {
        let ground = list(flag::PLAIN8, &[A, B, C, A, A]);
        let root = || ground.store().shard(0).top.root.load(Relaxed);
        let first = root();
        looks(1, &ground, 1, &[Some(B), Some(C), Some(A)], |ground| {
            write(ground, &[(1..2, &[]), (0..0, &[D])]);
        });
        assert_eq!(root(), first);
    });
}

/// A second writer, who paid for none of the fences of the first one: the lock is all that is between them.
#[test]
fn two_writers_one_behind_the_other() {
    model(2, || {
        let ground = list(0, &[A, B]);
        follows(&ground, 1, &[Some(B), None, Some(D)], |ground| {
            write(ground, &[(1..2, &[])]);
            write(ground, &[(0..1, &[C]), (1..1, &[D])]);
        });
    });
}

#[test]
fn the_length_is_one_that_was() {
    model(2, || {
        let ground = list(0, &[A, B]);
        let shared = Arc::clone(&ground);
        let writing = thread::spawn(move || write(&shared, &[(2..2, &[C]), (0..1, &[]), (0..2, &[])]));
        let lengths = [2, 3, 2, 0];
        let mut from = 0;
        for _ in 0..2 {
            let len = ground.store().list_len().expect("nobody is at work for so long");
            from += lengths[from..].iter().position(|state| *state == len).expect("a length that was");
        }
        writing.join().expect("the writer");
        assert_eq!(ground.store().list_len(), Some(0));
    });
}

/// Who knows the number of a change sees it.
#[test]
fn a_version_is_not_ahead_of_its_change() {
    model(3, || {
        let ground = list(flag::PLAIN8, &[A]);
        let before = ground.store().list_version();
        let shared = Arc::clone(&ground);
        let writing = thread::spawn(move || write(&shared, &[(0..1, &[B])]));
        if ground.store().list_version() != before {
            assert_eq!(get(&ground, 0).as_deref(), Some(B));
        }
        writing.join().expect("the writer");
        assert_ne!(ground.store().list_version(), before);
    });
}
