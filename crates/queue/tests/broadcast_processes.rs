//! The broadcast channel among processes: read-only readers, and writers and readers that are killed.
//!
//! Children are this test binary again, in a role (the test `entry`). The two sweeps run in a child as well, because
//! they fork, and a process with the threads of a test runner cannot.
//!
//! - I1 a `Map` holds a whole mapping of a memfd that nobody truncates, aligned to a page; channel and readers are
//!   used while it lives, and it is accessed as atomics only.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "lends mapped memory to a channel")]

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::broadcast::SLOTS_AT;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::broadcast::{Broadcast, BroadcastError, Reader, Shape, View};
use ginnel_sync::{Deadline, Mode, Waiter};
use ginnel_testkit::child::{self, Arguments, Exit, Role};
use ginnel_testkit::oracle;
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::{Scratch, View as Words};
use ginnel_testkit::scribble::Scribbler;
use ginnel_testkit::step::{Marks, Moved};
use ginnel_testkit::sweep::{Plan, Subject, sweep};
use ginnel_testkit::watchdog::Watchdog;
use memmap2::{MmapOptions, MmapRaw};

const LIMIT: Duration = Duration::from_secs(60);

struct EverybodyLives;

impl Liveness for EverybodyLives {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

/// A mapping of a channel's file.
struct Map(MmapRaw);

impl Map {
    fn writable(file: &impl AsFd) -> Self {
        Self(MmapOptions::new().map_raw(file.as_fd().as_raw_fd()).expect("mapped"))
    }

    fn readable(file: &impl AsFd) -> Self {
        Self(MmapOptions::new().map_raw_read_only(file.as_fd().as_raw_fd()).expect("mapped"))
    }

    fn base(&self) -> NonNull<u8> {
        NonNull::new(self.0.as_mut_ptr()).expect("a mapping never begins at zero")
    }

    fn channel(&self) -> Broadcast {
        // SAFETY: I1.
        unsafe { Broadcast::from_raw(self.base(), self.0.len() as u64) }.expect("whole")
    }

    fn view(&self) -> View {
        // SAFETY: I1; the mapping may be read-only.
        unsafe { View::from_raw(self.base(), self.0.len() as u64) }.expect("whole")
    }
}

/// The file of a new channel, and a mapping of it.
fn made(capacity: u64, mode: Mode) -> (Scratch, Map) {
    let shape = Shape::new(capacity, 48, mode).expect("a small channel");
    let file = Scratch::new(shape.size().div_ceil(8) as usize).expect("a memfd");
    let map = Map::writable(&file);
    // SAFETY: I1; the file is new.
    unsafe { Broadcast::init(map.base(), &shape) };
    (file, map)
}

fn message(sender: u64, number: u64) -> [u8; 48] {
    let mut words = [0; 6];
    oracle::write(sender, number, &mut words);
    let mut bytes = [0; 48];
    for (to, word) in bytes.chunks_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Sender and number of a whole message.
fn checked(bytes: &[u8]) -> Option<(u64, u64)> {
    let words: Vec<u64> =
        bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("whole words"))).collect();
    oracle::read(&words).filter(|_| words.len() == 6)
}

/// The way in for roles; by itself it does nothing.
#[test]
fn entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "onlooker" => onlooker(&arguments),
        "sender" => sender(&arguments),
        "sleeper" => sleeper(&arguments),
        "scribbler" => scribbler(&arguments),
        "sweep-send" => sweep_send(),
        "sweep-recv" => sweep_recv(),
        other => panic!("no role {other}"),
    }
}

fn role(name: &str) -> Role {
    Role::new(name).through_test("entry")
}

/// Words by which a child tells what it has: ready, received, missed.
const READY: usize = 0;
const RECEIVED: usize = 1;
const MISSED: usize = 2;

