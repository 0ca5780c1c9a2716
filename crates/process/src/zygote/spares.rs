//! Spares: children that were made before anybody asked.
//!
//! A spare is a clone of the zygote that has attached and waits at its cell for a record. It costs a process, a
//! participant and a few hundred kilobytes, so there are none unless `warm` was called. Claiming one takes a store and a
//! wake; the next is requested right after, and its answer is collected at a later claim.
//!
//! A spare that was killed is noticed when somebody would claim it. It is an ordinary dead participant then, and is
//! recovered there.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::MutexGuard;

use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_object::{Error, ErrorKind, Manager, Result};
use ginnel_sync::{Deadline, futex};
use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};

use super::board::{Order, flag, st};
use super::{Zygote, lock};
use crate::boot::Name;
use crate::start::Launched;
use crate::waiting::{is_readable, open, wait_for};

/// How long a wait for a spare lasts before its process is looked at.
const SLICE: std::time::Duration = std::time::Duration::from_millis(20);

/// One that is parked, or about to be.
#[derive(Debug)]
struct Spare {
    cell: usize,
    pid: Pid,
    pidfd: OwnedFd,
}

/// The starter's book of them.
#[derive(Debug, Default)]
pub(super) struct Spares {
    wanted: usize,
    ready: Vec<Spare>,
    /// Requested and not answered yet, as far as is known: cell of the request, cell of the spare.
    coming: Vec<(usize, usize)>,
    /// Claimed; the cell is free when it is empty, or the process dead.
    claimed: Vec<(usize, OwnedFd)>,
    /// Cells that are in use.
    used: u64,
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.ready.drain(..).for_each(end);
    }
}

/// Kills one that nobody has claimed.
fn end(spare: Spare) {
    let _ = pidfd_send_signal(&spare.pidfd, Signal::KILL);
    wait_for(spare.pidfd.as_fd());
}

/// Frees the rows of those that were killed as participants. They held nothing else.
fn recover() {
    if let Ok(manager) = Manager::current() {
        let _ = manager.recover();
    }
}

