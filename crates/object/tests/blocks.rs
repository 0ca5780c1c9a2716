//! Pools of blocks and shared values: within one process, and across the death of another.
//!
//! Children are this test binary again, in a role (the test `blocks_entry`).

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use ginnel_object::{Blocks, ErrorKind, Manager, Shared, blocks, manager, shared};
use ginnel_testkit::child::{self, Arguments, Child, Role, fork_child};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(60);

/// A pool of its own; the default one is shared by the tests of this process.
fn pool(count: usize, size: usize) -> (Manager, Blocks) {
    let manager =
        Manager::with(manager::Options::new().limit(1 << 20).participants(8).objects(8)).expect("a manager");
    let blocks = manager.create_with(blocks::Options::new(count, size)).expect("room");
    (manager, blocks)
}

#[test]
fn a_block_is_filled_frozen_and_given_back() {
    let (_manager, blocks) = pool(3, 5000);
    assert_eq!((blocks.count(), blocks.size(), blocks.free()), (3, 5000, 3));
    let mut block = blocks.claim().expect("free");
    assert_eq!(block.len(), 5000);
    assert_eq!(block.as_ptr() as usize % 4096, 0, "a page of its own");
    block.fill(7);
    block.truncate(4097);
    block.truncate(5000);
    let block = block.freeze();
    assert_eq!((block.len(), block.iter().filter(|byte| **byte == 7).count()), (4097, 4097));
    assert_eq!((blocks.free(), blocks.stats().owners.len()), (2, 1));
    drop(block);
    let stats = blocks.stats();
    assert_eq!((stats.free, stats.released, stats.recovered), (3, 1, 0));
}

#[test]
fn blocks_do_not_overlap() {
    let (_manager, blocks) = pool(5, 4096);
    let mut all: Vec<_> = (0..5).map(|_| blocks.claim().expect("free")).collect();
    for (n, block) in all.iter_mut().enumerate() {
        block.fill(n as u8);
    }
    for (n, block) in all.iter().enumerate() {
        assert!(block.iter().all(|byte| *byte == n as u8), "block {n}");
    }
}

#[test]
fn an_empty_pool_says_so_and_who_has_it() {
    let (manager, blocks) = pool(2, 64);
    let here = Blocks::clone(&blocks);
    let all = [blocks.claim().expect("free"), here.claim().expect("free")];
    assert!(blocks.try_claim().expect("no failure").is_none());
    let error = blocks.claim_timeout(Duration::from_millis(5)).expect_err("none is free");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.owner().map(|owner| owner.pid), Some(std::process::id()));
    drop(all);
    assert!(blocks.try_claim().expect("no failure").is_some());
    drop((blocks, here));
    assert_eq!(manager.size(), 0, "the pool goes with its last handle");
}

#[test]
fn a_block_keeps_its_pool() {
    let (manager, blocks) = pool(1, 64);
    let mut block = blocks.claim().expect("free");
    drop(blocks);
    block.fill(3);
    let block = block.freeze();
    assert_eq!(block[63], 3);
    assert_ne!(manager.size(), 0);
    drop(block);
    assert_eq!(manager.size(), 0);
}

#[test]
fn impossible_pools_are_refused() {
    let manager = Manager::new(1 << 20).expect("a manager");
    let refused = |count, size, kind| {
        let made = manager.create_with::<Blocks>(blocks::Options::new(count, size));
        assert_eq!(made.expect_err("no such pool").kind(), kind, "{count} of {size}");
    };
    refused(0, 64, ErrorKind::Invalid);
    refused(1, 0, ErrorKind::Invalid);
    refused(1 << 17, 64, ErrorKind::TooLarge);
    refused(2, usize::MAX, ErrorKind::TooLarge);
    refused(1 << 16, 1 << 40, ErrorKind::TooLarge);
    refused(8, 1 << 20, ErrorKind::Full);
}

#[test]
fn many_threads_share_few_blocks_and_nobody_sleeps_for_ever() {
    let dog = Watchdog::new("many threads", LIMIT);
    let (_manager, blocks) = pool(2, 64);
    dog.waits_for("eight threads");
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let blocks = &blocks;
            scope.spawn(move || {
                let mine = Blocks::clone(blocks);
                let handle = if number % 2 == 0 { blocks } else { &mine };
                for _ in 0..2000 {
                    let mut block = handle.claim().expect("sooner or later");
                    block.fill(number);
                    assert!(block.iter().all(|byte| *byte == number), "somebody else wrote it");
                }
            });
        }
    });
    let stats = blocks.stats();
    assert_eq!((stats.free, stats.released), (2, 16_000));
}

#[test]
fn a_second_participant_sees_the_same_bytes_by_name() {
    let (manager, _) = pool(1, 64);
    let there = Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach");
    let here: Blocks = manager.get_or_create_with("frames", blocks::Options::new(4, 100)).expect("made");
    let same: Blocks = there.get("frames").expect("no failure").expect("there");
    assert_eq!((same.count(), same.size()), (4, 100));
    let held = (here.claim().expect("free"), same.claim().expect("free"));
    assert_eq!((here.free(), same.free()), (2, 2));
    drop(held);
    let other = there.get::<Shared<u64>>("frames").expect_err("it is a pool");
    assert_eq!(other.kind(), ErrorKind::Mismatch);
}

/// The way in for roles; by itself it does nothing.
#[test]
fn blocks_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "holder" => holder(&arguments),
        "forked" => forked(),
        other => panic!("no role {other}"),
    }
}

