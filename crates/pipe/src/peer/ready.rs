//! Peers among several things to wait for: the socket says that it is time to look.

use ginnel_layout::atomic::AtomicU32;
use ginnel_object::Result;
use ginnel_object::ready::{Source, sealed};
use ginnel_sync::Arm;
use ginnel_sync::select::Port;
use std::os::fd::AsFd;

use super::Peer;
use super::link::Link;

/// Which direction one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// A connection as a port. It has no word: who waits for one polls its socket.
struct PeerPort<'a> {
    link: &'a Link,
    way: Way,
    word: AtomicU32,
}

impl Port for PeerPort<'_> {
    fn word(&self) -> &AtomicU32 {
        &self.word
    }

    fn is_ready(&self) -> bool {
        match self.way {
            Way::In => self.link.is_ready(),
            Way::Out => self.link.has_room(),
        }
    }

    fn arm(&self) -> Arm {
        let armed = match self.way {
            Way::In => self.link.arm(),
            Way::Out => self.link.arm_room(),
        };
        if armed { Arm::Sleep(0) } else { Arm::Again }
    }

    fn pass(&self, _: bool) {
        match self.way {
            Way::In => self.link.disarm(),
            Way::Out => self.link.disarm_room(),
        }
    }

    fn probe(&self) {
        self.link.look();
    }
}

fn source(link: &Link, way: Way) -> Result<Source<'_>> {
    link.check_fork()?;
    let port = PeerPort { link, way, word: AtomicU32::new(0) };
    Ok(Source::port_and_fd(port, link.socket().as_fd()))
}

impl<S, R> sealed::Ready for Peer<S, R> {
    fn source(&self) -> Result<Source<'_>> {
        source(&self.link, Way::In)
    }
}

impl<S, R> sealed::Room for Peer<S, R> {
    fn room(&self) -> Result<Source<'_>> {
        source(&self.link, Way::Out)
    }
}
