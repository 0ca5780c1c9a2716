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
//!
//! - I1: the wiped page is mapped once a process and never unmapped, so a reference to its first word is `'static`; the
//!   word is only ever reached as an atomic, and its page is aligned.
//! - I2: a descriptor in DESCRIPTORS is open. In the process that registered it only its owner closes it, after it
//!   emptied the slot; in a forked child only the handler does.
//!
//! What remains: a `clone` system call that bypasses libc, or a `fork` between opening and registering a descriptor,
//! leaks it to the child. The parent's death is then seen only when the child ends or executes something. That is a
//! late verdict, never a false one.
#![allow(unsafe_code, reason = "a page with a special advice, and the atfork handler")]

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

/// Descriptor + 1, or 0.
static DESCRIPTORS: [AtomicU32; SLOTS] = [const { AtomicU32::new(0) }; SLOTS];

/// A descriptor that a forked child closes before it can do anything else.
#[derive(Debug)]
pub(crate) struct ParentOnly {
    raw: RawFd,
    slot: Option<usize>,
    mark: ForkMark,
}

impl ParentOnly {
    pub(crate) fn new(fd: OwnedFd, mark: ForkMark) -> Self {
        static HANDLER: OnceLock<bool> = OnceLock::new();
        // SAFETY: I2, the handler does nothing but swap words and close what they name, which is allowed there.
        let set = || unsafe { libc::pthread_atfork(None, None, Some(close_all)) } == 0;
        let handled = *HANDLER.get_or_init(set);
        let raw = fd.into_raw_fd();
        let word = raw as u32 + 1;
        let take = |slot: &AtomicU32| {
            slot.load(Ordering::Relaxed) == 0
                && slot.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let slot = if handled { DESCRIPTORS.iter().position(take) } else { None };
        Self { raw, slot, mark }
    }

    /// The descriptor, in the process that opened it.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, Forked> {
        self.mark.check()?;
        // SAFETY: I2, in this process nobody but our drop closes it.
        Ok(unsafe { BorrowedFd::borrow_raw(self.raw) })
    }
}

impl Drop for ParentOnly {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            if self.mark.check().is_err() {
                // The handler closed it, and the number may be another file's by now.
                return;
            }
            DESCRIPTORS[slot].store(0, Ordering::Relaxed);
        }
        // SAFETY: I2, it is open, and with its slot empty nobody else will close it.
        drop(unsafe { OwnedFd::from_raw_fd(self.raw) });
    }
}

/// Runs in a forked child before `fork` returns there. Only atomics and `close`, both async-signal-safe.
extern "C" fn close_all() {
    for slot in &DESCRIPTORS {
        let word = slot.swap(0, Ordering::Relaxed);
        if word != 0 {
            // SAFETY: I2, the slot is ours now; the parent's copy of the descriptor is not touched by this.
            unsafe { libc::close((word - 1) as RawFd) };
        }
    }
}