impl Zygote {
    fn spares(&self) -> MutexGuard<'_, Spares> {
        lock(&self.spares)
    }

    /// Takes a spare for this order. `None`: there is none.
    pub(super) fn claim(&self, order: &Order) -> Option<Launched> {
        let mut spares = self.spares();
        if spares.wanted == 0 {
            return None;
        }
        self.collect(&mut spares);
        let launched = loop {
            let index = spares.ready.iter().position(|spare| self.spare_word(spare.cell) == st::PARKED);
            let Some(index) = index else { break None };
            let spare = spares.ready.swap_remove(index);
            if is_readable(spare.pidfd.as_fd()) {
                self.discard(&mut spares, spare);
                continue;
            }
            let cell = &self.board.words().spares[spare.cell];
            cell.put(order);
            cell.word.store(st::RUN, Release); // E4
            futex::wake(&cell.word, 1);
            // Without a second descriptor the cell stays in use.
            if let Ok(same) = spare.pidfd.try_clone() {
                spares.claimed.push((spare.cell, same));
            }
            break Some(Launched { pid: spare.pid, pidfd: spare.pidfd });
        };
        self.refill(&mut spares);
        launched
    }

    /// Ends one, and frees its cell. In this order: a living one could still park there.
    fn discard(&self, spares: &mut Spares, spare: Spare) {
        let cell = spare.cell;
        end(spare);
        recover();
        self.board.words().spares[cell].word.store(st::EMPTY, Release);
        spares.used &= !(1 << cell);
    }

    fn spare_word(&self, cell: usize) -> u32 {
        self.board.words().spares[cell].word.load(Acquire) // E4
    }

    /// Makes those that were answered ready, and cells free.
    fn collect(&self, spares: &mut Spares) {
        self.collect_those(spares, |request| self.is_answered(request));
    }

    /// As [`Zygote::collect`]; `is_over` says which requests will not be looked at by the zygote any more.
    fn collect_those(&self, spares: &mut Spares, is_over: impl Fn(usize) -> bool) {
        let mut freed = 0;
        spares.claimed.retain(|(cell, pidfd)| {
            let is_free = self.spare_word(*cell) == st::EMPTY || is_readable(pidfd.as_fd());
            freed |= u64::from(is_free) << cell;
            !is_free
        });
        let over = spares.coming.extract_if(.., |(request, _)| is_over(*request));
        let over: Vec<_> = over.collect();
        for (request, cell) in over {
            match self.take_answer(request).map(|pid| (pid, open(pid))) {
                Some((pid, Ok(pidfd))) => spares.ready.push(Spare { cell, pid, pidfd }),
                // Nobody could wait for it by a descriptor; the cell stays in use, as it parks there.
                Some((pid, Err(_))) => drop(kill_process(pid, Signal::KILL)),
                None => freed |= 1 << cell,
            }
        }
        spares.used &= !freed;
        for cell in (0..u64::BITS as usize).filter(|cell| freed >> cell & 1 != 0) {
            // One that died with its order unread has left it there.
            self.board.words().spares[cell].word.store(st::EMPTY, Release);
        }
    }

    /// Requests as many as are missing. Does not wait for them.
    fn refill(&self, spares: &mut Spares) {
        while spares.ready.len() + spares.coming.len() < spares.wanted {
            let cell = (!spares.used).trailing_zeros();
            if cell == u64::BITS {
                return;
            }
            let Some(request) = self.take_cell() else { return };
            spares.used |= 1 << cell;
            let (flags, name) = (flag::SPARE, Name::default());
            self.post(request, &Order { flags, ticket: 0, generation: 0, spare: cell, name });
            spares.coming.push((request, cell as usize));
        }
    }

    /// Keeps `count` spares from now on, and returns when they are parked. False: this zygote has died, so another has to
    /// make them.
    ///
    /// # Errors
    /// `Full` when a spare ends instead of parking, as it does where there is no room for one more participant.
    pub(super) fn keep(&self, count: usize) -> Result<bool> {
        let mut spares = self.spares();
        spares.wanted = count.min(super::board::CELLS);
        self.collect(&mut spares);
        self.refill(&mut spares);
        while let Some((request, _)) = spares.coming.first() {
            if self.wait_answer(*request) == st::EMPTY {
                return Ok(false);
            }
            self.collect(&mut spares);
        }
        // Only now: one that was on its way when fewer were wanted is among them.
        while spares.ready.len() > spares.wanted {
            if let Some(spare) = spares.ready.pop() {
                self.discard(&mut spares, spare);
            }
        }
        let all_parked = spares.ready.iter().all(|spare| self.wait_parked(spare));
        if !all_parked || spares.ready.len() < spares.wanted {
            return Err(Error::new(ErrorKind::Full, "a spare has ended before it was ready")
                .with_advice("ask for fewer, or for an arena with room for more participants"));
        }
        Ok(true)
    }

    /// Begins to make them, for a zygote that takes the place of another.
    pub(super) fn begin_spares(&self, count: usize) {
        let mut spares = self.spares();
        spares.wanted = count.min(super::board::CELLS);
        self.refill(&mut spares);
    }

    fn wait_parked(&self, spare: &Spare) -> bool {
        let word = &self.board.words().spares[spare.cell].word;
        while word.load(Acquire) != st::PARKED {
            if is_readable(spare.pidfd.as_fd()) {
                return false;
            }
            futex::wait(word, st::EMPTY, Deadline::after(SLICE)); // E4
        }
        true
    }

    /// Ends all that nobody has claimed. No more are made: the zygote is dead.
    pub(super) fn end_spares(&self) {
        let mut spares = self.spares();
        spares.wanted = 0;
        // It may have died between a clone and the answer. That clone is a spare like the others, and parks for ever.
        self.collect_those(&mut spares, |_| true);
        spares.ready.drain(..).for_each(end);
        recover();
    }
}

#[cfg(test)]
mod tests {
    use ginnel_layout::atomic::Ordering::Relaxed;
    use rustix::io::Errno;
    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;
    use crate::service;

    #[test]
    fn a_spare_that_its_zygote_did_not_live_to_report_is_ended_with_it() {
        let service = service::current().expect("a service");
        let zygote = service.run(|| Zygote::start(service)).expect("a zygote");
        assert!(zygote.keep(1).expect("there is room"));
        let mut spares = zygote.spares();
        let spare = spares.ready.pop().expect("is parked");
        let pid = spare.pid;
        // As the board is when the zygote is killed between its clone call and the answer.
        let request = zygote.take_cell().expect("is free");
        let cell = &zygote.board.words().requests[request];
        cell.pid.store(pid.as_raw_nonzero().get().unsigned_abs(), Relaxed);
        cell.word.store(st::CLONING, Relaxed);
        spares.coming.push((request, spare.cell));
        drop((spares, spare.pidfd));
        drop(zygote);
        // Nobody else waits for it, so its number is not given to another before.
        let known = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).map(|_| ());
        assert_eq!(known, Err(Errno::CHILD), "it has ended, and was waited for");
    }
}
