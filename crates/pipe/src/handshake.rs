//! What two strangers say to each other before they share memory: bytes in, bytes and verdicts out, no system call.
//!
//! ```text
//! listener -> client  HELLO    head 16 | ring 8 | longest 8 | nonce 32                                =  64 bytes
//! client -> listener  HELLO    head 16 | ring 8 | longest 8 | nonce 32 | fingerprint 32 | proof 32    = 128 bytes + its memory
//! listener -> client  WELCOME  head 16 | proof 32                                                     =  48 bytes + its memory
//!                     REFUSED  head 16 | reason 4 | 0 4                                               =  24 bytes, at any time
//! head   magic 8 | version 4 | kind 2 | flags 2                                        little endian, all of it
//! ```
//! `ring` is the size of the memory that the sender of the packet will write into, `longest` the longest message it takes.
//! The fingerprint says what crosses in each direction ([`Fingerprint`]).
//!
//! The proof is HMAC-SHA256 of the key over a label (one for each side), both nonces, the fingerprint, both rings, both
//! limits, and the numbers of the memory files; where there is no key it is zero, and has to be. So a packet of another
//! connection is worth nothing (the nonces), nobody gets a side's own proof sent back as the other's (the labels), and
//! whoever sits in between cannot put memory of his own in the place of theirs (the numbers: a client sees the number of the
//! file it was given, which the kernel chose).
//!
//! Every packet is checked for its exact length, its magic, its version and its kind before anything else in it is looked
//! at; the proof before what it protects. Nothing is allocated, whatever comes. A machine that has refused, or is asked
//! out of turn, refuses for good.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use ginnel_layout::line::PAGE;
use ginnel_object::Message;

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

/// The version of this handshake and of the memory that it hands over.
pub const VERSION: u32 = 1;

/// Bytes of the listener's first packet.
pub const SERVER_HELLO: usize = 64;
/// Bytes of the client's packet.
pub const CLIENT_HELLO: usize = 128;
/// Bytes of the listener's consent.
pub const WELCOME: usize = 48;
/// Bytes of a refusal.
pub const REFUSED: usize = 24;
/// Bytes of the longest packet.
pub const LONGEST: usize = CLIENT_HELLO;

/// Bytes of a nonce.
pub const NONCE: usize = 32;

const MAGIC: [u8; 8] = *b"ginnel\r\n";
const HEAD: usize = 16;
const PROOF: usize = 32;

/// The listener wants a key, or the client proves one.
const KEYED: u16 = 1;

/// What a packet is.
mod kind {
    pub(super) const SERVER_HELLO: u16 = 1;
    pub(super) const CLIENT_HELLO: u16 = 2;
    pub(super) const WELCOME: u16 = 3;
    pub(super) const REFUSED: u16 = 4;
}

const CLIENT_LABEL: &[u8; 16] = b"ginnel client  1";
const SERVER_LABEL: &[u8; 16] = b"ginnel listener1";

/// A secret that both sides know. Its bytes are shown nowhere.
#[derive(Clone)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// `None` for a key without bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.into()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What one side asks for and offers.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The key, if the other has to know it.
    pub key: Option<Key>,
    /// Bytes of the ring this side writes into.
    pub ring: u64,
    /// Longest message it takes.
    pub longest: u64,
    /// Largest ring of the other that it maps.
    pub ring_max: u64,
}

/// What the other side said, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Bytes of the ring that it writes into.
    pub ring: u64,
    /// Longest message that it takes.
    pub longest: u64,
}

/// Why the listener does not let a client in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client's user is none of those allowed.
    User,
    /// The key is wrong, or there should be none.
    Key,
    /// Another version of the handshake.
    Version,
    /// Other types of messages.
    Types,
    /// A ring that is too large, or no whole number of pages.
    Ring,
    /// What should have been the client's memory is not: no descriptor, several, no memfd, unsealed, of another size.
    Memory,
    /// The listener has no descriptors, memory or patience left for now.
    Busy,
    /// No packet of this handshake.
    Malformed,
    /// The listener goes away.
    Closing,
}

impl Refusal {
    const ALL: [Self; 9] = [
        Self::User,
        Self::Key,
        Self::Version,
        Self::Types,
        Self::Ring,
        Self::Memory,
        Self::Busy,
        Self::Malformed,
        Self::Closing,
    ];

