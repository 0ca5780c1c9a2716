//! Queues: `Channel`, what the classes of `ginnel.queues` inherit beside those of the standard library.
//!
//! A `Channel` is empty when it is made and becomes a queue by `_open` (a new one) or `_attach` (that of an address), so
//! that a Python class can choose, and pickle can make one without arguments. `put` and `get` are methods of this class,
//! and so of the Python ones, without a frame in between.
//!
//! Order of a `put`: encode under the GIL, try, and only then wait, without the GIL, in slices, with the same bytes. A
//! killed producer has put or it has not; a killed consumer's message goes to the next one unless it had it whole.

mod lease;
mod many;
mod views;

use std::os::fd::RawFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ginnel::error::{RecvTimeoutError, TryRecvError};
use ginnel::queue::{Options, Queue};
use ginnel::select::wait_any;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_object::queue::{Freight, Halt};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyException, PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PyType};

use crate::buffers;
use crate::codec;
use crate::failure::{OrRaise, raised};
use crate::home::{self, Address, Shared};
use crate::pickle::{self, Item};
use crate::readiness::{self, Readiness};
use crate::wait::{Patience, patiently};

/// Bytes of a message that lie in its slot; two lines more than a queue of Rust has, because pickles are long.
const INLINE: usize = 240;

/// From so many messages on the memory of a bounded queue comes and goes with them.
const LIMIT_SMALL: usize = 1024;

/// How long a put without limit looks whether somebody makes room before its feeder takes over.
const AT_WORK: Duration = Duration::from_millis(5);

/// What Python calls true.
pub(crate) struct Truth(pub(crate) bool);

impl<'py> FromPyObject<'_, 'py> for Truth {
    type Error = PyErr;

    #[inline]
    fn extract(obj: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        obj.is_truthy().map(Self)
    }
}

/// A queue between processes, to be subclassed.
#[pyclass(name = "Channel", module = "ginnel._ginnel", subclass, frozen)]
pub(crate) struct Channel {
    inner: OnceLock<Inner>,
    is_closed: AtomicU32,
    /// Has this process put anything?
    is_used: AtomicU32,
    /// Does a backlog of this process wait for room, behind which everything has to queue?
    is_behind: AtomicU32,
}

struct Inner {
    queue: Shared<Queue<Item>>,
    /// Messages that it holds at most. `None`: whatever there is room for.
    limit: Option<u64>,
    manners: Manners,
    readiness: Readiness<Queue<Item>>,
}

/// What a put does that cannot be done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// It waits for room, and raises what pickle raises: `SimpleQueue`.
    Plain,
    /// `Queue`: without a limit it never waits, but leaves the message to a feeder (`_later`), which also hears of what
    /// pickle raises (`_unsent`).
    Feeder,
}

/// An encoded message that waits in the process that puts it.
#[pyclass(module = "ginnel._ginnel", frozen)]
struct Packed {
    bytes: Vec<u8>,
    freight: Mutex<Freight>,
}

impl Channel {
    #[inline]
    fn inner(&self) -> PyResult<&Inner> {
        self.inner.get().ok_or_else(|| PyRuntimeError::new_err("this queue was not opened"))
    }

    #[inline]
    fn queue(&self) -> PyResult<&Queue<Item>> {
        self.inner()?.queue.get()
    }

    #[inline]
    fn check_open(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().is_closed.load(Acquire) != 0 {
            return Err(closed(slf));
        }
        Ok(())
    }

    fn fill(&self, queue: Shared<Queue<Item>>, limit: u64, feeds: bool) -> PyResult<()> {
        let limit = (limit != 0).then_some(limit);
        let manners = if feeds { Manners::Feeder } else { Manners::Plain };
        let inner = Inner { queue, limit, manners, readiness: Readiness::new() };
        self.inner.set(inner).map_err(|_| PyRuntimeError::new_err("this queue is open already"))
    }

    /// Encodes and sends.
    #[inline]
    fn send_object(
        slf: &Bound<'_, Self>,
        obj: &Bound<'_, PyAny>,
        patience: impl FnOnce() -> PyResult<Patience>,
    ) -> PyResult<()> {
        pickle::with_scratch(|bytes| {
            let is_plain = codec::encode(obj, bytes);
            if is_plain && bytes.len() <= INLINE {
                return Self::send(slf, bytes, &mut Freight::default(), patience);
            }
            let inner = slf.get().inner()?;
            let (packed, mut freight) = inner.queue.get()?.pack(|| {
                if !is_plain {
                    pickle::pack(obj, bytes)?;
                }
                buffers::shorten(slf.py(), bytes, INLINE)
            });
            match packed {
                Ok(()) => Self::send(slf, bytes, &mut freight, patience),
                Err(why)
                    if inner.manners == Manners::Feeder && why.is_instance_of::<PyException>(slf.py()) =>
                {
                    slf.call_method1(intern!(slf.py(), "_unsent"), (why, obj)).map(drop)
                }
                Err(why) => Err(why),
            }
        })
    }

