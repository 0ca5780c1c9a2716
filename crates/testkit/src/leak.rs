//! What is left behind: open files, mappings, names in `/dev/shm`, and whatever the caller counts.
//!
//! Take a [`Snapshot`] before and one after, and ask the later for what it has more. Names are asked for by a part that
//! only the caller's have, because other runs on the machine make and remove theirs at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// How many of each thing there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, u64>);

impl Snapshot {
    /// Counts the open files of a process by what they lead to, and its mappings of ginnel's memory.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut snapshot = Self::default();
        let folder = format!("/proc/{pid}/fd");
        for entry in fs::read_dir(&folder)? {
            // A file that was closed meanwhile (the one that reads this folder is always one) leads nowhere.
            let Ok(target) = fs::read_link(entry?.path()) else { continue };
            let target = target.display().to_string();
            if target != folder && !target.starts_with(&format!("/proc/{pid}/")) {
                snapshot.add(format!("open file {}", without_number(&target)), 1);
            }
        }
        for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            if line.contains("ginnel") && (line.contains("memfd:") || line.contains("/dev/shm/")) {
                let name = line.split_whitespace().nth(5).unwrap_or_default();
                snapshot.add(format!("mapping of {name}"), 1);
            }
        }
        Ok(snapshot)
    }

    /// Adds the files in `/dev/shm` whose names contain `part`.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn add_names(&mut self, part: &str) -> io::Result<()> {
        for entry in fs::read_dir("/dev/shm")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.contains(part) {
                self.add(format!("/dev/shm/{name}"), 1);
            }
        }
        Ok(())
    }

    /// Adds something that the caller counted, such as participants in use.
    pub fn add(&mut self, what: impl Into<String>, count: u64) {
        *self.0.entry(what.into()).or_default() += count;
    }

    /// What this one has more than `before`: a sentence each.
    #[must_use]
    pub fn leaked_since(&self, before: &Self) -> Vec<String> {
        let grown = self.0.iter().filter_map(|(what, count)| {
            let had = before.0.get(what).copied().unwrap_or_default();
            (*count > had).then(|| format!("{what}: {had} before, {count} now"))
        });
        grown.collect()
    }
}

/// `socket:[123]` and `pipe:[123]` without the number, which differs each time.
fn without_number(target: &str) -> &str {
    target.split(":[").next().unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_a_leak_and_less_is_none() {
        let (mut before, mut after) = (Snapshot::default(), Snapshot::default());
        before.add("participants", 3);
        before.add("pages", 9);
        after.add("participants", 4);
        after.add("pages", 8);
        after.add("tickets", 1);
        assert_eq!(
            after.leaked_since(&before),
            ["participants: 3 before, 4 now", "tickets: 0 before, 1 now"]
        );
        assert!(before.leaked_since(&before).is_empty());
    }

    #[test]
    fn numbers_of_sockets_do_not_count() {
        assert_eq!(without_number("socket:[4711]"), without_number("socket:[4712]"));
    }
}
