//! Five processes, of which two at a time have a permit. Nobody joins them: the program ends after they have.
//!
//! ```text
//! cargo run --release -p ginnel --example semaphore_five
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::sync::PermitPool;
use ginnel::{Process, process};

fn worker(permits: PermitPool, work: Duration) -> ginnel::Result<()> {
    let permit = permits.acquire()?;
    let name = process::current().name;
    println!("{name} acquired");
    sleep(work);
    println!("{name} releases");
    drop(permit);
    Ok(())
}

fn main() -> ginnel::Result<()> {
    let permits = PermitPool::new(2)?;
    for i in 0..5 {
        Process::spawn(worker, (&permits, Duration::from_millis(50 * i)))?;
    }
    Ok(())
}
