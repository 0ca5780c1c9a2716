//! What a pool of Python workers shares: tasks on their way to them, outcomes on their way back, and who does what.
//!
//! A task is leased (`object::queue`): a worker that dies in the middle of one leaves it to the next worker, which is
//! told that it comes again. An entry is a head of [`HEAD`] bytes and an encoded object behind it, so that an object
//! which cannot be decoded is known by its job all the same. A seat is one word for a worker: which task it is at.
//!
//! A wait in Python may end in an exception between any two steps (Ctrl-C). So what was received stays in the [`Desk`]
//! until it has been dealt with: the outcome at hand comes again, the task at hand ends with its process.

use std::sync::{Mutex, PoisonError, TryLockError};

use ginnel::error::{RecvTimeoutError, TryRecvError};
use ginnel::manager::Value;
use ginnel::queue::{Lease, Options, Queue};
use ginnel::{Error, ErrorKind, Message};
use ginnel_object::message::out::Out;
use ginnel_object::queue::Halt;
use pyo3::exceptions::{PyEOFError, PyIndexError};
use pyo3::prelude::*;

use crate::failure::{OrRaise, raised};
use crate::home::{self, Address, Shared};
use crate::pickle;
use crate::wait::{Patience, patiently};

/// Entries that a queue of a pool holds: a megabyte. (Memory that comes and goes would let idle workers look for it.)
const ENTRIES: usize = 1 << 12;

/// Bytes of an entry that lie in its slot.
const INLINE: usize = 232;

/// How often an outcome is given to those who raise for it.
const TRIES: u32 = 100;

/// Bytes before the object: job, index, kind.
const HEAD: usize = 24;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Desk>()
}

/// What an entry says before its object.
#[derive(Debug, Clone, Copy)]
struct Head {
    job: u64,
    index: u64,
    kind: u64,
}

impl Head {
    fn bytes(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let words = [self.job, self.index, self.kind];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// The head, and the bytes behind it.
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (job, rest) = bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let head = Self {
            job: u64::from_ne_bytes(*job),
            index: u64::from_ne_bytes(*index),
            kind: u64::from_ne_bytes(*kind),
        };
        Some((head, rest))
    }
}

/// An entry as it is received. Sending goes through [`send`], without one.
struct Entry {
    head: Head,
    object: PyResult<Py<PyAny>>,
}

fn sent_packed() -> Error {
    Error::new(ErrorKind::Invalid, "an entry of a pool is sent packed")
}

impl Message for Entry {
    const FIXED: Option<usize> = None;

    fn with_bytes<R>(&self, _: impl FnOnce(&[u8]) -> R) -> ginnel::Result<R> {
        Err(sent_packed())
    }

    fn from_bytes(bytes: &[u8]) -> ginnel::Result<Self> {
        let (head, body) = Head::split(bytes)
            .ok_or_else(|| Error::new(ErrorKind::Decode, "an entry of a pool begins with its head"))?;
        let object = Python::attach(|py| pickle::decode(py, body).map(Bound::unbind));
        Ok(Self { head, object })
    }

    fn put(&self, _: &mut Out<'_>) -> ginnel::Result<()> {
        Err(sent_packed())
    }

    fn take(bytes: &mut &[u8]) -> ginnel::Result<Self> {
        Self::from_bytes(std::mem::take(bytes))
    }
}

/// An entry for Python: job, index, kind (of a task: how often it came before), whether the object is one (else it is
/// the exception that decoding it raised), object.
type Entered = (u64, u64, u64, bool, Py<PyAny>);

fn entered(py: Python<'_>, entry: &Entry, kind: u64) -> Entered {
    let Head { job, index, .. } = entry.head;
    match &entry.object {
        Ok(object) => (job, index, kind, true, object.clone_ref(py)),
        Err(why) => (job, index, kind, false, why.clone_ref(py).into_value(py).into_any()),
    }
}

/// The two queues of a pool and the seats of its workers, for the pool as for the workers.
///
/// A desk that a killed process had leaves nothing: what it was sending was not sent, a task at hand goes to another.
#[pyclass(frozen, module = "ginnel._ginnel")]
struct Desk {
    tasks: Shared<Queue<Entry>>,
    outcomes: Shared<Queue<Entry>>,
    seats: Vec<Shared<Value<u64>>>,
    task: Mutex<Option<Lease<Entry>>>,
    /// What was received last and is not dealt with, and how often that was tried. Locked by the thread that receives.
    outcome: Mutex<Option<(Entry, u32)>>,
}

