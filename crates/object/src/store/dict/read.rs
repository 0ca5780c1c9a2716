//! Reading a dict: without a lock, but for values with handles in them, and where others change the shard all the time.
//!
//! Edges
//! - E1 (pairs with gate.rs E1) whoever waits for a change reads `seq` (Acquire) before it looks.

use std::cell::Cell;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::atomic::spin_loop;
use ginnel_store::node::Key;
use ginnel_store::read::Read;
use ginnel_store::{Copied, Error as StoreError, Locked, Store};
use ginnel_sync::deadline::now_ns;
use ginnel_sync::{Arm, Deadline, Stop};

use crate::carry::{self, Incoming};
use crate::error::Result;

use super::RawDict;
use crate::store::{Base, LOCKS_FORBIDDEN, nested};

/// How often a thread that may take no lock looks again, 64 times each.
const LOOKS: u32 = 1 << 16;

/// What was found under a lock.
pub(in crate::store) struct Seen {
    version: u64,
    /// Holds on what the value's handles name.
    incoming: Option<Incoming>,
}

/// Copies of entries, taken under locks and given out after them.
#[derive(Default)]
struct Entries {
    bytes: Vec<u8>,
    /// Lengths of key and value, and what the value carries.
    each: Vec<(usize, usize, Option<Incoming>)>,
}

