//! A dict of bytes: keys and values as their encoder wrote them. Reading is in `read`, changing in `write`.

mod read;
mod write;

use std::fmt;
use std::time::Duration;

use ginnel_layout::atomic::Ordering::Relaxed;

use crate::error::Result;
use crate::manager::Manager;

pub(super) use self::read::give;

use super::wraps::bound;
use super::{Base, StoreKind, StoreOptions, Usage, options};

/// How long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// As the options of the dict say.
    #[default]
    Default,
    /// For ever.
    Never,
    /// So long from now on.
    After(Duration),
    /// As long as the entry that it replaces; [`Ttl::Default`] where there is none.
    Keep,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Keep,
    /// It becomes what was written.
    Put(Ttl),
    /// It goes.
    Remove,
}

/// A dict of bytes. `Clone + Send + Sync`; a child of a bare fork may only drop it.
#[derive(Clone)]
pub struct RawDict {
    pub(super) base: Base,
}

impl fmt::Debug for RawDict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawDict").field("object", self.base.object()).finish_non_exhaustive()
    }
}

impl bound::Bound for RawDict {
    fn of(base: Base) -> Self {
        Self { base }
    }

    fn base(&self) -> &Base {
        &self.base
    }
}

/// Making one, and what it is.
impl RawDict {
    /// Makes one without a name, whose keys and values have these types.
    ///
    /// # Errors
    /// `Invalid` for a number of shards that no dict has; `TooLarge` for names of types above 2040 bytes; `Full`,
    /// `Forked`, `Os`.
    pub fn make(
        manager: &Manager,
        kind: StoreKind,
        names: (&str, &str),
        options: &StoreOptions,
    ) -> Result<Self> {
        Ok(Self { base: Base::open(options::make(&manager.arena, None, kind, names, options)?)? })
    }

    /// Operations that find a lock held by another that lives wait so long, and then say `Timeout`. Without it they wait
    /// as long as it takes. A dead holder is always recovered.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.base.set_patience(Some(patience));
        self
    }

    /// The types of its keys and of its values.
    ///
    /// # Errors
    /// `Corrupted`.
    pub fn names(&self) -> Result<(String, String)> {
        options::names(self.base.handle())
    }

    /// Its name in the manager, if this handle was made or found by name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.base.object().name()
    }

    /// How many shards it has.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.base.shard_count()
    }

    /// Entries in it, those that have expired and were not removed yet among them. Others change it meanwhile.
    #[must_use]
    pub fn len(&self) -> usize {
        self.base.store().map_or(0, |store| store.len() as usize)
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What its memory is used for, at about this moment.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn usage(&self) -> Result<Usage> {
        self.base.check_fork()?;
        Ok(self.base.store()?.usage())
    }

    /// Is every page, block and entry accounted for once? For tests; takes each lock in turn.
    ///
    /// # Errors
    /// `Corrupted`, with what is wrong; `Forked`, `Deadlock`, `Timeout`.
    #[doc(hidden)]
    pub fn audit(&self) -> Result<()> {
        self.base.audit()
    }

    /// A number that nobody else gets: 1, 2, and so on. For those who keep an order of insertion.
    ///
    /// # Errors
    /// `Forked`.
    pub fn tick(&self) -> Result<u64> {
        self.base.check_fork()?;
        Ok(self.base.front().shape.ticks.fetch_add(1, Relaxed).wrapping_add(1))
    }

    /// The last number that [`RawDict::tick`] gave. 0: none yet.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.base.front().shape.ticks.load(Relaxed)
    }
}
