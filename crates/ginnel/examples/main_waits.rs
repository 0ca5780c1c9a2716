//! A program does not end before the children that are no daemons.
//!
//! ```text
//! cargo run --release -p ginnel --example main_waits
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Process;

fn child(number: u32) {
    sleep(Duration::from_millis(200));
    println!("end of {number}");
}

fn main() -> ginnel::Result<()> {
    for number in 0..10 {
        Process::spawn(child, number)?;
    }
    println!("main process is done");
    Ok(())
}
