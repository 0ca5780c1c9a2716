//! Waiting for a commit: readers that have nothing to read, and writers whose slot another one is filling.
//!
//! All of them sleep on the line `news`, and every commit and every ABORT posts there, so nobody depends on slices
//! (but for readers of a [`View`](super::View), whom nobody sees). Edge E5 is that of [`super`]: it differs from
//! `Waiter::wait` in that the line has many sleepers. So whoever leaves lets the flag stand, because it may be
//! another's by now, and a waker wakes all: every reader wants the message.
//!
//! Two wakers at once: the slower one may clear a flag that was set after the faster one's wake. It raises `seq`
//! after that, and wakes again; whoever set that flag read `seq` before, so its sleep is refused or ended.

use core::cell::Cell;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_sync::park::{self, Arm, Stop};
use ginnel_sync::{Deadline, Mode, Waiter};

use super::{Broadcast, BroadcastError};

/// How often a wait that nobody sees looks again after a millisecond, before it sleeps for whole slices.
const NAPS: u32 = 64;

impl Broadcast {
    /// Tells the sleepers that a slot has changed.
    #[inline(always)]
    pub(super) fn post(&self) {
        if self.shape.mode == Mode::Spin {
            return;
        }
        fence(SeqCst); // E5
        if self.control().news.flag.load(Relaxed) != 0 {
            self.wake_sleepers();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_sleepers(&self) {
        // Before `seq` rises: a flag set after it belongs to somebody who sleeps on the new value.
        self.control().news.flag.store(0, Relaxed);
        self.wake_all();
    }

    /// Wakes everybody, announced or not.
    pub(super) fn wake_all(&self) {
        park::wake_all(&self.control().news);
    }

    /// Waits until `attempt` gives something else than `WouldBlock` or `Busy`. Without `announce` nothing is stored.
    /// At the end of each slice `ask` is told who is in the way, if somebody is.
    pub(super) fn wait_for<T>(
        &self,
        waiter: &mut Waiter,
        announce: Option<ParticipantId>,
        deadline: Deadline,
        mut ask: impl FnMut(Option<ParticipantId>),
        mut attempt: impl FnMut() -> Result<T, BroadcastError>,
    ) -> Result<T, BroadcastError> {
        let news = &self.control().news;
        let in_the_way = Cell::new(None);
        let mut announced = false;
        let ready = |_| {
            in_the_way.set(None);
            match attempt() {
                Err(BroadcastError::WouldBlock) => None,
                Err(BroadcastError::Busy(owner)) => {
                    in_the_way.set(Some(owner));
                    None
                }
                result => Some(result),
            }
        };
        let mut naps = 0;
        let arm = || {
            let Some(me) = announce else {
                // Not an acquire load: the memory may be read-only.
                let seq = news.seq.load(Relaxed);
                fence(Acquire); // E5
                naps += 1;
                return if naps <= NAPS { Arm::Nap(seq) } else { Arm::Sleep(seq) };
            };
            if !announced {
                announced = true;
                self.sleeper(me).fetch_or(bit(me), Relaxed);
            }
            let seq = news.seq.load(Acquire); // E5
            news.flag.store(1, Relaxed);
            fence(SeqCst); // E5
            Arm::Sleep(seq)
        };
        let waited = waiter.wait_seq(news, deadline, ready, arm, || ask(in_the_way.get()));
        if let Some(me) = announce.filter(|_| announced) {
            self.forget_sleeper(me);
        }
        match waited {
            Ok(result) => result,
            Err(Stop::TimedOut) => Err(BroadcastError::TimedOut { owner: in_the_way.get() }),
            Err(Stop::Interrupted) => Err(BroadcastError::Interrupted),
        }
    }

    /// Takes `who` from the sleepers. Of several threads of one participant the first to leave does so for all;
    /// the bits are for people.
    pub(super) fn forget_sleeper(&self, who: ParticipantId) {
        self.sleeper(who).fetch_and(!bit(who), Relaxed);
    }

    /// The word with the bit of `who`. Rows beyond the bitmap, which no table has, share it with others.
    fn sleeper(&self, who: ParticipantId) -> &ginnel_layout::atomic::AtomicU64 {
        &self.control().sleepers[usize::from(who.index() / 64) % 4]
    }
}

fn bit(who: ParticipantId) -> u64 {
    1 << (who.index() % 64)
}
