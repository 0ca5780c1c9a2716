//! The processes that are killed, and what each writes down.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ginnel::error::{RecvTimeoutError, SendTimeoutError, TryRecvError};
use ginnel::pipe::{Options, Receiver, Sender};
use ginnel::sync::{Init, Mutex};
use ginnel::{ErrorKind, Manager, Object, Queue, queue};
use ginnel_pipe::{ConnectOptions, Listener, Peer};
use ginnel_testkit::oracle::{self, MESSAGE_MIN};
use ginnel_testkit::rng::{Rng, mix};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Books, PIPES};
use crate::world::{during, try_attach};

/// Words of a message, and a handle of something that holds its number, perhaps.
type Letter = (Vec<u64>, Option<Mutex<u64>>);

/// The same between strangers.
type Note = (u64, Vec<u8>);

/// Longest wait for the other end, which may be dead and not replaced yet.
const A_WHILE: Duration = Duration::from_millis(50);

/// Bytes of a ring; the longest messages are longer.
const RING: usize = 16 << 10;
const LONG: u64 = 3000;

/// Where ends wait for somebody who goes on with them.
const SENDERS: &str = "senders";
const RECEIVERS: &str = "receivers";

/// What all share.
pub(super) struct Place<'a> {
    pub(super) manager: &'a Manager,
    pub(super) books: &'a Books,
    pub(super) path: PathBuf,
}

pub(super) fn path() -> PathBuf {
    std::env::temp_dir().join(format!("ginnel-kill-{}", std::process::id()))
}

fn options() -> Options {
    Options::new().size(RING)
}

fn name(pipe: usize) -> String {
    format!("pipe {pipe}")
}

/// An end of pipe `pipe`, if it is free.
fn free_end<E: Object<Options = Options>>(manager: &Manager, pipe: usize) -> Option<E> {
    match manager.get_or_create_with(&name(pipe), options()) {
        Ok(end) => Some(end),
        Err(error) if error.is_taken() => None,
        Err(error) => panic!("take an end: {error:?}"),
    }
}

/// An end that nobody uses: one that waits in the queue, or whose holder has died, or that was never taken. `buried` closes
/// the books of the dead.
fn some_end<E>(manager: &Manager, ends: &Queue<(u64, E)>, buried: impl Fn(usize)) -> (usize, E)
where
    E: Object<Options = Options> + Serialize + DeserializeOwned + Send + 'static,
{
    loop {
        match ends.recv_timeout(Duration::from_millis(1)) {
            Ok((pipe, end)) => return (pipe as usize, end),
            Err(RecvTimeoutError::Timeout) => {}
            // Somebody who is stopped holds the next place, or no ticket is free for the moment.
            Err(RecvTimeoutError::Failed(error)) if error.is_timeout() || error.is_full() => {}
            Err(why) => panic!("receive an end: {why:?}"),
        }
        if let Some((pipe, end)) = (0..PIPES).find_map(|pipe| Some((pipe, free_end(manager, pipe)?))) {
            buried(pipe);
            return (pipe, end);
        }
    }
}

/// Gives an end away, and takes whichever comes.
fn swap<E>(
    manager: &Manager,
    ends: &Queue<(u64, E)>,
    (pipe, end): (usize, E),
    buried: impl Fn(usize),
) -> (usize, E)
where
    E: Object<Options = Options> + Serialize + DeserializeOwned + Send + 'static,
{
    match ends.send_timeout((pipe as u64, end), A_WHILE) {
        Ok(()) => some_end(manager, ends, buried),
        // Somebody holds the queue up, or the end is in the middle of a message: it has not moved.
        Err(SendTimeoutError::Timeout((_, end))) => (pipe, end),
        Err(SendTimeoutError::Failed((_, end), error))
            if error.kind() == ErrorKind::Invalid || error.is_timeout() || error.is_full() =>
        {
            (pipe, end)
        }
        Err(why) => panic!("send an end: {why:?}"),
    }
}

fn queue_of<T: ginnel::Message>(manager: &Manager, name: &str) -> Queue<T> {
    manager.get_or_create_with(name, queue::Options::bounded(8)).expect("there is room")
}

