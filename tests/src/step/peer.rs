//! Connections between strangers, interrupted.
//!
//! A connection has two processes, and neither outlives its death: what there is to check is what the other side sees, and
//! what is left. So beside the victim there is a survivor, a process of its own. It talks to whoever connects, or connects to
//! whoever listens; it must learn of each end, never wait for more than a few slices, serve the next client as if nothing had
//! been, and leave no descriptor, mapping or file.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ginnel::ErrorKind;
use ginnel::error::{RecvTimeoutError, SendTimeoutError};
use ginnel_pipe::{ConnectOptions, Listener, ListenerOptions, Peer};
use ginnel_testkit::child::{Child, Exit, fork_child};
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Progress, all};
use crate::world::during;

/// A number, and bytes that follow from it.
type Letter = (u64, Vec<u8>);

/// Bytes of a ring; a message above a quarter of them goes in parts.
const RING: usize = 8192;
const SHORT: usize = 20;
const LONG: usize = 5000;

/// The last client's message.
const LAST: u64 = 777;

/// The longest that anybody may wait for the word that a dead one is gone. Far above the 50 ms of the promise: the machine
/// may be busy.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest that a connection may take, beside a victim that is moved instruction by instruction.
const LIMIT: Duration = Duration::from_secs(20);

// Words that all share.
/// The survivor is ready.
const READY: usize = 0;
/// Messages that the victim has sent, as it says.
const SENT: usize = 1;
/// 1: the victim has come to its end.
const DONE: usize = 2;
/// Messages of the victim's that came.
const CAME: usize = 3;
/// How the victim's connection ended, for the survivor.
const ENDED: usize = 4;
/// Messages that the survivor has sent to the victim.
const THEIRS: usize = 5;

const CLOSED: u64 = 1;
const DIED: u64 = 2;

struct PeerWorld {
    words: Scratch,
    path: PathBuf,
    survivor: Option<Child>,
    before: Snapshot,
}

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn letter(number: u64, len: usize) -> Letter {
    (number, vec![number as u8; len])
}

fn read((number, bytes): &Letter) -> Result<u64, String> {
    if bytes.iter().all(|byte| *byte == *number as u8) {
        Ok(*number)
    } else {
        Err(format!("corrupt: {number}"))
    }
}

fn options() -> ListenerOptions {
    ListenerOptions::new().ring(RING).max_message(1 << 16)
}

fn connect_to(path: &Path, timeout: Duration) -> ginnel::Result<Peer<Letter>> {
    ConnectOptions::new().ring(RING).max_message(1 << 16).timeout(timeout).connect(path)
}

impl PeerWorld {
    /// A place of its own, and a survivor there.
    fn new(survivor: fn(&Self) -> Result<(), String>) -> Result<Self, String> {
        let before = Snapshot::of(std::process::id()).map_err(during("count what is open"))?;
        let number = COUNT.replace(COUNT.get() + 1);
        let path = std::env::temp_dir().join(format!("ginnel-step-{}-{number}", std::process::id()));
        let words = Scratch::new(8).map_err(during("make words"))?;
        let mut this = Self { words, path, survivor: None, before };
        let child = fork_child(|| {
            let before = Snapshot::of(std::process::id()).expect("counted");
            if let Err(why) = survivor(&this) {
                panic!("the survivor: {why}");
            }
            let leaks = Snapshot::of(std::process::id()).expect("counted").leaked_since(&before);
            assert!(leaks.is_empty(), "the survivor has left behind: {leaks:?}");
        });
        this.survivor = Some(child.map_err(during("fork the survivor"))?);
        Ok(this)
    }

