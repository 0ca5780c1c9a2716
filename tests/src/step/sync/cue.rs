//! The words through which those on a stage agree who does what when.
//!
//! ```text
//! word 0    what the victim said; 0: it did not come to the end of its operation
//!      1    the victim's process, when it is prepared
//!      2    the victim is dead, or must not be waited for
//!      3    a number for the play's own use
//!      4 .. for each of the others: called | here (its process) | what it said | when, in ns
//!     12 .. and what it had waited for its core by then
//! ```

use std::fmt::Display;
use std::fs;
use std::time::Duration;

use ginnel_testkit::scratch::{Scratch, now_ns};
use ginnel_testkit::step::Marks;

const SAID: usize = 0;
const VICTIM: usize = 1;
const GO_ON: usize = 2;
const NUMBER: usize = 3;
const OTHERS: usize = 4;
const EACH: usize = 4;
const DELAYS: usize = 12;

/// Between two looks: all these processes may share a core.
const PACE: Duration = Duration::from_micros(20);

/// The words, as one of them uses them.
pub(in crate::step) struct Cue<'a> {
    words: &'a Scratch,
    other: Option<usize>,
}

impl<'a> Cue<'a> {
    pub(super) fn of_victim(words: &'a Scratch) -> Self {
        Self { words, other: None }
    }

    pub(super) fn of_other(words: &'a Scratch, index: usize) -> Self {
        Self { words, other: Some(OTHERS + EACH * index) }
    }

    /// The victim is prepared.
    pub(super) fn begins(&self, marks: &Marks) {
        self.words.set(VICTIM, u64::from(std::process::id()));
        marks.begin();
    }

    /// The victim's process.
    pub(super) fn victim(&self) -> u32 {
        self.words.get(VICTIM) as u32
    }

    /// It has come to the end of its part, with a number that is not zero.
    pub(super) fn says(&self, number: u64) {
        let Some(at) = self.other else { return self.words.set(SAID, number) };
        let (now, delay) = (now_ns(), super::delay_of(std::process::id()));
        self.words.set(at + 3, now);
        self.words.set(DELAYS + (at - OTHERS) / EACH, delay);
        self.words.set(at + 2, number);
    }

    /// What it said, or 0.
    pub(super) fn said(&self) -> u64 {
        self.words.get(self.other.map_or(SAID, |at| at + 2))
    }

    /// When it said that, and how long it had been without a core by then.
    pub(super) fn said_when(&self) -> (u64, u64) {
        self.other
            .map_or((0, 0), |at| (self.words.get(at + 3), self.words.get(DELAYS + (at - OTHERS) / EACH)))
    }

    /// Waits until it is called.
    pub(super) fn awaits_its_call(&self) {
        let at = self.other.expect("one of the others");
        wait_until(|| self.words.get(at) != 0);
    }

    /// It has done what it was to do before the victim's part; or is about to fall asleep.
    pub(super) fn here(&self) {
        let at = self.other.expect("one of the others");
        self.words.set(at + 1, u64::from(std::process::id()));
    }

    /// Lets one of the others come, and waits until it is there, and asleep if it `sleeps`.
    pub(super) fn call(&self, index: usize, sleeps: bool) {
        let at = OTHERS + EACH * index;
        self.words.set(at, 1);
        wait_until(|| {
            let pid = self.words.get(at + 1);
            let is_over = self.words.get(at + 2) != 0;
            is_over || (pid != 0 && (!sleeps || is_asleep(pid)))
        });
    }

    /// Waits until the victim sleeps in its operation, or is dead.
    pub(super) fn until_victim_sleeps(&self) {
        wait_until(|| self.words.get(GO_ON) != 0 || (self.victim() != 0 && is_asleep(self.victim())));
    }

    /// Waits until the victim is dead.
    pub(super) fn until_victim_is_dead(&self) {
        wait_until(|| self.words.get(GO_ON) != 0);
    }

    /// The victim is dead: whoever waits for that goes on.
    pub(super) fn go_on(&self) {
        self.words.set(GO_ON, 1);
    }

    /// Counts one more of what the play counts.
    pub(super) fn count(&self) -> u64 {
        self.words.add(NUMBER, 1);
        self.words.get(NUMBER)
    }

    /// What was counted.
    pub(super) fn counted(&self) -> u64 {
        self.words.get(NUMBER)
    }
}

/// Whoever starts these processes ends them if they hang, so nothing is counted here.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        pace();
    }
}

/// Lets the others have the core, between two looks.
pub(super) fn pace() {
    std::thread::sleep(PACE); // pacing, not synchronisation
}

/// Does that process sleep?
pub(super) fn is_asleep(pid: impl Display) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}
