//! Changing a dict. Between `prepare` and `commit` of `ginnel_store` comes what handles in values need: the new node
//! becomes the carrier of its tickets, and those of the old one are received.

use ginnel_store::node::{Extra, Key};
use ginnel_store::write::Pending;
use ginnel_store::{Copied, Error as StoreError, Locked};
use ginnel_sync::deadline::now_ns;

use crate::carry::{self, Incoming, Outgoing};
use crate::error::{ErrorKind, Result};
use crate::message::out::Out;

use super::read::give;
use super::{Change, RawDict, Ttl};
use crate::store::nested::{self, Tickets};
use crate::store::{Base, Packed, without_locks};

/// The value that a change took away.
#[derive(Default)]
struct Old {
    was_there: bool,
    copied: Copied,
    incoming: Option<Incoming>,
}

impl Old {
    /// Gives it to `read`. What it carried is freed where nobody took it.
    fn give<R>(self, read: impl FnOnce(Option<&[u8]>) -> Result<R>) -> Result<R> {
        let Self { was_there, copied, incoming } = self;
        if !was_there {
            return read(None);
        }
        match incoming {
            None => read(Some(copied.as_bytes())),
            Some(incoming) => carry::unpacking(incoming, || read(Some(copied.as_bytes()))).0,
        }
    }
}

/// Changing: each operation happens as a whole or not at all, also if its process is killed. `write` runs before the lock
/// is taken, `old` after it was given up.
///
/// Besides what reading can say they say `Full` and `TooLarge`.
impl RawDict {
    /// Puts a value. True: it replaced one.
    ///
    /// # Errors
    /// Those of `write`; `Encode` for what cannot lie in a store.
    #[inline]
    pub fn put(&self, key: &[u8], ttl: Ttl, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<bool> {
        self.base.check_fork()?;
        self.base.encoded(write, |(), bytes, parcels| self.put_bytes(key, ttl, bytes, parcels, None))
    }

    /// Puts a value, and gives the one that it replaced to `old`. An error of `old` comes after the change.
    ///
    /// # Errors
    /// Those of `write` and `old`; `Encode` for what cannot lie in a store.
    pub fn swap<R>(
        &self,
        key: &[u8],
        ttl: Ttl,
        write: impl FnOnce(&mut Out<'_>) -> Result<()>,
        old: impl FnOnce(Option<&[u8]>) -> Result<R>,
    ) -> Result<R> {
        self.base.check_fork()?;
        let mut taken = Old::default();
        self.base.encoded(write, |(), bytes, parcels| {
            self.put_bytes(key, ttl, bytes, parcels, Some(&mut taken))
        })?;
        taken.give(old)
    }

    /// Removes a key, and gives its value to `old`. An error of `old` comes after the change.
    ///
    /// # Errors
    /// Those of `old`.
    pub fn take<R>(&self, key: &[u8], old: impl FnOnce(Option<&[u8]>) -> Result<R>) -> Result<R> {
        let mut taken = Old::default();
        self.remove_with(key, Some(&mut taken))?;
        taken.give(old)
    }

    /// Removes a key. True: it was there.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn remove(&self, key: &[u8]) -> Result<bool> {
        self.remove_with(key, None)
    }

    /// Runs `f` on the value of a key under its lock, exactly once. What it writes is taken where it says
    /// [`Change::Put`]. It must not take a lock of a store ([`store`](crate::store), I4); a panic or an error of it changes
    /// nothing.
    ///
    /// # Errors
    /// Those of `f`; `Encode` for what cannot lie in a store.
    pub fn alter<R>(
        &self,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>, &mut Out<'_>) -> Result<(Change, R)>,
    ) -> Result<R> {
        self.base.check_fork()?;
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        let locked = self.lock_of(&store, &key)?;
        let mut copied = Copied::new();
        let seen = self.look_in(&locked, &key, &mut copied)?;
        let write = |out: &mut Out<'_>| without_locks(|| give(seen, &copied, |_, value| f(value, out)));
        let mut tickets = Tickets::default();
        let outcome = self.base.encoded(write, |(change, result), bytes, parcels| {
            match change {
                Change::Keep => return Ok((false, result)),
                Change::Put(ttl) => self.put_in(&locked, &key, ttl, bytes, parcels, None, &mut tickets)?,
                Change::Remove => self.remove_in(&locked, &key, None, &mut tickets)?,
            };
            Ok((true, result))
        });
        let (has_changed, result) = outcome?;
        if has_changed {
            self.base.unlock_changed(locked);
            self.base.free(tickets);
        }
        Ok(result)
    }

    /// Changes a value of 8 bytes in place: what it was, and what it is now. `None`: the key is not there. `f` runs under
    /// the lock, as that of [`RawDict::alter`].
    ///
    /// # Errors
    /// `Mismatch` for a value of another length.
    pub fn word(&self, key: &[u8], f: impl FnOnce(u64) -> u64) -> Result<Option<(u64, u64)>> {
        self.base.check_fork()?;
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        let locked = self.lock_of(&store, &key)?;
        let Some(node) = self.base.told(locked.find(&key, now_ns))? else { return Ok(None) };
        let other_length = || {
            self.base.handle().error(ErrorKind::Mismatch, "only values of 8 bytes can be changed in place")
        };
        let before = self.base.told(locked.word(node))?.ok_or_else(other_length)?;
        let after = without_locks(|| f(before));
        self.base.told(locked.store_word(node, after))?;
        self.base.unlock_changed(locked);
        Ok(Some((before, after)))
    }

    /// Removes everything, as one step for those who take locks. Killed in the middle, it leaves some shards as they were.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn clear(&self) -> Result<()> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let locks = self.base.lock_all(&store)?;
        let mut tickets = Tickets::default();
        let cleared = locks.iter().try_for_each(|locked| {
            let mut carriers = Vec::new();
            locked.for_each_carrier(|node| carriers.push(node))?;
            for node in carriers {
                self.base.receive(&mut tickets, &locked.parcels(node)?);
            }
            locked.clear()
        });
        self.base.unlock_all_changed(locks);
        // Where it failed, some of them lie in nodes that can be reached still: they stay ours.
        self.base.told(cleared)?;
        self.base.free(tickets);
        Ok(())
    }

