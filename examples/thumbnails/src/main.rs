//! Thumbnails of a folder of pictures, made by a pool of processes, by rayon's threads and by Python's
//! `multiprocessing.Pool` with Pillow, timed side by side.
//!
//! ```text
//! cargo run --release -p ginnel-thumbnails -- --help
//! ```
//!
//! The program makes the pictures itself, in a temporary folder that it removes, and looks at every thumbnail: each
//! picture carries its number, which has to be legible in the small one.

mod args;
mod pictures;
mod report;
mod ways;

use std::path::Path;

use clap::Parser;
use ginnel::Failure;

use args::Args;
use pictures::{Job, Shape};
use report::Report;
use ways::{Crew, Way};

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let shape = Shape { width: args.width, height: args.height, side: args.side };
    let folder = tempfile::Builder::new().prefix("thumbnails-").tempdir()?;
    pictures::make(folder.path(), args.pictures, shape)?;
    let crew = Crew { workers: args.workers(), kill: args.kill, python: args.python.clone() };

    let mut report = Report::new(&args, crew.workers);
    let mut ways = args.ways();
    ways.retain(|way| match crew.cannot(*way) {
        Some(why) => {
            report.leave_out(*way, why);
            false
        }
        None => true,
    });
    // The ways take turns, so that a slow minute of the machine is shared by all of them.
    for round in 0..args.rounds {
        for way in &ways {
            let target = folder.path().join(format!("{way}-{round}"));
            report.add(*way, once(&crew, *way, folder.path(), &target, args.pictures, shape)?);
        }
    }
    folder.close()?;
    report.print(args.json);
    Ok(())
}

/// Makes all thumbnails in one way, looks at them and removes them.
fn once(
    crew: &Crew,
    way: Way,
    from: &Path,
    to: &Path,
    count: u32,
    shape: Shape,
) -> Result<ways::Timing, Failure> {
    std::fs::create_dir(to)?;
    let jobs: Vec<Job> = (0..count).map(|number| Job::new(from, to, number, shape.side)).collect();
    let timing = crew.run(way, &jobs).map_err(|why| why.context(way))?;
    for (number, job) in (0..).zip(&jobs) {
        pictures::check(&job.to, number, shape).map_err(|why| why.context(way))?;
    }
    std::fs::remove_dir_all(to)?;
    Ok(timing)
}
