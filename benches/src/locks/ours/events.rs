//! Those that one process sets and another waits for.

use ginnel::sync::{Condvar, Event, Mutex, Reset};

use crate::arena::{Arena, NAME, failed};

use super::{Named, ROOM, Units};
use crate::fault::Fault;
use crate::locks::SignalEnd;

/// `event`: the waiter clears it.
#[derive(Debug)]
pub(in crate::locks) struct Manual(Event);

impl Named<Manual> {
    /// Not set.
    pub(in crate::locks) fn manual() -> Result<Self, Fault> {
        Self::new(Reset::Manual, |_| Ok(()), Manual)
    }
}

impl SignalEnd for Manual {
    fn set(&mut self) -> Result<(), Fault> {
        self.0.set();
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.0.wait();
        self.0.clear();
        Ok(())
    }
}

/// `event-auto`: it clears itself.
#[derive(Debug)]
pub(in crate::locks) struct Auto(Event);

impl Named<Auto> {
    /// Not set.
    pub(in crate::locks) fn auto() -> Result<Self, Fault> {
        Self::new(Reset::Auto, |_| Ok(()), Auto)
    }
}

impl SignalEnd for Auto {
    fn set(&mut self) -> Result<(), Fault> {
        self.0.set();
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.0.wait();
        Ok(())
    }
}

impl SignalEnd for Units {
    fn set(&mut self) -> Result<(), Fault> {
        self.give()
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.take();
        Ok(())
    }
}

/// `condvar`: with a mutex over a flag, which lies under a name of its own.
#[derive(Debug)]
pub(in crate::locks) struct Flagged {
    flag: Mutex<u64>,
    changed: Condvar,
}

const FLAG: &str = "flag";

impl Named<Flagged> {
    /// Not set.
    pub(in crate::locks) fn condvar() -> Result<Self, Fault> {
        let named = Self {
            arena: Arena::new(ROOM)?,
            open: Box::new(|manager| {
                let (flag, changed) = (manager.get(FLAG)?, manager.get(NAME)?);
                Ok(flag.zip(changed).map(|(flag, changed)| Flagged { flag, changed }))
            }),
        };
        let manager = named.arena.manager();
        let made =
            manager.get_or_create::<Mutex<u64>>(FLAG).and_then(|_| manager.get_or_create::<Condvar>(NAME));
        made.map_err(|error| failed("making an object", error))?;
        Ok(named)
    }
}

impl SignalEnd for Flagged {
    fn set(&mut self) -> Result<(), Fault> {
        let mut flag = self.flag.lock().map_err(|error| failed("locking", error))?;
        *flag = 1;
        self.changed.notify_one();
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Fault> {
        let flag = self.flag.lock().map_err(|error| failed("locking", error))?;
        let flag = self.changed.wait_while(flag, |flag| *flag == 0);
        *flag.map_err(|error| failed("waiting", error))? = 0;
        Ok(())
    }
}
