//! What the service thread sleeps on: an `epoll` of pidfds, other descriptors, and a bell for requests.
//!
//! Each descriptor is reported once. A child that the system could not take into the set, or that has ended and whose
//! tracer has not let it go, is looked at again every 10 ms.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ginnel_object::Result;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::Service;
use crate::child::Child;

/// The bell's number; the others count from 1.
const BELL: u64 = 0;

/// Events taken at a time.
const BATCH: usize = 32;

/// How soon one looks again at those that are not reported.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// What is done, once, with what is not a child.
type Then = Box<dyn FnOnce(&Service) + Send>;

/// One descriptor, and whose it is.
enum Entry {
    Child {
        child: Arc<Child>,
        /// No event will tell.
        is_unheard: bool,
    },
    Other {
        fd: OwnedFd,
        then: Then,
    },
}

impl Entry {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Child { child, .. } => child.pidfd(),
            Self::Other { fd, .. } => fd.as_fd(),
        }
    }
}

#[derive(Default)]
struct Table {
    last: u64,
    all: BTreeMap<u64, Entry>,
}

/// Everything that is watched.
pub(super) struct Watched {
    epoll: OwnedFd,
    bell: OwnedFd,
    table: Mutex<Table>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("epoll", &self.epoll)
            .field("bell", &self.bell)
            .finish_non_exhaustive()
    }
}

impl Watched {
    pub(super) fn new() -> Result<Self> {
        let made = || {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
            Ok::<_, rustix::io::Errno>((epoll, bell))
        };
        let (epoll, bell) = made().map_err(std::io::Error::from)?;
        Ok(Self { epoll, bell, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A map is changed by one call.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the service thread.
    pub(super) fn ring(&self) {
        // Full means that it rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    pub(super) fn add_child(&self, child: &Arc<Child>) {
        self.add(Entry::Child { child: Arc::clone(child), is_unheard: false });
    }

    pub(super) fn add_fd(&self, fd: OwnedFd, then: Then) {
        self.add(Entry::Other { fd, then });
    }

    fn add(&self, mut entry: Entry) {
        let mut table = self.table();
        table.last += 1;
        let number = table.last;
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        let added = epoll::add(&self.epoll, entry.fd(), EventData::new_u64(number), flags);
        if let (Err(_), Entry::Child { is_unheard, .. }) = (added, &mut entry) {
            *is_unheard = true;
        }
        table.all.insert(number, entry);
        drop(table);
        if added.is_err() {
            self.ring();
        }
    }

    pub(super) fn children(&self) -> Vec<Arc<Child>> {
        let table = self.table();
        let children = table.all.values().filter_map(|entry| match entry {
            Entry::Child { child, .. } => Some(Arc::clone(child)),
            Entry::Other { .. } => None,
        });
        children.collect()
    }

    /// Sleeps until something happens, and sees to it. The requests are the caller's.
    pub(super) fn wait(&self, service: &Service) {
        let unheard: Vec<u64> = {
            let table = self.table();
            let unheard =
                table.all.iter().filter(|(_, entry)| matches!(entry, Entry::Child { is_unheard: true, .. }));
            unheard.map(|(number, _)| *number).collect()
        };
        let mut events = Vec::with_capacity(BATCH);
        let timeout = (!unheard.is_empty()).then_some(&NAP);
        // An error is an interruption: nothing else can be wrong with these arguments.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout);
        let heard = events.iter().map(|event| event.data.u64());
        for number in heard.chain(unheard) {
            if number == BELL {
                let _ = rustix::io::read(&self.bell, &mut [0; 8]);
                continue;
            }
            // The thread must not end, whatever a waker does.
            let _ = catch_unwind(AssertUnwindSafe(|| self.see_to(number, service)));
        }
    }

    fn see_to(&self, number: u64, service: &Service) {
        let child = match self.table().all.get(&number) {
            Some(Entry::Child { child, .. }) => Some(Arc::clone(child)),
            Some(Entry::Other { .. }) => None,
            None => return,
        };
        let Some(child) = child else {
            if let Some(Entry::Other { fd, then }) = self.take(number) {
                drop(fd);
                then(service);
            }
            return;
        };
        let ended = catch_unwind(AssertUnwindSafe(|| child.end())).unwrap_or_else(|_| child.end());
        if ended.is_some() {
            child.recover();
            drop(self.take(number));
        } else if let Some(Entry::Child { is_unheard, .. }) = self.table().all.get_mut(&number) {
            *is_unheard = true;
        }
    }

    fn take(&self, number: u64) -> Option<Entry> {
        let entry = self.table().all.remove(&number)?;
        // Its handle may keep the descriptor open. One that was not taken into the set is not there to be removed.
        let _ = epoll::delete(&self.epoll, entry.fd());
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use crate::service;

    #[test]
    fn a_descriptor_is_told_of_once_on_the_service_thread() {
        let service = service::current().expect("a service");
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let (tell, told) = mpsc::channel();
        service.watch_fd(reader, move |service| {
            let _ = tell.send(service.is_this_thread());
        });
        assert!(told.try_recv().is_err());
        drop(writer);
        assert_eq!(told.recv(), Ok(true));
        assert!(told.recv().is_err());
    }
}
