//! The door: where clients come in that nobody has vouched for.
//!
//! ```text
//! accept4 | user allowed? | HELLO ->    ... any number of clients are here at a time, each with its own deadline ...
//!         | <- HELLO, its memory | key, types, ring | seals, size | map it | our memory | WELCOME, its memory -> | Peer
//! ```
//! All sockets are non-blocking, in one `epoll`, so a client that says nothing is waited for by nobody. Handshakes go on
//! while somebody is in `accept`, whichever client it is for.
//!
//! - I1 at most [`HALF_OPEN_MAX`] handshakes are under way; the oldest makes room for a new one. Those that can go on are
//!   served before new ones are let in.
//! - I2 whatever a client does, `accept` answers no error for it: that client is refused, or dropped, and counted.
//!
//! | killed | what is left | the other side |
//! |---|---|---|
//! | listener, before WELCOME | nothing; beside a path what `address` says | the client is told `Closed` |
//! | listener, after WELCOME | nothing | the client has a peer that is dead: `PeerDied` |
//! | client, any time | nothing | the listener drops the handshake, or hands out a peer that is dead |
//!
//! Progress: `accept` blocks; `try_accept` makes a bounded number of system calls.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use ginnel_object::{Error, ErrorKind, Message, Result};
use ginnel_segment::sealed::{Foreign, Own};
use ginnel_segment::{Error as SegmentError, ForkMark};
use ginnel_sync::Deadline;

use crate::address::{Address, Claim};
use crate::credentials::{Credentials, pidfd_of};
use crate::handshake::{Fingerprint, LONGEST, Refusal, Server, Terms};
use crate::peer::{Link, Parts, Peer};
use crate::settings::{Settings, nonce};
use crate::socket::{self, Packet};

/// Handshakes under way at a time.
pub const HALF_OPEN_MAX: usize = 64;

/// Connections let in before those under way are looked at again.
const LET_IN_MAX: u32 = 16;

/// How long a client may take for its part of the handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections that may wait in the kernel until somebody accepts.
const BACKLOG: u32 = 128;

/// The number of the listening socket among the events; handshakes count from 1.
const DOOR: u64 = 0;

/// How to listen, and for whom.
///
/// ```
/// use ginnel_pipe::{Listener, ListenerOptions};
///
/// let options = ListenerOptions::new().key(b"as long as random").max_message(1 << 16);
/// let listener = Listener::bind_with("@ginnel-doc-options", options)?;
/// assert!(listener.try_accept::<u64, String>()?.is_none());
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ListenerOptions {
    settings: Settings,
    handshake_timeout: Duration,
    backlog: u32,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self { settings: Settings::default(), handshake_timeout: PATIENCE, backlog: BACKLOG }
    }
}

impl ListenerOptions {
    /// Our own user only, no key, messages of 16 MiB at most, rings of 256 KiB, five seconds for a handshake.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets this user in, and with more calls more of them; nobody else, not even our own unless it is named, too. The
    /// socket file of a path gets mode 0666 if others are named: who comes in is decided here.
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.settings.allow(uid);
        self
    }

    /// A secret that clients have to know, and are shown to be known here: both sides prove it, neither sends it. Any
    /// bytes; 16 random ones or more cannot be guessed from what crosses the socket.
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

    /// Bytes of the longest message that is received from a client, encoded. The buffer for one grows as it comes, up to
    /// this, for each client.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.settings.max_message = bytes;
        self
    }

    /// Bytes that may be under way to a client; whole pages, up to 64 MiB. A message of more than a quarter of it goes in
    /// parts. Clients choose the size of theirs.
    pub fn ring(mut self, bytes: usize) -> Self {
        self.settings.ring = bytes;
        self
    }

    /// How long a client may take for its part of the handshake.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Clients that may wait in the kernel until somebody accepts. More are held up in `connect`.
    pub fn backlog(mut self, clients: u32) -> Self {
        self.backlog = clients;
        self
    }
}

