//! What the tests of workers share.
#![allow(dead_code, reason = "each file of tests uses some of it")]

use std::time::Duration;

use ginnel_pool::Pool;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ends a test that hangs.
pub(crate) fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

/// Waits, looking again and again. The watchdog ends it if it never comes.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        // A poll, not synchronisation: what is waited for tells nobody.
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Kills a process; one that is dead already needs none.
pub(crate) fn sigkill(pid: u32) {
    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
}

/// In a task: ends this worker as the kernel ends one for want of memory.
pub(crate) fn die() -> ! {
    sigkill(std::process::id());
    unreachable!("a process does not survive it");
}

/// The numbers of the workers, in order.
pub(crate) fn pids(pool: &Pool) -> Vec<u32> {
    let mut pids: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    pids.sort_unstable();
    pids
}

/// Does a process of that number exist?
pub(crate) fn exists(pid: u32) -> bool {
    kill(Pid::from_raw(pid as i32), None).is_ok()
}

/// In a task: which worker is this?
pub(crate) fn my_pid() -> u32 {
    std::process::id()
}
