//! What is left between two instructions: prefixes that no killed process can be made to leave on purpose.

use std::os::fd::AsFd;

use ginnel_layout::entry::TICKETS;

use super::*;
use crate::message::Message;
use crate::{Mutex, carrier};

const HEAD: Head = Head { thunk: 1, image: 2 };

/// A starter and its child, two participants of one process.
struct Pair {
    here: Manager,
    there: Manager,
    empty: usize,
}

impl Pair {
    fn new() -> Self {
        let here = Manager::new(1 << 20).expect("a manager");
        let there = Manager::from_fd(here.as_fd().try_clone_to_owned().expect("dup")).expect("attached");
        let empty = here.size();
        Self { here, there, empty }
    }

    fn sealed(manager: &Manager) -> Sealed {
        let count = manager.create::<Mutex<u64>>().expect("room");
        seal(manager, |out| count.put(out)).expect("sealed")
    }

    fn record(&self) -> (Record, BootTicket) {
        let record = Record::make(&self.here, HEAD, &[], Self::sealed(&self.here)).expect("made");
        let ticket = record.ticket().expect("free");
        (record, ticket)
    }

    fn assert_empty(&self) {
        let segment = self.here.arena.segment();
        let used = (0..TICKETS).filter(|i| segment.ticket(*i).is_some_and(|word| word.load(Relaxed) != 0));
        let carried =
            (0..TICKETS).filter(|i| segment.carrier(*i).is_some_and(|word| word.load(Relaxed) != 0));
        assert_eq!((used.count(), carried.count(), self.here.size()), (0, 0, self.empty));
    }
}

/// Entry in the directory, and generation.
fn place_of(record: &Record) -> (u32, u32) {
    (record.handle.object().index(), record.handle.object().generation())
}

/// Receives what is in a drawer, and dies before the acknowledgement.
fn receive_only(record: &Record, place: Place) {
    let (bytes, kind) = record::read(place.drawer(record.words()));
    std::mem::forget(Unpacked::receive(record.handle.arena(), &bytes, kind).expect("there"));
}

/// Fills the result, and dies before the step.
fn fill_only(record: &Record, sealed: Sealed) {
    let object = record.handle.object();
    sealed.parcels.set_carrier(Place::Result.carrier(object.index(), object.generation()));
    record::write(&record.words().result, &sealed.bytes, sealed.kind);
    record::fill(&record.words().result);
    sealed.parcels.sent();
}

#[test]
fn arguments_received_and_not_acknowledged_are_taken_back() {
    let pair = Pair::new();
    for settles in [true, false] {
        let (record, ticket) = pair.record();
        let child = Record::redeem(&pair.there, ticket).expect("there");
        assert!(child.start(1));
        receive_only(&child, Place::Args);
        drop(child);
        if settles {
            record.settle(ticket);
            record.settle(ticket);
        }
        // Else whoever takes the record apart does it.
        drop(record);
        pair.assert_empty();
    }
}

#[test]
fn arguments_received_back_and_not_acknowledged_are_received_again() {
    let pair = Pair::new();
    let (record, ticket) = pair.record();
    assert!(record.cancel());
    receive_only(&record, Place::Args);
    record.settle(ticket);
    drop(record);
    pair.assert_empty();
}

#[test]
fn a_result_without_its_step_is_none() {
    let pair = Pair::new();
    for settles in [true, false] {
        let (record, ticket) = pair.record();
        let child = Record::redeem(&pair.there, ticket).expect("there");
        assert!(child.start(1));
        child.take_args(Mutex::<u64>::from_bytes).expect("decoded");
        fill_only(&child, Pair::sealed(&pair.there));
        let twice = child.put_result(St::Returned, Pair::sealed(&pair.there)).expect_err("it is full");
        assert_eq!(twice.kind(), ErrorKind::Invalid);
        drop(child);
        assert!(record.take_result(|_, _| ()).is_none());
        if settles {
            record.settle(ticket);
        }
        assert!(record.take_result(|_, _| ()).is_none());
        drop(record);
        pair.assert_empty();
    }
}

#[test]
fn a_result_received_and_not_acknowledged_is_received_again() {
    let pair = Pair::new();
    let (record, ticket) = pair.record();
    let child = Record::redeem(&pair.there, ticket).expect("there");
    assert!(child.start(1));
    drop(child.take_args(Mutex::<u64>::from_bytes).expect("decoded"));
    child.put_result(St::Panicked, Pair::sealed(&pair.there)).expect("first");
    drop(child);
    receive_only(&record, Place::Result);
    let (st, value) = record.take_result(|st, bytes| (st, Mutex::<u64>::from_bytes(bytes))).expect("there");
    assert_eq!((st, *value.expect("decoded").lock().expect("free")), (St::Panicked, 0));
    record.settle(ticket);
    drop(record);
    pair.assert_empty();
}

#[test]
fn what_names_no_parcel_is_told_as_an_error() {
    let pair = Pair::new();
    let (record, ticket) = pair.record();
    let child = Record::redeem(&pair.there, ticket).expect("there");
    assert!(child.start(1));
    drop(child.take_args(Mutex::<u64>::from_bytes).expect("decoded"));
    child.put_result(St::Returned, Pair::sealed(&pair.there)).expect("first");
    record.words().result.kind.store(77, Relaxed);
    let told = record.take_result(|st, bytes| (st, Error::from_bytes(bytes).expect("an error").kind()));
    assert_eq!(told, Some((St::Undecodable, ErrorKind::Corrupted)));
    child.words().step.store(u32::MAX, Relaxed);
    assert_eq!(record.step(), Step::CANCELLED);
    record.words().args.len.store(u32::MAX, Relaxed);
    record.settle(ticket);
}

#[test]
fn the_next_record_in_the_same_entry_carries_nothing_of_the_one_before() {
    let pair = Pair::new();
    let (first, _) = pair.record();
    let (index, generation) = place_of(&first);
    let old = Place::Args.carrier(index, generation);
    let is_in_flight = |carrier| carrier::is_in_flight(pair.here.arena.segment(), carrier, None);
    assert!(is_in_flight(old) && !is_in_flight(Place::Result.carrier(index, generation)));
    assert!(first.cancel());
    let ticket = first.ticket().expect("free");
    first.settle(ticket);
    assert!(!is_in_flight(old));
    let (first, second) = (place_of(&first), place_of(&pair.record().0));
    assert_ne!(first, second);
    assert!(!is_in_flight(old));
}