/// Reads a mapping that it cannot write, to the end.
fn onlooker(arguments: &Arguments) {
    let map = Map::readable(&arguments.fd(0).expect("a descriptor"));
    let report = Scratch::from_fd(arguments.fd(1).expect("a descriptor")).expect("mapped");
    let mut reader = map.view().reader().expect("whole");
    report.set(READY, 1);
    loop {
        match reader.recv(Deadline::NEVER, &EverybodyLives) {
            Ok(message) => {
                checked(message.bytes).expect("a whole message");
                report.add(RECEIVED, 1);
            }
            Err(BroadcastError::Closed) => break,
            Err(BroadcastError::Interrupted) => {}
            Err(other) => panic!("{other:?}"),
        }
        report.add(MISSED, reader.take_missed());
    }
    report.add(MISSED, reader.take_missed());
}

#[test]
fn a_reader_that_cannot_write_sees_every_message() {
    let dog = Watchdog::new("a_reader_that_cannot_write_sees_every_message", LIMIT);
    for mode in [Mode::Adaptive, Mode::Sleep, Mode::Spin] {
        let (file, map) = made(16, mode);
        let report = Scratch::new(3).expect("a memfd");
        let mut child = role("onlooker").fd(&file).fd(&report).spawn().expect("started");
        let wait_for = |word, value| {
            while report.get(word) < value {
                std::hint::black_box(());
            }
        };
        dog.waits_for("a reader that is ready");
        wait_for(READY, 1);
        let channel = map.channel();
        // In step first, so that the reader sleeps in between; then faster than it can read.
        for number in 1..=20 {
            channel.try_send(id(0), 0, &message(1, number)).expect("room");
            dog.waits_for("message by message");
            wait_for(RECEIVED, number);
        }
        for number in 21..=5000 {
            channel.try_send(id(0), 0, &message(1, number)).expect("room");
        }
        channel.close();
        dog.waits_for("the end of the reader");
        assert_eq!(child.wait().expect("waited"), Exit::Code(0));
        assert_eq!(report.get(RECEIVED) + report.get(MISSED), 5000);
        assert_eq!(channel.stats().sleepers, [0; 4], "it left no trace");
    }
}

fn sender(arguments: &Arguments) {
    let map = Map::writable(&arguments.fd(0).expect("a descriptor"));
    let channel = map.channel();
    let mut waiter = Waiter::new(channel.shape().mode);
    for number in 1.. {
        channel
            .send(id(1), 0, &message(1, number), &mut waiter, Deadline::NEVER, &EverybodyLives)
            .expect("open");
    }
}

fn sleeper(arguments: &Arguments) {
    let map = Map::writable(&arguments.fd(0).expect("a descriptor"));
    let mut reader = map.channel().reader(id(2)).expect("whole");
    while reader.recv(Deadline::NEVER, &EverybodyLives).is_ok() {}
}

