//! Moving elements of a list, and leaving some out: sort, reverse, retain. Their bytes stay where they are.

use std::fmt;

use ginnel_store::list::{Kept, Slot};
use ginnel_store::{Copied, Locked};

use crate::carry;
use crate::error::Result;

use super::RawList;
use crate::store::nested::Tickets;
use crate::store::{Base, without_locks};

/// An element of a list that is locked.
pub struct Element<'l> {
    base: &'l Base,
    locked: &'l Locked<'l, Base>,
    kept: Kept,
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Element").finish_non_exhaustive()
    }
}

impl Element<'_> {
    /// Gives its bytes to `read`. Handles in it can be decoded in there.
    ///
    /// # Errors
    /// Those of `read`; `Corrupted`.
    pub fn with<R>(&self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let mut copied = Copied::new();
        if !self.base.told(self.locked.list_value(&self.kept, &mut copied))? {
            return read(copied.as_bytes());
        }
        let incoming = self.base.peek(&self.base.told(self.locked.list_parcels_of(&self.kept))?)?;
        carry::unpacking(incoming, || read(copied.as_bytes())).0
    }
}

impl RawList {
    /// Gives all elements to `f`, exactly once, under the lock, and makes the list what `f` leaves of them, in that order.
    /// `f` must not take a lock of a store ([`store`](crate::store), I4); a panic or an error of it changes nothing.
    ///
    /// # Errors
    /// Those of `f`; `Corrupted` also where an element of another list is among them.
    pub fn rearrange<R>(&self, f: impl FnOnce(&mut Vec<Element<'_>>) -> Result<R>) -> Result<R> {
        self.base.check_fork()?;
        let store = self.base.store()?;
        let locked = self.base.lock(&store, 0)?;
        let len = self.base.told(locked.list_len())?;
        let kept = self.base.told(locked.list_kept(0..len))?;
        let element = |kept| Element { base: &self.base, locked: &locked, kept };
        let mut elements: Vec<Element<'_>> = kept.into_iter().map(element).collect();
        let result = without_locks(|| f(&mut elements))?;
        let slots: Vec<Slot<'_>> = elements.into_iter().map(|element| Slot::Kept(element.kept)).collect();

        let ready = self.base.told(locked.list_rearrange(0..len, &slots))?;
        let ready =
            ready.ok_or_else(|| self.base.handle().corrupted("a list became shorter under its lock"))?;
        let mut tickets = Tickets::default();
        if ready.has_removed() {
            self.base.receive(&mut tickets, &self.base.told(ready.removed())?);
        }
        self.base.told(ready.commit())?;
        self.base.unlock_changed(locked);
        self.base.free(tickets);
        Ok(result)
    }
}
