//! How a store is made, and what stands in its front for whoever opens it.

use std::hash::{BuildHasher, RandomState};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::line::PAGE;
use ginnel_layout::store::{
    NAME_MAX, NAMES_AT, SHARD_SIZE, SHARDS_AT, SHARDS_MAX, StoreFront, StoreNames, flag,
};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::sweep::tag;
use crate::words;

/// Shards of a dict whose maker names no number.
const SHARDS: u32 = 64;

/// What a store is, for those who look for its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Keys and values.
    Dict,
    /// Values in a row.
    List,
    /// Names and values, each of its own type.
    Namespace,
}

impl StoreKind {
    pub(crate) const fn kind(self) -> Kind {
        let tag = match self {
            Self::Dict => tag::DICT,
            Self::List => tag::LIST,
            Self::Namespace => tag::NAMESPACE,
        };
        // Values are encoded; of which types they are, the names say.
        Kind { tag, format: u64::MAX }
    }
}

/// How a store is made. Who opens an existing one takes it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreOptions {
    /// A power of two, at most 64: so many writers do not meet. `None`: 64, and 1 for a list.
    pub shards: Option<u32>,
    /// Most bytes of memory that its entries may take, rounded up to pages. `None`: as many as the manager has.
    pub limit: Option<usize>,
    /// How long an entry lives for which nothing else is said. `None`: for ever.
    pub ttl: Option<Duration>,
    /// Where memory is short, entries go that were not read lately.
    pub evict: bool,
    /// A list of values of at most 8 bytes, which lie side by side.
    pub plain8: bool,
}

impl StoreOptions {
    fn shards(&self, kind: StoreKind) -> Result<u32> {
        let usual = if kind == StoreKind::List { 1 } else { SHARDS };
        let shards = self.shards.unwrap_or(usual);
        let most = if kind == StoreKind::List { 1 } else { SHARDS_MAX };
        if shards.is_power_of_two() && shards <= most {
            return Ok(shards);
        }
        let why = format!("{shards} shards; a dict has a power of two of them, at most {SHARDS_MAX}");
        Err(Error::new(ErrorKind::Invalid, why))
    }

    fn write(&self, kind: StoreKind, shards: u32, front: &StoreFront) {
        let mut flags = if kind == StoreKind::List { flag::LIST } else { 0 };
        flags |= if self.evict { flag::EVICT } else { 0 };
        flags |= if self.plain8 && kind == StoreKind::List { flag::PLAIN8 } else { 0 };
        let shape = &front.shape;
        shape.shards.store(shards, Relaxed);
        shape.flags.store(flags, Relaxed);
        // The hasher of the standard library is keyed by the system's random numbers.
        shape.seed.store(RandomState::new().hash_one(std::process::id()), Relaxed);
        shape.limit.store(self.limit.map_or(0, |bytes| bytes.div_ceil(PAGE).max(1) as u64), Relaxed);
        shape.ttl_ns.store(self.ttl.map_or(0, nanoseconds), Relaxed);
    }
}

/// At least one: 0 says that there is no end.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// Makes a store whose keys and values have these types.
///
/// # Errors
/// `Invalid` for a number of shards that no store has; `TooLarge` for names of types above 2040 bytes; `Full`, `Forked`,
/// `Os`.
pub(super) fn make(
    arena: &Arc<Arena>,
    name: Option<&str>,
    kind: StoreKind,
    (key, value): (&str, &str),
    options: &StoreOptions,
) -> Result<ObjectRef> {
    let shards = options.shards(kind)?;
    if key.len().max(value.len()) > NAME_MAX {
        let why = format!("the name of a type of more than {NAME_MAX} bytes");
        return Err(Error::new(ErrorKind::TooLarge, why));
    }
    let bytes = SHARDS_AT + u64::from(shards) * SHARD_SIZE;
    let pages = bytes.div_ceil(PAGE as u64) as u32;
    let init = |base: NonNull<u8>| {
        options.write(kind, shards, words::new_front(base));
        let value_at = NAMES_AT as usize + size_of::<StoreNames>() / 2;
        for (at, text) in [(NAMES_AT as usize, key), (value_at, value)] {
            words::write_data(base, at, &(text.len() as u64).to_ne_bytes());
            words::write_data(base, at + size_of::<u64>(), text.as_bytes());
        }
    };
    arena.make(kind.kind(), pages, name, init)
}

/// The types of the keys and of the values, as their maker named them.
///
/// # Errors
/// `Corrupted`.
pub(super) fn names(handle: &Handle<StoreFront>) -> Result<(String, String)> {
    let count = size_of::<StoreNames>() / 2 / size_of::<AtomicU64>();
    let corrupted = || handle.corrupted("the types of a store");
    let read = |at: usize| {
        let words: &[AtomicU64] = handle.tail(NAMES_AT as usize + at * size_of::<AtomicU64>(), count)?;
        let (len, text) = words.split_first().ok_or_else(corrupted)?;
        let len = usize::try_from(len.load(Relaxed)).ok().filter(|len| *len <= NAME_MAX);
        let mut bytes: Vec<u8> = text.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
        bytes.truncate(len.ok_or_else(corrupted)?);
        String::from_utf8(bytes).map_err(|_| corrupted())
    };
    Ok((read(0)?, read(count)?))
}

/// # Errors
/// `Mismatch` where the maker's types are others; `Corrupted`.
pub(super) fn expect_names(handle: &Handle<StoreFront>, (key, value): (&str, &str)) -> Result<()> {
    let found = names(handle)?;
    if (found.0.as_str(), found.1.as_str()) == (key, value) {
        return Ok(());
    }
    let describe = |key: &str, value: &str| match (key, value) {
        (key, "") => format!("values of {key}"),
        (key, value) => format!("keys of {key} and values of {value}"),
    };
    let why = format!("wanted {}, found {}", describe(key, value), describe(&found.0, &found.1));
    Err(handle.error(ErrorKind::Mismatch, why).with_advice("open it as what it is, or choose another name"))
}
