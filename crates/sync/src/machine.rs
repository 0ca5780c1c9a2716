//! What this machine charges for waiting, measured once a process, and whether spinning can pay here at all.
//!
//! The results lie in plain words and not in a once-cell: two threads that measure at the same time do no harm,
//! and a process forked in the middle of it has no half-done initialisation to wait for.

#[cfg(not(loom))]
pub(crate) use real::{last_wake_ns, may_spin, pause_ns, remember_wake, syscall_ns};

#[cfg(loom)]
pub(crate) use modelled::{last_wake_ns, may_spin, pause_ns, remember_wake, syscall_ns};

#[cfg(not(loom))]
mod real {
    use std::fs;

    use ginnel_layout::atomic::AtomicU32;
    use ginnel_layout::atomic::Ordering::Relaxed;
    use ginnel_layout::atomic::spin_loop;

    use crate::clock::now_ns;
    use crate::deadline::Deadline;
    use crate::futex;

    /// 0: not measured yet.
    static PAUSE_NS: AtomicU32 = AtomicU32::new(0);
    static SYSCALL_NS: AtomicU32 = AtomicU32::new(0);
    /// The cost of the last wake seen in this process; 0: none yet. A first guess for new waiters.
    static LAST_WAKE_NS: AtomicU32 = AtomicU32::new(0);
    /// 0: not known yet; NO or YES.
    static MAY_SPIN: AtomicU32 = AtomicU32::new(0);
    const NO: u32 = 1;
    const YES: u32 = 2;

    /// One turn of an empty spin loop.
    pub(crate) fn pause_ns() -> u32 {
        const TURNS: u64 = 64;
        cached(&PAUSE_NS, || {
            let run = || {
                let start = now_ns();
                (0..TURNS).for_each(|_| spin_loop());
                (now_ns() - start) / TURNS
            };
            smallest(4, run)
        })
    }

    /// A futex call that does not sleep: the floor of what waiting in the kernel costs.
    pub(crate) fn syscall_ns() -> u32 {
        cached(&SYSCALL_NS, || {
            let word = AtomicU32::new(1);
            let run = || {
                let start = now_ns();
                futex::wait(&word, 0, Deadline::NEVER);
                now_ns() - start
            };
            smallest(8, run)
        })
    }

    /// The cost of the last wake seen in this process.
    pub(crate) fn last_wake_ns() -> Option<u32> {
        let ns = LAST_WAKE_NS.load(Relaxed);
        (ns != 0).then_some(ns)
    }

    /// Notes the cost of a wake for waiters to come.
    pub(crate) fn remember_wake(ns: u64) {
        LAST_WAKE_NS.store(u32::try_from(ns).unwrap_or(u32::MAX), Relaxed);
    }

    /// False where a spinner only keeps its peer from running: on one core (online, not merely allowed: two
    /// processes may be allowed one core each), and under a quota of less than one core.
    pub(crate) fn may_spin() -> bool {
        let known = MAY_SPIN.load(Relaxed);
        if known != 0 {
            return known == YES;
        }
        let cores = fs::read_to_string("/sys/devices/system/cpu/online").ok();
        let several = cores.is_none_or(|list| count_cores(&list) != Some(1));
        let pays = several && !quota_below_one_core();
        MAY_SPIN.store(if pays { YES } else { NO }, Relaxed);
        pays
    }

    fn cached(word: &AtomicU32, measure: impl FnOnce() -> u64) -> u32 {
        let known = word.load(Relaxed);
        if known != 0 {
            return known;
        }
        let ns = measure().clamp(1, 1_000_000) as u32;
        word.store(ns, Relaxed);
        ns
    }

    fn smallest(runs: u32, run: impl FnMut() -> u64) -> u64 {
        std::iter::repeat_with(run).take(runs as usize).min().unwrap_or(1)
    }

