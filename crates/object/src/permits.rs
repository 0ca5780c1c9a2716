//! Permits that come back when their holder dies.
//!
//! ```text
//! byte 0     PermitWords     sync::permits: how many, who sleeps
//! byte 256   u32[permits]    one word for each: who has it, 0: nobody
//! ```
//! The number of permits is read once, when the object is opened, and checked against its pages then; later changes of
//! the word are a broken peer's and move nothing.
//!
//! | killed | what is left | the others |
//! |---|---|---|
//! | asleep | nothing | |
//! | with permits | words that name it | recovery gives them back and wakes |
//! | in the release, before the wake | free permits, sleepers | recovery wakes all; else a slice of at most 50 ms |

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::line::PAGE;
use ginnel_layout::signal::{EACH_AT, PermitControl, PermitWords};
use ginnel_layout::wait::WaitLine;
use ginnel_segment::Segment;
use ginnel_sync::permits::{Pool, Taken};
use ginnel_sync::{Deadline, LockError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{Error, ErrorKind, Owner, Result};
use crate::handle::Handle;
use crate::manager::{Manager, sealed};
use crate::sweep::tag;
use crate::words;

/// What the death of `dead` means for it: its permits come back.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    if let Some(pool) = pool_in(segment, entry) {
        pool.recover(dead);
    }
}

/// Does `id` have permits?
pub(crate) fn names(segment: &Segment, entry: &Entry, id: ParticipantId) -> bool {
    pool_in(segment, entry).is_some_and(|pool| pool.holders().any(|holder| holder.participant() == id))
}

fn pool_in<'a>(segment: &'a Segment, entry: &Entry) -> Option<Pool<'a>> {
    let words = words::front_of::<PermitWords>(segment, entry)?;
    let count = words.control.count.load(Relaxed) as usize;
    // Of a count that lies only the wake is left to do.
    let permits = words::tail_of::<AtomicU32>(segment, entry, EACH_AT, count).unwrap_or_default();
    Some(Pool::new(words, permits))
}

/// How many permits, for pools that are made by name. Default: 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits(pub u32);

impl Default for Permits {
    fn default() -> Self {
        Self(1)
    }
}

/// A number of permits, for as many threads of any processes as there are.
///
/// Unlike those of a [`Semaphore`](crate::semaphore::Semaphore) they have holders: what a process had comes back when it
/// dies, however it dies. What it was doing under its permit is not known to be finished; if that matters, use a lock.
/// Handles are `Clone + Send + Sync`, and may be sent inside messages. After a bare `fork` the child's handles answer
/// `Forked`.
///
/// ```
/// use ginnel_object::permits::PermitPool;
///
/// let cameras = PermitPool::new(2)?;
/// let one = cameras.acquire()?;
/// assert_eq!(cameras.available(), 1);
/// drop(one);
/// assert_eq!(cameras.available(), 2);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PermitPool {
    handle: Handle<PermitWords>,
    count: u32,
}

impl PermitPool {
    /// `permits` permits, in the manager of this process.
    ///
    /// # Errors
    /// `Invalid` for 0 and above 65536; `Full`, `Forked`, `Os`.
    pub fn new(permits: u32) -> Result<Self> {
        Manager::current()?.create_with(Permits(permits))
    }