    fn code(self) -> u32 {
        // Nine of them, each in the list.
        Self::ALL.iter().position(|other| *other == self).map_or(0, |index| index as u32 + 1)
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get((code as usize).checked_sub(1)?).copied()
    }

    /// The refusal in a packet, if it is one.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        match Reader::open(packet, REFUSED, kind::REFUSED) {
            Err(Unread::Refused(why)) => Some(why),
            _ => None,
        }
    }

    /// The packet that says so.
    #[must_use]
    pub fn packet(self) -> [u8; REFUSED] {
        let mut packet = Writer::<REFUSED>::new(kind::REFUSED, 0);
        packet.put(&self.code().to_le_bytes());
        packet.done()
    }
}

/// Why a client does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The listener said no.
    Refused(Refusal),
    /// The listener speaks another version.
    Version(u32),
    /// The listener wants a key and this side has none.
    KeyWanted,
    /// This side has a key and the listener does not prove that it knows it.
    NotProven,
    /// The listener's ring is too large, or no whole number of pages: its bytes.
    Ring(u64),
    /// No packet of this handshake.
    Malformed,
}

/// Which types cross, as 32 bytes: equal on both sides, or there is no connection.
///
/// It is made of the codec of each direction, the size of types that have one, and the names of the types without their
/// paths; or, where the program names its protocol, of that name in the place of the types' names. Names of types are no
/// part of any promise of the compiler: programs of different compilers, or whose types have different names, name
/// their protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a connection on which the client sends `C` and the listener sends `L`.
    #[must_use]
    pub fn of<C: Message, L: Message>(protocol: Option<&str>) -> Self {
        let mut hash = Sha256::new();
        for (name, fixed) in [(type_name::<C>(), C::FIXED), (type_name::<L>(), L::FIXED)] {
            // No type has this many bytes, so it stands for "encoded".
            hash.update(fixed.map_or(u64::MAX, |size| size as u64).to_le_bytes());
            if protocol.is_none() {
                let name = without_paths(name);
                hash.update((name.len() as u64).to_le_bytes());
                hash.update(name.as_bytes());
            }
        }
        if let Some(protocol) = protocol {
            hash.update(b"protocol ");
            hash.update(protocol.as_bytes());
        }
        Self(hash.finalize().into())
    }
}

/// `a::b::Pair<c::Left, d::Right>` becomes `Pair<Left, Right>`.
fn without_paths(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut word = 0;
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("::") {
            short.truncate(word);
            rest = after;
            continue;
        }
        short.push(first);
        if !(first.is_alphanumeric() || matches!(first, '_' | '{' | '}' | '#')) {
            word = short.len();
        }
        rest = &rest[first.len_utf8()..];
    }
    short
}

/// How far a machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Middle,
    End,
}

/// The listener's side of one connection.
#[derive(Debug)]
pub struct Server {
    terms: Arc<Terms>,
    transcript: Transcript,
    at: At,
}

impl Server {
    /// For a client that has just come, with a nonce that was never used.
    #[must_use]
    pub fn new(terms: Arc<Terms>, nonce: [u8; NONCE]) -> Self {
        let server = Half { nonce, ring: terms.ring, longest: terms.longest, memory: 0 };
        let transcript = Transcript { server, ..Transcript::default() };
        Self { terms, transcript, at: At::Start }
    }

    /// The first packet.
    #[must_use]
    pub fn hello(&self) -> [u8; SERVER_HELLO] {
        let flags = if self.terms.key.is_some() { KEYED } else { 0 };
        let mut packet = Writer::<SERVER_HELLO>::new(kind::SERVER_HELLO, flags);
        packet.put_half(&self.transcript.server);
        packet.done()
    }

