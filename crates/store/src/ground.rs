//! Pages on the heap of one process: what tests, models and measurements put a store on.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{Shard, StoreFront};

use crate::pages::PAGE;
use crate::{Memory, NoPages, Pages, Store};

/// Memory for one store, with its front and its shards.
pub struct Ground {
    front: StoreFront,
    shards: Vec<Shard>,
    words: Vec<AtomicU64>,
    owners: Owners,
    /// One claim or release at a time.
    turn: Mutex<()>,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

impl Ground {
    /// Room for `pages` pages, of which the first is nobody's (no block has the offset 0), and `shards` shards.
    #[must_use]
    pub fn new(pages: usize, shards: usize) -> Self {
        let front = StoreFront::default();
        front.shape.shards.store(shards as u32, Relaxed);
        let owners = Owners::new(pages);
        owners.set(0, u16::MAX);
        Self {
            front,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            words: (0..pages * WORDS).map(|_| AtomicU64::new(0)).collect(),
            owners,
            turn: Mutex::new(()),
        }
    }

    /// The front, to set flags, seed and limit.
    #[must_use]
    pub const fn front(&self) -> &StoreFront {
        &self.front
    }

    /// The store.
    ///
    /// # Panics
    /// Where the front was made not to fit.
    #[must_use]
    pub fn store(&self) -> Store<'_, Self> {
        Store::new(&self.front, &self.shards, Memory::new(&self.words), self).expect("a front that fits")
    }

    /// How many pages belong to any shard.
    #[must_use]
    pub fn used(&self) -> usize {
        (1..self.pages()).filter(|page| self.owners.get(*page) != Some(0)).count()
    }

    fn pages(&self) -> usize {
        self.words.len() / WORDS
    }

    fn in_turn<T>(&self, what: impl FnOnce() -> T) -> T {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        what()
    }

    fn claim_in_turn(&self, part: u16, count: usize) -> Option<u64> {
        let last = self.pages().checked_sub(count)?;
        let is_free = |page: usize| self.owners.get(page) == Some(0);
        let first = (1..=last).find(|first| (*first..*first + count).all(is_free))?;
        (first..first + count).for_each(|page| self.owners.set(page, part));
        Some(first as u64 * PAGE)
    }
}

impl Pages for Ground {
    fn claim(&self, part: u16, pages: u32) -> Result<u64, NoPages> {
        self.in_turn(|| self.claim_in_turn(part, pages as usize)).ok_or(NoPages::Full)
    }

    #[inline(always)]
    fn owns(&self, part: u16, offset: u64) -> bool {
        self.owners.get((offset / PAGE) as usize) == Some(part)
    }

    fn runs(&self, part: u16, each: &mut dyn FnMut(u64, u32)) {
        let is_own = |page: &usize| self.owners.get(*page) == Some(part);
        let mut at = 0;
        while let Some(first) = (at..self.pages()).find(is_own) {
            let count = (first..self.pages()).take_while(is_own).count();
            each(first as u64 * PAGE, count as u32);
            at = first + count;
        }
    }

    fn release(&self, part: u16, offset: u64, pages: u32) {
        let first = (offset / PAGE) as usize;
        self.in_turn(|| {
            for page in (first..first + pages as usize).filter(|page| self.owners.get(*page) == Some(part)) {
                self.words[page * WORDS..][..WORDS].iter().for_each(|word| word.store(0, Relaxed));
                self.owners.set(page, 0);
            }
        });
    }
}

const WORDS: usize = PAGE as usize / 8;

/// The part of each page; 0: nobody's.
#[cfg(not(loom))]
struct Owners(Vec<ginnel_layout::atomic::AtomicU32>);

#[cfg(not(loom))]
impl Owners {
    fn new(pages: usize) -> Self {
        Self((0..pages).map(|_| ginnel_layout::atomic::AtomicU32::new(0)).collect())
    }

    #[inline(always)]
    fn get(&self, page: usize) -> Option<u16> {
        self.0.get(page).map(|owner| owner.load(Relaxed) as u16)
    }

    fn set(&self, page: usize, part: u16) {
        self.0[page].store(part.into(), Relaxed);
    }
}

/// The same where a model checker would look at each of them.
#[cfg(loom)]
struct Owners(Mutex<Vec<u16>>);

#[cfg(loom)]
impl Owners {
    fn new(pages: usize) -> Self {
        Self(Mutex::new(vec![0; pages]))
    }

    fn get(&self, page: usize) -> Option<u16> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(page).copied()
    }

    fn set(&self, page: usize, part: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[page] = part;
    }
}
