//! Pipes of bytes as streams: `AsyncRead` and `AsyncWrite` of tokio and of the futures crates.
//!
//! What is written is there for the reader at once: nothing is ever kept back, so a flush has nothing to do.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::core::{Async, Reactor, Wait};
use crate::ready::RoomIn;
use crate::simplex::bytes::{ByteReceiver, ByteSender};

/// Something that is made of both ends of bytes.
#[doc(hidden)]
pub trait BytePair {
    /// Its ends.
    fn halves(self) -> (ByteSender, ByteReceiver);
}

impl<R: Reactor> Async<ByteReceiver, R> {
    /// The end as a stream that is read: the bytes of the messages one after the other, without their bounds.
    pub fn into_io(self) -> ByteReader<R> {
        ByteReader { end: self, wait: Wait::default() }
    }
}

impl<R: Reactor> Async<ByteSender, R> {
    /// The end as a stream that is written: each write is a message of at most a quarter of the ring.
    pub fn into_io(self) -> ByteWriter<R> {
        ByteWriter { end: Some(self), wait: Wait::default() }
    }
}

impl<H: BytePair, R: Reactor> Async<H, R> {
    /// The pipe as a stream that is read and written, without the bounds of messages.
    pub fn into_io(self) -> ByteStream<R> {
        let (tx, rx) = self.into_inner().halves();
        ByteStream { reader: Async::over(rx).into_io(), writer: Async::over(tx).into_io() }
    }
}

/// What is received as a stream: `AsyncRead`. It ends when the peer has closed its end; a peer that died is
/// `ConnectionReset`. Nothing is taken but by a poll that gives it.
pub struct ByteReader<R: Reactor> {
    end: Async<ByteReceiver, R>,
    wait: Wait<R>,
}

impl<R: Reactor> fmt::Debug for ByteReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByteReader").field(&self.end).finish()
    }
}

impl<R: Reactor> ByteReader<R> {
    /// Reads into `into`; `0` at the end, or where `into` is empty.
    pub fn poll_read_into(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let (place, handle) = self.end.place_and_handle(0);
        let attempt = &mut |end: &mut &mut ByteReceiver, _| end.read_until(into, None);
        self.wait.poll(cx, place, &mut &mut *handle, attempt).map(|read| read.map_err(io::Error::from)?)
    }
}

impl<R: Reactor> Drop for ByteReader<R> {
    fn drop(&mut self) {
        self.wait.leave(self.end.get_ref());
    }
}

/// What is sent as a stream: `AsyncWrite`. Its shutdown closes the end. A peer that closed its own is `BrokenPipe`, one
/// that died `ConnectionReset`.
pub struct ByteWriter<R: Reactor> {
    /// None: it was shut down.
    end: Option<Async<ByteSender, R>>,
    wait: Wait<R>,
}

impl<R: Reactor> fmt::Debug for ByteWriter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByteWriter").field(&self.end).finish()
    }
}

impl<R: Reactor> ByteWriter<R> {
    /// Sends the beginning of `bytes`, and gives how much that was.
    pub fn poll_write_from(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(end) = &mut self.end else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let (place, handle) = end.place_and_handle(1);
        let attempt = &mut |end: &mut RoomIn<&mut ByteSender>, _| end.0.write_until(bytes, None);
        self.wait.poll(cx, place, &mut RoomIn(handle), attempt).map(|sent| sent.map_err(io::Error::from)?)
    }

    /// Closes the end: the peer reads what was written, then the end of it.
    pub fn shut_down(&mut self) {
        self.leave();
        self.end = None;
    }

    fn leave(&mut self) {
        if let Some(end) = &self.end {
            self.wait.leave(&RoomIn(end.get_ref()));
        }
    }
}

impl<R: Reactor> Drop for ByteWriter<R> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Both directions of a pipe of bytes: `AsyncRead` and `AsyncWrite`.
#[derive(Debug)]
pub struct ByteStream<R: Reactor> {
    reader: ByteReader<R>,
    writer: ByteWriter<R>,
}

impl<R: Reactor> ByteStream<R> {
    /// The two directions, for two tasks.
    #[must_use]
    pub fn split(self) -> (ByteReader<R>, ByteWriter<R>) {
        (self.reader, self.writer)
    }
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::{ByteReader, ByteStream, ByteWriter, Context, Pin, Poll, Reactor, io};

    impl<R: Reactor> AsyncRead for ByteReader<R> {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let read = self.get_mut().poll_read_into(cx, into.initialize_unfilled());
            read.map_ok(|count| into.advance(count))
        }
    }

    impl<R: Reactor> AsyncWrite for ByteWriter<R> {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.get_mut().poll_write_from(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.get_mut().shut_down();
            Poll::Ready(Ok(()))
        }
    }

    impl<R: Reactor> AsyncRead for ByteStream<R> {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().reader).poll_read(cx, into)
        }
    }

    impl<R: Reactor> AsyncWrite for ByteStream<R> {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.get_mut().writer).poll_write(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().writer).poll_shutdown(cx)
        }
    }
}

#[cfg(feature = "async-io")]
mod with_futures {
    use futures_io::{AsyncRead, AsyncWrite};

    use super::{ByteReader, ByteStream, ByteWriter, Context, Pin, Poll, Reactor, io};

    impl<R: Reactor> AsyncRead for ByteReader<R> {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
            self.get_mut().poll_read_into(cx, into)
        }
    }

    impl<R: Reactor> AsyncWrite for ByteWriter<R> {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.get_mut().poll_write_from(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.get_mut().shut_down();
            Poll::Ready(Ok(()))
        }
    }

    impl<R: Reactor> AsyncRead for ByteStream<R> {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
            self.get_mut().reader.poll_read_into(cx, into)
        }
    }

    impl<R: Reactor> AsyncWrite for ByteStream<R> {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.get_mut().writer.poll_write_from(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.get_mut().writer.shut_down();
            Poll::Ready(Ok(()))
        }
    }
}
