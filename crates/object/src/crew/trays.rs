//! Trays: memory at the end of a crew for arguments and results that do not fit their slot.
//!
//! The region is address space from the beginning and gets memory where it is used. Who has which part of it is known
//! to the parent only, in private memory: a worker that dies cannot break it, and with the parent the whole object goes.
//! A tray is given back by dropping it, which its owner does while the slot it was lent to is FREE (`crew`, I3).
//!
//! Blocks of a power of two of KiB ([`Buddies`]). A block that was given back is the next one of its size to be given
//! out, while its lines are warm; blocks are put together again only when a larger one is wanted. What has memory and is
//! not used, beyond 16 MiB, loses it.

mod buddies;

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ginnel_layout::line::PAGE;
use ginnel_layout::pool::TRAY_UNIT;

use self::buddies::{Buddies, Pages};
use super::Crew;

/// Bytes that keep their memory although nobody uses them.
const KEPT: u64 = 16 << 20;

/// The trays of a crew, in the hands of its parent. Clones are the same.
#[derive(Clone)]
pub struct Trays {
    desk: Arc<Desk>,
}

struct Desk {
    crew: Crew,
    /// Bytes of the largest tray that is given out: a quarter of the region, so that one message cannot keep all others
    /// from going.
    largest: usize,
    state: Mutex<Buddies>,
}

/// A part of the region, for one message. Dropped, it is given back.
pub struct Tray {
    desk: Arc<Desk>,
    /// In KiB from the beginning of the region.
    at: u32,
    order: u8,
    place: NonNull<u8>,
}

// SAFETY: I1, I2: the bytes belong to no thread; who may touch them when, `bytes` and the words of the slot say.
unsafe impl Send for Tray {}
// SAFETY: I1, I2, as above.
unsafe impl Sync for Tray {}

impl fmt::Debug for Trays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trays")
            .field("out", &self.bytes_out())
            .field("memory", &self.bytes_of_memory())
            .finish()
    }
}

impl fmt::Debug for Tray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tray").field("at_kib", &self.at).field("room", &self.room()).finish()
    }
}

impl Trays {
    /// The trays of `crew`, all of them free. Once a crew: two of these would give the same memory out twice.
    #[must_use]
    pub fn new(crew: &Crew) -> Self {
        let bytes = crew.plan.tray_bytes;
        let units = (bytes as u64 / TRAY_UNIT) as u32;
        let state = Mutex::new(Buddies::new(units));
        Self { desk: Arc::new(Desk { crew: crew.clone(), largest: bytes / 4, state }) }
    }

    /// A tray for so many bytes. `None`: they are more than a quarter of the region, or there is no room or no memory for
    /// them now. Takes a system call where the memory is not there yet.
    #[must_use]
    pub fn get(&self, bytes: usize) -> Option<Tray> {
        if bytes > self.desk.largest {
            return None;
        }
        let units = (bytes as u64).div_ceil(TRAY_UNIT).max(1).next_power_of_two();
        let order = units.trailing_zeros() as u8;
        let mut state = self.desk.state();
        let at = state.take(order)?;
        let place = self.desk.crew.trays_place(at, (TRAY_UNIT as usize) << order);
        let Some(place) = place.filter(|_| self.desk.give_memory(&mut state, at, order)) else {
            state.give(at, order);
            return None;
        };
        Some(Tray { desk: Arc::clone(&self.desk), at, order, place })
    }

    /// Bytes of the largest tray there can be.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.desk.largest
    }

    /// Bytes given out.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.desk.state().bytes_out()
    }

    /// Bytes that have memory, given out or not.
    #[must_use]
    pub fn bytes_of_memory(&self) -> u64 {
        self.desk.state().bytes_of_memory()
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, Buddies> {
        // Nothing in there panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tray {
    /// Where it lies, in KiB from the beginning of the region.
    #[must_use]
    pub fn kib(&self) -> u32 {
        self.at
    }

    /// Bytes of it.
    #[must_use]
    pub fn room(&self) -> usize {
        (TRAY_UNIT as usize) << self.order
    }

    /// Its first byte.
    pub(super) fn at(&self) -> NonNull<u8> {
        self.place
    }

    /// The first `len` bytes, or all there are.
    ///
    /// # Safety
    /// Nobody writes them as long as they are borrowed: the tray is lent to no slot, or to one whose lease says that it
    /// is the caller's turn.
    pub(super) unsafe fn bytes(&self, len: usize) -> &[u8] {
        let bytes = NonNull::slice_from_raw_parts(self.place, len.min(self.room()));
        // SAFETY: I1, and the contract.
        unsafe { bytes.as_ref() }
    }
}

impl Drop for Tray {
    fn drop(&mut self) {
        let mut state = self.desk.state();
        state.give(self.at, self.order);
        if state.bytes_of_memory() - state.bytes_out() > KEPT {
            self.desk.trim(&mut state);
        }
    }
}

impl Desk {
    /// False: there is none.
    fn give_memory(&self, state: &mut Buddies, at: u32, order: u8) -> bool {
        state.without_memory(at, order).into_iter().all(|run| {
            let (offset, len) = bytes_of(&run);
            let is_there = self.crew.set_aside(offset, len).is_ok();
            if is_there {
                state.set_memory(run, true);
            }
            is_there
        })
    }

    /// Takes the memory of half of what is kept away, so that this does not happen at every tray.
    #[cold]
    fn trim(&self, state: &mut Buddies) {
        for run in state.idle_above(KEPT / 2) {
            let (offset, len) = bytes_of(&run);
            self.crew.punch(offset, len);
            state.set_memory(run, false);
        }
    }
}

/// The pages of `units` units from `at` on, those that they only touch as well.
fn pages_of(at: u32, units: u32) -> Pages {
    let units_a_page = PAGE as u32 / TRAY_UNIT as u32;
    at / units_a_page..(at + units).div_ceil(units_a_page)
}

/// Where pages begin, and how many bytes they are.
fn bytes_of(pages: &Pages) -> (u64, u64) {
    (u64::from(pages.start) * PAGE as u64, pages.len() as u64 * PAGE as u64)
}

#[cfg(test)]
mod tests;
