//! What a worker of a pool calls for a task. Not for users: for the crate of pools.
//!
//! A *routine* is a function made for one type of task: it takes the arguments out of a slot, calls the task, leaves the
//! result there. Its place in the image is a number in the slot, as the place of `entry` is one in a record.
//!
//! Whoever asks for the place of a routine has a value of the task, and whoever calls one has a slot that says so: no
//! function is made of a number, and no task of nothing, outside of this crate (`task`, I1; `image`, I3).
//!
//! [`each`] is on the way of every item of a map, so that all of it down to the code of serde is one loop.

use std::cell::Cell;

use ginnel_object::bridge::crew::{End, Frame};
use ginnel_object::{Error, ErrorKind, Message, Result};

use crate::image;
use crate::task::{Task, conjure};

pub use crate::panic::catch;

/// Runs one task, or all items of a chunk, and leaves in the slot what came of it.
pub(crate) type Routine = fn(&mut Frame<'_>);

/// Steps over the arguments of one item in front of `bytes`.
pub type Skip = fn(bytes: &mut &[u8]) -> Result<()>;

/// The place of the routine for a slot with one task.
///
/// # Errors
/// `Unsupported` when the code of the task lies in another library than this one.
#[inline]
pub fn one<F: Task<A, S>, A, S>(_: F) -> Result<u64> {
    place_of(run_one::<F, A, S>)
}

/// The place of the routine for a slot with a chunk of items.
///
/// # Errors
/// As [`one`].
#[inline]
pub fn each<F: Task<A, S>, A, S>(_: F) -> Result<u64> {
    place_of(run_each::<F, A, S>)
}

/// How the arguments of such a task are stepped over. They carry no handles.
#[must_use]
pub fn skip<F: Task<A, S>, A, S>(_: F) -> Skip {
    |bytes| F::read(bytes).map(drop)
}

fn place_of(routine: Routine) -> Result<u64> {
    image::offset_of_code(routine as *const ())
}

thread_local! {
    /// The routine that this thread has called last: most tasks of a pool are of one kind.
    static LAST: Cell<(u64, Option<Routine>)> = const { Cell::new((0, None)) };
}

/// Does what a slot that this worker has claimed asks for. A panic of the task is left in the slot: this returns in any
/// case, unless the task ends the process.
pub fn run(frame: &mut Frame<'_>) {
    let place = frame.routine();
    let routine = match LAST.get() {
        (last, Some(routine)) if last == place => Some(routine),
        _ => {
            let found = image::routine_at(place);
            LAST.set((place, found));
            found
        }
    };
    match routine {
        Some(routine) => routine(frame),
        None => {
            let error = Error::new(ErrorKind::Corrupted, "a task whose code does not exist");
            frame.failed(End::Undecodable, |out| error.put(out));
        }
    }
}

fn run_one<F: Task<A, S>, A, S>(frame: &mut Frame<'_>) {
    let task: F = conjure();
    // Reading and writing are of the user's types, so they may panic as well.
    let came = catch(|| {
        let parameters = match frame.input(|bytes| F::read(bytes)) {
            Ok(parameters) => parameters,
            Err(error) => return frame.failed(End::Undecodable, |out| error.put(out)),
        };
        let value = task.call(parameters);
        if let Err(error) = frame.value(|out| value.put(out)) {
            frame.failed(End::Unsendable, |out| error.put(out));
        }
    });
    if let Err(panic) = came {
        frame.failed(End::Panicked, |out| panic.put(out));
    }
}

fn run_each<F: Task<A, S>, A, S>(frame: &mut Frame<'_>) {
    let task: F = conjure();
    let came = catch(|| frame.each(|bytes| Ok(task.call(F::read(bytes)?)), |value, out| value.put(out)));
    // The items before the one that panicked are counted, and their results are whole.
    if let Err(panic) = came {
        frame.failed(End::Panicked, |out| panic.put(out));
    }
}
