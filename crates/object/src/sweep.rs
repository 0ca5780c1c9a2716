//! Recovery dispatch: what a death means for each kind of object.
//!
//! The kinds are a closed set of tags. A segment that holds a tag this build does not know is refused at attach,
//! because nobody may recover what he cannot read.

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Entry, Side, st};
use ginnel_queue::lane::Lane;
use ginnel_queue::mpsc::Mpsc;
use ginnel_segment::{Segment, Sweep};
use ginnel_sync::mutex;

use crate::carrier;
use crate::life;
use crate::queue;
use crate::sides;
use crate::store;
use crate::words;

/// The kinds of objects.
pub(crate) mod tag {
    /// `spsc`: a lane.
    pub(crate) const LANE: u32 = 1;
    /// `Mutex<T>`.
    pub(crate) const MUTEX: u32 = 2;
    /// `Queue<T>`: a ring.
    pub(crate) const QUEUE: u32 = 3;
    /// `mpsc`: a lane for each sender.
    pub(crate) const MPSC: u32 = 4;
    /// `broadcast`.
    pub(crate) const BROADCAST: u32 = 5;
    /// `Blocks`.
    pub(crate) const BLOCKS: u32 = 6;
    /// `Shared<T>`.
    pub(crate) const SHARED: u32 = 7;
    /// `queue::channel`: a queue that closes when one of its sides is empty.
    pub(crate) const CHANNEL: u32 = 8;
    /// `Lock`.
    pub(crate) const LOCK: u32 = 9;
    /// `RLock`.
    pub(crate) const RLOCK: u32 = 10;
    /// `RwLock<T>`.
    pub(crate) const RWLOCK: u32 = 11;
    /// `Condvar`.
    pub(crate) const CONDVAR: u32 = 12;
    /// `Semaphore`.
    pub(crate) const SEMAPHORE: u32 = 13;
    /// `PermitPool`.
    pub(crate) const PERMITS: u32 = 14;
    /// `Event`.
    pub(crate) const EVENT: u32 = 15;
    /// `Barrier`.
    pub(crate) const BARRIER: u32 = 16;
    /// `Once`, `OnceValue<T>`.
    pub(crate) const ONCE: u32 = 17;
    /// The table in which waiters for locks announce themselves.
    pub(crate) const WAITS: u32 = 18;
    /// What a starter and its child share.
    pub(crate) const PROCESS: u32 = 19;
    /// `simplex`: a lane of encoded messages, which may carry parcels.
    pub(crate) const PIPE: u32 = 20;
    /// What a pool and its workers share.
    pub(crate) const POOL: u32 = 21;
    /// A store of keys and values.
    pub(crate) const DICT: u32 = 22;
    /// A store of values in a row.
    pub(crate) const LIST: u32 = 23;
    /// A store of names, each with a value of its own type.
    pub(crate) const NAMESPACE: u32 = 24;
    /// `Value<T>`.
    pub(crate) const VALUE: u32 = 25;
    /// `Array<T>`.
    pub(crate) const ARRAY: u32 = 26;
    /// `SharedMemory`.
    pub(crate) const MEMORY: u32 = 27;
}

/// A tag in words, for messages.
pub(crate) fn tag_name(tag: u32) -> &'static str {
    match tag {
        tag::LANE => "lane",
        tag::MUTEX => "mutex",
        tag::QUEUE => "queue",
        tag::CHANNEL => "channel",
        tag::MPSC => "mpsc channel",
        tag::BROADCAST => "broadcast channel",
        tag::BLOCKS => "set of blocks",
        tag::SHARED => "shared value",
        tag::LOCK => "lock",
        tag::RLOCK => "recursive lock",
        tag::RWLOCK => "read-write lock",
        tag::CONDVAR => "condition variable",
        tag::SEMAPHORE => "semaphore",
        tag::PERMITS => "permit pool",
        tag::EVENT => "event",
        tag::BARRIER => "barrier",
        tag::ONCE => "once",
        tag::WAITS => "table of waits",
        tag::PROCESS => "process",
        tag::PIPE => "pipe",
        tag::POOL => "pool",
        tag::DICT => "dict",
        tag::LIST => "list",
        tag::NAMESPACE => "namespace",
        tag::VALUE => "value",
        tag::ARRAY => "array",
        tag::MEMORY => "shared memory",
        _ => UNKNOWN,
    }
}

const UNKNOWN: &str = "object of an unknown kind";

/// The sweep that every segment of this crate is attached with.
#[derive(Debug)]
pub(crate) struct Objects;

impl Sweep for Objects {
    fn knows(&self, tag: u32) -> bool {
        tag_name(tag) != UNKNOWN
    }

