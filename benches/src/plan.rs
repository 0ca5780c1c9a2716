//! Which rows a run has: cases, implementations, sizes, batches, and what of them the user asked for.

use std::fmt;
use std::str::FromStr;

mod parse;
mod pick;
mod pipes;
mod queues;
mod shape;

pub use parse::{SIZE_MAX, parse_capacity, parse_size};
pub use pick::{Pick, Picks};
pub use queues::STRUCTURE;
pub use shape::Shape;

/// Sizes of the one-way rows, in bytes.
const ONEWAY_SIZES: [usize; 6] = [8, 64, 1 << 10, 64 << 10, 1 << 20, 4 << 20];
/// Sizes of the round trips, in bytes.
const RTT_SIZES: [usize; 3] = [8, 64, 1 << 10];
/// Batches of the one-way rows, where a transport knows batches.
const BATCHES: [usize; 2] = [1, 32];
/// Batches above one end here: 32 messages of more would not stay in any cache.
const BATCHED_SIZE_MAX: usize = 64 << 10;
/// The smallest messages for which `limit-copy` and `lane-copy` say anything.
const COPY_SIZE_MIN: usize = 1 << 10;
/// Declares an enum whose variants have a name on the command line and in JSON.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_doc])* $variant,)+ }

        impl $type {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in JSON and on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|known| known.name() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|known| known.name()).collect();
                    format!("no {} is called {text:?}; there are {}", $what, known.join(", "))
                })
            }
        }
    };
}
pub(crate) use named;

named! {
    /// What the rows measure: the JSON field `group`.
    Group, "group" {
        /// Messages: lanes, queues, broadcast, and what they are compared with.
        Queue = "queue",
        /// Locks, semaphores and events: see [`locks`](crate::locks).
        Locks = "locks",
        /// Functions in child processes: see [`process`](crate::process).
        Process = "process",
        /// Functions in workers that stay: see [`pool`](crate::pool).
        Pool = "pool",
        /// Maps that processes share: see [`dict`](crate::dict).
        Dict = "dict",
    }
}

named! {
    /// What happens to the messages.
    Case, "case" {
        /// One message there, one back, each turn timed; the two on two cores.
        Rtt = "rtt",
        /// The same with both on one core.
        RttSamecore = "rtt-samecore",
        /// As many as go, one way.
        Oneway = "oneway",
        /// Blocks that change hands, neither filled nor touched but for their first word.
        Handover = "handover",
        /// Nothing is sent: what a waiting receiver costs.
        Idle = "idle",
        /// 100 messages a second: what a receiver costs that wakes now and then.
        Paced = "paced",
    }
}

named! {
    /// What carries the messages.
    Implementation, "implementation" {
        /// Two words on two lines.
        LimitLine = "limit-line",
        /// Copy in, copy out, through a ring that fits the second-level cache.
        LimitCopy = "limit-copy",
        /// The same through a ring that does not.
        LimitCopyLarge = "limit-copy-large",
        /// A bare futex, always asleep.
        LimitFutex = "limit-futex",
        /// A bare ring of two positions.
        LimitIndex = "limit-index",
        /// An anonymous pipe.
        Pipe = "pipe",
        /// A Unix stream socket.
        UnixStream = "unix-stream",
        /// A Unix socket that keeps the borders of messages.
        UnixSeqpacket = "unix-seqpacket",
        /// A POSIX message queue.
        PosixMq = "posix-mq",
        /// Our lane; messages are written and read in place.
        Lane = "lane",
        /// Our lane; messages are copied in from a private buffer and out into one, as `limit-copy` does.
        LaneCopy = "lane-copy",
        /// The bare queue of slots for many producers and consumers, after Vyukov.
        Vyukov = "vyukov",
        /// Our ring of slots by itself.
        Ring = "ring",
        /// Our lanes with one consumer.
        Mpsc = "mpsc",
        /// Every message to every consumer.
        Broadcast = "broadcast",
        /// Our queue as users hold it: a small structure, encoded and decoded.
        Queue = "queue",
        /// Large buffers that change hands by a message.
        Blocks = "blocks",
        /// Our pipe of bytes.
        Duplex = "duplex",
        /// Our connection to a process that need not be trusted.
        Peer = "peer",
    }
}

