//! Names with values of any types: the settings of a program, say.
//!
//! A namespace is a store as a dict is, with names as keys. Its values are of different types, so each carries the name
//! of its own:
//! ```text
//! length of the name, one byte | name of the type, without paths | the value
//! ```

use std::fmt;
use std::time::Duration;

use ginnel_object::bridge::store::{RawDict, Ttl, Usage};
use ginnel_object::{Error, ErrorKind, Manager, Message, Result};

use crate::{key, value};

/// Values of any types under names, in shared memory, for any number of processes and threads.
///
/// ```
/// use ginnel_manager::Namespace;
///
/// let settings = Namespace::new()?;
/// settings.set("rate", &0.1)?;
/// settings.set("title", &"passage".to_owned())?;
/// assert_eq!(settings.get::<f64>("rate")?, Some(0.1));
/// assert!(settings.get::<u32>("rate").is_err_and(|error| error.is_mismatch()));
/// # Ok::<(), ginnel_object::Error>(())
/// ```
///
/// A value can be read only as the type that it was set as. Types are compared by their names without paths (`User`,
/// `Vec<String>`), so that two programs agree on them; two different types of one name that encode differently are found
/// by their bytes (`Decode`), if at all. Handles may be values.
///
/// Reading takes no lock; a process that is killed while it sets a name has set it or not; the rest is as with a
/// [`Dict`](crate::Dict), which is the better choice for many values of one type.
#[derive(Clone)]
pub struct Namespace {
    raw: RawDict,
}

/// Its object and how many names it has.
impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("object", &self.raw).field("len", &self.raw.len()).finish()
    }
}

impl Namespace {
    pub(crate) fn of(raw: RawDict) -> Self {
        Self { raw }
    }

    pub(crate) fn as_raw(&self) -> &RawDict {
        &self.raw
    }
}

/// What errors call it.
const PLACE: &str = "namespace";

impl Namespace {
    /// An empty namespace in the manager of this process.
    ///
    /// # Errors
    /// `Full` when the manager has no room for it; `Forked`, `Os`.
    pub fn new() -> Result<Self> {
        Manager::current()?.create()
    }

    /// Another handle, whose operations wait at most this long for a lock, then fail with `Timeout` and the holder's name.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self::of(self.raw.clone().with_patience(patience))
    }

    /// Sets a name to a value, of whatever type the one before was. True: there was one.
    ///
    /// # Errors
    /// `Full` when there is no room; `TooLarge`; `Encode`; `Timeout`, `Deadlock` inside a closure under a lock, `Forked`,
    /// `Corrupted`.
    pub fn set<T: Message>(&self, name: &str, value: &T) -> Result<bool> {
        let kind = kind_of::<T>()?;
        key::with_bytes(name, |key| {
            self.raw.put(key, Ttl::Default, |out| {
                out.push(kind.len() as u8);
                out.extend(kind.as_bytes());
                value.put(out)
            })
        })
    }

    /// The value of a name. `None`: it is not set.
    ///
    /// # Errors
    /// `Mismatch`, with both types, when it was set as another one; `Decode`, `Forked`, `Corrupted`; with handles in the
    /// value also `Timeout` and `Deadlock`.
    pub fn get<T: Message>(&self, name: &str) -> Result<Option<T>> {
        key::with_bytes(name, |key| {
            self.raw.get(key, |bytes| bytes.map(|bytes| read(name, bytes)).transpose())
        })
    }

    /// The value of a name, or `default` if it is not set.
    ///
    /// # Errors
    /// As [`Namespace::get`].
    pub fn get_or<T: Message>(&self, name: &str, default: T) -> Result<T> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    /// The type of a name's value, without paths. `None`: it is not set.
    ///
    /// # Errors
    /// As [`Namespace::get`], but for `Mismatch`.
    pub fn type_of(&self, name: &str) -> Result<Option<String>> {
        key::with_bytes(name, |key| {
            self.raw.get(key, |bytes| bytes.map(|bytes| Ok(split(name, bytes)?.0.to_owned())).transpose())
        })
    }

    /// Takes a name away. False: it was not set.
    ///
    /// # Errors
    /// As [`Namespace::set`], but for `Full`.
    pub fn remove(&self, name: &str) -> Result<bool> {
        key::with_bytes(name, |key| self.raw.remove(key))
    }

    /// Is the name set?
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn contains(&self, name: &str) -> Result<bool> {
        Ok(key::with_bytes(name, |key| self.raw.version(key))? != 0)
    }

    /// The names that are set, sorted, all of one moment.
    ///
    /// # Errors
    /// `Timeout`, `Deadlock`, `Forked`, `Corrupted`.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.raw.snapshot(|key, _| {
            names.push(key::read(key)?);
            Ok(())
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Names that are set, at about this moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Is no name set, at about this moment?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all names away, one after the other.
    ///
    /// # Errors
    /// `Timeout`, `Deadlock`, `Forked`, `Corrupted`.
    pub fn clear(&self) -> Result<()> {
        self.raw.clear()
    }

    /// Memory that it takes, and how much of that is free. For people and tools.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn usage(&self) -> Result<Usage> {
        self.raw.usage()
    }
}

/// What stands in front of a value.
fn kind_of<T>() -> Result<String> {
    let name = value::short_name::<T>();
    if name.len() > usize::from(u8::MAX) {
        let happened = format!("a type whose name has {} bytes, where at most 255 fit: {name}", name.len());
        return Err(Error::new(ErrorKind::TooLarge, happened).with_advice("give it a struct of its own"));
    }
    Ok(name)
}

/// Type and value.
fn split<'a>(name: &str, bytes: &'a [u8]) -> Result<(&'a str, &'a [u8])> {
    let corrupted =
        || Error::new(ErrorKind::Corrupted, format!("the value of the name \"{name}\" has no type"));
    let (len, rest) = bytes.split_first().ok_or_else(corrupted)?;
    let (kind, rest) = rest.split_at_checked(usize::from(*len)).ok_or_else(corrupted)?;
    Ok((std::str::from_utf8(kind).map_err(|_| corrupted())?, rest))
}

fn read<T: Message>(name: &str, bytes: &[u8]) -> Result<T> {
    let (found, bytes) = split(name, bytes)?;
    let wanted = value::short_name::<T>();
    if found == wanted {
        return value::read(bytes, PLACE);
    }
    let happened = format!("wanted a {wanted} under the name \"{name}\", found a {found}");
    Err(Error::new(ErrorKind::Mismatch, happened).with_advice("read it as what it is, or set it anew"))
}
