//! Where blocks for large buffers come from.
//!
//! A pool for each class of sizes, made when the first buffer of the class is sent, and another, twice as large, when all
//! blocks are in use, up to [`BUDGET`]. A block that is larger than [`SINGLE`] has a pool of its own, which goes with it.

use std::sync::{Mutex, PoisonError};

use ginnel::blocks::{BlockMut, Blocks, Options};
use pyo3::prelude::*;

use crate::home::{self, Shared};

/// Bytes that the pools of a class may have, if that is not too large a part of the arena's limit.
const BUDGET: usize = 256 << 20;

/// Blocks of a pool.
const BLOCKS_MAX: usize = 8192;

/// From this size on a block is not kept for the next message.
const SINGLE: usize = 16 << 20;

/// Sizes of larger blocks are multiples of this.
const STEP: usize = 64 << 10;

/// Those of blocks for messages that are a little too long.
const SMALL: [usize; 2] = [4 << 10, 16 << 10];

struct Class {
    size: usize,
    pools: Vec<Shared<Blocks>>,
    blocks: usize,
    current: usize,
}

static CLASSES: Mutex<Vec<Class>> = Mutex::new(Vec::new());

/// A block for `len` bytes. `None`: none is free, and there is no memory for more.
pub(super) fn claim(_gil: Python<'_>, len: usize) -> Option<BlockMut> {
    let size = class_of(len)?;
    if size > SINGLE {
        return make(1, size)?.get().ok()?.try_claim().ok()?;
    }
    // Taken for moments, with the GIL: no thread has it while another forks.
    let mut classes = CLASSES.lock().unwrap_or_else(PoisonError::into_inner);
    let index = match classes.iter().position(|class| class.size == size) {
        Some(index) => index,
        None => {
            classes.push(Class { size, pools: Vec::new(), blocks: 0, current: 0 });
            classes.len() - 1
        }
    };
    classes.get_mut(index)?.claim()
}

impl Class {
    fn claim(&mut self) -> Option<BlockMut> {
        let count = self.pools.len();
        for turn in 0..count {
            // One that had a block the last time has one now, most of the time; the others are searched whole.
            let index = (self.current + turn) % count;
            if let Some(block) = self.pools.get(index)?.get().ok()?.try_claim().ok()? {
                self.current = index;
                return Some(block);
            }
        }
        let more = self.blocks.clamp(4, BLOCKS_MAX);
        let budget = BUDGET.min(home::manager().ok()?.limit() / 16);
        if (self.blocks + more) * self.size > budget {
            return None;
        }
        let pool = make(more, self.size)?;
        let block = pool.get().ok()?.try_claim().ok()?;
        self.blocks += more;
        self.current = self.pools.len();
        self.pools.push(pool);
        block
    }
}

/// Four classes a power of two.
fn class_of(len: usize) -> Option<usize> {
    if let Some(small) = SMALL.into_iter().find(|size| len <= *size) {
        return Some(small);
    }
    let step = (len.checked_next_power_of_two()? / 8).max(STEP);
    len.max(1).checked_next_multiple_of(step)
}

fn make(count: usize, size: usize) -> Option<Shared<Blocks>> {
    let manager = home::manager().ok()?;
    let pool = manager.create_with::<Blocks>(Options::new(count, size)).ok()?;
    Some(Shared::new(pool, &manager))
}
