//! The socket between two strangers: packets with descriptors, and whether the other is still there.
//!
//! All sockets here are `SOCK_SEQPACKET`, close-on-exec and non-blocking: a packet arrives whole or not at all, and nobody
//! is held up by a peer that says nothing. Descriptors arrive close-on-exec; those that nobody expects are closed.
//!
//! A crash leaves nothing: the kernel closes the sockets, and the descriptors that are under way in them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use ginnel_object::{Error, ErrorKind};
use ginnel_sync::Deadline;
use ginnel_sync::deadline::now_ns;

/// Room for descriptors in a packet. One is right; more are noticed, and closed.
const ROOM: usize = 2;

/// What a look at the socket gave.
#[derive(Debug)]
pub(crate) enum Packet {
    /// Nothing is there.
    Nothing,
    /// The other has hung up, or sent a packet without bytes, which nobody does.
    End,
    /// This process may have no more files; the packet's are lost.
    TooManyFiles,
    /// So many bytes, and what came with them.
    Some(usize, Vec<OwnedFd>),
    /// Longer than there was room for, or with more descriptors than anybody sends.
    Oversized,
}

/// Sends one packet. False: the socket is full, or the other is gone.
///
/// # Errors
/// Those of the system.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<bool> {
    let descriptors = descriptor.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one packet. Never waits.
///
/// # Errors
/// Those of the system.
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Packet> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(into)], &mut control, flags) {
            Ok(message) => break message,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Packet::Nothing),
            Err(Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN) => return Ok(Packet::End),
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        // There was room for two; where not even those came, it was this process that had none.
        return Ok(if descriptors.len() < ROOM { Packet::TooManyFiles } else { Packet::Oversized });
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Ok(Packet::Oversized);
    }
    if message.bytes == 0 {
        return Ok(Packet::End);
    }
    Ok(Packet::Some(message.bytes, descriptors))
}

/// Waits until the socket is readable, hung up or broken. False: the deadline came first.
///
/// # Errors
/// Those of the system.
pub(crate) fn wait_readable(socket: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    loop {
        let left = deadline.ns().saturating_sub(now_ns());
        let left = Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as _ };
        let timeout = (deadline != Deadline::NEVER).then_some(&left);
        match poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], timeout) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Has the other hung up, or has the process behind `pidfd` ended? One system call.
pub(crate) fn is_gone(socket: BorrowedFd<'_>, pidfd: Option<BorrowedFd<'_>>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let hung_up = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut fds = [
        PollFd::from_borrowed_fd(socket, PollFlags::RDHUP),
        PollFd::from_borrowed_fd(pidfd.unwrap_or(socket), PollFlags::empty()),
    ];
    if let Some(pidfd) = pidfd {
        fds[1] = PollFd::from_borrowed_fd(pidfd, PollFlags::IN);
    }
    match poll(&mut fds, Some(&at_once)) {
        Ok(0) | Err(_) => false,
        Ok(_) => fds[0].revents().intersects(hung_up) || fds[1].revents().contains(PollFlags::IN),
    }
}

/// The number of the file behind a descriptor, which is the same for all who have it.
///
/// # Errors
/// Those of the system.
pub(crate) fn number_of(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_ino)
}

/// The error of a system call.
#[cold]
pub(crate) fn refused(doing: &str, why: &io::Error) -> Error {
    let code = why.raw_os_error();
    let is = |errno: Errno| code == Some(errno.raw_os_error());
    let kind = if is(Errno::MFILE) || is(Errno::NFILE) {
        ErrorKind::TooManyFiles
    } else if is(Errno::NOMEM) || is(Errno::NOBUFS) {
        ErrorKind::Full
    } else {
        ErrorKind::Os
    };
    Error::new(kind, format!("cannot {doing}: {why}")).with_os(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair")
    }

    #[test]
    fn a_packet_comes_whole_with_its_descriptor() {
        let (one, two) = pair();
        assert!(matches!(receive(two.as_fd(), &mut [0; 8]), Ok(Packet::Nothing)));
        assert!(send(one.as_fd(), b"abc", Some(one.as_fd())).expect("sent"));
        let mut bytes = [0; 8];
        let Ok(Packet::Some(3, descriptors)) = receive(two.as_fd(), &mut bytes) else { panic!("no packet") };
        assert_eq!(descriptors.len(), 1);
        assert_eq!(number_of(&descriptors[0]).ok(), number_of(&one).ok());
        assert_eq!(&bytes[..3], b"abc");
    }

    #[test]
    fn too_long_is_told_from_the_end() {
        let (one, two) = pair();
        send(one.as_fd(), &[7; 9], None).expect("sent");
        assert!(matches!(receive(two.as_fd(), &mut [0; 8]), Ok(Packet::Oversized)));
        assert!(!is_gone(two.as_fd(), None));
        drop(one);
        assert!(is_gone(two.as_fd(), None));
        assert!(matches!(receive(two.as_fd(), &mut [0; 8]), Ok(Packet::End)));
        assert!(!send(two.as_fd(), b"x", None).expect("no error: the other is gone"));
    }
}
