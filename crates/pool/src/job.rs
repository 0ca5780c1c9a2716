//! Maps: many items, cut into chunks, given to the workers, collected by the thread that asked.
//!
//! A *piece* is what one slot has of a job: a chunk, or a single item. No thread of its own is behind a job. Whoever wants
//! the results sends pieces while there is room for them, takes what is over, and sleeps in the hall of the pool when
//! nothing is. So nothing happens between two calls but what the workers were given.
//!
//! A chunk that did not come to its end leaves items that go again (`job/lost.rs`). They are sent before new ones; their
//! numbers lie between those of other pieces, so pieces are kept in the order of their first items, and results are put
//! in order by them.
//!
//! Single items are tasks like any other: they carry handles both ways, and the pool decides when their worker dies. Of a
//! chunk only the job knows how far it came, so here it is decided about that item.

mod chunk;
mod guide;
mod lost;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
#[cfg(feature = "futures")]
use std::task::Waker;

use ginnel_layout::pool::{CHUNK_MAX, INLINE_MAX, TRAY_UNIT};
use ginnel_object::bridge::crew::{Bits, Cancelled, Taken, Tray};
use ginnel_object::{Message, Result};
use ginnel_process::Task as Function;
use ginnel_sync::Deadline;

use crate::error::TaskError;
use crate::inner::{Inner, Patience, Request, taken_before};
use crate::outcome::{Lost, Outcome, Part};
#[cfg(feature = "futures")]
use crate::state::Want;
use crate::state::{Holder, Ticket};
use chunk::{Ahead, Feed, Work};
use guide::Guide;
use lost::{Again, Queue, Span};

pub(crate) use lost::Failure;

/// Waits as long as it takes.
const ALWAYS: Patience = Patience::Until(Deadline::NEVER);

/// So many items go alone after one that carried something, for those behind it probably do.
const ALONE: u32 = 64;

/// Results of a map that memory is set aside for at the beginning.
const RESERVED: usize = 1 << 24;

/// What one slot has of a job.
#[derive(Debug)]
struct Piece {
    span: Span,
    ticket: Ticket,
    is_chunk: bool,
}

/// What came of an attempt to send something.
#[derive(Debug)]
pub(crate) enum Fed {
    /// A piece is out.
    Sent,
    /// The items have ended.
    Dry,
    /// There is no room for arguments before something that is out was collected.
    Full,
    /// An item cannot be sent.
    Failed(Failure),
    /// The pool takes nothing.
    Refused(TaskError),
}

/// Items on their way through a pool. Dropped, it calls off what is out.
pub(crate) struct Job<'p, I: Iterator, R> {
    inner: &'p Arc<Inner>,
    work: Work<I>,
    feed: Feed<I>,
    again: Queue,
    guide: Guide,
    /// By their first items.
    out: VecDeque<Piece>,
    /// Whoever waits, waits for any piece.
    rings: bool,
    /// So many go alone.
    alone: u32,
    result: PhantomData<fn() -> R>,
}

impl<I: Iterator, R> fmt::Debug for Job<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("next", &self.feed.next).field("out", &self.out).finish_non_exhaustive()
    }
}

/// See `Pool::map` and `Pool::starmap`.
pub(crate) fn map<F, I, S>(inner: &Arc<Inner>, f: F, items: I) -> Result<Vec<F::Output>, TaskError>
where
    I: Iterator,
    F: Function<I::Item, S>,
{
    inner.crew.check_fork()?;
    let mut all = Vec::with_capacity(items.size_hint().0.min(RESERVED));
    let mut early: BTreeMap<u64, Vec<F::Output>> = BTreeMap::new();
    let mut job = Job::begin(inner, f, items, inner.plan.chunk)?;
    job.rings = true;
    loop {
        while job.out.len() < job.window() {
            match job.feed(u32::MAX) {
                Fed::Sent => {}
                Fed::Dry | Fed::Full => break,
                Fed::Failed(Failure { error, .. }) | Fed::Refused(error) => return Err(error),
            }
        }
        if job.out.is_empty() {
            return Ok(all);
        }
        let Some(at) = job.find() else {
            let half = job.out.len().div_ceil(2) as u64;
            job.wait_any(Deadline::NEVER, inner.crew.done().wrapping_add(half));
            continue;
        };
        let first = job.out[at].span.first;
        let failure = if first == all.len() as u64 {
            job.collect(at, &mut all)
        } else {
            let mut values = Vec::new();
            let failure = job.collect(at, &mut values);
            // One that ended before its first item: the others come again, under the same number.
            if !values.is_empty() {
                early.insert(first, values);
            }
            failure
        };
        if let Some(Failure { error, .. }) = failure {
            return Err(error);
        }
        while let Some(mut values) = early.remove(&(all.len() as u64)) {
            all.append(&mut values);
        }
    }
}

