//! Results one by one, and items only as far as the window lets them through.
//!
//! Nothing is sent and nothing collected but at the beginning and in `next`: an `Imap` that nobody asks does not run
//! ahead. In the order of the items, `next` waits for the oldest piece alone; unordered, for any of them.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;
#[cfg(feature = "futures")]
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "futures")]
use std::task::{Context, Poll};
use std::vec;

use ginnel_layout::pool::ITEMS_MAX;
use ginnel_object::Message;
use ginnel_process::Task as Function;
use ginnel_sync::Deadline;

#[cfg(feature = "progress")]
use crate::bar::Bar;
use crate::error::TaskError;
use crate::inner::Inner;
use crate::job::{Failure, Fed, Job};

/// Pieces that are out at a time, for each worker, where no window is given.
const DEPTH: usize = 4;

/// The results of a function for the items of an iterator, one by one; see [`Pool::imap`](crate::Pool::imap).
///
/// An item that has no result does not end it: the next ones come. After an error of the pool itself
/// ([`TaskError::Pool`] with what it broke of, or `Closed`) nothing comes any more. Dropped, it calls off what is out;
/// what runs is asked to stop ([`is_cancelled`](crate::is_cancelled)) and its failure is nobody's.
///
/// ```
/// use ginnel_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let words = ["one", "two", "three"];
/// let mut lengths = 0;
/// for length in pool.imap(|word: String| word.len(), words).unordered().chunk(2) {
///     lengths += length?;
/// }
/// assert_eq!(lengths, 11);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "what is not asked for is not run, but for the first items"]
pub struct Imap<'p, I: Iterator, R: Message> {
    /// `None`: the pool has refused the job as a whole.
    job: Option<Job<'p, I, R>>,
    /// What is being given out.
    now: Batch<R>,
    /// What was collected besides.
    ready: BTreeMap<u64, Batch<R>>,
    /// The number of the next result, and of how many were given out.
    given: u64,
    window: Option<u64>,
    /// Pieces under way at a time: without a window, and in any case.
    pieces: usize,
    slots: usize,
    workers: u64,
    is_unordered: bool,
    /// Why the pool takes no more; told after what it took.
    refused: Option<TaskError>,
    #[cfg(feature = "progress")]
    bar: Option<Bar>,
}

/// Results of items that follow one another.
struct Batch<R> {
    values: vec::IntoIter<R>,
    /// Items behind those that have none, and why.
    failed: u32,
    error: Option<TaskError>,
}

impl<R> Batch<R> {
    fn of(values: Vec<R>, failure: Option<Failure>) -> Self {
        let (failed, error) = failure.map_or((0, None), |failure| (failure.items, Some(failure.error)));
        Self { values: values.into_iter(), failed, error }
    }

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        if let Some(value) = self.values.next() {
            return Some(Ok(value));
        }
        self.failed = self.failed.checked_sub(1)?;
        let error = if self.failed == 0 { self.error.take() } else { self.error.clone() };
        error.map(Err)
    }

    fn is_empty(&self) -> bool {
        self.values.len() == 0 && self.failed == 0
    }
}

impl<I: Iterator, R: Message> fmt::Debug for Imap<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("given", &self.given).field("job", &self.job).finish_non_exhaustive()
    }
}

