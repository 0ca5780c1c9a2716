//! Both sides of the handshake of two strangers, with packets that somebody else chose or changed.
//!
//! ```text
//! byte 0   bit 0: both sides have a key · bit 1: the rest is one packet · bit 2: for the client
//! rest     changes of an exchange that would succeed: which packet, place, byte, what (change, cut, lengthen, count of
//!          descriptors, number of the memory), five bytes each
//! ```
//! A packet may be refused for any reason. With a key, one that was changed may never be accepted: what the proofs do not
//! cover has to be checked byte by byte.

use std::sync::Arc;

use ginnel_pipe::handshake::{Client, Fingerprint, Key, NONCE, Server, Terms};

/// The numbers of the memory files.
const CLIENT_MEMORY: u64 = 77;
const SERVER_MEMORY: u64 = 88;

fn terms(keyed: bool) -> Terms {
    let key = if keyed { Key::new(b"sixteen bytes or more") } else { None };
    Terms { key, ring: 1 << 16, longest: 1 << 20, ring_max: 1 << 26 }
}

/// One packet on its way.
struct Way {
    bytes: Vec<u8>,
    descriptors: usize,
    memory: u64,
    is_changed: bool,
}

impl Way {
    fn of(bytes: &[u8], memory: u64) -> Self {
        Self { bytes: bytes.to_vec(), descriptors: 1, memory, is_changed: false }
    }

    /// Does to it what the input says about packet `number`.
    fn change(mut self, number: u8, changes: &[u8]) -> Self {
        let before = (self.bytes.clone(), self.descriptors, self.memory);
        for change in changes.chunks_exact(5).filter(|change| change[0] % 3 == number) {
            let [_, place, byte, what, more] = *change else { continue };
            match what % 5 {
                0 => {
                    let index = usize::from(place);
                    if let Some(found) = self.bytes.get_mut(index) {
                        *found ^= byte;
                    }
                }
                1 => self.bytes.truncate(usize::from(place)),
                2 => self.bytes.extend(std::iter::repeat_n(byte, usize::from(place))),
                3 => self.descriptors = usize::from(more % 4),
                _ => self.memory = self.memory.wrapping_add(u64::from(byte)),
            }
        }
        self.is_changed = before != (self.bytes.clone(), self.descriptors, self.memory);
        self
    }
}

/// Runs one input; how many packets were accepted.
///
/// # Panics
/// When a packet was accepted that should not have been.
pub fn run(input: &[u8]) -> usize {
    let Some((choice, rest)) = input.split_first() else { return 0 };
    let keyed = choice & 1 != 0;
    let print = Fingerprint::of::<u32, String>(None);
    let mut server = Server::new(Arc::new(terms(keyed)), [1; NONCE]);
    let mut client = Client::new(terms(keyed), &print, [2; NONCE]);
    if choice & 2 != 0 {
        return alone(&mut server, &mut client, choice & 4 != 0, rest);
    }
    let hello = Way::of(&server.hello(), 0).change(0, rest);
    if client.take_hello(&hello.bytes).is_err() {
        return 0;
    }
    let answer = Way::of(&client.hello(CLIENT_MEMORY), CLIENT_MEMORY).change(1, rest);
    // What the client was told is part of what it proves; a flag less would be seen at once.
    let is_spoilt = hello.bytes != server.hello() || answer.is_changed;
    match server.take(&answer.bytes, answer.descriptors, answer.memory, &print) {
        Err(_) => return 1,
        Ok(agreed) => {
            assert!(!(keyed && is_spoilt), "the listener took a packet that was changed");
            assert!(agreed.ring <= 1 << 26 && agreed.ring.is_multiple_of(4096) && agreed.ring > 0);
        }
    }
    let Ok(welcome) = server.welcome(SERVER_MEMORY) else { return 2 };
    let welcome = Way::of(&welcome, SERVER_MEMORY).change(2, rest);
    // Descriptors are counted before a packet comes to the client's machine.
    let is_changed = welcome.is_changed && (welcome.memory != SERVER_MEMORY || welcome.descriptors == 1);
    match client.take_welcome(&welcome.bytes, welcome.memory) {
        Ok(()) => {
            assert!(!(keyed && is_changed), "the client took a packet that was changed");
            3
        }
        Err(_) => 2,
    }
}

/// One packet for one machine, and everything out of turn behind it.
fn alone(server: &mut Server, client: &mut Client, for_client: bool, packet: &[u8]) -> usize {
    let print = Fingerprint::of::<u32, String>(None);
    if for_client {
        let mut accepted = usize::from(client.take_hello(packet).is_ok());
        let _ = client.hello(CLIENT_MEMORY);
        accepted += usize::from(client.take_welcome(packet, SERVER_MEMORY).is_ok());
        assert!(client.take_hello(packet).is_err(), "twice");
        return accepted;
    }
    let accepted = server.take(packet, 1, CLIENT_MEMORY, &print).is_ok();
    assert_eq!(server.welcome(SERVER_MEMORY).is_ok(), accepted);
    assert!(server.take(packet, 1, CLIENT_MEMORY, &print).is_err(), "twice");
    usize::from(accepted)
}