    /// Takes a permit; waits while there is none.
    ///
    /// # Errors
    /// `Deadlock` when this thread has all of them; `Forked`; `Corrupted`.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::NEVER)
    }

    /// Takes a permit, if there is one. Never waits.
    ///
    /// # Errors
    /// `Forked`; `Corrupted`.
    #[inline]
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        self.handle.check_fork()?;
        match self.pool()?.try_acquire(self.handle.holder()) {
            Ok(taken) => Ok(taken.map(|taken| self.permit(taken))),
            Err(why) => Err(self.explain(why)),
        }
    }

    /// Takes a permit; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`, with one of the holders; else as [`PermitPool::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// Takes a permit; waits until `deadline`.
    ///
    /// # Errors
    /// `Timeout`, with one of the holders; else as [`PermitPool::acquire`].
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::at(deadline))
    }

    /// How many are free. It may be old at once.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.pool().map_or(0, |pool| pool.available())
    }

    /// How many there are.
    #[must_use]
    pub fn permits(&self) -> u32 {
        self.count
    }

    /// Who has permits, once for each.
    #[must_use]
    pub fn holders(&self) -> Vec<Owner> {
        let Ok(pool) = self.pool() else { return Vec::new() };
        pool.holders().filter_map(|holder| self.handle.describe(holder.participant())).collect()
    }

    #[inline]
    fn pool(&self) -> Result<Pool<'_>> {
        Ok(Pool::new(self.handle.words(), self.handle.tail(EACH_AT, self.count as usize)?))
    }

    #[inline]
    fn permit(&self, taken: Taken) -> Permit<'_> {
        Permit { pool: self, taken: Some(taken) }
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<Permit<'_>> {
        match self.try_acquire()? {
            Some(permit) => Ok(permit),
            None => self.acquire_slowly(deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_slowly(&self, deadline: Deadline) -> Result<Permit<'_>> {
        let (pool, me, segment) = (self.pool()?, self.handle.holder(), self.handle.segment());
        let outcome =
            self.handle.until(deadline, |waiter, deadline| pool.acquire(me, waiter, deadline, segment));
        outcome.map(|taken| self.permit(taken)).map_err(|why| self.explain(why))
    }

    #[cold]
    fn explain(&self, why: LockError) -> Error {
        let handle = &self.handle;
        match why {
            LockError::TimedOut { owner } => handle
                .error(ErrorKind::Timeout, "no permit was given back before the deadline")
                .with_owner(owner.and_then(|id| handle.describe(id))),
            LockError::Deadlock => handle
                .error(ErrorKind::Deadlock, "this thread has all the permits already")
                .with_advice("give one back before acquiring another"),
            LockError::Interrupted | LockError::Corrupted => handle.corrupted("the words of the permits"),
        }
    }
}

/// For waits for several objects.
impl PermitPool {
    pub(crate) fn line(&self) -> &WaitLine {
        &self.handle.words().line
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.pool().is_ok_and(|pool| pool.is_available())
    }

    pub(crate) fn probe(&self) {
        if let Ok(pool) = self.pool() {
            pool.probe(self.handle.me(), self.handle.segment());
        }
    }
}

/// A permit, held. Dropping it gives it back, in whatever thread. Only the process that took it can: its death gives
/// the permit back, too.
#[must_use = "the permit is given back at once if it is not kept"]
pub struct Permit<'a> {
    pool: &'a PermitPool,
    /// `None` only after the release in `drop`.
    taken: Option<Taken>,
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.taken.as_ref().map(Taken::number)).finish()
    }
}

impl Permit<'_> {
    /// Its number, from 0 on: no two permits of a pool that are held at a time have the same.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.taken.as_ref().map_or(0, Taken::number)
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // A permit inherited through a bare fork is the parent's to give back.
        if self.pool.handle.is_forked() {
            return;
        }
        if let (Some(taken), Ok(pool)) = (self.taken.take(), self.pool.pool()) {
            pool.release(taken);
        }
    }
}

impl sealed::Sealed for PermitPool {
    type Options = Permits;

    fn kind() -> Kind {
        Kind { tag: tag::PERMITS, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, Permits(count): Permits) -> Result<ObjectRef> {
        let most = PermitControl::COUNT_MAX;
        if count == 0 || count > most {
            let happened = format!("a pool has 1 to {most} permits, this one {count}");
            return Err(Error::new(ErrorKind::Invalid, happened));
        }
        let bytes = EACH_AT + count as usize * size_of::<AtomicU32>();
        arena.make(Self::kind(), bytes.div_ceil(PAGE) as u32, name, |base| {
            words::new_front::<PermitWords>(base).control.count.store(count, Relaxed);
        })
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let handle = Handle::<PermitWords>::open(object)?;
        let count = handle.words().control.count.load(Relaxed);
        if count == 0 || count > PermitControl::COUNT_MAX {
            return Err(handle.corrupted("the number of permits"));
        }
        handle.tail::<AtomicU32>(EACH_AT, count as usize)?;
        Ok(Self { handle, count })
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl Serialize for PermitPool {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for PermitPool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
