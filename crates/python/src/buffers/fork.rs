//! Views and forks: the child of a fork has what its parent had, as its own.
//!
//! Memory of a process is copied by a fork; blocks are shared, and stay the parent's. So before a fork everything that
//! is viewed is copied into private memory, which the child then moves to where its views look. What a process views
//! costs a copy with each fork, and nothing else.
//!
//! Invariants
//! - I1 what is in [`VIEWED`] is mapped and the process's own (`super`, I1) until it is taken out; both happen under
//!   the GIL, and so do the hooks.
//! - I2 a copy in [`COPIES`] is a private mapping of whole pages that only this module knows.
//! - I3 blocks begin at pages and have whole pages, so no page of one has anything else in it.
#![allow(unsafe_code, reason = "maps private copies over shared pages in the child of a fork")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ginnel_layout::line::PAGE;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap_fixed, munmap};

/// What this process views, by address.
static VIEWED: Mutex<Option<HashMap<usize, usize>>> = Mutex::new(None);

/// The copies for the child, between the hooks of a fork: where they belong, where they are, bytes.
static COPIES: Mutex<Vec<(usize, usize, usize)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(place: NonNull<[u8]>) -> usize {
    place.cast::<u8>().as_ptr().expose_provenance()
}

/// From now on a child gets a copy of it.
pub(super) fn keep(place: NonNull<[u8]>) {
    lock(&VIEWED).get_or_insert_default().insert(address(place), place.len());
}

/// No longer.
pub(super) fn forget(place: NonNull<[u8]>) {
    if let Some(viewed) = lock(&VIEWED).as_mut() {
        viewed.remove(&address(place));
    }
}

#[pyfunction]
fn copy_views() {
    let mut copies = lock(&COPIES);
    for (&at, &len) in lock(&VIEWED).iter().flatten() {
        let pages = len.next_multiple_of(PAGE);
        // SAFETY: I1: a new mapping, at a place of the kernel's choice, where nothing of ours lies.
        let copy = unsafe {
            mmap_anonymous(ptr::null_mut(), pages, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        // Without memory the child sees what the parent does with it, and nothing worse.
        let Ok(copy) = copy else { continue };
        let from = ptr::with_exposed_provenance::<u8>(at);
        // SAFETY: I1, I2.
        unsafe { ptr::copy_nonoverlapping(from, copy.cast::<u8>(), len) };
        copies.push((at, copy.expose_provenance(), pages));
    }
}

#[pyfunction]
fn drop_copies() {
    for (_, copy, pages) in lock(&COPIES).drain(..) {
        // SAFETY: I2.
        let _ = unsafe { munmap(ptr::with_exposed_provenance_mut::<c_void>(copy), pages) };
    }
}

#[pyfunction]
fn adopt_copies() {
    for (at, copy, pages) in lock(&COPIES).drain(..) {
        let (from, to) =
            (ptr::with_exposed_provenance_mut::<c_void>(copy), ptr::with_exposed_provenance_mut(at));
        // SAFETY: I1, I2, I3: the pages there are those of the block only, which here is the parent's, for nobody to use.
        let _ = unsafe { mremap_fixed(from, pages, pages, MremapFlags::MAYMOVE, to) };
    }
    *lock(&VIEWED) = None;
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let hooks = PyDict::new(py);
    hooks.set_item("before", wrap_pyfunction!(copy_views, module)?)?;
    hooks.set_item("after_in_parent", wrap_pyfunction!(drop_copies, module)?)?;
    hooks.set_item("after_in_child", wrap_pyfunction!(adopt_copies, module)?)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks)).map(drop)
}
