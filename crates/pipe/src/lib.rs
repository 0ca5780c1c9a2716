//! Floor 4 of ginnel: pipes between processes that trust each other, and connections between those that need not.
//!
//! Reading order: [`Pipe`] (`pipe.rs`), [`BytePipe`] (`bytes.rs`). What lies beneath them, messages of any length through
//! a lane, is [`simplex`](ginnel_object::simplex) of the crate of objects.

mod address;
#[cfg(any(feature = "tokio", feature = "async-io"))]
mod aio;
mod bytes;
mod connect;
mod credentials;
#[doc(hidden)]
pub mod handshake;
mod listener;
mod peer;
mod pipe;
mod settings;
mod socket;

pub use bytes::{BytePipe, ByteReceiver, ByteSender, RecvIntoError, bytes};
pub use connect::{ConnectOptions, connect};
pub use credentials::Credentials;
pub use ginnel_object::simplex::Options;
pub use listener::{HALF_OPEN_MAX, Listener, ListenerOptions};
pub use peer::Peer;
pub use pipe::{Pipe, Receiver, Sender, pipe, simplex};
