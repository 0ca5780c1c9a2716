//! `echo_client [ADDRESS] [WORD..]`: sends words to `echo_server` and prints what comes back.

use ginnel::pipe::{ConnectOptions, Peer};

const KEY: &[u8] = b"a ginnel is a narrow passage between houses";

fn main() -> ginnel::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_else(|| "@ginnel-echo".into());
    let mut server: Peer<String> = ConnectOptions::new().key(KEY).connect(&address)?;
    for word in words {
        server.send(word)?;
        println!("{}", server.recv()?);
    }
    Ok(())
}
