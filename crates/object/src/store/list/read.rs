//! Reading a list: one element without a lock, but where it has handles in it or others change the list all the time;
//! several under the lock.
//!
//! Edges
//! - E1 (pairs with gate.rs E1) whoever waits for a change reads `seq` (Acquire) before it looks.

use std::cell::Cell;
use std::ops::{ControlFlow, Range};

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::atomic::spin_loop;
use ginnel_store::list::Element as Found;
use ginnel_store::{Copied, Error as StoreError, Locked, Store};
use ginnel_sync::{Arm, Deadline, Stop};

use crate::carry::{self, Incoming};
use crate::error::Result;

use super::RawList;
use crate::store::{Base, LOCKS_FORBIDDEN, nested};

/// How often a thread that may take no lock looks again, 64 times each.
const LOOKS: u32 = 1 << 16;

/// An element that was found under the lock: its bytes are in a [`Copied`], and this is what it carries.
pub(super) type Seen = Option<Option<Incoming>>;

/// Copies of elements, taken under the lock and given out after it.
#[derive(Default)]
pub(super) struct Elements {
    bytes: Vec<u8>,
    /// The length of each, and what it carries.
    each: Vec<(usize, Option<Incoming>)>,
}

/// Reading.
///
/// All operations can say `Forked` and `Corrupted`; those that take the lock `Deadlock` (inside an update of this thread)
/// and `Timeout` (at the end of the patience).
impl RawList {
    /// Gives the element `index` to `read`. `None`: the list is not as long as that. Handles in it can be decoded in there.
    ///
    /// # Errors
    /// Those of `read`.
    #[inline]
    pub fn get<R>(&self, index: usize, read: impl FnOnce(Option<&[u8]>) -> Result<R>) -> Result<R> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let mut copied = Copied::new();
        match store.list_get(index as u64, &mut copied) {
            Found::Found { carrying: false } => read(Some(copied.as_bytes())),
            Found::Absent => read(None),
            _ => {
                let seen = self.look_again(&store, index as u64, &mut copied)?;
                give(seen, &copied, read)
            }
        }
    }

    /// Gives the elements of `range` to `each`, as far as there are any, as they are at one moment. They are copied under
    /// the lock, and given after it.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn slice(&self, range: Range<usize>, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let locked = self.base.lock(&store, 0)?;
        let peek = |table: &[nested::Bytes]| self.base.peek(table);
        let elements = self.copy(&locked, range.start as u64..range.end as u64, peek)?;
        drop(locked);
        elements.give(each)
    }

    /// The number of the last change: another one after every change of the list.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn version(&self) -> Result<u64> {
        self.base.check_fork()?;
        Ok(self.base.store()?.list_version())
    }

    /// Waits until the version is not `seen` any more. False: the deadline came first.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn wait_changed(&self, seen: u64, deadline: Deadline) -> Result<bool> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let failed = Cell::new(None);
        let ready = |_| {
            let is_changed = || (store.list_version() != seen).then_some(Ok(true));
            failed.take().map(Err).or_else(is_changed)
        };
        let arm = || {
            self.announce(&store, seen).unwrap_or_else(|why| {
                failed.set(Some(why));
                Arm::Again
            })
        };
        let changes = &self.base.front().changes;
        let waited = self
            .base
            .handle()
            .until(deadline, |waiter, deadline| waiter.wait_seq(changes, deadline, ready, arm, || ()));
        match waited {
            Ok(outcome) => outcome,
            Err(Stop::TimedOut | Stop::Interrupted) => Ok(false),
        }
    }

    /// The element `index` under the lock: it is copied, and what it carries is held. `None`: it is not there.
    pub(super) fn look_in(&self, locked: &Locked<'_, Base>, index: u64, copied: &mut Copied) -> Result<Seen> {
        match self.base.told(locked.list_read(index, copied))? {
            None => Ok(None),
            Some(false) => Ok(Some(None)),
            Some(true) => {
                let table = self.base.told(locked.list_parcels(index))?;
                self.base.peek(&table).map(|incoming| Some(Some(incoming)))
            }
        }
    }

    /// Copies the elements of `range`, as far as there are any. `carry` makes holds of their parcels.
    pub(super) fn copy(
        &self,
        locked: &Locked<'_, Base>,
        range: Range<u64>,
        mut carry: impl FnMut(&[nested::Bytes]) -> Result<Incoming>,
    ) -> Result<Elements> {
        let mut elements = Elements::default();
        let mut failed = Ok(());
        let walked = locked.list_for_each(range, |_, value, table| {
            let incoming = if table.is_empty() { Ok(None) } else { carry(table).map(Some) };
            match incoming {
                Ok(incoming) => {
                    elements.bytes.extend_from_slice(value);
                    elements.each.push((value.len(), incoming));
                    ControlFlow::Continue(())
                }
                Err(why) => {
                    failed = Err(why);
                    ControlFlow::Break(())
                }
            }
        });
        self.base.told(walked)?;
        failed.map(|()| elements)
    }

    #[cold]
    #[inline(never)]
    fn look_again(&self, store: &Store<'_, Base>, index: u64, copied: &mut Copied) -> Result<Seen> {
        if LOCKS_FORBIDDEN.get() {
            return self.look_on(store, index, copied);
        }
        let locked = self.base.lock(store, 0)?;
        self.look_in(&locked, index, copied)
    }

    /// Goes on without the lock, for a thread that may take none: every look that fails is somebody's progress.
    fn look_on(&self, store: &Store<'_, Base>, index: u64, copied: &mut Copied) -> Result<Seen> {
        for _ in 0..LOOKS {
            match store.list_get(index, copied) {
                Found::Found { carrying: true } => return Err(nested::without_lock(&self.base)),
                Found::Found { carrying: false } => return Ok(Some(None)),
                Found::Absent => return Ok(None),
                Found::Busy => spin_loop(),
            }
        }
        Err(self.base.explain(StoreError::Corrupted("a list that never rests")))
    }

    /// Announces a waiter for a change, under the lock: a writer that comes later sees it, and what an earlier one did is
    /// seen here.
    fn announce(&self, store: &Store<'_, Base>, seen: u64) -> Result<Arm> {
        let _locked = self.base.lock(store, 0)?;
        let changes = &self.base.front().changes;
        let seq = changes.seq.load(Acquire); // E1
        changes.flag.store(1, Relaxed);
        Ok(if store.list_version() == seen { Arm::Sleep(seq) } else { Arm::Again })
    }
}

/// Gives what was found to `read`, whose handles are those that are held.
pub(super) fn give<R>(
    seen: Seen,
    copied: &Copied,
    read: impl FnOnce(Option<&[u8]>) -> Result<R>,
) -> Result<R> {
    match seen {
        None => read(None),
        Some(None) => read(Some(copied.as_bytes())),
        Some(Some(incoming)) => carry::unpacking(incoming, || read(Some(copied.as_bytes()))).0,
    }
}

impl Elements {
    pub(super) fn give(self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut rest = self.bytes.as_slice();
        for (len, incoming) in self.each {
            // As long as they were copied.
            let (value, behind) = rest.split_at(len);
            rest = behind;
            match incoming {
                None => each(value)?,
                Some(incoming) => carry::unpacking(incoming, || each(value)).0?,
            }
        }
        Ok(())
    }
}
