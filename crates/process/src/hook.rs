//! Where a child begins: a constructor that runs before `main`.
//!
//! The loader calls the functions listed in `.init_array` of an image before the program starts. One of them is
//! [`hook`]. Without the variable of a starter it does nothing. With it, `main` never runs: not in an executable, a
//! test or an example, and not in the host that was started only to load a library of ours.
//!
//! What the standard library's own start would have done before `main` is done here: descriptors 0 to 2 are open, and
//! SIGPIPE is ignored. Not here, and so not in a child: the main thread has no name, and overflowing its stack ends
//! the process by SIGSEGV without a message. [`enter`](crate::enter) as the first line of `main` gives both: the hook
//! then only remembers the line, and `main` runs up to there.
//!
//! Constructors that stand behind ours in the list are called from here, since the loader will never come to them.
//! Programs without a dynamic section (static, at a fixed address) do not say where their list ends: there they stay
//! uncalled.
//!
//! Invariants
//! - I1 the loader calls a constructor once, before `main`, with the three arguments of the program; the list it takes
//!   them from holds functions of that type only.
//! - I2 at that time this process has one thread: no program has run yet, and a constructor that starts threads which
//!   touch the environment breaks the promise of `setenv` by itself.
//! - I3 the descriptors named in the line were left open for this process by its starter, and nobody else owns them.

#![allow(unsafe_code, reason = "a constructor, the constructors behind it, and what it inherits")]

use std::env;
use std::ffi::{OsStr, c_char, c_int};
use std::mem;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::OnceLock;

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, SealFlags, fcntl_get_seals, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::boot::{self, Line, VARIABLE};
use crate::image;

/// A constructor, as the loader calls it.
type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: Constructor = hook;

/// Has the hook run in this process?
static RAN: AtomicU32 = AtomicU32::new(0);

/// Does `main` of this program call `enter`?
static ENTERED: AtomicU32 = AtomicU32::new(0);

/// What `enter` is to become.
static PENDING: OnceLock<Line> = OnceLock::new();

/// Was the hook called when this program began? Only then will it be in a child. (Whoever asks also makes the linker
/// keep it.)
#[inline(never)]
pub(crate) fn is_linked() -> bool {
    RAN.load(Relaxed) != 0
}

/// Will a child of this program come by [`enter`] by itself?
pub(crate) fn enters_in_main() -> bool {
    ENTERED.load(Relaxed) != 0 && image::is_program()
}

/// Makes children begin here, inside `main`, instead of before it; a child does not return from this call.
///
/// Belongs at the very beginning of `main`: what stands before it runs in every child as well. What it gives: the
/// standard library's start is complete in children (the main thread has its name, an overflow of its stack says so),
/// and every constructor has run. `#[ginnel::main]` writes it for you. Without it children begin before `main`, and
/// nothing of it runs in them. Not for libraries: there it does nothing.
pub fn enter() {
    if let Some(line) = PENDING.get() {
        boot::run(*line);
    }
    ENTERED.store(1, Relaxed);
}

extern "C" fn hook(count: c_int, arguments: *const *const c_char, environment: *const *const c_char) {
    RAN.store(1, Relaxed);
    let Some(text) = env::var_os(VARIABLE) else { return };
    let Some(line) = text.to_str().and_then(Line::parse) else { return };
    // A line for another image, or one that no starter of ours wrote, means nothing here.
    if line.image != image::fingerprint() || !is_arena(line.arena) {
        return;
    }
    forget_variables(&line);
    // They survived this execution, and are for no other. What a zygote clones has them like this from the start.
    close_at_execution(&[line.arena, line.board]);
    if line.in_main {
        let _ = PENDING.set(line);
        return;
    }
    open_standard_descriptors();
    // SAFETY: I2; an ignored signal runs no code of ours.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    call_remaining(count, arguments, environment);
    boot::run(line)
}

/// Is this an open memfd that nobody can resize? Whether it is the right one, attaching will tell.
fn is_arena(fd: RawFd) -> bool {
    if fd < 0 {
        return false;
    }
    // SAFETY: I3; a number that is not open is answered by an error.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SealFlags::GROW | SealFlags::SHRINK))
}

/// What this process executes gets neither of these descriptors.
fn close_at_execution(numbers: &[RawFd]) {
    for number in numbers.iter().filter(|number| **number >= 0) {
        // SAFETY: I3.
        let fd = unsafe { BorrowedFd::borrow_raw(*number) };
        let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
}

/// Gives the environment back as the starter had it.
fn forget_variables(line: &Line) {
    // SAFETY: I2.
    unsafe { env::remove_var(VARIABLE) };
    if line.preload == 0 {
        return;
    }
    let value = env::var_os(boot::PRELOAD).unwrap_or_default();
    match value.as_bytes().get(line.preload as usize + 1..) {
        // SAFETY: I2.
        Some(theirs) => unsafe { env::set_var(boot::PRELOAD, OsStr::from_bytes(theirs)) },
        // SAFETY: I2.
        None => unsafe { env::remove_var(boot::PRELOAD) },
    }
}

/// Calls the constructors that stand behind ours.
fn call_remaining(count: c_int, arguments: *const *const c_char, environment: *const *const c_char) {
    let Some((first, length)) = image::constructors() else { return };
    let ours = (&raw const HOOK).addr();
    let Some(index) = ours.checked_sub(first).map(|bytes| bytes / size_of::<Constructor>()) else { return };
    for next in index + 1..length {
        let place = ptr::with_exposed_provenance::<usize>(first + next * size_of::<Constructor>());
        // SAFETY: I1, the place lies in the list of this image.
        let address = unsafe { place.read() };
        // 0 and -1 mark the ends of the list in some tool chains.
        if address == 0 || address == usize::MAX {
            continue;
        }
        let code = ptr::with_exposed_provenance::<()>(address);
        // SAFETY: I1.
        let constructor = unsafe { mem::transmute::<*const (), Constructor>(code) };
        constructor(count, arguments, environment);
    }
}

/// Opens `/dev/null` at those of descriptors 0 to 2 that are closed, as the standard library would: nothing that is
/// opened later may take their place and be printed to.
fn open_standard_descriptors() {
    let standard = [0, 1, 2].map(|number| {
        // SAFETY: I3; a closed number is what is asked for.
        unsafe { BorrowedFd::borrow_raw(number) }
    });
    let mut polled = standard.each_ref().map(|fd| PollFd::new(fd, PollFlags::empty()));
    let answer = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    if answer == Ok(0) || answer == Err(Errno::INTR) {
        return;
    }
    let closed = polled.iter().filter(|one| one.revents().contains(PollFlags::NVAL)).count();
    for _ in 0..closed {
        // The lowest free number is that of a closed one.
        if let Ok(null) = open("/dev/null", OFlags::RDWR, Mode::empty()) {
            let _ = null.into_raw_fd();
        }
    }
}

/// The descriptor that the starter left open for this process under that number.
pub(crate) fn inherited(number: RawFd) -> OwnedFd {
    // SAFETY: I3.
    unsafe { OwnedFd::from_raw_fd(number) }
}
