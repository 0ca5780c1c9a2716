//! Five processes with names of their own.
//!
//! ```text
//! cargo run --release -p ginnel --example named
//! ```

use ginnel::{Process, process};

fn main() -> ginnel::Result<()> {
    let mut children = Vec::new();
    for i in 0..5 {
        let builder = Process::builder().name(format!("tester {i}"));
        children.push(builder.spawn(|| println!("{} at work", process::current().name), ())?);
    }
    for child in children {
        child.join()?;
    }
    println!("end of the test");
    Ok(())
}