named! {
    /// What an end does that must wait.
    Wait, "way to wait" {
        /// It spins for ever.
        Spin = "spin",
        /// It goes to sleep at once.
        Sleep = "sleep",
        /// The default policy: it spins while that pays, then sleeps.
        Default = "default",
    }
}

impl Implementation {
    /// Whether this is a limit, which every run has whatever was asked for.
    pub fn is_control(self) -> bool {
        matches!(
            self,
            Self::LimitLine
                | Self::LimitCopy
                | Self::LimitCopyLarge
                | Self::LimitFutex
                | Self::LimitIndex
                | Self::Vyukov
        )
    }

    /// The sizes it can carry at all, by its nature.
    fn carries(self, size: usize) -> bool {
        match self {
            Self::LimitLine | Self::LimitFutex => size == 8,
            Self::LimitCopy | Self::LimitCopyLarge | Self::LaneCopy | Self::Blocks => size >= COPY_SIZE_MIN,
            Self::Queue | Self::Mpsc | Self::Broadcast => false,
            Self::Peer => size <= pipes::PEER_SIZE_MAX,
            _ => true,
        }
    }

    /// The batches it has rows for. Batches are arrays, whose size the compiler knows.
    fn batches(self, size: usize) -> &'static [usize] {
        match self {
            Self::LimitIndex | Self::Lane if size <= BATCHED_SIZE_MAX && ONEWAY_SIZES.contains(&size) => {
                &BATCHES
            }
            _ => &BATCHES[..1],
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What happens.
    pub case: Case,
    /// What carries the messages.
    pub implementation: Implementation,
    /// Bytes of a message.
    pub size: usize,
    /// Messages published at once.
    pub batch: usize,
    /// How an end waits, where it has a choice.
    pub wait: Option<Wait>,
    /// How many send and how many receive.
    pub shape: Shape,
    /// Messages that the queue holds; `None` where the size of a message says it.
    pub capacity: Option<usize>,
}

impl Row {
    /// A row of one process at each side.
    pub fn pair(
        case: Case,
        implementation: Implementation,
        size: usize,
        batch: usize,
        wait: Option<Wait>,
    ) -> Self {
        Self { case, implementation, size, batch, wait, shape: Shape::PAIR, capacity: None }
    }

    /// Whether it may have several processes at a side.
    pub fn is_crowd(&self) -> bool {
        self.case == Case::Oneway && self.implementation.is_queue()
    }

    /// Messages that a ring for this row holds: enough that the two ends do not meet on every message, few
    /// enough that small and middle messages stay in the second-level cache.
    pub fn slots(&self) -> usize {
        const CACHED: usize = 256 << 10;
        const MOST: usize = 1024;
        self.capacity.unwrap_or_else(|| (CACHED / self.size).clamp(4, MOST).max(2 * self.batch))
    }

    /// Bytes of such a ring: what the rivals get as their buffer.
    pub fn ring_size(&self) -> usize {
        self.slots() * self.size
    }

    /// Whether the processes burn a core each, so that two are needed.
    pub fn needs_two_cores(&self) -> bool {
        self.wait == Some(Wait::Spin)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, implementation, shape, size, .. } = self;
        write!(formatter, "{case} {implementation} {shape} {size} B")
    }
}

/// What the user asked for. An empty list asks for everything.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Cases.
    pub cases: Vec<Case>,
    /// Implementations; the limits come along whether named or not.
    pub implementations: Vec<Implementation>,
    /// Sizes in bytes, multiples of 8.
    pub sizes: Vec<usize>,
    /// Batches.
    pub batches: Vec<usize>,
    /// Ways to wait, for the implementations that have a choice.
    pub waits: Vec<Wait>,
    /// Producers and consumers; all rows but those of queues are 1x1.
    pub shapes: Vec<Shape>,
    /// Capacities, for queues.
    pub capacities: Vec<usize>,
}

impl Selection {
    /// The rows, in the order of the table.
    pub fn rows(&self) -> Vec<Row> {
        let cases = Case::ALL.iter().copied().filter(|case| admits(&self.cases, case));
        cases.flat_map(|case| self.rows_of(case)).collect()
    }

    /// Whether rows of one producer and one consumer, and of no particular capacity, are wanted.
    fn asks_for_pairs(&self) -> bool {
        admits(&self.shapes, &Shape::PAIR) && self.capacities.is_empty()
    }

