//! The two clocks of a measurement, in nanoseconds: time that passes and processor time of this process.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Monotonic time. One reading costs some 25 ns, and is part of every round trip of every row alike.
#[inline(always)]
pub fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Processor time this process has used, user and system, all threads.
pub fn process_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// Sleeps until `deadline_ns` on the monotonic clock; at once where that has passed.
pub fn sleep_until(deadline_ns: u64) {
    loop {
        let now = now_ns();
        if now >= deadline_ns {
            return;
        }
        std::thread::sleep(std::time::Duration::from_nanos(deadline_ns - now));
    }
}

/// What one reading of the monotonic clock costs, in nanoseconds: the smallest of several tries.
pub fn reading_cost_ns() -> u64 {
    const READINGS: u64 = 1000;
    (0..5)
        .map(|_| {
            let start = now_ns();
            for _ in 0..READINGS {
                std::hint::black_box(now_ns());
            }
            (now_ns() - start) / READINGS
        })
        .min()
        .unwrap_or(0)
}

#[inline(always)]
fn nanoseconds(time: Timespec) -> u64 {
    // Neither clock is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
