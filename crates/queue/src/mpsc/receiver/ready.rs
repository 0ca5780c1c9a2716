//! The receiving end as one of several things to wait for.
//!
//! Edges
//! - E5 (pairs with mpsc.rs E5) census raised -> census load (Acquire): the roles of those takings.
//! - E6 (pairs with park.rs E1) releases, fence (SeqCst), then the flags of the lanes' producers.

use core::fmt;

use ginnel_layout::Liveness;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::mpsc::Census;
use ginnel_layout::wait::Bells;
use ginnel_sync::park::{Arm, Mode};
use ginnel_sync::select::Port;

use super::{Receiver, Round};
use crate::lane::{arm, disarm};

/// A receiving end, to be waited for among other things. Borrowed from the end, made for one wait.
pub struct ReceiverPort<'a> {
    round: &'a Round,
    liveness: &'a dyn Liveness,
}

impl fmt::Debug for ReceiverPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverPort").field("mpsc", &self.round.mpsc).finish_non_exhaustive()
    }
}

impl Receiver {
    /// What this end waits for: a message in any lane, or the end of them.
    #[must_use]
    pub fn port<'a>(&'a self, liveness: &'a dyn Liveness) -> ReceiverPort<'a> {
        ReceiverPort { round: &self.round, liveness }
    }

    /// Whether this end wants a byte when a message comes.
    #[must_use]
    pub fn bells(&self) -> &Bells {
        &self.round.mpsc.control().not_empty.bells
    }
}

impl Port for ReceiverPort<'_> {
    fn word(&self) -> &AtomicU32 {
        &self.round.mpsc.control().not_empty.seq
    }

    fn is_ready(&self) -> bool {
        let round = self.round;
        let Census { takings, used } = Census::from_bits(round.mpsc.control().census.load(Acquire)); // E5
        let used = (used as usize).min(round.readers.len());
        // The share of the lane whose turn it is may lie in one that is not in use any more.
        let has_something = round.readers.iter().any(|reader| reader.has_something());
        has_something || (takings > 0 && !(0..used).any(|index| round.is_held(index)))
    }

    fn arm(&self) -> Arm {
        let round = self.round;
        let line = &round.mpsc.control().not_empty;
        if round.mpsc.shape.mode == Mode::Spin {
            // Nobody posts to such a lane.
            return Arm::Nap(line.seq.load(Relaxed));
        }
        if round.owes_wakes {
            fence(SeqCst); // E6
            for reader in &round.readers[..round.used] {
                reader.post_soon();
            }
        }
        arm(line)
    }

    fn pass(&self, _: bool) {
        disarm(&self.round.mpsc.control().not_empty);
    }

    fn probe(&self) {
        self.round.mpsc.probe(self.liveness);
    }
}
