//! The arena: one attached segment, and the handles this process holds into it.
//!
//! An [`ObjectRef`] is one handle's hold on one object. The first one a process makes sets the process's holder
//! bit, the last one clears it; in between they are counted here, in private memory. Invariants
//! - I1 the count of an entry is not zero exactly while this participant's bit is set in it, and the same holds for
//!   the counts and bits of its sides; all change under one lock of this process. A hold that is kept (`kept`) has
//!   the bit and the count zero. In a forked child the count is its parent's at the fork (`heir`), and of each handle of
//!   the parent's at most one `ObjectRef` of the child takes it over.
//! - I2 an `ObjectRef` exists only while I1 holds for its entry, so the object it names is LIVE, its pages are
//!   its own, and they stay mapped (it holds the arena).
//! - I3 the detector's table is held by a count alone: an `ObjectRef` in the arena would keep the arena that keeps it.
//!   It is counted out when the arena is dropped, the last of all holds, for no `ObjectRef` is left then.

mod heir;
mod kept;
mod table;

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, MutexGuard, OnceLock};
use std::time::Duration;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Entry, NAME_MAX, Side, Ticket, st};
use ginnel_layout::line::PAGE;
use ginnel_segment::{ForkMark, RunState, Segment};
use ginnel_sync::mutex::{self, Holder, LockError};
use ginnel_sync::{Deadline, Mode, Waiter};

use crate::error::{Error, ErrorKind, Owner, OwnerState, Result};
use crate::life;
use crate::message::Message;
use crate::ready::Ears;
use crate::sides;

pub(crate) use heir::Will;
use table::{Held, Table};

/// How long the making and finding of names waits for a living process that is in the middle of it.
const NAMES_PATIENCE: Duration = Duration::from_secs(10);

/// One attachment of this process.
pub struct Arena {
    segment: Segment,
    handles: Table,
    ears: Ears,
    /// The entry of the detector's table (I3).
    waits: OnceLock<u32>,
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("segment", &self.segment).finish_non_exhaustive()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.segment.check_fork().is_err() {
            return;
        }
        if let Some(table) = self.waits() {
            self.count_out(table, Side::Neither);
        }
        self.give_up_unclaimed();
        for (index, holds) in self.handles.drain().counts {
            if holds.all == 0 {
                kept::end(&self.segment, index, self.segment.me());
            }
        }
    }
}

/// What kind of object, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// One of [`crate::sweep::tag`].
    pub(crate) tag: u32,
    /// Size and alignment of the payload, see [`format_of`].
    pub(crate) format: u64,
}

impl Kind {
    /// An object that carries messages of `T`. What two programs must agree on: the bytes of a value where all have
    /// the same, else that they are encoded.
    pub(crate) fn of_messages<T: Message>(tag: u32) -> Self {
        Self { tag, format: T::FIXED.map_or(u64::MAX, |size| size as u64) }
    }
}

/// The payload's `{align:16 | size:48}`, which two programs must agree on.
pub(crate) const fn format_of(size: usize, align: usize) -> u64 {
    ((align as u64) << 48) | (size as u64 & ((1 << 48) - 1))
}

impl Arena {
    pub(crate) fn new(segment: Segment) -> Arc<Self> {
        Arc::new(Self {
            ears: Ears::of(&segment),
            segment,
            handles: Table::default(),
            waits: OnceLock::new(),
        })
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where this process listens for those who poll.
    pub(crate) fn ears(&self) -> &Ears {
        &self.ears
    }

    /// The entry of the table of waits, once this process has switched the detector on.
    pub(crate) fn waits(&self) -> Option<u32> {
        self.waits.get().copied()
    }

    /// Holds the table of waits from now on (I3).
    pub(crate) fn keep_waits(&self, table: &ObjectRef) {
        let Some(entry) = self.segment.entry(table.index) else { return };
        // If another thread was first, its table is the same. `table` holds it until it is counted in.
        if self.waits.set(table.index).is_ok() {
            self.count_in(table.index, entry, Side::Neither);
        }
    }

    fn handles(&self) -> MutexGuard<'_, Held> {
        self.handles.lock(&self.segment)
    }

