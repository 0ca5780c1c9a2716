//! Processes share what they are given, not their statics.
//!
//! ```text
//! cargo run --release -p ginnel --example isolation
//! ```

use std::sync::Mutex;

use ginnel::Process;

static COUNT: Mutex<u32> = Mutex::new(99);

fn count() -> u32 {
    let mut count = COUNT.lock().expect("nobody panics with it");
    *count += 1;
    *count
}

fn main() -> ginnel::Result<()> {
    let child = Process::spawn(count, ())?;
    println!("child: {}", child.join()?);
    println!("main: {}", COUNT.lock().expect("nobody panics with it"));
    Ok(())
}
