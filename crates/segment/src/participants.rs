//! Who takes part, who died, and who repairs: the recovery driver.
//!
//! The picture of a row and of its words is in `ginnel_layout::participant`. The lock on a row's byte (`locks.rs`)
//! is held by the participant from attach to detach, and for a moment by whoever looks after it. Only the holder of
//! the lock writes the row.
//!
//! ```text
//!             attach                     detach
//!    FREE ----------------->  LIVE  ----------------->  FREE
//!                              |                          ^
//!                              | died: the byte is free   | swept
//!                              v                          |
//!                          RECOVERING --------------------+      (or LIVE again, where an attacher took the row)
//! ```
//!
//! - I1: an attached id is LIVE, and its byte is locked by a description that only its process has.
//! - I2: a word that names participant d is changed only by d or by the holder of d's lock.
//! - I3: the state is read after the byte was locked, never before, so it cannot change under the reader.
//! - I4: no id becomes LIVE, and no row FREE after a death, before the sweep for it is complete. So an id in a word
//!   needs no generation beside it.
//! - I5: within a process a row is looked at by one thread at a time (the bits `busy`): locks of one description do
//!   not exclude each other, and the first thread's unlock would leave the second one without.
//! - I6: nobody probes his own id, as his lock would let him. Two participants of one process have a description each,
//!   so they may probe each other.
//!
//! - E1: the store of a row's state, after all that was swept or written for it; the load of it by the next holder of
//!   the byte, who sees all that. (The kernel's lock orders the two as well, being a system call on both sides.)
//! - E2: the clearing of a busy bit; the setting of it by the next thread, which then locks a byte that is free.
//!
//! | dies after | left | who repairs |
//! |---|---|---|
//! | any step while attached | LIVE, byte free | `kill_attached`: the next prober, or who takes the row |
//! | recovering: having locked the byte | as found, byte free | the next prober |
//! | recovering: RECOVERING, any part of the sweep | RECOVERING, byte free | `kill_recoverer`: the next prober sweeps from the start |
//! | recovering: FREE | FREE, byte free | nothing is left to do |
//! | detaching: before FREE | LIVE, byte free: died | the next prober; the sweep finds nothing to do |
//! | detaching: FREE | FREE, byte free | nothing is left to do |
//!
//! Progress: a probe never blocks, neither on a lock nor on another thread: who finds somebody else at it is told that
//! the participant is not (yet) dead, and asks again after his next nap. A sweep takes as long as it takes.
//!
//! The protocol was checked as a model with up to three processes, two crashes and leaked locks.

use std::fs::{self, File};
use std::io::Read;
use std::os::linux::fs::MetadataExt;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::{AtomicU64, Ordering};
use ginnel_layout::participant::{Liveness, ParticipantRecord, state};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::geteuid;

use crate::map::Map;
use crate::segment::Segment;

impl Liveness for Segment {
    /// Tries the lock of `id` and, if it died, repairs what it left: half a microsecond for a living one.
    fn is_dead(&self, id: ParticipantId) -> bool {
        self.probe(id) != Probe::Alive
    }

    fn look_around(&self) {
        let _ = self.recover_dead();
    }
}

impl Segment {
    /// Looks once at every row that is not free, and recovers those who died. How many there were.
    ///
    /// Rows that another thread or process is recovering right now are left to it.
    pub fn recover_dead(&self) -> u32 {
        let mut recovered = 0;
        for row in 0..self.geometry().participants {
            let id = ParticipantId::from_index(row);
            // A glance without the lock, to spare the system call; the probe reads it again under the lock.
            let seen = self.participant(id).map_or(state::FREE, |row| row.state.load(Ordering::Relaxed));
            if state::st(seen) != state::FREE && self.probe(id) == Probe::Recovered {
                recovered += 1;
            }
        }
        recovered
    }

    /// Takes over the row whose lock attaching has got: recovers whoever had it, if he died.
    pub(crate) fn succeed(&self) {
        if let Some(row) = self.participant(self.me) {
            self.recover_locked(self.me, row);
        }
    }