impl<'p, I: Iterator, R: Message> Imap<'p, I, R> {
    pub(crate) fn begin<F, S>(inner: &'p Arc<Inner>, f: F, items: I) -> Self
    where
        F: Function<I::Item, S, Output = R>,
    {
        let job = inner.crew.check_fork().and_then(|()| Job::begin(inner, f, items, None));
        let (job, refused) = match job {
            Ok(job) => (Some(job), None),
            Err(error) => (None, Some(error.into())),
        };
        let workers = inner.plan.workers;
        let slots = inner.crew.shape().slots as usize / 2;
        let mut imap = Self {
            job,
            now: Batch::of(Vec::new(), None),
            ready: BTreeMap::new(),
            given: 0,
            window: None,
            pieces: (DEPTH * workers).min(slots),
            slots,
            workers: workers as u64,
            is_unordered: false,
            refused,
            #[cfg(feature = "progress")]
            bar: None,
        };
        for _ in 0..workers {
            if !imap.feed(1) {
                break;
            }
        }
        imap
    }

    /// Gives results as they come, instead of in the order of the items.
    pub fn unordered(mut self) -> Self {
        self.is_unordered = true;
        if let Some(job) = &mut self.job {
            job.ring();
        }
        self
    }

    /// How many items may be on their way at a time, from their taking out of the iterator to their result's: at least
    /// 1. Without this, four chunks for each worker.
    ///
    /// One for each worker was sent when this was made; the window holds for what follows.
    pub fn window(mut self, items: usize) -> Self {
        self.window = Some(items.max(1) as u64);
        self
    }

    /// How many items travel together, 1 to 65,535. Without this, as many as take about 200 µs, found by timing the
    /// first ones.
    pub fn chunk(mut self, items: usize) -> Self {
        if let Some(job) = &mut self.job {
            job.give(items);
        }
        self
    }

    /// Draws a bar on standard error, if that is a terminal: how many items are done.
    #[cfg(feature = "progress")]
    pub fn progress(mut self) -> Self {
        let total = self.job.as_ref().and_then(Job::total);
        self.bar = Some(Bar::new(total));
        self
    }

    /// How many items the next piece may have. `None`: there is no room for one, or it is better to wait for more.
    fn room(&self, job: &Job<'p, I, R>) -> Option<u32> {
        let pieces = job.pieces() + self.ready.len();
        if job.has_again() {
            return Some(1);
        }
        let Some(window) = self.window else {
            return (pieces < self.pieces).then_some(ITEMS_MAX);
        };
        let left = window.saturating_sub(job.items_sent() - self.given);
        // Every worker is to have a piece, and another one on its way.
        let share = (window / (2 * self.workers)).clamp(1, u64::from(ITEMS_MAX));
        let wanted = u64::from(job.count(share as u32));
        let is_enough = left >= wanted || left > 0 && job.pieces() == 0;
        (is_enough && pieces < self.slots).then_some(left.min(wanted) as u32)
    }

    /// Sends what there is room for.
    fn fill(&mut self) {
        while let Some(job) = self.job.as_ref().filter(|_| self.refused.is_none()) {
            let Some(most) = self.room(job) else { return };
            if !self.feed(most) {
                return;
            }
        }
    }

    /// Sends one piece. False: that is all for now.
    fn feed(&mut self, most: u32) -> bool {
        let Some(job) = &mut self.job else { return false };
        match job.feed(most) {
            Fed::Sent => true,
            Fed::Dry | Fed::Full => false,
            Fed::Failed(failure) => {
                self.ready.insert(failure.first, Batch::of(Vec::new(), Some(failure)));
                true
            }
            Fed::Refused(error) => {
                self.refused = Some(error);
                false
            }
        }
    }

    /// What was collected and is next.
    fn given_out(&mut self) -> Option<Result<R, TaskError>> {
        loop {
            if let Some(came) = self.now.next() {
                self.given += 1;
                return Some(came);
            }
            let next = self.ready.first_entry()?;
            if !self.is_unordered && *next.key() != self.given {
                return None;
            }
            self.now = next.remove();
        }
    }

    /// Waits for a piece and collects it. False: none is out.
    fn gather(&mut self) -> bool {
        let Some(job) = self.job.as_ref().filter(|job| job.pieces() > 0) else { return false };
        let at = if self.is_unordered {
            match job.find() {
                Some(at) => at,
                None => {
                    self.wait(|job, until| job.wait_any(until, 0));
                    return true;
                }
            }
        } else {
            self.wait(Job::wait_first);
            0
        };
        let Some(job) = &mut self.job else { return false };
        let Some(first) = job.first_of(at) else { return true };
        let mut values = Vec::new();
        let failure = job.collect(at, &mut values);
        let batch = Batch::of(values, failure);
        if !batch.is_empty() {
            self.ready.insert(first, batch);
        }
        true
    }

    #[cfg(not(feature = "progress"))]
    fn wait(&self, wait: impl Fn(&Job<'p, I, R>, Deadline) -> bool) {
        if let Some(job) = &self.job {
            wait(job, Deadline::NEVER);
        }
    }

    /// While it waits, the bar follows what the workers say they have done.
    #[cfg(feature = "progress")]
    fn wait(&mut self, wait: impl Fn(&Job<'p, I, R>, Deadline) -> bool) {
        let Some(job) = &self.job else { return };
        let Some(bar) = &mut self.bar else {
            wait(job, Deadline::NEVER);
            return;
        };
        while !wait(job, Deadline::after(bar.interval())) {
            bar.set(self.given + job.done_outside());
        }
    }
}

impl<I: Iterator, R: Message> Iterator for Imap<'_, I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.fill();
            if let Some(came) = self.given_out() {
                #[cfg(feature = "progress")]
                if let Some(bar) = &mut self.bar {
                    bar.gave(self.given);
                }
                return Some(came);
            }
            if self.gather() || self.job.as_ref().is_some_and(|job| self.refused.is_none() && !job.is_over())
            {
                continue;
            }
            #[cfg(feature = "progress")]
            if let Some(bar) = self.bar.take() {
                bar.end(self.given);
            }
            return self.refused.take().map(|error| {
                // Nothing comes after this.
                self.job = None;
                Err(error)
            });
        }
    }
}

impl<I: Iterator, R: Message> FusedIterator for Imap<'_, I, R> {}

/// Nothing in it is pinned.
impl<I: Iterator, R: Message> Unpin for Imap<'_, I, R> {}

/// Gives what the iterator gives. It may block for a moment where none of its items is on its way and the queue of the
/// pool is full, or its room for large arguments.
#[cfg(feature = "futures")]
impl<I: Iterator, R: Message> futures_core::Stream for Imap<'_, I, R> {
    type Item = Result<R, TaskError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let is_full = this.job.as_ref().is_some_and(|job| job.pieces() > 0 && !job.has_slot());
            if !is_full {
                this.fill();
            }
            if let Some(came) = this.given_out() {
                return Poll::Ready(Some(came));
            }
            let first_only = !this.is_unordered;
            let is_pending = this.job.as_ref().is_some_and(|job| !job.wake(first_only, cx.waker()));
            if is_pending {
                return Poll::Pending;
            }
            // Something is over, or nothing is out: neither waits.
            if !this.gather() {
                return Poll::Ready(this.next());
            }
        }
    }
}
