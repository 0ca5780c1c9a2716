//! `map` over the files of a folder: the first bytes of each are saved beside it.
//!
//! ```text
//! cargo run --release -p ginnel --example pool_map_files
//! ```
//!
//! Real thumbnails, of pictures, are in `examples/thumbnails` of the workspace.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use ginnel::{Failure, Pool, process};

const SIZE: usize = 75;
const FILES: u8 = 60;

/// The "thumbnail" of a file: its first bytes.
fn create_thumbnail(file: PathBuf) -> Result<(), Failure> {
    let mut head = [0; SIZE];
    File::open(&file)?.read_exact(&mut head)?;
    let (folder, name) = file.parent().zip(file.file_name()).ok_or_else(|| Failure::msg("no name"))?;
    fs::write(folder.join("thumbs").join(name), head)?;
    Ok(())
}

fn paths_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "jpeg")).collect())
}

fn main() -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("pool-map-files-{}", std::process::id()));
    fs::create_dir_all(folder.join("thumbs"))?;
    for number in 0..FILES {
        fs::write(folder.join(format!("{number:02}.jpeg")), [number; 1000])?;
    }
    fs::write(folder.join("other.txt"), "")?;

    let pool = Pool::new(process::available_cpus())?;
    for made in pool.map(create_thumbnail, paths_in(&folder)?)? {
        made?;
    }
    pool.join()?;

    let mut made = paths_in(&folder.join("thumbs"))?;
    made.sort();
    for (number, path) in (0..).zip(&made) {
        assert_eq!(fs::read(path)?, [number; SIZE]);
    }
    println!("{} thumbnails", made.len());
    fs::remove_dir_all(folder)?;
    Ok(())
}
