//! What a rogue does once it is through the door, or in it.

use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Relaxed, Release};
use ginnel_layout::peer::{PeerControl, RING_AT, Want, Wants};
use ginnel_layout::record::{GRANULE, RecordHeader, kind};
use ginnel_pipe::handshake::Fingerprint;
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::scribble::Scribbler;
use rustix::thread::futex;

use super::door::{Trick, send};
use super::rogue::{RING, Rogue, Way};

/// What it does all through a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Breaks the handshake in all ways.
    Door,
    /// Hangs up, at any step.
    Closes,
    /// Connects often, and says nothing.
    Crowd,
    /// Overwrites its page of words.
    Control,
    /// Overwrites its ring.
    Ring,
    /// Overwrites all of its half.
    Half,
    /// Sends records with wrong lengths and kinds.
    Lengths,
    /// Sends long messages that do not end, or begin again and again.
    Endless,
    /// Rewrites what it has committed.
    Rewrites,
    /// Says that it has taken more, or less, than it can have.
    Heads,
    /// Tries to truncate, to punch holes, to write where it must not.
    Holes,
    /// Moves the sleepers to other words, and wakes them all the time.
    Requeues,
    /// Sends bytes and descriptors over the socket.
    Noise,
    /// Stops for a while; that is its supervisor's doing.
    Stops,
}

pub(super) const ACTS: [Act; 14] = [
    Act::Lengths,
    Act::Control,
    Act::Rewrites,
    Act::Door,
    Act::Requeues,
    Act::Ring,
    Act::Noise,
    Act::Heads,
    Act::Stops,
    Act::Half,
    Act::Closes,
    Act::Endless,
    Act::Holes,
    Act::Crowd,
];

/// What a rogue did, in shared words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deeds<'a> {
    words: &'a Scratch,
}

impl<'a> Deeds<'a> {
    pub(super) const WORDS: usize = 3;
    /// Connections that came about.
    pub(super) const MET: usize = 0;
    /// Single offences.
    pub(super) const DONE: usize = 1;
    /// Those that ought to have been refused and were not.
    pub(super) const ALLOWED: usize = 2;

    pub(super) fn new(words: &'a Scratch) -> Self {
        Self { words }
    }

    fn add(self, what: usize, count: u64) {
        self.words.add(what, count);
    }

    fn allowed(self, what: &str) {
        eprintln!("hostile: a rogue was allowed to {what}");
        self.add(Self::ALLOWED, 1);
    }
}

/// What a rogue needs to know.
pub(super) struct Brief<'a> {
    pub(super) act: Act,
    pub(super) fingerprint: Fingerprint,
    /// The bytes of a message as it should be.
    pub(super) sample: fn(&mut Rng) -> Vec<u8>,
    pub(super) seed: u64,
    pub(super) deeds: Deeds<'a>,
}

/// Goes on until it is killed.
pub(super) fn run(brief: &Brief<'_>, way: &Way) -> ! {
    let mut rng = Rng::new(brief.seed);
    let mut crowd: Vec<OwnedFd> = Vec::new();
    loop {
        let trick = match brief.act {
            Act::Door => Trick::any(&mut rng),
            Act::Closes if rng.below(2) == 0 => Trick::hang_up(&mut rng),
            _ => Trick::None,
        };
        if brief.act == Act::Crowd && rng.below(8) != 0 {
            crowd.extend(way.socket());
            brief.deeds.add(Deeds::DONE, 1);
            if crowd.len() > 100 {
                crowd.drain(..rng.below(100) as usize);
            }
            continue;
        }
        if !matches!(trick, Trick::None) {
            brief.deeds.add(Deeds::DONE, 1);
        }
        match Rogue::meet(way, &brief.fingerprint, &trick, &mut rng) {
            Ok(Some(rogue)) => {
                brief.deeds.add(Deeds::MET, 1);
                if matches!((trick, way), (Trick::Files | Trick::Seals, Way::Connects(_))) {
                    brief.deeds.allowed("come in without a proper half");
                }
                converse(brief, rogue, &mut rng);
            }
            // The other has other things to do, or no descriptors left.
            Ok(None) | Err(_) => std::thread::sleep(Duration::from_micros(200)), // pacing, not synchronisation
        }
    }
}

