//! Which rows the group has: what happens, what is measured, and what of it the user asked for.

use std::fmt;
use std::str::FromStr;

use crate::plan::{Pick, Picks, named};

named! {
    /// What happens.
    Case, "case" {
        /// One process reads one entry after the other.
        Get = "get",
        /// One process replaces one value after the other.
        Set = "set",
        /// One process reads and writes in one step.
        Update = "update",
        /// Nine reads, one write, one process.
        Mixed1 = "mixed1",
        /// The same by two processes, each on a core of its own.
        Mixed2 = "mixed2",
        /// One process puts values at the end of a list.
        ListAppend = "list-append",
        /// How much memory an entry takes.
        Memory = "memory",
        /// How long repair takes after the holder of a lock was killed.
        Repair = "repair",
        /// 10 thousand entries are put in, then read.
        Growth10k = "growth-10k",
        /// A million.
        Growth1m = "growth-1m",
        /// 10 million.
        Growth10m = "growth-10m",
    }
}

named! {
    /// What is measured.
    Implementation, "implementation" {
        /// A participant is killed that holds nothing.
        LimitDeath = "limit-death",
        /// A map of one process under a lock, which copies in and out.
        Hashmap = "hashmap",
        /// LMDB, a transaction each.
        Lmdb = "lmdb",
        /// Python's `Manager`.
        PyManager = "py-manager",
        /// Ours; values are encoded as arrays of bytes.
        Dict = "dict",
        /// Ours; values are encoded number by number.
        DictRecord = "dict-record",
        /// Ours; values are not encoded.
        DictRaw = "dict-raw",
    }
}

use Implementation as I;

impl Case {
    /// What has a row, in the order of the table.
    pub fn implementations(self) -> impl Iterator<Item = Implementation> {
        let all: &[I] = match self {
            Self::Get | Self::Set | Self::Update => {
                &[I::Hashmap, I::Lmdb, I::PyManager, I::Dict, I::DictRecord, I::DictRaw]
            }
            Self::Mixed1 => &[I::Hashmap, I::Dict],
            Self::Mixed2 => &[I::Hashmap, I::Lmdb, I::PyManager, I::Dict],
            Self::ListAppend => &[I::Hashmap, I::PyManager, I::Dict],
            Self::Memory => &[I::Hashmap, I::Dict, I::DictRecord, I::DictRaw],
            Self::Repair => &[I::LimitDeath, I::Dict],
            Self::Growth10k | Self::Growth1m | Self::Growth10m => &[I::Hashmap, I::Dict],
        };
        all.iter().copied()
    }

    /// How many entries there are, where the case says so by itself.
    pub fn entries(self) -> Option<u64> {
        match self {
            Self::Growth10k => Some(10_000),
            Self::Growth1m => Some(1_000_000),
            Self::Growth10m => Some(10_000_000),
            Self::Repair => Some(1_000),
            _ => None,
        }
    }

    /// How many processes are at work, where it is one map that they share.
    pub fn processes(self) -> usize {
        if self == Self::Mixed2 { 2 } else { 1 }
    }

    /// Whether its rows are there only where somebody names it.
    pub fn is_slow(self) -> bool {
        matches!(self, Self::Growth10k | Self::Growth1m | Self::Growth10m)
    }

    /// Whether one pass over it says all that there is.
    pub(super) fn is_single(self) -> bool {
        self.is_slow() || self == Self::Memory
    }
}

impl Implementation {
    /// Whether this is a limit, which every run has whatever was asked for.
    pub fn is_control(self) -> bool {
        self == Self::LimitDeath
    }
}

/// One line of the table.
pub type Row = Pick<Case, Implementation>;
/// What the user asked for.
pub type Selection = Picks<Case, Implementation>;

impl Selection {
    /// The rows, in the order of the table.
    pub fn rows(&self) -> Vec<Row> {
        let usual: Vec<_> =
            Case::ALL.iter().copied().filter(|case| !case.is_slow() || self.cases.contains(case)).collect();
        self.select(&usual, Case::implementations, Implementation::is_control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &Selection) -> Vec<String> {
        asked.rows().iter().map(|row| format!("{} {}", row.case, row.implementation)).collect()
    }

    #[test]
    fn limits_come_along_and_other_cases_do_not() {
        let asked = Selection { cases: vec![Case::Get, Case::Repair], implementations: vec![I::Dict] };
        assert_eq!(names(&asked), ["get dict", "repair limit-death", "repair dict"]);
    }

    #[test]
    fn large_maps_are_there_where_they_are_named() {
        assert!(Selection::default().rows().iter().all(|row| !row.case.is_slow()));
        let asked = Selection { cases: vec![Case::Growth10m], implementations: Vec::new() };
        assert_eq!(names(&asked), ["growth-10m hashmap", "growth-10m dict"]);
    }

    #[test]
    fn every_implementation_has_a_row() {
        let rows = Selection::default().rows();
        for one in I::ALL {
            assert!(rows.iter().any(|row| row.implementation == *one), "{one}");
        }
    }
}
