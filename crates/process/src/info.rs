//! This process, its parent, its children.

use std::sync::OnceLock;

use ginnel_layout::atomic::{AtomicU32, Ordering::Relaxed};
use serde::{Deserialize, Serialize};

use crate::builder::Start;
use crate::service;

/// A process of the tree, as it was when asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// As its builder said; else `Process-1` for the first child, `Process-1:2` for the second one of that.
    /// `MainProcess` is the one that nobody started.
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// Does it end with its parent? Such a one may not have children.
    pub daemon: bool,
    /// Negative for a signal. `None`: it lives, or it is not a child of this one.
    pub exit_code: Option<i32>,
}

/// The name of a process that was not started by ginnel.
const MAIN: &str = "MainProcess";

/// What a child is told of itself.
#[derive(Debug)]
struct Identity {
    name: String,
    daemon: bool,
    parent: Option<(String, u32)>,
}

static IDENTITY: OnceLock<Identity> = OnceLock::new();

/// Children started so far.
static STARTED: AtomicU32 = AtomicU32::new(0);

fn identity() -> &'static Identity {
    IDENTITY.get_or_init(|| Identity { name: MAIN.into(), daemon: false, parent: None })
}

/// This process.
#[must_use]
pub fn current() -> Info {
    let Identity { name, daemon, .. } = identity();
    Info { name: name.clone(), pid: std::process::id(), daemon: *daemon, exit_code: None }
}

/// Who started this process. `None` in the main process. The parent may have ended since.
///
/// A parent that may have children is no daemon.
#[must_use]
pub fn parent() -> Option<Info> {
    let (name, pid) = identity().parent.clone()?;
    Some(Info { name, pid, daemon: false, exit_code: None })
}

/// The children of this process that live, in the order of their starts.
#[must_use]
pub fn children() -> Vec<Info> {
    let Some(service) = service::existing() else {
        return Vec::new();
    };
    let children = service.children();
    let living = children.iter().filter(|child| child.end().is_none());
    living
        .map(|child| Info {
            name: child.name().into(),
            pid: child.pid(),
            daemon: child.is_daemon(),
            exit_code: None,
        })
        .collect()
}

/// How children are started unless their builder says otherwise; if not by the zygote, then why not. Before the first
/// start it is `Auto`: nobody knows yet.
#[must_use]
pub fn start_method() -> (Start, Option<String>) {
    service::existing().map_or((Start::Auto, None), service::Service::start_method)
}

/// Does this process end with its parent?
pub(crate) fn is_daemon() -> bool {
    identity().daemon
}

/// The name of the next child that has no other.
pub(crate) fn next_name() -> String {
    let number = STARTED.fetch_add(1, Relaxed) + 1;
    let Identity { name, parent, .. } = identity();
    match parent {
        None => format!("Process-{number}"),
        Some(_) => format!("{name}:{number}"),
    }
}

/// In a child, before anything asks: who it is.
pub(crate) fn adopt(name: String, parent_name: String, parent_pid: u32, daemon: bool) {
    // A second one would come from a program that boots twice, which it cannot.
    let _ = IDENTITY.set(Identity { name, daemon, parent: Some((parent_name, parent_pid)) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_a_main_process() {
        let me = current();
        assert_eq!((me.name.as_str(), me.pid, me.daemon), (MAIN, std::process::id(), false));
        assert_eq!(parent(), None);
        assert!(next_name().starts_with("Process-"));
    }
}
