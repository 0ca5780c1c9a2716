//! This process, its parent, its children.

use std::sync::{Arc, Mutex, PoisonError};

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

/// `None` in the main process. Set anew in a child that was forked.
static IDENTITY: Mutex<Option<Arc<Identity>>> = Mutex::new(None);

/// Children started so far.
static STARTED: AtomicU32 = AtomicU32::new(0);

fn identity() -> Arc<Identity> {
    let mut known = IDENTITY.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(
        known.get_or_insert_with(|| Arc::new(Identity { name: MAIN.into(), daemon: false, parent: None })),
    )
}

/// This process.
#[must_use]
pub fn current() -> Info {
    let me = identity();
    Info { name: me.name.clone(), pid: std::process::id(), daemon: me.daemon, exit_code: None }
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

/// The name of the next child, if it is given no other. Each child takes a number, named or not, as in Python.
pub(crate) fn next_name() -> String {
    let number = STARTED.fetch_add(1, Relaxed) + 1;
    let me = identity();
    match me.parent {
        None => format!("Process-{number}"),
        Some(_) => format!("{}:{number}", me.name),
    }
}

/// In a child, before anything asks: who it is. A forked one was somebody else before.
pub(crate) fn adopt(name: String, parent_name: String, parent_pid: u32, daemon: bool) {
    let me = Identity { name, daemon, parent: Some((parent_name, parent_pid)) };
    *IDENTITY.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(me));
    STARTED.store(0, Relaxed);
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
