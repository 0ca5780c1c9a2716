//! Waiting on a line: spin while it pays, then sleep, and never sleep through a message.
//!
//! ```text
//! WaitLine   byte 0 seq | 4 flag | 8 stamp | 16 cpu        (ginnel_layout::wait; byte 20, role, is not ours)
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | seq | wakers and recovery, +1 | the sleeper, before it arms; the futex | E2 | rises by recovery |
//! | flag | the sleeper 1 (arm) and 0 (leave), wakers 0 | wakers, after each commit | the fences E1 | 1 for nobody: one futile wake |
//! | stamp, cpu | wakers that are about to wake | the woken | none: hints | stale; clamped by what the sleeper saw itself |
//!
//! A waker that forgets to look, and a sleeper that looks too early, lose a wake. The losing schedule, without
//! the fences (each side's store still sits in its store buffer when it loads):
//!
//! ```text
//!   sleeper                                   waker
//!   flag = 1           (in the buffer)
//!                                             data = new         (in the buffer)
//!   look: data is old
//!                                             flag is 0: nobody to wake
//!   sleeps on seq                             goes away                        nobody will ever wake it
//! ```
//! and the real one:
//! ```text
//!   sleeper                                   waker
//!   s = seq            Acquire, E2            data = new         Release, the caller's edge
//!   flag = 1
//!   fence(SeqCst)      E1  <--------------->  fence(SeqCst)      E1
//!   look: ready? leave                        flag is 0? go away
//!   futex: sleep if seq == s                  flag = 0; seq += 1 Release, E2; futex: wake one
//! ```
//! The fences are totally ordered. If the sleeper's is first, the waker sees `flag == 1`; if the waker's is
//! first, the sleeper sees the data. If the waker bumps `seq` between the sleeper's `s` and its sleep, the futex
//! refuses the sleep. The order `s` before `flag` before `look`, and on the other side `flag = 0` before
//! `seq += 1`, is essential: with `seq` first, a sleeper that has just armed again has its flag wiped and sleeps
//! on the new `seq` with nobody to see it.
//!
//! Invariants
//! - I1 at most one thread waits on a line at a time ([`Waiter::wait`] is for one consumer or one producer). That
//!   is why it may clear `flag` when it leaves. With several waiters the flag may belong to another one.
//! - I2 a sleeper that is asleep has either `flag == 1`, or a waker between `flag = 0` and its futex call, or a
//!   dead waker behind it; the last is what slices and [`wake_all`] are for.
//! - I3 nothing read from `stamp` and `cpu` decides anything but the length of the next spin, within bounds.
//!
//! Edges
//! - E1 fence of the sleeper (SeqCst) <-> fence of the waker (SeqCst): one of the two sees the other's store.
//! - E2 `seq += 1` (Release) -> `s = seq` (Acquire): `flag = 0` of that wake comes before the next `flag = 1`.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | sleeper, any time | flag 1 for nobody | the next waker: one futile system call |
//! | waker after the commit, before its fence | a sleeper with flag 1 | the next post, [`wake_all`] by recovery, else the slice |
//! | waker between flag = 0 and the futex call | a sleeper, flag 0 | [`wake_all`] by recovery, else the slice |
//! | recoverer before its wake | as before it | the next recoverer: [`wake_all`] is unconditional |
//!
//! Progress: `post` is wait-free and makes a system call only if somebody sleeps. A wait blocks; every sleep is a
//! slice of 20 to 50 ms, so a lost wake costs a slice and a dead peer is probed for. Source: the handshake is the
//! eventcount with one waiter; when to spin was measured for this project (docs/decisions/0005).

use std::fmt;
use std::time::Duration;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, fence, spin_loop};
use ginnel_layout::wait::{Bells, WaitLine};

use crate::bell;
use crate::clock;
use crate::credit::{Credit, PPM, Terms, Wake};
use crate::deadline::Deadline;
use crate::futex::{self, WaitEnd};
use crate::machine;
use crate::pace::Pace;

