//! A map in shared memory: what one process puts in, every other finds.
//!
//! This file is the handle and the plain operations. What reads and writes in one step is in `change` (`update` and its
//! kin), `counter` (numbers in place), `entry` (std's shape of it) and `transaction` (several keys); `iter` walks,
//! `watch` waits. The memory, the locks and what a death leaves are the crate `store`'s and, bound to an arena, the
//! crate of objects'; here bytes become keys and values.

mod change;
mod counter;
mod entry;
mod iter;
mod options;
mod transaction;
mod watch;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use ginnel_object::bridge::store::{RawDict, Ttl, Usage};
use ginnel_object::message::out::Out;
use ginnel_object::{Manager, Message, Result};

use crate::key::{self, Key, Lookup};
use crate::value;

pub use entry::Entry;
pub use iter::{Iter, Keys, Values};
pub use options::Options;
pub use transaction::Transaction;
pub use watch::Watch;

/// A map in shared memory, for any number of processes and threads.
///
/// ```
/// use ginnel_manager::Dict;
///
/// let ages = Dict::<String, u32>::new()?;
/// ages.insert("ada".into(), 36)?;
/// assert_eq!(ages.get("ada")?, Some(36));
/// ages.update("ada".into(), |age| age.unwrap_or(0) + 1)?; // atomic: no update is lost
/// assert_eq!(ages.remove("ada")?, Some(37));
/// # Ok::<(), ginnel_object::Error>(())
/// ```
///
/// # Keys and values
/// A key is a serde type with `Eq` and `Hash`; it is compared by its encoding, at most 65,535 bytes. A value is any
/// [`Message`]: a serde type, or [`Raw`](ginnel_object::Raw) for plain bytes. Handles may be values or parts of them:
/// a dict of dicts, a dict of queues. They stay alive as long as the entry. [`Block`](ginnel_object::Block)s and
/// exclusive ends may not (`Encode`), as two readers would both have them.
///
/// # Who waits for whom
/// Reading takes no lock and waits for nobody, also not for a writer that is stopped or dead; only a value with a handle
/// in it is read under the lock of its shard. Writing takes that lock, for as long as it takes to link one entry, and
/// waits for whoever has it; [`Dict::with_patience`] limits that. The closures of [`Dict::update`] and its kin run under
/// the lock: inside them every operation that would lock any dict or list is the error `Deadlock`.
/// [`Dict::transaction`] is the form that locks nothing while its closure runs.
///
/// # What a crash leaves
/// A writer that is killed has either done its operation, or not begun it: one store of 8 bytes decides. Whoever comes
/// next finds the lock free, and the memory of what was half made is used again. After a bare `fork` the child's handles
/// answer `Forked`.
///
/// # Memory
/// It comes from the manager, as it is needed, up to the limit of both: more is the error `Full`, and what was there
/// stays. The memory of removed values is used again by the same dict; the manager gets it back when the dict is freed,
/// with its last handle and its name.
///
/// The handle is `Clone + Send + Sync` and may be sent in messages and given to processes. Source: a table of slots for
/// each shard, over nodes that never change (crate `store`).
pub struct Dict<K, V> {
    raw: RawDict,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Dict<K, V> {
    fn clone(&self) -> Self {
        Self::of(self.raw.clone())
    }
}

/// Its object and how many entries it has, not the entries.
impl<K, V> fmt::Debug for Dict<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dict")
            .field("object", &self.raw)
            .field("len", &self.raw.len())
            .finish_non_exhaustive()
    }
}

impl<K, V> Dict<K, V> {
    pub(crate) fn of(raw: RawDict) -> Self {
        Self { raw, types: PhantomData }
    }

    pub(crate) fn as_raw(&self) -> &RawDict {
        &self.raw
    }
}

/// What errors call it.
const PLACE: &str = "dict";

/// Encodes a value where the store wants it.
#[inline]
fn write<V: Message>(value: &V) -> impl FnOnce(&mut Out<'_>) -> Result<()> {
    move |out| value.put(out)
}

