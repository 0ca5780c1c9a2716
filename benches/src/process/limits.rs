//! The limit: what a process costs that shares its starter's memory and exits at once.
//!
//! Invariants
//! - I1 the child runs on a stack of its own that outlives it, since the starter stands still until the child has
//!   ended; it touches nothing but that stack, and leaves by returning from its function, which is `_exit`.
#![allow(unsafe_code, reason = "a child in the memory of its starter")]

use nix::libc::SIGCHLD;
use nix::sched::{CloneFlags, clone};
use nix::sys::wait::waitpid;

use crate::clock::now_ns;
use crate::fault::Fault;

/// Enough for a function that returns.
const STACK: usize = 64 << 10;

/// One such child.
pub(super) fn vfork() -> Result<u64, Fault> {
    let mut stack = vec![0; STACK];
    let before = now_ns();
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: I1.
    let pid = unsafe { clone(Box::new(|| 0), &mut stack, flags, Some(SIGCHLD)) }
        .map_err(|error| Fault::failed("clone", error))?;
    waitpid(pid, None).map_err(|error| Fault::failed("waitpid", error))?;
    Ok(now_ns() - before)
}