    /// What carries goes before what is carried: only then is "owned by the dead and in no message" final. The holder
    /// bits of the dead go last, because they keep the objects alive meanwhile.
    fn sweep(&self, segment: &Segment, dead: ParticipantId) {
        for (index, entry) in held_by(segment, dead) {
            repair_carrier(segment, index, entry, dead);
        }
        life::recover_tickets(segment, dead, |carrier, ticket| {
            carrier::is_in_flight(segment, carrier, Some(ticket))
        });
        for (_, entry) in held_by(segment, dead) {
            repair_carried(segment, entry, dead);
        }
        mutex::recover(&segment.control().names_lock, dead);
        for (index, entry) in segment.used_entries() {
            life::recover(segment, index, entry, dead, |entry| repair(segment, index, entry, dead));
        }
    }
}

/// The objects that the dead one held or was taking apart. They stay as they are as long as its bit is set, or as its
/// name stands in their state (`life`, I1, I4).
fn held_by(segment: &Segment, dead: ParticipantId) -> impl Iterator<Item = (u32, &Entry)> {
    segment.used_entries().filter(move |(_, entry)| {
        let state = life::state(entry);
        let its_to_free = state.st == st::FREEING && state.owner == Some(dead);
        its_to_free || (state.st == st::LIVE && life::is_held_by(entry, dead))
    })
}

/// Objects that carry messages with handles and blocks in them.
fn repair_carrier(segment: &Segment, index: u32, entry: &Entry, dead: ParticipantId) {
    match entry.tag.load(Relaxed) {
        tag::QUEUE | tag::CHANNEL => {
            if let Some(ring) = words::ring_of(segment, entry) {
                ring.recover_with(dead, &mut |lost| queue::lose(segment, lost, dead));
            }
        }
        // A transaction that the dead one had committed is finished before anybody asks which values are there.
        tag::DICT | tag::LIST | tag::NAMESPACE => store::recover(segment, index, entry, dead),
        _ => {}
    }
}

/// Objects whose parts travel in messages.
fn repair_carried(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    if entry.tag.load(Relaxed) == tag::BLOCKS
        && let Some(pool) = words::pool_of(segment, entry)
    {
        pool.recover(dead, |carrier| carrier::is_in_flight(segment, carrier, None));
    }
}

/// All other objects.
fn repair(segment: &Segment, index: u32, entry: &Entry, dead: ParticipantId) {
    match entry.tag.load(Relaxed) {
        // Here and not before the tickets: the place that the dead one named as carrier and did not commit is the next
        // producer's, who can come only when the role is DEAD.
        tag::LANE | tag::PIPE => {
            if let Some(control) = words::lane_of(segment, entry) {
                Lane::recover(control, dead);
            }
        }
        tag::MUTEX => crate::mutex::recover(segment, entry, dead),
        tag::LOCK | tag::RLOCK => crate::lock::recover(segment, entry, dead),
        tag::RWLOCK | tag::ARRAY => crate::rwlock::recover(segment, entry, dead),
        tag::CONDVAR => crate::condvar::recover(segment, entry, dead),
        tag::SEMAPHORE => crate::semaphore::recover(segment, entry, dead),
        tag::PERMITS => crate::permits::recover(segment, entry, dead),
        tag::EVENT => crate::event::recover(segment, entry, dead),
        tag::BARRIER => crate::barrier::recover(segment, entry, dead),
        tag::ONCE => crate::once::recover(segment, entry, dead),
        tag::WAITS => crate::detect::recover(segment, entry, dead),
        tag::MPSC => {
            if let Some((control, lanes)) = words::mpsc_of(segment, entry) {
                Mpsc::recover(control, lanes, dead);
            }
        }
        tag::BROADCAST => {
            if let Some(words) = words::broadcast_of(segment, entry) {
                words.recover(dead);
            }
            sides::close_if_empty(segment, index, entry, Side::Sender);
        }
        tag::CHANNEL => {
            sides::close_if_empty(segment, index, entry, Side::Sender);
            sides::close_if_empty(segment, index, entry, Side::Receiver);
        }
        // Here and not before the tickets: what the dead one has put into a result is freed before its task is LOST, for
        // the next worker's commit would make that look as if it were on its way.
        tag::POOL => crate::crew::recover(segment, entry, dead),
        // Built anew before the tickets.
        tag::DICT | tag::LIST | tag::NAMESPACE => {}
        // No word of it is owned: what the dead one left there, the starter takes, or who takes it apart.
        tag::PROCESS => {}
        tag::VALUE => crate::value::recover(segment, entry, dead),
        // Its bytes are the program's business.
        tag::MEMORY => {}
        // Refused at attach; a word that changed since is a broken peer's, and nothing here trusts it.
        _ => {}
    }
}
