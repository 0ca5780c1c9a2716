//! Which rows the group has: what happens, what is measured, and what of it the user asked for.

use std::fmt;
use std::str::FromStr;

use crate::plan::{Pick, Picks, named};

named! {
    /// What happens.
    Case, "case" {
        /// One thread takes and releases, nobody else wants it.
        Uncontended = "uncontended",
        /// Two processes on two cores hold and think about 100 ns each.
        Contended = "contended",
        /// Eight processes on two cores do the same.
        Oversub = "oversub",
        /// From the call that sets to the moment at which a process that slept runs.
        Wake = "wake",
        /// There and back by two signals, each side waiting as it does by default.
        EventRtt = "event-rtt",
        /// There and back over two queues, the client a task on a reactor, the server a process that blocks.
        AsyncRtt = "async-rtt",
        /// The same on one core, where each side must sleep to let the other run.
        AsyncRttSamecore = "async-rtt-samecore",
    }
}

named! {
    /// What is measured.
    Implementation, "implementation" {
        /// Two words on two lines, never taken from the eye.
        LimitLine = "limit-line",
        /// One compare-and-swap and one swap: the least a lock can do.
        LimitCas = "limit-cas",
        /// The plain futex mutex of three states; for signals, a bare futex, always asleep.
        LimitFutex = "limit-futex",
        /// The mutex of the C library, shared between processes.
        Pthread = "pthread",
        /// The same, robust.
        PthreadRobust = "pthread-robust",
        /// The semaphore of the C library, shared between processes.
        PosixSem = "posix-sem",
        /// A counter in the kernel.
        Eventfd = "eventfd",
        /// The mutex of Rust's standard library; threads of one process only.
        StdMutex = "std-mutex",
        /// Locks and events of the crate `raw_sync`.
        RawSync = "raw_sync",
        /// Our mutex, over a word of data.
        Mutex = "mutex",
        /// Our lock without data.
        Lock = "lock",
        /// Our recursive lock.
        RLock = "rlock",
        /// A reader of our read-write lock.
        RwLockRead = "rwlock-read",
        /// A writer of our read-write lock.
        RwLockWrite = "rwlock-write",
        /// Our semaphore, one unit.
        Semaphore = "semaphore",
        /// Our pool of permits, one permit.
        Permits = "permits",
        /// Our event, cleared by the waiter.
        Event = "event",
        /// Our event that clears itself.
        EventAuto = "event-auto",
        /// Our condition variable, with a mutex over a flag.
        Condvar = "condvar",
        /// Our queue, the client blocking as well.
        Queue = "queue",
        /// Our queue, the client a task of tokio.
        Tokio = "tokio",
    }
}

use Implementation as I;

/// Everything that excludes: the limits, the rivals, ours.
const LOCKS: &[I] = &[
    I::LimitCas,
    I::LimitFutex,
    I::Pthread,
    I::PthreadRobust,
    I::PosixSem,
    I::StdMutex,
    I::RawSync,
    I::Mutex,
    I::Lock,
    I::RLock,
    I::RwLockRead,
    I::RwLockWrite,
    I::Semaphore,
    I::Permits,
];
/// Everything that one process sets and another waits for.
const SIGNALS: &[I] = &[
    I::LimitLine,
    I::LimitFutex,
    I::PosixSem,
    I::Eventfd,
    I::RawSync,
    I::Event,
    I::EventAuto,
    I::Semaphore,
    I::Condvar,
];
/// What a message goes through, there and back.
const REACTORS: &[I] = &[I::LimitFutex, I::Queue, I::Tokio];

impl Case {
    /// What has a row, in the order of the table.
    pub fn implementations(self) -> impl Iterator<Item = Implementation> {
        let all = match self {
            Self::AsyncRtt | Self::AsyncRttSamecore => REACTORS,
            _ if self.is_exclusion() => LOCKS,
            _ => SIGNALS,
        };
        all.iter().copied().filter(move |one| self.admits(*one))
    }

    fn admits(self, implementation: Implementation) -> bool {
        match self {
            // Readers do not wait for each other.
            Self::Contended => implementation != I::RwLockRead,
            // Whoever never sleeps waits whole slices for a holder that has lost its core.
            Self::Oversub => !matches!(implementation, I::RwLockRead | I::LimitCas),
            // Who never sleeps is never woken.
            Self::Wake => implementation != I::LimitLine,
            Self::Uncontended | Self::EventRtt | Self::AsyncRtt | Self::AsyncRttSamecore => true,
        }
    }

    /// Whether locks are compared, by how often they are taken; as opposed to signals, by how long they take.
    pub fn is_exclusion(self) -> bool {
        matches!(self, Self::Uncontended | Self::Contended | Self::Oversub)
    }

    /// Processes (or threads, for `std-mutex`) that take part.
    pub fn processes(self) -> usize {
        match self {
            Self::Uncontended => 1,
            Self::Contended | Self::Wake | Self::EventRtt | Self::AsyncRtt | Self::AsyncRttSamecore => 2,
            Self::Oversub => 8,
        }
    }
}

impl Implementation {
    /// Whether this is a limit, which every run has whatever was asked for.
    pub fn is_control(self) -> bool {
        matches!(self, Self::LimitLine | Self::LimitCas | Self::LimitFutex)
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
        let asked = Selection { implementations: vec![I::Eventfd], ..Selection::default() };
        let names: Vec<_> =
            asked.rows().iter().map(|row| format!("{} {}", row.case, row.implementation)).collect();
        assert_eq!(
            names,
            [
                "wake limit-futex",
                "wake eventfd",
                "event-rtt limit-line",
                "event-rtt limit-futex",
                "event-rtt eventfd"
            ]
        );
    }

    #[test]
    fn every_implementation_has_a_row() {
        let rows = Selection::default().rows();
        for one in I::ALL {
            assert!(rows.iter().any(|row| row.implementation == *one), "{one}");
        }
    }
}