/// Speaks as it should, and misbehaves in between, until the other hangs up or it has had enough.
fn converse(brief: &Brief<'_>, mut rogue: Rogue, rng: &mut Rng) {
    let end = Instant::now() + rng.duration(&(Duration::from_millis(2)..Duration::from_millis(40)));
    let mut scribbler = scribbler(brief.act, &mut rogue, rng);
    while Instant::now() < end && !rogue.is_alone() {
        rogue.take_all();
        let message = (brief.sample)(rng);
        if rogue.has_room(message.len()) {
            rogue.send(&message);
            rogue.ring_bell();
        }
        brief.deeds.add(Deeds::DONE, 1);
        match brief.act {
            Act::Control | Act::Ring | Act::Half => {
                if let Some(scribbler) = &mut scribbler {
                    for _ in 0..=rng.below(8) {
                        scribbler.scribble();
                    }
                }
            }
            Act::Lengths => lie(&mut rogue, rng),
            Act::Endless => go_on_for_ever(&mut rogue, rng),
            Act::Rewrites => rewrite(&rogue, rng),
            Act::Heads => miscount(&rogue, rng),
            Act::Holes => {
                let (tried, allowed) = rogue.attempts();
                brief.deeds.add(Deeds::DONE, tried);
                allowed.into_iter().for_each(|what| brief.deeds.allowed(what));
            }
            Act::Requeues => requeue(&rogue, rng),
            Act::Noise => make_noise(&rogue, rng),
            Act::Closes if rng.below(16) == 0 => return leave(rogue, rng),
            _ => {}
        }
        if rng.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(rng.below(500))); // pacing, not synchronisation
        }
    }
}

fn scribbler(act: Act, rogue: &mut Rogue, rng: &mut Rng) -> Option<Scribbler> {
    let page = (RING_AT / 8) as usize;
    let range = match act {
        Act::Control => 0..size_of::<PeerControl>() / 8,
        Act::Ring => page..page + (RING / 8) as usize,
        Act::Half => 0..rogue.own.words(),
        _ => return None,
    };
    rogue.spare.take().map(|view| Scribbler::new(view, rng.next_u64()).within(range))
}

/// Commits a record whose header says what is not so.
fn lie(rogue: &mut Rogue, rng: &mut Rng) {
    let lens = [
        0,
        1,
        7,
        8,
        63,
        64,
        RING / 4,
        RING - 24,
        RING - 16,
        RING - 15,
        RING - 8,
        RING,
        2 * RING,
        u64::from(u32::MAX),
    ];
    let len = lens[rng.below(lens.len() as u64) as usize] as u32;
    let header = match rng.below(6) {
        0 => RecordHeader::one(len).bits(),
        1 => RecordHeader::many(len, rng.below(4) as u16).bits(),
        2 => RecordHeader { len, count: rng.next_u64() as u16, many: false, kind: kind::WHOLE }.bits(),
        3 => rng.next_u64() | 1 << 63,
        // Kinds that are none are among them.
        _ => RecordHeader::of_kind(len, rng.below(16) as u8).bits(),
    };
    let payload: Vec<u8> = (0..rng.below(24)).flat_map(|_| rng.next_u64().to_ne_bytes()).collect();
    rogue.commit(header, &payload);
}

/// Parts of messages that never end, or end elsewhere than was said.
fn go_on_for_ever(rogue: &mut Rogue, rng: &mut Rng) {
    let part = [0x5a; 1024];
    let total = match rng.below(4) {
        0 => u64::MAX,
        1 => rng.below(4096),
        _ => 1 << (11 + rng.below(9)),
    };
    let mut first = total.to_le_bytes().to_vec();
    first.extend(&part[..64 + rng.below(900) as usize]);
    if rogue.has_room(first.len()) {
        rogue.commit(RecordHeader::of_kind(first.len() as u32, kind::FIRST).bits(), &first);
    }
    for _ in 0..rng.below(32) {
        let len = if rng.below(8) == 0 { rng.below(80) } else { 1024 } as usize;
        let kind = if rng.below(40) == 0 { kind::LAST } else { kind::MORE };
        rogue.take_all();
        if !rogue.has_room(len) {
            break;
        }
        rogue.commit(RecordHeader::of_kind(len as u32, kind).bits(), &part[..len]);
    }
}

