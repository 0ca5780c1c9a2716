//! Two processes write to one file, a lock keeps their lines together.
//!
//! ```text
//! cargo run --release -p ginnel --example lock_file
//! ```

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use ginnel::sync::Lock;
use ginnel::{Failure, Process};

fn write_lines(lock: Lock, path: PathBuf, text: String) -> Result<(), Failure> {
    let _held = lock.lock()?;
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    for _ in 0..9 {
        writeln!(file, "{text}")?;
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let path = std::env::temp_dir().join(format!("lock-file-{}", std::process::id()));
    let lock = Lock::new()?;
    let writers = Process::spawn_all(write_lines, ["first", "second"].map(|text| (&lock, &path, text)))?;
    println!("both are started");
    for writer in writers {
        writer.join()??;
    }
    print!("{}", fs::read_to_string(&path)?);
    fs::remove_file(path)?;
    Ok(())
}
