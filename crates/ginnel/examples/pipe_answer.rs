//! The main process uses its end while the child uses the other, as on a telephone line.
//!
//! ```text
//! cargo run --release -p ginnel --example pipe_answer
//! ```

use std::thread;

use ginnel::pipe::Pipe;
use ginnel::{Process, Result, pipe};

fn son(mut line: Pipe<String>) -> Result<()> {
    line.send("42, nothing, hello".into())?;
    println!("son received: {}", line.recv()?);
    Ok(())
}

fn main() -> Result<()> {
    let (line, theirs) = pipe()?;
    let son = Process::spawn(son, theirs)?;
    // Each direction may be a thread's own.
    let (mut speak, mut listen) = line.split();
    let listener = thread::spawn(move || listen.recv());
    speak.send("I am the parent process".into())?;
    let heard = listener.join().expect("the listener does not panic")?;
    println!("parent received: {heard}");
    son.join()?
}
