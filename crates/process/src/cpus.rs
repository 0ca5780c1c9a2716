//! How many processors there are, and how many this process may use.

use std::fs;

use ginnel_object::{Error, ErrorKind, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Processors of the machine that are switched on, whether or not this process may use them. At least 1.
#[must_use]
pub fn cpu_count() -> usize {
    let online = fs::read_to_string("/sys/devices/system/cpu/online");
    online.ok().and_then(|list| count(&list)).unwrap_or_else(available_cpus)
}

/// Processors that this process can keep busy: those its affinity allows, and no more than the time that its control
/// groups (of version 1 or 2) give it. At least 1. Reads files: ask once.
#[must_use]
pub fn available_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Lets the calling thread run on processor `cpu` only. Threads and children that it starts from then on begin there.
///
/// # Errors
/// `Invalid` for a processor that does not exist or is not allowed here; `Os`.
pub fn pin_current_thread(cpu: usize) -> Result<()> {
    let refuse =
        || Error::new(ErrorKind::Invalid, format!("processor {cpu} does not exist or is not allowed here"));
    if cpu >= CpuSet::MAX_CPU {
        return Err(refuse());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|why| match why {
        rustix::io::Errno::INVAL => refuse(),
        why => std::io::Error::from(why).into(),
    })
}

/// How many are in a list as `0-3,8`.
fn count(list: &str) -> Option<usize> {
    list.trim().split(',').try_fold(0_usize, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted() {
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-3,8,10-11\n"), Some(7));
        assert_eq!(count("3-1"), None);
        assert_eq!(count(""), None);
    }

    #[test]
    fn a_pinned_thread_has_one_and_the_others_keep_theirs() {
        let before = available_cpus();
        assert!(before <= cpu_count(), "{before} of {}", cpu_count());
        let first = (0..CpuSet::MAX_CPU)
            .find(|cpu| rustix::thread::sched_getaffinity(None).is_ok_and(|set| set.is_set(*cpu)))
            .expect("one is allowed");
        std::thread::spawn(move || {
            pin_current_thread(first).expect("it is allowed");
            assert_eq!(available_cpus(), 1);
        })
        .join()
        .expect("the pinned thread");
        assert_eq!(available_cpus(), before);
        for cpu in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX] {
            assert_eq!(pin_current_thread(cpu).expect_err("it does not exist").kind(), ErrorKind::Invalid);
        }
    }
}
