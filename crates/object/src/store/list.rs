//! A list of bytes: values in a row, as their encoder wrote them. Reading is here and in `read`, changing in `write`,
//! moving elements in `arrange`.

mod arrange;
mod read;
mod write;

use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::manager::Manager;

use super::wraps::bound;
use super::{Base, StoreKind, StoreOptions, Usage, options};

pub use self::arrange::Element;

/// A list of bytes. `Clone + Send + Sync`; a child of a bare fork may only drop it.
///
/// Where it was made for plain words (`StoreOptions::plain8`), elements are read as 8 bytes, with zeros behind those that
/// were written.
#[derive(Clone)]
pub struct RawList {
    pub(super) base: Base,
}

impl fmt::Debug for RawList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawList").field("object", self.base.object()).finish_non_exhaustive()
    }
}

impl bound::Bound for RawList {
    fn of(base: Base) -> Self {
        Self { base }
    }

    fn base(&self) -> &Base {
        &self.base
    }
}

/// Making one, and what it is.
impl RawList {
    /// Makes one without a name, whose elements have this type.
    ///
    /// # Errors
    /// `TooLarge` for a name of a type above 2040 bytes; `Full`, `Forked`, `Os`.
    pub fn make(manager: &Manager, element: &str, options: &StoreOptions) -> Result<Self> {
        let made = options::make(&manager.arena, None, StoreKind::List, ("", element), options)?;
        Ok(Self { base: Base::open(made)? })
    }

    /// Operations that find the lock held by another that lives wait so long, and then say `Timeout`. Without it they wait
    /// as long as it takes. A dead holder is always recovered.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.base.set_patience(Some(patience));
        self
    }

    /// Its name in the manager, if this handle was made or found by name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.base.object().name()
    }

    /// Elements in it. Others change it meanwhile.
    #[must_use]
    pub fn len(&self) -> usize {
        let count = |store: ginnel_store::Store<'_, Base>| store.list_len().unwrap_or_else(|| store.len());
        self.base.store().map_or(0, count) as usize
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

    /// Is every page, block and element accounted for once? For tests; takes the lock. An error text says what is wrong.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`, `Deadlock`, `Timeout`.
    #[doc(hidden)]
    pub fn audit(&self) -> Result<std::result::Result<(), String>> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        Ok(self.base.lock(&store, 0)?.audit())
    }
}
