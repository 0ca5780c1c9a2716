//! The record that a starter and its child share: what lies in its drawers, and what becomes of it.
//!
//! The words, who writes them and the crash table stand in `ginnel_layout::process`. A drawer holds one message as a
//! slot of a queue does (`envelope`); its parcels name the record and the drawer as their carrier, with the generation
//! of the record, because the next record in the same entry has the same drawers.
//!
//! Invariants
//! - I1 ARGS is taken by the child of STARTED; or by the starter, when that child is proven dead or the step is
//!   CANCELLED, so that none will come; or by who takes the record apart. No two of them at a time.
//! - I2 RESULT is filled by the child alone, once, and taken by the starter or by who takes the record apart.
//! - I3 TAKEN is stored after everything in the drawer was received, and before anything of it is freed.
//!
//! Edges
//! - E1 FULL (Release), after the carriers and the bytes -> the load (Acquire) by who takes: bytes, parcels.
//! - E2 TAKEN (Release), after the parcels were received -> the load (Acquire) by recovery: who finds it TAKEN finds the
//!   parcels' new owners.
//! - E3 a step (Release, or AcqRel by CAS) -> its load (Acquire): everything before, the result above all.

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use ginnel_layout::entry::{Carrier, Entry};
use ginnel_layout::process::{Drawer, MessageDrawer, ProcessWords, Step, drawer};
use ginnel_segment::Segment;

use crate::{envelope, words};

/// A drawer with parcels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// What the function is called with.
    Args,
    /// What it ended with.
    Result,
}

impl Place {
    pub(crate) fn drawer(self, words: &ProcessWords) -> &MessageDrawer {
        match self {
            Self::Args => &words.args,
            Self::Result => &words.result,
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Args => 1,
            Self::Result => 2,
        }
    }

    /// What stands beside the parcels in this drawer of the record in entry `index`.
    pub(crate) fn carrier(self, index: u32, generation: u32) -> Carrier {
        Carrier { entry: index as u16, position: (u64::from(generation) << 2) | self.number() }
    }

    fn of_position(position: u64) -> Option<Self> {
        [Self::Args, Self::Result].into_iter().find(|place| place.number() == position & 3)
    }
}

/// Writes bytes into a drawer; the writer has seen that they fit.
pub(crate) fn write<const N: usize>(drawer: &Drawer<N>, bytes: &[u8], kind: u32) {
    for (word, chunk) in drawer.bytes.iter().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(padded), Relaxed);
    }
    drawer.kind.store(kind, Relaxed);
    drawer.len.store(bytes.len() as u32, Relaxed);
}

/// Copies out what is in a drawer, with its `kind`.
pub(crate) fn read<const N: usize>(drawer: &Drawer<N>) -> (Vec<u8>, u32) {
    let len = (drawer.len.load(Relaxed) as usize).min(N * 8);
    let whole = |word: &AtomicU64| word.load(Relaxed).to_ne_bytes();
    let mut bytes: Vec<u8> = drawer.bytes.iter().take(len.div_ceil(8)).flat_map(whole).collect();
    bytes.truncate(len);
    (bytes, drawer.kind.load(Relaxed))
}

/// The commit of what was written.
pub(crate) fn fill(drawer: &MessageDrawer) {
    drawer.word.store(drawer::FULL, Release); // E1
}

pub(crate) fn is_full(drawer: &MessageDrawer) -> bool {
    drawer.word.load(Acquire) == drawer::FULL // E1 E2
}

/// The acknowledgement of what was received (I3).
pub(crate) fn acknowledge(drawer: &MessageDrawer) {
    drawer.word.store(drawer::TAKEN, Release); // E2
}

/// How far the child came. A word that no correct process stores is that of a child that never will come.
pub(crate) fn step(words: &ProcessWords) -> Step {
    Step::from_bits(words.step.load(Acquire)).unwrap_or(Step::CANCELLED) // E3
}

/// From REQUESTED to `to`. False: the step was another one.
pub(crate) fn leave_requested(words: &ProcessWords, to: Step) -> bool {
    words.step.compare_exchange(Step::REQUESTED.bits(), to.bits(), AcqRel, Acquire).is_ok() // E3
}

/// A step of the child: nobody else stores any more.
pub(crate) fn go_on(words: &ProcessWords, step: Step) {
    words.step.store(step.bits(), Release); // E3
}

/// Is it the child, and still under way?
pub(crate) fn is_under_way(step: Step, me: ParticipantId) -> bool {
    step.participant == Some(me) && !step.st.has_result()
}

/// Frees what a drawer carries, if there is anything. The caller may take it (I1, I2).
pub(crate) fn discard(segment: &Segment, words: &ProcessWords, place: Place) {
    let drawer = place.drawer(words);
    if is_full(drawer) {
        let (bytes, kind) = read(drawer);
        envelope::discard(segment, &bytes, kind, || acknowledge(drawer));
    }
}

/// Frees what a record carries, before its page goes. The caller owns the entry's FREEING. Done again after a death in
/// the middle, it goes on where that ended.
pub(crate) fn discard_all(segment: &Segment, entry: &Entry) {
    if let Some(words) = words::front_of::<ProcessWords>(segment, entry) {
        discard(segment, words, Place::Args);
        discard(segment, words, Place::Result);
    }
}

/// Is what lies at `position` on its way? `generation` is that of the record in the entry, which is LIVE or FREEING.
pub(crate) fn is_in_flight(segment: &Segment, entry: &Entry, generation: u32, position: u64) -> bool {
    let Some(place) = Place::of_position(position).filter(|_| position >> 2 == u64::from(generation)) else {
        return false;
    };
    words::front_of::<ProcessWords>(segment, entry).is_some_and(|words| is_full(place.drawer(words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_names_drawer_and_generation() {
        for place in [Place::Args, Place::Result] {
            let carrier = place.carrier(77, 0xff_ffff);
            assert_eq!(Carrier::from_bits(carrier.bits()), Some(carrier));
            assert_eq!(Place::of_position(carrier.position), Some(place));
            assert_eq!(carrier.position >> 2, 0xff_ffff);
        }
        assert_eq!(Place::of_position(4), None);
    }
}
