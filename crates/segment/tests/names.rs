//! Named segments: found, made by one of many, removed by the last, never two of a name.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Barrier;
use std::time::Duration;

use ginnel_layout::Liveness;
use ginnel_segment::{Collected, Error, Options, Place, Segment};
use nix::sys::stat::fstat;
use support::{Actor, PATIENCE, SMALL, Scratch, Sweeps, listen, role, say};

/// What the children do.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let place = Place::at(&role[1]);
    match role[0].as_str() {
        "race" => {
            say("ready");
            listen();
            let segment = open_or_create(&place);
            say(&format!("{:?} {}", segment.uuid(), segment.me().index()));
            listen();
        }
        "umask" => {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o777));
            let segment = open_or_create(&place);
            assert_eq!(mode_of(&place), 0o600);
            drop(segment);
        }
        "churn" => churn(&place, role[2].parse().expect("a number")),
        other => panic!("no role {other}"),
    }
}

fn open_or_create(place: &Place) -> Segment {
    Segment::open_or_create(place, "s", SMALL, Sweeps::boxed(), PATIENCE).expect("attached")
}

/// Attaches and leaves. While attached, the name leads to the segment we are attached to.
fn churn(place: &Place, rounds: u32) {
    for round in 0..rounds {
        let segment = open_or_create(place);
        assert_same_file(place, &segment);
        let entry = u32::from(segment.me().index());
        segment.claim_pages(entry, 1 + round % 4).expect("there is room for all");
        segment.release_pages(entry);
        assert_same_file(place, &segment);
    }
}

fn assert_same_file(place: &Place, segment: &Segment) {
    let file = std::fs::metadata(file_of(place)).expect("the name is there");
    let open = fstat(segment.fd()).expect("it is open");
    assert_eq!((file.dev(), file.ino()), (open.st_dev, open.st_ino), "split brain");
}

fn mode_of(place: &Place) -> u32 {
    std::fs::metadata(file_of(place)).expect("the name is there").permissions().mode() & 0o7777
}

fn file_of(place: &Place) -> std::path::PathBuf {
    place.path().join(format!("ginnel.{}.s", nix::unistd::geteuid()))
}

fn actors(role: &str, scratch: &Scratch, count: usize) -> Vec<Actor> {
    let role = role.replace("PLACE", &scratch.directory.path().display().to_string());
    (0..count).map(|_| Actor::start(&role)).collect()
}

#[test]
fn a_persistent_segment_outlives_who_has_it() {
    let scratch = Scratch::new();
    let options = Options { persistent: true, ..SMALL };
    let open = |options| {
        Segment::open_or_create(&scratch.place, "s", options, Sweeps::boxed(), PATIENCE).expect("attached")
    };
    let made = open(options);
    assert!(made.is_persistent());
    let first = made.claim_pages(1, 2).expect("room");
    let uuid = made.uuid();
    assert_eq!(Segment::collect(&scratch.place, "s").expect("looked"), Collected::InUse);
    drop(made);
    // What the maker chose counts, not what an opener says.
    let again = open(SMALL);
    assert!(again.is_persistent() && again.uuid() == uuid);
    assert_eq!((first, again.used_pages()), (0, 2));
    drop(again);
    assert_eq!(Segment::names(&scratch.place).expect("listed"), ["s"]);
    assert_eq!(Segment::collect(&scratch.place, "s").expect("looked"), Collected::Removed);
    assert!(Segment::names(&scratch.place).expect("listed").is_empty());
    let other = open(SMALL);
    assert!(!other.is_persistent() && other.uuid() != uuid);
    drop(other);
    assert!(Segment::names(&scratch.place).expect("listed").is_empty());
}

#[test]
fn what_one_makes_another_opens_and_the_last_removes() {
    let scratch = Scratch::new();
    let missing = Segment::open(&scratch.place, "s", Sweeps::boxed(), PATIENCE);
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    let made = open_or_create(&scratch.place);
    assert_eq!(made.name(), Some("s"));
    assert_eq!(mode_of(&scratch.place), 0o600);
    let other = Options { participants: 9, ..SMALL };
    let opened =
        Segment::open_or_create(&scratch.place, "s", other, Sweeps::boxed(), PATIENCE).expect("opened");
    assert_eq!((opened.uuid(), opened.geometry()), (made.uuid(), made.geometry()));
    let third = Segment::open(&scratch.place, "s", Sweeps::boxed(), Duration::ZERO).expect("opened");
    assert_eq!(Segment::names(&scratch.place).expect("listed"), ["s"]);
    drop(made);
    drop(third);
    assert_eq!(Segment::collect(&scratch.place, "s").expect("looked"), Collected::InUse);
    assert_same_file(&scratch.place, &opened);
    drop(opened);
    assert!(scratch.listing().is_empty());
}

