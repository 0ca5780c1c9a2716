//! What a new segment shall hold, and how much memory it may ever take.
//!
//! Allocating shared memory has no file system that could be full: beyond what the machine has it calls the OOM
//! killer. So a segment declares a limit when it is made, the limit is checked against the machine before anything
//! is touched, and every later request is checked against the limit.

use std::fs;
use std::path::{Path, PathBuf};

use ginnel_layout::header::{Geometry, OBJECTS_MAX, PAGES_MAX};
use ginnel_layout::line::PAGE;
use ginnel_layout::participant::PARTICIPANTS_MAX;

use crate::Error;

/// How large a new segment is. Who opens an existing one takes it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Most processes attached at a time, 1 to 256.
    pub participants: u16,
    /// Most objects at a time, 1 to 32768.
    pub objects: u32,
    /// Most bytes of data, rounded up to whole pages of 4 KiB. Memory is taken only for what is used.
    pub limit: u64,
    /// Of a named segment: the name stays when the last participant leaves, and everything that has a name inside.
    pub persistent: bool,
}

impl Default for Options {
    /// 256 participants, 1024 objects, [`default_limit`], not persistent.
    fn default() -> Self {
        Self { participants: PARTICIPANTS_MAX, objects: 1024, limit: default_limit(), persistent: false }
    }
}

impl Options {
    /// The geometry, if these options make sense on this machine. Touches nothing.
    pub(crate) fn geometry(&self) -> Result<Geometry, Error> {
        self.geometry_within(machine_memory())
    }

    fn geometry_within(&self, machine: u64) -> Result<Geometry, Error> {
        let counts = [
            ("participants", u64::from(self.participants), u64::from(PARTICIPANTS_MAX)),
            ("objects", u64::from(self.objects), u64::from(OBJECTS_MAX)),
            ("bytes of data", self.limit, u64::MAX),
        ];
        for (what, asked, most) in counts {
            if asked == 0 {
                return Err(Error::ZeroCapacity { what });
            }
            if asked > most {
                return Err(Error::TooMany { what, asked, most });
            }
        }
        if self.limit > machine {
            return Err(Error::LimitTooLarge { asked: self.limit, machine });
        }
        let pages = self.limit.div_ceil(PAGE as u64);
        Geometry::new(self.participants, self.objects, pages).ok_or(Error::TooMany {
            what: "pages of data",
            asked: pages,
            most: PAGES_MAX,
        })
    }
}

/// The limit of a segment whose maker names none: a quarter of the memory that is available now, or of what the
/// cgroup may use if that is less, in whole pages.
#[must_use]
pub fn default_limit() -> u64 {
    let pages = available_memory() / 4 / PAGE as u64;
    pages.clamp(1, PAGES_MAX) * PAGE as u64
}

/// Bytes that could be allocated now without swapping, or the cgroup's ceiling if that is lower.
pub(crate) fn available_memory() -> u64 {
    meminfo("MemAvailable:").unwrap_or(FALLBACK).min(cgroup_limit())
}

/// Bytes of memory that this machine has, or the cgroup's ceiling if that is lower.
fn machine_memory() -> u64 {
    meminfo("MemTotal:").unwrap_or(FALLBACK).min(cgroup_limit())
}

/// What we assume of a machine that does not say: enough to work, too little to hurt.
const FALLBACK: u64 = 1 << 30;

fn meminfo(field: &str) -> Option<u64> {
    meminfo_in(&fs::read_to_string("/proc/meminfo").ok()?, field)
}

