//! The board: the few pages that a starter, its zygote and their spares share. Nobody else has them.
//!
//! ```text
//! byte 0      pending u64 | 8 request u32 | 12 state u32 | 16 probe u32 | 20 probe_pid u32 | 24 errno u32 | 28 preloads u32
//! byte 32     place of each preload function u64 [32]                            .. 4096
//! byte 4096   64 cells for requests
//! byte 8192   64 cells for spares                                                .. 12288
//!
//! cell, 64 B  word u32 | 4 pid u32 | 8 errno u32 | 12 flags u32 | 16 ticket u32 | 20 generation u32 | 24 spare u32 | 28 0 | 32 name [32]
//! ```
//!
//! | field | written by | read by | order | after a crash of its writer |
//! |---|---|---|---|---|
//! | pending | starter: sets bits; zygote: takes all | zygote | E1 | a bit of a dead zygote's is still REQUESTED in the cell |
//! | request | starter +1, after `pending` | the futex the zygote sleeps on | E1 | |
//! | state | zygote | starter, until it is above PRELOADED | E2 | starter sees the death |
//! | probe | the clone of the self-test | zygote | E2 | 0: the zygote gives up after a while |
//! | probe_pid, pid | the kernel, in the clone call, before the clone runs | starter | | set if and only if there is a clone |
//! | errno | zygote, before FAILED | starter | E3 | |
//! | rest of a request | starter, before REQUESTED | zygote, before it clones | E3 | |
//! | rest of a spare | starter, before RUN | the spare | E4 | |
//! | word | below | | | |
//!
//! ```text
//! request   EMPTY -> REQUESTED (starter) -> CLONING (zygote) -> ANSWERED or FAILED (zygote) -> EMPTY (starter)
//! spare     EMPTY -> PARKED (spare) -> RUN (starter) -> EMPTY (spare); or -> EMPTY (starter, when the spare is dead)
//! ```
//! A cell belongs to one thread of the starter from EMPTY to EMPTY; the starter's own book says which (`zygote.rs`).
//!
//! - E1 the request is in its cell before its bit is in `pending`, and that before `request` is another; the zygote reads
//!   `request`, then takes `pending`, and sleeps only if `request` is what it read.
//! - E2 what happened up to a state is done when it is read.
//! - E3, E4 the store of a word, and the load that finds it.
//!
//! | killed | left | who goes on |
//! |---|---|---|
//! | zygote, before CLONING | REQUESTED | the starting thread: no process was made, it makes one by execution |
//! | zygote, in CLONING, before or in the clone call | CLONING, pid 0: no process, nor will there be | the same |
//! | zygote, in CLONING, after the kernel made the process | CLONING, pid | the starting thread: it is an ordinary child; of a spare, whoever ends the zygote's book: it is ended |
//! | zygote, after ANSWERED | | nothing is left to do |
//! | spare, parked | PARKED | whoever would claim it: it asks the descriptor of the process first |
//! | spare, after RUN | RUN | the starter: it is a child that was killed; the cell is freed when the descriptor says so |
//! | starter | | the system kills zygote and spares |
//!
//! Nobody decides anything about a request while its zygote may still be running.
//!
//! Invariants
//! - I1 the memory is a shared mapping of a file of [`LENGTH`] bytes, sealed against resizing, for as long as the board
//!   lives; it begins at a page, which is aligned for every word.
//! - I2 [`Words`] consists of atomics only, is valid for all values of its bytes, and is [`LENGTH`] bytes long.

#![allow(unsafe_code, reason = "turns a mapping into its words")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use ginnel_layout::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use ginnel_object::Result;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::boot::Name;

/// Requests at a time, and spares.
pub(super) const CELLS: usize = 64;

/// Functions that can be preloaded.
pub(super) const PRELOADS: usize = 32;

/// Bytes of the file.
const LENGTH: usize = 12288;

/// Values of `word`.
pub(super) mod st {
    pub(in crate::zygote) const EMPTY: u32 = 0;
    pub(in crate::zygote) const REQUESTED: u32 = 1;
    pub(in crate::zygote) const CLONING: u32 = 2;
    pub(in crate::zygote) const ANSWERED: u32 = 3;
    pub(in crate::zygote) const FAILED: u32 = 4;
    pub(in crate::zygote) const PARKED: u32 = 5;
    pub(in crate::zygote) const RUN: u32 = 6;
}

