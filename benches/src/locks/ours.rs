//! Our own primitives as users hold them: made under a name in a manager by the coordinator, opened by each process.

mod events;
mod locks;
mod tasks;

use std::fmt;

use ginnel::{Manager, Object};

use crate::arena::{Arena, NAME, failed};
use crate::fault::Fault;

use super::{Exclusion, Section, Signal, SignalEnd};

pub(super) use events::{Auto, Flagged, Manual};
pub(super) use locks::{Bare, Data, Pool, Reader, Recursive, Units, Writer};
pub(super) use tasks::{Tasks, Words};

/// Bytes of any of them, at most.
const ROOM: usize = 256 << 10;

/// Opens an object, where there is one.
type Open<S> = Box<dyn Fn(&Manager) -> ginnel::Result<Option<S>>>;

/// An arena with one object in it, which the processes hold as `S`.
pub(super) struct Named<S> {
    arena: Arena,
    open: Open<S>,
}

impl<S> fmt::Debug for Named<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("arena", &self.arena).finish_non_exhaustive()
    }
}

impl<S: 'static> Named<S> {
    /// Makes an object of type `T`, and has `ready` prepare it; each process will hold what `wrap` makes of its handle.
    fn new<T: Object + 'static>(
        options: T::Options,
        ready: impl FnOnce(&T) -> ginnel::Result<()>,
        wrap: fn(T) -> S,
    ) -> Result<Self, Fault> {
        let arena = Arena::new(ROOM)?;
        let made = arena.manager().get_or_create_with::<T>(NAME, options);
        made.and_then(|made| ready(&made)).map_err(|error| failed("making an object", error))?;
        Ok(Self { arena, open: Box::new(move |manager| Ok(manager.get::<T>(NAME)?.map(wrap))) })
    }

    /// The handle of the calling process, a participant of its own.
    fn handle(&self) -> Result<S, Fault> {
        let found = (self.open)(&self.arena.attach()?).map_err(|error| failed("opening an object", error))?;
        found.ok_or_else(|| Fault::failed("opening an object", "it has no name"))
    }
}

impl<S: Section + 'static> Exclusion for Named<S> {
    type Section<'a>
        = S
    where
        Self: 'a;

    fn open(&self) -> Result<S, Fault> {
        self.handle()
    }
}

impl<S: SignalEnd + 'static> Signal for Named<S> {
    type End<'a>
        = S
    where
        Self: 'a;

    fn open(&self) -> Result<S, Fault> {
        self.handle()
    }
}
