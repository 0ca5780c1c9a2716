//! Against the real crates: what `raw_sync` and `shared_memory` make and expect.
//!
//! - I1 the memory handed to an event is long enough and outlives it.
#![allow(unsafe_code, reason = "uses the unsafe traits of raw_sync")]

use std::time::Duration;
use std::{fs, process, thread};

use ginnel_object::compat::{Event, Shmem};
use ginnel_object::{Error, ErrorKind};
use raw_sync::Timeout;
use raw_sync::events::{EventInit, EventState};
use shared_memory::ShmemConf;

const SHORT: Timeout = Timeout::Val(Duration::from_millis(20));

/// Something that is Send because its memory outlives the test's threads.
struct Anywhere(usize);

fn kind_of(why: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    why.downcast_ref::<Error>().map(Error::kind)
}

/// What code that is written against the traits sees.
fn behaves_as_an_event<E: EventInit>(memory: *mut u8, auto_reset: bool) {
    // SAFETY: I1.
    let (event, used) = unsafe { E::new(memory, auto_reset) }.expect("made");
    assert!(used <= E::size_of(None) + 1024);
    // SAFETY: I1.
    let (again, same) = unsafe { E::from_existing(memory) }.expect("found");
    assert_eq!(used, same);
    assert!(event.wait(SHORT).is_err());
    again.set(EventState::Signaled).expect("set");
    event.wait(SHORT).expect("set before");
    assert_eq!(event.wait(SHORT).is_err(), auto_reset);
    again.set(EventState::Signaled).expect("set");
    again.set(EventState::Clear).expect("clear");
    assert!(event.wait(SHORT).is_err());
}

#[test]
fn the_traits_behave_as_those_of_the_other_crate() {
    for auto_reset in [true, false] {
        for offset in [0, 1, 64, 127, 128] {
            let mut memory = vec![0_u8; 4096];
            let ours = memory.as_mut_ptr().wrapping_add(offset);
            behaves_as_an_event::<Event>(ours, auto_reset);
            assert!(Event::size_of(Some(ours)) <= Event::size_of(None));
            let mut memory = vec![0_u64; 512];
            behaves_as_an_event::<raw_sync::events::Event>(memory.as_mut_ptr().cast(), auto_reset);
        }
    }
}

#[test]
fn memory_without_an_event_is_refused_and_a_timeout_has_its_kind() {
    let mut memory = vec![0_u8; Event::size_of(None)];
    // SAFETY: I1.
    let why = unsafe { Event::from_existing(memory.as_mut_ptr()) }.err().expect("refused");
    assert_eq!(kind_of(&*why), Some(ErrorKind::Mismatch));
    // SAFETY: I1.
    let (event, _) = unsafe { Event::new(memory.as_mut_ptr(), false) }.expect("made");
    assert_eq!(kind_of(&*event.wait(SHORT).unwrap_err()), Some(ErrorKind::Timeout));
}

#[test]
fn an_event_in_a_segment_of_the_other_crate_wakes_across_mappings() {
    let theirs = ShmemConf::new().size(4096).create().expect("made");
    let ours = Shmem::open(theirs.get_os_id()).expect("opened");
    assert_eq!((ours.len(), ours.os_id()), (theirs.len(), theirs.get_os_id()));
    assert_ne!(ours.as_ptr(), theirs.as_ptr());
    let at = theirs.as_ptr().wrapping_add(40);
    // SAFETY: I1.
    let (event, _) = unsafe { Event::new(at, true) }.expect("made");
    let place = Anywhere(ours.as_ptr().wrapping_add(40).expose_provenance());
    let waiting = thread::spawn(move || {
        let at = std::ptr::with_exposed_provenance_mut(place.0);
        // SAFETY: I1.
        let (event, _) = unsafe { Event::from_existing(at) }.expect("found");
        event.wait(Timeout::Val(Duration::from_secs(60))).expect("set");
    });
    event.set(EventState::Signaled).expect("set");
    waiting.join().expect("woken");
}

#[test]
fn a_link_file_leads_to_the_segment_and_dropping_ours_leaves_it() {
    let link = std::env::temp_dir().join(format!("ginnel-compat-{}", process::id()));
    let theirs = ShmemConf::new().size(100).flink(&link).create().expect("made");
    for _ in 0..2 {
        let ours = Shmem::open_flink(&link).expect("opened");
        assert!(ours.len() >= 100);
        // SAFETY: I1, and nobody writes to it.
        assert!(unsafe { ours.as_slice() }.iter().all(|byte| *byte == 0));
    }
    drop(theirs);
    assert_eq!(Shmem::open_flink(&link).unwrap_err().kind(), ErrorKind::NotFound);
    let _ = fs::remove_file(&link);
    assert_eq!(Shmem::open("/no-such-segment-of-anybody").unwrap_err().kind(), ErrorKind::NotFound);
}
