//! The keeper: a thread that looks after public descriptors, in processes that have some.
//!
//! Whoever sleeps in a call of ours asks at the end of each slice whether those live whom it waits for. A selector does
//! not. So the keeper does it, as often; it ends with the last descriptor. It never touches Python.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// How late a death is seen by one who polls.
const SLICE: Duration = Duration::from_millis(50);

/// What is looked after.
pub(super) trait Kept: Send + Sync {
    /// Asks, and makes the descriptor right.
    fn look(&self);
}

/// Those of one process. Another one has its own, so that nobody ever takes a lock that a fork has copied.
struct Round {
    pid: u32,
    all: Mutex<List>,
}

#[derive(Default)]
struct List {
    kept: Vec<Weak<dyn Kept>>,
    /// Is there a thread?
    runs: bool,
}

/// Taken with the GIL held only, and so free in every child.
static ROUND: Mutex<Option<Arc<Round>>> = Mutex::new(None);

/// Looks after `kept` as long as it is there. The caller holds the GIL, and is process `pid`.
pub(super) fn watch<K: Kept + 'static>(pid: u32, kept: Weak<K>) {
    let mut round = ROUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(copied) = round.take_if(|round| round.pid != pid) {
        // Its thread is not in this process, and may hold the lock of it.
        std::mem::forget(copied);
    }
    let round = round.get_or_insert_with(|| Arc::new(Round { pid, all: Mutex::default() }));
    let mut list = round.all.lock().unwrap_or_else(PoisonError::into_inner);
    list.kept.push(kept);
    if !list.runs {
        let ours = Arc::clone(round);
        let started = thread::Builder::new().name("ginnel-readiness".into()).spawn(move || keep(&ours));
        // Without a thread a death is seen by whoever calls next.
        list.runs = started.is_ok();
    }
}

fn keep(round: &Round) {
    loop {
        thread::sleep(SLICE);
        let mut list = round.all.lock().unwrap_or_else(PoisonError::into_inner);
        list.kept.retain(|kept| kept.strong_count() > 0);
        if list.kept.is_empty() {
            list.runs = false;
            return;
        }
        let all: Vec<Arc<dyn Kept>> = list.kept.iter().filter_map(Weak::upgrade).collect();
        drop(list);
        all.iter().for_each(|kept| kept.look());
    }
}
