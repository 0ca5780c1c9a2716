//! A type that runs in a process of its own: any method of one argument does.
//!
//! ```text
//! cargo run --release -p ginnel --example state
//! ```

use std::os::unix::process::parent_id;
use std::process::id;

use ginnel::Process;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Worker;

impl Worker {
    fn run(self) {
        println!("child: id {}, parent {}", id(), parent_id());
    }
}

fn main() -> ginnel::Result<()> {
    Process::spawn(Worker::run, Worker)?;
    println!("main: id {}", id());
    Ok(())
}
