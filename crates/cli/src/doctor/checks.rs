//! Checks of the kernel and of the processors.

use std::fs;

use ginnel_bench::machine::{Machine, allowed_cores};
use memmap2::{Advice, MmapMut};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::thread::futex::{WaitvFlags, waitv};
use rustix::time::ClockId;

use super::Finding;

/// The oldest kernel with everything: futex_waitv came last.
const OLDEST: (u32, u32) = (5, 16);
/// What the layout of a segment counts in.
const PAGE: usize = 4096;

/// Is the kernel new enough?
pub(super) fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    judge_kernel(&release)
}

fn judge_kernel(release: &str) -> Finding {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let found = format!("Linux {release}");
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => {
            Finding::fail("kernel", found, "Linux 5.16 or newer is needed")
        }
        (Some(Ok(_)), Some(Ok(_))) => Finding::ok("kernel", found),
        _ => Finding::warn("kernel", found, "the release is no version number; 5.16 or newer is needed"),
    }
}

/// Segments count in pages of 4 KiB.
pub(super) fn page_size() -> Finding {
    match rustix::param::page_size() {
        PAGE => Finding::ok("page size", "4096 bytes"),
        other => {
            Finding::fail("page size", format!("{other} bytes"), "a kernel with pages of 4 KiB is needed")
        }
    }
}

/// Does waiting on several words work? An empty list is refused by a kernel that knows the call.
pub(super) fn futex_waitv() -> Finding {
    match waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic) {
        Err(Errno::INVAL) | Ok(_) => Finding::ok("futex_waitv", "answers"),
        Err(Errno::NOSYS) => Finding::fail("futex_waitv", "missing", "Linux 5.16 or newer is needed"),
        Err(error) => Finding::fail(
            "futex_waitv",
            format!("refused ({error})"),
            "a seccomp filter forbids it: allow futex_waitv in the container's profile",
        ),
    }
}

/// Can memory be made present before it is used?
pub(super) fn populate() -> Finding {
    let tried = MmapMut::map_anon(PAGE).and_then(|map| map.advise(Advice::PopulateWrite));
    match tried {
        Ok(()) => Finding::ok("MADV_POPULATE_WRITE", "answers"),
        Err(error) => {
            Finding::fail("MADV_POPULATE_WRITE", error.to_string(), "Linux 5.14 or newer is needed")
        }
    }
}

/// Can memory be had that has no name and cannot shrink?
pub(super) fn memfd() -> Finding {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let tried = memfd_create("ginnel-doctor", flags).and_then(|fd| fcntl_add_seals(fd, SealFlags::SHRINK));
    match tried {
        Ok(()) => Finding::ok("memfd", "made and sealed"),
        Err(error) => Finding::fail(
            "memfd",
            error.to_string(),
            "a seccomp filter or a lack of descriptors forbids it: allow memfd_create and F_ADD_SEALS",
        ),
    }
}

/// Is /proc there? Names and states of peers, and descriptors by number, come from it.
pub(super) fn proc_files() -> Finding {
    let read = ["/proc/self/stat", "/proc/self/status", "/proc/meminfo"].map(fs::read_to_string);
    let listed = fs::read_dir("/proc/self/fd");
    match read.into_iter().find_map(Result::err).or(listed.err()) {
        None => Finding::ok("/proc", "readable"),
        Some(error) => Finding::fail("/proc", error.to_string(), "mount it: mount -t proc proc /proc"),
    }
}

/// Are there two cores to talk across?
pub(super) fn cores() -> Finding {
    let (online, allowed) = (Machine::look().online, allowed_cores().len());
    let found = format!("{online} online, {allowed} allowed to this process");
    match (online, allowed) {
        (0 | 1, _) => Finding::warn("cores", found, "on one core peers take turns: sleeping beats spinning"),
        (_, 0 | 1) => Finding::warn("cores", found, "let the process use two cores: see taskset and cpuset"),
        _ => Finding::ok("cores", found),
    }
}

/// Does a cgroup take the cores away in the middle of a spin?
pub(super) fn cpu_quota() -> Finding {
    match super::memory::cgroup_values("cpu.max", "cpu", "cpu.cfs_quota_us")
        .iter()
        .filter_map(|text| quota_cores(text))
        .min_by(f64::total_cmp)
    {
        None => Finding::ok("cgroup cpu quota", "none"),
        Some(cores) if cores >= 2.0 => Finding::ok("cgroup cpu quota", format!("{cores:.1} cores")),
        Some(cores) => Finding::warn(
            "cgroup cpu quota",
            format!("{cores:.1} cores"),
            "two peers that are awake use two cores: raise cpu.max, or let them sleep (Wait::Sleep)",
        ),
    }
}

/// `200000 100000` (v2: quota and period), `-1` (v1: no quota) or `50000` (v1, with the usual period).
fn quota_cores(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next().map_or(Some(100_000.0), |word| word.parse().ok())?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// A virtual core that polls a little before it halts is woken several times faster.
pub(super) fn halt_polling() -> Finding {
    const PATH: &str = "/sys/module/haltpoll/parameters/guest_halt_poll_ns";
    match fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        None => Finding::ok("halt polling", "not a matter here (no haltpoll governor)"),
        Some(0) => Finding::warn(
            "halt polling",
            "guest_halt_poll_ns = 0: idle virtual cores halt at once",
            format!("waking a sleeper may cost 30 us; as root, and measured by you: echo 200000 > {PATH}"),
        ),
        Some(nanoseconds) => Finding::ok("halt polling", format!("guest_halt_poll_ns = {nanoseconds}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn old_kernels_fail() {
        for (release, level) in [
            ("5.15.0-91-generic", Level::Fail),
            ("4.19.0", Level::Fail),
            ("5.16.0", Level::Ok),
            ("6.18.44-custom", Level::Ok),
            ("10.0", Level::Ok),
            ("custom", Level::Warn),
        ] {
            assert_eq!(judge_kernel(release).level, level, "{release}");
        }
    }

    #[test]
    fn quotas_are_read() {
        assert_eq!(quota_cores("150000 100000\n"), Some(1.5));
        assert_eq!(quota_cores("max 100000\n"), None);
        assert_eq!(quota_cores("-1\n"), None);
        assert_eq!(quota_cores("50000\n"), Some(0.5));
        assert_eq!(quota_cores(""), None);
    }
}
