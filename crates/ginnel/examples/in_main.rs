//! With `#[ginnel::main]` a child's function runs inside the real `main`, where its thread has its name.
//!
//! ```text
//! cargo run --release -p ginnel --features macros --example in_main
//! ```

use ginnel::Process;

fn name_of_thread() -> Option<String> {
    std::thread::current().name().map(String::from)
}

#[ginnel::main]
fn main() -> ginnel::Result<()> {
    let name = Process::spawn(name_of_thread, ())?.join()?;
    println!("the child runs in thread {name:?}");
    Ok(())
}
