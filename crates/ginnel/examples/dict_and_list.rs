//! A dict whose keys are numbers and words, and a list, filled by ten processes.
//!
//! ```text
//! cargo run --release -p ginnel --example dict_and_list
//! ```

use ginnel::{Dict, List, Process, Result};
use serde::{Deserialize, Serialize};

/// Any serde type with `Eq` and `Hash` can be a key.
#[derive(Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Key {
    Number(u32),
    Word(String),
}

fn fill(letters: Dict<Key, char>, numbers: List<u32>, index: u32) -> Result<()> {
    letters.insert(Key::Number(index), 'a')?;
    letters.insert(Key::Word("2".into()), 'b')?;
    numbers.push(index)
}

fn main() -> Result<()> {
    let letters = Dict::new()?;
    let numbers = List::from_iter(0..5)?;
    let mut children = Vec::new();
    for index in 0..10 {
        children.push(Process::spawn(fill, (&letters, &numbers, index))?);
    }
    for child in children {
        child.join()??;
    }
    for entry in letters.iter() {
        let (key, letter) = entry?;
        println!("{key:?}: {letter}");
    }
    println!("{:?}", numbers.to_vec()?);
    Ok(())
}