    /// Who that participant is, for messages.
    pub(crate) fn describe(&self, id: ParticipantId) -> Option<Owner> {
        let described = self.segment.describe(id)?;
        let state = match described.state {
            RunState::Running => OwnerState::Running,
            RunState::Elsewhere => OwnerState::Unknown,
            RunState::Stopped => OwnerState::Stopped,
            RunState::Dead => OwnerState::Dead,
        };
        Some(Owner { pid: described.pid, name: described.name, state })
    }

    /// Makes an object of `pages` pages. `init` writes its words; the pages are zero before.
    pub(crate) fn make(
        self: &Arc<Self>,
        kind: Kind,
        pages: u32,
        name: Option<&str>,
        init: impl FnOnce(NonNull<u8>),
    ) -> Result<ObjectRef> {
        self.make_partly(kind, (pages, pages), name, init)
    }

    /// [`Arena::make`] of so many pages, of which so many have memory yet. `init` touches no others.
    pub(crate) fn make_partly(
        self: &Arc<Self>,
        kind: Kind,
        pages: (u32, u32),
        name: Option<&str>,
        init: impl FnOnce(NonNull<u8>),
    ) -> Result<ObjectRef> {
        self.make_knowing(kind, pages, name, |base, _, _| init(base))
    }

    /// [`Arena::make_partly`] whose `init` learns the entry and the generation as well: for an object that is made with
    /// parcels in it.
    pub(crate) fn make_knowing(
        self: &Arc<Self>,
        kind: Kind,
        (pages, with_memory): (u32, u32),
        name: Option<&str>,
        init: impl FnOnce(NonNull<u8>, u32, u32),
    ) -> Result<ObjectRef> {
        self.segment.check_fork()?;
        let (index, mine) = life::claim(&self.segment)?;
        let Some(entry) = self.segment.entry(index) else {
            return Err(Error::new(ErrorKind::Corrupted, "the directory lost an entry"));
        };
        let first_page = match self.segment.reserve_pages(index, pages, with_memory) {
            Ok(first_page) => first_page,
            Err(why) => {
                life::dismantle(&self.segment, index, entry, mine);
                return Err(why.into());
            }
        };
        entry.tag.store(kind.tag, Relaxed);
        entry.format.store(kind.format, Relaxed);
        entry.first_page.store(first_page, Relaxed);
        entry.pages.store(pages, Relaxed);
        if let Some(name) = name {
            write_name(entry, name);
            entry.named.store(1, Relaxed);
        }
        let Some(base) = self.segment.page(first_page, pages) else {
            life::dismantle(&self.segment, index, entry, mine);
            return Err(Error::new(ErrorKind::Corrupted, "the arena gave pages that it does not have"));
        };
        init(base, index, mine.generation);
        // Nobody else can know the entry before this, so nobody else of this process counts it either. But one may try
        // the address of what was there before, and would take the bit back that is set here.
        let mut handles = self.handles();
        life::publish(entry, mine, self.segment.me());
        handles.counts.entry(index).or_default().add(Side::Neither);
        drop(handles);
        Ok(ObjectRef {
            arena: Arc::clone(self),
            index,
            generation: mine.generation,
            first_page,
            pages,
            mark: self.segment.fork_mark(),
            name: name.map(Box::from),
            side: Side::Neither,
            inherited: AtomicU32::new(0),
        })
    }

    /// Runs `f` while no other process makes, finds or removes names.
    pub(crate) fn with_names<R>(self: &Arc<Self>, f: impl FnOnce() -> Result<R>) -> Result<R> {
        self.segment.check_fork()?;
        let word = &self.segment.control().names_lock;
        let me = Holder::current(self.segment.me());
        let mut waiter = Waiter::new(Mode::Sleep);
        let deadline = Deadline::after(NAMES_PATIENCE);
        let locked = loop {
            match mutex::lock(word, me, &mut waiter, deadline, &self.segment) {
                Ok(locked) => break locked,
                Err(LockError::Interrupted) => {}
                Err(why) => return Err(self.names_error(why)),
            }
        };
        let result = f();
        // Whoever died in here left a directory in which every entry is one thing or another: each change of
        // a name is one instruction on its entry. So there is nothing to repair.
        mutex::unlock(word, locked, true);
        result
    }