    /// Sends encoded bytes, with patience.
    #[inline]
    fn send(
        slf: &Bound<'_, Self>,
        bytes: &[u8],
        freight: &mut Freight,
        patience: impl FnOnce() -> PyResult<Patience>,
    ) -> PyResult<()> {
        let inner = slf.get().inner()?;
        slf.get().is_used.store(1, Release);
        if slf.get().is_behind.load(Acquire) != 0 {
            return Self::leave_to_feeder(slf, bytes, freight);
        }
        let queue = inner.queue.get()?;
        match queue.send_packed(bytes, freight, None) {
            Ok(()) => Ok(()),
            Err(Halt::Full) if inner.limit.is_none() && inner.manners == Manners::Feeder => {
                if patience()? != Patience::None && Self::soon_has_room(slf.py(), queue, bytes, freight)? {
                    return Ok(());
                }
                Self::leave_to_feeder(slf, bytes, freight)
            }
            Err(Halt::Full) => Self::send_slowly(slf.py(), queue, bytes, freight, patience()?),
            Err(why) => Err(halted(why)),
        }
    }

    fn descriptor(&self, is_public: bool) -> PyResult<RawFd> {
        let inner = self.inner()?;
        inner.readiness.descriptor(is_public, || Ok(inner.queue.get()?.clone()))
    }

    /// Sends it to a consumer who is at work but slower. The feeder and its caller would take the GIL from each other for
    /// each message; where nobody receives, this is waited for once, until the backlog is sent.
    #[cold]
    fn soon_has_room(
        py: Python<'_>,
        queue: &Queue<Item>,
        bytes: &[u8],
        freight: &mut Freight,
    ) -> PyResult<bool> {
        match py.detach(|| queue.send_packed(bytes, freight, Some(AT_WORK))) {
            Ok(()) => Ok(true),
            Err(Halt::Full) => Ok(false),
            Err(why) => Err(halted(why)),
        }
    }

    #[cold]
    fn leave_to_feeder(slf: &Bound<'_, Self>, bytes: &[u8], freight: &mut Freight) -> PyResult<()> {
        let packed = Packed { bytes: bytes.to_vec(), freight: Mutex::new(std::mem::take(freight)) };
        slf.call_method1(intern!(slf.py(), "_later"), (packed,)).map(drop)
    }

    #[cold]
    fn send_slowly(
        py: Python<'_>,
        queue: &Queue<Item>,
        bytes: &[u8],
        freight: &mut Freight,
        patience: Patience,
    ) -> PyResult<()> {
        let sent = patiently(py, patience, |slice| match queue.send_packed(bytes, freight, Some(slice)) {
            Ok(()) => Ok(Some(())),
            Err(Halt::Full) => Ok(None),
            Err(why) => Err(halted(why)),
        })?;
        sent.ok_or_else(|| full(py))
    }

    /// The next object, with patience.
    #[inline]
    fn get_with(slf: &Bound<'_, Self>, patience: impl FnOnce() -> PyResult<Patience>) -> PyResult<Py<PyAny>> {
        Self::check_open(slf)?;
        let inner = slf.get().inner()?;
        let queue = inner.queue.get()?;
        let value = match queue.try_recv() {
            Ok(Item(value)) => value,
            Err(TryRecvError::Empty) => Self::get_slowly(slf.py(), queue, patience()?),
            Err(why) => Err(unreceived(why)),
        };
        inner.readiness.settle();
        value
    }

    #[cold]
    fn get_slowly(py: Python<'_>, queue: &Queue<Item>, patience: Patience) -> PyResult<Py<PyAny>> {
        let received = patiently(py, patience, |slice| within(queue.recv_timeout(slice)))?;
        received.ok_or_else(|| empty(py))?.0
    }
}

#[cold]
fn closed(slf: &Bound<'_, Channel>) -> PyErr {
    let name = slf.repr().map_or_else(|_| "queue".to_owned(), |name| name.to_string());
    PyValueError::new_err(format!("Queue {name} is closed"))
}

#[cold]
fn halted(why: Halt) -> PyErr {
    match why {
        Halt::Failed(error) => raised(&error),
        // What the standard library says of a pipe without readers.
        Halt::Closed | Halt::Full => PyOSError::new_err("handle is closed"),
    }
}

#[cold]
fn full(py: Python<'_>) -> PyErr {
    static FULL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    exception(py, &FULL, "Full")
}

