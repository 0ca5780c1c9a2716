//! Why an operation on a store did not happen.

use std::fmt;

use ginnel_sync::LockError;

use crate::pages::NoPages;

/// Why an operation on a store did not happen. Nothing was changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// No pages are to be had.
    Full(NoPages),
    /// The store has as many pages as its limit allows.
    Limit,
    /// No block is as large as that.
    TooLarge,
    /// A word contradicts the others. The text says which.
    Corrupted(&'static str),
    /// The lock of the shard was not taken.
    Lock(LockError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(why) => write!(f, "no memory for the store: {why}"),
            Self::Limit => f.write_str("the store has reached its limit"),
            Self::TooLarge => f.write_str("larger than a block of a store can be"),
            Self::Corrupted(what) => write!(f, "the store is damaged: {what}"),
            Self::Lock(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}