/// Decodes what an entry had, if there was one.
#[inline]
fn read<V: Message>(bytes: Option<&[u8]>) -> Result<Option<V>> {
    bytes.map(|bytes| value::read(bytes, PLACE)).transpose()
}

impl<K: Key, V: Message> Dict<K, V> {
    /// An empty dict in the manager of this process, with 64 shards and no limit of its own.
    ///
    /// # Errors
    /// `Full` when the manager has no room for it; `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Self::with(Options::new())
    }

    /// An empty dict in the manager of this process.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ginnel_manager::{Dict, dict::Options};
    ///
    /// let sessions = Dict::<u64, String>::with(Options::new().ttl(Duration::from_secs(600)).limit(64 << 20))?;
    /// sessions.insert(1, "ada".into())?;
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::new`]; `Invalid` for impossible options.
    pub fn with(options: Options) -> Result<Self> {
        Manager::current()?.create_with(options)
    }

    /// A dict of these entries, in the manager of this process. Of entries with one key the last one stays.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let squares = Dict::from_iter((0..10_u32).map(|n| (n, n * n)))?;
    /// assert_eq!(squares.get(&7)?, Some(49));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::new`] and [`Dict::insert`].
    #[allow(clippy::should_implement_trait, reason = "the trait cannot fail")]
    pub fn from_iter(entries: impl IntoIterator<Item = (K, V)>) -> Result<Self> {
        let dict = Self::new()?;
        dict.extend(entries)?;
        Ok(dict)
    }

    /// Another handle, whose operations wait at most this long for a lock, then fail with `Timeout` and the holder's name.
    /// Without it they wait for ever for a holder that lives.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self::of(self.raw.clone().with_patience(patience))
    }

    /// Puts a value under a key, and gives the one that was there. [`Dict::set`] is faster where nobody wants that.
    ///
    /// # Errors
    /// `Full` when there is no room; `TooLarge` for a key above 65,535 bytes; `Encode`; `Decode` when the old value is no
    /// `V`, which is replaced all the same; `Timeout`, `Deadlock` inside a closure under a lock, `Forked`, `Corrupted`.
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>> {
        self.swap(&key, &value, Ttl::Default)
    }

    /// [`Dict::insert`] of an entry that is gone after `ttl`, whatever the dict's own is.
    ///
    /// An entry whose time has passed is there for nobody; its memory is used again when its place is needed, or with
    /// [`Dict::purge`].
    ///
    /// # Errors
    /// As [`Dict::insert`].
    pub fn insert_for(&self, key: K, value: V, ttl: Duration) -> Result<Option<V>> {
        self.swap(&key, &value, Ttl::After(ttl))
    }

    fn swap(&self, key: &K, value: &V, ttl: Ttl) -> Result<Option<V>> {
        key::with_bytes(key, |key| self.raw.swap(key, ttl, write(value), read))
    }

    /// Puts a value under a key, without a look at the one that was there: the fast way. True: there was one.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let hits = Dict::<String, u64>::new()?;
    /// assert!(!hits.set("/index", &1)?); // it keeps neither: no need to own a key or a value
    /// assert!(hits.set("/index", &2)?);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::insert`], but for `Decode`.
    #[inline]
    pub fn set<Q>(&self, key: &Q, value: &V) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| self.raw.put(key, Ttl::Default, write(value)))
    }

    /// [`Dict::set`] of an entry that is gone after `ttl`.
    ///
    /// # Errors
    /// As [`Dict::set`].
    pub fn set_for<Q>(&self, key: &Q, value: &V, ttl: Duration) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| self.raw.put(key, Ttl::After(ttl), write(value)))
    }

    /// The value under a key. `None`: there is none. Takes no lock and waits for nobody, unless the value has a handle in
    /// it.
    ///
    /// # Errors
    /// `Decode` when it is no `V`; `Encode` or `TooLarge` for a key that cannot be one; `Forked`, `Corrupted`; with handles in
    /// the value also `Timeout` and `Deadlock`.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| self.raw.get(key, read))
    }

    /// Gives the encoded value to `f`, without decoding it: postcard, or the bytes of a [`Raw`](ginnel_object::Raw).
    /// `None`: there is none. The bytes are a private copy.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    /// use ginnel_object::Raw;
    ///
    /// let frames = Dict::<u32, Raw<[u8; 64]>>::new()?;
    /// frames.set(&7, &Raw([3; 64]))?;
    /// let sum = frames.get_with(&7, |bytes| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>())?;
    /// assert_eq!(sum, Some(192));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::get`], but for `Decode`.
    pub fn get_with<Q, R>(&self, key: &Q, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| self.raw.get(key, |bytes| Ok(bytes.map(f))))
    }

    /// The value under a key, or `default`, which is not put in: [`Dict::get_or_insert_with`] does that.
    ///
    /// # Errors
    /// As [`Dict::get`].
    pub fn get_or<Q>(&self, key: &Q, default: V) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        Ok(self.get(key)?.unwrap_or(default))
    }

    /// Is there a value under the key, at this moment?
    ///
    /// # Errors
    /// As [`Dict::get`], but for `Decode`.
    pub fn contains_key<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        Ok(self.version(key)? != 0)
    }

    /// Takes the value under a key out. `None`: there was none. Of several who try, one gets it.
    ///
    /// # Errors
    /// `Decode` when it was no `V`: it is gone all the same; else as [`Dict::insert`], but for `Full`.
    pub fn remove<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| self.raw.take(key, read))
    }

    /// Takes the value under a key out; `default` if there is none.
    ///
    /// # Errors
    /// As [`Dict::remove`].
    pub fn pop<Q>(&self, key: &Q, default: V) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        Ok(self.remove(key)?.unwrap_or(default))
    }

    /// Removes what is under a key, without a look at it. False: there was nothing.
    ///
    /// # Errors
    /// As [`Dict::remove`], but for `Decode`.
    pub fn discard<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| self.raw.remove(key))
    }

    /// Puts all of them in, one after the other: who reads meanwhile finds some of them.
    ///
    /// # Errors
    /// As [`Dict::insert`]; those before the one that failed are in.
    pub fn extend(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        entries.into_iter().try_for_each(|(key, value)| self.set(&key, &value).map(drop))
    }

    /// Entries, at about this moment. Those whose time has passed count until their memory is used again.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Are there no entries, at about this moment?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all entries, one shard after the other: who reads meanwhile finds some of them. What is put in meanwhile
    /// may stay.
    ///
    /// # Errors
    /// `Timeout`, `Deadlock`, `Forked`, `Corrupted`; shards before that are empty.
    pub fn clear(&self) -> Result<()> {
        self.raw.clear()
    }

    /// All entries as they were at one moment: it holds all locks while it copies them. Decoding happens after that.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let stock = Dict::from_iter([("nails".to_owned(), 100_u32), ("glue".to_owned(), 3)])?;
    /// let all = stock.snapshot()?;
    /// assert_eq!((all.len(), all["glue"]), (2, 3));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode`, `Timeout`, `Deadlock`, `Forked`, `Corrupted`.
    pub fn snapshot(&self) -> Result<HashMap<K, V>> {
        let mut all = HashMap::with_capacity(self.len());
        self.raw.snapshot(|key, bytes| {
            all.insert(key::read(key)?, value::read(bytes, PLACE)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Frees the entries whose time has passed; how many there were. Nobody has to call this: it happens by itself where
    /// room is needed.
    ///
    /// # Errors
    /// As [`Dict::clear`].
    pub fn purge(&self) -> Result<usize> {
        self.raw.purge()
    }

    /// Memory that it takes, and how much of that is free for new entries. For people and tools.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn usage(&self) -> Result<Usage> {
        self.raw.usage()
    }
}