    /// The client's packet, the number of descriptors that came with it, and the number of the file behind the only one.
    ///
    /// # Errors
    /// What to tell the client, [`Refusal::packet`]. The connection is over then.
    pub fn take(
        &mut self,
        packet: &[u8],
        descriptors: usize,
        memory: u64,
        expected: &Fingerprint,
    ) -> Result<Agreed, Refusal> {
        let at = std::mem::replace(&mut self.at, At::End);
        if at != At::Start {
            return Err(Refusal::Malformed);
        }
        let mut reader = Reader::open(packet, CLIENT_HELLO, kind::CLIENT_HELLO).map_err(|why| match why {
            Unread::Version(_) => Refusal::Version,
            Unread::Refused(_) | Unread::Malformed => Refusal::Malformed,
        })?;
        self.transcript.client = reader.half();
        self.transcript.client.memory = memory;
        self.transcript.fingerprint = reader.bytes();
        let proof: [u8; PROOF] = reader.bytes();
        let keyed = reader.flags & KEYED != 0;
        if keyed != self.terms.key.is_some()
            || !self.transcript.is_proof(CLIENT_LABEL, self.terms.key.as_ref(), &proof)
        {
            return Err(Refusal::Key);
        }
        if self.transcript.fingerprint != expected.0 {
            return Err(Refusal::Types);
        }
        if descriptors != 1 {
            return Err(Refusal::Memory);
        }
        let client = self.transcript.client;
        if !is_ring(client.ring, self.terms.ring_max) {
            return Err(Refusal::Ring);
        }
        self.at = At::Middle;
        Ok(Agreed { ring: client.ring, longest: client.longest })
    }

    /// The last packet, to go with this side's memory, whose file has the number `memory`.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] unless the client's packet was good.
    pub fn welcome(&mut self, memory: u64) -> Result<[u8; WELCOME], Refusal> {
        let at = std::mem::replace(&mut self.at, At::End);
        if at != At::Middle {
            return Err(Refusal::Malformed);
        }
        self.transcript.server.memory = memory;
        let mut packet = Writer::<WELCOME>::new(kind::WELCOME, 0);
        packet.put(&self.transcript.proof(SERVER_LABEL, self.terms.key.as_ref()));
        Ok(packet.done())
    }
}

/// The client's side.
#[derive(Debug)]
pub struct Client {
    terms: Terms,
    transcript: Transcript,
    at: At,
}

impl Client {
    /// With a nonce that was never used.
    #[must_use]
    pub fn new(terms: Terms, fingerprint: &Fingerprint, nonce: [u8; NONCE]) -> Self {
        let client = Half { nonce, ring: terms.ring, longest: terms.longest, memory: 0 };
        let transcript = Transcript { client, fingerprint: fingerprint.0, ..Transcript::default() };
        Self { terms, transcript, at: At::Start }
    }

    /// The listener's first packet.
    ///
    /// # Errors
    /// Why there will be no connection.
    pub fn take_hello(&mut self, packet: &[u8]) -> Result<Agreed, Failure> {
        let at = std::mem::replace(&mut self.at, At::End);
        if at != At::Start {
            return Err(Failure::Malformed);
        }
        let mut reader = Reader::open(packet, SERVER_HELLO, kind::SERVER_HELLO)?;
        self.transcript.server = reader.half();
        match (reader.flags & KEYED != 0, self.terms.key.is_some()) {
            (true, false) => return Err(Failure::KeyWanted),
            (false, true) => return Err(Failure::NotProven),
            _ => {}
        }
        let server = self.transcript.server;
        if !is_ring(server.ring, self.terms.ring_max) {
            return Err(Failure::Ring(server.ring));
        }
        self.at = At::Middle;
        Ok(Agreed { ring: server.ring, longest: server.longest })
    }

    /// The answer, to go with this side's memory, whose file has the number `memory`.
    #[must_use]
    pub fn hello(&mut self, memory: u64) -> [u8; CLIENT_HELLO] {
        self.transcript.client.memory = memory;
        let flags = if self.terms.key.is_some() { KEYED } else { 0 };
        let mut packet = Writer::<CLIENT_HELLO>::new(kind::CLIENT_HELLO, flags);
        packet.put_half(&self.transcript.client);
        packet.put(&self.transcript.fingerprint);
        packet.put(&self.transcript.proof(CLIENT_LABEL, self.terms.key.as_ref()));
        packet.done()
    }

    /// The listener's last packet, which came with a file of the number `memory`.
    ///
    /// # Errors
    /// Why there will be no connection.
    pub fn take_welcome(&mut self, packet: &[u8], memory: u64) -> Result<(), Failure> {
        let at = std::mem::replace(&mut self.at, At::End);
        if at != At::Middle {
            return Err(Failure::Malformed);
        }
        let mut reader = Reader::open(packet, WELCOME, kind::WELCOME)?;
        self.transcript.server.memory = memory;
        let proof: [u8; PROOF] = reader.bytes();
        if self.transcript.is_proof(SERVER_LABEL, self.terms.key.as_ref(), &proof) {
            Ok(())
        } else {
            Err(Failure::NotProven)
        }
    }
}

