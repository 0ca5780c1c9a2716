//! What may be written on the command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum, value_parser};

use crate::ways::Way;

const EXAMPLES: &str = "\
Examples:
  thumbnails                                 120 pictures of 1600x1200, every way, three rounds
  thumbnails --pictures 500 --workers 8      more of both
  thumbnails --way pool-map,rayon --rounds 9 two ways, more carefully
  thumbnails --kill                          a worker of each pool is killed in the middle: nothing is lost
  thumbnails --python venv/bin/python        the Python that has Pillow
  thumbnails --json > rows.json              for programs

Every way reads each picture from the page cache, decodes all of it, averages it down to --side pixels and
writes a JPEG. `all` is from the moment at which there is no worker yet until the last one is gone; the start
of Python and its imports are not counted. The row python-draft is what Pillow's thumbnail() does by itself:
libjpeg decodes an eighth of each picture only, which is less work than the other rows do.";

/// Makes pictures, makes thumbnails of them in several ways, and compares the times.
#[derive(Debug, Parser)]
#[command(name = "thumbnails", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many pictures
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = value_parser!(u32).range(1..=60_000))]
    pub(crate) pictures: u32,
    /// How wide they are
    #[arg(long, value_name = "PIXELS", default_value_t = 1600, value_parser = value_parser!(u32).range(64..=8192))]
    pub(crate) width: u32,
    /// How high they are
    #[arg(long, value_name = "PIXELS", default_value_t = 1200, value_parser = value_parser!(u32).range(64..=8192))]
    pub(crate) height: u32,
    /// The longer side of a thumbnail
    #[arg(long, value_name = "PIXELS", default_value_t = 75, value_parser = value_parser!(u32).range(32..=1024))]
    pub(crate) side: u32,
    /// Processes, or threads; by default one for each processor
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=128))]
    workers: Option<u16>,
    /// How often each way is run; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Only these ways
    #[arg(long = "way", value_name = "WAY", value_enum, value_delimiter = ',')]
    ways: Vec<Way>,
    /// Kill a worker of each of our pools when half of the thumbnails are there
    #[arg(long)]
    pub(crate) kill: bool,
    /// The Python to compare with; it needs Pillow
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    pub(crate) fn workers(&self) -> usize {
        self.workers.map_or_else(ginnel::process::available_cpus, usize::from)
    }

    /// The ways asked for, all of them by default, in the order of the table.
    pub(crate) fn ways(&self) -> Vec<Way> {
        let all = Way::value_variants().iter().copied();
        all.filter(|way| self.ways.is_empty() || self.ways.contains(way)).collect()
    }
}