    /// Waits for a word of another process.
    fn wait_for(&self, word: usize, least: u64) -> Result<(), String> {
        let begun = Instant::now();
        while self.words.get(word) < least {
            if begun.elapsed() > LIMIT {
                return Err(format!("word {word} is {} still", self.words.get(word)));
            }
            // This is not synchronisation: it only paces.
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    /// The survivor comes to a good end, and nothing is left.
    fn comes_to_an_end(mut self) -> Result<(), String> {
        let mut survivor = self.survivor.take().ok_or("there was a survivor")?;
        match survivor.wait_timeout(LIMIT).map_err(during("wait for the survivor"))? {
            Some(Exit::Code(0)) => {}
            Some(exit) => return Err(format!("the survivor ended with {exit}")),
            None => return Err("the survivor hangs".to_owned()),
        }
        self.no_file_is_left()?;
        let Self { words, before, .. } = self;
        drop(words);
        let leaks = Snapshot::of(std::process::id()).map_err(during("count"))?.leaked_since(&before);
        if leaks.is_empty() { Ok(()) } else { Err(format!("leaked: {leaks:?}")) }
    }

    fn no_file_is_left(&self) -> Result<(), String> {
        let lock = PathBuf::from(format!("{}.lock", self.path.display()));
        for path in [&self.path, &lock] {
            if std::fs::symlink_metadata(path).is_ok() {
                return Err(format!("leaked: {}", path.display()));
            }
        }
        Ok(())
    }
}

/// Talks to whoever comes, to the end of each; the last one gets its message back.
fn host(this: &PeerWorld, gifts: &[usize]) -> Result<(), String> {
    let listener = Listener::bind_with(&this.path, options()).map_err(during("listen"))?;
    this.words.set(READY, 1);
    loop {
        let mut peer: Peer<Letter> = listener.accept_timeout(LIMIT).map_err(during("accept"))?;
        for (number, len) in (0..).zip(gifts) {
            // A client that is gone already shows below.
            if peer.send_timeout(letter(number, *len), PATIENCE).is_err() {
                break;
            }
            this.words.add(THEIRS, 1);
        }
        let mut came = 0;
        loop {
            match peer.recv_timeout(PATIENCE) {
                Ok(letter) if letter.0 == LAST => {
                    peer.send(letter).map_err(during("answer"))?;
                    return match peer.recv_timeout(PATIENCE) {
                        Err(RecvTimeoutError::Closed) => Ok(()),
                        other => Err(format!("{other:?}; expected the last one's word that it has closed")),
                    };
                }
                Ok(letter) if read(&letter)? == came => came += 1,
                Ok(letter) => return Err(format!("{} came instead of {came}", letter.0)),
                Err(RecvTimeoutError::Timeout) if this.words.get(DONE) == 0 => {}
                Err(why) => {
                    this.words.set(ENDED, ended(&why)?);
                    break;
                }
            }
        }
        this.words.set(CAME, came);
        is_told_when_it_sends(&mut peer)?;
    }
}

/// How a connection has ended.
fn ended(why: &RecvTimeoutError) -> Result<u64, String> {
    match why {
        RecvTimeoutError::Closed => Ok(CLOSED),
        RecvTimeoutError::Failed(error) if error.is_peer_dead() => Ok(DIED),
        other => Err(format!("{other:?}; expected Closed or PeerDied")),
    }
}

/// The other side is gone, so sending must end, and soon.
fn is_told_when_it_sends(peer: &mut Peer<Letter>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match peer.send_timeout(letter(1, LONG), PATIENCE) {
            Ok(()) if begun.elapsed() < PATIENCE => {}
            Err(SendTimeoutError::Closed(_)) => return Ok(()),
            Err(SendTimeoutError::Failed(_, error)) if error.is_peer_dead() => return Ok(()),
            other => return Err(format!("{other:?}; expected the word that the peer is gone")),
        }
    }
}

/// The victim is dead. The last client is served by the survivor, which then ends.
fn the_next_is_served(this: &PeerWorld, gifts: usize) -> Result<(), String> {
    // Who died before its end lets the survivor wait for it no longer.
    this.words.set(DONE, this.words.get(DONE).max(2));
    let mut peer = connect_to(&this.path, LIMIT).map_err(during("connect after the death"))?;
    for _ in 0..gifts {
        peer.recv_timeout(LIMIT).map_err(during("receive what the survivor sends"))?;
    }
    peer.send(letter(LAST, SHORT)).map_err(during("send after the death"))?;
    let came = peer.recv_timeout(LIMIT).map_err(during("receive after the death"))?;
    if read(&came)? == LAST { Ok(()) } else { Err(format!("{} came back", came.0)) }
}

/// A connection that the victim has made before its first mark.
fn connected(
    name: &str,
    host: fn(&PeerWorld) -> Result<(), String>,
    gifts: usize,
    victim: fn(&PeerWorld, Peer<Letter>, &Marks),
    right: fn(u64, &PeerWorld) -> bool,
) -> (String, Subject<'static, PeerWorld>) {
    let subject = Subject {
        setup: Box::new(move || PeerWorld::new(host)),
        view: Box::new(|_: &PeerWorld| None),
        victim: Box::new(move |this, marks| {
            this.wait_for(READY, 1).expect("the survivor listens");
            let peer = connect_to(&this.path, LIMIT).expect("the survivor is there");
            victim(this, peer, marks);
        }),
        check: Box::new(move |this, _| {
            the_next_is_served(&this, gifts)?;
            let (came, sent, done) = (this.words.get(CAME), this.words.get(SENT), this.words.get(DONE) == 1);
            // One may have come that the victim had no time to write down.
            if came < sent || came > sent + u64::from(!done) || !right(this.words.get(ENDED), &this) {
                return Err(format!(
                    "lost or duplicated: {came} came, the victim had sent {sent}; ended with {}",
                    this.words.get(ENDED)
                ));
            }
            this.comes_to_an_end()
        }),
    };
    (name.to_owned(), subject)
}

/// Many windows, each trial with a death that somebody has to notice: fewer places.
fn thinned(plan: &Plan) -> Plan {
    if plan.is_sample() {
        Plan { every_up_to: 1, sample: 1, most: 50, reach: 4_000, ..*plan }
    } else {
        Plan { most: 4_000, reach: 60_000, ..*plan }
    }
}

fn died(ended: u64, _: &PeerWorld) -> bool {
    ended == DIED
}

fn either(ended: u64, _: &PeerWorld) -> bool {
    matches!(ended, CLOSED | DIED)
}

pub(super) fn send(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    fn sends(this: &PeerWorld, mut peer: Peer<Letter>, marks: &Marks, len: usize) {
        peer.send(letter(0, SHORT)).expect("the survivor is there");
        this.words.set(SENT, 1);
        let letter = letter(1, len);
        marks.begin();
        let sent = peer.send(letter);
        this.words.add(SENT, u64::from(sent.is_ok()));
        this.words.set(DONE, 1);
        marks.end();
    }
    let short = connected("short", |this| host(this, &[]), 0, |t, p, m| sends(t, p, m, SHORT), died);
    let long = connected("in parts", |this| host(this, &[]), 0, |t, p, m| sends(t, p, m, LONG), died);
    all(&thinned(plan), progress, [short, long])
}

pub(super) fn recv(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    fn receives(this: &PeerWorld, mut peer: Peer<Letter>, marks: &Marks) {
        this.wait_for(THEIRS, 1).expect("the survivor sends");
        marks.begin();
        let got = peer.try_recv();
        this.words.set(DONE, 1);
        marks.end();
        read(&got.expect("it was sent")).expect("it is whole");
    }
    let short = connected("short", |this| host(this, &[SHORT]), 1, receives, died);
    let long = connected("in parts", |this| host(this, &[LONG]), 1, receives, died);
    all(&thinned(plan), progress, [short, long])
}

pub(super) fn close(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    fn closes(this: &PeerWorld, mut peer: Peer<Letter>, marks: &Marks) {
        this.wait_for(THEIRS, 1).expect("the survivor sends");
        peer.send(letter(0, LONG)).expect("the survivor is there");
        this.words.set(SENT, 1);
        marks.begin();
        peer.close();
        this.words.set(DONE, 1);
        marks.end();
    }
    let case = connected(
        "messages in both directions",
        |this| host(this, &[SHORT]),
        1,
        closes,
        |ended, this| either(ended, this) && (this.words.get(DONE) != 1 || ended == CLOSED),
    );
    all(&thinned(plan), progress, [case])
}

pub(super) fn connect(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = Subject {
        setup: Box::new(|| PeerWorld::new(|this| host(this, &[]))),
        view: Box::new(|_: &PeerWorld| None),
        victim: Box::new(|this: &PeerWorld, marks: &Marks| {
            this.wait_for(READY, 1).expect("the survivor listens");
            marks.begin();
            let peer = connect_to(&this.path, LIMIT);
            this.words.set(DONE, 1);
            marks.end();
            drop(peer.expect("the survivor is there"));
        }),
        check: Box::new(|this, _| {
            the_next_is_served(&this, 0)?;
            // Whether the survivor has met the victim at all depends on how far that came.
            if !matches!(this.words.get(ENDED), 0 | DIED) {
                return Err(format!("the victim's connection ended with {}", this.words.get(ENDED)));
            }
            this.comes_to_an_end()
        }),
    };
    all(&thinned(plan), progress, [("a listener that serves".to_owned(), subject)])
}

/// A survivor that connects until somebody gives its message back.
fn guest(this: &PeerWorld) -> Result<(), String> {
    let end = Instant::now() + LIMIT;
    this.words.set(READY, 1);
    while Instant::now() < end {
        let mut peer = match connect_to(&this.path, LIMIT) {
            Ok(peer) => peer,
            Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::Closed | ErrorKind::Denied) => {
                // This is not synchronisation: it only paces.
                std::thread::sleep(Duration::from_micros(100));
                continue;
            }
            Err(why) => return Err(format!("connect: {why:?}")),
        };
        let sent = peer.send_timeout(letter(LAST, SHORT), PATIENCE);
        if sent.is_ok() {
            // A listener that is moved step by step is alive, and takes its time.
            match peer.recv_timeout(LIMIT) {
                Ok(letter) if read(&letter)? == LAST => return Ok(()),
                Ok(letter) => return Err(format!("{} came back", letter.0)),
                Err(why) => ended(&why).map(drop)?,
            }
        }
        is_told_when_it_sends(&mut peer)?;
    }
    Err("nobody served".to_owned())
}

