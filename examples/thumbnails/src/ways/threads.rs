//! Threads of this process.

use ginnel::Failure;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use super::{Crew, Timing, Watch};
use crate::pictures::{self, Job};

/// A pool of rayon's of its own, so that its start counts as that of the others does.
pub(super) fn rayon(crew: &Crew, jobs: &[Job]) -> Result<Timing, Failure> {
    let mut watch = Watch::begin();
    // The pictures were made on rayon's global pool, which stays out of this.
    let pool = ThreadPoolBuilder::new().num_threads(crew.workers).build()?;
    let start = watch.lap();
    pool.install(|| jobs.par_iter().try_for_each(|job| pictures::thumbnail(job.clone()).map(drop)))?;
    let work = watch.lap();
    drop(pool);
    Ok(Timing { start, work, end: watch.lap(), killed: 0 })
}
