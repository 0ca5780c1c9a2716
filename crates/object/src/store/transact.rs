//! Transactions: several keys change as one, or not at all.
//!
//! Optimistic: user code reads without locks and notes versions; here all shards are locked whose keys were read or are
//! written, the versions are compared, and the changes are made by one store. Locks are taken in one order everywhere:
//! that of transactions first, then the shards ascending; and given up the other way round.

use std::cell::{Cell, RefCell};
use std::fmt;

use ginnel_layout::store::REDO_MAX;
use ginnel_store::node::{Extra, Key};
use ginnel_store::redo::{RedoLocked, transact};
use ginnel_store::write::Pending;
use ginnel_store::{Copied, Error as StoreError, Locked, Store};
use ginnel_sync::deadline::now_ns;
use ginnel_sync::{Deadline, gate};

use ginnel_layout::atomic::Ordering::Relaxed;

use crate::error::{Error, ErrorKind, Result};

use super::dict::{RawDict, Ttl, give};
use super::nested::Tickets;
use super::{Base, LOCKS_FORBIDDEN, Packed, without_locks};

/// What becomes of a key in a transaction.
#[derive(Debug)]
pub struct Write {
    /// Which.
    pub key: Vec<u8>,
    /// Its value, and how long that lives. `None`: it is removed.
    pub value: Option<(Packed, Ttl)>,
}

/// All locks of a dict, for a transaction that lost too often.
pub struct Exclusive<'a> {
    dict: &'a RawDict,
    redo: &'a RedoLocked<'a, Base>,
    locks: &'a Locks<'a>,
    tickets: RefCell<Tickets>,
    has_changed: Cell<bool>,
}

impl fmt::Debug for Exclusive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exclusive").field("dict", self.dict).finish_non_exhaustive()
    }
}

/// Locks of shards, by the shard's number.
struct Locks<'a>(Vec<Option<Locked<'a, Base>>>);

impl<'a> Locks<'a> {
    /// Takes those whose bits are set, ascending.
    fn take(base: &'a Base, store: &Store<'a, Base>, wanted: u64) -> Result<Self> {
        let take = |shard: usize| (wanted >> shard & 1 == 1).then(|| base.lock(store, shard)).transpose();
        (0..store.shards().len()).map(take).collect::<Result<_>>().map(Self)
    }

    fn of(&self, key: &Key<'_>) -> Option<&Locked<'a, Base>> {
        self.0.get(key.shard(self.0.len())).and_then(Option::as_ref)
    }

    fn all(&self) -> impl Iterator<Item = &Locked<'a, Base>> {
        self.0.iter().flatten()
    }
}

impl RawDict {
    /// Does all of `writes`, if every key of `reads` has the version that it was read with (0: it was not there). False:
    /// somebody was faster, and nothing happened. The keys of `writes` are different ones.
    ///
    /// # Errors
    /// `TooLarge` for more than 224 writes; else as the other operations.
    pub fn commit(&self, reads: &[(Vec<u8>, u64)], writes: Vec<Write>) -> Result<bool> {
        self.base.check_fork()?;
        self.check_count(&writes)?;
        let store = self.base.store()?;
        let mut wanted = 0_u64;
        for key in reads.iter().map(|(key, _)| key).chain(writes.iter().map(|write| &write.key)) {
            wanted |= 1 << self.base.key(key)?.shard(store.shards().len());
        }
        let redo = if writes.len() > 1 { Some(self.base.lock_redo(&store)?) } else { None };
        let locks = Locks::take(&self.base, &store, wanted)?;
        for (key, version) in reads {
            let key = self.base.key(key)?;
            let Some(locked) = locks.of(&key) else { return Ok(false) };
            if self.version_in(locked, &key)? != *version {
                return Ok(false);
            }
        }
        let mut tickets = Tickets::default();
        let is_changed = !writes.is_empty();
        self.write_all(&locks, redo.as_ref(), writes, &mut tickets)?;
        let is_awaited = is_changed && self.base.front().changes.flag.load(Relaxed) != 0;
        drop(locks);
        drop(redo);
        self.finish(is_awaited, tickets);
        Ok(true)
    }

