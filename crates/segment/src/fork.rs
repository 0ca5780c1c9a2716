//! What a `fork` does to handles and to locks: the mark that only the parent's handles match, and the registry of
//! lock descriptors that a forked child closes.
//!
//! A forked child inherits every mapping and descriptor, but it is no participant. Two things must happen without its
//! help. Its handles must fail: they carry a [`ForkMark`], a number that must equal the word of a page which the
//! kernel wipes in the child. And it must not keep the parent's byte locks alive: a lock belongs to the open file
//! description, which the child shares, so the parent's death would go unseen until the child closes it. An atfork
//! handler closes the registered descriptors.
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | word of the wiped page | the first handle of a process | each check | gone with the process |
//! | EPOCH | the same, +1 | the same | inherited by the child, so that its number is new |
//! | DESCRIPTORS | who opens and closes a lock file; the child's handler | the same | gone with the process |
//! | THREADS | who makes a descriptor for a child of its own, +1 | the same | inherited, so that no number comes twice |
//!
//! One descriptor crosses: that of an [`Heir`](crate::Heir), which the parent opened for the child to have. It is for the
//! child of one thread, so its slot names that thread, and the handler closes it in the children of all others.
//!
//! - I1: the wiped page is mapped once a process and never unmapped, so a reference to its first word is `'static`; the
//!   word is only ever reached as an atomic, and its page is aligned.
//! - I2: a descriptor in DESCRIPTORS is open. In the process that registered it only its owner closes it, after it
//!   emptied the slot; in a forked child only the handler does. What it leaves there belongs to who opened it, as in
//!   the parent: the slot holds its word still.
//! - I3: what runs before a fork and after it in the parent runs as ordinary code of that thread: nothing is forbidden
//!   to it there.
//!
//! What remains: a `clone` system call that bypasses libc, or a `fork` between opening and registering a descriptor,
//! leaks it to the child. The parent's death is then seen only when the child ends or executes something. That is a
//! late verdict, never a false one.
#![allow(unsafe_code, reason = "a page with a special advice, and the atfork handler")]

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::OnceLock;

use ginnel_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use ginnel_layout::line::PAGE;
use nix::libc;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

use crate::{Error, Forked};

/// Which process a handle was made in. Cheap to copy and to check; keep one in every handle.
#[derive(Debug, Clone, Copy)]
pub struct ForkMark {
    word: &'static AtomicU64,
    value: u64,
}

