//! Workers that are killed at random and started again, for as long as wanted.
//!
//! A [`Worker`] knows how to start its process and what to write down once that process is dead and reaped (what it had
//! in flight is open from then on). A [`Killer`] holds them all. Each [`strike`](Killer::strike) kills one with SIGKILL
//! and replaces it. A worker that ends by itself, or by another signal, is a fault: workers run until they are killed.

use std::fmt;
use std::io;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::child::{Child, Exit};
use crate::rng::Rng;

/// One place that a process fills, again and again.
pub struct Worker<'a> {
    name: String,
    start: Box<dyn FnMut() -> io::Result<Child> + 'a>,
    buried: Box<dyn FnMut(Instant) -> Result<(), String> + 'a>,
    child: Option<Child>,
    kills: u64,
}

impl<'a> Worker<'a> {
    /// `start` makes a process; `buried` runs after each kill, once the process is reaped, and is told when the kill was
    /// sent.
    pub fn new(
        name: impl Into<String>,
        start: impl FnMut() -> io::Result<Child> + 'a,
        buried: impl FnMut(Instant) -> Result<(), String> + 'a,
    ) -> Self {
        Self { name: name.into(), start: Box::new(start), buried: Box::new(buried), child: None, kills: 0 }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often it was killed.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.kills
    }

    fn start(&mut self) -> Result<(), String> {
        let child = (self.start)().map_err(|error| format!("{} does not start: {error}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it if it runs. True: it did.
    fn kill(&mut self) -> Result<bool, String> {
        let Some(mut child) = self.child.take() else { return Ok(false) };
        let sent = Instant::now();
        match child.kill() {
            Ok(Exit::KILLED) => {}
            Ok(exit) => return Err(format!("{} ended by itself: {exit}", self.name)),
            Err(error) => return Err(format!("{} cannot be killed: {error}", self.name)),
        }
        self.kills += 1;
        (self.buried)(sent)?;
        Ok(true)
    }
}

impl fmt::Debug for Worker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).field("kills", &self.kills).finish_non_exhaustive()
    }
}

/// Kills workers and starts new ones.
#[derive(Debug)]
pub struct Killer<'a> {
    workers: Vec<Worker<'a>>,
    rng: Rng,
    pause: Range<Duration>,
}

impl<'a> Killer<'a> {
    /// A killer whose choices follow from `seed`, and who lets between two strikes pass a time within `pause`.
    #[must_use]
    pub fn new(seed: u64, pause: Range<Duration>) -> Self {
        Self { workers: Vec::new(), rng: Rng::new(seed), pause }
    }

    /// Adds a worker and starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn add(&mut self, mut worker: Worker<'a>) -> Result<(), String> {
        worker.start()?;
        self.workers.push(worker);
        Ok(())
    }

    /// Lets some time pass, kills one worker and replaces it.
    ///
    /// # Errors
    /// When a worker had ended by itself, could not be started again, or what `buried` says.
    pub fn strike(&mut self) -> Result<(), String> {
        thread::sleep(self.rng.duration(&self.pause));
        self.look()?;
        let chosen = self.rng.below(self.workers.len() as u64) as usize;
        let Some(worker) = self.workers.get_mut(chosen) else { return Ok(()) };
        worker.kill()?;
        worker.start()
    }

    /// Stops one worker for a time within `pause`, and lets it go on. To the others it is alive all the while.
    ///
    /// # Errors
    /// When a worker had ended by itself.
    pub fn freeze(&mut self) -> Result<(), String> {
        self.look()?;
        let chosen = self.rng.below(self.workers.len() as u64) as usize;
        let Some(child) = self.workers.get(chosen).and_then(|worker| worker.child.as_ref()) else {
            return Ok(());
        };
        let send = |signal| child.signal(signal).map_err(|error| format!("{signal} cannot be sent: {error}"));
        send(Signal::SIGSTOP)?;
        thread::sleep(self.rng.duration(&self.pause));
        send(Signal::SIGCONT)
    }

    /// Kills all workers, and starts none.
    ///
    /// # Errors
    /// As [`strike`](Self::strike).
    pub fn stop(&mut self) -> Result<(), String> {
        self.look()?;
        self.workers.iter_mut().try_for_each(|worker| worker.kill().map(drop))
    }

    /// Checks that no worker has ended by itself.
    ///
    /// # Errors
    /// Which one did, and how.
    pub fn look(&mut self) -> Result<(), String> {
        for worker in &mut self.workers {
            let Some(child) = &mut worker.child else { continue };
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(exit)) => return Err(format!("{} ended by itself: {exit}", worker.name)),
                Err(error) => return Err(format!("{} cannot be looked at: {error}", worker.name)),
            }
        }
        Ok(())
    }

    /// The workers, for their counters.
    #[must_use]
    pub fn workers(&self) -> &[Worker<'a>] {
        &self.workers
    }

    /// Kills so far.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.workers.iter().map(Worker::kills).sum()
    }
}