/// The first slice of a sleep. Never below a tick of the timer: shorter ones cost two or three times as much a
/// sleep, because the timer is programmed anew.
pub const SLICE_FIRST: Duration = Duration::from_millis(20);
/// The longest slice where the one we wait for is known to be at work (a lock).
const SLICE_OWNED: Duration = Duration::from_millis(20);
/// The longest slice on a line.
pub(crate) const SLICE_LONGEST: Duration = Duration::from_millis(50);

/// The longest sleep of one whom nobody is bound to wake.
const NAP: Duration = Duration::from_millis(1);

const SLICE_FIRST_NS: u64 = SLICE_FIRST.as_nanos() as u64;

/// Turns of the spin loop between two looks at the clock, for those who spin on credit.
const TURNS_ON_CREDIT: u32 = 8;
/// The same for those who never sleep: about ten microseconds. One turn under loom, where each is a step.
const TURNS_FOR_EVER: u32 = if cfg!(loom) { 1 } else { 256 };

/// How a waiter waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Spins while that pays, then sleeps.
    #[default]
    Adaptive,
    /// Spins and never sleeps: nobody needs to wake it. For those who own their cores; with more spinners than
    /// cores each turn takes a scheduler's slice.
    Spin,
    /// Sleeps at once.
    Sleep,
}

/// The two knobs of [`Mode::Adaptive`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Share of the time asleep that may be spun in vain, 0.0 to 1.0. 0: never spin.
    pub spin_budget: f32,
    /// Longest spin. At most four seconds.
    pub max_spin: Duration,
}

impl Default for Policy {
    /// Two hundredths, and 100 microseconds.
    fn default() -> Self {
        Self { spin_budget: 0.02, max_spin: Duration::from_micros(100) }
    }
}

/// Why a wait ended without what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The deadline came.
    TimedOut,
    /// A signal handler ran in this thread while it slept. Wait again, or attend to the signal.
    Interrupted,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the deadline came",
            Self::Interrupted => "a signal interrupted the wait",
        })
    }
}

impl std::error::Error for Stop {}

/// What became of the attempt to announce a sleeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// Something changed meanwhile: look again.
    Again,
    /// Announced: sleep while the word has this value.
    Sleep(u32),
    /// Not announced, because a living participant is in the middle of what is waited for, and is about to change
    /// it: sleep while the word has this value, and not longer than a millisecond.
    Nap(u32),
}

/// What a thread knows about its waits at one place: one for each direction of a handle, or for each lock.
///
/// Lies in private memory, takes no heap, may move between threads and be used after a fork. Making one costs
/// nothing; the first wait that has to wait measures the machine, once a process, in under 100 microseconds.
#[derive(Debug, Clone)]
pub struct Waiter {
    mode: Mode,
    policy: Policy,
    /// None until the first wait that could spin.
    account: Option<Credit>,
    /// Slept without an answer and without a probe of the peer, over several waits. Short timeouts and frequent
    /// signals would otherwise keep every slice from ending, and a dead peer from being noticed.
    vain_ns: u64,
    pace: Pace,
}

impl Default for Waiter {
    fn default() -> Self {
        Self::new(Mode::Adaptive)
    }
}

