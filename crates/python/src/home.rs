//! Which arenas this process has, and what a fork does to handles.
//!
//! The arena in which this process makes objects is its home: its own, or the first that it came to (a child that was
//! started with objects as arguments). An object is named across processes by its [`Address`].
//!
//! A handle belongs to the process that made it. In the child of a fork each is made anew at its first use
//! ([`Shared::get`]); what it stood for was counted for the child before the fork (`Heir`), so it is there.
//!
//! [`ARENAS`] is locked only by threads that have the GIL, and for moments: Python forks in a thread that has it, so in
//! the child nobody who is gone holds that lock. So [`manager`], [`arena`] and [`Shared::get`] are called before a wait
//! gives the GIL away, not within.
//!
//! - I1: the caller of [`attach`] has the descriptor that it names open until the call is over.
#![allow(unsafe_code, reason = "borrows a descriptor that Python gives as a number")]

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ginnel::manager::Options;
use ginnel::{ErrorKind, Manager, Object};
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_object::bridge::{self, Heir};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::failure::{OrRaise, raised};

/// Objects that this process's own arena can hold at a time.
const OBJECTS: u32 = 8192;

/// Where an object is: uuid of its arena, index, generation. With [`PARCEL`] as generation: that of a handle which the
/// message that is being encoded or decoded in this thread carries, under the index as its number.
pub(crate) type Address = ((u64, u64), u32, u32);

/// No object's generation.
const PARCEL: u32 = u32::MAX;

/// The arenas of this process, the home first.
static ARENAS: Mutex<Vec<Manager>> = Mutex::new(Vec::new());

thread_local! {
    /// Between the hooks of a fork: what the child is to have of each arena. Several threads may be there at once.
    static HEIRS: RefCell<Vec<Heir>> = const { RefCell::new(Vec::new()) };
}

/// How many forks lie between the first process and this one.
static EPOCH: AtomicU32 = AtomicU32::new(0);

fn arenas() -> MutexGuard<'static, Vec<Manager>> {
    // A panic leaves whole managers in it.
    ARENAS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The arena for new objects.
///
/// # Errors
/// Where the system refuses the memory.
pub(crate) fn manager() -> PyResult<Manager> {
    let mut arenas = arenas();
    if let Some(home) = arenas.first() {
        return Ok(home.clone());
    }
    let manager = Manager::with(Options::new().objects(OBJECTS)).or_raise()?;
    arenas.push(manager.clone());
    Ok(manager)
}

/// By what an arena is named across processes.
pub(crate) fn uuid(manager: &Manager) -> (u64, u64) {
    let [high, low] = bridge::uuid(manager);
    (high, low)
}

/// The arena of that name.
///
/// # Errors
/// When this process has not attached to it.
pub(crate) fn arena(of: (u64, u64)) -> PyResult<Manager> {
    let known = arenas().iter().find(|manager| uuid(manager) == of).cloned();
    known.ok_or_else(|| PyRuntimeError::new_err("this process has not attached to the memory of that object"))
}

/// A handle that follows its process through forks.
pub(crate) struct Shared<H: Object> {
    first: Version<H>,
}

struct Version<H: Object> {
    epoch: u32,
    handle: H,
    arena: (u64, u64),
    /// The same handle, made again in a child.
    next: OnceLock<Box<Self>>,
}

impl<H: Object> Shared<H> {
    pub(crate) fn new(handle: H, arena: &Manager) -> Self {
        let epoch = EPOCH.load(Acquire);
        Self { first: Version { epoch, handle, arena: uuid(arena), next: OnceLock::new() } }
    }

    /// The object at that address.
    ///
    /// # Errors
    /// When it is gone, or of another kind.
    pub(crate) fn at((of, index, generation): Address) -> PyResult<Self> {
        let manager = arena(of)?;
        if generation != PARCEL {
            return Ok(Self::new(bridge::open_at(&manager, (index, generation)).or_raise()?, &manager));
        }
        let handle = bridge::parcel(index).or_raise()?;
        let alone =
            || PyRuntimeError::new_err("this object travelled in a message, and is read outside of it");
        Ok(Self::new(handle.ok_or_else(alone)?, &manager))
    }

    /// The handle, in this process.
    ///
    /// # Errors
    /// When the child of a fork could not attach.
    #[inline]
    pub(crate) fn get(&self) -> PyResult<&H> {
        let mut version = &self.first;
        while version.epoch != EPOCH.load(Acquire) {
            version = match version.next.get() {
                Some(next) => next,
                None => version.again()?,
            };
        }
        Ok(&version.handle)
    }

