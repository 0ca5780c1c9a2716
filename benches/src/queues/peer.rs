//! `peer`: a connection to a process that need not be trusted. Messages are arrays of words, which cross as their bytes.
//!
//! The two processes share nothing but a kernel pipe through which the one that listens tells the other where. A round
//! trip goes both ways through one connection, so two of these transports have it in common. Peers wait in one way only:
//! the default.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::process;
use std::rc::{Rc, Weak};

use ginnel::Raw;
use ginnel::pipe::{Listener, Peer, connect};
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

use crate::arena::failed;
use crate::fault::Fault;
use crate::payload::{Accept, Fixed, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// One side of the connection.
type Side<const N: usize> = RefCell<Peer<Raw<[u64; N]>>>;

/// What there is before the fork.
#[derive(Debug)]
struct Wire<const N: usize> {
    /// Through here the process that listens says its number.
    asked: OwnedFd,
    told: OwnedFd,
    /// The side of this process, as long as one of its ends lives. Nothing before the fork.
    side: RefCell<Weak<Side<N>>>,
}

impl<const N: usize> Wire<N> {
    fn new() -> Result<Rc<Self>, Fault> {
        let (asked, told) = pipe2(OFlag::O_CLOEXEC).map_err(|error| Fault::failed("making a pipe", error))?;
        Ok(Rc::new(Self { asked, told, side: RefCell::default() }))
    }

    /// The side of this process; it connects, or listens, when it is first asked for.
    fn side(&self, listens: bool) -> Result<Rc<Side<N>>, Fault> {
        if let Some(side) = self.side.borrow().upgrade() {
            return Ok(side);
        }
        let peer = if listens { self.accept() } else { self.connect() }?;
        let side = Rc::new(RefCell::new(peer));
        *self.side.borrow_mut() = Rc::downgrade(&side);
        Ok(side)
    }

    fn accept(&self) -> Result<Peer<Raw<[u64; N]>>, Fault> {
        let listener = Listener::bind(address(process::id())).map_err(|error| failed("listening", error))?;
        write(&self.told, &process::id().to_ne_bytes()).map_err(|error| Fault::failed("write", error))?;
        listener.accept().map_err(|error| failed("accepting the connection", error))
    }

    fn connect(&self) -> Result<Peer<Raw<[u64; N]>>, Fault> {
        let mut number = [0; 4];
        // So few bytes come in one piece. They always come: whoever was to write them and is dead is missed elsewhere.
        read(&self.asked, &mut number).map_err(|error| Fault::failed("read", error))?;
        connect(address(u32::from_ne_bytes(number))).map_err(|error| failed("connecting", error))
    }
}

/// Where process `number` listens.
fn address(number: u32) -> String {
    format!("@ginnel-bench-{number}")
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Connection<const N: usize> {
    wire: Rc<Wire<N>>,
    is_back: bool,
}

impl<const N: usize> Connection<N> {
    /// A connection of which one direction is used.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn one_way() -> Result<Self, Fault> {
        Ok(Self { wire: Wire::new()?, is_back: false })
    }

    /// The two directions of one connection.
    ///
    /// # Errors
    /// As [`Connection::one_way`].
    pub fn both_ways() -> Result<(Self, Self), Fault> {
        let there = Self::one_way()?;
        let back = Self { wire: Rc::clone(&there.wire), is_back: true };
        Ok((there, back))
    }
}

impl<const N: usize> Transport for Connection<N> {
    type Size = Fixed<N>;
    type Producer<'a> = End<N>;
    type Consumer<'a> = End<N>;

    fn size(&self) -> Fixed<N> {
        Fixed
    }

    /// The process that sends on the way there receives on the way back, and connects.
    fn producer(&self) -> Result<End<N>, Fault> {
        self.wire.side(self.is_back).map(End)
    }

    fn consumer(&self) -> Result<End<N>, Fault> {
        self.wire.side(!self.is_back).map(End)
    }
}

/// Either end; the two of a process hold one side.
#[derive(Debug)]
pub struct End<const N: usize>(Rc<Side<N>>);

impl<const N: usize> Producer<Fixed<N>> for End<N> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<Fixed<N>>, count: usize) -> Result<(), Fault> {
        let mut peer = self.0.borrow_mut();
        for _ in 0..count {
            let mut message = [0; N];
            writer.fill(&mut message);
            peer.send(Raw(message)).map_err(|error| failed("send", error))?;
        }
        Ok(())
    }
}

impl<const N: usize> Consumer<Fixed<N>> for End<N> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<Fixed<N>>, _limit: usize) -> Result<(), Stop> {
        let Raw(message) = self.0.borrow_mut().recv().map_err(|error| failed("recv", error))?;
        checker.accept(size_of::<[u64; N]>(), &message)
    }
}
