//! From a connection to a trusted pipe: both sides agree to share an arena, and go on in it.
//!
//! ```text
//! accepting side                                      connecting side
//! makes a pipe, puts the ends of the other in transit
//! sends the arena and two tokens   ------------->     attaches, redeems both
//! has its end of the pipe          <-------------     says so, and has its own
//! ```
//! A token is redeemed or discarded, once: that decides where one side gives up while the other is on its way.
//!
//! | killed | what is left | the other side |
//! |---|---|---|
//! | accepting side, any time | a pipe whose maker is dead | an error, or a pipe that says `PeerDied` |
//! | connecting side, before it redeems | two tokens | discards them: an error |
//! | connecting side, after it | an end whose holder is dead | a pipe that says `PeerDied` |
//!
//! - I1 processes of one user are trusted, as for any arena (`SAFETY.md`, "Whom we trust").
#![allow(
    unsafe_code,
    reason = "to share an arena is to trust, and with another user the caller's to answer for"
)]

use ginnel_object::transit::{self, Token};
use ginnel_object::{Error, ErrorKind, Manager, Message, Result};
use ginnel_sync::Deadline;

use super::share::{Shared, TOKENS, manager_of};
use super::{Link, Peer, SHARE_PATIENCE};
use crate::Pipe;

impl<S: Message, R: Message> Peer<S, R> {
    /// Goes on in shared memory as with a process of one's own: both sides call it, and get the two ends of one pipe, which
    /// carries handles and is faster. The accepting side lets the connecting side attach to [`Manager::current`].
    ///
    /// What was sent through the connection and not received is lost. Waits up to five seconds for the other side.
    ///
    /// ```
    /// # use ginnel_pipe::{Listener, Peer, connect};
    /// # let listener = Listener::bind("@ginnel-doc-trust")?;
    /// # let client = std::thread::spawn(|| {
    /// let peer: Peer<u32> = connect("@ginnel-doc-trust")?;
    /// let mut pipe = peer.trust()?;
    /// pipe.send(7)?;
    /// # Ok::<(), ginnel_object::Error>(()) });
    /// # let mut pipe = listener.accept::<u32, u32>()?.trust()?;
    /// # assert_eq!(pipe.recv()?, 7);
    /// # client.join().expect("no panic")?;
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    /// # Errors
    /// `Denied`: the peer is of another user; `PeerDied`: it is gone; `Timeout`: it did not call this in time; `Mismatch`: it
    /// shares something else; `TooManyFiles`, `Full`, `Forked`, `Os`. The connection is closed in any case.
    pub fn trust(self) -> Result<Pipe<S, R>> {
        self.link.check_user()?;
        // SAFETY: I1, the peer is of our own user.
        unsafe { self.join() }
    }

    /// As [`Peer::trust`], with a peer of any user.
    ///
    /// # Safety
    /// The process at the other end, and all who ever get the arena from it, keep to the rules of ginnel's objects. One that
    /// does not may change data under the references that guards, loans and blocks give out.
    ///
    /// # Errors
    /// As [`Peer::trust`], but for `Denied`.
    pub unsafe fn trust_unchecked(self) -> Result<Pipe<S, R>> {
        // SAFETY: the contract of this function.
        unsafe { self.join() }
    }

    /// # Safety
    /// As [`Peer::trust_unchecked`].
    unsafe fn join(self) -> Result<Pipe<S, R>> {
        let deadline = Deadline::after(SHARE_PATIENCE);
        if self.link.is_listener { offer(&self.link, deadline) } else { accept(&self.link, deadline) }
    }
}

/// The accepting side.
fn offer<S: Message, R: Message>(link: &Link, deadline: Deadline) -> Result<Pipe<S, R>> {
    let manager = Manager::current()?;
    let (ours, theirs) = Pipe::<S, R>::pair()?;
    let (tx, rx) = theirs.split();
    let first = transit::issue(&tx)?;
    let second = match transit::issue(&rx) {
        Ok(second) => second,
        Err(why) => {
            transit::discard(manager, first)?;
            return Err(why);
        }
    };
    let mut tokens = [0; TOKENS];
    tokens[..TOKENS / 2].copy_from_slice(&first.to_bytes());
    tokens[TOKENS / 2..].copy_from_slice(&second.to_bytes());
    let answer = link.share(manager, Some(&tokens), deadline).and_then(|()| link.open(deadline));
    if matches!(answer, Ok(Shared::Done)) {
        return Ok(ours);
    }
    // Whoever is first, this or the other's redemption, decides.
    let (first, second) = (transit::discard(manager, first)?, transit::discard(manager, second)?);
    if !first && !second {
        return Ok(ours);
    }
    Err(match answer {
        Ok(_) => {
            Error::new(ErrorKind::Mismatch, "the peer shares something instead of taking what is shared")
        }
        Err(why) => why,
    })
}

/// The connecting side.
fn accept<S: Message, R: Message>(link: &Link, deadline: Deadline) -> Result<Pipe<S, R>> {
    let (manager, Some(tokens)) = manager_of(link.open(deadline)?)? else {
        return Err(Error::new(ErrorKind::Mismatch, "the peer shares a manager and no pipe")
            .with_advice("take it with `open_shared`"));
    };
    let token = |half: &[u8]| {
        let mut bytes = [0; TOKENS / 2];
        bytes.copy_from_slice(half);
        Token::from_bytes(bytes)
    };
    let (first, second) = tokens.split_at(TOKENS / 2);
    let tx = transit::redeem(&manager, token(first))?;
    let rx = transit::redeem(&manager, token(second))?;
    // Where this does not arrive, the other side finds the tokens used up.
    let _ = link.acknowledge(deadline);
    Ok(Pipe::join(tx, rx))
}
