//! The clone call: a new process that is a child of the zygote's parent.
//!
//! The C library's `fork` would make a child of the zygote, so the system call is made directly, and what `fork` does
//! for the thread that returns in the child is done here: the kernel writes the new thread id where the library keeps it,
//! and the list of robust mutexes is announced again. Handlers of `pthread_atfork` do not run; the zygote has no
//! objects, so none of ours is needed. The self-test (`selftest.rs`) finds out whether that suffices.
//!
//! Invariants
//! - I1 the zygote has one thread, which is looked at before its first clone: so nobody holds a lock that the clone would
//!   find held for ever.
//! - I2 the kernel keeps the two addresses for this thread; they lie in the control block of it, which is at the same
//!   place in the clone.
//! - I3 the word for the process id lies on the board, a shared mapping that stays.
//! - I4 the calls only read and write what they are given here.

#![allow(unsafe_code, reason = "the clone call, and what the C library wants told in the new process")]

use std::ffi::c_void;
use std::ptr;

use ginnel_layout::atomic::AtomicU32;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};

/// `prctl`: where the kernel clears the thread id when the thread ends.
const GET_TID_ADDRESS: c_int = 40;

/// In which of the two processes a call has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Parent,
    Child,
}

/// What a clone needs of the thread that makes it.
#[derive(Debug)]
pub(super) struct Cloner {
    thread_id: *mut c_int,
    robust: *mut c_void,
    robust_len: usize,
}

impl Cloner {
    /// For this thread.
    pub(super) fn new() -> Self {
        let mut thread_id: *mut c_int = ptr::null_mut();
        // SAFETY: I4. A kernel that cannot tell leaves the pointer null; the self-test sees what comes of it.
        unsafe { libc::prctl(GET_TID_ADDRESS, &raw mut thread_id) };
        let (robust, robust_len) = robust_list();
        Self { thread_id, robust, robust_len }
    }

    /// Makes a process, whose id the kernel writes to `pid` before it runs.
    ///
    /// # Errors
    /// That of the kernel. There is no process then, and `pid` is as it was.
    pub(super) fn clone(&self, pid: &AtomicU32) -> Result<Side, Errno> {
        let mut flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
        if !self.thread_id.is_null() {
            flags |= libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
        }
        let (flags, stack, pid) = (c_long::from(flags), 0_usize, pid.futex_word().as_ptr());
        // The last two arguments are the thread id and the thread's own memory, which stays what it is; their order
        // depends on the machine.
        let (fourth, fifth) = match cfg!(target_arch = "x86_64") {
            true => (self.thread_id, ptr::null_mut()),
            false => (ptr::null_mut(), self.thread_id),
        };
        // SAFETY: I1, I2 and I3.
        let answer = unsafe { libc::syscall(libc::SYS_clone, flags, stack, pid, fourth, fifth) };
        match answer {
            -1 => Err(Errno::last()),
            0 => {
                self.announce();
                Ok(Side::Child)
            }
            _ => Ok(Side::Parent),
        }
    }

    /// In the clone: the kernel forgot the list of mutexes whose owner's death it is to note.
    fn announce(&self) {
        if !self.robust.is_null() {
            // SAFETY: I2.
            unsafe { libc::syscall(libc::SYS_set_robust_list, self.robust, self.robust_len) };
        }
    }

    /// In the clone: is the list announced?
    pub(super) fn is_announced(&self) -> bool {
        robust_list().0 == self.robust
    }
}

/// Where this thread's list of robust mutexes is, and the length of its head.
fn robust_list() -> (*mut c_void, usize) {
    let (mut head, mut length): (*mut c_void, usize) = (ptr::null_mut(), 0);
    // SAFETY: I4.
    unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length) };
    (head, length)
}

/// Does the C library know the id of this thread? It asks the kernel for it once, at a thread's start, and signals to
/// itself (`abort`) and mutexes that name their owner rest on it.
pub(super) fn knows_itself() -> bool {
    // SAFETY: I4, a thread may always ask who it is.
    let me = unsafe { libc::pthread_self() };
    // SAFETY: I4, this thread lives; signal 0 is none.
    unsafe { libc::pthread_kill(me, 0) == 0 }
}

/// Ends this process at once, without what would be done at an exit.
pub(super) fn leave() -> ! {
    // SAFETY: I4.
    unsafe { libc::_exit(0) }
}
