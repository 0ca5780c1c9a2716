//! The inside of a worker: its start, its loop, and what a task can ask about itself.
//!
//! A worker is a child whose function is [`Work`]: it sets itself up, sits down at its seat and runs what it finds, until
//! it is told to leave. Everything that is shared is done by the seat (`ginnel_object::bridge::crew`), everything that
//! belongs to the task by its routine (`ginnel_process::routine`); here is the order of the two.
//!
//! | it ends | how | what its starter sees |
//! |---|---|---|
//! | the pool stops, or it is told to leave | returns after the task it is at | an orderly end |
//! | it could not set itself up | returns the error, or panics | a failed start |
//! | its number of tasks is reached, or its memory has grown | says that it is tired, takes nothing more | relieves it |
//! | it is doomed: a kill is on its way | waits for it, whatever it has committed | the kill |
//! | its starter is gone | kills itself | nothing; the kernel has most likely been faster |

use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_object::bridge::crew::{After, Crew};
use ginnel_object::message::out::Out;
use ginnel_object::spsc::Wait;
use ginnel_object::{Error, Message, Result};
use ginnel_process::{Task, routine};
use ginnel_sync::Mode;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

/// How often a worker looks how much memory it has.
const WEIGHED_EVERY: Duration = Duration::from_millis(10);

/// How long a kill that was decided may take.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// What an initializer may return: nothing, or a `Result<(), E>` where `E` becomes an [`Error`], such as
/// [`Failure`](ginnel_process::Failure).
pub trait Setup: sealed::Setup {}

impl Setup for () {}
impl<E: Into<Error>> Setup for Result<(), E> {}

mod sealed {
    use ginnel_object::{Error, Result};

    pub trait Setup {
        fn into_result(self) -> Result<()>;
    }

    impl Setup for () {
        fn into_result(self) -> Result<()> {
            Ok(())
        }
    }

    impl<E: Into<Error>> Setup for std::result::Result<(), E> {
        fn into_result(self) -> Result<()> {
            self.map_err(Into::into)
        }
    }
}

/// Where a worker works, and how it waits.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Post {
    pub(crate) crew: Crew,
    pub(crate) seat: u32,
    /// A [`Wait`], as it crosses.
    pub(crate) wait: u8,
}

/// The function of a worker: its initializer, then the loop.
///
/// It is a type without size exactly if the initializer is one, which is what makes it a task.
pub(crate) struct Work<F, A, S> {
    pub(crate) initializer: F,
    pub(crate) of: PhantomData<fn(A, S)>,
}

impl<F: Copy, A, S> Clone for Work<F, A, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Copy, A, S> Copy for Work<F, A, S> {}

/// What a worker is given: its post and the arguments of the initializer.
pub(crate) struct Given<A>(pub(crate) Post, pub(crate) Arc<A>);

impl<F, A, S> Task<Given<A>, PhantomData<S>> for Work<F, A, S>
where
    F: Task<A, S>,
    F::Output: Setup,
    A: 'static,
    S: 'static,
{
    type Output = Result<(), Error>;
    type Parameters = (Post, F::Parameters);

    fn write(Given(post, args): &Given<A>, out: &mut Out<'_>) -> Result<()> {
        post.put(out)?;
        F::write(args, out)
    }

    fn read(bytes: &mut &[u8]) -> Result<Self::Parameters> {
        Ok((Post::take(bytes)?, F::read(bytes)?))
    }

    fn call(self, (post, parameters): Self::Parameters) -> Result<()> {
        sealed::Setup::into_result(self.initializer.call(parameters))?;
        serve(&post)
    }
}

/// The life of a worker that has set itself up.
fn serve(post: &Post) -> Result<()> {
    let crew = CREW.get_or_init(|| post.crew.clone());
    let starter = getppid();
    let mut scales = Scales::new(crew.shape().max_rss);
    let mut sitting = crew.sit(post.seat, mode_of(post.wait))?;
    while let Some(mut frame) = sitting.next(|| end_as_orphan(starter)) {
        CURRENT.begin(frame.slot(), frame.serial(), frame.attempt());
        routine::run(&mut frame);
        CURRENT.end();
        match frame.commit() {
            After::Go => {}
            After::Doomed => wait_for_the_end(),
            After::Leave => break,
        }
        if scales.are_too_full() {
            sitting.tired();
        }
    }
    Ok(())
}

pub(crate) fn mode_of(wait: u8) -> Mode {
    match wait {
        1 => Mode::Spin,
        2 => Mode::Sleep,
        _ => Mode::Adaptive,
    }
}

/// A [`Wait`] as a number.
pub(crate) fn number_of(wait: Wait) -> u8 {
    match wait {
        Wait::Adaptive => 0,
        Wait::Spin => 1,
        Wait::Sleep => 2,
    }
}

