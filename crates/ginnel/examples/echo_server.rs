//! `echo_server [ADDRESS]`: answers every message of every client, until it is interrupted. With `echo_client`, two programs
//! that share nothing but an address and a key.
//!
//! ```text
//! cargo run --release -p ginnel --example echo_server -- @echo
//! cargo run --release -p ginnel --example echo_client -- @echo hello
//! ```
//! Clients need not be trusted: each has two pieces of memory of its own, and what it writes there is copied, then looked
//! at.

use std::thread;

use ginnel::pipe::{Listener, ListenerOptions, Peer};

/// A real one would come from a file that only its users can read.
const KEY: &[u8] = b"a ginnel is a narrow passage between houses";

fn main() -> ginnel::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "@ginnel-echo".into());
    let listener = Listener::bind_with(&address, ListenerOptions::new().key(KEY))?;
    println!("listening at {address}");
    loop {
        let client = listener.accept::<String, String>()?;
        // A thread for each: `ginnel::tokio::Async<Peer>` serves many in one.
        thread::spawn(move || match echo(client) {
            Ok(count) => println!("a client left after {count} messages"),
            Err(why) => println!("a client is gone: {why}"),
        });
    }
}

fn echo(mut client: Peer<String>) -> ginnel::Result<u64> {
    let who = client.credentials();
    println!("process {} of user {} came", who.pid, who.uid);
    let mut count = 0;
    while let Some(message) = client.next()? {
        client.send(message)?;
        count += 1;
    }
    Ok(count)
}
