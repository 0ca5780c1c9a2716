//! Workers that are at a task for too long, and tasks that are to be killed.
//!
//! A kill is decided by a bit in the lease of the task: only while its worker runs it can that be set, and a worker whose
//! commit gives it back takes no further task and waits for its end. So the signal ends the task that it was meant for or
//! nothing, however late it comes; and a task that was committed in time keeps its value.
//!
//! A worker can be at a task before this process knows it by its seat, because its start has not returned yet. Then the
//! bit is set and there is nobody to signal; the supervisor sees the bit as soon as it knows him.
//!
//! No look is needed between two deadlines: what begins after a look cannot be late before the whole time has passed.

use ginnel_layout::ParticipantId;
use ginnel_object::Result;
use ginnel_object::bridge::crew::{Bits, St};
use ginnel_sync::Deadline;
use ginnel_sync::deadline::now_ns;

use super::seats::Sitter;
use crate::inner::Inner;
use crate::state::{Doom, State, Ticket};

/// How soon one tries again what the system has refused.
const AGAIN_NS: u64 = 10_000_000;

/// Kills the workers whose task is late, or was found to be late or unwanted before. When to look again.
pub(super) fn look(inner: &Inner) -> Deadline {
    let timeout = inner
        .plan
        .task_timeout
        .map_or(u64::MAX, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    let mut state = inner.lock();
    let now = now_ns();
    let mut next = now.saturating_add(timeout);
    let mut late = Vec::new();
    for (seat, sitter) in state.seats.sitters() {
        let Some(slot) = inner.crew.seat(seat).and_then(|seat| seat.slot()) else { continue };
        let lease = inner.crew.lease(slot);
        if lease.st != St::Run || lease.owner != sitter_id(inner, seat) {
            continue;
        }
        // None: claimed this moment.
        let began = inner.crew.began(slot).unwrap_or(now);
        let end = began.saturating_add(timeout);
        if lease.bits.has(Bits::KILL) {
            if sitter.process.kill().is_err() {
                next = next.min(now.saturating_add(AGAIN_NS));
            }
        } else if end > now {
            next = next.min(end);
        } else {
            late.push(slot);
        }
    }
    for slot in late {
        let ticket = state.ticket(slot);
        if kill(inner, &mut state, &ticket, Doom::TimedOut).is_err() {
            next = next.min(now.saturating_add(AGAIN_NS));
        }
    }
    if next == u64::MAX { Deadline::NEVER } else { Deadline::at_ns(next) }
}

/// Ends the worker that runs the task of this ticket, and the task with it. False: no worker runs it at this moment.
///
/// # Errors
/// `Os` where the system refuses the signal. The supervisor tries again then.
pub(crate) fn kill(inner: &Inner, state: &mut State, ticket: &Ticket, why: Doom) -> Result<bool> {
    if !state.is_out(ticket) {
        return Ok(false);
    }
    let lease = inner.crew.lease(ticket.slot);
    let Some(owner) = lease.owner.filter(|_| lease.st == St::Run) else { return Ok(false) };
    if !inner.crew.doom(ticket.slot, ticket.generation, owner) {
        return Ok(false);
    }
    let entry = state.entry_mut(ticket.slot);
    entry.doom = entry.doom.or(Some(why));
    let sitter = state.seats.sitters().find(|(seat, _)| sitter_id(inner, *seat) == Some(owner));
    // None: it is dead, or its start has not returned; a pass of the supervisor follows either.
    sitter.map_or(Ok(()), |(_, Sitter { process, .. })| process.kill())?;
    Ok(true)
}

/// Who sits there.
fn sitter_id(inner: &Inner, seat: u32) -> Option<ParticipantId> {
    inner.crew.seat(seat)?.word().participant
}
