//! The clock and the number of the core, in one place so that loom can have its own.
//!
//! Under loom time stands still until a model moves it ([`crate::futex::model`]), and there is one core.
//! Nothing that decides between right and wrong reads either: deadlines end a wait, the rest are hints.

#[cfg(not(loom))]
pub(crate) use real::{cpu, now_ns, reached};

#[cfg(loom)]
pub(crate) use modelled::{now_ns, reached};

#[cfg(not(loom))]
mod real {
    use rustix::thread::sched_getcpu;
    use rustix::time::{ClockId, clock_gettime};

    /// `CLOCK_MONOTONIC` in ns. About 26 ns; no system call.
    #[inline]
    pub(crate) fn now_ns() -> u64 {
        let time = clock_gettime(ClockId::Monotonic);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    /// Has `ns` come?
    #[inline]
    pub(crate) fn reached(ns: u64) -> bool {
        now_ns() >= ns
    }

    /// The core we run on, true for a moment only.
    #[inline]
    pub(crate) fn cpu() -> u32 {
        sched_getcpu() as u32
    }
}

#[cfg(loom)]
mod modelled {
    /// The time at which things start; reading it is no step of the model.
    pub(crate) fn now_ns() -> u64 {
        0
    }

    /// Has `ns` come? A step of the model: another thread may move the time.
    pub(crate) fn reached(ns: u64) -> bool {
        crate::futex::model::time_ns() >= ns
    }
}
