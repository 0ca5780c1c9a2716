//! One honest side against one that sends whatever it likes.

use super::*;

use ginnel_segment::sealed::{Foreign, Own};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const RING: u64 = 16 << 10;
const LONGEST: u64 = 1 << 20;

/// Both sides of a connection in this process.
fn pair() -> (Link, Link) {
    pair_of(RING, LONGEST)
}

fn pair_of(ring: u64, longest: u64) -> (Link, Link) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let sockets = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair");
    let who = Credentials::of(&sockets.0).expect("us");
    let (one, one_fd) = Own::create(ring).expect("room");
    let (two, two_fd) = Own::create(ring).expect("room");
    let link = |socket, own, foreign| {
        let foreign = Foreign::map(foreign, ring).expect("ours");
        let their_longest = longest;
        Link::new(Parts {
            socket,
            pidfd: None,
            who,
            own,
            foreign,
            longest,
            their_longest,
            is_listener: false,
        })
        .expect("no fork")
    };
    (link(sockets.0, one, two_fd), link(sockets.1, two, one_fd))
}

fn total(bytes: u64) -> [u8; TOTAL] {
    bytes.to_le_bytes()
}

/// A kind and the pieces of the payload.
type Record<'a> = (u8, &'a [&'a [u8]]);

/// What comes of these records.
fn outcome(records: &[Record<'_>]) -> Result<Vec<u8>, LaneError> {
    let (mut honest, mut liar) = pair();
    for (kind, parts) in records {
        liar.commit(*kind, parts).expect("there is room");
    }
    received(&mut honest)
}

fn received(link: &mut Link) -> Result<Vec<u8>, LaneError> {
    let front = link.front()?;
    let bytes = match front {
        Front::Whole(len) => {
            let mut bytes = vec![0; len];
            assert!(link.copy_whole(&mut bytes));
            bytes
        }
        Front::Gathered => link.gathered().to_vec(),
    };
    link.taken(front);
    Ok(bytes)
}

#[test]
fn parts_come_together() {
    let part = [7; 100];
    let whole =
        outcome(&[(kind::FIRST, &[&total(300), &part]), (kind::MORE, &[&part]), (kind::LAST, &[&part])]);
    assert_eq!(whole, Ok(vec![7; 300]));
}

#[test]
fn what_was_given_up_is_dropped() {
    let (begun, part) = ([1; 100], [2; 100]);
    let (long, short) = (total(300), total(200));
    let (first, again): ([&[u8]; 2], [&[u8]; 2]) = ([&long, &begun], [&short, &part]);
    let (first, again) = ((kind::FIRST, &first[..]), (kind::FIRST, &again[..]));
    assert_eq!(outcome(&[first, (kind::WHOLE, &[&part])]), Ok(part.to_vec()));
    let whole = outcome(&[first, (kind::MORE, &[&begun]), again, (kind::LAST, &[&part])]);
    assert_eq!(whole, Ok(vec![2; 200]));
    assert_eq!(outcome(&[first]), Err(LaneError::WouldBlock));
}

#[test]
fn lies_about_parts_are_corrupted_for_good() {
    let part = [7_u8; 100];
    let long = [7_u8; 2000];
    let whole = total(300);
    let first: [&[u8]; 2] = [&whole, &part];
    let first = (kind::FIRST, &first[..]);
    let (all, half) = (total(100), total(50));
    let (too_long, endless) = (total(LONGEST + 1), total(u64::MAX));
    let lies: [(&str, &[Record<'_>]); 16] = [
        ("more of nothing", &[(kind::MORE, &[&part])]),
        ("the last of nothing", &[(kind::LAST, &[&part])]),
        ("longer than agreed", &[(kind::FIRST, &[&too_long, &part])]),
        ("longer than there is", &[(kind::FIRST, &[&endless, &part])]),
        ("no length", &[(kind::FIRST, &[&[1, 2, 3]])]),
        ("nothing at all", &[(kind::FIRST, &[])]),
        ("a length and nothing", &[(kind::FIRST, &[&whole])]),
        ("a first that is all", &[(kind::FIRST, &[&all, &part])]),
        ("a first that is more than all", &[(kind::FIRST, &[&half, &part])]),
        ("crumbs", &[first, (kind::MORE, &[&[1]])]),
        ("an empty part", &[first, (kind::MORE, &[])]),
        ("more than all", &[first, (kind::MORE, &[&long])]),
        ("a last one too early", &[first, (kind::LAST, &[&part])]),
        ("a last one too long", &[first, (kind::LAST, &[&long])]),
        ("handles", &[(kind::CARRIES, &[&part])]),
        ("an unknown kind", &[(15, &[&part])]),
    ];
    for (what, records) in lies {
        let (mut honest, mut liar) = pair();
        for (kind, parts) in records {
            liar.commit(*kind, parts).expect("there is room");
        }
        assert_eq!(received(&mut honest), Err(LaneError::Corrupted), "{what}");
        liar.commit(kind::WHOLE, &[b"sorry"]).expect("there is room");
        assert_eq!(received(&mut honest), Err(LaneError::Corrupted), "{what}: it stays so");
        assert_eq!(honest.error(LaneError::Corrupted).kind(), ErrorKind::Corrupted);
        // For the other direction, too, and whatever the other side does next.
        assert_eq!(honest.try_send(b"so"), Err(LaneError::Corrupted), "{what}");
        drop(liar);
        assert!(honest.look());
        assert_eq!(honest.send(b"so", Deadline::NEVER), Err(LaneError::Corrupted), "{what}");
        assert_eq!(honest.wait_front(Deadline::NEVER), Err(LaneError::Corrupted), "{what}");
    }
}

#[test]
fn who_begins_and_never_ends_is_found_out() {
    let (mut honest, mut liar) = pair_of(2 << 20, 1000);
    let (total, part) = (total(1000), [0; 900]);
    while liar.commit(kind::FIRST, &[&total, &part]).is_ok() {}
    // One look at this ring would copy two mebibytes for nothing.
    assert_eq!(received(&mut honest), Err(LaneError::Corrupted));
    // Given up now and then, with an empty ring in between, it is no offence.
    let (mut honest, mut liar) = pair_of(64 << 10, 1000);
    for _ in 0..5000 {
        while liar.commit(kind::FIRST, &[&total, &part]).is_ok() {}
        assert_eq!(received(&mut honest), Err(LaneError::WouldBlock));
    }
    liar.commit(kind::WHOLE, &[b"so"]).expect("there is room");
    assert_eq!(received(&mut honest).as_deref(), Ok(b"so".as_slice()));
}

#[test]
fn a_flooded_socket_costs_a_bounded_look() {
    let (mut honest, liar) = pair();
    honest.poll_fd();
    while socket::send(liar.socket.as_fd(), b"w", None).expect("sent") {}
    assert_eq!(received(&mut honest), Err(LaneError::WouldBlock));
    assert!(honest.shared.borrow().is_empty());
    while socket::send(liar.socket.as_fd(), b"d", None).expect("sent") {}
    for _ in 0..100 {
        assert_eq!(received(&mut honest), Err(LaneError::WouldBlock));
    }
    assert!(honest.shared.borrow().len() <= 4);
}

#[test]
fn a_message_may_fill_what_may_be_sent_at_once() {
    let (mut one, mut two) = pair();
    let most = (RING / 2) as usize - 16;
    let len = (1..=most).rev().find(|len| one.try_send(&vec![3; *len]) == Ok(())).expect("some length fits");
    assert!(len > most - 300, "{len}");
    assert_eq!(received(&mut two), Ok(vec![3; len]));
}
