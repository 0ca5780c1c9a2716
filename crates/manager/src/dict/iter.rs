//! Walking a dict: shard by shard.

use std::fmt;
use std::vec;

use ginnel_object::bridge::store::RawDict;
use ginnel_object::{Message, Result};

use super::{Dict, PLACE};
use crate::key::{self, Key};
use crate::value;

impl<K: Key, V: Message> Dict<K, V> {
    /// The entries, in no order. Each shard is seen as it was at one moment, those of different shards at different ones;
    /// no lock is held between two items, so the loop may use the dict. [`Dict::snapshot`] is all of it at one moment.
    ///
    /// ```
    /// use ginnel_manager::Dict;
    ///
    /// let stock = Dict::from_iter([("nails".to_owned(), 100_u32), ("glue".to_owned(), 3)])?;
    /// let mut total = 0;
    /// for entry in stock.iter() {
    ///     let (_, count) = entry?;
    ///     total += count;
    /// }
    /// assert_eq!(total, 103);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// An item is an error (`Decode`) where an entry is no `(K, V)`; the next one comes after it. Any other error
    /// (`Timeout`, `Deadlock`, `Forked`, `Corrupted`) is the last item.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let read = |key: &[u8], bytes: &[u8]| Ok((key::read(key)?, value::read(bytes, PLACE)?));
        Iter(Shards::new(&self.raw, read))
    }

    /// [`Dict::iter`] by its Python name.
    pub fn items(&self) -> Iter<'_, K, V> {
        self.iter()
    }

    /// The keys, as [`Dict::iter`] gives them. Values are not decoded.
    pub fn keys(&self) -> Keys<'_, K> {
        Keys(Shards::new(&self.raw, |key, _| key::read(key)))
    }

    /// The values, as [`Dict::iter`] gives them. Keys are not decoded.
    pub fn values(&self) -> Values<'_, V> {
        Values(Shards::new(&self.raw, |_, bytes| value::read(bytes, PLACE)))
    }
}

impl<'a, K: Key, V: Message> IntoIterator for &'a Dict<K, V> {
    type Item = Result<(K, V)>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The shards that are still to come, and what is left of the one before them.
struct Shards<'a, T> {
    raw: &'a RawDict,
    read: fn(&[u8], &[u8]) -> Result<T>,
    next: usize,
    ready: vec::IntoIter<Result<T>>,
}

impl<'a, T> Shards<'a, T> {
    fn new(raw: &'a RawDict, read: fn(&[u8], &[u8]) -> Result<T>) -> Self {
        Self { raw, read, next: 0, ready: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(item) = self.ready.next() {
                return Some(item);
            }
            let count = self.raw.shards();
            if self.next >= count {
                return None;
            }
            let mut items = Vec::new();
            let copied = self.raw.shard(self.next, |key, bytes| {
                items.push((self.read)(key, bytes));
                Ok(())
            });
            if let Err(why) = copied {
                self.next = count;
                return Some(Err(why));
            }
            self.next += 1;
            self.ready = items.into_iter();
        }
    }
}

/// The three that walk, one table.
macro_rules! walks {
    ($($(#[$doc:meta])* $name:ident<$($of:ident),+> gives $item:ty;)+) => {
        $(
            $(#[$doc])*
            #[must_use = "an iterator does nothing before it is asked"]
            pub struct $name<'a, $($of),+>(Shards<'a, $item>);

            impl<$($of),+> Iterator for $name<'_, $($of),+> {
                type Item = Result<$item>;

                fn next(&mut self) -> Option<Result<$item>> {
                    self.0.next()
                }
            }

            impl<$($of),+> fmt::Debug for $name<'_, $($of),+> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct(stringify!($name)).field("dict", self.0.raw).field("shard", &self.0.next).finish()
                }
            }
        )+
    };
}

walks! {
    /// The entries of a dict; see [`Dict::iter`].
    Iter<K, V> gives (K, V);
    /// The keys of a dict; see [`Dict::keys`].
    Keys<K> gives K;
    /// The values of a dict; see [`Dict::values`].
    Values<V> gives V;
}