/// Claims two blocks, freezes one, says so, and keeps both until it is killed.
fn holder(arguments: &Arguments) {
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    let ready = Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped");
    let blocks: Blocks = manager.get("pool").expect("no failure").expect("there");
    let frozen = blocks.claim().expect("free").freeze();
    let filling = blocks.claim().expect("free");
    ready.set(0, 1);
    loop {
        thread::park();
        assert_ne!(frozen.as_ptr(), filling.as_ptr());
    }
}

/// Starts a holder, and waits until it has two blocks.
fn start_holder(manager: &Manager, dog: &Watchdog) -> Child {
    let ready = Scratch::new(1).expect("a memfd");
    let role = Role::new("holder").through_test("blocks_entry").fd(manager).fd(&ready);
    let mut child = role.spawn().expect("started");
    dog.waits_for("a child that has two blocks");
    while ready.get(0) == 0 {
        let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
        assert_eq!(ended, None, "the child ended before it had them");
    }
    child
}

#[test]
fn blocks_of_a_killed_process_come_back() {
    let dog = Watchdog::new("killed holder", LIMIT);
    let (manager, _) = pool(1, 64);
    let blocks: Blocks = manager.get_or_create_with("pool", blocks::Options::new(3, 4096)).expect("made");
    let mine = blocks.claim().expect("free");
    let mut child = start_holder(&manager, &dog);
    assert_eq!(blocks.free(), 0);
    // One waits already when it dies, and is not told: it finds out.
    dog.waits_for("one who waits for the block of a dead process");
    thread::scope(|scope| {
        let waits = scope.spawn(|| blocks.claim());
        child.kill().expect("killed");
        drop(waits.join().expect("no panic").expect("recovered"));
    });
    let stats = blocks.stats();
    assert_eq!((stats.free, stats.recovered), (2, 2));
    drop(mine);
    assert_eq!(blocks.free(), 3);
}

#[test]
fn recovery_leaves_what_the_living_have() {
    let dog = Watchdog::new("recovery", LIMIT);
    let (manager, _) = pool(1, 64);
    let blocks: Blocks = manager.get_or_create_with("pool", blocks::Options::new(3, 4096)).expect("made");
    let mut mine = blocks.claim().expect("free");
    mine.fill(9);
    let mut child = start_holder(&manager, &dog);
    child.kill().expect("killed");
    assert_eq!(manager.recover().expect("not forked"), 1);
    assert_eq!(manager.recover().expect("not forked"), 0);
    let others = [blocks.claim().expect("free"), blocks.claim().expect("free")];
    assert!(blocks.try_claim().expect("no failure").is_none());
    assert!(mine.iter().all(|byte| *byte == 9));
    assert_eq!(others.len(), 2);
}

#[test]
fn a_forked_child_gives_nothing_back() {
    let dog = Watchdog::new("forked child", LIMIT);
    dog.waits_for("a process of one thread, which forks");
    Role::new("forked").through_test("blocks_entry").play();
}

/// In a process of its own, because a process with several threads must not fork.
fn forked() {
    let (_manager, blocks) = pool(2, 64);
    let block = blocks.claim().expect("free").freeze();
    let filling = blocks.claim().expect("free");
    let (copy, mut parts) = (Blocks::clone(&blocks), Some((block, filling)));
    let child = fork_child(|| {
        drop(parts.take());
        let refused = copy.claim().expect_err("the handles are the parent's");
        assert_eq!(refused.kind(), ErrorKind::Forked);
    });
    let ended = child.and_then(|mut child| child.wait()).expect("forked");
    assert_eq!(ended, child::Exit::Code(0));
    assert_eq!(blocks.free(), 0, "the child gave back what is the parent's");
    drop(parts);
    assert_eq!(blocks.free(), 2);
}

#[test]
fn shared_values_are_read_where_they_lie() {
    let numbers = Shared::from_slice(&[1_u32, 2, 3]).expect("room");
    assert_eq!(&*numbers, [1, 2, 3]);
    assert_eq!(numbers.clone().as_ptr(), numbers.as_ptr());
    let one = Shared::new([7_u64; 9]).expect("room");
    assert_eq!(*one, [7; 9]);
    let built = Shared::<[u16]>::build(5000, |all| all[4999] = 5).expect("room");
    assert_eq!((built.len(), built[0], built[4999]), (5000, 0, 5));
    assert!(Shared::<[u8]>::from_slice(&[]).expect("room").is_empty());
    let huge = Shared::<[u64]>::build(usize::MAX, |_| {}).expect_err("no such memory");
    assert_eq!(huge.kind(), ErrorKind::TooLarge);
}

#[test]
fn a_shared_value_outlives_its_maker_and_goes_with_its_last_handle() {
    let manager = Manager::new(1 << 20).expect("a manager");
    let there = Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach");
    let made: Shared<[u64]> =
        manager.get_or_create_with("table", shared::Init::slice(&[4, 5, 6])).expect("made");
    let seen: Shared<[u64]> = there.get("table").expect("no failure").expect("there");
    assert!(manager.remove("table").expect("no failure"));
    drop((made, manager));
    assert_eq!(&*seen, [4, 5, 6]);
    assert_ne!(there.size(), 0);
    drop(seen);
    assert_eq!(there.size(), 0);
}

#[test]
fn a_builder_that_panics_leaves_nothing() {
    let before = Manager::current().expect("a manager").inspect().objects.len();
    let built = thread::spawn(|| Shared::<[u8]>::build(1 << 20, |_| panic!("on purpose")).map(drop));
    assert!(built.join().is_err());
    // Other tests make and drop shared values of their own meanwhile, all of them small.
    let objects = Manager::current().expect("a manager").inspect().objects;
    assert!(objects.iter().all(|object| object.size < 1 << 20), "{before} objects before: {objects:?}");
}
