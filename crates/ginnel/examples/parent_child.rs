//! Who is whose parent.
//!
//! ```text
//! cargo run --release -p ginnel --example parent_child
//! ```

use std::os::unix::process::parent_id;
use std::process::id;

use ginnel::{Process, process};

fn info(title: &str) {
    println!("{title}");
    println!("name: {}", process::current().name);
    println!("parent process: {}", parent_id());
    println!("process id: {}\n", id());
}

fn child(name: String) {
    info("function child");
    println!("hello {name}");
}

fn main() -> ginnel::Result<()> {
    info("main process");
    Process::spawn(child, "QQ")?.join()?;
    Ok(())
}
