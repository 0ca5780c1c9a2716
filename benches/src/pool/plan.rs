//! Which rows the group has: what happens, what is measured, and what of it the user asked for.

use std::fmt;
use std::str::FromStr;

use crate::plan::{Pick, Picks, named};

named! {
    /// What happens.
    Case, "case" {
        /// One task after the other, one worker, nobody ever sleeps.
        Rtt = "rtt",
        /// The same where both sides sleep at each turn.
        RttAsleep = "rtt-asleep",
        /// Two workers, 512 tasks out at a time, each by itself.
        Chunk1 = "chunk1",
        /// Two workers map 10 million numbers, as many at a time as the pool sees fit.
        Auto = "auto",
        /// Two workers, a mebibyte of arguments and as much of result each.
        Large = "large",
        /// From SIGKILL to the moment at which as many workers are at work as before.
        Kill = "kill",
    }
}

named! {
    /// What is measured.
    Implementation, "implementation" {
        /// Two words on two lines, never taken from the eye.
        LimitLine = "limit-line",
        /// A bare futex, always asleep.
        LimitFutex = "limit-futex",
        /// Copy in, copy out, there and back, through rings that fit the second-level cache.
        LimitCopy = "limit-copy",
        /// The same through rings that do not, several blocks ahead.
        LimitCopyLarge = "limit-copy-large",
        /// As many processes as workers, each of which copies as often as both sides of a task do, and nothing leaves it.
        LimitMemcpy = "limit-memcpy",
        /// A bare fork: the dead one reaped and another one made.
        LimitFork = "limit-fork",
        /// Forked workers on kernel pipes, and nothing else.
        Pipes = "pipes",
        /// Threads of one process on channels of the crate `crossbeam`.
        Threads = "threads",
        /// The pool of the crate `procspawn`.
        Procspawn = "procspawn",
        /// Python's `multiprocessing.Pool`.
        PyPool = "py-pool",
        /// Ours.
        Pool = "pool",
    }
}

use Implementation as I;

impl Case {
    /// What has a row, in the order of the table.
    pub fn implementations(self) -> impl Iterator<Item = Implementation> {
        let all: &[I] = match self {
            Self::Rtt => &[I::LimitLine, I::Pipes, I::Threads, I::Procspawn, I::PyPool, I::Pool],
            Self::RttAsleep => &[I::LimitFutex, I::Pipes, I::Procspawn, I::PyPool, I::Pool],
            Self::Chunk1 => &[I::Pipes, I::Threads, I::Procspawn, I::PyPool, I::Pool],
            Self::Auto => &[I::Pipes, I::Threads, I::PyPool, I::Pool],
            Self::Large => &[I::LimitCopy, I::LimitCopyLarge, I::LimitMemcpy, I::Pipes, I::PyPool, I::Pool],
            Self::Kill => &[I::LimitFork, I::PyPool, I::Pool],
        };
        all.iter().copied()
    }

    /// How many workers there are.
    pub fn workers(self) -> usize {
        match self {
            Self::Rtt | Self::RttAsleep => 1,
            Self::Chunk1 | Self::Auto | Self::Large | Self::Kill => 2,
        }
    }

    /// Bytes of the arguments of a task, which its result has as well.
    pub fn size(self) -> usize {
        if self == Self::Large { 1 << 20 } else { 8 }
    }

    /// How many tasks are out at a time, where there is a choice.
    pub fn window(self) -> usize {
        match self {
            Self::Chunk1 => 512,
            Self::Large => 4,
            Self::Rtt | Self::RttAsleep | Self::Auto | Self::Kill => 1,
        }
    }
}

impl Implementation {
    /// Whether two processes do nothing but copy.
    pub fn is_copy(self) -> bool {
        matches!(self, Self::LimitCopy | Self::LimitCopyLarge)
    }

    /// Whether this is a limit, which every run has whatever was asked for.
    pub fn is_control(self) -> bool {
        matches!(
            self,
            Self::LimitLine
                | Self::LimitFutex
                | Self::LimitCopy
                | Self::LimitCopyLarge
                | Self::LimitMemcpy
                | Self::LimitFork
        )
    }
}

/// One line of the table.
pub type Row = Pick<Case, Implementation>;
/// What the user asked for.
pub type Selection = Picks<Case, Implementation>;

impl Selection {
    /// The rows, in the order of the table.
    pub fn rows(&self) -> Vec<Row> {
        self.select(Case::ALL, Case::implementations, Implementation::is_control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_along_and_other_cases_do_not() {
        let asked = Selection { implementations: vec![I::Procspawn], ..Selection::default() };
        let names: Vec<_> =
            asked.rows().iter().map(|row| format!("{} {}", row.case, row.implementation)).collect();
        let expected = [
            "rtt limit-line",
            "rtt procspawn",
            "rtt-asleep limit-futex",
            "rtt-asleep procspawn",
            "chunk1 procspawn",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn every_implementation_has_a_row() {
        let rows = Selection::default().rows();
        for one in I::ALL {
            assert!(rows.iter().any(|row| row.implementation == *one), "{one}");
        }
    }
}
