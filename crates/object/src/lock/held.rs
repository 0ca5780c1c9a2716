//! What all locks of this floor have in common: the slow way in, the errors, and who died with it.
//!
//! A death is told in two steps. Recovery writes who it was into the lock's line, and then frees the word; whoever
//! takes the word after that (edge E1 of `sync::mutex`) reads it. A recoverer that dies between the two is repeated by
//! the next, which writes the same.

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::lock::{LockWords, owner_participant};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_segment::Segment;
use ginnel_sync::Deadline;
use ginnel_sync::mutex::{self, Holder, LockError, Locked};

use crate::detect;
use crate::error::{Error, ErrorKind, Owner, OwnerState, Result};
use crate::handle::{Handle, Shared};

/// Takes a lock that was not free; waits until `deadline`. `what` is the kind of lock, for the error.
///
/// # Errors
/// `Timeout` with the owner, `Deadlock`, `Corrupted`.
#[cold]
#[inline(never)]
pub(crate) fn wait_for<W: Shared>(
    handle: &Handle<W>,
    words: &LockWords,
    me: Holder,
    deadline: Deadline,
    what: &str,
) -> Result<Locked> {
    let announced = detect::announce(handle.object(), words, me)?;
    let outcome = handle
        .until(deadline, |waiter, deadline| mutex::wait_in(words, me, waiter, deadline, handle.segment()));
    drop(announced);
    outcome.map_err(|why| explain(handle, why, what))
}

/// Says in words why a lock was not taken.
#[cold]
pub(crate) fn explain<W: Shared>(handle: &Handle<W>, why: LockError, what: &str) -> Error {
    match why {
        LockError::TimedOut { owner } => handle
            .error(ErrorKind::Timeout, format!("the {what} was not obtained before the deadline"))
            .with_owner(owner.and_then(|id| handle.describe(id))),
        LockError::Deadlock => handle
            .error(ErrorKind::Deadlock, format!("this thread holds the {what} already"))
            .with_advice("drop the first guard before locking again"),
        _ => handle.corrupted(&format!("the word of the {what}")),
    }
}

/// Who holds the lock now.
pub(crate) fn owner<W: Shared>(handle: &Handle<W>, words: &LockWords) -> Option<Owner> {
    handle.describe(mutex::owner(&words.word)?.participant())
}

/// Does a thread of `id` hold the lock?
pub(crate) fn is_owner(words: &LockWords, id: ParticipantId) -> bool {
    owner_participant(words.word.load(Relaxed)) == Some(id)
}

/// Writes down who died with the lock, if `dead` did. For recovery, before it frees the word.
pub(crate) fn bury(segment: &Segment, words: &LockWords, dead: ParticipantId) {
    if !is_owner(words, dead) {
        return;
    }
    let (pid, name) = segment.describe(dead).map_or((0, String::new()), |who| (who.pid, who.name));
    let mut bytes = [0; 16];
    let len = name.len().min(bytes.len());
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    words.dead_pid.store(pid, Relaxed);
    for (word, chunk) in words.dead_name.iter().zip(bytes.as_chunks::<8>().0) {
        word.store(u64::from_ne_bytes(*chunk), Relaxed);
    }
}

/// The last that died with the lock. For a locker that was told of it.
#[cold]
pub(crate) fn last_dead(words: &LockWords) -> Owner {
    let bytes: Vec<u8> = words.dead_name.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    let name = String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '\u{fffd}']).to_owned();
    Owner { pid: words.dead_pid.load(Relaxed), name, state: OwnerState::Dead }
}

/// At the end of a slice: asks whether the holder lives, which has it recovered if not.
pub(crate) fn probe<W: Shared>(handle: &Handle<W>, words: &LockWords) {
    if let Some(holder) = mutex::owner(&words.word)
        && holder.participant() != handle.me()
    {
        // The answer is in the word afterwards.
        let _ = handle.segment().is_dead(holder.participant());
    }
}
