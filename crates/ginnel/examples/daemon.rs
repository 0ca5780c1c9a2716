//! A daemon ends with the main process, done or not.
//!
//! ```text
//! cargo run --release -p ginnel --example daemon
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Process;

fn child() {
    println!("child begins");
    sleep(Duration::from_secs(30));
    println!("child ends");
}

fn main() -> ginnel::Result<()> {
    Process::builder().daemon().spawn(child, ())?;
    println!("main process is done");
    Ok(())
}
