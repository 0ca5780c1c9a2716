//! Starting a child in a control group: it enters the group by itself, before it does anything else.
//!
//! What the kernel charged before that (the pages of a child that has not run yet) stays with the starter's group.

use std::fs;
use std::path::Path;

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