    /// Where it is, for a pickle. While this thread encodes a message the handle goes along in it, which keeps the
    /// object until the message has been read.
    ///
    /// # Errors
    /// As [`Shared::get`]; when the arena has no room for what a message carries.
    pub(crate) fn address(&self) -> PyResult<Address> {
        let handle = self.get()?;
        match bridge::attach_parcel(handle) {
            Ok(Some(number)) => return Ok((self.first.arena, number, PARCEL)),
            // The message is for processes that may not have this arena: what stands for it says how to get there.
            Err(error) if error.kind() != ErrorKind::Encode => return Err(raised(&error)),
            _ => {}
        }
        let (index, generation) = bridge::address_of(handle);
        Ok((self.first.arena, index, generation))
    }
}

impl<H: Object> Version<H> {
    #[cold]
    fn again(&self) -> PyResult<&Self> {
        let manager = arena(self.arena)?;
        let handle = bridge::inherit(&manager, &self.handle).or_raise()?;
        let next = Self { epoch: EPOCH.load(Acquire), handle, arena: self.arena, next: OnceLock::new() };
        Ok(self.next.get_or_init(|| Box::new(next)))
    }
}

/// What the child of a fork never used is given back where the child drops it.
impl<H: Object> Drop for Shared<H> {
    fn drop(&mut self) {
        // An attachment that failed holds nothing to give back.
        let _ = self.get();
    }
}

/// Attaches to the arena behind `fd` (which stays the caller's), unless this process has; it is the home from now on if
/// there was none.
#[pyfunction]
fn attach(py: Python<'_>, of: (u64, u64), fd: RawFd) -> PyResult<()> {
    if arena(of).is_ok() {
        return Ok(());
    }
    // SAFETY: I1: it is open, and is borrowed for no longer than it takes to duplicate it.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    // Waits while the table of participants is full.
    let manager = py.detach(|| Manager::from_fd(fd)).or_raise()?;
    if uuid(&manager) != of {
        return Err(PyRuntimeError::new_err("the memory of that object is gone"));
    }
    let mut arenas = arenas();
    // Another thread may have been first meanwhile.
    if !arenas.iter().any(|known| uuid(known) == of) {
        arenas.push(manager);
    }
    Ok(())
}

/// Whether this process has attached to that arena, or made it.
#[pyfunction]
fn attached(of: (u64, u64)) -> bool {
    arena(of).is_ok()
}

/// The descriptor of an arena of this process. It stays the arena's.
#[pyfunction]
fn descriptor(of: (u64, u64)) -> PyResult<RawFd> {
    Ok(arena(of)?.as_fd().as_raw_fd())
}

/// At the end of this process: leaves its sides of pipes and queues, as the end itself would, but at once.
#[pyfunction]
fn resign() {
    let arenas = arenas().clone();
    arenas.iter().for_each(bridge::resign);
}

/// Before a fork: counts the child in wherever this process is.
#[pyfunction]
fn before_fork() {
    let arenas = arenas().clone();
    // Where there is no place for the child its handles fail, which says so; the fork itself goes on.
    let heirs = arenas.iter().filter_map(|manager| Heir::prepare(manager).ok()).collect();
    HEIRS.set(heirs);
}

/// After a fork, in the parent.
#[pyfunction]
fn after_fork_in_parent() {
    for heir in HEIRS.take() {
        heir.leave();
    }
}

/// After a fork, in the child. An arena that it could not attach to is not among its own, so handles of it fail.
#[pyfunction]
fn after_fork_in_child() -> PyResult<()> {
    EPOCH.fetch_add(1, Release);
    let mut mine = Vec::new();
    let mut outcome = Ok(());
    for heir in HEIRS.take() {
        match heir.enter().or_raise() {
            Ok(manager) => mine.push(manager),
            Err(error) => outcome = Err(error),
        }
    }
    // The parent's attachments are dead weight here.
    *arenas() = mine;
    outcome
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PARCEL", PARCEL)?;
    module.add_function(wrap_pyfunction!(attach, module)?)?;
    module.add_function(wrap_pyfunction!(attached, module)?)?;
    module.add_function(wrap_pyfunction!(descriptor, module)?)?;
    module.add_function(wrap_pyfunction!(resign, module)?)?;
    module.add_function(wrap_pyfunction!(before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(after_fork_in_parent, module)?)?;
    module.add_function(wrap_pyfunction!(after_fork_in_child, module)?)
}
