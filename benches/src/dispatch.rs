//! Which transport a row gets, and which loops run over it.

use std::time::Duration;

use crate::control::copy::{self, Copy};
use crate::control::{futex::Futex, index::Index, line::Line, vyukov::Vyukov};
use crate::crowd::{Crowd, Delivery};
use crate::drive::{self, Report};
use crate::fault::Fault;
use crate::kernel::{message_queue::MessageQueue, packet::Packet, stream::Stream};
use crate::lane::{ByteLane, CopyLane, Lane};
use crate::pair::{Cores, Pair};
use crate::payload::{Dynamic, Fixed};
use crate::plan::{Case, Implementation, Row};
use crate::queues::blocks::{Frames, Handover};
use crate::queues::{
    broadcast::Channel, duplex::Duplex, mpsc::Lanes, peer::Connection, queue::Trades, ring::BareRing,
};
use crate::run::Run;
use crate::transport::Transport;

/// How long beyond its time a row may take before it counts as stalled. On a crowded machine two processes that spin
/// may need a tenth of a second for each turn.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

impl Run<'_> {
    /// One pass over one row: the client's report.
    pub(crate) fn sample(&self, row: &Row) -> Result<Report, Fault> {
        if row.needs_two_cores() && self.cores.len() < 2 {
            return Err(Fault::Unsupported("two processes that spin need two cores".into()));
        }
        let words = row.size / 8;
        match row.implementation {
            Implementation::LimitLine => self.pair_up(row, Line::new),
            Implementation::LimitFutex => self.pair_up(row, Futex::new),
            Implementation::LimitCopy => self.pair_up(row, || Copy::new(words, copy::SMALL_RING)),
            Implementation::LimitCopyLarge => self.pair_up(row, || Copy::new(words, copy::LARGE_RING)),
            Implementation::LimitIndex => with_size(row.size, IndexRow { run: self, row }),
            Implementation::Lane => with_size(row.size, LaneRow { run: self, row }),
            Implementation::LaneCopy => self.pair_up(row, || CopyLane::new(row)),
            Implementation::Pipe => self.pair_up(row, || Stream::pipe(words, row.ring_size())),
            Implementation::UnixStream => self.pair_up(row, || Stream::unix(words, row.ring_size())),
            Implementation::UnixSeqpacket => self.pair_up(row, || Packet::new(words, row.ring_size())),
            Implementation::Vyukov => with_size(row.size, VyukovRow { run: self, row }),
            Implementation::Ring => with_size(row.size, RingRow { run: self, row }),
            Implementation::Mpsc => with_size(row.size, MpscRow { run: self, row }),
            Implementation::Queue => self.crowd(row, Delivery::Shared, || Trades::new(row)),
            Implementation::Blocks if row.case == Case::Handover => self.pair_up(row, || Handover::new(row)),
            Implementation::Blocks => self.pair_up(row, || Frames::new(row)),
            Implementation::Broadcast => with_size(row.size, BroadcastRow { run: self, row }),
            Implementation::Duplex => with_size(row.size, DuplexRow { run: self, row }),
            Implementation::Peer => with_size(row.size, PeerRow { run: self, row }),
            Implementation::PosixMq => self.pair_up(row, || MessageQueue::new(words)),
        }
    }

    /// Runs a row of several producers and consumers, or its round trip, over queues that `make` makes.
    fn crowd<T: Transport>(
        &self,
        row: &Row,
        delivery: Delivery,
        make: impl Fn() -> Result<T, Fault>,
    ) -> Result<Report, Fault> {
        if !row.is_crowd() {
            return self.pair_up(row, make);
        }
        let crowd = Crowd {
            shape: row.shape,
            delivery,
            duration: self.timing.pass(row),
            cores: self.cores,
            grace: GRACE,
            signals: self.signals,
        };
        let outcome = crowd.run(&make()?)?;
        Ok(Report { rates: outcome.rates, missed_percent: outcome.missed_percent, ..Report::default() })
    }

    /// The two processes of a row, and how long they work, in nanoseconds.
    fn pair(&self, row: &Row) -> (Pair<'_>, u64) {
        let duration = self.timing.pass(row);
        let mut cores = Cores::among(self.cores);
        if row.case == Case::RttSamecore {
            cores.server = cores.client;
        }
        let pair = Pair { cores, patience: duration + GRACE, signals: self.signals };
        (pair, duration.as_nanos() as u64)
    }

    /// Runs a round trip.
    fn round_trip<T: Transport>(&self, row: &Row, there: &T, back: &T) -> Result<Report, Fault> {
        let (pair, nanoseconds) = self.pair(row);
        let both = pair.run(|| drive::client(there, back, nanoseconds), || drive::server(there, back));
        both.map(|(client, _server)| client)
    }

    /// Runs the row's case over transports that `make` makes.
    fn pair_up<T: Transport>(&self, row: &Row, make: impl Fn() -> Result<T, Fault>) -> Result<Report, Fault> {
        let (pair, nanoseconds) = self.pair(row);
        let (client, _server) = match row.case {
            Case::Rtt | Case::RttSamecore => return self.round_trip(row, &make()?, &make()?),
            Case::Oneway | Case::Handover => {
                let way = make()?;
                pair.run(
                    || drive::consume(&way, row.batch, nanoseconds),
                    || drive::produce(&way, row.batch, nanoseconds),
                )
            }
            Case::Idle | Case::Paced => {
                let way = make()?;
                let paced = row.case == Case::Paced;
                pair.run(|| drive::consume_slowly(&way), || drive::produce_slowly(&way, paced, nanoseconds))
            }
        }?;
        Ok(client)
    }
}