/// Changes what it has committed, header and payload, while the other looks at it.
fn rewrite(rogue: &Rogue, rng: &mut Rng) {
    let end = Instant::now() + Duration::from_micros(rng.below(300));
    let begin = rogue.tail.saturating_sub(RING / 2);
    while Instant::now() < end {
        for _ in 0..64 {
            let at = begin + GRANULE * rng.below((rogue.tail - begin) / GRANULE + 1);
            let old = rogue.ring(at).load(Relaxed);
            let new = match rng.below(4) {
                0 => old ^ (1 << rng.below(64)),
                1 => old.wrapping_add(GRANULE),
                2 => rng.next_u64(),
                _ => RecordHeader::one(rng.below(RING) as u32).bits(),
            };
            rogue.ring(at).store(new, Release);
        }
    }
}

/// Says that it has taken something impossible, or wants what nobody wants; and takes part of it back.
fn miscount(rogue: &Rogue, rng: &mut Rng) {
    let head = rogue.control(offset_of!(PeerControl, head));
    let old = head.load(Relaxed);
    let wants = offset_of!(PeerControl, wants);
    let want = |which: usize| rogue.control(wants + which);
    match rng.below(8) {
        0 => head.store(old.wrapping_add(GRANULE << rng.below(20)), Release),
        1 => head.store(old.wrapping_sub(GRANULE << rng.below(20)), Release),
        2 => head.store(old ^ 1 << rng.below(64), Release),
        3 => head.store(rng.next_u64(), Release),
        // Each odd number is a request that wants a system call.
        4 => renew(want(offset_of!(Wants, message) + offset_of!(Want, asleep))),
        5 => renew(want(offset_of!(Wants, message) + offset_of!(Want, armed))),
        6 => want(offset_of!(Wants, mark)).store(rng.next_u64(), Release),
        _ => {
            let closed = want(offset_of!(Wants, closed));
            closed.store(rng.next_u64(), Release);
            std::thread::sleep(Duration::from_micros(rng.below(100))); // pacing, not synchronisation
            closed.store(0, Release);
        }
    }
    if rng.below(4) != 0 {
        head.store(old, Release);
    }
}

fn renew(word: &AtomicU64) {
    word.store((word.load(Relaxed) | 1).wrapping_add(2), Release);
}

/// Moves those who sleep on one of its words to another, where nobody wakes them; and wakes for nothing.
fn requeue(rogue: &Rogue, rng: &mut Rng) {
    let nowhere = rogue.own.half(900);
    for _ in 0..rng.below(64) {
        let line = rogue.line(rng.below(2) == 0);
        let seq = line.load(Relaxed);
        let (word, flags) = (line.futex_word(), futex::Flags::empty());
        let _ = match rng.below(5) {
            0 => futex::cmp_requeue(word, flags, 0, i32::MAX as u32, nowhere.futex_word(), seq),
            1 => futex::requeue(word, flags, 0, i32::MAX as u32, nowhere.futex_word()),
            2 => futex::requeue(word, flags, 1, 1, rogue.line(rng.below(2) == 0).futex_word()),
            3 => futex::wake(word, flags, u32::MAX >> 1),
            _ => {
                line.fetch_add(1, Release);
                Ok(0)
            }
        };
    }
}

/// Bytes, and descriptors of all kinds, as many as the socket takes.
fn make_noise(rogue: &Rogue, rng: &mut Rng) {
    let zero = std::fs::File::open("/dev/zero");
    for _ in 0..rng.below(200) {
        let len = match rng.below(4) {
            0 => 1,
            1 => 33,
            2 => 1 + rng.below(4000),
            _ => 1 + rng.below(64),
        };
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        bytes[0] = [b'w', b'm', b'd', bytes[0]][rng.below(4) as usize];
        let files: Vec<_> = match rng.below(6) {
            0 => vec![rogue.file.as_fd()],
            1 => vec![rogue.socket.as_fd()],
            2 => zero.iter().map(AsFd::as_fd).collect(),
            3 => vec![rogue.their_file.as_fd(); 1 + rng.below(6) as usize],
            _ => Vec::new(),
        };
        if !matches!(send(&rogue.socket, &bytes, &files), Ok(true)) {
            break;
        }
    }
}

/// Hangs up in one direction or in both, and goes on writing for a while or not.
fn leave(mut rogue: Rogue, rng: &mut Rng) {
    use rustix::net::{Shutdown, shutdown};
    let how = match rng.below(4) {
        0 => Some(Shutdown::Read),
        1 => Some(Shutdown::Write),
        2 => Some(Shutdown::Both),
        _ => None,
    };
    if let Some(how) = how {
        let _ = shutdown(&rogue.socket, how);
        for _ in 0..rng.below(50) {
            rogue.take_all();
            if rogue.has_room(8) {
                rogue.send(&[0; 8]);
            }
        }
    }
}
