//! Starting a child in a control group: it enters the group by itself, before it does anything else.
//!
//! What the kernel charged before that (the pages of a child that has not run yet) stays with the starter's group. That a
//! child was killed because the group's memory was used up is told by the group's count of such kills: it is higher than
//! at the child's start. Another child of the group may have been meant; the kernel does not say which.

use std::fs;
use std::path::{Path, PathBuf};

use ginnel_object::{Error, ErrorKind, Result};

/// Moves this process to the group of `directory`.
///
/// # Errors
/// `NotFound`, `Denied` or `Os`, which name the directory.
pub(crate) fn enter(directory: &Path) -> Result<()> {
    // The kernel takes 0 for the writer.
    fs::write(directory.join("cgroup.procs"), "0").map_err(|why| {
        let kind = match why.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Os,
        };
        Error::new(kind, format!("the control group {} cannot be entered: {why}", directory.display()))
            .with_os(why.raw_os_error())
    })
}

/// A group's count of processes killed for want of memory, at a start.
#[derive(Debug)]
pub(crate) struct OomKills {
    group: PathBuf,
    before: Option<u64>,
}

impl OomKills {
    /// Reads the count now.
    pub(crate) fn of(group: &Path) -> Self {
        Self { group: group.to_owned(), before: oom_kills(group) }
    }

    /// Is it higher now?
    pub(crate) fn rose(&self) -> bool {
        oom_kills(&self.group) > self.before
    }
}

/// `None` where the kernel does not count: a group without the memory controller.
fn oom_kills(group: &Path) -> Option<u64> {
    // The first is the file of version 2, the second that of version 1.
    let texts = ["memory.events", "memory.oom_control"].map(|name| fs::read_to_string(group.join(name)));
    let text = texts.into_iter().find_map(std::result::Result::ok)?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_rose_is_seen_in_both_versions() {
        let group = std::env::temp_dir().join(format!("ginnel-oom-{}", std::process::id()));
        fs::create_dir(&group).expect("a directory");
        assert!(!OomKills::of(&group).rose(), "nobody counts");
        for (name, before) in
            [("memory.oom_control", "oom_kill_disable 0\n"), ("memory.events", "low 0\nhigh 0\n")]
        {
            let write = |kills: u32| {
                fs::write(group.join(name), format!("{before}oom_kill {kills}\n")).expect("a file");
            };
            write(3);
            let kills = OomKills::of(&group);
            assert!(!kills.rose());
            write(4);
            assert!(kills.rose() && !OomKills::of(&group).rose());
        }
        fs::remove_dir_all(&group).expect("ours");
    }
}
