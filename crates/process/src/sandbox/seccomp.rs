//! Seccomp: the system calls of a function that computes, as a program for the kernel.
//!
//! The program is a list: the architecture must be ours, a call of the list passes, a few pass with certain arguments,
//! any other fails with `EPERM`. The kernel remembers which calls always pass, so a long list costs nothing at run time.
//!
//! Invariants
//! - I1 the call reads the program that is passed, of the length that is passed, and writes nothing.

#![allow(unsafe_code, reason = "installs a filter of system calls")]

use std::mem::offset_of;
use std::ptr;

use ginnel_object::Result;
use nix::libc::{self, c_long, seccomp_data, sock_filter, sock_fprog};

use super::{failed, last_error};

/// What the kernel calls the architecture; 0 for one that nobody has looked at.
const ARCHITECTURE: u32 = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
    0xC000_003E
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    0xC000_00B7
} else {
    0
};

/// Calls of the other 64-bit ABI of x86 have this bit.
const X32: u32 = 0x4000_0000;

/// Memory, threads, time, chance, signals of its own, descriptors that are open.
const COMPUTE: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Opening and looking at files, where Landlock says which.
const FILES: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_copy_file_range,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Does this kernel filter system calls, with the answers that the program gives?
pub(super) fn is_supported() -> bool {
    if ARCHITECTURE == 0 {
        return false;
    }
    [libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_KILL_PROCESS].iter().all(|action| {
        let place = ptr::from_ref(action);
        // SAFETY: I1, with a word instead of a program.
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0_u32, place) == 0 }
    })
}

/// Forbids this process all calls that are not on the list.
pub(super) fn enter(with_files: bool) -> Result<()> {
    let mut filter = program(with_files, std::process::id());
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let place = ptr::from_ref(&program);
    // The flag gives the filter to threads that others might have started before, or fails if one of them cannot.
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
    // SAFETY: I1.
    if unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, place) } != 0 {
        return Err(failed("seccomp", last_error()));
    }
    Ok(())
}

/// The whole program. All jumps are short, as each test stands right before its answer.
fn program(with_files: bool, pid: u32) -> Vec<sock_filter> {
    let mut code = vec![load(offset_of!(seccomp_data, arch))];
    code.extend([when(ARCHITECTURE, 1, 0), answer(libc::SECCOMP_RET_KILL_PROCESS)]);
    code.push(load(offset_of!(seccomp_data, nr)));
    if cfg!(target_arch = "x86_64") {
        code.extend([instruction(libc::BPF_JMP | libc::BPF_JGE, X32, 0, 1), refuse(libc::EPERM)]);
    }
    for call in COMPUTE.iter().chain(with_files.then_some(FILES).into_iter().flatten()) {
        code.extend([when(*call as u32, 0, 1), answer(libc::SECCOMP_RET_ALLOW)]);
    }
    // Of clone, the flags tell whether it makes a thread. Those of clone3 lie in memory, where no filter can look; told
    // that there is no such call, the C library uses clone.
    let is_thread = instruction(libc::BPF_JMP | libc::BPF_JSET, libc::CLONE_THREAD as u32, 0, 1);
    code.extend(with_argument(libc::SYS_clone, is_thread));
    code.extend([when(libc::SYS_clone3 as u32, 0, 1), refuse(libc::ENOSYS)]);
    code.extend(with_argument(libc::SYS_tgkill, when(pid, 0, 1)));
    code.extend(with_argument(libc::SYS_prctl, when(libc::PR_SET_NAME as u32, 0, 1)));
    code.push(refuse(libc::EPERM));
    code
}

/// `call` passes if the lower half of its first argument passes `test`; else it is refused.
fn with_argument(call: c_long, test: sock_filter) -> [sock_filter; 5] {
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    [when(call as u32, 0, 4), load(offset_of!(seccomp_data, args)), test, allow, refuse(libc::EPERM)]
}

fn load(offset: usize) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32, 0, 0)
}

/// Skips `yes` instructions if the loaded word is `value`, else `no`.
fn when(value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ, value, yes, no)
}

fn answer(action: u32) -> sock_filter {
    instruction(libc::BPF_RET, action, 0, 0)
}

fn refuse(code: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | code as u32)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers: a machine for the five instructions that it is made of.
    fn run(code: &[sock_filter], arch: u32, nr: c_long, argument: u32) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let step = &code[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            match u32::from(step.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    word = match step.k {
                        0 => nr as u32,
                        4 => arch,
                        16 => argument,
                        other => panic!("loads from {other}"),
                    }
                }
                code if code == libc::BPF_JMP | libc::BPF_JEQ => at += jump(word == step.k),
                code if code == libc::BPF_JMP | libc::BPF_JGE => at += jump(word >= step.k),
                code if code == libc::BPF_JMP | libc::BPF_JSET => at += jump(word & step.k != 0),
                code if code == libc::BPF_RET => return step.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const NO: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    #[test]
    fn the_list_passes_and_nothing_else() {
        for with_files in [false, true] {
            let code = program(with_files, 7);
            let ask = |nr, argument| run(&code, ARCHITECTURE, nr, argument);
            for call in COMPUTE {
                assert_eq!(ask(*call, 0), libc::SECCOMP_RET_ALLOW);
            }
            for call in FILES {
                assert_eq!(ask(*call, 0), if with_files { libc::SECCOMP_RET_ALLOW } else { NO });
            }
            for call in
                [libc::SYS_socket, libc::SYS_execve, libc::SYS_kill, libc::SYS_ptrace, libc::SYS_wait4]
            {
                assert_eq!(ask(call, 0), NO);
            }
        }
    }

    #[test]
    fn arguments_are_looked_at() {
        let code = program(false, 7);
        let ask = |nr, argument| run(&code, ARCHITECTURE, nr, argument);
        assert_eq!(ask(libc::SYS_clone, libc::CLONE_THREAD as u32 | 1), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(libc::SYS_clone, libc::SIGCHLD as u32), NO);
        assert_eq!(ask(libc::SYS_clone3, 0), libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        assert_eq!(ask(libc::SYS_tgkill, 7), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(libc::SYS_tgkill, 8), NO);
        assert_eq!(ask(libc::SYS_prctl, libc::PR_SET_NAME as u32), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(libc::SYS_prctl, libc::PR_SET_SECCOMP as u32), NO);
    }

    #[test]
    fn another_architecture_is_killed() {
        let code = program(false, 7);
        assert_eq!(run(&code, 3, libc::SYS_read, 0), libc::SECCOMP_RET_KILL_PROCESS);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(run(&code, ARCHITECTURE, libc::SYS_read | X32 as c_long, 0), NO);
        }
    }
}