    fn rows_of(&self, case: Case) -> Vec<Row> {
        let mut rows = if self.asks_for_pairs() { self.pairs_of(case) } else { Vec::new() };
        match case {
            Case::Oneway => rows.extend(self.queue_rows()),
            Case::Handover if self.asks_for_pairs() => rows.extend(self.handover_rows()),
            _ => {}
        }
        rows
    }

    fn pairs_of(&self, case: Case) -> Vec<Row> {
        match case {
            Case::Rtt => {
                let mut rows = self.matrix(case, &RTT_SIZES, &round_trips());
                // What a queue's protocol costs shows with the smallest messages.
                rows.retain(|row| {
                    !row.implementation.is_queue()
                        || ((row.size == RTT_SIZES[0] || !self.sizes.is_empty())
                            && self.is_awake_or_asked(row))
                });
                rows.retain(|row| !row.implementation.is_pipe() || self.keeps_pipe(row));
                rows
            }
            Case::Oneway => {
                let mut rows = self.matrix(case, &ONEWAY_SIZES, Implementation::ALL);
                rows.retain(|row| {
                    !matches!(row.implementation, Implementation::LimitLine | Implementation::LimitFutex)
                        && !row.implementation.is_queue()
                        && row.wait != Some(Wait::Sleep)
                        && (row.wait != Some(Wait::Default) || row.batch == 1)
                        && (!row.implementation.is_pipe() || self.keeps_pipe(row))
                });
                rows
            }
            Case::RttSamecore => {
                let measured = [Implementation::LimitFutex, Implementation::Pipe, Implementation::Lane];
                let mut rows = self.matrix(case, &RTT_SIZES[..1], &measured);
                rows.retain(|row| row.implementation != Implementation::Lane || self.is_for_one_core(row));
                rows
            }
            Case::Handover => Vec::new(),
            Case::Idle | Case::Paced => {
                let mut rows = self.matrix(case, &RTT_SIZES[1..2], &[Implementation::Lane]);
                rows.retain(|row| row.wait == Some(Wait::Default));
                rows
            }
        }
    }

    /// Asleep only where that was asked for.
    fn is_awake_or_asked(&self, row: &Row) -> bool {
        row.wait != Some(Wait::Sleep) || self.waits.contains(&Wait::Sleep)
    }

    /// On one core the lane is measured with its default policy, and asleep only where that was asked for.
    fn is_for_one_core(&self, row: &Row) -> bool {
        match row.wait {
            Some(Wait::Default) => true,
            Some(Wait::Sleep) => self.waits.contains(&Wait::Sleep),
            _ => false,
        }
    }

    /// Sizes by implementations by batches by ways to wait, less what was not asked for.
    fn matrix(&self, case: Case, sizes: &[usize], implementations: &[Implementation]) -> Vec<Row> {
        let sizes = if self.sizes.is_empty() { sizes } else { &self.sizes };
        let mut rows = Vec::new();
        let mut push = |size, implementation: Implementation| {
            let batches = if case == Case::Oneway { implementation.batches(size) } else { &BATCHES[..1] };
            for &batch in batches.iter().filter(|batch| admits(&self.batches, batch)) {
                for wait in self.waits_of(implementation) {
                    rows.push(Row::pair(case, implementation, size, batch, wait));
                }
            }
        };
        for &size in sizes {
            for &implementation in implementations {
                if implementation.carries(size) && self.asks_for(implementation) {
                    push(size, implementation);
                }
            }
        }
        self.add_word_controls(case, sizes, implementations, &mut rows);
        rows
    }

    /// The limits that carry one word belong to every run, whatever sizes were asked for.
    fn add_word_controls(
        &self,
        case: Case,
        sizes: &[usize],
        implementations: &[Implementation],
        rows: &mut Vec<Row>,
    ) {
        if rows.is_empty() || case == Case::Oneway || sizes.contains(&8) {
            return;
        }
        let words = [Implementation::LimitLine, Implementation::LimitFutex];
        for implementation in words.into_iter().rev().filter(|word| implementations.contains(word)) {
            let wait = self.waits_of(implementation)[0];
            rows.insert(0, Row::pair(case, implementation, 8, 1, wait));
        }
    }

