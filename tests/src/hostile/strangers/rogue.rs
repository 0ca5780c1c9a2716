//! One side of a connection in the wrong hands: it goes through the handshake like anybody, and keeps what others drop.
//!
//! A rogue has its own half mapped for writing, the other's for reading, the descriptors of both, and the socket. It can
//! speak as it should, which gives it something to lie about.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::peer::{MAGIC, PeerControl, PeerFront, RING_AT, VERSION};
use ginnel_layout::record::{GRANULE, RecordHeader};
use ginnel_pipe::handshake::{CLIENT_HELLO, Client, Fingerprint, SERVER_HELLO, Server, Terms, WELCOME};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::View;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::thread::futex;

use super::door::{Packet, Step, Trick, receive, send};

/// Bytes of a rogue's ring.
pub(super) const RING: u64 = 16 << 10;

/// A stage of the handshake in which nothing happens for so long is given up.
const SILENCE: Duration = Duration::from_millis(20);

/// `F_SEAL_FUTURE_WRITE`, which this version of nix has no name for.
const FUTURE_WRITE: SealFlag = SealFlag::from_bits_retain(0x10);

/// All seals that a half has to have.
pub(super) fn seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL | FUTURE_WRITE
}

/// Where it meets the others.
#[derive(Debug)]
pub(super) enum Way {
    /// It connects to the listener of that name.
    Connects(String),
    /// It listens, and they connect.
    Listens(OwnedFd),
}

impl Way {
    /// Listens at an abstract name.
    pub(super) fn listen(name: &str) -> io::Result<Self> {
        let socket = new_socket()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        rustix::net::listen(&socket, 16)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
        Ok(Self::Listens(socket))
    }