/// Where unrelated processes connect. Threads may share it.
///
/// Dropping it refuses those who are half in, and removes its path if that is still its own. After a bare `fork` the
/// child's copy answers `Forked` and removes nothing.
#[derive(Debug)]
pub struct Listener {
    /// Dropped first: the path goes before the socket does.
    _claim: Option<Claim>,
    socket: OwnedFd,
    epoll: OwnedFd,
    address: Address,
    settings: Settings,
    terms: Arc<Terms>,
    patience: Duration,
    mark: ForkMark,
    half_open: Mutex<HalfOpen>,
}

/// The handshakes under way, the oldest first.
#[derive(Debug, Default)]
struct HalfOpen {
    all: Vec<Visitor>,
    last: u64,
    refused: u64,
}

/// A client that is half in.
#[derive(Debug)]
struct Visitor {
    number: u64,
    socket: OwnedFd,
    pidfd: Option<OwnedFd>,
    who: Credentials,
    machine: Server,
    deadline: Deadline,
}

impl Listener {
    /// Listens at `address`: a path, or `@name` for a name in the abstract namespace. For clients of our own user, without
    /// a key.
    ///
    /// The socket that a killed listener left at a path is replaced; two who try at once do not both get it (a lock file,
    /// `<path>.lock`, stands beside the socket as long as somebody listens there).
    ///
    /// # Errors
    /// As [`Listener::bind_with`].
    pub fn bind(address: impl AsRef<Path>) -> Result<Self> {
        Self::bind_with(address, ListenerOptions::new())
    }

    /// Listens at `address`, as the options say.
    ///
    /// # Errors
    /// `Taken`: another listens there, or the file there is no socket; `Invalid`: no address, or longer than 107 bytes, or
    /// options that nobody can satisfy; `TooLarge`: the ring; `NotFound`, `Denied`: the directory; `TooManyFiles`, `Os`.
    pub fn bind_with(address: impl AsRef<Path>, options: ListenerOptions) -> Result<Self> {
        let ListenerOptions { settings, handshake_timeout, backlog } = options;
        let address = Address::new(address.as_ref());
        let terms = Arc::new(settings.terms()?);
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        let (socket, claim) = address.listen(settings.allows_others(), backlog)?;
        let failed = |why: Errno| socket::refused("watch for clients", &why.into());
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        epoll::add(&epoll, &socket, EventData::new_u64(DOOR), EventFlags::IN).map_err(failed)?;
        Ok(Self {
            _claim: claim,
            socket,
            epoll,
            address,
            settings,
            terms,
            patience: handshake_timeout,
            mark: ForkMark::here()?,
            half_open: Mutex::default(),
        })
    }

