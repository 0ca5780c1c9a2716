//! `pipe` and `unix-stream`: bytes without borders. One `write` per message; the reader asks for exactly one
//! message, and asks again for the rest where the kernel hands out less.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::unistd::{pipe2, read, write};
use zerocopy::IntoBytes;

use crate::fault::Fault;
use crate::payload::{Accept, Dynamic, Size, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// The largest pipe that the system allows to everybody, unless its administrator said otherwise.
const PIPE_MAX: usize = 1 << 20;

/// A pipe or a stream socket, one way.
#[derive(Debug)]
pub struct Stream {
    input: OwnedFd,
    output: OwnedFd,
    size: Dynamic,
}

impl Stream {
    /// A pipe that holds about `buffer` bytes.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn pipe(words: usize, buffer: usize) -> Result<Self, Fault> {
        let (output, input) =
            pipe2(OFlag::O_CLOEXEC).map_err(|error| Fault::failed("making a pipe", error))?;
        let wanted = buffer.clamp(1 << 16, PIPE_MAX) as i32;
        // Refused above the limit for pipes of this user; the default of 64 KiB then stays.
        let _ = fcntl(&input, FcntlArg::F_SETPIPE_SZ(wanted));
        Ok(Self { input, output, size: Dynamic(words) })
    }

    /// A Unix stream socket whose send buffer holds about `buffer` bytes.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn unix(words: usize, buffer: usize) -> Result<Self, Fault> {
        let (input, output) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|error| Fault::failed("making a Unix stream", error))?;
        set_send_buffer(&input, buffer);
        Ok(Self { input, output, size: Dynamic(words) })
    }
}

/// Enlarges a send buffer towards `bytes`; the system's limit cuts it silently. Never makes it smaller.
pub(super) fn set_send_buffer(socket: &OwnedFd, bytes: usize) {
    use nix::sys::socket::getsockopt;
    let present = getsockopt(socket, sockopt::SndBuf).unwrap_or(0);
    if bytes > present {
        let _ = setsockopt(socket, sockopt::SndBuf, &bytes);
    }
}

impl Transport for Stream {
    type Size = Dynamic;
    type Producer<'a> = StreamEnd<'a>;
    type Consumer<'a> = StreamEnd<'a>;

    fn size(&self) -> Dynamic {
        self.size
    }

    fn producer(&self) -> Result<StreamEnd<'_>, Fault> {
        Ok(StreamEnd { file: &self.input, private: vec![0; self.size.words()] })
    }

    fn consumer(&self) -> Result<StreamEnd<'_>, Fault> {
        Ok(StreamEnd { file: &self.output, private: vec![0; self.size.words()] })
    }
}

/// Either end, with its private buffer.
#[derive(Debug)]
pub struct StreamEnd<'a> {
    file: &'a OwnedFd,
    private: Vec<u64>,
}

impl Producer<Dynamic> for StreamEnd<'_> {
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            writer.fill(&mut self.private);
            let mut rest = self.private.as_bytes();
            while !rest.is_empty() {
                match write(self.file.as_fd(), rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(Fault::failed("write", error)),
                }
            }
        }
        Ok(())
    }
}

impl Consumer<Dynamic> for StreamEnd<'_> {
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        let bytes = self.private.as_mut_bytes();
        let mut filled = 0;
        while filled < bytes.len() {
            match read(self.file.as_fd(), &mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Fault::failed("read", error).into()),
            }
        }
        checker.accept(filled, &self.private)
    }
}
