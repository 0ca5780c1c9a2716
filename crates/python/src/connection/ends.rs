//! What an end holds: a side of each direction that it uses.

use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ginnel::{ErrorKind, Manager};
use ginnel_object::bridge;
use ginnel_object::error::{RecvTimeoutError, TryRecvError};
use ginnel_object::queue::{Freight, Halt, Options, Receiver, Sender};
use ginnel_object::ready::RoomIn;
use ginnel_object::select::wait_any;
use pyo3::exceptions::{PyBlockingIOError, PyBrokenPipeError, PyEOFError, PyOSError, PyRuntimeError};
use pyo3::prelude::*;

use crate::failure::{OrRaise, raised};
use crate::home::{self, Shared};
use crate::readiness::{self, Readiness};
use crate::wait::{Patience, patiently};
use crate::{buffers, codec, pickle};

use super::budget::{AWAITED, Budget, COUNTED};
use super::note::{BYTES, Got, Note, Want, Wanted};
use super::passage::{self, Departed, Way};

/// Messages that a direction holds.
const MESSAGES: usize = 256;

/// Bytes of a message in its slot, which has 256 with its header.
const INLINE: usize = 240;

/// How soon one looks again who waits for the other side to read long messages.
const NAP: Duration = Duration::from_micros(200);

/// What one end of a pipe holds, until a connection takes it.
#[pyclass(module = "ginnel._ginnel", frozen)]
pub(super) struct Ends {
    pair: Mutex<Option<Pair>>,
}

#[pymethods]
impl Ends {
    /// What another process sent off.
    #[staticmethod]
    fn arrive(arena: (u64, u64), read: Option<Way>, write: Option<Way>) -> PyResult<Self> {
        let reads = read.map(|way| passage::arrive(arena, way)).transpose()?;
        let writes = write.map(|way| passage::arrive(arena, way)).transpose()?;
        Ok(Self::of(Pair::new(arena, reads, writes)))
    }
}

impl Ends {
    fn of(pair: Pair) -> Self {
        Self { pair: Mutex::new(Some(pair)) }
    }

    pub(super) fn take(&self) -> PyResult<Pair> {
        let pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner).take();
        pair.ok_or_else(|| PyRuntimeError::new_err("another connection has these ends"))
    }
}

/// A new pipe: its two ends. Of one that is not `duplex` the first receives, and the second sends.
#[pyfunction]
pub(super) fn pipe(duplex: bool) -> PyResult<(Ends, Ends)> {
    let manager = home::manager()?;
    let end = |reads, writes| Ends::of(Pair::new(home::uuid(&manager), reads, writes));
    let (back, first) = direction(&manager)?;
    if !duplex {
        return Ok((end(Some(first), None), end(None, Some(back))));
    }
    let (forth, second) = direction(&manager)?;
    Ok((end(Some(first), Some(forth)), end(Some(second), Some(back))))
}

/// The sides of a direction.
type Direction = (Shared<Sender<Note>>, Shared<Receiver<Note>>);

fn direction(manager: &Manager) -> PyResult<Direction> {
    let options = Options::bounded(MESSAGES).inline_size(INLINE);
    let sender: Sender<Note> = manager.create_with(options).or_raise()?;
    let receiver = bridge::open_at(manager, bridge::address_of(&sender)).or_raise()?;
    Ok((Shared::new(sender, manager), Shared::new(receiver, manager)))
}

/// The sides of one end; each is closed by the drop, unless others of this process have it.
pub(super) struct Pair {
    reads: Option<In>,
    writes: Option<Shared<Sender<Note>>>,
    budget: Budget,
    room: Readiness<RoomIn<Sender<Note>>>,
    arena: (u64, u64),
}

/// The way in. The descriptor is dropped before the side that it is of.
struct In {
    readiness: Readiness<Receiver<Note>>,
    side: Shared<Receiver<Note>>,
}

impl Pair {
    fn new(
        arena: (u64, u64),
        reads: Option<Shared<Receiver<Note>>>,
        writes: Option<Shared<Sender<Note>>>,
    ) -> Self {
        let reads = reads.map(|side| In { readiness: Readiness::new(), side });
        Self { reads, writes, budget: Budget::default(), room: Readiness::new(), arena }
    }

