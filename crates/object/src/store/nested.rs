//! What values carry: handles, whose tickets stay in the node as long as it can be reached.

use std::fmt;

use ginnel_layout::entry::Carrier;
use ginnel_store::Pages;

use crate::carry::{self, Incoming, Outgoing, Parcel};
use crate::error::{Error, ErrorKind, Result};
use crate::life;
use crate::message::out::Out;

use super::Base;

/// Most handles in a value: their number has a byte of a node.
const PARCELS_MAX: usize = u8::MAX as usize;

/// A parcel as a node has it.
pub(crate) type Bytes = [u8; carry::PARCEL];

/// A value that is encoded, with what it carries. Dropped, it takes that back.
pub struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) parcels: Option<Outgoing>,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Packed {
    /// A value that carries nothing.
    #[must_use]
    pub fn plain(bytes: Vec<u8>) -> Self {
        Self { bytes, parcels: None }
    }

    /// The bytes, whose memory may be used again.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Runs `read` on it; handles can be decoded in there.
    ///
    /// # Errors
    /// Those of `read`; `Corrupted` where somebody else has touched its tickets.
    pub fn read<R>(&self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        match &self.parcels {
            None => read(&self.bytes),
            Some(parcels) => {
                let incoming = Incoming::peek(parcels.arena(), &table(Some(parcels)))?;
                carry::unpacking(incoming, || read(&self.bytes)).0
            }
        }
    }

    /// What a node is to say that it carries.
    pub(crate) fn table(&self) -> Vec<Bytes> {
        table(self.parcels.as_ref())
    }
}

/// What a node is to say that it carries.
pub(crate) fn table(parcels: Option<&Outgoing>) -> Vec<Bytes> {
    parcels
        .map_or_else(Vec::new, |parcels| parcels.parcels().iter().map(|parcel| parcel.to_bytes()).collect())
}

/// Tickets that were received from nodes which go out of reach. [`Base::free`] gives them back, after the commit.
#[derive(Debug, Default)]
#[must_use = "tickets are freed by `Base::free`, after the commit"]
pub(crate) struct Tickets(Vec<u32>);

impl Base {
    /// Encodes a value for later.
    ///
    /// # Errors
    /// Those of `write`; `Encode`, `Forked`.
    pub(crate) fn pack(&self, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<Packed> {
        self.check_fork()?;
        self.encoded(write, |(), bytes, parcels| Ok(Packed { bytes: bytes.to_vec(), parcels }))
    }

    /// May these lie in a node of this store?
    ///
    /// # Errors
    /// `Encode` for blocks and for ends that one process has at a time, for a handle of this store itself, and for more
    /// than 255.
    #[cold]
    pub(super) fn check_parcels(&self, parcels: &Outgoing) -> Result<()> {
        let refused = |why: &str| Err(self.handle.error(ErrorKind::Encode, why));
        if !parcels.is_shareable() {
            return refused("blocks and ends that one process has at a time cannot lie in a store");
        }
        if parcels.parcels().len() > PARCELS_MAX {
            return refused("a value carries at most 255 handles");
        }
        let segment = self.handle.segment();
        let names_self = |parcel: &Parcel| match parcel {
            Parcel::Ticket { ticket, .. } => {
                life::index_of_ticket(segment, *ticket) == Some(self.object().index())
            }
            Parcel::Block { .. } => false,
        };
        if parcels.parcels().iter().any(names_self) {
            return refused("a store that held itself would never be freed");
        }
        Ok(())
    }

    /// Says beside the parcels of a new value which node carries them. Before its commit.
    #[cold]
    pub(crate) fn set_carrier(&self, parcels: &Outgoing, position: u64) {
        parcels.set_carrier(Carrier { entry: self.object().index() as u16, position });
    }

    /// Makes the parcels of a node ours that is about to go out of reach. Under the lock of its shard, before the commit
    /// (I3 of [`super`]). Those of a broken peer are left alone.
    #[cold]
    pub(crate) fn receive(&self, tickets: &mut Tickets, table: &[Bytes]) {
        for parcel in table {
            if let Some(Parcel::Ticket { ticket, generation }) = Parcel::from_bytes(*parcel)
                && life::receive(self.handle.segment(), ticket, generation).is_some()
            {
                tickets.0.push(ticket);
            }
        }
    }

    /// Gives received tickets back. After the commit and the unlock: what they kept may be freed now.
    #[cold]
    pub(crate) fn free(&self, tickets: Tickets) {
        for ticket in tickets.0 {
            life::unpin(self.handle.segment(), ticket);
        }
    }

    /// Looks at what a node carries, under the lock of its shard: handles of what its tickets name, which stay its own.
    ///
    /// # Errors
    /// `Corrupted`.
    #[cold]
    pub(crate) fn peek(&self, table: &[Bytes]) -> Result<Incoming> {
        Incoming::peek(self.handle.arena(), table).map_err(|why| self.object().name_error(why))
    }
}

impl Tickets {
    /// Are there none?
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a [`Base`] is needed for by whoever has only pages.
const _: fn() = || {
    fn is_pages<P: Pages>() {}
    is_pages::<Base>();
};

/// The error of a value that could be decoded only with the lock.
#[cold]
pub(super) fn without_lock(base: &Base) -> Error {
    base.handle()
        .error(
            ErrorKind::Deadlock,
            "a value with handles in it is read under a lock, and this thread may take none",
        )
        .with_advice("read it before the update")
}
