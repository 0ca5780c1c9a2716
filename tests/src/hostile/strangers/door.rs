//! What can be done wrong in a handshake: said at the wrong time, in the wrong words, with the wrong file; or not at all.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ginnel_testkit::rng::Rng;
use nix::fcntl::SealFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::rogue::{RING, half, seals};

/// A packet that came, with its descriptors.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) files: Vec<OwnedFd>,
}

/// A packet of that length; any other is none.
pub(super) fn receive(socket: &OwnedFd, len: usize) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let came =
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(Errno::AGAIN | Errno::CONNRESET | Errno::PIPE | Errno::INTR) => return Ok(None),
            Err(why) => return Err(why.into()),
        };
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    bytes.truncate(came);
    Ok((came == len).then_some(Packet { bytes, files }))
}

/// Sends a packet with descriptors. False: nobody takes it.
pub(super) fn send(socket: &OwnedFd, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(files));
    }
    match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(_) => Ok(true),
        // Too many descriptors under way are no affair of the test's.
        Err(
            Errno::AGAIN
            | Errno::PIPE
            | Errno::CONNRESET
            | Errno::NOTCONN
            | Errno::TOOMANYREFS
            | Errno::MSGSIZE,
        ) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

/// Moments of a handshake, as the rogue sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing was said.
    Connected,
    /// The listener's first packet has come, or gone.
    Greeted,
    /// The rogue's memory is on its way.
    Answered,
    /// Everything was said.
    Through,
}

const STEPS: [Step; 4] = [Step::Connected, Step::Greeted, Step::Answered, Step::Through];

/// What the rogue does wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trick {
    /// Nothing.
    None,
    /// It hangs up there.
    End(Step),
    /// A packet with some bytes changed.
    Bytes,
    /// A packet of another length.
    Length,
    /// Nonsense as a greeting, where it is the one to greet.
    Greeting,
    /// Other files than the one, or another one.
    Files,
    /// A half that lacks some seals.
    Seals,
}

impl Trick {
    /// Any of them.
    pub(super) fn any(rng: &mut Rng) -> Self {
        match rng.below(8) {
            0 | 1 => Self::hang_up(rng),
            2 => Self::Bytes,
            3 => Self::Length,
            4 => Self::Greeting,
            5 | 6 => Self::Files,
            _ => Self::Seals,
        }
    }

    /// An early end.
    pub(super) fn hang_up(rng: &mut Rng) -> Self {
        Self::End(STEPS[rng.below(STEPS.len() as u64) as usize])
    }

    pub(super) fn ends_at(&self, step: Step) -> bool {
        matches!(self, Self::End(end) if *end == step)
    }

    /// The seals of the half.
    pub(super) fn seals(&self) -> SealFlag {
        match self {
            Self::Seals => SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_GROW,
            _ => seals(),
        }
    }

    /// The listener's first packet.
    pub(super) fn greet(&self, socket: &OwnedFd, packet: &[u8], rng: &mut Rng) -> io::Result<bool> {
        match self {
            Self::Greeting => Self::garble(socket, packet, &[], rng),
            _ => send(socket, packet, &[]),
        }
    }

    /// The packet with the half.
    pub(super) fn say(
        &self,
        socket: &OwnedFd,
        packet: &[u8],
        half: &OwnedFd,
        rng: &mut Rng,
    ) -> io::Result<bool> {
        let half = half.as_fd();
        match self {
            Self::Bytes | Self::Length => Self::garble(socket, packet, &[half], rng),
            Self::Files => wrong_files(socket, packet, half, rng),
            _ => send(socket, packet, &[half]),
        }
    }

    fn garble(socket: &OwnedFd, packet: &[u8], files: &[BorrowedFd<'_>], rng: &mut Rng) -> io::Result<bool> {
        let mut bytes = packet.to_vec();
        match rng.below(4) {
            0 => bytes.resize(rng.below(packet.len() as u64) as usize, 0),
            1 => bytes.resize(packet.len() + 1 + rng.below(4096) as usize, 7),
            2 => bytes.iter_mut().for_each(|byte| *byte = rng.next_u64() as u8),
            _ => {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
        }
        if bytes.is_empty() {
            // A packet without bytes is a hangup.
            bytes.push(0);
        }
        send(socket, &bytes, files)
    }
}

/// None, too many, or one that is no half.
fn wrong_files(
    socket: &OwnedFd,
    packet: &[u8],
    half_of_ours: BorrowedFd<'_>,
    rng: &mut Rng,
) -> io::Result<bool> {
    let unsealed = || memfd_create(c"ginnel-rogue", MFdFlags::MFD_CLOEXEC);
    let wrong: OwnedFd = match rng.below(8) {
        0 => return send(socket, packet, &[]),
        1 => return send(socket, packet, &[half_of_ours; 2]),
        2 => return send(socket, packet, &[half_of_ours; 5]),
        3 => std::fs::File::open("/dev/zero")?.into(),
        4 => std::fs::File::open("/proc/self/exe")?.into(),
        5 => {
            let file = unsealed()?;
            rustix::fs::ftruncate(&file, 4096 + RING)?;
            file
        }
        6 => half(2 * RING, seals())?.0,
        _ => half(4096, seals())?.0,
    };
    send(socket, packet, &[wrong.as_fd()])
}
