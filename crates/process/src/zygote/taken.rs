//! What a zygote took along when it was made, and in what the starter differs from it by now.
//!
//! A clone has the zygote's environment, directory and standard streams. The first two can be told to it in its boot
//! block; with other streams, or as another user, the starter does without the zygote.

use std::env;
use std::ffi::OsString;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Stat, fstat, stat};
use rustix::process::{getegid, geteuid};

/// A file, whatever its name.
type Identity = (u64, u64);

/// What the next clone would begin with.
#[derive(Debug)]
pub(super) struct Taken {
    variables: Vec<(OsString, OsString)>,
    directory: Option<Identity>,
    bound: Bound,
}

/// What cannot be told to a clone.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    streams: [Option<Identity>; 3],
    user: u32,
    group: u32,
}

static TAKEN: Mutex<Option<Arc<Taken>>> = Mutex::new(None);

fn identity(found: rustix::io::Result<Stat>) -> Option<Identity> {
    found.ok().map(|found| (found.st_dev, found.st_ino))
}

impl Bound {
    fn now() -> Self {
        Self {
            streams: [
                identity(fstat(io::stdin())),
                identity(fstat(io::stdout())),
                identity(fstat(io::stderr())),
            ],
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
        }
    }
}

impl Taken {
    /// What a zygote that is made now takes along.
    pub(super) fn now() -> Self {
        Self { variables: env::vars_os().collect(), directory: identity(stat(".")), bound: Bound::now() }
    }

    /// Would a clone have what its starter has, apart from what it can be told?
    pub(super) fn fits(&self) -> bool {
        self.bound == Bound::now()
    }

    /// The zygote that took it is the one by now.
    pub(super) fn is_current(self: &Arc<Self>) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(self));
    }
}

fn current() -> Option<Arc<Taken>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The variables that the starter has set or removed since the zygote was made.
pub(crate) fn changed_variables() -> Vec<(OsString, Option<OsString>)> {
    current().map_or_else(Vec::new, |taken| difference(&taken.variables, env::vars_os()))
}

/// In what `now` differs from `then`. As a rule in nothing, in the same order.
fn difference(
    then: &[(OsString, OsString)],
    now: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, Option<OsString>)> {
    let mut rest = then;
    let mut now = now.peekable();
    while let (Some(pair), Some((first, behind))) = (now.peek(), rest.split_first())
        && pair == first
    {
        rest = behind;
        now.next();
    }
    let now: Vec<_> = now.collect();
    let is_in = |key: &OsString| now.iter().any(|(known, _)| known == key);
    let mut changes: Vec<_> =
        rest.iter().filter(|(key, _)| !is_in(key)).map(|(key, _)| (key.clone(), None)).collect();
    let changed = now.into_iter().filter(|pair| !rest.contains(pair));
    changes.extend(changed.map(|(key, value)| (key, Some(value))));
    changes
}

/// The starter's directory, if it is another than the zygote's.
pub(crate) fn changed_directory() -> Option<OsString> {
    let taken = current()?;
    if identity(stat(".")) == taken.directory {
        return None;
    }
    env::current_dir().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(OsString, OsString)> {
        let pair = |one: &str| one.split_once('=').map(|(key, value)| (key.into(), value.into()));
        text.split_whitespace().filter_map(pair).collect()
    }

    #[test]
    fn a_difference_is_what_was_set_and_removed() {
        let changes = |then: &str, now: &str| difference(&pairs(then), pairs(now).into_iter());
        assert_eq!(changes("A=1 B=2", "A=1 B=2"), []);
        assert_eq!(changes("A=1 B=2", "B=2 A=1"), []);
        assert_eq!(changes("A=1 B=2 C=3", "A=1 C=3"), [("B".into(), None)]);
        assert_eq!(
            changes("A=1", "A=2 D=4"),
            [("A".into(), Some("2".into())), ("D".into(), Some("4".into()))]
        );
        assert_eq!(changes("", "A=1"), [("A".into(), Some("1".into()))]);
    }

    #[test]
    fn a_process_differs_from_itself_in_nothing() {
        assert!(Taken::now().fits());
    }
}
