//! Ten processes put the same entry into a dict, and each its number into a list.
//!
//! ```text
//! cargo run --release -p ginnel --example dict_one_key
//! ```

use std::process::id;

use ginnel::{Dict, List, Process, Result};

fn work(names: Dict<u32, String>, ids: List<u32>) -> Result<()> {
    names.insert(1, "1".into())?;
    ids.push(id())
}

fn main() -> Result<()> {
    let names = Dict::new()?;
    let ids = List::from_iter(0..5)?;
    for child in Process::spawn_all(work, [(&names, &ids); 10])? {
        child.join()??;
    }
    println!("{:?}", names.snapshot()?);
    println!("{:?}", ids.to_vec()?);
    Ok(())
}
