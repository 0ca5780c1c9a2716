//! `kill -9`, and what the survivors make of it. Each `kill_` test is a row of a crash table.

mod support;

use ginnel_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use ginnel_layout::participant::state;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_segment::{Collected, Place, RunState, Segment, Sweep};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, alarm, pause};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use support::{Actor, PATIENCE, SMALL, Scratch, Sweeps, listen, role, say, until};

/// What the children do. Nothing in the parent, where there is no role.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let place = Place::at(&role[1]);
    let sweep: Box<dyn Sweep> = if role[0].contains("sweep") { Box::new(Stuck) } else { Sweeps::boxed() };
    let open = || Segment::open_or_create(&place, "s", SMALL, sweep, PATIENCE).expect("attached");
    match role[0].as_str() {
        "attach" | "attach-sweep" => stay(&open()),
        "claim" => {
            let segment = open();
            segment.claim_pages(u32::from(segment.me().index()), 3).expect("claimed");
            stay(&segment);
        }
        "recover-sweep" => {
            let segment = open();
            say("attached");
            let id = listen().and_then(|id| id.parse().ok()).expect("an id");
            segment.is_dead(ParticipantId::from_index(id));
            unreachable!("the sweep never ends");
        }
        "fork" => leave_a_child(&open(), || match fork_here() {
            Some(child) => child,
            None => wait_for_the_end(),
        }),
        "clone" => leave_a_child(&open(), || match support::clone_without_handlers() {
            0 => wait_for_the_end(),
            child => child,
        }),
        "received" => {
            let socket = UnixStream::connect(&role[1]).expect("the parent listens");
            let fd = ginnel_segment::fd_passing::receive(&socket).expect("received");
            stay(&Segment::attach(fd, Sweeps::boxed()).expect("attached"));
        }
        other => panic!("no role {other}"),
    }
}

/// Says its row and stays until the parent closes the pipe, or worse.
fn stay(segment: &Segment) {
    say(&segment.me().index().to_string());
    while listen().is_some() {}
}

fn leave_a_child(segment: &Segment, start: impl Fn() -> i32) {
    say(&start().to_string());
    stay(segment);
}

fn fork_here() -> Option<i32> {
    match support::fork() {
        ForkResult::Parent { child } => Some(child.as_raw()),
        ForkResult::Child => None,
    }
}

/// Only async-signal-safe calls. The alarm is for a test that fails before it kills us.
fn wait_for_the_end() -> ! {
    alarm::set(60);
    loop {
        pause();
    }
}

/// A child of a child, which nobody waits for; killed at the end, however the test ends.
struct Orphan(Pid);