impl<'p, I: Iterator, R: Message> Job<'p, I, R> {
    /// Sends nothing yet. `given`: items of a chunk, if that is not to be found out.
    ///
    /// # Errors
    /// `Unsupported`: the code of the function lies in another library than the pool.
    pub(crate) fn begin<F, S>(inner: &'p Arc<Inner>, f: F, items: I, given: Option<usize>) -> Result<Self>
    where
        F: Function<I::Item, S, Output = R>,
    {
        Ok(Self {
            inner,
            work: Work::of::<F, S>(f)?,
            feed: Feed::new(items),
            again: Queue::new(),
            guide: Guide::new(inner.plan.workers as u32, given),
            out: VecDeque::new(),
            rings: false,
            alone: 0,
            result: PhantomData,
        })
    }

    /// Pieces that a map has out: two for each worker, so that none waits for us, and two on their way.
    fn window(&self) -> usize {
        let workers = self.inner.plan.workers;
        let wanted = if self.guide.is_blind() { 2 * workers } else { 2 * workers + 2 };
        wanted.min(self.inner.crew.shape().slots as usize / 2)
    }

    /// Items of the next chunk, if at most `most` may be in it.
    pub(crate) fn count(&self, most: u32) -> u32 {
        if self.alone > 0 { 1 } else { self.guide.count(self.feed.rest(), most) }
    }

    /// Chunks of so many items from now on.
    pub(crate) fn give(&mut self, items: usize) {
        self.guide.give(Some(items));
    }

    /// Whoever waits will wait for any piece, from now on.
    pub(crate) fn ring(&mut self) {
        self.rings = true;
    }

    /// Items that were sent. One more may have been taken from the iterator.
    pub(crate) fn items_sent(&self) -> u64 {
        self.feed.next
    }

    /// How many there are in all, if the iterator knows.
    #[cfg(feature = "progress")]
    pub(crate) fn total(&self) -> Option<u64> {
        self.feed.rest().map(|rest| self.feed.next + rest as u64)
    }

    /// Pieces that are out.
    pub(crate) fn pieces(&self) -> usize {
        self.out.len()
    }

    /// Is nothing out, and nothing left to send?
    pub(crate) fn is_over(&self) -> bool {
        self.out.is_empty() && self.again.is_empty() && self.feed.is_empty()
    }

    /// Does something wait to be sent that was sent before? It needs no further item.
    pub(crate) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Sends a piece, with at most `most` new items. Waits for a slot only.
    pub(crate) fn feed(&mut self, most: u32) -> Fed {
        if let Some((first, mut again)) = self.again.pop_first() {
            if self.alone > 0
                && again.items > 1
                && let Some(one) = again.split(self.work.skip)
            {
                self.again.insert(first + 1, again);
                return self.send_again(first, one);
            }
            return self.send_again(first, again);
        }
        let count = self.count(most);
        match std::mem::replace(&mut self.feed.ahead, Ahead::None) {
            Ahead::Failed(error) => {
                let failure = Failure { first: self.feed.next, items: 1, error: error.into() };
                self.feed.next += 1;
                return Fed::Failed(failure);
            }
            Ahead::Item(item) => return self.send_item(item),
            Ahead::Bytes(bytes) if count == 1 => return self.send_bytes(bytes),
            other => self.feed.ahead = other,
        }
        if count == 1 {
            return match self.feed.take() {
                Some(item) => self.send_item(item),
                None => Fed::Dry,
            };
        }
        self.send_chunk(count)
    }

    fn send_chunk(&mut self, count: u32) -> Fed {
        let tray = self.tray_for(self.guide.room_for_args(count));
        if tray.is_none() && !self.out.is_empty() {
            return Fed::Full;
        }
        let (mut items, mut bytes) = (0, 0);
        let (feed, fill) = (&mut self.feed, self.work.fill);
        let packed = self.inner.crew.pack(tray, |out| {
            items = fill(feed, out, count);
            bytes = out.len();
            Ok(())
        });
        let packed = match packed {
            Ok(packed) => packed,
            Err(error) => return Fed::Refused(error.into()),
        };
        if items == 0 {
            drop(packed);
            // What was kept ahead does not fit a chunk, whatever its size.
            return match std::mem::replace(&mut self.feed.ahead, Ahead::None) {
                Ahead::None => Fed::Dry,
                Ahead::Bytes(bytes) => self.send_bytes(bytes),
                other => {
                    self.feed.ahead = other;
                    self.feed(1)
                }
            };
        }
        self.guide.sent(items, bytes);
        let span = Span { first: self.feed.next, items };
        self.feed.next += u64::from(items);
        let sent = self.inner.submit(&self.request(items, 0), packed, ALWAYS);
        self.sent(span, sent)
    }

    /// What goes again.
    fn send_again(&mut self, first: u64, again: Again) -> Fed {
        let (items, size) = (again.items, again.bytes().len());
        let tray = if size > INLINE_MAX { self.tray_for(size) } else { None };
        if tray.is_none() && size > INLINE_MAX && !self.out.is_empty() {
            self.again.insert(first, again);
            return Fed::Full;
        }
        let request = self.request(items, again.attempt);
        let packed = self.inner.crew.pack(tray, |out| {
            out.extend(again.bytes());
            Ok(())
        });
        self.alone = self.alone.saturating_sub(u32::from(items == 1));
        let sent = packed
            .and_then(|packed| self.inner.settle(request.routine, packed, ALWAYS))
            .and_then(|packed| self.inner.submit(&request, packed, ALWAYS));
        self.sent(Span { first, items }, sent)
    }

    /// An item by itself, the next one.
    fn send_item(&mut self, item: I::Item) -> Fed {
        let size = self.inner.usual.of(self.work.one).args;
        let tray = if size > INLINE_MAX { self.tray_for(size) } else { None };
        if tray.is_none() && size > INLINE_MAX && size <= self.inner.trays.largest() && !self.out.is_empty() {
            self.feed.ahead = Ahead::Item(item);
            return Fed::Full;
        }
        let (write, mut bytes) = (self.work.write, 0);
        let packed = self.inner.crew.pack(tray, |out| {
            let written = write(&item, out);
            bytes = out.len();
            written
        });
        let span = Span { first: self.feed.next, items: 1 };
        self.feed.next += 1;
        match packed.and_then(|packed| self.inner.settle(self.work.one, packed, ALWAYS)) {
            Ok(packed) => {
                self.guide.sent(1, bytes);
                self.alone = if packed.carries() { ALONE } else { self.alone.saturating_sub(1) };
                let sent = self.inner.submit(&self.request(1, 0), packed, ALWAYS);
                self.sent(span, sent)
            }
            // Of this item; the pool itself answers at the submission.
            Err(error) => Fed::Failed(Failure { first: span.first, items: 1, error: error.into() }),
        }
    }

    fn send_bytes(&mut self, bytes: Vec<u8>) -> Fed {
        let first = self.feed.next;
        self.feed.next += 1;
        self.send_again(first, Again::of_one(bytes))
    }

    fn sent(&mut self, span: Span, sent: Result<Option<Ticket>>) -> Fed {
        match sent {
            Ok(Some(ticket)) => {
                let at = self.out.partition_point(|piece| piece.span.first < span.first);
                let is_chunk = span.items > 1;
                self.out.insert(at, Piece { span, ticket, is_chunk });
                Fed::Sent
            }
            Ok(None) => Fed::Refused(TaskError::closed()),
            Err(error) => Fed::Refused(error.into()),
        }
    }

    fn request(&self, items: u32, attempt: u32) -> Request {
        let (rings, is_timed) = (self.rings, true);
        if items == 1 {
            let room = self.inner.usual.of(self.work.one).result;
            return Request { room, rings, is_timed, attempt, ..Request::task(self.work.one) };
        }
        let room = self.guide.room_for_results(items).max(TRAY_UNIT as usize);
        let room = room.min(self.inner.trays.largest()).min(CHUNK_MAX);
        let holder = Holder::Chunk;
        Request { holder, items, room, rings, is_timed, attempt, ..Request::task(self.work.each) }
    }

    /// A buffer of about this size. Never waits where a piece is out that could be collected instead.
    fn tray_for(&self, bytes: usize) -> Option<Tray> {
        let bytes = bytes.max(TRAY_UNIT as usize).min(self.inner.trays.largest()).min(CHUNK_MAX);
        let patience = if self.out.is_empty() { ALWAYS } else { Patience::None };
        self.inner.tray(bytes, patience)
    }

    /// A piece that is over, the first of them.
    pub(crate) fn find(&self) -> Option<usize> {
        self.out.iter().position(|piece| self.inner.is_over(&piece.ticket)).or_else(|| {
            // What the pool has decided itself, and what was taken in our place, no lease tells.
            let state = self.inner.lock();
            self.out.iter().position(|piece| !state.is_out(&piece.ticket))
        })
    }

    /// Waits for any piece, if one is out. False: not before the deadline. `worth` as `Inner::hall` has it.
    pub(crate) fn wait_any(&self, deadline: Deadline, worth: u64) -> bool {
        let ready = |is_armed: bool| {
            let mut state = self.inner.lock();
            self.out.iter().find_map(|piece| {
                let Ticket { slot, generation, .. } = piece.ticket;
                if !state.is_out(&piece.ticket) || self.inner.is_over(&piece.ticket) {
                    return Some(());
                }
                let is_new = is_armed && !std::mem::replace(&mut state.entry_mut(slot).rings, true);
                (is_new && !self.inner.crew.want(slot, generation, Bits::HALL)).then_some(())
            })
        };
        self.inner.hall(deadline, worth, ready).is_some()
    }

    /// Waits for the first piece. False: not before the deadline.
    pub(crate) fn wait_first(&self, deadline: Deadline) -> bool {
        self.out.front().is_none_or(|piece| self.inner.wait(&piece.ticket, deadline, false))
    }

    /// Is there a slot that needs no waiting? Others may take it.
    #[cfg(feature = "futures")]
    pub(crate) fn has_slot(&self) -> bool {
        let mut state = self.inner.lock();
        if !state.has_free() {
            self.inner.reclaim(&mut state, self.inner.crew.shape().seats + 2);
        }
        state.has_free()
    }

    /// Sees to it that `waker` is called when a piece is over, any or the first. True: one is, or none is out; then
    /// nobody is called.
    #[cfg(feature = "futures")]
    pub(crate) fn wake(&self, first_only: bool, waker: &Waker) -> bool {
        let mut state = self.inner.lock();
        let mut before = Vec::new();
        let pieces = if first_only { self.out.len().min(1) } else { self.out.len() };
        let is_over = self.out.iter().take(pieces).any(|piece| {
            let Ticket { slot, generation, .. } = piece.ticket;
            if !state.is_out(&piece.ticket) {
                return true;
            }
            let want = &mut state.entry_mut(slot).want;
            if !matches!(want, Want::Wake(kept) if kept.will_wake(waker)) {
                before.push(std::mem::replace(want, Want::Wake(waker.clone())));
            }
            !self.inner.crew.want(slot, generation, Bits::DESK)
        });
        drop(state);
        // A waker may be what holds other tasks.
        drop(before);
        is_over || pieces == 0
    }

    /// The number of the first item of the piece at `at`.
    pub(crate) fn first_of(&self, at: usize) -> Option<u64> {
        self.out.get(at).map(|piece| piece.span.first)
    }

    /// Items that are done in the pieces that are out, as far as anybody knows.
    #[cfg(feature = "progress")]
    pub(crate) fn done_outside(&self) -> u64 {
        let state = self.inner.lock();
        let done = |piece: &Piece| match (state.is_out(&piece.ticket), piece.is_chunk) {
            (true, true) => u64::from(self.inner.crew.progress(piece.ticket.slot).items),
            (true, false) => u64::from(self.inner.is_over(&piece.ticket)),
            (false, _) => u64::from(piece.span.items),
        };
        self.out.iter().map(done).sum()
    }

    /// Takes a piece that is over: appends the values of its items, from the first one on, and tells of those behind them
    /// that have none. What neither is told of goes again.
    pub(crate) fn collect(&mut self, at: usize, values: &mut Vec<R>) -> Option<Failure> {
        let piece = self.out.get(at)?;
        let taken = self.inner.take(&piece.ticket, true);
        if taken.is_none() && self.inner.lock().is_out(&piece.ticket) {
            return None;
        }
        let outcome = taken.unwrap_or_else(|| Outcome::Failed(taken_before()));
        let Piece { span, is_chunk, .. } = self.out.remove(at)?;
        let failure = if is_chunk {
            self.collect_chunk(span, outcome, values)
        } else {
            self.collect_item(span, outcome, values)
        };
        self.inner.gave_back();
        failure
    }

    fn collect_chunk(&mut self, span: Span, outcome: Outcome, values: &mut Vec<R>) -> Option<Failure> {
        match outcome {
            Outcome::Failed(error) => span.fails(error),
            Outcome::Taken(taken) => self.collect_items(span, &taken, values).err(),
            Outcome::Early(part) => {
                let left = match self.collect_items(span, &part.results, values) {
                    Ok(left) => left,
                    Err(failure) => return Some(failure),
                };
                self.saw_early(&part);
                lost::ended_early(*part, left, self.work.skip, &mut self.again, values)
            }
            Outcome::Lost(lost) => {
                let left = match self.collect_items(span, &lost.part.results, values) {
                    Ok(left) => left,
                    Err(failure) => return Some(failure),
                };
                let retries = self.inner.plan.retries();
                self.count_retry(&lost, left, retries);
                lost::died(*lost, left, self.work.skip, retries, &mut self.again)
            }
        }
    }

    fn collect_item(&mut self, span: Span, outcome: Outcome, values: &mut Vec<R>) -> Option<Failure> {
        if let Outcome::Taken(taken) = &outcome {
            self.guide.came(1, taken.len(), taken.took_ns());
            self.alone = if taken.carries() { ALONE } else { self.alone };
        }
        match outcome.into_result() {
            Ok(value) => {
                values.push(value);
                None
            }
            Err(error) => span.fails(error),
        }
    }

    /// The values of those items that are done; the others.
    fn collect_items(&mut self, span: Span, taken: &Taken, values: &mut Vec<R>) -> Result<Span, Failure> {
        let progress = taken.progress();
        let done = progress.items.min(span.items);
        self.guide.came(done, progress.result as usize, taken.took_ns());
        match lost::decode(taken.items(), done, values) {
            Ok(()) => Ok(span.after(done)),
            Err((decoded, why)) => {
                let span = span.after(decoded);
                Err(Failure { first: span.first, items: span.items, error: TaskError::Decode(why) })
            }
        }
    }

    /// A value that was too large, or carries something, ended a chunk: the next ones get more room, or go alone.
    fn saw_early(&mut self, part: &Part) {
        self.guide.overflowed(part.results.len());
        self.alone = if part.results.carries() { ALONE } else { self.alone };
    }

    /// The pool does not know what becomes of an item of a chunk.
    fn count_retry(&self, lost: &Lost, left: Span, retries: u32) {
        let goes_again = matches!(lost.cause, TaskError::Died(_)) && lost.attempt < retries && left.items > 0;
        self.inner.lock().counters.retried += u64::from(goes_again);
    }
}

/// Calls off what is out: nobody will ask for it. What runs is asked to stop, and what comes of it is nobody's failure.
impl<I: Iterator, R> Drop for Job<'_, I, R> {
    fn drop(&mut self) {
        if self.out.is_empty() || self.inner.crew.check_fork().is_err() {
            return;
        }
        let mut state = self.inner.lock();
        for Piece { ticket, .. } in self.out.drain(..) {
            if !state.is_out(&ticket) {
                drop(state.take_kept(&ticket));
                continue;
            }
            state.entry_mut(ticket.slot).holder = Holder::Abandoned;
            if self.inner.crew.cancel(ticket.slot, ticket.generation) == Cancelled::TakenBack {
                self.inner.over(&mut state, ticket.slot, Outcome::Failed(TaskError::Cancelled));
            }
        }
    }
}