#[test]
fn the_umask_does_not_matter() {
    // A umask is the whole process's, so this is for a process of its own.
    let scratch = Scratch::new();
    actors("umask PLACE", &scratch, 1).into_iter().for_each(Actor::finish);
    assert!(scratch.listing().is_empty());
}

#[test]
fn of_many_creators_one_makes_it() {
    for _ in 0..10 {
        let scratch = Scratch::new();
        let mut racers = actors("race PLACE", &scratch, 3);
        for racer in &racers {
            assert_eq!(racer.hear(), "ready");
        }
        for racer in &mut racers {
            racer.tell("go");
        }
        let said: Vec<String> = racers.iter().map(Actor::hear).collect();
        let (uuids, ids): (Vec<&str>, Vec<&str>) =
            said.iter().map(|said| said.rsplit_once(' ').expect("two things")).unzip();
        assert!(uuids.iter().all(|uuid| *uuid == uuids[0]), "{said:?}");
        assert!(ids.iter().all(|id| ids.iter().filter(|other| id == *other).count() == 1), "{said:?}");
        assert_eq!(scratch.listing().len(), 1);
        racers.into_iter().for_each(Actor::finish);
        assert!(scratch.listing().is_empty());
    }
}

#[test]
fn coming_and_going_at_once_never_splits_a_name() {
    let scratch = Scratch::new();
    let churners = actors("churn PLACE 300", &scratch, 4);
    churners.into_iter().for_each(Actor::finish);
    assert!(scratch.listing().is_empty());
}

#[test]
fn threads_come_and_go_as_processes_do() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| churn(&scratch.place, 100));
        }
    });
    assert!(scratch.listing().is_empty());
}

#[test]
fn the_last_two_may_leave_at_once() {
    let scratch = Scratch::new();
    for _ in 0..300 {
        let pair = [open_or_create(&scratch.place), open_or_create(&scratch.place)];
        let together = Barrier::new(2);
        std::thread::scope(|scope| {
            for segment in pair {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    drop(segment);
                });
            }
        });
        assert!(scratch.listing().is_empty(), "neither removed the name");
    }
}

#[test]
fn random_kills_leave_nothing_that_a_collector_does_not_remove() {
    let scratch = Scratch::new();
    let mut pause = 1_u64;
    for _ in 0..25 {
        let mut pair = actors("churn PLACE 1000000", &scratch, 2);
        pause = pause.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Somewhere in the middle of something: random, not synchronisation.
        std::thread::sleep(Duration::from_micros(5_000 + pause % 15_000));
        pair.pop().expect("two").kill();
        let segment = open_or_create(&scratch.place);
        assert_same_file(&scratch.place, &segment);
        pair.pop().expect("one").kill();
        segment.recover_dead();
        assert_eq!(segment.recover_dead(), 0);
        assert_eq!(segment.used_pages(), 0);
        let rows = (0..SMALL.participants).map(ginnel_layout::ParticipantId::from_index);
        assert!(rows.filter(|id| *id != segment.me()).all(|id| segment.is_dead(id)), "all ids are back");
        drop(segment);
        assert!(scratch.listing().is_empty());
    }
}

#[test]
fn unlink_takes_the_name_and_nothing_else() {
    let scratch = Scratch::new();
    let old = open_or_create(&scratch.place);
    assert!(Segment::unlink(&scratch.place, "s").expect("removed"));
    assert!(!Segment::unlink(&scratch.place, "s").expect("looked"));
    let new = open_or_create(&scratch.place);
    assert_ne!(old.uuid(), new.uuid());
    old.claim_pages(0, 1).expect("the old one still works");
    assert!(matches!(old.attach_again(Sweeps::boxed()), Err(Error::NotFound { .. })));
    // The old one's last leaver must not remove the new one's name.
    drop(old);
    assert_same_file(&scratch.place, &new);
    drop(new);
    assert!(scratch.listing().is_empty());
}

#[test]
fn only_good_names_of_this_user_are_listed() {
    let scratch = Scratch::new();
    let user = nix::unistd::geteuid();
    for file in
        [format!("ginnel.{user}.b"), format!("ginnel.{user}.a"), "other".into(), "ginnel.99999.c".into()]
    {
        std::fs::write(scratch.directory.path().join(file), "").expect("written");
    }
    std::fs::write(scratch.directory.path().join(format!("ginnel.{user}.x y")), "").expect("written");
    assert_eq!(Segment::names(&scratch.place).expect("listed"), ["a", "b"]);
}
