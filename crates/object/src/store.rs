//! Stores as objects: what a dict, a namespace and a list are made of, in the pages of an arena. Bytes only, not for users:
//! the crate `manager` builds the typed ones on it, and has no unsafe code because what touches memory is here.
//!
//! The words and their picture stand in `ginnel_layout::store`; the algorithms, their edges and crash tables in
//! `ginnel_store`. Here are pages for them (`pages`), making and finding (`options`), what values carry (`nested`),
//! the operations ([`dict`], [`list`], [`transact`]), and what a death means (`recover`).
//!
//! A value that carries handles keeps their tickets: the carrier of each names the store and the node, and the node names
//! the ticket. So a handle in a value is on its way as long as its node can be reached, and whoever reads the value
//! only looks: he makes handles of his own while he has the lock of the shard.
//!
//! Invariants
//! - I1 a [`Base`] keeps its object LIVE, its pages mapped and its own (`arena`, I2); its shape was checked against the
//!   object's pages when it was made, and is kept in private memory.
//! - I2 all data pages of the segment stay mapped as long as the arena, which the hold keeps; they are looked at as
//!   atomics alone, so any offset in them may be looked at, whoever writes there.
//! - I3 a ticket in a node that can be reached is received by the holder of the shard's lock only, before the commit that
//!   takes the node out of reach, and freed after it. So a node under that lock keeps what its tickets name.
//! - I4 while code of the user's runs under a lock, or where it may run again, its thread takes no lock of any store.
//! - I5 a buffer that an `Out` writes to outlives it, and is read only as far as it was written, when it is done.
//!
//! Edges are those of `ginnel_store`. A waiter for a change announces itself under the lock of the key's shard, and a
//! writer looks for waiters before it gives that lock up: one of the two sees the other (E1 of `sync::mutex`).
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | before the commit, with tickets of a new value | SENT(d), their node cannot be reached | recovery frees them |
//! | before the commit, with the old tickets received | owned by d, their node can be reached | nobody needs to |
//! | after the commit, before the old ones are freed | owned by d, their node cannot be reached | recovery frees them |
//! | after the unlock, before its wake | waiters asleep | recovery wakes all |
//! | under the lock | its word names d | recovery builds the shard anew, then frees the word |
//! | taking a store apart, any prefix | FREEING(d) | whoever recovers d does it again |
#![allow(unsafe_code, reason = "borrows the words of a store, and a buffer for what is encoded")]

pub mod dict;
pub mod list;
mod nested;
mod options;
mod pages;
mod recover;
pub mod transact;
mod wraps;

use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::time::Duration;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::store::{SHARDS_AT, SHARDS_MAX, Shard, StoreFront};
use ginnel_store::node::Key;
use ginnel_store::{Error as StoreError, Locked, Memory, NoPages, Pages, Store};
use ginnel_sync::{Deadline, LockError, deadline, gate, mutex};

use crate::arena::ObjectRef;
use crate::carry::{self, Outgoing};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::lock;
use crate::message::out::Out;
use crate::words;

use self::pages::StorePages;

pub use self::dict::{Change, RawDict, Ttl};
pub use self::list::{Element, RawList};
pub use self::nested::Packed;
pub use self::options::{StoreKind, StoreOptions};
pub(crate) use self::recover::{discard_all, is_in_flight, recover, usage_of};
pub use self::transact::{Exclusive, Write};
pub use self::wraps::{Raw, Wraps, deserialize, serialize};
pub use ginnel_store::Usage;

/// Bytes of a value that are encoded without asking the allocator.
const ROOM: usize = 512;

thread_local! {
    /// Does code run in this thread that must not take the lock of a store (I4)?
    static LOCKS_FORBIDDEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs code in which every operation of this thread that would take the lock of a store is an error (I4).
pub fn without_locks<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            LOCKS_FORBIDDEN.set(self.0);
        }
    }
    let _restore = Restore(LOCKS_FORBIDDEN.replace(true));
    f()
}

/// What every handle of a store is made of.
pub struct Base {
    handle: Handle<StoreFront>,
    shards: NonNull<[Shard]>,
    memory: NonNull<[AtomicU64]>,
    seed: u64,
    ttl_ns: u64,
    patience: Option<Duration>,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

// SAFETY: I1, I2: what it points to is atomics.
unsafe impl Send for Base {}
// SAFETY: I1, I2, as above.
unsafe impl Sync for Base {}

impl Clone for Base {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), ..*self }
    }
}

/// The pages of a store that a handle keeps.
impl Pages for Base {
    fn claim(&self, part: u16, pages: u32) -> std::result::Result<u64, NoPages> {
        self.pages().claim(part, pages)
    }

