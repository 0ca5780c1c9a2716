//! Who a participant is, in words for people: error messages, `ginnel ls`. Nothing here decides anything.

use std::fs;
use std::time::Duration;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering;
use ginnel_layout::participant::state;

use crate::participants::{monotonic_ns, pid_namespace, start_time};
use crate::segment::Segment;

/// A participant as it seemed a moment ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Process id, in its own pid namespace.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Name of the process.
    pub name: String,
    /// Since when it is attached.
    pub attached_for: Duration,
    /// What it is doing.
    pub state: RunState,
}

/// What a participant's process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It runs, or sleeps as processes do.
    Running,
    /// Stopped by a signal, a debugger or a freezer: it keeps what it owns, for ever if it must be.
    Stopped,
    /// There is no such process any more; somebody will recover what it left.
    Dead,
    /// It lives in another pid namespace, where we cannot look.
    Elsewhere,
}

impl Segment {
    /// Describes the participant that has the row of `id`. `None`: nobody has it.
    #[must_use]
    pub fn describe(&self, id: ParticipantId) -> Option<Described> {
        let row = self.participant(id)?;
        if state::st(row.state.load(Ordering::Relaxed)) == state::FREE {
            return None;
        }
        let pid = row.pid.load(Ordering::Relaxed);
        let started = row.start_time.load(Ordering::Relaxed);
        let here = row.pid_ns.load(Ordering::Relaxed) == pid_namespace();
        let bytes: Vec<u8> =
            row.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        let name = String::from_utf8_lossy(&bytes);
        let age = monotonic_ns().saturating_sub(row.attached_at.load(Ordering::Relaxed));
        Some(Described {
            pid,
            uid: row.uid.load(Ordering::Relaxed),
            name: name.trim_end_matches('\0').to_owned(),
            attached_for: Duration::from_nanos(age),
            state: if here { run_state(pid, started) } else { RunState::Elsewhere },
        })
    }
}

impl std::fmt::Display for Described {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            RunState::Running => "running",
            RunState::Stopped => "stopped",
            RunState::Dead => "dead",
            RunState::Elsewhere => "in another pid namespace",
        };
        write!(f, "process {} ({}), {state}", self.pid, self.name)
    }
}

fn run_state(pid: u32, started: u64) -> RunState {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return RunState::Dead };
    // A process of the same number that started at another time is another process. (Zero: it could not be read when
    // the participant attached.)
    if started != 0 && start_time(&pid.to_string()) != Some(started) {
        return RunState::Dead;
    }
    match text.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next()) {
        Some('T' | 't') => RunState::Stopped,
        Some('Z' | 'X' | 'x') => RunState::Dead,
        _ => RunState::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_used_again_is_another_process() {
        let pid = std::process::id();
        let started = start_time("self").expect("this process runs");
        assert_eq!(run_state(pid, started), RunState::Running);
        assert_eq!(run_state(pid, started + 1), RunState::Dead);
        assert_eq!(run_state(u32::MAX, started), RunState::Dead);
    }
}
