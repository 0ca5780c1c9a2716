//! Which rows the group has: what is timed, by which method children are started, and what of it the user asked for.

use std::fmt;
use std::str::FromStr;

use crate::plan::{Pick, Picks, named};

named! {
    /// What is timed.
    Case, "case" {
        /// From the call that starts to the result, the child reaped.
        StartJoin = "start-join",
        /// The same where the starter has touched 1 GiB.
        StartJoin1g = "start-join-1g",
        /// From the call that starts to the first instruction of the function.
        SpareBody = "spare-body",
        /// From SIGKILL to the starter that knows.
        KillSeen = "kill-seen",
        /// 64 at a time: how many a second.
        Churn64 = "churn-64",
    }
}

named! {
    /// How children are started.
    Implementation, "implementation" {
        /// A child in the memory of its starter that exits at once: the least a process costs.
        LimitVfork = "limit-vfork",
        /// A bare fork that leaves its result in shared memory.
        Fork = "fork",
        /// `posix_spawn` of `/bin/true`: no result.
        PosixSpawnTrue = "posix-spawn-true",
        /// The standard library's `Command` with `/bin/true`: no result.
        StdProcess = "std-process",
        /// Python's `multiprocessing.Process`, start method fork: no result.
        PythonFork = "python-fork",
        /// Ours, cloned by the zygote.
        Zygote = "zygote",
        /// Ours, by running the program again.
        Reexec = "reexec",
        /// Ours, taken from those that wait.
        Spare = "spare",
    }
}

use Implementation as I;

impl Case {
    /// What has a row, in the order of the table.
    pub fn implementations(self) -> impl Iterator<Item = Implementation> {
        let all = match self {
            Self::StartJoin | Self::StartJoin1g => I::ALL,
            Self::SpareBody => &[I::Fork, I::Zygote, I::Reexec, I::Spare],
            Self::KillSeen => &[I::Fork, I::Zygote, I::Reexec, I::Spare],
            Self::Churn64 => &[I::Fork, I::PosixSpawnTrue, I::PythonFork, I::Zygote, I::Reexec],
        };
        all.iter().copied()
    }

    /// Whether the starter is made large first.
    pub fn is_large(self) -> bool {
        self == Self::StartJoin1g
    }
}

impl Implementation {
    /// Whether this is a limit, which every run has whatever was asked for.
    pub fn is_control(self) -> bool {
        self == Self::LimitVfork
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
        let asked = Selection { implementations: vec![I::StdProcess], ..Selection::default() };
        let names: Vec<_> =
            asked.rows().iter().map(|row| format!("{} {}", row.case, row.implementation)).collect();
        let expected = [
            "start-join limit-vfork",
            "start-join std-process",
            "start-join-1g limit-vfork",
            "start-join-1g std-process",
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
