//! Bells: a byte for those who poll a descriptor and cannot sleep on a word.
//!
//! Who wants one stands in [`Bells`], one bit a participant. Only a waker that has found a sleeper announced (flag, W)
//! looks there, on its way to a system call anyway; a poller announces itself as a sleeper does, too. The byte is a
//! datagram to an address that is computed from the words alone:
//!
//! ```text
//! key      {beside:1 | segment:31 | line:32}, the same from every process
//! address  "\0ginnel/<key, 16 hex digits>/<participant>"      bound by the poller's Ear, one a process and line
//! beside   "<directory of the segment>/ginnel.bell.<key, 16 hex digits>.<participant>"      where it has a name
//! ```
//! A file is found from another network namespace, too, which an abstract address is not (`beside`). Where a poller
//! can make none it listens at the abstract address, and there who rings sends if the file does not answer.
//!
//! ```text
//!   poller                                     waker
//!   key; bit = 1       E1                      commit            Release, the caller's edge
//!   fence(SeqCst)      E1                      flag is 0? go away
//!   arms as a sleeper                          seq += 1, or the unlock
//!   looks: ready? leave                        fence(SeqCst)     E1
//!   polls its Ear                              a bit? clears it; if it was still set: sends a byte
//! ```
//! The bit is cleared first and sent for by whoever cleared it. The other way round, a poller that drains its byte and
//! asks again between the two has its new bit wiped, and nobody rings. What that costs is a kill between the two, after
//! which the poller looks again at the end of its slice (20 to 50 ms, as any sleeper).
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | armed | poller its bit 1, and 0 on leaving; who rings 0 | wakers, after the flag | E1 | a bit for nobody: one futile send, then 0 |
//! | key | any poller, always the same value | who rings | before the bit | as it is |
//!
//! Invariants
//! - I1 a bit that is cleared by somebody else than its poller is followed by a send from the same thread, unless that
//!   thread is killed.
//! - I2 a byte means "look again" and nothing else: anybody may send one, at any time.
//!
//! Edges
//! - E1 bit (SeqCst), fence of the poller <-> fence of the waker, bits: the waker sees the bit, or the poller sees
//!   what the waker committed. The fence of the waker stays where `key` is 0.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | poller | its bit | the next ring: nobody listens, the next bit is rung |
//! | poller with an ear beside a segment | its file | its recovery, the collector of the segment: `ginnel_segment` |
//! | waker between bit = 0 and the send | a poller without its byte | the poller's slice |
//! | rung poller, before it took anything | what it was rung for, others waiting | recovery: `park::wake_all` rings all |
//!
//! Progress: ringing is wait-free, four loads where nobody polls, else one system call a poller; it never blocks (a full
//! queue of bytes is readable already).

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::wait::{BESIDE, Bells, segment_bits};

#[cfg(not(loom))]
mod beside;

#[cfg(not(loom))]
pub use beside::Directory;
#[cfg(loom)]
pub use model::Ear;
#[cfg(loom)]
use model::{send, turn};
#[cfg(not(loom))]
pub use real::Ear;
#[cfg(not(loom))]
use real::{send, turn};

/// The key of a line: `segment` are any 31 bits that tell segments apart, `line` any 32 that tell its lines apart.
#[must_use]
pub const fn key(segment: u32, line: u32) -> u64 {
    // Never 0, which is a line that nobody ever polled.
    ((segment_bits(segment) as u64) << 32) | line as u64
}

/// The key of a line in a segment that has a name. See [`Directory`].
#[must_use]
pub const fn key_beside(segment: u32, line: u32) -> u64 {
    key(segment, line) | BESIDE
}

/// Says that `me` wants a byte at the next wake. Then arm as a sleeper, look, and poll the [`Ear`] of the same key.
pub fn want(bells: &Bells, key: u64, me: ParticipantId) {
    bells.key.store(key, Relaxed);
    let (word, bit) = place(me);
    bells.armed[word].fetch_or(bit, SeqCst); // E1
    fence(SeqCst); // E1
}

/// Takes that back. False: somebody rings, or has rung, and `me` may have used up a wake that others need.
pub fn unwant(bells: &Bells, me: ParticipantId) -> bool {
    let (word, bit) = place(me);
    bells.armed[word].fetch_and(!bit, Relaxed) & bit != 0
}

/// Does `me` want a byte, and has nobody rung yet?
pub fn is_wanted(bells: &Bells, me: ParticipantId) -> bool {
    let (word, bit) = place(me);
    bells.armed[word].load(Relaxed) & bit != 0
}

