//! The same for several producers and consumers: a bare queue whose sending ends have a defect is handed to the
//! harness, and it must refuse each with the right reason; so must it processes that die or never begin.

use std::time::Duration;

use nix::sys::signal::{Signal, raise};

use crate::control::vyukov::{Queue, Vyukov};
use crate::crowd::{Crowd, Delivery, Outcome};
use crate::fault::Fault;
use crate::machine::Machine;
use crate::payload::{Accept, Dynamic, Size, Stop, Writer};
use crate::plan::Shape;
use crate::refused::alone;
use crate::transport::{Consumer, Producer, Transport};

/// The message of each producer that is spoilt. Its number is no multiple of 64, so it is not checked word by word,
/// and below the capacity, so that a producer comes there even where nobody receives.
const SPOILT: u64 = 101;
const CAPACITY: usize = 128;
/// Three pages and a bit.
const WORDS: usize = 3 * 512 + 8;
const PAGE: std::ops::Range<usize> = 512..1024;
/// A message that is held back comes after so many others, each time anew.
const HELD_FOR: u64 = 50;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    None,
    Drop,
    Duplicate,
    HoldBack,
    /// One message is lost, the one before comes twice.
    Exchange,
    StalePage,
    TornPayload,
    /// Messages of the other producer's number.
    WrongProducer,
    DropTheEnd,
    Die,
}

/// A bare queue whose producers have a defect.
struct Broken {
    queue: Vyukov<Dynamic>,
    defect: Defect,
}

impl Transport for Broken {
    type Size = Dynamic;
    type Producer<'a> = BrokenProducer<'a>;
    type Consumer<'a> = BrokenConsumer<'a>;

    fn size(&self) -> Dynamic {
        Dynamic(WORDS)
    }

    fn producer(&self) -> Result<BrokenProducer<'_>, Fault> {
        let queue = self.queue.queue();
        Ok(BrokenProducer { queue, defect: self.defect, before: vec![0; WORDS], held: None })
    }

    fn consumer(&self) -> Result<BrokenConsumer<'_>, Fault> {
        Ok(BrokenConsumer { queue: self.queue.queue(), message: vec![0; WORDS] })
    }
}

struct BrokenProducer<'a> {
    queue: Queue<'a, Dynamic>,
    defect: Defect,
    before: Vec<u64>,
    held: Option<Vec<u64>>,
}

impl BrokenProducer<'_> {
    /// Sends what its defect makes of the message.
    fn spoil(&mut self, number: u64, mut message: Vec<u64>) {
        match self.defect {
            Defect::None | Defect::DropTheEnd => self.queue.push(&message),
            Defect::Drop => {}
            Defect::Duplicate => {
                self.queue.push(&message);
                self.queue.push(&message);
            }
            Defect::HoldBack => self.held = Some(message),
            Defect::Exchange => {
                // The message before goes again in place of this one.
                let before = self.before.clone();
                self.queue.push(&before);
            }
            Defect::StalePage => {
                message[PAGE].copy_from_slice(&self.before[PAGE]);
                self.queue.push(&message);
            }
            Defect::TornPayload => {
                message[WORDS / 2..].copy_from_slice(&self.before[WORDS / 2..]);
                self.queue.push(&message);
            }
            Defect::WrongProducer => {
                message[0] = (99 << 48) | number;
                self.queue.push(&message);
            }
            Defect::Die => raise(Signal::SIGKILL).expect("a process may kill itself"),
        }
    }
}

impl Producer<Dynamic> for BrokenProducer<'_> {
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            let mut message = vec![0; WORDS];
            writer.fill(&mut message);
            let (number, is_end) = (writer.count(), message[0] >> 63 == 1);
            let whole = message.clone();
            if self.defect == Defect::DropTheEnd && is_end {
                continue;
            }
            let is_held_back = self.defect == Defect::HoldBack
                && number > SPOILT
                && (number - SPOILT).is_multiple_of(HELD_FOR);
            if number == SPOILT {
                self.spoil(number, message);
            } else if is_held_back && !is_end {
                let late = self.held.replace(message);
                late.iter().for_each(|late| self.queue.push(late));
            } else {
                self.queue.push(&message);
            }
            self.before = whole;
        }
        Ok(())
    }
}

