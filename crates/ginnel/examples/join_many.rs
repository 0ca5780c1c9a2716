//! Several children, each of them joined.
//!
//! ```text
//! cargo run --release -p ginnel --example join_many
//! ```

use ginnel::Process;

fn main() -> ginnel::Result<()> {
    let children = Process::spawn_all(|index: u32| println!("letter {index} is sent"), 0..5)?;
    for child in children {
        child.join()?;
    }
    println!("last letter is sent");
    Ok(())
}