fn patience(py: Python<'_>, timeout: Option<f64>) -> PyResult<Patience> {
    match timeout {
        None => Ok(Patience::Forever),
        Some(seconds) => Patience::of(true, Some(seconds.into_pyobject(py)?.as_any())),
    }
}

/// Sends an entry. False: there was no room for it within the timeout, or the queue is closed.
fn send(
    py: Python<'_>,
    queue: &Queue<Entry>,
    head: Head,
    object: &Bound<'_, PyAny>,
    timeout: Option<f64>,
) -> PyResult<bool> {
    let mut bytes = Vec::with_capacity(INLINE);
    bytes.extend_from_slice(&head.bytes());
    let (encoded, mut freight) = queue.pack(|| pickle::encode(object, |body| bytes.extend_from_slice(body)));
    encoded?;
    let mut sent = |time| match queue.send_packed(&bytes, &mut freight, time) {
        Ok(()) => Ok(Some(true)),
        Err(Halt::Full) => Ok(None),
        Err(Halt::Closed) => Ok(Some(false)),
        Err(Halt::Failed(why)) => Err(raised(&why)),
    };
    if let Some(sent) = sent(None)? {
        return Ok(sent);
    }
    Ok(patiently(py, patience(py, timeout)?, |slice| sent(Some(slice)))?.unwrap_or(false))
}

fn over() -> PyErr {
    PyEOFError::new_err("the pool takes no more tasks")
}

#[pymethods]
impl Desk {
    /// For at most `seats` workers at a time.
    #[new]
    fn new(seats: usize) -> PyResult<Self> {
        let manager = home::manager()?;
        let leases = seats.max(64);
        let queue = || {
            let options = Options::bounded(ENTRIES).inline_size(INLINE).leases(leases);
            Ok::<_, PyErr>(Shared::new(manager.create_with::<Queue<Entry>>(options).or_raise()?, &manager))
        };
        let seat = |_| Ok(Shared::new(manager.create::<Value<u64>>().or_raise()?, &manager));
        Ok(Self {
            tasks: queue()?,
            outcomes: queue()?,
            seats: (0..seats).map(seat).collect::<PyResult<_>>()?,
            task: Mutex::new(None),
            outcome: Mutex::new(None),
        })
    }

    /// Where its parts are: tasks, outcomes, then the seats.
    fn address(&self) -> PyResult<Vec<Address>> {
        let mut parts = vec![self.tasks.address()?, self.outcomes.address()?];
        for seat in &self.seats {
            parts.push(seat.address()?);
        }
        Ok(parts)
    }

    /// The desk whose parts are there.
    #[staticmethod]
    fn at(parts: Vec<Address>) -> PyResult<Self> {
        let [tasks, outcomes, seats @ ..] = &*parts else {
            return Err(PyIndexError::new_err("a desk has two queues"));
        };
        Ok(Self {
            tasks: Shared::at(*tasks)?,
            outcomes: Shared::at(*outcomes)?,
            seats: seats.iter().map(|seat| Shared::at(*seat)).collect::<PyResult<_>>()?,
            task: Mutex::new(None),
            outcome: Mutex::new(None),
        })
    }

    /// Hands a task in. False: there was no room for it within the timeout (none if nothing is said), or no task is taken
    /// any more.
    #[pyo3(signature = (job, index, object, timeout=Some(0.0)))]
    fn put_task(
        &self,
        job: u64,
        index: u64,
        object: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        send(object.py(), self.tasks.get()?, Head { job, index, kind: 0 }, object, timeout)
    }

    /// The next task for the worker at `seat`: job, index, how often it came before, whether it could be decoded, the
    /// task or what decoding it raised. `None`: there was none within the timeout. `EOFError`: there will be none.
    /// The task stays at hand until `task_done`.
    fn take_task(&self, py: Python<'_>, seat: usize, timeout: Option<f64>) -> PyResult<Option<Entered>> {
        let queue = self.tasks.get()?;
        let lease = match queue.try_lease() {
            Ok(lease) => Some(lease),
            Err(TryRecvError::Closed) => return Err(over()),
            Err(TryRecvError::Failed(why)) => return Err(raised(&why)),
            Err(TryRecvError::Empty) => {
                patiently(py, patience(py, timeout)?, |slice| match queue.lease_timeout(slice) {
                    Ok(lease) => Ok(Some(lease)),
                    Err(RecvTimeoutError::Timeout) => Ok(None),
                    Err(RecvTimeoutError::Closed) => Err(over()),
                    Err(RecvTimeoutError::Failed(why)) => Err(raised(&why)),
                })?
            }
        };
        let Some(lease) = lease else { return Ok(None) };
        let Head { job, index, .. } = lease.head;
        self.seat(seat)?.set(at_work(job, index)).or_raise()?;
        let entered = entered(py, &lease, u64::from(lease.redelivered()));
        self.replace_task(Some(lease));
        Ok(Some(entered))
    }

