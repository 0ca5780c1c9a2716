//! One process: making a segment, its pages, its mirrors, its handing over.

mod support;

use std::os::unix::net::UnixStream;

use ginnel_layout::Liveness;
use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering;
use ginnel_layout::entry::TICKETS;
use ginnel_layout::participant::state;
use ginnel_segment::{Error, Options, RunState, Segment, fd_passing};
use support::{SMALL, Sweeps};

fn small() -> Segment {
    Segment::create(SMALL, Sweeps::boxed()).expect("created")
}

#[test]
fn a_new_segment_has_its_maker_and_nothing_else() {
    let segment = small();
    assert_eq!(segment.me(), ParticipantId::from_index(0));
    assert_eq!((segment.name(), segment.used_pages()), (None, 0));
    assert_eq!(segment.entries().count(), 8);
    assert!(segment.entries().all(|(_, entry)| entry.state.load(Ordering::Relaxed) == 0));
    let row = segment.participant(segment.me()).expect("the first row");
    assert_eq!(state::st(row.state.load(Ordering::Relaxed)), state::LIVE);
    let me = segment.describe(segment.me()).expect("attached");
    assert_eq!((me.pid, me.state), (std::process::id(), RunState::Running));
    assert!(segment.describe(ParticipantId::from_index(1)).is_none());
    assert!(segment.participant(ParticipantId::from_index(4)).is_none());
    assert!(segment.ticket(TICKETS - 1).is_some() && segment.ticket(TICKETS).is_none());
    assert!(segment.carrier(TICKETS - 1).is_some() && segment.carrier(TICKETS).is_none());
    assert!(segment.check_fork().is_ok() && segment.fork_mark().check().is_ok());
}

#[test]
fn two_segments_have_two_uuids() {
    assert_ne!(small().uuid(), small().uuid());
}

#[test]
fn pages_are_zero_ours_and_come_back() {
    let segment = small();
    let first = segment.claim_pages(3, 5).expect("claimed");
    let other = segment.claim_pages(4, 2).expect("claimed");
    assert!(other >= first + 5);
    assert_eq!(segment.used_pages(), 7);
    fill(&segment, first, 5, 0xaa);
    segment.release_pages(3);
    segment.release_pages(3);
    assert_eq!(segment.used_pages(), 2);
    let again = segment.claim_pages(5, 5).expect("claimed again");
    assert_eq!(again, first);
    assert!(bytes(&segment, again, 5).iter().all(|byte| *byte == 0));
    segment.release_pages(4);
    segment.release_pages(5);
    assert_eq!(segment.used_pages(), 0);
}

#[test]
fn the_whole_arena_can_be_claimed_and_no_page_more() {
    let segment = small();
    let first = segment.claim_pages(0, 64).expect("all of it");
    assert_eq!(first, 0);
    assert!(matches!(segment.claim_pages(1, 1), Err(Error::Full { asked: 1, pages: 64, .. })));
    segment.release_pages(0);
    assert!(matches!(segment.claim_pages(1, 65), Err(Error::Full { .. })));
    assert!(matches!(segment.claim_pages(1, u32::MAX), Err(Error::Full { .. })));
    assert!(matches!(segment.claim_pages(1, 0), Err(Error::ZeroCapacity { .. })));
    assert!(matches!(segment.claim_pages(8, 1), Err(Error::NoSuchEntry { .. })));
    assert_eq!(segment.used_pages(), 0);
}

#[test]
fn a_run_may_cross_the_steps_in_which_page_words_get_memory() {
    let options = Options { limit: 3000 * 4096, ..SMALL };
    let segment = Segment::create(options, Sweeps::boxed()).expect("created");
    assert_eq!(segment.claim_pages(0, 1000).expect("there is room"), 0);
    assert_eq!(segment.claim_pages(1, 100).expect("there is room"), 1000);
    assert_eq!(segment.claim_pages(2, 1900).expect("there is room"), 1100);
    assert!(matches!(segment.claim_pages(3, 1), Err(Error::Full { .. })));
    segment.release_pages(1);
    assert_eq!(segment.claim_pages(3, 100).expect("there is room"), 1000);
    for entry in [0, 2, 3] {
        segment.release_pages(entry);
    }
    assert_eq!(segment.used_pages(), 0);
}

#[test]
fn a_claim_goes_on_behind_the_last_one_and_finds_what_others_released() {
    let segment = small();
    let claim = |entry, count| segment.claim_pages(entry, count);
    assert_eq!((claim(0, 10).expect("room"), claim(1, 10).expect("room")), (0, 10));
    // What this process released is where it looks next.
    segment.release_pages(0);
    assert_eq!(claim(2, 4).expect("room"), 0);
    assert_eq!(claim(3, 44).expect("room"), 20);
    // Behind the last claim there is nothing: then from the beginning.
    assert_eq!(claim(4, 6).expect("room"), 4);
    assert!(matches!(claim(5, 1), Err(Error::Full { .. })));
    // Another attachment has another idea of where to look.
    let other = segment.attach_again(Sweeps::boxed()).expect("attached");
    other.release_pages(1);
    assert_eq!(claim(5, 10).expect("room"), 10);
    for entry in [2, 3, 4, 5] {
        segment.release_pages(entry);
    }
    assert_eq!(segment.used_pages(), 0);
}

