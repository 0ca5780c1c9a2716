//! The ways to make all thumbnails, and what each took.

mod ours;
mod python;
mod threads;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use ginnel::Failure;

use crate::pictures::{self, Job};

/// One way to make all thumbnails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// One after the other, in this process
    One,
    /// `pool.map`, as Python's
    PoolMap,
    /// `pool.imap(..).unordered().progress()`
    PoolImap,
    /// rayon's threads
    Rayon,
    /// Python's `Pool.map` with Pillow, the same work
    Python,
    /// The same with Pillow's `thumbnail()`, which decodes an eighth of each picture
    PythonDraft,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::PoolMap => "pool-map",
            Self::PoolImap => "pool-imap",
            Self::Rayon => "rayon",
            Self::Python => "python",
            Self::PythonDraft => "python-draft",
        })
    }
}

/// How long one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Until the workers could be given work.
    pub(crate) start: Duration,
    /// Until the last thumbnail was there.
    pub(crate) work: Duration,
    /// Until the last worker was gone.
    pub(crate) end: Duration,
    /// How many workers were killed under it.
    pub(crate) killed: u64,
}

impl Timing {
    pub(crate) fn all(&self) -> Duration {
        self.start + self.work + self.end
    }
}

/// Notes the three parts of a run.
#[derive(Debug)]
struct Watch(Instant);

impl Watch {
    fn begin() -> Self {
        Self(Instant::now())
    }

    /// The time since the last look.
    fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.0, Instant::now());
        self.0 - before
    }
}

/// Who makes the thumbnails.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) workers: usize,
    /// Kill one of our workers in the middle.
    pub(crate) kill: bool,
    pub(crate) python: PathBuf,
}

impl Crew {
    /// Why this machine cannot show a way.
    pub(crate) fn cannot(&self, way: Way) -> Option<String> {
        match way {
            Way::Python | Way::PythonDraft => python::lacks(&self.python),
            Way::One | Way::PoolMap | Way::PoolImap | Way::Rayon => None,
        }
    }

    /// Makes all thumbnails in that way.
    pub(crate) fn run(&self, way: Way, jobs: &[Job]) -> Result<Timing, Failure> {
        match way {
            Way::One => one(jobs),
            Way::PoolMap => ours::map(self, jobs),
            Way::PoolImap => ours::imap(self, jobs),
            Way::Rayon => threads::rayon(self, jobs),
            Way::Python => python::run(self, python::Decode::Whole, jobs),
            Way::PythonDraft => python::run(self, python::Decode::Draft, jobs),
        }
    }
}

fn one(jobs: &[Job]) -> Result<Timing, Failure> {
    let mut watch = Watch::begin();
    for job in jobs {
        pictures::thumbnail(job.clone())?;
    }
    Ok(Timing { start: Duration::ZERO, work: watch.lap(), end: Duration::ZERO, killed: 0 })
}
