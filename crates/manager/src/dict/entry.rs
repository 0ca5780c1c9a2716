//! std's way to write "what is there, or else".
//!
//! An entry of std's maps borrows the map. Other processes cannot be kept out by a borrow, so nothing is locked between
//! [`Dict::entry`] and what is called on it: each method is one atomic step of its own, and what it does is decided then.

use std::fmt;

use ginnel_object::bridge::store::Change;
use ginnel_object::{Message, Result};

use super::Dict;
use super::change::PUT;
use crate::key::Key;

impl<K: Key, V: Message> Dict<K, V> {
    /// The place of a key, for what std calls the entry API.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let stock = Dict::<String, u32>::new()?;
    /// stock.entry("nails".into()).or_insert(100)?;
    /// let left = stock.entry("nails".into()).and_modify(|n| *n -= 1).or_insert(100)?;
    /// assert_eq!(left, 99);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    pub fn entry(&self, key: K) -> Entry<'_, K, V> {
        Entry { dict: self, key, modify: None }
    }
}

/// The place of a key in a dict. Nothing is locked before one of its methods is called, and nothing after it.
#[must_use = "an entry does nothing by itself"]
pub struct Entry<'a, K, V, F = fn(&mut V)> {
    dict: &'a Dict<K, V>,
    key: K,
    modify: Option<F>,
}

impl<K: fmt::Debug, V, F> fmt::Debug for Entry<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("dict", self.dict).field("key", &self.key).finish_non_exhaustive()
    }
}

impl<'a, K: Key, V: Message, F: FnOnce(&mut V)> Entry<'a, K, V, F> {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Before what comes next, and in one step with it: `f` changes the value that is there. Runs under the lock, once, as
    /// the closures of [`Dict::update`] do.
    pub fn and_modify<G: FnOnce(&mut V)>(self, f: G) -> Entry<'a, K, V, impl FnOnce(&mut V)> {
        let Self { dict, key, modify } = self;
        let both = move |value: &mut V| {
            if let Some(first) = modify {
                first(value);
            }
            f(value);
        };
        Entry { dict, key, modify: Some(both) }
    }

    /// The value that is there, changed if that was asked for; `default`, put in, if there is none.
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn or_insert(self, default: V) -> Result<V> {
        self.or_insert_with(|| default)
    }

    /// [`Entry::or_insert`] of what `default` gives, which runs only if it is needed, under the lock.
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn or_insert_with(self, default: impl FnOnce() -> V) -> Result<V> {
        let Self { dict, key, modify } = self;
        let Some(modify) = modify else { return dict.get_or_insert_with(key, default) };
        dict.decide(&key, |old, out| {
            let value = match old {
                Some(mut value) => {
                    modify(&mut value);
                    value
                }
                None => default(),
            };
            value.put(out)?;
            Ok((PUT, value))
        })
    }

    /// [`Entry::or_insert`] of the type's default.
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn or_default(self) -> Result<V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// The value that is there, changed if that was asked for. `None`: there is none, and none is put in.
    ///
    /// # Errors
    /// As [`Dict::update`].
    pub fn get(self) -> Result<Option<V>> {
        let Self { dict, key, modify } = self;
        let Some(modify) = modify else { return dict.get(&key) };
        dict.decide(&key, |old, out| {
            let Some(mut value) = old else { return Ok((Change::Keep, None)) };
            modify(&mut value);
            value.put(out)?;
            Ok((PUT, Some(value)))
        })
    }

    /// Puts a value in, and gives the one that was there.
    ///
    /// # Errors
    /// As [`Dict::insert`].
    pub fn insert(self, value: V) -> Result<Option<V>> {
        self.dict.insert(self.key, value)
    }

    /// Takes the value out that is there.
    ///
    /// # Errors
    /// As [`Dict::remove`].
    pub fn remove(self) -> Result<Option<V>> {
        self.dict.remove(&self.key)
    }
}
