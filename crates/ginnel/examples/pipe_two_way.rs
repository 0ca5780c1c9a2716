//! A conversation: each side speaks, then listens.
//!
//! ```text
//! cargo run --release -p ginnel --example pipe_two_way
//! ```

use ginnel::pipe::Pipe;
use ginnel::{Process, Result, pipe};

fn child(mut pipe: Pipe<String>) -> Result<()> {
    println!("child sends");
    pipe.send("Hello, main process".into())?;
    println!("child received: {}", pipe.recv()?);
    Ok(())
}

fn main() -> Result<()> {
    let (mut ours, theirs) = pipe()?;
    let child = Process::spawn(child, theirs)?;
    println!("main received: {}", ours.recv()?);
    ours.send("Hello, child process".into())?;
    child.join()??;
    println!("end of the conversation");
    Ok(())
}
