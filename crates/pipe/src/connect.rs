//! Connecting to a listener: the client's half of the handshake.
//!
//! ```text
//! connect | who listens? | HELLO of the listener | our memory, our HELLO and its descriptor | WELCOME and its memory | map it
//! ```
//! One deadline for all of it. A crash of either side ends the connection: the kernel closes the socket, and the memory
//! goes with the last descriptor and mapping of it.

use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use ginnel_object::{Error, ErrorKind, Message, Result};
use ginnel_segment::sealed::{Foreign, Own};
use ginnel_sync::Deadline;

use crate::address::{self, Address};
use crate::credentials::{Credentials, pidfd_of};
use crate::handshake::{Client, Failure, LONGEST, Refusal, VERSION};
use crate::peer::{Link, Parts, Peer};
use crate::settings::{Settings, nonce};
use crate::socket::{self, Packet};

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to the listener at `address`: a path, or `@name` for a name in the abstract namespace. This side sends `S` and
/// receives `R`.
///
/// ```
/// use std::thread;
/// use ginnel_pipe::{Listener, connect};
///
/// let listener = Listener::bind("@ginnel-doc-connect")?;
/// let answers = thread::spawn(move || {
///     let mut client = listener.accept::<u64, String>()?;
///     while let Some(text) = client.next()? {
///         client.send(text.len() as u64)?;
///     }
///     Ok::<(), ginnel_object::Error>(())
/// });
/// let mut peer = connect::<String, u64>("@ginnel-doc-connect")?;
/// peer.send("four".to_string())?;
/// assert_eq!(peer.recv()?, 4);
/// drop(peer);
/// answers.join().expect("no panic")?;
/// # Ok::<(), ginnel_object::Error>(())
/// ```
/// For a key, other users and other sizes: [`ConnectOptions`].
///
/// # Errors
/// As [`ConnectOptions::connect`].
pub fn connect<S: Message, R: Message>(address: impl AsRef<Path>) -> Result<Peer<S, R>> {
    ConnectOptions::new().connect(address)
}

/// How to connect, and to whom.
///
/// ```no_run
/// use ginnel_pipe::{ConnectOptions, Peer};
///
/// let mut server: Peer<String> = ConnectOptions::new().key(b"as long as random").connect("/run/echo.sock")?;
/// server.send("hello".into())?;
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ConnectOptions {
    settings: Settings,
    timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { settings: Settings::default(), timeout: PATIENCE }
    }
}

impl ConnectOptions {
    /// No key, messages of 16 MiB at most, a ring of 256 KiB, five seconds, a listener of our own user or of root.
    pub fn new() -> Self {
        Self::default()
    }

    /// A secret that the listener has to know, and will be shown to know: both sides prove it, neither sends it. Any bytes;
    /// 16 random ones or more cannot be guessed from what crosses the socket.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.settings.key = Some(key.as_ref().into());
        self
    }

    /// A name for what is spoken, as `"prices/2"`, which then has to be the same on both sides, in the place of the names
    /// of the types.
    pub fn protocol(mut self, name: &str) -> Self {
        self.settings.protocol = Some(name.to_owned());
        self
    }

    /// Bytes of the longest message this side receives, encoded. The buffer for one grows as it comes, up to this.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.settings.max_message = bytes;
        self
    }

    /// Bytes that may be under way from here to the listener; whole pages, up to 64 MiB. A message of more than a quarter
    /// of it goes in parts.
    pub fn ring(mut self, bytes: usize) -> Self {
        self.settings.ring = bytes;
        self
    }

    /// How long the connection may take to come about.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Talks to a listener of this user only, or of one of those named by more calls. Without a call: of our own user or
    /// of root. The owner of a path is whoever may write to its directory, and an abstract name is anybody's.
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.settings.allow(uid);
        self
    }

    /// Connects. This side sends `S` and receives `R`; the listener the other way round.
    ///
    /// # Errors
    /// - `NotFound`: nobody listens there.
    /// - `Denied`: the listener does not allow our user, or is of a user that we do not allow; another key, a key on one
    ///   side only; no right to write to the socket file.
    /// - `Mismatch`: other types, another version of ginnel, no listener of ginnel's.
    /// - `Timeout`: it was not done in time.
    /// - `Closed`: the listener went away, in order or not.
    /// - `Full`: the listener has no descriptors or memory left for now.
    /// - `Corrupted`: it broke the rules of the handshake.
    /// - `TooManyFiles`, `Invalid` (the address, the options), `TooLarge` (the ring), `Os`.
    pub fn connect<S: Message, R: Message>(&self, address: impl AsRef<Path>) -> Result<Peer<S, R>> {
        let address = Address::new(address.as_ref());
        let deadline = Deadline::after(self.timeout);
        let terms = self.settings.terms()?;
        let socket = address::connect(&address, self.timeout)?;
        let who = Credentials::of(&socket)?;
        if !self.settings.allows(&who, true) {
            let says = format!("the listener is {who}, who is not allowed");
            return Err(address
                .error(ErrorKind::Denied, &says)
                .with_advice("name that user with `allow_uid`"));
        }
        let pidfd = pidfd_of(&socket, &who)?;
        let fingerprint = self.settings.fingerprint::<S, R>();
        let (ring, longest) = (terms.ring, terms.longest);
        let mut client = Client::new(terms, &fingerprint, nonce()?);
        let door = Door { socket, address, deadline };

        let (hello, _) = door.packet()?;
        let agreed = client.take_hello(&hello).map_err(|why| door.failed(why))?;
        let (own, memory) = Own::create(ring)?;
        let number = socket::number_of(&memory).map_err(|why| door.refused("look at our memory", &why))?;
        door.send(&client.hello(number), &memory)?;
        drop(memory);
        let (welcome, mut memories) = door.packet()?;
        let memory = memories.pop();
        let number = match &memory {
            Some(memory) => socket::number_of(memory)
                .map_err(|why| door.refused("look at the listener's memory", &why))?,
            None => 0,
        };
        client.take_welcome(&welcome, number).map_err(|why| door.failed(why))?;
        let (Some(memory), true) = (memory, memories.is_empty()) else {
            return Err(door.failed(Failure::Malformed));
        };
        let foreign = Foreign::map(memory, agreed.ring)?;
        let parts = Parts {
            socket: door.socket,
            pidfd,
            who,
            own,
            foreign,
            longest,
            their_longest: agreed.longest,
            is_listener: false,
        };
        Ok(Peer { link: Link::new(parts)?, types: PhantomData })
    }
}

