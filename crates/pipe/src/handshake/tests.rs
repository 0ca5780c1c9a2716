//! The two machines against each other, and against everything else.

use super::*;

const RING: u64 = 4 * PAGE as u64;

fn terms(key: Option<&[u8]>) -> Terms {
    Terms { key: key.and_then(Key::new), ring: RING, longest: 1 << 20, ring_max: 1 << 24 }
}

fn print() -> Fingerprint {
    Fingerprint::of::<u32, String>(None)
}

fn server(key: Option<&[u8]>, nonce: u8) -> Server {
    Server::new(Arc::new(terms(key)), [nonce; NONCE])
}

fn client(key: Option<&[u8]>) -> Client {
    Client::new(terms(key), &print(), [9; NONCE])
}

/// Both machines up to the client's packet.
fn half_way(key: Option<&[u8]>) -> (Server, Client, [u8; CLIENT_HELLO]) {
    let (server, mut client) = (server(key, 1), client(key));
    assert_eq!(client.take_hello(&server.hello()), Ok(Agreed { ring: RING, longest: 1 << 20 }));
    let hello = client.hello(77);
    (server, client, hello)
}

#[test]
fn two_that_agree_come_together_with_and_without_a_key() {
    for key in [None, Some(b"secret".as_slice())] {
        let (mut server, mut client, hello) = half_way(key);
        assert_eq!(server.take(&hello, 1, 77, &print()), Ok(Agreed { ring: RING, longest: 1 << 20 }));
        let welcome = server.welcome(88).expect("the client was let in");
        assert_eq!(client.take_welcome(&welcome, 88), Ok(()));
    }
}