struct BrokenConsumer<'a> {
    queue: Queue<'a, Dynamic>,
    message: Vec<u64>,
}

impl Consumer<Dynamic> for BrokenConsumer<'_> {
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        self.queue.pop(&mut self.message);
        checker.accept(Dynamic(WORDS).bytes(), &self.message)
    }
}

fn run(defect: Defect, shape: Shape, grace: Duration) -> Result<Outcome, Fault> {
    let _alone = alone();
    let machine = Machine::look();
    let way = Broken { queue: Vyukov::new(Dynamic(WORDS), CAPACITY)?, defect };
    let duration = Duration::from_millis(300);
    let delivery = Delivery::Shared;
    Crowd { shape, delivery, duration, cores: &machine.allowed, grace, signals: None }.run(&way)
}

fn refusal(defect: Defect, producers: usize, consumers: usize) -> Fault {
    let fault = run(defect, Shape::new(producers, consumers), Duration::from_secs(60));
    match fault.expect_err("a broken queue is refused") {
        Fault::Producer { fault, .. } => *fault,
        other => other,
    }
}

#[test]
fn the_same_queue_without_a_defect_is_accepted() {
    for shape in [Shape::PAIR, Shape::new(2, 1), Shape::new(1, 2), Shape::new(4, 4)] {
        let outcome = run(Defect::None, shape, Duration::from_secs(60)).expect("nothing is wrong with it");
        assert!(outcome.rates.iter().sum::<f64>() > 0.0, "{shape}");
    }
}

#[test]
fn a_lost_message_is_refused() {
    assert_eq!(refusal(Defect::Drop, 2, 1), Fault::Skipped { expected: SPOILT, found: SPOILT + 1 });
    assert!(matches!(refusal(Defect::Drop, 2, 2), Fault::Count { sent, received } if sent == received + 1));
}

#[test]
fn a_doubled_message_is_refused() {
    assert_eq!(refusal(Defect::Duplicate, 2, 1), Fault::Repeated { expected: SPOILT + 1, found: SPOILT });
    // Whether one consumer sees it twice or two see it once.
    let fault = refusal(Defect::Duplicate, 2, 2);
    let seen_twice = matches!(fault, Fault::Repeated { found: SPOILT, .. });
    assert!(
        seen_twice || matches!(fault, Fault::Count { sent, received } if sent + 1 == received),
        "{fault}"
    );
}

#[test]
fn a_message_that_is_overtaken_is_refused() {
    assert_eq!(refusal(Defect::HoldBack, 2, 1), Fault::Skipped { expected: SPOILT, found: SPOILT + 1 });
    // The last one held back is never sent: where no consumer happened to see the order, the count tells.
    let fault = refusal(Defect::HoldBack, 2, 2);
    assert!(matches!(fault, Fault::Repeated { .. } | Fault::Count { .. }), "{fault}");
}

#[test]
fn a_lost_message_and_a_doubled_one_do_not_make_up_for_each_other() {
    let fault = refusal(Defect::Exchange, 1, 2);
    assert!(matches!(fault, Fault::Repeated { .. } | Fault::Exchanged), "{fault}");
}

#[test]
fn a_stale_page_is_refused() {
    assert_eq!(refusal(Defect::StalePage, 2, 2), Fault::Damaged { sequence: SPOILT, byte: 4096 });
}

#[test]
fn a_torn_message_is_refused() {
    assert_eq!(refusal(Defect::TornPayload, 2, 2), Fault::Torn { sequence: SPOILT });
}

#[test]
fn a_message_of_nobody_is_refused() {
    assert_eq!(refusal(Defect::WrongProducer, 1, 1), Fault::Stranger { word: (99 << 48) | SPOILT });
}

#[test]
fn a_lost_end_is_a_stall_and_not_a_hang() {
    let fault = run(Defect::DropTheEnd, Shape::new(2, 2), Duration::from_secs(1)).expect_err("nobody ends");
    assert!(matches!(fault, Fault::Stalled { .. }), "{fault}");
}

#[test]
fn a_dead_process_is_named() {
    let fault = run(Defect::Die, Shape::new(2, 2), Duration::from_secs(60)).expect_err("the producers die");
    assert!(matches!(&fault, Fault::Died { role, .. } if role.starts_with("producer")), "{fault}");
}
