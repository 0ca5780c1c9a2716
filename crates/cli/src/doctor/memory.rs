//! Checks of memory: the directory of named segments, and the ceilings over everything.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, Mode, OFlags, open, statfs};

use super::Finding;

const MIB: u64 = 1 << 20;
/// Less than this is soon full.
const COMFORTABLE: u64 = 64 * MIB;
/// How `statfs` names a tmpfs.
const TMPFS: FsWord = 0x0102_1994;

/// Is there a tmpfs for named segments, with room, where files can be made without a name?
pub(super) fn shm(directory: &Path) -> Finding {
    const CHECK: &str = "/dev/shm";
    let advice = "named segments need it (unnamed ones do not): mount -t tmpfs tmpfs /dev/shm";
    let system = match statfs(directory) {
        Ok(system) => system,
        Err(error) => return Finding::warn(CHECK, error.to_string(), advice),
    };
    if system.f_type != TMPFS {
        return Finding::warn(CHECK, "not a tmpfs", advice);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Err(error) = open(directory, flags, Mode::RUSR | Mode::WUSR) {
        return Finding::warn(CHECK, format!("no file can be made there: {error}"), advice);
    }
    let block = system.f_bsize as u64;
    let (size, free) = (system.f_blocks as u64 * block, system.f_bavail as u64 * block);
    let found = format!("tmpfs, {} MiB, {} MiB free", size / MIB, free / MIB);
    // A size of zero blocks means a tmpfs without a ceiling of its own.
    if size > 0 && free < COMFORTABLE {
        Finding::warn(
            CHECK,
            found,
            "named segments are soon refused as Full: mount -o remount,size=1g /dev/shm",
        )
    } else {
        Finding::ok(CHECK, found)
    }
}

/// How much memory may a segment have by default? A quarter of the smaller of what is there and the ceiling.
pub(super) fn limits() -> Finding {
    const CHECK: &str = "memory";
    let Some(available) = meminfo("MemAvailable:") else {
        return Finding::warn(CHECK, "unknown", "mount /proc, so that sizes can be checked before use");
    };
    let ceiling = cgroup_values("memory.max", "memory", "memory.limit_in_bytes")
        .iter()
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min()
        .filter(|ceiling| *ceiling < meminfo("MemTotal:").unwrap_or(u64::MAX));
    let limit = available.min(ceiling.unwrap_or(u64::MAX)) / 4;
    let cgroup = ceiling
        .map_or("no ceiling by a cgroup".to_owned(), |bytes| format!("cgroup ceiling {} MiB", bytes / MIB));
    let found = format!("{} MiB available, {cgroup}: segments up to {} MiB", available / MIB, limit / MIB);
    if limit < COMFORTABLE {
        Finding::warn(
            CHECK,
            found,
            "large queues will be refused as Full: give the machine or the cgroup more",
        )
    } else {
        Finding::ok(CHECK, found)
    }
}

/// A field of /proc/meminfo, in bytes.
fn meminfo(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// A setting of our cgroup and of all above it, either version: what any of them says.
pub(super) fn cgroup_values(v2_file: &str, v1_controller: &str, v1_file: &str) -> Vec<String> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut values = Vec::new();
    for (root, path, is_v2) in groups(&membership, v1_controller) {
        let file = if is_v2 { v2_file } else { v1_file };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            values.extend(fs::read_to_string(root.join(group).join(file)));
        }
    }
    values
}

/// The lines of /proc/self/cgroup that matter: where its tree is mounted, our path in it, whether it is v2.
fn groups<'a>(membership: &'a str, v1_controller: &str) -> Vec<(PathBuf, &'a str, bool)> {
    let mut groups = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if id == "0" && controllers.is_empty() {
            groups.push((PathBuf::from("/sys/fs/cgroup"), path, true));
        } else if controllers.split(',').any(|controller| controller == v1_controller) {
            groups.push((Path::new("/sys/fs/cgroup").join(controllers), path, false));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn both_versions_of_cgroups_are_found() {
        let text = "9:name=systemd:/\n4:memory:/a/b\n3:cpu,cpuacct:/c\n0::/d\n";
        assert_eq!(
            groups(text, "cpu"),
            [
                (PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"), "/c", false),
                (PathBuf::from("/sys/fs/cgroup"), "/d", true)
            ]
        );
        assert_eq!(groups(text, "memory")[0].1, "/a/b");
        assert_eq!(groups("nonsense", "memory"), []);
    }

    #[test]
    fn a_directory_that_is_not_there_or_on_a_disk_is_a_warning() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(shm(&directory.path().join("none")).level, Level::Warn);
        assert_eq!(shm(Path::new("/proc")).level, Level::Warn);
    }
}
