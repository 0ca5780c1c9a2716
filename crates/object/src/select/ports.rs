//! Locks and signals as things to wait for.

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::lock::LockWords;
use ginnel_layout::wait::WaitLine;
use ginnel_sync::park::Arm;
use ginnel_sync::select::Port;
use ginnel_sync::{gate, mutex, shared_wait};

use crate::arena::ObjectRef;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::lock::{Lock, RLock};
use crate::manager::sealed::Sealed;
use crate::message::Plain;
use crate::mutex::Mutex;
use crate::once::OnceValue;
use crate::permits::PermitPool;
use crate::ready::{LINE, READ_LINE, Source, sealed};
use crate::rwlock::{ReadSide, RwLock};
use crate::semaphore::Semaphore;

/// How many of those who wait on a line are woken at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Discipline {
    /// All; nobody passes anything on.
    Gate,
    /// One, who passes on.
    Shared,
}

/// A line on which many wait.
struct LinePort<'a, R, P> {
    line: &'a WaitLine,
    discipline: Discipline,
    is_ready: R,
    probe: P,
}

impl<R: Fn() -> bool, P: Fn()> Port for LinePort<'_, R, P> {
    fn word(&self) -> &AtomicU32 {
        &self.line.seq
    }

    fn is_ready(&self) -> bool {
        (self.is_ready)()
    }

    fn arm(&self) -> Arm {
        match self.discipline {
            Discipline::Gate => gate::arm(self.line),
            Discipline::Shared => shared_wait::arm(self.line),
        }
    }

    fn pass(&self, slept: bool) {
        if slept && self.discipline == Discipline::Shared {
            shared_wait::pass(self.line, &self.is_ready);
        }
    }

    fn probe(&self) {
        (self.probe)();
    }
}

fn on_line<'a>(
    object: &'a ObjectRef,
    line: &'a WaitLine,
    discipline: Discipline,
    is_ready: impl Fn() -> bool + 'a,
    probe: impl Fn() + 'a,
) -> Source<'a> {
    Source::heard(LinePort { line, discipline, is_ready, probe }, &line.bells, object, LINE)
}

/// A lock, of which one waits that it be free.
struct LockPort<'a, R, P> {
    words: &'a LockWords,
    is_ready: R,
    probe: P,
}

impl<R: Fn() -> bool, P: Fn()> Port for LockPort<'_, R, P> {
    fn word(&self) -> &AtomicU32 {
        &self.words.word
    }

    fn is_ready(&self) -> bool {
        (self.is_ready)()
    }

    fn arm(&self) -> Arm {
        mutex::arm(self.words)
    }

    fn pass(&self, slept: bool) {
        if slept {
            mutex::pass(self.words);
        }
    }

    fn probe(&self) {
        (self.probe)();
    }
}

fn on_lock<'a>(
    object: &'a ObjectRef,
    words: &'a LockWords,
    is_ready: impl Fn() -> bool + 'a,
    probe: impl Fn() + 'a,
) -> Result<Source<'a>> {
    object.check_fork()?;
    Ok(Source::heard(LockPort { words, is_ready, probe }, &words.bells, object, LINE))
}

/// # Errors
/// `Deadlock` where this thread holds it: it would wait for itself.
fn check_not_mine(object: &ObjectRef, words: &LockWords) -> Result<()> {
    let me = mutex::Holder::current(object.arena().segment().me());
    if mutex::owner(&words.word) == Some(me) {
        return Err(object.name_error(Error::new(ErrorKind::Deadlock, "this thread holds the lock already")));
    }
    Ok(())
}

impl sealed::Ready for Event {
    fn source(&self) -> Result<Source<'_>> {
        let discipline = if self.is_auto_reset() { Discipline::Shared } else { Discipline::Gate };
        Ok(on_line(self.object(), self.line(), discipline, || self.is_ready(), || self.probe()))
    }
}

impl sealed::Ready for Semaphore {
    fn source(&self) -> Result<Source<'_>> {
        let (is_ready, probe) = (|| self.is_ready(), || self.probe());
        Ok(on_line(self.object(), self.line(), Discipline::Shared, is_ready, probe))
    }
}

impl sealed::Ready for PermitPool {
    fn source(&self) -> Result<Source<'_>> {
        self.object().check_fork()?;
        let (is_ready, probe) = (|| self.is_ready(), || self.probe());
        Ok(on_line(self.object(), self.line(), Discipline::Shared, is_ready, probe))
    }
}

impl sealed::Ready for Lock {
    fn source(&self) -> Result<Source<'_>> {
        on_lock(self.object(), self.lock_words(), || self.is_ready(), || self.probe())
    }

    fn check(&self) -> Result<()> {
        check_not_mine(self.object(), self.lock_words())
    }
}

/// Ready as well for the thread that holds it already, which may take it again.
impl sealed::Ready for RLock {
    fn source(&self) -> Result<Source<'_>> {
        on_lock(self.object(), self.lock_words(), || self.is_ready(), || self.probe())
    }
}

/// The value, once it is there.
impl<T: Plain> sealed::Ready for OnceValue<T> {
    fn source(&self) -> Result<Source<'_>> {
        self.object().check_fork()?;
        let (is_ready, probe) = (|| self.is_ready(), || self.probe());
        Ok(on_line(self.object(), self.line(), Discipline::Gate, is_ready, probe))
    }
}

/// A read-write lock, of which one waits that it be free to write.
struct WriterPort<'a, T: Plain>(&'a RwLock<T>);

impl<T: Plain> Port for WriterPort<'_, T> {
    fn word(&self) -> &AtomicU32 {
        &self.0.lock_words().word
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn arm(&self) -> Arm {
        self.0.arm()
    }

    fn pass(&self, slept: bool) {
        if slept {
            mutex::pass(self.0.lock_words());
        }
    }

    fn probe(&self) {
        self.0.probe();
    }
}

/// For a writer.
impl<T: Plain> sealed::Ready for RwLock<T> {
    fn source(&self) -> Result<Source<'_>> {
        self.object().check_fork()?;
        Ok(Source::heard(WriterPort(self), &self.lock_words().bells, self.object(), LINE))
    }

    fn check(&self) -> Result<()> {
        check_not_mine(self.object(), self.lock_words())?;
        self.check_not_reading()
    }
}

impl<T: Plain> sealed::Ready for ReadSide<'_, T> {
    fn source(&self) -> Result<Source<'_>> {
        let object = self.lock().object();
        object.check_fork()?;
        let port = LinePort {
            line: self.line(),
            discipline: Discipline::Gate,
            is_ready: || self.is_ready(),
            probe: || self.probe(),
        };
        Ok(Source::heard(port, &self.line().bells, object, READ_LINE))
    }

    fn check(&self) -> Result<()> {
        check_not_mine(self.lock().object(), self.lock().lock_words())
    }
}

impl<T: Plain> sealed::Ready for Mutex<T> {
    fn source(&self) -> Result<Source<'_>> {
        on_lock(self.object(), self.lock_words(), || self.is_ready(), || self.probe())
    }

    fn check(&self) -> Result<()> {
        check_not_mine(self.object(), self.lock_words())
    }
}
