//! Ten processes, started and joined.
//!
//! ```text
//! cargo run --release -p ginnel --example hello_ten
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Process;

fn greet(name: String) {
    sleep(Duration::from_millis(200));
    println!("hello {name}");
}

fn main() -> ginnel::Result<()> {
    let children =
        (0..10).map(|i| Process::spawn(greet, format!("QQ{i}"))).collect::<ginnel::Result<Vec<_>>>()?;
    for child in children {
        child.join()?;
    }
    Ok(())
}
