//! A writer and a reader that do not wait: the reader may come first, and then it finds nothing.
//!
//! ```text
//! cargo run --release -p ginnel --example queue_nonblocking
//! ```

use ginnel::queue::TryRecvError;
use ginnel::{Process, Queue};

fn write(queue: Queue<u32>) -> ginnel::Result<()> {
    queue.try_send(1)?;
    Ok(())
}

fn read(queue: Queue<u32>) -> ginnel::Result<()> {
    match queue.try_recv() {
        Ok(number) => println!("{number}"),
        Err(TryRecvError::Empty) => println!("nothing there yet"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn main() -> ginnel::Result<()> {
    let queue = Queue::bounded(4)?;
    let writer = Process::spawn(write, &queue)?;
    let reader = Process::spawn(read, &queue)?;
    reader.join()??;
    writer.join()?
}