/// Values of `state`.
pub(super) mod state {
    pub(in crate::zygote) const PRELOADED: u32 = 1;
    pub(in crate::zygote) const READY: u32 = 2;
    /// A preload function panicked.
    pub(in crate::zygote) const PRELOAD_FAILED: u32 = 3;
    /// There are threads besides the first.
    pub(in crate::zygote) const THREADS: u32 = 4;
    /// The kernel refused the clone call; `errno` says why.
    pub(in crate::zygote) const REFUSED: u32 = 5;
    /// The clone did not report.
    pub(in crate::zygote) const SILENT: u32 = 6;
    /// The clone found faults, whose bits `probe` has.
    pub(in crate::zygote) const FAULTY: u32 = 7;
}

/// Bits of `flags`.
pub(super) mod flag {
    pub(in crate::zygote) const ENDS_WITH_PARENT: u32 = 1;
    /// The clone becomes a spare, in the cell that `spare` names.
    pub(in crate::zygote) const SPARE: u32 = 2;
}

/// One request, or one spare.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) word: AtomicU32,
    pub(super) pid: AtomicU32,
    pub(super) errno: AtomicU32,
    flags: AtomicU32,
    ticket: AtomicU32,
    generation: AtomicU32,
    spare: AtomicU32,
    reserved: AtomicU32,
    name: [AtomicU64; 4],
}

#[repr(C, align(4096))]
#[derive(Debug)]
pub(super) struct Front {
    pub(super) pending: AtomicU64,
    pub(super) request: AtomicU32,
    pub(super) state: AtomicU32,
    pub(super) probe: AtomicU32,
    pub(super) probe_pid: AtomicU32,
    pub(super) errno: AtomicU32,
    pub(super) preloads: AtomicU32,
    pub(super) places: [AtomicU64; PRELOADS],
}

/// All of it.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Words {
    pub(super) front: Front,
    pub(super) requests: [Cell; CELLS],
    pub(super) spares: [Cell; CELLS],
}

const _: () = {
    assert!(size_of::<Cell>() == 64);
    assert!(size_of::<Words>() == LENGTH);
    assert!(std::mem::offset_of!(Front, places) == 32);
};

/// What a clone has to know, as one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) flags: u32,
    pub(super) ticket: u32,
    pub(super) generation: u32,
    pub(super) spare: u32,
    pub(super) name: Name,
}

impl Cell {
    pub(super) fn put(&self, order: &Order) {
        self.flags.store(order.flags, Relaxed);
        self.ticket.store(order.ticket, Relaxed);
        self.generation.store(order.generation, Relaxed);
        self.spare.store(order.spare, Relaxed);
        let name = order.name.to_bytes();
        for (word, part) in self.name.iter().zip(name.as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*part), Relaxed);
        }
    }

    pub(super) fn get(&self) -> Order {
        let mut name = [0; 32];
        for (word, part) in self.name.iter().zip(name.as_chunks_mut::<8>().0) {
            *part = word.load(Relaxed).to_ne_bytes();
        }
        Order {
            flags: self.flags.load(Relaxed),
            ticket: self.ticket.load(Relaxed),
            generation: self.generation.load(Relaxed),
            spare: self.spare.load(Relaxed),
            name: Name::from_bytes(name),
        }
    }
}

/// The mapping. Unmapped when dropped, by the starter; the zygote and its clones never do.
#[derive(Debug)]
pub(super) struct Board {
    memory: MmapRaw,
}

impl Board {
    /// A new one, all zero, and its file.
    ///
    /// # Errors
    /// `Os`, `Full`.
    pub(super) fn make() -> Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("ginnel-board", flags).map_err(std::io::Error::from)?;
        ftruncate(&file, LENGTH as u64).map_err(std::io::Error::from)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).map_err(std::io::Error::from)?;
        Ok((Self::map(file.as_fd())?, file))
    }

    /// That of the starter.
    ///
    /// # Errors
    /// `Os`.
    pub(super) fn map(file: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self { memory: MmapOptions::new().len(LENGTH).map_raw(file.as_raw_fd())? })
    }

    pub(super) fn words(&self) -> &Words {
        let place = NonNull::new(self.memory.as_mut_ptr()).expect("a mapping is not at 0");
        // SAFETY: I1 and I2.
        unsafe { place.cast::<Words>().as_ref() }
    }

    pub(super) fn front(&self) -> &Front {
        &self.words().front
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let (board, file) = Board::make().unwrap();
        let order = Order { flags: 3, ticket: 5, generation: 7, spare: 9, name: Name::of("Process-1:2") };
        board.words().requests[63].put(&order);
        let other = Board::map(file.as_fd()).unwrap();
        assert_eq!(other.words().requests[63].get(), order);
        assert_eq!(other.words().spares[0].get().name.as_str(), "");
    }
}
