//! What all workers of a run have in common: how they are started, killed and succeeded, and how long that takes.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

use ginnel::Manager;
use ginnel_testkit::child::{self, Child, fork_child};
use ginnel_testkit::kill::{Killer, Worker};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::{Scratch, now_ns};

use super::Config;
use crate::world::during;

/// How long a successor may take before the run fails. The measured maximum is far below.
const TAKEOVER: Duration = Duration::from_secs(10);

/// What one role of the run shares with its closures.
pub(super) struct Scene<'a> {
    manager: &'a Manager,
    /// Word `index` is worker `index`'s, for the time at which it had what its predecessor had.
    ready: &'a Scratch,
    cores: Vec<usize>,
    /// When the last SIGKILL was sent to a worker, in ns; 0: it has not died yet.
    killed: Vec<Cell<u64>>,
    recovery_max: Cell<u64>,
    recoveries: RefCell<Rng>,
}

/// What the killing came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Toll {
    pub(super) kills: u64,
    pub(super) freezes: u64,
    /// The longest time from a SIGKILL to a successor at work, in ns.
    pub(super) recovery_max: u64,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        config: Config,
        manager: &'a Manager,
        ready: &'a Scratch,
        workers: usize,
    ) -> Result<Self, String> {
        Ok(Self {
            manager,
            ready,
            cores: child::cores().map_err(during("ask for the cores"))?,
            killed: vec![Cell::new(0); workers],
            recovery_max: Cell::new(0),
            recoveries: RefCell::new(Rng::new(config.seed).fork(1)),
        })
    }

    /// Adds worker `index` to the killer. `body` works for ever, and says [`say_ready`] when it has taken over;
    /// `buried` closes the books of the dead.
    pub(super) fn hire(
        &'a self,
        killer: &mut Killer<'a>,
        name: String,
        index: usize,
        body: impl Fn() + 'a,
        buried: impl Fn() -> Result<(), String> + 'a,
    ) -> Result<(), String> {
        killer.add(Worker::new(
            name,
            move || self.start(index, &body),
            move |sent| {
                buried()?;
                self.recover(index, sent)
            },
        ))
    }

    /// Starts worker `index` and waits until it has taken over.
    fn start(&self, index: usize, body: impl FnOnce()) -> io::Result<Child> {
        self.ready.set(index, 0);
        let core = self.cores[index % self.cores.len()];
        let mut child = fork_child(|| {
            child::pin(core).expect("the core is ours");
            body();
        })?;
        let begun = Instant::now();
        while self.ready.get(index) == 0 {
            if let Some(exit) = child.wait_timeout(Duration::from_micros(200))? {
                return Err(io::Error::other(format!("it ended before it had taken over: {exit}")));
            }
            if begun.elapsed() > TAKEOVER {
                return Err(io::Error::other(format!("it could not take over in {TAKEOVER:?}")));
            }
        }
        let killed = self.killed[index].get();
        if killed != 0 {
            let took = self.ready.get(index).saturating_sub(killed);
            self.recovery_max.set(self.recovery_max.get().max(took));
        }
        Ok(child)
    }

    /// Notes the time of a kill, and recovers at once or leaves it to the others.
    fn recover(&self, index: usize, sent: Instant) -> Result<(), String> {
        self.killed[index].set(now_ns().saturating_sub(sent.elapsed().as_nanos() as u64));
        if self.recoveries.borrow_mut().below(2) == 0 {
            self.manager.recover().map_err(during("recover"))?;
        }
        Ok(())
    }

    /// Kills until the time is over. `words` from `at` on tell the progress; `look` is called after each kill with
    /// the time that has passed.
    pub(super) fn slaughter(
        &'a self,
        config: Config,
        pause: std::ops::Range<Duration>,
        hire: impl FnOnce(&'a Self, &mut Killer<'a>) -> Result<(), String>,
        (words, at): (&Scratch, usize),
        mut look: impl FnMut(Duration),
    ) -> Result<Toll, String> {
        let mut killer = Killer::new(Rng::new(config.seed).fork(0).next_u64(), pause);
        hire(self, &mut killer)?;
        let (begun, mut freezes) = (Instant::now(), 0);
        while begun.elapsed() < config.time {
            killer.strike()?;
            if killer.kills().is_multiple_of(16) {
                killer.freeze()?;
                freezes += 1;
            }
            look(begun.elapsed());
            words.set(at, begun.elapsed().as_millis() as u64);
            words.set(at + 1, killer.kills());
            words.add(at + 2, 1);
        }
        killer.stop()?;
        Ok(Toll { kills: killer.kills(), freezes, recovery_max: self.recovery_max.get() })
    }
}

/// Says that worker `index` has what its predecessor had.
pub(super) fn say_ready(ready: &Scratch, index: usize) {
    ready.set(index, now_ns());
}
