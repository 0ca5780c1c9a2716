//! What the tests of dicts and lists share.
#![allow(dead_code, reason = "each file of tests uses some of it")]

use std::time::Duration;

use ginnel_manager::{Dict, Key, List};
use ginnel_object::bridge::store::Wraps;
use ginnel_object::{Manager, Message};
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

/// Ends this process as the kernel ends one for want of memory.
pub(crate) fn die() -> ! {
    signal(std::process::id(), Signal::SIGKILL);
    unreachable!("a process does not survive it");
}

/// Sends a signal to a process; one that is dead already needs none.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid as i32), signal);
}

/// Every page, block and entry of a dict is accounted for once: nothing has leaked, nothing is used twice.
pub(crate) fn audit<K: Key, V: Message>(dict: &Dict<K, V>) {
    dict.raw().audit().expect("a dict that is whole");
}

/// The same of a list.
pub(crate) fn audit_list<T: Message>(list: &List<T>) {
    list.raw().audit().expect("no failure").expect("a list that is whole");
}

/// A manager that nobody else sees.
pub(crate) fn manager(mib: usize) -> Manager {
    Manager::new(mib << 20).expect("a manager")
}
