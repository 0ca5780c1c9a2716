//! How a dict is made.

use std::time::Duration;

/// How a dict is made. What is not said is: 64 shards, no limit but the manager's, entries that stay.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(crate) shards: Option<usize>,
    pub(crate) limit: Option<usize>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) evict: bool,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shares of the keys that are locked each for itself: a power of two up to 64, which is the default. As many writers
    /// can be at work at a time. A dict with few entries takes less memory with few shards: each has at least a page.
    #[must_use]
    pub fn shards(mut self, count: usize) -> Self {
        self.shards = Some(count);
        self
    }

    /// Most bytes of memory it may take, in whole pages, with all that is around the entries. More is `Full`.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// How long an entry stays, unless it is put in with a time of its own.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Where there is no room, entries that were not read lately make room, instead of the error `Full`: a cache.
    #[must_use]
    pub fn evict(mut self) -> Self {
        self.evict = true;
        self
    }
}