/// Listens where the dead one did, and serves the survivor.
fn take_over(this: &PeerWorld) -> Result<(), String> {
    let listener =
        Listener::bind_with(&this.path, options()).map_err(during("listen where the dead one did"))?;
    let mut peer: Peer<Letter> = listener.accept_timeout(LIMIT).map_err(during("accept after the death"))?;
    let came = peer.recv_timeout(LIMIT).map_err(during("receive after the death"))?;
    peer.send(came).map_err(during("answer after the death"))?;
    match peer.recv_timeout(LIMIT) {
        Err(RecvTimeoutError::Closed) => Ok(()),
        other => Err(format!("{other:?}; expected the survivor's word that it has closed")),
    }
}

pub(super) fn accept(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = Subject {
        setup: Box::new(|| PeerWorld::new(guest)),
        view: Box::new(|_: &PeerWorld| None),
        victim: Box::new(|this: &PeerWorld, marks: &Marks| {
            this.wait_for(READY, 1).expect("the survivor is there");
            let listener = Listener::bind_with(&this.path, options()).expect("the path is free");
            marks.begin();
            let peer = listener.accept::<Letter, Letter>();
            this.words.set(DONE, 1);
            marks.end();
            drop((peer.expect("the survivor comes"), listener));
        }),
        check: Box::new(|this, _| {
            take_over(&this)?;
            this.comes_to_an_end()
        }),
    };
    all(&thinned(plan), progress, [("a client that comes again".to_owned(), subject)])
}

pub(super) fn listen(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = Subject {
        setup: Box::new(|| PeerWorld::new(|_| Ok(()))),
        view: Box::new(|_: &PeerWorld| None),
        victim: Box::new(|this: &PeerWorld, marks: &Marks| {
            marks.begin();
            let listener = Listener::bind_with(&this.path, options());
            let is_there = listener.is_ok();
            drop(listener);
            marks.end();
            assert!(is_there, "the path is free");
        }),
        check: Box::new(|this, _| {
            drop(
                Listener::bind_with(&this.path, options())
                    .map_err(during("listen where the dead one did"))?,
            );
            this.comes_to_an_end()
        }),
    };
    all(&thinned(plan), progress, [("nobody comes".to_owned(), subject)])
}