impl Waiter {
    /// A waiter with the default knobs.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self::with(mode, Policy::default())
    }

    /// A waiter with other knobs. They matter for [`Mode::Adaptive`] only.
    #[must_use]
    pub fn with(mode: Mode, policy: Policy) -> Self {
        Self { mode, policy, account: None, vain_ns: 0, pace: Pace::default() }
    }

    /// For a consumer that found nothing at `position` and is about to wait: runs `gather`, a bounded spin for several
    /// messages instead of one that says whether they came. Not for those who sleep at once, not if the last wait was
    /// many messages ago, and seldom where it was in vain lately.
    #[inline]
    pub fn gather(&mut self, position: u64, gather: impl FnOnce() -> bool) {
        if self.mode != Mode::Sleep && self.pace.may_try(position) {
            self.pace.learn(gather());
        }
    }

    /// Waits until `ready` gives something.
    ///
    /// `ready` is the attempt itself (take a message, find room); it is called often and must not block. At the
    /// end of each slice (20 ms, then 40, then 50; also added up over short waits) `at_slice_end` is called:
    /// the place to ask whether the peer lives. If it finds that the peer is gone, the next `ready` says so.
    ///
    /// One thread at a time on a line: this clears the flag when it leaves. The peer calls [`post`] after each
    /// commit. In [`Mode::Spin`] the line is not touched, and the peer need not post.
    ///
    /// # Errors
    /// [`Stop::TimedOut`] at the deadline, [`Stop::Interrupted`] after a signal; `ready` was false after that.
    #[inline]
    pub fn wait<T>(
        &mut self,
        line: &WaitLine,
        deadline: Deadline,
        mut ready: impl FnMut() -> Option<T>,
        mut at_slice_end: impl FnMut(),
    ) -> Result<T, Stop> {
        self.wait_at(&mut Place::Line(line), deadline, &mut |_| ready(), &mut at_slice_end)
    }

    /// Waits until `ready` gives something, asleep on a word of the caller's: a lock, for instance.
    ///
    /// `arm` makes whatever wakers look at say that somebody sleeps, see [`Arm`]. After it, `ready` is asked once
    /// more before the sleep. It is told whether this wait has slept: then it may have used up a wake that others
    /// need, also if the wait then fails. Slices are 20 ms.
    ///
    /// # Errors
    /// As [`Waiter::wait`].
    #[inline]
    pub fn wait_word<T>(
        &mut self,
        word: &AtomicU32,
        deadline: Deadline,
        mut ready: impl FnMut(bool) -> Option<T>,
        mut arm: impl FnMut() -> Arm,
        mut at_slice_end: impl FnMut(),
    ) -> Result<T, Stop> {
        self.wait_at(&mut Place::Word(word, &mut arm), deadline, &mut ready, &mut at_slice_end)
    }

    /// [`Waiter::wait_word`] on the `seq` of a line whose `flag` is not used, with the slices of a line. Any number
    /// of threads may wait there; wakers use [`wake_one`] or [`wake_all`].
    ///
    /// # Errors
    /// As [`Waiter::wait`].
    #[inline]
    pub fn wait_seq<T>(
        &mut self,
        line: &WaitLine,
        deadline: Deadline,
        mut ready: impl FnMut(bool) -> Option<T>,
        mut arm: impl FnMut() -> Arm,
        mut at_slice_end: impl FnMut(),
    ) -> Result<T, Stop> {
        self.wait_at(&mut Place::Seq(line, &mut arm), deadline, &mut ready, &mut at_slice_end)
    }

    #[inline]
    fn wait_at<T>(
        &mut self,
        place: &mut Place<'_>,
        deadline: Deadline,
        ready: &mut impl FnMut(bool) -> Option<T>,
        at_slice_end: &mut impl FnMut(),
    ) -> Result<T, Stop> {
        if let Some(value) = ready(false) {
            return Ok(value);
        }
        match self.mode {
            Mode::Spin => return self.spin_for_ever(deadline, ready, at_slice_end),
            Mode::Adaptive => {
                if let Some(value) = self.spin_on_credit(deadline, ready) {
                    return Ok(value);
                }
            }
            Mode::Sleep => {}
        }
        let mut value = None;
        let mut look = |slept: bool| {
            value = ready(slept);
            value.is_some()
        };
        self.sleep(place, deadline, &mut look, at_slice_end)?;
        // `sleep` ends well only after `look` did, which left a value; the other arm cannot be reached.
        value.ok_or(Stop::Interrupted)
    }

    /// The spin of those who may sleep afterwards. None: not answered, or not allowed.
    #[inline]
    fn spin_on_credit<T>(
        &mut self,
        deadline: Deadline,
        ready: &mut impl FnMut(bool) -> Option<T>,
    ) -> Option<T> {
        let policy = self.policy;
        let account = self.account.get_or_insert_with(|| open_account(policy));
        if !account.may_spin() {
            return None;
        }
        for _ in 0..account.free_turns() {
            spin_loop();
            if let Some(value) = ready(false) {
                account.hit_at_once();
                return Some(value);
            }
        }
        let start = clock::now_ns();
        let limit = account.spin_ns().min(deadline.ns().saturating_sub(start));
        loop {
            for _ in 0..TURNS_ON_CREDIT {
                spin_loop();
                if let Some(value) = ready(false) {
                    account.hit(clock::now_ns().saturating_sub(start));
                    return Some(value);
                }
            }
            let spun = clock::now_ns().saturating_sub(start);
            if spun >= limit {
                let last = ready(false);
                if last.is_some() {
                    account.hit(spun)
                } else {
                    account.miss(spun)
                }
                return last;
            }
        }
    }

    /// The whole wait of those who never sleep.
    #[inline]
    fn spin_for_ever<T>(
        &mut self,
        deadline: Deadline,
        ready: &mut impl FnMut(bool) -> Option<T>,
        at_slice_end: &mut impl FnMut(),
    ) -> Result<T, Stop> {
        let mut probed = None;
        loop {
            for _ in 0..TURNS_FOR_EVER {
                spin_loop();
                if let Some(value) = ready(false) {
                    return Ok(value);
                }
            }
            let now = clock::now_ns();
            let since = now.saturating_sub(*probed.get_or_insert(now));
            if since.saturating_add(self.vain_ns) >= SLICE_FIRST_NS {
                self.vain_ns = 0;
                at_slice_end();
                probed = Some(clock::now_ns());
            } else if deadline.passed() {
                self.vain_ns += since;
                return ready(false).ok_or(Stop::TimedOut);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn sleep(
        &mut self,
        place: &mut Place<'_>,
        deadline: Deadline,
        look: &mut dyn FnMut(bool) -> bool,
        at_slice_end: &mut dyn FnMut(),
    ) -> Result<(), Stop> {
        if deadline.passed() {
            return Err(Stop::TimedOut);
        }
        let start = clock::now_ns();
        let mut slices = Slices { probed: start, slept: false, woken: false };
        let mut outcome = slices.run(place, deadline, look, at_slice_end);
        place.disarm();
        let now = clock::now_ns();
        self.settle(place, &slices, outcome, start, now);
        if outcome.is_ok() {
            self.vain_ns = 0;
        } else {
            self.vain_ns = self.vain_ns.saturating_add(now.saturating_sub(slices.probed));
            if self.vain_ns >= SLICE_FIRST_NS {
                self.vain_ns = 0;
                at_slice_end();
                if look(slices.slept) {
                    outcome = Ok(());
                }
            }
        }
        outcome
    }

    /// Books a sleep.
    fn settle(
        &mut self,
        place: &Place<'_>,
        slices: &Slices,
        outcome: Result<(), Stop>,
        start: u64,
        now: u64,
    ) {
        let Some(account) = &mut self.account else { return };
        let asleep = now.saturating_sub(start);
        match place {
            _ if !slices.woken && outcome.is_ok() => account.hit_while_arming(asleep),
            Place::Line(line) | Place::Seq(line, _) if slices.woken => {
                let wake = wake_seen(line, now);
                account.slept(asleep, Some(wake));
                machine::remember_wake(wake.latency_ns.min(asleep));
            }
            Place::Word(..) if slices.woken => {
                // A lock's word has no room for a stamp, so the last wake on any line of this process stands in.
                account.slept(asleep, None);
                if let Some(ns) = machine::last_wake_ns() {
                    account.sample(u64::from(ns));
                }
            }
            _ => account.slept(asleep, None),
        }
    }
}

/// Where a wait sleeps.
enum Place<'a> {
    Line(&'a WaitLine),
    /// A line whose wakers look elsewhere, and how to make them see that somebody sleeps.
    Seq(&'a WaitLine, &'a mut dyn FnMut() -> Arm),
    /// The same on a word of the caller's.
    Word(&'a AtomicU32, &'a mut dyn FnMut() -> Arm),
}

impl Place<'_> {
    fn word(&self) -> &AtomicU32 {
        match self {
            Self::Line(line) | Self::Seq(line, _) => &line.seq,
            Self::Word(word, _) => word,
        }
    }

    /// Announces a sleeper.
    fn arm(&mut self) -> Arm {
        match self {
            Self::Line(line) => {
                let seq = line.seq.load(Acquire); // E2
                line.flag.store(1, Relaxed);
                fence(SeqCst); // E1
                Arm::Sleep(seq)
            }
            Self::Seq(_, arm) | Self::Word(_, arm) => arm(),
        }
    }

    /// Nobody sleeps here any more (I1), so that the peer's next posts stay free of system calls.
    fn disarm(&self) {
        if let Self::Line(line) = self
            && line.flag.load(Relaxed) != 0
        {
            line.flag.store(0, Relaxed);
        }
    }

    fn longest_slice(&self) -> Duration {
        match self {
            Self::Line(_) | Self::Seq(..) => SLICE_LONGEST,
            Self::Word(..) => SLICE_OWNED,
        }
    }
}

/// One sleep of possibly many slices.
struct Slices {
    /// When the peer was last known to be looked after: the start, or the last end of a slice.
    probed: u64,
    /// Was in the kernel's queue, and may have used up a wake.
    slept: bool,
    /// Was woken.
    woken: bool,
}

impl Slices {
    fn run(
        &mut self,
        place: &mut Place<'_>,
        deadline: Deadline,
        look: &mut dyn FnMut(bool) -> bool,
        at_slice_end: &mut dyn FnMut(),
    ) -> Result<(), Stop> {
        let mut slice = SLICE_FIRST;
        let mut slice_end = Deadline::after(slice);
        loop {
            let (value, until) = match place.arm() {
                Arm::Again => (None, slice_end),
                Arm::Sleep(value) => (Some(value), slice_end),
                Arm::Nap(value) => (Some(value), slice_end.min(nap_end())),
            };
            let end = match value {
                Some(_) if look(self.slept) => return Ok(()),
                Some(value) => futex::wait(place.word(), value, deadline.min(until)),
                None => WaitEnd::Changed,
            };
            self.slept |= end != WaitEnd::Changed;
            self.woken |= end == WaitEnd::Woken;
            if look(self.slept) {
                return Ok(());
            }
            if end == WaitEnd::Interrupted {
                return Err(Stop::Interrupted);
            }
            if deadline.passed() {
                return Err(Stop::TimedOut);
            }
            // By the clock and not by the kernel's word: wakes that bring nothing must not put off the probe.
            if slice_end.passed() {
                at_slice_end();
                self.probed = clock::now_ns();
                slice = (slice * 2).min(place.longest_slice());
                slice_end = Deadline::after(slice);
            }
        }
    }
}

/// Time stands still in a model, so there a nap ends at once, after the others had a turn.
pub(crate) fn nap_end() -> Deadline {
    if cfg!(loom) {
        spin_loop();
        Deadline::at_ns(0)
    } else {
        Deadline::after(NAP)
    }
}

fn open_account(policy: Policy) -> Credit {
    // A budget that is no number is none.
    let budget = if policy.spin_budget > 0.0 { f64::from(policy.spin_budget.min(1.0)) } else { 0.0 };
    let budget_ppm = if machine::may_spin() { (budget * f64::from(PPM)) as u32 } else { 0 };
    let syscall = machine::syscall_ns();
    Credit::new(Terms {
        budget_ppm,
        max_spin_ns: policy.max_spin.as_nanos().min(4_000_000_000) as u32,
        floor_ns: 4 * syscall,
        pause_ns: machine::pause_ns(),
        wake_ns: machine::last_wake_ns().unwrap_or(10 * syscall),
    })
}

#[cfg(not(loom))]
fn wake_seen(line: &WaitLine, now: u64) -> Wake {
    let latency_ns = now.saturating_sub(line.stamp.load(Relaxed));
    Wake { latency_ns, other_core: line.cpu.load(Relaxed) != clock::cpu() }
}

#[cfg(loom)]
fn wake_seen(_: &WaitLine, _: u64) -> Wake {
    Wake { latency_ns: 0, other_core: false }
}

/// Wakes the waiter of `line`, if it sleeps. Call it after every commit (once after a batch) that may end a wait.
///
/// A fence and a load while nobody sleeps; otherwise a system call. Wait-free. A caller killed before the wake
/// leaves the sleeper to [`wake_all`] by recovery, or to the end of its slice.
#[inline(always)]
pub fn post(line: &WaitLine) {
    post_when(line, || true);
}

/// [`post`], for a commit that may not be worth a wake yet: `worth` is asked only when somebody sleeps. If it says
/// no, the sleeper stays announced, and a later post (or the end of its slice) wakes it.
///
/// A sleeper that waits for much and gets little at a time is then woken once instead of each time.
#[inline(always)]
pub fn post_when(line: &WaitLine, worth: impl FnOnce() -> bool) {
    fence(SeqCst); // E1
    if line.flag.load(Relaxed) != 0 && worth() {
        wake(line);
    }
}

/// [`post_when`] without the fence, for one that will post again: at its next commit like this one, or with
/// [`post_when`] before it waits itself.
///
/// A sleeper that arms at this very moment may be missed, because this load may overtake the commit. The next post
/// wakes it, or the end of its slice. Only for sleepers that can bear that.
#[inline(always)]
pub fn post_soon(line: &WaitLine, worth: impl FnOnce() -> bool) {
    if line.flag.load(Relaxed) != 0 && worth() {
        wake(line);
    }
}

#[cold]
#[inline(never)]
fn wake(line: &WaitLine) {
    line.flag.store(0, Relaxed);
    wake_one(line);
}

#[cfg(not(loom))]
fn leave_hints(line: &WaitLine) {
    line.cpu.store(clock::cpu(), Relaxed);
    line.stamp.store(clock::now_ns(), Relaxed);
}

#[cfg(loom)]
fn leave_hints(_: &WaitLine) {}

/// Wakes one of those who sleep in [`Waiter::wait_seq`]. Always a system call; for wakers that know that it is owed.
#[cold]
#[inline(never)]
pub fn wake_one(line: &WaitLine) {
    leave_hints(line);
    let old = line.seq.fetch_add(1, Release); // E2
    to_one(&line.seq, &line.bells, u64::from(old));
}

/// Hands a wake on to another waiter of `line`, for one who has slept and does not need it. The sequence stays as it
/// is: whoever arms at this moment has looked, or will look, at what the line is about. Always a system call.
#[cold]
#[inline(never)]
pub fn hand_on(line: &WaitLine) {
    to_one(&line.seq, &line.bells, u64::from(line.seq.load(Relaxed)));
}

/// One wake for one waiter: a sleeper of `word` at even turns, one who polls at odd ones, and the other kind where
/// there is none of the one. Without turns, sleepers that always come back would starve those who poll. True: there
/// was one.
pub(crate) fn to_one(word: &AtomicU32, bells: &Bells, turn: u64) -> bool {
    let pollers_first = !turn.is_multiple_of(2);
    (pollers_first && bell::ring_one(bells))
        || futex::wake(word, 1) == 1
        || (!pollers_first && bell::ring_one(bells))
}

/// Wakes whoever sleeps on `line`, announced or not. For recovery (a waker may have died between clearing the
/// flag and its system call) and for closing; always a system call. May be repeated at will.
pub fn wake_all(line: &WaitLine) {
    leave_hints(line);
    line.seq.fetch_add(1, Release); // E2
    futex::wake(&line.seq, u32::MAX);
    bell::ring_all(&line.bells);
}