/// Sends a byte to one of those who want one; each time to another one first. True: it was sent.
#[cold]
pub fn ring_one(bells: &Bells) -> bool {
    ring(bells, 1) == 1
}

/// Sends a byte to all who want one.
#[cold]
pub fn ring_all(bells: &Bells) {
    ring(bells, u32::MAX);
}

/// Rings at most `count`, and gives how many.
fn ring(bells: &Bells, count: u32) -> u32 {
    fence(SeqCst); // E1
    let mut rung = 0;
    let start = turn();
    for step in 0..bells.armed.len() {
        let index = (start as usize / 64 + step) % bells.armed.len();
        let word = &bells.armed[index];
        let mut wanted = word.load(Acquire); // E1
        while wanted != 0 && rung < count {
            let bit = 1 << ((wanted.rotate_right(start).trailing_zeros() + start) % 64);
            wanted &= !bit;
            // Whoever clears it sends (I1).
            if word.fetch_and(!bit, Relaxed) & bit != 0 {
                let row = index * 64 + bit.trailing_zeros() as usize;
                rung += u32::from(send(bells.key.load(Relaxed), row));
            }
        }
    }
    rung
}

fn place(me: ParticipantId) -> (usize, u64) {
    let index = usize::from(me.index());
    (index / 64 % 4, 1 << (index % 64))
}

#[cfg(not(loom))]
mod real {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::OnceLock;