/// A kill was decided while the task ran. What it left is whole, and it may not begin another: the kill is meant for
/// this one.
///
/// Should the system have refused the signal, this process sees to it: its starter counts on that.
fn wait_for_the_end() -> ! {
    std::thread::park_timeout(KILLED_WITHIN);
    loop {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// The kernel kills a worker with its starter. Where it could not be asked for that, the worker sees to it: nobody would
/// ever give it work, or tell it to leave.
fn end_as_orphan(starter: Option<Pid>) -> bool {
    let is_orphan = getppid() != starter;
    if is_orphan {
        // Not `exit`: its handlers would wait for children of ours.
        let _ = kill_process(getpid(), Signal::KILL);
    }
    is_orphan
}

/// Looks how much memory this process has.
struct Scales {
    /// In pages.
    limit: u64,
    statm: Option<File>,
    next: Instant,
}

impl Scales {
    /// `limit` in bytes; 0: none. Without `/proc` nothing is ever too much.
    fn new(limit: u64) -> Self {
        let statm = (limit != 0).then(|| File::open("/proc/self/statm").ok()).flatten();
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        Self { limit: limit / page, statm, next: Instant::now() }
    }

    fn are_too_full(&mut self) -> bool {
        let Some(statm) = &self.statm else { return false };
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + WEIGHED_EVERY;
        let mut text = [0; 128];
        let read = statm.read_at(&mut text, 0).unwrap_or(0);
        resident(&text[..read]).is_some_and(|pages| pages > self.limit)
    }
}

/// The second number of the line.
fn resident(statm: &[u8]) -> Option<u64> {
    str::from_utf8(statm).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The crew that this process works for.
static CREW: OnceLock<Crew> = OnceLock::new();

/// The task that this process is at.
static CURRENT: Current = Current { task: AtomicU64::new(NONE), attempt: AtomicU32::new(0) };

const NONE: u64 = u64::MAX;

/// A process runs one task at a time, on whatever threads the task makes; so this belongs to the process and not to a
/// thread. Only this process reads it, and only to say which slot a hint is about: a thread that outlives its task sees
/// another task, or none.
struct Current {
    /// `{serial:32 | slot:32}`
    task: AtomicU64,
    attempt: AtomicU32,
}

impl Current {
    fn begin(&self, slot: u32, serial: u32, attempt: u32) {
        self.attempt.store(attempt, Relaxed);
        self.task.store((u64::from(serial) << 32) | u64::from(slot), Relaxed);
    }

    fn end(&self) {
        self.task.store(NONE, Relaxed);
    }

    /// The crew, and slot and serial number of the task in it.
    fn get(&self) -> Option<(&'static Crew, u32, u32)> {
        let task = self.task.load(Relaxed);
        let crew = CREW.get().filter(|_| task != NONE)?;
        Some((crew, task as u32, (task >> 32) as u32))
    }
}

/// In a task: has somebody cancelled it? It may stop then, and return whatever it likes.
///
/// A map or an iterator that was given up cancels what still runs of it. False outside of a worker. Costs a load of a
/// shared word; never blocks.
///
/// ```
/// fn count_to(limit: u64) -> u64 {
///     (0..limit).take_while(|_| !ginnel_pool::is_cancelled()).count() as u64
/// }
/// assert_eq!(count_to(10), 10);
/// ```
#[must_use]
pub fn is_cancelled() -> bool {
    CURRENT.get().is_some_and(|(crew, slot, serial)| crew.is_asked(slot, serial))
}

/// In a task: says how much of it is done, from 0.0 to 1.0, to whoever asks [`Task::progress`](crate::Task::progress).
///
/// Outside of a worker it does nothing. Costs a store to a shared word; never blocks.
pub fn set_progress(part: f32) {
    if let Some((crew, slot, serial)) = CURRENT.get() {
        crew.set_part(slot, serial, part);
    }
}

/// In a task: how often it was begun before, by workers that died of it or with it. 0 the first time, and outside of a
/// worker.
#[must_use]
pub fn attempt() -> u32 {
    CURRENT.get().map_or(0, |_| CURRENT.attempt.load(Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_pages_are_the_second_number() {
        assert_eq!(resident(b"2531 190 155 9 0 118 0\n"), Some(190));
        assert_eq!(resident(b"2531"), None);
        assert_eq!(resident(b""), None);
    }

    #[test]
    fn the_scales_find_this_process_heavier_than_a_page_and_lighter_than_a_terabyte() {
        assert!(Scales::new(4096).are_too_full());
        assert!(!Scales::new(1 << 40).are_too_full());
        assert!(!Scales::new(0).are_too_full());
    }

    #[test]
    fn outside_of_a_worker_nothing_is_asked_and_nothing_said() {
        set_progress(0.5);
        assert_eq!((is_cancelled(), attempt()), (false, 0));
    }
}
