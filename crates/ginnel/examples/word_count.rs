//! Ten processes count the words of a folder's files into one dict; no word is lost, whoever counts it at the same time.
//!
//! ```text
//! cargo run --release -p ginnel --example word_count -- some/folder
//! ```
//!
//! Without a folder it makes one, counts it, and compares with a count by one process.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ginnel::{Dict, Failure, Pool, Raw};

const WORKERS: usize = 10;

/// Words in small letters, without what stands around them.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// A number of 8 bytes changes where it lies: one store for each word that was there before.
fn count(counts: Dict<String, Raw<u64>>, path: PathBuf) -> Result<(), Failure> {
    for word in words(&fs::read_to_string(path)?) {
        counts.fetch_add(&word, 1)?;
    }
    Ok(())
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.is_file()).collect())
}

/// A folder of forty small files, all different.
fn make_folder() -> Result<PathBuf, Failure> {
    let folder = std::env::temp_dir().join(format!("word-count-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    for file in 0..40 {
        let text: String =
            (0..2000).map(|n| format!("The word{} of file{file}, and the next.\n", n % 50)).collect();
        fs::write(folder.join(format!("{file}.txt")), text)?;
    }
    Ok(folder)
}

fn main() -> Result<(), Failure> {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = given.clone().map_or_else(make_folder, Ok)?;

    let counts = Dict::new()?;
    let pool = Pool::new(WORKERS)?;
    for counted in pool.starmap(count, files_in(&folder)?.into_iter().map(|path| (&counts, path)))? {
        counted?;
    }
    pool.join()?;

    let mut all: Vec<(String, u64)> =
        counts.snapshot()?.into_iter().map(|(word, Raw(n))| (word, n)).collect();
    all.sort_by(|one, two| two.1.cmp(&one.1).then_with(|| one.0.cmp(&two.0)));
    for (word, n) in all.iter().take(3) {
        println!("{n} {word}");
    }
    println!("{} words, {} different", all.iter().map(|(_, n)| n).sum::<u64>(), all.len());
    if given.is_none() {
        let mut alone = HashMap::new();
        for path in files_in(&folder)? {
            words(&fs::read_to_string(path)?).for_each(|word| *alone.entry(word).or_insert(0) += 1);
        }
        println!("the same as one process counts: {}", alone == all.into_iter().collect());
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}
