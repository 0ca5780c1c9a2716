//! Three workers; what a starter knows of its children after their end.
//!
//! ```text
//! cargo run --release -p ginnel --example three_workers
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::{Process, process};

fn worker(name: String, interval: Duration) {
    for tick in 0..5 {
        println!("{name}: tick {tick}");
        sleep(interval);
    }
}

fn main() -> ginnel::Result<()> {
    let interval = Duration::from_millis(100);
    let workers = ["worker 1", "worker 2", "worker 3"]
        .map(|name| Process::spawn(worker, (name, interval)))
        .into_iter()
        .collect::<ginnel::Result<Vec<_>>>()?;
    for worker in &workers {
        worker.wait();
    }
    println!("pid: {:?}", workers.iter().map(Process::pid).collect::<Vec<_>>());
    println!("name: {:?}", workers.iter().map(Process::name).collect::<Vec<_>>());
    println!("alive: {:?}", workers.iter().map(Process::is_alive).collect::<Vec<_>>());
    println!("processors: {}", process::cpu_count());
    Ok(())
}