/// A row whose transport is compiled for its size, in words.
trait SizedRow {
    fn fixed<const N: usize>(self) -> Result<Report, Fault>;
    fn dynamic(self, words: usize) -> Result<Report, Fault>;
}

/// Picks the size at compile time for the sizes of the default list, at run time for others.
fn with_size(bytes: usize, row: impl SizedRow) -> Result<Report, Fault> {
    match bytes {
        8 => row.fixed::<1>(),
        32 => row.fixed::<4>(),
        64 => row.fixed::<8>(),
        0x400 => row.fixed::<0x80>(),
        0x1_0000 => row.fixed::<0x2000>(),
        0x10_0000 => row.fixed::<0x2_0000>(),
        0x40_0000 => row.fixed::<0x8_0000>(),
        other => row.dynamic(other / 8),
    }
}

struct IndexRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for IndexRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || Index::new(Fixed::<N>, self.row.slots(), self.row.batch))
    }

    fn dynamic(self, words: usize) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || Index::new(Dynamic(words), self.row.slots(), self.row.batch))
    }
}

struct VyukovRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for VyukovRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.crowd(self.row, Delivery::Shared, || Vyukov::new(Fixed::<N>, self.row.slots()))
    }

    fn dynamic(self, words: usize) -> Result<Report, Fault> {
        self.run.crowd(self.row, Delivery::Shared, || Vyukov::new(Dynamic(words), self.row.slots()))
    }
}

struct RingRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for RingRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.crowd(self.row, Delivery::Shared, || BareRing::new(Fixed::<N>, self.row))
    }

    fn dynamic(self, words: usize) -> Result<Report, Fault> {
        self.run.crowd(self.row, Delivery::Shared, || BareRing::new(Dynamic(words), self.row))
    }
}

struct MpscRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for MpscRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.crowd(self.row, Delivery::Lanes, || Lanes::<N>::new(self.row))
    }

    fn dynamic(self, _words: usize) -> Result<Report, Fault> {
        Err(no_array())
    }
}

struct BroadcastRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for BroadcastRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.crowd(self.row, Delivery::Everyone, || Channel::<N>::new(self.row))
    }

    fn dynamic(self, _words: usize) -> Result<Report, Fault> {
        Err(no_array())
    }
}

struct DuplexRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for DuplexRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || Duplex::new(Fixed::<N>, self.row))
    }

    fn dynamic(self, words: usize) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || Duplex::new(Dynamic(words), self.row))
    }
}

struct PeerRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for PeerRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        if self.row.case == Case::Rtt {
            let (there, back) = Connection::<N>::both_ways()?;
            return self.run.round_trip(self.row, &there, &back);
        }
        self.run.pair_up(self.row, Connection::<N>::one_way)
    }

    fn dynamic(self, _words: usize) -> Result<Report, Fault> {
        Err(no_array())
    }
}

/// Typed messages are arrays, and the program has those of the default list.
fn no_array() -> Fault {
    Fault::Unsupported("its messages are arrays, and this program has none of this size".into())
}

struct LaneRow<'a, 'b> {
    run: &'a Run<'b>,
    row: &'a Row,
}

impl SizedRow for LaneRow<'_, '_> {
    fn fixed<const N: usize>(self) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || Lane::<N>::new(self.row))
    }

    fn dynamic(self, _words: usize) -> Result<Report, Fault> {
        self.run.pair_up(self.row, || ByteLane::new(self.row))
    }
}
