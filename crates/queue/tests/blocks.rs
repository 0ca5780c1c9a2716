//! The pool of blocks on heap memory: claims, hand-over, what recovery takes and leaves, hostile words.
//!
//! - I1 the memory of a pool is leaked, page-aligned, zero at first and as long as its shape says; tests touch the
//!   bytes of blocks that they own.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "leaked heap memory instead of a mapping")]

use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::blocks::{BlockWord, GENERATION_MAX};
use ginnel_layout::entry::Carrier;
use ginnel_queue::blocks::{BlockId, BlocksError, Pool, Shape};

const PAGE: usize = 4096;
const HERE: Carrier = Carrier { entry: 4, position: 9 };

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

fn memory(bytes: u64) -> NonNull<u8> {
    let layout = Layout::from_size_align(bytes as usize, PAGE).expect("a small layout");
    // SAFETY: I1; the size is not zero.
    NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory")
}

fn pool(count: u64, size: u64) -> (Pool, NonNull<u8>) {
    let shape = Shape::new(count, size).expect("possible");
    let base = memory(shape.total());
    // SAFETY: I1.
    unsafe { Pool::init(base, &shape) };
    // SAFETY: I1.
    let pool = unsafe { Pool::from_raw(base, shape.total()) }.expect("a whole pool");
    (pool, base)
}

/// The word at `offset` of a pool's memory.
fn word<'a>(base: NonNull<u8>, offset: usize) -> &'a AtomicU64 {
    // SAFETY: I1; offsets of tests lie before the bytes.
    let place = unsafe { base.add(offset) };
    // SAFETY: I1; aligned, as offsets of tests are multiples of eight.
    unsafe { place.cast::<AtomicU64>().as_ref() }
}

#[test]
fn each_block_is_claimed_once_and_comes_back_as_another_generation() {
    let (pool, _) = pool(3, 64);
    let mut hint = 2;
    let all: Vec<_> = (0..3).map(|_| pool.try_claim(id(0), &mut hint).expect("free")).collect();
    assert_eq!(all.iter().map(|block| block.index).collect::<Vec<_>>(), [2, 0, 1]);
    assert_eq!(pool.try_claim(id(1), &mut hint), Err(BlocksError::WouldBlock));
    assert!(!pool.release(id(1), all[0]), "it is another's");
    assert!(pool.release(id(0), all[0]));
    assert!(!pool.release(id(0), all[0]), "it was given back");
    let again = pool.try_claim(id(1), &mut hint).expect("free");
    assert_eq!(again, BlockId { index: 2, generation: 1 });
    let stats = pool.stats();
    assert_eq!((stats.free, stats.released, stats.owners), (0, 1, vec![(id(0), 2), (id(1), 1)]));
}

#[test]
fn a_block_changes_hands_with_its_length() {
    let (pool, _) = pool(1, 64);
    let block = pool.try_claim(id(0), &mut 0).expect("free");
    pool.set_len(block, 17);
    assert_eq!(pool.receive(id(1), block), Ok(17));
    assert_eq!(pool.owner(0), Some(id(1)));
    pool.set_len(block, u64::MAX);
    assert_eq!(pool.receive(id(1), block), Ok(64), "again by the same, and no longer than a block");
    assert!(!pool.release(id(0), block) && pool.release(id(1), block));
    for gone in [block, BlockId { index: 1, generation: 0 }, BlockId { index: u32::MAX, generation: 0 }] {
        assert_eq!(pool.receive(id(1), gone), Err(BlocksError::Corrupted), "{gone:?}");
    }
}

#[test]
fn recovery_takes_what_no_message_carries() {
    let (pool, base) = pool(5, 64);
    let mut hint = 0;
    let blocks: Vec<_> = (0..4).map(|_| pool.try_claim(id(0), &mut hint).expect("free")).collect();
    let other = pool.try_claim(id(1), &mut hint).expect("free");
    pool.set_carrier(blocks[1], HERE);
    pool.set_carrier(blocks[2], Carrier { position: 8, ..HERE });
    pool.set_carrier(blocks[3], HERE);
    pool.clear_carrier(blocks[3]);
    pool.set_carrier(other, Carrier { position: 8, ..HERE });
    for _ in 0..2 {
        pool.recover(id(0), |carrier| carrier == HERE);
        let owners = [0, 1, 2, 3, 4].map(|index| pool.owner(index));
        assert_eq!(owners, [None, Some(id(0)), None, None, Some(id(1))]);
        assert_eq!(pool.stats().recovered, 3);
    }
    assert_eq!(pool.receive(id(1), blocks[1]), Ok(0), "it is delivered");
    let carriers = [0, 2, 3].map(|index| word(base, 512 + 128 * index + 8).load(Relaxed));
    assert_eq!(carriers, [0; 3], "a free block has no carrier");
}

#[test]
fn the_last_generation_is_followed_by_the_first() {
    let (pool, base) = pool(1, 64);
    word(base, 512).store(BlockWord { generation: GENERATION_MAX, owner: None }.bits(), Relaxed);
    let block = pool.try_claim(id(0), &mut 0).expect("free");
    assert_eq!(block.generation, GENERATION_MAX);
    assert!(pool.release(id(0), block));
    assert_eq!(pool.try_claim(id(0), &mut 0).expect("free").generation, 0);
}

#[test]
fn impossible_words_are_passed_over_and_impossible_geometries_refused() {
    let (pool, base) = pool(2, 64);
    word(base, 512).store(u64::MAX, Relaxed);
    let block = pool.try_claim(id(0), &mut 0).expect("the other one");
    assert_eq!(block.index, 1);
    assert_eq!(pool.owner(0), None);
    assert_eq!(
        pool.receive(id(0), BlockId { index: 0, generation: GENERATION_MAX }),
        Err(BlocksError::Corrupted)
    );
    pool.recover(id(0), |_| panic!("it has no carrier"));
    assert_eq!(word(base, 512).load(Relaxed), u64::MAX);
    let total = pool.shape().total();
    let open = |len| {
        // SAFETY: I1; `len` is at most what there is.
        unsafe { Pool::from_raw(base, len) }.map(|pool| *pool.shape())
    };
    assert!(open(total).is_ok());
    assert_eq!(open(total - 1), Err(BlocksError::Corrupted));
    assert_eq!(open(100), Err(BlocksError::Corrupted));
    for (offset, value) in [(0, 0), (0, 3), (0, u64::MAX), (8, 0), (8, 4097), (8, u64::MAX)] {
        let before = word(base, offset).load(Relaxed);
        word(base, offset).store(value, Relaxed);
        assert_eq!(open(total), Err(BlocksError::Corrupted), "{value} at {offset}");
        word(base, offset).store(before, Relaxed);
    }
}

#[test]
fn bytes_of_blocks_are_pages_of_their_own() {
    let (pool, base) = pool(3, 5000);
    let places = [0, 1, 2].map(|index| pool.bytes_of(index).expect("there").as_ptr() as usize);
    assert!(places.iter().all(|place| place.is_multiple_of(PAGE)));
    assert_eq!((places[1] - places[0], places[2] - places[1]), (2 * PAGE, 2 * PAGE));
    assert_eq!(places[2] + 2 * PAGE, base.as_ptr() as usize + pool.shape().total() as usize);
    assert_eq!(pool.bytes_of(3), None);
}
