//! By forking this process: `unsafe`, and for programs with one thread.
//!
//! The child is a copy, so the function may capture what it likes, and nothing of it has to cross. It is a participant
//! of its own all the same: the handles that it captured are the parent's and fail in it (`Forked`), those that it makes
//! work, and its result comes back as any child's does.
//!
//! Invariants
//! - I1 by the contract of [`launch`], nothing that the child needs is locked by a thread that it does not have. Our own
//!   service thread is such a thread; what it locks, a child makes anew (`service`).
//! - I2 what comes after `_exit` does not run, and no exit handler of the parent runs before it.

#![allow(unsafe_code, reason = "fork and _exit")]

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use ginnel_object::bridge::{self, BootTicket, Record};
use ginnel_object::{Manager, Message, Result};
use nix::libc;
use nix::unistd::{ForkResult, fork};
use rustix::process::{Pid, getpid};

use super::{Launched, Plan, exec};
use crate::task::{self, code};
use crate::{boot, panic, service};

/// Starts the child of a plan as a copy of this process, to run `body`.
///
/// A child that ends with its parent ends when the calling *thread* does.
///
/// # Errors
/// `Os` when the system refuses.
///
/// # Safety
/// No thread but the calling one is in the middle of anything that `body` needs: locks of the C library, of the
/// allocator, of the program. A program with one thread has none.
pub(crate) unsafe fn launch<R: Message>(plan: &Plan<'_>, body: impl FnOnce() -> R) -> Result<Launched> {
    let arena = exec::high(plan.manager.as_fd())?;
    let starter = getpid();
    // What is buffered would be printed twice.
    let _ = io::stdout().flush();
    // SAFETY: the contract of this function, I1.
    let forked = unsafe { fork() };
    match forked.map_err(|why| exec::refused("fork", why as i32))? {
        ForkResult::Parent { child } => exec::launched(child.as_raw()),
        ForkResult::Child => {
            let ended = !plan.ends_with_parent || boot::end_with_parent(number(starter));
            let code = if ended { live(arena, plan.ticket, plan.name, number(starter), body) } else { 0 };
            leave(code)
        }
    }
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// As a child of any other making, but for what it runs.
fn live<R: Message>(
    arena: OwnedFd,
    ticket: BootTicket,
    name: &str,
    starter: u32,
    body: impl FnOnce() -> R,
) -> i32 {
    let attached = bridge::adopt_current(arena, name).and_then(|()| Manager::current());
    let manager = match attached {
        Ok(manager) => manager,
        Err(error) => {
            eprintln!("ginnel: a child could not begin: {error}");
            return code::FAILED;
        }
    };
    let Ok(record) = Record::redeem(manager, ticket) else { return 0 };
    boot::work_by(manager, record, starter, |record| {
        record.take_args(|_| Ok(()))?;
        Ok(task::finish(manager, record, panic::catch(body)))
    })
}

/// Ends the copy. Exit handlers and destructors are the parent's: only ours is run, which waits for the child's own
/// children.
fn leave(code: i32) -> ! {
    if let Some(service) = service::existing() {
        service.end();
    }
    let _ = io::stdout().flush();
    // SAFETY: I2.
    unsafe { libc::_exit(code) }
}