    /// Where it listens, as it was given.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many clients were not let in so far: refused, silent for too long, or gone in the middle.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.half_open().refused
    }

    /// The next client that is allowed in and speaks of the same types; waits for it. It sends `R` and receives `S`.
    ///
    /// What a client does wrong is its own affair: it is refused, and `accept` waits on.
    ///
    /// # Errors
    /// `TooManyFiles`, `Full`: there is no descriptor or memory for a client. Those who wait are still waiting, one that was
    /// half in may have been told to try again; the next `accept` serves. `Forked`, `Os`.
    pub fn accept<S: Message, R: Message>(&self) -> Result<Peer<S, R>> {
        self.accept_by(Deadline::NEVER)
    }

    /// A client that can be let in now. Never waits. `None`: there is none.
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub fn try_accept<S: Message, R: Message>(&self) -> Result<Option<Peer<S, R>>> {
        let link = self.serve(&self.settings.fingerprint::<R, S>())?;
        Ok(link.map(|link| Peer { link, types: PhantomData }))
    }

    /// As [`Listener::accept`]; waits up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Listener::accept`].
    pub fn accept_timeout<S: Message, R: Message>(&self, timeout: Duration) -> Result<Peer<S, R>> {
        self.accept_by(Deadline::after(timeout))
    }

    /// As [`Listener::accept`]; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Listener::accept_timeout`].
    pub fn accept_deadline<S: Message, R: Message>(&self, deadline: Instant) -> Result<Peer<S, R>> {
        self.accept_by(Deadline::at(deadline))
    }

    fn accept_by<S: Message, R: Message>(&self, deadline: Deadline) -> Result<Peer<S, R>> {
        let fingerprint = self.settings.fingerprint::<R, S>();
        loop {
            if let Some(link) = self.serve(&fingerprint)? {
                return Ok(Peer { link, types: PhantomData });
            }
            if deadline.passed() {
                return Err(self.address.error(ErrorKind::Timeout, "nobody came in time"));
            }
            let next = self.half_open().all.iter().map(|visitor| visitor.deadline).min();
            let until = next.map_or(deadline, |next| next.min(deadline));
            socket::wait_readable(self.epoll.as_fd(), until)
                .map_err(|why| socket::refused("wait for clients", &why))?;
        }
    }

    fn half_open(&self) -> std::sync::MutexGuard<'_, HalfOpen> {
        // A panic in between leaves a list that is good as it is.
        self.half_open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with all who can go on, until one is through.
    fn serve(&self, fingerprint: &Fingerprint) -> Result<Option<Link>> {
        self.mark.check()?;
        let mut half_open = self.half_open();
        loop {
            let mut events =
                [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; HALF_OPEN_MAX + 1];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let count = match epoll::wait(&self.epoll, &mut events, Some(&at_once)) {
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(why) => return Err(socket::refused("wait for clients", &why.into())),
            };
            let ready = || events[..count].iter().map(|event| event.data.u64());
            for number in ready().filter(|number| *number != DOOR) {
                let Some(index) = half_open.all.iter().position(|visitor| visitor.number == number) else {
                    continue;
                };
                if let Some(link) = self.go_on(&mut half_open, index, fingerprint)? {
                    return Ok(Some(link));
                }
            }
            half_open.drop_late(&self.epoll);
            if !ready().any(|number| number == DOOR) || !self.let_in(&mut half_open)? {
                return Ok(None);
            }
        }
    }

    /// Lets some of those in who wait in the kernel, half. False: there are no more.
    fn let_in(&self, half_open: &mut HalfOpen) -> Result<bool> {
        for _ in 0..LET_IN_MAX {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(socket) => self.greet(half_open, socket)?,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(why) => return Err(self.refused_by_system("let a client in", why.into())),
            }
        }
        Ok(true)
    }

    /// A client has connected.
    fn greet(&self, half_open: &mut HalfOpen, socket: OwnedFd) -> Result<()> {
        let who = Credentials::of(&socket)?;
        if !self.settings.allows(&who, false) {
            half_open.refuse(&socket, Refusal::User);
            return Ok(());
        }
        let pidfd = pidfd_of(&socket, &who).inspect_err(|_| half_open.refuse(&socket, Refusal::Busy))?;
        let machine = Server::new(Arc::clone(&self.terms), nonce()?);
        if !matches!(socket::send(socket.as_fd(), &machine.hello(), None), Ok(true)) {
            half_open.refused += 1;
            return Ok(());
        }
        if half_open.all.len() >= HALF_OPEN_MAX {
            let oldest = half_open.all.remove(0);
            let _ = epoll::delete(&self.epoll, &oldest.socket);
            half_open.refuse(&oldest.socket, Refusal::Busy);
        }
        half_open.last += 1;
        let number = half_open.last;
        epoll::add(&self.epoll, &socket, EventData::new_u64(number), EventFlags::IN)
            .map_err(|why| self.refused_by_system("watch a client", why.into()))
            .inspect_err(|_| half_open.refuse(&socket, Refusal::Busy))?;
        let deadline = Deadline::after(self.patience);
        half_open.all.push(Visitor { number, socket, pidfd, who, machine, deadline });
        Ok(())
    }

    /// A client that is half in has said something, or hung up.
    fn go_on(
        &self,
        half_open: &mut HalfOpen,
        index: usize,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Link>> {
        let mut bytes = [0; LONGEST];
        let packet = socket::receive(half_open.all[index].socket.as_fd(), &mut bytes);
        if matches!(packet, Ok(Packet::Nothing)) {
            return Ok(None);
        }
        // From here on it is through, or out.
        let mut visitor = half_open.all.remove(index);
        let _ = epoll::delete(&self.epoll, &visitor.socket);
        let outcome = match packet {
            Ok(Packet::Some(len, memories)) => self.admit(&mut visitor, &bytes[..len], memories, fingerprint),
            Ok(Packet::Oversized) => Err(Out::Refused(Refusal::Malformed)),
            Ok(Packet::TooManyFiles) => {
                let says = "no descriptor is left for the memory of a client";
                Err(Out::Ours(self.address.error(ErrorKind::TooManyFiles, says)))
            }
            Ok(Packet::End | Packet::Nothing) | Err(_) => Err(Out::Gone),
        };
        match outcome {
            Ok((own, foreign, agreed)) => {
                let Visitor { socket, pidfd, who, .. } = visitor;
                let (longest, their_longest) = (self.terms.longest, agreed);
                let parts =
                    Parts { socket, pidfd, who, own, foreign, longest, their_longest, is_listener: true };
                Link::new(parts).map(Some)
            }
            Err(Out::Gone) => {
                half_open.refused += 1;
                Ok(None)
            }
            Err(Out::Refused(why)) => {
                half_open.refuse(&visitor.socket, why);
                Ok(None)
            }
            Err(Out::Ours(why)) => {
                half_open.refuse(&visitor.socket, Refusal::Busy);
                Err(why)
            }
        }
    }

    /// Looks at what the client sent, maps its memory, and gives it ours. Also its longest message.
    fn admit(
        &self,
        visitor: &mut Visitor,
        packet: &[u8],
        mut memories: Vec<OwnedFd>,
        fingerprint: &Fingerprint,
    ) -> Result<(Own, Foreign, u64), Out> {
        let count = memories.len();
        let memory = memories.pop();
        let number = memory.as_ref().and_then(|memory| socket::number_of(memory).ok()).unwrap_or(0);
        let agreed = visitor.machine.take(packet, count, number, fingerprint).map_err(Out::Refused)?;
        let memory = memory.ok_or(Out::Refused(Refusal::Memory))?;
        let foreign = Foreign::map(memory, agreed.ring).map_err(|why| match why {
            SegmentError::TooManyFiles { .. } | SegmentError::NoMemory { .. } => Out::Ours(why.into()),
            _ => Out::Refused(Refusal::Memory),
        })?;
        let (own, memory) = Own::create(self.terms.ring).map_err(|why| Out::Ours(why.into()))?;
        let number = socket::number_of(&memory)
            .map_err(|why| Out::Ours(socket::refused("look at our memory", &why)))?;
        let welcome = visitor.machine.welcome(number).map_err(Out::Refused)?;
        match socket::send(visitor.socket.as_fd(), &welcome, Some(memory.as_fd())) {
            Ok(true) => Ok((own, foreign, agreed.longest)),
            Ok(false) => Err(Out::Gone),
            Err(why) => Err(Out::Ours(socket::refused("send our memory", &why))),
        }
    }

    #[cold]
    fn refused_by_system(&self, doing: &str, why: std::io::Error) -> Error {
        socket::refused(doing, &why).with_object(self.address.to_string())
    }
}

/// Why a client is not let in.
enum Out {
    /// It has hung up.
    Gone,
    /// It was refused.
    Refused(Refusal),
    /// It is this side that lacks something.
    Ours(Error),
}

impl HalfOpen {
    /// Says no, and counts it. Whether the client hears of it is its affair.
    fn refuse(&mut self, socket: &OwnedFd, why: Refusal) {
        let _ = socket::send(socket.as_fd(), &why.packet(), None);
        self.refused += 1;
    }

    /// Drops those whose time is over.
    fn drop_late(&mut self, epoll: &OwnedFd) {
        let all = std::mem::take(&mut self.all);
        let (late, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|visitor| visitor.deadline.passed());
        self.all = rest;
        for visitor in late {
            // A copy of it in a forked child would stay in the set.
            let _ = epoll::delete(epoll, &visitor.socket);
            self.refuse(&visitor.socket, Refusal::Busy);
        }
    }
}

/// For event loops: readable when [`Listener::try_accept`] has something to do, if only a handshake to go on with.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.mark.check().is_ok() {
            let mut half_open = self.half_open();
            for visitor in std::mem::take(&mut half_open.all) {
                half_open.refuse(&visitor.socket, Refusal::Closing);
            }
        }
    }
}