#[test]
fn each_flipped_bit_is_refused() {
    let (_, _, hello) = half_way(Some(b"secret"));
    for bit in 0..CLIENT_HELLO * 8 {
        let mut bad = hello;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(server(Some(b"secret"), 1).take(&bad, 1, 77, &print()).is_err(), "bit {bit}");
    }
    let mut welcome = {
        let (mut server, _, hello) = half_way(Some(b"secret"));
        server.take(&hello, 1, 77, &print()).expect("let in");
        server.welcome(88).expect("let in")
    };
    for bit in 0..WELCOME * 8 {
        welcome[bit / 8] ^= 1 << (bit % 8);
        let (_, mut client, _) = half_way(Some(b"secret"));
        assert!(client.take_welcome(&welcome, 88).is_err(), "bit {bit}");
        welcome[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_wrong_or_missing_key_is_refused_on_both_sides() {
    let (_, _, hello) = half_way(Some(b"secret"));
    assert_eq!(server(Some(b"other"), 1).take(&hello, 1, 77, &print()), Err(Refusal::Key));
    assert_eq!(server(None, 1).take(&hello, 1, 77, &print()), Err(Refusal::Key));
    let (_, _, open) = half_way(None);
    assert_eq!(server(Some(b"secret"), 1).take(&open, 1, 77, &print()), Err(Refusal::Key));
    assert_eq!(client(None).take_hello(&server(Some(b"secret"), 1).hello()), Err(Failure::KeyWanted));
    assert_eq!(client(Some(b"secret")).take_hello(&server(None, 1).hello()), Err(Failure::NotProven));
}

#[test]
fn a_packet_of_another_connection_is_worth_nothing() {
    let (_, _, hello) = half_way(Some(b"secret"));
    assert_eq!(server(Some(b"secret"), 2).take(&hello, 1, 77, &print()), Err(Refusal::Key), "replayed");
    assert_eq!(server(Some(b"secret"), 1).take(&hello, 1, 78, &print()), Err(Refusal::Key), "other memory");
    let (mut server, mut client, hello) = half_way(Some(b"secret"));
    server.take(&hello, 1, 77, &print()).expect("let in");
    let welcome = server.welcome(88).expect("let in");
    assert_eq!(client.take_welcome(&welcome, 89), Err(Failure::NotProven), "other memory");
}

#[test]
fn a_proof_is_not_good_for_the_other_direction() {
    let (_, mut client, hello) = half_way(Some(b"secret"));
    let mut welcome = Writer::<WELCOME>::new(kind::WELCOME, 0);
    welcome.put(&hello[CLIENT_HELLO - PROOF..]);
    assert_eq!(client.take_welcome(&welcome.done(), 0), Err(Failure::NotProven));
}

#[test]
fn types_rings_and_descriptors_are_looked_at_after_the_key() {
    let (_, _, hello) = half_way(None);
    let other = Fingerprint::of::<u64, String>(None);
    assert_eq!(server(None, 1).take(&hello, 1, 77, &other), Err(Refusal::Types));
    assert_eq!(server(None, 1).take(&hello, 0, 0, &print()), Err(Refusal::Memory));
    assert_eq!(server(None, 1).take(&hello, 2, 77, &print()), Err(Refusal::Memory));
    for ring in [0, 1, RING + 8, 1 << 30, u64::MAX] {
        let mut bad = hello;
        bad[HEAD..HEAD + 8].copy_from_slice(&ring.to_le_bytes());
        assert_eq!(server(None, 1).take(&bad, 1, 77, &print()), Err(Refusal::Ring), "{ring}");
    }
}

#[test]
fn other_versions_and_lengths_are_told_apart() {
    let (_, _, mut hello) = half_way(None);
    assert_eq!(server(None, 1).take(&hello[..127], 1, 77, &print()), Err(Refusal::Malformed));
    assert_eq!(server(None, 1).take(&[], 0, 0, &print()), Err(Refusal::Malformed));
    hello[8] = 2;
    assert_eq!(server(None, 1).take(&hello, 1, 77, &print()), Err(Refusal::Version));
    let mut first = server(None, 1).hello();
    first[8] = 7;
    assert_eq!(client(None).take_hello(&first), Err(Failure::Version(7)));
}

#[test]
fn a_refusal_is_understood_at_each_step() {
    for refusal in Refusal::ALL {
        assert_eq!(client(None).take_hello(&refusal.packet()), Err(Failure::Refused(refusal)));
        let (_, mut client, _) = half_way(None);
        assert_eq!(client.take_welcome(&refusal.packet(), 0), Err(Failure::Refused(refusal)));
    }
    let mut unknown = Refusal::Busy.packet();
    unknown[HEAD] = 99;
    assert_eq!(client(None).take_hello(&unknown), Err(Failure::Malformed));
}

#[test]
fn out_of_turn_nothing_goes() {
    let (mut server, mut client, hello) = half_way(None);
    assert_eq!(server.welcome(1), Err(Refusal::Malformed));
    assert_eq!(server.take(&hello, 1, 77, &print()), Err(Refusal::Malformed), "it had refused");
    assert_eq!(client.take_hello(&server.hello()), Err(Failure::Malformed));
    assert_eq!(client.take_welcome(&[0; WELCOME], 0), Err(Failure::Malformed));
}

#[test]
fn fingerprints_follow_direction_name_size_and_protocol() {
    use ginnel_object::Raw;
    let of = Fingerprint::of::<u32, String>;
    assert_eq!(of(None), Fingerprint::of::<u32, String>(None));
    assert_ne!(of(None), Fingerprint::of::<String, u32>(None));
    assert_ne!(of(None), of(Some("chat 1")));
    assert_eq!(of(Some("chat 1")), Fingerprint::of::<(u8, u8), Vec<u8>>(Some("chat 1")));
    assert_ne!(of(Some("chat 1")), Fingerprint::of::<Raw<u32>, String>(Some("chat 1")));
    assert_ne!(
        Fingerprint::of::<Raw<u32>, String>(Some("a")),
        Fingerprint::of::<Raw<u64>, String>(Some("a"))
    );
}

#[test]
fn paths_are_no_part_of_a_name() {
    assert_eq!(without_paths("a::b::Pair<c::Left, alloc::vec::Vec<u8>>"), "Pair<Left, Vec<u8>>");
    assert_eq!(without_paths("(u8, core::option::Option<[x::Y; 4]>)"), "(u8, Option<[Y; 4]>)");
    assert_eq!(without_paths("u32"), "u32");
}
