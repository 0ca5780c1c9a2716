//! What the crate `process` builds on: the arena of a tree of processes, sealed messages, and the record that a starter
//! and its child share. Not for users.
//!
//! A start, seen from here:
//! ```text
//! starter                                          child
//! seal(args) · Record::make · ticket
//!      .. the ticket goes along with the start ..
//!                                                  adopt_current · Record::redeem · start
//!                                                  take_args · .. · seal(value) · put_result
//! take_result, when the step says that there is one
//! settle, when the child is dead · recover(its id)
//! ```
//! Neither side waits for the other in here. What a killed process leaves, and who repairs it, stands in
//! `ginnel_layout::process`.
//!
//! A process is waited for as any descriptor is: the crate `process` implements [`Ready`] for its handle, with
//! [`readable`] as its source. (A trait of its own for handles with a descriptor cannot have a blanket
//! implementation: it would overlap with that for references.)

mod heir;

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ginnel_layout::Liveness;
use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::process::{BOOT_MAX, INLINE_MAX, ProcessWords};
use ginnel_sync::deadline;

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry::{self, Outgoing};
use crate::envelope::{self, Unpacked};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::life::{self, Withdrawn};
use crate::manager::Manager;
use crate::message::Message;
use crate::message::out::Out;
use crate::process_record::{self as record, Place};
use crate::ready::Source;
use crate::sweep::tag;
use crate::words;

pub use heir::{Heir, address_of, attach_parcel, inherit, open_at, parcel, resign, uuid};

/// What a pool and its workers share.
pub use crate::crew;
pub use crate::ready::sealed::Ready;
/// What dicts and lists are made of.
pub use crate::store;
pub use ginnel_layout::process::{St, Step};

/// Attaches to the arena behind an inherited descriptor, under the name of this process; from now on it is
/// `Manager::current()`. Blocks for microseconds; longer while the table of participants is full.
///
/// # Errors
/// `Invalid` if this process has one already (but for that of its parent, in the child of a fork); else as
/// [`Manager::from_fd`].
pub fn adopt_current(fd: OwnedFd, name: &str) -> Result<()> {
    Manager::adopt(fd, name)
}

/// This process as a participant of an arena. For tests.
#[must_use]
pub fn me(manager: &Manager) -> ParticipantId {
    manager.arena.segment().me()
}

/// Recovers what participant `id` left, if it is dead: its lock can be taken. False: it lives, or another process is at
/// it. Takes tens of microseconds for a dead one.
#[must_use]
pub fn recover(manager: &Manager, id: ParticipantId) -> bool {
    manager.arena.segment().is_dead(id)
}

/// A descriptor as something to wait for: ready when it is readable.
#[must_use]
pub fn readable(fd: BorrowedFd<'_>) -> Source<'_> {
    Source::fd(fd)
}

/// A message for a drawer, with what it carries. Dropped, it takes that back.
#[derive(Debug)]
pub struct Sealed {
    bytes: Vec<u8>,
    kind: u32,
    parcels: Outgoing,
}

/// Makes a message of what `write` appends. The handles that it serializes become parcels of an arena; several values
/// count theirs on.
///
/// # Errors
/// Those of `write`; `Full` when there is no room for a long message, `Forked`.
pub fn seal(manager: &Manager, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<Sealed> {
    let arena = &manager.arena;
    arena.segment().check_fork()?;
    carry::collecting(arena, || {
        let mut bytes = Vec::new();
        write(&mut Out::vec(&mut bytes))?;
        let mut parcels = carry::collected().unwrap_or_else(|| Outgoing::none(arena));
        let table = envelope::table_of(&parcels);
        if bytes.len() + table.len() > INLINE_MAX {
            let (letter, kind) = envelope::enclose(arena, &bytes, &mut parcels)?;
            return Ok(Sealed { bytes: letter.to_vec(), kind, parcels });
        }
        bytes.extend_from_slice(&table);
        let kind = parcels.parcels().len() as u32;
        Ok(Sealed { bytes, kind, parcels })
    })
}

/// What a starter tells its child besides arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which function.
    pub thunk: u64,
    /// Of which image.
    pub image: u64,
}

/// A hold on a record on its way to the child, as two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootTicket {
    /// `{entry of the record:16 | ticket:16}`: a number that comes too late must not fit anybody else's ticket.
    pub ticket: u32,
    /// Of the record.
    pub generation: u32,
}

impl BootTicket {
    fn number(self) -> u32 {
        self.ticket & 0xffff
    }

    /// Entry and generation.
    fn object(self) -> (u32, u32) {
        (self.ticket >> 16, self.generation)
    }
}

/// One hold on one record. The record is freed with what it carries when the last hold and ticket are gone.
///
/// Every process of the two has one of its own. In the child of a bare fork it does nothing.
pub struct Record {
    handle: Handle<ProcessWords>,
    /// Of the threads of this process one takes or fills a drawer at a time (`process_record`, I1, I2).
    turn: Mutex<()>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("object", self.handle.object())
            .field("step", &self.step())
            .field("pid", &self.pid())
            .finish()
    }
}

