//! Which messages are on their way.
//!
//! A handle or a block inside a message belongs to its sender until the receiver makes it his; whose death frees it
//! depends on whether the message is committed and not acknowledged. The word beside it, its carrier, names the
//! message, and the queue, the pipe, the pool, the process record, or the store in whose value it lies answers.

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Carrier, Entry, st};
use ginnel_layout::record::kind;
use ginnel_queue::lane::Lane;
use ginnel_segment::Segment;

use crate::crew;
use crate::envelope;
use crate::life;
use crate::process_record;
use crate::store;
use crate::sweep::tag;
use crate::words;

/// Is the message that this carrier names committed and not yet acknowledged? For recovery, after the queues were
/// swept.
///
/// `ticket` is what it carries, where that is a ticket: a place of a store is used again, and so its values are asked
/// whether they name it.
pub(crate) fn is_in_flight(segment: &Segment, carrier: Carrier, ticket: Option<u32>) -> bool {
    let index = u32::from(carrier.entry);
    let Some(entry) = segment.entry(index) else { return false };
    let state = life::state(entry);
    // While a queue is taken apart its messages are still on their way: to its freer, who receives what they carry.
    if !matches!(state.st, st::LIVE | st::FREEING) {
        return false;
    }
    match entry.tag.load(Relaxed) {
        tag::QUEUE | tag::CHANNEL => {
            words::ring_of(segment, entry).is_some_and(|ring| ring.in_flight(carrier.position))
        }
        tag::PIPE => words::pipe_of(segment, entry)
            .is_some_and(|(control, ring)| Lane::in_flight(control, ring, carrier.position)),
        tag::POOL => crew::is_in_flight(segment, entry, carrier.position),
        tag::DICT | tag::LIST | tag::NAMESPACE => {
            ticket.is_some_and(|ticket| store::is_in_flight(segment, index, entry, carrier.position, ticket))
        }
        tag::PROCESS => process_record::is_in_flight(segment, entry, state.generation, carrier.position),
        _ => false,
    }
}

/// Frees what the messages of a pipe carry that nobody received, before its pages go. The caller owns the entry's FREEING.
/// Doing it again after a death in the middle goes on where it ended: a message that was acknowledged is not found again.
pub(crate) fn discard_all(segment: &Segment, entry: &Entry) {
    let Some((control, ring)) = words::pipe_of(segment, entry) else { return };
    Lane::drain(control, ring, |what, payload, acknowledge| {
        if kind::carries(what) {
            envelope::discard_tailed(segment, payload, acknowledge);
        } else {
            acknowledge();
        }
    });
}

#[cfg(test)]
mod tests {
    use ginnel_layout::lane::RING_AT;
    use ginnel_layout::line::PAGE;
    use ginnel_queue::lane::{Consumer, LaneError, Producer, Shape};
    use ginnel_sync::Mode;

    use super::*;
    use crate::arena::{Kind, ObjectRef};
    use crate::carry::{Incoming, Outgoing};
    use crate::manager::{Manager, Object, sealed};
    use crate::mutex::Mutex;
    use crate::spsc::{Attached, Values};

    /// A pipe of one page, as its two ends and what keeps them.
    struct Pipe {
        tx: Producer,
        rx: Consumer,
        sender: Attached,
        _receiver: Attached,
    }

    impl Pipe {
        fn new(manager: &Manager) -> Self {
            let shape = Shape::of_bytes(PAGE as u64, Mode::Adaptive).expect("a page");
            let pages = (RING_AT + shape.size) as u32 / PAGE as u32;
            let kind = Kind { tag: tag::PIPE, format: 0 };
            let init = |base| Lane::init(words::new_lane_control(base), &shape);
            let object = manager.arena.make(kind, pages, None, init).expect("made");
            let (sender, tx) = Attached::producer(object.clone(), None, Values::BYTES).expect("free");
            let (receiver, mut rx) = Attached::consumer(object, None, Values::BYTES).expect("free");
            rx.take_parts();
            Self { tx, rx, sender, _receiver: receiver }
        }

        fn object(&self) -> &ObjectRef {
            &self.sender.object
        }

        fn next(&mut self) -> (u8, Vec<u8>) {
            let (len, kind) = self.rx.peek_kind().expect("sent");
            let mut bytes = vec![0; len as usize];
            self.rx.read_at(0, &mut bytes);
            (kind, bytes)
        }

        fn carrier(&self) -> Carrier {
            Carrier { entry: self.object().index() as u16, position: self.tx.place() }
        }

        /// Sends a message that carries a handle, and gives its carrier.
        fn send_handle<T: Object>(&mut self, manager: &Manager, handle: &T) -> Carrier {
            let mut parcels = Outgoing::none(&manager.arena);
            parcels.add(sealed::Sealed::object(handle)).expect("a ticket");
            parcels.check_way(self.object()).expect("no end of it");
            let carrier = self.carrier();
            parcels.set_carrier(carrier);
            let tail = envelope::tail_of(&parcels);
            self.tx.try_send_parts(kind::CARRIES, &[b"body", &tail]).expect("room");
            parcels.sent();
            carrier
        }
    }

