//! Ten children at once, not joined.
//!
//! ```text
//! cargo run --release -p ginnel --example concurrent
//! ```

use std::os::unix::process::parent_id;
use std::process::id;

use ginnel::Process;

fn child(number: u32) {
    println!("child: id {}, parent {}", id(), parent_id());
    println!("end of {number}");
}

fn main() -> ginnel::Result<()> {
    Process::spawn_all(child, 0..10)?;
    println!("main process is done");
    Ok(())
}