    pub(super) fn is_readable(&self) -> bool {
        self.reads.is_some()
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writes.is_some()
    }

    fn reads(&self) -> PyResult<&In> {
        self.reads.as_ref().ok_or_else(|| PyOSError::new_err("connection is write-only"))
    }

    fn sender(&self) -> PyResult<&Sender<Note>> {
        self.writes.as_ref().ok_or_else(|| PyOSError::new_err("connection is read-only"))?.get()
    }

    /// The next message, as it is wanted; waits for it. `None`: there was none.
    ///
    /// # Errors
    /// `EOFError` when nothing can come any more; what a signal handler raised.
    pub(super) fn recv(&self, py: Python<'_>, want: Want, patience: Patience) -> PyResult<Option<Got>> {
        let reads = self.reads()?;
        let receiver = reads.side.get()?;
        let wanted = Wanted::new(want);
        let note = match receiver.try_recv() {
            Err(TryRecvError::Empty) => patiently(py, patience, |slice| some(receiver.recv_timeout(slice)))?,
            Ok(note) => Some(Some(note)),
            Err(TryRecvError::Closed) => Some(None),
            Err(TryRecvError::Failed(error)) => return Err(raised(&error)),
        };
        drop(wanted);
        reads.readiness.settle();
        match note {
            Some(Some(note)) => Ok(Some(note.0)),
            Some(None) => Err(PyEOFError::new_err(())),
            None => Ok(None),
        }
    }

    /// Sends an object; waits for room. False: there was none.
    ///
    /// # Errors
    /// What pickling it raised; `BrokenPipeError` when nobody receives any more.
    pub(super) fn send(&self, obj: &Bound<'_, PyAny>, patience: Patience) -> PyResult<bool> {
        let sender = self.sender()?;
        pickle::with_scratch(|bytes| {
            let is_plain = codec::encode(obj, bytes);
            let mut freight = Freight::default();
            if !is_plain || bytes.len() > INLINE {
                let packed;
                (packed, freight) = sender.pack(|| {
                    if !is_plain {
                        pickle::pack(obj, bytes)?;
                    }
                    buffers::shorten(obj.py(), bytes, INLINE)
                });
                packed?;
            }
            self.send_packed(obj.py(), sender, bytes, &mut freight, patience)
        })
    }

