//! What comes after `join` comes after the child.
//!
//! ```text
//! cargo run --release -p ginnel --example join
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Process;

fn child() {
    sleep(Duration::from_millis(100));
    println!("first letter is sent");
}

fn main() -> ginnel::Result<()> {
    Process::spawn(child, ())?.join()?;
    println!("second letter is sent");
    Ok(())
}
