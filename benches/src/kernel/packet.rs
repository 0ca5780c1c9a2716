//! `unix-seqpacket`: a Unix socket that keeps the borders of messages. A message larger than the socket's
//! buffer cannot be sent at all; that is tried once, before the measurement.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use zerocopy::IntoBytes;

use super::stream::set_send_buffer;
use crate::fault::Fault;
use crate::payload::{Accept, Dynamic, Size, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// A sequenced-packet socket, one way.
#[derive(Debug)]
pub struct Packet {
    input: OwnedFd,
    output: OwnedFd,
    size: Dynamic,
}

impl Packet {
    /// A pair of sockets whose send buffer holds about `buffer` bytes.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] where one message is larger than the socket's buffer.
    pub fn new(words: usize, buffer: usize) -> Result<Self, Fault> {
        let (input, output) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|error| Fault::failed("making a Unix seqpacket", error))?;
        // The kernel charges its own bookkeeping to the buffer, hence twice the size of one message.
        set_send_buffer(&input, buffer.max(2 * words * 8));
        let packet = Self { input, output, size: Dynamic(words) };
        packet.try_one()?;
        Ok(packet)
    }

    /// Sends a message of zeros and takes it out again.
    fn try_one(&self) -> Result<(), Fault> {
        let mut message = vec![0_u8; self.size.bytes()];
        match send(self.input.as_raw_fd(), &message, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(Errno::EMSGSIZE | Errno::ENOBUFS | Errno::EAGAIN) => {
                return Err(Fault::Unsupported(format!(
                    "a packet of {} bytes is larger than the socket's buffer (net.core.wmem_max)",
                    self.size.bytes()
                )));
            }
            Err(error) => return Err(Fault::failed("send", error)),
        }
        recv(self.output.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT)
            .map_err(|error| Fault::failed("recv", error))?;
        Ok(())
    }
}

impl Transport for Packet {
    type Size = Dynamic;
    type Producer<'a> = PacketEnd<'a>;
    type Consumer<'a> = PacketEnd<'a>;

    fn size(&self) -> Dynamic {
        self.size
    }

    fn producer(&self) -> Result<PacketEnd<'_>, Fault> {
        Ok(PacketEnd { socket: &self.input, private: vec![0; self.size.words()] })
    }

    fn consumer(&self) -> Result<PacketEnd<'_>, Fault> {
        Ok(PacketEnd { socket: &self.output, private: vec![0; self.size.words()] })
    }
}

/// Either end, with its private buffer.
#[derive(Debug)]
pub struct PacketEnd<'a> {
    socket: &'a OwnedFd,
    private: Vec<u64>,
}

impl Producer<Dynamic> for PacketEnd<'_> {
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            writer.fill(&mut self.private);
            loop {
                match send(self.socket.as_raw_fd(), self.private.as_bytes(), MsgFlags::MSG_NOSIGNAL) {
                    Ok(_) => break,
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(Fault::failed("send", error)),
                }
            }
        }
        Ok(())
    }
}

impl Consumer<Dynamic> for PacketEnd<'_> {
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        loop {
            // MSG_TRUNC: the true length is reported even where the message is longer than the buffer.
            match recv(self.socket.as_raw_fd(), self.private.as_mut_bytes(), MsgFlags::MSG_TRUNC) {
                Ok(bytes) => return checker.accept(bytes, &self.private),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Fault::failed("recv", error).into()),
            }
        }
    }
}