#[test]
fn pages_of_a_part_are_found_in_rows_and_unfinished_claims_are_given_back_unseen() {
    let segment = small();
    let runs = |part| {
        let mut runs = Vec::new();
        segment.runs_of_part(0, part, |first, count| runs.push((first, count)));
        runs
    };
    // Page 0 is none of a store's, whoever has it or had it.
    assert_eq!(segment.claim_part_whole(0, 1, 3).expect("room"), 1);
    assert_eq!(segment.claim_part_whole(0, 2, 2).expect("room"), 4);
    assert_eq!(segment.claim_part_whole(0, 1, 3).expect("room"), 6);
    assert_eq!(segment.claim_part_whole(0, 1, 1).expect("room"), 9);
    assert_eq!((runs(1), runs(2), runs(3)), (vec![(1, 3), (6, 4)], vec![(4, 2)], vec![]));
    assert!(segment.is_of_part(0, 1, 3) && segment.is_of_part(0, 2, 4));
    assert!(!segment.is_of_part(0, 1, 4) && !segment.is_of_part(1, 1, 3) && !segment.is_of_part(0, 1, 0));
    assert!(!segment.is_of_part(0, 1, 64) && !segment.is_of_part(0, 1, u32::MAX));
    // As a claimer leaves them that was killed before all of its pages had memory.
    assert_eq!(segment.claim_part(0, 1 | 0x8000, 7).expect("room"), 10);
    assert_eq!(runs(1), [(1, 3), (6, 4)]);
    segment.release_unclaimed(0, 2);
    assert_eq!(segment.used_pages(), 16);
    segment.release_unclaimed(0, 1);
    assert_eq!(segment.used_pages(), 9);
    segment.release_run_of_part(0, 1, 6, 2);
    assert_eq!(runs(1), [(1, 3), (8, 2)]);
    assert!(matches!(segment.claim_part_whole(0, 1, 64), Err(Error::Full { .. })));
    segment.release_pages(0);
    assert_eq!((runs(1), segment.used_pages()), (vec![], 0));
    // Page 0 was an object's, and is free again: that is where this process would look next.
    assert_eq!(segment.claim_pages(1, 64).expect("all of it"), 0);
    segment.release_pages(1);
    assert_eq!(segment.claim_part_whole(0, 1, 63).expect("room"), 1);
    segment.release_pages(0);
    assert_eq!(segment.used_pages(), 0);
}

#[test]
fn a_mirror_shows_the_same_bytes_twice() {
    let segment = small();
    let first = segment.claim_pages(0, 2).expect("claimed");
    let mirror = segment.map_mirrored(first, 2).expect("mapped");
    assert_eq!(mirror.len(), 8192);
    let word = |at: usize| {
        let place = mirror.as_ptr().wrapping_add(at).cast::<ginnel_layout::atomic::AtomicU64>();
        support::word_at(place)
    };
    word(8184).store(1, Ordering::Relaxed);
    word(8192).store(2, Ordering::Relaxed);
    assert_eq!((word(8192 + 8184).load(Ordering::Relaxed), word(0).load(Ordering::Relaxed)), (1, 2));
    assert_eq!(bytes(&segment, first, 1)[0], 2);
    assert!(matches!(segment.map_mirrored(63, 2), Err(Error::NoSuchPages { .. })));
    assert!(matches!(segment.map_mirrored(0, 0), Err(Error::ZeroCapacity { .. })));
    assert!(segment.page(64, 0).is_some() && segment.page(64, 1).is_none() && segment.page(0, 65).is_none());
}

#[test]
fn threads_that_claim_at_once_never_share_a_page() {
    let segment = small();
    std::thread::scope(|scope| {
        for entry in 0..4 {
            let segment = &segment;
            scope.spawn(move || {
                for round in 1..200_u32 {
                    let count = 1 + round % 5;
                    let first = segment.claim_pages(entry, count).expect("there is room for four");
                    fill(segment, first, count, entry as u8 + 1);
                    assert!(bytes(segment, first, count).iter().all(|byte| *byte == entry as u8 + 1));
                    segment.release_pages(entry);
                }
            });
        }
    });
    assert_eq!(segment.used_pages(), 0);
}

#[test]
fn a_descriptor_passed_over_a_socket_attaches_to_the_same_memory() {
    let segment = small();
    let (here, there) = UnixStream::pair().expect("a pair of sockets");
    fd_passing::send(&here, segment.fd()).expect("sent");
    let other =
        Segment::attach(fd_passing::receive(&there).expect("received"), Sweeps::boxed()).expect("attached");
    assert_eq!((other.uuid(), other.geometry()), (segment.uuid(), segment.geometry()));
    assert_ne!(other.me(), segment.me());
    let first = segment.claim_pages(0, 1).expect("claimed");
    fill(&segment, first, 1, 9);
    assert_eq!(bytes(&other, first, 1)[4095], 9);
    assert!(!segment.is_dead(other.me()) && !other.is_dead(segment.me()) && !other.is_dead(other.me()));
    let id = other.me();
    drop(other);
    assert!(segment.is_dead(id));
    assert_eq!(segment.control().recoveries.load(Ordering::Relaxed), 0);
    let third = segment.attach_again(Sweeps::boxed()).expect("attached");
    assert_eq!(third.me(), id);
}

fn fill(segment: &Segment, first: u32, count: u32, byte: u8) {
    support::fill(segment.page(first, count).expect("they exist"), count, byte);
}

fn bytes(segment: &Segment, first: u32, count: u32) -> Vec<u8> {
    support::copy(segment.page(first, count).expect("they exist"), count)
}
