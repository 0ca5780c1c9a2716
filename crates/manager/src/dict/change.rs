//! Reading and writing an entry in one step, under the lock of its shard.

use std::borrow::Borrow;

use ginnel_object::bridge::store::{Change, Ttl};
use ginnel_object::message::out::Out;
use ginnel_object::{Message, Result};

use super::{Dict, read};
use crate::key::{self, Key, Lookup};

/// The new value is in the `Out`, and stays as long as the old one would have.
pub(super) const PUT: Change = Change::Put(Ttl::Keep);

/// The closures of these operations run exactly once, under the lock of the key's shard, and nothing else happens to the
/// entry meanwhile. They should be short: other writers of the shard wait. Inside them, reading any dict or list is
/// allowed (values without handles); whatever would take a lock of any dict or list is the error `Deadlock`. If one
/// panics, or its process is killed, everything is as it was before. An entry that is replaced keeps the time it has left.
impl<K: Key, V: Message> Dict<K, V> {
    /// Replaces the value under a key by what `f` makes of it, atomically, and gives what `f` made. `None` for `f`: there
    /// was none.
    ///
    /// This is Python's `d[k] = d.get(k, 0) + 1` without the race in it.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let counts = Dict::<String, u64>::new()?;
    /// for word in ["to", "be", "or", "not", "to", "be"] {
    ///     counts.update(word.into(), |n| n.unwrap_or(0) + 1)?;
    /// }
    /// assert_eq!(counts.get("be")?, Some(2));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` when what is there is no `V`: it stays; else as [`Dict::insert`]. In all cases nothing has changed.
    pub fn update(&self, key: K, f: impl FnOnce(Option<V>) -> V) -> Result<V> {
        self.decide(&key, |old, out| {
            let new = f(old);
            new.put(out)?;
            Ok((PUT, new))
        })
    }

    /// [`Dict::update`] that may also remove: `None` from `f` takes the entry out, or leaves none. Gives what `f` made.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let tokens = Dict::from_iter([("door".to_owned(), 2_u8)])?;
    /// let spend = |n: Option<u8>| n.and_then(|n| n.checked_sub(1)).filter(|n| *n > 0);
    /// assert_eq!(tokens.alter("door".into(), spend)?, Some(1));
    /// assert_eq!(tokens.alter("door".into(), spend)?, None);
    /// assert!(!tokens.contains_key("door")?);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn alter(&self, key: K, f: impl FnOnce(Option<V>) -> Option<V>) -> Result<Option<V>> {
        self.decide(&key, |old, out| {
            let new = f(old);
            let Some(value) = &new else { return Ok((Change::Remove, None)) };
            value.put(out)?;
            Ok((PUT, new))
        })
    }

    /// Changes the value under a key where it is. False: there is none, and `f` was not called.
    ///
    /// A change inside a value really arrives, which is Python's classic surprise with managers.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let tags = Dict::from_iter([(1_u32, vec!["red".to_owned()])])?;
    /// assert!(tags.modify(&1, |tags| tags.push("blue".into()))?);
    /// assert_eq!(tags.get(&1)?.map(|tags| tags.len()), Some(2));
    /// assert!(!tags.modify(&2, |tags| tags.clear())?);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn modify<Q>(&self, key: &Q, f: impl FnOnce(&mut V)) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        Ok(self.modify_with(key, f)?.is_some())
    }

    /// [`Dict::modify`] that gives what `f` gave. `None`: there is no value, and `f` was not called.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let queues = Dict::from_iter([("a".to_owned(), vec![1, 2, 3])])?;
    /// assert_eq!(queues.modify_with("a", |jobs| jobs.pop())?, Some(Some(3)));
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn modify_with<Q, R>(&self, key: &Q, f: impl FnOnce(&mut V) -> R) -> Result<Option<R>>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
    {
        self.decide(key, |old, out| {
            let Some(mut value) = old else { return Ok((Change::Keep, None)) };
            let given = f(&mut value);
            value.put(out)?;
            Ok((PUT, Some(given)))
        })
    }

    /// The value under a key; where there is none, that of `f`, which is put in. Of several who try, one runs `f`.
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn get_or_insert_with(&self, key: K, f: impl FnOnce() -> V) -> Result<V> {
        if let Some(value) = self.get(&key)? {
            return Ok(value);
        }
        self.decide(&key, |old, out| {
            if let Some(value) = old {
                return Ok((Change::Keep, value));
            }
            let new = f();
            new.put(out)?;
            Ok((PUT, new))
        })
    }

    /// Puts `new` under a key if what is there is `expected`, atomically. `None` stands for no entry, on both sides.
    /// Gives `Ok(())` if it did, else what is there instead. Python and other places call it compare-and-swap.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let leader = Dict::<String, u32>::new()?;
    /// assert_eq!(leader.compare_exchange("eu", None, Some(7))?, Ok(())); // nobody was
    /// assert_eq!(leader.compare_exchange("eu", None, Some(8))?, Err(Some(7))); // somebody was faster
    /// assert_eq!(leader.compare_exchange("eu", Some(&7), None)?, Ok(())); // steps down
    /// assert!(leader.is_empty());
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn compare_exchange<Q>(
        &self,
        key: &Q,
        expected: Option<&V>,
        new: Option<V>,
    ) -> Result<Result<(), Option<V>>>
    where
        K: Borrow<Q>,
        Q: Lookup + ?Sized,
        V: PartialEq,
    {
        self.decide(key, |found, out| {
            if found.as_ref() != expected {
                return Ok((Change::Keep, Err(found)));
            }
            let Some(value) = new else { return Ok((Change::Remove, Ok(()))) };
            value.put(out)?;
            Ok((PUT, Ok(())))
        })
    }

    /// Runs `f` on what is there, under the lock, and does what it decides.
    pub(super) fn decide<Q, R>(
        &self,
        key: &Q,
        f: impl FnOnce(Option<V>, &mut Out<'_>) -> Result<(Change, R)>,
    ) -> Result<R>
    where
        Q: Lookup + ?Sized,
    {
        key::with_bytes(key, |key| self.raw.alter(key, |old, out| f(read(old)?, out)))
    }
}