impl Place<'_> {
    fn attach(&self) -> (Manager, Rng) {
        (
            try_attach(self.manager).expect("there is a place for each"),
            Rng::new(u64::from(std::process::id())),
        )
    }

    /// Sends for ever.
    pub(super) fn send(&self, index: usize) {
        let (manager, mut rng) = self.attach();
        let ends: Queue<(u64, Sender<Letter>)> = queue_of(&manager, SENDERS);
        let buried = |pipe: usize| self.books.ledger(pipe).bury_producer().expect("there is room for deaths");
        let (mut pipe, mut tx) = some_end(&manager, &ends, buried);
        self.books.ready(index);
        loop {
            let ledger = self.books.ledger(pipe);
            let sequence = ledger.begin(1).start;
            match tx.send_timeout(letter(&manager, pipe, sequence), A_WHILE) {
                Ok(()) => ledger.sent(1),
                Err(SendTimeoutError::Timeout(_)) => ledger.sent(0),
                Err(SendTimeoutError::Closed(_)) => {
                    ledger.sent(0);
                    pause();
                }
                Err(SendTimeoutError::Failed(_, error)) if error.is_peer_dead() => {
                    ledger.sent(0);
                    pause();
                }
                Err(why) => panic!("send: {why:?}"),
            }
            if rng.below(256) == 0 {
                (pipe, tx) = swap(&manager, &ends, (pipe, tx), buried);
            }
        }
    }

    /// Receives for ever.
    pub(super) fn receive(&self, index: usize) {
        let (manager, mut rng) = self.attach();
        let ends: Queue<(u64, Receiver<Letter>)> = queue_of(&manager, RECEIVERS);
        let buried = |pipe: usize| self.books.bury_receiver(pipe).expect("there is room for deaths");
        let (mut pipe, mut rx) = some_end(&manager, &ends, buried);
        self.books.ready(index);
        loop {
            match rx.recv_timeout(A_WHILE) {
                Ok(letter) => self.saw(pipe, &letter, rx.redelivered()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Closed) => pause(),
                Err(RecvTimeoutError::Failed(error)) if error.is_peer_dead() => pause(),
                Err(why) => panic!("receive: {why:?}"),
            }
            if rng.below(256) == 0 {
                (pipe, rx) = swap(&manager, &ends, (pipe, rx), buried);
            }
        }
    }

    fn saw(&self, pipe: usize, (words, handle): &Letter, redelivered: bool) {
        self.books.ledger(pipe).saw(words, redelivered);
        self.books.words.set(Books::DEAD + pipe, 0);
        let held = handle.as_ref().map(|mutex| mutex.lock().map(|number| *number).ok());
        if held.is_some_and(|held| held != words.get(1).copied()) {
            self.books.words.add(Books::WRONG, 1);
        }
    }

    /// Gives back what clients send, for ever.
    pub(super) fn listen(&self, index: usize) {
        let listener = Listener::bind(&self.path).expect("the predecessor is dead, so its path is free");
        self.books.ready(index);
        let mut peers: Vec<Peer<Note>> = Vec::new();
        loop {
            let idle = peers.is_empty();
            match listener.accept_timeout(if idle { A_WHILE } else { Duration::ZERO }) {
                Ok(peer) => peers.push(peer),
                Err(error) if error.is_timeout() => {}
                Err(error) => panic!("accept: {error:?}"),
            }
            peers.retain_mut(|peer| match peer.recv_timeout(Duration::from_millis(1)) {
                Ok(note) => peer.send_timeout(note, A_WHILE).is_ok(),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Closed) => false,
                Err(RecvTimeoutError::Failed(error)) if error.is_peer_dead() => false,
                Err(why) => panic!("receive from a client: {why:?}"),
            });
        }
    }

    /// Connects, sends, and compares, for ever.
    pub(super) fn call(&self, index: usize) {
        let mut number = 0;
        loop {
            let connected = ConnectOptions::new().timeout(A_WHILE).connect::<Note, Note>(&self.path);
            // From here on it does what its predecessor did, be there a listener or not.
            self.books.ready(index);
            let Ok(mut peer) = connected else {
                pause();
                continue;
            };
            while self.ask(&mut peer, number) {
                number += 1;
            }
        }
    }

    /// One message there and back. False: the listener is gone.
    fn ask(&self, peer: &mut Peer<Note>, number: u64) -> bool {
        let len = if number.is_multiple_of(64) { 100_000 } else { mix(number) % 500 } as usize;
        if peer.send_timeout((number, vec![number as u8; len]), A_WHILE).is_err() {
            return false;
        }
        loop {
            match peer.recv_timeout(A_WHILE) {
                Ok((back, bytes)) => {
                    let right = back == number
                        && bytes.len() == len
                        && bytes.iter().all(|byte| *byte == number as u8);
                    self.books.words.add(if right { Books::ECHOES } else { Books::WRONG }, 1);
                    return true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Closed) => return false,
                Err(RecvTimeoutError::Failed(error)) if error.is_peer_dead() => return false,
                Err(why) => panic!("receive from the listener: {why:?}"),
            }
        }
    }

    /// The receivers of all pipes, after the death of all.
    pub(super) fn all_receivers(&self) -> Result<Vec<(usize, Receiver<Letter>)>, String> {
        let senders: Queue<(u64, Sender<Letter>)> = queue_of(self.manager, SENDERS);
        while let Ok(end) = senders.try_recv() {
            drop(end);
        }
        let waiting: Queue<(u64, Receiver<Letter>)> = queue_of(self.manager, RECEIVERS);
        let mut all: Vec<(usize, Receiver<Letter>)> = Vec::new();
        while let Ok((pipe, rx)) = waiting.try_recv() {
            all.push((pipe as usize, rx));
        }
        for pipe in 0..PIPES {
            if all.iter().all(|(other, _)| *other != pipe) {
                let rx = free_end(self.manager, pipe).ok_or(format!("somebody dead holds pipe {pipe}"))?;
                self.books.bury_receiver(pipe)?;
                all.push((pipe, rx));
            }
            self.books.ledger(pipe).bury_producer()?;
        }
        if all.len() == PIPES { Ok(all) } else { Err(format!("{} receivers of {PIPES} pipes", all.len())) }
    }

    /// Receives what is left in a pipe.
    pub(super) fn drain(&self, pipe: usize, rx: &mut Receiver<Letter>) -> Result<(), String> {
        loop {
            match rx.try_recv() {
                Ok(letter) => self.saw(pipe, &letter, rx.redelivered()),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
                Err(TryRecvError::Failed(error)) if error.is_peer_dead() => return Ok(()),
                Err(why) => return Err(format!("drain pipe {pipe}: {why:?}")),
            }
        }
    }

    /// What a killed listener leaves is replaced by the next one, and goes with it.
    pub(super) fn leaks_outside(&self) -> Result<Vec<String>, String> {
        drop(Listener::bind(&self.path).map_err(during("listen after all"))?);
        let lock = PathBuf::from(format!("{}.lock", self.path.display()));
        let left = [&self.path, &lock].into_iter().filter(|path| std::fs::symlink_metadata(path).is_ok());
        Ok(left.map(|path| path.display().to_string()).collect())
    }
}

/// A message: mostly short, every eighth with a handle where there is room for one, one in 64 in parts.
fn letter(manager: &Manager, pipe: usize, sequence: u64) -> Letter {
    let words = if sequence.is_multiple_of(64) { LONG } else { mix(sequence) % 40 } as usize + MESSAGE_MIN;
    let mut message = vec![0; words];
    oracle::write(pipe as u64, sequence, &mut message);
    let handle =
        if sequence.is_multiple_of(8) { manager.create_with(Init(Some(sequence))).ok() } else { None };
    (message, handle)
}

/// The successor of the other end is about to come; spinning on the error would only keep it from the core.
fn pause() {
    thread::sleep(Duration::from_micros(100)); // pacing, not synchronisation
}
