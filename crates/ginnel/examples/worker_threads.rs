//! Ten processes that each start a thread, not joined by the main process.
//!
//! ```text
//! cargo run --release -p ginnel --example worker_threads
//! ```

use std::thread;
use std::time::Duration;

use ginnel::Process;

const PAUSE: Duration = Duration::from_millis(200);

fn run(name: String) {
    thread::sleep(PAUSE);
    println!("hello {name}");
    let thread = thread::spawn(|| {
        println!("a thread of {}", std::process::id());
        thread::sleep(PAUSE);
    });
    thread.join().expect("it does not panic");
}

fn main() -> ginnel::Result<()> {
    Process::spawn_all(run, (0..10).map(|i| format!("bob {i}")))?;
    Ok(())
}