    /// Removes what has expired. How many entries that were.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn purge(&self) -> Result<usize> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let mut gone = 0;
        for shard in 0..store.shards().len() {
            let locked = self.base.lock(&store, shard)?;
            let mut tickets = Tickets::default();
            let purged = self.purge_in(&locked, &mut tickets);
            self.base.unlock_changed(locked);
            self.base.free(tickets);
            gone += purged?;
        }
        Ok(gone)
    }

    /// Encodes a value for a [`Write`](crate::store::Write).
    ///
    /// # Errors
    /// Those of `write`; `Encode` for what cannot lie in a store.
    pub fn pack(&self, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<Packed> {
        self.base.pack(write)
    }

    /// Puts a value that was encoded before. `amend` is asked under the lock, with the version of the old value (0: there
    /// is none), that value, and the new one, whose bytes it may change. False, from it and from this: nothing happened,
    /// and `packed` is as `amend` left it. `amend` must not take a lock of a store ([`store`](crate::store), I4).
    ///
    /// # Errors
    /// Only the usual ones; after `Timeout` it may be tried again.
    pub fn put_packed(
        &self,
        key: &[u8],
        packed: &mut Packed,
        amend: impl FnOnce(u64, Option<&[u8]>, &mut [u8]) -> bool,
    ) -> Result<bool> {
        self.base.check_fork()?;
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        let locked = self.lock_of(&store, &key)?;
        let mut copied = Copied::new();
        let found = self.base.told(locked.find(&key, now_ns))?;
        if let Some(node) = found {
            self.base.told(locked.read(node, &mut copied))?;
        }
        let (version, old) = (found.map_or(0, |node| node.version()), found.map(|_| copied.as_bytes()));
        if !without_locks(|| amend(version, old, &mut packed.bytes)) {
            return Ok(false);
        }
        let mut tickets = Tickets::default();
        let parcels = packed.parcels.take();
        self.put_in(&locked, &key, Ttl::Default, &packed.bytes, parcels, None, &mut tickets)?;
        self.base.unlock_changed(locked);
        if !tickets.is_empty() {
            self.base.free(tickets);
        }
        Ok(true)
    }

    /// [`RawDict::take`] where `wanted`, under the lock, says so of the value; else as if there were none. `wanted` must
    /// not take a lock of a store ([`store`](crate::store), I4).
    ///
    /// # Errors
    /// Those of `old`.
    pub fn take_if<R>(
        &self,
        key: &[u8],
        wanted: impl FnOnce(&[u8]) -> bool,
        old: impl FnOnce(Option<&[u8]>) -> Result<R>,
    ) -> Result<R> {
        self.base.check_fork()?;
        let mut taken = Old::default();
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        let locked = self.lock_of(&store, &key)?;
        let Some(node) = self.base.told(locked.find(&key, now_ns))? else {
            drop(locked);
            return old(None);
        };
        let mut copied = Copied::new();
        self.base.told(locked.read(node, &mut copied))?;
        if !without_locks(|| wanted(copied.as_bytes())) {
            drop(locked);
            return old(None);
        }
        let mut tickets = Tickets::default();
        self.remove_in(&locked, &key, Some(&mut taken), &mut tickets)?;
        self.base.unlock_changed(locked);
        if !tickets.is_empty() {
            self.base.free(tickets);
        }
        taken.give(old)
    }

    #[inline]
    fn put_bytes(
        &self,
        key: &[u8],
        ttl: Ttl,
        bytes: &[u8],
        parcels: Option<Outgoing>,
        old: Option<&mut Old>,
    ) -> Result<bool> {
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        let locked = self.lock_of(&store, &key)?;
        let mut tickets = Tickets::default();
        let was_there = self.put_in(&locked, &key, ttl, bytes, parcels, old, &mut tickets)?;
        self.base.unlock_changed(locked);
        if !tickets.is_empty() {
            self.base.free(tickets);
        }
        Ok(was_there)
    }

    /// Puts a value under the lock of its shard. True: it replaced one.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the one place where a value is put, for all who do so")]
    fn put_in(
        &self,
        locked: &Locked<'_, Base>,
        key: &Key<'_>,
        ttl: Ttl,
        bytes: &[u8],
        parcels: Option<Outgoing>,
        old: Option<&mut Old>,
        tickets: &mut Tickets,
    ) -> Result<bool> {
        let deadline = match ttl {
            Ttl::Keep => self.deadline_to_keep(locked, key)?,
            _ => self.base.deadline_of(ttl),
        };
        let table = nested::table(parcels.as_ref());
        let extra = Extra { deadline, parcels: &table };
        let pending = self.base.told(locked.prepare(key, bytes, extra, now_ns))?;
        let was_there = pending.was_there();
        if let (Some(parcels), Some(position)) = (&parcels, pending.position()) {
            self.base.set_carrier(parcels, position);
        }
        self.leave_old(locked, &pending, old, tickets)?;
        self.base.told(locked.commit(pending))?;
        if let Some(parcels) = parcels {
            parcels.sent();
        }
        Ok(was_there)
    }

    fn remove_with(&self, key: &[u8], old: Option<&mut Old>) -> Result<bool> {
        self.base.check_fork()?;
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        let locked = self.lock_of(&store, &key)?;
        let mut tickets = Tickets::default();
        let was_there = self.remove_in(&locked, &key, old, &mut tickets)?;
        if was_there {
            self.base.unlock_changed(locked);
        } else {
            drop(locked);
        }
        if !tickets.is_empty() {
            self.base.free(tickets);
        }
        Ok(was_there)
    }

    /// Removes a key under the lock of its shard. True: it was there.
    fn remove_in(
        &self,
        locked: &Locked<'_, Base>,
        key: &Key<'_>,
        old: Option<&mut Old>,
        tickets: &mut Tickets,
    ) -> Result<bool> {
        let Some(pending) = self.base.told(locked.prepare_removal(key, now_ns))? else { return Ok(false) };
        let was_there = pending.was_there();
        self.leave_old(locked, &pending, old, tickets)?;
        self.base.told(locked.commit(pending))?;
        Ok(was_there)
    }

    /// Copies the value that is about to go, where it is wanted, and receives what it carries.
    #[inline(always)]
    fn leave_old(
        &self,
        locked: &Locked<'_, Base>,
        pending: &Pending<'_, '_, Base>,
        old: Option<&mut Old>,
        tickets: &mut Tickets,
    ) -> Result<()> {
        let Some(node) = pending.old() else { return Ok(()) };
        if old.is_none() && node.parcel_count() == 0 {
            return Ok(());
        }
        let table =
            if node.parcel_count() == 0 { Vec::new() } else { self.base.told(locked.parcels(node))? };
        match old {
            Some(old) if pending.was_there() => {
                self.base.told(locked.read(node, &mut old.copied))?;
                old.was_there = true;
                if !table.is_empty() {
                    old.incoming = Some(Incoming::receive(self.base.handle().arena(), table.as_flattened())?);
                }
            }
            _ => self.base.receive(tickets, &table),
        }
        Ok(())
    }

    /// The deadline of the entry that is replaced; the usual one where there is none.
    #[cold]
    pub(in crate::store) fn deadline_to_keep(
        &self,
        locked: &Locked<'_, Base>,
        key: &Key<'_>,
    ) -> Result<Option<u64>> {
        let found = self.base.told(locked.find(key, now_ns))?;
        Ok(found.map_or_else(|| self.base.deadline_of(Ttl::Default), |node| node.deadline()))
    }

    fn purge_in(&self, locked: &Locked<'_, Base>, tickets: &mut Tickets) -> Result<usize> {
        let now = now_ns();
        let mut carriers = Vec::new();
        let mut expire = || {
            let gone = locked.expire(|| now)?;
            locked.for_each_carrier(|node| carriers.push(node))?;
            Ok::<_, StoreError>(gone)
        };
        let mut gone = self.base.told(expire())?;
        let mut copied = Copied::new();
        for node in carriers {
            if node.deadline().is_some_and(|deadline| deadline <= now) {
                self.base.told(locked.key(node, &mut copied))?;
                let key = self.base.key(copied.as_bytes())?;
                self.remove_in(locked, &key, None, tickets)?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}