    fn names_error(&self, why: LockError) -> Error {
        match why {
            LockError::TimedOut { owner } => Error::new(
                ErrorKind::Timeout,
                format!("the names of the manager were busy for {NAMES_PATIENCE:?}"),
            )
            .with_owner(owner.and_then(|id| self.describe(id)))
            .with_advice("let that process run, or end it"),
            _ => Error::new(ErrorKind::Corrupted, "the lock of the names holds an impossible word"),
        }
    }

    /// The object of that name. The caller is in [`Arena::with_names`].
    pub(crate) fn find(self: &Arc<Self>, name: &str) -> Result<Option<(ObjectRef, Kind)>> {
        for (index, entry) in self.segment.used_entries() {
            let state = life::state(entry);
            if state.st != st::LIVE
                || entry.named.load(Relaxed) == 0
                || read_name(entry).as_deref() != Some(name)
            {
                continue;
            }
            return Ok(Some(self.hold(index, entry, state.generation, Some(name), Side::Neither)));
        }
        Ok(None)
    }

    /// Adds a hold on a LIVE object which another reference keeps from being freed: its name under the names
    /// lock, or a ticket of ours.
    fn hold(
        self: &Arc<Self>,
        index: u32,
        entry: &Entry,
        generation: u32,
        name: Option<&str>,
        side: Side,
    ) -> (ObjectRef, Kind) {
        self.count_in(index, entry, side);
        self.held(index, entry, generation, name, side)
    }

    /// The hold that was counted in.
    fn held(
        self: &Arc<Self>,
        index: u32,
        entry: &Entry,
        generation: u32,
        name: Option<&str>,
        side: Side,
    ) -> (ObjectRef, Kind) {
        let object = ObjectRef {
            arena: Arc::clone(self),
            index,
            generation,
            first_page: entry.first_page.load(Relaxed),
            pages: entry.pages.load(Relaxed),
            mark: self.segment.fork_mark(),
            name: name.map(Box::from),
            side,
            inherited: AtomicU32::new(0),
        };
        (object, Kind { tag: entry.tag.load(Relaxed), format: entry.format.load(Relaxed) })
    }

    /// A hold on the object of that entry and generation, for one who has nothing but these numbers.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Forked`.
    pub(crate) fn upgrade(self: &Arc<Self>, index: u32, generation: u32) -> Result<(ObjectRef, Kind)> {
        self.segment.check_fork()?;
        let gone = || Error::new(ErrorKind::NotFound, "this object is gone");
        let entry = self.segment.entry(index).ok_or_else(gone)?;
        let mut handles = self.handles();
        match handles.counts.get_mut(&index) {
            // It is ours, so it lives.
            Some(holds) if life::state(entry).generation == generation => {
                holds.add(Side::Neither);
            }
            Some(_) => return Err(gone()),
            None if life::upgrade(&self.segment, index, entry, generation) => {
                handles.counts.entry(index).or_default().add(Side::Neither);
            }
            None => return Err(gone()),
        }
        drop(handles);
        Ok(self.held(index, entry, generation, None, Side::Neither))
    }

    /// Counts a handle in, and sets the bits that it is the first of.
    fn count_in(&self, index: u32, entry: &Entry, side: Side) {
        let mut handles = self.handles();
        let (first, first_of_side) = handles.counts.entry(index).or_default().add(side);
        if first {
            life::gain(entry, self.segment.me());
        }
        if first_of_side {
            life::join_side(entry, side, self.segment.me());
        }
    }

