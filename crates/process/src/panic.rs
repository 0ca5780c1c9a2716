//! Panics of a child, kept for its starter.
//!
//! What a panic says is known only in the panic hook; whether it ends the function only when it has unwound. So the
//! hook notes it for its thread, and [`catch`] takes the note of the panic that came through. A panic that the function
//! caught by itself leaves a note that nobody takes. With `panic = "abort"` nothing unwinds: there the hook itself
//! leaves the result, if the panic is one of the thread of the function. The hook that was there before runs as well:
//! what users see on the terminal stays as it is.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Mutex;
use std::thread::{self, ThreadId};

use ginnel_object::bridge::{self, Record, St};
use ginnel_object::{Manager, Message};

use crate::error::Panic;

thread_local! {
    /// The last panic of this thread.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Where an aborting panic leaves its text: the thread of the function, and its record.
static BODY: Mutex<Option<(ThreadId, &'static Record)>> = Mutex::new(None);

/// Installs the hook, in the thread that will run the function.
pub(crate) fn install(record: &'static Record) {
    // Without unwinding nobody comes to take a note. (A fork of a child has a record of its own.)
    if cfg!(panic = "abort")
        && let Ok(mut body) = BODY.lock()
    {
        *body = Some((thread::current().id(), record));
    }
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        note(info);
        before(info);
    }));
}

fn note(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let panic = Panic {
        message: message(info.payload()),
        location: info.location().map(ToString::to_string),
        thread: thread.name().map(Into::into),
        backtrace: backtrace(),
    };
    let body = BODY.lock().ok().and_then(|body| *body);
    match body {
        Some((body, record)) if body == thread.id() => {
            if let Ok(manager) = Manager::current() {
                leave(manager, record, &panic);
            }
        }
        _ => LAST.with(|last| {
            // Borrowed: the panic came while one was taken, which is not the user's.
            if let Ok(mut last) = last.try_borrow_mut() {
                *last = Some(panic);
            }
        }),
    }
}

/// Whoever wants one has said so in the environment (`RUST_BACKTRACE`); it takes milliseconds.
fn backtrace() -> Option<String> {
    let backtrace = Backtrace::capture();
    (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string())
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a value that is no text").into()
}

/// Runs `body`; its panic, if one came out of it. In a child of ginnel, where the hook is installed, the panic says where
/// it began.
pub fn catch<R>(body: impl FnOnce() -> R) -> Result<R, Panic> {
    // What the body left half done is not looked at again: the process ends, or takes up another task.
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let message = message(&*payload);
        let last = LAST.with(|last| last.try_borrow_mut().ok()?.take());
        // One that was resumed, or came from another thread by its handle, did not pass the hook here.
        match last.filter(|last| last.message == message) {
            Some(panic) => panic,
            None => Panic { message, location: None, thread: None, backtrace: None },
        }
    })
}

/// Makes the panic the result of the child.
pub(crate) fn leave(manager: &Manager, record: &Record, panic: &Panic) {
    let sealed = bridge::seal(manager, |out| panic.put(out));
    // Without the text the starter still has the exit code.
    let _ = sealed.and_then(|sealed| record.put_result(St::Panicked, sealed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panic_that_came_out_is_told_and_not_one_that_was_caught() {
        let resumed = catch(|| {
            let _ = panic::catch_unwind(|| panic::resume_unwind(Box::new("inner")));
            panic::resume_unwind(Box::new(String::from("outer")))
        });
        let panic = resumed.map(|(): ()| ()).expect_err("panics");
        assert_eq!((panic.message(), panic.location()), ("outer", None));
        assert_eq!(catch(|| 7).ok(), Some(7));
        let odd = catch(|| panic::resume_unwind(Box::new(7_u8))).map(|(): ()| ()).expect_err("panics");
        assert_eq!(odd.message(), "a value that is no text");
    }
}
