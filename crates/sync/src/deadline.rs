//! Deadlines: a moment of `CLOCK_MONOTONIC`, or never.
//!
//! Every wait takes a deadline and not a duration, so that a wait which is resumed (after a signal, after a
//! spurious wake) ends when the caller meant it to end.

use std::time::{Duration, Instant};

use crate::clock;

/// When a wait gives up.
///
/// `CLOCK_MONOTONIC` does not run while the machine is suspended. The value is valid in every thread and process
/// of the machine, except across time namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// The wait lasts until it succeeds.
    pub const NEVER: Self = Self(u64::MAX);

    /// `duration` from now; [`Deadline::NEVER`] if that is further than 584 years.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(clock::now_ns().saturating_add(ns))
    }

    /// The moment `instant`; one in the past has passed.
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        Self::after(instant.saturating_duration_since(Instant::now()))
    }

    /// The moment `ns` of `CLOCK_MONOTONIC`; `u64::MAX` is never.
    #[must_use]
    pub const fn at_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// The moment in ns of `CLOCK_MONOTONIC`; `u64::MAX` is never.
    #[must_use]
    pub const fn ns(self) -> u64 {
        self.0
    }

    /// Whether it has come. Reads the clock, except for [`Deadline::NEVER`].
    #[must_use]
    #[inline]
    pub fn passed(self) -> bool {
        self != Self::NEVER && clock::reached(self.0)
    }

    /// The earlier of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }
}

/// `CLOCK_MONOTONIC` in ns. About 26 ns; no system call.
#[must_use]
pub fn now_ns() -> u64 {
    clock::now_ns()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_endless_duration_never_passes() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert_eq!(Deadline::after(Duration::from_nanos(u64::MAX)), Deadline::NEVER);
        assert!(!Deadline::NEVER.passed());
    }

    #[test]
    fn what_is_over_has_passed() {
        assert!(Deadline::after(Duration::ZERO).passed());
        assert!(Deadline::at(Instant::now()).passed());
        assert!(Deadline::at_ns(0).passed());
    }

    #[test]
    fn the_future_has_not_passed() {
        let hour = Duration::from_secs(3600);
        assert!(!Deadline::after(hour).passed());
        assert!(!Deadline::at(Instant::now() + hour).passed());
    }

    #[test]
    fn the_earlier_one_counts() {
        let (soon, late) = (Deadline::at_ns(1), Deadline::at_ns(2));
        assert_eq!(soon.min(late), soon);
        assert_eq!(Deadline::NEVER.min(late), late);
    }
}
