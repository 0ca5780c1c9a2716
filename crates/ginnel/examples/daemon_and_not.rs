//! The program ends after the child that is no daemon, and its daemon with it.
//!
//! ```text
//! cargo run --release -p ginnel --example daemon_and_not
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Process;
use ginnel::sync::Event;

fn stars() {
    for count in 1.. {
        println!("{}", "*".repeat(count));
        sleep(Duration::from_millis(50));
    }
}

fn worker(started: Event) {
    println!("worker begins");
    started.set();
    sleep(Duration::from_millis(600));
    println!("worker ends");
}

fn main() -> ginnel::Result<()> {
    let started = Event::new()?;
    Process::builder().daemon().spawn(stars, ())?;
    Process::spawn(worker, &started)?;
    started.wait();
    sleep(Duration::from_millis(100));
    println!("main process is done");
    Ok(())
}