    /// Sends bytes; waits for room. False: there was none.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) fn send_bytes(&self, py: Python<'_>, bytes: &[u8], patience: Patience) -> PyResult<bool> {
        let sender = self.sender()?;
        pickle::with_scratch(|message| {
            message.reserve(bytes.len() + 1);
            message.push(BYTES);
            message.extend_from_slice(bytes);
            self.send_packed(py, sender, message, &mut Freight::default(), patience)
        })
    }

    fn send_packed(
        &self,
        py: Python<'_>,
        sender: &Sender<Note>,
        bytes: &[u8],
        freight: &mut Freight,
        patience: Patience,
    ) -> PyResult<bool> {
        if bytes.len() >= COUNTED {
            return self.send_counted(py, sender, bytes, freight, patience);
        }
        match sender.send_packed(bytes, freight, None) {
            Ok(()) => Ok(true),
            Err(Halt::Full) => {
                let sent = patiently(py, patience, |slice| {
                    unless_full(sender.send_packed(bytes, freight, Some(slice)))
                })?;
                Ok(sent.is_some())
            }
            Err(halt) => Err(halted(halt)),
        }
    }

    /// A long message: copied without the GIL, and within the budget.
    #[cold]
    fn send_counted(
        &self,
        py: Python<'_>,
        sender: &Sender<Note>,
        bytes: &[u8],
        freight: &mut Freight,
        patience: Patience,
    ) -> PyResult<bool> {
        let mut attempt = |slice: Duration| {
            if !sender.is_closed() && !self.budget.has_room(bytes.len(), sender.stats().received) {
                std::thread::sleep(slice.min(NAP));
                return Ok(None);
            }
            unless_full(sender.send_packed(bytes, freight, (!slice.is_zero()).then_some(slice)))
        };
        let mut sent = py.detach(|| attempt(Duration::ZERO))?;
        if sent.is_none() {
            sent = patiently(py, patience, attempt)?;
        }
        if sent.is_none() {
            return Ok(false);
        }
        let number = sender.stats().sent;
        self.budget.add(bytes.len(), number);
        if bytes.len() > AWAITED {
            patiently(py, patience, |slice| {
                let is_over = sender.is_closed() || sender.stats().received >= number;
                if !is_over {
                    std::thread::sleep(slice.min(NAP));
                }
                Ok(is_over.then_some(()))
            })?;
        }
        Ok(true)
    }

    /// Waits until there is something to receive.
    ///
    /// # Errors
    /// What a signal handler raised.
    pub(super) fn poll(&self, py: Python<'_>, patience: Patience) -> PyResult<bool> {
        let reads = self.reads()?;
        let receiver = reads.side.get()?;
        let mut ready = readiness::is_ready(receiver)?;
        if !ready {
            ready = patiently(py, patience, |slice| {
                Ok(wait_any(&[receiver], Some(slice)).or_raise()?.map(drop))
            })?
            .is_some();
        }
        reads.readiness.settle();
        Ok(ready)
    }

    /// Would `recv` come back at once?
    ///
    /// # Errors
    /// When the object is broken.
    pub(super) fn is_ready(&self) -> PyResult<bool> {
        readiness::is_ready(self.reads()?.side.get()?)
    }

    /// Asks whether those live whom it waits for. Without the GIL: it may take milliseconds.
    ///
    /// # Errors
    /// When the object is broken.
    pub(super) fn probe(&self, py: Python<'_>) -> PyResult<()> {
        match &self.reads {
            Some(reads) => reads.readiness.probe(py),
            None => self.room.probe(py),
        }
    }

    /// Would a short message be sent at once, or fail?
    ///
    /// # Errors
    /// When the object is broken.
    pub(super) fn has_room(&self) -> PyResult<bool> {
        readiness::is_ready(&RoomIn(self.sender()?))
    }

    /// The descriptor for who receives, or of an end that only sends, for who sends.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) fn descriptor(&self, public: bool) -> PyResult<RawFd> {
        match &self.reads {
            Some(reads) => reads.readiness.descriptor(public, || Ok(reads.side.get()?.clone())),
            None => self.room.descriptor(public, || Ok(RoomIn(self.sender()?.clone()))),
        }
    }

    /// The descriptor for who waits for room, for one wait.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) fn room_descriptor(&self) -> PyResult<RawFd> {
        self.room.descriptor(false, || Ok(RoomIn(self.sender()?.clone())))
    }

    /// Sends both sides off.
    ///
    /// # Errors
    /// When too much is under way.
    pub(super) fn depart(&self, in_message: bool) -> PyResult<Departed> {
        let reads = self.reads.as_ref().map(|reads| &reads.side);
        let read = reads.map(|side| passage::depart(side, in_message)).transpose()?;
        let write = self.writes.as_ref().map(|side| passage::depart(side, in_message)).transpose()?;
        Ok((self.arena, read, write))
    }
}

/// One slice of a wait for a message. `Some(None)`: nothing can come any more.
fn some(received: Result<Note, RecvTimeoutError>) -> PyResult<Option<Option<Note>>> {
    match received {
        Ok(note) => Ok(Some(Some(note))),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Closed) => Ok(Some(None)),
        // A process is in the middle of the next message.
        Err(RecvTimeoutError::Failed(error)) if error.kind() == ErrorKind::Timeout => Ok(None),
        Err(RecvTimeoutError::Failed(error)) => Err(raised(&error)),
    }
}

fn unless_full(sent: Result<(), Halt>) -> PyResult<Option<()>> {
    match sent {
        Ok(()) => Ok(Some(())),
        Err(Halt::Full) => Ok(None),
        Err(halt) => Err(halted(halt)),
    }
}

#[cold]
fn halted(halt: Halt) -> PyErr {
    match halt {
        Halt::Failed(error) => raised(&error),
        Halt::Full => PyBlockingIOError::new_err("there is no room"),
        Halt::Closed => PyBrokenPipeError::new_err((EPIPE, "Broken pipe")),
    }
}

/// What the system calls it.
const EPIPE: i32 = 32;