    #[inline]
    fn owns(&self, part: u16, offset: u64) -> bool {
        self.pages().owns(part, offset)
    }

    fn runs(&self, part: u16, each: &mut dyn FnMut(u64, u32)) {
        self.pages().runs(part, each);
    }

    fn release(&self, part: u16, offset: u64, pages: u32) {
        self.pages().release(part, offset, pages);
    }
}

impl Base {
    /// # Errors
    /// `Corrupted` for a shape that does not fit the object's pages.
    pub(crate) fn open(object: ObjectRef) -> Result<Self> {
        let handle: Handle<StoreFront> = Handle::open(object)?;
        let shape = &handle.words().shape;
        let (count, seed, ttl_ns) =
            (shape.shards.load(Relaxed), shape.seed.load(Relaxed), shape.ttl_ns.load(Relaxed));
        if !count.is_power_of_two() || count > SHARDS_MAX {
            return Err(handle.corrupted("the number of shards of a store"));
        }
        let shards = handle.tail(SHARDS_AT as usize, count as usize).map(NonNull::from)?;
        let memory = words::memory_of(handle.segment()).map(NonNull::from);
        let memory = memory.ok_or_else(|| handle.corrupted("the pages of the manager"))?;
        let base = Self { handle, shards, memory, seed, ttl_ns, patience: None };
        base.store()?;
        Ok(base)
    }

    /// How long operations wait for the lock of another that lives. `None`: as long as it takes.
    pub(crate) fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    pub(crate) fn handle(&self) -> &Handle<StoreFront> {
        &self.handle
    }

    pub(crate) fn object(&self) -> &ObjectRef {
        self.handle.object()
    }

    #[inline(always)]
    pub(crate) fn check_fork(&self) -> Result<()> {
        self.handle.check_fork()
    }

    pub(super) fn front(&self) -> &StoreFront {
        self.handle.words()
    }

