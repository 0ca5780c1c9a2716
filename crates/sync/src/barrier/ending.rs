//! How a phase ends otherwise than by a turn, and what is told of it to those who look late.

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire};
use ginnel_layout::signal::BarrierState;

use super::{Barrier, BarrierError};
use crate::gate;

/// So many phases back the fates reach.
pub(super) const REMEMBERED: u32 = 32;

impl Barrier<'_> {
    /// Writes how `phase` ends, if it has not moved yet.
    pub(super) fn note_fate(&self, phase: u32, broken: bool) {
        let next = phase.wrapping_add(1);
        let mut word = self.words.control.fates.load(Acquire); // E3
        loop {
            let (at, bits) = ((word >> 32) as u32, word as u32);
            let bits = if at == phase {
                (bits << 1) | u32::from(broken)
            } else if at == next && broken && bits & 1 == 0 {
                // A turner that came too late to turn has noted the opposite.
                bits | 1
            } else {
                return;
            };
            let noted = (u64::from(next) << 32) | u64::from(bits);
            // E3
            match self.words.control.fates.compare_exchange(word, noted, AcqRel, Acquire) {
                Ok(_) => return,
                Err(_) if !broken => return,
                Err(now) => word = now,
            }
        }
    }

    /// How `phase`, which is over, ended. `resets` had been begun before one arrived for it.
    pub(super) fn fate_of(&self, phase: u32, resets: u64) -> Result<(), BarrierError> {
        let word = self.words.control.fates.load(Acquire); // E3
        let back = ((word >> 32) as u32).wrapping_sub(1).wrapping_sub(phase);
        let turned = match word as u32 >> back.min(REMEMBERED - 1) & 1 {
            // Too long ago to be written down (I4).
            _ if back >= REMEMBERED => self.words.control.resets.load(Acquire) == resets, // E4
            bit => bit == 0,
        };
        if turned { Ok(()) } else { Err(BarrierError::Broken) }
    }

    /// Breaks `phase`. False: it is over, or broken already.
    pub(super) fn break_phase(&self, phase: u32) -> bool {
        while let Ok(now) = self.state() {
            if now.phase != phase || now.is_broken {
                return false;
            }
            if self.advance(now, BarrierState { leader: 0, is_broken: true, ..now }) {
                gate::post_all(&self.words.line);
                return true;
            }
        }
        false
    }

    /// Breaks the barrier: all who wait, and all who come before a [`Barrier::reset`], are told.
    ///
    /// # Errors
    /// [`BarrierError::Corrupted`] only.
    pub fn abort(&self) -> Result<(), BarrierError> {
        loop {
            let now = self.state()?;
            if now.is_broken || self.break_phase(now.phase) {
                return Ok(());
            }
        }
    }

    /// Makes the barrier whole and empty. Those who wait are told Broken.
    ///
    /// # Errors
    /// [`BarrierError::Corrupted`] only.
    pub fn reset(&self) -> Result<(), BarrierError> {
        loop {
            let now = self.state()?;
            let broken = BarrierState { leader: 0, is_broken: true, ..now };
            if now != broken && !self.advance(now, broken) {
                continue;
            }
            self.words.control.resets.fetch_add(1, AcqRel); // E4
            self.note_fate(now.phase, true);
            self.advance(
                broken,
                BarrierState { phase: now.phase.wrapping_add(1), leader: 0, is_broken: false },
            );
            gate::post_all(&self.words.line);
            return Ok(());
        }
    }
}

/// Breaks the phase if the action unwinds.
pub(super) struct BreaksPhase<'a, 'b>(pub(super) &'b Barrier<'a>, pub(super) u32);

impl Drop for BreaksPhase<'_, '_> {
    fn drop(&mut self) {
        self.0.break_phase(self.1);
    }
}
