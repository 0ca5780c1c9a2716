//! What the death of a party or a leader means.

use ginnel_layout::Liveness;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use ginnel_layout::lock::owner_participant;
use ginnel_layout::participant::{PARTICIPANTS_MAX, ParticipantId};
use ginnel_layout::signal::{BarrierState, BarrierTicket};

use super::{Barrier, VERSION};
use crate::gate;

impl Barrier<'_> {
    /// Asks whether those live who are in, `me` left out, and the leader. True: one is dead and recovered, and stands
    /// there still.
    pub(super) fn probe(&self, phase: u32, me: ParticipantId, liveness: &dyn Liveness) -> bool {
        let leader = || match self.state() {
            Ok(now) if !now.is_broken && now.phase == phase => owner_participant(now.leader),
            _ => None,
        };
        let mut asked = [false; PARTICIPANTS_MAX as usize];
        let mut is_unswept = false;
        for id in self.parties_in(phase).chain(leader()) {
            let is_new = asked.get_mut(usize::from(id.index())).is_some_and(|a| !std::mem::replace(a, true));
            if is_new && id != me && liveness.is_dead(id) {
                let is_in = self.parties_in(phase).any(|party| party == id);
                let is_open = self.state().is_ok_and(|now| now.phase == phase && !now.is_broken);
                is_unswept |= (is_in || leader() == Some(id)) && is_open;
            }
        }
        is_unswept
    }

    /// What the death of `dead` means: the phase that it is in is broken, or its ticket is free; and a wake for all.
    /// Idempotent, and repeated by the next recoverer if this one dies.
    ///
    /// The caller has proof of the death and is the only one to recover `dead` now.
    pub fn recover(&self, dead: ParticipantId) {
        if let Ok(now) = self.state() {
            let leads = owner_participant(now.leader) == Some(dead);
            if self.leaves() {
                self.take_out(now.phase, dead);
            } else if leads || self.parties_in(now.phase).any(|party| party == dead) {
                self.break_phase(now.phase);
            }
        }
        gate::recover(&self.words.line, &self.words.control.sleepers, dead);
    }

    /// Takes `dead` out of `phase`, as leader and as party.
    fn take_out(&self, phase: u32, dead: ParticipantId) {
        while let Ok(now) = self.state() {
            let leads = now.phase == phase && owner_participant(now.leader) == Some(dead);
            if !leads || self.advance(now, BarrierState { leader: 0, ..now }) {
                break;
            }
        }
        for ticket in self.tickets {
            let word = ticket.load(Acquire); // E2
            let Some(there) = BarrierTicket::from_bits(word) else { continue };
            if there.is_for(phase) && owner_participant(there.owner) == Some(dead) {
                let version = ((there.version & VERSION) + 1) & VERSION;
                let free = BarrierTicket { version, owner: 0, ..there };
                // E2. If it fails, somebody has taken it for a later phase.
                let _ = ticket.compare_exchange(word, free.bits(), AcqRel, Relaxed);
            }
        }
    }
}
