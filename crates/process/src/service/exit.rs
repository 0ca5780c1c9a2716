//! What happens to the children when this process exits.
//!
//! The handler runs wherever `exit` does: at the end of `main`, in `std::process::exit`, and so at the end of children,
//! which have children of their own. It asks daemons to end, insists after 200 ms, and waits for all others, however
//! long they take. A process that is killed does not come here; then the system kills its daemons.
//!
//! Invariants
//! - I1 the handler never unwinds: it catches panics, and calls nothing after.

#![allow(unsafe_code, reason = "registers a handler with the C library")]

use std::panic::catch_unwind;
use std::sync::Once;
use std::time::Duration;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_sync::Deadline;
use nix::libc;
use rustix::process::Signal;

use super::{Method, Service, existing, lock};

/// How long a daemon has between the request and the end.
const GRACE: Duration = Duration::from_millis(200);
/// How long one waits for a killed one, which only the system can hold up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Registers the handler, once; a fork has inherited it.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: I1, the handler is a function of this program that does not unwind.
        let refused = unsafe { libc::atexit(at_exit) };
        debug_assert_eq!(refused, 0, "the C library keeps at least 32 handlers");
    });
}

extern "C" fn at_exit() {
    // A panic was printed; there is nobody left to tell more.
    let _ = catch_unwind(|| {
        if let Some(service) = existing() {
            service.end();
        }
    });
}

impl Service {
    /// Ends daemons, waits for the others. A second call does nothing.
    pub(crate) fn end(&self) {
        if self.is_ending.swap(1, Relaxed) != 0 {
            return;
        }
        // A start that was under way when the intake closed may add a child, hence twice.
        for _ in 0..2 {
            let mut children = self.children();
            // One that has ended and that the service thread has not put away yet.
            children.retain(|child| child.end().is_none());
            if children.is_empty() {
                break;
            }
            let (daemons, others): (Vec<_>, Vec<_>) = children.iter().partition(|child| child.ends_at_exit());
            for daemon in &daemons {
                let _ = daemon.signal(Signal::TERM);
            }
            let grace = Deadline::after(GRACE);
            let stubborn: Vec<_> =
                daemons.into_iter().filter(|daemon| daemon.wait_until(grace).is_none()).collect();
            for daemon in &stubborn {
                let _ = daemon.signal(Signal::KILL);
            }
            let patience = Deadline::after(PATIENCE);
            for daemon in stubborn {
                daemon.wait_until(patience);
            }
            for child in others {
                child.wait_until(Deadline::NEVER);
            }
        }
        let zygote =
            std::mem::replace(&mut *lock(&self.zygote), Method::Failed("this process is ending".into()));
        if let Method::Zygote(zygote) = zygote {
            zygote.end();
        }
    }
}