const KIND: Kind = Kind { tag: tag::PROCESS, format: 0 };

impl Record {
    /// Makes the record of a start: REQUESTED, with its arguments in it.
    ///
    /// # Errors
    /// `TooLarge` for a `boot` above 880 bytes; `Invalid` for arguments sealed for another arena; `Full`, `Forked`. The
    /// arguments are given up.
    pub fn make(manager: &Manager, head: Head, boot: &[u8], args: Sealed) -> Result<Self> {
        Self::make_in(&manager.arena, head, boot, args)
    }

    fn make_in(arena: &Arc<Arena>, head: Head, boot: &[u8], args: Sealed) -> Result<Self> {
        if boot.len() > BOOT_MAX {
            let happened = format!("settings of {} bytes, where at most {BOOT_MAX} fit", boot.len());
            return Err(Error::new(ErrorKind::TooLarge, happened)
                .with_advice("shorten the environment or the paths of the child"));
        }
        args.check_is_of(arena)?;
        let object = arena.make_knowing(KIND, (1, 1), None, |base, index, generation| {
            let words: &ProcessWords = words::new_front(base);
            words.thunk.store(head.thunk, Relaxed);
            words.image.store(head.image, Relaxed);
            words.starter_pid.store(std::process::id(), Relaxed);
            words.started_ns.store(deadline::now_ns(), Relaxed);
            words.step.store(Step::REQUESTED.bits(), Relaxed);
            record::write(&words.boot, boot, 0);
            args.parcels.set_carrier(Place::Args.carrier(index, generation));
            record::write(&words.args, &args.bytes, args.kind);
            // They are on their way as soon as the object is LIVE, not before.
            record::fill(&words.args);
        })?;
        args.parcels.sent();
        Self::open(object)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        Ok(Self { handle: Handle::open(object)?, turn: Mutex::new(()) })
    }

    fn words(&self) -> &ProcessWords {
        self.handle.words()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // A panic in a turn leaves words that say how far it came.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hold for the child. If this process dies before it is redeemed, it is gone.
    ///
    /// # Errors
    /// `Full` when all tickets are in use, `Forked`.
    pub fn ticket(&self) -> Result<BootTicket> {
        let object = self.handle.object();
        let ticket = object.pin()?;
        Ok(BootTicket { ticket: (object.index() << 16) | ticket, generation: object.generation() })
    }

    /// Takes a ticket of this process back. False: it was used up, or its holder is about to use it. For tests: a starter
    /// [settles](Self::settle) instead.
    pub fn discard_ticket(manager: &Manager, ticket: BootTicket) -> bool {
        let segment = manager.arena.segment();
        segment.check_fork().is_ok()
            && life::withdraw(segment, ticket.number(), ticket.object()) == Withdrawn::Yes
    }

    /// The child's hold.
    ///
    /// # Errors
    /// `NotFound` when the starter is dead or has taken the ticket back; `Mismatch` when it names something else;
    /// `Forked`.
    pub fn redeem(manager: &Manager, ticket: BootTicket) -> Result<Self> {
        let segment = manager.arena.segment();
        segment.check_fork()?;
        let gone = || Error::new(ErrorKind::NotFound, "the record of this process is gone");
        let mine = life::receive_exactly(segment, ticket.number(), ticket.object()).ok_or_else(gone)?;
        let held = manager.arena.hold_ticket(mine);
        life::unpin(segment, ticket.number());
        match held {
            Some((object, kind)) if kind == KIND => Self::open(object),
            Some(_) => Err(Error::new(ErrorKind::Mismatch, "a ticket for something else than a process")),
            None => Err(gone()),
        }
    }

    /// What the starter told.
    #[must_use]
    pub fn head(&self) -> Head {
        let words = self.words();
        Head { thunk: words.thunk.load(Relaxed), image: words.image.load(Relaxed) }
    }

    /// The settings.
    #[must_use]
    pub fn boot(&self) -> Vec<u8> {
        record::read(&self.words().boot).0
    }

    /// Process id of the starter. For people who look at a record, and tests.
    #[must_use]
    pub fn starter_pid(&self) -> u32 {
        self.words().starter_pid.load(Relaxed)
    }

    /// Child: it lives, as this participant. False: the start was given up, or another child was faster; then it has to
    /// end at once.
    #[must_use]
    pub fn start(&self, pid: u32) -> bool {
        if self.handle.is_forked() {
            return false;
        }
        self.words().pid.store(pid, Relaxed);
        record::leave_requested(self.words(), Step::of(St::Started, self.handle.me()))
    }

    /// Starter: gives the start up, before a child came. False: it has come, or it was given up before.
    #[must_use]
    pub fn cancel(&self) -> bool {
        !self.handle.is_forked() && record::leave_requested(self.words(), Step::CANCELLED)
    }

    /// How far the child came, and as whom.
    #[must_use]
    pub fn step(&self) -> Step {
        record::step(self.words())
    }

    /// The child's process id. `None`: nobody knows yet. For people who look at a record, and tests.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        Some(self.words().pid.load(Relaxed)).filter(|pid| *pid != 0)
    }

