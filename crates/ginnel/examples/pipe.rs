//! A child sends one message through its end of a pipe and closes it.
//!
//! ```text
//! cargo run --release -p ginnel --example pipe
//! ```

use ginnel::pipe::Pipe;
use ginnel::{Process, Result, pipe};

type Greeting = (u32, Option<u8>, String);

fn greet(mut pipe: Pipe<Greeting>) -> Result<()> {
    pipe.send((66, None, "hello, word".into()))?;
    pipe.close();
    Ok(())
}

fn main() -> Result<()> {
    let (mut ours, theirs) = pipe::<Greeting>()?;
    let child = Process::spawn(greet, theirs)?;
    println!("{:?}", ours.recv()?);
    println!("then: {:?}", ours.next()?);
    child.join()?
}