/// Whole pages, at least one, and no more than `max` bytes.
fn is_ring(bytes: u64, max: u64) -> bool {
    bytes != 0 && bytes.is_multiple_of(PAGE as u64) && bytes <= max
}

/// What one side has said of itself.
#[derive(Debug, Clone, Copy, Default)]
struct Half {
    nonce: [u8; NONCE],
    ring: u64,
    longest: u64,
    /// The number of its memory file; 0 as long as nobody knows it.
    memory: u64,
}

/// All that the proofs are about.
#[derive(Debug, Clone, Copy, Default)]
struct Transcript {
    server: Half,
    client: Half,
    fingerprint: [u8; 32],
}

impl Transcript {
    fn mac(&self, label: &[u8; 16], key: &Key) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key.0).expect("a key of any length is one");
        mac.update(label);
        for half in [&self.server, &self.client] {
            mac.update(&half.nonce);
            for number in [half.ring, half.longest, half.memory] {
                mac.update(&number.to_le_bytes());
            }
        }
        mac.update(&self.fingerprint);
        mac
    }

    fn proof(&self, label: &[u8; 16], key: Option<&Key>) -> [u8; PROOF] {
        key.map_or([0; PROOF], |key| self.mac(label, key).finalize().into_bytes().into())
    }

    /// Takes the same time whatever the proof holds.
    fn is_proof(&self, label: &[u8; 16], key: Option<&Key>, proof: &[u8; PROOF]) -> bool {
        match key {
            Some(key) => self.mac(label, key).verify_slice(proof).is_ok(),
            None => *proof == [0; PROOF],
        }
    }
}

/// A packet of `N` bytes in the making.
struct Writer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Writer<N> {
    fn new(kind: u16, flags: u16) -> Self {
        let mut packet = Self { bytes: [0; N], len: 0 };
        packet.put(&MAGIC);
        packet.put(&VERSION.to_le_bytes());
        packet.put(&kind.to_le_bytes());
        packet.put(&flags.to_le_bytes());
        packet
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_half(&mut self, half: &Half) {
        self.put(&half.ring.to_le_bytes());
        self.put(&half.longest.to_le_bytes());
        self.put(&half.nonce);
    }

    fn done(self) -> [u8; N] {
        self.bytes
    }
}

/// Why a packet is not the one that was expected.
enum Unread {
    Version(u32),
    Refused(Refusal),
    Malformed,
}

impl From<Unread> for Failure {
    fn from(why: Unread) -> Self {
        match why {
            Unread::Version(found) => Self::Version(found),
            Unread::Refused(why) => Self::Refused(why),
            Unread::Malformed => Self::Malformed,
        }
    }
}

/// A packet of the right length and kind.
struct Reader<'a> {
    rest: &'a [u8],
    flags: u16,
}

impl<'a> Reader<'a> {
    fn open(packet: &'a [u8], len: usize, kind: u16) -> Result<Self, Unread> {
        if packet.len() < HEAD || packet[..8] != MAGIC {
            return Err(Unread::Malformed);
        }
        let mut reader = Self { rest: &packet[8..], flags: 0 };
        let version = u32::from_le_bytes(reader.bytes());
        if version != VERSION {
            return Err(Unread::Version(version));
        }
        let found = u16::from_le_bytes(reader.bytes());
        reader.flags = u16::from_le_bytes(reader.bytes());
        if found == kind::REFUSED && packet.len() == REFUSED {
            let why = Refusal::from_code(u32::from_le_bytes(reader.bytes()));
            return Err(why.map_or(Unread::Malformed, Unread::Refused));
        }
        let possible = if kind == kind::WELCOME { 0 } else { KEYED };
        if found != kind || packet.len() != len || reader.flags & !possible != 0 {
            return Err(Unread::Malformed);
        }
        Ok(reader)
    }

    /// The next `N` bytes. The caller has checked the length of the packet; what is not there reads as zero.
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                *bytes
            }
            None => [0; N],
        }
    }

    fn half(&mut self) -> Half {
        let ring = u64::from_le_bytes(self.bytes());
        let longest = u64::from_le_bytes(self.bytes());
        Half { nonce: self.bytes(), ring, longest, memory: 0 }
    }
}

#[cfg(test)]
mod tests;
