//! The service thread: the one parent of all children, and the one who watches them.
//!
//! There is one in each process that starts children, from the first start to the end of the process. It never ends
//! before, because the system kills those children that end with their parent when the *thread* that started them ends.
//! It blocks all signals, so that none meant for the program is handled on it.
//!
//! It waits for children that nobody waits for, recovers those that ended in order, calls the wakers of futures, notices
//! that the zygote is gone, and starts what must not outlive this process.
//!
//! A fork of the process has no service thread; it makes its own when it starts a child. The children of its parent are
//! not its children.

mod epoll;
mod exit;
mod requests;

use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use ginnel_layout::atomic::{AtomicU32, Ordering::Relaxed};
use ginnel_object::{Error, ErrorKind, Result};
use nix::sys::signal::SigSet;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::builder::Start;
use crate::child::Child;
use crate::info;
use crate::zygote::Zygote;
use epoll::Watched;
use requests::Requests;

/// Little is called on it: the starts of processes, and wakers.
const STACK: usize = 256 << 10;

/// What is known of the zygote.
#[derive(Debug)]
enum Method {
    /// Nobody asked for one, or it has died.
    None,
    Zygote(Arc<Zygote>),
    /// There is none, for this reason.
    Failed(String),
}

/// What the service thread and those who ask it share.
#[derive(Debug)]
pub(crate) struct Service {
    /// The process it belongs to.
    pid: u32,
    thread: OnceLock<ThreadId>,
    watched: Watched,
    requests: Requests,
    /// Changed on the service thread only.
    zygote: Mutex<Method>,
    is_ending: AtomicU32,
}

static CURRENT: Mutex<Option<&'static Service>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The service of this process, if there is one already.
pub(crate) fn existing() -> Option<&'static Service> {
    lock(&CURRENT).filter(|service| service.pid == std::process::id())
}

/// The service of this process, made at the first call.
///
/// # Errors
/// `Os`: no descriptors or no thread.
pub(crate) fn current() -> Result<&'static Service> {
    let mut current = lock(&CURRENT);
    if let Some(service) = current.filter(|service| service.pid == std::process::id()) {
        return Ok(service);
    }
    let service = Service::begin()?;
    *current = Some(service);
    drop(current);
    exit::register();
    Ok(service)
}

impl Service {
    fn begin() -> Result<&'static Self> {
        let service = Arc::new(Self {
            pid: std::process::id(),
            thread: OnceLock::new(),
            watched: Watched::new()?,
            requests: Requests::default(),
            zygote: Mutex::new(Method::None),
            is_ending: AtomicU32::new(0),
        });
        let of_thread = Arc::clone(&service);
        // A thread begins with the mask of its maker.
        let before = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK);
        let begun = thread::Builder::new()
            .name("ginnel-service".into())
            .stack_size(STACK)
            .spawn(move || of_thread.serve());
        if let Ok(before) = before {
            let _ = before.thread_set_mask();
        }
        begun?;
        Ok(Box::leak(Box::new(service)))
    }

    fn serve(&self) -> ! {
        let _ = self.thread.set(thread::current().id());
        loop {
            self.watched.wait(self);
            self.requests.run_all();
        }
    }

    fn is_this_thread(&self) -> bool {
        self.thread.get() == Some(&thread::current().id())
    }

    /// May this process start children?
    ///
    /// # Errors
    /// `Invalid`: it is ending, or it is a daemon.
    pub(crate) fn check_intake(&self) -> Result<()> {
        if self.is_ending.load(Relaxed) != 0 {
            return Err(Error::new(ErrorKind::Invalid, "this process is ending, it cannot start children"));
        }
        if info::is_daemon() {
            return Err(Error::new(ErrorKind::Invalid, "this process is a daemon, it cannot have children")
                .with_advice("start it without `daemon()`"));
        }
        Ok(())
    }

    /// Looks after a child until its end.
    pub(crate) fn watch(&self, child: &Arc<Child>) {
        self.watched.add_child(child);
    }

    /// Calls `then` on the service thread, once, when `fd` is readable.
    pub(crate) fn watch_fd(&self, fd: std::os::fd::OwnedFd, then: impl FnOnce(&Self) + Send + 'static) {
        self.watched.add_fd(fd, Box::new(then));
    }

    /// The children that have not ended, or whose end was not noticed yet, oldest first.
    pub(crate) fn children(&self) -> Vec<Arc<Child>> {
        self.watched.children()
    }

    /// Runs `f` on the service thread and waits for it. A panic of `f` goes on here.
    pub(crate) fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        if self.is_this_thread() { f() } else { self.requests.run(f, || self.watched.ring()) }
    }

    /// The zygote, made at the first call and again after its death. `None`: there is none, and will be none.
    pub(crate) fn zygote(&self) -> Option<Arc<Zygote>> {
        match &*lock(&self.zygote) {
            Method::Zygote(zygote) => return Some(Arc::clone(zygote)),
            Method::Failed(_) => return None,
            Method::None => {}
        }
        self.run(|| self.make_zygote())
    }

    /// On the service thread.
    fn make_zygote(&self) -> Option<Arc<Zygote>> {
        // Another may have asked for the same, earlier.
        match &*lock(&self.zygote) {
            Method::Zygote(zygote) => return Some(Arc::clone(zygote)),
            Method::Failed(_) => return None,
            Method::None => {}
        }
        let (made, method) = match self.begin_zygote() {
            Ok(zygote) => (Some(Arc::clone(&zygote)), Method::Zygote(zygote)),
            Err(why) => (None, Method::Failed(why.to_string())),
        };
        *lock(&self.zygote) = method;
        made
    }

    fn begin_zygote(&self) -> Result<Arc<Zygote>> {
        let zygote = Arc::new(Zygote::start(self)?);
        let pidfd = zygote.pidfd().try_clone_to_owned()?;
        let watched = Arc::downgrade(&zygote);
        self.watch_fd(pidfd, move |service| {
            // The next start makes another. Whoever asks this one for something holds it until it has noticed, too.
            if let Some(dead) = watched.upgrade() {
                service.forget(&dead);
            }
        });
        Ok(zygote)
    }

    /// The next start makes another zygote than this one, which is dead. Who finds that out before this thread has looked
    /// says so.
    pub(crate) fn forget(&self, dead: &Zygote) {
        self.run(|| {
            let _ = waitid(WaitId::PidFd(dead.pidfd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            let mut method = lock(&self.zygote);
            if matches!(&*method, Method::Zygote(known) if ptr::eq(Arc::as_ptr(known), dead)) {
                *method = Method::None;
            }
        });
    }

    pub(crate) fn start_method(&self) -> (Start, Option<String>) {
        match &*lock(&self.zygote) {
            Method::None => (Start::Auto, None),
            Method::Zygote(_) => (Start::Zygote, None),
            Method::Failed(why) => (Start::Exec, Some(why.clone())),
        }
    }
}
