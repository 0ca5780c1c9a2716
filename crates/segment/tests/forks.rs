//! `fork` without `exec`: the child's copies of handles and locks are dead weight, and the parent's are unharmed.
//!
//! Each scenario runs in a child process of its own with one thread, as forking a test harness full of threads proves
//! nothing; it forks once more.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ginnel_layout::atomic::Ordering;
use ginnel_layout::participant::state;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_segment::{Error, ForkMark, Forked, Place, Segment};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;
use support::{Actor, PATIENCE, SMALL, Scratch, Sweeps, descriptors, role};

#[test]
fn child() {
    let Some(role) = role() else { return };
    let place = Place::at(&role[1]);
    match role[0].as_str() {
        "useless" => useless(&open(&place)),
        "dropped" => dropped(&place),
        "again-memfd" => again(Segment::create(SMALL, Sweeps::boxed()).expect("created")),
        "again-named" => again(open(&place)),
        "many" => many(&place),
        other => panic!("no role {other}"),
    }
}

fn open(place: &Place) -> Segment {
    Segment::open_or_create(place, "s", SMALL, Sweeps::boxed(), PATIENCE).expect("attached")
}

/// Runs `in_child` in a forked child and waits for it; it must not panic.
fn forked(in_child: impl FnOnce()) {
    match support::fork() {
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).expect("our child"), WaitStatus::Exited(child, 0));
        }
        ForkResult::Child => {
            let fine = catch_unwind(AssertUnwindSafe(in_child)).is_ok();
            support::exit(if fine { 0 } else { 1 });
        }
    }
}

fn useless(segment: &Segment) {
    let mark = segment.fork_mark();
    forked(|| {
        assert_eq!((segment.check_fork(), mark.check()), (Err(Forked), Err(Forked)));
        assert!(matches!(segment.claim_pages(0, 1), Err(Error::Forked(_))));
        assert!(matches!(segment.map_mirrored(0, 1), Err(Error::Forked(_))));
        assert_eq!((segment.recover_dead(), segment.is_dead(ParticipantId::from_index(1))), (0, false));
        // A mark of the child's own does not make the parent's good again, nor the child's good in a grandchild.
        let own = ForkMark::here().expect("a mark");
        assert_eq!((own.check(), mark.check()), (Ok(()), Err(Forked)));
        forked(|| {
            let third = ForkMark::here().expect("a mark");
            assert_eq!((third.check(), own.check(), mark.check()), (Ok(()), Err(Forked), Err(Forked)));
        });
    });
    assert!(segment.check_fork().is_ok());
    segment.claim_pages(0, 1).expect("the parent is as it was");
}

fn dropped(place: &Place) {
    let segment = open(place);
    let other = open(place);
    let id = segment.me();
    let before = descriptors();
    match support::fork() {
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).expect("our child"), WaitStatus::Exited(child, 0));
        }
        ForkResult::Child => {
            drop(segment);
            drop(other);
            // Two mapped descriptors by the drops, two lock files by the handler.
            let fine = descriptors() == before - 4;
            support::exit(if fine { 0 } else { 1 });
        }
    }
    assert!(!other.is_dead(id), "the child's drop unlocked nothing");
    let row = segment.participant(id).expect("the row");
    assert_eq!(state::st(row.state.load(Ordering::Relaxed)), state::LIVE);
    assert_eq!(Segment::names(place).expect("listed"), ["s"], "nor did it remove the name");
}

fn again(segment: Segment) {
    let parent = segment.me();
    let mut inherited = Some(segment);
    forked(|| {
        let segment = inherited.take().expect("it was there");
        let own = segment.attach_again(Sweeps::boxed()).expect("attached anew");
        assert_eq!((own.uuid(), own.name()), (segment.uuid(), segment.name()));
        assert_ne!(own.me(), parent);
        // The new lock file may have the number of the parent's, which the handler closed: dropping the inherited
        // attachment must not close it.
        drop(segment);
        assert!(!own.is_dead(parent));
        let third = own.attach_again(Sweeps::boxed()).expect("and again");
        assert!(!third.is_dead(own.me()), "the lock file is still open");
        let first = own.claim_pages(1, 1).expect("it is a participant");
        assert!(own.page(first, 1).is_some());
        own.release_pages(1);
    });
    let segment = inherited.take().expect("the parent's copy");
    assert!(segment.check_fork().is_ok());
    assert_eq!((segment.used_pages(), segment.recover_dead()), (0, 0));
}

/// More lock files than the registry has slots would take too many descriptors; a few dozen show that slots come back.
fn many(place: &Place) {
    let before = descriptors();
    for _ in 0..400 {
        let pair = (open(place), open(place));
        assert_ne!(pair.0.me(), pair.1.me());
    }
    assert_eq!(descriptors(), before);
}

fn run(scenario: &str) {
    let scratch = Scratch::new();
    Actor::start(&format!("{scenario} {}", scratch.directory.path().display())).finish();
    assert!(scratch.listing().is_empty(), "{:?}", scratch.listing());
}

#[test]
fn inherited_handles_fail() {
    run("useless");
}

#[test]
fn dropping_in_the_child_changes_nothing_for_the_parent() {
    run("dropped");
}

#[test]
fn a_child_attaches_anew_to_a_memfd() {
    run("again-memfd");
}

#[test]
fn a_child_attaches_anew_to_a_named_segment() {
    run("again-named");
}

#[test]
fn attaching_and_leaving_leaks_nothing() {
    run("many");
}
