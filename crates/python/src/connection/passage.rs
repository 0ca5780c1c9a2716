//! Ends on their way to another process.
//!
//! [`Departure`] is what a pickle holds of an end; [`arrive`] makes an end of it. A token whose message is never read
//! keeps its side alive as long as this process, so whoever can tell gives it back ([`discard`]).

use ginnel::{ErrorKind, Object};
use ginnel_object::bridge;
use ginnel_object::transit::{self, Token};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::failure::{OrRaise, raised};
use crate::home::{self, Shared};

/// One side on its way: its number in the message that carries it, or a token.
#[derive(FromPyObject, IntoPyObject)]
pub(super) enum Way {
    Parcel(u32),
    Token([u8; 16]),
}

/// An end on its way: its arena, and the side that receives and the one that sends, if it has them.
pub(super) type Departed = ((u64, u64), Option<Way>, Option<Way>);

/// Sends a side off.
///
/// # Errors
/// When too much is under way.
pub(super) fn depart<H: Object>(side: &Shared<H>, in_message: bool) -> PyResult<Way> {
    let handle = side.get()?;
    match in_message.then(|| bridge::attach_parcel(handle)).transpose() {
        Ok(Some(Some(number))) => Ok(Way::Parcel(number)),
        // No message, or one for processes that may not have this arena.
        Ok(_) => token(handle),
        Err(error) if error.kind() == ErrorKind::Encode => token(handle),
        Err(error) => Err(raised(&error)),
    }
}

fn token<H: Object>(handle: &H) -> PyResult<Way> {
    Ok(Way::Token(transit::issue(handle).or_raise()?.to_bytes()))
}

/// The side that has arrived.
///
/// # Errors
/// When it was received before, or whoever sent it ended before it was.
pub(super) fn arrive<H: Object>(arena: (u64, u64), way: Way) -> PyResult<Shared<H>> {
    let manager = home::arena(arena)?;
    let handle = match way {
        Way::Parcel(number) => bridge::parcel(number).or_raise()?.ok_or_else(|| {
            PyRuntimeError::new_err(
                "a connection that was sent through a queue or a connection arrives with its message only",
            )
        })?,
        Way::Token(bytes) => transit::redeem(&manager, Token::from_bytes(bytes)).or_raise()?,
    };
    Ok(Shared::new(handle, &manager))
}

/// Gives up a token that nobody will redeem; nothing happens to one that was.
#[pyfunction]
pub(super) fn discard(arena: (u64, u64), token: [u8; 16]) -> PyResult<bool> {
    transit::discard(&home::arena(arena)?, Token::from_bytes(token)).or_raise()
}