fn meminfo_in(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn cgroup_limit() -> u64 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let files = limit_files(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    files
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
        .min()
        .unwrap_or(u64::MAX)
}

/// The files that may hold a memory ceiling of this process: its cgroup's and those of all cgroups above, in both
/// versions of the interface. (`max`, which means none, is no number.)
fn limit_files(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in mountinfo.lines() {
        let Some((place, kind)) = line.split_once(" - ") else { continue };
        let mut place = place.split(' ').skip(3);
        let (Some(root), Some(mount)) = (place.next(), place.next()) else { continue };
        let mut kind = kind.split(' ');
        let file = match (kind.next(), kind.nth(1)) {
            (Some("cgroup2"), _) => "memory.max",
            (Some("cgroup"), Some(options)) if options.split(',').any(|o| o == "memory") => {
                "memory.limit_in_bytes"
            }
            _ => continue,
        };
        let Some(path) = cgroup.lines().find_map(|line| path_of(line, file == "memory.max")) else {
            continue;
        };
        // In a container the path may be seen from outside; then the mount's root is what we can see of it.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        for ancestor in below.ancestors() {
            files.push(Path::new(mount).join(ancestor).join(file));
        }
    }
    files
}

/// The path in a line `id:controllers:path` of `/proc/self/cgroup`, if the line is about memory.
fn path_of(line: &str, unified: bool) -> Option<&str> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let right = if unified {
        id == "0" && controllers.is_empty()
    } else {
        controllers.split(',').any(|c| c == "memory")
    };
    right.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options { participants: 4, objects: 8, limit: 1 << 20, persistent: false };

    #[test]
    fn limits_round_up_to_pages() {
        let geometry = Options { limit: 4097, ..OPTIONS }.geometry_within(u64::MAX).expect("fits");
        assert_eq!((geometry.participants, geometry.objects, geometry.pages), (4, 8, 2));
    }

    #[test]
    fn nothing_and_too_much_are_refused_before_anything_is_touched() {
        let refused = |options: Options| options.geometry_within(1 << 40).expect_err("refused");
        assert!(matches!(refused(Options { participants: 0, ..OPTIONS }), Error::ZeroCapacity { .. }));
        assert!(matches!(refused(Options { objects: 0, ..OPTIONS }), Error::ZeroCapacity { .. }));
        assert!(matches!(refused(Options { limit: 0, ..OPTIONS }), Error::ZeroCapacity { .. }));
        assert!(matches!(refused(Options { participants: 257, ..OPTIONS }), Error::TooMany { .. }));
        assert!(matches!(refused(Options { objects: OBJECTS_MAX + 1, ..OPTIONS }), Error::TooMany { .. }));
        assert!(matches!(refused(Options { limit: (1 << 40) + 1, ..OPTIONS }), Error::LimitTooLarge { .. }));
        assert!(matches!(refused(Options { limit: u64::MAX, ..OPTIONS }), Error::LimitTooLarge { .. }));
        let huge = Options { limit: u64::MAX, ..OPTIONS }.geometry_within(u64::MAX);
        assert!(matches!(huge, Err(Error::TooMany { .. })));
    }

    #[test]
    fn the_machine_bounds_the_default() {
        let limit = default_limit();
        assert!(limit >= PAGE as u64 && limit.is_multiple_of(PAGE as u64));
        assert!(limit <= machine_memory());
        assert!(Options::default().geometry().is_ok());
    }

    #[test]
    fn meminfo_is_in_kibibytes() {
        let text = "MemTotal:       2048 kB\nMemAvailable:      7 kB\n";
        assert_eq!(meminfo_in(text, "MemAvailable:"), Some(7 * 1024));
        assert_eq!(meminfo_in(text, "SwapFree:"), None);
        assert_eq!(meminfo_in("MemTotal: lots\n", "MemTotal:"), None);
    }

    #[test]
    fn ceilings_are_found_in_both_versions_and_in_every_ancestor() {
        let cgroup = "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/s/t\n";
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n\
            36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            41 31 0:38 /s /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let files: Vec<String> =
            limit_files(cgroup, mountinfo).iter().map(|path| path.display().to_string()).collect();
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/unified/t/memory.max",
            "/sys/fs/cgroup/unified/memory.max",
        ];
        assert_eq!(files, expected);
    }
}
