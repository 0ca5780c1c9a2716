//! Calls from other threads, run on the service thread.
//!
//! Invariants
//! - I1 who asks does not return before its closure was called to the end or dropped. What is left of the closure then is
//!   the sending half of a channel, and the value that crossed it has been taken out.

#![allow(unsafe_code, reason = "lends a closure that borrows from its caller to another thread")]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError, mpsc};

/// A call, as it stands in the row.
type Request<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Calls that wait for the service thread.
#[derive(Default)]
pub(super) struct Requests(Mutex<Vec<Request<'static>>>);

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Requests").finish()
    }
}

impl Requests {
    /// Asks for a call and waits until it was made.
    pub(super) fn run<R: Send>(&self, f: impl FnOnce() -> R + Send, ring: impl FnOnce()) -> R {
        let (done, answer) = mpsc::sync_channel(1);
        let request: Request<'_> = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(f));
            // The other side waits: there is room, and somebody there.
            let _ = done.send(result);
        });
        // SAFETY: I1, below nothing returns or unwinds before the closure is through with what it borrows.
        let request = unsafe { std::mem::transmute::<Request<'_>, Request<'static>>(request) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        ring();
        match answer.recv() {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => resume_unwind(panic),
            // It would have been dropped without a call, and nobody drops requests.
            Err(mpsc::RecvError) => unreachable!("the service thread lives as long as the process"),
        }
    }

    /// On the service thread: makes all the calls, oldest first.
    pub(super) fn run_all(&self) {
        let requests = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        requests.into_iter().for_each(|request| request());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use crate::service;

    #[test]
    fn a_call_borrows_from_its_caller_and_gives_a_value_back() {
        let service = service::current().expect("a service");
        let mut numbers = vec![1, 2, 3];
        let names = service.run(|| {
            numbers.push(4);
            // One that is there already calls directly.
            service.run(|| thread::current().name().map(str::to_owned))
        });
        assert_eq!((names.as_deref(), numbers.len()), (Some("ginnel-service"), 4));
    }

    #[test]
    fn a_panic_comes_back_and_the_thread_goes_on() {
        let service = service::current().expect("a service");
        let panicked =
            catch_unwind(AssertUnwindSafe(|| service.run(|| std::panic::resume_unwind(Box::new(7)))));
        let payload = panicked.map(|(): ()| ()).expect_err("panics");
        assert_eq!(payload.downcast_ref(), Some(&7));
        let sum: u32 = thread::scope(|scope| {
            let calls: Vec<_> = (0..8).map(|n| scope.spawn(move || service.run(|| n * 2))).collect();
            calls.into_iter().map(|call| call.join().expect("answers")).sum()
        });
        assert_eq!(sum, 56);
    }
}
