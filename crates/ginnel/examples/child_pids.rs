//! A child, and whose child it is. It is not joined: the program ends after it.
//!
//! ```text
//! cargo run --release -p ginnel --example child_pids
//! ```

use std::os::unix::process::parent_id;
use std::process::id;

use ginnel::Process;

fn main() -> ginnel::Result<()> {
    println!("main: id {}, parent {}", id(), parent_id());
    Process::spawn(|| println!("child: id {}, parent {}", id(), parent_id()), ())?;
    Ok(())
}
