//! Waiting and locking between two processes that map the same memory, one of which gets killed.
//!
//! The child is this test program again, told by an argument to run one test, the entry, and by its environment
//! which part to play. Nothing is inherited but the descriptor of the memory.
//!
//! Invariants
//! - I1 the memory is as long as `Shared`, is mapped at a place of the kernel's choice, and is never unmapped.
//! - I2 all of `Shared` is atomics, and zeroes are a valid value of it.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "mapping shared memory")]

mod support;

use std::env;
use std::ffi::CString;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, fence};
use ginnel_layout::wait::WaitLine;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::mutex::{lock, owner, recover, unlock};
use ginnel_sync::park::post;
use ginnel_sync::{Deadline, Holder, LockError, Mode, Stop, Waiter};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, ftruncate};
use support::Watchdog;

const PART: &str = "GINNEL_SYNC_TEST_PART";
const MEMORY: &str = "GINNEL_SYNC_TEST_MEMORY";
const ROUND_TRIPS: u32 = 500;

/// What lies in the shared memory: a line and the word committed on it each way, and a lock.
#[repr(C)]
#[derive(Debug)]
struct Shared {
    request_line: WaitLine,
    reply_line: WaitLine,
    request: AtomicU32,
    reply: AtomicU32,
    lock: AtomicU32,
}

impl Shared {
    /// Maps the memory for the rest of the process.
    fn map(memory: BorrowedFd<'_>) -> &'static Self {
        let length = NonZeroUsize::new(size_of::<Self>()).unwrap();
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: I1: a new mapping replaces nothing.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0) }.unwrap();
        // SAFETY: I1 and I2; a mapping begins on a page, so it is aligned.
        unsafe { address.cast::<Self>().as_ref() }
    }

    fn ask(&self, number: u32) {
        self.request.store(number, Release);
        post(&self.request_line);
    }

    fn answer(&self, number: u32) {
        self.reply.store(number, Release);
        post(&self.reply_line);
    }

    fn wait_for_request(&self, waiter: &mut Waiter, number: u32) {
        let ready = || (self.request.load(Acquire) == number).then_some(());
        waiter.wait(&self.request_line, Deadline::NEVER, ready, || {}).unwrap();
    }

    fn wait_for_reply(&self, waiter: &mut Waiter, number: u32, deadline: Deadline) -> Result<(), Stop> {
        let ready = || (self.reply.load(Acquire) == number).then_some(());
        waiter.wait(&self.reply_line, deadline, ready, || {})
    }

    fn wait_until_the_peer_sleeps(&self) {
        while self.reply_line.flag.load(Acquire) == 0 {
            std::thread::park_timeout(Duration::from_micros(50));
        }
    }
}

/// The other process. Killed if the test ends without it.
struct Peer {
    child: Child,
    _memory: OwnedFd,
}