    fn probe(&self, id: ParticipantId) -> Probe {
        let Some(row) = self.participant(id) else { return Probe::Alive };
        if id == self.me || self.check_fork().is_err() {
            return Probe::Alive;
        }
        let Some(_turn) = Turn::take(&self.busy, id) else { return Probe::Alive };
        if !self.door.locks.take(id).unwrap_or(false) {
            return Probe::Alive;
        }
        let _byte = Byte { segment: self, id };
        if self.recover_locked(id, row) { Probe::Recovered } else { Probe::Clean }
    }

    /// Recovers `id`, whose byte we hold, if it died. Leaves the row FREE if so; false if it was FREE.
    pub(crate) fn recover_locked(&self, id: ParticipantId, row: &ParticipantRecord) -> bool {
        let word = row.state.load(Ordering::Acquire); // E1
        if state::st(word) == state::FREE {
            return false;
        }
        let generation = state::generation(word);
        row.state.store(state::word(generation, state::RECOVERING), Ordering::Release); // E1
        self.sweep.sweep(self, id);
        self.remove_bells_of(id);
        self.control().recoveries.fetch_add(1, Ordering::Relaxed);
        row.state.store(state::word(generation, state::FREE), Ordering::Release); // E1
        true
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.check_fork().is_err() {
            return;
        }
        let Some(row) = self.participant(self.me) else { return };
        let word = row.state.load(Ordering::Acquire); // E1
        // Not LIVE: a sweep panicked while attaching. The row stays as it is, for the next one to repair.
        if state::st(word) == state::LIVE {
            row.state.store(state::word(state::generation(word), state::FREE), Ordering::Release); // E1
        }
        self.door.locks.give(self.me);
        // The door, dropped next, leaves the gate and removes the name if nobody is left.
    }
}

/// Makes the row of `me`, whose lock we hold and whose last holder left nothing, ours.
pub(crate) fn enter(map: &Map, me: ParticipantId) {
    let name = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    enter_as(map, me, name.trim_end());
}

/// [`enter`] under a name.
pub(crate) fn enter_as(map: &Map, me: ParticipantId, name: &str) {
    let Some(row) = map.participant(me.index()) else { return };
    row.pid.store(std::process::id(), Ordering::Relaxed);
    row.uid.store(geteuid().as_raw(), Ordering::Relaxed);
    row.pid_ns.store(pid_namespace(), Ordering::Relaxed);
    row.start_time.store(start_time("self").unwrap_or(0), Ordering::Relaxed);
    row.attached_at.store(monotonic_ns(), Ordering::Relaxed);
    for (word, part) in row.name.iter().zip(words_of(name)) {
        word.store(part, Ordering::Relaxed);
    }
    let generation = state::generation(row.state.load(Ordering::Acquire)); // E1
    row.state.store(state::word(generation.wrapping_add(1), state::LIVE), Ordering::Release); // E1
}

