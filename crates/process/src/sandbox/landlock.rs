//! Landlock: files by path, in three system calls that the C library has no functions for.
//!
//! All rights over files that version 3 of the interface knows are taken away, then some are given back beneath the
//! permitted paths. Version 3 is the first that covers truncation; with less, a file could be emptied by one who may
//! not write it, so less is no support.
//!
//! Invariants
//! - I1 the three calls read the structure that is passed, of the length that is passed, and write nothing; a descriptor
//!   that the first returns is new and belongs to the caller.

#![allow(unsafe_code, reason = "three system calls without a wrapper")]

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;

use ginnel_object::{Error, ErrorKind, Result};
use nix::libc;

use super::{Access, failed, last_error};

/// The version of the interface that is needed.
const VERSION: i64 = 3;

/// Asks for the version instead of making a set of rules.
const ASK_VERSION: libc::c_uint = 1;

/// The kind of rule that names a path.
const BENEATH: libc::c_int = 1;

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;

/// All that version 3 knows.
const ALL: u64 = (1 << 15) - 1;

/// Those that mean something for a file that is no directory.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;

/// Making devices is left out of what writing permits.
const DEVICES: u64 = 1 << 6 | 1 << 11;

#[repr(C)]
struct Ruleset {
    handled: u64,
}

#[repr(C, packed)]
struct Rule {
    allowed: u64,
    beneath: libc::c_int,
}

/// Does this kernel know version 3, and is it switched on?
pub(super) fn is_supported() -> bool {
    let nothing = ptr::null::<Ruleset>();
    // SAFETY: I1, with no structure.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, ASK_VERSION) };
    version >= VERSION
}

/// Forbids this thread, and all that come of it, every file that is not beneath one of `paths`.
pub(super) fn enter(paths: &[(OsString, Access)]) -> Result<()> {
    let set = Ruleset { handled: ALL };
    let (place, length) = (ptr::from_ref(&set), size_of::<Ruleset>());
    // SAFETY: I1.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, place, length, 0_u32) };
    if fd < 0 {
        return Err(failed("Landlock", last_error()));
    }
    // SAFETY: I1.
    let rules = unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) };
    for (path, access) in paths {
        permit(&rules, Path::new(path), *access)?;
    }
    // SAFETY: I1, there is no structure.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) } < 0 {
        return Err(failed("Landlock", last_error()));
    }
    Ok(())
}

fn permit(rules: &OwnedFd, path: &Path, access: Access) -> Result<()> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let found = opened.and_then(|file| Ok((file.metadata()?.is_dir(), file)));
    let (directory, file) = found.map_err(|why| {
        let text = format!("the sandbox permits {}, which cannot be opened: {why}", path.display());
        Error::new(ErrorKind::NotFound, text).with_os(why.raw_os_error())
    })?;
    let allowed = match access {
        Access::Read => READ_FILE | READ_DIR,
        Access::Execute => READ_FILE | READ_DIR | EXECUTE,
        Access::Write => ALL & !EXECUTE & !DEVICES,
    };
    let allowed = if directory { allowed } else { allowed & OF_FILES };
    let rule = Rule { allowed, beneath: file.as_raw_fd() };
    let (fd, place) = (rules.as_raw_fd(), ptr::from_ref(&rule));
    // SAFETY: I1.
    if unsafe { libc::syscall(libc::SYS_landlock_add_rule, fd, BENEATH, place, 0_u32) } < 0 {
        return Err(failed("Landlock", last_error()));
    }
    Ok(())
}