#[cold]
fn empty(py: Python<'_>) -> PyErr {
    static EMPTY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    exception(py, &EMPTY, "Empty")
}

fn exception(py: Python<'_>, class: &'static PyOnceLock<Py<PyType>>, name: &str) -> PyErr {
    match class.import(py, "queue", name) {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(why) => why,
    }
}

/// `None`: not within the time, also where somebody alive was in the way.
fn within<T>(received: Result<T, RecvTimeoutError>) -> PyResult<Option<T>> {
    match received {
        Ok(value) => Ok(Some(value)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Failed(error)) if error.kind() == ginnel::ErrorKind::Timeout => Ok(None),
        Err(RecvTimeoutError::Failed(error)) => Err(raised(&error)),
        Err(RecvTimeoutError::Closed) => Err(halted(Halt::Closed)),
    }
}

#[cold]
fn unreceived(why: TryRecvError) -> PyErr {
    match why {
        TryRecvError::Failed(error) => raised(&error),
        TryRecvError::Empty | TryRecvError::Closed => halted(Halt::Closed),
    }
}

#[pymethods]
impl Channel {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyAny>, _kwargs: Option<&Bound<'_, PyAny>>) -> Self {
        Self {
            inner: OnceLock::new(),
            is_closed: AtomicU32::new(0),
            is_used: AtomicU32::new(0),
            is_behind: AtomicU32::new(0),
        }
    }

    /// Makes it a new queue: for exactly `limit` messages, or for as many as there is room for (0), `room` of them in
    /// shared memory. `feeds`: puts have the manners of `Queue`, else those of `SimpleQueue`.
    fn _open(&self, limit: u64, room: usize, feeds: bool) -> PyResult<()> {
        let options = match usize::try_from(limit)? {
            0 => Options::unbounded().limit(room),
            few @ ..LIMIT_SMALL => Options::bounded(few).exactly(),
            many => Options::unbounded().limit(many).exactly(),
        };
        let manager = home::manager()?;
        let queue = manager.create_with::<Queue<Item>>(options.inline_size(INLINE)).or_raise()?;
        self.fill(Shared::new(queue, &manager), limit, feeds)
    }

    /// Makes it the queue at that address.
    fn _attach(&self, address: Address, limit: u64, feeds: bool) -> PyResult<()> {
        self.fill(Shared::at(address)?, limit, feeds)
    }

    /// Where it is.
    fn address(&self) -> PyResult<Address> {
        self.inner()?.queue.address()
    }

    /// Puts `obj`; waits for room where the queue is bounded, `timeout` seconds or as long as it takes.
    #[pyo3(signature = (obj, block = Truth(true), timeout = None))]
    fn put(
        slf: &Bound<'_, Self>,
        obj: &Bound<'_, PyAny>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::check_open(slf)?;
        Self::send_object(slf, obj, || Patience::of(block.0, timeout))
    }

    /// Puts bytes, as `put` does, without a look at what they are.
    #[pyo3(signature = (data, block = Truth(true), timeout = None))]
    fn put_bytes(
        slf: &Bound<'_, Self>,
        data: &Bound<'_, PyAny>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::check_open(slf)?;
        if let Ok(data) = data.cast_exact::<PyBytes>() {
            return Self::send_object(slf, data, || Patience::of(block.0, timeout));
        }
        let data = PyBuffer::<u8>::get(data)?.to_vec(slf.py())?;
        pickle::with_scratch(|bytes| {
            codec::encode_bytes(&data, bytes);
            let (packed, mut freight) = slf.get().queue()?.pack(|| buffers::shorten(slf.py(), bytes, INLINE));
            packed?;
            Self::send(slf, bytes, &mut freight, || Patience::of(block.0, timeout))
        })
    }

    /// The next object; waits for it, `timeout` seconds or as long as it takes.
    #[pyo3(signature = (block = Truth(true), timeout = None))]
    fn get(slf: &Bound<'_, Self>, block: Truth, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        Self::get_with(slf, || Patience::of(block.0, timeout))
    }

    /// The next object, which must be bytes (else it is lost, with a `TypeError`), as a view of where they lie: nothing
    /// is copied if they are many. The view keeps their memory.
    #[pyo3(signature = (block = Truth(true), timeout = None))]
    fn recv_view(
        slf: &Bound<'_, Self>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyMemoryView>> {
        Self::get_in_place(slf, block, timeout)
    }

    /// Room for `size` bytes, to be written where they will be received: fill its `buffer`, then `commit` it.
    fn reserve(slf: &Bound<'_, Self>, size: usize) -> PyResult<views::Reservation> {
        Self::check_open(slf)?;
        Self::draft(slf, size)
    }

    /// `get` of what `put_bytes` put. Something else is lost, with a `TypeError`.
    #[pyo3(signature = (block = Truth(true), timeout = None))]
    fn get_bytes(
        slf: &Bound<'_, Self>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let value = Self::get(slf, block, timeout)?;
        if value.bind(slf.py()).is_exact_instance_of::<PyBytes>() {
            return Ok(value);
        }
        Err(PyTypeError::new_err("the next object was not bytes"))
    }

    /// Puts each object of an iterable, as `put` does; gives how many. What was put before an exception stays put.
    #[pyo3(signature = (objs, block = Truth(true), timeout = None))]
    fn put_many(
        slf: &Bound<'_, Self>,
        objs: &Bound<'_, PyAny>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        Self::put_all(slf, objs, Patience::of(block.0, timeout)?)
    }

    /// Up to `limit` objects: waits for the first, as `get` does, then takes what is there.
    #[pyo3(signature = (limit = None, block = Truth(true), timeout = None))]
    fn get_many<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<usize>,
        block: Truth,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        Self::get_all(slf, limit, block, timeout)
    }

    /// The next object as a lease: it comes again, to this or another process, unless it is acknowledged.
    #[pyo3(signature = (block = Truth(true), timeout = None))]
    fn lease(
        slf: &Bound<'_, Self>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<lease::Lease> {
        Self::next_lease(slf, block, timeout)
    }

    /// Is there something to get within `timeout` seconds? `None`: as long as it takes.
    fn _wait(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let inner = slf.get().inner()?;
        let queue = inner.queue.get()?;
        let look = |time| wait_any(&[queue], Some(time)).or_raise();
        let mut found = look(Duration::ZERO)?;
        if found.is_none() {
            found = patiently(slf.py(), Patience::of(true, timeout)?, look)?;
        }
        inner.readiness.settle();
        Ok(found.is_some())
    }

    /// Would `get` find something now?
    fn _ready(&self) -> PyResult<bool> {
        readiness::is_ready(self.queue()?)
    }

    /// A descriptor that is readable as long as there is something to get.
    fn fileno(&self) -> PyResult<RawFd> {
        self.descriptor(true)
    }

    /// The same for one wait: what becomes of it after that is not said.
    fn _arm(&self) -> PyResult<RawFd> {
        self.descriptor(false)
    }

    /// After a wait in vain: asks whether those live whom it waits for.
    fn _probe(&self, py: Python<'_>) -> PyResult<()> {
        self.inner()?.readiness.probe(py)
    }

    /// Sends what `_later` was given; waits as long as it takes.
    fn _send(slf: &Bound<'_, Self>, packed: &Bound<'_, Packed>) -> PyResult<()> {
        let queue = slf.get().queue()?;
        let packed = packed.get();
        let mut freight = std::mem::take(&mut *packed.freight.lock().unwrap_or_else(PoisonError::into_inner));
        match queue.send_packed(&packed.bytes, &mut freight, None) {
            Ok(()) => Ok(()),
            Err(Halt::Full) => {
                Self::send_slowly(slf.py(), queue, &packed.bytes, &mut freight, Patience::Forever)
            }
            Err(why) => Err(halted(why)),
        }
    }

    /// About how many objects are in it.
    fn qsize(&self) -> PyResult<usize> {
        Ok(self.queue()?.len())
    }

    /// Is nothing in it, at about this moment? Of a queue that this process has closed nobody can say (`OSError`), unless it
    /// was never used.
    fn empty(&self) -> PyResult<bool> {
        let inner = self.inner()?;
        let queue = inner.queue.get()?;
        if self.is_closed.load(Acquire) != 0
            && (inner.manners == Manners::Plain || self.is_used.load(Acquire) != 0)
        {
            return Err(PyOSError::new_err("the queue is closed"));
        }
        Ok(queue.is_empty())
    }

    /// Is there no room, at about this moment?
    fn full(&self) -> PyResult<bool> {
        let inner = self.inner()?;
        let len = inner.queue.get()?.len() as u64;
        Ok(inner.limit.is_some_and(|limit| len >= limit))
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.is_closed.load(Acquire) != 0
    }

    #[setter(_closed)]
    fn set_closed(&self, is_closed: Truth) {
        self.is_closed.store(u32::from(is_closed.0), Release);
    }

    #[getter]
    fn _is_behind(&self) -> bool {
        self.is_behind.load(Acquire) != 0
    }

    #[setter(_is_behind)]
    fn set_is_behind(&self, is_behind: bool) {
        self.is_behind.store(u32::from(is_behind), Release);
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Channel>()?;
    module.add_class::<lease::Lease>()?;
    module.add_class::<views::Reservation>()
}