/// Takes what is there; numbers of one sender must rise by what was missed or aborted at most.
fn drain(reader: &mut Reader, received: &mut u64) {
    loop {
        match reader.try_recv() {
            Ok(message) => {
                checked(message.bytes).expect("a whole message");
                *received += 1;
            }
            Err(BroadcastError::WouldBlock) => return,
            // The dead one; recovery comes after the kill.
            Err(BroadcastError::Busy(_)) => return,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn killed_writers_and_readers_cost_nobody_anything() {
    let dog = Watchdog::new("killed_writers_and_readers_cost_nobody_anything", LIMIT);
    let (file, map) = made(8, Mode::Adaptive);
    let channel = map.channel();
    let mut reader = channel.reader(id(0)).expect("whole");
    let (mut received, mut missed, mut aborted) = (0, 0, 0);
    let mut rng = Rng::new(7);
    for round in 0..30 {
        let mut writer = role("sender").fd(&file).spawn().expect("started");
        let mut sleeper = role("sleeper").fd(&file).spawn().expect("started");
        let until = channel.stats().sent + 1 + rng.below(20_000);
        dog.waits_for(format!("the writer of round {round}"));
        while channel.stats().sent < until {
            drain(&mut reader, &mut received);
        }
        for (dead, who) in [(&mut writer, id(1)), (&mut sleeper, id(2))] {
            assert_eq!(dead.kill().expect("killed"), Exit::KILLED);
            channel.recover(who);
        }
        assert_eq!((channel.stats().writers.len(), channel.stats().sleepers), (0, [0; 4]));
        for number in 0..9 {
            channel.try_send(id(0), 0, &message(0, number)).expect("nobody is in the way");
        }
        drain(&mut reader, &mut received);
        missed += reader.take_missed();
        aborted += reader.take_aborted();
        assert_eq!(received + missed + aborted, channel.stats().sent, "round {round}");
    }
    assert!(aborted <= channel.stats().aborted && received > 30 * 8, "{received}, {aborted}");
}

/// What one trial of a sweep works on.
struct World {
    file: Scratch,
    map: Map,
    before: u64,
    /// 1: the victim's send said Ok.
    said: Scratch,
    untouched: u64,
}

impl World {
    fn new(before: u64, mode: Mode) -> Self {
        let (file, map) = made(2, mode);
        let channel = map.channel();
        for number in 0..before {
            channel.try_send(id(0), 0, &message(0, number)).expect("room");
        }
        // As if somebody slept, so that the victim goes through its wake.
        Words::writable(&file).expect("mapped").half(65).store(1, Relaxed);
        let said = Scratch::new(1).expect("a memfd");
        let untouched = Words::readable(&file).expect("mapped").fingerprint();
        Self { file, map, before, said, untouched }
    }
}

fn pinned_for(sweep: fn(u64, Mode)) {
    child::pin(child::cores().expect("cores")[0]).expect("pinned");
    for before in [0, 1, 2, 5] {
        sweep(before, Mode::Sleep);
    }
}

fn sweep_send() {
    pinned_for(|before, mode| {
        let mut subject = Subject {
            setup: Box::new(move || Ok(World::new(before, mode))),
            view: Box::new(|world: &World| Words::readable(&world.file).ok()),
            victim: Box::new(|world: &World, marks: &Marks| {
                let (channel, bytes) = (world.map.channel(), message(1, 99));
                marks.begin();
                if channel.try_send(id(1), 7, &bytes).is_ok() {
                    world.said.set(0, 1);
                }
                marks.end();
            }),
            check: Box::new(|world, moved| check_send(&world, moved)),
        };
        let report = sweep(&Plan::full(), &mut subject, |_, _| {}).unwrap_or_else(|fault| panic!("{fault}"));
        // Claim, hint, two words of head, six of payload less those that stay as they were, commit, flag, seq.
        assert!(report.states > 8 && report.trials > 50, "{report:?}");
        println!("send after {before}: {report:?}");
    });
}

fn check_send(world: &World, moved: Moved) -> Result<(), String> {
    let channel = world.map.channel();
    let seq = Words::readable(&world.file).map_err(|e| e.to_string())?;
    let woken = || seq.half(64).load(Relaxed);
    let before = woken();
    channel.recover(id(1));
    if woken() == before {
        return Err("recovery woke nobody".into());
    }
    // A reader that was there from the beginning.
    let mut reader = channel.reader(id(0)).map_err(|why| format!("{why:?}"))?.starting_at(0);
    let mut found = Vec::new();
    while let Ok(message) = reader.try_recv() {
        found.push(checked(message.bytes).ok_or("a torn message")?);
    }
    let (missed, aborted) = (reader.take_missed(), reader.take_aborted());
    let claimed = channel.stats().sent;
    let committed = found.contains(&(1, 99));
    if found.len() as u64 + missed + aborted != claimed || claimed > world.before + 1 {
        return Err(format!("{found:?}, {missed} missed, {aborted} aborted, {claimed} claimed"));
    }
    if !committed && (world.said.get(0) == 1 || moved == Moved::Over) {
        return Err(format!("the victim sent, and {found:?} is there"));
    }
    if committed as u64 + aborted != claimed - world.before || channel.stats().aborted != aborted {
        return Err(format!("committed {committed}, aborted {aborted}, claimed {claimed}"));
    }
    // All of the ring is usable again.
    for number in 0..5 {
        let sent = channel.try_send(id(0), 0, &message(0, 100 + number));
        sent.map_err(|why| format!("{why:?} afterwards"))?;
        let received = reader.try_recv().map_err(|why| format!("{why:?} afterwards"))?;
        if checked(received.bytes) != Some((0, 100 + number)) {
            return Err("another message afterwards".into());
        }
    }
    Ok(())
}

fn sweep_recv() {
    pinned_for(|before, mode| {
        let mut subject = Subject {
            setup: Box::new(move || Ok(World::new(before, mode))),
            view: Box::new(|world: &World| Words::readable(&world.file).ok()),
            victim: Box::new(|world: &World, marks: &Marks| {
                let mut reader = world.map.channel().reader(id(1)).expect("whole").starting_at(0);
                marks.begin();
                while reader.try_recv().is_ok() {}
                let _ = reader.recv(Deadline::after(Duration::ZERO), &EverybodyLives);
                marks.end();
            }),
            check: Box::new(|world, _| {
                let words = Words::readable(&world.file).map_err(|e| e.to_string())?;
                if words.fingerprint() != world.untouched {
                    return Err("a reader left something behind".into());
                }
                Ok(())
            }),
        };
        // A few places do: the scout's own run has shown that no instruction changes a word.
        let report = sweep(&Plan::short(), &mut subject, |_, _| {}).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(report.states, 1, "{report:?}");
    });
}

fn runs_through(test: &str, name: &str) {
    let _dog = Watchdog::new(test, 2 * LIMIT);
    assert_eq!(role(name).spawn().expect("started").wait().expect("waited"), Exit::Code(0));
}

#[test]
fn kill_broadcast_send() {
    runs_through("kill_broadcast_send", "sweep-send");
}

#[test]
fn kill_broadcast_recv() {
    runs_through("kill_broadcast_recv", "sweep-recv");
}

fn scribbler(arguments: &Arguments) {
    let words = Words::writable(&arguments.fd(0).expect("a descriptor")).expect("mapped");
    let seed: u64 = arguments.get(1).expect("a seed");
    Scribbler::new(words, seed).run(50_000);
}

/// Beside a process that writes nonsense everywhere, every call returns, soon and without a panic.
#[test]
fn a_scribbler_hurts_nobody() {
    let dog = Watchdog::new("a_scribbler_hurts_nobody", LIMIT);
    for seed in 0..3 {
        let (file, map) = made(8, Mode::Adaptive);
        let channel = map.channel();
        let _child = role("scribbler").fd(&file).arg(seed).spawn().expect("started");
        let (mut calls, mut received) = (0_u64, 0_u64);
        let end = Instant::now() + Duration::from_millis(400);
        while Instant::now() < end {
            dog.waits_for("one more call");
            let mut waiter = Waiter::new(Mode::Adaptive);
            let soon = || Deadline::after(Duration::from_micros(200));
            let _ = channel.send(id(0), 0, &[7; 48], &mut waiter, soon(), &EverybodyLives);
            if let Ok(mut reader) = channel.reader(id(1)) {
                let _ = channel.try_send(id(0), 0, &[7; 48]);
                let _ = reader.skip_to_latest();
                received += u64::from(reader.recv(soon(), &EverybodyLives).is_ok());
            }
            channel.recover(id(2));
            // Its words are anybody's; what matters is that it comes back.
            let _ = channel.stats();
            calls += 1;
        }
        assert!(calls > 100, "{calls} rounds, {received} messages");
    }
}

#[test]
fn the_sleepers_line_is_where_the_tests_think() {
    use ginnel_layout::broadcast::BroadcastControl;
    assert_eq!(std::mem::offset_of!(BroadcastControl, news), 64 * 4);
    assert_eq!(size_of::<BroadcastControl>() as u64, SLOTS_AT);
}