    fn asks_for(&self, implementation: Implementation) -> bool {
        match implementation {
            // The control of queues is of no use to anything else.
            Implementation::Vyukov => {
                self.implementations.is_empty() || self.implementations.iter().any(|one| one.is_queue())
            }
            _ => implementation.is_control() || admits(&self.implementations, &implementation),
        }
    }

    /// The ways to wait of an implementation; `None` where the kernel decides.
    fn waits_of(&self, implementation: Implementation) -> Vec<Option<Wait>> {
        match implementation {
            Implementation::LimitLine
            | Implementation::LimitCopy
            | Implementation::LimitCopyLarge
            | Implementation::LimitIndex
            | Implementation::Vyukov => vec![Some(Wait::Spin)],
            Implementation::LimitFutex => vec![Some(Wait::Sleep)],
            Implementation::LaneCopy | Implementation::Blocks if self.waits.is_empty() => {
                vec![Some(Wait::Spin)]
            }
            Implementation::Lane
            | Implementation::LaneCopy
            | Implementation::Ring
            | Implementation::Mpsc
            | Implementation::Broadcast
            | Implementation::Queue
            | Implementation::Blocks
            | Implementation::Duplex => {
                let asked = Wait::ALL.iter().copied().filter(|wait| admits(&self.waits, wait));
                asked.map(Some).collect()
            }
            Implementation::Peer if admits(&self.waits, &Wait::Default) => vec![Some(Wait::Default)],
            Implementation::Peer => vec![],
            _ => vec![None],
        }
    }
}

fn admits<T: PartialEq>(asked: &[T], one: &T) -> bool {
    asked.is_empty() || asked.contains(one)
}

/// What has round trips: all that does not measure copying.
fn round_trips() -> Vec<Implementation> {
    let copies = [
        Implementation::LimitCopy,
        Implementation::LimitCopyLarge,
        Implementation::LaneCopy,
        Implementation::Blocks,
    ];
    Implementation::ALL.iter().copied().filter(|one| !copies.contains(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for implementation in Implementation::ALL {
            assert_eq!(implementation.name().parse(), Ok(*implementation));
        }
        assert!("lame".parse::<Implementation>().expect_err("no such name").contains("limit-line"));
    }

    #[test]
    fn controls_come_along() {
        let asked = Selection {
            cases: vec![Case::Rtt],
            implementations: vec![Implementation::Pipe],
            sizes: vec![64],
            ..Selection::default()
        };
        let names: Vec<_> = asked.rows().iter().map(|row| row.implementation.name()).collect();
        assert_eq!(names, ["limit-line", "limit-futex", "limit-index", "pipe"]);
    }

    #[test]
    fn every_must_show_row_is_in_the_default_plan() {
        let rows = Selection::default().rows();
        let has = |case, implementation, size, batch, wait| {
            rows.contains(&Row::pair(case, implementation, size, batch, wait))
        };
        for size in [8, 64, 1 << 10, 64 << 10] {
            for batch in [1, 32] {
                for implementation in [Implementation::LimitIndex, Implementation::Lane] {
                    assert!(has(Case::Oneway, implementation, size, batch, Some(Wait::Spin)));
                }
            }
        }
        assert!(has(Case::Oneway, Implementation::Lane, 64, 1, Some(Wait::Default)));
        assert!(has(Case::Oneway, Implementation::LimitCopy, 1 << 20, 1, Some(Wait::Spin)));
        assert!(has(Case::RttSamecore, Implementation::Lane, 8, 1, Some(Wait::Default)));
        assert!(has(Case::RttSamecore, Implementation::LimitFutex, 8, 1, Some(Wait::Sleep)));
        assert!(has(Case::Idle, Implementation::Lane, 64, 1, Some(Wait::Default)));
        for wait in Wait::ALL {
            assert!(has(Case::Rtt, Implementation::Lane, 8, 1, Some(*wait)));
        }
        let mut seen = Vec::new();
        for row in rows {
            assert!(!seen.contains(&row), "{row:?} twice");
            seen.push(row);
        }
    }

    #[test]
    fn a_ring_has_room_for_two_batches() {
        for row in Selection::default().rows() {
            assert!(row.slots() >= 2 * row.batch);
        }
    }
}