impl Orphan {
    fn of(parent: &Actor) -> Self {
        Self(Pid::from_raw(parent.hear().parse().expect("a pid")))
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

/// A sweep that says where it is and never ends.
struct Stuck;

impl Sweep for Stuck {
    fn knows(&self, tag: u32) -> bool {
        tag == support::TAG
    }

    fn sweep(&self, _: &Segment, dead: ParticipantId) {
        say(&format!("sweeping {}", dead.index()));
        while listen().is_some() {}
    }
}

/// A survivor with a sweep that counts.
fn survivor(place: &Place) -> (Segment, Arc<AtomicU64>) {
    let sweeps = Sweeps::default();
    let count = sweeps.0.clone();
    let segment = Segment::open_or_create(place, "s", SMALL, Box::new(sweeps), PATIENCE).expect("attached");
    (segment, count)
}

fn start(what: &str, scratch: &Scratch) -> Actor {
    Actor::start(&format!("{what} {}", scratch.directory.path().display()))
}

fn hear_id(actor: &Actor) -> ParticipantId {
    ParticipantId::from_index(actor.hear().parse().expect("a row"))
}

fn state_of(segment: &Segment, id: ParticipantId) -> u64 {
    state::st(segment.participant(id).expect("a row").state.load(Ordering::Acquire))
}

#[test]
fn kill_attached() {
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    let victim = start("claim", &scratch);
    let id = hear_id(&victim);
    assert_ne!(id, segment.me());
    assert_eq!(segment.used_pages(), 3);
    assert!(!segment.is_dead(id));
    assert_eq!(segment.recover_dead(), 0);
    victim.kill();
    assert_eq!(segment.describe(id).expect("its row says so").state, RunState::Dead);
    assert!(segment.is_dead(id) && segment.is_dead(id));
    assert_eq!((sweeps.load(Ordering::Relaxed), segment.used_pages()), (1, 0));
    assert_eq!(segment.control().recoveries.load(Ordering::Relaxed), 1);
    assert_eq!(state_of(&segment, id), state::FREE);
    let next = start("attach", &scratch);
    assert_eq!(hear_id(&next), id, "the id returns");
    next.finish();
    drop(segment);
    assert!(scratch.listing().is_empty());
}

#[test]
fn every_dead_is_recovered_in_one_go_and_every_id_returns() {
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    for round in 1..4 {
        let victims: Vec<Actor> = (0..3).map(|_| start("claim", &scratch)).collect();
        for victim in &victims {
            hear_id(victim);
        }
        victims.into_iter().for_each(Actor::kill);
        assert_eq!(segment.recover_dead(), 3);
        assert_eq!((sweeps.load(Ordering::Relaxed), segment.used_pages()), (3 * round, 0));
    }
}

#[test]
fn a_memfd_participants_death_is_seen_without_any_name() {
    let scratch = Scratch::new();
    let segment = Segment::create(SMALL, Sweeps::boxed()).expect("created");
    let path = scratch.directory.path().join("socket");
    let listener = UnixListener::bind(&path).expect("bound");
    let victim = Actor::start(&format!("received {}", path.display()));
    let (socket, _) = listener.accept().expect("the child comes");
    ginnel_segment::fd_passing::send(&socket, segment.fd()).expect("sent");
    let id = hear_id(&victim);
    assert!(!segment.is_dead(id));
    victim.kill();
    assert!(segment.is_dead(id));
}

#[test]
fn who_leaves_in_order_is_not_swept() {
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    let leaver = start("attach", &scratch);
    let id = hear_id(&leaver);
    leaver.finish();
    assert!(segment.is_dead(id));
    assert_eq!((sweeps.load(Ordering::Relaxed), segment.recover_dead()), (0, 0));
}

#[test]
fn who_is_stopped_is_not_dead() {
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    let stopped = start("claim", &scratch);
    let id = hear_id(&stopped);
    let pid = Pid::from_raw(stopped.process.id() as i32);
    kill(pid, Signal::SIGSTOP).expect("it is our child");
    let state = |segment: &Segment| segment.describe(id).expect("attached").state;
    until("it stops", || state(&segment) == RunState::Stopped);
    assert!(!segment.is_dead(id));
    assert_eq!((sweeps.load(Ordering::Relaxed), segment.used_pages()), (0, 3));
    kill(pid, Signal::SIGCONT).expect("it is our child");
    until("it runs", || state(&segment) == RunState::Running);
    stopped.kill();
    assert!(segment.is_dead(id));
}

#[test]
fn kill_recoverer() {
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    let victim = start("claim", &scratch);
    let dead = hear_id(&victim);
    let mut recoverer = start("recover-sweep", &scratch);
    assert_eq!(recoverer.hear(), "attached");
    victim.kill();
    recoverer.tell(&dead.index().to_string());
    assert_eq!(recoverer.hear(), format!("sweeping {}", dead.index()));
    assert_eq!(state_of(&segment, dead), state::RECOVERING);
    assert!(!segment.is_dead(dead), "another is at it");
    recoverer.kill();
    assert!(segment.is_dead(dead));
    assert_eq!((sweeps.load(Ordering::Relaxed), segment.used_pages()), (1, 0));
    assert_eq!(segment.recover_dead(), 1, "the recoverer himself");
}

#[test]
fn kill_attach_sweep() {
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    let victim = start("claim", &scratch);
    let id = hear_id(&victim);
    victim.kill();
    let successor = start("attach-sweep", &scratch);
    assert_eq!(successor.hear(), format!("sweeping {}", id.index()));
    assert_eq!(state_of(&segment, id), state::RECOVERING);
    assert!(!segment.is_dead(id), "the successor is at it");
    successor.kill();
    assert_eq!(state_of(&segment, id), state::RECOVERING);
    let second = start("attach", &scratch);
    assert_eq!(hear_id(&second), id, "the next takes the row over and recovers it");
    assert_eq!(segment.used_pages(), 0);
    second.kill();
    assert!(segment.is_dead(id));
    assert_eq!(sweeps.load(Ordering::Relaxed), 1);
}

#[test]
fn kill_last_participant() {
    let scratch = Scratch::new();
    let last = start("claim", &scratch);
    hear_id(&last);
    assert_eq!(Segment::names(&scratch.place).expect("listed"), ["s"]);
    assert_eq!(Segment::collect(&scratch.place, "s").expect("looked"), Collected::InUse);
    last.kill();
    assert_eq!(scratch.listing().len(), 1, "nobody is left to remove it");
    // The next opener finds it as it was, recovers the dead, and removes the name when it leaves.
    let (segment, sweeps) = survivor(&scratch.place);
    assert_eq!((sweeps.load(Ordering::Relaxed), segment.used_pages()), (1, 0));
    drop(segment);
    assert!(scratch.listing().is_empty());
    // Or the tool removes it.
    let last = start("claim", &scratch);
    hear_id(&last);
    last.kill();
    assert_eq!(Segment::collect(&scratch.place, "s").expect("looked"), Collected::Removed);
    assert_eq!(Segment::collect(&scratch.place, "s").expect("looked"), Collected::Absent);
    assert!(scratch.listing().is_empty());
}

#[test]
fn a_forked_child_does_not_hide_its_parents_death() {
    let scratch = Scratch::new();
    let (segment, _) = survivor(&scratch.place);
    let victim = start("fork", &scratch);
    let child = Orphan::of(&victim);
    let id = hear_id(&victim);
    victim.kill();
    // It closes its copy before anything else, but it may not have run at all so far.
    until("the child has come to its handler", || segment.is_dead(id));
    assert!(kill(child.0, None).is_ok(), "the child lives");
}

#[test]
fn kill_with_leaked_locks() {
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    let victim = start("clone", &scratch);
    let child = Orphan::of(&victim);
    let id = hear_id(&victim);
    victim.kill();
    assert!(!segment.is_dead(id), "the child's copy keeps the lock: late, but never wrong");
    assert_eq!(segment.describe(id).expect("its row says so").state, RunState::Dead);
    assert_eq!(sweeps.load(Ordering::Relaxed), 0);
    drop(child);
    until("the child's copy is closed", || segment.is_dead(id));
    assert_eq!(sweeps.load(Ordering::Relaxed), 1);
    drop(segment);
    assert!(scratch.listing().is_empty());
}

#[test]
fn a_sweep_that_panics_leaves_the_dead_to_the_next() {
    struct Panics;
    impl Sweep for Panics {
        fn knows(&self, _: u32) -> bool {
            true
        }
        fn sweep(&self, _: &Segment, _: ParticipantId) {
            panic!("a sweep with a defect");
        }
    }
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    let victim = start("claim", &scratch);
    let id = hear_id(&victim);
    victim.kill();
    let attach = || Segment::open(&scratch.place, "s", Box::new(Panics), PATIENCE);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(attach)).is_err());
    assert_eq!(state_of(&segment, id), state::RECOVERING);
    assert!(segment.is_dead(id));
    assert_eq!(sweeps.load(Ordering::Relaxed), 1);
}

