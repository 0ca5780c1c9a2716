//! Handing a segment to another process: its descriptor, over a Unix socket.
//!
//! One message carries one descriptor and one byte, as a message of descriptors alone does not exist on a stream.
//! What arrives is somebody else's descriptor until [`crate::Segment::attach`] has proved what it is.
//!
//! This is rustix's part of the crate and not nix's, because nix hides the descriptors of a truncated message, which
//! would stay open for ever.
//!
//! Both calls block as the socket does. A crash of either side leaves nothing: the kernel closes what is in flight.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::Error;

/// The byte that goes with a descriptor.
const BYTE: u8 = b'g';

/// Room for descriptors in a message. One is right; more are noticed, and closed.
const ROOM: usize = 2;

/// Sends a descriptor. The sender keeps its own.
///
/// # Errors
/// That of the system, [`Error::Os`].
pub fn send(socket: &UnixStream, fd: BorrowedFd<'_>) -> Result<(), Error> {
    let bytes = [BYTE];
    let descriptors = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        match sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("send a descriptor over", errno)),
        }
    }
}

/// Receives a descriptor, close-on-exec.
///
/// # Errors
/// [`Error::NoDescriptor`] where the message has none, more than one, or the peer is gone; [`Error::TooManyFiles`]
/// where this process may have no more; or that of the system. Superfluous descriptors are closed.
pub fn receive(socket: &UnixStream) -> Result<OwnedFd, Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("receive a descriptor over", errno)),
        }
    };
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let refused = |why| Err(Error::NoDescriptor { why });
    let truncated = message.flags.contains(ReturnFlags::CTRUNC);
    match (descriptors.pop(), descriptors.len()) {
        (None, _) if message.bytes == 0 => refused("the peer closed it"),
        // There is room for one at least, so it was not the room that was lacking.
        (None, _) if truncated => Err(Error::TooManyFiles { of: "a descriptor from the socket".into() }),
        (None, _) => refused("the message had none"),
        (Some(only), 0) if !truncated => Ok(only),
        (Some(_), _) => refused("the message had more than one"),
    }
}

fn failed(doing: &'static str, errno: rustix::io::Errno) -> Error {
    Error::os(doing, &"the socket", Errno::from_raw(errno.raw_os_error()))
}
