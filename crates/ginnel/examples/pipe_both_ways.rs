//! Several messages through one pipe, in both directions: what one end sends may be another type than what it receives.
//!
//! ```text
//! cargo run --release -p ginnel --example pipe_both_ways
//! ```

use ginnel::pipe::Pipe;
use ginnel::{Process, Result};
use serde::{Deserialize, Serialize};

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Numbers(u32, Option<u8>),
    Word(String),
}

fn talk(mut pipe: Pipe<Said, String>) -> Result<()> {
    pipe.send(Said::Numbers(66, None))?;
    pipe.send(Said::Word("QQ".into()))?;
    println!("the child received: {}", pipe.recv()?);
    Ok(())
}

fn main() -> Result<()> {
    let (mut ours, theirs) = Pipe::<String, Said>::pair()?;
    let child = Process::spawn(talk, theirs)?;
    println!("{:?}", ours.recv()?);
    println!("{:?}", ours.recv()?);
    ours.send("微信".into())?;
    child.join()?
}