    /// Counts a handle out, clears the bits that it was the last of, and closes a side that it leaves empty. The bit of
    /// one who forgot a guard is kept.
    fn count_out(&self, index: u32, side: Side) {
        let mut handles = self.handles();
        let Some(holds) = handles.counts.get_mut(&index) else { return };
        let (last, last_of_side) = holds.take(side);
        let Some(entry) = self.segment.entry(index) else { return };
        if last_of_side {
            life::leave_side(entry, side, self.segment.me());
            sides::close_if_empty(&self.segment, index, entry, side);
        }
        if last && !kept::is_needed(&self.segment, entry, self.segment.me()) {
            handles.counts.remove(&index);
            life::release(&self.segment, index, entry, self.segment.me());
        }
    }

    /// Leaves all sides of channels, as at the end of the process: what that closes is closed now, and nobody has to find out.
    /// The objects are held as before, so handles that are in use see a closed channel and nothing worse.
    pub(crate) fn resign(&self) {
        if self.segment.check_fork().is_err() {
            return;
        }
        let mut handles = self.handles();
        for (index, side) in handles.leave_sides() {
            let Some(entry) = self.segment.entry(index) else { continue };
            life::leave_side(entry, side, self.segment.me());
            sides::close_if_empty(&self.segment, index, entry, side);
        }
    }

    /// Turns a ticket that no message carries into what `open` makes of a hold: RECEIVE, hold, free the ticket. `None`: the
    /// ticket names nothing alive.
    pub(crate) fn redeem<T>(
        self: &Arc<Self>,
        ticket: u32,
        generation: u32,
        open: impl FnOnce((ObjectRef, Kind)) -> Result<T>,
    ) -> Result<Option<T>> {
        self.segment.check_fork()?;
        let Some(mine) = life::redeem(&self.segment, ticket, generation) else { return Ok(None) };
        let opened = self.hold_ticket(mine).map(open).transpose();
        life::unpin(&self.segment, ticket);
        opened
    }

    /// A hold on what a received ticket of ours keeps alive.
    pub(crate) fn hold_ticket(self: &Arc<Self>, mine: Ticket) -> Option<(ObjectRef, Kind)> {
        let entry = self.segment.entry(u32::from(mine.entry))?;
        let alive = life::state(entry);
        let same = alive.st == st::LIVE && alive.generation == mine.generation;
        // Nobody is on a side of a lane: its role words say who has an end.
        let side = if sides::may_have(entry) { mine.side } else { Side::Neither };
        same.then(|| self.hold(u32::from(mine.entry), entry, mine.generation, None, side))
    }

    /// Takes a name away; its object lives on while somebody holds it. False: there was none. The caller is
    /// in [`Arena::with_names`].
    pub(crate) fn remove(self: &Arc<Self>, name: &str) -> bool {
        let named = self.segment.used_entries().find(|(_, entry)| {
            life::state(entry).st == st::LIVE
                && entry.named.load(Relaxed) != 0
                && read_name(entry).as_deref() == Some(name)
        });
        match named {
            Some((index, entry)) => {
                // Held meanwhile, because the name may have been all that kept a side of a channel open.
                let (held, _) = self.hold(index, entry, life::state(entry).generation, None, Side::Neither);
                life::unname(&self.segment, index, entry);
                sides::close_if_empty(&self.segment, index, entry, Side::Sender);
                sides::close_if_empty(&self.segment, index, entry, Side::Receiver);
                drop(held);
                true
            }
            None => false,
        }
    }

    /// The names in the arena, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .segment
            .used_entries()
            .filter(|(_, entry)| life::state(entry).st == st::LIVE && entry.named.load(Relaxed) != 0)
            .filter_map(|(_, entry)| read_name(entry))
            .collect();
        names.sort_unstable();
        names
    }
}

/// Checks a name an object is to have.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("an object's name has 1 to {NAME_MAX} bytes, this one {}", name.len()),
        ));
    }
    Ok(())
}

fn write_name(entry: &Entry, name: &str) {
    let mut bytes = [0; NAME_MAX];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    for (word, chunk) in entry.name.iter().zip(bytes.as_chunks::<8>().0) {
        word.store(u64::from_ne_bytes(*chunk), Relaxed);
    }
    entry.name_len.store(name.len() as u64, Relaxed);
}

