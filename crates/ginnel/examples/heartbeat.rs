//! A daemon that reports while the work is done.
//!
//! ```text
//! cargo run --release -p ginnel --example heartbeat
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Process;

fn beat() {
    loop {
        println!("host one is alive");
        sleep(Duration::from_millis(100));
    }
}

fn work() {
    println!("host one counts its log");
    sleep(Duration::from_millis(1000));
}

fn main() -> ginnel::Result<()> {
    Process::builder().daemon().spawn(beat, ())?;
    Process::spawn(work, ())?.join()?;
    println!("...");
    Ok(())
}
