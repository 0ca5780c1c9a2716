//! Five processes with one function.
//!
//! ```text
//! cargo run --release -p ginnel --example process
//! ```

use ginnel::Process;

fn test(name: String) {
    println!("test {name} processes");
}

fn main() -> ginnel::Result<()> {
    for child in Process::spawn_all(test, ["Rust"; 5])? {
        child.join()?;
    }
    println!("end of the test");
    Ok(())
}