/// Makes the row of `heir`, whose lock we hold and whose last holder left nothing, that of a child to come: all as in ours.
pub(crate) fn enter_heir(map: &Map, heir: ParticipantId, parent: ParticipantId) {
    let (Some(row), Some(ours)) = (map.participant(heir.index()), map.participant(parent.index())) else {
        return;
    };
    row.pid.store(ours.pid.load(Ordering::Relaxed), Ordering::Relaxed);
    row.uid.store(ours.uid.load(Ordering::Relaxed), Ordering::Relaxed);
    row.pid_ns.store(ours.pid_ns.load(Ordering::Relaxed), Ordering::Relaxed);
    row.start_time.store(ours.start_time.load(Ordering::Relaxed), Ordering::Relaxed);
    row.attached_at.store(monotonic_ns(), Ordering::Relaxed);
    for (word, part) in row.name.iter().zip(&ours.name) {
        word.store(part.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    let generation = state::generation(row.state.load(Ordering::Acquire)); // E1
    row.state.store(state::word(generation.wrapping_add(1), state::LIVE), Ordering::Release); // E1
}

/// Writes into the row of `me`, which was made for us by our parent, who we are.
pub(crate) fn enter_inherited(map: &Map, me: ParticipantId) {
    let Some(row) = map.participant(me.index()) else { return };
    row.pid.store(std::process::id(), Ordering::Relaxed);
    row.start_time.store(start_time("self").unwrap_or(0), Ordering::Relaxed);
}

/// What a look at a participant came to.
#[derive(Debug, PartialEq, Eq)]
enum Probe {
    /// It lives, or somebody else is looking after it.
    Alive,
    /// It is gone, and somebody had repaired everything before us.
    Clean,
    /// It died, and we have repaired everything.
    Recovered,
}

/// The right of this thread to look at a row.
struct Turn<'a> {
    word: &'a AtomicU64,
    bit: u64,
}

impl<'a> Turn<'a> {
    fn take(busy: &'a [AtomicU64; 4], id: ParticipantId) -> Option<Self> {
        let (word, bit) = (&busy[usize::from(id.index()) / 64 % 4], 1 << (id.index() % 64));
        let before = word.fetch_or(bit, Ordering::Acquire); // E2
        // Only the one who set the bit has something to clear when it is dropped.
        if before & bit == 0 { Some(Self { word, bit }) } else { None }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.word.fetch_and(!self.bit, Ordering::Release); // E2
    }
}

/// The lock on another's byte. Given back before the turn, also when a sweep panics.
struct Byte<'a> {
    segment: &'a Segment,
    id: ParticipantId,
}

impl Drop for Byte<'_> {
    fn drop(&mut self) {
        self.segment.door.locks.give(self.id);
    }
}

/// A name as the row has it: 32 bytes, eight a word in memory order, zero-padded, cut between characters.
fn words_of(name: &str) -> [u64; 4] {
    let end = (0..=name.len().min(32)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    let mut bytes = [0; 32];
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    [0, 8, 16, 24].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    })
}

/// The inode that stands for this process's pid namespace; 0 where it cannot be seen.
pub(crate) fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.st_ino())
}

/// Start time of a process in clock ticks: the 22nd field of its `stat`, counted behind the name, which may contain
/// anything.
pub(crate) fn start_time(pid: &str) -> Option<u64> {
    // One read, which gives all of it: the line is shorter than this.
    let mut bytes = [0; 1024];
    let count = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut bytes).ok()?;
    let (behind_the_name, _) = bytes[..count].iter().enumerate().rfind(|(_, byte)| **byte == b')')?;
    let field = bytes[behind_the_name..count].split(u8::is_ascii_whitespace).nth(20)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// `CLOCK_MONOTONIC`, ns.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    now.map_or(0, |now| now.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(words_of("ab"), [u64::from_ne_bytes(*b"ab\0\0\0\0\0\0"), 0, 0, 0]);
        let long = format!("{}é", "x".repeat(31));
        assert_eq!(words_of(&long)[3], u64::from_ne_bytes(*b"xxxxxxx\0"));
    }

    #[test]
    fn a_turn_is_for_one() {
        let busy: [AtomicU64; 4] = Default::default();
        let id = ParticipantId::from_index(200);
        let turn = Turn::take(&busy, id).expect("nobody else is there");
        assert!(Turn::take(&busy, id).is_none() && Turn::take(&busy, id).is_none());
        assert!(Turn::take(&busy, ParticipantId::from_index(201)).is_some());
        drop(turn);
        assert!(Turn::take(&busy, id).is_some());
    }

    #[test]
    fn this_process_has_a_start_time() {
        assert!(start_time("self").is_some_and(|ticks| ticks > 0));
        assert_eq!(start_time("self"), start_time(&std::process::id().to_string()));
        assert!(monotonic_ns() > 0 && pid_namespace() > 0);
    }
}
