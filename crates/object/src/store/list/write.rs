//! Changing a list. Between getting a change ready and its commit comes what handles in values need: the new nodes become
//! the carriers of their tickets, and those of the old ones are received.

use std::ops::Range;

use ginnel_store::list::{Change as Ready, Item};
use ginnel_store::{Copied, Locked};

use crate::carry::{Incoming, Outgoing};
use crate::error::{ErrorKind, Result};
use crate::message::out::Out;

use super::RawList;
use super::read::{Elements, Seen, give};
use crate::store::dict::Change;
use crate::store::nested::{self, Tickets};
use crate::store::{Base, Packed, without_locks};

/// What becomes of the parcels of elements that go, and of their values.
enum Old<'o> {
    /// Nobody wants them.
    Freed(&'o mut Tickets),
    /// The only one is wanted.
    One(&'o mut Copied, &'o mut Seen),
    /// All of them are wanted.
    All(&'o mut Elements),
}

/// Changing: each operation happens as a whole or not at all, also if its process is killed. What writes runs before the
/// lock is taken, what reads after it was given up; an error of a reader comes after the change.
///
/// Besides what reading can say they say `Full`, `TooLarge`, and `Encode` for what cannot lie in a store.
impl RawList {
    /// Appends an element.
    ///
    /// # Errors
    /// Those of `write`.
    #[inline]
    pub fn push(&self, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<()> {
        self.put(|len| Some(len..len), write).map(drop)
    }

    /// Puts an element in before the one at `index`, or at the end. False: the list is not as long as that.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn insert(&self, index: usize, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<bool> {
        let index = index as u64;
        self.put(|len| (index <= len).then_some(index..index), write)
    }

    /// Replaces the element `index`. False: there is none.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn set(&self, index: usize, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<bool> {
        self.put(|len| at(index, len), write)
    }

    /// Appends all of them: nobody ever sees some.
    ///
    /// # Errors
    /// The first of `writes`.
    pub fn extend<W>(&self, writes: impl IntoIterator<Item = W>) -> Result<()>
    where
        W: FnOnce(&mut Out<'_>) -> Result<()>,
    {
        self.splice_some(|len| Some(len..len), writes, false).map(drop)
    }

    /// Takes the last element off, and gives it to `read`. `None`: there is none.
    ///
    /// # Errors
    /// Those of `read`.
    #[inline]
    pub fn pop<R>(&self, read: impl FnOnce(Option<&[u8]>) -> Result<R>) -> Result<R> {
        self.take(|len| Some(len.checked_sub(1)?..len), read)
    }

    /// Takes the element `index` out, and gives it to `read`; those behind it move up. `None`: there is none.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn remove<R>(&self, index: usize, read: impl FnOnce(Option<&[u8]>) -> Result<R>) -> Result<R> {
        self.take(|len| at(index, len), read)
    }

    /// Makes the elements of `range`, as far as there are any, into others, and gives those that were there to `removed`.
    ///
    /// # Errors
    /// The first of `writes` or of `removed`.
    pub fn splice<W>(
        &self,
        range: Range<usize>,
        writes: impl IntoIterator<Item = W>,
        removed: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()>
    where
        W: FnOnce(&mut Out<'_>) -> Result<()>,
    {
        self.splice_some(|len| Some(cut(&range, len)), writes, true)?.give(removed)
    }

    /// [`RawList::splice`] where `wanted` says so of the number of elements; else nothing happens.
    ///
    /// # Errors
    /// As [`RawList::splice`].
    pub fn splice_if<W>(
        &self,
        wanted: impl FnOnce(usize) -> bool,
        range: Range<usize>,
        writes: impl IntoIterator<Item = W>,
        removed: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()>
    where
        W: FnOnce(&mut Out<'_>) -> Result<()>,
    {
        let range_of = |len| wanted(len as usize).then(|| cut(&range, len));
        self.splice_some(range_of, writes, true)?.give(removed)
    }

    /// [`RawList::splice`] of the range that `range_of` says, under the lock, for the number of elements. `None` from it:
    /// nothing happens. It must not take a lock of a store ([`store`](crate::store), I4).
    ///
    /// # Errors
    /// As [`RawList::splice`].
    pub fn splice_where<W>(
        &self,
        range_of: impl FnOnce(usize) -> Option<Range<usize>>,
        writes: impl IntoIterator<Item = W>,
        removed: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()>
    where
        W: FnOnce(&mut Out<'_>) -> Result<()>,
    {
        let range_of = |len| without_locks(|| range_of(len as usize)).map(|range| cut(&range, len));
        self.splice_some(range_of, writes, true)?.give(removed)
    }

    /// Removes all elements from `len` on.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn truncate(&self, len: usize) -> Result<()> {
        let none: [fn(&mut Out<'_>) -> Result<()>; 0] = [];
        self.splice_some(|all| Some(cut(&(len..usize::MAX), all)), none, false).map(drop)
    }

    /// Removes all elements.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn clear(&self) -> Result<()> {
        self.truncate(0)
    }

    /// Runs `f` on the element `index` under the lock, exactly once. What it writes is taken where it says
    /// [`Change::Put`]; for `None` there is nothing to be put. It must not take a lock of a store
    /// ([`store`](crate::store), I4); a panic or an error of it changes nothing.
    ///
    /// # Errors
    /// Those of `f`; `Invalid` for a put where no element is.
    pub fn alter<R>(
        &self,
        index: usize,
        f: impl FnOnce(Option<&[u8]>, &mut Out<'_>) -> Result<(Change, R)>,
    ) -> Result<R> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let locked = self.base.lock(&store, 0)?;
        let mut copied = Copied::new();
        let seen = self.look_in(&locked, index as u64, &mut copied)?;
        let range = seen.is_some().then_some(index as u64..index as u64 + 1);
        let write = |out: &mut Out<'_>| without_locks(|| give(seen, &copied, |value| f(value, out)));
        let mut tickets = Tickets::default();
        let outcome = self.base.encoded(write, |(change, result), bytes, parcels| {
            let Some(range) = range.filter(|_| change != Change::Keep) else {
                return if matches!(change, Change::Put(_)) {
                    Err(self
                        .base
                        .handle()
                        .error(ErrorKind::Invalid, format!("no element {index} in the list")))
                } else {
                    Ok((false, result))
                };
            };
            match change {
                Change::Remove => self.change(&locked, range, &[], Vec::new(), Old::Freed(&mut tickets))?,
                _ => self.put_in(&locked, range, bytes, parcels, &mut tickets)?,
            }
            Ok((true, result))
        });
        let (has_changed, result) = outcome?;
        if has_changed {
            self.base.unlock_changed(locked);
            self.base.free(tickets);
        }
        Ok(result)
    }

    /// Makes the range that `range_of` says for the number of elements into one. False: it says none.
    #[inline(always)]
    fn put(
        &self,
        range_of: impl FnOnce(u64) -> Option<Range<u64>>,
        write: impl FnOnce(&mut Out<'_>) -> Result<()>,
    ) -> Result<bool> {
        self.base.check_fork()?;
        self.base.encoded(write, |(), bytes, parcels| {
            let store = self.base.store()?;
            let locked = self.base.lock(&store, 0)?;
            let Some(range) = range_of(self.base.told(locked.list_len())?) else { return Ok(false) };
            let mut tickets = Tickets::default();
            self.put_in(&locked, range, bytes, parcels, &mut tickets)?;
            self.base.unlock_changed(locked);
            if !tickets.is_empty() {
                self.base.free(tickets);
            }
            Ok(true)
        })
    }

    /// Makes `range` into one element, under the lock.
    #[inline(always)]
    fn put_in(
        &self,
        locked: &Locked<'_, Base>,
        range: Range<u64>,
        bytes: &[u8],
        parcels: Option<Outgoing>,
        tickets: &mut Tickets,
    ) -> Result<()> {
        let table = nested::table(parcels.as_ref());
        let item = Item { value: bytes, parcels: &table };
        let parcels = parcels.map_or_else(Vec::new, |parcels| vec![Some(parcels)]);
        self.change(locked, range, &[item], parcels, Old::Freed(tickets))
    }

    fn take<R>(
        &self,
        range_of: impl FnOnce(u64) -> Option<Range<u64>>,
        read: impl FnOnce(Option<&[u8]>) -> Result<R>,
    ) -> Result<R> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let locked = self.base.lock(&store, 0)?;
        let Some(range) = range_of(self.base.told(locked.list_len())?) else {
            drop(locked);
            return read(None);
        };
        let (mut copied, mut seen) = (Copied::new(), None);
        self.change(&locked, range, &[], Vec::new(), Old::One(&mut copied, &mut seen))?;
        self.base.unlock_changed(locked);
        give(seen, &copied, read)
    }

    fn splice_some<W>(
        &self,
        range_of: impl FnOnce(u64) -> Option<Range<u64>>,
        writes: impl IntoIterator<Item = W>,
        is_wanted: bool,
    ) -> Result<Elements>
    where
        W: FnOnce(&mut Out<'_>) -> Result<()>,
    {
        self.base.check_fork()?;
        let packed =
            writes.into_iter().map(|write| self.base.pack(write)).collect::<Result<Vec<Packed>>>()?;
        let tables: Vec<Vec<nested::Bytes>> = packed.iter().map(Packed::table).collect();
        let items =
            packed.iter().zip(&tables).map(|(packed, table)| Item { value: &packed.bytes, parcels: table });
        let items: Vec<Item<'_>> = items.collect();

        let store = self.base.store()?;
        let locked = self.base.lock(&store, 0)?;
        let mut elements = Elements::default();
        let Some(range) = range_of(self.base.told(locked.list_len())?) else { return Ok(elements) };
        let is_change = !(range.is_empty() && items.is_empty());
        let mut tickets = Tickets::default();
        let old = if is_wanted { Old::All(&mut elements) } else { Old::Freed(&mut tickets) };
        let ready = self.ready(&locked, range.clone(), &items)?;
        let parcels = packed.iter().map(|packed| packed.parcels.as_ref());
        self.carry(&locked, &ready, &parcels.collect::<Vec<_>>(), range, old)?;
        self.base.told(ready.commit())?;
        drop(items);
        packed.into_iter().filter_map(|packed| packed.parcels).for_each(Outgoing::sent);
        if is_change {
            self.base.unlock_changed(locked);
        } else {
            drop(locked);
        }
        self.base.free(tickets);
        Ok(elements)
    }

    /// Makes `range` into `items`, whose parcels are `parcels`, under the lock.
    #[inline(always)]
    fn change(
        &self,
        locked: &Locked<'_, Base>,
        range: Range<u64>,
        items: &[Item<'_>],
        parcels: Vec<Option<Outgoing>>,
        old: Old<'_>,
    ) -> Result<()> {
        let ready = self.ready(locked, range.clone(), items)?;
        self.carry(locked, &ready, &parcels.iter().map(Option::as_ref).collect::<Vec<_>>(), range, old)?;
        self.base.told(ready.commit())?;
        parcels.into_iter().flatten().for_each(Outgoing::sent);
        Ok(())
    }

    #[inline(always)]
    fn ready<'l, 'a>(
        &self,
        locked: &'l Locked<'a, Base>,
        range: Range<u64>,
        items: &[Item<'_>],
    ) -> Result<Ready<'l, 'a, Base>> {
        let ready = self.base.told(locked.list_splice(range, items))?;
        ready.ok_or_else(|| self.base.handle().corrupted("a list became shorter under its lock"))
    }

    /// What belongs before a commit: the carriers of new parcels, and the values and the parcels of what goes.
    #[inline(always)]
    fn carry(
        &self,
        locked: &Locked<'_, Base>,
        ready: &Ready<'_, '_, Base>,
        parcels: &[Option<&Outgoing>],
        range: Range<u64>,
        old: Old<'_>,
    ) -> Result<()> {
        if !parcels.is_empty() {
            for (at, position) in ready.added() {
                if let Some(Some(parcels)) = parcels.get(at) {
                    self.base.set_carrier(parcels, position);
                }
            }
        }
        let arena = self.base.handle().arena();
        let receive = |table: &[nested::Bytes]| Incoming::receive(arena, table.as_flattened());
        match old {
            Old::Freed(tickets) => {
                if ready.has_removed() {
                    self.base.receive(tickets, &self.base.told(ready.removed())?);
                }
            }
            Old::One(copied, seen) => {
                let carrying = self.base.told(locked.list_read(range.start, copied))?;
                let is_carrying = carrying.unwrap_or(false);
                let table = || self.base.told(locked.list_parcels(range.start));
                *seen = Some(if is_carrying { Some(receive(&table()?)?) } else { None });
            }
            Old::All(elements) => *elements = self.copy(locked, range, receive)?,
        }
        Ok(())
    }
}

/// The range of the element `index`, if there is one.
fn at(index: usize, len: u64) -> Option<Range<u64>> {
    let index = index as u64;
    (index < len).then(|| index..index + 1)
}

/// As much of `range` as a list of `len` elements has.
fn cut(range: &Range<usize>, len: u64) -> Range<u64> {
    let (start, end) = ((range.start as u64).min(len), (range.end as u64).min(len));
    start..end.max(start)
}