/// A handshake under way.
struct Door {
    socket: OwnedFd,
    address: Address,
    deadline: Deadline,
}

impl Door {
    /// The next packet of the listener.
    fn packet(&self) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut bytes = [0; LONGEST];
        loop {
            let looked = socket::receive(self.socket.as_fd(), &mut bytes);
            match looked.map_err(|why| self.refused("receive the listener's answer", &why))? {
                Packet::Some(len, descriptors) => return Ok((bytes[..len].to_vec(), descriptors)),
                Packet::End => return Err(self.closed()),
                Packet::Oversized => return Err(self.failed(Failure::Malformed)),
                Packet::TooManyFiles => {
                    let says = "no descriptor is left for the listener's memory";
                    return Err(self.address.error(ErrorKind::TooManyFiles, says));
                }
                Packet::Nothing => {
                    let readable = socket::wait_readable(self.socket.as_fd(), self.deadline);
                    if !readable.map_err(|why| self.refused("wait for the listener", &why))? {
                        let says = "the listener did not answer in time";
                        return Err(self.address.error(ErrorKind::Timeout, says));
                    }
                }
            }
        }
    }

    /// A new connection's socket has room for one packet.
    fn send(&self, bytes: &[u8], memory: &OwnedFd) -> Result<()> {
        let sent = socket::send(self.socket.as_fd(), bytes, Some(memory.as_fd()));
        if sent.map_err(|why| self.refused("send our memory", &why))? {
            return Ok(());
        }
        // It may have said why before it hung up.
        match self.packet() {
            Ok((bytes, _)) => match Refusal::read(&bytes) {
                Some(why) => Err(self.failed(Failure::Refused(why))),
                None => Err(self.failed(Failure::Malformed)),
            },
            Err(why) => Err(why),
        }
    }

    fn refused(&self, doing: &str, why: &std::io::Error) -> Error {
        socket::refused(doing, why).with_object(self.address.to_string())
    }

    #[cold]
    fn closed(&self) -> Error {
        self.address.error(ErrorKind::Closed, "the listener went away before the connection was made")
    }

    #[cold]
    fn failed(&self, why: Failure) -> Error {
        let error = |kind, says: &str| self.address.error(kind, says);
        match why {
            Failure::Refused(Refusal::User) => {
                error(ErrorKind::Denied, "the listener does not allow this user")
                    .with_advice("let it name the user with `allow_uid`")
            }
            Failure::Refused(Refusal::Key) => error(ErrorKind::Denied, "the listener has another key"),
            Failure::KeyWanted => error(ErrorKind::Denied, "the listener asks for a key"),
            Failure::NotProven => {
                error(ErrorKind::Denied, "whoever listens there does not prove that it knows the key")
            }
            Failure::Refused(Refusal::Types) => {
                error(ErrorKind::Mismatch, "the listener sends or receives values of other types")
                    .with_advice("where they only have other names, give the protocol a name on both sides")
            }
            Failure::Refused(Refusal::Version) => {
                error(ErrorKind::Mismatch, &format!("the listener does not speak version {VERSION}"))
            }
            Failure::Version(found) => {
                let says = format!("the listener speaks version {found}, this program {VERSION}");
                error(ErrorKind::Mismatch, &says).with_advice("run both sides from one version of ginnel")
            }
            Failure::Refused(Refusal::Ring) => {
                error(ErrorKind::TooLarge, "our ring is larger than the listener maps")
            }
            Failure::Ring(bytes) => error(
                ErrorKind::TooLarge,
                &format!("the listener's ring of {bytes} bytes is none that we map"),
            ),
            Failure::Refused(Refusal::Busy) => {
                error(ErrorKind::Full, "the listener has no descriptors, memory or patience left for now")
                    .with_advice("try again")
            }
            Failure::Refused(Refusal::Closing) => self.closed(),
            Failure::Refused(Refusal::Memory | Refusal::Malformed) => {
                error(ErrorKind::Mismatch, "the listener did not understand this program")
            }
            Failure::Malformed => {
                error(ErrorKind::Corrupted, "what listens there does not keep to the handshake")
            }
        }
    }
}