    /// Cores in a list such as `0-3,6`.
    fn count_cores(list: &str) -> Option<u32> {
        let mut cores = 0_u32;
        for part in list.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            cores = cores.checked_add(last.checked_sub(first)?)?.checked_add(1)?;
        }
        Some(cores)
    }

    /// Looks at the control groups this process is in, and at all above them.
    fn quota_below_one_core() -> bool {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let unified = group_of(&groups, "").unwrap_or("/");
        let own = ancestors(unified).any(|group| {
            let text = fs::read_to_string(format!("/sys/fs/cgroup{group}/cpu.max"));
            text.is_ok_and(|text| below_one(text.split_whitespace()))
        });
        let legacy = group_of(&groups, "cpu").unwrap_or("/");
        own || ancestors(legacy).any(|group| {
            let read =
                |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/cpu{group}/cpu.cfs_{file}_us"));
            match (read("quota"), read("period")) {
                (Ok(quota), Ok(period)) => below_one([quota.trim(), period.trim()].into_iter()),
                _ => false,
            }
        })
    }

    /// The path of the group for `controller` in the text of `/proc/self/cgroup`; "" names the unified tree.
    fn group_of<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            controllers.split(',').any(|name| name == controller).then_some(path)
        })
    }

    /// `/a/b`, `/a` and "" for `/a/b`.
    fn ancestors(path: &str) -> impl Iterator<Item = &str> {
        let first = path.trim_end_matches('/');
        std::iter::successors(Some(first), |path| path.rfind('/').map(|end| &path[..end]))
    }

    /// Whether a quota and its period, in that order, are less than one core. No number is no quota.
    fn below_one<'a>(mut fields: impl Iterator<Item = &'a str>) -> bool {
        let mut number = || fields.next().and_then(|text| text.parse::<u64>().ok());
        matches!((number(), number()), (Some(quota), Some(period)) if quota < period)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn cores_are_counted() {
            for (list, cores) in [("0\n", 1), ("0-1\n", 2), ("0,2-3,7", 4), ("5", 1)] {
                assert_eq!(count_cores(list), Some(cores), "{list:?}");
            }
            for nonsense in ["", "a", "3-1", "0-4294967295", "1-"] {
                assert_eq!(count_cores(nonsense), None, "{nonsense:?}");
            }
        }

        #[test]
        fn quotas_are_read() {
            let below = |text: &str| below_one(text.split_whitespace());
            assert!(below("50000 100000\n"));
            assert!(!below("100000 100000") && !below("200000 100000"));
            assert!(!below("max 100000") && !below("-1 100000") && !below("") && !below("50000"));
        }

        #[test]
        fn groups_are_found() {
            let groups = "4:memory:/m\n3:cpu,cpuacct:/c\n0::/u/v\n";
            assert_eq!(group_of(groups, ""), Some("/u/v"));
            assert_eq!(group_of(groups, "cpu"), Some("/c"));
            assert_eq!(group_of(groups, "io"), None);
            assert_eq!(ancestors("/u/v").collect::<Vec<_>>(), ["/u/v", "/u", ""]);
            assert_eq!(ancestors("/").collect::<Vec<_>>(), [""]);
        }

        #[test]
        fn measured_once_and_kept() {
            assert!(pause_ns() >= 1 && pause_ns() == pause_ns());
            assert!(syscall_ns() >= 1 && syscall_ns() == syscall_ns());
            assert_eq!(may_spin(), may_spin());
        }
    }
}

/// Under loom nobody spins on credit: a spin is a sleep that has not begun, and the models are about sleeping.
#[cfg(loom)]
mod modelled {
    pub(crate) fn pause_ns() -> u32 {
        1
    }

    pub(crate) fn syscall_ns() -> u32 {
        1
    }

    pub(crate) fn last_wake_ns() -> Option<u32> {
        None
    }

    pub(crate) fn remember_wake(_: u64) {}

    pub(crate) fn may_spin() -> bool {
        false
    }
}
