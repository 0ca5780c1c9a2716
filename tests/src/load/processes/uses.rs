//! What the tests of processes look at: the children of a process, and what it uses.

use std::fs;
use std::time::{Duration, Instant};

use ginnel::{Manager, Process};

/// Long enough for a machine ten times slower.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The function of a child that computes.
#[must_use]
pub fn successor(number: u64) -> u64 {
    number + 1
}

/// A start that must work, by whatever method is left.
///
/// # Panics
/// When it does not.
pub fn start(number: u64) {
    let child = Process::spawn(successor, number).expect("started");
    assert_eq!(child.join().expect("it returns"), successor(number));
}

/// The kernel's flag for a process that was copied, and runs no program of its own yet.
const IS_COPY: u64 = 0x40;

/// What `/proc/<pid>/stat` says of a process.
struct Stat {
    name: String,
    state: char,
    flags: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (front, back) = text.rsplit_once(')')?;
    let (_, name) = front.split_once('(')?;
    let mut fields = back.split_whitespace();
    let (state, flags) = (fields.next()?.chars().next()?, fields.nth(5)?.parse().ok()?);
    Some(Stat { name: name.to_owned(), state, flags })
}

/// Has it ended? A zombie has. Who waits for it, and whether, does not matter.
#[must_use]
pub fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| matches!(stat.state, 'Z' | 'X'))
}

/// Waits until `what` is so, looking once a millisecond: the time that it took. `None`: it is not so after `limit`.
pub fn until(limit: Duration, mut what: impl FnMut() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    while !what() {
        if begun.elapsed() > limit {
            return None;
        }
        // This is not synchronisation: other processes change what is looked at and tell nobody, so one looks again.
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(begun.elapsed())
}

/// The children of all threads of a process, with their names and states.
#[must_use]
pub fn children_of(pid: u32) -> Vec<(u32, String, char)> {
    children(pid).map(|(pid, stat)| (pid, stat.name, stat.state)).collect()
}

fn children(pid: u32) -> impl Iterator<Item = (u32, Stat)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<u32> = lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pid| pid.parse().ok())
        .collect();
    pids.into_iter().filter_map(|pid| Some((pid, stat(pid)?)))
}

/// The living zygote of this process. Its clones have its name too until they first run, which may be after its death;
/// unlike them it was started as a program.
#[must_use]
pub fn zygote() -> Option<u32> {
    let is_it = |stat: &Stat| stat.name == "ginnel-zygote" && stat.state != 'Z' && stat.flags & IS_COPY == 0;
    children(std::process::id()).find(|(_, stat)| is_it(stat)).map(|(pid, _)| pid)
}

/// What may grow where something leaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads of this process.
    pub threads: usize,
    /// Children, zombies among them.
    pub children: usize,
    /// Participants of the arena.
    pub participants: usize,
    /// Bytes taken of the arena.
    pub bytes: usize,
}

impl Uses {
    /// Of this process, now.
    ///
    /// # Panics
    /// When it can have no arena.
    #[must_use]
    pub fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).map_or(0, Iterator::count);
        let manager = Manager::current().expect("there is an arena");
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children: children_of(std::process::id()).len(),
            participants: manager.inspect().participants.len(),
            bytes: manager.size(),
        }
    }

    /// Is that no more than this?
    #[must_use]
    pub fn covers(&self, now: &Self) -> bool {
        now.descriptors <= self.descriptors
            && now.threads <= self.threads
            && now.children <= self.children
            && now.participants <= self.participants
            && now.bytes <= self.bytes
    }

    /// Waits until no more is used than here: those that ended in order are put away a little later.
    ///
    /// # Errors
    /// What is used still.
    pub fn is_back(&self) -> Result<(), String> {
        let is_back = until(LIMIT / 4, || self.covers(&Self::now()));
        is_back.map(drop).ok_or_else(|| format!("{self:?} before, {:?} now", Self::now()))
    }
}

/// Resident memory of this process, in KiB.
#[must_use]
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// What is used once it does not change any more, because those that were dropped are gone. `None`: it goes on changing.
#[must_use]
pub fn settled() -> Option<Uses> {
    let mut before = Uses::now();
    until(LIMIT / 4, || {
        // This is not synchronisation: two looks say that nothing changes only if there is time between them.
        std::thread::sleep(Duration::from_millis(20));
        let now = Uses::now();
        let is_steady = now == before;
        before = now;
        is_steady
    })?;
    Some(Uses::now())
}