    #[inline]
    fn pages(&self) -> StorePages<'_> {
        StorePages { segment: self.handle.segment(), entry: self.object().index() }
    }

    /// The store, for one operation.
    #[inline(always)]
    pub(crate) fn store(&self) -> Result<Store<'_, Self>> {
        // SAFETY: I1.
        let shards = unsafe { self.shards.as_ref() };
        // SAFETY: I2.
        let memory = Memory::new(unsafe { self.memory.as_ref() });
        match Store::new(self.handle.words(), shards, memory, self) {
            Ok(store) => Ok(store),
            Err(why) => Err(self.explain(why)),
        }
    }

    /// Takes the lock of a shard.
    ///
    /// # Errors
    /// `Deadlock` where this thread may take none (I4), `Timeout` at the end of the patience, `Corrupted`.
    #[inline(always)]
    pub(crate) fn lock<'a>(&'a self, store: &Store<'a, Self>, shard: usize) -> Result<Locked<'a, Self>> {
        if LOCKS_FORBIDDEN.get() {
            return Err(self.forbidden());
        }
        let taken = match store.try_take(shard, self.handle.holder()) {
            Ok(Some(taken)) => taken,
            _ => self.take_slowly(store, shard)?,
        };
        Ok(store.locked(shard, taken))
    }

    #[cold]
    #[inline(never)]
    fn take_slowly(&self, store: &Store<'_, Self>, shard: usize) -> Result<mutex::Locked> {
        let deadline = self.patience.map_or(Deadline::NEVER, Deadline::after);
        let me = self.handle.holder();
        let taken = self.handle.until(deadline, |waiter, deadline| {
            store.take(shard, me, waiter, deadline, self.handle.segment())
        });
        taken.map_err(|why| self.explain(StoreError::Lock(why)))
    }

    /// Takes the locks of all shards, in their order.
    ///
    /// # Errors
    /// As [`Base::lock`].
    pub(crate) fn lock_all<'a>(&'a self, store: &Store<'a, Self>) -> Result<Vec<Locked<'a, Self>>> {
        (0..store.shards().len()).map(|shard| self.lock(store, shard)).collect()
    }

    /// Gives the lock up after a commit, and wakes whoever waits for a change.
    #[inline(always)]
    pub(crate) fn unlock_changed(&self, locked: Locked<'_, Self>) {
        let changes = &self.front().changes;
        // Before the unlock: whoever announced itself under the lock before us is seen here.
        let is_awaited = changes.flag.load(Relaxed) != 0;
        drop(locked);
        if is_awaited {
            gate::post_all(changes);
        }
    }

    /// [`Base::unlock_changed`] of several.
    pub(crate) fn unlock_all_changed(&self, locks: Vec<Locked<'_, Self>>) {
        let changes = &self.front().changes;
        let is_awaited = changes.flag.load(Relaxed) != 0;
        drop(locks);
        if is_awaited {
            gate::post_all(changes);
        }
    }

    #[cold]
    fn forbidden(&self) -> Error {
        let why =
            "this operation takes a lock of a store, and this thread is inside an update or a transaction";
        self.handle
            .error(ErrorKind::Deadlock, why)
            .with_advice("not inside update; use transaction, and in there what it gives")
    }

    /// Says in words why an operation did not happen.
    #[cold]
    pub(crate) fn explain(&self, why: StoreError) -> Error {
        let full = |why: String, advice: &str| self.handle.error(ErrorKind::Full, why).with_advice(advice);
        match why {
            StoreError::Full(why) => {
                let limit = self.handle.segment().geometry().pages * words::PAGE_BYTES;
                let happened = format!("no memory for this: {why} ({limit} bytes are its limit)");
                full(happened, "remove something, or make the manager with a larger limit")
            }
            StoreError::Limit => {
                let limit = self.front().shape.limit.load(Relaxed) * words::PAGE_BYTES;
                let happened = format!("no room for this within the limit of {limit} bytes");
                full(happened, "remove something, or make it with a larger limit, or with eviction")
            }
            StoreError::TooLarge => self
                .handle
                .error(ErrorKind::TooLarge, "no value can have so many bytes, nor a key above 65535"),
            StoreError::Corrupted(what) => self.handle.corrupted(what),
            StoreError::Lock(why @ LockError::TimedOut { .. }) => {
                let advice = "let that process run, or end it; readers need no lock";
                lock::explain(&self.handle, why, "lock of a shard").with_advice(advice)
            }
            StoreError::Lock(why) => lock::explain(&self.handle, why, "lock of a shard"),
        }
    }

    /// The result of an operation of `ginnel_store`, in words where it failed.
    #[inline(always)]
    pub(crate) fn told<T>(&self, outcome: std::result::Result<T, StoreError>) -> Result<T> {
        match outcome {
            Ok(value) => Ok(value),
            Err(why) => Err(self.explain(why)),
        }
    }

    /// A key, hashed.
    ///
    /// # Errors
    /// `TooLarge`.
    #[inline(always)]
    pub(crate) fn key<'k>(&self, bytes: &'k [u8]) -> Result<Key<'k>> {
        match Key::new(bytes, self.seed) {
            Ok(key) => Ok(key),
            Err(why) => Err(self.explain(why)),
        }
    }

    /// When an entry with this life is gone, ns on the monotonic clock. [`Ttl::Keep`] is the caller's to find out.
    #[inline]
    pub(crate) fn deadline_of(&self, ttl: Ttl) -> Option<u64> {
        let life = match ttl {
            Ttl::Never => return None,
            Ttl::After(life) => options::nanoseconds(life),
            Ttl::Default | Ttl::Keep if self.ttl_ns == 0 => return None,
            Ttl::Default | Ttl::Keep => self.ttl_ns,
        };
        Some(deadline::now_ns().saturating_add(life))
    }

    /// Runs `write`, and then `then` with what that gave, with the bytes that it wrote and with what they carry.
    ///
    /// # Errors
    /// Those of both; `Encode` for what cannot lie in a store.
    #[inline(always)]
    pub(crate) fn encoded<W, R>(
        &self,
        write: impl FnOnce(&mut Out<'_>) -> Result<W>,
        then: impl FnOnce(W, &[u8], Option<Outgoing>) -> Result<R>,
    ) -> Result<R> {
        let mut room = [const { MaybeUninit::<u8>::uninit() }; ROOM];
        let place = NonNull::from(&mut room).cast::<u8>();
        carry::collecting(self.handle.arena(), || {
            // SAFETY: I5: the buffer is ours alone, and lives longer.
            let mut out = unsafe { Out::place(place, ROOM) };
            let written = write(&mut out)?;
            let parcels = carry::collected();
            if let Some(parcels) = &parcels {
                self.check_parcels(parcels)?;
            }
            if let Some(behind) = out.spilled() {
                // A value begins with the first byte: all of it has spilled.
                return then(written, &behind, parcels);
            }
            // SAFETY: I5: the `Out` has written so many bytes there, and is not used any more.
            let bytes = unsafe { NonNull::slice_from_raw_parts(place, out.len()).as_ref() };
            then(written, bytes, parcels)
        })
    }

    /// Is every page, block and entry accounted for once?
    pub(crate) fn audit(&self) -> Result<()> {
        self.check_fork()?;
        let store = self.store()?;
        for shard in 0..store.shards().len() {
            let audited = self.lock(&store, shard)?.audit();
            audited.map_err(|what| self.handle.corrupted(&format!("shard {shard}: {what}")))?;
        }
        Ok(())
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }
}
