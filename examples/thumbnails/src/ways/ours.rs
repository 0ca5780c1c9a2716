//! Processes of a `ginnel::Pool`.

use ginnel::Failure;
use ginnel::pool::{OnWorkerDeath, Pool};
use rustix::process::{Pid, Signal, kill_process};

use super::{Crew, Timing, Watch};
use crate::pictures::{self, Job};

/// `Pool.map` of Python.
pub(super) fn map(crew: &Crew, jobs: &[Job]) -> Result<Timing, Failure> {
    let mut watch = Watch::begin();
    let pool = pool(crew)?;
    let start = watch.lap();
    let (half, mut killed) = (jobs.len() / 2, 0);
    let given = jobs.iter().cloned().enumerate().map(|(at, job)| {
        if crew.kill && at == half {
            killed += kill_one(&pool);
        }
        job
    });
    for made in pool.map(pictures::thumbnail, given)? {
        made?;
    }
    let work = watch.lap();
    pool.join()?;
    Ok(Timing { start, work, end: watch.lap(), killed })
}

/// Results as they come, with a bar.
pub(super) fn imap(crew: &Crew, jobs: &[Job]) -> Result<Timing, Failure> {
    let mut watch = Watch::begin();
    let pool = pool(crew)?;
    let start = watch.lap();
    let (half, mut killed) = (jobs.len() / 2, 0);
    let made = pool.imap(pictures::thumbnail, jobs.iter().cloned()).unordered().progress();
    for (at, bytes) in made.enumerate() {
        bytes??;
        if crew.kill && at == half {
            killed += kill_one(&pool);
        }
    }
    let work = watch.lap();
    pool.join()?;
    Ok(Timing { start, work, end: watch.lap(), killed })
}

/// What a killed worker had is done again, by another.
fn pool(crew: &Crew) -> ginnel::Result<Pool> {
    Pool::builder().workers(crew.workers).name("thumbnails").on_worker_death(OnWorkerDeath::Retry(2)).build()
}

/// As the kernel does where memory is short. How many were killed: one, if there is one.
fn kill_one(pool: &Pool) -> u64 {
    let worker = pool.workers().into_iter().next();
    let pid = worker.and_then(|worker| i32::try_from(worker.pid).ok()).and_then(Pid::from_raw);
    pid.and_then(|pid| kill_process(pid, Signal::KILL).ok()).map_or(0, |()| 1)
}
