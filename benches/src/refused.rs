//! A harness that cannot fail proves nothing: here it is handed transports that lose, double, swap, age and
//! tear messages, and processes that die, panic and stall, and it must refuse each with the right reason.
//!
//! The processes are real and forked, as in a run. One test at a time: a child of another test would hold on
//! to the pipes of this one.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, raise};
use nix::unistd::{pipe2, read, write};
use zerocopy::IntoBytes;

use crate::drive::{self, Report};
use crate::fault::Fault;
use crate::machine::Machine;
use crate::pair::Pair;
use crate::payload::{Accept, Dynamic, Stop, Writer};
use crate::plan::{Selection, Wait};
use crate::run::{Run, Timing};
use crate::transport::{Consumer, Producer, Transport};

/// The message that is spoilt: its number is no multiple of 64, so it is not checked word by word.
const SPOILT: u64 = 1001;
/// Three pages and a bit.
const WORDS: usize = 3 * 512 + 8;
const PAGE: std::ops::Range<usize> = 512..1024;
/// How long a row lasts here.
const ROW_NS: u64 = 100_000_000;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pair(patience: Duration) -> Pair<'static> {
    Pair { cores: Machine::look().cores(), patience, signals: None }
}

const MINUTE: Duration = Duration::from_secs(60);

/// What is done to message [`SPOILT`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    None,
    Drop,
    Duplicate,
    Swap,
    StalePage,
    TornPayload,
    ShortMessage,
    DropTheEnd,
}

/// A pipe whose sending end has a defect.
struct Broken {
    input: OwnedFd,
    output: OwnedFd,
    defect: Defect,
}

impl Broken {
    fn new(defect: Defect) -> Self {
        let (output, input) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        Self { input, output, defect }
    }
}

impl Transport for Broken {
    type Size = Dynamic;
    type Producer<'a> = BrokenProducer<'a>;
    type Consumer<'a> = BrokenConsumer<'a>;

    fn size(&self) -> Dynamic {
        Dynamic(WORDS)
    }

    fn producer(&self) -> Result<BrokenProducer<'_>, Fault> {
        Ok(BrokenProducer { pipe: &self.input, defect: self.defect, before: vec![0; WORDS], held: None })
    }

    fn consumer(&self) -> Result<BrokenConsumer<'_>, Fault> {
        Ok(BrokenConsumer { pipe: &self.output, message: vec![0; WORDS] })
    }
}

struct BrokenProducer<'a> {
    pipe: &'a OwnedFd,
    defect: Defect,
    before: Vec<u64>,
    held: Option<Vec<u64>>,
}

impl BrokenProducer<'_> {
    fn put(&self, message: &[u64]) {
        let mut rest = message.as_bytes();
        let length = rest.len() as u64;
        assert_eq!(write(self.pipe, length.as_bytes()).expect("the length is written"), 8);
        while !rest.is_empty() {
            rest = &rest[write(self.pipe, rest).expect("the message is written")..];
        }
    }
}

impl Producer<Dynamic> for BrokenProducer<'_> {
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            let mut message = vec![0; WORDS];
            writer.fill(&mut message);
            let is_end = message[0] >> 63 == 1;
            let whole = message.clone();
            match self.defect {
                Defect::DropTheEnd if is_end => continue,
                _ if writer.count() != SPOILT => self.put(&message),
                Defect::None | Defect::DropTheEnd => self.put(&message),
                Defect::Drop => {}
                Defect::Duplicate => {
                    self.put(&message);
                    self.put(&message);
                }
                Defect::Swap => self.held = Some(message),
                Defect::StalePage => {
                    message[PAGE].copy_from_slice(&self.before[PAGE]);
                    self.put(&message);
                }
                Defect::TornPayload => {
                    message[WORDS / 2..].copy_from_slice(&self.before[WORDS / 2..]);
                    self.put(&message);
                }
                Defect::ShortMessage => self.put(&message[..WORDS - 1]),
            }
            if writer.count() == SPOILT + 1
                && let Some(held) = self.held.take()
            {
                self.put(&held);
            }
            self.before = whole;
        }
        Ok(())
    }
}

struct BrokenConsumer<'a> {
    pipe: &'a OwnedFd,
    message: Vec<u64>,
}

impl Consumer<Dynamic> for BrokenConsumer<'_> {
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        let mut length = 0_u64;
        assert_eq!(read(self.pipe, length.as_mut_bytes()).expect("the length is read"), 8);
        let bytes = &mut self.message.as_mut_bytes()[..length as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += read(self.pipe, &mut bytes[filled..]).expect("the message is read");
        }
        checker.accept(filled, &self.message)
    }
}

/// Runs one way over a transport with a defect, far enough to meet it.
fn one_way(defect: Defect, patience: Duration) -> Result<(Report, Report), Fault> {
    let _alone = alone();
    let way = Broken::new(defect);
    pair(patience).run(|| drive::consume(&way, 1, ROW_NS), || produce_past_the_defect(&way))
}

