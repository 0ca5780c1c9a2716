//! Segments that the crate `shared_memory` made.
//!
//! On Linux such a segment is a plain POSIX object: its name is the `os_id`, it has no header, and its size is that of
//! the file. A link file holds the `os_id` as text.
//!
//! - I1 the mapping lives as long as its [`Shmem`], and has `len` bytes.
#![allow(unsafe_code, reason = "lends memory that other processes write")]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::Mode;
use rustix::shm;

use crate::error::{Error, ErrorKind, Result};

/// A segment of `shared_memory`, mapped whole. Never removed by this: its maker owns the name.
///
/// What lies in it is the program's business. It has no table of participants, so objects of ginnel cannot live in it;
/// a [`compat::Event`](super::Event) can.
#[derive(Debug)]
pub struct Shmem {
    map: MmapRaw,
    os_id: String,
}

impl Shmem {
    /// The segment of that `os_id`, as `Shmem::get_os_id` of the other crate gives it.
    ///
    /// # Errors
    /// `NotFound`; `Denied`; `Invalid` for a name that no segment has, and for an empty segment; `Os`.
    pub fn open(os_id: &str) -> Result<Self> {
        let fd = shm::open(os_id, shm::OFlags::RDWR, Mode::empty())
            .map_err(|why| cannot_open(os_id, &why.into()))?;
        let file = File::from(fd);
        let map = MmapOptions::new().map_raw(&file).map_err(|why| cannot_open(os_id, &why))?;
        Ok(Self { map, os_id: os_id.into() })
    }

    /// The segment that the link file at `path` names.
    ///
    /// # Errors
    /// As [`Shmem::open`], and those of reading the file.
    pub fn open_flink(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let os_id =
            std::fs::read_to_string(path).map_err(|why| cannot_open(&path.display().to_string(), &why))?;
        Self::open(os_id.trim_end())
    }

    /// Its name.
    #[must_use]
    pub fn os_id(&self) -> &str {
        &self.os_id
    }

    /// Its bytes. At least what its maker asked for: systems round up.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is no empty mapping")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Where it begins, aligned to a page. Others may write there at any time.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Its bytes.
    ///
    /// # Safety
    /// Nobody writes to it, in any process, as long as the slice is used.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: I1, and the contract of this function.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr(), self.map.len()) }
    }
}

fn cannot_open(what: &str, why: &io::Error) -> Error {
    let kind = match why.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::InvalidInput => ErrorKind::Invalid,
        _ => ErrorKind::Os,
    };
    Error::new(kind, format!("cannot open the shared memory {what}: {why}")).with_os(why.raw_os_error())
}
