//! A queue of the standard library is memory of one process: what a child puts there, nobody else sees.
//!
//! ```text
//! cargo run --release -p ginnel --example global_is_not_shared
//! ```

use std::collections::VecDeque;
use std::sync::Mutex;

use ginnel::Process;

static QUEUE: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

fn child() {
    QUEUE.lock().expect("nobody panics with it").push_back("hello".into());
}

fn main() -> ginnel::Result<()> {
    Process::spawn(child, ())?.join()?;
    match QUEUE.lock().expect("nobody panics with it").pop_front() {
        Some(text) => println!("{text}"),
        None => println!("nothing received"),
    }
    Ok(())
}
