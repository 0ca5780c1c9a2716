//! Pipes of bytes: messages with their bounds, messages into memory of the caller's, and streams without bounds.

use std::io::{ErrorKind as Io, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use ginnel_object::ErrorKind;
use ginnel_object::Result;
use ginnel_object::error::{RecvError, SendError, SendTimeoutError, TryRecvError, TrySendError};
use ginnel_object::event::Event;
use ginnel_pipe::{BytePipe, ByteSender, Options, RecvIntoError, bytes};
use ginnel_process::Process;
use ginnel_testkit::watchdog::Watchdog;

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

/// Shorter than anybody waits for what never comes.
const SHORT: Duration = Duration::from_millis(5);

fn small() -> Options {
    Options::new().size(4096)
}

/// A message of this length, told from others by its bytes.
fn message(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + len) as u8).collect()
}

const LENGTHS: [usize; 12] = [0, 1, 7, 8, 9, 1007, 1008, 1009, 4096, 4097, 100_000, 0];

#[test]
fn messages_of_all_lengths_keep_their_bounds() {
    let _watchdog = watchdog("lengths");
    let (mut ours, mut theirs) = BytePipe::pair_with(&small()).expect("a pipe");
    let sender = thread::spawn(move || {
        for _ in 0..3 {
            LENGTHS.iter().for_each(|len| theirs.send(&message(*len)).expect("alive"));
        }
    });
    let mut room = vec![0xee; 100_001];
    for len in LENGTHS {
        assert_eq!(ours.recv().expect("alive"), message(len));
    }
    for len in LENGTHS {
        assert_eq!(ours.recv_into(&mut room).expect("alive"), len);
        assert_eq!(room[..len], message(len));
    }
    for len in LENGTHS {
        assert!(ours.poll(Duration::from_secs(60)).expect("alive"));
        assert_eq!(ours.try_recv_into(&mut room).expect("it was there"), len);
        assert_eq!(room[..len], message(len));
    }
    sender.join().expect("no panic");
    assert!(matches!(ours.recv(), Err(RecvError::Closed)));
    assert!(matches!(ours.recv_into(&mut room), Err(RecvIntoError::Closed)));
    assert_eq!(ours.next().expect("an end"), None);
}

#[test]
fn a_message_stays_where_the_room_is_too_short() {
    let _watchdog = watchdog("too short");
    let (mut ours, mut theirs) = BytePipe::pair_with(&small()).expect("a pipe");
    let sender = thread::spawn(move || {
        for len in [9, 50_000, 3] {
            theirs.send(&message(len)).expect("alive");
        }
    });
    let mut room = [0; 8];
    for len in [9, 50_000] {
        for _ in 0..2 {
            let refused = ours.recv_into(&mut room);
            assert!(matches!(refused, Err(RecvIntoError::BufferTooShort { needed }) if needed == len));
        }
        if len == 50_000 {
            // Gathered, it stays as well.
            assert!(ours.poll(Duration::from_secs(60)).expect("alive"));
            let refused = ours.try_recv_into(&mut room);
            assert!(matches!(refused, Err(RecvIntoError::BufferTooShort { needed: 50_000 })));
        }
        let mut enough = vec![0; len];
        assert_eq!(ours.recv_into(&mut enough).expect("alive"), len);
        assert_eq!(enough, message(len));
    }
    assert_eq!(ours.recv_into(&mut room).expect("alive"), 3);
    sender.join().expect("no panic");
}

#[test]
fn nothing_there_is_told_in_every_form() {
    let (mut ours, _theirs) = bytes().expect("a pipe");
    let mut room = [0; 8];
    assert!(matches!(ours.try_recv(), Err(TryRecvError::Empty)));
    assert!(matches!(ours.try_recv_into(&mut room), Err(RecvIntoError::Empty)));
    assert!(matches!(ours.recv_into_timeout(&mut room, SHORT), Err(RecvIntoError::Timeout)));
    assert!(matches!(ours.recv_into_deadline(&mut room, Instant::now()), Err(RecvIntoError::Timeout)));
    assert!(ours.recv_timeout(SHORT).is_err_and(|why| why.is_timeout()));
    assert!(!ours.poll(Duration::ZERO).expect("alive"));
}

