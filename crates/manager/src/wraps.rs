//! How the types of this crate are objects: made in a manager, found by name, sent in messages.
//!
//! What two programs must agree on stands beside the object: the types of keys and values, by their names without paths.

use ginnel_object::bridge::store::{self, RawDict, RawList, StoreKind, StoreOptions, Wraps};
use ginnel_object::{Message, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dict::{self, Dict};
use crate::key::Key;
use crate::list::{self, List};
use crate::namespace::Namespace;
use crate::value::short_name;

impl<K: Key, V: Message> Wraps for Dict<K, V> {
    type Raw = RawDict;
    type Options = dict::Options;
    const KIND: StoreKind = StoreKind::Dict;

    fn names() -> (String, String) {
        (short_name::<K>(), short_name::<V>())
    }

    fn store(options: dict::Options) -> Result<StoreOptions> {
        let dict::Options { shards, limit, ttl, evict } = options;
        // A number that is too large for the store is refused by it.
        let shards = shards.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Ok(StoreOptions { shards, limit, ttl, evict, plain8: false })
    }

    fn wrap(raw: RawDict) -> Self {
        Self::of(raw)
    }

    fn raw(&self) -> &RawDict {
        self.as_raw()
    }
}

impl<T: Message> Wraps for List<T> {
    type Raw = RawList;
    type Options = list::Options;
    const KIND: StoreKind = StoreKind::List;

    fn names() -> (String, String) {
        (String::new(), short_name::<T>())
    }

    fn store(options: list::Options) -> Result<StoreOptions> {
        Ok(StoreOptions { limit: options.limit, plain8: list::is_plain::<T>(), ..StoreOptions::default() })
    }

    fn wrap(raw: RawList) -> Self {
        Self::of(raw)
    }

    fn raw(&self) -> &RawList {
        self.as_raw()
    }
}

impl Wraps for Namespace {
    type Raw = RawDict;
    type Options = ();
    const KIND: StoreKind = StoreKind::Namespace;

    fn names() -> (String, String) {
        ("String".to_owned(), "any".to_owned())
    }

    fn store((): ()) -> Result<StoreOptions> {
        // A few names: one shard takes the least memory.
        Ok(StoreOptions { shards: Some(1), ..StoreOptions::default() })
    }

    fn wrap(raw: RawDict) -> Self {
        Self::of(raw)
    }

    fn raw(&self) -> &RawDict {
        self.as_raw()
    }
}

/// A handle, inside a message or a value of the same manager; anywhere else an error.
impl<K: Key, V: Message> Serialize for Dict<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        store::serialize(self, serializer)
    }
}

impl<'de, K: Key, V: Message> Deserialize<'de> for Dict<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        store::deserialize(deserializer)
    }
}

/// A handle, inside a message or a value of the same manager; anywhere else an error.
impl<T: Message> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        store::serialize(self, serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        store::deserialize(deserializer)
    }
}

/// A handle, inside a message or a value of the same manager; anywhere else an error.
impl Serialize for Namespace {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        store::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        store::deserialize(deserializer)
    }
}
