//! A dict and a list that ten processes share: each leaves its number in both.
//!
//! ```text
//! cargo run --release -p ginnel --example shared_dict
//! ```
//!
//! No process serves them: what a child writes lies in the memory of all.

use std::process::id;

use ginnel::{Dict, List, Process, Result};

fn leave(ids: Dict<u32, u32>, log: List<u32>) -> Result<()> {
    ids.insert(id(), id())?;
    log.push(id())?;
    println!("child {:?}", log.to_vec()?);
    Ok(())
}

fn main() -> Result<()> {
    let ids = Dict::new()?;
    let log = List::from_iter(0..5)?;
    let children = Process::spawn_all(leave, [(&ids, &log); 10])?;
    for child in children {
        child.join()??;
    }
    println!("{:?}", ids.snapshot()?);
    println!("{:?}", log.to_vec()?);
    Ok(())
}