#[test]
fn a_long_message_comes_in_over_several_timeouts() {
    let _watchdog = watchdog("several timeouts");
    let (mut ours, mut theirs) = BytePipe::pair_with(&small()).expect("a pipe");
    let sender = thread::spawn(move || theirs.send(&message(300_000)).map(|()| theirs));
    let mut room = vec![0; 300_000];
    let received = loop {
        match ours.recv_into_timeout(&mut room, Duration::from_micros(20)) {
            Ok(received) => break received,
            Err(RecvIntoError::Timeout) => room.fill(0),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(received, 300_000);
    assert!(room == message(300_000));
    sender.join().expect("no panic").expect("sent");
}

#[test]
fn what_is_given_up_never_arrives() {
    let _watchdog = watchdog("given up");
    let (mut ours, mut theirs) = BytePipe::pair_with(&small().max_message(200_000)).expect("a pipe");
    let mut room = vec![0; 200_000];
    for gathers in [false, true] {
        let half = theirs.send_timeout(&message(90_000), SHORT);
        assert!(matches!(half, Err(SendTimeoutError::Timeout(()))));
        if gathers {
            assert!(matches!(ours.try_recv_into(&mut room), Err(RecvIntoError::Empty)));
        }
        thread::scope(|scope| {
            scope.spawn(|| theirs.send(&message(80_000)).expect("alive"));
            assert_eq!(ours.recv_into(&mut room).expect("the next one"), 80_000);
        });
        assert!(room[..80_000] == message(80_000));
    }
    let Err(SendError::Failed((), why)) = theirs.send(&vec![0; 200_001]) else { panic!("too long") };
    assert_eq!(why.kind(), ErrorKind::TooLarge);
    let Err(TrySendError::Failed((), why)) = theirs.try_send(&[0; 2048]) else { panic!("not at once") };
    assert_eq!(why.kind(), ErrorKind::TooLarge);
    drop(theirs.send_timeout(&message(90_000), SHORT));
    theirs.close();
    assert!(matches!(ours.recv_into(&mut room), Err(RecvIntoError::Closed)));
}

#[test]
fn batches_go_together() {
    let _watchdog = watchdog("batches");
    let (mut ours, mut theirs) = BytePipe::pair_with(&small()).expect("a pipe");
    let sender = thread::spawn(move || {
        let messages: Vec<Vec<u8>> = LENGTHS.iter().map(|len| message(*len)).collect();
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        theirs.send_many(&slices).expect("alive");
    });
    for (received, len) in ours.iter().zip(LENGTHS) {
        assert_eq!(received.expect("alive"), message(len));
    }
    sender.join().expect("no panic");
}

#[test]
fn a_stream_has_no_bounds_but_an_end() {
    let _watchdog = watchdog("stream");
    let (mut ours, mut theirs) = BytePipe::pair_with(&small()).expect("a pipe");
    let text = message(200_000);
    let sent = text.clone();
    let sender = thread::spawn(move || {
        for piece in sent.chunks(777) {
            theirs.write_all(piece).expect("alive");
            theirs.write_all(&[]).expect("of no matter");
        }
        theirs.send(&[]).expect("alive");
        theirs.flush().expect("nothing is kept");
        theirs.write_all(&message(50_000)).expect("in several messages");
    });
    let mut read = vec![0; 200_000];
    ours.read_exact(&mut read).expect("alive");
    assert!(read == text);
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).expect("until it is closed");
    assert!(rest == message(50_000), "a message of no bytes is no end");
    sender.join().expect("no panic");
    assert_eq!(ours.read(&mut [0; 8]).expect("an end"), 0);
    assert_eq!(ours.write(b"x").expect_err("nobody reads").kind(), Io::BrokenPipe);
}

#[test]
fn the_rest_of_a_message_that_was_read_from_is_received() {
    let (mut ours, mut theirs) = bytes().expect("a pipe");
    let mut two = [0; 2];
    for _ in 0..3 {
        theirs.send(b"abcdef").expect("alive");
    }
    ours.read_exact(&mut two).expect("alive");
    assert_eq!((&two, ours.recv().expect("alive").as_slice()), (b"ab", &b"cdef"[..]));
    ours.read_exact(&mut two).expect("alive");
    let mut room = [0; 8];
    assert!(matches!(ours.recv_into(&mut two), Err(RecvIntoError::BufferTooShort { needed: 4 })));
    assert_eq!(ours.recv_into(&mut room).expect("alive"), 4);
    assert_eq!(&room[..4], b"cdef");
    assert_eq!(ours.recv().expect("alive"), b"abcdef");
}

fn write_and_wait(mut out: ByteSender, begun: Event) -> Result<()> {
    out.write_all(b"written").expect("alive");
    begun.set();
    loop {
        thread::park();
    }
}

#[test]
fn a_stream_whose_writer_was_killed_is_no_clean_end() {
    let _watchdog = watchdog("killed");
    let (ours, theirs) = bytes().expect("a pipe");
    let (theirs, their_ears) = theirs.split();
    let begun = Event::new().expect("an event");
    let child = Process::spawn(write_and_wait, (theirs, &begun)).expect("a child");
    begun.wait();
    child.kill().expect("it is ours");
    let (_mouth, mut ears) = ours.split();
    let mut read = Vec::new();
    let why = ears.read_to_end(&mut read).expect_err("it was not closed");
    assert_eq!((why.kind(), read.as_slice()), (Io::ConnectionReset, &b"written"[..]), "{why}");
    drop((child.join(), their_ears));
}

fn echo(mut pipe: BytePipe) -> Result<()> {
    while let Some(message) = pipe.next()? {
        pipe.send(&message)?;
    }
    Ok(())
}

#[test]
fn both_directions_move_to_a_child() {
    let _watchdog = watchdog("child");
    let (mut ours, theirs) = BytePipe::pair_with(&small()).expect("a pipe");
    let child = Process::spawn(echo, theirs).expect("a child");
    for len in LENGTHS {
        ours.send(&message(len)).expect("alive");
        assert_eq!(ours.recv().expect("alive"), message(len));
    }
    ours.close();
    child.join().expect("in order").expect("no error");
}
