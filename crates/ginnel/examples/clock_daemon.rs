//! A process with state: a method is a function of one argument. It is a daemon, so it ends with the main process.
//!
//! ```text
//! cargo run --release -p ginnel --example clock_daemon
//! ```

use std::thread::sleep;
use std::time::{Duration, SystemTime};

use ginnel::Process;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Clock {
    interval: Duration,
}

impl Clock {
    fn run(self) {
        for _ in 0..5 {
            println!("the time is {:?}", SystemTime::now());
            sleep(self.interval);
        }
    }
}

fn main() -> ginnel::Result<()> {
    let clock = Clock { interval: Duration::from_millis(300) };
    Process::builder().name("clock").daemon().spawn(Clock::run, clock)?;
    println!("main process is done");
    Ok(())
}