impl Peer {
    fn start(part: &str) -> (Self, &'static Shared) {
        // The descriptor stays open in the child, as nothing is said about exec.
        let memory = memfd_create(&*CString::new("ginnel-sync-test").unwrap(), MFdFlags::empty()).unwrap();
        ftruncate(&memory, size_of::<Shared>() as i64).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "the_other_process", "--nocapture"])
            .env(PART, part)
            .env(MEMORY, memory.as_raw_fd().to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let shared = Shared::map(memory.as_fd());
        (Self { child, _memory: memory }, shared)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn was_killed(mut self) -> bool {
        self.child.wait().unwrap().signal() == Some(Signal::SIGKILL as i32)
    }

    fn went_well(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn die() -> ! {
    raise(Signal::SIGKILL).unwrap();
    process::abort();
}

fn mode_of(part: &str) -> Mode {
    match part {
        "adaptive" => Mode::Adaptive,
        "spin" => Mode::Spin,
        "sleep" => Mode::Sleep,
        other => panic!("no part is called {other}"),
    }
}

/// The entry of the child; an empty test in the parent.
#[test]
fn the_other_process() {
    let (Ok(part), Ok(memory)) = (env::var(PART), env::var(MEMORY)) else { return };
    let _watchdog = Watchdog::new("the other process");
    let memory = File::options().read(true).write(true).open(format!("/proc/self/fd/{memory}")).unwrap();
    let shared = Shared::map(memory.as_fd());
    match part.as_str() {
        "dies before the wake" => {
            shared.wait_until_the_peer_sleeps();
            shared.reply.store(1, Release);
            die();
        }
        "dies in the wake" => {
            shared.wait_until_the_peer_sleeps();
            shared.reply.store(1, Release);
            fence(SeqCst);
            shared.reply_line.flag.store(0, Relaxed);
            die();
        }
        "dies with the lock" => {
            let me = Holder::current(CHILD);
            let _left_behind = lock(&shared.lock, me, &mut Waiter::default(), Deadline::NEVER, &Immortal);
            shared.answer(1);
            shared.wait_for_request(&mut Waiter::default(), 1);
            die();
        }
        mode => {
            let mut waiter = Waiter::new(mode_of(mode));
            for number in 1..=ROUND_TRIPS {
                shared.wait_for_request(&mut waiter, number);
                shared.answer(number);
            }
        }
    }
}

#[test]
fn messages_go_to_and_fro() {
    let _watchdog = Watchdog::new("messages_go_to_and_fro");
    for mode in ["adaptive", "sleep", "spin"] {
        let (peer, shared) = Peer::start(mode);
        let mut waiter = Waiter::new(mode_of(mode));
        for number in 1..=ROUND_TRIPS {
            shared.ask(number);
            shared.wait_for_reply(&mut waiter, number, Deadline::NEVER).unwrap();
        }
        assert!(peer.went_well());
        if mode == "spin" {
            // A sleep begins with the flag and a wake with seq, so neither took place: no system call at all.
            for line in [&shared.request_line, &shared.reply_line] {
                assert_eq!((line.seq.load(Relaxed), line.flag.load(Relaxed)), (0, 0));
            }
        }
    }
}

#[test]
fn a_lost_wake_costs_no_more_than_the_slice() {
    let _watchdog = Watchdog::new("a_lost_wake_costs_no_more_than_the_slice");
    for part in ["dies before the wake", "dies in the wake"] {
        let (peer, shared) = Peer::start(part);
        shared.wait_for_reply(&mut Waiter::new(Mode::Sleep), 1, Deadline::NEVER).unwrap();
        assert_eq!(shared.reply_line.seq.load(Relaxed), 0, "nobody was woken");
        assert!(peer.was_killed());
    }
}

#[test]
fn a_stopped_peer_is_a_timeout_and_then_goes_on() {
    let _watchdog = Watchdog::new("a_stopped_peer_is_a_timeout_and_then_goes_on");
    for mode in ["adaptive", "sleep", "spin"] {
        let (peer, shared) = Peer::start(mode);
        let mut waiter = Waiter::new(mode_of(mode));
        shared.ask(1);
        shared.wait_for_reply(&mut waiter, 1, Deadline::NEVER).unwrap();
        kill(peer.pid(), Signal::SIGSTOP).unwrap();
        // A stop takes effect some time after the call, time enough for hundreds of answers.
        assert_eq!(
            waitpid(peer.pid(), Some(WaitPidFlag::WUNTRACED)),
            Ok(WaitStatus::Stopped(peer.pid(), Signal::SIGSTOP))
        );
        shared.ask(2);
        let soon = Deadline::after(Duration::from_millis(5));
        assert_eq!(shared.wait_for_reply(&mut waiter, 2, soon), Err(Stop::TimedOut));
        kill(peer.pid(), Signal::SIGCONT).unwrap();
        shared.wait_for_reply(&mut waiter, 2, Deadline::NEVER).unwrap();
        for number in 3..=ROUND_TRIPS {
            shared.ask(number);
            shared.wait_for_reply(&mut waiter, number, Deadline::NEVER).unwrap();
        }
        assert!(peer.went_well());
    }
}

const PARENT: ParticipantId = ParticipantId::from_index(0);
const CHILD: ParticipantId = ParticipantId::from_index(1);

struct Immortal;

impl Liveness for Immortal {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

/// Knows the child, and recovers the lock after its death.
struct Parent<'a> {
    peer: Mutex<Peer>,
    word: &'a AtomicU32,
}

impl Liveness for Parent<'_> {
    fn is_dead(&self, id: ParticipantId) -> bool {
        let dead = self.peer.lock().unwrap().child.try_wait().unwrap().is_some();
        if dead {
            recover(self.word, id);
        }
        dead
    }
}

#[test]
fn a_lock_outlives_its_holder() {
    let _watchdog = Watchdog::new("a_lock_outlives_its_holder");
    let (peer, shared) = Peer::start("dies with the lock");
    let (me, mut waiter) = (Holder::current(PARENT), Waiter::default());
    shared.wait_for_reply(&mut Waiter::default(), 1, Deadline::NEVER).unwrap();
    assert_eq!(owner(&shared.lock).map(Holder::participant), Some(CHILD));

    let parent = Parent { peer: Mutex::new(peer), word: &shared.lock };
    let soon = Deadline::after(Duration::from_millis(30));
    let got = lock(&shared.lock, me, &mut waiter, soon, &parent);
    assert_eq!(got.unwrap_err(), LockError::TimedOut { owner: Some(CHILD) }, "it lives");

    shared.ask(1);
    let locked = lock(&shared.lock, me, &mut waiter, Deadline::NEVER, &parent).unwrap();
    assert!(locked.told());
    unlock(&shared.lock, locked, true);
    assert_eq!(shared.lock.load(Relaxed), 0);
    assert!(parent.peer.into_inner().unwrap().was_killed());
}
