//! Waiting until what is under a key changes.

use std::borrow::Borrow;
use std::fmt;
use std::time::{Duration, Instant};

use ginnel_object::{Message, Result};
use ginnel_sync::Deadline;

use super::{Dict, read};
use crate::key::{self, Key, Lookup};

/// Every change of an entry gives it a new version: a value that is put in, removed, or counted up, also one that equals
/// the old one. 0 stands for no entry. Versions are compared for equality only, and those of different keys not at all.
impl<K: Key, V: Message> Dict<K, V> {
    /// The version of what is under a key now; 0: nothing. Takes no lock.
    ///
    /// # Errors
    /// As [`Dict::get`], but for `Decode`.
    pub fn version<Q>(&self, key: &Q) -> Result<u64>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| self.raw.version(key))
    }

    /// Waits until the version under a key is another than `seen`. One that is gone and back between two looks of a waiter
    /// is only seen as the last of both.
    ///
    /// A writer that dies right after its change may leave the waiters asleep; they look again by themselves, a second
    /// later at most. An entry whose time passes changes to none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ginnel_manager::Dict;
    ///
    /// let config = Dict::from_iter([("level".to_owned(), 1_u8)])?;
    /// let seen = config.version("level")?;
    /// assert!(!config.wait_changed_timeout("level", seen, Duration::ZERO)?);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| config.insert("level".into(), 2));
    ///     config.wait_changed("level", seen)
    /// })?;
    /// assert_eq!(config.get("level")?, Some(2));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Deadlock` inside a closure under a lock, `Forked`, `Corrupted`.
    pub fn wait_changed<Q>(&self, key: &Q, seen: u64) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        self.wait_until(key, seen, Deadline::NEVER).map(drop)
    }

    /// [`Dict::wait_changed`], up to `timeout`. False: it had not changed by then.
    ///
    /// # Errors
    /// As [`Dict::wait_changed`].
    pub fn wait_changed_timeout<Q>(&self, key: &Q, seen: u64, timeout: Duration) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        self.wait_until(key, seen, Deadline::after(timeout))
    }

    /// [`Dict::wait_changed`], until `deadline`. False: it had not changed by then.
    ///
    /// # Errors
    /// As [`Dict::wait_changed`].
    pub fn wait_changed_deadline<Q>(&self, key: &Q, seen: u64, deadline: Instant) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        self.wait_until(key, seen, Deadline::at(deadline))
    }

    fn wait_until<Q: Lookup + ?Sized>(&self, key: &Q, seen: u64, deadline: Deadline) -> Result<bool> {
        key::with_bytes(key, |key| self.raw.wait_changed(key, seen, deadline))
    }

    /// A watch over a key: it waits for change after change. The first one is that after this call.
    ///
    /// # Errors
    /// As [`Dict::version`].
    pub fn watch<Q>(&self, key: &Q) -> Result<Watch<K, V>>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| {
            let seen = self.raw.version(key)?;
            Ok(Watch { dict: self.clone(), key: key.into(), seen })
        })
    }
}

/// Waits for the changes of one entry, one after the other. Changes that follow one another faster than they are asked
/// for are one: what is given is always what is there, and never the same change twice.
///
/// ```
/// use ginnel_manager::Dict;
///
/// let config = Dict::<String, f64>::new()?;
/// let mut rate = config.watch("rate")?;
/// config.insert("rate".into(), 0.1)?;
/// config.insert("rate".into(), 0.2)?;
/// assert_eq!(rate.next()?, Some(0.2));
/// assert!(!rate.is_changed()?);
/// config.remove("rate")?;
/// assert_eq!(rate.next()?, None);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
///
/// It holds the dict as a handle does. Any process may have any number of watches.
pub struct Watch<K, V> {
    dict: Dict<K, V>,
    key: Box<[u8]>,
    seen: u64,
}

impl<K, V> fmt::Debug for Watch<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("dict", &self.dict).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl<K: Key, V: Message> Watch<K, V> {
    /// Waits for the next change, and gives what is there then. `None`: it was removed, or its time has passed.
    ///
    /// # Errors
    /// As [`Dict::wait_changed`] and [`Dict::get`].
    #[allow(clippy::should_implement_trait, reason = "it never ends, and it can fail")]
    pub fn next(&mut self) -> Result<Option<V>> {
        self.wait()?;
        self.get()
    }

    /// What is there now. It counts as seen.
    ///
    /// # Errors
    /// As [`Dict::get`].
    pub fn get(&mut self) -> Result<Option<V>> {
        let (seen, value) = self.dict.raw.get_at(&self.key, |version, bytes| Ok((version, read(bytes))))?;
        self.seen = seen;
        value
    }

    /// Has it changed since the last look?
    ///
    /// # Errors
    /// As [`Dict::version`].
    pub fn is_changed(&self) -> Result<bool> {
        Ok(self.dict.raw.version(&self.key)? != self.seen)
    }

    /// Waits for the next change, without a look at it.
    ///
    /// # Errors
    /// As [`Dict::wait_changed`].
    pub fn wait(&self) -> Result<()> {
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// [`Watch::wait`], up to `timeout`. False: nothing had changed by then.
    ///
    /// # Errors
    /// As [`Dict::wait_changed`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait_until(Deadline::after(timeout))
    }

    /// [`Watch::wait`], until `deadline`. False: nothing had changed by then.
    ///
    /// # Errors
    /// As [`Dict::wait_changed`].
    pub fn wait_deadline(&self, deadline: Instant) -> Result<bool> {
        self.wait_until(Deadline::at(deadline))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<bool> {
        self.dict.raw.wait_changed(&self.key, self.seen, deadline)
    }
}