pub(crate) fn read_name(entry: &Entry) -> Option<String> {
    let len =
        usize::try_from(entry.name_len.load(Relaxed)).ok().filter(|len| (1..=NAME_MAX).contains(len))?;
    let bytes: Vec<u8> = entry.name.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    String::from_utf8(bytes[..len].to_vec()).ok()
}

/// A hold on one object (I2).
pub struct ObjectRef {
    arena: Arc<Arena>,
    index: u32,
    generation: u32,
    first_page: u32,
    pages: u32,
    mark: ForkMark,
    name: Option<Box<str>>,
    side: Side,
    /// 1: a child of the fork has made this handle again for itself.
    inherited: AtomicU32,
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("name", &self.name)
            .field("index", &self.index)
            .field("generation", &self.generation)
            .field("pages", &self.pages)
            .finish_non_exhaustive()
    }
}

impl Clone for ObjectRef {
    fn clone(&self) -> Self {
        self.with_side(self.side)
    }
}

impl Drop for ObjectRef {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        self.arena.count_out(self.index, self.side);
    }
}

impl ObjectRef {
    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Another handle of the same object, on this side of it. The object is one with sides, or the side is that of
    /// this handle: an empty side stays empty.
    pub(crate) fn with_side(&self, side: Side) -> Self {
        if let (false, Some(entry)) = (self.is_forked(), self.arena.segment.entry(self.index)) {
            self.arena.count_in(self.index, entry, side);
        }
        Self {
            arena: Arc::clone(&self.arena),
            index: self.index,
            generation: self.generation,
            first_page: self.first_page,
            pages: self.pages,
            mark: self.mark,
            name: self.name.clone(),
            side,
            // What is cloned in a child that may not use it has no count to hand on.
            inherited: AtomicU32::new(u32::from(self.is_forked())),
        }
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn first_page(&self) -> u32 {
        self.first_page
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// What tells the child of a fork.
    pub(crate) fn fork_mark(&self) -> ForkMark {
        self.mark
    }

    /// Is this the child of a bare fork? One load.
    #[inline(always)]
    pub(crate) fn is_forked(&self) -> bool {
        self.mark.check().is_err()
    }

    /// # Errors
    /// `Forked` in the child of a bare fork. One load where all is well.
    #[inline(always)]
    pub(crate) fn check_fork_fast(&self) -> Result<()> {
        if self.is_forked() { self.check_fork() } else { Ok(()) }
    }

    /// # Errors
    /// `Forked` in the child of a bare fork.
    #[cold]
    pub(crate) fn check_fork(&self) -> Result<()> {
        Ok(self.arena.segment.check_fork()?)
    }

    /// Where the object's bytes begin, checked against the arena.
    pub(crate) fn base(&self, bytes: usize) -> Result<NonNull<u8>> {
        if self.pages as usize * PAGE < bytes {
            return Err(self.corrupted("its size"));
        }
        self.arena.segment.page(self.first_page, self.pages).ok_or_else(|| self.corrupted("its place"))
    }

    /// Adds the object's name, if it has one.
    pub(crate) fn name_error(&self, error: Error) -> Error {
        match &self.name {
            Some(name) => error.with_object(&**name),
            None => error,
        }
    }

    #[cold]
    pub(crate) fn corrupted(&self, what: &str) -> Error {
        self.name_error(Error::new(
            ErrorKind::Corrupted,
            format!("shared memory holds what no correct process writes ({what})"),
        ))
        .with_advice("a process that is attached is broken or hostile; make the object anew")
    }

    /// Puts a reference to this object into transit; see [`life::pin`].
    pub(crate) fn pin(&self) -> Result<u32> {
        self.pin_side(self.side)
    }

    /// [`ObjectRef::pin`] of an end on that side.
    pub(crate) fn pin_side(&self, side: Side) -> Result<u32> {
        self.check_fork()?;
        let segment = &self.arena.segment;
        let entry = segment.entry(self.index).ok_or_else(|| self.corrupted("its entry"))?;
        life::pin(segment, self.index, entry, self.generation, side)
    }
}