/// Reading.
///
/// All operations can say `Forked` and `Corrupted`; those that take a lock `Deadlock` (inside an update of this thread)
/// and `Timeout` (at the end of the patience).
impl RawDict {
    /// Gives the value of a key to `read`. `None`: there is none. Handles in it can be decoded in there.
    ///
    /// # Errors
    /// Those of `read`.
    #[inline]
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> Result<R>) -> Result<R> {
        self.get_at(key, |_, value| read(value))
    }

    /// [`RawDict::get`] with the version of the value; 0 where there is none.
    ///
    /// # Errors
    /// Those of `read`.
    #[inline]
    pub fn get_at<R>(&self, key: &[u8], read: impl FnOnce(u64, Option<&[u8]>) -> Result<R>) -> Result<R> {
        self.base.check_fork()?;
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        let mut copied = Copied::new();
        match store.get(&key, now_ns, &mut copied) {
            Read::Found { version, carrying: false, cold } => {
                if cold {
                    self.touch(&store, &key);
                }
                read(version, Some(copied.as_bytes()))
            }
            Read::Absent => read(0, None),
            _ => {
                let seen = self.look_again(&store, &key, &mut copied)?;
                give(seen, &copied, read)
            }
        }
    }

    /// The version of a key: another number after every change of its value. 0: it is not there.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn version(&self, key: &[u8]) -> Result<u64> {
        self.base.check_fork()?;
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        match store.version(&key, now_ns) {
            Read::Found { version, .. } => Ok(version),
            Read::Absent => Ok(0),
            Read::Busy => {
                let locked = self.lock_of(&store, &key)?;
                self.version_in(&locked, &key)
            }
        }
    }

    /// Waits until the version of a key is not `seen` any more. False: the deadline came first. An entry that expires
    /// meanwhile has changed; that is noticed within 50 ms.
    ///
    /// # Errors
    /// Only the usual ones.
    pub fn wait_changed(&self, key: &[u8], seen: u64, deadline: Deadline) -> Result<bool> {
        self.base.check_fork()?;
        let (store, key) = (self.base.store()?, self.base.key(key)?);
        let failed = Cell::new(None);
        let ready = |_| {
            let version = match store.version(&key, now_ns) {
                Read::Found { version, .. } => version,
                Read::Absent => 0,
                // The next look is under the lock.
                Read::Busy => seen,
            };
            failed.take().map(Err).or_else(|| (version != seen).then_some(Ok(true)))
        };
        let arm = || {
            self.announce(&store, &key, seen).unwrap_or_else(|why| {
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

    /// Gives the entries of a shard to `each`, as they are at one moment. They are copied under its lock, and given
    /// after it. A shard that there is not has no entries.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn shard(&self, shard: usize, each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.base.check_fork()?;
        if shard >= self.shards() {
            return Ok(());
        }
        let store = self.base.store()?;
        let mut entries = Entries::default();
        self.copy_all(&self.base.lock(&store, shard)?, &mut entries)?;
        entries.give(each)
    }

    /// Gives all entries to `each`, as they are at one moment: all locks are held while they are copied.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn snapshot(&self, each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let mut entries = Entries::default();
        let locks = self.base.lock_all(&store)?;
        locks.iter().try_for_each(|locked| self.copy_all(locked, &mut entries))?;
        drop(locks);
        entries.give(each)
    }

    /// Takes the lock of a key's shard.
    #[inline(always)]
    pub(in crate::store) fn lock_of<'a>(
        &'a self,
        store: &Store<'a, Base>,
        key: &Key<'_>,
    ) -> Result<Locked<'a, Base>> {
        self.base.lock(store, key.shard(store.shards().len()))
    }

    /// What a key has, under the lock of its shard: its value is copied, and what that carries is held.
    pub(in crate::store) fn look_in(
        &self,
        locked: &Locked<'_, Base>,
        key: &Key<'_>,
        copied: &mut Copied,
    ) -> Result<Option<Seen>> {
        let mut look = || {
            let Some(node) = locked.find(key, now_ns)? else { return Ok(None) };
            locked.read(node, copied)?;
            let table = if node.parcel_count() > 0 { Some(locked.parcels(node)?) } else { None };
            Ok(Some((node.version(), table)))
        };
        let Some((version, table)) = self.base.told(look())? else { return Ok(None) };
        let incoming = table.map(|table| self.base.peek(&table)).transpose()?;
        Ok(Some(Seen { version, incoming }))
    }

    /// The version of a key, under the lock of its shard.
    pub(in crate::store) fn version_in(&self, locked: &Locked<'_, Base>, key: &Key<'_>) -> Result<u64> {
        let found = self.base.told(locked.find(key, now_ns))?;
        Ok(found.map_or(0, |node| node.version()))
    }

    #[cold]
    #[inline(never)]
    fn look_again(
        &self,
        store: &Store<'_, Base>,
        key: &Key<'_>,
        copied: &mut Copied,
    ) -> Result<Option<Seen>> {
        if LOCKS_FORBIDDEN.get() {
            return self.look_on(store, key, copied);
        }
        let locked = self.lock_of(store, key)?;
        self.look_in(&locked, key, copied)
    }

    /// Goes on without a lock, for a thread that may take none: every look that fails is somebody's progress.
    fn look_on(&self, store: &Store<'_, Base>, key: &Key<'_>, copied: &mut Copied) -> Result<Option<Seen>> {
        for _ in 0..LOOKS {
            match store.get(key, now_ns, copied) {
                Read::Found { carrying: true, .. } => return Err(nested::without_lock(&self.base)),
                Read::Found { version, .. } => return Ok(Some(Seen { version, incoming: None })),
                Read::Absent => return Ok(None),
                Read::Busy => spin_loop(),
            }
        }
        Err(self.base.explain(StoreError::Corrupted("a shard that never rests")))
    }

    /// Says that an entry was read, if nobody has the lock.
    #[cold]
    #[inline(never)]
    fn touch(&self, store: &Store<'_, Base>, key: &Key<'_>) {
        let shard = key.shard(store.shards().len());
        if !LOCKS_FORBIDDEN.get()
            && let Ok(Some(locked)) = store.try_lock(shard, self.base.handle().holder())
        {
            // A hint: what is wrong, the next writer finds out.
            let _ = locked.touch(key);
        }
    }

    /// Announces a waiter for a change, under the lock of the key's shard: a writer that comes later sees it, and what an
    /// earlier one did is seen here.
    fn announce(&self, store: &Store<'_, Base>, key: &Key<'_>, seen: u64) -> Result<Arm> {
        let locked = self.lock_of(store, key)?;
        let changes = &self.base.front().changes;
        let seq = changes.seq.load(Acquire); // E1
        changes.flag.store(1, Relaxed);
        let version = self.version_in(&locked, key)?;
        Ok(if version == seen { Arm::Sleep(seq) } else { Arm::Again })
    }

    fn copy_all(&self, locked: &Locked<'_, Base>, entries: &mut Entries) -> Result<()> {
        let mut failed = None;
        let walked = locked.for_each(now_ns, |node, key, value| {
            let table = if node.parcel_count() > 0 { locked.parcels(node) } else { Ok(Vec::new()) };
            let incoming = self
                .base
                .told(table)
                .and_then(|table| if table.is_empty() { Ok(None) } else { self.base.peek(&table).map(Some) });
            match incoming {
                Ok(incoming) => {
                    entries.bytes.extend_from_slice(key);
                    entries.bytes.extend_from_slice(value);
                    entries.each.push((key.len(), value.len(), incoming));
                }
                Err(why) => failed = Some(why),
            }
        });
        self.base.told(walked)?;
        failed.map_or(Ok(()), Err)
    }
}

/// Gives what was found to `read`, whose handles are those that are held.
pub(in crate::store) fn give<R>(
    seen: Option<Seen>,
    copied: &Copied,
    read: impl FnOnce(u64, Option<&[u8]>) -> Result<R>,
) -> Result<R> {
    match seen {
        None => read(0, None),
        Some(Seen { version, incoming: None }) => read(version, Some(copied.as_bytes())),
        Some(Seen { version, incoming: Some(incoming) }) => {
            carry::unpacking(incoming, || read(version, Some(copied.as_bytes()))).0
        }
    }
}

impl Entries {
    fn give(self, mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut rest = self.bytes.as_slice();
        for (key, value, incoming) in self.each {
            // As long as they were written.
            let (entry, behind) = rest.split_at(key + value);
            let (key, value) = entry.split_at(key);
            rest = behind;
            match incoming {
                None => each(key, value)?,
                Some(incoming) => carry::unpacking(incoming, || each(key, value)).0?,
            }
        }
        Ok(())
    }
}