    /// Child: receives the arguments, says RUNNING, and decodes them with `read`, once.
    ///
    /// # Errors
    /// Those of `read`; `Corrupted` for arguments that carry what does not exist; in both cases it is RUNNING. `Invalid`
    /// when this participant is not the child or has taken them already; `Forked`.
    pub fn take_args<R>(&self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.handle.check_fork()?;
        if self.step() != Step::of(St::Started, self.handle.me()) {
            return Err(self.handle.error(ErrorKind::Invalid, "the arguments are those of another process"));
        }
        let running = || record::go_on(self.words(), Step::of(St::Running, self.handle.me()));
        self.take(Place::Args, running, |bytes| read(bytes?))
            .unwrap_or_else(|| Err(self.handle.error(ErrorKind::Invalid, "the arguments were taken already")))
    }

    /// Child: commits how it ended, once. `end` is a step with a result.
    ///
    /// # Errors
    /// `Invalid` when this participant is not the child, has ended already, or `end` is no end; `Forked`. The message is
    /// given up.
    pub fn put_result(&self, end: St, sealed: Sealed) -> Result<()> {
        self.handle.check_fork()?;
        sealed.check_is_of(self.handle.arena())?;
        let (words, me) = (self.words(), self.handle.me());
        let _turn = self.turn();
        let drawer = Place::Result.drawer(words);
        if !end.has_result() || !record::is_under_way(self.step(), me) || record::is_full(drawer) {
            return Err(self.handle.error(ErrorKind::Invalid, "this process cannot end here, or has ended"));
        }
        let object = self.handle.object();
        sealed.parcels.set_carrier(Place::Result.carrier(object.index(), object.generation()));
        record::write(drawer, &sealed.bytes, sealed.kind);
        record::fill(drawer);
        record::go_on(words, Step::of(end, me));
        sealed.parcels.sent();
        Ok(())
    }

    /// Starter: receives the result and gives it to `read`, once; `None`: there is none, or it was taken already. What
    /// carries what does not exist is given as UNDECODABLE, with the error as bytes.
    ///
    /// Handles can be decoded during `read` only.
    pub fn take_result<R>(&self, read: impl FnOnce(St, &[u8]) -> R) -> Option<R> {
        let st = self.step().st;
        if self.handle.is_forked() || !st.has_result() {
            return None;
        }
        self.take(
            Place::Result,
            || (),
            |bytes| match bytes {
                Ok(bytes) => read(st, bytes),
                Err(why) => read(St::Undecodable, &bytes_of(&why)),
            },
        )
    }

    /// Receives what is in a drawer, acknowledges it, and gives it to `read`. `None`: there is nothing.
    fn take<R>(
        &self,
        place: Place,
        acknowledged: impl FnOnce(),
        read: impl FnOnce(Result<&[u8]>) -> R,
    ) -> Option<R> {
        let drawer = place.drawer(self.words());
        let turn = self.turn();
        if !record::is_full(drawer) {
            return None;
        }
        let (bytes, kind) = record::read(drawer);
        let unpacked = Unpacked::receive(self.handle.arena(), &bytes, kind);
        record::acknowledge(drawer);
        acknowledged();
        drop(turn);
        Some(match unpacked {
            Ok(unpacked) => {
                let (value, incoming) = unpacked.decode(read);
                drop(incoming);
                value
            }
            Err(why) => read(Err(why)),
        })
    }

    /// Starter, when the child is proven dead or was never made: gives the start up if no child came, takes the ticket
    /// and the arguments back, and discards a result that was not committed. May be repeated.
    pub fn settle(&self, ticket: BootTicket) {
        if self.handle.is_forked() {
            return;
        }
        let _ = self.cancel();
        let segment = self.handle.segment();
        if let Withdrawn::Received(child) = life::withdraw(segment, ticket.number(), ticket.object()) {
            // It died with the ticket in its hand, before it could say who it is.
            let _ = segment.is_dead(child);
        }
        let _turn = self.turn();
        record::discard(segment, self.words(), Place::Args);
        if !self.step().st.has_result() {
            record::discard(segment, self.words(), Place::Result);
        }
    }
}

impl Sealed {
    fn check_is_of(&self, arena: &Arc<Arena>) -> Result<()> {
        if self.parcels.is_of(arena) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "a message that was sealed for another manager"))
    }
}

/// An error as a child would return it.
fn bytes_of(error: &Error) -> Vec<u8> {
    let mut bytes = Vec::new();
    // One that cannot be encoded is answered by none: the reader says that it cannot be read.
    let _ = error.put(&mut Out::vec(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests;
