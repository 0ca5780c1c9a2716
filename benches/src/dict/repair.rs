//! From the moment at which a dead process can be reaped until what it held is whole and free again.

use std::time::Duration;

use ginnel::dict::Options;
use ginnel::{Dict, Manager};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::arena::failed;
use crate::clock::now_ns;
use crate::crew::{Crew, Member};
use crate::fault::Fault;

use super::ours::{Ours, Shared, open};
use super::value::Bytes;
use super::{Map, drive};

/// How long a process may take to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// Processes that die one after the other, each with a lock if it is told so.
#[derive(Debug)]
pub(super) struct Deaths {
    shared: Shared,
    manager: Manager,
    map: Ours<Bytes>,
    core: usize,
    is_holder: bool,
    entries: u64,
}

impl Deaths {
    /// A dict of one shard.
    pub(super) fn new(entries: u64, core: usize, is_holder: bool) -> Result<Self, Fault> {
        let shared = Shared::new::<Dict<u64, Bytes>>(entries, Options::new().shards(1))?;
        let manager = shared.attach()?;
        let map = Ours(open(&manager)?);
        drive::fill(&map, entries)?;
        Ok(Self { shared, manager, map, core, is_holder, entries })
    }

    /// Nanoseconds from the death of a participant until nothing is left of it.
    pub(super) fn once(&self) -> Result<u64, Fault> {
        let member = Member { role: "holder".into(), core: self.core, body: Box::new(|| self.die()) };
        match (Crew { patience: PATIENCE, signals: None }).run(vec![member]) {
            Err(Fault::Died { .. }) => {}
            Err(fault) => return Err(fault),
            Ok(_) => return Err(Fault::failed("killing a holder", "it came home")),
        }
        let before = now_ns();
        let recovered = self.manager.recover().map_err(|error| failed("recovering", error))?;
        let took = now_ns() - before;
        if recovered != 1 {
            return Err(Fault::failed("recovering", format!("{recovered} dead were found")));
        }
        self.check()?;
        Ok(took)
    }

    fn die(&self) -> Result<crate::drive::Report, Fault> {
        let dict = self.shared.open::<Dict<u64, Bytes>>()?;
        let last_breath = || kill(getpid(), Signal::SIGKILL).map_err(|error| Fault::failed("kill", error));
        if self.is_holder {
            dict.modify(&0, |_| drop(last_breath())).map_err(|error| failed("modify", error))?;
        }
        last_breath()?;
        Ok(crate::drive::Report::default())
    }

    /// Every entry is there, and the lock is free.
    fn check(&self) -> Result<(), Fault> {
        for key in 0..self.entries {
            let value = self.map.get(key)?.ok_or_else(|| Fault::failed("repair", "an entry is gone"))?;
            value.check(key)?;
        }
        self.map.update(0)
    }
}