impl ForkMark {
    /// The mark of this process.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the kernel cannot wipe a page at fork.
    pub fn here() -> Result<Self, Error> {
        static WORD: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
        static EPOCH: AtomicU64 = AtomicU64::new(0);
        let Some(word) = *WORD.get_or_init(wiped_word) else {
            return Err(Error::Unsupported { what: "MADV_WIPEONFORK".into() });
        };
        loop {
            let value = word.load(Ordering::Relaxed);
            if value != 0 {
                return Ok(Self { word, value });
            }
            // A child counts on from where its parent was, so no mark made before the fork equals the new one.
            let fresh = EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
            let _ = word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A mark that fails everywhere: for a handle that is not to be used for a while. No number is made of all ones, for
    /// they count from one.
    #[must_use]
    pub fn of_nobody(self) -> Self {
        Self { value: u64::MAX, ..self }
    }

    /// Fails in a forked child. One load and one comparison; no system call.
    ///
    /// # Errors
    /// [`Forked`].
    #[inline]
    pub fn check(self) -> Result<(), Forked> {
        if self.word.load(Ordering::Relaxed) == self.value { Ok(()) } else { Err(Forked) }
    }
}

fn wiped_word() -> Option<&'static AtomicU64> {
    let length = NonZeroUsize::new(PAGE)?;
    let (prot, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
    // SAFETY: I1, a fresh anonymous mapping at a place of the kernel's choice disturbs nobody.
    let page = unsafe { mmap_anonymous(None, length, prot, flags) }.ok()?;
    // SAFETY: I1, the page was mapped just now and nothing refers into it yet.
    unsafe { madvise(page, PAGE, MmapAdvise::MADV_WIPEONFORK) }.ok()?;
    let word: NonNull<AtomicU64> = page.cast();
    // SAFETY: I1, aligned, zeroed, never unmapped, and only ever used as an atomic.
    Some(unsafe { word.as_ref() })
}

/// Slots of the registry. A process beyond that many lock files gets late verdicts from its forked children.
const SLOTS: usize = 1024;

/// `{thread:32 | descriptor + 1:32}`, or 0. Thread 0: closed in every child; else in those of other threads.
static DESCRIPTORS: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

thread_local! {
    /// The number of this thread, once it has opened a descriptor for a child. A forked child's only thread keeps it.
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

fn thread() -> u32 {
    static THREADS: AtomicU32 = AtomicU32::new(0);
    if THREAD.get() == 0 {
        THREAD.set(THREADS.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
    }
    THREAD.get()
}

/// A descriptor that a forked child closes before it can do anything else, or that is made for one.
#[derive(Debug)]
pub(crate) struct ParentOnly {
    raw: RawFd,
    /// Where it stands in the registry, and as what.
    slot: Option<(usize, u64)>,
    mark: ForkMark,
}

impl ParentOnly {
    pub(crate) fn new(fd: OwnedFd, mark: ForkMark) -> Self {
        Self::of_thread(fd, mark, 0)
    }

    /// One that stays open in the next child that this thread forks.
    pub(crate) fn for_child(fd: OwnedFd, mark: ForkMark) -> Self {
        Self::of_thread(fd, mark, thread())
    }

    fn of_thread(fd: OwnedFd, mark: ForkMark, thread: u32) -> Self {
        static HANDLER: OnceLock<bool> = OnceLock::new();
        // SAFETY: I2, the handler does nothing but swap words and close what they name, which is allowed there.
        let set = || unsafe { libc::pthread_atfork(None, None, Some(close_all)) } == 0;
        let handled = *HANDLER.get_or_init(set);
        let raw = fd.into_raw_fd();
        let word = u64::from(thread) << 32 | u64::from(raw as u32 + 1);
        let take = |slot: &AtomicU64| {
            slot.load(Ordering::Relaxed) == 0
                && slot.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let slot = if handled { DESCRIPTORS.iter().position(take) } else { None };
        Self { raw, slot: slot.map(|slot| (slot, word)), mark }
    }

    /// The descriptor, in the process that opened it.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, Forked> {
        self.mark.check()?;
        // SAFETY: I2, in this process nobody but our drop closes it.
        Ok(unsafe { BorrowedFd::borrow_raw(self.raw) })
    }

    /// One that was [made for this child](Self::for_child), as one of its own.
    ///
    /// # Errors
    /// [`Forked`] where it was made for the child of another thread, and is closed.
    pub(crate) fn inherited(self, mark: ForkMark) -> Result<Self, Forked> {
        let taken = self.take_back();
        // What it was is over; its drop must not close what goes on.
        let raw = std::mem::ManuallyDrop::new(self).raw;
        if !taken {
            return Err(Forked);
        }
        // SAFETY: I2, it is open, and with its slot empty it is ours alone.
        Ok(Self::new(unsafe { OwnedFd::from_raw_fd(raw) }, mark))
    }

    /// Takes it out of the registry. False: the handler has closed it, and the number may be another file's by now.
    fn take_back(&self) -> bool {
        let Some((slot, word)) = self.slot else { return true };
        // One that every child closes is not asked for: in a child the same number may stand there again.
        if word >> 32 == 0 && self.mark.check().is_err() {
            return false;
        }
        DESCRIPTORS[slot].compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Drop for ParentOnly {
    fn drop(&mut self) {
        if self.take_back() {
            // SAFETY: I2, it is open, and with its slot empty nobody else will close it.
            drop(unsafe { OwnedFd::from_raw_fd(self.raw) });
        }
    }
}

/// Runs in a forked child before `fork` returns there. Only atomics and `close`, both async-signal-safe.
extern "C" fn close_all() {
    let me = THREAD.get();
    for slot in &DESCRIPTORS {
        let word = slot.load(Ordering::Relaxed);
        let is_for_us = me != 0 && (word >> 32) as u32 == me;
        if word != 0 && !is_for_us {
            slot.store(0, Ordering::Relaxed);
            // SAFETY: I2, the slot is ours now; the parent's copy of the descriptor is not touched by this.
            unsafe { libc::close((word as u32 - 1) as RawFd) };
        }
    }
}

/// What runs around each fork of this process.
struct Around {
    /// In the thread that forks, before it.
    before: fn(),
    /// In the parent, in the same thread, when it has.
    after: fn(),
}

static AROUND: OnceLock<Around> = OnceLock::new();

/// Calls `before` in each thread that is about to fork, and `after` in the parent when it has. For one caller a process;
/// those that come later are not heard. False: the system refuses.
pub fn around_forks(before: fn(), after: fn()) -> bool {
    static HANDLED: OnceLock<bool> = OnceLock::new();
    extern "C" fn run_before() {
        if let Some(around) = AROUND.get() {
            (around.before)();
        }
    }
    extern "C" fn run_after() {
        if let Some(around) = AROUND.get() {
            (around.after)();
        }
    }
    let _ = AROUND.set(Around { before, after });
    // SAFETY: I3, the handlers run code of this program in the thread that calls `fork`, where any may run.
    *HANDLED.get_or_init(|| unsafe { libc::pthread_atfork(Some(run_before), Some(run_after), None) } == 0)
}
