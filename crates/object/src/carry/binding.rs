//! Parcels for who encodes messages without serde: bindings to other languages, whose own codecs write the number of a
//! parcel wherever they like.
//!
//! They follow the rules of all parcels: what was attached is taken back with its message, what nobody took is freed.

use std::sync::Arc;

use super::{ARENA, IN, OUT, Outgoing, Received};
use crate::error::{Error, ErrorKind, Result};
use crate::manager::{Object, expect};

/// Makes a handle part of the message that is being encoded in this thread. Its number there; `None`: no message is.
///
/// # Errors
/// `Invalid` for an end that one process has at a time; `Encode` for an object of another arena; `Full`, `Forked`.
pub(crate) fn attach<T: Object>(handle: &T) -> Result<Option<u32>> {
    if T::EXCLUSIVE {
        return Err(Error::new(
            ErrorKind::Invalid,
            "an end that one process has at a time cannot be sent so",
        ));
    }
    let object = handle.object();
    object.check_fork()?;
    match ARENA.get() {
        0 => Ok(None),
        active if active != Arc::as_ptr(object.arena()) as usize => {
            let why = "a handle can only be sent through a queue of the same manager";
            Err(Error::new(ErrorKind::Encode, why))
        }
        _ => OUT
            .with_borrow_mut(|out| out.get_or_insert_with(|| Outgoing::none(object.arena())).add(object))
            .map(|number| Some(u32::from(number))),
    }
}

/// A handle of what the message that is being decoded in this thread carries under that number; more of them where it is
/// asked more often. `None`: no message is.
///
/// # Errors
/// `Invalid` as [`attach`]; `Decode` for a number that it does not carry; `Mismatch` for an object of another type.
pub(crate) fn take<T: Object>(number: u32) -> Result<Option<T>> {
    if T::EXCLUSIVE {
        return Err(Error::new(ErrorKind::Invalid, "an end that one process has at a time cannot come so"));
    }
    let refused = |why: &str| Err(Error::new(ErrorKind::Decode, why));
    let found = IN.with_borrow(|slot| {
        let Some(incoming) = slot else { return Ok(None) };
        match incoming.parcels.get(number as usize) {
            None => refused("a handle that was not sent"),
            Some(Received::Block(_)) => refused("a block where a handle was expected"),
            Some(Received::Held(held)) => Ok(Some((held.0.clone(), held.1))),
            Some(Received::Ticket(_, mine)) => match incoming.arena.hold_ticket(*mine) {
                Some(held) => Ok(Some(held)),
                None => refused("a handle of an object that is gone"),
            },
        }
    })?;
    found.map(|(object, kind)| T::open(expect::<T>(object, kind)?)).transpose()
}
