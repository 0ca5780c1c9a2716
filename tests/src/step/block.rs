//! A block that is not in a message: claimed and given back, interrupted. (In messages: [`letter`](super::letter).)

use std::time::Duration;

use ginnel::Manager;
use ginnel::blocks::{Block, BlockMut};
use ginnel_testkit::child::{Child, Exit, fork_child};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::letter::{BLOCKS, Cargo, pool};
use super::{Progress, all};
use crate::world::{World, during};

/// A wait that comes to nothing.
const MOMENT: Duration = Duration::from_micros(200);
/// Nothing in a trial takes that long.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks: all these processes may share a core.
const PACE: Duration = Duration::from_micros(20);
/// 1: the sleeper has its block.
const SERVED: usize = 8;

/// A world with a pool, blocks that the survivor has, and perhaps one who sleeps until a block is free.
struct PoolWorld {
    world: World,
    mine: Vec<BlockMut>,
    sleeper: Option<Child>,
}

impl PoolWorld {
    fn new(mine: usize) -> Result<Self, String> {
        let world = World::new()?;
        Block::prepare(&world.manager)?;
        let pool = pool(&world.manager);
        let mine: Vec<BlockMut> = (0..mine).map_while(|_| pool.try_claim().ok().flatten()).collect();
        Ok(Self { world, mine, sleeper: None })
    }

    /// One who waits for a block. He may find one at once: the victim has not claimed the last one yet.
    fn with_sleeper(mine: usize) -> Result<Self, String> {
        let mut this = Self::new(mine)?;
        let sleeper = fork_child(|| {
            let manager = this.world.attach();
            while this.world.results.get(SERVED) == 0 {
                std::thread::sleep(PACE); // pacing, not synchronisation
            }
            let block = pool(&manager).claim().expect("sooner or later");
            this.world.results.set(SERVED, 2);
            drop(block);
        });
        this.sleeper = Some(sleeper.map_err(during("fork one who will sleep"))?);
        Ok(this)
    }

    fn after_death(mut self) -> Result<(), String> {
        self.world.recover_one()?;
        if let Some(mut sleeper) = self.sleeper.take() {
            self.world.results.set(SERVED, self.world.results.get(SERVED).max(1));
            match sleeper.wait_timeout(LIMIT).map_err(during("wait for the sleeper"))? {
                Some(Exit::Code(0)) => {}
                Some(exit) => return Err(format!("the sleeper ended with {exit}")),
                None => return Err("blocked: the sleeper is not woken, and there are blocks".to_owned()),
            }
        }
        let free = pool(&self.world.manager).free();
        if free + self.mine.len() != BLOCKS {
            return Err(format!("leaked: {free} of {BLOCKS} free, the survivor has {}", self.mine.len()));
        }
        self.mine.clear();
        Block::is_all_back(&self.world.manager)?;
        self.world.is_empty_again()
    }
}

fn subject(
    name: &str,
    setup: impl FnMut() -> Result<PoolWorld, String> + 'static,
    victim: impl Fn(&PoolWorld, &Manager, &Marks) + 'static,
) -> (String, Subject<'static, PoolWorld>) {
    let subject = Subject {
        setup: Box::new(setup),
        view: Box::new(|world: &PoolWorld| world.world.view()),
        victim: Box::new(move |world, marks| victim(world, &world.world.attach(), marks)),
        check: Box::new(|world, _| world.after_death()),
    };
    (name.to_owned(), subject)
}

pub(super) fn claim(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let claiming = |_: &PoolWorld, manager: &Manager, marks: &Marks| {
        let pool = pool(manager);
        marks.begin();
        let block = pool.claim_timeout(MOMENT);
        marks.end();
        drop(block);
    };
    let cases = [
        subject("all are free", || PoolWorld::new(0), claiming),
        subject("one is free", || PoolWorld::new(BLOCKS - 1), claiming),
        subject("none is free", || PoolWorld::new(BLOCKS), claiming),
    ];
    all(plan, progress, cases)
}

pub(super) fn release(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let releasing = |world: &PoolWorld, manager: &Manager, marks: &Marks| {
        let block = Block::of(manager, 5);
        // With a handle of the pool left, giving back is all that happens.
        let _pool = pool(manager);
        world.world.results.set(SERVED, 1);
        marks.begin();
        drop(block);
        marks.end();
    };
    let filling = |_: &PoolWorld, manager: &Manager, marks: &Marks| {
        let pool = pool(manager);
        let mut block = pool.try_claim().expect("a good pool").expect("one is free");
        marks.begin();
        block[..8].fill(7);
        block.truncate(8);
        drop(block.freeze());
        marks.end();
    };
    let cases = [
        subject("nobody waits", || PoolWorld::new(1), releasing),
        subject("somebody waits", || PoolWorld::with_sleeper(BLOCKS - 1), releasing),
        subject("filled and given back", || PoolWorld::new(0), filling),
    ];
    all(plan, progress, cases)
}
