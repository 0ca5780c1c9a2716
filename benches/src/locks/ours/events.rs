//! Those that one process sets and another waits for.

use ginnel::sync::{Event, Reset};

use super::{Named, Units};
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