#[test]
fn threads_of_one_process_recover_each_death_once() {
    let scratch = Scratch::new();
    let (segment, sweeps) = survivor(&scratch.place);
    for round in 1..=5 {
        let victim = start("claim", &scratch);
        let id = hear_id(&victim);
        victim.kill();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| until("somebody recovers it", || segment.is_dead(id)));
            }
        });
        assert_eq!(sweeps.load(Ordering::Relaxed), round);
    }
}

/// A sweep during which another thread asks for the same participant.
struct Interrupted(Arc<[AtomicU32; 2]>);

impl Sweep for Interrupted {
    fn knows(&self, _: u32) -> bool {
        true
    }

    fn sweep(&self, segment: &Segment, dead: ParticipantId) {
        assert_eq!(self.0[0].swap(1, Ordering::AcqRel), 0, "two threads sweep for one participant");
        assert!(!segment.is_dead(dead), "nor does the same thread begin again");
        until("the other thread has asked", || self.0[1].load(Ordering::Acquire) == 1);
    }
}

#[test]
fn a_thread_does_not_wait_for_the_sweep_of_another() {
    let scratch = Scratch::new();
    let flags: Arc<[AtomicU32; 2]> = Arc::default();
    let [begun, asked] = &*flags;
    let sweep = Box::new(Interrupted(flags.clone()));
    let segment = Segment::open_or_create(&scratch.place, "s", SMALL, sweep, PATIENCE);
    let segment = segment.expect("attached");
    let victim = start("attach", &scratch);
    let id = hear_id(&victim);
    victim.kill();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| segment.is_dead(id));
        until("the first thread sweeps", || begun.load(Ordering::Acquire) == 1);
        assert!(!segment.is_dead(id));
        asked.store(1, Ordering::Release);
        assert!(first.join().expect("no panic"));
    });
    assert!(segment.is_dead(id));
}
