//! Handles as futures: the same objects, waited for by tasks instead of threads.
//!
//! `Async<H>` is a handle and the descriptors through which a reactor hears of it. What a future does is the try of the
//! blocking handle; if that gives "not now", it arms as a sleeper does, asks for a byte ([`crate::ready`]), tries
//! once more and is pending. Messages go through shared memory as ever: the reactor is asked only by those who would sleep.
//!
//! **Cancelling**: a future that is dropped before it is ready has taken nothing, and hands on the wake that it may have used
//! up. One whose `poll` gave `Ready` has given the value away in it.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | with futures pending | bits for nobody, W or flags | the next wake: one futile byte |
//! | a waker between its bit and its byte | a future that hears nothing | its timer, after 20 to 50 ms |
//!
//! Reading order: `core` (the one poll function), `queues`, `locks`, `ends` (the operations), `bytes` (streams of bytes), `polling` (the
//! same by hand), then the reactors.

mod bytes;
mod core;
mod ends;
mod locks;
mod polling;
mod queues;
#[cfg(feature = "async-io")]
pub mod smol;
mod stream;
#[cfg(feature = "tokio")]
pub mod tokio;

#[doc(hidden)]
pub use self::bytes::BytePair;
pub use self::bytes::{ByteReader, ByteStream, ByteWriter};
pub use self::core::{Async, Reactor};
#[doc(hidden)]
pub use self::ends::{Inlet, Outlet};
pub use self::polling::Polling;
pub use self::stream::{Messages, Sending};
