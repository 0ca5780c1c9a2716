//! The life of a zygote: it waits for requests and clones itself.
//!
//! It has one thread and the descriptors of the standard streams, the arena and nothing else. It never maps the arena, so
//! it is no participant and holds nothing that its death could leave behind. It blocks all signals, as Ctrl-C is meant for
//! the children; each of them unblocks them again. It dies with its starter.
//!
//! Invariants
//! - I1 the process runs nothing but this crate and the functions that were preloaded, which run later; so the descriptors
//!   that it was born with have no other owner, but for the two in its line.

#![allow(unsafe_code, reason = "closes what was inherited")]

use std::ffi::CString;
use std::mem;
use std::os::fd::{AsFd, RawFd};
use std::panic::catch_unwind;
use std::process;

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use ginnel_object::Manager;
use ginnel_object::bridge::{self, BootTicket, Record};
use ginnel_segment::ForkMark;
use ginnel_sync::{Deadline, futex};
use nix::libc;
use nix::sys::signal::SigSet;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::set_parent_process_death_signal;
use rustix::thread::set_name;

use super::board::{Board, Cell, Order, PRELOADS, flag, st, state};
use super::clone::{Cloner, Side};
use super::selftest;
use crate::boot::{self, Line, Mode};
use crate::task::code;
use crate::{hook, image};

/// The life of the process whose line says zygote.
pub(crate) fn serve(line: Line) -> ! {
    if !boot::end_with_parent(line.starter) {
        process::exit(0);
    }
    // It fails for impossible sets only.
    let _ = SigSet::all().thread_set_mask();
    let _ = set_name(c"ginnel-zygote");
    close_all_but(line.arena, line.board);
    let board = {
        let file = hook::inherited(line.board);
        Board::map(file.as_fd())
    };
    let Ok(board) = board else { process::exit(code::FAILED) };
    let board: &'static Board = Box::leak(Box::new(board));
    let front = board.front();
    let cloner = Cloner::new();
    // What each clone would make anew: a page that the kernel wipes in clones anyway. Without it they try again.
    let _ = ForkMark::here();
    let outcome = if preload(board) {
        tell(board, state::PRELOADED);
        selftest::run(front, &cloner, line.starter)
    } else {
        state::PRELOAD_FAILED
    };
    tell(board, outcome);
    if outcome != state::READY {
        process::exit(code::FAILED);
    }
    loop {
        let seen = front.request.load(Acquire); // E1
        let mut pending = front.pending.swap(0, AcqRel); // E1
        if pending == 0 {
            futex::wait(&front.request, seen, Deadline::NEVER);
            continue;
        }
        while pending != 0 {
            let index = pending.trailing_zeros() as usize;
            pending &= pending - 1;
            answer(board, &board.words().requests[index], &cloner, line);
        }
    }
}

fn tell(board: &Board, state: u32) {
    board.front().state.store(state, Release); // E2
    futex::wake(&board.front().state, u32::MAX);
}

/// Makes the two the only descriptors beside the standard streams, and closes the arena's to what clones may execute.
fn close_all_but(arena: RawFd, board: RawFd) {
    let (first, second) = (arena.min(board), arena.max(board));
    for (from, to) in [(3, first - 1), (first + 1, second - 1), (second + 1, RawFd::MAX)] {
        if from <= to {
            // SAFETY: I1. A kernel without the call leaves them open, which clones can live with.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    }
    let arena = mem::ManuallyDrop::new(hook::inherited(arena));
    let _ = fcntl_setfd(&*arena, FdFlags::CLOEXEC);
}

/// Runs the functions that were preloaded. False: one of them panicked.
fn preload(board: &Board) -> bool {
    let front = board.front();
    let count = (front.preloads.load(Relaxed) as usize).min(PRELOADS);
    front.places[..count].iter().all(|place| {
        let function = image::preload_at(place.load(Relaxed));
        function.is_some_and(|function| catch_unwind(function).is_ok())
    })
}

/// Answers a request, if it still is one. The clone does not come back.
fn answer(board: &'static Board, cell: &'static Cell, cloner: &Cloner, line: Line) {
    if cell.word.compare_exchange(st::REQUESTED, st::CLONING, AcqRel, Relaxed).is_err() {
        return;
    }
    // The clone has this copy; its starter may use the cell again as soon as it is answered.
    let order = cell.get();
    let word = match cloner.clone(&cell.pid) {
        Ok(Side::Child) => live(board, order, line),
        Ok(Side::Parent) => st::ANSWERED,
        Err(why) => {
            cell.errno.store(why as u32, Relaxed);
            st::FAILED
        }
    };
    cell.word.store(word, Release); // E3
    futex::wake(&cell.word, 1);
}

/// The life of a clone.
fn live(board: &'static Board, order: Order, line: Line) -> ! {
    let _ = SigSet::empty().thread_set_mask();
    if order.flags & flag::SPARE != 0 {
        park(board, order, line);
    }
    call_it(order.name.as_str());
    boot::child(Line {
        mode: Mode::Child,
        board: -1,
        ticket: order.ticket,
        generation: order.generation,
        ends_with_parent: order.flags & flag::ENDS_WITH_PARENT != 0,
        name: order.name,
        ..line
    })
}

/// For `ps`: the zygote's name would be confusing.
fn call_it(name: &str) {
    if let Ok(name) = CString::new(name) {
        let _ = set_name(&name);
    }
}

/// The life of a spare: attaches, waits to be claimed, and goes on as a child.
fn park(board: &'static Board, order: Order, line: Line) -> ! {
    let cell = &board.words().spares[order.spare as usize % board.words().spares.len()];
    if !boot::end_with_parent(line.starter) {
        process::exit(0);
    }
    call_it("ginnel-spare");
    let manager =
        bridge::adopt_current(hook::inherited(line.arena), "spare").and_then(|()| Manager::current());
    // The starter sees its end, and goes without.
    let Ok(manager) = manager else { process::exit(code::FAILED) };
    cell.word.store(st::PARKED, Release); // E4
    futex::wake(&cell.word, u32::MAX);
    while cell.word.load(Acquire) != st::RUN {
        futex::wait(&cell.word, st::PARKED, Deadline::NEVER); // E4
    }
    let order = cell.get();
    cell.word.store(st::EMPTY, Release); // E4
    if order.flags & flag::ENDS_WITH_PARENT == 0 {
        let _ = set_parent_process_death_signal(None);
    }
    call_it(order.name.as_str());
    let ticket = BootTicket { ticket: order.ticket, generation: order.generation };
    // A starter that gave up has taken the ticket back.
    let Ok(record) = Record::redeem(manager, ticket) else { process::exit(0) };
    process::exit(boot::work(manager, record, line.starter))
}
