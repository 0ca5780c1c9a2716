//! How a phase ends otherwise than by a turn, and what is told of it to those who look late.

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use ginnel_layout::signal::BarrierState;

use super::{Barrier, BarrierError};
use crate::gate;

/// So many phases back from the last broken one the fates reach.
pub(super) const REMEMBERED: i32 = 32;

impl Barrier<'_> {
    /// How `phase`, which is over, ended. `before`: the fates as they were before one arrived for it.
    pub(super) fn fate_of(&self, phase: u32, before: u64) -> Result<(), BarrierError> {
        let word = self.words.control.fates.load(Acquire); // E3
        let (next, bits) = split(word);
        let back = next.wrapping_sub(1).wrapping_sub(phase) as i32;
        let was_broken = match back {
            // I4
            _ if word == before => false,
            ..0 => false,
            0..REMEMBERED => bits >> back & 1 == 1,
            _ => true,
        };
        if was_broken { Err(BarrierError::Broken) } else { Ok(()) }
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
            let fates = self.words.control.fates.load(Acquire); // E3, I5
            let now = self.state()?;
            let broken = BarrierState { leader: 0, is_broken: true, ..now };
            if now != broken && !self.advance(now, broken) || !self.note_broken(now.phase, fates) {
                continue;
            }
            self.advance(
                broken,
                BarrierState { phase: now.phase.wrapping_add(1), leader: 0, is_broken: false },
            );
            gate::post_all(&self.words.line);
            return Ok(());
        }
    }

    /// Notes `phase` as broken. False: the word is not `fates` any more.
    pub(super) fn note_broken(&self, phase: u32, fates: u64) -> bool {
        let (next, bits) = split(fates);
        let ahead = phase.wrapping_add(1).wrapping_sub(next);
        if ahead == 0 {
            // By another, who may be dead. (Or 2^32 phases ago, to the one: nobody can tell.)
            return true;
        }
        let bits = bits.checked_shl(ahead).unwrap_or(0) | 1;
        let noted = u64::from(phase.wrapping_add(1)) << 32 | u64::from(bits);
        self.words.control.fates.compare_exchange(fates, noted, AcqRel, Relaxed).is_ok() // E3
    }
}

/// The two halves of the fates: the phase behind the last one noted, and the bits.
const fn split(fates: u64) -> (u32, u32) {
    ((fates >> 32) as u32, fates as u32)
}

/// Breaks the phase if the action unwinds.
pub(super) struct BreaksPhase<'a, 'b>(pub(super) &'b Barrier<'a>, pub(super) u32);

impl Drop for BreaksPhase<'_, '_> {
    fn drop(&mut self) {
        self.0.break_phase(self.1);
    }
}
