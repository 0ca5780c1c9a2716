//! The same with a field, ten times.
//!
//! ```text
//! cargo run --release -p ginnel --example state_args
//! ```

use std::process::id;

use ginnel::Process;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Worker {
    argument: String,
}

impl Worker {
    /// Its result crosses back.
    fn run(self) -> usize {
        println!("child {} has {}", id(), self.argument);
        self.argument.len()
    }
}

fn main() -> ginnel::Result<()> {
    let workers = (0..10).map(|i| Worker { argument: format!("argument {i}") });
    let mut total = 0;
    for child in Process::spawn_all(Worker::run, workers)? {
        total += child.join()?;
    }
    println!("together {total} bytes");
    Ok(())
}