/// As `drive::produce`, but by count, so that a slow machine comes to the defect as well.
fn produce_past_the_defect(way: &Broken) -> Result<Report, Fault> {
    let mut producer = way.producer()?;
    let mut writer = Writer::new(way.size());
    while writer.count() < 2 * SPOILT {
        producer.send(&mut writer, 1)?;
    }
    writer.mark_end();
    producer.send(&mut writer, 1)?;
    Ok(Report { sent: writer.count(), ..Report::default() })
}

fn refusal(defect: Defect) -> Fault {
    one_way(defect, MINUTE).map(|_| ()).expect_err("a broken transport is refused")
}

#[test]
fn the_same_transport_without_a_defect_is_accepted() {
    let (consumer, producer) = one_way(Defect::None, MINUTE).expect("nothing is wrong with it");
    assert_eq!((consumer.received, producer.sent), (2 * SPOILT + 1, 2 * SPOILT + 1));
}

#[test]
fn a_lost_message_is_refused() {
    assert_eq!(refusal(Defect::Drop), Fault::Skipped { expected: SPOILT, found: SPOILT + 1 });
}

#[test]
fn a_doubled_message_is_refused() {
    assert_eq!(refusal(Defect::Duplicate), Fault::Repeated { expected: SPOILT + 1, found: SPOILT });
}

#[test]
fn swapped_messages_are_refused() {
    assert_eq!(refusal(Defect::Swap), Fault::Skipped { expected: SPOILT, found: SPOILT + 1 });
}

#[test]
fn a_stale_page_is_refused() {
    assert_eq!(refusal(Defect::StalePage), Fault::Damaged { sequence: SPOILT, byte: 4096 });
}

#[test]
fn a_torn_message_is_refused() {
    assert_eq!(refusal(Defect::TornPayload), Fault::Torn { sequence: SPOILT });
}

#[test]
fn a_short_message_is_refused() {
    let bytes = WORDS as u64 * 8;
    assert_eq!(
        refusal(Defect::ShortMessage),
        Fault::Length { sequence: SPOILT, expected: bytes, found: bytes - 8 }
    );
}

#[test]
fn a_lost_end_is_a_stall_and_not_a_hang() {
    let fault = one_way(Defect::DropTheEnd, Duration::from_secs(2)).expect_err("the consumer waits for ever");
    assert_eq!(fault, Fault::Stalled { seconds: 2 });
}

#[test]
fn a_defect_in_a_round_trip_is_refused() {
    let _alone = alone();
    let (there, back) = (Broken::new(Defect::None), Broken::new(Defect::TornPayload));
    let minute_ns = 60_000_000_000;
    let fault = pair(2 * MINUTE)
        .run(|| drive::client(&there, &back, minute_ns), || drive::server(&there, &back))
        .expect_err("the way back is broken");
    assert_eq!(fault, Fault::Torn { sequence: SPOILT });
}

#[test]
fn different_totals_are_refused() {
    let _alone = alone();
    let told = |sent, received| move || Ok(Report { sent, received, ..Report::default() });
    let fault = pair(MINUTE).run(told(0, 41), told(42, 0)).expect_err("one message is missing");
    assert_eq!(fault, Fault::Count { sent: 42, received: 41 });
}

#[test]
fn a_dead_process_is_named_and_the_other_does_not_stay() {
    let _alone = alone();
    let way = Broken::new(Defect::None);
    let killed = || {
        raise(Signal::SIGKILL).expect("a process may kill itself");
        Ok(Report::default())
    };
    let fault =
        pair(MINUTE).run(|| drive::consume(&way, 1, ROW_NS), killed).expect_err("the producer is dead");
    assert!(matches!(&fault, Fault::Died { role, status } if role == "server" && status.contains("SIGKILL")));
}

#[test]
fn a_panic_is_carried_home() {
    let _alone = alone();
    let way = Broken::new(Defect::None);
    let fault = pair(MINUTE)
        .run(|| drive::consume(&way, 1, ROW_NS), || panic!("no such thing"))
        .expect_err("the producer panicked");
    assert_eq!(fault, Fault::Panicked { role: "server".into(), message: "no such thing".into() });
}

/// Every control, every rival and our lanes pass the harness, at small and larger sizes and one that is not typed.
#[test]
fn what_is_not_broken_is_accepted() {
    let _alone = alone();
    let sizes = vec![8, 2056, 64 << 10];
    let rows = Selection { sizes, waits: vec![Wait::Default], ..Selection::default() }.rows();
    let timing = Timing { row_seconds: 0.02, passes: 1, slow_seconds: 0.1 };
    let machine = Machine::look();
    let run = Run { rows: &rows, timing, cores: &machine.allowed, signals: None };
    let measured = run.measure(|_| {}).expect("nobody interrupts");
    for row in &measured {
        assert!(!row.is_refused(), "{:?}: {:?}", row.row, row.fault);
    }
    assert!(measured.len() > 20);
}
