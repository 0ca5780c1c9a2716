//! Three children send; their starter joins them, then receives what they have left.
//!
//! ```text
//! cargo run --release -p ginnel --example queue_three
//! ```

use ginnel::{Process, Queue, Result};

fn child(queue: Queue<String>, number: u32) -> Result<()> {
    println!("child {number} sends");
    queue.send(format!("I am {number}"))?;
    Ok(())
}

fn main() -> Result<()> {
    let queue = Queue::bounded(4)?;
    for child in Process::spawn_all(child, (0..3).map(|number| (&queue, number)))? {
        child.join()??;
    }
    println!("main receives");
    for text in queue.drain() {
        println!("{}", text?);
    }
    println!("end of the test");
    Ok(())
}
