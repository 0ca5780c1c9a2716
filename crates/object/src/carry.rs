//! What travels inside a message besides bytes: handles and blocks.
//!
//! A handle that is serialized inside a message becomes a *parcel*: a ticket that keeps its object alive (`life`), or a
//! block that changes hands. The bytes of the message name it by a number; a table at the end of the message says what
//! it is. Which message is being made or read is known to the thread, because serde passes nothing along.
//!
//! Sending: pin each handle while serializing · claim a place in the queue · write the place beside each parcel (its
//! carrier) · write and COMMIT. Receiving: RECEIVE each parcel (it is ours now) · ACKNOWLEDGE · make handles of the
//! tickets · free the tickets. The order is that of the model `lifetime` of testkit.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use ginnel_layout::entry::{Carrier, Ticket};
use ginnel_segment::Segment;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, ObjectRef};
use crate::error::{Error, ErrorKind, Result};
use crate::life;
use crate::manager::{Object, expect};

/// Bytes of a parcel in the table of a message.
pub(crate) const PARCEL: usize = 16;

/// Most parcels in a message.
pub(crate) const PARCELS_MAX: usize = 1024;

/// A parcel as the table of a message names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parcel {
    /// A handle in transit.
    Ticket { ticket: u32, generation: u32 },
}

impl Parcel {
    pub(crate) fn to_bytes(self) -> [u8; PARCEL] {
        let mut bytes = [0; PARCEL];
        match self {
            Self::Ticket { ticket, generation } => {
                bytes[0] = 1;
                bytes[4..8].copy_from_slice(&ticket.to_ne_bytes());
                bytes[8..12].copy_from_slice(&generation.to_ne_bytes());
            }
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; PARCEL]) -> Option<Self> {
        let half = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        match bytes[0] {
            1 => Some(Self::Ticket { ticket: half(4), generation: half(8) }),
            _ => None,
        }
    }
}

/// Frees what a message carries that nobody will read. The message is acknowledged by `acknowledge`, after everything
/// in it was received.
pub(crate) fn discard(segment: &Segment, table: &[u8], acknowledge: impl FnOnce()) {
    let parcels = || table.as_chunks::<PARCEL>().0.iter().filter_map(|bytes| Parcel::from_bytes(*bytes));
    let received: Vec<u32> = parcels()
        .filter_map(|parcel| match parcel {
            Parcel::Ticket { ticket, generation } => {
                life::receive(segment, ticket, generation).map(|_| ticket)
            }
        })
        .collect();
    acknowledge();
    for ticket in received {
        life::unpin(segment, ticket);
    }
}

/// The parcels of a message that is being made. Dropped before the commit, it takes them back.
#[derive(Debug)]
pub(crate) struct Outgoing {
    arena: Arc<Arena>,
    parcels: Vec<Parcel>,
}

impl Outgoing {
    pub(crate) fn parcels(&self) -> &[Parcel] {
        &self.parcels
    }

    /// Writes beside each parcel which message carries it. Before the commit.
    pub(crate) fn set_carrier(&self, carrier: Carrier) {
        for parcel in &self.parcels {
            match *parcel {
                Parcel::Ticket { ticket, .. } => life::set_carrier(self.arena.segment(), ticket, carrier),
            }
        }
    }

    /// The message is committed: what it carries is no longer ours.
    pub(crate) fn sent(mut self) {
        self.parcels.clear();
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        for parcel in self.parcels.drain(..) {
            match parcel {
                Parcel::Ticket { ticket, generation } => {
                    if life::receive(self.arena.segment(), ticket, generation).is_some() {
                        life::unpin(self.arena.segment(), ticket);
                    }
                }
            }
        }
    }
}

/// The parcels of a message that was received, all of them ours. Dropped, it frees what nobody took.
#[derive(Debug)]
pub(crate) struct Incoming {
    arena: Arc<Arena>,
    tickets: Vec<(u32, Ticket)>,
}

