//! Handles on their way to another process of the same manager.
//!
//! A [`Token`] is a handle as bytes: sixteen of them, which may go through any channel. While it is under way a
//! ticket in the segment keeps the object alive; whoever redeems it becomes a holder, and a token that nobody will
//! redeem is discarded. A token is good for one redemption, and as long as the process that issued it lives: when
//! that one dies, tickets that nobody has received are freed with everything else it owned.
//!
//! The protocol is that of the model `lifetime` in testkit; its crash table stands in `life.rs`.
//!
//! ```
//! use ginnel_object::{Manager, Mutex, transit};
//!
//! let manager = Manager::new(1 << 20)?;
//! let total = manager.create::<Mutex<u64>>()?;
//! let bytes = transit::issue(&total)?.to_bytes();
//! // .. the bytes reach a process that is attached to the same manager ..
//! let same: Mutex<u64> = transit::redeem(&manager, transit::Token::from_bytes(bytes))?;
//! *same.lock()? += 1;
//! assert_eq!(*total.lock()?, 1);
//! # Ok::<(), ginnel_object::Error>(())
//! ```

use crate::error::{Error, ErrorKind, Result};
use crate::life;
use crate::manager::{Manager, Object, expect};
use crate::seat::Tenure;

/// A handle as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Which segment, so that a token that went astray is recognised.
    segment: u64,
    ticket: u32,
    generation: u32,
}

impl Token {
    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.ticket.to_le_bytes());
        bytes[12..].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    /// The token in the bytes that were received. Whether it is good shows when it is redeemed.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let word = u128::from_le_bytes(bytes);
        Self { segment: word as u64, ticket: (word >> 64) as u32, generation: (word >> 96) as u32 }
    }
}

/// Puts a handle into transit. An exclusive end leaves with it: what is left of it answers `Invalid`, and if the token is
/// discarded, or its issuer dies before it is redeemed, the end is closed.
///
/// # Errors
/// `Full` when too many are under way, `Forked`; `Invalid` for an end that was sent already.
pub fn issue<T: Object>(handle: &T) -> Result<Token> {
    let other = handle.other()?;
    let handle = other.as_ref().unwrap_or(handle);
    let object = handle.object();
    let ticket = match handle.tenure() {
        None => object.pin()?,
        Some(tenure) => depart(handle, tenure)?,
    };
    let generation = object.generation();
    Ok(Token { segment: object.arena().segment().uuid()[0], ticket, generation })
}

fn depart<T: Object>(end: &T, tenure: &Tenure) -> Result<u32> {
    tenure.usable()?;
    let seen = end.departing()?;
    let ticket = tenure.pin()?;
    match tenure.travel(ticket, seen) {
        Ok(()) => {
            tenure.seat().sent();
            Ok(ticket)
        }
        Err(why) => {
            life::unpin(end.object().arena().segment(), ticket);
            Err(why)
        }
    }
}

/// Makes a handle of a token, which is used up.
///
/// # Errors
/// `NotFound` when it was redeemed or discarded before, or when its issuer died; `Mismatch` for a token of another
/// manager or an object of another type; `Taken` for an exclusive end that a living process holds; `Forked`.
pub fn redeem<T: Object>(manager: &Manager, token: Token) -> Result<T> {
    check_segment(manager, token)?;
    let arrive = |(object, kind)| T::arrive(expect::<T>(object, kind)?, token.ticket);
    match manager.arena.redeem(token.ticket, token.generation, arrive)? {
        Some(handle) => Ok(handle),
        None => {
            Err(Error::new(ErrorKind::NotFound, "this handle was redeemed or discarded, or its issuer died")
                .with_advice("send it again"))
        }
    }
}

/// Gives a token up: the object is freed if nothing else holds it. False: it was used up before.
///
/// # Errors
/// `Mismatch` for a token of another manager, `Forked`.
pub fn discard(manager: &Manager, token: Token) -> Result<bool> {
    check_segment(manager, token)?;
    let segment = manager.arena.segment();
    segment.check_fork()?;
    let received = life::redeem(segment, token.ticket, token.generation).is_some();
    if received {
        life::unpin(segment, token.ticket);
    }
    Ok(received)
}

fn check_segment(manager: &Manager, token: Token) -> Result<()> {
    if manager.arena.segment().uuid()[0] == token.segment {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Mismatch, "this handle belongs to another manager")
        .with_advice("redeem it in the manager that its object lives in"))
}