    /// A fresh connection, nothing said yet.
    pub(super) fn socket(&self) -> io::Result<OwnedFd> {
        let socket = match self {
            Self::Connects(name) => {
                let socket = new_socket()?;
                // A full backlog must not hold it up.
                set_socket_timeout(&socket, Timeout::Send, Some(SILENCE))?;
                rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
                socket
            }
            Self::Listens(listener) => rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?,
        };
        set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
        Ok(socket)
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// A file such as a half has to be, except for the seals, and two mappings of it for writing, since there can be none later.
pub(super) fn half(ring: u64, seals: SealFlag) -> io::Result<(OwnedFd, [View; 2])> {
    let file = memfd_create(c"ginnel-rogue", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, RING_AT + ring)?;
    let (view, spare) = (View::writable(&file)?, View::writable(&file)?);
    let front = |at: usize| view.word((offset_of!(PeerControl, front) + at) / 8);
    front(offset_of!(PeerFront, magic)).store(MAGIC, Release);
    front(offset_of!(PeerFront, version)).store(u64::from(VERSION), Release);
    front(offset_of!(PeerFront, size)).store(ring, Release);
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok((file, [view, spare]))
}

pub(super) fn number_of(file: &OwnedFd) -> u64 {
    rustix::fs::fstat(file).map_or(0, |stat| stat.st_ino)
}

/// Its side of a connection.
#[derive(Debug)]
pub(super) struct Rogue {
    pub(super) socket: OwnedFd,
    /// Its own half.
    pub(super) file: OwnedFd,
    pub(super) own: View,
    /// The same once more.
    pub(super) spare: Option<View>,
    /// The other's.
    pub(super) their_file: OwnedFd,
    pub(super) theirs: View,
    their_size: u64,
    /// Bytes it has sent.
    pub(super) tail: u64,
    /// Bytes it has taken.
    head: u64,
}

impl Rogue {
    /// Goes through the handshake, but for `trick`. `None`: it came to nothing.
    pub(super) fn meet(
        way: &Way,
        fingerprint: &Fingerprint,
        trick: &Trick,
        rng: &mut Rng,
    ) -> io::Result<Option<Self>> {
        let socket = way.socket()?;
        if trick.ends_at(Step::Connected) {
            return Ok(None);
        }
        let terms = Terms { key: None, ring: RING, longest: 1 << 20, ring_max: 1 << 30 };
        match way {
            Way::Connects(_) => Self::enter(socket, terms, fingerprint, trick, rng),
            Way::Listens(_) => Self::receive(socket, terms, fingerprint, trick, rng),
        }
    }

    fn enter(
        socket: OwnedFd,
        terms: Terms,
        fingerprint: &Fingerprint,
        trick: &Trick,
        rng: &mut Rng,
    ) -> io::Result<Option<Self>> {
        let mut client = Client::new(terms, fingerprint, nonce(rng));
        let Some(Packet { bytes: hello, .. }) = receive(&socket, SERVER_HELLO)? else { return Ok(None) };
        let Ok(agreed) = client.take_hello(&hello) else { return Ok(None) };
        if trick.ends_at(Step::Greeted) {
            return Ok(None);
        }
        let (file, own) = half(RING, trick.seals())?;
        let packet = client.hello(number_of(&file));
        if !trick.say(&socket, &packet, &file, rng)? || trick.ends_at(Step::Answered) {
            return Ok(None);
        }
        let Some(Packet { mut files, .. }) = receive(&socket, WELCOME)? else { return Ok(None) };
        let Some(their_file) = files.pop() else { return Ok(None) };
        Self::through(socket, (file, own), their_file, agreed.ring, trick)
    }

    fn receive(
        socket: OwnedFd,
        terms: Terms,
        fingerprint: &Fingerprint,
        trick: &Trick,
        rng: &mut Rng,
    ) -> io::Result<Option<Self>> {
        let mut server = Server::new(Arc::new(terms), nonce(rng));
        if !trick.greet(&socket, &server.hello(), rng)? || trick.ends_at(Step::Greeted) {
            return Ok(None);
        }
        let Some(Packet { bytes, mut files }) = receive(&socket, CLIENT_HELLO)? else { return Ok(None) };
        let Some(their_file) = files.pop() else { return Ok(None) };
        let Ok(agreed) = server.take(&bytes, 1, number_of(&their_file), fingerprint) else {
            return Ok(None);
        };
        let (file, own) = half(RING, trick.seals())?;
        let Ok(welcome) = server.welcome(number_of(&file)) else { return Ok(None) };
        if !trick.say(&socket, &welcome, &file, rng)? || trick.ends_at(Step::Answered) {
            return Ok(None);
        }
        Self::through(socket, (file, own), their_file, agreed.ring, trick)
    }

    fn through(
        socket: OwnedFd,
        (file, [own, spare]): (OwnedFd, [View; 2]),
        their_file: OwnedFd,
        their_size: u64,
        trick: &Trick,
    ) -> io::Result<Option<Self>> {
        if trick.ends_at(Step::Through) {
            return Ok(None);
        }
        let theirs = View::readable(&their_file)?;
        let spare = Some(spare);
        Ok(Some(Self { socket, file, own, spare, their_file, theirs, their_size, tail: 0, head: 0 }))
    }

    /// A word of its first page.
    pub(super) fn control(&self, at: usize) -> &AtomicU64 {
        self.own.word(at / 8)
    }

    /// A word that the other's sleepers sleep on: that of its receiver, or of its sender.
    pub(super) fn line(&self, message: bool) -> &AtomicU32 {
        let at = if message { offset_of!(PeerControl, message) } else { offset_of!(PeerControl, room) };
        self.own.half(at / 4)
    }

    /// The word of its ring at that place since the beginning.
    pub(super) fn ring(&self, at: u64) -> &AtomicU64 {
        self.own.word(((RING_AT + at % RING) / 8) as usize)
    }

    /// Bytes of its ring that the other has given back.
    pub(super) fn free(&self) -> u64 {
        let head = self.theirs.word(offset_of!(PeerControl, head) / 8).load(Acquire);
        RING.saturating_sub(self.tail.wrapping_sub(head))
    }

    /// Is there room for a payload of so many bytes?
    pub(super) fn has_room(&self, len: usize) -> bool {
        len as u64 + 3 * GRANULE <= self.free()
    }

    /// Commits a record, whatever its header says, and wakes whoever sleeps.
    pub(super) fn commit(&mut self, header: u64, payload: &[u8]) {
        let mut at = self.tail + GRANULE;
        for chunk in payload.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.ring(at).store(u64::from_ne_bytes(word), Release);
            at += GRANULE;
        }
        self.ring(at).store(0, Release);
        self.ring(self.tail).store(header, Release);
        self.tail = at;
        self.wake(true);
    }

    /// Sends a message as it should.
    pub(super) fn send(&mut self, payload: &[u8]) {
        self.commit(RecordHeader::one(payload.len() as u32).bits(), payload);
    }

    /// Takes all that is there, and looks at none of it.
    pub(super) fn take_all(&mut self) {
        let before = self.head;
        for _ in 0..64 {
            let at = ((RING_AT + self.head % self.their_size) / 8) as usize;
            let Some(header) = RecordHeader::from_bits(self.theirs.word(at).load(Acquire)) else { break };
            self.head += GRANULE + u64::from(header.len).next_multiple_of(GRANULE);
        }
        if self.head != before {
            self.control(offset_of!(PeerControl, head)).store(self.head, Release);
            self.wake(false);
        }
    }

    pub(super) fn wake(&self, message: bool) {
        let line = self.line(message);
        line.fetch_add(1, Release);
        let _ = futex::wake(line.futex_word(), futex::Flags::empty(), 1);
    }

    /// Says a byte, as to one who polls.
    pub(super) fn ring_bell(&self) {
        let _ = send(&self.socket, b"w", &[]);
    }

    /// Has the other hung up?
    pub(super) fn is_alone(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        poll(&mut fds, Some(&at_once)).is_ok_and(|count| count > 0)
    }

    /// The kernel refuses whatever would pull the memory from under the other, or change what is the other's. Gives what it
    /// did not refuse.
    pub(super) fn attempts(&self) -> (u64, Vec<&'static str>) {
        use nix::fcntl::{FallocateFlags, fallocate};
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (own, theirs) = (self.file.as_fd(), self.their_file.as_fd());
        let tried = [
            ("shorten its half", rustix::fs::ftruncate(own, RING_AT).is_ok()),
            ("empty its half", rustix::fs::ftruncate(own, 0).is_ok()),
            ("lengthen its half", rustix::fs::ftruncate(own, RING_AT + 2 * RING).is_ok()),
            ("punch a hole into its half", fallocate(own, hole, RING_AT as i64, RING as i64).is_ok()),
            ("cut a page out of its half", {
                fallocate(own, FallocateFlags::FALLOC_FL_COLLAPSE_RANGE, 0, 4096).is_ok()
            }),
            ("take its seals off", fcntl(own, FcntlArg::F_ADD_SEALS(SealFlag::empty())).is_ok()),
            ("map its half once more", View::writable(&own).is_ok()),
            ("write to its half", rustix::io::pwrite(own, &[1], 0).is_ok()),
            ("shorten the other's half", rustix::fs::ftruncate(theirs, 0).is_ok()),
            ("punch a hole into the other's half", fallocate(theirs, hole, 0, RING_AT as i64).is_ok()),
            ("map the other's half for writing", View::writable(&theirs).is_ok()),
            ("write to the other's half", rustix::io::pwrite(theirs, &[1], 0).is_ok()),
        ];
        let allowed = tried.iter().filter(|(_, done)| *done).map(|(what, _)| *what).collect();
        (tried.len() as u64, allowed)
    }
}

pub(super) fn nonce(rng: &mut Rng) -> [u8; 32] {
    let mut nonce = [0; 32];
    for chunk in nonce.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next_u64().to_ne_bytes());
    }
    nonce
}