    #[test]
    fn parts_keep_their_kind_and_order() {
        let manager = Manager::new(1 << 20).expect("a manager");
        let mut pipe = Pipe::new(&manager);
        let parts =
            [(kind::WHOLE, 0), (kind::FIRST, 900), (kind::MORE, 3), (kind::LAST, 900), (kind::CARRIES, 20)];
        for round in 0..50_u8 {
            for (kind, len) in parts {
                let bytes = vec![round; len];
                let (front, back) = bytes.split_at(len / 3);
                pipe.tx.try_send_parts(kind, &[front, &[], back]).expect("room");
            }
            for (kind, len) in parts {
                assert_eq!(pipe.next(), (kind, vec![round; len]));
                let mut some = [0; 2];
                pipe.rx.read_at(len as u64 / 2, &mut some[..len.min(2)]);
                assert!(len < 2 || some == [round; 2]);
                pipe.rx.release_one();
            }
            assert_eq!(pipe.rx.peek_kind(), Err(LaneError::WouldBlock));
        }
        let (too_large, max) = (vec![0; PAGE], PAGE as u64 - 16);
        let refused = pipe.tx.try_send_parts(kind::WHOLE, &[&too_large]);
        assert_eq!(refused, Err(LaneError::TooLarge { len: PAGE as u64, max }));
    }

    #[test]
    fn a_record_is_in_flight_from_the_commit_to_the_acknowledgement() {
        let manager = Manager::new(1 << 20).expect("a manager");
        let mut pipe = Pipe::new(&manager);
        let is_in_flight = |carrier| is_in_flight(manager.arena.segment(), carrier, None);
        for len in (0..700).step_by(7) {
            let bytes = vec![1; len];
            let (first, before) = (pipe.carrier(), pipe.tx.place());
            assert!(!is_in_flight(first), "not committed");
            pipe.tx.try_send_parts(kind::CARRIES, &[&bytes]).expect("room");
            let second = pipe.carrier();
            assert!(is_in_flight(first) && !is_in_flight(second) && pipe.tx.place() != before);
            pipe.tx.try_send_parts(kind::LAST_CARRIES, &[&bytes]).expect("room");
            assert!(is_in_flight(first) && is_in_flight(second));
            pipe.next();
            pipe.rx.release_one();
            assert!(!is_in_flight(first) && is_in_flight(second), "acknowledged");
            pipe.next();
            pipe.rx.release_one();
            assert!(!is_in_flight(second));
        }
        let nowhere = Carrier { entry: 30_000, position: 0 };
        assert!(!is_in_flight(nowhere));
    }

    #[test]
    fn what_a_pipe_carries_arrives_or_goes_with_it() {
        let manager = Manager::new(1 << 20).expect("a manager");
        let mut pipe = Pipe::new(&manager);
        let total = manager.create::<Mutex<u64>>().expect("made");
        let carrier = pipe.send_handle(&manager, &total);
        drop(total);
        let (_, bytes) = pipe.next();
        let (body, table) = envelope::split_tail(&bytes).expect("whole");
        assert_eq!(body, b"body");
        let incoming = Incoming::receive(&manager.arena, table).expect("sent");
        pipe.rx.release_one();
        assert!(!is_in_flight(manager.arena.segment(), carrier, None));
        drop(incoming);
        assert_eq!(manager.inspect().objects.len(), 1, "nobody took the handle");
        // Round the end of the ring, with messages without handles in between.
        for step in 0..20 {
            let total = manager.create::<Mutex<u64>>().expect("made");
            pipe.tx.try_send_parts(kind::WHOLE, &[&[7; 130]]).expect("room");
            pipe.send_handle(&manager, &total);
            if step < 14 {
                for _ in 0..2 {
                    let (kind, bytes) = pipe.next();
                    let acknowledge = || ();
                    if kind::carries(kind) {
                        envelope::discard_tailed(manager.arena.segment(), &bytes, acknowledge);
                    }
                    pipe.rx.release_one();
                }
            }
        }
        assert_eq!(manager.inspect().objects.len(), 7);
        drop(pipe);
        assert!(manager.inspect().objects.is_empty(), "{:?}", manager.inspect().objects);
    }

    #[test]
    fn an_end_of_a_pipe_does_not_go_through_it() {
        let manager = Manager::new(1 << 20).expect("a manager");
        let pipe = Pipe::new(&manager);
        let other = Pipe::new(&manager);
        let mut parcels = Outgoing::none(&manager.arena);
        let ticket = pipe.sender.tenure().pin().expect("free");
        pipe.sender.tenure().travel(ticket, false).expect("whole");
        parcels.keep_end(pipe.sender.tenure());
        assert!(parcels.check_way(pipe.object()).is_err());
        assert!(parcels.check_way(other.object()).is_ok());
        drop(parcels);
        assert!(pipe.sender.check(), "it stayed");
        life::unpin(manager.arena.segment(), ticket);
        assert!(!pipe.rx.peer_is_gone());
    }
}
