//! The self-test of a zygote: a clone looks at itself, before any child is made that way.
//!
//! The clone call goes behind the back of the C library. Whether a kernel, a sandbox, a library or a debugger gets in the
//! way is not to be known beforehand; so the zygote makes one clone, which reports on the board and ends. Where anything
//! is wrong, the children of this program are started by execution, and `start_method` gives the reason.

use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_sync::{Deadline, futex};
use rustix::process::{getpid, getppid};
use rustix::thread::gettid;

use super::board::{Front, state};
use super::clone::{Cloner, Side, knows_itself, leave};

/// How long the clone may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The report, without any fault.
const DONE: u32 = 1 << 31;

/// What a clone can find, each a bit of the report.
const FAULTS: [&str; 7] = [
    "the process id on the board is another",
    "its parent is another",
    "its thread id is another than its process id",
    "the C library does not know its thread id",
    "the list of robust mutexes is lost",
    "a thread cannot be started",
    "a lock was not released",
];

/// Makes the clone and waits for its report; what `state` of the board is to be.
pub(super) fn run(front: &Front, cloner: &Cloner, starter: u32) -> u32 {
    if !is_alone() {
        return state::THREADS;
    }
    match cloner.clone(&front.probe_pid) {
        Err(why) => {
            front.errno.store(why as u32, Relaxed);
            return state::REFUSED;
        }
        Ok(Side::Child) => {
            front.probe.store(DONE | examine(front, cloner, starter), Release);
            futex::wake(&front.probe, 1);
            leave();
        }
        Ok(Side::Parent) => {}
    }
    let until = Deadline::after(PATIENCE);
    loop {
        match front.probe.load(Acquire) {
            DONE => return state::READY,
            0 if until.passed() => return state::SILENT,
            0 => drop(futex::wait(&front.probe, 0, until)),
            _ => return state::FAULTY,
        }
    }
}

/// Is this the only thread of the process?
fn is_alone() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// In the clone: the bits of what is wrong.
fn examine(front: &Front, cloner: &Cloner, starter: u32) -> u32 {
    let pid = getpid();
    let number = pid.as_raw_nonzero().get().unsigned_abs();
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs());
    let lock = Mutex::new(Vec::<u8>::new());
    let add = |value: usize| lock.lock().is_ok_and(|mut values| values.try_reserve(value).is_ok());
    let threads = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, || add(1000));
        thread.is_ok_and(|thread| thread.join().is_ok_and(|added| added))
    });
    let good = [
        front.probe_pid.load(Relaxed) == number,
        parent == Some(starter),
        gettid() == pid,
        knows_itself(),
        cloner.is_announced(),
        threads,
        add(2000) && lock.try_lock().is_ok(),
    ];
    good.iter().zip(0..).map(|(good, bit)| u32::from(!good) << bit).sum()
}

/// A state in words, for `start_method`.
pub(super) fn reason(front: &Front) -> String {
    let errno = || std::io::Error::from_raw_os_error(front.errno.load(Relaxed) as i32);
    match front.state.load(Acquire) {
        state::PRELOAD_FAILED => "a preload function panicked".into(),
        state::THREADS => "a preload function, or a constructor of the program, has started a thread".into(),
        state::REFUSED => format!("the system refused the clone call: {}", errno()),
        state::SILENT => "its clone did not report".into(),
        state::FAULTY => {
            let report = front.probe.load(Relaxed);
            let found = FAULTS.iter().zip(0..).filter(|(_, bit)| report >> bit & 1 != 0);
            format!("in its clone {}", found.map(|(fault, _)| *fault).collect::<Vec<_>>().join(", and "))
        }
        _ => "it ended before it was ready".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::board::Board;
    use super::*;

    #[test]
    fn every_reason_is_a_sentence() {
        let (board, _file) = Board::make().unwrap();
        let front = board.front();
        front.probe.store(DONE | 0b11, Relaxed);
        for value in 0..=state::FAULTY {
            front.state.store(value, Relaxed);
            assert!(reason(front).len() > 10);
        }
        assert!(reason(front).contains("its parent is another"));
    }
}
