//! Several keys at once: all of it happens, or nothing.
//!
//! A run of the closure reads and remembers, for each key, the version that it saw; what it writes is kept aside. Then
//! the shards are locked, the versions compared, and all is written with one commit. If somebody was faster the closure
//! runs again; who has lost three times locks all shards first and cannot lose any more.
//!
//! What one run sees is what was there at one moment: each read looks whether the reads before it still hold, and if not
//! the run is over. So a closure does not compute with halves of two states, also not one whose result would be thrown away. (A key that is
//! absent has no version of its own: one that came and went between two looks is only noticed at the commit.)

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use ginnel_object::bridge::store::{Exclusive, Packed, RawDict, Ttl, Write, without_locks};
use ginnel_object::{Error, ErrorKind, Message, Result};

use super::{Dict, read};
use crate::key::{self, Key, Lookup};

/// Runs without a lock, before one with all of them.
const RUNS: u32 = 3;

impl<K: Key, V: Message> Dict<K, V> {
    /// Runs `f`, which reads and writes any entries through the [`Transaction`], and makes what it wrote there at one
    /// moment, provided that what it read is still so; else `f` runs again. If `f` fails, nothing is written.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let accounts = Dict::from_iter([("ada".to_owned(), 100_i64), ("bob".to_owned(), 0)])?;
    /// let paid = accounts.transaction(|t| {
    ///     let (ada, bob) = (t.get("ada")?.unwrap_or(0), t.get("bob")?.unwrap_or(0));
    ///     if ada < 30 {
    ///         return Ok(false);
    ///     }
    ///     t.insert("ada".into(), ada - 30)?;
    ///     t.insert("bob".into(), bob + 30)?;
    ///     Ok(true)
    /// })?;
    /// assert!(paid);
    /// assert_eq!(accounts.get("bob")?, Some(30));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// No lock is held while `f` runs, but for its fourth run, which nobody can disturb and which holds all locks of the
    /// dict: `f` may run up to four times, so what it does besides should bear that. As in the closures of
    /// [`Dict::update`], reading dicts is allowed inside, and everything that would take a lock of one is `Deadlock`.
    ///
    /// A process that is killed in the middle has written everything or nothing; if everything, others finish it. Other
    /// readers see each entry change for itself: who reads two entries without a transaction may see one before and one
    /// after.
    ///
    /// # Errors
    /// Those of `f`; `TooLarge` for more than 224 entries written; else as [`Dict::update`]. In all cases nothing has
    /// changed.
    pub fn transaction<R>(&self, mut f: impl FnMut(&mut Transaction<'_, K, V>) -> Result<R>) -> Result<R> {
        for _ in 0..RUNS {
            let mut run = Transaction::new(&self.raw, None);
            let result = without_locks(|| f(&mut run));
            if run.is_lost {
                continue;
            }
            let result = result?;
            if self.raw.commit(&run.reads, run.writes)? {
                return Ok(result);
            }
        }
        self.raw.exclusively(|all| {
            let mut run = Transaction::new(&self.raw, Some(all));
            let result = f(&mut run)?;
            all.commit(run.writes)?;
            Ok(result)
        })
    }
}

/// One run of the closure of [`Dict::transaction`]: what it sees, and what it wants.
pub struct Transaction<'a, K, V> {
    raw: &'a RawDict,
    /// All shards are locked by us: nothing changes.
    all: Option<&'a Exclusive<'a>>,
    /// Each key that was read, once, with the version it had.
    reads: Vec<(Vec<u8>, u64)>,
    /// Each key that is written, once.
    writes: Vec<Write>,
    /// Somebody changed what was read: nothing of this run counts.
    is_lost: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> fmt::Debug for Transaction<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("reads", &self.reads.len())
            .field("writes", &self.writes.len())
            .finish_non_exhaustive()
    }
}

impl<'a, K: Key, V: Message> Transaction<'a, K, V> {
    fn new(raw: &'a RawDict, all: Option<&'a Exclusive<'a>>) -> Self {
        Self { raw, all, reads: Vec::new(), writes: Vec::new(), is_lost: false, types: PhantomData }
    }

    /// The value under a key: what this transaction has written there, else what is in the dict.
    ///
    /// Each read looks at the keys that were read before: for thousands of keys, [`Dict::snapshot`] is the better way.
    ///
    /// # Errors
    /// As [`Dict::get`]: in here, `Deadlock` for a value with handles in it that somebody else has written. `Failed` when
    /// another process was faster: leave the closure with it, it runs again.
    pub fn get<Q>(&mut self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| match self.written(key) {
            Some(Write { value: None, .. }) => Ok(None),
            Some(Write { value: Some((packed, _)), .. }) => packed.read(|bytes| read(Some(bytes))),
            None => self.look(key, read),
        })
    }

    /// Is there a value under the key?
    ///
    /// # Errors
    /// As [`Transaction::get`], but for `Decode`.
    pub fn contains_key<Q>(&mut self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| match self.written(key) {
            Some(write) => Ok(write.value.is_some()),
            None => self.look(key, |bytes| Ok(bytes.is_some())),
        })
    }

    /// Will put a value under a key. Of several for one key the last one counts.
    ///
    /// # Errors
    /// `Encode` for a key that cannot be one, and for a value that cannot be encoded or has blocks or exclusive ends in it.
    /// Whether there is room is found at the end.
    pub fn insert(&mut self, key: K, value: V) -> Result<()> {
        self.put(&key, &value, Ttl::Default)
    }

    /// [`Transaction::insert`] of an entry that is gone after `ttl`.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn insert_for(&mut self, key: K, value: V, ttl: Duration) -> Result<()> {
        self.put(&key, &value, Ttl::After(ttl))
    }

    fn put(&mut self, key: &K, value: &V, ttl: Ttl) -> Result<()> {
        let packed = self.raw.pack(|out| value.put(out))?;
        key::with_bytes(key, |key| {
            self.write(key, Some((packed, ttl)));
            Ok(())
        })
    }

    /// Will take the value under a key out, if there is one.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn remove<Q>(&mut self, key: &Q) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| {
            self.write(key, None);
            Ok(())
        })
    }

    /// Forgets what it wanted to write so far. With `Ok` after it, the closure ends the transaction without a change.
    pub fn rollback(&mut self) {
        self.writes.clear();
    }

    fn written(&self, key: &[u8]) -> Option<&Write> {
        self.writes.iter().find(|write| write.key == key)
    }

    fn write(&mut self, key: &[u8], value: Option<(Packed, Ttl)>) {
        match self.writes.iter_mut().find(|write| write.key == key) {
            Some(write) => write.value = value,
            None => self.writes.push(Write { key: key.to_vec(), value }),
        }
    }

    /// Reads from the dict, and makes sure that all reads are of one moment.
    fn look<R>(&mut self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> Result<R>) -> Result<R> {
        if let Some(all) = self.all {
            return all.get_at(key, |_, bytes| read(bytes));
        }
        let (version, value) = self.raw.get_at(key, |version, bytes| Ok((version, read(bytes))))?;
        if !self.reads.iter().any(|(known, _)| known == key) {
            self.reads.push((key.to_vec(), version));
        }
        // All of them had their versions at the moment at which the first look of this loop begins, if all of them do.
        for (known, seen) in &self.reads {
            let now = if known == key { version } else { self.raw.version(known)? };
            if now != *seen {
                self.is_lost = true;
                return Err(lost());
            }
        }
        value
    }
}

#[cold]
fn lost() -> Error {
    Error::new(ErrorKind::Failed, "another process changed what this transaction has read")
        .with_advice("leave the closure with this error: it runs again")
}