impl Incoming {
    /// RECEIVE: makes the parcels ours. The message may be acknowledged after this, not before.
    ///
    /// # Errors
    /// `Corrupted` for a parcel that does not exist; those before it are ours and are freed.
    pub(crate) fn receive(arena: &Arc<Arena>, table: &[u8]) -> Result<Self> {
        let mut incoming = Self { arena: Arc::clone(arena), tickets: Vec::new() };
        let corrupted = || Error::new(ErrorKind::Corrupted, "a message names a handle that does not exist");
        for bytes in table.as_chunks::<PARCEL>().0 {
            match Parcel::from_bytes(*bytes).ok_or_else(corrupted)? {
                Parcel::Ticket { ticket, generation } => {
                    let mine = life::receive(arena.segment(), ticket, generation).ok_or_else(corrupted)?;
                    incoming.tickets.push((ticket, mine));
                }
            }
        }
        Ok(incoming)
    }

    /// The lease ends without an acknowledgement: the parcels stay in the message.
    pub(crate) fn leave(mut self) {
        self.tickets.clear();
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        for (ticket, _) in self.tickets.drain(..) {
            life::unpin(self.arena.segment(), ticket);
        }
    }
}

thread_local! {
    /// The address of the arena whose message is being made in this thread; 0: none. Only compared.
    static ARENA: Cell<usize> = const { Cell::new(0) };
    /// What it carries, as soon as it carries anything.
    static OUT: RefCell<Option<Outgoing>> = const { RefCell::new(None) };
    /// What is being read.
    static IN: RefCell<Option<Incoming>> = const { RefCell::new(None) };
}

/// Runs `encode`, whose handles become parcels of a message in `arena`.
#[inline(always)]
pub(crate) fn collecting<R>(arena: &Arc<Arena>, encode: impl FnOnce() -> R) -> R {
    let before = ARENA.replace(Arc::as_ptr(arena) as usize);
    // A message made inside a message collects for itself.
    let _restore = Restore { before, out: if before == 0 { None } else { OUT.take() } };
    encode()
}

/// Puts back what was being collected before, also if the encoding panics.
struct Restore {
    before: usize,
    out: Option<Outgoing>,
}

impl Drop for Restore {
    #[inline(always)]
    fn drop(&mut self) {
        ARENA.set(self.before);
        if self.before != 0 || OUT.with_borrow(Option::is_some) {
            drop(OUT.replace(self.out.take()));
        }
    }
}

/// The parcels collected so far, for the message that is now complete. `None`: there are none.
#[inline(always)]
pub(crate) fn collected() -> Option<Outgoing> {
    OUT.take()
}

/// Runs `decode`, whose handles are taken from `incoming`; gives both back.
pub(crate) fn unpacking<R>(incoming: Incoming, decode: impl FnOnce() -> R) -> (R, Option<Incoming>) {
    let before = IN.replace(Some(incoming));
    let result = decode();
    (result, IN.replace(before))
}

/// Serializes a handle: as the number of its parcel.
pub(crate) fn serialize<S: Serializer>(
    object: &ObjectRef,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let arena = object.arena();
    let number = match ARENA.get() {
        0 => Err("a handle means something only inside a message of a ginnel queue".to_owned()),
        active if active != Arc::as_ptr(arena) as usize => {
            Err("a handle can only be sent through a queue of the same manager".to_owned())
        }
        _ => OUT.with_borrow_mut(|out| {
            let out = out.get_or_insert_with(|| Outgoing { arena: Arc::clone(arena), parcels: Vec::new() });
            if out.parcels.len() >= PARCELS_MAX {
                return Err(format!("a message carries at most {PARCELS_MAX} handles"));
            }
            let ticket = object.pin().map_err(|error| error.to_string())?;
            out.parcels.push(Parcel::Ticket { ticket, generation: object.generation() });
            Ok(out.parcels.len() as u16 - 1)
        }),
    };
    number.map_err(S::Error::custom)?.serialize(serializer)
}

/// Makes a handle of its parcel.
pub(crate) fn deserialize<'de, T: Object, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    let number = u16::deserialize(deserializer)?;
    let found = IN.with_borrow(|slot| match slot {
        None => Err("a handle can only be received in a message of a ginnel queue".to_owned()),
        Some(incoming) => {
            let (_, mine) = incoming.tickets.get(usize::from(number)).ok_or("a handle that was not sent")?;
            incoming.arena.hold_ticket(*mine).ok_or_else(|| "a handle of an object that is gone".to_owned())
        }
    });
    let (object, kind) = found.map_err(D::Error::custom)?;
    expect::<T>(object, kind).and_then(T::open).map_err(D::Error::custom)
}
