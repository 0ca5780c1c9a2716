//! The starter goes on while its child works.
//!
//! ```text
//! cargo run --release -p ginnel --example asynchronous
//! ```

use std::process::id;

use ginnel::Process;

fn child() {
    for step in 1..5 {
        println!("child {}: step {step}", id());
    }
}

fn main() -> ginnel::Result<()> {
    Process::spawn(child, ())?;
    for n in 1..=5 {
        println!("{}", "*".repeat(n));
    }
    Ok(())
}
