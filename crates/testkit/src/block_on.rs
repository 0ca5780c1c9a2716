//! A future, driven by the thread that waits for it: tests of futures need no runtime for that.

use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// A waker for one thread, which can wait until it is called.
#[derive(Debug, Default)]
pub struct Bell(Mutex<bool>, Condvar);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock().expect("no panics") = true;
        self.1.notify_one();
    }
}

impl Bell {
    /// Waits until it was rung since the last wait. Hangs if nobody does: a [`crate::watchdog`] belongs beside it.
    pub fn wait(&self) {
        let mut rung = self.0.lock().expect("no panics");
        while !std::mem::take(&mut *rung) {
            rung = self.1.wait(rung).expect("no panics");
        }
    }
}

/// Waits for a future, asleep between its wakes.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        bell.wait();
    }
}