    use ginnel_layout::ParticipantId;
    use ginnel_layout::atomic::AtomicU32;
    use ginnel_layout::atomic::Ordering::Relaxed;
    use ginnel_layout::wait::{BESIDE, BellFile};
    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recv, sendto,
        socket_with,
    };

    use super::beside;

    /// Where the bytes for one participant and one line arrive. Readable from the first byte until
    /// [`Ear::drain`].
    ///
    /// One at a time for each key and participant. Closed on exec; in the child of a fork it is a copy that hears
    /// the same, and must only be dropped.
    #[derive(Debug)]
    pub struct Ear {
        /// Dropped first, so that no file of a living process is ever without a listener.
        _name: Option<beside::Name>,
        socket: OwnedFd,
    }

    impl Ear {
        /// Listens for `me` at the lines of `key`.
        ///
        /// # Errors
        /// `AddrInUse`: another process listens at this address, which is none of ours. Else that of the system.
        pub fn open(key: u64, me: ParticipantId) -> io::Result<Self> {
            if key & BESIDE != 0
                && let Some((socket, name)) = beside::listen(BellFile { key, listener: me })
            {
                return Ok(Self { _name: Some(name), socket });
            }
            let socket = new_socket()?;
            bind(&socket, &address(key, me)?)?;
            Ok(Self { _name: None, socket })
        }

        /// Takes all bytes. True: there were some. Look at what they were about after it.
        pub fn drain(&self) -> bool {
            let mut heard = false;
            // The queue is short, and a sender that fills it faster than this must not keep us here.
            for _ in 0..64 {
                match recv(&self.socket, &mut [0_u8; 4], RecvFlags::DONTWAIT) {
                    Ok(_) => heard = true,
                    Err(Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            heard
        }
    }

    impl AsFd for Ear {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }

    pub(super) fn new_socket() -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
    }

    /// Computed anew for each byte: formatting takes a twentieth of the call that sends.
    fn address(key: u64, me: ParticipantId) -> rustix::io::Result<SocketAddrUnix> {
        SocketAddrUnix::new_abstract_name(format!("ginnel/{key:016x}/{}", me.bits()).as_bytes())
    }

    /// Sends a byte to who has row `row` of the table. True: it was sent, or there are enough already.
    pub(super) fn send(key: u64, row: usize) -> bool {
        static FROM: OnceLock<Option<OwnedFd>> = OnceLock::new();
        let listener = ParticipantId::from_index(row as u16);
        if key & BESIDE != 0 && beside::send(BellFile { key, listener }) {
            return true;
        }
        let Some(from) = FROM.get_or_init(|| new_socket().ok()) else { return false };
        let Ok(to) = address(key, listener) else { return false };
        loop {
            match sendto(from, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to) {
                Err(Errno::INTR) => {}
                Ok(_) | Err(Errno::AGAIN) => return true,
                // Nobody listens, or it cannot be reached from here.
                Err(_) => return false,
            }
        }
    }

    /// Where to begin looking for whom to ring.
    pub(super) fn turn() -> u32 {
        static TURN: AtomicU32 = AtomicU32::new(0);
        TURN.fetch_add(1, Relaxed) % 256
    }
}

/// Ears for models: a byte is a flag behind a loom mutex.
#[cfg(loom)]
mod model {
    use std::collections::HashMap;
    use std::io;
    use std::sync::Arc;

    use ginnel_layout::ParticipantId;
    use loom::sync::{Condvar, Mutex};

    type Heard = Arc<(Mutex<bool>, Condvar)>;

    loom::lazy_static! {
        static ref EARS: Mutex<HashMap<(u64, u16), Heard>> = Mutex::new(HashMap::new());
    }

    /// As the real one.
    #[derive(Debug)]
    pub struct Ear(Heard);

    impl Ear {
        /// As the real one.
        ///
        /// # Errors
        /// None.
        pub fn open(key: u64, me: ParticipantId) -> io::Result<Self> {
            let heard = Arc::new((Mutex::new(false), Condvar::new()));
            EARS.lock().unwrap().insert((key, me.index()), Arc::clone(&heard));
            Ok(Self(heard))
        }

        /// As the real one.
        pub fn drain(&self) -> bool {
            core::mem::take(&mut *self.0.0.lock().unwrap())
        }

        /// Sleeps until there is a byte.
        pub fn wait(&self) {
            let mut heard = self.0.0.lock().unwrap();
            while !*heard {
                heard = self.0.1.wait(heard).unwrap();
            }
        }
    }

    pub(super) fn send(key: u64, row: usize) -> bool {
        let ears = EARS.lock().unwrap();
        let Some(heard) = ears.get(&(key, row as u16)) else { return false };
        *heard.0.lock().unwrap() = true;
        heard.1.notify_one();
        true
    }

    pub(super) fn turn() -> u32 {
        0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use ginnel_layout::atomic::Ordering::SeqCst;

    use super::*;

    fn who(index: u16) -> ParticipantId {
        ParticipantId::from_index(index)
    }

    /// A key that no other test, and no other run at the same time, uses.
    fn a_key(line: u32) -> u64 {
        key(std::process::id(), line)
    }

    #[test]
    fn who_wants_a_byte_gets_one_and_only_one() {
        let (bells, key) = (Bells::default(), a_key(1));
        let ear = Ear::open(key, who(3)).unwrap();
        assert!(!ring_one(&bells) && !ear.drain());
        want(&bells, key, who(3));
        assert!(is_wanted(&bells, who(3)));
        assert!(ring_one(&bells));
        assert!(!is_wanted(&bells, who(3)) && !ring_one(&bells));
        assert!(ear.drain() && !ear.drain());
        want(&bells, key, who(3));
        assert!(unwant(&bells, who(3)) && !unwant(&bells, who(3)) && !ring_one(&bells));
    }

    #[test]
    fn one_who_is_gone_is_passed_over_and_forgotten() {
        let (bells, key) = (Bells::default(), a_key(2));
        let ear = Ear::open(key, who(200)).unwrap();
        for index in [0, 63, 64, 199, 201, 255] {
            want(&bells, key, who(index));
        }
        want(&bells, key, who(200));
        let mut rings = 0;
        while !ear.drain() {
            assert!(rings < 1 && ring_one(&bells));
            rings += 1;
        }
        ring_all(&bells);
        assert!(bells.armed.iter().all(|word| word.load(SeqCst) == 0)); // E1
    }

    #[test]
    fn everybody_has_a_turn() {
        let (bells, key) = (Bells::default(), a_key(3));
        let ears: Vec<_> = (0..3).map(|index| Ear::open(key, who(90 * index)).unwrap()).collect();
        let mut heard = BTreeSet::new();
        for _ in 0..256 {
            (0..3).for_each(|index| want(&bells, key, who(90 * index)));
            assert!(ring_one(&bells));
            heard.extend(ears.iter().position(Ear::drain));
        }
        assert_eq!(heard.len(), 3);
    }

    #[test]
    fn a_full_queue_of_bytes_is_readable_and_blocks_nobody() {
        let (bells, key) = (Bells::default(), a_key(4));
        let ear = Ear::open(key, who(1)).unwrap();
        for _ in 0..2000 {
            want(&bells, key, who(1));
            assert!(ring_one(&bells));
        }
        assert!(ear.drain());
    }

    #[test]
    fn an_address_has_one_listener() {
        let key = a_key(5);
        let ear = Ear::open(key, who(1)).unwrap();
        let taken = Ear::open(key, who(1)).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        assert!(Ear::open(key, who(2)).is_ok());
        drop(ear);
        assert!(Ear::open(key, who(1)).is_ok());
    }

    #[test]
    fn keys_are_never_zero() {
        assert_ne!(key(0, 0), 0);
        assert_eq!(key(u32::MAX, 7), (0x7fff_ffff << 32) | 7);
    }
}