    /// Runs `f` while nobody else changes anything. It must take no lock of a store but by what it is given.
    ///
    /// # Errors
    /// Those of `f`; else as the other operations.
    pub fn exclusively<R>(&self, f: impl FnOnce(&Exclusive<'_>) -> Result<R>) -> Result<R> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let redo = self.base.lock_redo(&store)?;
        let locks = Locks::take(&self.base, &store, u64::MAX)?;
        let exclusive = Exclusive {
            dict: self,
            redo: &redo,
            locks: &locks,
            tickets: RefCell::default(),
            has_changed: Cell::new(false),
        };
        let result = without_locks(|| f(&exclusive));
        let Exclusive { tickets, has_changed, .. } = exclusive;
        let is_awaited = has_changed.get() && self.base.front().changes.flag.load(Relaxed) != 0;
        drop(locks);
        drop(redo);
        self.finish(is_awaited, tickets.into_inner());
        result
    }

    /// What comes after the locks.
    fn finish(&self, is_awaited: bool, tickets: Tickets) {
        if is_awaited {
            gate::post_all(&self.base.front().changes);
        }
        if !tickets.is_empty() {
            self.base.free(tickets);
        }
    }

    fn check_count(&self, writes: &[Write]) -> Result<()> {
        if writes.len() <= REDO_MAX {
            return Ok(());
        }
        let why = format!("a transaction of {} keys", writes.len());
        let error = self.base.handle().error(ErrorKind::TooLarge, why);
        Err(error.with_advice(format!("change at most {REDO_MAX} in one")))
    }

    /// Does all writes as one. Their shards are locked; more than one of them needs `redo`.
    fn write_all(
        &self,
        locks: &Locks<'_>,
        redo: Option<&RedoLocked<'_, Base>>,
        writes: Vec<Write>,
        tickets: &mut Tickets,
    ) -> Result<()> {
        let pendings = match self.prepare_all(locks, &writes) {
            // Nothing is pending now, so memory that was given back can be used again.
            Err(Unprepared::Short(StoreError::Full(_) | StoreError::Limit))
                if locks.all().filter(|locked| locked.reclaim()).count() > 0 =>
            {
                self.prepare_all(locks, &writes)
            }
            outcome => outcome,
        };
        let pendings = pendings.map_err(|why| match why {
            Unprepared::Short(why) => self.base.explain(why),
            Unprepared::Other(why) => why,
        })?;
        for (write, pending) in writes.iter().zip(&pendings) {
            let Some(pending) = pending else { continue };
            if let (Some((packed, _)), Some(position)) = (&write.value, pending.position())
                && let Some(parcels) = &packed.parcels
            {
                self.base.set_carrier(parcels, position);
            }
            self.receive_old(locks, write, pending, tickets)?;
        }
        self.commit_all(locks, redo, pendings, &writes)?;
        for Write { value, .. } in writes {
            if let Some((Packed { parcels: Some(parcels), .. }, _)) = value {
                parcels.sent();
            }
        }
        Ok(())
    }

    fn receive_old(
        &self,
        locks: &Locks<'_>,
        write: &Write,
        pending: &Pending<'_, '_, Base>,
        tickets: &mut Tickets,
    ) -> Result<()> {
        let Some(node) = pending.old().filter(|node| node.parcel_count() > 0) else { return Ok(()) };
        if let Some(locked) = locks.of(&self.base.key(&write.key)?) {
            let table = self.base.told(locked.parcels(node))?;
            self.base.receive(tickets, &table);
        }
        Ok(())
    }

    fn prepare_all<'l, 'a>(
        &self,
        locks: &'l Locks<'a>,
        writes: &[Write],
    ) -> std::result::Result<Vec<Option<Pending<'l, 'a, Base>>>, Unprepared> {
        writes.iter().map(|write| self.prepare(locks, write)).collect()
    }

    /// `None`: a key that is to be removed and is not there.
    fn prepare<'l, 'a>(
        &self,
        locks: &'l Locks<'a>,
        Write { key, value }: &Write,
    ) -> std::result::Result<Option<Pending<'l, 'a, Base>>, Unprepared> {
        let key = self.base.key(key)?;
        let Some(locked) = locks.of(&key) else { return Ok(None) };
        let Some((packed, ttl)) = value else { return Ok(locked.prepare_removal(&key, now_ns)?) };
        let deadline = match ttl {
            Ttl::Keep => self.deadline_to_keep(locked, &key)?,
            ttl => self.base.deadline_of(*ttl),
        };
        let table = packed.table();
        let extra = Extra { deadline, parcels: &table };
        Ok(Some(locked.prepare(&key, &packed.bytes, extra, now_ns)?))
    }

    fn commit_all<'l, 'a>(
        &self,
        locks: &'l Locks<'a>,
        redo: Option<&RedoLocked<'a, Base>>,
        pendings: Vec<Option<Pending<'l, 'a, Base>>>,
        writes: &[Write],
    ) -> Result<()> {
        let Some(redo) = redo else {
            for (pending, write) in pendings.into_iter().zip(writes) {
                if let (Some(pending), Some(locked)) = (pending, locks.of(&self.base.key(&write.key)?)) {
                    self.base.told(locked.commit(pending))?;
                }
            }
            return Ok(());
        };
        self.base.told(transact(redo, pendings.into_iter().flatten().collect()))
    }
}

/// Why changes were not prepared.
enum Unprepared {
    /// There may have been no memory while others were pending.
    Short(StoreError),
    Other(Error),
}

impl From<Error> for Unprepared {
    fn from(why: Error) -> Self {
        Self::Other(why)
    }
}

impl From<StoreError> for Unprepared {
    fn from(why: StoreError) -> Self {
        Self::Short(why)
    }
}

impl Exclusive<'_> {
    /// [`RawDict::get_at`]; values with handles in them can be read here as well.
    ///
    /// # Errors
    /// Those of `read`; `Corrupted`.
    pub fn get_at<R>(&self, key: &[u8], read: impl FnOnce(u64, Option<&[u8]>) -> Result<R>) -> Result<R> {
        let key = self.dict.base.key(key)?;
        let mut copied = Copied::new();
        let seen = match self.locks.of(&key) {
            Some(locked) => self.dict.look_in(locked, &key, &mut copied)?,
            None => None,
        };
        give(seen, &copied, read)
    }

    /// Does all of `writes`, whose keys are different ones.
    ///
    /// # Errors
    /// `TooLarge` for more than 224 writes; `Full`, `Corrupted`.
    pub fn commit(&self, writes: Vec<Write>) -> Result<()> {
        self.dict.check_count(&writes)?;
        self.dict.write_all(self.locks, Some(self.redo), writes, &mut self.tickets.borrow_mut())?;
        self.has_changed.set(true);
        Ok(())
    }
}

impl Base {
    /// Takes the lock of transactions.
    ///
    /// # Errors
    /// As [`Base::lock`].
    fn lock_redo<'a>(&'a self, store: &Store<'a, Self>) -> Result<RedoLocked<'a, Self>> {
        if LOCKS_FORBIDDEN.get() {
            return Err(self.forbidden());
        }
        let deadline = self.patience.map_or(Deadline::NEVER, Deadline::after);
        let me = self.handle.holder();
        let taken = self
            .handle
            .until(deadline, |waiter, deadline| store.lock_redo(me, waiter, deadline, self.handle.segment()));
        taken.map_err(|why| self.explain(StoreError::Lock(why)))
    }
}
