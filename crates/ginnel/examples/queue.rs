//! A queue of ours reaches every process that it is given to.
//!
//! ```text
//! cargo run --release -p ginnel --example queue
//! ```

use ginnel::{Process, Queue, Result};

fn child(queue: Queue<(u32, Option<u8>, String)>) -> Result<()> {
    queue.send((42, None, "hello".into()))?;
    Ok(())
}

fn main() -> Result<()> {
    let queue = Queue::bounded(4)?;
    let child = Process::spawn(child, &queue)?;
    println!("{:?}", queue.recv()?);
    child.join()?
}
