//! A thread in each of ten processes. A process ends when its function returns, so the function joins its threads.
//!
//! ```text
//! cargo run --release -p ginnel --example process_threads
//! ```

use std::thread;
use std::time::Duration;

use ginnel::Process;

fn run(name: String) {
    thread::sleep(Duration::from_millis(200));
    println!("hello {name}");
    thread::scope(|scope| {
        scope.spawn(|| println!("{name}: {:?}", thread::current().id()));
    });
}

fn main() -> ginnel::Result<()> {
    for child in Process::spawn_all(run, (0..10).map(|i| format!("QQ{i}")))? {
        child.join()?;
    }
    Ok(())
}
