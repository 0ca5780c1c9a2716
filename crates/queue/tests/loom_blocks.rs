//! Models of the pool of blocks under loom: every interleaving and every allowed reordering of small scenarios, with
//! the bytes of a block as a cell that must not be read and written at once.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-queue --test loom_blocks`. Deaths at any step are in
//! the model `blocks` of testkit; here one has happened, and recovery runs beside a receiver.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::Liveness;
use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_layout::blocks::{BlockRecord, BlocksControl};
use ginnel_layout::entry::Carrier;
use ginnel_queue::blocks::{BlockId, BlocksError, Pool};
use ginnel_sync::{Deadline, Mode, Waiter};
use loom::thread;

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

/// A pool, the bytes of its first block, and a queue of one place: 0, or the generation of the block in it, plus one.
struct World {
    pool: Pool,
    bytes: loom::cell::Cell<u64>,
    place: AtomicU64,
}

const HERE: Carrier = Carrier { entry: 3, position: 7 };

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

impl World {
    /// The memory of the pool is leaked: a model runs in a process of its own.
    fn new(blocks: usize) -> Arc<Self> {
        let control: &'static BlocksControl = Box::leak(Box::default());
        let records: Vec<BlockRecord> = (0..blocks).map(|_| BlockRecord::default()).collect();
        let pool = Pool::from_words(control, Box::leak(records.into_boxed_slice()));
        Arc::new(Self { pool, bytes: loom::cell::Cell::new(0), place: AtomicU64::new(0) })
    }

    fn claim(&self, me: ParticipantId) -> BlockId {
        let mut waiter = Waiter::new(Mode::Sleep);
        self.pool.claim(me, &mut 0, &mut waiter, Deadline::NEVER, &EverybodyLives).expect("no deadline")
    }

    fn send(&self, block: BlockId) {
        self.pool.set_carrier(block, HERE);
        self.place.store(block.generation + 1, Release);
    }

    /// RECEIVE, then the acknowledgement, then the carrier.
    fn try_recv(&self, me: ParticipantId) -> Option<BlockId> {
        let there = self.place.load(Acquire);
        let block = BlockId { index: 0, generation: there.checked_sub(1)? };
        self.pool.receive(me, block).expect("a message names a block that is there");
        self.place.store(0, Release);
        self.pool.clear_carrier(block);
        Some(block)
    }

    fn is_in_flight(&self, carrier: Carrier) -> bool {
        carrier == HERE && self.place.load(Acquire) != 0
    }
}

fn model(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(scenario);
}

#[test]
fn two_share_one_block_and_never_at_once() {
    model(2, || {
        let world = World::new(1);
        let users = [0, 1].map(|me| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let block = world.claim(id(me));
                world.bytes.set(u64::from(me));
                assert_eq!(world.bytes.get(), u64::from(me));
                assert!(world.pool.release(id(me), block));
            })
        });
        users.into_iter().for_each(|user| user.join().unwrap());
        let stats = world.pool.stats();
        assert_eq!((stats.free, stats.released), (1, 2));
    });
}

#[test]
fn a_block_that_was_sent_and_came_back_is_written_again() {
    model(2, || {
        let world = World::new(1);
        let receiver = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for wanted in 1..=2 {
                    let block = loop {
                        if let Some(block) = world.try_recv(id(1)) {
                            break block;
                        }
                        thread::yield_now();
                    };
                    assert_eq!(world.bytes.get(), wanted);
                    assert!(world.pool.release(id(1), block));
                }
            })
        };
        for value in 1..=2 {
            let block = world.claim(id(0));
            world.bytes.set(value);
            world.send(block);
        }
        receiver.join().unwrap();
        assert_eq!(world.pool.stats().free, 1);
    });
}

#[test]
fn recovery_of_a_dead_sender_beside_its_receiver() {
    model(3, || {
        let world = World::new(1);
        let block = world.claim(id(0));
        world.bytes.set(5);
        world.send(block);
        // Participant 0 is dead from here on.
        let receiver = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let block = world.try_recv(id(1)).expect("it was committed");
                assert_eq!(world.bytes.get(), 5);
                // Sent on: a recoverer that is late must not touch this carrier.
                world.send(block);
            })
        };
        world.pool.recover(id(0), |carrier| world.is_in_flight(carrier));
        receiver.join().unwrap();
        assert_eq!(world.pool.owner(0), Some(id(1)));
        world.pool.recover(id(1), |carrier| world.is_in_flight(carrier));
        assert_eq!(world.pool.owner(0), Some(id(1)), "it is in flight");
        assert_eq!(world.try_recv(id(2)), Some(block));
        assert!(world.pool.release(id(2), block));
        assert_eq!(world.pool.stats().recovered, 0);
    });
}

#[test]
fn recovery_wakes_who_waits_for_the_block_of_the_dead() {
    model(3, || {
        let world = World::new(1);
        let mut hint = 0;
        world.pool.try_claim(id(0), &mut hint).expect("free");
        assert_eq!(world.pool.try_claim(id(1), &mut hint), Err(BlocksError::WouldBlock));
        let waiter = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.claim(id(1)))
        };
        world.pool.recover(id(0), |_| false);
        assert_eq!(waiter.join().unwrap(), BlockId { index: 0, generation: 1 });
    });
}