    /// The task at hand needs nobody any more.
    fn task_done(&self, seat: usize) -> PyResult<()> {
        if let Some(lease) = self.replace_task(None) {
            lease.ack().or_raise()?;
        }
        self.seat(seat)?.set(0).or_raise()
    }

    /// Hands an outcome in. False: there was no room for it within the timeout.
    fn put_outcome(
        &self,
        job: u64,
        index: u64,
        kind: u64,
        object: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        send(object.py(), self.outcomes.get()?, Head { job, index, kind }, object, timeout)
    }

    /// Receives outcomes, for everybody: gives each to `deal` (job, index, kind, whether it could be decoded, the object
    /// or what decoding it raised), until `is_there` says true or the timeout is over; without `is_there`, until there
    /// is none. Gives what `is_there` says, or `None` while another thread does this.
    ///
    /// An outcome that `deal` raises for comes again: the exception may be Ctrl-C and have nothing to do with it.
    fn lead(
        &self,
        py: Python<'_>,
        deal: &Bound<'_, PyAny>,
        is_there: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Option<bool>> {
        let mut outcome = match self.outcome.try_lock() {
            Ok(outcome) => outcome,
            Err(TryLockError::Poisoned(outcome)) => outcome.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let patience = patience(py, timeout)?;
        loop {
            if let Some(is_there) = is_there
                && is_there.call0()?.is_truthy()?
            {
                return Ok(Some(true));
            }
            if outcome.is_none() {
                *outcome = self.next_outcome(py, patience)?.map(|entry| (entry, 0));
            }
            let Some((entry, tries)) = &mut *outcome else { return Ok(Some(false)) };
            *tries += 1;
            if *tries < TRIES {
                deal.call1(entered(py, entry, entry.head.kind))?;
            }
            *outcome = None;
        }
    }

    /// Does a thread receive for everybody, at this moment?
    fn is_led(&self) -> bool {
        matches!(self.outcome.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// No task is taken any more; when all are done, `take_task` raises `EOFError`.
    fn close(&self) -> PyResult<()> {
        self.tasks.get()?.close();
        Ok(())
    }

    /// What the worker at that seat is at, (job, index); the seat is empty after that.
    fn clear_seat(&self, seat: usize) -> PyResult<Option<(u64, u64)>> {
        let word = self.seat(seat)?.replace(0).or_raise()?;
        Ok((word != 0).then(|| ((word >> 32) - 1, word & u64::from(u32::MAX))))
    }

    /// Gives back what dead processes had in their hands. Whoever waits for them does it, too, only later.
    fn recover(&self, py: Python<'_>) -> PyResult<usize> {
        let manager = home::manager()?;
        py.detach(|| manager.recover()).or_raise()
    }
}

impl Desk {
    fn replace_task(&self, lease: Option<Lease<Entry>>) -> Option<Lease<Entry>> {
        // What is in it is replaced as a whole, so that a panic does not matter.
        std::mem::replace(&mut self.task.lock().unwrap_or_else(PoisonError::into_inner), lease)
    }

    fn next_outcome(&self, py: Python<'_>, patience: Patience) -> PyResult<Option<Entry>> {
        let queue = self.outcomes.get()?;
        match queue.try_recv() {
            Ok(entry) => Ok(Some(entry)),
            Err(TryRecvError::Failed(why)) => Err(raised(&why)),
            Err(TryRecvError::Closed | TryRecvError::Empty) => {
                patiently(py, patience, |slice| match queue.recv_timeout(slice) {
                    Ok(entry) => Ok(Some(entry)),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Closed) => Ok(None),
                    Err(RecvTimeoutError::Failed(why)) => Err(raised(&why)),
                })
            }
        }
    }

    fn seat(&self, seat: usize) -> PyResult<&Value<u64>> {
        self.seats.get(seat).ok_or_else(|| PyIndexError::new_err("the desk has no such seat"))?.get()
    }
}

/// The word of a seat. Jobs are told apart by 31 bits, which is more than are out at a time.
fn at_work(job: u64, index: u64) -> u64 {
    (((job & 0x7fff_ffff) + 1) << 32) | (index & u64::from(u32::MAX))
}
